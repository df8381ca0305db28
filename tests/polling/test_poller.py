"""A poll from request to snapshot, with mock banks and a real store."""

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
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter, SourceSession
from service.sources.banks import SOURCES
from service.sources.session import BankSession
from service.state.memory import KEEP
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import Judgement, ValidationContext, Verdict, judge_all
from tests.conftest import Clock
from tests.support.fixings import APRIL, day, fixing, later
from tests.support.instances import refresh_poller
from tests.support.pollers import polling
from tests.support.standin import Banks, RawRates, nbk, nbu


@pytest.fixture
async def poller(settings: Settings, clock: Clock, banks: Banks) -> AsyncIterator[Poller]:
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        yield poller


def current_snapshot(poller: Poller) -> Snapshot:
    return poller.memory.snapshots["kzt"]


def percents(poller: Poller) -> list[str]:
    return [str(quote.percent) for quote in current_snapshot(poller).quotes]


async def test_polled_rates_are_shown_and_stored(poller: Poller) -> None:
    """The stored fixing has its URL, fetch time and digest."""
    await poller.poll("nbk")
    assert percents(poller) == ["-0.77", "0.44", "0.00", "-0.02", "-0.27"]
    stored = await poller.store_sync.store.fixing("nbk", day(2))
    assert stored is not None
    assert stored == poller.memory.series("nbk").on(day(2))
    assert stored.url.endswith("/rss/get_rates.cfm?fdate=02.04.2026")
    assert stored.fetched_at == datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
    assert len(stored.digest) == 64
    await refresh_poller(poller)
    assert await poller.store_sync.store.snapshot("kzt") == current_snapshot(poller)
    assert (await poller.store_sync.store.states())["nbk"].failures == 0


async def test_second_poll_begins_with_the_previous_publication(poller: Poller, banks: Banks) -> None:
    """The first poll requests two weeks; later ones request the last two publications and the next."""
    await poller.poll("nbk")
    assert banks.requests["nbk"] == 16
    await poller.poll("nbk")
    assert banks.requests["nbk"] == 19
    assert banks.most_concurrent["nbk"] == 1


async def test_new_fixing_changes_the_snapshot_once(poller: Poller, banks: Banks) -> None:
    """The same rates again change nothing; tomorrow's rates do."""
    await poller.poll("nbk")
    before = current_snapshot(poller)
    await poller.poll("nbk")
    assert current_snapshot(poller) is before
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "470.00"}
    await poller.poll("nbk")
    assert (current_snapshot(poller).as_of, percents(poller)[0]) == (day(3), "-1.07")


async def test_revision_replaces_the_rate_and_is_recorded(poller: Poller, banks: Banks) -> None:
    """Other rates for the same date replace the published ones, which are kept as a revision."""
    await poller.poll("nbk")
    banks.published["nbk"][day(2)] = {**APRIL[day(2)], "USD": "480.00"}
    with capture_logs() as logs:
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["fixing.revised", "ticker.changed"]
    assert percents(poller)[0] == "0.26"
    stored = await poller.store_sync.store.fixing("nbk", day(2))
    assert stored is not None
    assert [str(version.rates["USD"].value) for version in (stored, *stored.revisions)] == ["480.00", "475.09"]


HTML = b"<!DOCTYPE html><html><body>Are you a robot?</body></html>"


@pytest.mark.parametrize(
    ("fault", "message"),
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
    settings: Settings, clock: Clock, banks: Banks, fault: object, message: str
) -> None:
    """The error names the bank and the URL; one log line marks the failure and one the recovery."""
    banks.published["nbk"] = dict(APRIL)
    short_timeout = settings.client.model_copy(update={"timeout": timedelta(seconds=0.2)})
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        before, known = current_snapshot(poller), poller.memory.series("nbk").fixings
        banks.faults["nbk"] = fault
        session = poller.sessions["nbk"]
        assert isinstance(session, BankSession)
        client = session.client
        with capture_logs() as logs:
            client.settings = short_timeout if fault == "hang" else settings.client
            await poller.poll("nbk")
            await poller.poll("nbk")
            client.settings, state = settings.client, poller.memory.states["nbk"]
            banks.faults.clear()
            await poller.poll("nbk")
        assert [log["event"] for log in logs] == ["source.failing", "source.recovered"]
        assert state.error is not None
        assert state.error.startswith("nbk: ")
        assert message in state.error
        assert f"({banks.url}/nbk/rss" in state.error
        assert (state.failures, state.failing_since, state.succeeded_at) == (2, clock(), clock())
        assert current_snapshot(poller) is before
        assert poller.memory.series("nbk").fixings == known
        assert poller.memory.states["nbk"].error is None


@pytest.mark.parametrize("bad", [404, HTML])
async def test_failed_request_for_one_day_does_not_affect_others(
    poller: Poller, banks: Banks, bad: int | bytes
) -> None:
    """It is reported as a failure; the rates of the other days are shown."""
    banks.faults = {"fdate=20.03.2026": bad, "fdate=03.04.2026": bad}
    await poller.poll("nbk")
    assert percents(poller)[0] == "-0.77"
    assert "fdate=20.03.2026" in str(poller.memory.states["nbk"].error)


async def test_suspicious_rate_is_quarantined_alone(poller: Poller, banks: Banks) -> None:
    """It is logged once; its quote keeps the last valid rate. A correction by the bank is published."""
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
    dollar, euro = current_snapshot(poller).quotes[:2]
    assert (str(dollar.rate), dollar.date) == ("475.09", day(2))
    assert (str(euro.rate), euro.date, str(euro.percent)) == ("548.62", day(3), "-0.44")
    assert await poller.store_sync.store.waiting("nbk") == [waiting]
    banks.published["nbk"][day(3)] = APRIL[day(1)]
    await poller.poll("nbk")
    assert poller.memory.pending_quarantine("nbk") == await poller.store_sync.store.waiting("nbk") == []
    assert {quote.date for quote in current_snapshot(poller).quotes} == {day(3)}
    (decision,) = await poller.store_sync.store.decisions("nbk")
    assert (decision.outcome, decision.waiting) == (Outcome.WITHDRAWN, waiting)


async def test_missing_currency_does_not_delay_others(poller: Poller, banks: Banks) -> None:
    """Published rates are shown; the others keep their last rate and are reported as missing."""
    await poller.poll("nbk")
    banks.published["nbk"][day(3)] = {"USD": "476.00"}
    with capture_logs() as logs:
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["ticker.changed"]
    assert poller.memory.pending_quarantine("nbk") == []
    assert poller.memory.missing("nbk") == ("CNY", "EUR", "GBP", "RUB")
    assert {quote.code: quote.date for quote in current_snapshot(poller).quotes} == {
        "USD": day(3),
        **dict.fromkeys(("EUR", "RUB", "GBP", "CNY"), day(2)),
    }


async def test_date_beyond_the_horizon_is_quarantined(poller: Poller, banks: Banks) -> None:
    """By days or by decades; the correct next date is published."""
    rates: RawRates = {"USD": "43.10", "KZT": ("8.65", 100)}
    banks.faults["nbu"] = nbu(dict.fromkeys((day(1), day(2), day(3), day(7), date(2099, 1, 1)), rates))
    await poller.poll("nbu")
    latest = poller.memory.series("nbu").latest
    assert latest is not None
    assert latest.date == day(3)
    assert list(poller.memory.quarantine["nbu"].waiting) == [day(7), date(2099, 1, 1)]
    banks.faults["nbu"] = nbu(dict.fromkeys((day(2), day(3), day(7)), rates))
    await poller.poll("nbu")  # the bank no longer publishes 2099
    assert list(poller.memory.quarantine["nbu"].waiting) == [day(7)]


async def test_date_beyond_the_horizon_is_published_once_it_is_possible(
    poller: Poller, banks: Banks, clock: Clock
) -> None:
    """Also by a poll of another bank that brings nothing new."""
    rates: RawRates = {"USD": "43.10", "KZT": ("8.65", 100)}
    banks.faults["nbu"] = nbu(dict.fromkeys((day(1), day(2), day(3), day(7)), rates))
    banks.published["cbr"] = {day(1): {"USD": "80.0000", "KZT": ("16.7000", 100)}}
    for key in ("nbu", "cbr", "cbr"):
        await poller.poll(key)
    assert list(poller.memory.quarantine["nbu"].waiting) == [day(7)]
    clock.forward(days=4)
    await poller.poll("cbr")
    assert poller.memory.quarantine["nbu"].waiting == {}
    latest = poller.memory.series("nbu").latest
    assert latest is not None
    assert latest.date == day(7)


async def test_jump_is_quarantined_until_another_bank_confirms_it(poller: Poller, banks: Banks, clock: Clock) -> None:
    """The tenge falls by a third: the reason has both rates; a second bank releases the jump."""
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
    assert current_snapshot(poller).as_of == day(2)
    banks.published["cbr"][day(3)] = {"USD": "81.0000", "KZT": ("12.6000", 100)}
    clock.forward(hours=8)
    await poller.poll("cbr")
    await poller.poll("nbk")
    assert (current_snapshot(poller).as_of, percents(poller)[0]) == (day(3), "35.50")
    (decision,) = await poller.store_sync.store.decisions("nbk")
    assert (decision.outcome, decision.at) == (Outcome.CONFIRMED, clock())


async def test_quarantine_is_validated_again_only_after_a_change(
    poller: Poller, banks: Banks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most polls of other banks bring nothing new; a publication of one does."""
    judged = list[str]()

    def judge_and_count(
        fixings: Sequence[Fixing], series: Series, rules: ValidationContext, keep: int
    ) -> list[Judgement]:
        judged.extend({fixing.source for fixing in fixings})
        return judge_all(fixings, series, rules, keep)

    banks.published["cbr"] = {day(1): {"USD": "80.0000", "KZT": ("16.7000", 100)}}
    await poller.poll("nbk")
    await poller.poll("cbr")
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "643.75"}
    await poller.poll("nbk")
    assert list(poller.memory.quarantine["nbk"].waiting) == [day(3)]
    monkeypatch.setattr("service.polling.poller.judge_all", judge_and_count)
    for _ in range(5):
        await poller.poll("cbr")
    assert judged == ["cbr", "nbk", *["cbr"] * 4]

    judged.clear()
    banks.published["cbr"][day(2)] = {"USD": "80.5000", "KZT": ("16.7500", 100)}
    for _ in range(5):
        await poller.poll("cbr")
    assert judged == ["cbr", "nbk", "cbr", "nbk", *["cbr"] * 3]  # once more: its quarantine has got other reasons
    assert list(poller.memory.quarantine["nbk"].waiting) == [day(3)]


async def test_banks_polled_concurrently_confirm_each_other(poller: Poller, banks: Banks, clock: Clock) -> None:
    """The first jump is quarantined until the second bank confirms it, within one round of polls."""
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
    assert (current_snapshot(poller).as_of, percents(poller)[0]) == (day(3), "35.50")


async def test_decision_of_an_operator_is_applied_at_runtime(poller: Poller, banks: Banks, clock: Clock) -> None:
    """A rejected rate is not quarantined again when the bank repeats it; an accepted one is shown."""
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
        assert current_snapshot(poller).quotes[0].date == day(2)
        published = await other.fixing("nbk", day(3))
        assert published is not None
        assert published.rates.keys() == APRIL[day(2)].keys() - {"USD"}
        completed = replace(published, rates={**published.rates, **waiting.fixing.rates})
        await other.save(completed, decision=QuarantineDecision(waiting, Outcome.ACCEPTED, clock()))
        await refresh_poller(poller)
    assert (current_snapshot(poller).as_of, percents(poller)[0]) == (day(3), "900.00")


async def test_raw_responses_are_stored_with_their_rates(poller: Poller, banks: Banks) -> None:
    """They are stored by digest; a response without new rates is not stored."""
    await poller.poll("nbk")
    store = poller.store_sync.store
    stored = await store.fixing("nbk", day(2))
    assert stored is not None
    body = await store.raw("nbk", stored.digest)
    assert body is not None
    assert sha256(body).hexdigest() == stored.digest
    assert b"<title>USD</title><description>475.09</description>" in body
    await store._redis.delete(store._key("raw", "nbk", stored.digest))
    await poller.poll("nbk")
    assert await store.raw("nbk", stored.digest) is None


async def test_concurrent_polls_of_a_source_are_merged(poller: Poller, banks: Banks) -> None:
    """A poll that starts while another one runs returns at once."""
    await asyncio.gather(poller.poll("nbk"), poller.poll("nbk"))
    assert banks.requests["nbk"] == 16


async def test_error_in_an_adapter_is_contained(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged with its traceback and reported as the error of the source."""
    monkeypatch.setattr(SOURCES["nbk"], "parse", lambda _: 1 / 0)
    with capture_logs() as logs:
        await poller.poll("nbk")
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["poll.crashed", "source.failing"]
    assert "ZeroDivisionError" in str(poller.memory.states["nbk"].error)


async def test_error_in_an_adapter_of_a_failing_source_is_logged(
    poller: Poller, banks: Banks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its traceback, once: until then the bank did not respond."""
    banks.faults["nbk"] = 404
    with capture_logs() as logs:
        await poller.poll("nbk")
        banks.faults.clear()
        monkeypatch.setattr(SOURCES["nbk"], "parse", lambda _: 1 / 0)
        await poller.poll("nbk")
        await poller.poll("nbk")
    assert [log["event"] for log in logs] == ["source.failing", "poll.crashed"]


async def test_stored_rates_are_shown_after_a_restart(settings: Settings, clock: Clock, banks: Banks) -> None:
    """A new process on the same store has the same snapshot and states without any request."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as first:
        await first.poll("nbk")
    requests = banks.requests["nbk"]
    async with polling(settings, clock) as second:
        await refresh_poller(second)
        assert current_snapshot(second) == current_snapshot(first)
        assert second.memory.states["nbk"] == first.memory.states["nbk"]
    assert banks.requests["nbk"] == requests


async def test_store_outage_does_not_affect_clients(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Polling continues in memory; writes are flushed on recovery. Outage and recovery are logged once each."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        working_store, poller.store_sync.store = poller.store_sync.store, unreachable
        with capture_logs() as logs:
            await poller.poll("nbk")
            await refresh_poller(poller)
            assert percents(poller)[0] == "-0.77"
            assert "redis://127.0.0.1:1/0" in str(poller.store_sync.error)
            poller.store_sync.store = working_store
            await refresh_poller(poller)
        assert poller.store_sync.error is None
        assert [log["event"] for log in logs] == ["ticker.changed", "store.lost", "store.recovered"]
        assert await working_store.dates("nbk") == [day(1), day(2)]
        assert await working_store.snapshot("kzt") == current_snapshot(poller)


async def test_fixings_are_merged_when_the_store_becomes_available(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """Fixings of an earlier run are merged with those polled meanwhile; newer ones take precedence."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        working_store, poller.store_sync.store = poller.store_sync.store, unreachable
        await working_store.save(fixing(day(15, 3), USD="470.00"))
        await working_store.save(fixing(day(2), USD="470.00"))
        await poller.poll("nbk")
        poller.store_sync.store = working_store
        await refresh_poller(poller)
        assert [item.date for item in poller.memory.series("nbk").fixings] == [day(15, 3), day(1), day(2)]
        assert percents(poller)[0] == "-0.77"
        revised = await working_store.fixing("nbk", day(2))
        assert revised is not None
        assert [str(version.rates["USD"].value) for version in (revised, *revised.revisions)] == ["475.09", "470.00"]


async def test_rates_polled_without_the_store_are_validated_by_it(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """Without history a scale error is published; once the store is back it is quarantined."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
    outage_settings = settings.model_copy(
        update={"store": settings.store.model_copy(update={"url": SecretStr("redis://127.0.0.1:1")})}
    )
    banks.published["nbk"] = {
        on: {code: str(Decimal(str(value)) * 10) for code, value in rates.items()} for on, rates in APRIL.items()
    }
    async with (
        polling(outage_settings, clock) as poller,
        Store(settings.store.url.get_secret_value(), settings.store.prefix) as recovered,
    ):
        await poller.poll("nbk")
        assert str(current_snapshot(poller).quotes[0].rate) == "4750.90"
        poller.store_sync.store = recovered
        await refresh_poller(poller)
        await refresh_poller(poller)
        assert str(current_snapshot(poller).quotes[0].rate) == "475.09"
        assert sorted(poller.memory.quarantine["nbk"].waiting) == [day(1), day(2)]
        stored = await recovered.fixing("nbk", day(2))
        assert stored is not None
        assert str(stored.rates["USD"].value) == "475.09"


async def test_rate_polled_while_the_store_is_loaded_is_kept(
    settings: Settings, clock: Clock, banks: Banks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored series is validated in a worker thread; what is polled in the meantime is validated by it too."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        working_store, poller.store_sync.store = poller.store_sync.store, unreachable
        await working_store.save(fixing(day(15, 3), USD="470.00"))
        await poller.poll("nbk")
        poller.store_sync.store = working_store
        memory, contexts = poller.memory, list[ValidationContext]()

        def polled_meanwhile(key: str, now: datetime, series: Series | None = None) -> ValidationContext:
            contexts.append(type(memory).context(memory, key, now, series))
            if len(contexts) == 1:
                asyncio.get_running_loop().call_soon(memory.add, later(fixing(day(3), USD="476.00")))
            return contexts[-1]

        monkeypatch.setattr(memory, "context", polled_meanwhile)
        await poller.store_sync.sync()
        assert [item.date for item in memory.series("nbk").fixings] == [day(15, 3), day(1), day(2), day(3)]
        assert await working_store.dates("nbk") == [day(15, 3), day(1), day(2), day(3)]


async def test_discontinued_currency_does_not_delay_others(poller: Poller, banks: Banks, clock: Clock) -> None:
    """Publications without it are shown at once, and it is reported as missing."""
    await poller.poll("nbk")
    for number in (3, 4, 7, 8):
        clock.time = datetime(2026, 4, number - 1, 11, tzinfo=UTC)
        banks.published["nbk"][day(number)] = {"USD": f"47{number}.00", "EUR": "551.00", "RUB": "5.87", "GBP": "631.00"}
        await poller.poll("nbk")
        assert poller.memory.pending_quarantine("nbk") == []
        assert poller.memory.missing("nbk") == ("CNY",)
    assert [item.date for item in poller.memory.series("nbk").fixings] == [day(number) for number in (1, 2, 3, 4, 7, 8)]
    assert current_snapshot(poller).quotes[-1].date == day(2)


async def test_old_quarantined_fixing_is_not_validated_again(poller: Poller, clock: Clock) -> None:
    """A backfill left it, older than the series in memory: the rates before it are unknown here."""
    store = poller.store_sync.store
    rates = {code: str(value) for code, value in APRIL[day(2)].items()}
    recent = [day(2) - timedelta(days=number) for number in range(2, KEEP + 10)]
    await store.save(fixing(date(2017, 3, 3), USD="318.00", EUR="336.00", RUB="5.50"))
    await store.save(*(fixing(on, **rates) for on in recent))  # type: ignore[arg-type]
    jump = QuarantinedFixing(fixing(date(2017, 3, 4), USD="470.00", EUR="540.00"), ("USD moved by +47.80%",), clock())
    await store.quarantine(jump)
    await poller.poll("nbk")
    await poller.poll("nbk")
    assert await store.waiting("nbk") == [jump]
    assert await store.fixing("nbk", date(2017, 3, 4)) is None


@pytest.mark.parametrize("unreadable", [False, True])
async def test_old_date_in_a_response_changes_nothing(poller: Poller, banks: Banks, *, unreadable: bool) -> None:
    """The date is older than the series in memory but stored; also with a gap in memory."""
    store = poller.store_sync.store
    rates = {code: str(value) for code, value in APRIL[day(2)].items()}
    await store.save(*(fixing(day(2) - timedelta(days=number), **rates) for number in range(2, KEEP + 10)))  # type: ignore[arg-type]
    days = await store.dates("nbk")
    if unreadable:
        await store._redis.hset(store._key("fixings", "nbk"), str(days[-40]), "{}")
    old_date = days[0]
    before = await store.fixing("nbk", old_date)
    banks.faults["fdate=31.03.2026"] = nbk(old_date, {**APRIL[day(2)], "USD": "480.00"})
    await refresh_poller(poller)
    await poller.poll("nbk")
    assert await store.fixing("nbk", old_date) == before


async def test_zero_is_quarantined_alone(poller: Poller, banks: Banks) -> None:
    """All other rates of all days in the first response are published."""
    days = [day(number, 3) for number in range(25, 32)]
    banks.published["nbk"] = {on: {**APRIL[day(2)], "USD": f"475.{on.day}"} for on in days}
    banks.published["nbk"][days[1]] = {**APRIL[day(2)], "USD": "0"}
    await poller.poll("nbk")
    assert poller.memory.states["nbk"].error is None
    quarantined = poller.memory.quarantine["nbk"].waiting
    assert {on: list(entry.fixing.rates) for on, entry in quarantined.items()} == {days[1]: ["USD"]}
    assert len(poller.memory.series("nbk").fixings) == 7
    assert await poller.store_sync.store.waiting("nbk") == list(quarantined.values())
    assert await poller.store_sync.store.decisions("nbk") == []


async def test_quarantine_that_ends_during_a_sync_stays_ended(
    poller: Poller, banks: Banks, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """A poll publishes the date while the store is read again: the entry does not reappear."""
    await poller.poll("nbk")
    banks.published["nbk"][day(3)] = {**APRIL[day(2)], "USD": "4750.90"}
    await poller.poll("nbk")
    store_sync = poller.store_sync
    async with Store(poller.memory.settings.store.url.get_secret_value(), poller.memory.settings.store.prefix) as other:
        await other.save(fixing(date(2017, 3, 3), USD="318.00"))
    read_versions, corrected = (
        store_sync.store.versions,
        fixing(day(3), USD="476.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"),
    )

    async def read_after_a_poll() -> dict[str, str]:
        monkeypatch.setattr(store_sync.store, "versions", read_versions)
        store_sync.apply_judgements("nbk", [Judgement(corrected, Verdict.NEW, corrected)], clock())
        return await read_versions()

    monkeypatch.setattr(store_sync.store, "versions", read_after_a_poll)
    await store_sync.sync()
    await store_sync.sync()
    assert poller.memory.pending_quarantine("nbk") == await store_sync.store.waiting("nbk") == []
    assert [decision.outcome for decision in await store_sync.store.decisions("nbk")] == [Outcome.WITHDRAWN]


async def test_stored_metadata_is_kept_after_an_outage(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Polling the same rates during the outage does not replace the stored fixing."""
    banks.published["nbk"] = dict(APRIL)
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        stored = await poller.store_sync.store.fixing("nbk", day(2))
    clock.forward(hours=1)
    async with polling(settings, clock) as poller, Store("redis://127.0.0.1:1/0", "t:") as unreachable:
        working_store, poller.store_sync.store = poller.store_sync.store, unreachable
        await poller.poll("nbk")
        poller.store_sync.store = working_store
        await refresh_poller(poller)
        assert await working_store.fixing("nbk", day(2)) == stored == poller.memory.series("nbk").on(day(2))


async def test_ticker_becomes_late_and_stale_without_polls(poller: Poller, clock: Clock) -> None:
    """The status follows the clock, and the rates are kept."""
    await poller.poll("nbk")
    statuses = []
    for _ in range(6):
        statuses.append(str(current_snapshot(poller).status))
        clock.forward(days=1)
        await refresh_poller(poller)
    assert statuses == ["current", "late", "late", "late", "late", "stale"]
    assert percents(poller)[0] == "-0.77"


class LoopDependentAdapter(SourceAdapter):
    """The adapter of Astana, whose parser waits for the event loop: it deadlocks if run in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.parsed = loop, 0

    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]:
        return SOURCES["nbk"].fetch(session, since, until)

    def parse(self, payload: RawResponse) -> ParsedResponse:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(60)
        self.parsed += 1
        return SOURCES["nbk"].parse(payload)


async def test_parsing_does_not_block_the_loop(poller: Poller) -> None:
    """The event loop runs while a document is parsed."""
    adapter = LoopDependentAdapter(asyncio.get_running_loop())
    poller.adapters = {"nbk": adapter}
    await poller.poll("nbk")
    assert current_snapshot(poller).as_of == day(2)
    assert adapter.parsed == 16


async def test_validation_is_repeated_after_a_concurrent_sync(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates that are valid on their own may be a jump compared with the stored ones."""
    known = fixing(day(31, 3), USD="4787.70")
    loop, judged = asyncio.get_running_loop(), list[Series]()

    def judge_and_add(
        fixings: Sequence[Fixing], series: Series, rules: ValidationContext, keep: int
    ) -> list[Judgement]:
        judged.append(series)
        if len(judged) == 1:
            added = asyncio.run_coroutine_threadsafe(add_known(), loop)
            added.result(60)
        return judge_all(fixings, series, rules, keep)

    async def add_known() -> None:
        poller.memory.add(known)

    monkeypatch.setattr("service.polling.poller.judge_all", judge_and_add)
    await poller.poll("nbk")
    assert [series.latest for series in judged] == [None, known]
    assert [item.rates.get("USD") for item in poller.memory.series("nbk").fixings] == [known.rates["USD"], None, None]
    quarantined = poller.memory.quarantine["nbk"].waiting
    assert {on: list(entry.fixing.rates) for on, entry in quarantined.items()} == {day(1): ["USD"], day(2): ["USD"]}


async def test_validation_is_repeated_after_a_concurrent_rejection(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise rates that an operator has just rejected would be published."""
    await refresh_poller(poller)
    rejected = QuarantinedFixing(fixing(day(2), EUR="551.06"), ("EUR moved",), poller.now())
    loop = asyncio.get_running_loop()

    def judge_and_reject(
        fixings: Sequence[Fixing], series: Series, rules: ValidationContext, keep: int
    ) -> list[Judgement]:
        asyncio.run_coroutine_threadsafe(reject(), loop).result(60)
        return judge_all(fixings, series, rules, keep)

    async def reject() -> None:
        if not poller.memory.quarantine["nbk"].rejected:
            decision = QuarantineDecision(rejected, Outcome.REJECTED, poller.now())
            poller.memory.quarantine["nbk"] = Quarantine.of([], [decision])

    monkeypatch.setattr("service.polling.poller.judge_all", judge_and_reject)
    await poller.poll("nbk")
    published = poller.memory.series("nbk").on(day(2))
    assert published is not None
    assert "USD" in published.rates
    assert "EUR" not in published.rates


async def test_cancelled_quarantine_check_is_done_by_another_poll(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two polls share a check of the quarantine; if one is cancelled, the other repeats it."""
    checks, second_check = list[set[str]](), asyncio.Event()

    async def validate(changed: set[str]) -> set[str]:
        checks.append(changed)
        if len(checks) == 2:
            second_check.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return set()

    monkeypatch.setattr(poller, "_validate_other_quarantines", validate)
    await poller._validating_quarantine.acquire()
    polls = [asyncio.create_task(poller._validate_quarantine_again(key)) for key in ("nbk", "cbr", "ecb")]
    await asyncio.sleep(0)
    poller._validating_quarantine.release()
    await asyncio.wait(polls)
    assert checks == [{"nbk", "cbr", "ecb"}]  # the other two polls found it done

    retries = [asyncio.create_task(poller._validate_quarantine_again(key)) for key in ("nbk", "cbr")]
    await second_check.wait()
    retries[0].cancel()
    await asyncio.wait(retries)
    assert checks[1:] == [{"nbk"}, {"nbk", "cbr"}]


async def test_quarantine_check_is_repeated_while_it_releases_rates(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A released rate may confirm one of a source that was checked earlier."""
    checks, released = list[set[str]](), iter([{"ecb"}, {"cbr"}, set[str]()])

    async def validate(changed: set[str]) -> set[str]:
        checks.append(changed)
        return next(released)

    monkeypatch.setattr(poller, "_validate_other_quarantines", validate)
    await poller._validate_quarantine_again("nbk")
    assert checks == [{"nbk"}, {"ecb"}, {"cbr"}]


async def test_validation_does_not_grow_the_shared_cross_check(poller: Poller, banks: Banks) -> None:
    """Its documents are temporary: kept, they would accumulate with each poll during a quarantine."""
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
