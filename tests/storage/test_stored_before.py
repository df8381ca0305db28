"""Read the store of an earlier version (commit 3dbf2d0): `stored-3dbf2d0.json` is a copy of its keys."""

from datetime import UTC, datetime

from service.settings import Settings
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import Outcome
from tests.conftest import Clock
from tests.support.fixings import day
from tests.support.instances import refresh
from tests.support.stored import restore


async def test_store_of_an_earlier_version_is_read(settings: Settings, clock: Clock) -> None:
    """Rates with revisions, whole documents in quarantine, decisions, states and backfilled spans."""
    memory = MemoryState(settings)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        clock.time = datetime(2026, 4, 2, 5, tzinfo=UTC)
        await restore(store)
        store_sync = StoreSync(memory, store)
        await refresh(store_sync, clock)
        assert store_sync.error is None
        assert await store.backfilled("nbk") != []
        assert await store.waiting("nbk") == list(memory.quarantine["nbk"].waiting.values())
        (decision,) = await store.decisions("nbk")
    (first, second) = memory.series("nbk").fixings
    assert (first.date, second.date, [revision.digest for revision in second.revisions]) == (
        day(1),
        day(2),
        ["earlier"],
    )
    assert memory.states["nbk"].succeeded_at is not None
    assert memory.quarantine["nbk"].waiting[day(3)].fixing.rates.keys() == second.rates.keys()
    assert decision.outcome is Outcome.REJECTED
    assert memory.quarantine["nbk"].is_rejected(decision.waiting.fixing)
    usd = memory.snapshots["kzt"].quotes[0]
    assert (usd.code, str(usd.rate), str(usd.percent), usd.source) == ("USD", "475.09", "-0.77", "nbk")
