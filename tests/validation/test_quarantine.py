"""What waits, and what becomes of it."""

from datetime import UTC, datetime, timedelta

from service.domain.fixing import Fixing
from service.validation.quarantine import KEEP, Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Verdict
from tests.support.fixings import day, fixing

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
ONE = fixing(day(3), USD="4750.9")


def refused(one: Fixing, reason: str = "a jump") -> Judgement:
    return Judgement(one, Verdict.REFUSED, held=one, reasons=(reason,))


def test_what_is_refused_waits_since_it_came() -> None:
    """Said again it is no news; other reasons are, and leave the beginning of the wait."""
    quarantine = Quarantine()
    assert quarantine.receive([refused(ONE)], NOW) == ([QuarantinedFixing(ONE, ("a jump",), NOW)], [])
    assert quarantine.receive([refused(ONE)], LATER) == ([], [])
    assert quarantine.receive([refused(ONE, "a jump, cbr +1%")], LATER) == (
        [QuarantinedFixing(ONE, ("a jump, cbr +1%",), NOW)],
        [],
    )
    other = fixing(day(3), USD="4800")
    assert quarantine.receive([refused(other)], LATER) == ([QuarantinedFixing(other, ("a jump",), LATER)], [])
    assert list(quarantine.waiting) == [day(3)]


def test_a_wait_ends_by_confirmation_or_by_correction() -> None:
    """The same figures accepted were confirmed; others were the bank's correction."""
    for figures, outcome in (("4750.9", Outcome.CONFIRMED), ("475.09", Outcome.WITHDRAWN)):
        quarantine = Quarantine()
        (waiting,), _ = quarantine.receive([refused(ONE)], NOW)
        good = fixing(day(3), USD=figures)
        taken = Judgement(good, Verdict.NEW, good)
        assert quarantine.receive([taken], LATER) == ([], [QuarantineDecision(waiting, outcome, LATER)])
        assert quarantine.waiting == {}


def test_what_the_bank_says_no_more_is_withdrawn() -> None:
    """Of the days that it was asked for; what lies before them goes on waiting."""
    early, late = fixing(day(1), USD="1"), fixing(day(6), USD="1")
    quarantine = Quarantine()
    quarantine.receive([refused(early), refused(ONE), refused(late)], NOW)
    gone = quarantine.withdraw(day(2), [day(2), day(3)], LATER)
    assert [(one.waiting.fixing, one.outcome) for one in gone] == [(late, Outcome.WITHDRAWN)]
    assert list(quarantine.waiting) == [day(1), day(3)]


def test_what_an_operator_rejected_is_not_said_again() -> None:
    """The same figures of the same day; others of that day are."""
    rejected = QuarantineDecision(QuarantinedFixing(ONE, ("a jump",), NOW), Outcome.REJECTED, NOW)
    quarantine = Quarantine.of([], [rejected])
    assert quarantine.receive([refused(ONE)], LATER) == ([], [])
    assert quarantine.waiting == {}
    assert len(quarantine.receive([refused(fixing(day(3), USD="4800"))], LATER)[0]) == 1


def test_the_last_word_of_an_operator_counts() -> None:
    """Rejected and then accepted after all; and what is rejected does not wait."""
    waiting = QuarantinedFixing(ONE, ("a jump",), NOW)
    rejected, accepted = (QuarantineDecision(waiting, outcome, NOW) for outcome in (Outcome.REJECTED, Outcome.ACCEPTED))
    assert not Quarantine.of([], [accepted, rejected]).is_rejected(ONE)
    assert Quarantine.of([waiting], [rejected, accepted]) == Quarantine({}, {day(3): (ONE,)}, decisions=(rejected,))


def test_the_quarantine_is_bounded() -> None:
    """A feed that is wrong for years fills no memory; the oldest dates give way, and are told."""
    quarantine = Quarantine()
    days = [day(1) + timedelta(days=number) for number in range(KEEP + 5)]
    changed, ended = quarantine.receive([refused(fixing(one, USD="1")) for one in days], NOW)
    assert len(quarantine.waiting) == len(changed) == KEEP
    assert [one.waiting.fixing.date for one in ended] == days[:5]


def test_decision_applies_to_rates_and_not_to_a_date() -> None:
    """What became of other figures of that day takes no rejection back."""
    other = fixing(day(3), USD="4800")
    decisions = [QuarantineDecision(QuarantinedFixing(one, (), NOW), outcome, NOW) for one, outcome in (
        (other, Outcome.WITHDRAWN), (other, Outcome.REJECTED), (ONE, Outcome.REJECTED))]  # fmt: skip
    assert Quarantine.of([], decisions[::2]).is_rejected(ONE)
    assert not Quarantine.of([], decisions[::2]).is_rejected(other)
    both = Quarantine.of([], decisions[1:])
    assert both.is_rejected(ONE)
    assert both.is_rejected(other)


def test_a_wait_ends_when_the_bank_goes_back_to_what_was_rejected() -> None:
    """It says no more what waited."""
    other = fixing(day(3), USD="4800")
    quarantine = Quarantine.of(
        [], [QuarantineDecision(QuarantinedFixing(ONE, ("a jump",), NOW), Outcome.REJECTED, NOW)]
    )
    (waiting,), _ = quarantine.receive([refused(other)], NOW)
    assert quarantine.receive([refused(ONE)], LATER) == ([], [QuarantineDecision(waiting, Outcome.WITHDRAWN, LATER)])
    assert quarantine.waiting == {}
