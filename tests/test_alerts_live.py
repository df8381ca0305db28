"""Alerts for the /metrics of real instances in failure scenarios, kept unchanged for a day and two hours.

The rules are evaluated on metrics scraped from a service that is late, stale, offline and so on.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from service.settings import Settings, load
from service.state.deliveries import QueuedEvent
from service.state.memory import KEEP
from service.storage.redis_connection import SentinelStatus
from service.storage.repository import Store
from service.storage.server_monitor import DiskUsage, ServerMonitor, ServerStatus
from service.web.ops.collector import ServerCollector
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day, fixing
from tests.support.http import Client
from tests.support.metrics import BANKS, RESULTS, Samples, scraped, until_scraped, value
from tests.support.ports import unused_port
from tests.support.promtool import DASHBOARD, FOLDER, PROMTOOL, check_alerts, check_results, dashboard
from tests.support.receiver import Receiver, enqueue, receiving, with_webhooks
from tests.support.servers import sentinel
from tests.support.servers import valkey as server
from tests.support.standin import Banks, RawRates
from tests.support.wait import until_true

pytestmark = pytest.mark.slow

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="NO TESTS OF ALERTS: promtool is not installed (Debian's package prometheus)"
)

DURATION = 26 * 60
"""Minutes for which the scraped metrics are kept; the longest `for` of a rule is a day and an hour."""
QUOTES = 5
"""Currencies of the default ticker."""
SUCCESS = "ticker_source_last_success_timestamp_seconds"
OFFSET = "ticker_clock_offset_seconds"
OLDEST = "ticker_webhook_oldest_seconds"
DELIVERIES = "ticker_webhook_deliveries_total"


def convert_to_base(rates: RawRates, tenge: str) -> RawRates:
    """Convert rates in tenge to a base that is worth `tenge` tenge."""
    others = {code: f"{Decimal(str(value)) / Decimal(tenge):.4f}" for code, value in rates.items() if code != "RUB"}
    return {**others, "KZT": (f"{100 / Decimal(tenge):.4f}", 100)}


def convert_to_euro(rates: RawRates) -> RawRates:
    """Convert rates in tenge to those of the ECB: units for one euro."""
    euro = Decimal(str(rates["EUR"]))
    return {code: f"{euro / Decimal(str(rates[code])):.4f}" for code in ("USD", "GBP", "CNY")}


def publish_all(banks: Banks) -> None:
    """Let every bank publish the same rates, each in its own base, for the first two days of April."""
    bases = {"cbr": "5.87", "nbu": "10.8600", "cbu": "0.0392"}
    banks.published |= {"nbk": dict(APRIL), "ecb": {on: convert_to_euro(rates) for on, rates in APRIL.items()}}
    for key, tenge in bases.items():
        banks.published[key] = {on: convert_to_base(rates, tenge) for on, rates in APRIL.items()}


def all_polled(samples: Samples) -> bool:
    """Return whether every bank was polled. A poll is counted before its rates are shown."""
    polls = ({key: value(samples, "ticker_polls_total", source=bank, result=key) for key in RESULTS} for bank in BANKS)
    return all(any(results.values()) for results in polls)


def with_store(settings: Settings, url: str) -> Settings:
    """Return the settings with another store."""
    return settings.model_copy(update={"store": settings.store.model_copy(update={"url": SecretStr(url)})})


def status(word: str, choice: int = 1) -> Callable[[Samples], bool]:
    """Return a condition: every bank was polled and the ticker has this status, with all rates from one source.

    `choice` is the position of that source in the ticker's list, from 1. Without it, a scrape between the count of the
    last poll and the next snapshot would show a fallback source with the same status.
    """

    def condition(samples: Samples) -> bool:
        shown = value(samples, "ticker_quotes", ticker="kzt", choice=str(choice))
        return (
            all_polled(samples) and value(samples, "ticker_status", ticker="kzt", status=word) == 1 and shown == QUOTES
        )

    return condition


def current_and(metric: str, number: int) -> Callable[[Samples], bool]:
    """Return a condition: the ticker is current, and a metric has this value."""
    is_current = status("current")
    return lambda samples: is_current(samples) and value(samples, metric) == number


def kept_series(samples: Samples, now: float, instance: str, before: Samples | None = None) -> dict[str, str]:
    """Return the series of an instance whose scraped metrics stay unchanged.

    promtool's time begins at 0, the time of the scrape. A bank that responded at that time goes on responding, and
    counters grow every minute by what was counted since `before`.
    """
    series = {}
    for (name, labels), number in samples.items():
        selector = {"job": "ticker", "instance": instance, **dict(labels)}
        labelled = ",".join(f"{key}={json.dumps(label)}" for key, label in selector.items())
        step = number - before.get((name, labels), 0) if before is not None and name.endswith("_total") else 0.0
        start = number
        if name == SUCCESS:
            start = number - now
            step = 60.0 if start == 0 else 0.0
        series[f"{name}{{{labelled}}}"] = f"{start}+{step}x{DURATION}"
    return series


def check_instances(folder: Path, alerts: Mapping[str, int], *instances: Mapping[str, str]) -> None:
    """Evaluate the rules on instances; of the others it is only known that they are up."""
    series = {name: values for metrics in instances for name, values in metrics.items()}
    up = {f'up{{job="ticker",instance="{instance}"}}': f"1x{DURATION}" for instance in ("a", "b")}
    check_alerts(folder, series | up, {f"{DURATION}m": alerts}, every="10m")


async def check_service(
    folder: Path, client: Client, clock: Clock, condition: Callable[[Samples], bool], **alerts: int
) -> None:
    """Wait until the metrics of a service meet the condition; kept like that, they must fire these alerts."""
    check_instances(folder, alerts, kept_series(await until_scraped(client, condition), clock.seconds(), "a"))


@needs_promtool
class TestAlerts:
    """Each test runs its own service in this process, with stand-in banks and a real Valkey."""

    async def test_healthy(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        publish_all(banks)
        await check_service(tmp_path, await start(), clock, status("current"))

    async def test_late(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """At nine in the evening, Friday's rates have not been published."""
        publish_all(banks)
        clock.forward(hours=12)
        await check_service(tmp_path, await start(), clock, status("late"), TickerLate=1)

    async def test_stale(self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """All banks respond, with rates of last week."""
        publish_all(banks)
        clock.forward(days=8)
        kzt = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
        client = await start(settings.model_copy(update={"tickers": (kzt,)}))
        await check_service(tmp_path, client, clock, status("stale"), TickerStale=1)

    async def test_recorded(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """No bank has ever responded; the last source of the default configuration is shown."""
        banks.faults |= dict.fromkeys(BANKS, 404)
        alerts = {"TickerRecorded": 1, "SecondChoice": 1, "SourceNeverAnswered": 5}
        await check_service(tmp_path, await start(), clock, status("recorded", choice=5), **alerts)

    async def test_without_rates(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """No bank has ever responded, there is no sample data, and clients get 503."""
        banks.faults |= dict.fromkeys(BANKS, 404)
        kzt = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
        client = await start(settings.model_copy(update={"tickers": (kzt,)}))
        await check_service(tmp_path, client, clock, all_polled, TickerEmpty=1, SourceNeverAnswered=5)
        before = await scraped(client)
        for path in ("/v1/ticker", "/v1/ticker.txt", "/health", "/readyz"):
            async with client.get(path) as response:
                assert response.status == 503
        samples = await scraped(client)
        series = kept_series(samples, clock.seconds(), "a", before)
        alerts = {"ErrorsServed": 2, "NoLeader": 1}  # the metric of the leader is missing
        check_instances(tmp_path, alerts, {name: values for name, values in series.items() if "_requests_" in name})

    async def test_fallback_source(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The first bank has never responded; another one is shown."""
        publish_all(banks)
        banks.faults["nbk"] = 404
        condition = status("current", choice=2)
        await check_service(tmp_path, await start(), clock, condition, SecondChoice=1, SourceNeverAnswered=1)

    async def test_quarantine(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """A rate for tomorrow jumps, and no other bank has published that day yet."""
        publish_all(banks)
        banks.published["nbk"][day(3)] = {**APRIL[day(1)], "RUB": "58.70"}
        await check_service(tmp_path, await start(), clock, status("current"), QuarantineWaiting=1)

    async def test_diverging(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The first source's dollar differs by a tenth from that of all others, so the next source is shown."""
        publish_all(banks)
        banks.published["nbk"] = {
            on: {**rates, "USD": f"{Decimal(str(rates['USD'])) * Decimal('0.9'):.2f}"} for on, rates in APRIL.items()
        }

        def condition(samples: Samples) -> bool:
            diverging = value(samples, "ticker_source_diverging", source="nbk")
            return all_polled(samples) and diverging == value(samples, "ticker_quotes", ticker="kzt", choice="2") == 1

        await check_service(
            tmp_path, await start(), clock, condition, SourceDiverging=1, QuarantineWaiting=1, SecondChoice=1
        )

    async def test_missing_currency(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The first source omits the rouble; its last rate is shown."""
        publish_all(banks)
        latest = {code: value for code, value in APRIL[day(1)].items() if code != "RUB"}
        banks.published["nbk"][day(3)] = latest
        await check_service(tmp_path, await start(), clock, status("current"), CurrencyMissing=1)

    async def test_failing_banks(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """One bank fails after it has responded; then all banks fail."""
        publish_all(banks)
        client = await start(poll_every_second(settings, banks))
        await until_scraped(client, status("current"))
        banks.faults["nbk"] = 503
        await until_scraped(client, lambda samples: failed(samples) == {"nbk"})
        clock.forward(hours=1)
        every = {*BANKS, "recorded"}
        await check_service(
            tmp_path, client, clock, lambda samples: responded(samples, clock) == every - {"nbk"}, SourceFailing=1
        )
        banks.faults |= dict.fromkeys(BANKS, 503)
        await until_scraped(client, lambda samples: failed(samples) == set(BANKS))
        clock.forward(hours=1)
        alerts = {"SourceFailing": 5, "NoBankAnswers": 1}
        await check_service(
            tmp_path, client, clock, lambda samples: responded(samples, clock) == {"recorded"}, **alerts
        )

    async def test_store_down(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """Nothing listens on the store's port; rates are still shown."""
        publish_all(banks)
        client = await start(with_store(settings, "redis://127.0.0.1:1"))
        await check_service(tmp_path, client, clock, status("current"), StoreDown=1)

    async def test_webhook(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """A receiver fails for two hours; then for a day, and its event is dropped."""
        publish_all(banks)

        def check(samples: Samples, name: str, alert: str, before: Samples | None = None) -> None:
            """Check the alert of one metric; that of the leader is missing."""
            series = kept_series(samples, clock.seconds(), "a", before)
            webhook = {selector: values for selector, values in series.items() if name in selector}
            check_instances(tmp_path, {alert: 1, "NoLeader": 1}, webhook)

        async with receiving() as receiver:
            receiver.default = 500
            client = await start(with_webhooks(settings, receiver.webhook()))
            await enqueue(settings, QueuedEvent("e1", "ticker.changed", "kzt", clock(), "{}"))
            clock.forward(hours=2)
            old = await until_scraped(client, lambda found: value(found, OLDEST, webhook="receiver") == 2 * 3600)
            check(old, OLDEST, "WebhookFailing")
            clock.forward(hours=22)
            labels = {"webhook": "receiver", "outcome": "dropped"}
            dropped = await until_scraped(client, lambda found: value(found, DELIVERIES, **labels) == 1)
            check(dropped, DELIVERIES, "WebhookDropped", old)

    async def test_lost_fixings(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """The store loses its keys; a fixing that is older than what the instance has in memory stays lost."""
        publish_all(banks)
        older = [day(1) - timedelta(days=number) for number in range(200, 0, -1)]
        store_url, held, lost = (
            settings.store.url.get_secret_value(),
            "ticker_store_fixings",
            "ticker_store_fixings_lost",
        )
        async with Store(store_url, settings.store.prefix) as store:
            await store.save(*(fixing(on, USD="478.77") for on in older))
            client, condition = await start(), status("current")
            await until_scraped(
                client, lambda samples: condition(samples) and value(samples, held, source="nbk") == len(older) + 2
            )
            await store._redis.delete(*[key async for key in store._redis.scan_iter(f"{store._prefix}*")])
            await check_service(
                tmp_path,
                client,
                clock,
                lambda samples: condition(samples) and value(samples, lost, source="nbk") == len(older) + 2 - KEEP,
                StoreLostFixings=1,
            )

    async def test_store_that_is_not_durable(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """A server without an append-only file."""
        publish_all(banks)
        with server(tmp_path / "valkey") as own:
            url = f"redis://127.0.0.1:{own.port}/0"
            client = await start(with_store(settings, url))
            await check_service(tmp_path, client, clock, status("current"), StoreNotDurable=1)
            await client.close()

    async def test_full_store(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """A server with little memory left below its limit."""
        publish_all(banks)
        with server(tmp_path / "valkey", "--appendonly", "yes", "--maxmemory", "60mb") as own, own.client() as filling:
            for number in range(500):
                filling.set(f"filler{number}", b"x" * 100_000)
            url = f"redis://127.0.0.1:{own.port}/0"
            client = await start(with_store(settings, url))
            condition = status("current")
            await check_service(
                tmp_path,
                client,
                clock,
                lambda samples: condition(samples) and value(samples, "ticker_store_memory_bytes") is not None,
                StoreMemoryFull=1,
            )
            await client.close()

    async def test_store_that_cannot_save(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """The folder of a server without an append-only file has vanished, and its snapshot fails."""
        publish_all(banks)
        with server(tmp_path / "valkey") as own, own.client() as client_of_store:
            client_of_store.set("key", "value")
            shutil.rmtree(own.folder)
            client_of_store.bgsave()
            await until_true(lambda: client_of_store.info("persistence")["rdb_last_bgsave_status"] == "err")
            url = f"redis://127.0.0.1:{own.port}/0"
            client = await start(with_store(settings, url))
            await check_service(
                tmp_path,
                client,
                clock,
                current_and("ticker_store_saved", 0),
                StoreNotSaved=1,
                StoreNotDurable=1,
            )
            await client.close()

    async def test_lost_replica_and_sentinel(
        self, start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
    ) -> None:
        """No replica follows the master, and of two Sentinels one does not run."""
        publish_all(banks)
        with (
            server(tmp_path / "valkey", "--appendonly", "yes") as own,
            sentinel(tmp_path / "sentinel", own) as watching,
        ):
            url = f"redis+sentinel://127.0.0.1:{watching.port},127.0.0.1:{unused_port()}/main/0"
            client = await start(with_store(settings, url))
            await check_service(
                tmp_path,
                client,
                clock,
                current_and("ticker_store_sentinels_up", 1),
                StoreReplicaDown=1,
                SentinelDown=1,
            )
            await client.close()

    async def test_wrong_clock(self, start: Started, banks: Banks, clock: Clock, tmp_path: Path) -> None:
        """The clock of the machine is a day ahead of the store's."""
        publish_all(banks)
        condition = status("current")
        client = await start(machine=Clock(datetime.now(UTC) + timedelta(days=1)))
        await check_service(
            tmp_path,
            client,
            clock,
            lambda samples: condition(samples) and value(samples, OFFSET) is not None,
            ClockWrong=1,
        )

    async def test_leaders(self, start: Started, settings: Settings, banks: Banks, tmp_path: Path) -> None:
        """Two instances on one store have one leader; a follower alone has none; two stores have two leaders."""
        publish_all(banks)
        elsewhere = settings.store.model_copy(update={"prefix": f"{settings.store.prefix}elsewhere:"})
        first = await start()
        leading = await until_scraped(first, leads)
        following = await scraped(await start())
        other = await until_scraped(await start(settings.model_copy(update={"store": elsewhere})), leads)
        leader, follower, second_leader = (
            kept_series(
                {key: samples[key] for key in samples if key[0] in ("ticker_leader", "ticker_store_up")}, 0, instance
            )
            for samples, instance in ((leading, "a"), (following, "b"), (other, "b"))
        )
        check_instances(tmp_path, {}, leader, follower)
        check_instances(tmp_path, {"NoLeader": 1}, follower)
        check_instances(tmp_path, {"TwoLeaders": 1}, leader, second_leader)


def failed(samples: Samples) -> set[str]:
    """Return the banks with a failed poll."""
    return {key for key in BANKS if value(samples, "ticker_polls_total", source=key, result="failed")}


def responded(samples: Samples, clock: Clock) -> set[str]:
    """Return the sources with a successful poll at the current time."""
    return {key for key in (*BANKS, "recorded") if value(samples, SUCCESS, source=key) == clock.seconds()}


def leads(samples: Samples) -> bool:
    return value(samples, "ticker_leader") == 1


def poll_every_second(settings: Settings, banks: Banks) -> Settings:
    """Return the settings with banks that are polled every second."""
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    return load(
        environ=banks.environ() | store, overrides={"sources": {key: {"sweep": 1} for key in (*BANKS, "recorded")}}
    )


async def all_metrics(client: Client) -> Samples:
    """Return the metrics after a poll of each bank and a request, including those that are measured periodically."""
    await until_scraped(client, status("current"))
    async with client.get("/v1/history/usd") as response:
        assert response.status == 200
    return await until_scraped(client, lambda samples: value(samples, OFFSET) is not None)


async def metrics_of_any_store(store: Store) -> set[str]:
    """Return the names of all metrics of a store's server: no server has Sentinels and is the embedded one."""
    monitor = ServerMonitor(
        store,
        server=ServerStatus(memory=1, memory_limit=1, is_saved=True, replicas=1),
        sentinels=SentinelStatus(1, 1, 1),
        disk=DiskUsage(1, 1),
    )
    return {sample.name for family in ServerCollector(monitor).collect() for sample in family.samples}


async def test_rules_and_dashboard_use_existing_metrics(
    start: Started, settings: Settings, banks: Banks, store: Store
) -> None:
    """An alert on a metric that does not exist would never fire."""
    publish_all(banks)
    settings = with_webhooks(settings, Receiver("http://127.0.0.1:1").webhook())
    existing = {name for name, _ in await all_metrics(await start(settings))} | await metrics_of_any_store(store)
    for path in (FOLDER / "alerts.yml", DASHBOARD):
        named = set(re.findall(r"\bticker_\w+", path.read_text(encoding="utf-8")))
        assert named
        assert named <= existing, path


@needs_promtool
async def test_dashboard_panels_have_data(
    start: Started, settings: Settings, banks: Banks, clock: Clock, tmp_path: Path
) -> None:
    """Every panel has data, except those that are empty without a problem."""
    publish_all(banks)
    settings = with_webhooks(settings, Receiver("http://127.0.0.1:1").webhook())
    series = kept_series(await all_metrics(await start(settings)), clock.seconds(), "a", {})
    empty = {"Alerts", "Errors per second", "Free space of the embedded store", "Connections of the edge"}
    panels = {panel["title"]: panel.get("targets", ()) for panel in dashboard()["panels"]}
    assert empty < panels.keys()
    optional = re.compile("ticker_store_(memory_limit|sentinels|replicas_known)")
    expressions = [
        target["expr"]
        for title, targets in panels.items()
        for target in targets
        if title not in empty and not optional.search(target["expr"])
    ]
    check_results(tmp_path, series | {'up{job="ticker",instance="a"}': f"1x{DURATION}"}, expressions, "25h")
