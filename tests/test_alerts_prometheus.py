"""Alerts in a real Prometheus: each fires once and resolves once.

It scrapes metrics with the names of the service, and evaluates the real rules with durations of seconds
(`tests/support/prometheus.py`). The true durations are tested in tests/test_alerts.py.
"""

import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from tests.support.prometheus import PROMETHEUS, Prometheus, Targets, Value, run_prometheus
from tests.support.promtool import WATCHDOG, rules
from tests.support.wait import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        PROMETHEUS is None, reason="NO TESTS OF ALERTS: Prometheus is not installed (Debian's package prometheus)"
    ),
]

DAY = 86400


def ago(seconds: float) -> Callable[[float], float]:
    return lambda now: now - seconds


def growing(per_second: float) -> Callable[[float], float]:
    return lambda now: now * per_second


def status(word: str) -> dict[str, Value]:
    return {'ticker_status{ticker="kzt",status="current"}': 0, f'ticker_status{{ticker="kzt",status="{word}"}}': 1}


SUCCESS = 'ticker_source_last_success_timestamp_seconds{source="%s"}'
OK, BROKEN = (f'ticker_requests_total{{route="/v1/ticker",status="{code}"}}' for code in (200, 500))
HEALTHY: Mapping[str, Value] = {
    "ticker_leader": 0,
    "ticker_store_up": 1,
    "ticker_clock_offset_seconds": -0.004,
    'ticker_store_fixings{source="nbk"}': 300,
    'ticker_store_fixings{source="cbr"}': 90,
    'ticker_store_fixings_lost{source="nbk"}': 0,
    'ticker_store_fixings_lost{source="cbr"}': 0,
    "ticker_store_durable": 1,
    "ticker_store_memory_bytes": 2e8,
    "ticker_store_memory_limit_bytes": 4e8,
    "ticker_store_saved": 1,
    "ticker_store_disk_size_bytes": 1e12,
    "ticker_store_disk_free_bytes": 4e11,
    "ticker_store_replicas": 1,
    "ticker_store_replicas_known": 1,
    "ticker_store_sentinels": 3,
    "ticker_store_sentinels_up": 3,
    'ticker_status{ticker="kzt",status="current"}': 1,
    **{f'ticker_status{{ticker="kzt",status="{word}"}}': 0 for word in ("late", "stale", "recorded")},
    'ticker_quotes{ticker="kzt",choice="1"}': 5,
    'ticker_quotes{ticker="kzt",choice="2"}': 0,
    'ticker_quotes{ticker="kzt",choice="none"}': 1,
    'ticker_quarantine_waiting{source="nbk"}': 0,
    'ticker_source_diverging{source="nbk"}': 0,
    'ticker_source_missing{source="nbk"}': 0,
    **{SUCCESS % source: ago(60) for source in ("nbk", "cbr", "recorded")},
    'ticker_polls_total{source="nbk",result="failed"}': 1,
    'ticker_polls_total{source="ecb",result="failed"}': 0,
    "ticker_polling_crashes_total": 0,
    'ticker_webhook_oldest_seconds{webhook="shop"}': 0,
    'ticker_webhook_deliveries_total{webhook="shop",outcome="dropped"}': 0,
    OK: growing(50),
    BROKEN: 0,
}
"""The metrics of an instance; of two, `a` is the leader."""
REMOVED = object()
DOWN = object()


@dataclass(frozen=True)
class Case:
    """What changes in two healthy instances while an alert fires.

    A series beginning with an instance (`b ticker_leader`) changes in that one alone. `targets` are those that are down
    or removed. `meanwhile` are alerts that may fire too while one instance is known to be down and the other is not.
    """

    changed: Mapping[str, Value]
    targets: Mapping[tuple[str, str], object] = field(default_factory=dict)
    meanwhile: frozenset[str] = frozenset()


TICKERS = [("ticker", "a"), ("ticker", "b")]
EDGE = ("edge", "edge:8081")
MAIL = 'alertmanager_notifications_failed_total{integration="email"}'
DISK = 'node_filesystem_%s_bytes{device="/dev/sda",fstype="ext4",mountpoint="/srv"}'
OTHERS: Mapping[tuple[str, str], Mapping[str, Value]] = {
    EDGE: {},
    ("node", "m"): {DISK % "size": 1e12, DISK % "avail": 4e11},
    ("prometheus", "localhost:9090"): {
        "prometheus_notifications_alertmanagers_discovered": 1,
        'prometheus_notifications_errors_total{alertmanager="http://localhost:9093/api/v2/alerts"}': 0,
        "prometheus_notifications_dropped_total": 0,
        'prometheus_rule_evaluation_failures_total{rule_group="alerts.yml;tickers"}': 0,
        "prometheus_tsdb_wal_writes_failed_total": 0,
        "prometheus_tsdb_compactions_failed_total": 0,
        "prometheus_config_last_reload_successful": 1,
    },
    ("alertmanager", "alertmanager:9093"): {MAIL: 0, MAIL.replace("email", "webhook"): 0},
}
"""The metrics of other jobs."""
CASES = {
    "TickerStale": Case(status("stale")),
    "TickerLate": Case(status("late")),
    "TickerRecorded": Case(status("recorded")),
    "TickerEmpty": Case({'b ticker_status{ticker="kzt",status="current"}': 0}),
    "ErrorsServed": Case({BROKEN: growing(2)}),
    "SecondChoice": Case({'ticker_quotes{ticker="kzt",choice="2"}': 2}),
    "QuarantineWaiting": Case({'ticker_quarantine_waiting{source="nbk"}': 2}),
    "SourceDiverging": Case({'ticker_source_diverging{source="nbk"}': 2}),
    "CurrencyMissing": Case({'ticker_source_missing{source="nbk"}': 1}),
    "SourceFailing": Case({SUCCESS % "nbk": ago(DAY + 60)}),
    "SourceNeverAnswered": Case({'ticker_polls_total{source="ecb",result="failed"}': 9}),
    "NoBankAnswers": Case({SUCCESS % "nbk": ago(5 * 3600), SUCCESS % "cbr": ago(6 * 3600)}),
    "WebhookFailing": Case({'ticker_webhook_oldest_seconds{webhook="shop"}': 3700}),
    "WebhookDropped": Case({'ticker_webhook_deliveries_total{webhook="shop",outcome="dropped"}': growing(1)}),
    "NoInstance": Case({}, dict.fromkeys(TICKERS, DOWN), frozenset({"InstanceDown"})),
    "InstanceDown": Case({}, {("ticker", "b"): DOWN}),
    "NoSpareInstance": Case({}, {("ticker", "b"): REMOVED}),
    "NoLeader": Case({"a ticker_leader": 0}),
    "PollingCrashed": Case({"b ticker_polling_crashes_total": growing(1)}),
    "TwoLeaders": Case({"b ticker_leader": 1}),
    "StoreDown": Case({"ticker_store_up": 0, "a ticker_leader": 0}, meanwhile=frozenset({"NoLeader"})),
    "StoreLostFixings": Case(
        {'ticker_store_fixings_lost{source="nbk"}': 210, 'ticker_store_fixings{source="nbk"}': 90}
    ),
    "StoreNotDurable": Case({"ticker_store_durable": 0}),
    "ClockWrong": Case({"b ticker_clock_offset_seconds": -DAY}),
    "StoreMemoryFull": Case({"ticker_store_memory_bytes": 3.9e8}),
    "StoreNotSaved": Case({"ticker_store_saved": 0}),
    "StoreDiskFull": Case({"b ticker_store_disk_free_bytes": 9e10}),
    "StoreReplicaDown": Case({"ticker_store_replicas": 0}),
    "SentinelDown": Case({"ticker_store_sentinels_up": 2}),
    "EdgeDown": Case({}, {EDGE: DOWN}),
    "MachineDiskFull": Case({DISK % "avail": 9e10}),
    "PrometheusNotNotifying": Case({"prometheus_notifications_dropped_total": growing(1)}),
    "NotificationsFailing": Case({MAIL: growing(1)}),
    "PrometheusRulesFailing": Case(
        {'prometheus_rule_evaluation_failures_total{rule_group="alerts.yml;tickers"}': growing(1)}
    ),
    "PrometheusNotStoring": Case({"prometheus_tsdb_wal_writes_failed_total": growing(1)}),
    "PrometheusConfigInvalid": Case({"prometheus_config_last_reload_successful": 0}),
}  # fmt: skip


def targets(case: Case) -> Targets:
    """Return what Prometheus scrapes: two instances and other jobs, with the changes of a case."""
    shown: dict[tuple[str, str], Mapping[str, Value] | None] = {}
    for job, instance in [*TICKERS, *OTHERS]:
        leader: Mapping[str, Value] = {"ticker_leader": float(instance == "a")}
        series = {**OTHERS.get((job, instance), {**HEALTHY, **leader})}
        for key, value in case.changed.items():
            selected, _, name = key.rpartition(" ")
            if name in series and selected in ("", instance):
                series[name] = value
        state = case.targets.get((job, instance))
        if state is not REMOVED:
            shown[job, instance] = None if state is DOWN else series
    return shown


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with run_prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        running.world.show(targets(Case({})))
        yield running


def test_each_alert_has_a_case() -> None:
    assert {*CASES, WATCHDOG} == {*rules()}


def test_rules_use_existing_metrics_of_prometheus(prometheus: Prometheus) -> None:
    """An alert on a metric that does not exist would never fire."""
    with urllib.request.urlopen(f"http://127.0.0.1:{prometheus.port}/metrics", timeout=60) as response:
        existing = set(re.findall(r"^\w+", response.read().decode(), re.MULTILINE))
    named = {name for rule in rules().values() for name in re.findall(r"\bprometheus_\w+", rule.expr)}
    assert named
    assert named <= existing


@pytest.mark.parametrize("alert", CASES)
def test_alert_fires_and_resolves_once(prometheus: Prometheus, alert: str) -> None:
    """Prometheus notifies of it, with its labels and annotations, and of no other alert."""
    world, case, rule = prometheus.world, CASES[alert], rules()[alert]
    wait_until(lambda: prometheus.active() == {WATCHDOG}, "all is quiet")
    world.forget()
    world.show(targets(case))
    wait_until(lambda: prometheus.has(alert, resolved=False), f"{alert} fires")
    world.show(targets(Case({})))
    wait_until(lambda: prometheus.has(alert, resolved=True), f"{alert} is resolved")
    sent = [one for one in world.notifications if one.name not in {WATCHDOG, *case.meanwhile}]
    assert {one.name for one in sent} == {alert}
    assert len({(one.started, tuple(one.labels.items())) for one in sent}) == 1
    assert {one.labels["severity"] for one in sent} == {rule.severity}
    assert {one.annotations["runbook"] for one in sent} == {rule.annotations["runbook"]}
    assert all("{{" not in one.annotations["summary"] for one in sent)
