"""Replay of publications through the production code: selection of dates, validation, snapshots."""

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
"""A bank's rates of a date; None if it has none."""
WrongRates = Mapping[date, Document]
"""Rates that replace a bank's correct ones, by date."""


_compared: dict[tuple[int, int], tuple[bool, RateTable, RateTable]] = {}


def remember_carry_overs() -> None:
    """Cache comparisons of two documents: they are pure and take most of the time of a replay."""
    compare = RateTable.carries_over

    def cached(self: RateTable, other: RateTable) -> bool:
        result = _compared.get((id(self), id(other)))
        if result is None:
            result = _compared[id(self), id(other)] = (compare(self, other), self, other)
        return result[0]

    RateTable.carries_over = cached  # type: ignore[method-assign]


@lru_cache(maxsize=1)
def _defaults() -> Settings:
    return load(environ={})


@lru_cache(maxsize=64)
def settings(name: str, base: str, five: tuple[str, ...], codes: tuple[str, ...], bases: tuple[str, ...]) -> Settings:
    """Return settings with the subject and witnesses of these bases, validated as in the default configuration.

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
        key: {"name": key, "base": own, **common} for key, own in zip(keys, (base, *bases), strict=True) if own
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
    """A service with a subject and some witnesses, with simulated time.

    `codes` are the currencies of the ticker with all currencies. `trusting`: skip validation, to test the tool.
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
        bases = tuple(witness.base if witness.key in self.witnesses else "" for witness in form.witnesses)
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
        """Add correct publications without validation, both indices included."""
        for key in self.sources:
            indices = [
                at for at in range(max(0, first), last + 1) if key != SUBJECT or self.history.dates[at] not in absent
            ]
            self.memory.reset(
                key, [self._fixing(key, self.history.dates[at], self.history.truth(key, at)) for at in indices]
            )

    def day(
        self,
        at: int,
        responses: Mapping[str, Sequence[WrongRates]],
        *,
        more: bool = False,
        before_witnesses: Callable[[], None] = lambda: None,
    ) -> None:
        """Simulate one publication day: poll the subject, the witnesses, and the subject again.

        `responses` has the wrong rates of each source, one entry per poll. With `more` a response has all of them,
        however old, else only requested dates. `before_witnesses` is called after the first polls of the subject.
        """
        self._now = datetime.combine(self.history.dates[at], time(12), UTC)
        for wrong_rates in responses.get(SUBJECT) or ({},):
            self.poll(SUBJECT, at, wrong_rates, more=more)
        before_witnesses()
        for key in self.witnesses:
            for wrong_rates in responses.get(key) or ({},):
                self.poll(key, at, wrong_rates, more=more)
        if self.witnesses:
            self.poll(SUBJECT, at, (responses.get(SUBJECT) or ({},))[-1], more=more)

    def poll(self, key: str, at: int, wrong_rates: WrongRates, *, more: bool = False) -> None:
        """Poll one source as `Poller` does."""
        since, until = self._poller._first_date(key, self.history.dates[at]), self.history.dates[at]
        if more and wrong_rates:
            since = min(since, *wrong_rates)
        begin = self.history.at(since)
        true = {
            self.history.dates[index]: self.history.truth(key, index)
            for index in range(max(0, begin), at + 1)
            if self.history.dates[index] >= since
        }
        response = {**true, **{day: rates for day, rates in wrong_rates.items() if since <= day <= until}}
        parsed = [self._fixing(key, day, rates) for day in sorted(response) if (rates := response[day])]
        if not parsed:
            return
        selected = self._poller._to_validate(key, parsed)
        if self.trusting:
            for fixing in selected:
                self.memory.add(fixing)
            return
        self.judged = judge_all(selected, self.memory.series(key), self.memory.context(key, self._now), KEEP)
        self.memory.apply_judgements(key, self.judged, self._now)
        days = {fixing.date for fixing in parsed}
        self.memory.quarantine[key].withdraw(max(since, min(days)), days, self._now)

    def quotes(self) -> dict[str, Sequence[Quote]]:
        """Return the current quotes of each ticker; none before its first snapshot."""
        memory = self.memory
        if self.trusting:
            series = {key: memory.series(key) for key in memory.settings.polled}
            evidence = Evidence(jump=Fraction(10**12))
            built = (
                snapshot(ticker, memory.settings.polled, series, self._now, evidence)
                for ticker in memory.settings.tickers
            )
            shown: Mapping[str, Snapshot] = {item.id: item for item in built if item}
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
