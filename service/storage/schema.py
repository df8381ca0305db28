"""Version of the store's layout: the keys and records of `service.storage.repository`.

The key `schema` has it. It is written at the first start; a store without it, but with records, is `UNVERSIONED`. A
change of the layout that an earlier version would misread increases `VERSION` and adds a migration. A field that may
be missing needs neither.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from redis.asyncio import Redis

from service.errors import NewerSchemaError, StoreError
from service.runtime.program import program

log = structlog.get_logger()

VERSION: Final = 1
"""The layout that this version of the service reads and writes."""
UNVERSIONED: Final = 1
"""The layout of a store with records that was written before the key existed."""
FORM: Final = re.compile(r"[1-9]\d{0,8}", re.ASCII)
"""The form of a version; any other value was not written by the service."""
_LOCK: Final = 60.0
"""Time to live of the lock of a migration, in seconds."""

Key = Callable[..., str]
Migration = Callable[[Redis, Key], Awaitable[None]]

MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""By the version that it migrates from: a function that receives the client and returns the full name of a key.

It must be idempotent: it is repeated if it was interrupted, or if the key `schema` was lost.
"""


async def migrate(redis: Redis, key: Key) -> None:
    """Migrate the store step by step; one instance does it, the others wait for it.

    Raises `NewerSchemaError` if the store is newer, `StoreError` while another instance migrates it.
    """
    lock = redis.lock(key("migration"), timeout=_LOCK, thread_local=False)
    if not await lock.acquire(blocking=False):
        raise StoreError("the store is being migrated by another instance")
    try:
        version = int(await redis.get(key("schema")) or UNVERSIONED)
        check(version, or_older=True)
        for step in range(version, VERSION):
            await MIGRATIONS[step](redis, key)
            await redis.set(key("schema"), step + 1)
            log.info("store.migrated", schema=step + 1)
        await redis.set(key("schema"), VERSION)
    finally:
        await lock.release()


def check(version: int, *, or_older: bool = False) -> None:
    """Raise `NewerSchemaError` for a newer layout and, unless `or_older`, `StoreError` for an older one."""
    if version > VERSION:
        raise NewerSchemaError(
            f"the store has schema {version}, this version of the service knows up to {VERSION}: start the newer"
            " version, or restore an export into an empty store"
        )
    if version < VERSION and not or_older:
        raise StoreError(
            f"the store has schema {version}, this version of the service needs {VERSION}: start the service, which"
            f" migrates it: {program()} serve"
        )
