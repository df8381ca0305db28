"""The past of a source: asked for step by step, cut off, gone on with, judged."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.domain.fixing import Fixing
from service.errors import TickerError
from service.polling import backfill
from service.polling.backfill import Backfill, Count
from service.settings import Settings
from service.settings.loader import ROOT
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import Outcome, QuarantineDecision
from tests.conftest import Clock
from tests.support.fixings import day
from tests.support.instances import refresh
from tests.support.standin import Banks, RawRates
from tests.support.wait import until_true

SINCE, UNTIL = date(2025, 11, 10), date(2026, 2, 20)
CODES = ("USD", "EUR", "RUB", "GBP", "CNY")


def past(since: date = SINCE, until: date = UNTIL) -> dict[date, RawRates]:
    """Return what Astana published: on each working day, valid from the next one, weekends carried over."""
    found: dict[date, RawRates] = {}
    for offset in range((until - since).days + 1):
        on = since + timedelta(days=offset)
        number = len(found) if on.weekday() in (6, 0) else offset  # Sunday and Monday repeat Saturday
        before = found.get(on - timedelta(days=1))
        if before and on.weekday() in (6, 0):
            found[on] = before
        else:
            found[on] = {code: str(Decimal(400 + at * 50) + Decimal(number % 37) / 4) for at, code in enumerate(CODES)}
    return found


@pytest.fixture
def banks(banks: Banks) -> Banks:
    banks.published["nbk"] = past()
    return banks


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the default configuration with two banks: what is stored of all others is read too, in each step."""
    (ticker,) = settings.tickers
    ticker = ticker.model_copy(update={"sources": ("nbk", "nbu")})
    sources = {key: settings.sources[key] for key in ticker.sources}
    return Settings(store=settings.store, client=settings.client, tickers=(ticker,), sources=sources)


def told(days: int, count: Count) -> None:
    """Say nothing."""


@asynccontextmanager
async def filling(settings: Settings, store: Store, clock: Clock, key: str = "nbk") -> AsyncIterator[Backfill]:
    async with Client(settings.client) as client:
        feed = BankSession(key, settings.sources[key], client, clock)
        yield Backfill(settings, store, feed, clock, told)


async def filled(settings: Settings, store: Store, clock: Clock, since: date = SINCE, until: date = UNTIL) -> Count:
    async with filling(settings, store, clock) as run:
        return await run.run(since, until)


async def content(store: Store, key: str = "nbk") -> list[Fixing]:
    """Return all that is stored of a source, but for when it was fetched."""
    fixings = await store.fixings(key, await store.dates(key))
    return [replace(fixing, fetched_at=datetime.min.replace(tzinfo=UTC)) for fixing in fixings]


async def test_every_publication_is_stored_and_none_requested_twice(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Carry-overs too; a second run has nothing left to do, a longer one only what is new."""
    count = await filled(settings, store, clock)
    assert count == Count(accepted=len(past()))
    stored = await store.fixings("nbk", await store.dates("nbk"))
    assert {one.date: {code: str(rate.value) for code, rate in one.rates.items()} for one in stored} == past()
    asked = banks.requests["nbk"]
    assert asked == (UNTIL - SINCE).days + 1
    assert await filled(settings, store, clock) == Count()
    assert banks.requests["nbk"] == asked
    await filled(settings, store, clock, SINCE - timedelta(days=3), UNTIL + timedelta(days=2))
    assert banks.requests["nbk"] == asked + 5
    assert await store.backfilled("nbk") == [(SINCE - timedelta(days=3), UNTIL + timedelta(days=2))]


async def test_its_answers_are_kept(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """A figure of years ago can be checked like today's."""
    await filled(settings, store, clock)
    fixing = await store.fixing("nbk", date(2026, 1, 15))
    assert fixing is not None
    assert b"15.01.2026" in (await store.raw("nbk", fixing.digest) or b"")


async def test_recent_dates_are_requested_again(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """The last week may not have been complete."""
    banks.published["nbk"] = past(date(2026, 3, 1), day(2))
    await filled(settings, store, clock, date(2026, 3, 1), date(2027, 1, 1))
    assert await store.backfilled("nbk") == [(date(2026, 3, 1), date(2026, 3, 26))]
    asked = banks.requests["nbk"]
    assert await filled(settings, store, clock, date(2026, 3, 1), day(2)) == Count(known=7)
    assert banks.requests["nbk"] == asked + 7


async def test_a_bank_that_fails_in_the_middle_costs_nothing(
    settings: Settings, store: Store, clock: Clock, banks: Banks, valkey: str
) -> None:
    """It is told up to where all is there; run again it ends as if nothing had happened."""
    await filled(settings, store, clock)
    undisturbed = await content(store)
    assert len(undisturbed) == len(past())
    for at in ("10.11.2025", "31.12.2025", "01.01.2026", "17.01.2026", "20.02.2026"):
        async with Store(valkey, f"{store._prefix}{at}:") as other:
            banks.faults[f"fdate={at}"] = 500
            with pytest.raises(TickerError, match=r"status 500 .*; complete up to .*, run the command again to resume"):
                await filled(settings, other, clock)
            del banks.faults[f"fdate={at}"]
            await filled(settings, other, clock)
            assert await content(other) == undisturbed, at
            assert await other.backfilled("nbk") == await store.backfilled("nbk") == [(SINCE, UNTIL)], at


@pytest.mark.timeout(300)
async def test_a_process_that_is_cut_off_goes_on(
    settings: Settings, store: Store, clock: Clock, banks: Banks, valkey: str
) -> None:
    """Ctrl-C and kill -9 in the middle of the command; run again it ends with what an undisturbed run has."""
    await filled(settings, store, clock)
    undisturbed = await content(store)
    for sign in (signal.SIGINT, signal.SIGKILL):
        async with Store(valkey, f"{store._prefix}{sign}:") as other:
            command = ["backfill", "nbk", "--from", str(SINCE), "--to", str(UNTIL), "--pause", "0"]
            environ = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
            environ |= banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": other._prefix}
            process = partial(
                asyncio.create_subprocess_exec, sys.executable, "-m", "service", *command, cwd=ROOT, env=environ
            )
            await cut_off(process, banks, sign)
            assert 0 < len(await other.dates("nbk")) < len(past())
            before = banks.requests["nbk"]
            if sign is signal.SIGINT:
                done = await process(stdout=asyncio.subprocess.PIPE)
                output, _ = await done.communicate()
                assert done.returncode == 0
                assert b"quarantined" in output
            else:
                await filled(settings, other, clock)
            assert banks.requests["nbk"] - before < (UNTIL - SINCE).days
            assert await content(other) == undisturbed, sign


async def cut_off(process: Callable[..., Awaitable[Process]], banks: Banks, sign: signal.Signals) -> None:
    """Send a signal to the command while the bank does not answer in the third month."""
    banks.faults["fdate=15.01.2026"] = "hang"
    banks.targets.clear()
    cut = await process(stderr=asyncio.subprocess.DEVNULL)
    await until_true(lambda: any("15.01.2026" in target for target in banks.targets))
    cut.send_signal(sign)
    assert await cut.wait() != 0
    banks.faults.clear()


def scaled(figures: RawRates, factor: str) -> RawRates:
    return {code: str(Decimal(str(value)) * Decimal(factor)) for code, value in figures.items()}


def in_hryvnia(figures: RawRates) -> RawRates:
    """Return the same rates as Kyiv would publish them, the dollar always at 43."""
    dollar, euro = (Decimal(str(figures[code])) for code in ("USD", "EUR"))
    return {"USD": "43.0000", "EUR": f"{43 * euro / dollar:.4f}", "KZT": (f"{4300 / dollar:.4f}", 100)}


async def test_wrong_rate_is_held_and_all_others_are_published(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """A rate that goes back is a slip: it is held alone, and the other rates of its date are published."""
    wrong = date(2026, 1, 15)
    banks.published["nbk"][wrong] = {**banks.published["nbk"][wrong], "USD": "4055.00"}
    assert await filled(settings, store, clock) == Count(accepted=len(past()), waiting=1, held={wrong: ("USD",)})
    assert [(one.fixing.date, one.reasons[0][:20]) for one in await store.waiting("nbk")] == [
        (wrong, "USD moved by +896.31")
    ]
    stored = await store.fixing("nbk", wrong)
    assert stored is not None
    assert stored.rates.keys() == set(CODES) - {"USD"}


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_scale_fault_of_some_days_is_held_and_stops_nothing(
    settings: Settings, store: Store, clock: Clock, banks: Banks, outcome: Outcome
) -> None:
    """The run ends with the dates held and named; a decision on them holds when it is run again."""
    wrong = tuple(date(2026, 1, number) for number in (15, 16, 17))
    for on in wrong:
        banks.published["nbk"][on] = scaled(banks.published["nbk"][on], "10")
    count = await filled(settings, store, clock)
    assert count.held == dict.fromkeys(wrong, tuple(sorted(CODES)))
    assert count.accepted == len(past()) - len(wrong)
    waiting = await store.waiting("nbk")
    assert [one.fixing.date for one in waiting] == list(wrong)
    for one in waiting:
        decision = QuarantineDecision(one, outcome, clock())
        await (
            store.record_decision(decision)
            if outcome is Outcome.REJECTED
            else store.save(one.fixing, decision=decision)
        )
    assert await filled(settings, store, clock) == Count()
    assert len(await store.dates("nbk")) == len(past()) - (len(wrong) if outcome is Outcome.REJECTED else 0)
    assert await store.waiting("nbk") == []


async def test_move_that_the_next_publications_keep_is_published(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """The future is known here: neither a devaluation nor a redenomination needs an operator."""
    since = date(2025, 12, 15)
    for factor in ("1.355", "10"):
        began = date(2026, 1, 15)
        for on, figures in past().items():
            banks.published["nbk"][on] = scaled(figures, factor) if on >= began else figures
        async with Store(settings.store.url.get_secret_value(), f"{store._prefix}{factor}:") as other:
            assert await filled(settings, other, clock, since) == Count(accepted=(UNTIL - since).days + 1)
            assert await other.waiting("nbk") == []


async def test_scale_change_at_the_end_is_held(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """Too few publications keep it: what is held is named, and all before it is published."""
    began = date(2026, 2, 17)
    for on, figures in banks.published["nbk"].items():
        if on >= began:
            banks.published["nbk"][on] = scaled(figures, "10")
    count = await filled(settings, store, clock)
    assert list(count.held) == [on for on in past() if on >= began]
    assert (await store.dates("nbk"))[-1] == began - timedelta(days=1)
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_older_history_is_backfilled_beside_a_newer_one(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """A span that ends before another one begins is no part of it."""
    await filled(settings, store, clock, date(2026, 1, 10), date(2026, 1, 20))
    assert await filled(settings, store, clock, SINCE, date(2025, 11, 20)) == Count(accepted=11)
    await filled(settings, store, clock)
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_months_with_held_rates_at_their_end_are_not_requested_again(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """They are judged again together with the next month, and are complete by then."""
    wrong = (date(2025, 11, 28), date(2025, 12, 30))
    for on in wrong:
        banks.published["nbk"][on] = {**banks.published["nbk"][on], "USD": "4055.00"}
    held: dict[date, tuple[str, ...]] = dict.fromkeys(wrong, ("USD",))
    assert await filled(settings, store, clock) == Count(accepted=len(past()), waiting=2, held=held)
    assert banks.requests["nbk"] == len(past())
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_wrong_first_day_is_held_by_the_days_after_it(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """No rate before it can be compared with it; the next ones can."""
    banks.published["nbk"][SINCE] = {
        code: str(Decimal(str(value)) * 10) for code, value in banks.published["nbk"][SINCE].items()
    }
    held: dict[date, tuple[str, ...]] = {SINCE: tuple(sorted(CODES))}
    assert await filled(settings, store, clock) == Count(accepted=len(past()) - 1, waiting=1, held=held)
    assert [one.fixing.date for one in await store.waiting("nbk")] == [SINCE]


async def test_a_currency_that_was_dropped_stops_nothing(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """What the bank published later tells that it was given up: also where a month ends just then."""
    for dropped, since, until in (
        (date(2025, 11, 28), SINCE, date(2026, 1, 10)),
        (date(2025, 11, 30), SINCE, date(2026, 1, 10)),
        (date(2026, 1, 1), date(2025, 12, 10), UNTIL),
        (date(2026, 1, 20), date(2025, 12, 10), UNTIL),
    ):
        banks.published["nbk"] = {
            on: {code: value for code, value in figures.items() if on < dropped or code != "CNY"}
            for on, figures in past().items()
        }
        async with Store(settings.store.url.get_secret_value(), f"{store._prefix}{dropped}:") as other:
            assert await filled(settings, other, clock, since, until) == Count(accepted=(until - since).days + 1)


async def test_another_bank_confirms_a_jump_of_the_last_days(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Nothing in its own future keeps the jump yet: it is held, or published where the other bank was filled first."""
    began = UNTIL - timedelta(days=1)
    for on, figures in banks.published["nbk"].items():
        if on >= began:
            banks.published["nbk"][on] = scaled(figures, "1.355")
    banks.published["nbu"] = {on: in_hryvnia(figures) for on, figures in banks.published["nbk"].items()}
    async with Store(settings.store.url.get_secret_value(), f"{store._prefix}alone:") as alone:
        assert list((await filled(settings, alone, clock)).held) == [began, UNTIL]
    async with filling(settings, store, clock, "nbu") as run:
        assert (await run.run(SINCE, UNTIL)).held == {began: ("KZT",), UNTIL: ("KZT",)}  # it is the first itself
    for one in await store.waiting("nbu"):
        published = await store.fixing("nbu", one.fixing.date)
        assert published is not None
        whole = replace(published, rates={**published.rates, **one.fixing.rates})
        await store.save(whole, decision=QuarantineDecision(one, Outcome.ACCEPTED, clock()))
    assert await filled(settings, store, clock) == Count(accepted=len(past()))


async def test_a_running_service_follows(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """What a backfill writes within its memory is shown at the next look, and what it holds itself is not lost."""
    clock.time = datetime(2026, 2, 20, 6, tzinfo=UTC)
    memory = MemoryState(settings)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as own:
        store_sync = StoreSync(memory, own)
        await refresh(store_sync, clock)
        assert not memory.series("nbk").fixings
        async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as other:
            await filled(settings, other, clock)
        await refresh(store_sync, clock)
    assert memory.series("nbk").fixings[-1].date == UNTIL
    assert memory.snapshots["kzt"].quotes[0].source == "nbk"


def test_gaps_and_joins_are_each_others_opposite() -> None:
    """What is left of a span when other spans are done."""
    done = [(day(3), day(5)), (day(8), day(9)), (day(20), day(30))]
    gaps = list(backfill._gaps(day(1), day(25), done))
    assert gaps == [(day(1), day(2)), (day(6), day(7)), (day(10), day(19))]
    assert backfill._joined([*gaps, *done]) == [(day(1), day(30))]
    assert list(backfill._gaps(day(4), day(5), done)) == []
    assert list(backfill._gaps(day(1), day(2), done)) == [(day(1), day(2))]


def test_steps_end_with_months_or_years() -> None:
    """Cut off where the span begins and ends."""
    begin, end = date(2025, 11, 10), date(2026, 1, 5)
    months = list(backfill._split(begin, end, yearly=False))
    assert months == [
        (begin, date(2025, 11, 30)),
        (date(2025, 12, 1), date(2025, 12, 31)),
        (date(2026, 1, 1), end),
    ]
    years = list(backfill._split(begin, end, yearly=True))
    assert years == [(begin, date(2025, 12, 31)), (date(2026, 1, 1), end)]


async def test_relay_is_requested_for_the_tickers_currencies(settings: Settings, store: Store, clock: Clock) -> None:
    """With nothing wanted nothing is noted as done; with one more currency the past is asked for again."""
    relay = settings.sources["nbk"].model_copy(update={"adapter": "frankfurter", "provider": "NBK"})
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query["base"])
        days = [day(number) for number in (1, 2)]
        return web.json_response([{"date": str(on), "base": asked[-1], "quote": "KZT", "rate": 475.5} for on in days])

    app = web.Application()
    app.router.add_get("/rates", answer)
    async with TestServer(app) as server, Client(settings.client) as client:
        source = relay.model_copy(update={"url": str(server.make_url(""))})
        configured = settings.model_copy(update={"sources": {**settings.sources, "relay": source}})
        clock.time = datetime(2026, 5, 1, tzinfo=UTC)

        async def fill(*wanted: str) -> None:
            feed = BankSession("relay", source, client, clock, wanted)
            await Backfill(configured, store, feed, clock, told).run(day(1), day(2))

        with pytest.raises(TickerError, match="relay: no ticker uses this relay"):
            await fill()
        for wanted in (("USD",), ("USD",), ("USD", "EUR")):
            await fill(*wanted)
    assert asked == ["USD", "USD", "EUR"]
    assert {code for one in await content(store, "relay") for code in one.rates} == {"USD", "EUR"}
