"""Restore the store of an earlier version (commit 3dbf2d0) from `stored-3dbf2d0.json`."""

import json
from pathlib import Path

from service.storage.repository import Store

STORED = json.loads(Path(__file__).with_name("stored-3dbf2d0.json").read_text(encoding="utf-8"))


async def restore(store: Store) -> None:
    for key, value in STORED.items():
        if "hash" in value:
            await store._redis.hset(store._key(key), mapping=value["hash"])
        else:
            await store._redis.rpush(store._key(key), *value["list"])
