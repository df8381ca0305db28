"""`Quarantine`: entries, their outcomes and decisions of operators."""

from datetime import UTC, datetime, timedelta

from service.domain.fixing import Fixing
from service.validation.quarantine import KEEP, Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, Verdict
from tests.support.fixings import day, fixing

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
SUSPICIOUS = fixing(day(3), USD="4750.9")


def refusal(fixing_: Fixing, reason: str = "a jump") -> Judgement:
    return Judgement(fixing_, Verdict.REFUSED, held=fixing_, reasons=(reason,))


def test_refused_fixing_is_quarantined_since_its_first_response() -> None:
    """A repetition changes nothing; new reasons replace the old ones but keep the start time."""
    quarantine = Quarantine()
    assert quarantine.receive([refusal(SUSPICIOUS)], NOW) == ([QuarantinedFixing(SUSPICIOUS, ("a jump",), NOW)], [])
    assert quarantine.receive([refusal(SUSPICIOUS)], LATER) == ([], [])
    assert quarantine.receive([refusal(SUSPICIOUS, "a jump, cbr +1%")], LATER) == (
        [QuarantinedFixing(SUSPICIOUS, ("a jump, cbr +1%",), NOW)],
        [],
    )
    other = fixing(day(3), USD="4800")
    assert quarantine.receive([refusal(other)], LATER) == ([QuarantinedFixing(other, ("a jump",), LATER)], [])
    assert list(quarantine.waiting) == [day(3)]


def test_quarantine_ends_by_confirmation_or_correction() -> None:
    """The same rate is published once confirmed; another one is the bank's correction."""
    for value, outcome in (("4750.9", Outcome.CONFIRMED), ("475.09", Outcome.WITHDRAWN)):
        quarantine = Quarantine()
        (waiting,), _ = quarantine.receive([refusal(SUSPICIOUS)], NOW)
        published = fixing(day(3), USD=value)
        judgement = Judgement(published, Verdict.NEW, published)
        assert quarantine.receive([judgement], LATER) == ([], [QuarantineDecision(waiting, outcome, LATER)])
        assert quarantine.waiting == {}


def test_unpublished_fixing_is_withdrawn() -> None:
    """Only for requested dates; entries before them are kept."""
    early, late = fixing(day(1), USD="1"), fixing(day(6), USD="1")
    quarantine = Quarantine()
    quarantine.receive([refusal(early), refusal(SUSPICIOUS), refusal(late)], NOW)
    withdrawn = quarantine.withdraw(day(2), [day(2), day(3)], LATER)
    assert [(decision.waiting.fixing, decision.outcome) for decision in withdrawn] == [(late, Outcome.WITHDRAWN)]
    assert list(quarantine.waiting) == [day(1), day(3)]


def test_rejected_rate_is_not_quarantined_again() -> None:
    """Only the same rate of the same day; another rate of that day is."""
    rejected = QuarantineDecision(QuarantinedFixing(SUSPICIOUS, ("a jump",), NOW), Outcome.REJECTED, NOW)
    quarantine = Quarantine.of([], [rejected])
    assert quarantine.receive([refusal(SUSPICIOUS)], LATER) == ([], [])
    assert quarantine.waiting == {}
    assert len(quarantine.receive([refusal(fixing(day(3), USD="4800"))], LATER)[0]) == 1


def test_latest_decision_applies() -> None:
    """A rejected rate was accepted later; a rejected rate is not quarantined."""
    waiting = QuarantinedFixing(SUSPICIOUS, ("a jump",), NOW)
    rejected, accepted = (QuarantineDecision(waiting, outcome, NOW) for outcome in (Outcome.REJECTED, Outcome.ACCEPTED))
    assert not Quarantine.of([], [accepted, rejected]).is_rejected(SUSPICIOUS)
    assert Quarantine.of([waiting], [rejected, accepted]) == Quarantine(
        {}, {day(3): (SUSPICIOUS,)}, decisions=(rejected,)
    )


def test_number_of_quarantined_dates_is_bounded() -> None:
    """A source that is wrong for years does not fill the memory; the oldest dates are evicted and reported."""
    quarantine = Quarantine()
    days = [day(1) + timedelta(days=number) for number in range(KEEP + 5)]
    changed, ended = quarantine.receive([refusal(fixing(on, USD="1")) for on in days], NOW)
    assert len(quarantine.waiting) == len(changed) == KEEP
    assert [decision.waiting.fixing.date for decision in ended] == days[:5]


def test_decision_applies_to_rates_not_to_dates() -> None:
    """The outcome of another rate of that day does not revoke a rejection."""
    other = fixing(day(3), USD="4800")
    decisions = [QuarantineDecision(QuarantinedFixing(decided, (), NOW), outcome, NOW) for decided, outcome in (
        (other, Outcome.WITHDRAWN), (other, Outcome.REJECTED), (SUSPICIOUS, Outcome.REJECTED))]  # fmt: skip
    assert Quarantine.of([], decisions[::2]).is_rejected(SUSPICIOUS)
    assert not Quarantine.of([], decisions[::2]).is_rejected(other)
    both = Quarantine.of([], decisions[1:])
    assert both.is_rejected(SUSPICIOUS)
    assert both.is_rejected(other)


def test_quarantine_ends_when_a_rejected_rate_is_repeated() -> None:
    """The bank no longer publishes the quarantined rate."""
    other = fixing(day(3), USD="4800")
    quarantine = Quarantine.of(
        [], [QuarantineDecision(QuarantinedFixing(SUSPICIOUS, ("a jump",), NOW), Outcome.REJECTED, NOW)]
    )
    (waiting,), _ = quarantine.receive([refusal(other)], NOW)
    assert quarantine.receive([refusal(SUSPICIOUS)], LATER) == (
        [],
        [QuarantineDecision(waiting, Outcome.WITHDRAWN, LATER)],
    )
    assert quarantine.waiting == {}


def test_rejected_rate_leaves_the_reasons_of_the_others() -> None:
    rejection = QuarantineDecision(QuarantinedFixing(fixing(day(3), EUR="5.51"), (), NOW), Outcome.REJECTED, NOW)
    quarantine = Quarantine.of([], [rejection])
    document = fixing(day(3), USD="4750.9", EUR="5.51", GBP="631.87")
    held = document.without({"GBP"})
    judgement = Judgement(document, Verdict.NEW, held=held, reasons=("EUR: an operator has rejected it", "USD moved"))
    (waiting,), _ = quarantine.receive([judgement], NOW)
    assert (list(waiting.fixing.rates), waiting.reasons) == (["USD"], ("USD moved",))
