"""The response cache: cached responses equal those of the routes, for every client and at any time."""

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
from tests.conftest import Clock, ProductionServer, Started
from tests.support.fixings import APRIL
from tests.support.http import body, until_ready
from tests.support.standin import Banks
from tests.support.wait import until

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
PAGE = Representation(b"usd -0.77%\n" * 50, "text/plain; charset=utf-8", cache_for(60))


@dataclass
class CacheableHandler:
    """A handler of cacheable responses that counts its calls."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    calls: int = 0
    statuses: Counter[int] = field(default_factory=Counter)

    async def cached(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls += 1
        assert isinstance(request, web.Request)
        request[STATUSES] = self.statuses
        return PAGE.reply(request, self.clock.seconds())


async def test_response_is_cached_for_one_second() -> None:
    """Repeated requests get the same response and are counted; the next second gets a new one with its own Date."""
    handler = CacheableHandler()
    handle = ResponseCache(handler.clock).before(handler.cached)
    request = make_mocked_request("GET", "/v1/ticker.txt", headers={"Host": "h"})
    first = await handle(request)
    handler.clock.forward(seconds=0.9)
    assert [await handle(request) for _ in range(3)] == [first] * 3
    assert (handler.calls, handler.statuses) == (1, {200: 3})  # the first one is counted by its route
    handler.clock.forward(seconds=0.1)
    assert await handle(request) is not first
    assert handler.calls == 2


async def test_clock_set_back_invalidates_the_cache() -> None:
    """The Date of a response is that of its request."""
    handler = CacheableHandler()
    handle = ResponseCache(handler.clock).before(handler.cached)
    request = make_mocked_request("GET", "/v1/ticker.txt", headers={"Host": "h"})
    first = await handle(request)
    handler.clock.forward(seconds=-5)
    assert await handle(request) is not first


async def test_cache_size_is_bounded() -> None:
    """Many different and very long requests are served without being cached."""
    handler = CacheableHandler()
    cache = ResponseCache(handler.clock)
    handle = cache.before(handler.cached)
    for number in range(150):
        long_text = "x" * 1000 + str(number)
        for path, headers in (
            (f"/v1/ticker?{number}", {}),
            (f"/v1/ticker?{long_text}", {}),
            ("/", {"If-None-Match": f'"{number}"'}),
            ("/", {"Accept-Encoding": long_text}),
            ("/", {"Accept-Language": long_text}),
            ("/", {"Host": long_text}),
        ):
            request = make_mocked_request("GET", path, headers={"Host": "h", **headers})
            assert (await handle(request)).status == 200
            assert len(cache._cached) <= 128
    assert cache._cached
    assert all(len(part or "") <= 200 for key in cache._cached for part in key[:6])


async def test_request_without_host_is_not_cached() -> None:
    """Its response contains the address it connected to, which differs between clients."""
    handler = CacheableHandler()
    cache = ResponseCache(handler.clock)
    handle = cache.before(handler.cached)
    for calls in (1, 2):
        await handle(make_mocked_request("GET", "/", headers={}, version=HttpVersion10))
        assert (handler.calls, len(cache._cached)) == (calls, 0)


async def test_uncacheable_responses_are_not_cached() -> None:
    """Neither responses made for one request nor responses of another kind."""
    handler = CacheableHandler()

    async def uncached(request: web.BaseRequest) -> web.StreamResponse:
        handler.calls += 1
        assert isinstance(request, web.Request)
        return PAGE.reply(request, handler.clock.seconds())

    async def of_another_kind(request: web.BaseRequest) -> web.StreamResponse:
        await handler.cached(request)
        return web.Response(text="of another kind")

    for route in (uncached, of_another_kind):
        cache = ResponseCache(handler.clock)
        handle = cache.before(route)
        handler.calls = 0
        for _ in range(3):
            await handle(make_mocked_request("GET", "/v1/history/usd", headers={"Host": "h"}))
        assert (handler.calls, len(cache._cached)) == (3, 0)


@pytest.fixture
async def clients() -> AsyncIterator[tuple[TestClient, TestClient]]:  # type: ignore[type-arg]
    """Yield a client of the routes alone, and one of the routes behind the response cache."""
    handler = CacheableHandler()
    clients = []
    for server in (TestServer, ProductionServer):
        app = web.Application()
        app[RESPONSE_CACHE] = ResponseCache(handler.clock)
        app.router.add_get("/", handler.cached)
        clients.append(TestClient(server(app), auto_decompress=False))
    async with clients[0] as routes, clients[1] as cached:
        yield routes, cached


async def test_cached_responses_equal_uncached_ones(clients: tuple[TestClient, TestClient]) -> None:  # type: ignore[type-arg]
    """For all combinations of method, ETag, encoding and connection."""
    routes, cached = clients
    tags = (None, f'"{PAGE.tag}"', f'"{PAGE.tag}-gzip"', "*", '"other"')
    encodings = ("identity", "gzip", "gzip;q=0", "*")
    distinct = set()
    for _ in range(2):  # the second time from the response cache
        for method, tag, encoding, connection in product(("GET", "HEAD"), tags, encodings, (None, "close")):
            headers = {"If-None-Match": tag, "Accept-Encoding": encoding, "Connection": connection}
            sent = {name: value for name, value in headers.items() if value}
            responses = []
            for client in (routes, cached):
                async with client.request(method, "/", headers=sent) as response:
                    responses.append((response.status, dict(response.headers), await response.read()))
            assert responses[0] == responses[1]
            distinct.add(str(responses[0]))
    assert len(distinct) == 12  # 200 plain and gzip, with and without body; 304 of both; each keep-alive or close


async def test_new_snapshot_invalidates_the_cache(start: Started, banks: Banks, settings: Settings) -> None:
    """The clock is stopped, so the cached response would not expire: events make clients request at once."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.get("/v1/ticker") as response:
        assert '"rate":475.09' in await body(response)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        latest = await until(lambda: store.fixing("nbk", date(2026, 4, 2)))  # it is served before it is stored
        corrected = replace(latest, rates={**latest.rates, "USD": Rate(Decimal("475.10"))}, digest="f" * 64)
        await store.save(corrected.with_revision_of(latest))
        await store.coordination.publish_change()

    async def corrected_rate_is_shown() -> bool:
        async with client.get("/v1/ticker") as response:
            return '"rate":475.10' in await body(response)

    await until(corrected_rate_is_shown)


async def test_response_depends_only_on_its_request(start: Started, banks: Banks) -> None:
    """Requests with different hosts and languages within one second get different responses."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    for host, lang in (*product(("localhost:1", "localhost:2"), ("kk", "ru")),) * 2:
        async with client.get("/", headers={"Host": host, "Accept-Language": lang}) as response:
            page = await body(response)
        mentioned = {
            name for name in ("localhost:1", "localhost:2", '<html lang="kk"', '<html lang="ru"') if name in page
        }
        assert mentioned == {host, f'<html lang="{lang}"'}


async def test_headers_outside_the_cache_key_change_no_response(start: Started, banks: Banks) -> None:
    """Otherwise one client could get the response of another."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    app = client.app
    assert app is not None
    paths = [route.resource.canonical for route in app.router.routes() if route.resource and route.method == "GET"]
    cached_paths = [path for path in paths if path.startswith(("/v1/ticker", "/embed")) and "{" not in path] + ["/"]
    assert len(cached_paths) > 7
    unrelated_headers = {
        **dict.fromkeys(("Cookie", "Authorization", "Range", "User-Agent", "Cache-Control", "X-Ticker"), "odd"),
        **dict.fromkeys(("Origin", "Referer", "X-Forwarded-Host", "X-Original-URL"), "http://odd.example/"),
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=odd.example;proto=https",
        "Accept": "text/odd",
        "Save-Data": "on",
        "If-Modified-Since": "Thu, 02 Apr 2026 00:00:00 GMT",
    }
    for path in cached_paths:
        responses = []
        for headers in ({}, unrelated_headers):
            client.app[RESPONSE_CACHE].forget()
            async with client.get(path, headers=headers) as response:
                responses.append((response.status, dict(response.headers), await response.read()))
        assert responses[0] == responses[1], path


async def test_cache_hits_are_counted(start: Started, banks: Banks) -> None:
    """`/metrics` counts all responses of a route by status."""
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
