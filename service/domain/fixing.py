"""Fixings and series of fixings: what a source published for each effective date. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Context, Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Generic, Protocol, TypeVar

from pydantic import Field

REVISIONS = 10
"""Revisions of a fixing that are kept."""
MOST_DIGITS = 30
"""Maximum number of digits of a published number."""
EXACT = Context(prec=MOST_DIGITS)
"""Arithmetic that keeps all digits of a published number; Python's default context has 28."""
OptionalNumber = Annotated[Decimal | None, Field(exclude_if=lambda number: number is None)]
"""A number that most records lack: those without it are stored as before there was such a number."""


class Quotation(StrEnum):
    """How a bank quotes: `nominal foreign = value native` (direct), or `nominal native = value foreign` (inverse)."""

    DIRECT = "direct"
    INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class Rate:
    """One published rate, digits as published.

    `change` is the bank's own *absolute* change per nominal, if it publishes one. `buying` and `selling` are the rates
    at which it buys and sells the currency, per the same nominal, if it publishes them: in a direct quotation `buying`
    is the lower one, in an inverse one the higher one.
    """

    value: Decimal
    nominal: int = 1
    change: Decimal | None = None
    buying: OptionalNumber = None
    selling: OptionalNumber = None


class RateLike(Protocol):
    """Interface of a published rate: `nominal` units of one currency are worth `value` units of the other."""

    @property
    def value(self) -> Decimal: ...
    @property
    def nominal(self) -> int: ...
    @property
    def buying(self) -> Decimal | None: ...
    @property
    def selling(self) -> Decimal | None: ...


class RateTable:
    """Computations on the published rates of one date. `Fixing` adds the receipt."""

    __slots__ = ()
    base: str
    date: date
    rates: Mapping[str, RateLike]
    direction: Quotation
    revisions: Sequence["RateTable"]

    def value(self, code: str) -> Fraction:
        """Return the exact rate of `code`: units of `base` for 1 unit; 1 for the base itself."""
        return Fraction(*self._ratio(code))

    def cross(self, code: str, base: str) -> Fraction:
        """Return the exact cross rate: units of `base` for 1 unit of `code`, through the source's rate of `base`."""
        return Fraction(*self.cross_ratio(code, base))

    def cross_ratio(self, code: str, base: str) -> tuple[int, int]:
        """Return `cross` as an unreduced numerator and denominator, both positive: enough for a comparison."""
        numerator, denominator = self._ratio(code)
        if base == self.base:
            return numerator, denominator
        base_numerator, base_denominator = self._ratio(base)
        return numerator * base_denominator, denominator * base_numerator

    def _ratio(self, code: str) -> tuple[int, int]:
        """Return `value` as an unreduced numerator and denominator: reducing is most of the cost of a fraction."""
        if code == self.base:
            return 1, 1
        rate = self.rates[code]
        numerator, denominator = rate.value.as_integer_ratio()
        if self.direction is Quotation.INVERSE:
            return rate.nominal * denominator, numerator
        return numerator, rate.nominal * denominator

    def quotes(self, code: str, base: str) -> bool:
        """Return whether the table has the rate of `code` in `base`, directly or as a cross."""
        return (code == self.base or code in self.rates) and (base == self.base or base in self.rates)

    def published(self, code: str) -> Decimal | None:
        """Return `value` with the published digits; None if it must be derived."""
        rate = self.rates.get(code)
        return self.per_unit(rate.value, rate.nominal) if rate else None

    def per_unit(self, value: Decimal, nominal: int) -> Decimal | None:
        """Return a published value in units of `base` for 1 unit, with its digits; None if it must be derived."""
        if self.direction is Quotation.INVERSE:
            return None
        places = len(str(nominal)) - 1
        return EXACT.scaleb(value, -places) if nominal == 10**places else None

    def carries_over(self, other: "RateTable") -> bool:
        """Return whether this only repeats `other` and is not a new publication: a weekend, a holiday, a frozen feed.

        A publication changes most rates. In a carry-over at most one rate in ten may differ: a corrected digit in an
        otherwise unchanged document is not a publication.
        """
        shared = self.rates.keys() & other.rates.keys()
        moved_count = sum(not same_rate(self.rates[code], other.rates[code]) for code in shared)
        return bool(shared) and moved_count * 10 <= len(shared)

    def moves(self, other: "RateTable", code: str, base: str) -> bool:
        """Return whether the rate of `code` in `base` differs from that in `other`; both must quote it."""
        return any(not same_rate(self.rates[quoted], other.rates[quoted]) for quoted in {code, base} - {self.base})

    def is_revised(self, code: str, base: str) -> bool:
        """Return whether the source has corrected the rate of `code` in `base` since its first publication."""
        return any(version.quotes(code, base) and self.moves(version, code, base) for version in self.revisions)


@dataclass(frozen=True, slots=True)
class Fixing(RateTable):
    """The rates that one source published for one effective date, with their receipt.

    `base` is the currency in which the source quotes. `fetched_at` is in UTC, in whole seconds. `digest` is the SHA-256
    of the raw response, in hex. Rates that an operator has entered have a name in `entered_by`; their `fetched_at` is
    the time of the entry, `digest` that of the entered text, and `url` that of the source, which may be empty.
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
    """Earlier versions of this fixing, newest first; they have no revisions themselves."""
    entered_by: Annotated[str, Field(exclude_if=lambda name: not name)] = ""
    """Not stored for the rates of a bank."""

    def with_revision_of(self, earlier: "Fixing") -> "Fixing":
        """Return this fixing with `earlier` as its latest revision.

        At most `REVISIONS` are kept: the newest, and the first one, which was published.
        """
        versions = (replace(earlier, revisions=()), *earlier.revisions)
        kept = versions if len(versions) <= REVISIONS else (*versions[: REVISIONS - 1], versions[-1])
        return replace(self, revisions=kept)

    def updated_with(self, document: "Fixing") -> "Fixing":
        """Return the next version of this published fixing, which supersedes it: with the rates of a document added.

        A document without a rate that differs, e.g. with quarantined rates that are published now, makes no revision:
        the version has the receipt of the later response. It does if the bank returned to a response that was revised,
        or if an operator entered it, because each entry has an author. Once `REVISIONS` are kept, the new version
        supersedes this one only if it was fetched later.
        """
        rates = {**self.rates, **document.rates}
        changed = any(code in self.rates and not document.has_rate_of(self, code) for code in document.rates)
        if not changed and not document.entered_by:
            latest = max(document, self, key=lambda version: (version.fetched_at, version.digest))
            completed = replace(latest, rates=rates, revisions=self.revisions)
            if completed.supersedes(self):
                return completed
        return replace(document, rates=rates).with_revision_of(self)

    def supersedes(self, stored: "Fixing") -> bool:
        """Return whether this is a later version of the stored fixing of its date; never true both ways.

        Revisions decide, independently of clocks: the fixing with the other's response among its revisions is later. If
        both have, because the bank returned to an earlier rate, the one with more revisions is later. Otherwise it is
        the one that was fetched later; of one response the one with more rates, since quarantined rates are published
        later.
        """
        if self.has_same_rates(stored):
            return False
        revises, revised = self._revises(stored), stored._revises(self)  # noqa: SLF001 - of the same class
        if revises != revised:
            return revises
        if revises and len(self.revisions) != len(stored.revisions):
            return len(self.revisions) > len(stored.revisions)
        own_order = (self.fetched_at, self.digest, len(self.rates))
        return own_order > (stored.fetched_at, stored.digest, len(stored.rates))

    def _revises(self, other: "Fixing") -> bool:
        return any(revision.digest == other.digest for revision in self.revisions)

    def repeats(self, other: "Fixing") -> bool:
        """Return whether every currency that both quote has the same rate."""
        shared = self.rates.keys() & other.rates.keys()
        return bool(shared) and all(self.has_rate_of(other, code) for code in shared)

    def has_rate_of(self, other: "Fixing", code: str) -> bool:
        """Return whether both have the same rate of a currency that they quote.

        Buying and selling rates that an operator adds or removes make a difference.
        """
        rate, other_rate = self.rates[code], other.rates[code]
        is_same = same_rate(rate, other_rate)
        if not (is_same and self.entered_by and other.entered_by):
            return is_same
        return (rate.buying is rate.selling is None) == (other_rate.buying is other_rate.selling is None)

    def has_same_rates(self, other: "Fixing") -> bool:
        """Return whether both quote the same currencies at the same rates, whatever their nominals and digits."""
        return self.rates.keys() == other.rates.keys() and self.repeats(other)

    def is_part_of(self, other: "Fixing") -> bool:
        """Return whether the other fixing has all rates of this one, unchanged."""
        shared = self.rates.keys() <= other.rates.keys()
        return shared and all(same_rate(rate, other.rates[code]) for code, rate in self.rates.items())

    def without(self, codes: Collection[str]) -> "Fixing":
        """Return this fixing without the rates of some currencies."""
        if not codes:
            return self
        return replace(self, rates={code: rate for code, rate in self.rates.items() if code not in codes})


def same_rate(rate: RateLike, other: RateLike) -> bool:
    """Return whether two rates are equal, whatever their nominals and digits.

    A buying or selling rate that only one of them has makes no difference: records of earlier versions lack them.
    """
    if rate.nominal == other.nominal:
        is_same = rate.value == other.value
    else:
        is_same = Fraction(rate.value) * other.nominal == Fraction(other.value) * rate.nominal
    if not is_same or rate.buying is rate.selling is None or other.buying is other.selling is None:
        return is_same
    sides = ((rate.buying, other.buying), (rate.selling, other.selling))
    return all(own is None or others is None or own * other.nominal == others * rate.nominal for own, others in sides)


T = TypeVar("T", bound=RateTable)


@dataclass(frozen=True)
class RateTables(Generic[T]):
    """Rate tables of one source, one per date, oldest first."""

    tables: Sequence[T]

    @cached_property
    def news(self) -> list[bool]:
        """Whether each table is a new publication, as opposed to a carry-over of the one before."""
        return [True, *(not new.carries_over(old) for old, new in pairwise(self.tables))]

    def publications(self, code: str, base: str) -> tuple[T, ...]:
        """Return the publications of a rate, see `Series.publications`."""
        publications, last_index = list[T](), -1
        for index, table in enumerate(self.tables):
            if not table.quotes(code, base):
                continue
            if last_index < 0:
                is_news = True
            else:
                previous = self.tables[last_index]
                is_news = self.news[index] if last_index == index - 1 else not table.carries_over(previous)
                is_news = is_news or table.moves(previous, code, base)
            if is_news:
                publications.append(table)
            last_index = index
        return tuple(publications)


@dataclass(frozen=True)
class Series:
    """The fixings of one source, one per date, oldest first."""

    fixings: tuple[Fixing, ...] = ()

    @property
    def latest(self) -> Fixing | None:
        return self.fixings[-1] if self.fixings else None

    @cached_property
    def _tables(self) -> RateTables[Fixing]:
        return RateTables(self.fixings)

    @cached_property
    def distinct(self) -> tuple[Fixing, ...]:
        """The fixings without carry-overs: each is the first day of its rates."""
        return tuple(fixing for fixing, is_news in zip(self.fixings, self._tables.news, strict=False) if is_news)

    @property
    def latest_distinct(self) -> Fixing | None:
        """The latest publication: the first day of the latest rates, carry-overs excluded."""
        return self.distinct[-1] if self.fixings else None

    def quoting(self, code: str, base: str) -> "Series":
        """Return the fixings that have the rate of `code` in `base`."""
        if all(fixing.quotes(code, base) for fixing in self.fixings):
            return self
        return Series(tuple(fixing for fixing in self.fixings if fixing.quotes(code, base)))

    def publications(self, code: str, base: str) -> tuple[Fixing, ...]:
        """Return the publications of the rate of `code` in `base`, oldest first: each is the first day of that rate.

        An unchanged rate in a new publication counts, and so does a rate that changes in a carry-over.
        """
        return self._tables.publications(code, base)

    def completed(self, document: Fixing) -> Fixing:
        """Return a document completed with the already published rates of its date, e.g. for quarantined rates."""
        published = self.on(document.date)
        return replace(document, rates={**published.rates, **document.rates}) if published else document

    def on(self, day: date) -> Fixing | None:
        index = self._index(day)
        return self.fixings[index] if index < len(self.fixings) and self.fixings[index].date == day else None

    def before(self, day: date) -> Fixing | None:
        index = self._index(day)
        return self.fixings[index - 1] if index else None

    def until(self, day: date) -> "Series":
        """Return the fixings with an effective date up to `day`."""
        if not self.fixings or self.fixings[-1].date <= day:
            return self
        return Series(tuple(fixing for fixing in self.fixings if fixing.date <= day))

    def within(self, first: date, last: date) -> tuple[Fixing, ...]:
        """Return the fixings dated from `first` to `last`, both included."""
        end = bisect_right(self.fixings, last, key=lambda fixing: fixing.date)
        return self.fixings[self._index(first) : end]

    def with_fixing(self, new: Fixing, keep: int) -> "Series":
        """Return the series with `new` added or replaced by date, limited to the `keep` latest dates."""
        others = [fixing for fixing in self.fixings if fixing.date != new.date]
        return Series(tuple(sorted([*others, new], key=lambda fixing: fixing.date)[-keep:]))

    def _index(self, day: date) -> int:
        return bisect_left(self.fixings, day, key=lambda fixing: fixing.date)
