"""Backfill of ten years under load: its duration, its effect on other requests, and the size of the store."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

from redis import Redis

from tests.benchmarks.bank import FIRST, LAST
from tests.benchmarks.load import fetch
from tests.benchmarks.processes import Server, Service, mock_server
from tests.benchmarks.rows import Effort, Row
from tests.benchmarks.steady import p99

_COMMAND: Final = ("backfill", "nbk", "--from", str(FIRST), "--to", str(LAST), "--pause", "0.008")
"""With a pause between requests, as a bank expects; half a minute of the target is reserved for it."""
_IDLE: Final = 8.0
"""Seconds of load without a backfill, about the duration of one, so that other load on the machine is equal."""
_STORED: Final = {"fixings": ("fixings", "quarantine", "decisions"), "raw responses": ("raw",)}


def backfill(folder: Path, effort: Effort) -> list[Row]:
    """Measure backfills into empty stores, while a service with the same store serves requests.

    Processes are not pinned, as in production: on two cores they share both.
    """
    duration = Row("backfill of ten years, under load", "its responses alone", "s", most=60, related=False)
    latency = Row("/v1/ticker during a backfill, p99", "idle", "ms", most_ratio=2)
    parts = {name: Row(f"store, ten years, {name}", "before", "MB", related=False) for name in _STORED}
    total = Row("store, ten years, total", "before", "MB", most=25, related=False)
    folder.mkdir()
    with mock_server("bank", folder) as bank:
        for number in range(effort.backfills):
            service = Service(folder / str(number), bank.port)
            with service.running() as server, ThreadPoolExecutor(1) as thread:
                before = _stored(service)
                idle = p99(server.port, "/v1/ticker", thread.submit(time.sleep, _IDLE).done)
                running = thread.submit(service.run, *_COMMAND)
                latency.pairs.append((idle, p99(server.port, "/v1/ticker", running.done)))
                after = _stored(service)
            duration.pairs.append((_fetch_seconds(bank), running.result()))
            for name, part in parts.items():
                part.pairs.append((before[name], after[name]))
            total.pairs.append((sum(before.values()), sum(after.values())))
    return [duration, latency, *parts.values(), total]


def _fetch_seconds(bank: Server) -> float:
    """Return the seconds that the bank needs for all requests of a backfill, without parsing."""
    started = time.perf_counter()
    for offset in range((LAST - FIRST).days + 1):
        fetch(bank.port, f"/rss/get_rates.cfm?fdate={FIRST + timedelta(days=offset):%d.%m.%Y}")
    return time.perf_counter() - started


def _stored(service: Service) -> dict[str, float]:
    """Return the memory of the bank's records in the store, in MB."""
    with Redis(unix_socket_path=str(service.data / "valkey.sock")) as store:
        return {
            name: sum(
                store.memory_usage(key, samples=0) or 0  # 0: all fields of a hash instead of a sample
                for kind in kinds
                for key in store.scan_iter(f"ticker:{kind}:nbk*", count=1000)
            )
            / 1e6
            for name, kinds in _STORED.items()
        }
