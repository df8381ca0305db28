"""One poll through all stages, against stand-in banks and a real store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.domain.fixing import Fixing, Series
from service.domain.snapshot import Snapshot
from service.polling.poller import Poller
from service.settings import Settings
from service.sources.adapter import RawResponse, SourceAdapter, SourceSession
from service.sources.banks import SOURCES
from service.sources.session import BankSession
from service.state.memory import KEEP
from service.storage.repository import Store
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, ValidationContext, Verdict, judge_all
from tests.conftest import Clock
from tests.support.fixings import APRIL, day, fixing
from tests.support.instances import refresh_poller
from tests.support.pollers import polling
from tests.support.standin import Banks, RawRates, nbk, nbu


@pytest.fixture
async def poller(settings: Settings, clock: Clock, banks: Banks) -> AsyncIterator[Poller]:
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        yield poller


def shown(poller: Poller) -> Snapshot:
    return poller.memory.snapshots["kzt"]


def percents(poller: Poller) -> list[str]:
    return [str(quote.percent) for quote in shown(poller).quotes]


async def test_a_poll_ends_in_a_snapshot_and_in_the_store(poller: Poller) -> None:
    """Fetched, understood, accepted, written, shown: with receipt."""
    await poller.poll("nbk")
    assert percents(poller) == ["-0.77", "0.44", "0.00", "-0.02", "-0.27"]
    kept = await poller.store_sync.store.fixing("nbk", day(2))
    assert kept is not None
    assert kept == poller.memory.series("nbk").on(day(2))
    assert kept.url.endswith("/rss/get_rates.cfm?fdate=02.04.2026")
    assert kept.fetched_at == datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
    assert len(kept.digest) == 64
    await refresh_poller(poller)
    assert await poller.store_sync.store.snapshot("kzt") == shown(poller)
    assert (await poller.store_sync.store.states())["nbk"].failures == 0


async def test_second_poll_begins_with_the_previous_publication(poller: Poller, banks: Banks) -> None:
    """An empty series is filled two weeks back; after that a poll asks for the last two publications and the next."""
    await poller.poll("nbk")
    assert banks.requests["nbk"] == 16
    await poller.poll("nbk")
    assert banks.requests["nbk"] == 19
    assert banks.most_concurrent["nbk"] == 1


async def test_a_new_fixing_makes_one_new_snapshot(poller: Poller, banks: Banks) -> None:
    """The same figures again change nothing; tomorrow's figures do."""
    await poller.poll("nbk")
    before = shown(poller)
    await poller.poll("nbk")
    assert shown(poller) is before
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "470.00"}
    await poller.poll("nbk")
    assert (shown(poller).as_of, percents(poller)[0]) == (day(3), "-1.07")


async def test_a_revision_replaces_and_is_remembered(poller: Poller, banks: Banks) -> None:
    """Other figures for the same date take its place; the earlier form stays in the receipt."""
    await poller.poll("nbk")
    banks.published["nbk"][day(2)] = {**APRIL[day(2)], "USD": "480.00"}
    with capture_logs() as logs:
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["fixing.revised", "ticker.changed"]
    assert percents(poller)[0] == "0.26"
    kept = await poller.store_sync.store.fixing("nbk", day(2))
    assert kept is not None
    assert [str(one.rates["USD"].value) for one in (kept, *kept.revisions)] == ["480.00", "475.09"]


HTML = b"<!DOCTYPE html><html><body>Are you a robot?</body></html>"


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (500, "responded with status 500"),
        (404, "responded with status 404"),
        (HTML, "is an HTML page"),
        (b"", "is empty"),
        (b'<?xml version="1.0"?><rates><date>02.04.2026</date><item><title>US', "is not well-formed XML"),
        (b"<rss><channel/></rss>", "has the root <rss>"),
        (b"<rates><item/></rates>", "lacks <date>"),
        (b"<rates><date>02.04.2026</date></rates>", "no rates for any day from"),
        (b"x" * 2_000_001, "more than 2000000 bytes"),
        ("hang", "no response within 0.2 s"),
    ],
)
async def test_bad_response_keeps_known_rates_and_is_logged_once(
    settings: Settings, clock: Clock, banks: Banks, fault: object, told: str
) -> None:
    """The snapshot stays, the error names bank and URL, a log line tells the begin and one the end."""
    banks.published["nbk"] = dict(APRIL)
    hasty = settings.client.model_copy(update={"timeout": timedelta(seconds=0.2)})
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        before, known = shown(poller), poller.memory.series("nbk").fixings
        banks.faults["nbk"] = fault
        session = poller.sessions["nbk"]
        assert isinstance(session, BankSession)
        client = session.client
        with capture_logs() as logs:
            client.settings = hasty if fault == "hang" else settings.client
            await poller.poll("nbk")
            await poller.poll("nbk")
            client.settings, state = settings.client, poller.memory.states["nbk"]
            banks.faults.clear()
            await poller.poll("nbk")
        assert [log["event"] for log in logs] == ["source.failing", "source.recovered"]
        assert state.error is not None
        assert state.error.startswith("nbk: ")
        assert told in state.error
        assert f"({banks.url}/nbk/rss" in state.error
        assert (state.failures, state.failing_since, state.succeeded_at) == (2, clock(), clock())
        assert shown(poller) is before
        assert poller.memory.series("nbk").fixings == known
        assert poller.memory.states["nbk"].error is None


@pytest.mark.parametrize("bad", [404, HTML])
async def test_one_bad_day_keeps_no_other_from_being_shown(poller: Poller, banks: Banks, bad: int | bytes) -> None:
    """A day whose answer is broken is told as a failure; what the bank says of the other days is taken."""
    banks.faults = {"fdate=20.03.2026": bad, "fdate=03.04.2026": bad}
    await poller.poll("nbk")
    assert percents(poller)[0] == "-0.77"
    assert "fdate=20.03.2026" in str(poller.memory.states["nbk"].error)


async def test_suspicious_rate_is_held_and_the_others_are_published(poller: Poller, banks: Banks) -> None:
    """It is logged once; its quote keeps the last good rate. A correction by the bank is published."""
    await poller.poll("nbk")
    banks.published["nbk"][day(3)] = {**APRIL[day(1)], "USD": "4760.00"}
    with capture_logs() as logs:
        await poller.poll("nbk")
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["fixing.quarantined", "ticker.changed"]
    assert poller.counters.fixings == {("nbk", "accepted"): 3, ("nbk", "refused"): 1}
    (waiting,) = poller.memory.pending_quarantine("nbk")
    assert (waiting.fixing.date, list(waiting.fixing.rates)) == (day(3), ["USD"])
    assert waiting.reasons == (
        "USD moved by +901.92%, from 475.09 on 2026-04-02 to 4760.00; no other bank confirms it",
    )
    dollar, euro = shown(poller).quotes[:2]
    assert (str(dollar.rate), dollar.date) == ("475.09", day(2))
    assert (str(euro.rate), euro.date, str(euro.percent)) == ("548.62", day(3), "-0.44")
    assert await poller.store_sync.store.waiting("nbk") == [waiting]
    banks.published["nbk"][day(3)] = APRIL[day(1)]
    await poller.poll("nbk")
    assert poller.memory.pending_quarantine("nbk") == await poller.store_sync.store.waiting("nbk") == []
    assert {quote.date for quote in shown(poller).quotes} == {day(3)}
    (decision,) = await poller.store_sync.store.decisions("nbk")
    assert (decision.outcome, decision.waiting) == (Outcome.WITHDRAWN, waiting)


async def test_missing_currency_holds_nothing(poller: Poller, banks: Banks) -> None:
    """The rates that the bank does publish are shown; the others keep their last rate and are reported as missing."""
    await poller.poll("nbk")
    banks.published["nbk"][day(3)] = {"USD": "476.00"}
    with capture_logs() as logs:
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["ticker.changed"]
    assert poller.memory.pending_quarantine("nbk") == []
    assert poller.memory.missing("nbk") == ("CNY", "EUR", "GBP", "RUB")
    assert {quote.code: quote.date for quote in shown(poller).quotes} == {
        "USD": day(3),
        **dict.fromkeys(("EUR", "RUB", "GBP", "CNY"), day(2)),
    }


async def test_a_bogus_future_date_freezes_nothing(poller: Poller, banks: Banks) -> None:
    """A date further ahead than the bank publishes waits, by days or by decades; the true next one is taken."""
    figures: RawRates = {"USD": "43.10", "KZT": ("8.65", 100)}
    banks.faults["nbu"] = nbu(dict.fromkeys((day(1), day(2), day(3), day(7), date(2099, 1, 1)), figures))
    await poller.poll("nbu")
    latest = poller.memory.series("nbu").latest
    assert latest is not None
    assert latest.date == day(3)
    assert list(poller.memory.quarantine["nbu"].waiting) == [day(7), date(2099, 1, 1)]
    banks.faults["nbu"] = nbu(dict.fromkeys((day(2), day(3), day(7)), figures))
    await poller.poll("nbu")  # it says no more of 2099
    assert list(poller.memory.quarantine["nbu"].waiting) == [day(7)]


async def test_jump_is_held_until_another_bank_confirms_it(poller: Poller, banks: Banks, clock: Clock) -> None:
    """The tenge falls by a third: held with both rates in the reason, shown as soon as a second bank agrees."""
    banks.published["cbr"] = {
        day(1): {"USD": "80.0000", "KZT": ("16.7000", 100)},
        day(2): {"USD": "80.0000", "KZT": ("16.8000", 100)},
    }
    await poller.poll("nbk")
    await poller.poll("cbr")
    banks.published["nbk"][day(3)] = {
        code: str(round(Decimal(str(value)) * Decimal("1.355"), 2)) for code, value in APRIL[day(2)].items()
    }
    await poller.poll("nbk")
    (waiting,) = poller.memory.pending_quarantine("nbk")
    assert waiting.reasons[-1] == (
        "USD moved by +35.50%, from 475.09 on 2026-04-02 to 643.75; "
        "other banks have not published for that day yet (cbr -26.03%)"
    )
    assert shown(poller).as_of == day(2)
    banks.published["cbr"][day(3)] = {"USD": "81.0000", "KZT": ("12.6000", 100)}
    clock.forward(hours=8)
    await poller.poll("cbr")
    await poller.poll("nbk")
    assert (shown(poller).as_of, percents(poller)[0]) == (day(3), "35.50")
    (decision,) = await poller.store_sync.store.decisions("nbk")
    assert (decision.outcome, decision.at) == (Outcome.CONFIRMED, clock())


async def test_banks_that_are_polled_at_once_confirm_each_other(poller: Poller, banks: Banks, clock: Clock) -> None:
    """Of two that publish the same jump the first is held until the second confirms it, within one round of polls."""
    banks.published["cbr"] = {day(2): {"USD": "80.0000", "KZT": ("16.8000", 100)}}
    await asyncio.gather(poller.poll("nbk"), poller.poll("cbr"))
    banks.published["nbk"][day(3)] = {
        code: str(round(Decimal(str(value)) * Decimal("1.355"), 2)) for code, value in APRIL[day(2)].items()
    }
    banks.published["cbr"][day(3)] = {"USD": "81.0000", "KZT": ("12.6000", 100)}
    clock.forward(hours=8)
    with capture_logs() as logs:
        await asyncio.gather(poller.poll("nbk"), poller.poll("cbr"))
    assert [log["event"] for log in logs if "quarantine" in log["event"] or "quarantined" in log["event"]] == [
        "fixing.quarantined",
        "quarantine.ended",
    ]
    assert all(not poller.memory.quarantine[key].waiting for key in ("nbk", "cbr"))
    assert all(poller.memory.series(key).on(day(3)) for key in ("nbk", "cbr"))
    assert (shown(poller).as_of, percents(poller)[0]) == (day(3), "35.50")


async def test_decision_of_an_operator_reaches_the_running_service(poller: Poller, banks: Banks, clock: Clock) -> None:
    """A rejected rate is not reported again though the bank repeats it; an accepted one is shown."""
    await poller.poll("nbk")
    wrong = {**APRIL[day(2)], "USD": "4750.90"}
    banks.published["nbk"][day(3)] = wrong
    await poller.poll("nbk")
    (waiting,) = poller.memory.pending_quarantine("nbk")
    async with Store(poller.memory.settings.store.url.get_secret_value(), poller.memory.settings.store.prefix) as other:
        await other.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, clock()))
        await refresh_poller(poller)
        await poller.poll("nbk")
        assert poller.memory.pending_quarantine("nbk") == []
        assert shown(poller).quotes[0].date == day(2)
        published = await other.fixing("nbk", day(3))
        assert published is not None
        assert published.rates.keys() == APRIL[day(2)].keys() - {"USD"}
        whole = replace(published, rates={**published.rates, **waiting.fixing.rates})
        await other.save(whole, decision=QuarantineDecision(waiting, Outcome.ACCEPTED, clock()))
        await refresh_poller(poller)
    assert (shown(poller).as_of, percents(poller)[0]) == (day(3), "900.00")


async def test_raw_responses_are_stored_with_their_rates(poller: Poller, banks: Banks) -> None:
    """By their digest; an answer that told nothing new is not kept again."""
    await poller.poll("nbk")
    store = poller.store_sync.store
    kept = await store.fixing("nbk", day(2))
    assert kept is not None
    body = await store.raw("nbk", kept.digest)
    assert body is not None
    assert sha256(body).hexdigest() == kept.digest
    assert b"<title>USD</title><description>475.09</description>" in body
    await store._redis.delete(store._key("raw", "nbk", kept.digest))
    await poller.poll("nbk")
    assert await store.raw("nbk", kept.digest) is None


async def test_two_polls_of_one_source_are_one(poller: Poller, banks: Banks) -> None:
    """A poll that begins while another runs returns at once."""
    await asyncio.gather(poller.poll("nbk"), poller.poll("nbk"))
    assert banks.requests["nbk"] == 16


async def test_a_fault_of_an_adapter_is_survived(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an adapter raises is logged with its traceback and told; nothing else stops."""
    monkeypatch.setattr(SOURCES["nbk"], "parse", lambda _: 1 / 0)
    with capture_logs() as logs:
        await poller.poll("nbk")
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["poll.crashed", "source.failing"]
    assert "ZeroDivisionError" in str(poller.memory.states["nbk"].error)


async def test_a_restart_shows_what_was_stored_before_any_bank_answers(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """A new process on the same store has the same snapshot and the same states without asking."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as first:
        await first.poll("nbk")
    asked = banks.requests["nbk"]
    async with polling(settings, clock) as second:
        await refresh_poller(second)
        assert shown(second) == shown(first)
        assert second.memory.states["nbk"] == first.memory.states["nbk"]
    assert banks.requests["nbk"] == asked


async def test_store_outage_does_not_affect_clients(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Polling goes on in memory; what waits is written when the store is back, told once each way."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as dead:
        alive, poller.store_sync.store = poller.store_sync.store, dead
        with capture_logs() as logs:
            await poller.poll("nbk")
            await refresh_poller(poller)
            assert percents(poller)[0] == "-0.77"
            assert "redis://127.0.0.1:1/0" in str(poller.store_sync.error)
            poller.store_sync.store = alive
            await refresh_poller(poller)
        assert poller.store_sync.error is None
        assert [log["event"] for log in logs] == ["ticker.changed", "store.lost", "store.back"]
        assert await alive.dates("nbk") == [day(1), day(2)]
        assert await alive.snapshot("kzt") == shown(poller)


async def test_a_store_that_comes_late_brings_its_past(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Fixings stored by an earlier run join those polled meanwhile; the newer ones win."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as dead:
        alive, poller.store_sync.store = poller.store_sync.store, dead
        await alive.save(fixing(day(15, 3), USD="470.00"))
        await alive.save(fixing(day(2), USD="470.00"))
        await poller.poll("nbk")
        poller.store_sync.store = alive
        await refresh_poller(poller)
        assert [one.date for one in poller.memory.series("nbk").fixings] == [day(15, 3), day(1), day(2)]
        assert percents(poller)[0] == "-0.77"
        revised = await alive.fixing("nbk", day(2))
        assert revised is not None
        assert [str(one.rates["USD"].value) for one in (revised, *revised.revisions)] == ["475.09", "470.00"]


async def test_what_was_polled_without_the_store_is_judged_by_it(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """Started without its memory it takes a scale fault for true; back, the fault waits and the true figures stay."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
    away = settings.model_copy(
        update={"store": settings.store.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")})}
    )
    banks.published["nbk"] = {
        on: {code: str(Decimal(str(value)) * 10) for code, value in figures.items()} for on, figures in APRIL.items()
    }
    async with (
        polling(away, clock) as poller,
        Store(settings.store.url.get_secret_value(), settings.store.prefix) as back,
    ):
        await poller.poll("nbk")
        assert str(shown(poller).quotes[0].rate) == "4750.90"
        poller.store_sync.store = back
        await refresh_poller(poller)
        await refresh_poller(poller)
        assert str(shown(poller).quotes[0].rate) == "475.09"
        assert sorted(poller.memory.quarantine["nbk"].waiting) == [day(1), day(2)]
        kept = await back.fixing("nbk", day(2))
        assert kept is not None
        assert str(kept.rates["USD"].value) == "475.09"


async def test_dropped_currency_holds_nothing(poller: Poller, banks: Banks, clock: Clock) -> None:
    """Publications without it are shown at once; they report it as missing."""
    await poller.poll("nbk")
    for number in (3, 4, 7, 8):
        clock.time = datetime(2026, 4, number - 1, 11, tzinfo=UTC)
        banks.published["nbk"][day(number)] = {"USD": f"47{number}.00", "EUR": "551.00", "RUB": "5.87", "GBP": "631.00"}
        await poller.poll("nbk")
        assert poller.memory.pending_quarantine("nbk") == []
        assert poller.memory.missing("nbk") == ("CNY",)
    assert [one.date for one in poller.memory.series("nbk").fixings] == [day(number) for number in (1, 2, 3, 4, 7, 8)]
    assert shown(poller).quotes[-1].date == day(2)


async def test_what_waits_from_long_ago_is_not_judged_by_today(poller: Poller, clock: Clock) -> None:
    """Left by a backfill, and older than all that memory holds: what lies before it is not known here."""
    store = poller.store_sync.store
    figures = {code: str(value) for code, value in APRIL[day(2)].items()}
    recent = [day(2) - timedelta(days=number) for number in range(2, KEEP + 10)]
    await store.save(fixing(date(2017, 3, 3), USD="318.00", EUR="336.00", RUB="5.50"))
    await store.save(*(fixing(on, **figures) for on in recent))  # type: ignore[arg-type]
    jump = QuarantinedFixing(fixing(date(2017, 3, 4), USD="470.00", EUR="540.00"), ("USD moved by +47.80%",), clock())
    await store.quarantine(jump)
    await poller.poll("nbk")
    await poller.poll("nbk")
    assert await store.waiting("nbk") == [jump]
    assert await store.fixing("nbk", date(2017, 3, 4)) is None


@pytest.mark.parametrize("unreadable", [False, True])
async def test_what_the_bank_says_of_long_ago_changes_nothing(
    poller: Poller, banks: Banks, *, unreadable: bool
) -> None:
    """An answer with a date before all that memory holds, which may well be in the store; also with a gap in memory."""
    store = poller.store_sync.store
    figures = {code: str(value) for code, value in APRIL[day(2)].items()}
    await store.save(*(fixing(day(2) - timedelta(days=number), **figures) for number in range(2, KEEP + 10)))  # type: ignore[arg-type]
    days = await store.dates("nbk")
    if unreadable:
        await store._redis.hset(store._key("fixings", "nbk"), str(days[-40]), "{}")
    old = days[0]
    before = await store.fixing("nbk", old)
    banks.faults["fdate=31.03.2026"] = nbk(old, {**APRIL[day(2)], "USD": "480.00"})
    await refresh_poller(poller)
    await poller.poll("nbk")
    assert await store.fixing("nbk", old) == before


async def test_zero_is_held_alone(poller: Poller, banks: Banks) -> None:
    """A zero in the very first response is held; all other rates of all days are published."""
    days = [day(number, 3) for number in range(25, 32)]
    banks.published["nbk"] = {on: {**APRIL[day(2)], "USD": f"475.{on.day}"} for on in days}
    banks.published["nbk"][days[1]] = {**APRIL[day(2)], "USD": "0"}
    await poller.poll("nbk")
    assert poller.memory.states["nbk"].error is None
    quarantined = poller.memory.quarantine["nbk"].waiting
    assert {on: list(one.fixing.rates) for on, one in quarantined.items()} == {days[1]: ["USD"]}
    assert len(poller.memory.series("nbk").fixings) == 7
    assert await poller.store_sync.store.waiting("nbk") == list(quarantined.values())
    assert await poller.store_sync.store.decisions("nbk") == []


async def test_a_wait_that_ends_while_others_write_has_ended(
    poller: Poller, banks: Banks, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A poll lets it in while the store is read anew: it does not come back."""
    await poller.poll("nbk")
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "4750.90"}
    await poller.poll("nbk")
    store_sync = poller.store_sync
    async with Store(poller.memory.settings.store.url.get_secret_value(), poller.memory.settings.store.prefix) as other:
        await other.save(fixing(date(2017, 3, 3), USD="318.00"))
    read, good = (
        store_sync.store.versions,
        fixing(day(3), USD="476.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"),
    )

    async def meanwhile() -> dict[str, str]:
        monkeypatch.setattr(store_sync.store, "versions", read)
        store_sync.apply_judgements("nbk", [Judgement(good, Verdict.NEW, good)], clock())
        return await read()

    monkeypatch.setattr(store_sync.store, "versions", meanwhile)
    await store_sync.sync()
    await store_sync.sync()
    assert poller.memory.pending_quarantine("nbk") == await store_sync.store.waiting("nbk") == []
    assert [one.outcome for one in await store_sync.store.decisions("nbk")] == [Outcome.WITHDRAWN]


async def test_a_store_that_comes_late_keeps_its_receipts(settings: Settings, clock: Clock, banks: Banks) -> None:
    """The same figures polled again take nothing of what was stored with them."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        stored = await poller.store_sync.store.fixing("nbk", day(2))
    clock.forward(hours=1)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as dead:
        alive, poller.store_sync.store = poller.store_sync.store, dead
        await poller.poll("nbk")
        poller.store_sync.store = alive
        await refresh_poller(poller)
        assert await alive.fixing("nbk", day(2)) == stored == poller.memory.series("nbk").on(day(2))


async def test_time_alone_makes_a_ticker_late_and_stale(poller: Poller, clock: Clock) -> None:
    """Without any poll the status follows the clock, and the figures stay."""
    await poller.poll("nbk")
    statuses = []
    for _ in range(6):
        statuses.append(str(shown(poller).status))
        clock.forward(days=1)
        await refresh_poller(poller)
    assert statuses == ["current", "late", "late", "late", "late", "stale"]
    assert percents(poller)[0] == "-0.77"


class Waiting(SourceAdapter):
    """Astana, understood only after the event loop had a turn: never, if that waits for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.turns = loop, 0

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return SOURCES["nbk"].fetch(session, since, until)

    def parse(self, payload: RawResponse) -> list[Fixing]:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(60)
        self.turns += 1
        return SOURCES["nbk"].parse(payload)


async def test_parsing_does_not_block_the_loop(poller: Poller) -> None:
    """However long a document takes, the loop goes on beside it."""
    adapter = Waiting(asyncio.get_running_loop())
    poller.adapters = {"nbk": adapter}
    await poller.poll("nbk")
    assert shown(poller).as_of == day(2)
    assert adapter.turns == 16


async def test_fixings_read_from_the_store_meanwhile_are_taken_into_account(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judgement is repeated: rates that are fine beside nothing may be a jump beside what is stored."""
    known = fixing(day(31, 3), USD="4787.70")
    loop, judged = asyncio.get_running_loop(), list[Series]()

    def judging(fixings: Sequence[Fixing], series: Series, rules: ValidationContext, keep: int) -> list[Judgement]:
        judged.append(series)
        if len(judged) == 1:
            told = asyncio.run_coroutine_threadsafe(tell(), loop)
            told.result(60)
        return judge_all(fixings, series, rules, keep)

    async def tell() -> None:
        poller.memory.add(known)

    monkeypatch.setattr("service.polling.poller.judge_all", judging)
    await poller.poll("nbk")
    assert [series.latest for series in judged] == [None, known]
    assert [one.rates.get("USD") for one in poller.memory.series("nbk").fixings] == [known.rates["USD"], None, None]
    quarantined = poller.memory.quarantine["nbk"].waiting
    assert {on: list(one.fixing.rates) for on, one in quarantined.items()} == {day(1): ["USD"], day(2): ["USD"]}


async def test_pass_over_the_quarantine_that_is_cancelled_is_made_by_another_poll(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two polls share a pass; one is cancelled in the middle of it, and the other makes it again."""
    passes, first = list[set[str]](), asyncio.Event()

    async def beside(news: set[str]) -> set[str]:
        passes.append(news)
        if len(passes) == 2:
            first.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return set()

    monkeypatch.setattr(poller, "_validate_quarantine_beside", beside)
    await poller._validating_quarantine.acquire()
    polls = [asyncio.create_task(poller._validate_quarantine_again(key)) for key in ("nbk", "cbr", "ecb")]
    await asyncio.sleep(0)
    poller._validating_quarantine.release()
    await asyncio.wait(polls)
    assert passes == [{"nbk", "cbr", "ecb"}]  # the other two found it done

    again = [asyncio.create_task(poller._validate_quarantine_again(key)) for key in ("nbk", "cbr")]
    await first.wait()
    again[0].cancel()
    await asyncio.wait(again)
    assert passes[1:] == [{"nbk"}, {"nbk", "cbr"}]


async def test_pass_over_the_quarantine_is_repeated_while_it_releases_rates(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A released rate may confirm one of a source that came earlier in the pass."""
    passes, released = list[set[str]](), iter([{"ecb"}, {"cbr"}, set[str]()])

    async def beside(news: set[str]) -> set[str]:
        passes.append(news)
        return next(released)

    monkeypatch.setattr(poller, "_validate_quarantine_beside", beside)
    await poller._validate_quarantine_again("nbk")
    assert passes == [{"nbk"}, {"ecb"}, {"cbr"}]


async def test_validation_leaves_nothing_in_the_shared_comparison(poller: Poller, banks: Banks) -> None:
    """Its documents are made for it alone: kept there, each poll of a day with a quarantine would add to them."""
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "600.00"}
    for key in ("cbr", "ecb", "nbu", "cbu"):
        banks.faults[key] = 404
    sizes = set[tuple[int, int, int]]()
    await poller.poll("nbk")
    await poller.poll("nbk")
    for _ in range(5):
        await poller.poll("nbk")
        check = poller.memory.cross_check
        sizes.add((len(check._observations), len(check._comparisons), len(check._assessments)))
    assert len(sizes) == 1
