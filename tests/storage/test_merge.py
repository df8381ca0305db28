"""Instances that each know something the others do not, at one real Valkey: in the end all know the same."""

import asyncio
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.domain.fixing import Fixing
from service.errors import StoreError
from service.settings import Settings
from service.sources.adapter import RawResponse
from service.state.memory import KEEP, MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.validation.rules import judge_all
from tests.conftest import Clock
from tests.support.fixings import day, fixing, later
from tests.support.instances import follower, refresh, until_subscribed
from tests.support.servers import valkey as server
from tests.support.wait import until_true

BASE = fixing(day(1), USD="478.77")
FIRST = fixing(day(2), USD="475.09")
BAD = fixing(day(2), USD="4787.70")
HOUR = 3600


@dataclass
class Shared:
    """Some instances, each with a memory of its own."""

    store: Store
    settings: Settings
    clock: Clock

    def instance(self) -> StoreSync:
        return StoreSync(MemoryState(self.settings), self.store)

    async def instances(self, count: int) -> list[StoreSync]:
        made = [self.instance() for _ in range(count)]
        await self.rounds(made)
        self.learn(made[0], BASE)
        await self.rounds(made)
        return made

    def learn(self, who: StoreSync, *fixings: Fixing) -> None:
        for one in fixings:
            who.memory.add(one)
            who.outbox.enqueue_fixing(one)

    def holds_back(self, who: StoreSync, bad: Fixing) -> QuarantinedFixing:
        waiting = QuarantinedFixing(bad, ("USD moved by +900.00%",), bad.fetched_at)
        who.memory.quarantine["nbk"].waiting[bad.date] = waiting
        who.outbox.enqueue_quarantined(waiting)
        return waiting

    async def rounds(self, who: list[StoreSync], count: int = 5) -> int:
        """Let all look some times; return how often anything was written in the last round but one."""
        versions = list[str | None]()
        for _ in range(count):
            versions = []
            for one in who:
                await refresh(one, self.clock)
                versions.append(await self.store.version("nbk"))
        return len(set(versions)) - 1

    async def shown(self, who: list[StoreSync]) -> set[str]:
        """Return every dollar that is shown or stored for the second of April."""
        stored = await self.store.fixing("nbk", day(2))
        found = [stored, *(one.memory.series("nbk").on(day(2)) for one in who)]
        return {str(one.rates["USD"].value) if one else "nothing" for one in found}


@pytest.fixture
def shared(store: Store, settings: Settings, clock: Clock) -> Shared:
    return Shared(store, settings, clock)


async def test_a_rejection_holds_for_all_copies(shared: Shared) -> None:
    """Each was cut off and held the figure back for itself: what an operator says of one is said of all."""
    leader, *_ = who = await shared.instances(3)
    waiting = [shared.holds_back(store_sync, later(BAD, number)) for number, store_sync in enumerate(who)]
    await refresh(leader, shared.clock)
    await shared.store.record_decision(QuarantineDecision(waiting[0], Outcome.REJECTED, shared.clock()))
    assert await shared.rounds(who) == 0
    assert all(store_sync.memory.quarantine["nbk"].is_rejected(BAD) for store_sync in who)
    assert not any(store_sync.memory.quarantine["nbk"].waiting for store_sync in who)


async def test_a_rejection_holds_whatever_clocks_say(shared: Shared) -> None:
    """The leader's clock is an hour ahead: its wait began after the operator's word, and is over all the same."""
    leader, _ = who = await shared.instances(2)
    waiting = shared.holds_back(leader, later(BAD, HOUR))
    await shared.rounds(who)
    await shared.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, shared.clock()))
    assert await shared.rounds(who) == 0
    rules = leader.memory.context("nbk", shared.clock())
    leader.apply_judgements("nbk", judge_all([BAD], leader.memory.series("nbk"), rules, KEEP), shared.clock())
    assert await shared.rounds(who) == 0
    assert [one.outcome for one in await shared.store.decisions("nbk")] == [Outcome.REJECTED]


async def test_a_rejection_that_was_lost_is_written_again(shared: Shared) -> None:
    """With the fixings and the snapshots, when a store was emptied; an operator need not decide again."""
    who = await shared.instances(2)
    waiting = shared.holds_back(who[0], BAD)
    await shared.rounds(who)
    await shared.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, shared.clock()))
    await shared.rounds(who)
    before = await shared.store.snapshot("kzt")
    redis = shared.store._redis
    await redis.delete(*[key async for key in redis.scan_iter(f"{shared.store._prefix}*")])
    assert await shared.rounds(who) == 0
    assert [one.outcome for one in await shared.store.decisions("nbk")] == [Outcome.REJECTED]
    assert await shared.store.dates("nbk") == [day(1)]
    assert await shared.store.snapshot("kzt") == before
    assert shared.instance().memory.quarantine["nbk"].decisions == ()
    assert all(one.memory.quarantine["nbk"].is_rejected(BAD) for one in who)


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.CONFIRMED])
async def test_a_rejection_that_was_taken_back_stays_so(shared: Shared, outcome: Outcome) -> None:
    """What is newest holds, for instances that knew the rejection too."""
    who = await shared.instances(2)
    waiting = shared.holds_back(who[0], BAD)
    await shared.rounds(who)
    await shared.store.record_decision(QuarantineDecision(waiting, Outcome.REJECTED, shared.clock()))
    await shared.rounds(who)
    await shared.store.save(BAD, decision=QuarantineDecision(waiting, outcome, shared.clock()))
    assert await shared.rounds(who) == 0
    assert await shared.shown(who) == {"4787.70"}
    assert not any(one.memory.quarantine["nbk"].is_rejected(BAD) for one in who)


@pytest.mark.parametrize("digest", ["of its own", FIRST.digest])
async def test_earlier_form_gives_way_to_a_correction(shared: Shared, digest: str) -> None:
    """Somebody began without the store, and knows what the bank has corrected since."""
    (leader,) = await shared.instances(1)
    late = shared.instance()
    shared.learn(late, later(BASE), replace(later(FIRST), digest=digest))
    shared.learn(leader, FIRST, later(fixing(day(2), USD="476.00"), HOUR).with_revision_of(FIRST))
    await refresh(leader, shared.clock)
    assert await shared.rounds([late, leader]) == 0
    assert await shared.shown([late, leader]) == {"476.00"}


async def test_later_correction_is_the_next_revision(shared: Shared) -> None:
    """Somebody began without the store, and knows more than it."""
    (leader,) = await shared.instances(1)
    late = shared.instance()
    shared.learn(late, later(BASE), later(fixing(day(2), USD="476.00"), HOUR))
    shared.learn(leader, FIRST)
    await refresh(leader, shared.clock)
    assert await shared.rounds([late, leader]) == 0
    assert await shared.shown([late, leader]) == {"476.00"}
    stored = await shared.store.fixing("nbk", day(2))
    assert stored is not None
    assert [str(one.rates["USD"].value) for one in stored.revisions] == ["475.09"]


async def test_a_correction_is_taken_back_whatever_clocks_say(shared: Shared) -> None:
    """It was fetched by a clock that is a day ahead; then the bank says again what it said first, byte for byte."""
    leader, other = who = await shared.instances(2)
    shared.learn(leader, FIRST)
    await shared.rounds(who)
    wrong = later(fixing(day(2), USD="476.00"), 24 * HOUR).with_revision_of(FIRST)
    shared.learn(other, wrong)
    await shared.rounds(who)
    shared.learn(leader, replace(FIRST, fetched_at=later(FIRST, 60).fetched_at).with_revision_of(wrong))
    assert await shared.rounds(who) == 0
    assert await shared.shown(who) == {"475.09"}


async def test_what_is_refused_keeps_nothing_from_being_read(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be written goes on telling what others wrote."""
    (reader,) = await shared.instances(1)

    async def refuse(*_: object, **__: object) -> None:
        error = StoreError("it is full")
        error.refused = True
        raise error

    await shared.store.save(FIRST)
    monkeypatch.setattr(shared.store, "save_state", refuse)
    reader.outbox.enqueue_state("nbk", reader.memory.states["nbk"])
    await shared.rounds([reader])
    assert reader.error == "it is full"
    assert await shared.shown([reader]) == {"475.09"}


async def test_bytes_that_are_no_text_leave_out_one_record(shared: Shared) -> None:
    """Somebody else's, under our keys or on our channel: told, and nothing ends by it."""
    (one,) = await shared.instances(1)
    await shared.store._redis.hset(shared.store._key("fixings", "nbk"), "2026-04-02", b"\xff")
    await shared.store._redis.hset(shared.store._key("stamps"), "nbk", "another")
    await refresh(one, shared.clock)
    assert one.error is None
    async with shared.store.coordination.subscribe() as heard:
        await heard(1)
        await shared.store._redis.publish(f"{shared.store._prefix}news", b"\xff")
        assert await heard(1)


async def test_a_state_that_cannot_be_read_is_left_out(shared: Shared) -> None:
    """Of a source that another version polls, say."""
    (one,) = await shared.instances(1)
    await shared.store._redis.hset(shared.store._key("states"), "other", "{oops")
    with capture_logs() as logs:
        await refresh(one, shared.clock)
    assert one.error is None
    assert [log["event"] for log in logs] == ["store.unreadable"]


async def test_clients_do_not_wait_for_a_hanging_store(shared: Shared, tmp_path: Path) -> None:
    """What was learnt is shown within a moment, and written when it goes on."""
    with server(tmp_path / "v") as slow:
        assert slow.process
        async with Store(f"redis://127.0.0.1:{slow.port}/0", "t:", timeout=60) as store:
            hanging = Shared(store, shared.settings, shared.clock)
            (one,) = await hanging.instances(1)
            one.patience = 0.05
            slow.process.send_signal(signal.SIGSTOP)
            hanging.learn(one, FIRST)
            await refresh(one, shared.clock)
            assert one.memory.snapshots["kzt"].as_of == FIRST.date
            assert one._syncing
            assert not one._syncing.done()
            one.patience = 60
            slow.process.send_signal(signal.SIGCONT)
            await hanging.rounds([one])
            assert await hanging.shown([one]) == {"475.09"}
            await one.close()


async def emptied(shared: Shared) -> None:
    redis = shared.store._redis
    await redis.delete(*[key async for key in redis.scan_iter(f"{shared.store._prefix}*")])


@pytest.mark.parametrize("count", [1, 2])
async def test_a_correction_that_waits_outlasts_a_loss(shared: Shared, count: int) -> None:
    """The fixing of its day is written again first, and ends nothing."""
    who = await shared.instances(count)
    shared.learn(who[0], FIRST)
    await shared.rounds(who)
    waiting = shared.holds_back(who[0], later(BAD))
    await shared.rounds(who)
    await emptied(shared)
    await shared.rounds(who)
    assert await shared.store.waiting("nbk") == [waiting]
    await shared.store._redis.hset(shared.store._key("stamps"), "nbk", "another")
    await shared.rounds(who)
    assert [list(one.memory.quarantine["nbk"].waiting.values()) for one in who] == [[waiting]] * count


async def test_what_waits_beside_a_rejection_outlasts_a_loss(shared: Shared) -> None:
    """Both are of one day, and of other figures."""
    who = await shared.instances(1)
    rejected = shared.holds_back(who[0], BAD)
    await shared.rounds(who)
    await shared.store.record_decision(QuarantineDecision(rejected, Outcome.REJECTED, shared.clock()))
    await shared.rounds(who)
    waiting = shared.holds_back(who[0], later(fixing(day(2), USD="47.51")))
    await shared.rounds(who)
    await emptied(shared)
    assert await shared.rounds(who) == 0
    assert await shared.store.waiting("nbk") == [waiting]
    assert [one.outcome for one in await shared.store.decisions("nbk")] == [Outcome.REJECTED]


async def test_who_comes_back_with_what_is_known_ends_no_wait(shared: Shared) -> None:
    """Cut off, and polling for itself, it learnt what the leader did; a correction waits by now."""
    leader, late = who = await shared.instances(2)
    shared.learn(late, later(FIRST))
    shared.learn(leader, FIRST)
    await refresh(leader, shared.clock)
    waiting = shared.holds_back(leader, later(BAD, 2))
    await refresh(leader, shared.clock)
    await refresh(late, shared.clock)
    assert await shared.rounds(who) == 0
    assert await shared.store.waiting("nbk") == [waiting]


async def test_a_wait_that_ended_stays_so_whatever_clocks_say(shared: Shared) -> None:
    """It was begun by a clock that is a day ahead, and ended by one that is right."""
    leader, ahead, _ = who = await shared.instances(3)
    shared.holds_back(ahead, later(BAD, 24 * HOUR))
    await shared.rounds(who)
    leader.record_decisions(leader.memory.quarantine["nbk"].withdraw(day(1), [day(1)], shared.clock()))
    assert await shared.rounds(who) == 0
    assert await shared.store.waiting("nbk") == []
    assert len(await shared.store.decisions("nbk")) == 1


async def test_news_that_come_while_it_writes_are_seen_at_once(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way has read already: once more is looked."""
    one, _ = await shared.instances(2)
    announce, entered, heard = shared.store.coordination.publish_change, asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        entered.set()
        await heard.wait()
        await announce()

    async with follower(one, shared.clock, interval=3600):
        await until_subscribed(shared.store)
        monkeypatch.setattr(shared.store.coordination, "publish_change", slowly)
        shared.learn(one, later(fixing(day(1), USD="478.80")).with_revision_of(BASE))
        poll = asyncio.create_task(refresh(one, shared.clock))
        await entered.wait()
        await shared.store.save(FIRST)
        await announce()
        await until_true(lambda: one._requested)
        heard.set()
        await until_true(lambda: one.memory.series("nbk").on(day(2)) == FIRST)
        await poll
    await one.close()


async def test_what_is_refused_keeps_nothing_else_from_being_written(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user that may not do one thing may do others: the fixings are what counts."""
    (one,) = await shared.instances(1)

    async def refuse(*_: object) -> None:
        error = StoreError("it may not")
        error.refused = True
        raise error

    monkeypatch.setattr(shared.store, "save_raw", refuse)
    for number in range(20):
        one.outbox.enqueue_response(RawResponse("nbk", "KZT", "u", str(number).encode(), shared.clock()))
    shared.learn(one, FIRST)
    await shared.rounds([one])
    assert one.error == "it may not"
    assert await shared.store.fixing("nbk", day(2)) == FIRST
