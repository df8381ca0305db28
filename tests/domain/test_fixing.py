"""A fixing, and a series of them."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from service.domain.fixing import REVISIONS, Fixing
from tests.support.fixings import day, fixing, later, series

FRIDAY = fixing(day(3), USD="475.09", RUB="5.87")


def test_carry_overs_are_no_baseline() -> None:
    """Saturday and Sunday that repeat Friday leave Friday the latest distinct fixing."""
    thursday, saturday, sunday = fixing(day(2), USD="478.77", RUB="5.87"), *_repeated(4, 5)
    assert series(thursday, FRIDAY, saturday, sunday).distinct == (thursday, FRIDAY)


def test_one_currency_that_stood_still_among_others_is_news() -> None:
    """The rouble did not move, the dollar did: a fixing of its own."""
    monday = fixing(day(6), USD="475.10", RUB="5.87")
    assert series(FRIDAY, monday).distinct == (FRIDAY, monday)


def test_another_nominal_for_the_same_rate_is_no_news() -> None:
    """587.0 for 100 repeats 5.87 for 1."""
    assert fixing(day(4), USD="475.090", RUB=("587.0", 100)).repeats(FRIDAY)


def test_a_series_is_found_by_date() -> None:
    """The fixing on, before and until a day; a new one takes the place of an earlier form."""
    thursday, (saturday,) = fixing(day(2), USD="478.77", RUB="5.87"), _repeated(4)
    known = series(thursday, FRIDAY)
    assert known.on(day(3)) is FRIDAY
    assert known.on(day(5)) is None
    assert known.before(day(3)) is thursday
    assert known.before(day(2)) is None
    assert known.until(day(2)).latest is thursday
    revised = replace(FRIDAY, digest="another")
    assert known.with_fixing(saturday, 9).with_fixing(revised, 9).fixings == (thursday, revised, saturday)
    assert known.with_fixing(saturday, 2).fixings == (FRIDAY, saturday)


def test_revisions_are_remembered_and_bounded() -> None:
    """What was replaced is kept, newest first, without revisions of its own."""
    current = FRIDAY
    for number in range(REVISIONS + 2):
        current = fixing(day(3), USD=str(number + 1), RUB="5.87").with_revision_of(current)
    assert len(current.revisions) == REVISIONS
    assert current.revisions[0].rates["USD"].value == Decimal(REVISIONS + 1)
    assert all(not earlier.revisions for earlier in current.revisions)


def _repeated(*days: int) -> list[Fixing]:
    return [replace(FRIDAY, date=day(number)) for number in days]


FIRST = fixing(day(3), USD="475.09")
SECOND = later(fixing(day(3), USD="476.00"))
THIRD = later(fixing(day(3), USD="477.00"), 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FIRST, SECOND.with_revision_of(FIRST)),
        (
            FIRST,
            replace(SECOND, fetched_at=FIRST.fetched_at - timedelta(days=1)).with_revision_of(FIRST),
        ),  # a clock is wrong
        (SECOND.with_revision_of(FIRST), THIRD.with_revision_of(SECOND.with_revision_of(FIRST))),
        (
            SECOND.with_revision_of(FIRST),
            replace(FIRST, fetched_at=THIRD.fetched_at).with_revision_of(SECOND.with_revision_of(FIRST)),
        ),  # back
        (SECOND, THIRD),  # neither knows of the other
        (SECOND.with_revision_of(FIRST), THIRD.with_revision_of(FIRST)),
        (SECOND, replace(THIRD, fetched_at=SECOND.fetched_at)),
    ],
)
def test_of_two_forms_one_is_the_later(old: Fixing, new: Fixing) -> None:
    """So that two instances that learnt each for itself agree in the end, and do not write over each other for ever."""
    assert new.supersedes(old)
    assert not old.supersedes(new)


def test_who_says_the_same_replaces_nothing() -> None:
    """The first receipt stays."""
    assert not later(FIRST).supersedes(FIRST)
    assert not FIRST.supersedes(later(FIRST))
