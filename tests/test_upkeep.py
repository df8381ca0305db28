"""What an operator decides on what waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service import upkeep
from service.errors import TickerError
from service.fixings import Fixing
from service.quarantine import Decision, Outcome, Waiting
from service.settings import Settings
from service.store import Store
from tests.figures import day, fixing

DAY = day(3)
FALSE = fixing(DAY, USD="4750.90", EUR="551.06")
TRUE = fixing(DAY, USD="560.00", EUR="551.06")
Decide = Callable[[Outcome], Awaitable[None]]


@pytest.fixture
async def kept(settings: Settings) -> AsyncIterator[Store]:
    """Return the store of the settings."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


@pytest.fixture
def decide(settings: Settings) -> Decide:
    """Return the operator's command on the third of April, which has a loop of its own."""
    return lambda outcome: asyncio.to_thread(upkeep.decide, settings, "nbk", DAY, outcome)


async def wait(store: Store, one: Fixing) -> None:
    await store.quarantine(Waiting(one, ("a jump",), datetime(2026, 4, 2, 4, tzinfo=UTC)))


async def published(store: Store, on: date = DAY) -> list[str]:
    """Return the dollar of all forms of a day, the one in force first."""
    found = await store.fixing("nbk", on)
    return [str(form.rates["USD"].value) for form in (found, *found.revisions)] if found else []


def since(one: Fixing) -> Fixing:
    """Return it as it comes from the bank after all that an operator does here."""
    return replace(one, fetched_at=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1))


async def test_what_was_rejected_by_mistake_is_taken_back(kept: Store, decide: Decide) -> None:
    """Once: then nothing is left to take back, and no revision of itself is made."""
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    assert await published(kept) == []
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]
    with pytest.raises(TickerError, match="nbk: nothing waits for 2026-04-03; there is nothing"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]


async def test_a_revision_that_was_rejected_by_mistake_is_taken_back(kept: Store, decide: Decide) -> None:
    """What it revises was published before it was rejected, by an operator's word too."""
    await wait(kept, fixing(DAY, USD="475.09", EUR="551.06"))
    await decide(Outcome.ACCEPTED)
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00", "475.09"]


async def test_of_several_that_were_rejected_the_latest_is_taken_back(
    kept: Store, decide: Decide, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is told which it was, by the figures in which they differ."""
    for one in (FALSE, TRUE):
        await wait(kept, one)
        await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "nbk 2026-04-03: accepted, of 2 forms that were rejected the latest: USD 560.00"
    )


async def test_a_taken_back_form_is_no_rejected_one(kept: Store, decide: Decide) -> None:
    """Of two forms one was accepted after all: what was rejected before that is overtaken by it."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await wait(kept, TRUE)
    await decide(Outcome.REJECTED)
    await decide(Outcome.ACCEPTED)
    with pytest.raises(TickerError, match=r"nbk: what was rejected for 2026-04-03 .* is published: USD 560\.00"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["560.00"]


async def test_what_the_bank_corrected_since_is_not_published_over_it(kept: Store, decide: Decide) -> None:
    """The error names what is there by now, as far as it differs."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await kept.save(since(fixing(DAY, USD="476.00", EUR="551.06", JPY=("31.20", 10))))
    told = "what was rejected for 2026-04-03 has been overtaken, this is published: JPY 31.20 for 10, USD 476.00"
    with pytest.raises(TickerError, match=f"^nbk: {told}$"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["476.00"]


async def test_what_was_let_in_since_is_not_published_again(kept: Store, decide: Decide) -> None:
    """However it came in: it says the same."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await kept.save(FALSE)
    with pytest.raises(TickerError, match="nbk: what was rejected for 2026-04-03 is published already"):
        await decide(Outcome.ACCEPTED)
    assert await published(kept) == ["4750.90"]


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_what_waits_is_decided_on_and_not_what_was_rejected(
    kept: Store, decide: Decide, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bank has corrected itself, and that waits too."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await wait(kept, TRUE)
    await decide(outcome)
    assert await published(kept) == (["560.00"] if outcome is Outcome.ACCEPTED else [])
    assert capsys.readouterr().out.splitlines()[-1] == f"nbk 2026-04-03: {outcome}"
    assert await kept.waiting("nbk") == []


async def test_what_is_no_rate_is_published_by_nobody(kept: Store, decide: Decide) -> None:
    """It can be rejected."""
    await wait(kept, fixing(DAY, USD="0"))
    with pytest.raises(TickerError, match="the fixing of 2026-04-03 cannot be published by anybody: USD is 0 for 1"):
        await decide(Outcome.ACCEPTED)
    await decide(Outcome.REJECTED)
    assert await published(kept) == []


async def test_a_day_of_another_decision_has_nothing_to_take_back(kept: Store, decide: Decide) -> None:
    """What was withdrawn was not rejected, nor what is of another day."""
    for one, outcome in ((FALSE, Outcome.WITHDRAWN), (replace(TRUE, date=day(4)), Outcome.REJECTED)):
        await kept.decide(Decision(Waiting(one, (), datetime(2026, 4, 2, tzinfo=UTC)), outcome, datetime.now(UTC)))
    with pytest.raises(TickerError, match="nothing waits for 2026-04-03"):
        await decide(Outcome.ACCEPTED)


async def test_what_is_published_without_a_currency_is_told_so(kept: Store, decide: Decide) -> None:
    """The error says what it lacks of that which was rejected."""
    await wait(kept, FALSE)
    await decide(Outcome.REJECTED)
    await kept.save(since(fixing(DAY, USD="4750.90")))
    with pytest.raises(TickerError, match=r"this is published: no EUR$"):
        await decide(Outcome.ACCEPTED)


async def test_what_cannot_be_read_hinders_no_rejection(kept: Store, decide: Decide) -> None:
    """Of that day a later version has published something."""
    await wait(kept, FALSE)
    await kept._redis.hset(kept._key("fixings", "nbk"), str(DAY), "{}")
    await decide(Outcome.REJECTED)
    assert await kept.waiting("nbk") == []
