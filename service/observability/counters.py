"""What happened since the start, in plain numbers: polls, fixings, replies.

Whoever works increments one; `service.web.ops.collector` names the numbers at a scrape. So counting costs
no more than an addition, and nothing here grows with the number of different requests.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

POLLS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REPLIES: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""The upper bounds, in seconds: up to ten years that are read from the store."""


class Histogram:
    """A histogram: how many took up to each of the bounds (seconds), and how long all took together."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, each without those below it; the last has what took longer than any bound."""
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


@dataclass
class RouteCounters:
    """Of one route: how many with which status, and how long they took where each takes work."""

    statuses: Counter[int] = field(default_factory=Counter)
    durations: Histogram = field(default_factory=lambda: Histogram(REPLIES))


@dataclass
class Counters:
    """Of one instance. Keys are of the settings and of the code, never of a request."""

    polls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By source and result: `ok` or `failed`."""
    polling: dict[str, Histogram] = field(default_factory=dict)
    """By source."""
    fixings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By source and verdict: `accepted` or `refused`; one that is refused at every poll counts once."""
    rendered: int = 0
    """Pages that did not lie ready."""
    replies: dict[str, RouteCounters] = field(default_factory=dict)
    """By route, as it is written in the code."""

    def polled(self, source: str, result: str, seconds: float) -> None:
        self.polls[source, result] += 1
        self.polling.setdefault(source, Histogram(POLLS)).add(seconds)

    def of_route(self, route: str) -> RouteCounters:
        return self.replies.setdefault(route, RouteCounters())
