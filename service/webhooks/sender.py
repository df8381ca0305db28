"""Send one event to one webhook: no redirects, no private addresses, bounded time and size."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple, Self

import aiohttp
from yarl import URL

from service.clock import Clock
from service.settings import ClientSettings, WebhookSettings
from service.sources.http_client import Client, Proxy, proxy_of
from service.sources.session import retry_after
from service.state.deliveries import QueuedEvent
from service.webhooks.addresses import is_public, new_public_socket
from service.webhooks.formats import outgoing_request

READ: Final = 4096
"""Bytes of a response that are read."""


class Attempt(NamedTuple):
    """The result of a request: its problem in one line (None if it was accepted), status, and beginning of the body.

    `pause` is the time for which the receiver demands no further request.
    """

    problem: str | None
    status: int | None = None
    pause: timedelta = timedelta()
    body: bytes = b""


@dataclass
class WebhookSender:
    """The HTTP clients of all webhooks, as an async context manager."""

    settings: ClientSettings
    now: Clock
    _public: Client = field(init=False)
    _any: Client = field(init=False)

    def __post_init__(self) -> None:
        self._public, self._any = Client(self.settings, new_public_socket), Client(self.settings)

    async def __aenter__(self) -> Self:
        await self._public.__aenter__()
        await self._any.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._public.__aexit__()
        await self._any.__aexit__()

    async def send(self, webhook: WebhookSettings, event: QueuedEvent) -> Attempt:
        """Send an event once; never raises for what the receiver does. No part of the URL but its host is shown."""
        url, proxy = URL(webhook.url.get_secret_value()), proxy_of(self.settings.proxy)
        if proxy.url and not webhook.allow_private and not _may_be_public(url):
            return Attempt("the address is not public; to allow it, set allow_private")
        # A proxy resolves the name itself, and usually has a private address: which addresses it reaches is its matter.
        client = self._any if webhook.allow_private or proxy.url else self._public
        seconds = self.settings.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self._send(client, proxy, webhook, event)
        except TimeoutError:
            return Attempt(f"no response within {seconds:g} s")
        except aiohttp.ClientConnectorError as error:
            return Attempt(f"connection failed: {error.os_error.strerror or type(error.os_error).__name__}")
        except (aiohttp.ClientError, OSError, ValueError) as error:  # their texts may contain the URL
            return Attempt(f"request failed: {type(error).__name__}")

    async def _send(self, client: Client, proxy: Proxy, webhook: WebhookSettings, event: QueuedEvent) -> Attempt:
        method, headers, body = outgoing_request(webhook, event, self.now())
        async with client.session.request(
            method,
            URL(webhook.url.get_secret_value(), encoded=True),
            data=body.encode(),
            headers={"Accept-Encoding": "identity", **headers},
            allow_redirects=False,
            proxy=proxy.url,
            proxy_headers=proxy.headers,
        ) as response:
            beginning = await response.content.read(READ)
            response.close()
            if 200 <= response.status < 300:
                return Attempt(None, response.status, body=beginning)
            redirect = ", a redirect, which is not followed" if 300 <= response.status < 400 else ""
            is_pause = response.status in (429, 503)
            pause = retry_after(response.headers.get("Retry-After", ""), self.now()) if is_pause else timedelta()
            return Attempt(f"responded with status {response.status}{redirect}", response.status, pause, beginning)


def _may_be_public(url: URL) -> bool:
    """Return whether a host is a public address, or a name that may have one."""
    host = url.host or ""
    try:
        return is_public(host)
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")
