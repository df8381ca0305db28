"""A receiver of webhooks: a real HTTP server that records requests and responds as the test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

from service.settings import Settings, WebhookSettings
from service.state.deliveries import QueuedEvent
from service.storage.repository import Store
from tests.support.wait import until

SECRET = "whsec_" + "c2VjcmV0IG9mIGEgdGVzdCwgMzIgYnl0ZXMgbG9uZyE="
OTHER_SECRET = "whsec_" + "YW5vdGhlciBzZWNyZXQgb2YgYSB0ZXN0LCBuZXdlci4="


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass
class Receiver:
    """Records requests. `responses` are the next ones: a status and headers; after them `default`."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    responses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    default: int = 204
    on_request: Callable[[Received], Awaitable[None]] | None = None

    async def respond(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        received = Received(request.method, request.raw_path, headers, await request.text())
        self.requests.append(received)
        if self.on_request:
            await self.on_request(received)
        status, more = self.responses.pop(0) if self.responses else (self.default, {})
        return web.Response(status=status, headers=more)

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.requests]

    def webhook(self, **settings: Any) -> WebhookSettings:
        return WebhookSettings.model_validate(
            {"url": f"{self.url}/events", "secret": SECRET, "allow_private": True, "name": "receiver"} | settings
        )


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.respond)
    async with TestServer(app, shutdown_timeout=0) as server:
        receiver.url = f"http://{server.host}:{server.port}"
        yield receiver


def with_webhooks(settings: Settings, *webhooks: WebhookSettings) -> Settings:
    """Return settings with these webhooks."""
    return settings.model_copy(update={"webhooks": webhooks})


async def enqueue(settings: Settings, *events: QueuedEvent, webhook: str = "receiver") -> None:
    """Add events to the queue of a webhook, while a service records others."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:

        async def is_added() -> bool:
            stored = await store.webhooks.reported()
            return await store.webhooks.add(stored, stored.reported, {webhook: events}) is not None

        await until(is_added)
