"""Alert rules: each fires at its boundary, and none fires for a healthy installation.

Here on synthetic series; tests/test_alerts_live.py uses the /metrics of real instances.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.promtool import FOLDER, PROMTOOL, WATCHDOG, check_alerts, promtool, rules

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="NO TESTS OF ALERTS: promtool is not installed (Debian's package prometheus)"
)

RULES = rules()
DAYS = 3 * 24 * 60
"""Minutes."""
DISK = 'node_filesystem_%s_bytes{job="node",instance="m",mountpoint="/srv",fstype="ext4",device="/dev/sda"}'
PROMETHEUS = 'prometheus_%s{job="prometheus",instance="localhost:9090"}'
ALERTMANAGER = 'alertmanager_%s{job="alertmanager",instance="localhost:9093",integration="%s"}'
HEALTHY = {
    "up": f"1x{DAYS}",
    "a ticker_leader": f"1x{DAYS}",
    "b ticker_leader": f"0x{DAYS}",
    "ticker_store_up": f"1x{DAYS}",
    "ticker_clock_offset_seconds": f"-0.004x{DAYS}",
    'ticker_store_fixings{source="nbk"}': f"300x1000 301x{DAYS}",
    'ticker_store_fixings{source="cbr"}': f"90x{DAYS}",
    'ticker_store_fixings_lost{source="nbk"}': f"0x{DAYS}",
    'ticker_store_fixings_lost{source="cbr"}': f"0x{DAYS}",
    "ticker_store_durable": f"1x{DAYS}",
    "ticker_store_memory_bytes": f"200x{DAYS}",
    "ticker_store_memory_limit_bytes": f"400x{DAYS}",
    "ticker_store_saved": f"1x{DAYS}",
    "ticker_store_disk_size_bytes": f"1000x{DAYS}",
    "ticker_store_disk_free_bytes": f"400x{DAYS}",
    "ticker_store_replicas": f"1x{DAYS}",
    "ticker_store_replicas_known": f"1x{DAYS}",
    "ticker_store_sentinels": f"3x{DAYS}",
    "ticker_store_sentinels_up": f"3x{DAYS}",
    'up{job="edge",instance="edge:8081"}': f"1x{DAYS}",
    DISK % "avail": f"400x{DAYS}",
    DISK % "size": f"1000x{DAYS}",
    PROMETHEUS % "notifications_alertmanagers_discovered": f"1x{DAYS}",
    PROMETHEUS % "notifications_errors_total": f"0x{DAYS}",
    PROMETHEUS % "notifications_dropped_total": f"0x{DAYS}",
    ALERTMANAGER % ("notifications_failed_total", "webhook"): f"0x{DAYS}",
    ALERTMANAGER % ("notifications_failed_total", "email"): f"0x{DAYS}",
    PROMETHEUS % "rule_evaluation_failures_total": f"0x{DAYS}",
    PROMETHEUS % "tsdb_wal_writes_failed_total": f"0x{DAYS}",
    PROMETHEUS % "tsdb_compactions_failed_total": f"0x{DAYS}",
    PROMETHEUS % "config_last_reload_successful": f"1x{DAYS}",
    'ticker_status{ticker="kzt",status="current"}': f"1x{DAYS}",
    'ticker_status{ticker="kzt",status="late"}': f"0x{DAYS}",
    'ticker_status{ticker="kzt",status="stale"}': f"0x{DAYS}",
    'ticker_status{ticker="kzt",status="recorded"}': f"0x{DAYS}",
    'ticker_quotes{ticker="kzt",choice="1"}': f"5x{DAYS}",
    'ticker_quotes{ticker="kzt",choice="2"}': f"0x{DAYS}",
    'ticker_quotes{ticker="kzt",choice="none"}': f"1x{DAYS}",  # a currency that no source quotes fires nothing
    'ticker_quarantine_waiting{source="nbk"}': f"0x{DAYS}",
    'ticker_source_diverging{source="nbk"}': f"0x{DAYS}",
    'ticker_source_missing{source="nbk"}': f"0x{DAYS}",
    'ticker_source_last_success_timestamp_seconds{source="nbk"}': f"0+60x{DAYS}",
    'ticker_source_last_success_timestamp_seconds{source="recorded"}': f"0x1440 86460x1440 172920x{DAYS}",
    'ticker_polls_total{source="nbk",result="ok"}': f"0+1x{DAYS}",
    'ticker_polls_total{source="nbk",result="failed"}': f"0x{DAYS}",
    'ticker_webhook_oldest_seconds{webhook="shop"}': f"0x{DAYS}",
    'ticker_webhook_deliveries_total{webhook="shop",outcome="dropped"}': f"0x{DAYS}",
    'ticker_requests_total{route="/v1/ticker",status="200"}': f"0+98x{DAYS}",
    'ticker_requests_total{route="/v1/ticker",status="404"}': f"0+1x{DAYS}",
    'ticker_requests_total{route="/health",status="503"}': f"0+4x{DAYS}",
}
"""Two instances for three days; the sample data is polled once a day. Series with a job are those of another one."""


def of_both(series: Mapping[str, str], minutes: int = DAYS) -> dict[str, str]:
    """Return the series for the instances a and b, cut to these minutes; a prefix (`a up`) selects one instance.

    Series of another job are the same for both instances.
    """
    labelled = {}
    for key, whole in series.items():
        values = re.sub(rf"x{DAYS}$", f"x{minutes}", whole)
        if "{job=" in key:
            labelled[key] = values
            continue
        instances, _, selector = key.rpartition(" ")
        name, _, labels = selector.partition("{")
        for instance in instances or "ab":
            labelled[f'{name}{{job="ticker",instance="{instance}",{labels.rstrip("}")}}}'] = values
    return labelled


def metrics(series: Iterable[str]) -> set[str]:
    """Return the names of the metrics of these series, without instances and labels."""
    return {name.rpartition(" ")[2] for name in (selector.partition("{")[0] for selector in series)}


@dataclass(frozen=True)
class Case:
    """Changes to two healthy instances, the last minute without an alert, and the alert that fires in the next one."""

    alert: str
    quiet: int
    summary: str
    changed: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def times(self) -> tuple[int, ...]:
        """The minutes at which alerts are compared."""
        return 9, self.quiet, self.quiet + 1, self.quiet + 31

    @property
    def every(self) -> str:
        """The evaluation interval: for a day, five minutes are precise enough and a fifth of the work."""
        return "5m" if self.quiet > 1440 else "1m"


def status(word: str, values: str) -> dict[str, str]:
    """Return the series of a ticker that is current for ten minutes."""
    series = 'ticker_status{ticker="kzt",status="%s"}'
    return {series % "current": f"1x9 0x{DAYS}", series % word: values}


KZT = {"ticker": "kzt"}
NBK = {"source": "nbk"}
CURRENT = 'ticker_status{ticker="kzt",status="current"}'
SUCCESS = 'ticker_source_last_success_timestamp_seconds{source="nbk"}'
FAILED = 'ticker_polls_total{source="nbk",result="failed"}'
OLDEST = 'ticker_webhook_oldest_seconds{webhook="shop"}'
DROPPED = 'ticker_webhook_deliveries_total{webhook="shop",outcome="dropped"}'
BROKEN = 'ticker_requests_total{route="/v1/ticker",status="500"}'
CASES = {
    "stale": Case("TickerStale", 24, "The ticker kzt is stale", status("stale", f"0x9 1x{DAYS}"), KZT),
    "late": Case("TickerLate", 249, "The ticker kzt is late", status("late", f"0x9 1x{DAYS}"), KZT),
    "late, and a restart in between": Case(
        "TickerLate", 249, "The ticker kzt is late", status("late", f"0x9 1x90 stale _x6 1x{DAYS}"), KZT
    ),
    "recorded": Case(
        "TickerRecorded", 69, "The ticker kzt shows sample data", status("recorded", f"0x9 1x{DAYS}"), KZT
    ),
    "empty": Case("TickerEmpty", 14, "The ticker kzt has no rates", {CURRENT: f"1x9 0x{DAYS}"}, KZT),
    "empty on one": Case("TickerEmpty", 14, "The ticker kzt has no rates", {f"b {CURRENT}": f"1x9 0x{DAYS}"}, KZT),
    "errors": Case(
        "ErrorsServed", 22, "1.98% of the responses of /v1/ticker are server errors",
        {BROKEN: f"0x9 0+2x{DAYS}"}, {"route": "/v1/ticker"},
    ),
    "fallback source": Case(
        "SecondChoice", 10 + 1439, "2 quotes of the ticker kzt are from a fallback source",
        {'ticker_quotes{ticker="kzt",choice="2"}': f"0x9 2x{DAYS}"}, KZT,
    ),
    "quarantine": Case(
        "QuarantineWaiting", 10 + 239, "2 dates of nbk are quarantined",
        {'ticker_quarantine_waiting{source="nbk"}': f"0x9 2x{DAYS}"}, NBK,
    ),
    "a source diverges": Case(
        "SourceDiverging", 10 + 239, "nbk diverges from other banks in 2 rates",
        {'ticker_source_diverging{source="nbk"}': f"0x9 2x{DAYS}"}, NBK,
    ),
    "a currency is missing": Case(
        "CurrencyMissing", 10 + 1439, "nbk no longer publishes 1 currencies that a ticker needs",
        {'ticker_source_missing{source="nbk"}': f"0x9 1x{DAYS}"}, NBK,
    ),
    "a bank fails": Case(
        "SourceFailing", 9 + 1440 + 60, "nbk has failed for 1d 1h 1m 0s",
        {SUCCESS: f"0+60x9 540x{DAYS}", SUCCESS.replace("nbk", "cbr"): f"0+60x{DAYS}"}, NBK,
    ),
    "a bank has always failed": Case(
        "SourceNeverAnswered", 10 + 1440 + 59, "cbr has never responded",
        {FAILED.replace("nbk", "cbr"): f"0x9 1+1x{DAYS}"}, {"source": "cbr"},
    ),
    "all banks fail": Case(
        "NoBankAnswers", 10 + 240 + 15, "No bank has responded for 4h 16m 0s",
        {SUCCESS: f"0+60x10 600x{DAYS}", SUCCESS.replace("nbk", "recorded"): f"0x150 9000x{DAYS}"},
    ),
    "a receiver is down": Case(
        "WebhookFailing", 10 + 60 + 15, "The webhook shop has not delivered an event for 1h 16m 0s",
        {OLDEST: f"0x9 0+60x{DAYS}"}, {"webhook": "shop"},
    ),
    "events are dropped": Case(
        "WebhookDropped", 10, "Events of the webhook shop were dropped",
        {f"a {DROPPED}": f"0x9 1x{DAYS}"}, {"webhook": "shop"},
    ),
    "all instances are down": Case("NoInstance", 11, "No instance responds", {"up": f"1x9 0x{DAYS}"}),
    "all instances are removed": Case("NoInstance", 11, "No instance responds", {"up": "1x9 stale"}),
    "an instance is down": Case(
        "InstanceDown", 14, "The instance b does not respond",
        {"b up": f"1x9 0x{DAYS}"}, {"instance": "b", "job": "ticker"},
    ),
    "an instance is removed": Case("NoSpareInstance", 24, "Only one instance is left", {"b up": "1x9 stale"}),
    "polling crashes": Case(
        "PollingCrashed", 10, "Polling has crashed in a",
        {"a ticker_polling_crashes_total": f"0x9 1x{DAYS}"}, {"instance": "a", "job": "ticker"},
    ),
    "no leader": Case("NoLeader", 10, "No instance is the leader", {"a ticker_leader": f"1x9 0x{DAYS}"}),
    "no leader, and no metrics of one": Case(
        "NoLeader", 10, "No instance is the leader",
        {"a ticker_leader": "1x9 stale", "b ticker_leader": "0x9 stale"},
    ),
    "two leaders": Case("TwoLeaders", 11, "2 instances are leaders", {"b ticker_leader": f"0x9 1x{DAYS}"}),
    "the store is down": Case(
        "StoreDown", 14, "2 instances cannot use the store",
        {"ticker_store_up": f"1x9 0x{DAYS}", "a ticker_leader": f"1x9 0x{DAYS}"},  # so no instance is the leader
    ),
    "the store is unreachable for one instance": Case(
        "StoreDown", 14, "1 instances cannot use the store", {"b ticker_store_up": f"1x9 0x{DAYS}"}
    ),
    "the store loses fixings": Case(
        "StoreLostFixings", 14, "The store has lost 215 fixings",
        {
            'ticker_store_fixings_lost{source="nbk"}': f"0x9 210x{DAYS}",
            'ticker_store_fixings{source="nbk"}': f"300x9 90x{DAYS}",
            'b ticker_store_fixings_lost{source="cbr"}': f"0x9 5x{DAYS}",
        },
    ),
    "the store loses fixings while all instances are down": Case(
        "StoreLostFixings", 14, "The store has lost 210 fixings",
        {'ticker_store_fixings{source="nbk"}': f"300x9 90x{DAYS}"},
    ),
    "the store is not durable": Case(
        "StoreNotDurable", 69, "The store can lose records", {"ticker_store_durable": f"1x9 0x{DAYS}"}
    ),
    "a clock is wrong": Case(
        "ClockWrong", 14, "The clock of b is off by 1d 0h 0m 0s",
        {"b ticker_clock_offset_seconds": f"60x9 -86400x{DAYS}"}, {"instance": "b", "job": "ticker"},
    ),
    "the memory of the store is full": Case(
        "StoreMemoryFull", 24, "The memory of the store is 80.25% full",
        {"ticker_store_memory_bytes": f"320x9 321x{DAYS}"},
    ),
    "the store cannot save": Case(
        "StoreNotSaved", 24, "The store cannot save its data", {"b ticker_store_saved": f"1x9 0x{DAYS}"}
    ),
    "the disk of the embedded store is full": Case(
        "StoreDiskFull", 24, "Only 9.9% of the disk of the embedded store is free",
        {"b ticker_store_disk_free_bytes": f"100x9 99x{DAYS}"}, {"instance": "b"},
    ),
    "the replica is down": Case(
        "StoreReplicaDown", 24, "A replica of the store is missing: 0 are connected",
        {"ticker_store_replicas": f"1x9 0x{DAYS}"},
    ),
    "the Sentinels do not know the replica any more": Case(
        "StoreReplicaDown", 24, "A replica of the store is missing: 0 are connected",
        {"ticker_store_replicas": f"1x9 0x{DAYS}", "ticker_store_replicas_known": f"1x9 0x{DAYS}"},
    ),
    "one of two replicas is down": Case(
        "StoreReplicaDown", 24, "A replica of the store is missing: 1 are connected",
        {"ticker_store_replicas": f"2x9 1x{DAYS}", "ticker_store_replicas_known": f"2x{DAYS}"},
    ),
    "a Sentinel is down": Case(
        "SentinelDown", 24, "Only 2 Sentinels respond", {"b ticker_store_sentinels_up": f"3x9 2x{DAYS}"}
    ),
    "the edge is down": Case(
        "EdgeDown", 11, "The edge edge:8081 does not respond",
        {'up{job="edge",instance="edge:8081"}': f"1x9 0x{DAYS}"}, {"instance": "edge:8081", "job": "edge"},
    ),
    "the disk of a machine is full": Case(
        "MachineDiskFull", 24, "Only 9.9% of /srv on m is free",
        {DISK % "avail": f"100x9 99x{DAYS}"}, {"instance": "m", "mountpoint": "/srv"},
    ),
    "Prometheus has no Alertmanager": Case(
        "PrometheusNotNotifying", 24, "Prometheus cannot send notifications",
        {PROMETHEUS % "notifications_alertmanagers_discovered": f"1x9 0x{DAYS}"},
    ),
    "Alertmanager does not respond": Case(
        "PrometheusNotNotifying", 24, "Prometheus cannot send notifications",
        {PROMETHEUS % "notifications_errors_total": f"0x9 1+1x{DAYS}"},
    ),
    "notifications are dropped": Case(
        "PrometheusNotNotifying", 24, "Prometheus cannot send notifications",
        {PROMETHEUS % "notifications_dropped_total": f"0x9 1+1x{DAYS}"},
    ),
    "the mail server refuses all messages": Case(
        "NotificationsFailing", 24, "Alertmanager cannot send notifications by email",
        {ALERTMANAGER % ("notifications_failed_total", "email"): f"0x9 1+0.2x{DAYS}"}, {"integration": "email"},
    ),
    "a rule fails": Case(
        "PrometheusRulesFailing", 24, "Alert rules cannot be evaluated",
        {PROMETHEUS % "rule_evaluation_failures_total": f"0x9 1+1x{DAYS}"},
    ),
    "Prometheus cannot write": Case(
        "PrometheusNotStoring", 24, "Prometheus cannot store metrics",
        {PROMETHEUS % "tsdb_wal_writes_failed_total": f"0x9 1+1x{DAYS}"},
    ),
    "Prometheus cannot compact": Case(
        "PrometheusNotStoring", 24, "Prometheus cannot store metrics",
        {PROMETHEUS % "tsdb_compactions_failed_total": f"0x9 1+1x{DAYS}"},
    ),
    "the configuration of Prometheus is invalid": Case(
        "PrometheusConfigInvalid", 14, "The configuration of Prometheus is invalid",
        {PROMETHEUS % "config_last_reload_successful": f"1x9 0x{DAYS}"},
    ),
}  # fmt: skip
QUIET: Mapping[str, Mapping[str, str]] = {
    "late for less than four hours": {'ticker_status{ticker="kzt",status="late"}': f"0x9 1x225 0x{DAYS}"},
    "stale for a moment": {'ticker_status{ticker="kzt",status="stale"}': f"0x9 1x3 0x{DAYS}"},
    "confirmed by a second bank": {'ticker_quarantine_waiting{source="nbk"}': f"0x9 1x45 0x{DAYS}"},
    "other banks publish in the afternoon": {'ticker_source_diverging{source="nbk"}': f"0x9 1x225 0x{DAYS}"},
    "a currency is omitted from one document": {'ticker_source_missing{source="nbk"}': f"0x9 1x1400 0x{DAYS}"},
    "a bank recovers in the evening": {SUCCESS: f"0+60x10 600x235 15000+60x{DAYS}"},
    "a receiver is restarted": {OLDEST: f"0x9 0+60x65 0x{DAYS}"},
    "one error": {
        BROKEN: f"0x9 1x{DAYS}",
        'ticker_requests_total{route="/v1/ticker",status="200"}': f"0+2x{DAYS}",
    },
    "one error in a hundred": {BROKEN: f"0+0.99x{DAYS}"},
    "instances are restarted one after the other": {
        "a up": f"1x9 stale _x6 1x{DAYS}",
        "b up": f"1x20 0x4 1x{DAYS}",
        "a ticker_leader": f"1x9 stale _x6 0x{DAYS}",
        "b ticker_leader": f"0x10 1x{DAYS}",
    },
    "the leader changes": {"a ticker_leader": f"1x9 0x{DAYS}", "b ticker_leader": f"0x7 1x{DAYS}"},
    "the store is restarted": {"ticker_store_up": f"1x9 0x4 1x{DAYS}", "a ticker_leader": f"1x9 0x4 1x{DAYS}"},
    "an operator retracts dates": {'ticker_store_fixings{source="nbk"}': f"300x9 290x{DAYS}"},
    "lost fixings are written again": {
        'ticker_store_fixings_lost{source="nbk"}': f"0x9 90x3 0x{DAYS}",
        'ticker_store_fixings{source="nbk"}': f"300x9 210x3 300x{DAYS}",
    },
    "the durability of the store is unknown": {"ticker_store_durable": "stale"},
    "clocks are off by a minute": {
        "a ticker_clock_offset_seconds": f"60x{DAYS}",
        "b ticker_clock_offset_seconds": f"-60x{DAYS}",
    },
    "clock offsets are unknown": {"ticker_clock_offset_seconds": "-0.004 stale"},
    "the store has no memory limit, no Sentinels, and a disk elsewhere": {
        "ticker_store_memory_limit_bytes": "stale",
        "ticker_store_disk_free_bytes": "stale",
        "ticker_store_disk_size_bytes": "stale",
        "ticker_store_replicas": f"0x{DAYS}",
        "ticker_store_replicas_known": "stale",
        "ticker_store_sentinels": "stale",
        "ticker_store_sentinels_up": "stale",
    },
    "the state of the store is unknown": dict.fromkeys(
        ("ticker_store_memory_bytes", "ticker_store_saved", "ticker_store_replicas", "ticker_store_durable"), "stale"
    ),
    "the store fails over": {"ticker_store_replicas": f"1x9 0x13 1x{DAYS}"},
    "an edge is restarted": {'up{job="edge",instance="edge:8081"}': f"1x9 0x1 1x{DAYS}"},
    "no edge, no node_exporter": {
        'up{job="edge",instance="edge:8081"}': "stale",
        DISK % "avail": "stale",
        DISK % "size": "stale",
    },
    "one notification fails": {PROMETHEUS % "notifications_errors_total": f"0x9 1x{DAYS}"},
    "one message fails": {ALERTMANAGER % ("notifications_failed_total", "email"): f"0x9 1x{DAYS}"},
    "Alertmanager is not scraped": {
        ALERTMANAGER % ("notifications_failed_total", name): "stale" for name in ("webhook", "email")
    },
    "one evaluation fails": {PROMETHEUS % "rule_evaluation_failures_total": f"0x9 1x{DAYS}"},
    "a temporary file system is full": {
        (DISK % "avail").replace("ext4", "tmpfs"): f"0x{DAYS}",
        (DISK % "size").replace("ext4", "tmpfs"): f"1000x{DAYS}",
    },
}
MINUTES = (9, 13, 16, 26, 70, 180, 191, 270)


@pytest.mark.parametrize("name", ["prometheus.yml", "systemd.yml"])
def test_prometheus_reads_its_configuration(name: str) -> None:
    """Its rule files included. It scrapes the jobs that the rules select, and has an Alertmanager."""
    assert f"{len(RULES)} rules found" in promtool("check", "config", FOLDER / name)
    config = YAML(typ="safe").load(FOLDER / name)
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    selected = {job for rule in RULES.values() for job in re.findall(r'job="(\w+)"', rule.expr)}
    assert selected | {"prometheus", "alertmanager", "node"} == jobs
    assert len(config["alerting"]["alertmanagers"]) == 1


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_alert_fires_at_its_boundary(case: Case, tmp_path: Path) -> None:
    """It fires once for any number of instances, with its summary; no other alert fires within half an hour.

    Rules that read none of the changed metrics are those of `test_no_alert_fires_in_a_healthy_installation`.
    """
    rule = RULES[case.alert]
    alert = {
        "exp_labels": {"severity": rule.severity, **case.labels},
        "exp_annotations": {**rule.annotations, "summary": case.summary},
    }
    check_alerts(
        tmp_path,
        of_both({**HEALTHY, **case.changed}, case.times[-1]),
        {f"{at}m": {case.alert: 1} if at > case.quiet else {} for at in case.times},
        [{"alertname": case.alert, "eval_time": f"{case.quiet + 1}m", "exp_alerts": [alert]}],
        case.every,
        reading=metrics(case.changed),
    )


def test_each_alert_is_produced() -> None:
    """Every rule has a case."""
    assert {case.alert for case in CASES.values()} | {WATCHDOG} == RULES.keys()


def test_watchdog_fires_from_the_start(tmp_path: Path) -> None:
    """It needs no metrics: what does not receive it reports that Prometheus or Alertmanager is down."""
    rule = RULES[WATCHDOG]
    alert = {"exp_labels": {"severity": "watchdog"}, "exp_annotations": {**rule.annotations}}
    expected = [{"alertname": WATCHDOG, "eval_time": at, "exp_alerts": [alert]} for at in ("0m", "1m", "1d")]
    check_alerts(tmp_path, {}, {"0m": {}}, expected[:2])
    check_alerts(tmp_path, {}, {}, expected, reading={"vector"})  # without the other rules, for a day


@pytest.mark.parametrize("changed", QUIET.values(), ids=list(QUIET))
def test_no_alert_fires_without_a_problem(changed: Mapping[str, str], tmp_path: Path) -> None:
    """Checked when an alert could fire, with the rules that read one of the changed metrics."""
    check_alerts(
        tmp_path, of_both({**HEALTHY, **changed}, 270), {f"{at}m": {} for at in MINUTES}, reading=metrics(changed)
    )


@pytest.mark.parametrize(
    ("every", "times"), [("1m", MINUTES), pytest.param("5m", (25 * 60, 50 * 60, DAYS), marks=pytest.mark.slow)]
)
def test_no_alert_fires_in_a_healthy_installation(every: str, times: tuple[int, ...], tmp_path: Path) -> None:
    """For three days, and at every time of the other tests, which evaluate only rules that read what they change."""
    minutes = {*times, *(at for case in CASES.values() if case.every == every for at in case.times)}
    check_alerts(tmp_path, of_both(HEALTHY), {f"{at}m": {} for at in sorted(minutes)}, every=every)


def test_each_rule_names_the_metrics_that_it_reads() -> None:
    """No rule selects series by labels alone or reads other alerts: metrics that it does not name do not affect it."""
    for name, rule in RULES.items():
        assert not re.search(r"(?<!\w)\{|__name__|ALERTS", rule.expr), name
