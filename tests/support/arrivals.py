"""Simulated publications of a source with scattered arrival, polled as the scheduler does: delays and requests."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from service.domain.fixing import Fixing
from service.domain.publication_schedule import is_publication_day, publication_of, today
from service.polling.poller import Poller
from service.polling.scheduler import JITTER
from service.settings import Settings
from service.sources.adapter import SourceAdapter
from service.state.memory import MemoryState, SourceState
from tests.support.fixings import rates

if TYPE_CHECKING:
    from service.clock import Clock
    from service.state.publisher import SnapshotPublisher
    from service.storage.sync import StoreSync

SCATTER = timedelta(minutes=4)
"""Standard deviation of the time of a publication."""
LATE_SHARE = 0.03
"""Share of publications that are up to an hour later than usual."""


@dataclass
class Simulation:
    """One source over some weeks; it begins without any observation.

    `delays` are the times from a publication to the poll that finds it, `requests` the number of requests by date.
    """

    settings: Settings
    key: str
    adapter: SourceAdapter
    seed: int = 1
    is_adaptive: bool = True
    """Whether the time of publications is learned; otherwise only `every` and `sweep` count."""
    delays: list[timedelta] = field(default_factory=list)
    requests: Counter[date] = field(default_factory=Counter)
    lost: int = 0
    """Publications that were overtaken by the next one before a poll requested them."""
    now: datetime = datetime(2026, 3, 2, tzinfo=UTC)

    def run(self, weeks: int) -> None:
        source, memory = self.settings.polled[self.key], MemoryState(self.settings)
        poller = Poller(
            memory,
            cast("StoreSync", SimpleNamespace()),
            cast("SnapshotPublisher", SimpleNamespace()),
            {},
            {},
            cast("Clock", lambda: self.now),
        )
        random, end = Random(self.seed), self.now + timedelta(weeks=weeks)  # noqa: S311 - reproducible
        publications = self._publications(random, end)
        if not self.is_adaptive:
            memory.expected_arrival = lambda *_: None  # type: ignore[method-assign]
        while self.now < end:
            awaited = poller._awaited_dates(self.key)
            since, until = awaited or poller._requested_dates(self.key)
            if not awaited:
                poller._full_polls[self.key] = self.now
            by_day = "by_day" in self.adapter.fetch.__code__.co_names
            self.requests[today(source, self.now)] += (until - since).days + 1 if by_day else 1
            for fixing, published_at in publications:
                is_known = any(known.date == fixing.date for known in memory.series(self.key).fixings[-5:])
                if published_at <= self.now and since <= fixing.date <= until and not is_known:
                    memory.add(replace(fixing, fetched_at=self.now))
                    self.delays.append(self.now - published_at)
            known = {fixing.date for fixing in memory.series(self.key).fixings}
            overtaken = [fixing.date for fixing, _ in publications if fixing.date <= max(known, default=date.min)]
            self.lost += len(set(overtaken) - known)
            publications = [each for each in publications if each[0].date not in overtaken]
            memory.states[self.key] = SourceState(self.now, self.now)
            due = memory.next_poll(self.key, self.now)
            self.now = due + random.uniform(0, 1) * min(JITTER, (due - self.now) / 2)

    def _publications(self, random: Random, end: datetime) -> list[tuple[Fixing, datetime]]:
        """Return the publications with their times, around a usual time in the window."""
        source = self.settings.polled[self.key]
        publications = list[tuple[Fixing, datetime]]()
        usual_share = random.uniform(0.1, 0.6)
        first = today(source, self.now) - timedelta(days=3)
        for number in range((end - self.now).days + 3):
            day = first + timedelta(days=number)
            publication = publication_of(source, day)
            if publication is None or not is_publication_day(
                source, publication.opens.astimezone(source.timezone).date()
            ):
                continue
            delay = (publication.closes - publication.opens) * usual_share + SCATTER * random.gauss(0, 1)
            if random.random() < LATE_SHARE:
                delay += timedelta(hours=random.random())
            at = max(publication.opens, publication.opens + delay)
            code = "USD" if source.base != "USD" else "EUR"
            fixing = Fixing(
                self.key, source.base, day, rates({code: f"{400 + number % 50}.50"}), "http://bank/", at, str(day)
            )
            publications.append((fixing, at))
        return publications
