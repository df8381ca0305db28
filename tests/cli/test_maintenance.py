"""Commands of an operator: accept, reject and retract rates."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from service.cli import maintenance
from service.cli.maintenance import rates_digest
from service.domain.breaks import Break
from service.domain.fixing import Fixing
from service.errors import TickerError
from service.settings import Settings
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from tests.support.fixings import day, fixing, later

DAY = day(3)
FALSE = fixing(DAY, USD="4750.90", EUR="551.06")
TRUE = fixing(DAY, USD="560.00", EUR="551.06")
Decide = Callable[..., Awaitable[None]]


@dataclass
class Operator:
    """Confirms or declines what a command asks, and keeps the questions."""

    agrees: bool = True
    questions: list[str] = field(default_factory=list)

    def __call__(self, question: str) -> bool:
        self.questions.append(question)
        return self.agrees


@pytest.fixture
async def kept(settings: Settings) -> AsyncIterator[Store]:
    """Return the store of the settings."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def decide(settings: Settings, operator: Operator) -> Decide:
    """Return the command `quarantine accept` or `reject` for 3 April. It runs in a thread: it has its own loop."""

    async def decided(outcome: Outcome, *codes: str, digest: str | None = None, is_break: bool = False) -> None:
        await asyncio.to_thread(
            maintenance.decide, settings, "nbk", DAY, outcome, operator, codes, digest, is_break=is_break
        )

    return decided


@pytest.fixture
def retract(settings: Settings, operator: Operator) -> Decide:
    """Return the command `retract` for 3 April."""

    async def retracted(*codes: str) -> None:
        await asyncio.to_thread(maintenance.retract, settings, "nbk", DAY, codes, operator)

    return retracted


async def wait(store: Store, one: Fixing, *reasons: str) -> None:
    told = reasons or tuple(f"{code} moved" for code in sorted(one.rates))
    await store.quarantine(QuarantinedFixing(one, told, datetime(2026, 4, 2, 4, tzinfo=UTC)))


async def published(store: Store, on: date = DAY) -> list[str]:
    """Return the dollar of all forms of a day, the one in force first."""
    found = await store.fixing("nbk", on)
    return [str(form.rates["USD"].value) for form in (found, *found.revisions)] if found else []


def since(one: Fixing) -> Fixing:
    """Return the fixing as if it had been fetched after all decisions of a test."""
    return replace(one, fetched_at=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1))


async def test_rejection_can_be_taken_back_once(kept: Store, decide: Decide) -> None:
    """After that nothing is left to accept, and the fixing is no revision of itself."""
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    assert await published(kept) == []
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03 is not quarantined \(quarantined: none\)$"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]


async def test_rejection_of_a_revision_can_be_taken_back(kept: Store, decide: Decide) -> None:
    """What it revises was published before, also by an operator's decision."""
    await wait(kept, fixing(DAY, USD="475.09", EUR="551.06"))
    await decide(Outcome.ACCEPTED)
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00", "475.09"]


async def test_latest_of_several_rejections_is_taken_back(
    kept: Store, decide: Decide, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output names the rates that were published."""
    for one in (FALSE, TRUE):
        await wait(kept, one)
        await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]
    assert capsys.readouterr().out.splitlines()[-1] == "nbk 2026-04-03: EUR 551.06, USD 560.00: accepted"


async def test_rejection_before_an_accepted_form_cannot_be_taken_back(kept: Store, decide: Decide) -> None:
    """Of two rejected forms the later was accepted after all: that replaced the earlier one."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    with pytest.raises(TickerError, match=r"the rejected rates have been replaced since: .*USD 560\.00 is published$"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]


async def test_rejected_rate_is_not_published_over_a_later_correction(kept: Store, decide: Decide) -> None:
    """The error names the published rates that differ."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await kept.save(since(fixing(DAY, USD="476.00", EUR="551.06", JPY=("31.20", 10))))
    problem = "the rejected rates have been replaced since: JPY 31.20 for 10, USD 476.00 is published"
    with pytest.raises(TickerError, match=f"^nbk 2026-04-03: {problem}$"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["476.00"]


async def test_rejected_rate_that_is_published_anyway_is_not_published_again(kept: Store, decide: Decide) -> None:
    """The error says so."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await kept.save(FALSE)
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03: the rejected rates are already published$"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["4750.90"]


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_quarantined_rates_come_before_rejected_ones(
    kept: Store, decide: Decide, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source corrected a rejected rate, and the correction is quarantined too: the decision is about that."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await wait(kept, TRUE)
    await decide(outcome)
    assert await published(kept) == (["560.00"] if outcome is Outcome.ACCEPTED else [])
    assert capsys.readouterr().out.splitlines()[-1] == f"nbk 2026-04-03: EUR 551.06, USD 560.00: {outcome}"
    assert await kept.waiting("nbk") == []


async def test_unusable_rate_cannot_be_accepted(kept: Store, decide: Decide) -> None:
    """It can be rejected."""
    await wait(kept, fixing(DAY, USD="0"))
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03 cannot be published: USD is 0 for 1"):
        await decide(Outcome.ACCEPTED)
    await decide(Outcome.REJECTED)
    assert await published(kept) == []


async def test_date_that_the_bank_cannot_have_published_is_not_accepted(settings: Settings, kept: Store) -> None:
    """Its rates would be stored, but not served until that date; they stay in quarantine."""
    on = datetime.now(UTC).date() + timedelta(days=400)
    await wait(kept, fixing(on, USD="475.09"))
    with pytest.raises(TickerError, match=rf"^nbk {on} cannot be published: the bank publishes up to \d{{4}}-"):
        await asyncio.to_thread(maintenance.decide, settings, "nbk", on, Outcome.ACCEPTED, Operator())
    assert [entry.fixing.date for entry in await kept.waiting("nbk")] == [on]
    assert await kept.decisions("nbk") == []


async def test_only_a_rejection_of_the_date_can_be_taken_back(kept: Store, decide: Decide) -> None:
    """A withdrawn rate was not rejected, and a rejection of another date does not count."""
    for one, outcome in ((FALSE, Outcome.WITHDRAWN), (replace(TRUE, date=day(4)), Outcome.REJECTED)):
        waiting = QuarantinedFixing(one, (), datetime(2026, 4, 2, tzinfo=UTC))
        await kept.record_decision(QuarantineDecision(waiting, outcome, datetime.now(UTC)))
    with pytest.raises(TickerError, match="nbk 2026-04-03 is not quarantined"):
        await decide(Outcome.ACCEPTED)


async def test_other_quarantined_dates_are_named(kept: Store, decide: Decide) -> None:
    """The error helps to find the right date."""
    await wait(kept, replace(TRUE, date=day(4)))
    with pytest.raises(TickerError, match=r"nbk 2026-04-03 is not quarantined \(quarantined: 2026-04-04\)"):
        await decide(Outcome.REJECTED)


async def test_what_cannot_be_read_hinders_no_rejection(kept: Store, decide: Decide) -> None:
    """The stored fixing of that date was written by a later version."""
    await wait(kept, FALSE)
    await kept._redis.hset(kept._key("fixings", "nbk"), str(DAY), "{}")
    await decide(Outcome.REJECTED)
    assert await kept.waiting("nbk") == []


async def test_rates_are_shown_before_a_decision(kept: Store, decide: Decide, operator: Operator) -> None:
    """Without a digest the command asks, with rates and reasons in the question."""
    await wait(kept, TRUE)
    operator.agrees = False
    with pytest.raises(TickerError) as declined:
        await decide(Outcome.ACCEPTED)
    assert operator.questions == [
        "nbk 2026-04-03: EUR 551.06, USD 560.00\n  EUR moved\n  USD moved\nPublish these rates?"
    ]
    assert str(declined.value) == (
        f"nbk 2026-04-03: not confirmed, nothing was changed; skip the confirmation with --digest {rates_digest(TRUE)}"
    )
    assert await published(kept) == []
    assert len(await kept.waiting("nbk")) == 1
    operator.agrees = True
    await decide(Outcome.REJECTED)
    assert operator.questions[-1].endswith("Keep these rates unpublished, and stop reporting them?")


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_digest_replaces_the_question(kept: Store, decide: Decide, operator: Operator, outcome: Outcome) -> None:
    """It names the rates that the operator has seen."""
    await wait(kept, TRUE)
    await decide(outcome, digest=rates_digest(TRUE))
    assert operator.questions == []
    assert await published(kept) == (["560.00"] if outcome is Outcome.ACCEPTED else [])


async def test_digest_of_other_rates_is_refused(kept: Store, decide: Decide, operator: Operator) -> None:
    """The source changed the rates after the operator saw them: nothing is published, the error shows both."""
    await wait(kept, TRUE)
    seen = rates_digest(TRUE)
    await wait(kept, fixing(DAY, USD="0.01", EUR="551.06"))
    with pytest.raises(TickerError) as refused:
        await decide(Outcome.ACCEPTED, digest=seen)
    assert str(refused.value) == (
        f"nbk 2026-04-03: the quarantined rates do not match digest {seen}: they are EUR 551.06, USD 0.01"
        f" (digest {rates_digest(fixing(DAY, USD='0.01', EUR='551.06'))});"
        " list them again: python -m service quarantine"
    )
    assert await published(kept) == []
    assert operator.questions == []


def test_digest_depends_on_source_date_and_rates_alone() -> None:
    """Digits, nominals, currencies, date and source change it; when and from where it was fetched does not."""
    others = [
        fixing(DAY, USD="560.0", EUR="551.06"),
        fixing(DAY, USD=("560.00", 10), EUR="551.06"),
        fixing(DAY, USD="560.00"),
        replace(TRUE, date=day(4)),
        replace(TRUE, source="cbr"),
    ]
    assert len({rates_digest(one) for one in (TRUE, *others)}) == 6
    assert rates_digest(since(replace(TRUE, url="http://elsewhere", digest="another"))) == rates_digest(TRUE)


async def test_listing_prints_the_digest(settings: Settings, kept: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON, with rates and reasons."""
    await wait(kept, TRUE)
    await asyncio.to_thread(maintenance.quarantine, settings, as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["digest"] == rates_digest(TRUE)
    assert listed["rates"] == {"EUR": ["551.06", 1], "USD": ["560.00", 1]}
    assert listed["reasons"] == ["EUR moved", "USD moved"]
    await asyncio.to_thread(maintenance.quarantine, settings)
    assert rates_digest(TRUE) in capsys.readouterr().out


async def test_single_currency_can_be_accepted(kept: Store, decide: Decide, capsys: pytest.CaptureFixture[str]) -> None:
    """The others of the date stay in quarantine, with their reasons; what is published of the date stays too."""
    await kept.save(fixing(DAY, GBP="631.00"))
    await wait(kept, TRUE)
    await decide(Outcome.ACCEPTED, "USD")
    stored = await kept.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "GBP"}
    assert stored.revisions == ()
    (left,) = await kept.waiting("nbk")
    assert (list(left.fixing.rates), left.reasons) == (["EUR"], ("EUR moved",))
    assert capsys.readouterr().out == "nbk 2026-04-03: USD 560.00: accepted\n"
    await decide(Outcome.REJECTED, "EUR")
    assert await kept.waiting("nbk") == []
    decisions = [(one.outcome, list(one.waiting.fixing.rates)) for one in await kept.decisions("nbk")]
    assert decisions == [(Outcome.REJECTED, ["EUR"]), (Outcome.ACCEPTED, ["USD"])]


async def test_currency_that_is_not_quarantined_is_refused(kept: Store, decide: Decide) -> None:
    """Nothing is decided; the error names what is quarantined."""
    await wait(kept, TRUE)
    with pytest.raises(TickerError, match=r"GBP is not quarantined \(quarantined: EUR 551\.06, USD 560\.00\)$"):
        await decide(Outcome.ACCEPTED, "USD", "GBP")
    assert len(await kept.waiting("nbk")) == 1
    assert await kept.decisions("nbk") == []


async def test_accepted_correction_keeps_the_earlier_form(kept: Store, decide: Decide) -> None:
    """It revises what is published, and takes no currency away."""
    await kept.save(fixing(DAY, USD="475.09", EUR="551.06", GBP="631.00"))
    await wait(kept, fixing(DAY, USD="560.00"))
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00", "475.09"]
    stored = await kept.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "EUR", "GBP"}


async def test_rate_of_an_earlier_document_is_published_too(kept: Store, decide: Decide) -> None:
    """It was rejected with a document that a later one has revised since; its rate is added to that one."""
    first = fixing(DAY, EUR="548.62")
    revised = later(fixing(DAY, EUR="551.06"), 60).with_revision_of(first)
    await kept.save(revised)
    await wait(kept, replace(first, rates=fixing(DAY, USD="4750.90").rates))
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    stored = await kept.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates == {**revised.rates, **fixing(DAY, USD="4750.90").rates}
    assert (stored.digest, stored.revisions) == (revised.digest, (first,))


@pytest.mark.parametrize(
    ("old", "new", "factor", "told"),
    [
        ("0.0235", "235.10", Decimal(10000), " (1 new = 10000 old)"),
        ("4750.90", "475.20", Decimal("0.1"), " (1 new = 0.1 old)"),
        ("100.00", "500.00", None, ""),
        (None, "235.10", None, ""),
    ],
)
async def test_break_is_declared_with_an_accepted_rate(
    kept: Store,
    decide: Decide,
    capsys: pytest.CaptureFixture[str],
    old: str | None,
    new: str,
    factor: Decimal | None,
    told: str,
) -> None:
    """The factor is the power of ten next to the move, unknown where none is near; it is printed and stored."""
    if old:
        await kept.save(fixing(day(2), USD=old))
    await wait(kept, fixing(DAY, USD=new))
    await decide(Outcome.ACCEPTED, is_break=True)
    printed = f"nbk 2026-04-03: USD {new}: accepted; USD has a new unit from that date on{told}\n"
    assert capsys.readouterr().out == printed
    (decision,) = await kept.decisions("nbk")
    assert decision.breaks == (Break("USD", DAY, factor),)
    assert Quarantine.of([], [decision]).breaks == decision.breaks


async def test_published_rates_can_be_retracted(
    kept: Store, retract: Decide, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """One currency or the whole date: removed, printed, and kept out from then on."""
    await kept.save(TRUE)
    await retract("USD")
    assert operator.questions == ["nbk 2026-04-03: USD 560.00\nRetract these rates?"]
    assert capsys.readouterr().out == "nbk 2026-04-03: USD 560.00: retracted\n"
    stored = await kept.fixing("nbk", DAY)
    assert stored is not None
    assert list(stored.rates) == ["EUR"]
    quarantine = Quarantine.of([], await kept.decisions("nbk"))
    assert quarantine.without_rejected(TRUE).rates.keys() == {"EUR"}
    await retract()
    assert await kept.fixing("nbk", DAY) is None
    assert [one.outcome for one in await kept.decisions("nbk")] == [Outcome.RETRACTED] * 2


async def test_retraction_can_be_taken_back(kept: Store, decide: Decide, retract: Decide) -> None:
    """By `quarantine accept`: the rates are published again beside those that stayed."""
    await kept.save(TRUE)
    await retract("USD")
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]
    stored = await kept.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "EUR"}
    assert not Quarantine.of([], await kept.decisions("nbk")).is_rejected(TRUE.without(["EUR"]))


@pytest.mark.parametrize("codes", [(), ("USD", "GBP")])
async def test_only_published_rates_can_be_retracted(kept: Store, retract: Decide, codes: tuple[str, ...]) -> None:
    """The error names the date and what is missing."""
    if codes:
        await kept.save(TRUE)
    with pytest.raises(TickerError, match=f"^nbk 2026-04-03{': GBP' if codes else ''} is not published"):
        await retract(*codes)
    assert await published(kept) == (["560.00"] if codes else [])


async def test_declined_retraction_changes_nothing(kept: Store, retract: Decide, operator: Operator) -> None:
    """The answer to the question was no."""
    await kept.save(TRUE)
    operator.agrees = False
    with pytest.raises(TickerError, match="not confirmed, nothing was changed"):
        await retract()
    assert await published(kept) == ["560.00"]
    assert await kept.decisions("nbk") == []
