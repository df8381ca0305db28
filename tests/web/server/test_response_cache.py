"""The micro-cache: what it answers is what the routes would, at any time and to everybody."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product

import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from service.domain.fixing import Rate
from service.settings import Settings
from service.storage.repository import Store
from service.web.http.responses import Representation, cache_for
from service.web.server.response_cache import STATUSES, ResponseCache
from service.web.server.runner import RESPONSE_CACHE
from tests.conftest import Clock, Served, Started
from tests.support.fixings import APRIL
from tests.support.http import body, until_ready
from tests.support.standin import Banks
from tests.support.wait import until

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
PAGE = Representation(b"usd -0.77%\n" * 50, "text/plain; charset=utf-8", cache_for(60))


@dataclass
class Asked:
    """A handler whose replies lie ready, and how often it was asked."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    times: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    async def ready(self, request: web.BaseRequest) -> web.StreamResponse:
        self.times += 1
        assert isinstance(request, web.Request)
        request[STATUSES] = self.statuses
        return PAGE.reply(request, self.clock.seconds())


async def test_within_a_second_a_question_is_answered_once() -> None:
    """The same reply to all who ask it, each counted; the next second has its own, with its own time."""
    asked = Asked()
    handle = ResponseCache(asked.clock).before(asked.ready)
    request = make_mocked_request("GET", "/v1/ticker.txt", headers={"Host": "h"})
    first = await handle(request)
    asked.clock.forward(seconds=0.9)
    assert [await handle(request) for _ in range(3)] == [first] * 3
    assert (asked.times, asked.statuses) == (1, {200: 3})  # the first is counted by its route
    asked.clock.forward(seconds=0.1)
    assert await handle(request) is not first
    assert asked.times == 2


async def test_a_clock_that_is_set_back_is_followed() -> None:
    """A reply never tells another second than that of its request."""
    asked = Asked()
    handle = ResponseCache(asked.clock).before(asked.ready)
    request = make_mocked_request("GET", "/v1/ticker.txt", headers={"Host": "h"})
    first = await handle(request)
    asked.clock.forward(seconds=-5)
    assert await handle(request) is not first


async def test_what_is_kept_is_bounded() -> None:
    """Many different questions and long ones are answered, and do not stay."""
    asked = Asked()
    cache = ResponseCache(asked.clock)
    handle = cache.before(asked.ready)
    for number in range(150):
        long = "x" * 1000 + str(number)
        for path, headers in (
            (f"/v1/ticker?{number}", {}),
            (f"/v1/ticker?{long}", {}),
            ("/", {"If-None-Match": f'"{number}"'}),
            ("/", {"Accept-Encoding": long}),
            ("/", {"Accept-Language": long}),
            ("/", {"Host": long}),
        ):
            asking = make_mocked_request("GET", path, headers={"Host": "h", **headers})
            assert (await handle(asking)).status == 200
            assert len(cache._cached) <= 128
    assert cache._cached
    assert all(len(part or "") <= 200 for question in cache._cached for part in question[:6])


async def test_who_names_no_host_is_answered_anew() -> None:
    """Who names none is told the address that was connected to, which is another one for another reader."""
    asked = Asked()
    cache = ResponseCache(asked.clock)
    handle = cache.before(asked.ready)
    for times in (1, 2):
        await handle(make_mocked_request("GET", "/", headers={}, version=HttpVersion10))
        assert (asked.times, len(cache._cached)) == (times, 0)


async def test_uncacheable_response_is_requested_each_time() -> None:
    """Neither a reply that a route made for one request nor another kind of reply is kept."""
    asked = Asked()

    async def work(request: web.BaseRequest) -> web.StreamResponse:
        asked.times += 1
        assert isinstance(request, web.Request)
        return PAGE.reply(request, asked.clock.seconds())

    async def other(request: web.BaseRequest) -> web.StreamResponse:
        await asked.ready(request)
        return web.Response(text="of another kind")

    for whole in (work, other):
        cache = ResponseCache(asked.clock)
        handle = cache.before(whole)
        asked.times = 0
        for _ in range(3):
            await handle(make_mocked_request("GET", "/v1/history/usd", headers={"Host": "h"}))
        assert (asked.times, len(cache._cached)) == (3, 0)


@pytest.fixture
async def both() -> AsyncIterator[tuple[TestClient, TestClient]]:  # type: ignore[type-arg]
    """Yield a client of the page as the routes serve it, and one with the micro-cache before them."""
    asked = Asked()
    clients = []
    for server in (TestServer, Served):
        app = web.Application()
        app[RESPONSE_CACHE] = ResponseCache(asked.clock)
        app.router.add_get("/", asked.ready)
        clients.append(TestClient(server(app), auto_decompress=False))
    async with clients[0] as routes, clients[1] as cached:
        yield routes, cached


async def test_nobody_gets_what_was_meant_for_another(both: tuple[TestClient, TestClient]) -> None:  # type: ignore[type-arg]
    """Whatever two requests differ in: each gets of the micro-cache what it would get without."""
    routes, cached = both
    tags = (None, f'"{PAGE.tag}"', f'"{PAGE.tag}-gzip"', "*", '"other"')
    codings = ("identity", "gzip", "gzip;q=0", "*")
    answers = set()
    for _ in range(2):  # the second time from the micro-cache
        for method, tag, coding, connection in product(("GET", "HEAD"), tags, codings, (None, "close")):
            headers = {"If-None-Match": tag, "Accept-Encoding": coding, "Connection": connection}
            told = {name: value for name, value in headers.items() if value}
            seen = []
            for client in (routes, cached):
                async with client.request(method, "/", headers=told) as response:
                    seen.append((response.status, dict(response.headers), await response.read()))
            assert seen[0] == seen[1]
            answers.add(str(seen[0]))
    assert len(answers) == 12  # 200 plain and gzip, each with and without a body; 304 of both; each kept or closed


async def test_a_new_snapshot_is_shown_at_once(start: Started, banks: Banks, settings: Settings) -> None:
    """Within the very second in which another was served (the clock stands): its news bring readers here."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.get("/v1/ticker") as response:
        assert '"rate":475.09' in await body(response)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        latest = await until(lambda: store.fixing("nbk", date(2026, 4, 2)))  # shown first, stored then
        corrected = replace(latest, rates={**latest.rates, "USD": Rate(Decimal("475.10"))}, digest="f" * 64)
        await store.save(corrected.with_revision_of(latest))
        await store.coordination.publish_change()

    async def corrected_rate_is_shown() -> bool:
        async with client.get("/v1/ticker") as response:
            return '"rate":475.10' in await body(response)

    await until(corrected_rate_is_shown)


async def test_response_depends_only_on_its_request(start: Started, banks: Banks) -> None:
    """A host and a language, asked for within one second, are seen by those who named them."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    for host, lang in (*product(("localhost:1", "localhost:2"), ("kk", "ru")),) * 2:
        async with client.get("/", headers={"Host": host, "Accept-Language": lang}) as response:
            page = await body(response)
        told = {name for name in ("localhost:1", "localhost:2", '<html lang="kk"', '<html lang="ru"') if name in page}
        assert told == {host, f'<html lang="{lang}"'}


async def test_nothing_else_of_a_request_changes_a_ready_reply(start: Started, banks: Banks) -> None:
    """What the micro-cache does not look at no ready route looks at: each answers the same to an odd reader."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    app = client.app
    assert app is not None
    paths = [route.resource.canonical for route in app.router.routes() if route.resource and route.method == "GET"]
    ready = [path for path in paths if path.startswith(("/v1/ticker", "/embed")) and "{" not in path] + ["/"]
    assert len(ready) > 7
    odd = {
        **dict.fromkeys(("Cookie", "Authorization", "Range", "User-Agent", "Cache-Control", "X-Ticker"), "odd"),
        **dict.fromkeys(("Origin", "Referer", "X-Forwarded-Host", "X-Original-URL"), "http://odd.example/"),
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=odd.example;proto=https",
        "Accept": "text/odd",
        "Save-Data": "on",
        "If-Modified-Since": "Thu, 02 Apr 2026 00:00:00 GMT",
    }
    for path in ready:
        seen = []
        for headers in ({}, odd):
            client.app[RESPONSE_CACHE].forget()
            async with client.get(path, headers=headers) as response:
                seen.append((response.status, dict(response.headers), await response.read()))
        assert seen[0] == seen[1], path


async def test_hits_are_counted(start: Started, banks: Banks) -> None:
    """`/metrics` tells as many replies of a route as there were, by their status."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.get("/v1/ticker.txt") as response:
        tag = response.headers["ETag"]
    for headers in ({}, {}, {"If-None-Match": tag}, {"If-None-Match": tag}, {"If-None-Match": tag}):
        async with client.get("/v1/ticker.txt", headers=headers) as response:
            await response.read()
    async with client.get("/metrics") as response:
        lines = (await body(response)).splitlines()
    counts = [line for line in lines if line.startswith("ticker_requests_total") and '"/v1/ticker.txt"' in line]
    assert sorted(int(float(line.split()[-1])) for line in counts) == [3, 3]
