"""`/metrics`, over a real socket from the service in this process."""

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import prometheus_client
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from pydantic import SecretStr
from structlog.testing import capture_logs

from service import __version__
from service.observability.counters import Counters, Histogram
from service.settings import HttpSettings, Settings
from service.settings.loader import ROOT
from service.web.http.problems import handle_errors
from service.web.http.request_id import RequestIds
from service.web.server.instrumentation import counted
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day
from tests.support.http import Client
from tests.support.metrics import BANKS, RESULTS, Samples, scraped, text, until_scraped, value
from tests.support.standin import Banks, RawRates


async def until_polled(client: Client) -> Samples:
    """Return the metrics once every bank was polled and its rates are served."""

    def all_polled(samples: Samples) -> bool:
        polls = sum(
            value(samples, "ticker_polls_total", source=key, result=result) or 0 for key in BANKS for result in RESULTS
        )
        return polls == len(BANKS) and bool(value(samples, "ticker_quotes", ticker="kzt", choice="1"))

    return await until_scraped(client, all_polled)


@pytest.fixture
async def client(start: Started, banks: Banks) -> Client:
    """Return a client of the service: nbk publishes two valid days and one with a wrong dollar and no rouble.

    All other sources fail.
    """
    wrong = {**APRIL[day(1)], "USD": "4760.00"}
    banks.published["nbk"] = APRIL | {day(3): {code: value for code, value in wrong.items() if code != "RUB"}}
    for key in BANKS[1:]:
        banks.faults[key] = 404
    client = await start()
    await until_polled(client)
    return client


async def test_polls_are_counted_by_source_and_result(client: Client) -> None:
    """Successes, failures and durations."""
    samples = await scraped(client)
    polls = {
        (key, result): value(samples, "ticker_polls_total", source=key, result=result)
        for key in BANKS
        for result in RESULTS
    }
    assert polls == {(key, result): (result == "ok") == (key == "nbk") for key in BANKS for result in RESULTS}
    assert value(samples, "ticker_poll_duration_seconds_count", source="cbr") == 1
    assert value(samples, "ticker_poll_duration_seconds_bucket", source="cbr", le="+Inf") == 1
    assert (value(samples, "ticker_poll_duration_seconds_sum", source="nbk") or 0) > 0


async def test_sources_report_timestamps(client: Client, clock: Clock) -> None:
    """The last success, and midnight of the last effective date in the bank's time zone; absent if unknown."""
    samples = await scraped(client)
    name = "ticker_source_last_success_timestamp_seconds"
    assert (value(samples, name, source="nbk"), value(samples, name, source="cbr")) == (clock.seconds(), None)
    name = "ticker_source_last_fixing_timestamp_seconds"
    third = datetime(2026, 4, 3, tzinfo=ZoneInfo("Asia/Almaty")).astimezone(UTC)
    assert (value(samples, name, source="nbk"), value(samples, name, source="cbr")) == (third.timestamp(), None)


async def test_quarantined_rates_are_counted(client: Client) -> None:
    """Of three published days the third has one quarantined and one missing rate."""
    samples = await scraped(client)
    assert value(samples, "ticker_fixings_total", source="nbk", verdict="accepted") == 3
    assert value(samples, "ticker_fixings_total", source="nbk", verdict="refused") == 1
    assert value(samples, "ticker_fixings_total", source="cbr", verdict="refused") == 0
    assert value(samples, "ticker_quarantine_waiting", source="nbk") == 1
    assert value(samples, "ticker_quarantine_waiting", source="cbr") == 0
    for key, missing in (("nbk", 1), ("cbr", 0)):
        assert value(samples, "ticker_source_missing", source=key) == missing
        assert value(samples, "ticker_source_diverging", source=key) == 0


async def test_quarantine_of_a_bank_that_no_ticker_names(start: Started, settings: Settings, banks: Banks) -> None:
    """It needs nobody, and is in `/health` only."""
    banks.published["nbk"] = {**APRIL, day(3): {**APRIL[day(1)], "USD": "4760.00"}}
    for key in BANKS[1:]:
        banks.faults[key] = 404
    named = settings.tickers[0].model_copy(update={"sources": ("cbr",)})
    client = await start(settings.model_copy(update={"tickers": (named,)}))
    await until_scraped(
        client, lambda samples: value(samples, "ticker_fixings_total", source="nbk", verdict="refused") == 1
    )
    health = await (await client.get("/health")).text()
    assert "nbk: 2026-04-03 is quarantined" in health
    assert value(await scraped(client), "ticker_quarantine_waiting", source="nbk") == 0


def increased(rate: str | tuple[str, int]) -> str | tuple[str, int]:
    """Return a rate 0.1 % higher."""
    value, nominal = rate if isinstance(rate, tuple) else (rate, 1)
    return f"{Decimal(value) * Decimal('1.001'):.4f}", nominal


async def test_diverging_rates_are_counted(start: Started, settings: Settings, banks: Banks) -> None:
    """Two rates of a bank are at another level than those of two other banks, which agree."""
    level: RawRates = {"USD": "80.0000", "EUR": "92.8000", "GBP": "106.4000", "CNY": "11.6400", "KZT": ("16.8400", 100)}
    hryvnia: RawRates = {"USD": "41.5000", "EUR": "48.1400", "GBP": "55.2000", "CNY": "6.0380", "KZT": ("8.7350", 100)}
    banks.published["nbk"] = {on: {**rates, "USD": "430.00", "EUR": "500.00"} for on, rates in APRIL.items()}
    banks.published["cbr"] = {day(1): level, day(2): {code: increased(rate) for code, rate in level.items()}}
    banks.published["nbu"] = {day(1): hryvnia, day(2): {code: increased(rate) for code, rate in hryvnia.items()}}
    for key in ("ecb", "cbu"):
        banks.faults[key] = 404
    client = await start()

    def diverging(samples: Samples) -> bool:  # with two banks alone the wrong one would be unknown
        return [value(samples, "ticker_source_diverging", source=key) for key in ("nbk", "cbr", "nbu")] == [2, 0, 0]

    await until_scraped(client, diverging)


async def test_tickers_report_status_and_sources(client: Client) -> None:
    """Of each ticker one status is 1; its quotes are counted by the priority of their source."""
    samples = await scraped(client)
    statuses = {
        status: value(samples, "ticker_status", ticker="kzt", status=status) for status in ("current", "late", "stale")
    }
    assert statuses == {"current": 1, "late": 0, "stale": 0}
    assert value(samples, "ticker_quotes", ticker="kzt", choice="1") == 5
    assert value(samples, "ticker_quotes", ticker="kzt", choice="2") == 0
    assert value(samples, "ticker_quotes", ticker="kzt", choice="none") == 0


async def test_stale_ticker_is_reported(start: Started, settings: Settings, banks: Banks, clock: Clock) -> None:
    """Nothing was published for a week."""
    banks.published["nbk"] = dict(APRIL)
    kzt = settings.tickers[0].model_copy(update={"sources": ("nbk", "cbr", "ecb", "nbu", "cbu")})
    for key in BANKS[1:]:
        banks.faults[key] = 404
    clock.forward(days=8)
    samples = await until_polled(await start(settings.model_copy(update={"tickers": (kzt,)})))
    assert value(samples, "ticker_status", ticker="kzt", status="stale") == 1
    assert value(samples, "ticker_status", ticker="kzt", status="current") == 0


async def test_ticker_without_rates_has_no_status(start: Started, settings: Settings, banks: Banks) -> None:
    """None of its quotes has a source."""
    kzt = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    for key in BANKS:
        banks.faults[key] = 404
    samples = await scraped(await start(settings.model_copy(update={"tickers": (kzt,)})))
    assert {count for (name, _), count in samples.items() if name == "ticker_status"} == {0}
    assert value(samples, "ticker_quotes", ticker="kzt", choice="none") == 5


async def test_requests_are_counted_by_route_and_status(client: Client) -> None:
    """GET and HEAD alike; routes that do work are timed, cached ones are not."""
    before = await scraped(client)
    async with client.get("/v1/ticker/kzt.txt") as response:
        tag = response.headers["ETag"]
    requests = [
        ("GET", "/v1/ticker/kzt", {"If-None-Match": "*"}),
        ("HEAD", "/v1/ticker/kzt.txt", {"If-None-Match": tag}),
        ("GET", "/v1/ticker/xyz", {}),
        ("GET", "/v1/history/usd?from=x", {}),
        ("GET", "/v1/history/usd", {}),
        ("GET", "/nowhere", {}),
        ("POST", "/v1/ticker", {}),
    ]
    for method, path, headers in requests:
        async with client.request(method, path, headers=headers) as response:
            await response.read()
    after = await scraped(client)
    name = "ticker_requests_total"
    increments = {
        (labels["route"], labels["status"]): count - before.get((metric, key), 0)
        for (metric, key), count in after.items()
        if metric == name and count != before.get((metric, key)) and (labels := dict(key))
    }
    assert increments == {
        ("/v1/ticker/{ticker}", "200"): 1, ("/v1/ticker/{ticker}", "304"): 2, ("/v1/ticker/{ticker}", "404"): 1,
        ("/v1/history/{currency}", "400"): 1, ("/v1/history/{currency}", "200"): 1,
        ("other", "404"): 1, ("other", "405"): 1, ("/metrics", "200"): 1,
    }  # fmt: skip
    name = "ticker_request_duration_seconds_count"
    assert value(after, name, route="/v1/history/{currency}") == 2
    assert value(after, name, route="/v1/ticker/{ticker}") is None


async def test_unexpected_error_is_counted_as_500() -> None:
    """The handler raises."""

    def crash(_: web.Request) -> web.StreamResponse:
        raise ZeroDivisionError

    counters, app = Counters(), web.Application()
    app.add_routes(counted([web.get("/crash", handle_errors(crash))], counters, RequestIds(HttpSettings())))
    with capture_logs():
        async with TestClient(TestServer(app)) as client, client.get("/crash") as response:
            assert response.status == 500
    assert counters.replies["/crash"].statuses == {500: 1}


async def test_client_input_adds_no_labels(client: Client) -> None:
    """Arbitrary paths, names, methods and queries are counted under known labels; no input is exposed."""

    async def junk(content: str) -> None:
        request_headers = {
            "X-Forwarded-For": "203.0.113.7",
            "User-Agent": content,
            "Accept-Language": content,
            "Host": f"{content}.example",
        }
        for path in (
            "/{}",
            "/v1/{}",
            "/v1/ticker/{}",
            "/v1/history/{}",
            "/v1/fixings/{}/{}",
            "/static/{}",
            "/embed?ticker={}",
        ):
            async with client.get(path.replace("{}", content), headers=request_headers):
                pass
        async with client.request(content.upper(), "/v1/ticker", headers=request_headers):
            pass

    await junk("junk")
    oldest = "ticker_store_oldest_date_seconds"  # rates are shown before they are stored
    before = await until_scraped(client, lambda samples: value(samples, oldest, source="nbk") is not None)
    for number in range(20):
        await junk(f"junk{number}")
    exposition = await text(client)
    after = await scraped(client)
    assert after.keys() == before.keys()
    assert value(after, "ticker_requests_total", route="other", status="404") == 42
    for client_input in ("junk", "203.0.113.7", "127.0.0.1", "::1"):
        assert client_input not in exposition


async def test_rendered_pages_are_counted(client: Client) -> None:
    """Once per variant while it is cached, however often it is requested."""
    before = value(await scraped(client), "ticker_pages_rendered_total") or 0
    for path in ("/v1/ticker?currencies=eur,usd", "/v1/ticker?currencies=eur,usd&x=1", "/v1/ticker?currencies=usd,eur"):
        for _ in range(3):
            async with client.get(path) as response:
                assert response.status == 200
    assert value(await scraped(client), "ticker_pages_rendered_total") == before + 2


async def test_open_streams_are_counted(client: Client) -> None:
    """The gauge follows the open connections."""
    assert value(await scraped(client), "ticker_streams_open") == 0
    async with client.get("/v1/stream") as response:
        assert response.status == 200
        samples = await scraped(client)
    assert value(samples, "ticker_streams_open") == 1
    assert value(samples, "ticker_requests_total", route="/v1/stream", status="200") == 1


async def test_store_availability_is_reported(start: Started, settings: Settings) -> None:
    """The gauge reflects the last command."""
    assert value(await scraped(await start()), "ticker_store_up") == 1
    nowhere = settings.store.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")})
    assert value(await scraped(await start(settings.model_copy(update={"store": nowhere}))), "ticker_store_up") == 0


async def test_each_instance_has_its_own_metrics(start: Started) -> None:
    """Nothing is registered in the process-wide registry."""
    first, second = await start(), await start()
    async with first.get("/livez"):
        pass
    labels = {"route": "/livez", "status": "200"}
    assert value(await scraped(first), "ticker_requests_total", **labels) == 1
    assert value(await scraped(second), "ticker_requests_total", **labels) is None
    assert not [family for family in prometheus_client.REGISTRY.collect() if family.name.startswith("ticker")]


async def test_requested_format_is_returned(client: Client) -> None:
    """Text or OpenMetrics, both valid and documented; HEAD too; not cached and without CORS."""
    text_families = list(families(await text(client)))
    assert all(family.name.startswith("ticker_") and family.documentation.endswith(".") for family in text_families)
    accepted = "application/openmetrics-text; version=1.0.0"
    openmetrics_families = list(open_families(await text(client, accepted)))  # type: ignore[no-untyped-call]
    (build,) = (family.samples[0].labels for family in openmetrics_families if family.name == "ticker_build")
    assert build["version"] == __version__
    for method in ("GET", "HEAD"):
        async with client.request(method, "/metrics", headers={"Accept": accepted}) as response:
            assert response.content_type == "application/openmetrics-text"
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers
    async with client.get("/metrics", headers={"Accept": "junk/*;q=x"}) as response:
        assert response.content_type == "text/plain"
    async with client.post("/metrics") as response:
        assert response.status == 405


def test_durations_are_sorted_into_buckets() -> None:
    """A bound belongs to its own bucket; longer durations belong to the last one."""
    durations = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.5, 7.0):
        durations.add(seconds)
    assert (durations.counts, durations.total) == ([2, 1, 1], 7.6)


def test_prometheus_client_is_imported_on_first_scrape() -> None:
    """Saves memory and start-up time where metrics are not scraped."""
    code = "import service.app, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=False).returncode == 0
