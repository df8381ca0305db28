"""Frequent polls while a publication is expected: one request each, for its date only."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service.domain.fixing import Fixing, Quotation
from service.domain.publication_schedule import effective_date, is_publication_day
from service.polling.poller import Poller
from service.settings import Settings
from tests.conftest import Clock
from tests.support import standin
from tests.support.fixings import fixing
from tests.support.pollers import polling
from tests.support.standin import Banks

TUESDAY = date(2026, 4, 14)
WEDNESDAY = TUESDAY + timedelta(days=1)
RATES = {"USD": "475.09", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"}


def usd(day: date) -> str:
    return f"{475 + day.toordinal() % 7 / 10:.2f}"


def known(settings: Settings) -> list[Fixing]:
    """Return the publications of two weeks up to Monday, each seen at 16:10 in Astana."""
    source = settings.sources["nbk"]
    days = (TUESDAY - timedelta(days=number) for number in range(14, 0, -1))
    return [
        replace(
            fixing(effective_date(source, day), "nbk", "KZT", Quotation.DIRECT, **{**RATES, "USD": usd(day)}),
            fetched_at=datetime(day.year, day.month, day.day, 11, 10, tzinfo=UTC),
        )
        for day in days
        if is_publication_day(source, day)
    ]


@pytest.fixture
async def poller(settings: Settings, clock: Clock, banks: Banks) -> AsyncIterator[Poller]:
    """Yield a poller at 16:08 on a Tuesday in Astana; that day's rates, for Wednesday, are expected from 16:05 on."""
    clock.time = datetime(2026, 4, 14, 11, 8, tzinfo=UTC)
    fixings = known(settings)
    banks.published["nbk"] = {each.date: RATES | {"USD": str(each.rates["USD"].value)} for each in fixings}
    async with polling(settings, clock) as poller:
        poller.memory.reset("nbk", fixings)
        yield poller


async def test_only_the_awaited_date_is_requested(poller: Poller, clock: Clock, banks: Banks) -> None:
    """After a poll of all dates; that it is not published yet is no failure."""
    await poller.poll("nbk")
    assert len(banks.targets) > 1
    banks.targets.clear()
    for _ in range(3):
        following = poller.memory.next_poll("nbk", clock())
        assert following - clock.time == timedelta(seconds=20)
        clock.time = following
        await poller.poll("nbk")
    assert banks.targets == ["/nbk/rss/get_rates.cfm?fdate=15.04.2026"] * 3
    assert poller.memory.states["nbk"].error is None

    banks.published["nbk"][WEDNESDAY] = RATES | {"USD": usd(TUESDAY)}
    clock.forward(seconds=20)
    await poller.poll("nbk")
    latest = poller.memory.series("nbk").latest
    assert latest
    assert latest.date == WEDNESDAY
    assert poller.memory.next_poll("nbk", clock()) - clock.time > timedelta(minutes=10)


async def test_only_the_missed_date_is_requested_after_the_window(poller: Poller, clock: Clock, banks: Banks) -> None:
    """The window closes at 19:00: polls until the next sweep cost one request each."""
    clock.time = datetime(2026, 4, 14, 15, 30, tzinfo=UTC)
    await poller.poll("nbk")
    banks.targets.clear()
    clock.forward(minutes=15)
    await poller.poll("nbk")
    assert banks.targets == ["/nbk/rss/get_rates.cfm?fdate=15.04.2026"]
    assert poller.memory.states["nbk"].error is None


async def test_only_the_quarantined_date_is_requested_until_it_is_corrected(
    poller: Poller, clock: Clock, banks: Banks
) -> None:
    """Which replaces it."""
    banks.published["nbk"][WEDNESDAY] = RATES | {"USD": "4750.90"}
    await poller.poll("nbk")
    assert list(poller.memory.quarantine["nbk"].waiting) == [WEDNESDAY]
    banks.targets.clear()
    clock.time = poller.memory.next_poll("nbk", clock())
    await poller.poll("nbk")
    assert banks.targets == ["/nbk/rss/get_rates.cfm?fdate=15.04.2026"]
    banks.published["nbk"][WEDNESDAY] = RATES | {"USD": usd(TUESDAY)}
    clock.forward(minutes=20)
    await poller.poll("nbk")
    assert not poller.memory.quarantine["nbk"].waiting
    latest = poller.memory.series("nbk").latest
    assert latest
    assert latest.date == WEDNESDAY


async def test_all_dates_are_requested_after_the_sweep(poller: Poller, clock: Clock, banks: Banks) -> None:
    """Corrections of the previous publication are found then."""
    poller._full_polls["nbk"] = clock.time - poller.memory.settings.sources["nbk"].sweep
    await poller.poll("nbk")
    assert len(banks.targets) > 1


async def test_failure_while_a_publication_is_expected_is_recorded(poller: Poller, clock: Clock, banks: Banks) -> None:
    await poller.poll("nbk")
    clock.forward(seconds=20)
    banks.faults["nbk"] = b"<html>maintenance</html>"
    await poller.poll("nbk")
    assert "is an HTML page" in (poller.memory.states["nbk"].error or "")


async def test_quarantine_is_kept_if_only_the_awaited_date_is_requested(
    poller: Poller, clock: Clock, banks: Banks
) -> None:
    """A response without its date does not mean that the bank has withdrawn it."""
    await poller.poll("nbk")
    monday_rates = max(banks.published["nbk"])
    banks.published["nbk"][WEDNESDAY] = RATES | {"USD": "4750.90"}
    clock.forward(seconds=20)
    await poller.poll("nbk")
    assert list(poller.memory.quarantine["nbk"].waiting) == [WEDNESDAY]
    assert monday_rates in {each.date for each in poller.memory.series("nbk").fixings}


async def test_all_dates_are_requested_after_a_missed_publication(poller: Poller, clock: Clock, banks: Banks) -> None:
    """Otherwise the new rate would be compared with the publication before the missed one."""
    monday = max(banks.published["nbk"])
    del banks.published["nbk"][monday]
    poller.memory.reset("nbk", [each for each in poller.memory.series("nbk").fixings if each.date != monday])
    await poller.poll("nbk")
    banks.published["nbk"] |= {monday: RATES | {"USD": "475.10"}, WEDNESDAY: RATES | {"USD": "475.30"}}
    clock.forward(seconds=20)
    await poller.poll("nbk")
    (snapshot,) = poller.memory.snapshots.values()
    assert (snapshot.quotes[0].date, snapshot.quotes[0].previous_date) == (WEDNESDAY, monday)


async def test_failed_poll_of_all_dates_is_repeated(poller: Poller, clock: Clock, banks: Banks) -> None:
    banks.faults["nbk"] = b"<html>maintenance</html>"
    await poller.poll("nbk")
    del banks.faults["nbk"]
    banks.targets.clear()
    clock.forward(minutes=1)
    await poller.poll("nbk")
    assert len(banks.targets) > 1


async def test_unreadable_rate_stays_reported_while_only_the_awaited_date_is_requested(
    poller: Poller, clock: Clock, banks: Banks
) -> None:
    latest = max(banks.published["nbk"])
    whole = standin.nbk(latest, banks.published["nbk"][latest])
    banks.faults[f"fdate={latest:%d.%m.%Y}"] = whole.replace(b"551.06", b"n/a")
    for _ in range(3):
        await poller.poll("nbk")
        assert "EUR" in poller.memory.states["nbk"].left_out[0]
        clock.forward(seconds=20)
