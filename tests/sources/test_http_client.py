"""The HTTP client, against a real local server that behaves like banks did."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
import stamina
from aiohttp import web
from aiohttp.test_utils import TestServer
from lxml import etree
from multidict import CIMultiDictProxy

from service import __version__
from service.errors import BadAnswer, SourceError, Unreachable
from service.polling.poller import published
from service.settings import ClientSettings
from service.sources.banks import SOURCES
from service.sources.http_client import ACCEPT, Client
from service.sources.session import REDIRECTS, REMEMBERED, BankSession
from tests.conftest import Clock
from tests.sources.answers import CONFIGURED, document, parse
from tests.support.fixings import day
from tests.support.ports import unused_port

BODY = "<rates>тенге</rates>".encode()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Bank:
    """A session with a local server, and the requests that the server received."""

    session: BankSession
    headers: list[CIMultiDictProxy[str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    """Method and body of each request."""


def session_of(url: str, client: Client, now: Clock, key: str = "nbk") -> BankSession:
    return BankSession(key, CONFIGURED[key].model_copy(update={"url": url}), client, now)


@asynccontextmanager
async def serving(handler: Handler, clock: Clock, **client: Any) -> AsyncIterator[Bank]:
    async def respond(request: web.Request) -> web.StreamResponse:
        bank.headers.append(request.headers)
        bank.targets.append(request.raw_path)
        bank.requests.append((request.method, await request.read()))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    settings = ClientSettings(**{"timeout": timedelta(seconds=2), **client})
    async with TestServer(app, shutdown_timeout=0) as server, Client(settings) as http_client:
        bank = Bank(session_of(f"http://{server.host}:{server.port}/rss/", http_client, clock))
        yield bank


def in_sequence(*responses: Callable[[], web.StreamResponse]) -> Handler:
    """Return each response once, in order; more requests than responses are an error."""
    remaining = iter(responses)

    async def handler(_: web.Request) -> web.StreamResponse:
        return next(remaining)()

    return handler


def always(**response: Any) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**response)

    return handler


async def test_response_has_metadata_and_request_has_headers(clock: Clock) -> None:
    """The payload has its source, URL and time; the request has the exact URL and identifies the service."""
    path = "/XML_daily.asp?date_req=01/04/2026&to=02%2F04%2F2026&json"
    clock.time = datetime(2026, 4, 1, 11, 5, 12, 987654, tzinfo=UTC)
    async with serving(always(body=BODY), clock) as bank:
        payload = await bank.session.get(path)
    assert (payload.source, payload.base, payload.body) == ("nbk", "KZT", BODY)
    assert payload.url == f"{bank.session.url}{path}"
    assert bank.targets == [f"/rss{path}"]
    assert payload.fetched_at == datetime(2026, 4, 1, 11, 5, 12, tzinfo=UTC)
    assert payload.digest == sha256(BODY).hexdigest()
    assert bank.headers[0]["User-Agent"] == f"currency-ticker/{__version__}"
    assert bank.headers[0]["Accept"] == ACCEPT
    assert bank.headers[0].keys().isdisjoint({"Cookie", "If-None-Match", "If-Modified-Since"})


async def test_configured_user_agent_is_sent(clock: Clock) -> None:
    """The User-Agent is a setting, since some banks block unknown clients."""
    async with serving(always(body=BODY), clock, user_agent="ticker of example.org") as bank:
        await bank.session.get("/")
    assert bank.headers[0]["User-Agent"] == "ticker of example.org"


async def test_cookies_are_not_sent_back(clock: Clock) -> None:
    """Cookies set by a bank are ignored."""

    async def handler(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=BODY)
        response.set_cookie("session", "1")
        return response

    async with serving(handler, clock) as bank:
        for _ in range(3):
            await bank.session.get("/")
    assert [("Cookie" in headers) for headers in bank.headers] == [False] * 3


async def test_proxy_variables_are_ignored(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the settings decide where requests go."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with serving(always(body=BODY), clock) as bank:
        assert (await bank.session.get("/")).body == BODY


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "gzip, identity", "utf-8, gzip"])
async def test_compressed_response_is_decompressed(clock: Clock, coding: str) -> None:
    """Body and digest are those of the document, under each name of the coding (RFC 9110)."""
    async with serving(always(body=gzip.compress(BODY), headers={"Content-Encoding": coding}), clock) as bank:
        payload = await bank.session.get("/")
    assert (payload.body, payload.digest) == (BODY, sha256(BODY).hexdigest())


@pytest.mark.parametrize("coding", ["", " ", "identity", "UTF-8", "windows-1251", "identity, utf-8"])
async def test_content_encoding_that_is_none_is_ignored(clock: Clock, coding: str) -> None:
    """It is blank, or a charset in the wrong header."""
    async with serving(always(body=BODY, headers={"Content-Encoding": coding}), clock) as bank:
        assert (await bank.session.get("/")).body == BODY


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zlib"])
async def test_unsupported_content_encoding_is_rejected(clock: Clock, coding: str) -> None:
    async with serving(always(body=BODY, headers={"Content-Encoding": coding}), clock) as bank:
        with pytest.raises(BadAnswer, match="content encoding"):
            await bank.session.get("/")


@pytest.mark.parametrize(
    ("validators", "conditions"),
    [
        ({"ETag": '"a1"'}, {"If-None-Match": '"a1"'}),
        ({"ETag": 'W/"a1"'}, {"If-None-Match": 'W/"a1"'}),
        (
            {"Last-Modified": "Wed, 01 Apr 2026 11:05:12 GMT"},
            {"If-Modified-Since": "Wed, 01 Apr 2026 11:05:12 GMT"},
        ),
        (
            {"ETag": '"a1"', "Last-Modified": "Wed, 01 Apr 2026 11:05:12 GMT"},
            {"If-None-Match": '"a1"', "If-Modified-Since": "Wed, 01 Apr 2026 11:05:12 GMT"},
        ),
    ],
)
async def test_unchanged_response_is_not_sent_again(
    clock: Clock, validators: dict[str, str], conditions: dict[str, str]
) -> None:
    """The validators are sent back; a 304 yields the cached payload with its own time."""
    responses = in_sequence(
        lambda: web.Response(body=BODY, headers=validators), *[lambda: web.Response(status=304)] * 2
    )
    async with serving(responses, clock) as bank:
        first = await bank.session.get("/a")
        clock.forward(hours=1)
        assert [await bank.session.get("/a") for _ in range(2)] == [first, first]
    conditional = [
        {name: value for name, value in headers.items() if name.startswith("If-")} for headers in bank.headers
    ]
    assert conditional == [{}, conditions, conditions]


async def test_changed_response_replaces_the_cached_one(clock: Clock) -> None:
    """After a 200 the new validator is used, if there is one; URLs are cached separately."""
    responses = in_sequence(
        lambda: web.Response(body=b"1", headers={"ETag": '"1"'}),
        lambda: web.Response(body=b"other"),
        lambda: web.Response(body=b"2", headers={"ETag": '"2"'}),
        lambda: web.Response(body=b"3"),
        lambda: web.Response(body=b"4"),
    )
    async with serving(responses, clock) as bank:
        bodies = [(await bank.session.get(path)).body for path in ("/a", "/b", "/a", "/a", "/a")]
    assert bodies == [b"1", b"other", b"2", b"3", b"4"]
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None, None, '"1"', '"2"', None]


async def test_number_of_cached_responses_is_bounded(clock: Clock) -> None:
    """With one URL too many the oldest one is requested unconditionally."""
    async with serving(always(body=BODY, headers={"ETag": '"x"'}), clock) as bank:
        for number in (*range(REMEMBERED + 1), REMEMBERED, 1, 0):
            await bank.session.get(f"/{number}")
        assert len(bank.session._cache) == REMEMBERED
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None] * (REMEMBERED + 1) + [
        '"x"',
        '"x"',
        None,
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 400, 403, 404, 410])
async def test_client_error_status_is_not_retried(clock: Clock, status: int) -> None:
    """Neither 2xx nor 5xx: `BadAnswer` after one request; redirects are not followed."""
    elsewhere = "http://bank.example/"
    handler = always(status=status, headers={"Location": elsewhere})
    redirect = f", a redirect to {elsewhere}, which is not followed" if status in REDIRECTS else ""
    async with serving(handler, clock) as bank:
        with stamina.set_testing(True, attempts=3), pytest.raises(BadAnswer) as error:
            await bank.session.get("/a")
    assert str(error.value) == f"nbk: responded with status {status}{redirect} ({bank.session.source.url}a)"
    assert bank.targets == ["/rss/a"]


async def test_recovering_server_is_retried(clock: Clock) -> None:
    """Two responses with status 500, then the document, within three attempts."""
    failing = [lambda: web.Response(status=500)] * 2
    async with serving(in_sequence(*failing, lambda: web.Response(body=BODY)), clock) as bank:
        with stamina.set_testing(True, attempts=3):
            assert (await bank.session.get("/")).body == BODY
    assert len(bank.targets) == 3


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_failing_server_is_given_up_after_the_configured_attempts(clock: Clock, attempts: int) -> None:
    """`attempts` requests, then `Unreachable` with the status."""
    async with serving(always(status=503), clock, attempts=attempts) as bank:
        with stamina.set_testing(True, attempts=10, cap=True), pytest.raises(Unreachable) as error:
            await bank.session.get("/")
    assert str(error.value) == f"nbk: responded with status 503 ({bank.session.source.url})"
    assert len(bank.targets) == attempts


async def test_refused_connection_is_reported(clock: Clock) -> None:
    """The error names the source, the URL and the cause."""
    url = f"http://127.0.0.1:{unused_port()}"
    async with Client(ClientSettings()) as client:
        with pytest.raises(Unreachable) as error:
            await session_of(url, client, clock).get("/a")
    assert str(error.value).startswith("nbk: request failed: ")
    assert str(error.value).endswith(f" ({url}/a)")


@pytest.mark.parametrize(
    "url", ["http://", "http://bank test:port", "nowhere", "http://127.0.0.1:99999", "http://[::1"]
)
async def test_invalid_url_is_a_source_error(clock: Clock, url: str) -> None:
    """A mistake in the settings is reported like any failed request."""
    async with Client(ClientSettings()) as client:
        with pytest.raises(SourceError) as error:
            await session_of(url, client, clock).get("/a")
    assert str(error.value).startswith("nbk: ")
    assert str(error.value).endswith(f"({url.rstrip('/')}/a)")


async def _no_response(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _endless_response(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [_no_response, _endless_response])
async def test_hung_server_is_unreachable_after_the_timeout(clock: Clock, handler: Handler) -> None:
    """No response, or an endless one: the error names the timeout."""
    async with serving(handler, clock, timeout=timedelta(seconds=0.1)) as bank:
        with pytest.raises(Unreachable, match=r"^nbk: no response within 0\.1 s \(http://"):
            await bank.session.get("/")


@pytest.mark.parametrize("compressed", [False, True])
async def test_response_beyond_the_size_limit_is_rejected(clock: Clock, compressed: bool) -> None:
    """`max_bytes` applies after decompression, so that a decompression bomb is rejected."""
    body = b"<" * 5_000_000
    handler = always(
        body=gzip.compress(body) if compressed else body, headers={"Content-Encoding": "gzip"} if compressed else {}
    )
    async with serving(handler, clock, max_bytes=100_000) as bank:
        with stamina.set_testing(True, attempts=3), pytest.raises(BadAnswer, match="more than 100000 bytes"):
            await bank.session.get("/")
    assert len(bank.targets) == 1


async def test_response_of_the_largest_size_is_accepted(clock: Clock) -> None:
    """The limit itself is allowed, one byte more is not."""
    async with serving(
        in_sequence(*(lambda n=n: web.Response(body=b"x" * n) for n in (10, 11))), clock, max_bytes=10
    ) as bank:
        assert len((await bank.session.get("/")).body) == 10
        with pytest.raises(BadAnswer):
            await bank.session.get("/")


async def test_source_may_have_a_size_limit_of_its_own(clock: Clock) -> None:
    """It replaces `client.max_bytes` for this source, in both directions."""
    async with serving(always(body=b"x" * 10), clock, max_bytes=5) as bank:
        bank.session.source = bank.session.source.model_copy(update={"max_bytes": 10})
        assert len((await bank.session.get("/")).body) == 10
        bank.session.source = bank.session.source.model_copy(update={"max_bytes": 9})
        with pytest.raises(BadAnswer, match="more than 9 bytes"):
            await bank.session.get("/")


def _disconnect_after(start: bytes, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        if start:
            await response.prepare(request)
            await response.write(start)
        assert request.transport
        request.transport.close()
        return response

    return handler


_TRUNCATED_GZIP = always(body=gzip.compress(BODY * 99)[:-9], headers={"Content-Encoding": "gzip"})
_NOT_GZIP = always(body=BODY, headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("handler", "requests"),
    [
        # aiohttp itself retries a request once if the server disconnects without a response.
        pytest.param(_disconnect_after(b""), 4, id="no response"),
        pytest.param(_disconnect_after(BODY, **{"Content-Length": "100"}), 2, id="shorter than its Content-Length"),
        pytest.param(_disconnect_after(BODY), 2, id="chunked, without the last chunk"),
        pytest.param(
            _TRUNCATED_GZIP,
            2,
            id="truncated gzip",
        ),
        pytest.param(
            _NOT_GZIP,
            2,
            id="not gzip",
        ),
    ],
)
async def test_truncated_response_is_unreachable(clock: Clock, handler: Handler, requests: int) -> None:
    """It is retried, reported in one line and never used."""
    async with serving(handler, clock) as bank:
        with stamina.set_testing(True, attempts=2), pytest.raises(Unreachable) as error:
            await bank.session.get("/")
    assert len(bank.targets) == requests
    assert re.fullmatch(
        r"nbk: (?:request failed: .+|responded with (?:truncated|invalid) gzip data.*) \(http://.+/rss/\)",
        str(error.value),
    )


SOAP = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"http://bank.test/Rates"'}


async def test_post_request_is_sent_unchanged(clock: Clock) -> None:
    """With its own headers besides the common ones; the response has its metadata."""
    async with serving(always(body=BODY), clock) as bank:
        payload = await bank.session.post("/exchangerates.asmx", b"<question/>", SOAP)
    assert (bank.targets, bank.requests) == (["/rss/exchangerates.asmx"], [("POST", b"<question/>")])
    assert {name: bank.headers[0][name] for name in SOAP} == SOAP
    assert bank.headers[0]["User-Agent"] == f"currency-ticker/{__version__}"
    assert bank.headers[0]["Accept"] == ACCEPT
    assert (payload.source, payload.base, payload.body) == ("nbk", "KZT", BODY)
    assert payload.url == f"{bank.session.url}/exchangerates.asmx"
    assert payload.fetched_at == clock.time
    assert payload.digest == sha256(BODY).hexdigest()


async def test_post_request_is_never_conditional(clock: Clock) -> None:
    """Responses to different bodies at one URL are not mixed, even with validators, nor with GET responses."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read() or b"page", headers={"ETag": '"same"'})

    async with serving(handler, clock) as bank:
        responses = [
            await bank.session.get("/a"),
            *[await bank.session.post("/a", body, SOAP) for body in (b"1", b"2", b"1")],
        ]
        await bank.session.get("/a")
    assert [response.body for response in responses] == [b"page", b"1", b"2", b"1"]
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None, None, None, None, '"same"']


async def test_status_304_for_a_post_request_is_an_error(clock: Clock) -> None:
    """No cached response exists."""
    async with serving(always(status=304), clock) as bank:
        with pytest.raises(BadAnswer, match="status 304"):
            await bank.session.post("/a", b"1", SOAP)


async def test_post_request_is_retried_like_get(clock: Clock) -> None:
    """Two responses with status 500, which SOAP services use for failures, and then the document."""
    failing = [lambda: web.Response(status=500)] * 2
    async with serving(in_sequence(*failing, lambda: web.Response(body=BODY)), clock) as bank:
        with stamina.set_testing(True, attempts=3):
            assert (await bank.session.post("/", b"<question/>", SOAP)).body == BODY
    assert bank.requests == [("POST", b"<question/>")] * 3


@pytest.mark.parametrize(
    ("handler", "error", "message"),
    [
        (always(body=b"x" * 11), BadAnswer, "more than 10 bytes"),
        (always(status=404), BadAnswer, "responded with status 404"),
        (always(status=307, headers={"Location": "http://bank.example/"}), BadAnswer, "responded with status 307"),
        (_no_response, Unreachable, r"no response within 0\.5 s"),
    ],
)
async def test_post_response_has_the_same_limits(
    clock: Clock, handler: Handler, error: type[SourceError], message: str
) -> None:
    """Size, status, redirects and time are checked as for GET."""
    limits = {"timeout": timedelta(seconds=0.5)} if handler is _no_response else {}
    async with serving(handler, clock, max_bytes=10, **limits) as bank:
        with pytest.raises(error, match=message):
            await bank.session.post("/", b"<question/>", SOAP)
    assert len(bank.targets) == 1


@pytest.mark.parametrize(("key", "name"), [("cba", "2026-03-17-to-18.xml"), ("mnb", "2025-03-27-to-28.xml")])
async def test_soap_bank_is_polled_and_parsed(clock: Clock, key: str, name: str) -> None:
    """A server that accepts only an envelope with the bank's own action: its range becomes fixings."""

    async def handler(request: web.Request) -> web.StreamResponse:
        envelope = etree.fromstring(await request.read())
        (operation,) = envelope.iterfind("{http://schemas.xmlsoap.org/soap/envelope/}Body/*")
        action = request.headers["SOAPAction"].strip('"')
        if request.method != "POST" or not action.endswith(f"/{etree.QName(operation).localname}"):
            return web.Response(status=500)
        return web.Response(body=document(key, name), content_type="text/xml", headers={"Cache-Control": "private"})

    async with serving(handler, clock) as bank:
        session = session_of(bank.session.source.url, bank.session.client, clock, key)
        fixings = [item async for _, item in published(SOURCES[key], session, date(2025, 3, 1), day(2), [])]
    assert [len(fixing.rates) for fixing in fixings] == [len(item.rates) for item in parse(key, document(key, name))]
    assert {fixing.url for fixing in fixings} == {f"{session.url}/{bank.targets[0].removeprefix('/rss/')}"}


async def test_find_returns_none_for_404(clock: Clock) -> None:
    """At once; existing documents are cached and requested conditionally as usual."""
    responses = in_sequence(
        lambda: web.Response(status=404),
        lambda: web.Response(body=BODY, headers={"ETag": '"1"'}),
        lambda: web.Response(status=304),
    )
    async with serving(responses, clock) as bank:
        with stamina.set_testing(True, attempts=3):
            found = [await bank.session.find("/a") for _ in range(3)]
    assert [payload and payload.body for payload in found] == [None, BODY, BODY]


@pytest.mark.parametrize(
    ("status", "error"), [(400, BadAnswer), (403, BadAnswer), (410, BadAnswer), (503, Unreachable)]
)
async def test_find_raises_for_other_statuses(clock: Clock, status: int, error: type[SourceError]) -> None:
    """Any other error status is an error."""
    async with serving(always(status=status), clock) as bank:
        with pytest.raises(error, match=f"status {status}"):
            await bank.session.find("/a")


async def test_requests_to_one_bank_are_sequential(clock: Clock) -> None:
    """Five concurrent requests are sent in order, each after the previous response."""
    concurrent: list[int] = []
    running = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal running
        if request.path != "/rss/later":
            running += 1
            concurrent.append(running)
            await other.get("/later")  # a concurrent request would have arrived before this one
            running -= 1
        return web.Response(text=request.path)

    async with serving(handler, clock) as bank:
        other = session_of(bank.session.source.url, bank.session.client, clock, "cbr")
        payloads = await asyncio.gather(*(bank.session.get(f"/{number}") for number in range(5)))
    assert concurrent == [1] * 5
    paths = [f"/rss/{number}" for number in range(5)]
    assert [payload.body.decode() for payload in payloads] == paths
    assert [target for target in bank.targets if target != "/rss/later"] == paths


async def test_two_banks_are_polled_concurrently(clock: Clock) -> None:
    """A slow bank does not delay another: both respond only once both are requested."""
    both = asyncio.Barrier(2)

    async def handler(_: web.Request) -> web.StreamResponse:
        await both.wait()
        return web.Response(body=BODY)

    async with serving(handler, clock) as bank:
        other = session_of(bank.session.source.url, bank.session.client, clock, "cbr")
        payloads = await asyncio.gather(bank.session.get("/"), other.get("/"))
    assert [(payload.source, payload.base) for payload in payloads] == [("nbk", "KZT"), ("cbr", "RUB")]


async def test_bank_can_be_requested_again_after_a_failure(clock: Clock) -> None:
    """An error releases the lock of the bank."""
    responses = in_sequence(lambda: web.Response(status=404), lambda: web.Response(body=BODY))
    async with serving(responses, clock) as bank:
        with pytest.raises(BadAnswer):
            await bank.session.get("/")
        assert (await bank.session.get("/")).body == BODY


async def test_unopened_client_is_an_error(clock: Clock) -> None:
    """Use outside the context is a programming error and not a failure of the bank."""
    with pytest.raises(RuntimeError, match="not open"):
        await session_of("http://127.0.0.1", Client(ClientSettings()), clock).get("/")
