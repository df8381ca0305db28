"""The client against a real local server that behaves as banks have behaved."""

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
    """A way to a local server, and what has arrived there."""

    feed: BankSession
    headers: list[CIMultiDictProxy[str]] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    questions: list[tuple[str, bytes]] = field(default_factory=list)
    """Method and body of each request."""


def way_to(url: str, client: Client, now: Clock, key: str = "nbk") -> BankSession:
    return BankSession(key, CONFIGURED[key].model_copy(update={"url": url}), client, now)


@asynccontextmanager
async def serving(handler: Handler, clock: Clock, **client: Any) -> AsyncIterator[Bank]:
    async def answer(request: web.Request) -> web.StreamResponse:
        bank.headers.append(request.headers)
        bank.targets.append(request.raw_path)
        bank.questions.append((request.method, await request.read()))
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    settings = ClientSettings(**{"timeout": timedelta(seconds=2), **client})
    async with TestServer(app, shutdown_timeout=0) as server, Client(settings) as opened:
        bank = Bank(way_to(f"http://{server.host}:{server.port}/rss/", opened, clock))
        yield bank


def in_turn(*answers: Callable[[], web.StreamResponse]) -> Handler:
    """Give each answer once, in order; more requests than answers are a fault."""
    left = iter(answers)

    async def handler(_: web.Request) -> web.StreamResponse:
        return next(left)()

    return handler


def always(**response: Any) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**response)

    return handler


async def test_response_has_its_receipt_and_request_has_polite_headers(clock: Clock) -> None:
    """The payload says whose it is, from where and when; we ask for exactly that, and say who we are."""
    step = "/XML_daily.asp?date_req=01/04/2026&to=02%2F04%2F2026&json"
    clock.time = datetime(2026, 4, 1, 11, 5, 12, 987654, tzinfo=UTC)
    async with serving(always(body=BODY), clock) as bank:
        payload = await bank.feed.get(step)
    assert (payload.source, payload.base, payload.body) == ("nbk", "KZT", BODY)
    assert payload.url == f"{bank.feed.url}{step}"
    assert bank.targets == [f"/rss{step}"]
    assert payload.fetched_at == datetime(2026, 4, 1, 11, 5, 12, tzinfo=UTC)
    assert payload.digest == sha256(BODY).hexdigest()
    assert bank.headers[0]["User-Agent"] == f"currency-ticker/{__version__}"
    assert bank.headers[0]["Accept"] == ACCEPT
    assert bank.headers[0].keys().isdisjoint({"Cookie", "If-None-Match", "If-Modified-Since"})


async def test_the_operators_name_is_sent_where_there_is_one(clock: Clock) -> None:
    """The User-Agent is a setting, since banks block what they do not like."""
    async with serving(always(body=BODY), clock, user_agent="ticker of example.org") as bank:
        await bank.feed.get("/")
    assert bank.headers[0]["User-Agent"] == "ticker of example.org"


async def test_no_cookie_is_ever_sent_back(clock: Clock) -> None:
    """A bank that sets cookies gets none at the next request."""

    async def handler(_: web.Request) -> web.StreamResponse:
        response = web.Response(body=BODY)
        response.set_cookie("session", "1")
        return response

    async with serving(handler, clock) as bank:
        for _ in range(3):
            await bank.feed.get("/")
    assert [("Cookie" in headers) for headers in bank.headers] == [False] * 3


async def test_the_proxy_of_the_environment_is_not_used(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only settings decide where requests go: a proxy variable that leads nowhere changes nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    async with serving(always(body=BODY), clock) as bank:
        assert (await bank.feed.get("/")).body == BODY


async def test_a_compressed_answer_is_read_as_what_it_holds(clock: Clock) -> None:
    """Compression is the transport's: body and digest are those of the document."""
    async with serving(always(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"}), clock) as bank:
        payload = await bank.feed.get("/")
    assert (payload.body, payload.digest) == (BODY, sha256(BODY).hexdigest())


@pytest.mark.parametrize(
    ("told", "asked"),
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
async def test_what_has_not_changed_is_not_sent_again(
    clock: Clock, told: dict[str, str], asked: dict[str, str]
) -> None:
    """The validators are sent back, and at a 304 the remembered payload stands, with its own time."""
    answers = in_turn(lambda: web.Response(body=BODY, headers=told), *[lambda: web.Response(status=304)] * 2)
    async with serving(answers, clock) as bank:
        first = await bank.feed.get("/a")
        clock.forward(hours=1)
        assert [await bank.feed.get("/a") for _ in range(2)] == [first, first]
    conditional = [
        {name: value for name, value in headers.items() if name.startswith("If-")} for headers in bank.headers
    ]
    assert conditional == [{}, asked, asked]


async def test_a_changed_answer_takes_the_place_of_the_remembered_one(clock: Clock) -> None:
    """After a 200 the new validator is used, and none where the new answer has none; addresses do not mix."""
    answers = in_turn(
        lambda: web.Response(body=b"1", headers={"ETag": '"1"'}),
        lambda: web.Response(body=b"other"),
        lambda: web.Response(body=b"2", headers={"ETag": '"2"'}),
        lambda: web.Response(body=b"3"),
        lambda: web.Response(body=b"4"),
    )
    async with serving(answers, clock) as bank:
        bodies = [(await bank.feed.get(step)).body for step in ("/a", "/b", "/a", "/a", "/a")]
    assert bodies == [b"1", b"other", b"2", b"3", b"4"]
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None, None, '"1"', '"2"', None]


async def test_remembered_answers_are_bounded(clock: Clock) -> None:
    """One address more than is remembered, and the oldest is asked for as if for the first time."""
    async with serving(always(body=BODY, headers={"ETag": '"x"'}), clock) as bank:
        for number in (*range(REMEMBERED + 1), REMEMBERED, 1, 0):
            await bank.feed.get(f"/{number}")
        assert len(bank.feed._cache) == REMEMBERED
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None] * (REMEMBERED + 1) + [
        '"x"',
        '"x"',
        None,
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308, 400, 403, 404, 410])
async def test_a_status_that_is_no_answer_is_said_at_once(clock: Clock, status: int) -> None:
    """Not 2xx and not the server's fault: `BadAnswer` after one request; no redirect to another host is followed."""
    elsewhere = "http://bank.example/"
    handler = always(status=status, headers={"Location": elsewhere})
    redirect = f", a redirect to {elsewhere}, which is not followed" if status in REDIRECTS else ""
    async with serving(handler, clock) as bank:
        with stamina.set_testing(True, attempts=3), pytest.raises(BadAnswer) as bad:
            await bank.feed.get("/a")
    assert str(bad.value) == f"nbk: responded with status {status}{redirect} ({bank.feed.source.url}a)"
    assert bank.targets == ["/rss/a"]


async def test_recovering_server_is_retried(clock: Clock) -> None:
    """Two answers of 500 and then the document: it is had within three attempts."""
    failing = [lambda: web.Response(status=500)] * 2
    async with serving(in_turn(*failing, lambda: web.Response(body=BODY)), clock) as bank:
        with stamina.set_testing(True, attempts=3):
            assert (await bank.feed.get("/")).body == BODY
    assert len(bank.targets) == 3


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_a_server_that_does_not_recover_is_given_up_after_the_configured_attempts(
    clock: Clock, attempts: int
) -> None:
    """`attempts` requests, no more, and then `Unreachable` with the status."""
    async with serving(always(status=503), clock, attempts=attempts) as bank:
        with stamina.set_testing(True, attempts=10, cap=True), pytest.raises(Unreachable) as lost:
            await bank.feed.get("/")
    assert str(lost.value) == f"nbk: responded with status 503 ({bank.feed.source.url})"
    assert len(bank.targets) == attempts


async def test_a_refused_connection_is_unreachable(clock: Clock) -> None:
    """Nobody listens: the error names the source, the URL, and what happened."""
    url = f"http://127.0.0.1:{unused_port()}"
    async with Client(ClientSettings()) as client:
        with pytest.raises(Unreachable) as lost:
            await way_to(url, client, clock).get("/a")
    assert str(lost.value).startswith("nbk: request failed: ")
    assert str(lost.value).endswith(f" ({url}/a)")


@pytest.mark.parametrize(
    "url", ["http://", "http://bank test:port", "nowhere", "http://127.0.0.1:99999", "http://[::1"]
)
async def test_an_address_that_is_none_is_unreachable(clock: Clock, url: str) -> None:
    """A mistake in the settings is told like every other failure to ask, as one of the project's own errors."""
    async with Client(ClientSettings()) as client:
        with pytest.raises(SourceError) as lost:
            await way_to(url, client, clock).get("/a")
    assert str(lost.value).startswith("nbk: ")
    assert str(lost.value).endswith(f"({url.rstrip('/')}/a)")


async def _silent(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("handler", [_silent, _dripping])
async def test_a_server_that_never_ends_is_unreachable_within_the_timeout(clock: Clock, handler: Handler) -> None:
    """Silence, and an answer that drips for ever, end at the timeout, which the error names."""
    async with serving(handler, clock, timeout=timedelta(seconds=0.1)) as bank:
        with pytest.raises(Unreachable, match=r"^nbk: no response within 0\.1 s \(http://"):
            await bank.feed.get("/")


@pytest.mark.parametrize("compressed", [False, True])
async def test_more_than_we_read_is_no_answer(clock: Clock, compressed: bool) -> None:
    """An answer beyond `max_bytes`, counted after decompression, is refused at once; a bomb is small on the wire."""
    body = b"<" * 5_000_000
    handler = always(
        body=gzip.compress(body) if compressed else body, headers={"Content-Encoding": "gzip"} if compressed else {}
    )
    async with serving(handler, clock, max_bytes=100_000) as bank:
        with stamina.set_testing(True, attempts=3), pytest.raises(BadAnswer, match="more than 100000 bytes"):
            await bank.feed.get("/")
    assert len(bank.targets) == 1


async def test_exactly_what_we_read_is_an_answer(clock: Clock) -> None:
    """The limit itself is allowed, one byte more is not."""
    async with serving(
        in_turn(*(lambda n=n: web.Response(body=b"x" * n) for n in (10, 11))), clock, max_bytes=10
    ) as bank:
        assert len((await bank.feed.get("/")).body) == 10
        with pytest.raises(BadAnswer):
            await bank.feed.get("/")


def _then_hangs_up(start: bytes, **headers: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        if start:
            await response.prepare(request)
            await response.write(start)
        assert request.transport
        request.transport.close()
        return response

    return handler


_CUT_GZIP = always(body=gzip.compress(BODY * 99)[:-9], headers={"Content-Encoding": "gzip"})
_NO_GZIP = always(body=BODY, headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("handler", "requests"),
    [
        # Where a server hangs up without a word aiohttp itself asks once more, a try.
        pytest.param(_then_hangs_up(b""), 4, id="no answer"),
        pytest.param(_then_hangs_up(BODY, **{"Content-Length": "100"}), 2, id="short of its Content-Length"),
        pytest.param(_then_hangs_up(BODY), 2, id="chunked, without the last chunk"),
        pytest.param(
            _CUT_GZIP,
            2,
            id="cut gzip",
        ),
        pytest.param(
            _NO_GZIP,
            2,
            id="no gzip at all",
        ),
    ],
)
async def test_an_answer_cut_short_is_not_taken_for_a_whole_one(clock: Clock, handler: Handler, requests: int) -> None:
    """Less than the transport promised is `Unreachable`, in one line, tried again, and never half a document."""
    async with serving(handler, clock) as bank:
        with stamina.set_testing(True, attempts=2), pytest.raises(Unreachable) as lost:
            await bank.feed.get("/")
    assert len(bank.targets) == requests
    assert re.fullmatch(
        r"nbk: (?:request failed: .+|responded with (?:truncated|invalid) gzip data.*) \(http://.+/rss/\)",
        str(lost.value),
    )


SOAP = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"http://bank.test/Rates"'}


async def test_post_request_arrives_unchanged(clock: Clock) -> None:
    """Posted to the address with its own headers, beside those that say who we are; the answer has its receipt."""
    async with serving(always(body=BODY), clock) as bank:
        payload = await bank.feed.post("/exchangerates.asmx", b"<question/>", SOAP)
    assert (bank.targets, bank.questions) == (["/rss/exchangerates.asmx"], [("POST", b"<question/>")])
    assert {name: bank.headers[0][name] for name in SOAP} == SOAP
    assert bank.headers[0]["User-Agent"] == f"currency-ticker/{__version__}"
    assert bank.headers[0]["Accept"] == ACCEPT
    assert (payload.source, payload.base, payload.body) == ("nbk", "KZT", BODY)
    assert payload.url == f"{bank.feed.url}/exchangerates.asmx"
    assert payload.fetched_at == clock.time
    assert payload.digest == sha256(BODY).hexdigest()


async def test_a_question_with_a_body_is_never_conditional(clock: Clock) -> None:
    """Two questions to one address have two answers, whatever validators come with them, and a page there a third."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read() or b"page", headers={"ETag": '"same"'})

    async with serving(handler, clock) as bank:
        answers = [await bank.feed.get("/a"), *[await bank.feed.post("/a", body, SOAP) for body in (b"1", b"2", b"1")]]
        await bank.feed.get("/a")
    assert [answer.body for answer in answers] == [b"page", b"1", b"2", b"1"]
    assert [headers.get("If-None-Match") for headers in bank.headers] == [None, None, None, None, '"same"']


async def test_a_304_to_a_question_with_a_body_is_no_answer(clock: Clock) -> None:
    """Nothing was remembered that it could mean."""
    async with serving(always(status=304), clock) as bank:
        with pytest.raises(BadAnswer, match="status 304"):
            await bank.feed.post("/a", b"1", SOAP)


async def test_post_request_is_retried_like_get(clock: Clock) -> None:
    """Two answers of 500, which is also how a SOAP service says that it has failed, and then the document."""
    failing = [lambda: web.Response(status=500)] * 2
    async with serving(in_turn(*failing, lambda: web.Response(body=BODY)), clock) as bank:
        with stamina.set_testing(True, attempts=3):
            assert (await bank.feed.post("/", b"<question/>", SOAP)).body == BODY
    assert bank.questions == [("POST", b"<question/>")] * 3


@pytest.mark.parametrize(
    ("handler", "error", "told"),
    [
        (always(body=b"x" * 11), BadAnswer, "more than 10 bytes"),
        (always(status=404), BadAnswer, "responded with status 404"),
        (always(status=307, headers={"Location": "http://bank.example/"}), BadAnswer, "responded with status 307"),
        (_silent, Unreachable, r"no response within 0\.5 s"),
    ],
)
async def test_an_answer_to_a_body_has_the_same_bounds(
    clock: Clock, handler: Handler, error: type[SourceError], told: str
) -> None:
    """Size, status, redirects and time are watched as ever."""
    limits = {"timeout": timedelta(seconds=0.5)} if handler is _silent else {}
    async with serving(handler, clock, max_bytes=10, **limits) as bank:
        with pytest.raises(error, match=told):
            await bank.feed.post("/", b"<question/>", SOAP)
    assert len(bank.targets) == 1


@pytest.mark.parametrize(("key", "name"), [("cba", "2026-03-17-to-18.xml"), ("mnb", "2025-03-27-to-28.xml")])
async def test_soap_bank_is_polled_and_parsed(clock: Clock, key: str, name: str) -> None:
    """A server that answers only an envelope with the bank's own action: its range becomes fixings."""

    async def handler(request: web.Request) -> web.StreamResponse:
        envelope = etree.fromstring(await request.read())
        (operation,) = envelope.iterfind("{http://schemas.xmlsoap.org/soap/envelope/}Body/*")
        action = request.headers["SOAPAction"].strip('"')
        if request.method != "POST" or not action.endswith(f"/{etree.QName(operation).localname}"):
            return web.Response(status=500)
        return web.Response(body=document(key, name), content_type="text/xml", headers={"Cache-Control": "private"})

    async with serving(handler, clock) as bank:
        feed = way_to(bank.feed.source.url, bank.feed.client, clock, key)
        fixings = [one async for _, one in published(SOURCES[key], feed, date(2025, 3, 1), day(2))]
    assert [len(fixing.rates) for fixing in fixings] == [len(one.rates) for one in parse(key, document(key, name))]
    assert {fixing.url for fixing in fixings} == {f"{feed.url}/{bank.targets[0].removeprefix('/rss/')}"}


async def test_what_a_bank_does_not_have_is_nothing_where_404_means_that(clock: Clock) -> None:
    """Looked for, a 404 is None, at once; what is there is had as ever, the conditional way."""
    answers = in_turn(
        lambda: web.Response(status=404),
        lambda: web.Response(body=BODY, headers={"ETag": '"1"'}),
        lambda: web.Response(status=304),
    )
    async with serving(answers, clock) as bank:
        with stamina.set_testing(True, attempts=3):
            found = [await bank.feed.find("/a") for _ in range(3)]
    assert [payload and payload.body for payload in found] == [None, BODY, BODY]


@pytest.mark.parametrize(
    ("status", "error"), [(400, BadAnswer), (403, BadAnswer), (410, BadAnswer), (503, Unreachable)]
)
async def test_only_404_means_nothing(clock: Clock, status: int, error: type[SourceError]) -> None:
    """Every other status that is no answer stays none, also for what is looked for."""
    async with serving(always(status=status), clock) as bank:
        with pytest.raises(error, match=f"status {status}"):
            await bank.feed.find("/a")


async def test_requests_to_one_bank_are_sequential(clock: Clock) -> None:
    """Five questions at once arrive one after the other, in order: the next is not sent before the answer."""
    under_way: list[int] = []
    now = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal now
        if request.path != "/rss/later":
            now += 1
            under_way.append(now)
            await other.get("/later")  # what was sent at once would have arrived before
            now -= 1
        return web.Response(text=request.path)

    async with serving(handler, clock) as bank:
        other = way_to(bank.feed.source.url, bank.feed.client, clock, "cbr")
        payloads = await asyncio.gather(*(bank.feed.get(f"/{number}") for number in range(5)))
    assert under_way == [1] * 5
    paths = [f"/rss/{number}" for number in range(5)]
    assert [payload.body.decode() for payload in payloads] == paths
    assert [target for target in bank.targets if target != "/rss/later"] == paths


async def test_two_banks_are_polled_concurrently(clock: Clock) -> None:
    """A slow bank holds up no other: each answers only once both have been asked."""
    both = asyncio.Barrier(2)

    async def handler(_: web.Request) -> web.StreamResponse:
        await both.wait()
        return web.Response(body=BODY)

    async with serving(handler, clock) as bank:
        other = way_to(bank.feed.source.url, bank.feed.client, clock, "cbr")
        payloads = await asyncio.gather(bank.feed.get("/"), other.get("/"))
    assert [(payload.source, payload.base) for payload in payloads] == [("nbk", "KZT"), ("cbr", "RUB")]


async def test_bank_can_be_requested_again_after_a_failure(clock: Clock) -> None:
    """An error gives the turn back."""
    answers = in_turn(lambda: web.Response(status=404), lambda: web.Response(body=BODY))
    async with serving(answers, clock) as bank:
        with pytest.raises(BadAnswer):
            await bank.feed.get("/")
        assert (await bank.feed.get("/")).body == BODY


async def test_a_client_that_is_not_open_says_so(clock: Clock) -> None:
    """Used outside its context the client names the mistake of ours; it is no failure of the bank."""
    with pytest.raises(RuntimeError, match="not open"):
        await way_to("http://127.0.0.1", Client(ClientSettings()), clock).get("/")
