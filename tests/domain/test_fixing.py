"""`Fixing` and `Series`."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.fixing import REVISIONS, Fixing
from tests.support.fixings import day, fixing, later, series, with_sides

FRIDAY = fixing(day(3), USD="475.09", RUB="5.87")


def test_carry_overs_are_not_distinct_fixings() -> None:
    """Saturday and Sunday repeat Friday, so Friday is the latest distinct fixing."""
    thursday, saturday, sunday = fixing(day(2), USD="478.77", RUB="5.87"), *_repeated(4, 5)
    assert series(thursday, FRIDAY, saturday, sunday).distinct == (thursday, FRIDAY)


def test_fixing_with_one_unchanged_currency_is_distinct() -> None:
    """The rouble did not move but the dollar did."""
    monday = fixing(day(6), USD="475.10", RUB="5.87")
    assert series(FRIDAY, monday).distinct == (FRIDAY, monday)


def test_same_rate_with_another_nominal_is_a_repetition() -> None:
    """587.0 for 100 repeats 5.87 for 1."""
    assert fixing(day(4), USD="475.090", RUB=("587.0", 100)).repeats(FRIDAY)


def test_series_is_looked_up_by_date() -> None:
    """Look up the fixing on, before and until a day; a new version replaces the old one."""
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


def test_number_of_revisions_is_bounded() -> None:
    """Replaced versions are kept, newest first, without revisions of their own."""
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
        ),  # a wrong clock
        (SECOND.with_revision_of(FIRST), THIRD.with_revision_of(SECOND.with_revision_of(FIRST))),
        (
            SECOND.with_revision_of(FIRST),
            replace(FIRST, fetched_at=THIRD.fetched_at).with_revision_of(SECOND.with_revision_of(FIRST)),
        ),  # reverted by the bank
        (SECOND, THIRD),  # neither is a revision of the other
        (SECOND.with_revision_of(FIRST), THIRD.with_revision_of(FIRST)),
        (SECOND, replace(THIRD, fetched_at=SECOND.fetched_at)),
    ],
)
def test_exactly_one_of_two_versions_supersedes_the_other(old: Fixing, new: Fixing) -> None:
    """Instances that fetched different versions converge instead of overwriting each other forever."""
    assert new.supersedes(old)
    assert not old.supersedes(new)


RESPONSES = [
    replace(fixing(day(3), USD=usd, EUR=eur), digest=f"{usd} {eur}") for usd in ("475", "476") for eur in ("551", "552")
]


@example([(RESPONSES[1], ""), (RESPONSES[0], "EUR")])
@given(st.lists(st.tuples(st.sampled_from(RESPONSES), st.sampled_from(["", "USD", "EUR"])), max_size=REVISIONS + 4))
def test_next_version_supersedes_the_published_one(steps: list[tuple[Fixing, str]]) -> None:
    """Whatever the bank returns to, and an operator retracts before; otherwise the store would keep the old one."""
    published = RESPONSES[0]
    for number, (response, retracted) in enumerate(steps, 1):
        published = published.without({retracted})
        document = later(response, number)
        new = published.updated_with(replace(document, digest=response.digest))
        if not document.is_part_of(published):
            assert new.supersedes(published)
            assert not published.supersedes(new)
            assert document.is_part_of(new)
            published = new


def test_quarantined_rates_that_are_published_are_no_revision() -> None:
    """The receipt is that of the later response."""
    published, document = fixing(day(3), USD="475"), fixing(day(3), USD="475", EUR="551")
    for first, second in ((published, later(document)), (later(published), document)):
        version = first.updated_with(second)
        assert (version.digest, version.revisions) == (later(document).digest, ())
        assert version.has_same_rates(document)


def test_repeated_fixing_does_not_supersede() -> None:
    """The metadata of the first response is kept."""
    assert not later(FIRST).supersedes(FIRST)
    assert not FIRST.supersedes(later(FIRST))


SIDED = with_sides(fixing(day(3), USD="475", JPY=("300", 100)), USD=("474", "476"))


@pytest.mark.parametrize("sides", [("474", "477"), ("473", "476"), ("474.5", "475.5")])
def test_change_of_buying_or_selling_alone_is_a_revision(sides: tuple[str, str]) -> None:
    """The rate is the same, but what was published is not."""
    corrected = later(with_sides(SIDED, USD=sides))
    assert not corrected.has_same_rates(SIDED)
    assert not SIDED.is_part_of(corrected)
    assert corrected.moves(SIDED, "USD", "KZT")
    assert not corrected.moves(SIDED, "JPY", "KZT")
    revised = corrected.with_revision_of(SIDED)
    assert revised.is_revised("USD", "KZT")
    assert revised.supersedes(SIDED)
    assert not SIDED.supersedes(revised)


def test_sides_of_another_nominal_are_the_same() -> None:
    assert SIDED.has_same_rates(with_sides(fixing(day(3), USD=("47500", 100), JPY="3"), USD=("47400.0", "47600")))


def test_rates_of_other_nominals_are_compared_in_all_digits() -> None:
    """A number has 30 digits; Python's default precision is 28."""
    digits = "475.123456789012345678901234567"
    of_hundred = fixing(day(3), USD=(digits.replace("475.12", "47512."), 100))
    assert fixing(day(3), USD=digits).has_same_rates(of_hundred)
    assert not fixing(day(3), USD=digits[:-1] + "8").has_same_rates(of_hundred)


def test_record_without_sides_is_no_other_version() -> None:
    """Records of earlier versions lack them: the bank has corrected nothing."""
    without = later(fixing(day(3), USD="475", JPY=("300", 100)))
    assert without.has_same_rates(SIDED)
    assert not without.supersedes(SIDED)
    assert not SIDED.supersedes(without)
    assert not SIDED.has_same_rates(fixing(day(3), USD="476", JPY=("300", 100)))
