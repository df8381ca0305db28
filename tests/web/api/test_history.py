"""Ten years of made-up fixings in a real store, asked for over a real socket."""

import asyncio
import csv
import gzip
import io
import json
import random
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import ceil, floor
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
import pytest
from aiohttp import ClientPayloadError, ClientSession, web
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.domain.fixing import Fixing, Quotation, Rate
from service.settings import Settings, load
from service.state.memory import KEEP, MemoryState
from service.storage.codecs import StoredRates
from service.storage.repository import Store
from service.web.api import history
from service.web.api.history import LIMITS, Limits
from service.web.rendering.page_cache import PageCache
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day, fixing, later
from tests.support.http import until_ready
from tests.support.standin import Banks
from tests.support.wait import until_true

FIRST, LAST = date(2015, 11, 2), day(2)
OLD = "from=2019-01-01&to=2019-12-31"
YEAR = "from=2025-04-02&to=2026-04-02"
DECADE = "from=2016-04-02&to=2026-04-02"
RECENT = "from=2026-03-01&to=2026-04-02"
"""What memory has, and what came before it too."""


def made_up(source: str, base: str, daily: bool, **starts: tuple[str, int]) -> list[Fixing]:
    """Return a fixing for each working day but for the first week of a year.

    Where `daily`, for weekends too: they repeat Saturday's, with more digits. Now and then the dollar stands still.
    """
    walk = random.Random(source)  # noqa: S311 - the same figures at each run
    rates = {code: Rate(Decimal(value), nominal) for code, (value, nominal) in starts.items()}
    direction = Quotation.INVERSE if source == "ecb" else Quotation.DIRECT
    made = []
    for on in days(FIRST, LAST):
        carried = daily and on.weekday() in (6, 0)
        if (on.month == 1 and on.day < 8) or (on.weekday() > 4 and not daily):
            continue
        for code, rate in rates.items():
            step = Decimal(0) if carried or (code == "USD" and walk.random() < 0.2) else Decimal(walk.randint(-9, 9))
            rates[code] = replace(rate, value=max(rate.value + step.scaleb(-2), Decimal("0.50")).quantize(
                Decimal("0.0001" if carried else "0.01")
            ))  # fmt: skip
        at = datetime(on.year, on.month, on.day, 11, tzinfo=UTC)
        made.append(Fixing(source, base, on, dict(rates), f"http://{source}/", at, f"digest of {on}", direction))
    return made


def days(since: date, until: date) -> Iterator[date]:
    return map(date.fromordinal, range(since.toordinal(), until.toordinal() + 1))


NBK = made_up("nbk", "KZT", True, USD=("475.09", 1), EUR=("551.06", 1), UZS=("3.91", 100), IRR=("11.20", 10_000))
NBU = made_up("nbu", "UAH", False, USD=("41.50", 1), KZT=("8.73", 100), PLN=("11.30", 1))
ECB = made_up("ecb", "EUR", False, USD=("11.50", 1), GBP=("8.70", 1))
SERIES = {"nbk": NBK, "nbu": NBU, "ecb": ECB}
CASES = (
    ("kzt", "USD", NBK, "KZT"),
    ("kzt", "UZS", NBK, "KZT"),  # for 100
    ("kzt", "PLN", NBU, "KZT"),  # a cross through the hryvnia
    ("eur", "USD", ECB, "EUR"),  # an inverse
)


class Line(msgspec.Struct, forbid_unknown_fields=True):
    date: date
    rate: Decimal
    previous: Decimal | None
    change: Decimal | None
    percent: Decimal | None


class Document(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    ticker: str
    base: str
    currency: str
    source: str
    name: str
    cross: bool
    since: date
    until: date
    history: list[Line]


def expected(source: str, code: str, base: str, since: date, until: date) -> list[Line]:
    """Return what a history must be."""
    return [line for line in every_line(source, code, base) if since <= line.date <= until]


@cache
def every_line(source: str, code: str, base: str) -> list[Line]:
    """Return a whole history, worked out from all fixings in another way than the service does."""
    publications: list[tuple[date, Decimal, Fraction]] = []
    before: dict[str, Fraction] = {}
    for one in SERIES[source]:
        worth = {key: Fraction(rate.value) / rate.nominal for key, rate in one.rates.items()}
        if one.direction is Quotation.INVERSE:
            worth = {key: 1 / value for key, value in worth.items()}
        if worth != before:
            exact = worth[code] / worth.get(base, 1)
            with localcontext(prec=10):
                derived = Decimal(exact.numerator) / Decimal(exact.denominator)
            rate = one.rates[code]
            published = rate.value.scaleb(1 - len(str(rate.nominal)))
            direct = base == one.base and one.direction is Quotation.DIRECT
            publications.append((one.date, published if direct else derived, exact))
        before = worth
    lines = [Line(publications[0][0], publications[0][1], None, None, None)]
    for (_, old, then), (on, new, now) in pairwise(publications):
        percent = (now / then - 1) * 100
        rounded = Decimal(floor(abs(percent) * 100 + Fraction(1, 2))).scaleb(-2)
        lines.append(Line(on, new, old, new - old, -rounded if percent < 0 and rounded else rounded))
    return lines


@dataclass
class House:
    """The route alone, with a board and a store that a test can put into any state."""

    memory: MemoryState
    store: Store
    clock: Clock
    session: ClientSession
    url: str
    server: web.Server

    async def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Return status, headers (names in small letters) and the body as it came."""
        sent = {"Accept-Encoding": "identity"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, f"{self.url}/v1/history/{path}", headers=sent) as response:
            received = {name.lower(): value for name, value in response.headers.items()}
            return response.status, received, await response.read()

    async def document(self, path: str) -> Document:
        status, _, body = await self.ask(path)
        assert status == 200, body
        return msgspec.json.decode(body, type=Document)

    async def problem(self, path: str) -> dict[str, Any]:
        """Return the problem document, checked as all of them are."""
        status, headers, body = await self.ask(path)
        assert headers["content-type"].startswith("application/problem+json")
        assert (headers["cache-control"], headers["access-control-allow-origin"]) == ("no-store", "*")
        document = cast("dict[str, Any]", json.loads(body))
        assert document["status"] == status
        return document | {"retry": headers.get("retry-after")}


def settings() -> Settings:
    kzt = {"id": "kzt", "base": "KZT", "currencies": ["USD", "UZS", "PLN", "XDR"], "sources": ["nbk", "nbu"]}
    eur = {"id": "eur", "base": "EUR", "currencies": ["USD"], "sources": ["ecb"]}
    today = {"id": "today", "base": "KZT", "currencies": ["USD"], "sources": ["nbk"], "effective": "today"}
    none = {"id": "none", "base": "RUB", "currencies": ["USD"], "sources": ["cbr"]}
    # Each series is a random walk of its own: as witnesses they would refute each other.
    sources = {key: {"not_compared": sorted(made[0].rates)} for key, made in SERIES.items()}
    return load(environ={}, overrides={"tickers": [kzt, eur, today, none], "sources": sources})


@asynccontextmanager
async def house(
    url: str,
    prefix: str,
    clock: Clock,
    *known: Fixing,
    listening: socket.socket | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[House]:
    """Serve histories; `known` is in memory."""
    memory = MemoryState(settings())
    for one in known:
        memory.add(one)
    memory.refresh(clock())
    async with Store(url, prefix) as store, ClientSession(auto_decompress=False) as session:
        app = web.Application()
        app.add_routes(history.routes(PageCache(memory, clock), store, limits))
        runner = web.AppRunner(app)
        await runner.setup()
        listening = listening or socket.socket()
        listening.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listening).start()
        host, port = runner.addresses[0][:2]
        assert runner.server
        yield House(memory, store, clock, session, f"http://{host}:{port}", runner.server)
        await runner.cleanup()


def in_memory() -> list[Fixing]:
    """Return what a service knows that has run for a while."""
    return [one for series in SERIES.values() for one in series[-KEEP:]]


@pytest.fixture(scope="module")
def filled(valkey: str) -> str:
    """Return the prefix of a store that has all of it."""

    async def fill() -> None:
        async with Store(valkey, "decade:") as store:
            for series in SERIES.values():
                await store.save(*series)

    asyncio.run(fill())
    return "decade:"


@pytest.fixture
async def full(valkey: str, filled: str, clock: Clock) -> AsyncIterator[House]:
    """Yield a house with ten years in the store and the latest dates in memory. Not to be written to."""
    async with house(valkey, filled, clock, *in_memory()) as made:
        yield made


@pytest.mark.parametrize(("ticker", "code", "series", "base"), CASES)
@pytest.mark.parametrize("span", [OLD, YEAR, DECADE, RECENT])
async def test_rates_are_exact(full: House, ticker: str, code: str, series: list[Fixing], base: str, span: str) -> None:
    """Publications only, oldest first, digit by digit; the first one changed from what came before it."""
    since, until = (date.fromisoformat(part.partition("=")[2]) for part in span.split("&"))
    document = await full.document(f"{code}?ticker={ticker}&{span}")
    source = series[0].source
    wanted = expected(source, code, base, since, until)
    assert [str(line) for line in document.history] == [str(line) for line in wanted]
    assert len(wanted) > 15
    assert wanted[0].previous is not None
    assert replace_history(document) == Document(
        ticker, base, code, source, full.memory.settings.sources[source].name, code == "PLN", since, until, []
    )


def replace_history(document: Document) -> Document:
    return msgspec.structs.replace(document, history=[])


async def test_numbers_are_json_numbers_with_the_published_digits(full: House) -> None:
    """No text, no binary noise, zeros kept; a change of nothing is 0.00."""
    _, _, body = await full.ask(f"usd?{DECADE}")
    assert not re.search(rb'"(rate|previous|change|percent)":(?!null|-?\d)', body)
    assert not re.search(rb"\d\.\d{5}", body)
    assert b'"change":0.00,"percent":0.00}' in body
    assert re.search(rb'"rate":\d+\.\d0,', body)


@pytest.mark.parametrize(("ticker", "code"), [case[:2] for case in CASES])
async def test_csv_says_the_same(full: House, ticker: str, code: str) -> None:
    """A header, lines that end as RFC 4180 has it, and the figures of the JSON."""
    document = await full.document(f"{code}?ticker={ticker}&{DECADE}")
    status, headers, body = await full.ask(f"{code.lower()}.csv?ticker={ticker}&{DECADE}")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8; header=present")
    name = f"{code}-{document.base}-2016-04-02-2026-04-02.csv".lower()
    assert headers["content-disposition"] == f'attachment; filename="{name}"'
    assert body.count(b"\r\n") == body.count(b"\n") == len(document.history) + 1
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline=""), strict=True))
    assert list(rows[0]) == ["date", "currency", "base", "rate", "change", "percent", "source"]
    assert rows == [
        {
            "date": str(line.date),
            "currency": code,
            "base": document.base,
            "rate": f"{line.rate:f}",
            "change": f"{line.change:f}",
            "percent": f"{line.percent:f}",
            "source": document.source,
        }
        for line in document.history
    ]


async def test_the_beginning_of_a_series_has_no_change(full: House) -> None:
    """Null in JSON, nothing in CSV: nobody knows what was before."""
    span = "from=2015-01-01&to=2015-12-31"
    document = await full.document(f"usd?{span}")
    first = document.history[0]
    assert (first.date, first.previous, first.change, first.percent) == (FIRST, None, None, None)
    _, _, body = await full.ask(f"usd.csv?{span}")
    assert body.split(b"\r\n")[1] == b"2015-11-02,USD,KZT,%s,,,nbk" % str(first.rate).encode()
    assert (await full.document("usd?from=2012-01-01&to=2013-01-01")).history == []
    assert (await full.ask("usd.csv?from=2012-01-01&to=2013-01-01"))[2].count(b"\r\n") == 1
    assert (await full.document("usd?from=2026-04-03&to=2026-06-01")).history == []


async def test_default_range_is_a_year_up_to_the_latest_date(full: House) -> None:
    """`from` is a year before `to`, `to` the latest date; nothing said is as an empty one; so is `.json`."""
    plain = await full.document("usd")
    assert (plain.since, plain.until, plain.ticker) == (date(2025, 4, 2), LAST, "kzt")
    for same in ("usd?from=&to=&ticker=", "usd.json", "UsD", "usd?to=2026-04-02", "usd?from=2025-04-02", "usd?utm=1"):
        assert await full.document(same) == plain
    leap = await full.document("usd?to=2024-02-29")
    assert (leap.since, leap.until) == (date(2023, 2, 28), date(2024, 2, 29))


@pytest.mark.parametrize(
    ("span", "allowed"),
    [
        (DECADE, True),
        ("from=2016-04-01&to=2026-04-02", False),
        ("from=2016-04-01", False),  # up to the latest date
        ("from=2016-02-29&to=2026-02-28", True),
        ("from=2016-02-29&to=2026-02-29", None),  # there is no such day
        ("from=2016-02-29&to=2026-03-01", False),
        ("from=2014-02-28&to=2024-02-29", True),
        ("from=2014-02-27&to=2024-02-29", False),
        ("from=2024-02-29&to=2024-02-29", True),
        ("from=0001-01-01&to=0010-12-31", True),
        ("from=9990-01-01&to=9999-12-31", True),
        ("to=0001-01-01", True),
        ("from=0001-01-01", False),
    ],
)
async def test_ten_years_are_the_most(full: House, span: str, allowed: bool | None) -> None:
    """Ten years to the day; more is refused with what is possible."""
    if allowed:
        await full.document(f"usd?{span}")
        return
    problem = await full.problem(f"usd?{span}")
    assert problem["status"] == 400
    assert ("more than 10 years before to" if allowed is False else "must be a date") in problem["detail"]


@pytest.mark.parametrize(
    ("path", "status", "told", "available"),
    [
        ("usd?from=20260401", 400, "from must be a date like 2026-04-02, not '20260401'", None),
        ("usd?to=2026-W14-4", 400, "to must be a date like 2026-04-02, not '2026-W14-4'", None),
        ("usd?to=2026-4-2", 400, "to must be a date", None),
        ("usd?to=None", 400, "to must be a date", None),
        ("usd?from=%00", 400, "from must be a date", None),
        ("usd?from=2026-04-01&to=2026-03-31", 400, "from (2026-04-01) is after to (2026-03-31)", None),
        ("usd?from=2026-04-03", 400, "from (2026-04-03) is after to (2026-04-02)", None),
        ("usd?ticker=xyz", 404, "Unknown ticker 'xyz'", ["kzt", "eur", "today", "none"]),
        ("gbp", 404, "No source of the ticker kzt quotes 'gbp'", ["USD", "UZS", "PLN"]),
        ("xdr", 404, "No source of the ticker kzt quotes 'xdr'", ["USD", "UZS", "PLN"]),
        ("usd.xml", 404, "Unknown format .xml", [".json", ".csv"]),
        ("usd.", 404, "Unknown format .", [".json", ".csv"]),
        ("%3Cscript%3E", 404, "No source of the ticker kzt quotes '<script>'", ["USD", "UZS", "PLN"]),
        ("usd?ticker=none", 503, "No source of the ticker none has responded", None),
    ],
)
async def test_errors_say_what_there_is_instead(
    full: House, path: str, status: int, told: str, available: list[str] | None
) -> None:
    """As a problem; whoever asks too early is told when to come back."""
    problem = await full.problem(path)
    assert (problem["status"], problem.get("available")) == (status, available)
    assert told in problem["detail"]
    assert problem["retry"] == ("5" if status == 503 else None)


@pytest.mark.parametrize("path", [f"usd?{DECADE}", f"usd?{RECENT}", f"usd.csv?{YEAR}"])
async def test_a_reply_keeps_the_promises_of_every_cacheable_one(full: House, path: str) -> None:
    """HEAD, gzip and 304, by strong ETags; the headers are the same on all."""
    _, plain, text = await full.ask(path)
    _, packed, compressed = await full.ask(path, Accept_Encoding="gzip")
    assert gzip.decompress(compressed) == text
    assert packed.pop("content-encoding") == "gzip"
    assert re.fullmatch('"[0-9a-f]{20}"', plain["etag"])
    assert packed["etag"] == plain["etag"][:-1] + '-gzip"'
    assert set(packed) == set(plain)
    assert "set-cookie" not in plain
    assert (plain["vary"], plain["access-control-allow-origin"]) == ("Accept-Encoding", "*")
    assert plain["cache-control"] == "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400"
    assert (await full.ask(path, Accept_Encoding="gzip"))[2] == compressed
    assert (await full.ask(path, Accept_Encoding="gzip;q=0, br"))[2] == text

    status, head, body = await full.ask(path, "HEAD")
    assert (status, body) == (200, b"")
    assert head | {"date": "", "transfer-encoding": "chunked"} == plain | {"date": ""}

    for known in (plain["etag"], packed["etag"], f'W/{plain["etag"]}, "other"', "*"):
        status, headers, body = await full.ask(path, If_None_Match=known)
        assert (status, body) == (304, b"")
        assert not {"content-length", "content-type", "transfer-encoding"} & set(headers)
        for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
            assert headers[name] == (packed if known == packed["etag"] else plain)[name]
    assert (await full.ask(path, If_None_Match='"other"'))[0] == 200


async def test_different_replies_have_different_tags(full: House) -> None:
    """By currency, ticker, part and form."""
    paths = ("usd", "uzs", "pln", "usd.csv", "usd?ticker=eur", "usd?ticker=today", f"usd?{RECENT}", f"usd?{OLD}")
    assert len({(await full.ask(path))[1]["etag"] for path in paths}) == len(paths)


async def test_caches_keep_it_until_the_next_publication_is_due(full: House) -> None:
    """The window of the National Bank opens at 10:30 UTC; nobody keeps a reply past that."""
    full.clock.time = datetime(2026, 4, 2, 10, 29, 48, tzinfo=UTC)
    assert "max-age=12," in (await full.ask("usd"))[1]["cache-control"]


async def test_what_takes_effect_tomorrow_is_not_in_a_ticker_of_today(valkey: str, filled: str, clock: Clock) -> None:
    """A ticker with `effective = "today"` has no later date in its history either."""
    rate = NBK[-1].rates["USD"].value + 1
    tomorrow = replace(NBK[-1], date=day(3), rates={**NBK[-1].rates, "USD": Rate(rate), "EUR": Rate(Decimal(500))})
    async with house(valkey, filled, clock, *in_memory(), tomorrow) as made:
        latest, today = await made.document("usd"), await made.document("usd?ticker=today")
        assert (latest.until, latest.history[-1].rate) == (day(3), rate)
        assert (today.until, today.history[-1].date) == (LAST, LAST)
        assert (await made.document("usd?ticker=today&to=2026-04-03")).history[-1].date == LAST


async def test_a_fixing_that_does_not_quote_the_currency_is_passed_over(
    store: Store, valkey: str, clock: Clock
) -> None:
    """The change is from the last one that does; it was the same figure on the days between."""
    known = [fixing(day(1), USD="1", UZS="5"), fixing(day(2), USD="2"), fixing(day(3), USD="3", UZS="6")]
    for one in known:
        await store.save(one)
    async with house(valkey, store._prefix, clock, *known) as made:
        lines = (await made.document("uzs")).history
        assert [(line.date, line.previous) for line in lines] == [(day(1), None), (day(3), Decimal(5))]
        assert len((await made.document("usd")).history) == 3


async def test_memory_wins_and_returns_what_is_not_written_yet(store: Store, valkey: str, clock: Clock) -> None:
    """A revision that the store has not, and a date that it has not; the tag says that it is another reply."""
    for one in (fixing(day(20, 3), USD="1"), fixing(day(1), USD="2")):
        await store.save(one)
    async with house(valkey, store._prefix, clock, fixing(day(1), USD="2")) as made:
        _, before, _ = await made.ask("usd")
        made.memory.add(replace(fixing(day(1), USD="3"), digest="another"))
        _, revised, _ = await made.ask("usd")
        assert [line.rate for line in (await made.document("usd")).history] == [1, 3]
        made.memory.add(fixing(day(2), USD="4"))
        made.memory.refresh(clock())
        _, longer, _ = await made.ask("usd")
        assert [line.rate for line in (await made.document("usd")).history] == [1, 3, 4]
        assert len({before["etag"], revised["etag"], longer["etag"]}) == 3


async def test_whatever_is_written_changes_the_tag(store: Store, valkey: str, clock: Clock) -> None:
    """Of that source: an old date that came late, and a revision; those of another one do not."""
    await store.save(fixing(day(1, 2), USD="1"))
    async with house(valkey, store._prefix, clock, fixing(day(2), USD="4")) as made:
        tags = []
        for one in (
            fixing(day(1, 2), "nbu", "UAH", USD="9"),
            fixing(day(2, 2), USD="2"),
            later(fixing(day(2, 2), USD="3")),
        ):
            _, headers, _ = await made.ask("usd")
            await store.save(one)
            tags.append(headers["etag"])
            assert (await made.ask("usd", If_None_Match=tags[-1]))[0] == (304 if one.source == "nbu" else 200)
        assert len(set(tags)) == 2
        assert [line.rate for line in (await made.document("usd")).history] == [1, 3, 4]


async def test_unreadable_record_is_logged_and_skipped(store: Store, valkey: str, clock: Clock) -> None:
    """Somebody else's value under our key costs its own date, and no other."""
    await store.save(fixing(day(1, 2), USD="1"))
    await store._redis.hset(store._key("fixings", "nbk"), "2026-02-02", "{}")
    async with house(valkey, store._prefix, clock, fixing(day(2), USD="4")) as made:
        with capture_logs() as logs:
            assert [line.rate for line in (await made.document("usd")).history] == [1, 4]
    assert [(log["event"], log["source"]) for log in logs] == [("store.unreadable", "nbk")]


async def test_a_predecessor_is_looked_for_beyond_any_holiday(store: Store, valkey: str, clock: Clock) -> None:
    """Two months back; what lies farther is no "day before" any more."""
    for one in (
        fixing(date(2025, 1, 1), USD="1"),
        fixing(date(2025, 3, 6), USD="2"),
        fixing(date(2025, 6, 1), USD="3"),
    ):
        await store.save(one)
    async with house(valkey, store._prefix, clock, fixing(day(2), USD="4")) as made:
        near, far = [
            (await made.document(f"usd?from={since}&to=2026-01-01")).history[0].previous
            for since in ("2025-03-06", "2025-06-01")
        ]
    assert (near, far) == (Decimal(1), None)


@dataclass
class Gate:
    """Stands between a service and its store, sees what is asked, and can cut or hold it."""

    path: str
    url: str = ""
    reads: int = 0
    """How many times fixings were asked for."""
    most: int = 0
    """The most days that were asked for at once."""
    cut_at: int | None = None
    """Let this many of them pass, and then nothing any more."""
    hold_at: int | None = None

    def __post_init__(self) -> None:
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stored, store = await asyncio.open_unix_connection(self.path)
        back = asyncio.create_task(self._back(stored, writer))
        with suppress(ConnectionError):
            while (data := await reader.read(65536)) and not self._cut(data):
                if self.hold_at is not None and self.reads > self.hold_at:
                    self.held.set()
                    await self.go_on.wait()
                store.write(data)
        back.cancel()
        for end in (store, writer):
            end.close()

    def _cut(self, data: bytes) -> bool:
        asked = re.findall(rb"\*(\d+)\r\n\$5\r\nHMGET", data)
        self.reads += len(asked)
        self.most = max(self.most, *(int(size) - 2 for size in asked), 0)
        return self.cut_at is not None and self.reads > self.cut_at

    async def _back(self, stored: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await stored.read(65536):
            writer.write(data)


@pytest.fixture
async def gate(valkey: str) -> AsyncIterator[Gate]:
    made = Gate(valkey.removeprefix("unix://"))
    async with await asyncio.start_server(made.connect, "127.0.0.1", 0) as server:
        made.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
        made.go_on.set()


@pytest.fixture
def limits() -> Limits:
    """Return the limits of a gated house; a test may have others."""
    return LIMITS


@pytest.fixture
async def gated(gate: Gate, filled: str, clock: Clock, limits: Limits) -> AsyncIterator[House]:
    async with house(gate.url, filled, clock, *in_memory(), limits=limits) as made:
        yield made


async def test_a_reply_is_worked_out_in_small_pieces(gated: House, gate: Gate) -> None:
    """So that other readers get their turn: never more than 64 days, and nothing twice."""
    await gated.document(f"usd?{DECADE}")
    assert gate.most == 64
    since = date(2016, 4, 2) - timedelta(days=64)
    assert gate.reads == ceil((NBK[-KEEP].date - since).days / 64)  # memory has the rest


async def test_what_is_known_by_its_tag_is_not_read(gated: House, gate: Gate) -> None:
    """304, and HEAD, cost the store one question."""
    _, headers, _ = await gated.ask(f"usd?{DECADE}", "HEAD")
    assert (await gated.ask(f"usd?{DECADE}", If_None_Match=headers["etag"]))[0] == 304
    assert gate.reads == 0


async def test_memory_serves_what_it_has_while_the_store_is_away(full: House, filled: str, clock: Clock) -> None:
    """The same reply as with a store, which is not even asked; for what is older, 503 and when to come back."""
    async with house("redis://127.0.0.1:1", filled, clock, *in_memory()) as made:
        for path in (f"usd?{RECENT}", f"usd.csv?{RECENT}", "usd?from=2026-01-05"):
            with_store, without = await full.ask(path), await made.ask(path)
            assert (with_store[1] | {"date": ""}, with_store[2]) == (without[1] | {"date": ""}, without[2])
        for path in ("usd", f"usd?{DECADE}", f"usd?{OLD}", f"usd?from={NBK[-KEEP].date}"):
            problem = await made.problem(path)
            assert (problem["status"], problem["retry"]) == (503, "30")
            assert problem["detail"] == "Older fixings of nbk are temporarily unavailable."


async def test_a_store_that_dies_before_the_first_piece_is_a_problem(gated: House, gate: Gate) -> None:
    """Nothing was sent yet, so that it can be said."""
    gate.cut_at = 0
    assert (await gated.problem(f"usd?{DECADE}"))["status"] == 503


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_store_that_dies_in_the_middle_breaks_the_reply_off(gated: House, gate: Gate, coding: str) -> None:
    """Nobody can take a part for the whole; it is told once, and the next reply is a whole one."""
    gate.cut_at = 10
    with capture_logs() as logs, pytest.raises(ClientPayloadError):
        await gated.ask(f"usd.csv?{DECADE}", Accept_Encoding=coding)
    assert [(log["event"], log["log_level"]) for log in logs] == [("history.broken_off", "warning")]
    gate.cut_at = None
    await gated.document(f"usd?{DECADE}")


async def test_a_fault_of_ours_in_the_middle_breaks_the_reply_off(
    gated: House, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No problem document is written into a reply that has begun."""

    async def faulty(*_: object) -> None:
        raise ZeroDivisionError

    gate.hold_at = 10
    with capture_logs() as logs:
        asked = asyncio.create_task(gated.ask(f"usd?{DECADE}"))
        await gate.held.wait()
        monkeypatch.setattr(Store, "rates", faulty)
        gate.go_on.set()
        with pytest.raises(ClientPayloadError):
            await asked
    assert [(log["event"], log["log_level"]) for log in logs] == [("request.crashed", "error")]


async def raw(made: House, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = made.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace("\n", "\r\n").encode())
    return reader, writer


@pytest.mark.parametrize("limits", [replace(LIMITS, responses=1)], ids=["one"])
async def test_disconnected_client_is_forgotten(gated: House, gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """In the middle of a reply: no word in the log, and its place is free again."""
    gate.hold_at = 10
    with capture_logs() as logs:
        reader, writer = await raw(gated, f"GET /v1/history/usd?{DECADE} HTTP/1.1\nHost: h\n\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        await gate.held.wait()
        problem = await gated.problem(f"usd?{RECENT}")
        assert (problem["status"], problem["retry"]) == (503, "5")
        writer.transport.abort()
        gate.hold_at = None
        gate.go_on.set()
        await until_true(lambda: len(gated.server.connections) == 1)  # that of the problem
        assert (await gated.ask(f"usd?{RECENT}"))[0] == 200
    assert (logs, caplog.records) == ([], [])
    await gated.document(f"usd?{DECADE}")


@pytest.mark.parametrize(
    "limits",
    [replace(LIMITS, chunk_timeout=0.5), replace(LIMITS, timeout=0.5)],
    ids=["of a chunk", "of all"],
)
async def test_stalled_client_is_disconnected(valkey: str, filled: str, clock: Clock, limits: Limits) -> None:
    """It may leave unread what the buffers hold, for half a minute; here for a moment. What it got is no whole."""
    with socket.socket() as small, socket.socket() as reader, capture_logs() as logs:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.setblocking(False)
        async with house(valkey, filled, clock, *in_memory(), listening=small, limits=limits) as made:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(reader, small.getsockname())
            ask = f"GET /v1/history/usd?{DECADE} HTTP/1.1\r\nHost: h\r\n\r\n"
            await loop.sock_sendall(reader, ask.encode())
            received = await loop.sock_recv(reader, 1)
            await until_true(lambda: not made.server.connections)
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(reader, 65536):
                    received += data
    assert b"200 OK" in received
    assert not received.endswith(b"0\r\n\r\n")
    assert logs == []


@pytest.mark.parametrize("limits", [replace(LIMITS, timeout=0.2)], ids=["a moment"])  # there are more than fifty chunks
async def test_deadline_holds_where_the_store_swallows_cancellations(
    gated: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does on Python 3.11: a response that takes too long is aborted nevertheless."""
    rates = Store.rates

    async def swallowing(*arguments: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        return await rates(*arguments)

    monkeypatch.setattr(Store, "rates", swallowing)
    with pytest.raises(ClientPayloadError):
        await gated.document(f"usd?{DECADE}")


async def test_many_clients_share_the_loop(full: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole replies, as each alone would get; two pieces are in work together, whoever else waits."""
    in_work, most, figures = 0, 0, Store.rates

    async def counted(store: Store, source: str, since: date, until: date) -> list[StoredRates]:
        nonlocal in_work, most
        in_work += 1
        most = max(most, in_work)
        try:
            return await figures(store, source, since, until)
        finally:
            in_work -= 1

    paths = [f"{code}?{span}" for code in ("usd", "uzs", "pln") for span in (OLD, YEAR, RECENT)]
    alone = [(await full.ask(path))[2] for path in paths]
    monkeypatch.setattr(Store, "rates", counted)
    together = await asyncio.gather(*(full.ask(path) for path in paths * 5))
    assert [body for _, _, body in together] == alone * 5
    assert most == 2


async def test_an_old_client_gets_it_in_one_piece(gated: House, gate: Gate) -> None:
    """HTTP/1.0 has no pieces: with a length, so that a part is no whole; where the store dies, a problem."""
    ask = f"GET /v1/history/usd.csv?{DECADE} HTTP/1.0\n\n"
    reader, writer = await raw(gated, ask)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"Transfer-Encoding" not in head
    assert body == (await gated.ask(f"usd.csv?{DECADE}"))[2]
    gate.reads, gate.cut_at = 0, 10
    reader, writer = await raw(gated, ask)
    assert b" 503 " in (await reader.read()).split(b"\r\n")[0]
    writer.close()


ANY_DATE = st.one_of(
    st.dates(date(2015, 10, 1), date(2026, 5, 1)).map(str),
    st.dates().map(str),
    st.sampled_from(["", "0001-01-01", "9999-12-31", "2024-02-29", "2023-02-29", "2026-4-2", "-1", "0000-00-00"]),
    st.text(max_size=12),
)
QUERY = st.fixed_dictionaries(
    {}, optional={"from": ANY_DATE, "to": ANY_DATE, "ticker": st.sampled_from(["kzt", "eur", "none", "", "x"])}
).map(urlencode) | st.text("%0123456789-=&fromticketo.", max_size=40)
PATH = st.sampled_from(["usd", "PLN.json", "uzs.csv", "xdr", "usd.", "%2e%2e", "usd.csv.csv"]) | st.text(
    "%2eusd.csv\u0131", min_size=1, max_size=8
)


@pytest.mark.fuzz
async def test_every_request_gets_a_response(full: House) -> None:
    """A whole reply, or a problem that is the asker's own: never a fault; a part is that part of the whole series."""
    loop = asyncio.get_running_loop()

    @given(PATH, QUERY)
    @example("usd", "from=0001-01-01&to=0001-01-01")
    @example("usd", "from=9999-12-31&to=9999-12-31")
    def ask(path: str, query: str) -> None:
        asyncio.run_coroutine_threadsafe(check(path, query), loop).result()

    async def check(path: str, query: str) -> None:
        with capture_logs() as logs:
            status, headers, body = await full.ask(f"{path}?{query}")
        assert status in (200, 400, 404) or (status == 503 and "ticker=none" in query)
        assert logs == []
        if status != 200:
            assert headers["content-type"].split(";")[0] in ("application/problem+json", "text/plain")
        elif headers["content-type"] == "application/json":
            document = msgspec.json.decode(body, type=Document)
            wanted = expected(document.source, document.currency, document.base, document.since, document.until)
            assert document.history == wanted

    await asyncio.to_thread(ask)


async def test_the_service_serves_it(start: Started, banks: Banks) -> None:
    """Wired: what was polled is in the history at once; everything is GET and HEAD here too."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    client = await start()
    await until_ready(client)
    async with client.get("/v1/history/usd.csv", headers={"Accept-Encoding": "identity"}) as response:
        assert await response.text() == (
            "date,currency,base,rate,change,percent,source\r\n"
            "2026-04-01,USD,KZT,478.77,,,nbk\r\n2026-04-02,USD,KZT,475.09,-3.68,-0.77,nbk\r\n"
        )
    async with client.options("/v1/history/usd") as response:
        assert (response.status, response.headers["Allow"]) == (204, "GET, HEAD")
    async with client.post("/v1/history/usd") as response:
        assert response.status == 405
