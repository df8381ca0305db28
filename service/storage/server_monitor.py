"""Monitor the store's server, its disk, its replicas and its Sentinels, for metrics.

Nothing here is needed to serve rates. It runs beside the synchronisation, so that a Sentinel that hangs delays nothing.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import structlog

from service.errors import StoreError
from service.runtime.background import BackgroundTask, run_in_thread
from service.storage.redis_connection import SentinelStatus
from service.storage.repository import Store

log = structlog.get_logger()

_EVERY: Final = 30.0
"""Seconds between inspections: `INFO` once, and one command for each Sentinel."""
_SAVING: Final = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")


class ServerStatus(NamedTuple):
    """State of the store's server; None: unknown, or the server does not report it to this user."""

    memory: int | None = None
    """Memory that counts against the limit, in bytes."""
    memory_limit: int | None = None
    """`maxmemory` in bytes; None if it is unlimited."""
    is_saved: bool | None = None
    """Whether the last write to the append-only file, its last rewrite and the last snapshot succeeded."""
    replicas: int | None = None
    """Replicas that are connected and complete."""

    @classmethod
    def of(cls, info: dict[str, Any]) -> Self:
        """Read the reply of `INFO`; fields that a server does not report are unknown."""
        used, replicas = _number(info.get("used_memory")), _number(info.get("connected_slaves"))
        statuses = [info.get(name) for name in _SAVING if name in info]
        attached = [info.get(f"slave{number}") for number in range(replicas or 0)]
        return cls(
            None if used is None else used - (_number(info.get("mem_not_counted_for_evict")) or 0),
            _number(info.get("maxmemory")) or None,
            all(status == "ok" for status in statuses) if statuses else None,
            None
            if replicas is None
            else sum(isinstance(replica, dict) and replica.get("state") == "online" for replica in attached),
        )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


class DiskUsage(NamedTuple):
    """Size of a file system, and what is free for the service; in bytes."""

    size: int
    free: int


@dataclass
class ServerMonitor(BackgroundTask):
    """Background task that inspects the server every 30 s; what cannot be inspected is unknown."""

    store: Store
    data_dir: Path | None = None
    """The folder of the embedded server; None: the store's disk is that of another machine."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    server: ServerStatus = field(default_factory=ServerStatus)
    sentinels: SentinelStatus | None = None
    """None if the store's URL names no Sentinels."""
    disk: DiskUsage | None = None
    _crashed: bool = False

    async def _run(self) -> None:
        while True:
            try:
                await self.inspect()
            except Exception:  # keep running; the metrics are unknown meanwhile
                if not self._crashed:
                    log.exception("monitor.crashed")
                self._crashed, self.server, self.sentinels, self.disk = True, ServerStatus(), None, None
            else:
                self._crashed = False
            await self.sleep(_EVERY)

    async def inspect(self) -> None:
        """Inspect server, Sentinels and disk once. An outage is no error: it is reported by the synchronisation."""
        self.server, self.sentinels, self.disk = await asyncio.gather(
            self._inspect_server(), self.store.sentinel_status(), self._inspect_disk()
        )

    async def _inspect_server(self) -> ServerStatus:
        try:
            return ServerStatus.of(await self.store.server_info())
        except StoreError:
            return ServerStatus()

    async def _inspect_disk(self) -> DiskUsage | None:
        if self.data_dir is None:
            return None
        try:
            usage = await run_in_thread(shutil.disk_usage, self.data_dir)
        except OSError:
            return None
        return DiskUsage(usage.total, usage.free)
