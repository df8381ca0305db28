"""What a real service tells at /metrics on bad days, held for a day and two hours: exactly the alerts that must come.

The rules are judged on what was scraped from a service that is late, stale, cut off and so on, not on made-up names.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import Settings, load
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day
from tests.support.http import Client
from tests.support.metrics import BANKS, RESULTS, Samples, scraped, until_scraped, value
from tests.support.promtool import DASHBOARD, FOLDER, PROMTOOL, dashboard, judged, with_data
from tests.support.standin import Banks, RawRates

pytestmark = pytest.mark.slow

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="NO TESTS OF ALERTS: there is no promtool (Debian's package prometheus)"
)

LATER = 26 * 60
"""Minutes for which all stays as it was scraped: the longest wait of a rule is a day and an hour."""
QUOTES = 5
"""Currencies of the default ticker."""
SUCCESS = "ticker_source_last_success_timestamp_seconds"
OFFSET = "ticker_clock_offset_seconds"


def in_base(figures: RawRates, tenge: str) -> RawRates:
    """Return rates in tenge as they are in a base that is worth so many tenge."""
    others = {code: f"{Decimal(str(value)) / Decimal(tenge):.4f}" for code, value in figures.items() if code != "RUB"}
    return {**others, "KZT": (f"{100 / Decimal(tenge):.4f}", 100)}


def in_euro(figures: RawRates) -> RawRates:
    """Return rates in tenge as the ECB quotes them: units for one euro."""
    euro = Decimal(str(figures["EUR"]))
    return {code: f"{euro / Decimal(str(figures[code])):.4f}" for code in ("USD", "GBP", "CNY")}


def all_well(banks: Banks) -> None:
    """Let every bank publish the same rates, each in its own base, for the first two days of April."""
    bases = {"cbr": "5.87", "nbu": "10.8600", "cbu": "0.0392"}
    banks.published |= {"nbk": dict(APRIL), "ecb": {on: in_euro(figures) for on, figures in APRIL.items()}}
    for key, tenge in bases.items():
        banks.published[key] = {on: in_base(figures, tenge) for on, figures in APRIL.items()}


def asked(samples: Samples) -> bool:
    """Whether every bank was polled. A poll is counted before its rates are shown."""
    counted = ({how: value(samples, "ticker_polls_total", source=key, result=how) for how in RESULTS} for key in BANKS)
    return all(any(one.values()) for one in counted)


def status(word: str, choice: int = 1) -> Callable[[Samples], bool]:
    """Return whether every bank was polled and the ticker has this status, with all rates from one source.

    `choice` is the position of that source in the ticker's list, from 1. Without it, a scrape between the count of the
    last poll and the next snapshot would show a fallback source with the same status.
    """

    def so(samples: Samples) -> bool:
        shown = value(samples, "ticker_quotes", ticker="kzt", choice=str(choice))
        return asked(samples) and value(samples, "ticker_status", ticker="kzt", status=word) == 1 and shown == QUOTES

    return so


def held(samples: Samples, now: float, instance: str, before: Samples | None = None) -> dict[str, str]:
    """Return series of what was scraped and stays so, of one instance.

    promtool's time begins at 0, which is the time of the scrape. A bank that answered then goes on answering, and
    what was counted since `before` is counted in every minute.
    """
    made = {}
    for (name, labels), number in samples.items():
        of_it = {"job": "ticker", "instance": instance, **dict(labels)}
        told = ",".join(f"{key}={json.dumps(label)}" for key, label in of_it.items())
        step = number - before.get((name, labels), 0) if before is not None and name.endswith("_total") else 0.0
        start = number
        if name == SUCCESS:
            start = number - now
            step = 60.0 if start == 0 else 0.0
        made[f"{name}{{{told}}}"] = f"{start}+{step}x{LATER}"
    return made


def expect(folder: Path, alerts: Mapping[str, int], *instances: Mapping[str, str]) -> None:
    """Let the rules judge instances, beside one of which no more is known than that it is up."""
    series = {name: values for one in instances for name, values in one.items()}
    up = {f'up{{job="ticker",instance="{one}"}}': f"1x{LATER}" for one in ("a", "b")}
    judged(folder, series | up, {f"{LATER}m": alerts}, every="10m")


async def expected(folder: Path, client: Client, clock: Clock, so: Callable[[Samples], bool], **alerts: int) -> None:
    """Wait until a service tells so; held like that it must bring these alerts."""
    expect(folder, alerts, held(await until_scraped(client, so), clock.seconds(), "a"))


@needs_promtool
class TestAlerts:
    """Each on a service of its own, in this process, with stand-in banks and a real Valkey."""

    async def test_none_where_all_is_well(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        all_well(banks)
        await expected(tmp_path, await start(), clock, status("current"))

    async def test_late(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """Nine in the evening, and Friday's figures are not there."""
        all_well(banks)
        clock.forward(hours=12)
        await expected(tmp_path, await start(), clock, status("late"), TickerLate=1)

    async def test_stale(self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """All banks answer, with figures of last week."""
        all_well(banks)
        clock.forward(days=8)
        kzt = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
        client = await start(settings.model_copy(update={"tickers": (kzt,)}))
        await expected(tmp_path, client, clock, status("stale"), TickerStale=1)

    async def test_recorded(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """No bank has ever answered; the last choice of the default configuration is shown."""
        banks.faults |= dict.fromkeys(BANKS, 404)
        alerts = {"TickerRecorded": 1, "SecondChoice": 1, "SourceNeverAnswered": 5}
        await expected(tmp_path, await start(), clock, status("recorded", choice=5), **alerts)

    async def test_without_rates(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """No bank has ever answered, there is no last choice, and readers get 503."""
        banks.faults |= dict.fromkeys(BANKS, 404)
        kzt = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
        client = await start(settings.model_copy(update={"tickers": (kzt,)}))
        await expected(tmp_path, client, clock, asked, TickerEmpty=1, SourceNeverAnswered=5)
        before = await scraped(client)
        for path in ("/v1/ticker", "/v1/ticker.txt", "/health", "/readyz"):
            async with client.get(path) as response:
                assert response.status == 503
        samples = await scraped(client)
        series = held(samples, clock.seconds(), "a", before)
        alerts = {"ErrorsServed": 2, "NoLeader": 1}  # nothing is known of who leads
        expect(tmp_path, alerts, {name: one for name, one in series.items() if "_requests_" in name})

    async def test_fallback_source(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The first bank has never answered; another one is shown."""
        all_well(banks)
        banks.faults["nbk"] = 404
        so = status("current", choice=2)
        await expected(tmp_path, await start(), clock, so, SecondChoice=1, SourceNeverAnswered=1)

    async def test_quarantine(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """A rate of tomorrow jumps that no other bank has published for that day yet."""
        all_well(banks)
        banks.published["nbk"][day(3)] = {**APRIL[day(1)], "RUB": "58.70"}
        await expected(tmp_path, await start(), clock, status("current"), QuarantineWaiting=1)

    async def test_diverging(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The dollar of the first source is a tenth away from that of all others, so the next source is shown."""
        all_well(banks)
        banks.published["nbk"] = {
            on: {**figures, "USD": f"{Decimal(str(figures['USD'])) * Decimal('0.9'):.2f}"}
            for on, figures in APRIL.items()
        }

        def so(samples: Samples) -> bool:
            diverging = value(samples, "ticker_source_diverging", source="nbk")
            return asked(samples) and diverging == value(samples, "ticker_quotes", ticker="kzt", choice="2") == 1

        await expected(tmp_path, await start(), clock, so, SourceDiverging=1, QuarantineWaiting=1, SecondChoice=1)

    async def test_missing(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The first source leaves the rouble out; its last rate is shown."""
        all_well(banks)
        latest = {code: value for code, value in APRIL[day(1)].items() if code != "RUB"}
        banks.published["nbk"][day(3)] = latest
        await expected(tmp_path, await start(), clock, status("current"), CurrencyMissing=1)

    async def test_a_bank_fails(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """It has answered before; then none of them is heard of."""
        all_well(banks)
        client = await start(restless(settings, banks))
        await until_scraped(client, status("current"))
        banks.faults["nbk"] = 503
        await until_scraped(client, lambda told: failed(told) == {"nbk"})
        clock.forward(hours=1)
        every = {*BANKS, "recorded"}
        await expected(tmp_path, client, clock, lambda told: answered(told, clock) == every - {"nbk"}, SourceFailing=1)
        banks.faults |= dict.fromkeys(BANKS, 503)
        await until_scraped(client, lambda told: failed(told) == set(BANKS))
        clock.forward(hours=1)
        alerts = {"SourceFailing": 5, "NoBankAnswers": 1}
        await expected(tmp_path, client, clock, lambda told: answered(told, clock) == {"recorded"}, **alerts)

    async def test_the_store_is_away(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """Nobody listens at its address; figures are shown all the same."""
        all_well(banks)
        nowhere = settings.store.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")})
        client = await start(settings.model_copy(update={"store": nowhere}))
        await expected(tmp_path, client, clock, status("current"), StoreDown=1)

    async def test_a_clock_is_wrong(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The machine's is a day ahead of the store's."""
        all_well(banks)
        so = status("current")
        client = await start(machine=Clock(datetime.now(UTC) + timedelta(days=1)))
        await expected(tmp_path, client, clock, lambda told: so(told) and value(told, OFFSET) is not None, ClockWrong=1)

    async def test_leaders(self, start: Started, settings: Settings, banks: Banks, tmp_path: Path) -> None:
        """Two instances on one store have one leader; the following alone has none; two on two stores are two."""
        all_well(banks)
        elsewhere = settings.store.model_copy(update={"prefix": f"{settings.store.prefix}elsewhere:"})
        first = await start()
        leading = await until_scraped(first, leads)
        following = await scraped(await start())
        other = await until_scraped(await start(settings.model_copy(update={"store": elsewhere})), leads)
        one, two, three = (
            held({key: told[key] for key in told if key[0] in ("ticker_leader", "ticker_store_up")}, 0, instance)
            for told, instance in ((leading, "a"), (following, "b"), (other, "b"))
        )
        expect(tmp_path, {}, one, two)
        expect(tmp_path, {"NoLeader": 1}, two)
        expect(tmp_path, {"TwoLeaders": 1}, one, three)


def failed(samples: Samples) -> set[str]:
    """Return the banks of which a poll has failed."""
    return {key for key in BANKS if value(samples, "ticker_polls_total", source=key, result="failed")}


def answered(samples: Samples, clock: Clock) -> set[str]:
    """Return what has answered at the time that it is."""
    return {key for key in (*BANKS, "recorded") if value(samples, SUCCESS, source=key) == clock.seconds()}


def leads(samples: Samples) -> bool:
    return value(samples, "ticker_leader") == 1


def restless(settings: Settings, banks: Banks) -> Settings:
    """Return the settings with banks that are asked every second."""
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    return load(
        environ=banks.environ() | store, overrides={"sources": {key: {"sweep": 1} for key in (*BANKS, "recorded")}}
    )


async def eventful(client: Client) -> Samples:
    """Return what is told after a poll of each bank and a few requests, with all that is measured now and then."""
    await until_scraped(client, status("current"))
    async with client.get("/v1/history/usd") as response:
        assert response.status == 200
    return await until_scraped(client, lambda told: value(told, OFFSET) is not None)


async def test_rules_and_dashboard_use_existing_metrics(start: Started, banks: Banks) -> None:
    """To the letter: a name that nobody tells makes an alert that never comes."""
    all_well(banks)
    there = {name for name, _ in await eventful(await start())}
    for path in (FOLDER / "alerts.yml", DASHBOARD):
        named = set(re.findall(r"\bticker_\w+", path.read_text(encoding="utf-8")))
        assert named
        assert named <= there, path


@needs_promtool
async def test_the_dashboard_has_something_to_show(start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
    """In every panel, but for those that are empty on a good day."""
    all_well(banks)
    series = held(await eventful(await start()), clock.seconds(), "a", {})
    empty = {"Alerts", "Errors per second"}
    panels = {panel["title"]: panel.get("targets", ()) for panel in dashboard()["panels"]}
    assert empty < panels.keys()
    asked = [one["expr"] for title, targets in panels.items() if title not in empty for one in targets]
    with_data(tmp_path, series | {'up{job="ticker",instance="a"}': f"1x{LATER}"}, asked, "25h")
