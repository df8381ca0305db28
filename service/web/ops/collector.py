"""Every metric, by name: what is known is read when somebody asks, and costs nothing in between.

This is loaded at the first scrape, so that whoever does not scrape does not pay for it. Nothing is registered with the
process: each instance of the service has a registry of its own.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, time
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
from service.cluster.leader_election import LeaderElection, Role
from service.domain.snapshot import Status
from service.observability.counters import Counters, Histogram
from service.state.memory import MemoryState
from service.storage.sync import StoreSync

_RESULTS: Final = ("ok", "failed")
_VERDICTS: Final = ("accepted", "refused")
_NOBODY: Final = "none"
"""The choice of a quote that no source has."""


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an Accept header asks for, and its Content-Type."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def register(
    registry: CollectorRegistry,
    memory: MemoryState,
    store_sync: StoreSync,
    election: LeaderElection,
    counters: Counters,
    streams: Callable[[], int],
) -> None:
    """Add the metrics of one instance; `streams` tells how many are open."""
    registry.register(_Known(memory, store_sync, election, streams))
    registry.register(_Happened(memory, counters))


class _Known(Collector):
    """How things stand."""

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
            "What runs here.",
            value={"version": __version__, "python": platform.python_version()},
        )
        up = self._store_sync.error is None and self._election.error is None
        yield GaugeMetricFamily("ticker_store_up", "1 while the store does what it is asked, else 0.", value=up)
        leads = self._election.role is Role.LEADER
        yield GaugeMetricFamily("ticker_leader", "1 on the instance that holds the leader's lock, else 0.", value=leads)
        offset = GaugeMetricFamily("ticker_clock_offset_seconds", "How far the clock here is ahead of the store's.")
        if self._election.offset is not None:
            offset.add_metric([], self._election.offset.total_seconds())
        latency = GaugeMetricFamily("ticker_store_latency_seconds", "How long the store took to answer, last.")
        if self._election.latency is not None:
            latency.add_metric([], self._election.latency)
        yield from (offset, latency)
        yield GaugeMetricFamily("ticker_streams_open", "Readers that hold a stream open.", value=self._streams())
        yield from self._sources()
        yield from self._tickers()

    def _sources(self) -> Iterator[Metric]:
        success = GaugeMetricFamily(
            "ticker_source_last_success_timestamp_seconds",
            "When a poll of the source last went well.",
            labels=["source"],
        )
        fixing = GaugeMetricFamily(
            "ticker_source_last_fixing_timestamp_seconds",
            "The beginning of the effective date of the latest accepted fixing, where the source is.",
            labels=["source"],
        )
        waiting = GaugeMetricFamily(
            "ticker_quarantine_waiting",
            "Dates in quarantine with rates that a ticker needs.",
            labels=["source"],
        )
        diverging = GaugeMetricFamily(
            "ticker_source_diverging",
            "Rates of the latest publication that a ticker needs and other banks refute.",
            labels=["source"],
        )
        missing = GaugeMetricFamily(
            "ticker_source_missing",
            "Currencies that a ticker needs and the latest publication no longer quotes.",
            labels=["source"],
        )
        for key, source in self._memory.settings.polled.items():
            if at := self._memory.states[key].succeeded_at:
                success.add_metric([key], at.timestamp())
            if latest := self._memory.series(key).latest:
                fixing.add_metric([key], datetime.combine(latest.date, time(), source.timezone).timestamp())
            needed = [one for one in self._memory.pending_quarantine(key) if self._memory.needed_reasons(key, one)]
            waiting.add_metric([key], len(needed))
            diverging.add_metric([key], len(self._memory.diverging(key)))
            missing.add_metric([key], len(self._memory.missing(key)))
        yield from (success, fixing, waiting, diverging, missing)

    def _tickers(self) -> Iterator[Metric]:
        status = GaugeMetricFamily(
            "ticker_status", "1 for the status that the ticker has, else 0.", labels=["ticker", "status"]
        )
        quotes = GaugeMetricFamily(
            "ticker_quotes",
            "Quotes by the place of their source in the ticker's list, from 1; none: no source has it.",
            labels=["ticker", "choice"],
        )
        for ticker in self._memory.settings.tickers:
            snapshot = self._memory.snapshots.get(ticker.id)
            for one in Status:
                status.add_metric([ticker.id, one], snapshot is not None and snapshot.status is one)
            choices = Counter(quote.choice for quote in snapshot.quotes) if snapshot else Counter[int | None]()
            if snapshot is None:
                choices[None] = len(ticker.currencies)
            for choice in range(1, len(ticker.sources) + 1):
                quotes.add_metric([ticker.id, str(choice)], choices[choice])
            quotes.add_metric([ticker.id, _NOBODY], choices[None])
        yield from (status, quotes)


class _Happened(Collector):
    """What came to pass since the start."""

    def __init__(self, memory: MemoryState, counters: Counters) -> None:
        self._memory = memory
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        polls = CounterMetricFamily("ticker_polls", "Polls by how they went.", labels=["source", "result"])
        polling = HistogramMetricFamily("ticker_poll_duration_seconds", "How long polls took.", labels=["source"])
        fixings = CounterMetricFamily(
            "ticker_fixings",
            "Fixings accepted, revisions included, and refused: each of these went into quarantine.",
            labels=["source", "verdict"],
        )
        for key in self._memory.settings.polled:
            for result in _RESULTS:  # from 0 on, so that the first failure is a rise
                polls.add_metric([key, result], self._counters.polls[key, result])
            for verdict in _VERDICTS:
                fixings.add_metric([key, verdict], self._counters.fixings[key, verdict])
            if key in self._counters.polling:
                _add(polling, key, self._counters.polling[key])
        yield from (polls, polling, fixings)
        yield CounterMetricFamily(
            "ticker_pages_rendered",
            "Pages that did not lie ready; the rest of the requests cost none.",
            value=self._counters.rendered,
        )
        requests = CounterMetricFamily(
            "ticker_requests", "Requests by route and status of the reply.", labels=["route", "status"]
        )
        durations = HistogramMetricFamily(
            "ticker_request_duration_seconds",
            "How long replies took that are worked out at each request; what lies ready is not timed.",
            labels=["route"],
        )
        for route, replies in self._counters.replies.items():
            for code, count in replies.statuses.items():
                requests.add_metric([route, str(code)], count)
            if any(replies.durations.counts):
                _add(durations, route, replies.durations)
        yield from (requests, durations)


def _add(family: HistogramMetricFamily, label: str, durations: Histogram) -> None:
    bounds = (*map(str, durations.bounds), "+Inf")
    buckets = list(zip(bounds, map(float, accumulate(durations.counts)), strict=True))
    family.add_metric([label], buckets, durations.total)
