"""Backfill of historical fixings: requested step by step, resumable, validated."""

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


def history(since: date = SINCE, until: date = UNTIL) -> dict[date, RawRates]:
    """Return what Astana published: on each working day, valid from the next one, weekends carried over."""
    published: dict[date, RawRates] = {}
    for offset in range((until - since).days + 1):
        on = since + timedelta(days=offset)
        number = len(published) if on.weekday() in (6, 0) else offset  # Sunday and Monday repeat Saturday
        before = published.get(on - timedelta(days=1))
        if before and on.weekday() in (6, 0):
            published[on] = before
        else:
            published[on] = {
                code: str(Decimal(400 + index * 50) + Decimal(number % 37) / 4) for index, code in enumerate(CODES)
            }
    return published


@pytest.fixture
def banks(banks: Banks) -> Banks:
    banks.published["nbk"] = history()
    return banks


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the default configuration with two banks, since each step reads what is stored of all of them."""
    (ticker,) = settings.tickers
    ticker = ticker.model_copy(update={"sources": ("nbk", "nbu")})
    sources = {key: settings.sources[key] for key in ticker.sources}
    return Settings(store=settings.store, client=settings.client, tickers=(ticker,), sources=sources)


def ignore_progress(days: int, count: Count) -> None:
    """Ignore the progress of a backfill."""


@asynccontextmanager
async def backfilling(settings: Settings, store: Store, clock: Clock, key: str = "nbk") -> AsyncIterator[Backfill]:
    async with Client(settings.client) as client:
        session = BankSession(key, settings.sources[key], client, clock)
        yield Backfill(settings, store, session, clock, ignore_progress)


async def run_backfill(
    settings: Settings, store: Store, clock: Clock, since: date = SINCE, until: date = UNTIL
) -> Count:
    async with backfilling(settings, store, clock) as running:
        return await running.run(since, until)


async def stored_content(store: Store, key: str = "nbk") -> list[Fixing]:
    """Return all stored fixings of a source, without their fetch times."""
    fixings = await store.fixings(key, await store.dates(key))
    return [replace(fixing, fetched_at=datetime.min.replace(tzinfo=UTC)) for fixing in fixings]


async def test_every_publication_is_stored_and_none_requested_twice(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Including carry-overs. A second run has nothing to do, a longer range requests only what is new."""
    count = await run_backfill(settings, store, clock)
    assert count == Count(accepted=len(history()))
    stored = await store.fixings("nbk", await store.dates("nbk"))
    assert {item.date: {code: str(rate.value) for code, rate in item.rates.items()} for item in stored} == history()
    requests = banks.requests["nbk"]
    assert requests == (UNTIL - SINCE).days + 1
    assert await run_backfill(settings, store, clock) == Count()
    assert banks.requests["nbk"] == requests
    await run_backfill(settings, store, clock, SINCE - timedelta(days=3), UNTIL + timedelta(days=2))
    assert banks.requests["nbk"] == requests + 5
    assert await store.backfilled("nbk") == [(SINCE - timedelta(days=3), UNTIL + timedelta(days=2))]


async def test_raw_responses_are_stored(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """A rate of years ago can be verified like today's."""
    await run_backfill(settings, store, clock)
    fixing = await store.fixing("nbk", date(2026, 1, 15))
    assert fixing is not None
    assert b"15.01.2026" in (await store.raw("nbk", fixing.digest) or b"")


async def test_recent_dates_are_requested_again(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """The last week may not have been complete."""
    banks.published["nbk"] = history(date(2026, 3, 1), day(2))
    await run_backfill(settings, store, clock, date(2026, 3, 1), date(2027, 1, 1))
    assert await store.backfilled("nbk") == [(date(2026, 3, 1), date(2026, 3, 26))]
    requests = banks.requests["nbk"]
    assert await run_backfill(settings, store, clock, date(2026, 3, 1), day(2)) == Count(known=7)
    assert banks.requests["nbk"] == requests + 7


async def test_backfill_resumes_after_a_failed_request(
    settings: Settings, store: Store, clock: Clock, banks: Banks, valkey: str
) -> None:
    """The error names the last complete date; a second run yields the same as an undisturbed one."""
    await run_backfill(settings, store, clock)
    expected = await stored_content(store)
    assert len(expected) == len(history())
    failing = {
        "10.11.2025": "; run",  # in the first month
        "31.12.2025": "; complete up to 2025-11-30, run",
        "01.01.2026": "; complete up to 2025-12-31, run",
        "17.01.2026": "; complete up to 2025-12-31, run",
        "20.02.2026": "; complete up to 2026-01-31, run",
    }
    for failing_date, complete in failing.items():
        async with Store(valkey, f"{store._prefix}{failing_date}:") as resumed:
            banks.faults[f"fdate={failing_date}"] = 500
            with pytest.raises(TickerError, match=rf"status 500 .*{complete} the command again to resume"):
                await run_backfill(settings, resumed, clock)
            del banks.faults[f"fdate={failing_date}"]
            await run_backfill(settings, resumed, clock)
            assert await stored_content(resumed) == expected, failing_date
            assert await resumed.backfilled("nbk") == await store.backfilled("nbk") == [(SINCE, UNTIL)], failing_date


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_interrupted_command_resumes(
    settings: Settings, store: Store, clock: Clock, banks: Banks, valkey: str
) -> None:
    """After SIGINT or SIGKILL in the middle, a second run yields the same as an undisturbed one."""
    await run_backfill(settings, store, clock)
    expected = await stored_content(store)
    for signal_ in (signal.SIGINT, signal.SIGKILL):
        async with Store(valkey, f"{store._prefix}{signal_}:") as resumed:
            command = ["backfill", "nbk", "--from", str(SINCE), "--to", str(UNTIL), "--pause", "0"]
            environ = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
            environ |= banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": resumed._prefix}
            process = partial(
                asyncio.create_subprocess_exec, sys.executable, "-m", "service", *command, cwd=ROOT, env=environ
            )
            await interrupt(process, banks, signal_)
            assert 0 < len(await resumed.dates("nbk")) < len(history())
            before = banks.requests["nbk"]
            if signal_ is signal.SIGINT:
                done = await process(stdout=asyncio.subprocess.PIPE)
                output, _ = await done.communicate()
                assert done.returncode == 0
                assert b"quarantined" in output
            else:
                await run_backfill(settings, resumed, clock)
            assert banks.requests["nbk"] - before < (UNTIL - SINCE).days
            assert await stored_content(resumed) == expected, signal_


async def interrupt(process: Callable[..., Awaitable[Process]], banks: Banks, signal_: signal.Signals) -> None:
    """Send a signal to the command while the bank hangs in the third month."""
    banks.faults["fdate=15.01.2026"] = "hang"
    banks.targets.clear()
    interrupted = await process(stderr=asyncio.subprocess.DEVNULL)
    await until_true(lambda: any("15.01.2026" in target for target in banks.targets))
    interrupted.send_signal(signal_)
    assert await interrupted.wait() != 0
    banks.faults.clear()


def scaled(rates: RawRates, factor: str) -> RawRates:
    return {code: str(Decimal(str(value)) * Decimal(factor)) for code, value in rates.items()}


def in_hryvnia(rates: RawRates) -> RawRates:
    """Return the same rates as published in Kyiv, with the dollar always at 43."""
    dollar, euro = (Decimal(str(rates[code])) for code in ("USD", "EUR"))
    return {"USD": "43.0000", "EUR": f"{43 * euro / dollar:.4f}", "KZT": (f"{4300 / dollar:.4f}", 100)}


async def test_wrong_rate_is_quarantined_alone(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """A rate that returns to its level was an error; the other rates of its date are published."""
    wrong = date(2026, 1, 15)
    banks.published["nbk"][wrong] = {**banks.published["nbk"][wrong], "USD": "4055.00"}
    assert await run_backfill(settings, store, clock) == Count(
        accepted=len(history()), waiting=1, held={wrong: ("USD",)}
    )
    assert [(entry.fixing.date, entry.reasons[0][:20]) for entry in await store.waiting("nbk")] == [
        (wrong, "USD moved by +896.31")
    ]
    stored = await store.fixing("nbk", wrong)
    assert stored is not None
    assert stored.rates.keys() == set(CODES) - {"USD"}


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.REJECTED])
async def test_scale_error_of_some_days_is_quarantined(
    settings: Settings, store: Store, clock: Clock, banks: Banks, outcome: Outcome
) -> None:
    """The run completes and names the quarantined dates; decisions on them apply to the next run."""
    wrong = tuple(date(2026, 1, number) for number in (15, 16, 17))
    for on in wrong:
        banks.published["nbk"][on] = scaled(banks.published["nbk"][on], "10")
    count = await run_backfill(settings, store, clock)
    assert count.held == dict.fromkeys(wrong, tuple(sorted(CODES)))
    assert count.accepted == len(history()) - len(wrong)
    waiting = await store.waiting("nbk")
    assert [entry.fixing.date for entry in waiting] == list(wrong)
    for entry in waiting:
        decision = QuarantineDecision(entry, outcome, clock())
        await (
            store.record_decision(decision)
            if outcome is Outcome.REJECTED
            else store.save(entry.fixing, decision=decision)
        )
    assert await run_backfill(settings, store, clock) == Count()
    assert len(await store.dates("nbk")) == len(history()) - (len(wrong) if outcome is Outcome.REJECTED else 0)
    assert await store.waiting("nbk") == []


async def test_move_kept_by_the_next_publications_is_published(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Later rates are known here: neither a devaluation nor a redenomination needs an operator."""
    since = date(2025, 12, 15)
    for factor in ("1.355", "10"):
        first_day = date(2026, 1, 15)
        for on, rates in history().items():
            banks.published["nbk"][on] = scaled(rates, factor) if on >= first_day else rates
        async with Store(settings.store.url.get_secret_value(), f"{store._prefix}{factor}:") as other:
            assert await run_backfill(settings, other, clock, since) == Count(accepted=(UNTIL - since).days + 1)
            assert await other.waiting("nbk") == []


async def test_scale_change_at_the_end_is_quarantined(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Too few publications follow it: its dates are named, all earlier ones are published."""
    first_day = date(2026, 2, 17)
    for on, rates in banks.published["nbk"].items():
        if on >= first_day:
            banks.published["nbk"][on] = scaled(rates, "10")
    count = await run_backfill(settings, store, clock)
    assert list(count.held) == [on for on in history() if on >= first_day]
    assert (await store.dates("nbk"))[-1] == first_day - timedelta(days=1)
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_older_range_is_backfilled_beside_a_newer_one(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """A span that ends before another one begins is not part of it."""
    await run_backfill(settings, store, clock, date(2026, 1, 10), date(2026, 1, 20))
    assert await run_backfill(settings, store, clock, SINCE, date(2025, 11, 20)) == Count(accepted=11)
    await run_backfill(settings, store, clock)
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_months_that_end_with_quarantined_rates_are_requested_once(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Their rates are validated again together with the next month."""
    wrong = (date(2025, 11, 28), date(2025, 12, 30))
    for on in wrong:
        banks.published["nbk"][on] = {**banks.published["nbk"][on], "USD": "4055.00"}
    held: dict[date, tuple[str, ...]] = dict.fromkeys(wrong, ("USD",))
    assert await run_backfill(settings, store, clock) == Count(accepted=len(history()), waiting=2, held=held)
    assert banks.requests["nbk"] == len(history())
    assert await store.backfilled("nbk") == [(SINCE, UNTIL)]


async def test_wrong_first_day_is_quarantined(settings: Settings, store: Store, clock: Clock, banks: Banks) -> None:
    """No earlier rate is known, but later ones can be compared with it."""
    banks.published["nbk"][SINCE] = {
        code: str(Decimal(str(value)) * 10) for code, value in banks.published["nbk"][SINCE].items()
    }
    held: dict[date, tuple[str, ...]] = {SINCE: tuple(sorted(CODES))}
    assert await run_backfill(settings, store, clock) == Count(accepted=len(history()) - 1, waiting=1, held=held)
    assert [entry.fixing.date for entry in await store.waiting("nbk")] == [SINCE]


async def test_discontinued_currency_does_not_stop_a_backfill(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Later publications show that it was discontinued, also at the end of a month."""
    for dropped, since, until in (
        (date(2025, 11, 28), SINCE, date(2026, 1, 10)),
        (date(2025, 11, 30), SINCE, date(2026, 1, 10)),
        (date(2026, 1, 1), date(2025, 12, 10), UNTIL),
        (date(2026, 1, 20), date(2025, 12, 10), UNTIL),
    ):
        banks.published["nbk"] = {
            on: {code: value for code, value in rates.items() if on < dropped or code != "CNY"}
            for on, rates in history().items()
        }
        async with Store(settings.store.url.get_secret_value(), f"{store._prefix}{dropped}:") as other:
            assert await run_backfill(settings, other, clock, since, until) == Count(accepted=(until - since).days + 1)


async def test_another_bank_confirms_a_jump_of_the_last_days(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Later rates do not confirm the jump yet: it is quarantined unless the other bank was backfilled first."""
    first_day = UNTIL - timedelta(days=1)
    for on, rates in banks.published["nbk"].items():
        if on >= first_day:
            banks.published["nbk"][on] = scaled(rates, "1.355")
    banks.published["nbu"] = {on: in_hryvnia(rates) for on, rates in banks.published["nbk"].items()}
    async with Store(settings.store.url.get_secret_value(), f"{store._prefix}alone:") as without_witness:
        assert list((await run_backfill(settings, without_witness, clock)).held) == [first_day, UNTIL]
    async with backfilling(settings, store, clock, "nbu") as run:
        assert (await run.run(SINCE, UNTIL)).held == {
            first_day: ("KZT",),
            UNTIL: ("KZT",),
        }  # no other bank confirms it yet
    for entry in await store.waiting("nbu"):
        published = await store.fixing("nbu", entry.fixing.date)
        assert published is not None
        completed = replace(published, rates={**published.rates, **entry.fixing.rates})
        await store.save(completed, decision=QuarantineDecision(entry, Outcome.ACCEPTED, clock()))
    assert await run_backfill(settings, store, clock) == Count(accepted=len(history()))


async def test_running_service_shows_backfilled_rates(
    settings: Settings, store: Store, clock: Clock, banks: Banks
) -> None:
    """Recent backfilled rates are shown after the next sync, and the service's own ones are kept."""
    clock.time = datetime(2026, 2, 20, 6, tzinfo=UTC)
    memory = MemoryState(settings)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as own:
        store_sync = StoreSync(memory, own)
        await refresh(store_sync, clock)
        assert not memory.series("nbk").fixings
        async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as other:
            await run_backfill(settings, other, clock)
        await refresh(store_sync, clock)
    assert memory.series("nbk").fixings[-1].date == UNTIL
    assert memory.snapshots["kzt"].quotes[0].source == "nbk"


def test_gaps_complement_spans() -> None:
    """Gaps are the parts of a span not covered by other spans; joined with them they are the whole."""
    done = [(day(3), day(5)), (day(8), day(9)), (day(20), day(30))]
    gaps = list(backfill._gaps(day(1), day(25), done))
    assert gaps == [(day(1), day(2)), (day(6), day(7)), (day(10), day(19))]
    assert backfill._joined([*gaps, *done]) == [(day(1), day(30))]
    assert list(backfill._gaps(day(4), day(5), done)) == []
    assert list(backfill._gaps(day(1), day(2), done)) == [(day(1), day(2))]


def test_steps_are_months_or_years() -> None:
    """The first and the last step are cut at the bounds of the span."""
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
    """A relay that no ticker uses is an error; another currency makes the history be requested again."""
    relay = settings.sources["nbk"].model_copy(update={"adapter": "frankfurter", "provider": "NBK"})
    requests: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        requests.append(request.query["base"])
        days = [day(number) for number in (1, 2)]
        return web.json_response(
            [{"date": str(on), "base": requests[-1], "quote": "KZT", "rate": 475.5} for on in days]
        )

    app = web.Application()
    app.router.add_get("/rates", respond)
    async with TestServer(app) as server, Client(settings.client) as client:
        source = relay.model_copy(update={"url": str(server.make_url(""))})
        configured = settings.model_copy(update={"sources": {**settings.sources, "relay": source}})
        clock.time = datetime(2026, 5, 1, tzinfo=UTC)

        async def fill(*wanted: str) -> None:
            session = BankSession("relay", source, client, clock, wanted)
            await Backfill(configured, store, session, clock, ignore_progress).run(day(1), day(2))

        with pytest.raises(TickerError, match="relay: no ticker uses this relay"):
            await fill()
        for wanted in (("USD",), ("USD",), ("USD", "EUR")):
            await fill(*wanted)
    assert requests == ["USD", "USD", "EUR"]
    assert {code for item in await stored_content(store, "relay") for code in item.rates} == {"USD", "EUR"}
