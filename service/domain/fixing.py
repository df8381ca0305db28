"""What a bank published for a date, and what makes it acceptable."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Protocol

REVISIONS = 10


class Quotation(StrEnum):
    """How a bank quotes: `nominal foreign = value native`, or the inverse."""

    DIRECT = "direct"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class Rate:
    """One published rate, digits as published.

    `change` is the bank's own *absolute* change per nominal, where it publishes one.
    """

    value: Decimal
    nominal: int = 1
    change: Decimal | None = None


class RateLike(Protocol):
    """One published rate, however it is stored: `nominal` of one currency are `value` of the other."""

    @property
    def value(self) -> Decimal: ...
    @property
    def nominal(self) -> int: ...


class RateTable:
    """What can be computed from published rates, however they are stored. A `Fixing` adds their receipt."""

    __slots__ = ()
    base: str
    date: date
    rates: Mapping[str, RateLike]
    direction: Quotation

    def value(self, code: str) -> Fraction:
        """Units of `base` for 1 unit of `code`, exactly; the base itself is worth 1."""
        return Fraction(*self._ratio(code))

    def cross(self, code: str, base: str) -> Fraction:
        """Units of `base` for 1 unit of `code`, through the source's own rate of the base."""
        if base == self.base:
            return self.value(code)
        (above, below), (over, under) = self._ratio(code), self._ratio(base)
        return Fraction(above * under, below * over)

    def _ratio(self, code: str) -> tuple[int, int]:
        """Return `value` as it comes: to reduce it is most of what a fraction costs."""
        if code == self.base:
            return 1, 1
        rate = self.rates[code]
        above, below = rate.value.as_integer_ratio()
        if self.direction is Quotation.INVERSE:
            return rate.nominal * below, above
        return above, rate.nominal * below

    def quotes(self, code: str, base: str) -> bool:
        """Return whether it has the rate of `code` in `base`, directly or as a cross."""
        return (code == self.base or code in self.rates) and (base == self.base or base in self.rates)

    def published(self, code: str) -> Decimal | None:
        """Return `value` with the published digits; None where it must be derived."""
        rate = self.rates.get(code)
        if rate is None or self.direction is Quotation.INVERSE:
            return None
        places = len(str(rate.nominal)) - 1
        return rate.value.scaleb(-places) if rate.nominal == 10**places else None

    def repeats(self, other: "RateTable") -> bool:
        """Return whether every currency that both quote has the same rate."""
        shared = self.rates.keys() & other.rates.keys()
        return bool(shared) and all(_same(self.rates[code], other.rates[code]) for code in shared)

    def carries_over(self, other: "RateTable") -> bool:
        """Return whether this is no new publication beside `other`: a weekend, a holiday, a frozen feed.

        A publication moves most currencies. One in ten at the most may move in a carry-over: a corrected digit makes
        no publication of a document that otherwise stands still.
        """
        shared = self.rates.keys() & other.rates.keys()
        moved = sum(not _same(self.rates[code], other.rates[code]) for code in shared)
        return bool(shared) and moved * 10 <= len(shared)

    def moves(self, other: "RateTable", code: str, base: str) -> bool:
        """Return whether the rate of `code` in `base`, which both quote, is another one than in `other`."""
        return any(one != self.base and not _same(self.rates[one], other.rates[one]) for one in {code, base})


@dataclass(frozen=True, slots=True)
class Fixing(RateTable):
    """What one source published for one effective date, with its receipt.

    `base` is the currency in which the source quotes; `fetched_at` is in UTC, whole seconds;
    `digest` is the SHA-256 of the raw answer, in hex.
    """

    source: str
    base: str
    date: date
    rates: Mapping[str, Rate]
    url: str
    fetched_at: datetime
    digest: str
    direction: Quotation = Quotation.DIRECT
    revisions: tuple["Fixing", ...] = ()
    """What the bank said of this date before, newest first; these have no revisions of their own."""

    def with_revision_of(self, earlier: "Fixing") -> "Fixing":
        """Return this fixing with its earlier forms: the first, which was shown, and the newest, `REVISIONS` in all."""
        forms = (replace(earlier, revisions=()), *earlier.revisions)
        return replace(self, revisions=forms if len(forms) <= REVISIONS else (*forms[: REVISIONS - 1], forms[-1]))

    def supersedes(self, stored: "Fixing") -> bool:
        """Return whether this is a later form of what is stored for its date; never both of two.

        Their revisions decide, whatever clocks say: the one with the other's response among its revisions is later. If
        both have, since a bank took a rate back, it is the one with more revisions. Otherwise it is the one that was
        fetched later; of one response the one with more rates, since quarantined rates are published later.
        """
        if self.same_figures(stored):
            return False
        revises, revised = self._revises(stored), stored._revises(self)  # noqa: SLF001 - of the same class
        if revises != revised:
            return revises
        if revises and len(self.revisions) != len(stored.revisions):
            return len(self.revisions) > len(stored.revisions)
        ours = (self.fetched_at, self.digest, len(self.rates))
        return ours > (stored.fetched_at, stored.digest, len(stored.rates))

    def _revises(self, other: "Fixing") -> bool:
        return any(one.digest == other.digest for one in self.revisions)

    def same_figures(self, other: "Fixing") -> bool:
        """Whether both say the same of the same currencies, however it was written."""
        return self.rates.keys() == other.rates.keys() and self.repeats(other)

    def is_part_of(self, other: "Fixing") -> bool:
        """Return whether all its rates stand in the other one too."""
        shared = self.rates.keys() <= other.rates.keys()
        return shared and all(_same(rate, other.rates[code]) for code, rate in self.rates.items())

    def without(self, codes: Collection[str]) -> "Fixing":
        """Return this fixing without the rates of some currencies."""
        return replace(self, rates={code: rate for code, rate in self.rates.items() if code not in codes})


def _same(one: RateLike, other: RateLike) -> bool:
    if one.nominal == other.nominal:
        return one.value == other.value
    return one.value * other.nominal == other.value * one.nominal


@dataclass(frozen=True)
class Series:
    """The fixings of one source, one a date, oldest first."""

    fixings: tuple[Fixing, ...] = ()

    @property
    def latest(self) -> Fixing | None:
        return self.fixings[-1] if self.fixings else None

    @cached_property
    def _news(self) -> list[bool]:
        """Whether each fixing is a publication and no carry-over of the one before it."""
        return [True, *(not new.carries_over(old) for old, new in pairwise(self.fixings))]

    @cached_property
    def distinct(self) -> tuple[Fixing, ...]:
        """The fixings without carry-overs: each the first day of its rates."""
        return tuple(fixing for fixing, is_news in zip(self.fixings, self._news, strict=False) if is_news)

    @property
    def latest_distinct(self) -> Fixing | None:
        """The first day of the latest rates; what repeats them since is no publication."""
        return self.distinct[-1] if self.fixings else None

    def quoting(self, code: str, base: str) -> "Series":
        """Return the part that has the rate of `code` in `base`."""
        if all(fixing.quotes(code, base) for fixing in self.fixings):
            return self
        return Series(tuple(fixing for fixing in self.fixings if fixing.quotes(code, base)))

    def publications(self, code: str, base: str) -> tuple[Fixing, ...]:
        """Return the publications of the rate of `code` in `base`, oldest first: each the first day of that rate.

        A rate that stands still while others move is published anew; one that moves in a carry-over is too.
        """
        found, last = list[Fixing](), -1
        for at, fixing in enumerate(self.fixings):
            if not fixing.quotes(code, base):
                continue
            if last < 0:
                is_news = True
            else:
                old = self.fixings[last]
                is_news = self._news[at] if last == at - 1 else not fixing.carries_over(old)
                is_news = is_news or fixing.moves(old, code, base)
            if is_news:
                found.append(fixing)
            last = at
        return tuple(found)

    def completed(self, document: Fixing) -> Fixing:
        """Return a document with what is published of its date already: rates in quarantine beside the others."""
        published = self.on(document.date)
        return replace(document, rates={**published.rates, **document.rates}) if published else document

    def on(self, day: date) -> Fixing | None:
        at = self._index(day)
        return self.fixings[at] if at < len(self.fixings) and self.fixings[at].date == day else None

    def before(self, day: date) -> Fixing | None:
        at = self._index(day)
        return self.fixings[at - 1] if at else None

    def until(self, day: date) -> "Series":
        """Return the part that is in force on `day`."""
        return (
            self
            if not self.fixings or self.fixings[-1].date <= day
            else Series(tuple(fixing for fixing in self.fixings if fixing.date <= day))
        )

    def within(self, first: date, last: date) -> tuple[Fixing, ...]:
        """Return the fixings from one day to another, both included."""
        end = bisect_right(self.fixings, last, key=lambda fixing: fixing.date)
        return self.fixings[self._index(first) : end]

    def with_fixing(self, new: Fixing, keep: int) -> "Series":
        """With `new` in its place (or in place of its earlier form), the `keep` latest dates."""
        others = [fixing for fixing in self.fixings if fixing.date != new.date]
        return Series(tuple(sorted([*others, new], key=lambda fixing: fixing.date)[-keep:]))

    def _index(self, day: date) -> int:
        return bisect_left(self.fixings, day, key=lambda fixing: fixing.date)
