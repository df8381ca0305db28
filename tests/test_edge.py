"""The edge as it is deployed: what it keeps, hands on and refuses, and what readers notice of a bad day."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from service.web.http.responses import accepts_gzip
from service.web.rendering.formats import FORMATS
from tests.abuse.talk import talk
from tests.support.edge import Edge, edging
from tests.support.ports import unused_port
from tests.support.process import Service, offline, running
from tests.support.wait import until, until_true

KEPT = "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400"


@dataclass
class Instance:
    """A server that stands in for an instance, remembers what it was asked and can be away."""

    port: int = field(default_factory=unused_port)
    cache_control: str = KEPT
    ages: dict[str, str] = field(default_factory=dict)
    """Another Cache-Control for a path."""
    body: str = "first"
    status: int = 200
    hold: asyncio.Event | None = None
    """Until it is set, nothing is answered."""
    held: str = "/"
    """How the paths begin for which that is so."""
    asked: int = 0
    record: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Addresses and headers as they came; instances may share it."""
    _runner: web.AppRunner | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        self.record.append((str(request.rel_url), dict(request.headers)))
        if self.hold and request.path.startswith(self.held):
            await self.hold.wait()
        cache_control = self.ages.get(request.path, self.cache_control)
        tag = f'"{self.body}"'
        headers = {"Cache-Control": cache_control, "ETag": tag, "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(text=self.body, status=self.status, headers=headers)

    async def up(self) -> None:
        app = web.Application()
        app.router.add_route("*", r"/{path:[\s\S]*}", self.answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def down(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None


@dataclass
class House:
    """Two stand-ins behind an edge, and a reader in front of it."""

    edge: Edge
    instances: tuple[Instance, Instance]
    reader: aiohttp.ClientSession

    @property
    def asked(self) -> list[str]:
        return [path for path, _ in self.instances[0].record]

    @property
    def headers(self) -> list[Mapping[str, str]]:
        return [headers for _, headers in self.instances[0].record]

    def set(self, **attributes: Any) -> None:
        for instance in self.instances:
            for name, value in attributes.items():
                setattr(instance, name, value)

    def times(self, path: str) -> int:
        """Return how often the instances were asked for a path."""
        return self.asked.count(path)

    async def by_another(self, path: str) -> tuple[int, str]:
        """Ask for a path over a new connection: nginx refreshes a copy on the one of who was shown the old one."""
        async with reading() as reader, reader.get(f"{self.edge.url}{path}") as response:
            return response.status, await response.text()

    async def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        """Ask for a path exactly as it is written."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"{self.edge.url}{path}", encoded=True)
        async with self.reader.request(method, url, headers=named) as response:
            return response.status, await response.text()


@asynccontextmanager
async def reading(address: str = "127.0.0.1") -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a reader at an address of this machine, who says nothing that is not asked for."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, skip_auto_headers={"Accept-Encoding", "Accept", "User-Agent"}
    ) as session:
        yield session


@pytest.fixture
def rate() -> str | None:
    """Return how often an address may ask, where it is not what is deployed: a test may say so."""
    return None


SELDOM = pytest.mark.parametrize("rate", ["1r/m"])
"""So that an address has its burst, and next to nothing more in however long a test takes."""
OFTEN = pytest.mark.parametrize("rate", ["1000000r/s"])


@pytest.fixture
async def house(rate: str | None) -> AsyncIterator[House]:
    first = Instance()
    instances = first, Instance(record=first.record)
    with edging([one.port for one in instances], rate=rate) as edge:
        for one in instances:
            await one.up()
        async with reading() as reader:
            yield House(edge, instances, reader)
        for one in instances:
            await one.down()


class TestKey:
    """A copy is kept by the path and what the service knows of the query; nothing else reaches the service."""

    async def test_concurrent_requests_for_a_page_are_collapsed(self, house: House) -> None:
        """Twenty readers, one request; HEAD is answered from the same copy."""
        await house.get("/v1/ticker")
        answers = await asyncio.gather(*(house.get("/v1/ticker") for _ in range(20)))
        assert set(answers) == {(200, "first")}
        assert await house.get("/v1/ticker", "HEAD") == (200, "")
        assert house.asked == ["/v1/ticker"]

    async def test_junk_makes_no_new_copy(self, house: House) -> None:
        """Parameters that nobody knows, another order and another path's parameters are the same page."""
        for junk in ("", "&x=1", "&utm_source=mail", "&theme=dark", "&from=2026-01-01", "&=&&", "&xlang=kk&lang2=kk"):
            assert await house.get(f"/v1/ticker?currencies=usd{junk}&lang=kk") == (200, "first")
        await house.get("/v1/ticker?lang=kk&currencies=usd")
        assert [URL(path).query for path in house.asked] == [{"currencies": "usd", "lang": "kk"}]
        for number in range(20):
            await house.get(f"/v1/ticker?{number}")
            await house.get(f"/embed.js?v={number}")
        assert Counter(house.asked[1:]) == {"/v1/ticker": 1, "/embed.js": 1}

    async def test_the_edge_knows_what_the_service_knows(self, house: House) -> None:
        """For each address exactly the parameters that its form takes arrive, with the values as they were sent."""
        every = {name for form in FORMATS.values() for name in form.takes} | {"currencies", "ticker"}
        every |= {"from", "to", "url", "format", "maxwidth", "maxheight"}
        named = {"embed": ["/embed"], "index": ["/"]}
        for form, made in FORMATS.items():
            suffixed = [f"/v1/ticker.{form}", f"/v1/ticker/kzt.{form}"]
            paths = named.get(form, [*suffixed, "/v1/ticker", "/v1/ticker/kzt"] if form == "json" else suffixed)
            more = {"ticker", "currencies"} if form in named else {"currencies"}
            for path in paths:
                assert await _arrived(house, path, every) == made.takes - {"origin"} | more, path
        for path, known in {
            "/v1/stream": FORMATS["json"].takes | {"ticker", "currencies"},
            "/v1/history/usd": {"ticker", "from", "to"},
            "/v1/history/usd.csv": {"ticker", "from", "to"},
            "/oembed": {"url", "format", "maxwidth", "maxheight"},
            "/v1/sources": set(),
            "/v1/fixings/nbk/2026-04-02": set(),
            "/static/page.css": set(),
            "/openapi.json": set(),
            "/docs": set(),
        }.items():
            assert await _arrived(house, path, every) == known, path

    async def test_different_pages_are_different_copies(self, house: House) -> None:
        """By value, by presence (`spark` and none; `lang=` is not none), by each of several currencies, by path."""
        asked = [
            "", "?spark", "?spark=0", "?spark=", "?lang=", "?lang=kk", "?lang=KK", "?currencies=usd,eur",
            "?currencies=eur,usd", "?currencies=usd&currencies=eur", "?currencies=usd", "?currencies=usd%2Ceur",
        ]  # fmt: skip
        paths = [f"/v1/ticker{query}" for query in asked] + [
            "/v1/ticker.json",
            "/v1/ticker/kzt",
            "/v1/ticker%3Flang=kk",
        ]
        for _ in range(2):
            for path in paths:
                await house.get(path)
        assert [path.replace("?&", "?") for path in sorted(house.asked)] == sorted(paths)

    async def test_what_a_path_hides_is_no_query(self, house: House) -> None:
        """An encoded question mark, line end or slash stays what it is, in the key and on the way."""
        paths = ("/v1/ticker%3F", "/v1/ticker/a%0DX-Evil:%201", "/v1/ticker/%20b", "/v1/ticker/a%0D%0A%0D%0AGET%20/")
        for path in paths:
            await house.get(path)
        assert all("X-Evil" not in headers for headers in house.headers)
        assert sorted(house.asked) == sorted(paths)
        assert not any(URL(path).query for path in house.asked)

    async def test_codings_are_two(self, house: House) -> None:
        """Whatever a reader accepts, the service is asked for gzip where it would have sent it, else for nothing."""
        accepted = [
            "gzip", "gzip, deflate, br, zstd", "br", "", "identity", "*", "*;q=0", "gzip;q=0", "gzip;q=0.0, *", "GZIP",
            "deflate, gzip;q=1.0, *;q=0.5", "br;q=1.0, gzip;q=0.8", "x-gzip", "gzipped", "gzip ; q=0.001",
            "identity, *;q=0.1",
        ]  # fmt: skip
        for number, header in enumerate(accepted):
            path = f"/v1/ticker/{number}"
            await house.get(path, Accept_Encoding=header)
            gzip = accepts_gzip(header)
            assert house.headers[-1].get("Accept-Encoding") == ("gzip" if gzip else None), header
            for same in ("gzip, br", "gzip, deflate, br, zstd") if gzip else ("br", "zstd", "identity"):
                await house.get(path, Accept_Encoding=same)
            assert house.asked[number:] == [path], header

    async def test_a_language_counts_where_it_is_negotiated(self, house: House) -> None:
        """On the two pages that follow the reader's language, and where `lang=auto` is asked for."""
        for path, copies in {
            "/embed": 2,
            "/": 2,
            "/v1/ticker?lang=auto": 2,
            "/embed?lang=kk": 1,
            "/v1/ticker": 1,
        }.items():
            before = len(house.asked)
            for language in ("kk,ru;q=0.8", "ru", "kk,ru;q=0.8"):
                await house.get(path, Accept_Language=language)
            assert len(house.asked) - before == copies, path
            sent = {headers.get("Accept-Language") for headers in house.headers[-copies:]}
            assert sent <= ({"kk,ru;q=0.8", "ru"} if copies == 2 else {None}), path

    async def test_a_host_counts_where_a_page_names_it(self, house: House) -> None:
        """A page that was made for one who says `localhost` is not shown to others; other names change nothing."""
        for path, copies in {"/": 2, "/embed": 2, "/oembed?url=x": 3, "/v1/ticker": 1}.items():
            before = len(house.asked)
            for host in ("one.example", "two.example", "localhost:9999"):
                await house.get(path, Host=host)
            assert len(house.asked) - before == copies, path


async def _arrived(house: House, path: str, every: set[str]) -> set[str]:
    """Send every parameter and return those that arrive."""
    await house.get(f"{path}?{'&'.join(f'{name}=of%20{name}' for name in sorted(every))}")
    query = URL(next(one for one in reversed(house.asked) if one.split("?")[0] == path)).query
    assert all(value == f"of {name}" for name, value in query.items())
    return set(query)


class TestAge:
    """How old a copy may be is the service's word."""

    async def test_matching_etag_returns_304(self, house: House) -> None:
        """304 from the copy, also where it is one of several; another ETag is answered whole."""
        for _ in range(2):
            assert await house.get("/v1/ticker", If_None_Match='"other", "first"') == (304, "")
            assert await house.get("/v1/ticker", If_None_Match='"other"') == (200, "first")
        assert house.asked == ["/v1/ticker"]

    @OFTEN
    async def test_cached_response_has_its_age(self, house: House) -> None:
        """Date and max-age are those of the service's latest answer, so that a reader's copy ends when it should."""

        async def told(path: str) -> tuple[list[str], str]:
            async with house.reader.get(house.edge.url + path) as response:
                return response.headers.getall("Date"), response.headers["Cache-Control"]

        async def renewed() -> tuple[list[str], str] | None:
            again = await told("/embed")
            return again if again[1] == "public, max-age=9" else None

        house.set(ages={"/embed": "public, max-age=1"})
        kept, short = await told("/v1/ticker"), await told("/embed")
        house.set(ages={"/embed": "public, max-age=9"})
        again = await until(renewed)
        assert again[0] != short[0]
        assert await told("/v1/ticker") == kept
        assert len(kept[0]) == 1

    @pytest.mark.parametrize("cache_control", ["no-store", "public, max-age=0, stale-if-error=60", "private"])
    async def test_what_must_not_be_kept_is_not(self, house: House, cache_control: str) -> None:
        """Each request is asked anew, and waits for no other."""
        hold = asyncio.Event()
        house.set(cache_control=cache_control, hold=hold)
        requests = [asyncio.create_task(house.get("/v1/ticker")) for _ in range(20)]
        await until_true(lambda: len(house.asked) == 20)  # none of them is answered yet
        hold.set()
        assert set(await asyncio.gather(*requests)) == {(200, "first")}
        assert len(house.asked) == 20

    @OFTEN
    async def test_client_does_not_wait_for_a_change(self, house: House) -> None:
        """Within stale-while-revalidate the copy is shown and fetched anew behind it; later it is not shown."""
        grace, none = "public, max-age=1, stale-while-revalidate=600", "public, max-age=1, stale-while-revalidate=0"
        house.set(ages={"/v1/ticker": grace, "/embed": none})
        for path in ("/v1/ticker", "/embed"):
            await house.get(path)
        hold = asyncio.Event()
        house.set(body="second", ages={}, hold=hold, held="/v1/ticker")

        async def asked_again() -> bool:
            assert await house.by_another("/v1/ticker") == (200, "first")
            return house.times("/v1/ticker") == 2

        async def not_shown() -> bool:
            answer = await house.by_another("/embed")
            assert answer == (200, "second" if house.times("/embed") == 2 else "first")
            return answer == (200, "second")

        async def fetched() -> bool:
            return await house.by_another("/v1/ticker") == (200, "second")

        await until(asked_again)
        await until(not_shown)
        assert await house.by_another("/v1/ticker") == (200, "first")  # the new one is not answered yet
        hold.set()
        await until(fetched)
        assert Counter(house.asked) == {"/v1/ticker": 2, "/embed": 2}

    @OFTEN
    async def test_edge_serves_stale_content_when_no_instance_responds(self, house: House) -> None:
        """The last copy of each page, as long as stale-if-error allows; where there is none, a problem document."""
        age = "public, max-age=1, stale-while-revalidate=0, stale-if-error="
        house.set(ages={"/v1/ticker": f"{age}600", "/embed": f"{age}1"})
        for path in ("/v1/ticker", "/embed"):
            await house.get(path)
        house.set(status=500)

        async def asked_again() -> bool:
            assert await house.get("/v1/ticker") == (200, "first")
            return house.times("/v1/ticker") > 1

        async def ended() -> bool:
            answer = await house.get("/embed")
            assert answer == (200, "first") or answer[0] == 502
            return answer[0] == 502

        await until(asked_again)
        house.set(status=503)
        assert await house.get("/v1/ticker") == (200, "first")
        for one in house.instances:
            await one.down()
        assert await house.get("/v1/ticker") == (200, "first")
        await until(ended)
        assert await house.get("/v1/ticker") == (200, "first")
        status, document = await house.get("/v1/ticker.txt")
        assert status == 502
        assert json.loads(document) == {"type": "about:blank", "title": "Bad Gateway", "status": 502}
        for one in house.instances:
            await one.up()
        house.set(status=200, body="second")
        for path in ("/v1/ticker", "/embed"):
            assert await house.get(path) == (200, "second")


class TestInstances:
    """Any of them may fail."""

    async def test_one_has_nothing_to_show_yet(self, house: House) -> None:
        """Its 503 is not shown while the other one answers; one bad page puts no instance out."""
        house.instances[0].status = 503
        for number in range(10):
            assert await house.get(f"/v1/ticker/{number}") == (200, "first")
        house.instances[0].status = 200
        house.set(cache_control="no-store")
        before = house.instances[0].asked
        for number in range(10):
            assert await house.get(f"/v1/ticker/{number}.txt") == (200, "first")
        assert house.instances[0].asked > before

    async def test_one_stands_still(self, house: House) -> None:
        """A reader is answered by the other one, though it still stands."""
        house.instances[0].hold = hold = asyncio.Event()
        answers = await asyncio.gather(*(house.get(f"/v1/ticker/{number}") for number in range(10)))
        assert set(answers) == {(200, "first")}
        assert 0 < house.instances[0].asked < 10
        hold.set()

    async def test_page_is_always_requested_from_the_same_instance(self, house: House) -> None:
        """One that learns of news a second later cannot take back what readers have seen."""
        house.set(cache_control="no-store")
        for _ in range(10):
            await house.get("/v1/ticker")
        assert sorted(one.asked for one in house.instances) == [0, 10]
        for number in range(20):
            await house.get(f"/v1/ticker/{number}")
        assert all(one.asked > 2 for one in house.instances)


class TestOutside:
    """What strangers send, and what they get to know."""

    async def test_only_what_the_service_reads_is_handed_on(self, house: House) -> None:
        """No cookie, no credentials, no word of another, no host but where a page tells it; the reader's address."""
        sent = {
            "Cookie": "a=1",
            "Authorization": "b",
            "Referer": "http://r/",
            "X_Forwarded_For": "6.6.6.6",
            "X_Evil": "1",
        }
        sent |= {
            "X_Forwarded_Proto": "https",
            "Forwarded": "for=6.6.6.6",
            "If_Modified_Since": "x",
            "Range": "bytes=0-1",
        }
        await house.get("/v1/ticker", **sent)
        assert house.headers == [{"Host": "unnamed", "X-Forwarded-For": "127.0.0.1"}]
        await house.get("/v1/stream", Last_Event_ID="abc", **sent)
        assert house.headers[-1]["Last-Event-ID"] == "abc"

    async def test_who_stands_before_it_is_believed(self, house: House) -> None:
        """From an address of the operator's the last one of X-Forwarded-For is the reader's, from another it is not."""
        async with reading("127.0.1.1") as reader:
            await reader.get(f"{house.edge.url}/v1/ticker", headers={"X-Forwarded-For": "6.6.6.6, 7.7.7.7"})
        assert house.headers[0]["X-Forwarded-For"] == "7.7.7.7"

    async def test_what_it_cannot_read_is_refused(self, house: House) -> None:
        """An address too long or one with a space: by nginx's own page, without its version."""
        for path, status in {"/?" + "a" * 8000: 414, "/a b": 400}.items():
            told, page = await house.get(path)
            assert told == status
            assert "<center>nginx</center>" in page
        assert house.asked == []

    async def test_refusals(self, house: House) -> None:
        """Are problem documents that any page may read, name no version, and cost the service nothing."""
        asked: list[tuple[str, str, dict[str, str], int]] = [
            ("POST", "/v1/ticker", {}, 405),
            ("DELETE", "/v1/ticker", {}, 405),
            ("TRACE", "/", {}, 405),
            ("GET", "/metrics", {}, 404),
            ("GET", "/metrics?x", {}, 404),
            ("GET", "//%6detrics", {}, 404),
            ("GET", "/", {"Cookie": "a" * 8000}, 431),
            ("GET", "/", {"Content-Length": "5000"}, 413),
        ]
        for method, path, headers, status in asked:
            url = URL(f"{house.edge.url}{path}", encoded=True)
            async with house.reader.request(method, url, headers=headers) as response:
                document = await response.json(content_type="application/problem+json")
                assert (response.status, document["status"]) == (status, status)
                assert response.headers["Cache-Control"] == "no-store"
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert response.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
                assert response.headers["Server"] == "nginx"
        assert house.asked == []

    @SELDOM
    async def test_one_address_has_a_share(self, house: House) -> None:
        """Whoever asks without end is told so, with a problem document; others are answered meanwhile."""
        async with reading("127.0.0.7") as greedy, reading("127.0.0.8") as other:
            url = f"{house.edge.url}/v1/ticker"
            answers = await asyncio.gather(*(_status(greedy, url) for _ in range(400)))
            assert 200 <= answers.count(200) <= 203
            assert answers.count(200) + answers.count(429) == 400
            assert await _status(other, url) == 200

    @SELDOM
    async def test_addresses_of_one_network_share_it(self, house: House) -> None:
        """Of IPv6 the last 64 bits are the reader's own to choose; the network beside it is another reader."""
        async with reading("127.0.1.1") as before:

            async def ask(address: str) -> int:
                headers = {"X-Forwarded-For": address}
                async with before.get(f"{house.edge.url}/v1/ticker", headers=headers) as response:
                    return response.status

            await ask("2001:db8:0:1::")
            answers = await asyncio.gather(*(ask(f"2001:db8:0:1:{number:x}::1") for number in range(1, 400)))
            assert answers.count(429) > 150
            assert await ask("2001:db8:0:2::1") == 200
            assert [await ask("10.1.2.3"), await ask("10.1.2.4")] == [200, 200]

    @OFTEN
    async def test_one_address_has_a_share_of_what_is_in_progress(self, house: House) -> None:
        """Of those who ask slowly enough no more than 200 are answered at once."""
        hold = asyncio.Event()
        house.set(hold=hold, held="/v1/history/", cache_control="no-store")
        async with reading("127.0.0.7") as greedy, reading("127.0.0.8") as other:
            url = f"{house.edge.url}/v1/history/"
            first = [asyncio.create_task(_status(greedy, f"{url}{number}")) for number in range(190)]
            await until_true(lambda: len(house.asked) == 190)
            more = [asyncio.create_task(_status(greedy, f"{url}{number}")) for number in range(190, 240)]
            await until_true(lambda: len(house.asked) == 200 and sum(one.done() for one in more) == 40)
            assert await _status(other, f"{house.edge.url}/v1/ticker") == 200
            hold.set()
            assert Counter(await asyncio.gather(*first, *more)) == {200: 200, 429: 40}

    async def test_a_check_without_a_host_is_answered(self, house: House) -> None:
        """HTTP/1.0 as balancers ask in: the instance, which is asked in HTTP/1.1, is named a host."""
        heard = await talk(house.edge.port, b"GET /livez HTTP/1.0\r\n\r\n", 2)
        assert (heard.statuses, heard.closed) == ((200,), True)

    @SELDOM
    async def test_log_has_no_client_data(self, house: House) -> None:
        """A line a request with what became of it; no address, no query, no referrer: not for failures either."""
        async with reading("127.0.0.9") as reader:
            for path in ("/v1/ticker?lang=kk", "/v1/ticker", "/metrics", "/v1/ticker?" + "a" * 8000):
                await _status(reader, house.edge.url + path)
            for one in house.instances:
                await one.down()
            await _status(reader, f"{house.edge.url}/v1/ticker.svg")
            await asyncio.gather(*(_status(reader, f"{house.edge.url}/v1/ticker") for _ in range(300)))
        log = house.edge.end()
        lines = [json.loads(line) for line in log.splitlines()]
        assert Counter(line["status"] for line in lines).keys() == {200, 404, 414, 429, 502}
        assert {line["cache"] for line in lines} >= {"MISS", "HIT"}
        assert "127.0.0.9" not in log
        assert "lang" not in log
        assert {line["instance"].split(":")[0] for line in lines} <= {"", "127.0.0.1"}


async def _status(reader: aiohttp.ClientSession, url: str) -> int:
    async with reader.get(url) as response:
        await response.read()
        return response.status


@contextmanager
def two_services(folder: Path, valkey: str) -> Iterator[tuple[Edge, list[Service], dict[str, str]]]:
    """Run the edge in front of two real instances that share a store."""
    variables = offline(folder) | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": f"{folder.name}:"}
    with ExitStack() as stack:
        services = [stack.enter_context(running(variables)) for _ in range(2)]
        for service in services:
            service.wait_for("/v1/ticker.txt", "cny")
        yield stack.enter_context(edging([service.port or 0 for service in services])), services, variables


@dataclass
class Load:
    """Readers at addresses of their own who ask without a pause, and what they were answered."""

    edge: Edge
    answers: Counter[int | str] = field(default_factory=Counter)

    async def read(self, number: int) -> None:
        paths = (
            "/v1/ticker",
            "/readyz",
            f"/v1/ticker.svg?currencies=usd&lang={('kk', 'ru', 'en')[number % 3]}",
            "/livez",
        )
        async with reading(f"127.0.2.{number + 1}") as reader:
            for turn in range(10_000):
                try:
                    self.answers[await _status(reader, self.edge.url + paths[turn % len(paths)])] += 1
                except aiohttp.ClientError as error:
                    self.answers[repr(error)] += 1
                await asyncio.sleep(0.03)

    async def more(self) -> None:
        """Wait until a hundred more were answered."""
        enough = self.answers.total() + 100
        await until_true(lambda: self.answers.total() >= enough)

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.read(number)) for number in range(8)]
        await self.more()
        yield
        await self.more()
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one) for one in ended} == {asyncio.CancelledError}


@pytest.mark.slow
async def test_deaths_and_restarts_are_not_noticed(tmp_path: Path, valkey: str) -> None:
    """One instance killed, one after the other restarted, both killed: under load, no reader's request is lost."""
    with two_services(tmp_path, valkey) as (edge, services, variables), ExitStack() as stack:

        def restart(number: int) -> None:
            port = services[number].port
            services[number] = stack.enter_context(running(variables, port=port))
            services[number].wait_for("/readyz", "pass")

        load = Load(edge)
        async with load.going():
            services[0].process.kill()
            await asyncio.to_thread(services[0].ended)
            await load.more()
            await asyncio.to_thread(restart, 0)
            for number, service in enumerate(list(services)):
                service.process.terminate()
                status, _ = await asyncio.to_thread(service.ended)
                assert status == 0
                await asyncio.to_thread(restart, number)
        assert load.answers.keys() == {200}
        assert load.answers[200] >= 300
        for service in services:
            service.process.kill()
            await asyncio.to_thread(service.ended)
        async with reading() as reader:
            assert await _status(reader, f"{edge.url}/v1/ticker") == 200
            assert await _status(reader, f"{edge.url}/readyz") == 502
        log = edge.end().splitlines()
        assert '"answered":"502, 200"' in "".join(log)  # by the other one, at once
        assert [line for line in log if "504" in json.loads(line)["answered"]] == []  # and nobody waited for a timeout


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, valkey: str) -> Iterator[tuple[Edge, list[Service], dict[str, str]]]:
    """Yield two instances behind an edge, which no test ends."""
    with two_services(tmp_path_factory.mktemp("two"), valkey) as made:
        yield made


async def test_a_page_is_the_service_s_to_the_byte(two: tuple[Edge, list[Service], dict[str, str]]) -> None:
    """In either coding, from the first copy and from a later one, with all its headers."""
    paths = [
        "/v1/ticker", "/v1/ticker.txt", "/v1/ticker.svg?lang=kk&layout=list", "/embed?lang=ru", "/embed.js",
        "/v1/history/usd?from=2026-04-01&to=2026-04-02", "/v1/fixings/recorded/2026-04-02",
        "/v1/ticker?currencies=usd&currencies=eur",
        "/v1/ticker?currencies=xyz", "/nothing", "/",
    ]  # fmt: skip
    edge, services, _ = two
    async with reading() as reader:
        for path in paths:
            for coding in ("gzip, deflate, br", "br"):
                headers = {"Accept-Encoding": coding, "Host": "ticker.example", "Accept-Language": "kk"}
                own = await _page(reader, f"http://127.0.0.1:{services[0].port}{path}", headers)
                for _ in range(2):
                    assert await _page(reader, edge.url + path, headers) == own, path
        async with reader.options(f"{edge.url}/v1/ticker") as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        gzip = {"Accept-Encoding": "gzip"}
        _, _, told = await _page(reader, f"{edge.url}/v1/ticker", gzip)
        assert told["content-encoding"] == "gzip"
        for known, status in {f'"x", {told["etag"]}': 304, '"x"': 200}.items():
            assert (await _page(reader, f"{edge.url}/v1/ticker", gzip | {"If-None-Match": known}))[0] == status


async def _page(reader: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
    async with reader.get(url, headers=headers) as response:
        body = await response.read()
        told = {name.lower(): value for name, value in response.headers.items()}
        told = {name: value for name, value in told.items() if name not in _OF_THE_MOMENT}
        return response.status, body, told


_OF_THE_MOMENT = {"date", "cache-control", "server", "connection", "transfer-encoding", "content-length"}


async def test_streams_pass(two: tuple[Edge, list[Service], dict[str, str]]) -> None:
    """The first event comes while its stream is open; each instance has its part of them, and each address so many."""
    edge, services, _ = two
    async with reading() as reader, reading("127.0.0.8") as other:
        first = await reader.get(f"{edge.url}/v1/stream?currencies=usd&x=1")
        assert first.headers["Content-Type"] == "text/event-stream"
        event = b"".join([await first.content.readline() for _ in range(5)])
        assert b"event: ticker\ndata: {" in event
        assert b'"code":"EUR"' not in event
        streams = [await reader.get(f"{edge.url}/v1/stream") for _ in range(49)]
        assert {one.status for one in streams} == {200}
        async with reader.get(f"{edge.url}/v1/stream") as one_more:
            assert one_more.status == 429
        assert await _status(reader, f"{edge.url}/v1/ticker") == 200
        async with other.get(f"{edge.url}/v1/stream") as one:
            assert one.status == 200
        opened = [await asyncio.to_thread(service.get, "/metrics") for service in services]
        counts = [float(page.split("\nticker_streams_open ")[1].split()[0]) for _, page in opened]
        assert sum(counts) == 51
        assert min(counts) >= 24
        for stream in (first, *streams):
            stream.close()
