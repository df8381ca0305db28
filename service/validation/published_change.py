"""The check by the bank's own word: where it publishes its absolute changes, ours must be the same. Pure.

A change is per nominal, against the publication before. The National Bank of Kazakhstan measures against the
day before, so that its changes are all zero on Sundays and Mondays: zeros throughout say nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from service.domain import publication_schedule
from service.domain.fixing import Fixing
from service.settings import SourceSettings


class Result(StrEnum):
    """What came of the comparison."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class Difference:
    """A currency whose own change is not ours; both in the bank's currency, per nominal."""

    code: str
    published: Decimal
    computed: Decimal


@dataclass(frozen=True, slots=True)
class Check:
    """The comparison of a fixing with the one of `against`, in `compared` currencies; `reason` where there is none."""

    result: Result
    against: date | None = None
    compared: int = 0
    differences: tuple[Difference, ...] = ()
    reason: str | None = None


def check(new: Fixing, before: Fixing | None, source: SourceSettings) -> Check:
    """Compare the bank's own changes with those since `before`, the fixing that is known before `new`."""
    own = {code: rate.change for code, rate in new.rates.items() if rate.change is not None}
    if not own:
        return Check(Result.NOT_COMPARED, reason="the bank publishes no changes")
    if before is None:
        return Check(Result.NOT_COMPARED, reason="no publication before it is known")
    if publication_schedule.between(source, before.date, new.date) > 1:
        reason = f"a publication between {before.date} and {new.date} is not known"
        return Check(Result.NOT_COMPARED, before.date, reason=reason)
    if not any(own.values()) and not new.repeats(before):
        return Check(
            Result.NOT_COMPARED, before.date, reason="the bank says zero throughout, as for a day without news"
        )
    differences = tuple(_differences(own, new, before))
    result = Result.DIFFERENT if differences else Result.EQUAL
    return Check(result, before.date, len(own.keys() & before.rates.keys()), differences)


def _differences(own: dict[str, Decimal], new: Fixing, before: Fixing) -> Iterator[Difference]:
    for code in sorted(own.keys() & before.rates.keys()):
        now, then = new.rates[code], before.rates[code]
        computed = now.value - then.value * now.nominal / then.nominal
        if computed != own[code]:
            yield Difference(code, own[code], computed)
