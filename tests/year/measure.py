"""Compare what the instances show with the truth, and evaluate the alert rules on their metrics."""

import ctypes
import gc
import os
import re
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from service.domain.snapshot import Snapshot, Status
from service.settings import Settings
from tests.support.promtool import firing
from tests.year.simulation import Instance
from tests.year.truth import DAY, Calendar, Incident, Truth

_METRICS: Final = re.compile(
    r"ticker_(status|quotes|quarantine_waiting|source_\w+|polls_total|leader|store_up|store_durable|store_fixings\w*"
    r"|clock_offset_seconds|polling_crashes_total)"
)
_PER_INSTANCE: Final = re.compile(r"ticker_(leader|store_up|clock_offset_seconds|polling_crashes_total)|up")
"""Metrics of the rules about instances, which are evaluated every minute."""
_INSTANCE_ALERTS: Final = frozenset(
    ("NoInstance", "InstanceDown", "NoSpareInstance", "NoLeader", "PollingCrashed", "TwoLeaders", "StoreDown",
     "ClockWrong")
)  # fmt: skip
_OVERLAP: Final = 2 * DAY
"""How far before a week its rules are evaluated: longer than the longest `for`."""
_SETTLED: Final = timedelta(hours=1)
"""Time after an instance's clock was wrong from which on its statuses are judged again."""
_STATUS: Final = (Status.CURRENT, Status.LATE, Status.LATE, Status.STALE)
"""Status by the number of missed publications."""


@dataclass
class Firing:
    """An alert that fired, from its first hour to its last."""

    alert: str
    labels: Mapping[str, str]
    begin: datetime
    end: datetime
    incident: Incident | None = None

    def __str__(self) -> str:
        labels = " ".join(value for key, value in self.labels.items() if key in ("ticker", "source", "instance"))
        return f"{self.alert} {labels} {self.begin:%F %H:%M} to {self.end:%F %H:%M}"


class Alerts:
    """Metrics of the instances, kept for a week, and the alerts that they fire."""

    def __init__(self, folder: Path, settings: Settings, calendar: Calendar, begin: datetime) -> None:
        self._folder, self._settings, self._calendar = folder, settings, calendar
        self._begin = self._until = begin
        self._points = defaultdict[str, list[tuple[datetime, float | None]]](list)
        self.fired: list[Firing] = []
        self._signatures: dict[str, object] = {}

    def scrape(self, instance: Instance, now: datetime) -> None:
        """Keep the present metrics of an instance, where they have changed; none while it is down."""
        signature, label = _signature(instance), f'job="ticker",instance="{instance.name}"'
        if self._signatures.get(instance.name) == signature:
            self._note_successes(instance, label, now)
            return
        self._signatures[instance.name] = signature
        present = {f"up{{{label}}}": float(instance.is_up)}
        if instance.is_up:
            for family in instance.registry.collect():
                for sample in family.samples:
                    if _METRICS.fullmatch(sample.name):
                        labels = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                        present[f"{sample.name}{{{label}{labels}}}"] = sample.value
        else:
            present |= dict.fromkeys(self._of(instance.name), None)  # type: ignore[arg-type]
        for name, value in present.items():
            points = self._points[name]
            if not points or points[-1][1] != value:
                points.append((now, value))

    def _note_successes(self, instance: Instance, label: str, now: datetime) -> None:
        """Keep the times of the last polls once an hour: nothing else has changed."""
        for key, state in instance.memory.states.items() if instance.is_up else ():
            points = self._points[f'ticker_source_last_success_timestamp_seconds{{{label},source="{key}"}}']
            if state.succeeded_at and (not points or now - points[-1][0] >= timedelta(hours=1)):
                points.append((now, state.succeeded_at.timestamp()))

    def _of(self, name: str) -> list[str]:
        return [series for series in self._points if f'instance="{name}"' in series and not series.startswith("up{")]

    def evaluate(self, end: datetime) -> None:
        """Evaluate the rules up to `end`, and forget what later evaluations do not need.

        Every ten minutes; around incidents of instances and the store every minute, by the metrics of instances.
        """
        begin = self._begin
        self._evaluate(begin, end, 10)
        for first, last in sorted(set(self._windows(begin, end))):
            if first >= begin and self._until < last <= end:
                self._evaluate(first, last, 1)
        self._until = end
        self._begin = keep = max(begin, end - _OVERLAP)
        for points in self._points.values():
            while len(points) > 1 and points[1][0] <= keep:
                points.pop(0)
            points[0] = (max(points[0][0], keep), points[0][1])

    def _windows(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield full hours around incidents of instances and the store."""
        for day in range((end - begin).days + 2):
            for incident in self._calendar.by_day.get((begin + day * DAY).date(), ()):
                if incident.kind in ("store", "restart", "crash", "clock"):
                    first = incident.begin - timedelta(minutes=10)
                    hours = (incident.end - first) // timedelta(hours=1) + 1
                    yield first, first + timedelta(hours=hours)

    def _evaluate(self, begin: datetime, end: datetime, minutes: int) -> None:
        step, is_fine = timedelta(minutes=minutes), minutes == 1
        series = {
            name: " ".join(_values(points, begin, end, step))
            for name, points in self._points.items()
            if points[0][0] <= end and (not is_fine or _PER_INSTANCE.match(name))
        }
        hours = (end - begin) // timedelta(hours=1)
        for hour, labels in firing(self._folder, series, minutes, hours, begin.timestamp()):
            if labels["alertname"] in _INSTANCE_ALERTS or not is_fine:
                self._fired(labels["alertname"], labels, begin + timedelta(hours=hour))

    def _fired(self, alert: str, labels: Mapping[str, str], hour: datetime) -> None:
        for known in self.fired:
            if known.alert == alert and known.labels == labels and hour - known.end <= timedelta(hours=1):
                known.end = max(known.end, hour)
                return
        self.fired.append(Firing(alert, labels, hour - timedelta(hours=1), hour, self._reason(alert, labels, hour)))

    def _reason(self, alert: str, labels: Mapping[str, str], hour: datetime) -> Incident | None:
        """Return the incident that justifies an alert; None if it needs nobody."""
        tickers = {ticker.id: ticker.sources for ticker in self._settings.tickers}
        for incident in (
            found for days in (0, -1) for found in self._calendar.by_day.get((hour + days * DAY).date(), ())
        ):
            if alert not in incident.justifies or incident.begin > hour:
                continue
            about = {*labels.values(), *tickers.get(labels.get("ticker", ""), ())}
            if not incident.subject or incident.subject in about or incident.kind == "clock":
                return incident
        return None


def _signature(instance: Instance) -> object:
    """Return what the metrics depend on: if it is the same, they are, but for the times of the last polls."""
    if not instance.is_up:
        return None
    memory, election = instance.memory, instance.election
    series = tuple(id(memory.series(key)) for key in memory.settings.polled)
    waiting = tuple(tuple(memory.quarantine[key].waiting) for key in memory.settings.polled)
    shown = tuple(id(snapshot) for snapshot in memory.snapshots.values())
    lost = tuple(len(instance.sync.inventory.lost(key)) for key in memory.settings.polled)
    failing = tuple(state.failing_since is None for state in memory.states.values())
    errors = (instance.sync.error is None, election.error is None, election.role, instance.clock.skew)
    return series, waiting, shown, lost, failing, errors


def _values(
    points: list[tuple[datetime, float | None]], begin: datetime, end: datetime, step: timedelta
) -> Iterator[str]:
    """Yield the values of a series in promtool's notation, one for each step."""
    changes = [(max(0, -((begin - at) // step)), value) for at, value in points]
    total = int((end - begin) / step) + 1
    if changes[0][0] > 0:
        yield f"_x{changes[0][0]}"
    for index, (first, value) in enumerate(changes):
        last = changes[index + 1][0] if index + 1 < len(changes) else total
        if last > first:
            yield f"_x{last - first}" if value is None else f"{value:.15g}x{last - first - 1}"


@dataclass
class Statuses:
    """Time that each ticker spent in each status, and how much of it was false."""

    truth: Truth
    spent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Seconds by ticker and status, of all instances together."""
    false: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_decree: Counter[str] = field(default_factory=Counter)
    """Seconds for which a ticker was late on a day off that no calendar has."""
    examples: list[str] = field(default_factory=list)
    wrong_rates: list[str] = field(default_factory=list)
    _checked: dict[str, datetime] = field(default_factory=dict)
    _wrong_clock: dict[str, datetime] = field(default_factory=dict)

    def check(self, instance: Instance, now: datetime) -> None:
        """Judge what an instance shows now, for the time since the last check."""
        seconds = (now - self._checked.get(instance.name, now)).total_seconds()
        self._checked[instance.name] = now
        if instance.clock.skew:
            self._wrong_clock[instance.name] = now
        if not instance.is_up or instance.clock.skew:
            return
        settled = now - self._wrong_clock.get(instance.name, now - DAY) > _SETTLED
        for snapshot in instance.memory.snapshots.values():
            self.spent[snapshot.id, snapshot.status] += int(seconds)
            problem = self._problem(snapshot, now) if settled else None
            if problem:
                self._blame(snapshot, instance, now, seconds, problem)

    def _blame(self, snapshot: Snapshot, instance: Instance, now: datetime, seconds: float, problem: str) -> None:
        sources = [quote.source for quote in snapshot.quotes]
        is_only_late = snapshot.status is Status.LATE and all(sources)
        if is_only_late and any(self._is_decreed(source, now) for source in sources if source):
            self.by_decree[snapshot.id] += int(seconds)
            return
        self.false[snapshot.id, snapshot.status] += int(seconds)
        if len(self.examples) < 400:
            self.examples.append(f"{now:%F %H:%M} {instance.name} {snapshot.id} {snapshot.status}: {problem}")

    def _is_decreed(self, source: str, now: datetime) -> bool:
        return any(timedelta() <= now.date() - day <= 4 * DAY for day in self.truth.banks[source].decreed)

    def _problem(self, snapshot: Snapshot, now: datetime) -> str | None:
        """Return what is false about a snapshot: its status by the dates that it shows, or dates that are too old."""
        worst = 0
        for quote in snapshot.quotes:
            if quote.source is None or quote.date is None:
                return f"{quote.code} has no rate: {quote.reason}"
            worst = max(worst, self.truth.banks[quote.source].missed(quote.date, now))
        if snapshot.status is not _STATUS[min(worst, 3)]:
            dates = {f"{quote.source} {quote.date}" for quote in snapshot.quotes}
            return f"{worst} publications are missing from {', '.join(sorted(dates))}"
        for quote in snapshot.quotes:
            if quote.source and quote.date and (problem := self._outdated(quote.source, quote.date, now)):
                return f"{quote.code}: {problem}"
        return None

    def _outdated(self, source: str, shown: date, now: datetime) -> str | None:
        """Return that a publication is not shown although the bank serves it for longer than the longest interval."""
        bank = self.truth.banks[source]
        longest = bank.source.sweep + timedelta(minutes=30)
        since = now - longest
        latest = bank.published(since)[-1]
        if latest.effective <= shown:
            return None
        if any(bank.fault(since + part * (longest / 24)) for part in range(-24, 25)):
            return None
        if latest.versions[-1].at > since or len(latest.versions) > 1:
            return None
        return f"{source} serves {latest.effective} since {latest.versions[0].at:%F %H:%M}, {shown} is shown"

    def check_rates(self, instance: Instance, now: datetime) -> None:
        """Check that each shown rate is one that its bank has published for its date, and no wrong one."""
        for snapshot in instance.memory.snapshots.values():
            for quote in snapshot.quotes:
                if not quote.source or not quote.date or quote.rate is None:
                    continue
                bank = self.truth.banks[quote.source]
                publication = bank.publication_for(quote.date)
                assert publication
                rates = {**self.truth.rates(quote.source, publication.day, None), bank.source.base: 1.0}
                expected = rates[quote.code] / rates[snapshot.base]
                if quote.source in ("ecb", "boe"):
                    expected = 1 / expected
                if abs(float(quote.rate) / expected - 1) > 1e-3 or publication.effective != quote.date:
                    self.wrong_rates.append(f"{now:%F %H:%M} {instance.name} {snapshot.id} {quote.code} {quote.source} "
                                            f"{quote.date}: {quote.rate} instead of {expected:.6g}")  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Memory of the process at a time of the year, after a full garbage collection.

    `in_use` is what Python's objects and C libraries use, in MB. `resident` also has what allocators keep for reuse.
    """

    at: datetime
    objects: int
    in_use: float
    resident: float

    @classmethod
    def measure(cls, now: datetime) -> "Memory":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        in_use = (_bytes_of_objects() + _bytes_of_malloc()) / 1e6
        return cls(now, len(gc.get_objects()), in_use, pages * resource.getpagesize() / 1e6)


def _bytes_of_objects() -> int:
    """Return what Python's allocator has in use. It says so on the standard error of the process only."""
    with TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        match = re.search(rb"# bytes in allocated blocks += +([\d,]+)", file.read())
    assert match
    return int(match[1].replace(b",", b""))


_MALLINFO: Final = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


IS_MEASURABLE: Final = hasattr(ctypes.CDLL(None), "mallinfo2") and os.environ.get("PYTHONMALLOC") is None
"""Whether the memory in use can be read."""


class _MallInfo(ctypes.Structure):
    """See mallinfo(3)."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLINFO.split())


def _bytes_of_malloc() -> int:
    """Return what glibc has in use, for everything larger than 512 bytes, and for libraries."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.hblkhd + info.uordblks)


def peak() -> float:
    """Return the largest memory of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
