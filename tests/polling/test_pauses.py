"""Pauses that a bank demands are observed by polls, by other instances and by backfills, and are reported."""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from service.domain.publication_schedule import next_poll
from service.errors import TickerError
from service.polling.backfill import Backfill
from service.polling.scheduler import PollScheduler
from service.settings import Settings, load
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.state.memory import MemoryState, SourceState
from service.storage.repository import Store
from tests.conftest import Clock, Started
from tests.support.pollers import polling
from tests.support.standin import Banks
from tests.support.wait import until, until_true

if TYPE_CHECKING:
    from service.polling.poller import Poller

MINUTE = timedelta(minutes=1)


async def test_polls_observe_a_pause_and_go_on_after_it(settings: Settings, clock: Clock, banks: Banks) -> None:
    banks.faults["nbk"] = 429
    async with polling(settings, clock) as poller:
        with capture_logs() as logs:
            await poller.poll("nbk")
            await poller.poll("nbk")
        assert banks.requests["nbk"] == 1
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["source.failing"]

        clock.time += MINUTE
        del banks.faults["nbk"]
        await poller.poll("nbk")
        assert banks.requests["nbk"] > 1
        assert poller.memory.states["nbk"].not_before is None


async def test_next_leader_and_restarted_instance_observe_a_pause(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """It is stored with the state of the source."""
    banks.faults["nbk"] = 429
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
    async with polling(settings, clock) as restarted:
        await restarted.store_sync.request_sync()
        await restarted.poll("nbk")
    assert banks.requests["nbk"] == 1


async def test_first_poll_after_a_start_waits_for_the_end_of_a_pause(settings: Settings) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.memory = MemoryState(settings)
            self.polled = list[str]()

        def now(self) -> datetime:
            return datetime(2026, 4, 2, 4, 0, tzinfo=UTC)

        async def poll(self, key: str) -> None:
            self.polled.append(key)

    recorder = Recorder()
    pause_end = recorder.now() + timedelta(hours=1)
    recorder.memory.states["nbk"] = SourceState(polled_at=recorder.now(), not_before=pause_end)
    async with PollScheduler(cast("Poller", recorder), at_once=True):
        await until_true(lambda: set(recorder.polled) == settings.polled.keys() - {"nbk"})


@pytest.mark.parametrize(
    ("pause", "delay"),
    [(None, 60 * MINUTE), (MINUTE, 60 * MINUTE), (300 * MINUTE, 300 * MINUTE), (timedelta(days=2), 60 * MINUTE)],
    ids=["none", "before the next poll", "after it", "impossible: from a wrong clock"],
)
def test_next_poll_is_not_before_the_end_of_a_pause(pause: timedelta | None, delay: timedelta) -> None:
    now = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)  # 9:00 in Astana: nothing is due before the next hourly poll
    source = load(environ={}, overrides={"sources": {"nbk": {"sweep": "PT1H"}}}).sources["nbk"]
    pause_end = now + pause if pause else None
    assert next_poll(source, date(2026, 4, 2), now, now, pause_end) == now + delay


async def test_health_reports_a_pause(start: Started, banks: Banks) -> None:
    banks.faults["nbk"] = 429
    client = await start()

    async def is_reported() -> bool:
        response = await client.get("/health")
        (check,) = (await response.json(content_type=None))["checks"]["source:nbk"]
        return "status 429; no request before 2026-04-02 04:01:00 UTC" in check.get("output", "")

    await until(is_reported)


async def test_backfill_observes_a_pause_and_stores_it(
    settings: Settings, clock: Clock, banks: Banks, store: Store
) -> None:
    banks.faults["nbk"] = 429
    first, last = date(2026, 3, 1), date(2026, 3, 10)
    async with Client(settings.client) as client:

        async def backfill() -> None:
            session = BankSession("nbk", settings.sources["nbk"], client, clock)
            await Backfill(settings, store, session, clock, lambda *_: None).run(first, last)

        with pytest.raises(TickerError, match=r"no request before .*run the command again to resume"):
            await backfill()
        with pytest.raises(TickerError, match=r"run the command again after 2026-04-02 04:01:00 UTC"):
            await backfill()
        assert banks.requests["nbk"] == 1
        assert (await store.states())["nbk"].not_before == clock.time + MINUTE

        clock.time += MINUTE
        del banks.faults["nbk"]
        banks.published["nbk"] = {date(2026, 3, 3): {"USD": "500.00"}}
        await backfill()
    assert await store.dates("nbk") == [date(2026, 3, 3)]


async def test_pause_from_a_wrong_clock_is_ignored(settings: Settings, clock: Clock, banks: Banks) -> None:
    """A pause is a day at most; a clock that was ahead must not stop a source for longer."""
    async with polling(settings, clock) as poller:
        poller.memory.states["nbk"] = SourceState(not_before=clock.time + timedelta(days=3))
        await poller.poll("nbk")
    assert banks.requests["nbk"] > 0


async def test_successful_poll_keeps_a_pause_that_came_meanwhile(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """A backfill has been refused while the poll was in progress."""
    banks.published["nbk"] = {date(2026, 4, 2): {"USD": "500.00"}}
    async with polling(settings, clock) as poller:
        parse, pause_end = poller._fetch_and_parse, clock.time + 30 * MINUTE

        async def refused_meanwhile(key: str, since: date, until: date) -> Any:
            parsed = await parse(key, since, until)
            poller.memory.states[key] = SourceState(polled_at=clock.time, not_before=pause_end)
            return parsed

        poller._fetch_and_parse = refused_meanwhile  # type: ignore[method-assign]
        await poller.poll("nbk")
        assert poller.memory.states["nbk"].not_before == pause_end
