"""One request to a real server: form, signature, refusals, timeouts."""

import asyncio
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from service.clock import Clock
from service.domain.event import Event, cloud_event
from service.settings import ClientSettings, WebhookSettings
from service.state.deliveries import QueuedEvent
from service.webhooks import addresses
from service.webhooks.sender import READ, Attempt, WebhookSender
from service.webhooks.signature import signature
from tests.conftest import Clock as SetClock
from tests.support.ports import unused_port
from tests.support.receiver import SECRET, receiving

TIME = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
EVENT = Event("e1", "ticker.changed", "kzt", TIME, {"ticker": "kzt"})
QUEUED = QueuedEvent("e1", "ticker.changed", "kzt", TIME, cloud_event(EVENT, "urn:test"))
REVISED = QueuedEvent("e2", "fixing.revised", "nbk/2026-04-02", TIME, "{}")
REFUSED = "connection failed: the address is not public; to allow it, set allow_private"


async def send(
    webhook: WebhookSettings, event: QueuedEvent = QUEUED, now: Clock | None = None, **client: Any
) -> Attempt:
    settings = ClientSettings.model_validate({"timeout": 60, "connect_timeout": 60} | client)
    async with WebhookSender(settings, now or Clock()) as sender:
        return await sender.send(webhook, event)


async def test_request_is_a_signed_cloud_event(clock: SetClock) -> None:
    """Structured mode, with the headers of Standard Webhooks; own headers are added and cannot replace these."""
    async with receiving() as receiver:
        own = {"Authorization": "Bearer t", "Webhook-Id": "mine"}
        attempt = await send(receiver.webhook(headers=own), now=clock)
    assert attempt == Attempt(None, 204)
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/events")
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["webhook-id"] == "e1"
    assert request.headers["webhook-timestamp"] == str(int(clock.seconds()))
    expected = signature([SecretStr(SECRET)], "e1", int(clock.seconds()), request.body)
    assert request.headers["webhook-signature"] == expected
    assert json.loads(request.body) == {
        "specversion": "1.0",
        "id": "e1",
        "source": "urn:test",
        "type": "ticker.changed",
        "subject": "kzt",
        "time": "2026-04-02T04:00:00Z",
        "datacontenttype": "application/json",
        "data": {"ticker": "kzt"},
    }


@pytest.mark.parametrize(
    ("form", "method", "header", "body"),
    [
        ("fastly", "POST", "surrogate-key", ""),
        ("varnish", "PURGE", "xkey-purge", ""),
        ("cloudflare", "POST", None, {"tags": ["ticker-kzt"]}),
    ],
)
async def test_preset_purges_the_key_of_the_ticker(form: str, method: str, header: str | None, body: Any) -> None:
    async with receiving() as receiver:
        webhook = receiver.webhook(format=form, secret=(), headers={"Fastly-Key": "k"})
        assert (await send(webhook)).problem is None
        assert (await send(webhook, REVISED)).problem is None
    purge, revised = receiver.requests
    assert purge.method == method
    assert purge.headers["fastly-key"] == "k"
    assert (json.loads(purge.body) if purge.body else "") == body
    assert header is None or purge.headers[header] == "ticker-kzt"
    assert "source-nbk" in (revised.body or revised.headers[str(header)])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "127.1", "[::ffff:127.0.0.1]"])
async def test_private_address_is_never_connected_to(host: str) -> None:
    """Also by a name that resolves to one; the client refuses other notations of an address."""
    async with receiving() as receiver:
        port = receiver.url.rpartition(":")[2]
        webhook = WebhookSettings.model_validate({"url": f"https://{host}:{port}/events", "secret": SECRET})
        attempt = await send(webhook)
    is_other_notation = host in ("2130706433", "127.1")
    assert attempt.problem == ("request failed: InvalidUrlClientError" if is_other_notation else REFUSED)
    assert receiver.requests == []


async def test_name_that_is_rebound_after_a_check_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is checked that the socket connects to, whatever the name resolved to before."""
    answers = iter(["1.1.1.1", "127.0.0.1", "127.0.0.1"])
    checked, is_public = list[str](), addresses.is_public

    def recorded(host: str) -> bool:
        checked.append(host)
        return is_public(host)

    monkeypatch.setattr(addresses, "is_public", recorded)

    async def rebound(*_: Any, **__: Any) -> list[aiohttp.abc.ResolveResult]:
        address = next(answers)
        return [
            {"hostname": "r.example", "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        ]

    monkeypatch.setattr("aiohttp.resolver.DefaultResolver.resolve", rebound)
    async with receiving() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        assert next(answers) == "1.1.1.1"  # what an earlier check would have seen
        webhook = WebhookSettings.model_validate({"url": f"https://r.example:{port}/", "secret": SECRET})
        assert (await send(webhook)).problem == REFUSED
    assert checked == ["127.0.0.1"]
    assert receiver.requests == []


async def test_redirect_is_not_followed() -> None:
    async with receiving() as receiver, receiving() as target:
        receiver.responses = [(307, {"Location": f"{target.url}/events"})]
        attempt = await send(receiver.webhook())
    assert attempt.problem == "responded with status 307, a redirect, which is not followed"
    assert target.requests == []


@pytest.mark.parametrize(("status", "pause"), [(429, 90), (503, 90), (500, 0), (404, 0)])
async def test_demanded_pause_is_returned(status: int, pause: int) -> None:
    async with receiving() as receiver:
        receiver.responses = [(status, {"Retry-After": "90"})]
        attempt = await send(receiver.webhook())
    assert attempt == Attempt(f"responded with status {status}", status, timedelta(seconds=pause))


async def test_receiver_without_a_response_times_out() -> None:
    async with receiving() as receiver:
        forever = asyncio.Event()

        async def hang(_: object) -> None:
            await forever.wait()

        receiver.on_request = hang
        attempt = await send(receiver.webhook(), timeout="0.5")
        forever.set()
    assert attempt.problem == "no response within 0.5 s"


async def test_endless_response_is_not_read() -> None:
    """Only the beginning is read; the connection is closed."""
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            ended.set()

    app = web.Application()
    app.router.add_post("/", endless)
    async with TestServer(app, shutdown_timeout=0) as server:
        url = f"http://{server.host}:{server.port}/"
        webhook = WebhookSettings.model_validate({"url": url, "secret": SECRET, "allow_private": True})
        attempt = await send(webhook)
        await asyncio.wait_for(ended.wait(), 60)
    assert attempt.problem is None
    assert len(attempt.body) <= READ


async def test_closed_port_and_unknown_host_are_reported_without_the_url() -> None:
    for host, problem in (
        (f"127.0.0.1:{unused_port()}", "connection failed: "),
        ("nowhere.invalid", "connection failed: "),
    ):
        webhook = WebhookSettings.model_validate(
            {"url": f"https://{host}/path-token", "secret": SECRET, "allow_private": True}
        )
        attempt = await send(webhook)
        assert attempt.problem
        assert attempt.problem.startswith(problem)
        assert "path-token" not in attempt.problem


async def test_proxy_is_that_of_the_client() -> None:
    """It gets the request; a private address in the URL is refused before that."""
    async with receiving() as proxy:
        webhook = WebhookSettings.model_validate(
            {"url": "http://receiver.example/events", "secret": SECRET, "allow_private": True}
        )
        assert (await send(webhook, proxy=proxy.url)).problem is None
        assert proxy.requests[0].path == "http://receiver.example/events"
        for host in ("127.0.0.1", "localhost", "[::1]"):
            private = WebhookSettings.model_validate({"url": f"https://{host}/events", "secret": SECRET})
            assert "not public" in str((await send(private, proxy=proxy.url)).problem)
        assert len(proxy.requests) == 1


async def test_certificate_authority_is_that_of_the_client(tmp_path: Path) -> None:
    """With `ca_file` the certificate of a private authority is trusted, otherwise the connection fails."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def respond(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/", respond)
    server = TestServer(app, host="localhost", scheme="https", shutdown_timeout=0)
    await server.start_server(ssl=context)
    try:
        url = f"https://localhost:{server.port}/"
        webhook = WebhookSettings.model_validate({"url": url, "secret": SECRET, "allow_private": True})
        assert (await send(webhook, ca_file=str(tmp_path / "ca.pem"))).problem is None
        assert "connection failed" in str((await send(webhook)).problem)
    finally:
        await server.close()
