"""Prometheus collectors: all metrics are computed at scrape time.

The module is loaded at the first scrape. Nothing is registered globally: each instance of the service has its own
registry.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, time
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from service import __version__
from service.clock import Clock
from service.cluster.leader_election import LeaderElection, Role
from service.domain.snapshot import Status
from service.observability.counters import Counters, Histogram
from service.state.deliveries import WebhookStatus
from service.state.memory import MemoryState
from service.storage.server_monitor import ServerMonitor
from service.storage.sync import StoreSync

_RESULTS: Final = ("ok", "failed")
_OUTCOMES: Final = ("delivered", "failed", "dropped")
_VERDICTS: Final = ("accepted", "refused")
_NO_SOURCE: Final = "none"
"""The label of quotes without a source."""


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an Accept header selects, and its Content-Type."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def register(
    registry: CollectorRegistry,
    memory: MemoryState,
    store_sync: StoreSync,
    monitor: ServerMonitor,
    election: LeaderElection,
    counters: Counters,
    streams: Callable[[], int],
    webhooks: Mapping[str, WebhookStatus],
    now: Clock,
) -> None:
    """Register the metrics of one instance; `streams` returns the number of open streams."""
    registry.register(_Gauges(memory, store_sync, election, streams))
    registry.register(ServerCollector(monitor))
    registry.register(_Counters(memory, counters))
    if webhooks:
        registry.register(_Webhooks(webhooks, counters, now))


class _Gauges(Collector):
    """Gauges: the current state."""

    def __init__(
        self, memory: MemoryState, store_sync: StoreSync, election: LeaderElection, streams: Callable[[], int]
    ) -> None:
        self._memory = memory
        self._store_sync = store_sync
        self._election = election
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "ticker_build",
            "Versions of the service and of Python.",
            value={"version": __version__, "python": platform.python_version()},
        )
        up = self._store_sync.error is None and self._election.error is None
        yield GaugeMetricFamily("ticker_store_up", "1 if the store is available, else 0.", value=up)
        is_leader = self._election.role is Role.LEADER
        yield GaugeMetricFamily("ticker_leader", "1 if this instance holds the leader lock, else 0.", value=is_leader)
        offset = GaugeMetricFamily(
            "ticker_clock_offset_seconds", "Offset of the local clock from the store's clock; positive if ahead."
        )
        if self._election.offset is not None:
            offset.add_metric([], self._election.offset.total_seconds())
        latency = GaugeMetricFamily("ticker_store_latency_seconds", "Latency of the store at the last ping.")
        if self._election.latency is not None:
            latency.add_metric([], self._election.latency)
        yield from (offset, latency)
        yield GaugeMetricFamily("ticker_streams_open", "Open event streams.", value=self._streams())
        yield from self._sources()
        yield from self._stored()
        yield from self._tickers()

    def _sources(self) -> Iterator[Metric]:
        success = GaugeMetricFamily(
            "ticker_source_last_success_timestamp_seconds",
            "Time of the last successful poll of the source.",
            labels=["source"],
        )
        fixing = GaugeMetricFamily(
            "ticker_source_last_fixing_timestamp_seconds",
            "Start of the effective date of the latest accepted fixing, in the source's time zone.",
            labels=["source"],
        )
        quarantined = GaugeMetricFamily(
            "ticker_quarantine_waiting",
            "Quarantined dates with rates that a ticker needs.",
            labels=["source"],
        )
        diverging = GaugeMetricFamily(
            "ticker_source_diverging",
            "Rates of the latest publication that a ticker needs and that contradict those of other banks.",
            labels=["source"],
        )
        missing = GaugeMetricFamily(
            "ticker_source_missing",
            "Currencies that a ticker needs and that the latest publication no longer quotes.",
            labels=["source"],
        )
        for key, source in self._memory.settings.polled.items():
            if succeeded_at := self._memory.states[key].succeeded_at:
                success.add_metric([key], succeeded_at.timestamp())
            if latest := self._memory.series(key).latest:
                fixing.add_metric([key], datetime.combine(latest.date, time(), source.timezone).timestamp())
            # What a bank has in quarantine that only validates others is in /health; it needs nobody.
            is_shown = bool(self._memory.settings.wanted(key))
            quarantined.add_metric([key], len(self._memory.suspicious(key)) if is_shown else 0)
            diverging.add_metric([key], len(self._memory.diverging(key)))
            missing.add_metric([key], len(self._memory.missing(key)))
        yield from (success, fixing, quarantined, diverging, missing)

    def _stored(self) -> Iterator[Metric]:
        fixings = GaugeMetricFamily("ticker_store_fixings", "Fixings of the source in the store.", labels=["source"])
        oldest = GaugeMetricFamily(
            "ticker_store_oldest_date_seconds",
            "Start of the oldest effective date of the source in the store, in UTC.",
            labels=["source"],
        )
        lost = GaugeMetricFamily(
            "ticker_store_fixings_lost",
            "Fixings that the store has lost since the start of this instance, and that were not restored.",
            labels=["source"],
        )
        inventory = self._store_sync.inventory
        for key in self._memory.settings.polled:
            count, day = inventory.count(key), inventory.oldest(key)
            if count is not None:
                fixings.add_metric([key], count)
                lost.add_metric([key], len(inventory.lost(key)))
            if day:
                oldest.add_metric([key], datetime.combine(day, time(), UTC).timestamp())
        durable = GaugeMetricFamily(
            "ticker_store_durable",
            "1 if the store has an append-only file and evicts nothing, 0 if not; absent if unknown.",
        )
        durability = self._store_sync.durability
        if durability.problems or None not in durability:
            durable.add_metric([], not durability.problems)
        yield from (fixings, oldest, lost, durable)

    def _tickers(self) -> Iterator[Metric]:
        statuses = GaugeMetricFamily(
            "ticker_status", "1 for the current status of the ticker, else 0.", labels=["ticker", "status"]
        )
        quotes = GaugeMetricFamily(
            "ticker_quotes",
            "Quotes by the priority of their source in the ticker, from 1; none: not available.",
            labels=["ticker", "choice"],
        )
        for ticker in self._memory.settings.tickers:
            snapshot = self._memory.snapshots.get(ticker.id)
            for status in Status:
                statuses.add_metric([ticker.id, status], snapshot is not None and snapshot.status is status)
            choices = Counter(quote.choice for quote in snapshot.quotes) if snapshot else Counter[int | None]()
            if snapshot is None:
                choices[None] = len(ticker.currencies)
            for choice in range(1, len(ticker.sources) + 1):
                quotes.add_metric([ticker.id, str(choice)], choices[choice])
            quotes.add_metric([ticker.id, _NO_SOURCE], choices[None])
        yield from (statuses, quotes)


class ServerCollector(Collector):
    """The store's server, its disk, its replicas and its Sentinels; what is unknown is absent."""

    def __init__(self, monitor: ServerMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        server, disk, sentinels = self._monitor.server, self._monitor.disk, self._monitor.sentinels
        yield _gauge("ticker_store_memory_bytes", "Memory of the store that counts against its limit.", server.memory)
        yield _gauge(
            "ticker_store_memory_limit_bytes",
            "Memory limit of the store (maxmemory); absent without one.",
            server.memory_limit,
        )
        yield _gauge(
            "ticker_store_saved",
            "1 if the store has saved its data at the last attempts, 0 if the disk refused; absent if unknown.",
            server.is_saved,
        )
        yield _gauge(
            "ticker_store_disk_size_bytes",
            "Size of the disk of the embedded store; absent for other stores.",
            disk and disk.size,
        )
        yield _gauge(
            "ticker_store_disk_free_bytes",
            "Free space on the disk of the embedded store; absent for other stores.",
            disk and disk.free,
        )
        yield _gauge("ticker_store_replicas", "Replicas that are connected to the store.", server.replicas)
        yield _gauge(
            "ticker_store_replicas_known",
            "Replicas that the Sentinels know of, running or not; absent without Sentinels.",
            sentinels and sentinels.replicas,
        )
        yield _gauge(
            "ticker_store_sentinels",
            "Sentinels in the store's URL; absent without.",
            sentinels and sentinels.configured,
        )
        yield _gauge(
            "ticker_store_sentinels_up",
            "Sentinels that respond and know the master; absent without Sentinels.",
            sentinels and sentinels.responding,
        )


def _gauge(name: str, documentation: str, value: float | None) -> GaugeMetricFamily:
    """Return a gauge without labels; without a sample if the value is None."""
    family = GaugeMetricFamily(name, documentation)
    if value is not None:
        family.add_metric([], value)
    return family


class _Counters(Collector):
    """Counters and histograms since the start of the process."""

    def __init__(self, memory: MemoryState, counters: Counters) -> None:
        self._memory = memory
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        polls = CounterMetricFamily("ticker_polls", "Polls by source and result.", labels=["source", "result"])
        polling = HistogramMetricFamily("ticker_poll_duration_seconds", "Duration of polls.", labels=["source"])
        fixings = CounterMetricFamily(
            "ticker_fixings",
            "Fixings by verdict: accepted (including revisions), or refused (quarantined).",
            labels=["source", "verdict"],
        )
        for key in self._memory.settings.polled:
            if key in self._memory.settings.scheduled:
                for result in _RESULTS:  # exported from 0 on, so that the first failure is an increase
                    polls.add_metric([key, result], self._counters.polls[key, result])
            for verdict in _VERDICTS:
                fixings.add_metric([key, verdict], self._counters.fixings[key, verdict])
            if key in self._counters.polling:
                _add(polling, key, self._counters.polling[key])
        yield from (polls, polling, fixings)
        yield CounterMetricFamily(
            "ticker_polling_crashes",
            "Crashes of polling as a whole, after which it was restarted.",
            value=self._counters.polling_crashes,
        )
        yield CounterMetricFamily(
            "ticker_pages_rendered",
            "Pages rendered (cache misses).",
            value=self._counters.rendered,
        )
        requests = CounterMetricFamily("ticker_requests", "Requests by route and status.", labels=["route", "status"])
        durations = HistogramMetricFamily(
            "ticker_request_duration_seconds",
            "Duration of requests to routes whose responses are not cached.",
            labels=["route"],
        )
        for route, replies in self._counters.replies.items():
            for code, count in replies.statuses.items():
                requests.add_metric([route, str(code)], count)
            if any(replies.durations.counts):
                _add(durations, route, replies.durations)
        yield from (requests, durations)


class _Webhooks(Collector):
    """Queues and deliveries of webhooks."""

    def __init__(self, webhooks: Mapping[str, WebhookStatus], counters: Counters, now: Clock) -> None:
        self._webhooks = webhooks
        self._counters = counters
        self._now = now

    def collect(self) -> Iterator[Metric]:
        deliveries = CounterMetricFamily(
            "ticker_webhook_deliveries",
            "Deliveries by outcome: delivered, failed (to be repeated), or dropped.",
            labels=["webhook", "outcome"],
        )
        waiting = GaugeMetricFamily("ticker_webhook_waiting", "Events that wait for delivery.", labels=["webhook"])
        oldest = GaugeMetricFamily(
            "ticker_webhook_oldest_seconds", "Age of the oldest event that waits, 0 if none does.", labels=["webhook"]
        )
        for name, webhook in self._webhooks.items():
            for outcome in _OUTCOMES:
                deliveries.add_metric([name, outcome], self._counters.deliveries[name, outcome])
            age = (self._now() - webhook.first.event.time).total_seconds() if webhook.first else 0
            waiting.add_metric([name], webhook.waiting)
            oldest.add_metric([name], max(0, age))
        yield from (deliveries, waiting, oldest)


def _add(family: HistogramMetricFamily, label: str, durations: Histogram) -> None:
    bounds = (*map(str, durations.bounds), "+Inf")
    buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
    family.add_metric([label], buckets, durations.total)
