"""A poller on stand-in banks and a real store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.polling.poller import Poller
from service.settings import Settings
from service.sources.banks import SOURCES
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Clock
from tests.support.instances import publisher


@asynccontextmanager
async def polling(settings: Settings, clock: Clock) -> AsyncIterator[Poller]:
    """Run a poller on the settings' banks and store."""
    memory = MemoryState(settings)
    async with (
        Store(settings.store.url.get_secret_value(), settings.store.prefix) as store,
        Client(settings.client) as client,
    ):
        sessions = {key: BankSession(key, source, client, clock) for key, source in settings.polled.items()}
        store_sync = StoreSync(memory, store, now=clock)
        yield Poller(memory, store_sync, publisher(store_sync), SOURCES, sessions, clock)
