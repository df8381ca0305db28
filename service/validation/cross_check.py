"""Cross-check a rate with what other banks publish for the same days. Pure.

A rate is compared as a level: units of a base for one unit of a currency. Every other bank that quotes both gives an
*absolute* level. A bank that quotes the currency but not the base still gives a *relative* one: the currency's level
among the others of the same document.

Banks differ in what they measure and when. Publications are aligned by market day, and by a publication more where one
bank lags behind the other. What remains is a lasting offset and a spread, both estimated from the dates that the two
banks share. The tolerance follows them, within bounds.

The bank whose rate is judged is the *subject*; the bank that it is compared with is the *witness*.

Rates are compared as logarithms in floating point: a decision between "within 1 %" and "beyond" needs no exact
fraction, and a document of a hundred currencies is judged against sixteen banks within milliseconds. Nothing computed
here is ever shown as money.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import combinations, islice
from math import expm1, inf, log
from statistics import median
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from service.domain.fixing import Fixing, Quotation, Series
from service.domain.snapshot import Confidence

LEVELS_DIFFER: Final = frozenset({"XAU", "XAG", "XPT", "XPD", "CUP", "IRR", "LBP", "MMK", "SDG", "SYP", "VES"})
"""Currencies of which only moves are compared: metals are quoted by the ounce or by the gram, and some countries have
(or had) several official rates at once, of which each bank takes its own."""
_COMPARISON_WINDOW: Final = timedelta(days=5)
"""Maximum distance of two publications that are compared: long enough for a long weekend."""
_MAX_AWAITED_AGE: Final = timedelta(days=14)
"""Maximum age of a bank's last publication, if it has not published for a day yet, to be compared with."""
_QUARANTINE_WINDOW: Final = timedelta(days=3)
"""Maximum distance of the days of a rate and a quarantined one that are compared."""
_FIT_SAMPLES: Final = 40
"""Maximum number of dates that offset and spread are estimated from."""
_MIN_SAMPLES: Final = 8
"""Minimum number of dates for that estimate."""
_MAX_CACHED_FITS: Final = 1000
"""Maximum number of cached estimates per pair of sources: bounds the memory on a day on which all rates are odd."""
_MAX_CACHED_COMPARISONS: Final = 150
"""Maximum number of cached comparisons per pair of sources, each 0.4 KB: with 17 sources at most 17 MB."""
_TOLERATED_SPREADS: Final = 6
"""Spreads (standard deviations, estimated robustly) that a rate may deviate."""
_MAD_TO_STANDARD_DEVIATION: Final = 1.4826
"""Ratio of a normal distribution's standard deviation to its median absolute deviation."""
_LAG_DATES: Final = 12
"""Dates that a lag is estimated from."""
_LAG_CURRENCIES: Final = 8
"""Currencies that a lag is estimated from."""
_LAG_THRESHOLD: Final = 0.6
"""A lag is assumed if it reduces the differences to less than this part."""
_MAX_PREVIOUS: Final = 10
"""Maximum number of earlier publications among which one is searched for at which two banks agreed."""
_MAX_AGREEMENTS: Final = 5
"""Maximum number of publications at which two banks agreed that are used to find out which of them moved since."""
_DOCUMENT_SAMPLE: Final = 12
"""Rates of a document that decide whether it is reliable."""
_ACCEPTANCE_VALIDITY: Final = timedelta(days=30)
"""How long an operator's decision has priority over other banks."""
_ACCEPTANCE_RANGE: Final = 0.15
"""Maximum difference (as a logarithm) of a rate to an accepted one that still covers it."""
_SIMILAR_WEIGHTS: Final = 1.5
"""Weights that differ by less than this factor are about the same."""
_LARGE_DEVIATION: Final = 0.05
"""A bank that deviates by no more than this may just be a day behind."""
_MIN_SHARED: Final = 4
"""Minimum number of currencies that two documents share for relative levels: with fewer, a wrong rate cannot be
distinguished from the others."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a rate may deviate from another bank's, as fractions.

    `limit` is the absolute maximum; between `floor` and `widest` the tolerance follows the spread of the two banks.
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
    """A rate compared with that of one other bank.

    `deviation` is the difference of the logarithms, without the lasting offset of the two banks; `relative`: the bank
    does not quote the base; `awaited`: it has not published for that day yet; `other_moved`: the other bank's rate
    moved, this one did not; `mover_unknown`: it is unknown which of the two moved, because they already differed at the
    publication before, or never agreed.
    """

    source: str
    deviation: float
    tolerance: float
    relative: bool = False
    awaited: bool = False
    mover_unknown: bool = False
    other_moved: bool = False
    other: "Observation | None" = None
    """The publication that was compared with."""

    @property
    def agrees(self) -> bool:
        return abs(self.deviation) <= self.tolerance


@dataclass(frozen=True, slots=True)
class Assessment:
    """All comparisons of one rate, one per bank.

    `contradicting` are banks from which this rate moved away; `disputing` those from which it differs without a known
    mover; `awaited` those that have not published for that day, and whose last rate differs.
    """

    agreeing: tuple[Comparison, ...] = ()
    contradicting: tuple[Comparison, ...] = ()
    disputing: tuple[Comparison, ...] = ()
    awaited: tuple[Comparison, ...] = ()
    discredited: bool = False
    """No other bank confirms the level for that day, and the rate's document, or the rate before it, is refuted."""

    @property
    def absolute(self) -> bool:
        """Whether a bank agrees that quotes the base too."""
        return any(not comparison.relative for comparison in self.agreeing)

    @property
    def refuted(self) -> bool:
        """Whether the other banks refute the rate.

        The weight of a bank depends on how closely it used to follow this one. Where about as much weight agrees as
        contradicts, two banks may share a copied fault: the rate is refuted unless a contradicting bank is near. Where
        it is unknown which bank moved, the majority decides, this bank included.
        """
        contradicting_weight, agreeing_weight = _weight(self.contradicting), _weight(self.agreeing)
        if self.discredited or contradicting_weight > agreeing_weight * _SIMILAR_WEIGHTS:
            return True
        if contradicting_weight * _SIMILAR_WEIGHTS >= agreeing_weight > 0 and contradicting_weight:
            nearest = min(abs(comparison.deviation) for comparison in self.contradicting)
            if nearest > _LARGE_DEVIATION:
                return True
        return len(self.disputing) > len(self.agreeing)

    @property
    def supported(self) -> bool:
        return bool(self.agreeing) and not self.refuted

    @property
    def confidence(self) -> Confidence:
        if self.refuted:
            return Confidence.DIVERGING
        confirmed = any(not comparison.relative and not comparison.awaited for comparison in self.agreeing)
        return Confidence.CONFIRMED if confirmed else Confidence.UNCONFIRMED

    @property
    def disagreeing(self) -> tuple[Comparison, ...]:
        """The comparisons with banks that have published another level for that day."""
        return (*self.contradicting, *self.disputing)

    @property
    def distance(self) -> float:
        """The smallest deviation from a bank that does not agree; 0 without such a bank."""
        return min((abs(comparison.deviation) for comparison in (*self.disagreeing, *self.awaited)), default=0.0)


def describe(comparisons: Iterable[Comparison]) -> str:
    """Return `cbr -2.10%, nbu -2.04%`: the other banks' levels relative to the rate that was compared."""
    by_source = sorted(comparisons, key=lambda comparison: comparison.source)
    return ", ".join(f"{comparison.source} {100 * expm1(-comparison.deviation):+.2f}%" for comparison in by_source)


def _weight(comparisons: Iterable[Comparison]) -> float:
    return sum(1 / comparison.tolerance**2 for comparison in comparisons)


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

    __slots__ = ("__weakref__", "day", "fixing", "logs", "median_differences")

    def __init__(self, fixing: Fixing, day: date) -> None:
        self.fixing = fixing
        self.day = day
        self.logs = _Logarithms(fixing)
        self.median_differences: WeakKeyDictionary[Observation, float | None] | None = None
        """Cache of `_median_difference` by the other observation; most observations need none."""

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


class Lag(StrEnum):
    """Which of two banks is a publication behind the other."""

    NONE = "none"
    WITNESS = "witness"
    SUBJECT = "subject"


@dataclass(frozen=True)
class Publications:
    """The publications of one source, without carry-overs: a repeated document contains no new information.

    `market_day` returns the market day of an effective date of the source.
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
        return [observation.day for observation in self.observations]

    @cached_property
    def lagged_days(self) -> list[date]:
        """The market days of `observations` if each of them belongs to the market day before."""
        if not self.days:
            return []
        return [self.days[0] - timedelta(days=1), *self.days[:-1]]

    def observe(self, fixing: Fixing) -> Observation:
        return Observation(fixing, self.market_day(fixing.date))

    def aligned_days(self, lag: "Lag") -> list[date]:
        return self.lagged_days if lag is Lag.WITNESS else self.days

    def count_earlier_on_same_day(self, observation: Observation) -> int:
        """Return the number of publications before one that have the same market day."""
        day, effective_date = observation.day, observation.fixing.date
        first = bisect_left(self.days, day)
        return sum(other.day == day and other.fixing.date < effective_date for other in self.observations[first:])

    def day_before(self, day: date) -> date:
        """Return the market day of the publication before a market day."""
        index = bisect_left(self.days, day)
        return self.days[index - 1] if index else day - timedelta(days=1)


@dataclass(frozen=True)
class Witness:
    """The publications of one source, for comparison.

    `quarantined` are its rates in quarantine: they can confirm a rate, since at a true jump the rates of two banks are
    quarantined until one confirms the other.
    """

    key: str
    publications: Publications
    quarantined: Sequence[Fixing] = ()
    not_compared: frozenset[str] = frozenset()
    """Currencies whose rate at this bank lastingly differs from that of others."""

    @cached_property
    def base(self) -> str | None:
        latest = self.publications.series.latest or (self.quarantined[-1] if self.quarantined else None)
        return latest.base if latest else None

    @cached_property
    def quarantined_observations(self) -> list[Observation]:
        return [self.publications.observe(fixing) for fixing in self.quarantined]


class _ObservedRate(NamedTuple):
    """The rate of `code` in `base` in one publication of one source."""

    subject: Witness
    observation: Observation
    code: str
    base: str

    @property
    def only_moves(self) -> bool:
        """Whether only moves of the rate are compared, not its level."""
        return self.code in LEVELS_DIFFER or self.base in LEVELS_DIFFER

    def level(self) -> float:
        return self.observation.log(self.code) - self.observation.log(self.base)

    def common_move(self, previous: "_ObservedRate") -> float:
        """Return the median move of the bank's rates since another publication; 0 if it does not affect this rate."""
        if self.base != self.observation.fixing.base:
            return 0.0
        return _median_difference(self.observation, previous.observation) or 0.0

    def previous(self, *, include_quarantined: bool = False) -> "Iterator[_ObservedRate]":
        """Yield the same rate in earlier publications, the latest first; then, on request, in quarantined ones."""
        effective_date, count = self.observation.fixing.date, 0
        for observation in reversed(self.subject.publications.observations):
            if observation.fixing.date < effective_date and observation.fixing.quotes(self.code, self.base):
                yield self._replace(observation=observation)
                count += 1
                if count == _MAX_PREVIOUS:
                    break
        if not include_quarantined:
            return
        for observation in self.subject.quarantined_observations:
            fixing = observation.fixing
            is_recent = self.observation.day - observation.day <= _MAX_AWAITED_AGE
            if fixing.date < effective_date and is_recent and fixing.quotes(self.code, self.base):
                yield self._replace(observation=observation)


Difference = Callable[[str, str, Observation, Observation], float | None]


def _absolute_difference(code: str, base: str, own: Observation, other: Observation) -> float | None:
    """Return the difference of the levels of `code` in `base`; None unless both documents quote both currencies."""
    own_code, own_base, other_code, other_base = own.logs[code], own.logs[base], other.logs[code], other.logs[base]
    if own_code is None or own_base is None or other_code is None or other_base is None:
        return None
    return own_code - own_base - other_code + other_base


def _relative_difference(code: str, base: str, own: Observation, other: Observation) -> float | None:
    """Return the difference of `code` without the median of all shared currencies; None if too few are shared."""
    own_code, other_code = own.logs[code], other.logs[code]
    if base != own.fixing.base or own_code is None or other_code is None:
        return None
    median_difference = _median_difference(own, other)
    return None if median_difference is None else own_code - other_code - median_difference


def _median_difference(own: Observation, other: Observation) -> float | None:
    """Return the median difference of the rates of two documents; None if they share too few."""
    if own.median_differences is None:
        own.median_differences = WeakKeyDictionary()
    elif other in own.median_differences:
        return own.median_differences[other]
    differences = list[float]()
    for code in own.fixing.rates:
        if code in LEVELS_DIFFER:
            continue
        other_log = other.logs[code]
        if other_log is None:
            continue
        own_log = own.logs[code]
        if own_log is not None:
            differences.append(own_log - other_log)
    result = median(differences) if len(differences) >= _MIN_SHARED else None
    own.median_differences[other] = result
    return result


_RateKey = tuple[int, str, str]
"""The identity of a fixing, a currency and a base."""


class _Comparisons(dict[_RateKey, Comparison | None]):
    """Rates of a subject compared with one witness, which has its quarantined rates beside its publications."""

    __slots__ = ("_fixings", "witness")

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self.witness = witness
        self._fixings = dict[int, Fixing]()
        """The fixings whose identities are in the keys."""

    def add(self, fixing: Fixing, key: _RateKey, comparison: Comparison | None) -> None:
        self._fixings[id(fixing)] = fixing
        self[key] = comparison


@dataclass
class Pairing:
    """Two sources compared: which of them lags, and their lasting offset and spread by currency.

    It depends only on what they have published, so it is kept until one of them publishes. Comparisons also depend on
    what the witness has in quarantine, and on the tolerance, which is the same for all cross-checks of a process.
    """

    subject: Publications
    witness: Publications
    _comparisons: _Comparisons | None = None
    _fits: dict[tuple[Difference, str, str, date, Lag], tuple[float, float] | None] = field(default_factory=dict)
    _aligned: dict[Lag, list[Observation | None]] = field(default_factory=dict)

    @cached_property
    def lag(self) -> Lag:
        """Which of the two is a publication behind the other: the shift with clearly the smallest differences."""
        roughness = {lag: self._roughness(lag) for lag in Lag}
        smoothest = min(Lag, key=roughness.__getitem__)
        return smoothest if roughness[smoothest] < _LAG_THRESHOLD * roughness[Lag.NONE] else Lag.NONE

    def comparison(
        self, rate: _ObservedRate, witness: Witness, compare: Callable[[_ObservedRate, Witness], Comparison | None]
    ) -> Comparison | None:
        """Return the cached comparison of a rate with the witness, or that of `compare`.

        When a source has published, only what is compared with it is compared again.
        """
        fixing, comparisons = rate.observation.fixing, self._comparisons
        cache_key = (id(fixing), rate.code, rate.base)
        if comparisons is not None and comparisons.witness is witness and cache_key in comparisons:
            return comparisons[cache_key]
        comparison = compare(rate, witness)
        if comparisons is None or comparisons.witness is not witness or len(comparisons) >= _MAX_CACHED_COMPARISONS:
            comparisons = self._comparisons = _Comparisons(witness)  # another thread may still use the one before
        comparisons.add(fixing, cache_key, comparison)
        return comparison

    def aligned_day(self, own: Observation, lag: Lag) -> date:
        """Return the market day whose publication of the witness is to be compared with one of the subject."""
        if lag is not Lag.SUBJECT:
            return own.day
        return max(self.subject.day_before(own.day), self.witness.day_before(own.day))

    def fit(self, code: str, base: str, difference: Difference, lag: Lag, before: date) -> tuple[float, float] | None:
        """Return the lasting offset and the spread of a rate, from the shared dates before one; None if too few."""
        cache_key = (difference, code, base, before, lag)
        with suppress(KeyError):  # in one step: another thread may clear it
            return self._fits[cache_key]
        if len(self._fits) >= _MAX_CACHED_FITS:
            self._fits.clear()
        differences = list[float]()
        observations, aligned = self.subject.observations, self._aligned_observations(lag)
        for own, other in zip(reversed(observations), reversed(aligned), strict=True):
            if other is None or own.fixing.date >= before:
                continue
            value = difference(code, base, own, other)
            if value is not None:
                differences.append(value)
                if len(differences) == _FIT_SAMPLES:
                    break
        fit = None
        if len(differences) >= _MIN_SAMPLES:
            offset = median(differences)
            fit = (offset, _MAD_TO_STANDARD_DEVIATION * median(abs(value - offset) for value in differences))
        self._fits[cache_key] = fit
        return fit

    def _aligned_observations(self, lag: Lag) -> list[Observation | None]:
        """Return what the witness had in force on the market day of each publication of the subject, oldest first."""
        if lag not in self._aligned:
            self._aligned[lag] = [self._in_force(own, lag) for own in self.subject.observations]
        return self._aligned[lag]

    def _in_force(self, own: Observation, lag: Lag) -> Observation | None:
        """Return the publication of the witness in force on the market day of one of the subject; None if too old."""
        days, day = self.witness.aligned_days(lag), self.aligned_day(own, lag)
        index = bisect_right(days, day) - 1
        if index >= 0 and day - days[index] <= _COMPARISON_WINDOW:
            return self.witness.observations[index]
        return None

    def _roughness(self, lag: Lag) -> float:
        """Return how much the difference of the two banks changes from date to date with this alignment.

        The common change of all currencies is removed, and the upper quartile of the rest is returned: neither a drift
        of the base nor of one currency must hide a lag.
        """
        changes, previous = list[float](), dict[str, float]()
        for own in self.subject.observations[-_LAG_DATES:]:
            other = self._in_force(own, lag)
            if other is None:
                continue
            shared = [
                code for code in own.fixing.rates if code not in LEVELS_DIFFER and other.fixing.quotes(code, code)
            ]
            if not shared:
                continue
            base = own.fixing.base
            reference = base if other.fixing.quotes(base, base) else shared[0]
            reference_difference = own.log(reference) - other.log(reference)
            current = {
                code: own.log(code) - other.log(code) - reference_difference for code in shared[:_LAG_CURRENCIES]
            }
            moves = [difference - previous[code] for code, difference in current.items() if code in previous]
            common = median(moves) if len(moves) >= _MIN_SHARED else 0.0
            changes += [abs(move - common) for move in moves]
            previous = current
        if len(changes) < _MIN_SAMPLES:
            return inf
        upper_quartile = 3 * len(changes) // 4
        return sorted(changes)[upper_quartile]


@dataclass(eq=False)
class CrossCheck:
    """The sources compared with each other. Rebuilt when one of them has changed; results are cached.

    `accepted` are rates that an operator has accepted, by source: for `_ACCEPTANCE_VALIDITY` other banks do not refute
    them.
    """

    witnesses: Mapping[str, Witness]
    tolerance: Tolerance = field(default_factory=Tolerance)
    accepted: Mapping[str, Sequence[Fixing]] = field(default_factory=dict)
    pairings: dict[tuple[str, str], Pairing] = field(default_factory=dict)
    """By the keys of subject and witness. Reused by the next cross-check: most sources have not published since."""
    _observations: dict[int, Observation] = field(default_factory=dict)
    _comparisons: dict[_RateKey, Assessment] = field(default_factory=dict)
    _assessments: dict[_RateKey, tuple[Fixing, Assessment]] = field(default_factory=dict)

    def assess(self, source: str, fixing: Fixing, code: str, base: str | None = None) -> Assessment:
        """Compare the rate of `code` in `base` (the fixing's own where None) with every other bank.

        A bank with the same base is the same bank, or a relay of it, and is not compared; of several with one base the
        one that agrees best counts. If only one other bank disputes the rate, it is left out if several banks refute
        most of its other rates of that day.
        """
        cache_key = (id(fixing), code, base or fixing.base)
        if cache_key not in self._assessments:  # the value holds the fixing, whose identity is the key
            self._assessments[cache_key] = (fixing, self._assess(source, fixing, code, base))
        return self._assessments[cache_key][1]

    def copied(self) -> "CrossCheck":
        """Return the same with caches of its own, for a validation; only the pairings are shared."""
        return replace(
            self,
            _observations=dict(self._observations),
            _comparisons=dict(self._comparisons),
            _assessments=dict(self._assessments),
        )

    def is_accepted(self, source: str, fixing: Fixing, code: str, after: date = date.min) -> bool:
        """Return whether an operator has accepted this rate, or one near it shortly before (but `after` a date)."""
        for accepted in self.accepted.get(source, ()):
            if code in accepted.rates and code in fixing.rates and after < accepted.date <= fixing.date:
                value, accepted_value = log_value(fixing, code), log_value(accepted, code)
                is_near = abs(value - accepted_value) <= _ACCEPTANCE_RANGE
                is_later_or_equal = fixing.date > accepted.date or value == accepted_value
                if is_near and is_later_or_equal and fixing.date - accepted.date <= _ACCEPTANCE_VALIDITY:
                    return True
        return False

    def _is_cross_accepted(self, source: str, fixing: Fixing, code: str, base: str) -> bool:
        """Return whether an operator has accepted a published rate that a cross is computed with.

        If it is computed with another one, other banks must not refute that.
        """
        published = {code, base} - {fixing.base}
        accepted = {each for each in published if self.is_accepted(source, fixing, each)}
        return bool(accepted) and not any(
            self._compare_with_all(source, fixing, each).refuted for each in published - accepted
        )

    @cached_property
    def _bases(self) -> frozenset[str]:
        """The base currencies of the sources that have rates."""
        return frozenset(witness.base for witness in self.witnesses.values() if witness.base)

    def _pairing(self, subject: Witness, witness: Witness) -> Pairing:
        cached = self.pairings.get((subject.key, witness.key))
        if cached and cached.subject is subject.publications and cached.witness is witness.publications:
            return cached
        pairing = self.pairings[subject.key, witness.key] = Pairing(subject.publications, witness.publications)
        return pairing

    def _assess(self, source: str, fixing: Fixing, code: str, base: str | None) -> Assessment:
        """Compare a rate with every other bank; without a decision, consider the rate before and the document."""
        if self._bases <= {fixing.base}:  # a backfill, or the first start: nothing to compare with
            return Assessment()
        assessment = self._compare_with_all(source, fixing, code, base)
        is_accepted = self._is_cross_accepted(source, fixing, code, base or fixing.base)
        is_decided = assessment.absolute or assessment.disagreeing or is_accepted
        if not is_decided and fixing.quotes(code, base or fixing.base):
            is_refuted = not assessment.agreeing and (
                self._is_far_first_rate(source, fixing, code, base, assessment)
                or self._remains_refuted(source, fixing, code, base, assessment)
            )
            is_document_checked = assessment.agreeing or not assessment.awaited
            is_document_refuted = is_document_checked and self._is_discredited(source, fixing, min_banks=1)
            return replace(assessment, discredited=bool(is_refuted or is_document_refuted))
        if len(assessment.disputing) != 1 or assessment.agreeing or assessment.contradicting:
            return assessment
        disputing = assessment.disputing[0]
        if disputing.other and self._is_discredited(disputing.source, disputing.other.fixing, min_banks=2):
            return Assessment()
        return assessment

    def _is_far_first_rate(self, source: str, fixing: Fixing, code: str, base: str | None, latest: Assessment) -> bool:
        """Return whether a source's first rate is far from the last rates of other banks.

        Without a past of its own it is only believed if others confirm it, or if it is near to what they published
        last. `latest` is the assessment of this rate.
        """
        subject = self.witnesses[source]
        rate = _ObservedRate(subject, subject.publications.observe(fixing), code, base or fixing.base)
        is_first = next(rate.previous(include_quarantined=True), None) is None
        return is_first and latest.distance > self.tolerance.limit

    def _remains_refuted(self, source: str, fixing: Fixing, code: str, base: str | None, latest: Assessment) -> bool:
        """Return whether the rate before was refuted, and this one has not returned since.

        It has returned if it is nearer to other banks or, if none of them can be compared with, nearer to the last rate
        that was not refuted. `latest` is the assessment of this rate.
        """
        subject = self.witnesses[source]
        rate = _ObservedRate(subject, subject.publications.observe(fixing), code, base or fixing.base)
        earlier_rates = sorted(
            rate.previous(include_quarantined=True),
            key=lambda earlier: earlier.observation.fixing.date,
            reverse=True,
        )
        for index, previous in enumerate(earlier_rates):
            assessment = self._compare_with_all(source, previous.observation.fixing, code, base)
            if not (assessment.agreeing or assessment.disagreeing):
                continue
            # If a single bank disputes the rate, it is unknown which of the two is wrong. If they never agreed, nothing
            # has changed until that bank has published for the day of the latest rate.
            is_certain = assessment.contradicting or len(assessment.disagreeing) > 1
            if latest.awaited and not is_certain:
                older_rates = earlier_rates[index + 1 :]
                is_certain = not any(
                    self._compare_with_all(source, older.observation.fixing, code, base).agreeing
                    for older in older_rates
                )
            if not assessment.refuted or not is_certain:
                return False
            if latest.awaited:
                return latest.distance > assessment.distance / 2
            for older in earlier_rates[index + 1 :]:
                if not self._compare_with_all(source, older.observation.fixing, code, base).refuted:
                    level = rate.level()
                    return abs(level - previous.level()) <= abs(level - older.level())
            return True
        return False

    def _is_discredited(self, source: str, fixing: Fixing, min_banks: int) -> bool:
        """Return whether most rates of a document are refuted, each by at least `min_banks` banks."""
        compared_count = refuted_count = 0
        for code in islice(fixing.rates, _DOCUMENT_SAMPLE):
            assessment = self._compare_with_all(source, fixing, code)
            if assessment.agreeing or assessment.disagreeing:
                compared_count += 1
                refuted_count += assessment.refuted and len(assessment.disagreeing) >= min_banks
            elif assessment.awaited:
                compared_count += 1
                is_far = assessment.distance > self.tolerance.limit
                refuted_count += is_far and len(assessment.awaited) >= min_banks
        return compared_count >= _MIN_SHARED - 1 and 2 * refuted_count > compared_count

    def _compare_with_all(self, source: str, fixing: Fixing, code: str, base: str | None = None) -> Assessment:
        subject, base = self.witnesses[source], base or fixing.base
        if code == base or {code, base} & subject.not_compared or not fixing.quotes(code, base):
            return Assessment()
        observation = self._observations.get(id(fixing))
        if observation is None:  # it holds the fixing, whose identity is the key
            observation = self._observations[id(fixing)] = subject.publications.observe(fixing)
        cache_key = (id(fixing), code, base)
        if cache_key not in self._comparisons:
            rate = _ObservedRate(subject, observation, code, base)
            self._comparisons[cache_key] = self._compare_with_witnesses(rate)
        return self._comparisons[cache_key]

    def _compare_with_witnesses(self, rate: _ObservedRate) -> Assessment:
        fixing, best_by_base = rate.observation.fixing, dict[str, Comparison]()
        for witness in self.witnesses.values():
            base = witness.base
            if witness is rate.subject or base is None or base == fixing.base:
                continue
            if witness.not_compared and {rate.code, rate.base} & witness.not_compared:
                continue
            comparison = self._compare(rate, witness)
            if comparison:
                best = best_by_base.get(base)
                if best is None or _rank(comparison) < _rank(best):
                    best_by_base[base] = comparison
        comparisons = list(best_by_base.values())
        agreeing = tuple(comparison for comparison in comparisons if comparison.agrees)
        if len(agreeing) < len(comparisons):
            differing = [comparison for comparison in comparisons if not comparison.agrees and not comparison.awaited]
            comparisons = [self._compare_on_own_day(rate, comparison, differing) for comparison in comparisons]
            agreeing = tuple(
                comparison
                for comparison in comparisons
                if comparison.agrees and not self._is_refuted_elsewhere(rate, comparison)
            )
        differing = _without_single_movers([comparison for comparison in comparisons if not comparison.agrees])
        if agreeing:
            differing = [comparison for comparison in differing if not self._is_repetition(rate, comparison)]
        if not differing or self._is_cross_accepted(rate.subject.key, fixing, rate.code, rate.base):
            return Assessment(agreeing)
        published = [comparison for comparison in differing if not comparison.awaited]
        return Assessment(
            agreeing,
            contradicting=tuple(comparison for comparison in published if not comparison.mover_unknown),
            disputing=tuple(comparison for comparison in published if comparison.mover_unknown),
            awaited=tuple(comparison for comparison in differing if comparison.awaited),
        )

    def _compare_on_own_day(
        self, rate: _ObservedRate, comparison: Comparison, differing: Sequence[Comparison]
    ) -> Comparison:
        """Return the comparison with what an agreeing bank has published for that very day, if that differs.

        The rate of a bank that is a publication behind may agree by chance on the day before. Its lag is an estimate,
        so its own day only counts if it has about the same level as one of the `differing` banks.
        """
        witness = self.witnesses[comparison.source]
        if not comparison.agrees or comparison.relative or not differing:
            return comparison
        if self._pairing(rate.subject, witness).lag is not Lag.WITNESS:
            return comparison
        own_day = self._compare_published(rate, witness, Lag.WITNESS)
        if own_day is None or own_day.agrees or own_day.relative or own_day.awaited:
            return comparison
        if any(_have_same_level(own_day, other) for other in differing):
            return self._with_mover(rate, witness, own_day, Lag.WITNESS)
        return comparison

    def _is_refuted_elsewhere(self, rate: _ObservedRate, agreeing: Comparison) -> bool:
        """Return whether an agreeing rate is itself refuted by most of the remaining banks: a copied fault."""
        subject, observation = self.witnesses[agreeing.source], agreeing.other
        if observation is None or not observation.fixing.quotes(rate.code, rate.base):
            return False
        agreeing_rate = rate._replace(subject=subject, observation=observation)
        agreement_by_base = dict[str, bool]()
        for witness in self.witnesses.values():
            base = witness.base
            if witness is subject or witness is rate.subject:
                continue
            if base is None or base in (rate.observation.fixing.base, observation.fixing.base):
                continue
            comparison = self._compare(agreeing_rate, witness)
            if comparison and not comparison.awaited and not comparison.other_moved:
                agreement_by_base[base] = agreement_by_base.get(base, False) or comparison.agrees
        return len(agreement_by_base) > 1 and 2 * sum(agreement_by_base.values()) < len(agreement_by_base)

    def _is_repetition(self, rate: _ObservedRate, comparison: Comparison) -> bool:
        """Return whether a bank only repeats its rate, or has published less often for that market day."""
        observation, witness = comparison.other, self.witnesses[comparison.source]
        if comparison.relative or comparison.awaited or observation is None:
            return False
        codes = {rate.code, rate.base} - {observation.fixing.base}
        previous = next(_ObservedRate(witness, observation, rate.code, rate.base).previous(), None)
        if previous is not None and all(previous.observation.log(code) == observation.log(code) for code in codes):
            return True
        pairing = self._pairing(rate.subject, witness)
        days = witness.publications.aligned_days(pairing.lag)
        day = pairing.aligned_day(rate.observation, pairing.lag)
        first, end = bisect_left(days, day), bisect_right(days, day)
        is_latest_day, count = end == len(days), end - first
        return is_latest_day and 0 < count <= rate.subject.publications.count_earlier_on_same_day(rate.observation)

    def _compare(self, rate: _ObservedRate, witness: Witness) -> Comparison | None:
        """Compare with what one bank has published or has in quarantine; None where nothing can be compared."""
        return self._pairing(rate.subject, witness).comparison(rate, witness, self._compare_anew)

    def _compare_anew(self, rate: _ObservedRate, witness: Witness) -> Comparison | None:
        lag = Lag.NONE
        published = self._compare_published(rate, witness, lag)
        if published is None or abs(published.deviation) > self.tolerance.floor / 2:
            lag = self._pairing(rate.subject, witness).lag
            if lag is not Lag.NONE:
                published = self._compare_published(rate, witness, lag)
        if published and published.agrees and not published.relative and not published.awaited:
            return published
        quarantined = self._compare_quarantined(rate, witness, lag) if witness.quarantined else None
        if quarantined and quarantined.agrees:
            return quarantined
        if published and published.agrees:
            return self._with_mover(rate, witness, quarantined, lag) if quarantined else published
        if rate.only_moves:
            return None
        if quarantined and (published is None or published.awaited):  # its rate of that day is in quarantine
            return self._with_mover(rate, witness, quarantined, lag)
        return self._with_mover(rate, witness, published, lag) if published else None

    def _with_mover(self, rate: _ObservedRate, witness: Witness, comparison: Comparison, lag: Lag) -> Comparison:
        """Return the comparison with the bank that moved since the two agreed, if that can be determined.

        The moves are measured from the publication at which they agreed best. The common move of the subject's rates is
        removed if only this rate differs; if most of them differ, the common move itself is the fault.
        """
        effective_date = rate.observation.fixing.date
        agreements = list[tuple[_ObservedRate, Comparison]]()
        for previous_rate in rate.previous():
            earlier = self._compare_published(previous_rate, witness, lag, fit_before=effective_date)
            if earlier and earlier.agrees and earlier.relative == comparison.relative:
                agreements.append((previous_rate, earlier))
                if len(agreements) == _MAX_AGREEMENTS:
                    break
        if not agreements:
            return comparison._replace(mover_unknown=True)

        agreed_rate, agreed_comparison = min(agreements, key=lambda agreement: abs(agreement[1].deviation))
        own_move = rate.level() - agreed_rate.level()
        if not self._most_rates_differ(rate, witness, comparison, lag):
            own_move -= rate.common_move(agreed_rate)
        other_move = own_move - (comparison.deviation - agreed_comparison.deviation)
        if abs(other_move) > 2 * abs(own_move):
            return comparison._replace(other_moved=True)
        return comparison._replace(mover_unknown=abs(own_move) <= 2 * abs(other_move))

    def _most_rates_differ(self, rate: _ObservedRate, witness: Witness, comparison: Comparison, lag: Lag) -> bool:
        """Return whether most rates of the document differ from the other bank as much as this one."""
        other = self._observation_in_force(rate, witness, lag)
        if comparison.relative or other is None or not other.fixing.quotes(rate.base, rate.base):
            return False
        median_difference = _median_difference(rate.observation, other)
        if median_difference is None:  # too few rates to distinguish one from most
            return True
        return abs(median_difference + other.log(rate.base)) > abs(comparison.deviation) / 2

    def _observation_in_force(self, rate: _ObservedRate, witness: Witness, lag: Lag) -> Observation | None:
        """Return the other bank's publication in force on the market day of a rate."""
        day = self._pairing(rate.subject, witness).aligned_day(rate.observation, lag)
        in_force = bisect_right(witness.publications.aligned_days(lag), day) - 1
        return witness.publications.observations[in_force] if in_force >= 0 else None

    def _compare_published(
        self, rate: _ObservedRate, witness: Witness, lag: Lag, fit_before: date | None = None
    ) -> Comparison | None:
        """Compare with the publication of that market day or, without one, with those around it.

        Offset and spread are estimated from the dates before `fit_before` (the rate's own date where None).
        """
        day = self._pairing(rate.subject, witness).aligned_day(rate.observation, lag)
        days, observations = witness.publications.aligned_days(lag), witness.publications.observations
        following = bisect_right(days, day)
        in_force = following - 1
        if following == len(days):
            is_compared = in_force >= 0 and day - days[in_force] <= _MAX_AWAITED_AGE
            nearby = [in_force] if is_compared else []
        elif in_force >= 0 and days[in_force] == day:
            nearby = [in_force]
        else:
            nearby = [
                index for index in (in_force, following) if index >= 0 and abs(days[index] - day) <= _COMPARISON_WINDOW
            ]
        for is_relative, difference in ((False, _absolute_difference), (True, _relative_difference)):
            differences, compared = list[float](), list[Observation]()
            for index in nearby:
                value = difference(rate.code, rate.base, rate.observation, observations[index])
                if value is not None:
                    differences.append(value)
                    compared.append(observations[index])
            if not differences:
                continue
            fit = self._deviation_and_tolerance(rate, witness, differences, difference, lag, fit_before)
            if fit is None:
                return None
            deviation, tolerance = fit
            nearest = differences.index(min(differences, key=abs))
            return Comparison(
                witness.key,
                deviation,
                tolerance,
                relative=is_relative or rate.only_moves,
                awaited=days[nearby[-1]] < day,
                other=compared[nearest],
            )
        return None

    def _compare_quarantined(self, rate: _ObservedRate, witness: Witness, lag: Lag) -> Comparison | None:
        """Compare with what the bank has in quarantine for about that day; None where nothing can be compared.

        It confirms a rate, since at a true jump the rates of two banks are quarantined until one confirms the other.
        If it does not agree, it is unknown which of the two is right.
        """
        day = self._pairing(rate.subject, witness).aligned_day(rate.observation, lag)
        nearest, nearest_distance = None, timedelta.max
        for other in witness.quarantined_observations:
            other_day = witness.publications.day_before(other.day) if lag is Lag.WITNESS else other.day
            distance = abs(other_day - day)
            if distance > _QUARANTINE_WINDOW or distance >= nearest_distance:
                continue
            difference = _absolute_difference(rate.code, rate.base, rate.observation, other)
            if difference is None:
                continue
            fit = self._deviation_and_tolerance(rate, witness, [difference], _absolute_difference, lag)
            if fit is None:
                continue
            deviation, tolerance = fit
            comparison = Comparison(witness.key, deviation, tolerance, relative=rate.only_moves, other=other)
            if comparison.agrees or other_day >= day:
                nearest, nearest_distance = comparison, distance
        return nearest

    def _deviation_and_tolerance(
        self,
        rate: _ObservedRate,
        witness: Witness,
        differences: Sequence[float],
        difference: Difference,
        lag: Lag,
        fit_before: date | None = None,
    ) -> tuple[float, float] | None:
        """Return the smallest deviation, without the lasting offset, and the tolerance for these two banks.

        None where only moves can be compared and the banks have too few dates in common for that.
        """
        smallest = min(differences, key=abs)
        if abs(smallest) <= self.tolerance.floor / 2:  # within the narrowest tolerance, whatever the offset may be
            return smallest, self.tolerance.floor
        pairing = self._pairing(rate.subject, witness)
        fit = pairing.fit(rate.code, rate.base, difference, lag, fit_before or rate.observation.fixing.date)
        if fit is None:
            return None if rate.only_moves else (smallest, self.tolerance.widest)
        offset, spread = fit
        if not rate.only_moves:
            offset = max(-self.tolerance.offset, min(self.tolerance.offset, offset))
        tolerance = min(max(_TOLERATED_SPREADS * spread, self.tolerance.floor), self.tolerance.widest)
        return min((value - offset for value in differences), key=abs), tolerance


def _without_single_movers(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons without those of a bank that moved alone.

    The fault is that bank's own, and is found when its rates are judged. If several banks moved to the same level, they
    are right, and all comparisons are returned.
    """
    movers = [comparison for comparison in comparisons if comparison.other_moved]
    if any(_have_same_level(first, second) for first, second in combinations(movers, 2)):
        return list(comparisons)
    return [comparison for comparison in comparisons if not comparison.other_moved]


def _have_same_level(first: Comparison, second: Comparison) -> bool:
    """Return whether two banks have about the same level."""
    return abs(first.deviation - second.deviation) <= max(first.tolerance, second.tolerance)


def _rank(comparison: Comparison) -> tuple[bool, bool, float]:
    """Return a sort key: comparisons that agree first, then absolute ones, then those with a narrow tolerance."""
    return (not comparison.agrees, comparison.relative, comparison.tolerance)
