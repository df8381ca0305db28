"""Operator commands: accept, reject and retract rates."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from service.cli import maintenance
from service.domain.breaks import Break
from service.domain.fixing import Fixing
from service.errors import TickerError
from service.settings import Settings
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing, rates_digest
from tests.support.fixings import day, fixing, later

DAY = day(3)
WRONG = fixing(DAY, USD="4750.90", EUR="551.06")
CORRECT = fixing(DAY, USD="560.00", EUR="551.06")
Decide = Callable[..., Awaitable[None]]


@dataclass
class Operator:
    """Confirm or decline each prompt, and record the prompts."""

    agrees: bool = True
    prompts: list[str] = field(default_factory=list)

    def __call__(self, prompt: str) -> bool:
        self.prompts.append(prompt)
        return self.agrees


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """Yield the store that the settings name."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def decide(settings: Settings, operator: Operator) -> Decide:
    """Return a function that runs `quarantine accept` or `reject` for 3 April, in a thread with its own event loop."""

    async def decided(outcome: Outcome, *codes: str, digest: str | None = None, is_break: bool = False) -> None:
        await asyncio.to_thread(
            maintenance.decide, settings, "nbk", DAY, outcome, operator, codes, digest, is_break=is_break
        )

    return decided


@pytest.fixture
def retract(settings: Settings, operator: Operator) -> Decide:
    """Return a function that runs `retract` for 3 April."""

    async def retracted(*codes: str) -> None:
        await asyncio.to_thread(maintenance.retract, settings, "nbk", DAY, codes, operator)

    return retracted


async def quarantine_rates(store: Store, rates_on_date: Fixing, *reasons: str) -> None:
    """Quarantine rates with these reasons, or one per currency."""
    given_reasons = reasons or tuple(f"{code} moved" for code in sorted(rates_on_date.rates))
    await store.quarantine(QuarantinedFixing(rates_on_date, given_reasons, datetime(2026, 4, 2, 4, tzinfo=UTC)))


async def published_dollars(store: Store, on: date = DAY) -> list[str]:
    """Return the dollar rates of a date: the current one, then earlier revisions."""
    current = await store.fixing("nbk", on)
    return [str(form.rates["USD"].value) for form in (current, *current.revisions)] if current else []


def fetched_after_decisions(rates_on_date: Fixing) -> Fixing:
    """Return the fixing as if it had been fetched after all decisions of a test."""
    return replace(rates_on_date, fetched_at=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1))


async def test_rejection_can_be_reverted_once(store: Store, decide: Decide) -> None:
    """Afterwards nothing is left to accept, and the fixing is not stored as a revision of itself."""
    await quarantine_rates(store, CORRECT)
    await decide(Outcome.REJECTED)
    assert await published_dollars(store) == []
    await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00"]
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03 is not quarantined \(quarantined: none\)$"):
        await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00"]


async def test_rejection_of_a_revision_can_be_reverted(store: Store, decide: Decide) -> None:
    """The revised rates were published by an operator's decision."""
    await quarantine_rates(store, fixing(DAY, USD="475.09", EUR="551.06"))
    await decide(Outcome.ACCEPTED)
    await quarantine_rates(store, CORRECT)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00", "475.09"]


async def test_latest_of_several_rejections_is_reverted(
    store: Store, decide: Decide, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output names the rates that were published."""
    for rates in (WRONG, CORRECT):
        await quarantine_rates(store, rates)
        await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00"]
    assert capsys.readouterr().out.splitlines()[-1] == "nbk 2026-04-03: EUR 551.06, USD 560.00: accepted"


async def test_rejection_before_an_accepted_revision_is_final(store: Store, decide: Decide) -> None:
    """The later of two rejected revisions was accepted, which replaced the earlier one."""
    await quarantine_rates(store, WRONG)
    await decide(Outcome.REJECTED)
    await quarantine_rates(store, CORRECT)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    with pytest.raises(TickerError, match=r"the rejected rates have been replaced since: .*USD 560\.00 is published$"):
        await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00"]


async def test_rejected_rate_is_not_published_over_a_later_correction(store: Store, decide: Decide) -> None:
    """The error names the published rates that differ."""
    await quarantine_rates(store, WRONG)
    await decide(Outcome.REJECTED)
    await store.save(fetched_after_decisions(fixing(DAY, USD="476.00", EUR="551.06", JPY=("31.20", 10))))
    problem = "the rejected rates have been replaced since: JPY 31.20 for 10, USD 476.00 is published"
    with pytest.raises(TickerError, match=f"^nbk 2026-04-03: {problem}$"):
        await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["476.00"]


async def test_rejected_rate_published_anyway_is_not_published_twice(store: Store, decide: Decide) -> None:
    """The error reports that the rates are already published."""
    await quarantine_rates(store, WRONG)
    await decide(Outcome.REJECTED)
    await store.save(WRONG)
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03: the rejected rates are already published$"):
        await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["4750.90"]


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_decision_applies_to_quarantined_before_rejected_rates(
    store: Store, decide: Decide, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """The source corrected a rejected rate: the decision applies to the correction, which is quarantined too."""
    await quarantine_rates(store, WRONG)
    await decide(Outcome.REJECTED)
    await quarantine_rates(store, CORRECT)
    await decide(outcome)
    assert await published_dollars(store) == (["560.00"] if outcome is Outcome.ACCEPTED else [])
    assert capsys.readouterr().out.splitlines()[-1] == f"nbk 2026-04-03: EUR 551.06, USD 560.00: {outcome}"
    assert await store.waiting("nbk") == []


async def test_unusable_rate_cannot_be_accepted(store: Store, decide: Decide) -> None:
    """It can be rejected."""
    await quarantine_rates(store, fixing(DAY, USD="0"))
    with pytest.raises(TickerError, match=r"^nbk 2026-04-03 cannot be published: USD is 0 for 1"):
        await decide(Outcome.ACCEPTED)
    await decide(Outcome.REJECTED)
    assert await published_dollars(store) == []


async def test_date_beyond_the_banks_horizon_is_not_accepted(settings: Settings, store: Store) -> None:
    """Its rates would be stored but not served until that date, so they stay in quarantine."""
    future = datetime.now(UTC).date() + timedelta(days=400)
    await quarantine_rates(store, fixing(future, USD="475.09"))
    with pytest.raises(TickerError, match=rf"^nbk {future} cannot be published: the bank publishes up to \d{{4}}-"):
        await asyncio.to_thread(maintenance.decide, settings, "nbk", future, Outcome.ACCEPTED, Operator())
    assert [entry.fixing.date for entry in await store.waiting("nbk")] == [future]
    assert await store.decisions("nbk") == []


async def test_only_a_rejection_of_the_date_can_be_reverted(store: Store, decide: Decide) -> None:
    """A withdrawn rate was not rejected, and a rejection of another date does not count."""
    for rates, outcome in ((WRONG, Outcome.WITHDRAWN), (replace(CORRECT, date=day(4)), Outcome.REJECTED)):
        waiting = QuarantinedFixing(rates, (), datetime(2026, 4, 2, tzinfo=UTC))
        await store.record_decision(QuarantineDecision(waiting, outcome, datetime.now(UTC)))
    with pytest.raises(TickerError, match="nbk 2026-04-03 is not quarantined"):
        await decide(Outcome.ACCEPTED)


async def test_other_quarantined_dates_are_named(store: Store, decide: Decide) -> None:
    """The error helps to find the right date."""
    await quarantine_rates(store, replace(CORRECT, date=day(4)))
    with pytest.raises(TickerError, match=r"nbk 2026-04-03 is not quarantined \(quarantined: 2026-04-04\)"):
        await decide(Outcome.REJECTED)


async def test_unreadable_stored_fixing_does_not_prevent_rejection(store: Store, decide: Decide) -> None:
    """A later version may have written the stored fixing of that date."""
    await quarantine_rates(store, WRONG)
    await store._redis.hset(store._key("fixings", "nbk"), str(DAY), "{}")
    await decide(Outcome.REJECTED)
    assert await store.waiting("nbk") == []


async def test_rates_are_shown_before_confirmation(store: Store, decide: Decide, operator: Operator) -> None:
    """Without a digest the command prompts, with rates and reasons."""
    await quarantine_rates(store, CORRECT)
    operator.agrees = False
    with pytest.raises(TickerError) as declined:
        await decide(Outcome.ACCEPTED)
    assert operator.prompts == [
        "nbk 2026-04-03: EUR 551.06, USD 560.00\n  EUR moved\n  USD moved\nPublish these rates?"
    ]
    assert str(declined.value) == (
        "nbk 2026-04-03: not confirmed, nothing was changed; skip the confirmation with"
        f" --digest {rates_digest(CORRECT)}"
    )
    assert await published_dollars(store) == []
    assert len(await store.waiting("nbk")) == 1
    operator.agrees = True
    await decide(Outcome.REJECTED)
    assert operator.prompts[-1].endswith("Keep these rates unpublished, and stop reporting them?")


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_digest_replaces_the_confirmation(
    store: Store, decide: Decide, operator: Operator, outcome: Outcome
) -> None:
    """The digest identifies the rates that the operator has seen."""
    await quarantine_rates(store, CORRECT)
    await decide(outcome, digest=rates_digest(CORRECT))
    assert operator.prompts == []
    assert await published_dollars(store) == (["560.00"] if outcome is Outcome.ACCEPTED else [])


async def test_digest_of_other_rates_is_refused(store: Store, decide: Decide, operator: Operator) -> None:
    """The source changed the rates after the operator saw them: nothing is published, the error shows both."""
    await quarantine_rates(store, CORRECT)
    seen = rates_digest(CORRECT)
    await quarantine_rates(store, fixing(DAY, USD="0.01", EUR="551.06"))
    with pytest.raises(TickerError) as refused:
        await decide(Outcome.ACCEPTED, digest=seen)
    assert str(refused.value) == (
        f"nbk 2026-04-03: the quarantined rates do not match digest {seen}: they are EUR 551.06, USD 0.01"
        f" (digest {rates_digest(fixing(DAY, USD='0.01', EUR='551.06'))});"
        " list them again: python -m service quarantine"
    )
    assert await published_dollars(store) == []
    assert operator.prompts == []


def test_digest_depends_only_on_source_date_and_rates() -> None:
    """Digits, nominals, currencies, date and source change it; URL and time of the request do not."""
    others = [
        fixing(DAY, USD="560.0", EUR="551.06"),
        fixing(DAY, USD=("560.00", 10), EUR="551.06"),
        fixing(DAY, USD="560.00"),
        replace(CORRECT, date=day(4)),
        replace(CORRECT, source="cbr"),
    ]
    assert len({rates_digest(rates) for rates in (CORRECT, *others)}) == 6
    assert rates_digest(
        fetched_after_decisions(replace(CORRECT, url="http://elsewhere", digest="another"))
    ) == rates_digest(CORRECT)


def test_digest_distinguishes_the_sides_of_a_rate() -> None:
    """One side alone too; the exponent of a number does not count."""
    side, thousand = Decimal(555), Decimal("1E+3")
    rate = CORRECT.rates["USD"]
    sides = [(None, None), (side, None), (None, side), (side, side), (side, thousand)]
    rates = [replace(rate, buying=buying, selling=selling) for buying, selling in sides]
    digests = [rates_digest(replace(CORRECT, rates={"USD": each})) for each in rates]
    assert len(set(digests)) == len(sides)
    same = replace(rate, buying=side, selling=Decimal(1000))
    assert rates_digest(replace(CORRECT, rates={"USD": same})) == digests[-1]
    assert rates_digest(CORRECT) == "e86933c142d7"  # that of rates without sides, which operators may have noted


async def test_listing_prints_the_digest(settings: Settings, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table and as JSON, with rates and reasons."""
    await quarantine_rates(store, CORRECT)
    await asyncio.to_thread(maintenance.quarantine, settings, as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["digest"] == rates_digest(CORRECT)
    assert listed["rates"] == {"EUR": ["551.06", 1], "USD": ["560.00", 1]}
    assert listed["reasons"] == ["EUR moved", "USD moved"]
    await asyncio.to_thread(maintenance.quarantine, settings)
    assert rates_digest(CORRECT) in capsys.readouterr().out


async def test_single_currency_can_be_accepted(
    store: Store, decide: Decide, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other currencies stay in quarantine with their reasons; published rates of the date stay published."""
    await store.save(fixing(DAY, GBP="631.00"))
    await quarantine_rates(store, CORRECT)
    await decide(Outcome.ACCEPTED, "USD")
    stored = await store.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "GBP"}
    assert stored.revisions == ()
    (remaining,) = await store.waiting("nbk")
    assert (list(remaining.fixing.rates), remaining.reasons) == (["EUR"], ("EUR moved",))
    assert capsys.readouterr().out == "nbk 2026-04-03: USD 560.00: accepted\n"
    await decide(Outcome.REJECTED, "EUR")
    assert await store.waiting("nbk") == []
    decisions = [(decision.outcome, list(decision.waiting.fixing.rates)) for decision in await store.decisions("nbk")]
    assert decisions == [(Outcome.REJECTED, ["EUR"]), (Outcome.ACCEPTED, ["USD"])]


async def test_currency_that_is_not_quarantined_is_refused(store: Store, decide: Decide) -> None:
    """Nothing is decided; the error lists the quarantined rates."""
    await quarantine_rates(store, CORRECT)
    with pytest.raises(TickerError, match=r"GBP is not quarantined \(quarantined: EUR 551\.06, USD 560\.00\)$"):
        await decide(Outcome.ACCEPTED, "USD", "GBP")
    assert len(await store.waiting("nbk")) == 1
    assert await store.decisions("nbk") == []


async def test_accepted_correction_keeps_the_earlier_revision(store: Store, decide: Decide) -> None:
    """It revises the published rates and removes no currency."""
    await store.save(fixing(DAY, USD="475.09", EUR="551.06", GBP="631.00"))
    await quarantine_rates(store, fixing(DAY, USD="560.00"))
    await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00", "475.09"]
    stored = await store.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "EUR", "GBP"}


async def test_rate_of_an_earlier_document_is_added_to_its_revision(store: Store, decide: Decide) -> None:
    """The rate was rejected with a document that has been revised since; it is added to the revision."""
    first = fixing(DAY, EUR="548.62")
    revised = later(fixing(DAY, EUR="551.06"), 60).with_revision_of(first)
    await store.save(revised)
    await quarantine_rates(store, replace(first, rates=fixing(DAY, USD="4750.90").rates))
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    stored = await store.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates == {**revised.rates, **fixing(DAY, USD="4750.90").rates}
    assert (stored.digest, stored.revisions) == (revised.digest, (first,))


@pytest.mark.parametrize(
    ("old", "new", "factor", "unit_note"),
    [
        ("0.0235", "235.10", Decimal(10000), " (1 new = 10000 old)"),
        ("4750.90", "475.20", Decimal("0.1"), " (1 new = 0.1 old)"),
        ("100.00", "500.00", None, ""),
        (None, "235.10", None, ""),
    ],
)
async def test_break_can_be_declared_with_an_accepted_rate(
    store: Store,
    decide: Decide,
    capsys: pytest.CaptureFixture[str],
    old: str | None,
    new: str,
    factor: Decimal | None,
    unit_note: str,
) -> None:
    """The factor is the power of ten nearest to the change, or unknown if none is near; it is printed and stored."""
    if old:
        await store.save(fixing(day(2), USD=old))
    await quarantine_rates(store, fixing(DAY, USD=new))
    await decide(Outcome.ACCEPTED, is_break=True)
    printed = f"nbk 2026-04-03: USD {new}: accepted; USD has a new unit from that date on{unit_note}\n"
    assert capsys.readouterr().out == printed
    (decision,) = await store.decisions("nbk")
    assert decision.breaks == (Break("USD", DAY, factor),)
    assert Quarantine.of([], [decision]).breaks == decision.breaks


async def test_published_rates_can_be_retracted(
    store: Store, retract: Decide, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    """One currency or the whole date: removed, printed, and not published again when polled."""
    await store.save(CORRECT)
    await retract("USD")
    assert operator.prompts == ["nbk 2026-04-03: USD 560.00\nRetract these rates?"]
    assert capsys.readouterr().out == "nbk 2026-04-03: USD 560.00: retracted\n"
    stored = await store.fixing("nbk", DAY)
    assert stored is not None
    assert list(stored.rates) == ["EUR"]
    quarantine = Quarantine.of([], await store.decisions("nbk"))
    assert quarantine.without_rejected(CORRECT).rates.keys() == {"EUR"}
    await retract()
    assert await store.fixing("nbk", DAY) is None
    assert [decision.outcome for decision in await store.decisions("nbk")] == [Outcome.RETRACTED] * 2


async def test_retraction_can_be_reverted(store: Store, decide: Decide, retract: Decide) -> None:
    """`quarantine accept` publishes the rates again, beside those that stayed."""
    await store.save(CORRECT)
    await retract("USD")
    await decide(Outcome.ACCEPTED)
    assert await published_dollars(store) == ["560.00"]
    stored = await store.fixing("nbk", DAY)
    assert stored is not None
    assert stored.rates.keys() == {"USD", "EUR"}
    assert not Quarantine.of([], await store.decisions("nbk")).is_rejected(CORRECT.without(["EUR"]))


@pytest.mark.parametrize("codes", [(), ("USD", "GBP")])
async def test_only_published_rates_can_be_retracted(store: Store, retract: Decide, codes: tuple[str, ...]) -> None:
    """The error names the date and what is missing."""
    if codes:
        await store.save(CORRECT)
    with pytest.raises(TickerError, match=f"^nbk 2026-04-03{': GBP' if codes else ''} is not published"):
        await retract(*codes)
    assert await published_dollars(store) == (["560.00"] if codes else [])


async def test_declined_retraction_changes_nothing(store: Store, retract: Decide, operator: Operator) -> None:
    """The operator did not confirm."""
    await store.save(CORRECT)
    operator.agrees = False
    with pytest.raises(TickerError, match="not confirmed, nothing was changed"):
        await retract()
    assert await published_dollars(store) == ["560.00"]
    assert await store.decisions("nbk") == []
