"""`/v1/history`: ten years of generated fixings in a real store, requested over a real socket."""

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
from service.web.api.history import LIMITS, Histories, Limits
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
"""Rates in memory, and older ones that are only in the store."""


def generated(source: str, base: str, with_weekends: bool, **starts: tuple[str, int]) -> list[Fixing]:
    """Return a fixing for each working day, except for the first week of a year.

    With `with_weekends` also for weekends, which repeat Saturday's rates with more digits. The dollar is sometimes
    unchanged.
    """
    generator = random.Random(source)  # noqa: S311 - the same rates in each run
    rates = {code: Rate(Decimal(value), nominal) for code, (value, nominal) in starts.items()}
    direction = Quotation.INVERSE if source == "ecb" else Quotation.DIRECT
    fixings = []
    for on in days(FIRST, LAST):
        carried = with_weekends and on.weekday() in (6, 0)
        if (on.month == 1 and on.day < 8) or (on.weekday() > 4 and not with_weekends):
            continue
        for code, rate in rates.items():
            step = (
                Decimal(0)
                if carried or (code == "USD" and generator.random() < 0.2)
                else Decimal(generator.randint(-9, 9))
            )
            rates[code] = replace(rate, value=max(rate.value + step.scaleb(-2), Decimal("0.50")).quantize(
                Decimal("0.0001" if carried else "0.01")
            ))  # fmt: skip
        fetched_at = datetime(on.year, on.month, on.day, 11, tzinfo=UTC)
        fixings.append(
            Fixing(source, base, on, dict(rates), f"http://{source}/", fetched_at, f"digest of {on}", direction)
        )
    return fixings


def days(since: date, until: date) -> Iterator[date]:
    return map(date.fromordinal, range(since.toordinal(), until.toordinal() + 1))


@cache
def all_series() -> dict[str, list[Fixing]]:
    """Return the fixings of each source; generated when a test needs them, not in each worker that collects tests."""
    return {
        "nbk": generated(
            "nbk", "KZT", True, USD=("475.09", 1), EUR=("551.06", 1), UZS=("3.91", 100), IRR=("11.20", 10_000)
        ),
        "nbu": generated("nbu", "UAH", False, USD=("41.50", 1), KZT=("8.73", 100), PLN=("11.30", 1)),
        "ecb": generated("ecb", "EUR", False, USD=("11.50", 1), GBP=("8.70", 1)),
    }


CASES = (
    ("kzt", "USD", "nbk", "KZT"),
    ("kzt", "UZS", "nbk", "KZT"),  # nominal 100
    ("kzt", "PLN", "nbu", "KZT"),  # a cross rate through the hryvnia
    ("eur", "USD", "ecb", "EUR"),  # an inverse quotation
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
    """Return the lines of the history that the response must have."""
    return [line for line in every_line(source, code, base) if since <= line.date <= until]


@cache
def every_line(source: str, code: str, base: str) -> list[Line]:
    """Return the whole history, computed from all fixings by another algorithm than that of the service."""
    publications: list[tuple[date, Decimal, Fraction]] = []
    before: dict[str, Fraction] = {}
    for current in all_series()[source]:
        exact_rates = {key: Fraction(rate.value) / rate.nominal for key, rate in current.rates.items()}
        if current.direction is Quotation.INVERSE:
            exact_rates = {key: 1 / value for key, value in exact_rates.items()}
        if exact_rates != before:
            exact = exact_rates[code] / exact_rates.get(base, 1)
            with localcontext(prec=10):
                derived = Decimal(exact.numerator) / Decimal(exact.denominator)
            rate = current.rates[code]
            published = rate.value.scaleb(1 - len(str(rate.nominal)))
            direct = base == current.base and current.direction is Quotation.DIRECT
            publications.append((current.date, published if direct else derived, exact))
        before = exact_rates
    lines = [Line(publications[0][0], publications[0][1], None, None, None)]
    for (_, old, old_exact), (on, new, new_exact) in pairwise(publications):
        percent = (new_exact / old_exact - 1) * 100
        rounded = Decimal(floor(abs(percent) * 100 + Fraction(1, 2))).scaleb(-2)
        lines.append(Line(on, new, old, new - old, -rounded if percent < 0 and rounded else rounded))
    return lines


@dataclass
class HistoryApp:
    """The history routes alone, with in-memory state and a store that a test controls."""

    memory: MemoryState
    store: Store
    clock: Clock
    session: ClientSession
    url: str
    server: web.Server

    async def request(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Return the status, the headers with lower-case names, and the raw body."""
        request_headers = {"Accept-Encoding": "identity"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        async with self.session.request(method, f"{self.url}/v1/history/{path}", headers=request_headers) as response:
            response_headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, response_headers, await response.read()

    async def document(self, path: str) -> Document:
        status, _, body = await self.request(path)
        assert status == 200, body
        return msgspec.json.decode(body, type=Document)

    async def problem(self, path: str) -> dict[str, Any]:
        """Check status and headers of a problem response, and return its document."""
        status, headers, body = await self.request(path)
        assert headers["content-type"].startswith("application/problem+json")
        assert (headers["cache-control"], headers["access-control-allow-origin"]) == ("no-store", "*")
        document = cast("dict[str, Any]", json.loads(body))
        assert document["status"] == status
        return document | {"retry": headers.get("retry-after")}


@cache
def settings() -> Settings:
    kzt = {"id": "kzt", "base": "KZT", "currencies": ["USD", "UZS", "PLN", "XDR"], "sources": ["nbk", "nbu"]}
    eur = {"id": "eur", "base": "EUR", "currencies": ["USD"], "sources": ["ecb"]}
    today = {"id": "today", "base": "KZT", "currencies": ["USD"], "sources": ["nbk"], "effective": "today"}
    none = {"id": "none", "base": "RUB", "currencies": ["USD"], "sources": ["cbr"]}
    # Each series is an independent random walk: in cross-checks they would contradict each other.
    sources = {key: {"not_compared": sorted(fixings[0].rates)} for key, fixings in all_series().items()}
    return load(environ={}, overrides={"tickers": [kzt, eur, today, none], "sources": sources})


@asynccontextmanager
async def serve(
    url: str,
    prefix: str,
    clock: Clock,
    *fixings: Fixing,
    memory: MemoryState | None = None,
    listening: socket.socket | None = None,
    limits: Limits = LIMITS,
) -> AsyncIterator[HistoryApp]:
    """Serve histories; `fixings` are in memory, unless a memory is given."""
    memory = memory or memory_with(*fixings, now=clock())
    async with Store(url, prefix) as store, ClientSession(auto_decompress=False) as session:
        app = web.Application()
        app.add_routes(history.routes(Histories(PageCache(memory, clock), store, limits)))
        runner = web.AppRunner(app)
        await runner.setup()
        listening = listening or socket.socket()
        listening.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listening).start()
        host, port = runner.addresses[0][:2]
        assert runner.server
        yield HistoryApp(memory, store, clock, session, f"http://{host}:{port}", runner.server)
        await runner.cleanup()


def in_memory() -> list[Fixing]:
    """Return the fixings that a running service holds in memory."""
    return [item for series in all_series().values() for item in series[-KEEP:]]


def memory_with(*fixings: Fixing, now: datetime) -> MemoryState:
    memory = MemoryState(settings())
    for item in fixings:
        memory.add(item)
    memory.refresh(now)
    return memory


@pytest.fixture(scope="module")
def shared_memory() -> MemoryState:
    """Return the memory of a running service at the time of `clock`. Read-only."""
    return memory_with(*in_memory(), now=datetime(2026, 4, 2, 4, tzinfo=UTC))


@pytest.fixture(scope="module")
def filled(valkey: str) -> str:
    """Return the prefix of a store with all series."""

    async def fill() -> None:
        async with Store(valkey, "decade:") as store:
            for series in all_series().values():
                await store.save(*series)

    asyncio.run(fill())
    return "decade:"


@pytest.fixture
async def shared_app(valkey: str, filled: str, clock: Clock, shared_memory: MemoryState) -> AsyncIterator[HistoryApp]:
    """Yield the app with ten years in the store and the latest dates in memory. Read-only."""
    async with serve(valkey, filled, clock, memory=shared_memory) as app:
        yield app


@pytest.mark.parametrize(("ticker", "code", "source", "base"), CASES)
@pytest.mark.parametrize("span", [OLD, YEAR, DECADE, RECENT])
async def test_rates_are_exact(
    shared_app: HistoryApp, ticker: str, code: str, source: str, base: str, span: str
) -> None:
    """Only publications, oldest first, exact to the digit; the first change is from the publication before."""
    since, until = (date.fromisoformat(part.partition("=")[2]) for part in span.split("&"))
    document = await shared_app.document(f"{code}?ticker={ticker}&{span}")
    expected_lines = expected(source, code, base, since, until)
    assert [str(line) for line in document.history] == [str(line) for line in expected_lines]
    assert len(expected_lines) > 15
    assert expected_lines[0].previous is not None
    assert without_history(document) == Document(
        ticker, base, code, source, shared_app.memory.settings.sources[source].name, code == "PLN", since, until, []
    )


def without_history(document: Document) -> Document:
    return msgspec.structs.replace(document, history=[])


async def test_numbers_are_json_numbers_with_the_published_digits(shared_app: HistoryApp) -> None:
    """No strings, no binary noise, trailing zeros kept; no change is 0.00."""
    _, _, body = await shared_app.request(f"usd?{DECADE}")
    assert not re.search(rb'"(rate|previous|change|percent)":(?!null|-?\d)', body)
    assert not re.search(rb"\d\.\d{5}", body)
    assert b'"change":0.00,"percent":0.00}' in body
    assert re.search(rb'"rate":\d+\.\d0,', body)


@pytest.mark.parametrize(("ticker", "code"), [case[:2] for case in CASES])
async def test_csv_has_the_same_values(shared_app: HistoryApp, ticker: str, code: str) -> None:
    """A header, line endings of RFC 4180 and the values of the JSON."""
    document = await shared_app.document(f"{code}?ticker={ticker}&{DECADE}")
    status, headers, body = await shared_app.request(f"{code.lower()}.csv?ticker={ticker}&{DECADE}")
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


async def test_first_publication_has_no_change(shared_app: HistoryApp) -> None:
    """Null in JSON, empty in CSV: no earlier rate is known."""
    span = "from=2015-01-01&to=2015-12-31"
    document = await shared_app.document(f"usd?{span}")
    first = document.history[0]
    assert (first.date, first.previous, first.change, first.percent) == (FIRST, None, None, None)
    _, _, body = await shared_app.request(f"usd.csv?{span}")
    assert body.split(b"\r\n")[1] == b"2015-11-02,USD,KZT,%s,,,nbk" % str(first.rate).encode()
    assert (await shared_app.document("usd?from=2012-01-01&to=2013-01-01")).history == []
    assert (await shared_app.request("usd.csv?from=2012-01-01&to=2013-01-01"))[2].count(b"\r\n") == 1
    assert (await shared_app.document("usd?from=2026-04-03&to=2026-06-01")).history == []


async def test_default_range_is_a_year_up_to_the_latest_date(shared_app: HistoryApp) -> None:
    """Empty parameters and `.json` are the same as the defaults."""
    plain = await shared_app.document("usd")
    assert (plain.since, plain.until, plain.ticker) == (date(2025, 4, 2), LAST, "kzt")
    for path in ("usd?from=&to=&ticker=", "usd.json", "UsD", "usd?to=2026-04-02", "usd?from=2025-04-02", "usd?utm=1"):
        assert await shared_app.document(path) == plain
    leap = await shared_app.document("usd?to=2024-02-29")
    assert (leap.since, leap.until) == (date(2023, 2, 28), date(2024, 2, 29))


@pytest.mark.parametrize(
    ("span", "allowed"),
    [
        (DECADE, True),
        ("from=2016-04-01&to=2026-04-02", False),
        ("from=2016-04-01", False),  # up to the latest date
        ("from=2016-02-29&to=2026-02-28", True),
        ("from=2016-02-29&to=2026-02-29", None),  # not a valid date
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
async def test_range_is_limited_to_ten_years(shared_app: HistoryApp, span: str, allowed: bool | None) -> None:
    """To the day; a longer range is refused with the limit."""
    if allowed:
        await shared_app.document(f"usd?{span}")
        return
    problem = await shared_app.problem(f"usd?{span}")
    assert problem["status"] == 400
    assert ("more than 10 years before to" if allowed is False else "must be a date") in problem["detail"]


@pytest.mark.parametrize(
    ("path", "status", "detail", "available"),
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
async def test_errors_list_available_values(
    shared_app: HistoryApp, path: str, status: int, detail: str, available: list[str] | None
) -> None:
    """As a problem; 503 has Retry-After."""
    problem = await shared_app.problem(path)
    assert (problem["status"], problem.get("available")) == (status, available)
    assert detail in problem["detail"]
    assert problem["retry"] == ("5" if status == 503 else None)


@pytest.mark.parametrize("path", [f"usd?{DECADE}", f"usd?{RECENT}", f"usd.csv?{YEAR}"])
async def test_history_supports_head_gzip_and_etags(shared_app: HistoryApp, path: str) -> None:
    """ETags are strong, and headers are the same on all."""
    _, plain_headers, text = await shared_app.request(path)
    _, gzip_headers, compressed = await shared_app.request(path, Accept_Encoding="gzip")
    assert gzip.decompress(compressed) == text
    assert gzip_headers.pop("content-encoding") == "gzip"
    assert re.fullmatch('"[0-9a-f]{20}"', plain_headers["etag"])
    assert gzip_headers["etag"] == plain_headers["etag"][:-1] + '-gzip"'
    assert set(gzip_headers) == set(plain_headers)
    assert "set-cookie" not in plain_headers
    assert (plain_headers["vary"], plain_headers["access-control-allow-origin"]) == ("Accept-Encoding", "*")
    assert plain_headers["cache-control"] == "public, max-age=60, stale-while-revalidate=60, stale-if-error=86400"
    assert (await shared_app.request(path, Accept_Encoding="gzip"))[2] == compressed
    assert (await shared_app.request(path, Accept_Encoding="gzip;q=0, br"))[2] == text

    status, head, body = await shared_app.request(path, "HEAD")
    assert (status, body) == (200, b"")
    assert head | {"date": "", "transfer-encoding": "chunked"} == plain_headers | {"date": ""}

    for known in (plain_headers["etag"], gzip_headers["etag"], f'W/{plain_headers["etag"]}, "other"', "*"):
        status, headers, body = await shared_app.request(path, If_None_Match=known)
        assert (status, body) == (304, b"")
        assert not {"content-length", "content-type", "transfer-encoding"} & set(headers)
        for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
            assert headers[name] == (gzip_headers if known == gzip_headers["etag"] else plain_headers)[name]
    assert (await shared_app.request(path, If_None_Match='"other"'))[0] == 200


async def test_different_histories_have_different_etags(shared_app: HistoryApp) -> None:
    """By currency, ticker, range and format."""
    paths = ("usd", "uzs", "pln", "usd.csv", "usd?ticker=eur", "usd?ticker=today", f"usd?{RECENT}", f"usd?{OLD}")
    assert len({(await shared_app.request(path))[1]["etag"] for path in paths}) == len(paths)


async def test_max_age_ends_at_the_next_publication(shared_app: HistoryApp) -> None:
    """The window of the National Bank opens at 10:30 UTC."""
    shared_app.clock.time = datetime(2026, 4, 2, 10, 29, 48, tzinfo=UTC)
    assert "max-age=12," in (await shared_app.request("usd"))[1]["cache-control"]


async def test_ticker_of_today_excludes_tomorrows_rates(valkey: str, filled: str, clock: Clock) -> None:
    """A ticker with `effective = "today"` has no later date in its history either."""
    current = all_series()["nbk"][-1]
    rate = current.rates["USD"].value + 1
    tomorrow = replace(current, date=day(3), rates={**current.rates, "USD": Rate(rate), "EUR": Rate(Decimal(500))})
    async with serve(valkey, filled, clock, *in_memory(), tomorrow) as app:
        latest, today = await app.document("usd"), await app.document("usd?ticker=today")
        assert (latest.until, latest.history[-1].rate) == (day(3), rate)
        assert (today.until, today.history[-1].date) == (LAST, LAST)
        assert (await app.document("usd?ticker=today&to=2026-04-03")).history[-1].date == LAST


async def test_fixings_without_the_currency_are_skipped(store: Store, valkey: str, clock: Clock) -> None:
    """The change is from the last fixing that quotes it."""
    fixings = [fixing(day(1), USD="10", UZS="5"), fixing(day(2), USD="11"), fixing(day(3), USD="12", UZS="5.5")]
    for item in fixings:
        await store.save(item)
    async with serve(valkey, store._prefix, clock, *fixings) as app:
        lines = (await app.document("uzs")).history
        assert [(line.date, line.previous) for line in lines] == [(day(1), None), (day(3), Decimal(5))]
        assert len((await app.document("usd")).history) == 3


async def test_memory_overrides_the_store(store: Store, valkey: str, clock: Clock) -> None:
    """A revision and a date that are not stored yet are returned, with another ETag."""
    for item in (fixing(day(20, 3), USD="10"), fixing(day(1), USD="11")):
        await store.save(item)
    async with serve(valkey, store._prefix, clock, fixing(day(1), USD="11")) as app:
        _, before, _ = await app.request("usd")
        app.memory.add(replace(fixing(day(1), USD="12"), digest="another"))
        _, revised, _ = await app.request("usd")
        assert [line.rate for line in (await app.document("usd")).history] == [10, 12]
        app.memory.add(fixing(day(2), USD="13"))
        app.memory.refresh(clock())
        _, longer, _ = await app.request("usd")
        assert [line.rate for line in (await app.document("usd")).history] == [10, 12, 13]
        assert len({before["etag"], revised["etag"], longer["etag"]}) == 3


async def test_stored_changes_of_the_source_change_the_etag(store: Store, valkey: str, clock: Clock) -> None:
    """A late old date and a revision do; changes of another source do not."""
    await store.save(fixing(day(1, 2), USD="1"))
    async with serve(valkey, store._prefix, clock, fixing(day(2), USD="4")) as app:
        tags = []
        for item in (
            fixing(day(1, 2), "nbu", "UAH", USD="9"),
            fixing(day(2, 2), USD="2"),
            later(fixing(day(2, 2), USD="3")),
        ):
            _, headers, _ = await app.request("usd")
            await store.save(item)
            tags.append(headers["etag"])
            assert (await app.request("usd", If_None_Match=tags[-1]))[0] == (304 if item.source == "nbu" else 200)
        assert len(set(tags)) == 2
        assert [line.rate for line in (await app.document("usd")).history] == [1, 3, 4]


async def test_unreadable_record_is_logged_and_skipped(store: Store, valkey: str, clock: Clock) -> None:
    """Other dates are returned."""
    await store.save(fixing(day(1, 2), USD="1"))
    await store._redis.hset(store._key("fixings", "nbk"), "2026-02-02", "{}")
    async with serve(valkey, store._prefix, clock, fixing(day(2), USD="4")) as app:
        with capture_logs() as logs:
            assert [line.rate for line in (await app.document("usd")).history] == [1, 4]
    assert [(log["event"], log["source"]) for log in logs] == [("store.unreadable", "nbk")]


async def test_row_is_the_same_in_every_range(store: Store, valkey: str, clock: Clock) -> None:
    """Its predecessor is searched in its own year and two months before it: longer than any holiday."""
    for item in (
        fixing(date(2024, 10, 1), USD="1"),
        fixing(date(2025, 1, 6), USD="2"),
        fixing(date(2025, 6, 1), USD="3"),
    ):
        await store.save(item)
    async with serve(valkey, store._prefix, clock, fixing(day(2), USD="4")) as app:
        for since in ("2024-10-01", "2025-01-06", "2025-06-01"):
            rows = (await app.document(f"usd?from={since}&to=2026-01-01")).history
            expected_previous = {date(2024, 10, 1): None, date(2025, 1, 6): None, date(2025, 6, 1): Decimal(2)}
            assert {row.date: row.previous for row in rows} == {
                on: previous for on, previous in expected_previous.items() if str(on) >= since
            }


async def test_years_are_read_once(shared_app: HistoryApp, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlapping ranges use the same cached years, and have the same rows as without the cache."""
    reads, rates = list[date](), Store.rates

    async def counted(store: Store, source: str, since: date, until: date) -> list[StoredRates]:
        reads.append(since)
        return await rates(store, source, since, until)

    monkeypatch.setattr(Store, "rates", counted)
    spans = [(date(2017, 3, 3), date(2019, 3, 3)), (date(2018, 1, 1), date(2018, 12, 31)), (date(2017, 3, 4), LAST)]
    for since, until in spans:
        document = await shared_app.document(f"usd?from={since}&to={until}")
        assert document.history == expected("nbk", "USD", "KZT", since, until)
    before = len(reads)
    for since, until in reversed(spans):
        await shared_app.document(f"usd?from={since}&to={until}")
    assert len(reads) == before


async def test_ranges_with_another_end_use_the_same_years(
    shared_app: HistoryApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a client with many of them would displace the years of all others."""
    await shared_app.document("uzs?from=2021-01-01&to=2021-12-31")
    monkeypatch.setattr(Store, "rates", None)  # no more reads
    for day_of_month in range(1, 29):
        document = await shared_app.document(f"uzs?from=2021-03-01&to=2021-03-{day_of_month:02}")
        assert document.history == expected("nbk", "UZS", "KZT", date(2021, 3, 1), date(2021, 3, day_of_month))


async def test_released_rate_changes_the_etag(store: Store, valkey: str, clock: Clock) -> None:
    """It has the digest and the time of its fixing."""
    later_rate = fixing(day(2), USD="475.09", UZS=("3.91", 100))
    async with serve(valkey, store._prefix, clock, fixing(day(1), USD="478.77"), later_rate.without({"UZS"})) as app:
        tags = [(await app.request(f"usd?{RECENT}"))[1]["etag"]]
        app.memory.add(replace(later_rate, rates={**later_rate.rates, "USD": Rate(Decimal("475.10"))}))
        tags.append((await app.request(f"usd?{RECENT}"))[1]["etag"])
    assert tags[0] != tags[1]


@pytest.mark.parametrize(
    ("limits", "status_of_others"),
    [(replace(LIMITS, per_address=3), 200), (replace(LIMITS, responses=3), 503)],
    ids=["per client", "in total"],
)
async def test_one_client_cannot_use_all_slots(
    valkey: str, filled: str, clock: Clock, limits: Limits, status_of_others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond its share it gets 429 whereas others are served; beyond the total everybody gets 503."""
    started, resumed, version = list[str](), asyncio.Event(), Store.version

    async def held(store: Store, source: str) -> str | None:
        started.append(source)
        await resumed.wait()
        return await version(store, source)

    async with serve(valkey, filled, clock, *in_memory(), limits=limits) as app:
        monkeypatch.setattr(Store, "version", held)
        ours = [asyncio.create_task(app.request(f"usd?{OLD}", X_Forwarded_For="192.0.2.7")) for _ in range(3)]
        await until_true(lambda: len(started) == 3)
        status, headers, _ = await app.request(f"usd?{OLD}", X_Forwarded_For="192.0.2.7")
        assert (status, headers["retry-after"]) == (429 if status_of_others == 200 else 503, "5")
        monkeypatch.setattr(Store, "version", version)
        assert (await app.request(f"usd?{OLD}", X_Forwarded_For="192.0.2.8"))[0] == status_of_others
        resumed.set()
        assert {status for status, _, _ in await asyncio.gather(*ours)} == {200}
        assert (await app.request(f"usd?{OLD}", X_Forwarded_For="192.0.2.7"))[0] == 200


@dataclass
class StoreProxy:
    """A TCP proxy of the store that counts reads and can close or hold the connection."""

    path: str
    url: str = ""
    reads: int = 0
    """Number of reads of fixings."""
    max_dates: int = 0
    """Maximum number of dates in one read."""
    cut_at: int | None = None
    """Close the connection after this many reads."""
    hold_at: int | None = None
    """Hold the connection after this many reads until `resumed` is set."""

    def __post_init__(self) -> None:
        self.held = asyncio.Event()
        self.resumed = asyncio.Event()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(self.path)
        responses = asyncio.create_task(self._forward_responses(store_reader, writer))
        with suppress(ConnectionError):
            while (data := await reader.read(65536)) and not self._cut(data):
                if self.hold_at is not None and self.reads > self.hold_at:
                    self.held.set()
                    await self.resumed.wait()
                store_writer.write(data)
        responses.cancel()
        for end in (store_writer, writer):
            end.close()

    def _cut(self, data: bytes) -> bool:
        reads = re.findall(rb"\*(\d+)\r\n\$5\r\nHMGET", data)
        self.reads += len(reads)
        self.max_dates = max(self.max_dates, *(int(size) - 2 for size in reads), 0)
        return self.cut_at is not None and self.reads > self.cut_at

    async def _forward_responses(self, store_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await store_reader.read(65536):
            writer.write(data)


@pytest.fixture
async def store_proxy(valkey: str) -> AsyncIterator[StoreProxy]:
    proxy = StoreProxy(valkey.removeprefix("unix://"))
    async with await asyncio.start_server(proxy.connect, "127.0.0.1", 0) as server:
        proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        proxy.resumed.set()


@pytest.fixture
def limits() -> Limits:
    """Return the limits of the app behind the proxy; a test can override them."""
    return LIMITS


@pytest.fixture
async def app_behind_proxy(
    store_proxy: StoreProxy, filled: str, clock: Clock, limits: Limits, shared_memory: MemoryState
) -> AsyncIterator[HistoryApp]:
    async with serve(store_proxy.url, filled, clock, memory=shared_memory, limits=limits) as app:
        yield app


async def test_history_is_read_in_chunks(app_behind_proxy: HistoryApp, store_proxy: StoreProxy) -> None:
    """At most 64 days at a time, so that other requests are served in between: each year and the 64 days before it."""
    await app_behind_proxy.document(f"usd?{DECADE}")
    assert store_proxy.max_dates == 64
    last = all_series()["nbk"][-KEEP].date - timedelta(days=1)  # the rest is in memory
    ends = [min(last, date(year, 12, 31)) for year in range(2016, last.year + 1)]
    assert store_proxy.reads == sum(ceil(((end - date(end.year, 1, 1)).days + 1 + 64) / 64) for end in ends)


async def test_not_modified_response_reads_no_fixings(app_behind_proxy: HistoryApp, store_proxy: StoreProxy) -> None:
    """304 and HEAD need only the version of the source."""
    _, headers, _ = await app_behind_proxy.request(f"usd?{DECADE}", "HEAD")
    assert (await app_behind_proxy.request(f"usd?{DECADE}", If_None_Match=headers["etag"]))[0] == 304
    assert store_proxy.reads == 0


async def test_recent_history_is_served_without_the_store(shared_app: HistoryApp, filled: str, clock: Clock) -> None:
    """The same response as with a store; for older dates 503 with Retry-After."""
    async with serve("redis://127.0.0.1:1", filled, clock, *in_memory()) as app_without_store:
        for path in (f"usd?{RECENT}", f"usd.csv?{RECENT}", "usd?from=2026-01-05"):
            with_store, without_store = await shared_app.request(path), await app_without_store.request(path)
            assert (with_store[1] | {"date": ""}, with_store[2]) == (without_store[1] | {"date": ""}, without_store[2])
        first_in_memory = all_series()["nbk"][-KEEP].date
        for path in ("usd", f"usd?{DECADE}", f"usd?{OLD}", f"usd?from={first_in_memory}"):
            problem = await app_without_store.problem(path)
            assert (problem["status"], problem["retry"]) == (503, "30")
            assert problem["detail"] == "Older fixings of nbk are temporarily unavailable."


async def test_store_failure_before_the_first_chunk_is_a_problem(
    app_behind_proxy: HistoryApp, store_proxy: StoreProxy
) -> None:
    """Nothing was sent yet, so the status can still be set."""
    store_proxy.cut_at = 0
    assert (await app_behind_proxy.problem(f"usd?{DECADE}"))["status"] == 503


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_store_failure_during_the_response_aborts_it(
    app_behind_proxy: HistoryApp, store_proxy: StoreProxy, coding: str
) -> None:
    """A partial response cannot be mistaken for a whole one; it is logged once, and the next one is complete."""
    store_proxy.cut_at = 10
    with capture_logs() as logs, pytest.raises(ClientPayloadError):
        await app_behind_proxy.request(f"usd.csv?{DECADE}", Accept_Encoding=coding)
    assert [(log["event"], log["log_level"]) for log in logs] == [("history.broken_off", "warning")]
    store_proxy.cut_at = None
    await app_behind_proxy.document(f"usd?{DECADE}")


async def test_internal_error_during_the_response_aborts_it(
    app_behind_proxy: HistoryApp, store_proxy: StoreProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No problem document is appended to a started response."""

    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    store_proxy.hold_at = 10
    with capture_logs() as logs:
        response = asyncio.create_task(app_behind_proxy.request(f"usd?{DECADE}"))
        await store_proxy.held.wait()
        monkeypatch.setattr(Store, "rates", fail)
        store_proxy.resumed.set()
        with pytest.raises(ClientPayloadError):
            await response
    assert [(log["event"], log["log_level"]) for log in logs] == [("request.crashed", "error")]


async def open_request(app: HistoryApp, request: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = app.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request.replace("\n", "\r\n").encode())
    return reader, writer


@pytest.mark.parametrize("limits", [replace(LIMITS, responses=1)], ids=["one response"])
async def test_disconnected_client_frees_its_slot(
    app_behind_proxy: HistoryApp, store_proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a response; nothing is logged."""
    store_proxy.hold_at = 10
    with capture_logs() as logs:
        reader, writer = await open_request(app_behind_proxy, f"GET /v1/history/usd?{DECADE} HTTP/1.1\nHost: h\n\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n")
        await store_proxy.held.wait()
        problem = await app_behind_proxy.problem(f"usd?{RECENT}")
        assert (problem["status"], problem["retry"]) == (503, "5")
        writer.transport.abort()
        store_proxy.hold_at = None
        store_proxy.resumed.set()
        await until_true(lambda: len(app_behind_proxy.server.connections) == 1)  # that of the refused request
        assert (await app_behind_proxy.request(f"usd?{RECENT}"))[0] == 200
    assert (logs, caplog.records) == ([], [])
    await app_behind_proxy.document(f"usd?{DECADE}")


@pytest.mark.parametrize(
    "limits",
    [replace(LIMITS, chunk_timeout=0.5), replace(LIMITS, timeout=0.5)],
    ids=["chunk timeout", "total timeout"],
)
async def test_stalled_client_is_disconnected(valkey: str, filled: str, clock: Clock, limits: Limits) -> None:
    """It may leave the buffered data unread until the timeout; what it received is recognisably incomplete."""
    with socket.socket() as listener, socket.socket() as client, capture_logs() as logs:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with serve(valkey, filled, clock, *in_memory(), listening=listener, limits=limits) as app:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, listener.getsockname())
            request = f"GET /v1/history/usd?{DECADE} HTTP/1.1\r\nHost: h\r\n\r\n"
            await loop.sock_sendall(client, request.encode())
            received = await loop.sock_recv(client, 1)
            await until_true(lambda: not app.server.connections)
            with suppress(ConnectionResetError):
                while data := await loop.sock_recv(client, 65536):
                    received += data
    assert b"200 OK" in received
    assert not received.endswith(b"0\r\n\r\n")
    assert logs == []


@pytest.mark.parametrize("limits", [replace(LIMITS, timeout=0.2)], ids=["200 ms"])  # for more than fifty chunks
async def test_deadline_holds_if_the_store_suppresses_cancellation(
    app_behind_proxy: HistoryApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py does so on Python 3.11; a response that takes too long is aborted nevertheless."""
    rates = Store.rates

    async def suppress_cancellation(*arguments: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        return await rates(*arguments)

    monkeypatch.setattr(Store, "rates", suppress_cancellation)
    with pytest.raises(ClientPayloadError):
        await app_behind_proxy.document(f"usd?{DECADE}")


async def test_concurrent_reads_are_limited(
    shared_app: HistoryApp, valkey: str, filled: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each response is as if requested alone; at most two chunks are read concurrently."""
    running, max_running, rates = 0, 0, Store.rates

    async def count_reads(store: Store, source: str, since: date, until: date) -> list[StoredRates]:
        nonlocal running, max_running
        running += 1
        max_running = max(max_running, running)
        try:
            return await rates(store, source, since, until)
        finally:
            running -= 1

    paths = [f"{code}?{span}" for code in ("usd", "uzs", "pln") for span in (OLD, YEAR, RECENT)]
    sequential = [(await shared_app.request(path))[2] for path in paths]
    monkeypatch.setattr(Store, "rates", count_reads)
    async with serve(valkey, filled, clock, *in_memory()) as cold_app:
        concurrent = await asyncio.gather(*(cold_app.request(path) for path in paths * 5))
    assert [body for _, _, body in concurrent] == sequential * 5
    assert max_running == 2


async def test_http_1_0_response_has_a_content_length(app_behind_proxy: HistoryApp, store_proxy: StoreProxy) -> None:
    """HTTP/1.0 has no chunks; a length reveals a partial response, and a store failure is a problem."""
    request = f"GET /v1/history/usd.csv?{DECADE} HTTP/1.0\n\n"
    reader, writer = await open_request(app_behind_proxy, request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert b"Transfer-Encoding" not in head
    assert body == (await app_behind_proxy.request(f"usd.csv?{DECADE}"))[2]
    store_proxy.reads, store_proxy.cut_at = 0, 10
    reader, writer = await open_request(app_behind_proxy, request.replace("usd", "uzs"))  # not cached
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
async def test_every_request_gets_a_response(shared_app: HistoryApp) -> None:
    """The whole response or a client error, never a server error; a range equals that part of the whole series."""
    loop = asyncio.get_running_loop()

    @given(PATH, QUERY)
    @example("usd", "from=0001-01-01&to=0001-01-01")
    @example("usd", "from=9999-12-31&to=9999-12-31")
    def send(path: str, query: str) -> None:
        asyncio.run_coroutine_threadsafe(check(path, query), loop).result()

    async def check(path: str, query: str) -> None:
        with capture_logs() as logs:
            status, headers, body = await shared_app.request(f"{path}?{query}")
        assert status in (200, 400, 404) or (status == 503 and "ticker=none" in query)
        assert logs == []
        if status != 200:
            assert headers["content-type"].split(";")[0] in ("application/problem+json", "text/plain")
        elif headers["content-type"] == "application/json":
            document = msgspec.json.decode(body, type=Document)
            expected_lines = expected(document.source, document.currency, document.base, document.since, document.until)
            assert document.history == expected_lines

    await asyncio.to_thread(send)


async def test_service_serves_the_history(start: Started, banks: Banks) -> None:
    """Polled rates are in the history at once; only GET and HEAD are allowed."""
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
