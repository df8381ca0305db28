"""Cross-check a rate with what other banks publish for the same days. Pure.

A rate is compared as a level: units of a base for one unit of a currency. Every other bank that quotes both gives an
*absolute* level. A bank that quotes the currency but not the base still gives a *relative* one: the currency's level
among the others of the same document.

Banks differ in what they measure and when. Publications are aligned by market day, and by a publication more where one
bank lags behind the other. What remains is a lasting offset and a spread, both estimated from the dates that the two
banks share. The tolerance follows them, within bounds.

Rates are compared as logarithms in floating point: a decision between "within 1 %" and "beyond" needs no exact
fraction, and a document of a hundred currencies is judged against sixteen banks within milliseconds. Nothing computed
here is ever shown as money.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import Enum
from functools import cached_property
from itertools import islice
from math import expm1, inf, log
from statistics import median
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from service.domain.fixing import Fixing, Quotation, Series
from service.domain.snapshot import Confidence

LEVELS_DIFFER: Final = frozenset({"XAU", "XAG", "XPT", "XPD", "CUP", "IRR", "LBP", "MMK", "SDG", "SYP", "VES"})
"""Only moves are compared of these: metals are quoted by the ounce or by the gram, and some countries have (or had)
several official rates at once, of which each bank takes its own."""
_WINDOW: Final = timedelta(days=5)
"""Publications of two banks that are further apart are not compared; those around a long weekend are."""
_AWAITED: Final = timedelta(days=14)
"""How long the last publication of a silent bank is still compared with."""
_HELD: Final = timedelta(days=3)
"""How far the days of two rates in quarantine may lie apart."""
_HISTORY: Final = 40
"""Dates that offset and spread are estimated from."""
_ENOUGH: Final = 8
"""Dates needed for that estimate."""
_KEPT_FITS: Final = 1000
"""Offsets and spreads that are kept for two sources: bounds the memory on a day on which all rates are odd."""
_SPREADS: Final = 6
"""Spreads (standard deviations, estimated robustly) that a rate may lie away."""
_TO_DEVIATION: Final = 1.4826
"""Median absolute deviation of a normal distribution to its standard deviation."""
_SAMPLED: Final = 12, 8
"""Dates and currencies that a lag is estimated from."""
_CLEARLY: Final = 0.6
"""A lag is believed where it leaves less than this part of the differences."""
_LOOKED_BACK: Final = 10
"""Publications among which one is looked for at which two banks agreed."""
_AGREED: Final = 5
"""Publications at which two banks agreed that are looked at to see who moved away since."""
_LOOKED_AT: Final = 12
"""Rates of a document that are looked at to decide whether it can be relied on."""
_VOUCHED: Final = timedelta(days=30)
"""How long an operator's decision holds against other banks."""
_CLOSE: Final = 1.5
"""Weights that differ by less than this factor are about the same."""
_FAR: Final = 0.05
"""A bank that is no farther away than this may just be a day behind."""
_SHARED: Final = 4
"""Currencies that two documents must share for relative levels: with fewer nobody knows which one is off."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a rate may lie from another bank's, as fractions.

    `limit` is the most at all; between `floor` and `widest` it follows the spread of the two banks.
    """

    limit: float = 0.05

    @property
    def floor(self) -> float:
        return self.limit / 5

    @property
    def widest(self) -> float:
        return self.limit * 4 / 5

    @property
    def offset(self) -> float:
        """The largest lasting difference between two banks that is allowed for."""
        return self.limit * 2 / 5


class Comparison(NamedTuple):
    """A rate beside one other bank's.

    `deviation` is the difference of the logarithms, the lasting offset of the two banks removed; `relative`: the bank
    does not quote the base; `awaited`: it has not published for that day yet; `apart`: the two banks already differed
    at the publication before, or have none in common, so that nobody knows which of them moved away; `left`: it is the
    other bank that moved away.
    """

    source: str
    deviation: float
    tolerance: float
    relative: bool = False
    awaited: bool = False
    apart: bool = False
    left: bool = False
    other: "Observation | None" = None
    """The publication that was compared with."""

    @property
    def agrees(self) -> bool:
        return abs(self.deviation) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Assessment:
    """All comparisons of one rate, one a bank.

    `contradicting` are banks from which this rate moved away; `disputing` those that it was apart from before;
    `awaited` those that have not published for that day, and whose last rate is elsewhere.
    """

    agreeing: tuple[Comparison, ...] = ()
    contradicting: tuple[Comparison, ...] = ()
    disputing: tuple[Comparison, ...] = ()
    awaited: tuple[Comparison, ...] = ()
    discredited: bool = False
    """No other bank has it at this level for that day, and its document, or the rate before it, is refuted."""

    @property
    def absolute(self) -> bool:
        """Whether a bank agrees that quotes the base too."""
        return any(not one.relative for one in self.agreeing)

    @property
    def refuted(self) -> bool:
        """Whether the other banks speak against the rate.

        A bank weighs by how closely it used to follow this one. Where about as much speaks for a move as against it,
        two banks may copy each other's fault: it is believed only where those against it are near. Where nobody knows
        who moved away, the majority counts, this bank included.
        """
        against, pro = _weight(self.contradicting), _weight(self.agreeing)
        if self.discredited or against > pro * _CLOSE:
            return True
        if against * _CLOSE >= pro > 0 and against and min(abs(one.deviation) for one in self.contradicting) > _FAR:
            return True
        return len(self.disputing) > len(self.agreeing)

    @property
    def supported(self) -> bool:
        return bool(self.agreeing) and not self.refuted

    @property
    def confidence(self) -> Confidence:
        if self.refuted:
            return Confidence.DIVERGING
        confirmed = any(not one.relative and not one.awaited for one in self.agreeing)
        return Confidence.CONFIRMED if confirmed else Confidence.UNCONFIRMED

    @property
    def against(self) -> tuple[Comparison, ...]:
        return (*self.contradicting, *self.disputing)

    @property
    def distance(self) -> float:
        """How far the nearest bank that does not agree is; 0 where there is none."""
        return min((abs(one.deviation) for one in (*self.against, *self.awaited)), default=0.0)


def describe(comparisons: Iterable[Comparison]) -> str:
    """Return `cbr -2.10%, nbu -2.04%`: where those banks have a rate, seen from the one that was compared."""
    return ", ".join(
        f"{one.source} {100 * expm1(-one.deviation):+.2f}%" for one in sorted(comparisons, key=lambda one: one.source)
    )


def _weight(comparisons: Iterable[Comparison]) -> float:
    return sum(1 / one.tolerance**2 for one in comparisons)


MarketDay = Callable[[date], date]


class _Logarithms(dict[str, float | None]):
    """Units of a bank's own currency for one unit of another, as logarithms; None where the bank has no rate of it.

    Each is computed at its first lookup: this is the inner loop of every comparison.
    """

    __slots__ = ("_fixing",)

    def __init__(self, fixing: Fixing) -> None:
        super().__init__({fixing.base: 0.0})
        self._fixing = fixing

    def __missing__(self, code: str) -> float | None:
        value = self[code] = log_value(self._fixing, code) if code in self._fixing.rates else None
        return value


class Observation:
    """One publication of a source: its market day, and its rates as logarithms."""

    __slots__ = ("__weakref__", "centres", "day", "fixing", "logs")

    def __init__(self, fixing: Fixing, day: date) -> None:
        self.fixing = fixing
        self.day = day
        self.logs = _Logarithms(fixing)
        self.centres: WeakKeyDictionary[Observation, float | None] = WeakKeyDictionary()
        """How far the rates of another observation lie apart in the middle; see `_relative`."""

    def log(self, code: str) -> float:
        """Return units of the bank's own currency for one unit of a currency that it quotes, as a logarithm."""
        value = self.logs[code]
        return log_value(self.fixing, code) if value is None else value


def log_value(fixing: Fixing, code: str) -> float:
    """Return the logarithm of units of the fixing's base for one unit of `code`."""
    if code == fixing.base:
        return 0.0
    rate = fixing.rates[code]
    value = log(rate.value) - log(rate.nominal)
    return -value if fixing.direction is Quotation.INVERSE else value


class Lag(Enum):
    """Which of two banks is a publication behind the other."""

    NONE = "none"
    WITNESS = "witness"
    SUBJECT = "subject"


@dataclass(frozen=True)
class Publications:
    """The publications of one source, without carry-overs: a bank that repeats itself says nothing new.

    `market_day` is the day of the market that an effective date of the source is of.
    """

    series: Series
    market_day: MarketDay

    @cached_property
    def observations(self) -> list[Observation]:
        """All publications, by date."""
        return [self.observe(fixing) for fixing in self.series.distinct]

    @cached_property
    def days(self) -> list[date]:
        """The market days of `observations`."""
        return [one.day for one in self.observations]

    @cached_property
    def lagged_days(self) -> list[date]:
        """The market days of `observations` where each of them is of the market day before."""
        return [day - timedelta(days=1) for day in self.days[:1]] + self.days[:-1]

    def observe(self, fixing: Fixing) -> Observation:
        return Observation(fixing, self.market_day(fixing.date))

    def aligned_days(self, lag: "Lag") -> list[date]:
        return self.lagged_days if lag is Lag.WITNESS else self.days

    def before(self, own: Observation) -> int:
        """Return how many publications there are for the same market day before one."""
        at = bisect_left(self.days, own.day)
        return sum(one.day == own.day and one.fixing.date < own.fixing.date for one in self.observations[at:])

    def day_before(self, day: date) -> date:
        """Return the market day of the publication before a market day."""
        at = bisect_left(self.days, day)
        return self.days[at - 1] if at else day - timedelta(days=1)


@dataclass(frozen=True)
class Witness:
    """What one source says, for comparison.

    `held` are its rates in quarantine: they can confirm a rate, since at a true jump two banks wait for each other.
    """

    key: str
    publications: Publications
    held: Sequence[Fixing] = ()
    not_compared: frozenset[str] = frozenset()
    """Currencies whose rate at this bank lastingly differs from that of others."""

    @cached_property
    def base(self) -> str | None:
        latest = self.publications.series.latest or (self.held[-1] if self.held else None)
        return latest.base if latest else None

    @cached_property
    def held_observations(self) -> list[Observation]:
        return [self.publications.observe(fixing) for fixing in self.held]


class _Pair(NamedTuple):
    """The rate of `code` in `base` in one publication of one source."""

    subject: Witness
    own: Observation
    code: str
    base: str

    @property
    def only_moves(self) -> bool:
        return self.code in LEVELS_DIFFER or self.base in LEVELS_DIFFER

    def level(self) -> float:
        return self.own.log(self.code) - self.own.log(self.base)

    def common_move(self, before: "_Pair") -> float:
        """Return what all rates of the bank moved by since another publication; 0 where that is no matter here."""
        if self.base != self.own.fixing.base:
            return 0.0
        return _centre(self.own, before.own) or 0.0

    def before(self, *, held: bool = False) -> "Iterator[_Pair]":
        """Yield the same rate at the publications before, the latest first; then, if wanted, those `held`."""
        on, found = self.own.fixing.date, 0
        for one in reversed(self.subject.publications.observations):
            if one.fixing.date < on and one.fixing.quotes(self.code, self.base):
                yield self._replace(own=one)
                found += 1
                if found == _LOOKED_BACK:
                    break
        for one in self.subject.held_observations if held else ():
            if one.fixing.date < on and self.own.day - one.day <= _AWAITED and one.fixing.quotes(self.code, self.base):
                yield self._replace(own=one)


Difference = Callable[[str, str, Observation, Observation], float | None]


def _absolute(code: str, base: str, own: Observation, other: Observation) -> float | None:
    """Return how far the levels of two documents lie apart; None where one of them has not both currencies."""
    rate, unit, their_rate, their_unit = own.logs[code], own.logs[base], other.logs[code], other.logs[base]
    if rate is None or unit is None or their_rate is None or their_unit is None:
        return None
    return rate - unit - their_rate + their_unit


def _relative(code: str, base: str, own: Observation, other: Observation) -> float | None:
    """Return how far `code` lies apart beside what both documents share; None where that is too little."""
    rate, their_rate = own.logs[code], other.logs[code]
    if base != own.fixing.base or rate is None or their_rate is None:
        return None
    centre = _centre(own, other)
    return None if centre is None else rate - their_rate - centre


def _centre(own: Observation, other: Observation) -> float | None:
    """Return how far the rates of two documents lie apart in the middle; None where they share too few."""
    if other not in own.centres:
        apart = [
            rate - their_rate
            for code in own.fixing.rates
            if code not in LEVELS_DIFFER
            and (their_rate := other.logs[code]) is not None
            and (rate := own.logs[code]) is not None
        ]
        own.centres[other] = median(apart) if len(apart) >= _SHARED else None
    return own.centres[other]


@dataclass
class Pairing:
    """Two sources beside each other: who lags, and their lasting offset and spread by currency.

    It depends on nothing but what they have published, so that it is kept until one of them publishes.
    """

    subject: Publications
    witness: Publications
    _fits: dict[tuple[str, str, date, Lag], tuple[float, float] | None] = field(default_factory=dict)
    _aligned: dict[Lag, list[tuple[Observation, Observation]]] = field(default_factory=dict)

    @cached_property
    def lag(self) -> Lag:
        """Which of the two is a publication behind the other: who follows it more closely when shifted."""
        rough = {lag: self._roughness(lag) for lag in Lag}
        best = min(Lag, key=rough.__getitem__)
        return best if rough[best] < _CLEARLY * rough[Lag.NONE] else Lag.NONE

    def aligned_day(self, own: Observation, lag: Lag) -> date:
        """Return the market day whose publication of the witness is to be compared with one of the subject."""
        if lag is not Lag.SUBJECT:
            return own.day
        return max(self.subject.day_before(own.day), self.witness.day_before(own.day))

    def fit(self, code: str, base: str, difference: Difference, lag: Lag, on: date) -> tuple[float, float] | None:
        """Return the lasting offset and the spread of a rate, from the dates before one that both sources have."""
        known = (code, base, on, lag)
        if known not in self._fits:
            if len(self._fits) >= _KEPT_FITS:
                self._fits.clear()
            found = list[float]()
            for own, other in reversed(self._in_force(lag)):
                if own.fixing.date < on and (level := difference(code, base, own, other)) is not None:
                    found.append(level)
                    if len(found) == _HISTORY:
                        break
            fit = None
            if len(found) >= _ENOUGH:
                centre = median(found)
                fit = (centre, _TO_DEVIATION * median(abs(level - centre) for level in found))
            self._fits[known] = fit
            return fit
        return self._fits[known]

    def _in_force(self, lag: Lag) -> list[tuple[Observation, Observation]]:
        """Return each publication of the subject with that of the witness in force on its market day, oldest first."""
        if lag not in self._aligned:
            self._aligned[lag] = self._align(self.subject.observations, lag)
        return self._aligned[lag]

    def _align(self, publications: Sequence[Observation], lag: Lag) -> list[tuple[Observation, Observation]]:
        days, found = self.witness.aligned_days(lag), []
        for own in publications:
            day = self.aligned_day(own, lag)
            at = bisect_right(days, day)
            if at and day - days[at - 1] <= _WINDOW:
                found.append((own, self.witness.observations[at - 1]))
        return found

    def _roughness(self, lag: Lag) -> float:
        """Return how much the difference of the two changes from date to date, where they are aligned so.

        What all currencies changed by is left out, and of the rest a quartile is taken: neither a drift of the base
        nor of one currency must hide a lag.
        """
        dates, currencies = _SAMPLED
        changes, last = list[float](), dict[str, float]()
        for own, other in self._align(self.subject.observations[-dates:], lag):
            shared = [one for one in own.fixing.rates if one not in LEVELS_DIFFER and other.fixing.quotes(one, one)]
            if not shared:
                continue
            base = own.fixing.base
            reference = base if other.fixing.quotes(base, base) else shared[0]
            apart = own.log(reference) - other.log(reference)
            levels = {code: own.log(code) - other.log(code) - apart for code in shared[:currencies]}
            moved = [level - last[code] for code, level in levels.items() if code in last]
            common = median(moved) if len(moved) >= _SHARED else 0.0
            changes += [abs(one - common) for one in moved]
            last = levels
        return sorted(changes)[3 * len(changes) // 4] if len(changes) >= _ENOUGH else inf


@dataclass
class CrossCheck:
    """The sources compared with each other. Rebuilt when one of them has changed; results are cached.

    `accepted` are rates that an operator has accepted, by source: for `_VOUCHED` they are not held against what other
    banks say.
    """

    witnesses: Mapping[str, Witness]
    tolerance: Tolerance = field(default_factory=Tolerance)
    accepted: Mapping[str, Sequence[Fixing]] = field(default_factory=dict)
    near: float = 0.15
    """How far (as a logarithm) a rate may lie from an accepted one that vouches for it."""
    pairings: dict[tuple[str, str], Pairing] = field(default_factory=dict)
    """By the keys of subject and witness. Handed from one comparison to the next: most sources have not published."""
    _own: dict[int, Observation] = field(default_factory=dict)
    _assessed: dict[tuple[int, str, str], Assessment] = field(default_factory=dict)
    _believed: dict[tuple[int, str, str], tuple[Fixing, Assessment]] = field(default_factory=dict)

    def assess(self, source: str, fixing: Fixing, code: str, base: str | None = None) -> Assessment:
        """Compare the rate of `code` in `base` (the fixing's own where None) with every other bank.

        A bank with the same base is the same bank, or a relay of it, and is no comparison; of several with one base
        the one that agrees best counts. Of one bank against one, where nobody knows which moved away, the other is left
        out if most of its other rates of that day are refuted by several banks.
        """
        known = (id(fixing), code, base or fixing.base)
        if known not in self._believed:  # it holds the fixing, whose identity is the key
            self._believed[known] = (fixing, self._assessed_with_past(source, fixing, code, base))
        return self._believed[known][1]

    def _pairing(self, subject: Witness, witness: Witness) -> Pairing:
        known = self.pairings.get((subject.key, witness.key))
        if known and known.subject is subject.publications and known.witness is witness.publications:
            return known
        made = self.pairings[subject.key, witness.key] = Pairing(subject.publications, witness.publications)
        return made

    def _assessed_with_past(self, source: str, fixing: Fixing, code: str, base: str | None) -> Assessment:
        assessment = self._compared(source, fixing, code, base)
        decided = assessment.absolute or assessment.against or self.vouched(source, fixing, code)
        if not decided and fixing.quotes(code, base or fixing.base):
            refuted = not assessment.agreeing and self._was_refuted(source, fixing, code, base, assessment)
            document = (assessment.agreeing or not assessment.awaited) and self._is_discredited(source, fixing, by=1)
            return replace(assessment, discredited=bool(refuted or document))
        if len(assessment.disputing) != 1 or assessment.agreeing or assessment.contradicting:
            return assessment
        disputing = assessment.disputing[0]
        false = disputing.other and self._is_discredited(disputing.source, disputing.other.fixing, by=2)
        return Assessment() if false else assessment

    def _was_refuted(self, source: str, fixing: Fixing, code: str, base: str | None, assessment: Assessment) -> bool:
        """Return whether the rate before was refuted, and this one has not come back since.

        It has come back where it is nearer to other banks, or, where none of them is there to compare with, to the
        last rate that was not refuted.
        """
        subject = self.witnesses[source]
        pair = _Pair(subject, subject.publications.observe(fixing), code, base or fixing.base)
        before = sorted(pair.before(held=True), key=lambda one: one.own.fixing.date, reverse=True)
        for number, latest in enumerate(before):
            earlier = self._compared(source, latest.own.fixing, code, base)
            if not (earlier.agreeing or earlier.against):
                continue
            certain = earlier.contradicting or len(earlier.against) > 1  # of one against one nobody knows
            if not earlier.refuted or not certain:
                return False
            if assessment.awaited:
                return assessment.distance > earlier.distance / 2
            rest = (one for one in before[number:] if not self._compared(source, one.own.fixing, code, base).refuted)
            good = next(rest, None)
            return good is None or abs(pair.level() - latest.level()) <= abs(pair.level() - good.level())
        return False

    def _is_discredited(self, source: str, fixing: Fixing, by: int) -> bool:
        """Return whether most rates of a document are refuted, each `by` so many banks at least."""
        assessed = [self._compared(source, fixing, code) for code in islice(fixing.rates, _LOOKED_AT)]
        compared = [one for one in assessed if one.agreeing or one.against or one.awaited]
        refuted = sum(
            one.refuted and len(one.against) >= by
            if one.agreeing or one.against
            else len(one.awaited) >= by and one.distance > self.tolerance.limit
            for one in compared
        )
        return len(compared) >= _SHARED - 1 and 2 * refuted > len(compared)

    def _compared(self, source: str, fixing: Fixing, code: str, base: str | None = None) -> Assessment:
        subject, base = self.witnesses[source], base or fixing.base
        if code == base or {code, base} & subject.not_compared or not fixing.quotes(code, base):
            return Assessment()
        own = self._own.get(id(fixing))
        if own is None:  # it holds the fixing, whose identity is the key
            own = self._own[id(fixing)] = subject.publications.observe(fixing)
        known = (id(fixing), code, base)
        if known not in self._assessed:
            self._assessed[known] = self._assess(_Pair(subject, own, code, base))
        return self._assessed[known]

    def _assess(self, pair: _Pair) -> Assessment:
        fixing, found = pair.own.fixing, dict[str, Comparison]()
        for witness in self.witnesses.values():
            base = witness.base
            if witness is pair.subject or base is None or base == fixing.base:
                continue
            if witness.not_compared and {pair.code, pair.base} & witness.not_compared:
                continue
            if compared := self._compare(pair, witness):
                known = found.get(base)
                if known is None or _rank(compared) < _rank(known):
                    found[base] = compared
        agreeing = tuple(one for one in found.values() if one.agrees)
        if len(agreeing) < len(found):
            apart = [one for one in found.values() if not one.agrees and not one.awaited]
            found = {base: self._on_its_own_day(pair, one, apart) for base, one in found.items()}
            agreeing = tuple(one for one in found.values() if one.agrees)
            agreeing = tuple(one for one in agreeing if not self._is_refuted_elsewhere(pair, one))
        others = _without_single_leavers([one for one in found.values() if not one.agrees])
        if agreeing:
            others = [one for one in others if not self._says_nothing_new(pair, one)]
        if not others or self.vouched(pair.subject.key, fixing, pair.code):
            return Assessment(agreeing)
        return Assessment(
            agreeing,
            tuple(one for one in others if not one.awaited and not one.apart),
            tuple(one for one in others if not one.awaited and one.apart),
            tuple(one for one in others if one.awaited),
        )

    def _on_its_own_day(self, pair: _Pair, compared: Comparison, apart: Sequence[Comparison]) -> Comparison:
        """Return the comparison with what a bank that agrees has published for that very day, if that is elsewhere.

        Of a bank that is a publication behind, the rate of the day before may be as near as that by chance. Its lag is
        an estimate, so that its own day only counts where it stands with a bank that does not agree.
        """
        witness = self.witnesses[compared.source]
        if not compared.agrees or compared.relative or not apart:
            return compared
        if self._pairing(pair.subject, witness).lag is not Lag.WITNESS:
            return compared
        own = self._published(pair, witness, Lag.WITNESS)
        if own is None or own.agrees or own.relative or own.awaited:
            return compared
        together = any(_is_together(own, one) for one in apart)
        return self._who_moved(pair, witness, own, Lag.WITNESS) if together else compared

    def _is_refuted_elsewhere(self, pair: _Pair, agreeing: Comparison) -> bool:
        """Return whether a rate that agrees is itself refuted by most of the remaining banks: a copied fault."""
        subject = self.witnesses[agreeing.source]
        if agreeing.other is None or not agreeing.other.fixing.quotes(pair.code, pair.base):
            return False
        theirs, votes = pair._replace(subject=subject, own=agreeing.other), dict[str, bool]()
        for witness in self.witnesses.values():
            base = witness.base
            if (
                witness is subject
                or witness is pair.subject
                or base in (None, pair.own.fixing.base, theirs.own.fixing.base)
            ):
                continue
            compared = self._compare(theirs, witness)
            if base and compared and not compared.awaited and not compared.left:
                votes[base] = votes.get(base, False) or compared.agrees
        return len(votes) > 1 and 2 * sum(votes.values()) < len(votes)

    def _says_nothing_new(self, pair: _Pair, compared: Comparison) -> bool:
        """Return whether a bank only repeats its rate, or has published less often for that market day."""
        other, witness = compared.other, self.witnesses[compared.source]
        if compared.relative or compared.awaited or other is None:
            return False
        codes = {pair.code, pair.base} - {other.fixing.base}
        before = next(_Pair(witness, other, pair.code, pair.base).before(), None)
        if before is not None and all(before.own.log(code) == other.log(code) for code in codes):
            return True
        pairing = self._pairing(pair.subject, witness)
        days = witness.publications.aligned_days(pairing.lag)
        day = pairing.aligned_day(pair.own, pairing.lag)
        published = bisect_right(days, day) - bisect_left(days, day)
        return bisect_right(days, day) == len(days) and 0 < published <= pair.subject.publications.before(pair.own)

    def vouched(self, source: str, fixing: Fixing, code: str, after: date = date.min) -> bool:
        """Return whether an operator has accepted this rate, or one near it shortly before (but `after` a date)."""
        for accepted in self.accepted.get(source, ()):
            if code in accepted.rates and code in fixing.rates and after < accepted.date <= fixing.date:
                near = abs(log_value(fixing, code) - log_value(accepted, code)) <= self.near
                same = fixing.date > accepted.date or log_value(fixing, code) == log_value(accepted, code)
                if near and same and fixing.date - accepted.date <= _VOUCHED:
                    return True
        return False

    def _compare(self, pair: _Pair, witness: Witness) -> Comparison | None:
        lag = Lag.NONE
        compared = self._published(pair, witness, lag)
        if compared is None or abs(compared.deviation) > self.tolerance.floor / 2:
            lag = self._pairing(pair.subject, witness).lag
            compared = self._published(pair, witness, lag) if lag is not Lag.NONE else compared
        enough = compared and compared.agrees and not compared.relative and not compared.awaited
        held = None if enough else self._held(pair, witness, lag)
        if held and held.agrees:
            return held
        if compared and compared.agrees:
            return self._who_moved(pair, witness, held, lag) if held else compared
        if pair.only_moves:
            return None
        if held and (compared is None or compared.awaited):  # what it has published for that day is in quarantine
            return self._who_moved(pair, witness, held, lag)
        return self._who_moved(pair, witness, compared, lag) if compared else None

    def _who_moved(self, pair: _Pair, witness: Witness, compared: Comparison, lag: Lag) -> Comparison:
        """Return the comparison with what is known of who moved away since the two banks agreed.

        Where only this rate is apart, what all rates of this bank moved by is no matter; where most of them are apart,
        it is that which matters.
        """
        on = pair.own.fixing.date
        both = ((before, self._published(before, witness, lag, on)) for before in pair.before())
        agreed = list(
            islice(
                ((before, one) for before, one in both if one and one.agrees and one.relative == compared.relative),
                _AGREED,
            )
        )
        if not agreed:
            return compared._replace(apart=True)
        most = self._most_are_apart(pair, witness, compared, lag)

        before, earlier = min(agreed, key=lambda one: abs(one[1].deviation))
        ours = pair.level() - before.level() - (0.0 if most else pair.common_move(before))
        theirs = ours - (compared.deviation - earlier.deviation)
        if abs(theirs) > 2 * abs(ours):
            return compared._replace(left=True)
        return compared._replace(apart=abs(ours) <= 2 * abs(theirs))

    def _most_are_apart(self, pair: _Pair, witness: Witness, compared: Comparison, lag: Lag) -> bool:
        """Return whether most rates of a document are as far from the other bank as this one."""
        other = self._observation(pair, witness, lag)
        if compared.relative or other is None or not other.fixing.quotes(pair.base, pair.base):
            return False
        centre = _centre(pair.own, other)  # None: too few rates to distinguish one from most
        return centre is None or abs(centre + other.log(pair.base)) > abs(compared.deviation) / 2

    def _observation(self, pair: _Pair, witness: Witness, lag: Lag) -> Observation | None:
        """Return the other bank's publication in force on the market day of a rate."""
        day = self._pairing(pair.subject, witness).aligned_day(pair.own, lag)
        at = bisect_right(witness.publications.aligned_days(lag), day)
        return witness.publications.observations[at - 1] if at else None

    def _published(self, pair: _Pair, witness: Witness, lag: Lag, on: date | None = None) -> Comparison | None:
        """Compare with the publication of that market day; where there is none, with those around it.

        Offset and spread are those of the dates before `on`, the rate's own where None.
        """
        day = self._pairing(pair.subject, witness).aligned_day(pair.own, lag)
        days, observations = witness.publications.aligned_days(lag), witness.publications.observations
        at = bisect_right(days, day)
        if at == len(days):
            around = [at - 1] if at and day - days[at - 1] <= _AWAITED else []
        elif at and days[at - 1] == day:
            around = [at - 1]
        else:
            around = [index for index in (at - 1, at) if index >= 0 and abs(days[index] - day) <= _WINDOW]
        for relative, difference in ((False, _absolute), (True, _relative)):
            levels = [
                (level, other)
                for other in (observations[index] for index in around)
                if (level := difference(pair.code, pair.base, pair.own, other)) is not None
            ]
            if levels:
                fit = self._nearest(pair, witness, [level for level, _ in levels], difference, lag, on)
                awaited, other = days[around[-1]] < day, min(levels, key=lambda one: abs(one[0]))[1]
                only = relative or pair.only_moves
                return Comparison(witness.key, *fit, only, awaited, other=other) if fit else None
        return None

    def _held(self, pair: _Pair, witness: Witness, lag: Lag) -> Comparison | None:
        """Compare with what the bank has in quarantine for about that day; None where that is nothing.

        It confirms a rate, since at a true jump two banks wait for each other. Where it does not, nobody knows which of
        the two is right.
        """
        found = list[tuple[timedelta, Comparison]]()
        day = self._pairing(pair.subject, witness).aligned_day(pair.own, lag) if witness.held else date.min
        for other in witness.held_observations:
            theirs = witness.publications.day_before(other.day) if lag is Lag.WITNESS else other.day
            level = _absolute(pair.code, pair.base, pair.own, other) if abs(theirs - day) <= _HELD else None
            fit = None if level is None else self._nearest(pair, witness, [level], _absolute, lag)
            if fit:
                held = Comparison(witness.key, *fit, pair.only_moves, other=other)
                if held.agrees or theirs >= day:
                    found.append((abs(theirs - day), held))
        return min(found, key=lambda one: one[0])[1] if found else None

    def _nearest(
        self,
        pair: _Pair,
        witness: Witness,
        levels: Sequence[float],
        difference: Difference,
        lag: Lag,
        on: date | None = None,
    ) -> tuple[float, float] | None:
        """Return the deviation from the nearest level, and the tolerance that holds for these two banks.

        None where only moves can be compared and the banks have too few dates in common for that.
        """
        raw = min(levels, key=abs)
        if abs(raw) <= self.tolerance.floor / 2:  # within the narrowest tolerance, whatever the offset may be
            return raw, self.tolerance.floor
        pairing = self._pairing(pair.subject, witness)
        fit = pairing.fit(pair.code, pair.base, difference, lag, on or pair.own.fixing.date)
        if fit is None:
            return None if pair.only_moves else (raw, self.tolerance.widest)
        centre, spread = fit
        offset = centre if pair.only_moves else max(-self.tolerance.offset, min(self.tolerance.offset, centre))
        tolerance = min(max(_SPREADS * spread, self.tolerance.floor), self.tolerance.widest)
        return min((level - offset for level in levels), key=abs), tolerance


def _without_single_leavers(others: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons without those of banks that moved away alone.

    Such a bank is judged by itself, and says nothing of another one. Several that moved to the same level are right.
    """
    left = [one for one in others if one.left]
    together = any(_is_together(one, other) for at, one in enumerate(left) for other in left[at + 1 :])
    return [one for one in others if together or not one.left]


def _is_together(one: Comparison, other: Comparison) -> bool:
    """Return whether two banks have about the same level."""
    return abs(one.deviation - other.deviation) <= max(one.tolerance, other.tolerance)


def _rank(compared: Comparison) -> tuple[bool, bool, float]:
    return (not compared.agrees, compared.relative, compared.tolerance)
