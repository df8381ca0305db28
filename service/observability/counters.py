"""Counters since the start of the process: polls, fixings, responses.

Code increments plain numbers, and `service.web.ops.collector` exports them as metrics at a scrape. So counting costs
one addition, and memory does not grow with the number of distinct requests.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

POLLS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REPLIES: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Upper bounds of the buckets, in seconds; the largest are for ten years of rates that are read from the store."""


class Histogram:
    """A histogram of durations in seconds, with the given upper bounds of its buckets."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Counts per bucket, not cumulative; the last bucket has no upper bound."""
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass
class RouteCounters:
    """Counters of one route: responses by status, and durations if the route is not served from a cache."""

    statuses: Counter[int] = field(default_factory=Counter)
    durations: Histogram = field(default_factory=lambda: Histogram(REPLIES))


@dataclass
class Counters:
    """Counters of an instance. Keys come from the settings and the code, never from a request."""

    polls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Polls by source and result: `ok` or `failed`."""
    polling: dict[str, Histogram] = field(default_factory=dict)
    """Durations of polls by source."""
    fixings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Fixings by source and verdict: `accepted` or `refused`; one that is refused at every poll counts once."""
    polling_crashes: int = 0
    """Crashes of polling as a whole: bugs, after which it was restarted."""
    deliveries: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Events by webhook and outcome: `delivered`, `dropped`, or `failed` (an attempt that is repeated)."""
    rendered: int = 0
    """Pages rendered (cache misses)."""
    replies: dict[str, RouteCounters] = field(default_factory=dict)
    """By route, as written in the code."""

    def polled(self, source: str, result: str, seconds: float) -> None:
        """Count a poll and its duration in seconds."""
        self.polls[source, result] += 1
        self.polling.setdefault(source, Histogram(POLLS)).add(seconds)

    def of_route(self, route: str) -> RouteCounters:
        """Return the counters of a route; create them at the first call."""
        return self.replies.setdefault(route, RouteCounters())
