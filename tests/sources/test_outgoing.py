"""How requests leave for the banks: user agent, headers, proxy, trusted certificate authorities."""

import asyncio
import ssl
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from service.errors import SettingsError, SourceError, Unreachable
from service.settings import ClientSettings, SourceSettings, load
from service.sources.http_client import Client
from service.sources.session import BankSession
from tests.conftest import Clock
from tests.sources.answers import CONFIGURED
from tests.support.ports import unused_port

Requests = list[web.Request]


@asynccontextmanager
async def serving(requests: Requests) -> AsyncIterator[str]:
    """Run a server that records its requests; yield its URL."""

    async def respond(request: web.Request) -> web.Response:
        requests.append(request)
        return web.Response(text="a body")

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with TestServer(app, shutdown_timeout=0) as server:
        yield f"http://127.0.0.1:{server.port}"


def source(url: str, **settings: Any) -> SourceSettings:
    configured = CONFIGURED["nbk"].model_dump(exclude={"weekdays"})
    return SourceSettings.model_validate(configured | {"url": url} | settings)


async def get(url: str, clock: Clock, client: dict[str, Any] | None = None, **settings: Any) -> bytes:
    """Request a path of a bank with these settings."""
    async with Client(ClientSettings.model_validate({"attempts": 1} | (client or {}))) as opened:
        return (await BankSession("nbk", source(url, **settings), opened, clock).get("/rates")).body


async def test_user_agent_and_headers_of_a_source(clock: Clock) -> None:
    """They replace those of all requests; others stay."""
    requests = Requests()
    async with serving(requests) as url:
        await get(url, clock, {"user_agent": "ours/1"})
        await get(
            url, clock, {"user_agent": "ours/1"}, user_agent="Mozilla/5.0", headers={"X-Key": "k", "Accept": "a/b"}
        )
    default, own = (request.headers for request in requests)
    assert default["User-Agent"] == "ours/1"
    assert (own["User-Agent"], own["X-Key"], own["Accept"]) == ("Mozilla/5.0", "k", "a/b")
    assert own["Accept-Encoding"] == default["Accept-Encoding"]


SECRET = "Key-0123456789"  # noqa: S105 - of a test


async def test_secret_is_sent_in_url_and_headers_but_not_shown(clock: Clock) -> None:
    """The response, and with it every receipt, names the place of the secret."""
    requests = Requests()
    settings = {"secret": SECRET, "headers": {"Authorization": "Bearer {secret}"}}
    async with serving(requests) as url, Client(ClientSettings(attempts=1)) as client:
        session = BankSession("nbk", source(url, **settings), client, clock)
        response = await session.get("/rates?key={secret}")
        assert response.url == f"{url}/rates?key={{secret}}"
        assert SECRET not in repr((session, response))
    (request,) = requests
    assert (request.raw_path, request.headers["Authorization"]) == (f"/rates?key={SECRET}", f"Bearer {SECRET}")


def _echo(line: str) -> dict[str, bytes]:
    """Return by name the responses that repeat the path of a request, with the secret in it."""
    ok, found, slow, busy = "200 OK", "302 Found", "429 Too Many Requests", "503 Service Unavailable"
    texts = {name: f"HTTP/1.1 {name}\r\n" for name in (ok, found, "401 Unauthorized", slow, "500 Error")}
    texts[found] += f"Location: http://elsewhere.test{line}\r\n"
    texts |= {f"{name}, Retry-After": f"HTTP/1.1 {name}\r\nRetry-After: {line}\r\n" for name in (slow, busy)}
    texts["Content-Encoding"] = f"HTTP/1.1 {ok}\r\nContent-Encoding: {line}\r\n"
    texts["Content-Encoding, cut"] = f"HTTP/1.1 {ok}\r\nContent-Encoding: xxxxxxxx-{SECRET}\r\n"
    texts["no status line"] = f"{line} is not HTTP\r\n"
    texts["long line, cut"] = f"HTTP/1.1 {ok}\r\nX-Echo: {'x' * 80}{line}{'x' * 20_000}\r\n"
    body = f"your request: {line}"
    ends = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    return {name: f"{text}{ends}".encode() for name, text in texts.items()}


@pytest.mark.parametrize("response", _echo(""))
async def test_error_does_not_show_the_secret_that_a_bank_repeats(clock: Clock, response: str) -> None:
    """Neither its text nor its traceback; a body with it is refused, because receipts lead to it."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(_echo(request.split()[1])[response])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Client(ClientSettings(attempts=1)) as client:
            session = BankSession("nbk", source(url, secret=SECRET), client, clock)
            with pytest.raises(SourceError) as raised:
                await session.get("/rates?key={secret}")
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__cause__)
    assert SECRET[:8].lower() not in shown.lower()
    assert "/rates?key={secret}" in str(raised.value)
    if response == "200 OK":
        assert "the response repeats the secret of the source" in str(raised.value)


async def test_unreachable_bank_is_reported_without_the_secret(clock: Clock) -> None:
    with pytest.raises(Unreachable) as raised:
        await get(f"http://127.0.0.1:{unused_port()}", clock, secret=SECRET, headers={"X-Key": "{secret}"})
    assert SECRET not in "".join(traceback.format_exception(raised.value))


async def test_requests_leave_by_the_proxy(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the source, else that of the client; none with `direct`; never that of the environment."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    at_bank, at_proxy, at_other = Requests(), Requests(), Requests()
    async with serving(at_bank) as bank, serving(at_proxy) as proxy, serving(at_other) as other:
        everyone = {"proxy": proxy.replace("//", "//user:secret@")}
        await get(bank, clock)
        assert (len(at_bank), len(at_proxy)) == (1, 0)
        await get(bank, clock, everyone)
        assert (len(at_bank), len(at_proxy)) == (1, 1)
        assert at_proxy[0].raw_path == f"{bank}/rates"
        assert at_proxy[0].headers["Proxy-Authorization"] == f"Basic {b64encode(b'user:secret').decode()}"
        await get(bank, clock, everyone, proxy=other)
        assert (len(at_proxy), len(at_other)) == (1, 1)
        await get(bank, clock, everyone, proxy="direct")
        assert (len(at_bank), len(at_proxy)) == (2, 1)


async def test_dead_proxy_is_reported_without_its_login(clock: Clock) -> None:
    with pytest.raises(Unreachable) as raised:
        await get("http://bank.example", clock, {"proxy": f"http://user:secret@127.0.0.1:{unused_port()}"})
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"nonsense\r\n\r\n"])
async def test_refusing_proxy_is_reported_without_its_login(clock: Clock, reply: bytes) -> None:
    """Neither in the text nor in the cause: an error is public at /v1/sources."""
    heads, password = list[bytes](), "s3" + "cr3t"  # not as a whole in this line, which is part of the traceback
    login = b64encode(f"user:{password}".encode()).decode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable) as raised:
            await get("https://bank.example", clock, {"proxy": f"http://user:{password}@127.0.0.1:{port}"})
    assert b"\r\nproxy-authorization: basic " + login.lower().encode() in heads[0].lower()
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__cause__)
    assert password not in shown
    assert login not in shown


@pytest.fixture
async def private_bank(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """Yield the URL of a bank with a certificate of a private authority, and that authority's file."""
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)

    async def respond(_: web.Request) -> web.Response:
        return web.Response(text="a body")

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    yield f"https://127.0.0.1:{port}", ca_file
    await runner.cleanup()


async def test_private_authority_is_trusted_if_configured(private_bank: tuple[str, Path], clock: Clock) -> None:
    url, ca_file = private_bank
    with pytest.raises(Unreachable, match="certificate verify failed"):
        await get(url, clock)
    assert await get(url, clock, {"ca_file": str(ca_file)}) == b"a body"


async def test_authorities_of_the_system_stay_trusted(private_bank: tuple[str, Path]) -> None:
    _, ca_file = private_bank
    system = ssl.create_default_context()
    async with Client(ClientSettings(ca_file=ca_file)) as client:
        assert isinstance(client.session, ClientSession)
        assert client.session.connector
        context = client.session.connector._ssl  # type: ignore[attr-defined]
    assert context.cert_store_stats()["x509_ca"] == system.cert_store_stats()["x509_ca"] + 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("table", "key", "value", "error"),
    [
        ("client", "proxy", "proxy:3128", "client.proxy: must be a URL like http://proxy.example:3128"),
        ("client", "proxy", "socks5://proxy:1080", "client.proxy: must be a URL"),
        ("client", "proxy", "http://proxy:port", "client.proxy: must be a URL"),
        ("client", "proxy", "http://proxy:3128/?a=b", "client.proxy: must be a URL"),
        ("client", "ca_file", "/nowhere.pem", "client.ca_file: cannot be read as a file of certificates"),
        ("client", "ca_file", __file__, "client.ca_file: cannot be read as a file of certificates"),
        (
            "sources",
            "headers",
            {"Host": "bank.example"},
            "sources.nbk.headers: must not have Host, which is set by the client",
        ),
        ("sources", "headers", {"X Key: k": "k"}, "sources.nbk.headers: has an invalid header name: letters"),
        ("sources", "headers", {"X-Key": "k\r\nHost: other"}, r"sources.nbk.headers.*: must be printable ASCII"),
    ],
)
def test_invalid_settings_are_refused(table: str, key: str, value: object, error: str) -> None:
    layer = {key: value} if table == "client" else {"nbk": {key: value}}
    with pytest.raises(SettingsError, match=error):
        load(environ={}, overrides={table: layer})
