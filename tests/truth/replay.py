"""Replay of publications through the production code: a board, the poller's choice of dates, judging, snapshots."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from service.domain.fixing import Fixing, RateTable
from service.domain.snapshot import Quote, Snapshot
from service.polling.poller import Poller
from service.settings import Settings, load
from service.state.memory import KEEP, MemoryState
from service.state.selection import Evidence, snapshot
from service.validation.rules import Judgement, judge_all
from tests.truth.histories import SUBJECT, History, Rates

if TYPE_CHECKING:
    from service.clock import Clock
    from service.state.publisher import SnapshotPublisher
    from service.storage.sync import StoreSync

FIVE, ALL = "five", "all"
Document = Rates | None
"""What a bank says for a date; None: nothing."""
Said = Mapping[date, Document]
"""What a bank says other than the truth, by date."""


_compared: dict[tuple[int, int], tuple[bool, RateTable, RateTable]] = {}


def remember_carry_overs() -> None:
    """Compare each two documents once: that is pure, and is most of the time of a replay otherwise."""
    compare = RateTable.carries_over

    def remembering(self: RateTable, other: RateTable) -> bool:
        found = _compared.get((id(self), id(other)))
        if found is None:
            found = _compared[id(self), id(other)] = (compare(self, other), self, other)
        return found[0]

    RateTable.carries_over = remembering  # type: ignore[method-assign]


@lru_cache(maxsize=1)
def _defaults() -> Settings:
    return load(environ={})


@lru_cache(maxsize=64)
def settings(name: str, base: str, five: tuple[str, ...], codes: tuple[str, ...], bases: tuple[str, ...]) -> Settings:
    """Return settings with the subject and witnesses of these bases, judged as in the default configuration.

    The subject has the known breaks of its bank.
    """
    real = _defaults().sources[name]
    keys = (SUBJECT, *(f"w{number}" for number in range(1, len(bases) + 1)))
    common: dict[str, Any] = {
        "url": "https://bank.example/rates",
        "timezone": "UTC",
        "window": "09:00-11:00",
        "effective": "same-day",
        "ahead": 0,
        "calendar": real.calendar,
        "days": real.days,
        "breaks": real.breaks,
    }
    sources: dict[str, Any] = {
        key: {"name": key, "base": one, **common} for key, one in zip(keys, (base, *bases), strict=True) if one
    }
    sources[SUBJECT]["not_compared"] = real.not_compared
    return Settings.model_validate(
        {
            "acceptance": _defaults().acceptance,
            "sources": sources,
            "tickers": [
                {"id": FIVE, "base": base, "currencies": five, "sources": list(sources)},
                {"id": ALL, "base": base, "currencies": codes, "sources": list(sources)},
            ],
        }
    )


@dataclass
class Replay:
    """A service with a subject and some witnesses, for which time passes as it is told.

    `codes` are the currencies of the ticker that shows all. With `trusting`, nothing is judged: to test the tool.
    """

    history: History
    witnesses: Sequence[str]
    codes: tuple[str, ...]
    trusting: bool = False
    memory: MemoryState = field(init=False)
    judged: list[Judgement] = field(default_factory=list)
    """Judgements of the last poll."""
    _poller: Poller = field(init=False)
    _now: datetime = datetime(1999, 1, 1, tzinfo=UTC)
    _fixings: dict[tuple[str, date], tuple[Rates, Fixing]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _compared.clear()
        form = self.history.form
        bases = tuple(one.base if one.key in self.witnesses else "" for one in form.witnesses)
        self.memory = MemoryState(settings(form.source, form.base, form.five, self.codes, bases))
        self._poller = Poller(
            self.memory,
            cast("StoreSync", SimpleNamespace()),
            cast("SnapshotPublisher", SimpleNamespace()),
            {},
            {},
            cast("Clock", lambda: self._now),
        )

    @property
    def sources(self) -> tuple[str, ...]:
        return (SUBJECT, *self.witnesses)

    def warm_up(self, first: int, last: int, absent: Collection[date] = ()) -> None:
        """Take in honest publications without judging them, both indices included."""
        for key in self.sources:
            told = [
                at for at in range(max(0, first), last + 1) if key != SUBJECT or self.history.dates[at] not in absent
            ]
            self.memory.reset(
                key, [self._fixing(key, self.history.dates[at], self.history.truth(key, at)) for at in told]
            )

    def day(
        self,
        at: int,
        answers: Mapping[str, Sequence[Said]],
        *,
        more: bool = False,
        before_witnesses: Callable[[], None] = lambda: None,
    ) -> None:
        """Let one publication day pass: poll the subject, the witnesses, the subject again.

        `answers` has for a source what it says other than the truth, one a poll. With `more` it answers with all of
        that, however old, else as it is asked. `before_witnesses` is called after the first polls of the subject.
        """
        self._now = datetime.combine(self.history.dates[at], time(12), UTC)
        for said in answers.get(SUBJECT) or ({},):
            self.poll(SUBJECT, at, said, more=more)
        before_witnesses()
        for key in self.witnesses:
            for said in answers.get(key) or ({},):
                self.poll(key, at, said, more=more)
        if self.witnesses:
            self.poll(SUBJECT, at, (answers.get(SUBJECT) or ({},))[-1], more=more)

    def poll(self, key: str, at: int, said: Said, *, more: bool = False) -> None:
        """Poll one source, as `Poller` does it."""
        since, until = self._poller._first_date(key, self.history.dates[at]), self.history.dates[at]
        if more and said:
            since = min(since, *said)
        begin = self.history.at(since)
        true = {
            self.history.dates[one]: self.history.truth(key, one)
            for one in range(max(0, begin), at + 1)
            if self.history.dates[one] >= since
        }
        answer = {**true, **{day: rates for day, rates in said.items() if since <= day <= until}}
        read = [self._fixing(key, day, rates) for day in sorted(answer) if (rates := answer[day])]
        if not read:
            return
        told = self._poller._to_validate(key, read)
        if self.trusting:
            for fixing in told:
                self.memory.add(fixing)
            return
        self.judged = judge_all(told, self.memory.series(key), self.memory.context(key, self._now), KEEP)
        self.memory.apply_judgements(key, self.judged, self._now)
        days = {fixing.date for fixing in read}
        self.memory.quarantine[key].withdraw(max(since, min(days)), days, self._now)

    def quotes(self) -> dict[str, Sequence[Quote]]:
        """Return what each ticker shows now; nothing before its first snapshot."""
        memory = self.memory
        if self.trusting:
            series = {key: memory.series(key) for key in memory.settings.polled}
            believed = Evidence(jump=Fraction(10**12))
            made = (
                snapshot(one, memory.settings.polled, series, self._now, believed) for one in memory.settings.tickers
            )
            shown: Mapping[str, Snapshot] = {one.id: one for one in made if one}
        else:
            memory.refresh(self._now)
            shown = memory.snapshots
        return {name: shown[name].quotes if name in shown else () for name in (FIVE, ALL)}

    def _fixing(self, key: str, day: date, rates: Rates) -> Fixing:
        known = self._fixings.get((key, day))
        if known and known[0] is rates:
            return known[1]
        digest = sha256(f"{key} {day} {sorted(rates.items())}".encode()).hexdigest()
        fixing = Fixing(
            source=key,
            base=self.history.base(key),
            date=day,
            rates=rates,
            url="https://bank.example/rates",
            fetched_at=self._now,
            digest=digest,
            direction=self.history.direction(key),
        )
        self._fixings[key, day] = (rates, fixing)
        return fixing
