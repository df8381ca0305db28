"""The bank's own absolute changes against ours."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from service.domain.fixing import Fixing, Rate
from service.settings import load
from service.validation.published_change import Check, Difference, Result, check
from tests.support.fixings import day, fixing

NBK = load(environ={}).sources["nbk"]


def told(on: date, **figures: tuple[str, int, str]) -> Fixing:
    """Return a fixing of figures, nominals and the bank's own changes."""
    rates = {code: Rate(Decimal(value), nominal, Decimal(change)) for code, (value, nominal, change) in figures.items()}
    return replace(fixing(on), rates=rates)


WEDNESDAY = fixing(day(1), USD="478.77", JPY=("31.50", 10))


def test_equal_changes_are_reported_with_the_compared_dates() -> None:
    """Per nominal, digits aside; a currency that was not there before is not compared."""
    new = told(day(2), USD=("475.09", 1, "-3.68"), JPY=("31.6", 10, "0.1"), EUR=("551.06", 1, "2.44"))
    assert check(new, WEDNESDAY, NBK) == Check(Result.EQUAL, day(1), 2)


def test_another_nominal_is_reckoned_with() -> None:
    """Ten yen yesterday, a hundred today."""
    new = told(day(2), USD=("475.09", 1, "-3.68"), JPY=("316", 100, "1"))
    assert check(new, WEDNESDAY, NBK).result is Result.EQUAL


def test_difference_is_reported_with_both_numbers() -> None:
    """One currency differs, the other does not."""
    new = told(day(2), USD=("475.09", 1, "-3.86"), JPY=("31.6", 10, "0.1"))
    assert check(new, WEDNESDAY, NBK) == Check(
        Result.DIFFERENT, day(1), 2, (Difference("USD", Decimal("-3.86"), Decimal("-3.68")),)
    )


def test_one_zero_among_others_is_a_statement() -> None:
    """The dollar did move."""
    new = told(day(2), USD=("475.09", 1, "0.00"), JPY=("31.6", 10, "0.1"))
    assert [one.code for one in check(new, WEDNESDAY, NBK).differences] == ["USD"]


def test_the_zero_of_sunday_and_monday_is_known() -> None:
    """Zeros throughout: measured against the day before, which had the same figures."""
    saturday = told(day(4), USD=("475.09", 1, "-3.68"))
    sunday, monday = (told(day(number), USD=("475.09", 1, "0.00")) for number in (5, 6))
    assert check(saturday, fixing(day(3), USD="478.77"), NBK).result is Result.EQUAL
    assert check(sunday, saturday, NBK).result is Result.EQUAL
    assert check(monday, sunday, NBK).result is Result.EQUAL
    unknown = check(monday, fixing(day(3), USD="478.77"), NBK)  # Saturday's figures came with Monday's date
    assert (unknown.result, unknown.reason) == (
        Result.NOT_COMPARED,
        "the bank's changes are all zero, as on days without a publication",
    )


@pytest.mark.parametrize(
    ("new", "before", "reason"),
    [
        (fixing(day(2), USD="475.09"), WEDNESDAY, "the bank publishes no changes"),
        (told(day(2), USD=("475.09", 1, "-3.68")), None, "no earlier publication is known"),
        (
            told(day(2), USD=("475.09", 1, "-3.68")),
            fixing(day(31, 3), USD="481.00"),
            "a publication between 2026-03-31 and 2026-04-02 is missing",
        ),
    ],
)
def test_what_cannot_be_compared_is_no_difference(new: Fixing, before: Fixing | None, reason: str) -> None:
    """Without changes, without a predecessor, across a gap."""
    found = check(new, before, NBK)
    assert (found.result, found.reason) == (Result.NOT_COMPARED, reason)
