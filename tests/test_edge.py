"""The deployed edge: caching, forwarding, limits and failover."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from yarl import URL

from service.settings.loader import ROOT
from service.web.api.chart import FORMATS as CHARTS
from service.web.http.responses import accepts_gzip
from service.web.rendering.formats import FORMATS
from tests.abuse.talk import send_raw
from tests.support.edge import Edge, run_edge
from tests.support.ports import unused_port
from tests.support.process import Service, offline, running
from tests.support.wait import until, until_true

CACHEABLE = "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400"


@dataclass
class Instance:
    """A stand-in for an instance that records its requests and can be stopped."""

    port: int = field(default_factory=unused_port)
    cache_control: str = CACHEABLE
    cache_controls: dict[str, str] = field(default_factory=dict)
    """Cache-Control by path, where it differs."""
    body: str = "first"
    status: int = 200
    release: asyncio.Event | None = None
    """Responses wait until it is set."""
    held_prefix: str = "/"
    """Prefix of the paths whose responses wait."""
    requests: int = 0
    record: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Paths and headers of requests as received; instances may share the list."""
    _runner: web.AppRunner | None = None

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.record.append((str(request.rel_url), dict(request.headers)))
        if self.release and request.path.startswith(self.held_prefix):
            await self.release.wait()
        cache_control = self.cache_controls.get(request.path, self.cache_control)
        tag = f'"{self.body}"'
        headers = {"Cache-Control": cache_control, "ETag": tag, "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(text=self.body, status=self.status, headers=headers)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", r"/{path:[\s\S]*}", self.respond)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None


@dataclass
class Stack:
    """Two stand-in instances behind an edge, and a client in front of it."""

    edge: Edge
    instances: tuple[Instance, Instance]
    client: aiohttp.ClientSession

    @property
    def requests(self) -> list[str]:
        return [path for path, _ in self.instances[0].record]

    @property
    def headers(self) -> list[Mapping[str, str]]:
        return [headers for _, headers in self.instances[0].record]

    def configure(self, **attributes: Any) -> None:
        for instance in self.instances:
            for name, value in attributes.items():
                setattr(instance, name, value)

    def count(self, path: str) -> int:
        """Return how many requests for a path reached the instances."""
        return self.requests.count(path)

    async def get_on_new_connection(self, path: str) -> tuple[int, str]:
        """Request a path over a new connection: nginx refreshes a copy on the connection that got the stale one."""
        async with open_client() as client, client.get(f"{self.edge.url}{path}") as response:
            return response.status, await response.text()

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Request a path without normalizing it."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"{self.edge.url}{path}", encoded=True)
        async with self.client.request(method, url, headers=named) as response:
            return response.status, await response.text()


@asynccontextmanager
async def open_client(address: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client at a local address that adds no headers of its own."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, skip_auto_headers={"Accept-Encoding", "Accept", "User-Agent"}
    ) as session:
        yield session


@pytest.fixture
def rate() -> str | None:
    """Return the rate limit of an address, or None for the deployed limit. Tests override it."""
    return None


LOW_RATE = pytest.mark.parametrize("rate", ["1r/m"])
"""Allows an address little more than its burst, however long a test takes."""
HIGH_RATE = pytest.mark.parametrize("rate", ["1000000r/s"])


@pytest.fixture
def closed() -> str:
    """Return the content of closed.conf; by default there is no such file. Tests override it."""
    return ""


@pytest.fixture
async def stack(rate: str | None, closed: str) -> AsyncIterator[Stack]:
    first = Instance()
    instances = first, Instance(record=first.record)
    with run_edge([instance.port for instance in instances], rate=rate, closed=closed) as edge:
        for instance in instances:
            await instance.start()
        async with open_client() as client:
            yield Stack(edge, instances, client)
        for instance in instances:
            await instance.stop()


class TestCacheKey:
    """Copies are cached by path and known query parameters; nothing else reaches the service."""

    async def test_concurrent_requests_for_a_page_are_collapsed(self, stack: Stack) -> None:
        """Twenty clients cause one request; HEAD is served from the same copy."""
        await stack.get("/v1/ticker")
        responses = await asyncio.gather(*(stack.get("/v1/ticker") for _ in range(20)))
        assert set(responses) == {(200, "first")}
        assert await stack.get("/v1/ticker", "HEAD") == (200, "")
        assert stack.requests == ["/v1/ticker"]

    async def test_unknown_parameters_share_one_copy(self, stack: Stack) -> None:
        """Unknown parameters, another order and parameters of other paths give the same copy."""
        for unknown in (
            "",
            "&x=1",
            "&utm_source=mail",
            "&theme=dark",
            "&from=2026-01-01",
            "&=&&",
            "&xlang=kk&lang2=kk",
        ):
            assert await stack.get(f"/v1/ticker?currencies=usd{unknown}&lang=kk") == (200, "first")
        await stack.get("/v1/ticker?lang=kk&currencies=usd")
        assert [URL(path).query for path in stack.requests] == [{"currencies": "usd", "lang": "kk"}]
        for number in range(20):
            await stack.get(f"/v1/ticker?{number}")
            await stack.get(f"/embed.js?v={number}")
        assert Counter(stack.requests[1:]) == {"/v1/ticker": 1, "/embed.js": 1}

    async def test_edge_forwards_the_parameters_of_each_path(self, stack: Stack) -> None:
        """Each path receives the parameters that its format reads or names as ignored, unchanged, and no others."""
        every = {name for form in FORMATS.values() for name in form.takes} | {"currencies", "ticker"}
        every |= {name for output in CHARTS.values() for name in output.takes}
        every |= {"from", "to", "on", "amount", "url", "format", "maxwidth", "maxheight", "compare"}
        named = {"embed": ["/embed"], "index": ["/"]}
        for form, definition in FORMATS.items():
            suffixed = [f"/v1/ticker.{form}", f"/v1/ticker/kzt.{form}"]
            paths = named.get(form, [*suffixed, "/v1/ticker", "/v1/ticker/kzt"] if form == "json" else suffixed)
            more = {"ticker", "currencies"} if form in named else {"currencies"}
            more |= definition.ignores | ({"on"} if definition.dated else set())
            for path in paths:
                assert await _forwarded_parameters(stack, path, every) == definition.takes - {"origin"} | more, path
        for path, known in {
            "/v1/stream": FORMATS["json"].takes | {"ticker", "currencies"},
            "/v1/history/usd": {"ticker", "from", "to"},
            "/v1/history/usd.csv": {"ticker", "from", "to"},
            "/v1/chart/usd": {"ticker", *CHARTS["json"].takes},
            **{f"/v1/chart/usd.{form}": {"ticker", *output.takes} for form, output in CHARTS.items()},
            "/v1/rates/2026-04-02": {"ticker", "currencies"},
            "/v1/convert": {"ticker", "from", "to", "amount", "on"},
            "/oembed": {"url", "format", "maxwidth", "maxheight"},
            "/rates": {"ticker", "lang"},
            "/rates/usd": {"ticker", "lang", "range", "compare"},
            "/fixings/nbk/2026-04-02": {"ticker", "lang"},
            "/v1/sources": set(),
            "/status": {"lang"},
            "/v1/fixings/nbk/2026-04-02": set(),
            "/static/page.css": set(),
            "/openapi.json": set(),
            "/docs": set(),
        }.items():
            assert await _forwarded_parameters(stack, path, every) == known, path

    async def test_different_pages_have_separate_copies(self, stack: Stack) -> None:
        """By value, by presence (`spark`, and `lang=` is present), by each of several currencies, by path."""
        queries = [
            "", "?spark", "?spark=0", "?spark=", "?lang=", "?lang=kk", "?lang=KK", "?currencies=usd,eur",
            "?currencies=eur,usd", "?currencies=usd&currencies=eur", "?currencies=usd", "?currencies=usd%2Ceur",
        ]  # fmt: skip
        paths = [f"/v1/ticker{query}" for query in queries] + [
            "/v1/ticker.json",
            "/v1/ticker/kzt",
            "/v1/ticker%3Flang=kk",
        ]
        for _ in range(2):
            for path in paths:
                await stack.get(path)
        assert [path.replace("?&", "?") for path in sorted(stack.requests)] == sorted(paths)

    async def test_encoded_path_is_not_read_as_a_query(self, stack: Stack) -> None:
        """An encoded question mark, line end or slash stays encoded, in the key and in the forwarded request."""
        paths = ("/v1/ticker%3F", "/v1/ticker/a%0DX-Evil:%201", "/v1/ticker/%20b", "/v1/ticker/a%0D%0A%0D%0AGET%20/")
        for path in paths:
            await stack.get(path)
        assert all("X-Evil" not in headers for headers in stack.headers)
        assert sorted(stack.requests) == sorted(paths)
        assert not any(URL(path).query for path in stack.requests)

    async def test_accept_encoding_is_reduced_to_gzip_or_none(self, stack: Stack) -> None:
        """The edge requests gzip where the service would have sent it, and no coding otherwise."""
        accepted = [
            "gzip", "gzip, deflate, br, zstd", "br", "", "identity", "*", "*;q=0", "gzip;q=0", "gzip;q=0.0, *", "GZIP",
            "deflate, gzip;q=1.0, *;q=0.5", "br;q=1.0, gzip;q=0.8", "x-gzip", "gzipped", "gzip ; q=0.001",
            "identity, *;q=0.1",
        ]  # fmt: skip
        for number, header in enumerate(accepted):
            path = f"/v1/ticker/{number}"
            await stack.get(path, Accept_Encoding=header)
            gzip = accepts_gzip(header)
            assert stack.headers[-1].get("Accept-Encoding") == ("gzip" if gzip else None), header
            for same in ("gzip, br", "gzip, deflate, br, zstd") if gzip else ("br", "zstd", "identity"):
                await stack.get(path, Accept_Encoding=same)
            assert stack.requests[number:] == [path], header

    async def test_accept_language_separates_negotiated_pages(self, stack: Stack) -> None:
        """On the pages that negotiate the language, and with `lang=auto`."""
        for path, copies in {
            "/embed": 2,
            "/": 2,
            "/status": 2,
            "/rates": 2,
            "/rates/usd?range=1m": 2,
            "/fixings/nbk/2026-04-02": 2,
            "/v1/ticker?lang=auto": 2,
            "/embed?lang=kk": 1,
            "/status?lang=kk": 1,
            "/rates/usd?lang=kk": 1,
            "/v1/fixings/nbk/2026-04-02": 1,
            "/v1/ticker": 1,
        }.items():
            before = len(stack.requests)
            for language in ("kk,ru;q=0.8", "ru", "kk,ru;q=0.8"):
                await stack.get(path, Accept_Language=language)
            assert len(stack.requests) - before == copies, path
            sent = {headers.get("Accept-Language") for headers in stack.headers[-copies:]}
            assert sent <= ({"kk,ru;q=0.8", "ru"} if copies == 2 else {None}), path

    async def test_host_separates_pages_that_contain_it(self, stack: Stack) -> None:
        """A page for the host `localhost` is not served to others; other names change nothing."""
        for path, copies in {"/": 2, "/embed": 2, "/rates/usd": 2, "/oembed?url=x": 3, "/v1/ticker": 1}.items():
            before = len(stack.requests)
            for host in ("one.example", "two.example", "localhost:9999"):
                await stack.get(path, Host=host)
            assert len(stack.requests) - before == copies, path


async def _forwarded_parameters(stack: Stack, path: str, every: set[str]) -> set[str]:
    """Send every parameter and return those that reach an instance."""
    await stack.get(f"{path}?{'&'.join(f'{name}=of%20{name}' for name in sorted(every))}")
    query = URL(next(target for target in reversed(stack.requests) if target.split("?")[0] == path)).query
    assert all(value == f"of {name}" for name, value in query.items())
    return set(query)


class TestFreshness:
    """The service decides how old a copy may be."""

    async def test_matching_etag_returns_304(self, stack: Stack) -> None:
        """304 from the copy, also for one of several ETags; a full response for another ETag."""
        for _ in range(2):
            assert await stack.get("/v1/ticker", If_None_Match='"other", "first"') == (304, "")
            assert await stack.get("/v1/ticker", If_None_Match='"other"') == (200, "first")
        assert stack.requests == ["/v1/ticker"]

    @HIGH_RATE
    async def test_cached_response_has_its_age(self, stack: Stack) -> None:
        """Date and max-age are those of the service's latest response, so that a client's copy expires in time."""

        async def freshness(path: str) -> tuple[list[str], str]:
            async with stack.client.get(stack.edge.url + path) as response:
                return response.headers.getall("Date"), response.headers["Cache-Control"]

        async def renewed() -> tuple[list[str], str] | None:
            again = await freshness("/embed")
            return again if again[1] == "public, max-age=9" else None

        stack.configure(cache_controls={"/embed": "public, max-age=1"})
        kept, short = await freshness("/v1/ticker"), await freshness("/embed")
        stack.configure(cache_controls={"/embed": "public, max-age=9"})
        again = await until(renewed)
        assert again[0] != short[0]
        assert await freshness("/v1/ticker") == kept
        assert len(kept[0]) == 1

    @pytest.mark.parametrize("cache_control", ["no-store", "public, max-age=0, stale-if-error=60", "private"])
    async def test_uncacheable_response_is_not_cached(self, stack: Stack, cache_control: str) -> None:
        """Each request reaches an instance, and waits for no other."""
        release = asyncio.Event()
        stack.configure(cache_control=cache_control, release=release)
        requests = [asyncio.create_task(stack.get("/v1/ticker")) for _ in range(20)]
        await until_true(lambda: len(stack.requests) == 20)  # no response has been sent yet
        release.set()
        assert set(await asyncio.gather(*requests)) == {(200, "first")}
        assert len(stack.requests) == 20

    @HIGH_RATE
    async def test_client_does_not_wait_for_a_change(self, stack: Stack) -> None:
        """Within stale-while-revalidate the copy is served and refreshed in the background; later it is not served."""
        grace, none = "public, max-age=1, stale-while-revalidate=600", "public, max-age=1, stale-while-revalidate=0"
        stack.configure(cache_controls={"/v1/ticker": grace, "/embed": none})
        for path in ("/v1/ticker", "/embed"):
            await stack.get(path)
        release = asyncio.Event()
        stack.configure(body="second", cache_controls={}, release=release, held_prefix="/v1/ticker")

        async def requested_again() -> bool:
            assert await stack.get_on_new_connection("/v1/ticker") == (200, "first")
            return stack.count("/v1/ticker") == 2

        async def updated() -> bool:
            response = await stack.get_on_new_connection("/embed")
            assert response == (200, "second" if stack.count("/embed") == 2 else "first")
            return response == (200, "second")

        async def refreshed() -> bool:
            return await stack.get_on_new_connection("/v1/ticker") == (200, "second")

        await until(requested_again)
        await until(updated)
        assert await stack.get_on_new_connection("/v1/ticker") == (200, "first")  # the refresh has no response yet
        release.set()
        await until(refreshed)
        assert Counter(stack.requests) == {"/v1/ticker": 2, "/embed": 2}

    @HIGH_RATE
    async def test_edge_serves_stale_content_when_no_instance_responds(self, stack: Stack) -> None:
        """The last copy of each page within stale-if-error; without a copy, a problem document."""
        age = "public, max-age=1, stale-while-revalidate=0, stale-if-error="
        stack.configure(cache_controls={"/v1/ticker": f"{age}600", "/embed": f"{age}1"})
        for path in ("/v1/ticker", "/embed"):
            await stack.get(path)
        stack.configure(status=500)

        async def requested_again() -> bool:
            assert await stack.get("/v1/ticker") == (200, "first")
            return stack.count("/v1/ticker") > 1

        async def expired() -> bool:
            response = await stack.get("/embed")
            assert response == (200, "first") or response[0] == 502
            return response[0] == 502

        await until(requested_again)
        stack.configure(status=503)
        assert await stack.get("/v1/ticker") == (200, "first")
        for instance in stack.instances:
            await instance.stop()
        assert await stack.get("/v1/ticker") == (200, "first")
        await until(expired)
        assert await stack.get("/v1/ticker") == (200, "first")
        status, document = await stack.get("/v1/ticker.txt")
        assert status == 502
        assert json.loads(document) == {"type": "about:blank", "title": "Bad Gateway", "status": 502}
        for instance in stack.instances:
            await instance.start()
        stack.configure(status=200, body="second")
        for path in ("/v1/ticker", "/embed"):
            assert await stack.get(path) == (200, "second")


class TestFailover:
    """Any instance may fail."""

    async def test_instance_without_rates_is_bypassed(self, stack: Stack) -> None:
        """Its 503 is not served while the other instance responds; one error does not disable an instance."""
        stack.instances[0].status = 503
        for number in range(10):
            assert await stack.get(f"/v1/ticker/{number}") == (200, "first")
        stack.instances[0].status = 200
        stack.configure(cache_control="no-store")
        before = stack.instances[0].requests
        for number in range(10):
            assert await stack.get(f"/v1/ticker/{number}.txt") == (200, "first")
        assert stack.instances[0].requests > before

    async def test_hung_instance_is_bypassed(self, stack: Stack) -> None:
        """Clients get responses from the other instance while the first still hangs."""
        stack.instances[0].release = release = asyncio.Event()
        responses = await asyncio.gather(*(stack.get(f"/v1/ticker/{number}") for number in range(10)))
        assert set(responses) == {(200, "first")}
        assert 0 < stack.instances[0].requests < 10
        release.set()

    async def test_page_is_always_requested_from_the_same_instance(self, stack: Stack) -> None:
        """An instance that is updated a second later cannot show older rates than clients have seen."""
        stack.configure(cache_control="no-store")
        for _ in range(10):
            await stack.get("/v1/ticker")
        assert sorted(instance.requests for instance in stack.instances) == [0, 10]
        for number in range(20):
            await stack.get(f"/v1/ticker/{number}")
        assert all(instance.requests > 2 for instance in stack.instances)


class TestUntrustedRequests:
    """Requests of untrusted clients: what is forwarded, refused, limited and logged."""

    async def test_only_headers_that_the_service_reads_are_forwarded(self, stack: Stack) -> None:
        """No cookies, credentials or claims of others; the host only if a page contains it; the client's address."""
        sent = {
            "Cookie": "a=1",
            "Authorization": "b",
            "Referer": "http://r/",
            "X_Forwarded_For": "6.6.6.6",
            "X_Evil": "1",
            "X_Request_ID": "a-forged-id",
        }
        sent |= {
            "X_Forwarded_Proto": "https",
            "Forwarded": "for=6.6.6.6",
            "If_Modified_Since": "x",
            "Range": "bytes=0-1",
        }
        await stack.get("/v1/ticker", **sent)
        received = dict(stack.headers[0])
        assert re.fullmatch("[0-9a-f]{32}", received.pop("X-Request-ID"))  # never that of the client
        assert received == {"Host": "unnamed", "X-Forwarded-For": "127.0.0.1"}
        await stack.get("/v1/stream", Last_Event_ID="abc", **sent)
        assert stack.headers[-1]["Last-Event-ID"] == "abc"
        assert re.fullmatch("[0-9a-f]{32}", stack.headers[-1]["X-Request-ID"])

    @pytest.mark.parametrize(
        ("path", "accept", "forwarded"),
        [
            ("/", "text/html", "text/html"),
            ("/embed?lang=kk", "application/xhtml+xml,text/html,*/*;q=0.8", "text/html"),
            ("/embed", "*/*", None),
            ("/v1/ticker", "text/html", None),
        ],
    )
    async def test_instance_knows_browsers_where_errors_are_pages(
        self, stack: Stack, path: str, accept: str, forwarded: str | None
    ) -> None:
        await stack.get(path, Accept=accept)
        assert stack.headers[-1].get("Accept") == forwarded

    async def test_x_forwarded_for_of_a_trusted_proxy_is_used(self, stack: Stack) -> None:
        """From a trusted address the last entry of X-Forwarded-For is the client, from another it is not."""
        async with open_client("127.0.1.1") as client:
            await client.get(f"{stack.edge.url}/v1/ticker", headers={"X-Forwarded-For": "6.6.6.6, 7.7.7.7"})
        assert stack.headers[0]["X-Forwarded-For"] == "7.7.7.7"

    async def test_malformed_url_is_refused(self, stack: Stack) -> None:
        """A URL that is too long or contains a space: nginx's own page, without its version."""
        for path, status in {"/?" + "a" * 8000: 414, "/a b": 400}.items():
            returned, page = await stack.get(path)
            assert returned == status
            assert "<center>nginx</center>" in page
        assert stack.requests == []

    async def test_refusals_are_problem_documents(self, stack: Stack) -> None:
        """Any page may read them, they name no version, and no request reaches the service."""
        refused: list[tuple[str, str, dict[str, str], int]] = [
            ("POST", "/v1/ticker", {}, 405),
            ("DELETE", "/v1/ticker", {}, 405),
            ("TRACE", "/", {}, 405),
            ("GET", "/metrics", {}, 404),
            ("GET", "/metrics?x", {}, 404),
            ("GET", "//%6detrics", {}, 404),
            ("GET", "/", {"Cookie": "a" * 8000}, 431),
            ("GET", "/", {"Content-Length": "5000"}, 413),
        ]
        ids = list[str]()
        for method, path, headers, status in refused:
            url = URL(f"{stack.edge.url}{path}", encoded=True)
            async with stack.client.request(method, url, headers=headers) as response:
                document = await response.json(content_type="application/problem+json")
                assert (response.status, document["status"]) == (status, status)
                assert response.headers["Cache-Control"] == "no-store"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert response.headers["Access-Control-Expose-Headers"] == "Retry-After, X-Request-ID"
                assert response.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
                assert response.headers["Server"] == "nginx"
                ids.append(response.headers["X-Request-ID"])
        assert stack.requests == []
        lines = [json.loads(line) for line in stack.edge.stop().splitlines()]
        assert [line["request_id"] for line in lines] == ids
        assert len(set(ids)) == len(refused)

    @pytest.mark.parametrize("closed", ["location = /status { return 404; }\n"])
    async def test_status_page_can_be_closed(self, stack: Stack) -> None:
        """By a file beside the configuration, as /metrics is; the service still responds to it directly."""
        responses = [await stack.get(path) for path in ("/status", "/status?lang=kk", "//%73tatus", "/health")]
        assert [status for status, _ in responses] == [404, 404, 404, 200]
        assert stack.requests == ["/health"]

    @LOW_RATE
    async def test_request_rate_of_an_address_is_limited(self, stack: Stack) -> None:
        """Excess requests get status 429; other addresses are served meanwhile."""
        async with open_client("127.0.0.7") as greedy, open_client("127.0.0.8") as other:
            url = f"{stack.edge.url}/v1/ticker"
            responses = await asyncio.gather(*(_status(greedy, url) for _ in range(400)))
            assert 200 <= responses.count(200) <= 203
            assert responses.count(200) + responses.count(429) == 400
            assert await _status(other, url) == 200

    @LOW_RATE
    async def test_addresses_of_an_ipv6_network_share_a_limit(self, stack: Stack) -> None:
        """A client can choose the last 64 bits of its IPv6 address; the next network has a limit of its own."""
        async with open_client("127.0.1.1") as proxy:

            async def request(address: str) -> int:
                headers = {"X-Forwarded-For": address}
                async with proxy.get(f"{stack.edge.url}/v1/ticker", headers=headers) as response:
                    return response.status

            await request("2001:db8:0:1::")
            responses = await asyncio.gather(*(request(f"2001:db8:0:1:{number:x}::1") for number in range(1, 400)))
            assert responses.count(429) > 150
            assert await request("2001:db8:0:2::1") == 200
            assert [await request("10.1.2.3"), await request("10.1.2.4")] == [200, 200]

    @HIGH_RATE
    async def test_concurrent_requests_of_an_address_are_limited(self, stack: Stack) -> None:
        """At most 200 requests of an address are in progress, also below the rate limit."""
        release = asyncio.Event()
        stack.configure(release=release, held_prefix="/v1/history/", cache_control="no-store")
        async with open_client("127.0.0.7") as greedy, open_client("127.0.0.8") as other:
            url = f"{stack.edge.url}/v1/history/"
            first = [asyncio.create_task(_status(greedy, f"{url}{number}")) for number in range(190)]
            await until_true(lambda: len(stack.requests) == 190)
            more = [asyncio.create_task(_status(greedy, f"{url}{number}")) for number in range(190, 240)]
            await until_true(lambda: len(stack.requests) == 200 and sum(task.done() for task in more) == 40)
            assert await _status(other, f"{stack.edge.url}/v1/ticker") == 200
            release.set()
            assert Counter(await asyncio.gather(*first, *more)) == {200: 200, 429: 40}

    async def test_health_check_without_a_host_is_served(self, stack: Stack) -> None:
        """HTTP/1.0, as load balancers send it: the edge adds a host to its HTTP/1.1 request to the instance."""
        exchange = await send_raw(stack.edge.port, b"GET /livez HTTP/1.0\r\n\r\n", 2)
        assert (exchange.statuses, exchange.closed) == ((200,), True)

    @LOW_RATE
    async def test_log_has_no_client_data(self, stack: Stack) -> None:
        """One line per request with its outcome; no address, query or referrer, also for failures."""
        async with open_client("127.0.0.9") as client:
            for path in ("/v1/ticker?lang=kk", "/v1/ticker", "/metrics", "/v1/ticker?" + "a" * 8000):
                await _status(client, stack.edge.url + path)
            for instance in stack.instances:
                await instance.stop()
            await _status(client, f"{stack.edge.url}/v1/ticker.svg")
            await asyncio.gather(*(_status(client, f"{stack.edge.url}/v1/ticker") for _ in range(300)))
        log = stack.edge.stop()
        lines = [json.loads(line) for line in log.splitlines()]
        assert Counter(line["status"] for line in lines).keys() == {200, 404, 414, 429, 502}
        assert {line["cache"] for line in lines} >= {"MISS", "HIT"}
        assert "127.0.0.9" not in log
        assert "lang" not in log
        assert {line["instance"].split(":")[0] for line in lines} <= {"", "127.0.0.1"}


async def _status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as response:
        await response.read()
        return response.status


@contextmanager
def two_services(folder: Path, valkey: str) -> Iterator[tuple[Edge, list[Service], dict[str, str]]]:
    """Run the edge in front of shared_services real instances that share a store."""
    variables = offline(folder) | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": f"{folder.name}:"}
    with ExitStack() as stack:
        services = [stack.enter_context(running(variables)) for _ in range(2)]
        for service in services:
            service.wait_for("/v1/ticker.txt", "cny")
        yield stack.enter_context(run_edge([service.port or 0 for service in services])), services, variables


@dataclass
class Load:
    """Clients at addresses of their own that send requests continuously, and the statuses they got."""

    edge: Edge
    statuses: Counter[int | str] = field(default_factory=Counter)

    async def send_requests(self, number: int) -> None:
        paths = (
            "/v1/ticker",
            "/readyz",
            f"/v1/ticker.svg?currencies=usd&lang={('kk', 'ru', 'en')[number % 3]}",
            "/livez",
        )
        async with open_client(f"127.0.2.{number + 1}") as client:
            for turn in range(10_000):
                try:
                    self.statuses[await _status(client, self.edge.url + paths[turn % len(paths)])] += 1
                except aiohttp.ClientError as error:
                    self.statuses[repr(error)] += 1
                await asyncio.sleep(0.03)

    async def wait_for_more(self) -> None:
        """Wait for a hundred more responses."""
        enough = self.statuses.total() + 100
        await until_true(lambda: self.statuses.total() >= enough)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.send_requests(number)) for number in range(8)]
        await self.wait_for_more()
        yield
        await self.wait_for_more()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in ended} == {asyncio.CancelledError}


@pytest.mark.slow
async def test_no_request_is_lost_when_instances_end(tmp_path: Path, valkey: str) -> None:
    """One instance is killed, each is restarted in turn, both are killed: no request under load fails."""
    with two_services(tmp_path, valkey) as (edge, services, variables), ExitStack() as stack:

        def restart(number: int) -> None:
            port = services[number].port
            services[number] = stack.enter_context(running(variables, port=port))
            services[number].wait_for("/readyz", "pass")

        load = Load(edge)
        async with load.running():
            services[0].process.kill()
            await asyncio.to_thread(services[0].ended)
            await load.wait_for_more()
            await asyncio.to_thread(restart, 0)
            for number, service in enumerate(list(services)):
                service.process.terminate()
                status, _ = await asyncio.to_thread(service.ended)
                assert status == 0
                await asyncio.to_thread(restart, number)
        assert load.statuses.keys() == {200}
        assert load.statuses[200] >= 300
        for service in services:
            service.process.kill()
            await asyncio.to_thread(service.ended)
        async with open_client() as client:
            assert await _status(client, f"{edge.url}/v1/ticker") == 200
            assert await _status(client, f"{edge.url}/readyz") == 502
        log = edge.stop().splitlines()
        assert '"answered":"502, 200"' in "".join(log)  # by the other instance, immediately
        assert [
            line for line in log if "504" in json.loads(line)["answered"]
        ] == []  # and no request waited for a timeout


@pytest.fixture(scope="module")
def shared_services(
    tmp_path_factory: pytest.TempPathFactory, valkey: str
) -> Iterator[tuple[Edge, list[Service], dict[str, str]]]:
    """Yield two instances behind an edge; tests leave them running."""
    with two_services(tmp_path_factory.mktemp("two"), valkey) as running_services:
        yield running_services


async def test_edge_changes_no_byte_of_a_page(shared_services: tuple[Edge, list[Service], dict[str, str]]) -> None:
    """In both codings, from the first copy and from a later one, with all headers."""
    paths = [
        "/v1/ticker", "/v1/ticker.txt", "/v1/ticker.svg?lang=kk&layout=list", "/embed?lang=ru", "/embed.js",
        "/v1/history/usd?from=2026-04-01&to=2026-04-02", "/v1/fixings/recorded/2026-04-02",
        "/v1/ticker?currencies=usd&currencies=eur",
        "/v1/ticker?currencies=xyz", "/nothing", "/",
    ]  # fmt: skip
    edge, services, _ = shared_services
    async with open_client() as client:
        for path in paths:
            for coding in ("gzip, deflate, br", "br"):
                headers = {"Accept-Encoding": coding, "Host": "ticker.example", "Accept-Language": "kk"}
                direct = await _page(client, f"http://127.0.0.1:{services[0].port}{path}", headers)
                for _ in range(2):
                    assert await _page(client, edge.url + path, headers) == direct, path
        async with client.options(f"{edge.url}/v1/ticker") as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        gzip = {"Accept-Encoding": "gzip"}
        _, _, received = await _page(client, f"{edge.url}/v1/ticker", gzip)
        assert received["content-encoding"] == "gzip"
        for known, status in {f'"x", {received["etag"]}': 304, '"x"': 200}.items():
            assert (await _page(client, f"{edge.url}/v1/ticker", gzip | {"If-None-Match": known}))[0] == status


async def _page(client: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    async with client.get(url, headers=headers) as response:
        body = await response.read()
        received = {name.lower(): value for name, value in response.headers.items()}
        received = {name: value for name, value in received.items() if name not in _VARYING_HEADERS}
        return response.status, body, received


_VARYING_HEADERS = {
    "date",
    "cache-control",
    "server",
    "connection",
    "transfer-encoding",
    "content-length",
    "x-request-id",
}


async def test_request_id_leads_from_the_client_to_both_logs(tmp_path: Path, valkey: str) -> None:
    """An unreadable record is reported with the id that the edge has logged and that an error response has.

    Whoever is no trusted proxy cannot choose it.
    """
    prefix = f"{tmp_path.name}:"
    variables = offline(tmp_path) | {
        "TICKER_STORE__URL": valkey,
        "TICKER_STORE__PREFIX": prefix,
        "TICKER_LOG__FORMAT": "json",
        "TICKER_HTTP__PROXIES": "127.0.0.1/32",
    }
    async with Redis.from_url(valkey) as redis:
        await redis.hset(f"{prefix}fixings:nbk", "2020-01-10", "{")
    with running(variables) as service, run_edge([service.port or 0]) as edge:
        service.wait_for("/v1/ticker.txt", "cny")
        async with open_client() as client, open_client("127.0.0.9") as stranger:
            by_proxy = await _error_id(
                client, f"{edge.url}/v1/fixings/nbk/2020-01-10", {"X-Request-ID": "forged-by-me"}
            )
            direct = f"http://127.0.0.1:{service.port}/v1/fixings/nbk/2020-01-10"
            by_other_proxy = await _error_id(client, direct, {"X-Request-ID": "Root.1-67891233-abcdef"})
            malformed = await _error_id(client, direct, {"X-Request-ID": 'a"\\<b>-1234'})
            by_stranger = await _error_id(stranger, direct, {"X-Request-ID": "forged-by-me"})
        service.process.terminate()
        _, log = await asyncio.to_thread(service.ended)
        (line,) = [json.loads(line) for line in edge.stop().splitlines()]
    assert by_other_proxy == "Root.1-67891233-abcdef"
    for own in (by_proxy, malformed, by_stranger):
        assert re.fullmatch("[0-9a-f]{32}", own)
    assert line["request_id"] == by_proxy
    events = [json.loads(line) for line in log.splitlines()]
    reported = [
        event["request_id"] for event in events if event["event"] == "store.unreadable" and "request_id" in event
    ]
    assert reported == [by_proxy, by_other_proxy, malformed, by_stranger]


async def _error_id(client: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> str:
    async with client.get(url, headers=headers) as response:
        assert response.status >= 400
        return response.headers["X-Request-ID"]


async def test_streams_are_forwarded_and_limited(shared_services: tuple[Edge, list[Service], dict[str, str]]) -> None:
    """The first event arrives while the stream is open; instances share the streams; an address may open 50."""
    edge, services, _ = shared_services
    async with open_client() as client, open_client("127.0.0.8") as other:
        first = await client.get(f"{edge.url}/v1/stream?currencies=usd&x=1")
        assert first.headers["Content-Type"] == "text/event-stream"
        event = b"".join([await first.content.readline() for _ in range(5)])
        assert b"event: ticker\ndata: {" in event
        assert b'"code":"EUR"' not in event
        streams = [await client.get(f"{edge.url}/v1/stream") for _ in range(49)]
        assert {stream.status for stream in streams} == {200}
        async with client.get(f"{edge.url}/v1/stream") as one_more:
            assert one_more.status == 429
        assert await _status(client, f"{edge.url}/v1/ticker") == 200
        async with other.get(f"{edge.url}/v1/stream") as stream:
            assert stream.status == 200
        opened = [await asyncio.to_thread(service.get, "/metrics") for service in services]
        counts = [float(page.split("\nticker_streams_open ")[1].split()[0]) for _, page in opened]
        assert sum(counts) == 51
        assert min(counts) >= 24
        for stream in (first, *streams):
            stream.close()


def test_edge_has_metrics_on_a_port_of_its_own() -> None:
    """Its connections, in the format of Prometheus; the public port has none."""
    port = unused_port()
    with run_edge([unused_port()], metrics=port) as edge:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
            families = {family.name: family for family in text_string_to_metric_families(response.read().decode())}
        assert set(families) == {f"nginx_connections_{state}" for state in ("active", "reading", "writing", "waiting")}
        assert families["nginx_connections_active"].samples[0].value >= 1
        for url in (f"http://127.0.0.1:{port}/v1/ticker", f"{edge.url}/metrics"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url, timeout=60)


def test_edge_on_a_machine_listens_on_loopback_only() -> None:
    """With the lines that the files and the guide name, each in place of that for containers."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for name in ("listen.conf", "metrics.conf"):
        text = (ROOT / "config" / "edge" / name).read_text(encoding="utf-8")
        (deployed,) = re.findall(r"^ *(listen [^;]+;)$", text, re.MULTILINE)
        (named,) = re.findall(r"WITHOUT DOCKER.*`(listen [^`]+;)`", text)
        assert named == deployed.replace("listen ", "listen 127.0.0.1:")
        assert f"`{named}` in `{name}`" in guide
