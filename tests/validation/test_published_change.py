"""Changes published by a bank compared with the computed ones."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from service.domain.fixing import Fixing, Rate
from service.settings import load
from service.validation.published_change import Check, Difference, Result, check
from tests.support.fixings import day, fixing

NBK = load(environ={}).sources["nbk"]


def with_changes(on: date, **values: tuple[str, int, str]) -> Fixing:
    """Return a fixing with values, nominals and published changes."""
    rates = {code: Rate(Decimal(value), nominal, Decimal(change)) for code, (value, nominal, change) in values.items()}
    return replace(fixing(on), rates=rates)


WEDNESDAY = fixing(day(1), USD="478.77", JPY=("31.50", 10))


def test_equal_changes_are_reported_with_the_compared_dates() -> None:
    """Changes are per nominal, trailing zeros aside; a currency without a previous rate is not compared."""
    new = with_changes(day(2), USD=("475.09", 1, "-3.68"), JPY=("31.6", 10, "0.1"), EUR=("551.06", 1, "2.44"))
    assert check(new, WEDNESDAY, NBK) == Check(Result.EQUAL, day(1), 2)


def test_changes_of_the_longest_numbers_are_compared_exactly() -> None:
    """With 30 digits each; only the last one differs."""
    old = fixing(day(1), USD="475.123456789012345678901234567")
    for change, result in (("0.100000000000000000000000001", Result.EQUAL), ("0.1", Result.DIFFERENT)):
        new = with_changes(day(2), USD=("475.223456789012345678901234568", 1, change))
        assert check(new, old, NBK).result is result


def test_changed_nominal_is_taken_into_account() -> None:
    """Ten yen yesterday, a hundred today."""
    new = with_changes(day(2), USD=("475.09", 1, "-3.68"), JPY=("316", 100, "1"))
    assert check(new, WEDNESDAY, NBK).result is Result.EQUAL


def test_difference_is_reported_with_both_numbers() -> None:
    """One currency differs, the other does not."""
    new = with_changes(day(2), USD=("475.09", 1, "-3.86"), JPY=("31.6", 10, "0.1"))
    assert check(new, WEDNESDAY, NBK) == Check(
        Result.DIFFERENT, day(1), 2, (Difference("USD", Decimal("-3.86"), Decimal("-3.68")),)
    )


def test_single_zero_change_is_compared() -> None:
    """The bank reports no change, but the dollar did move."""
    new = with_changes(day(2), USD=("475.09", 1, "0.00"), JPY=("31.6", 10, "0.1"))
    assert [difference.code for difference in check(new, WEDNESDAY, NBK).differences] == ["USD"]


def test_zero_changes_of_carry_overs_are_equal() -> None:
    """All changes are zero: compared with the day before, which has the same rates."""
    saturday = with_changes(day(4), USD=("475.09", 1, "-3.68"))
    sunday, monday = (with_changes(day(number), USD=("475.09", 1, "0.00")) for number in (5, 6))
    assert check(saturday, fixing(day(3), USD="478.77"), NBK).result is Result.EQUAL
    assert check(sunday, saturday, NBK).result is Result.EQUAL
    assert check(monday, sunday, NBK).result is Result.EQUAL
    unknown = check(monday, fixing(day(3), USD="478.77"), NBK)  # Saturday's rates came with Monday's date
    assert (unknown.result, unknown.reason) == (
        Result.NOT_COMPARED,
        "the bank's changes are all zero, as on days without a publication",
    )


@pytest.mark.parametrize(
    ("new", "before", "reason"),
    [
        (fixing(day(2), USD="475.09"), WEDNESDAY, "the bank publishes no changes"),
        (with_changes(day(2), USD=("475.09", 1, "-3.68")), None, "no earlier publication is known"),
        (
            with_changes(day(2), USD=("475.09", 1, "-3.68")),
            fixing(day(31, 3), USD="481.00"),
            "a publication between 2026-03-31 and 2026-04-02 is missing",
        ),
    ],
)
def test_incomparable_changes_are_not_a_difference(new: Fixing, before: Fixing | None, reason: str) -> None:
    """No published changes, no previous fixing, or a gap."""
    outcome = check(new, before, NBK)
    assert (outcome.result, outcome.reason) == (Result.NOT_COMPARED, reason)
