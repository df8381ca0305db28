"""Ten years of a source from its bank, beside readers: how long it takes, what they notice, what is stored."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Final

from redis import Redis

from tests.benchmarks.bank import FIRST, LAST
from tests.benchmarks.load import ask
from tests.benchmarks.processes import Server, Service, beside
from tests.benchmarks.rows import Effort, Row
from tests.benchmarks.steady import p99

_COMMAND: Final = ("backfill", "nbk", "--from", str(FIRST), "--to", str(LAST), "--pause", "0.008")
"""Paced: a bank is nothing to be hurried, and half a minute of the target is left for that."""
_IDLE: Final = 8.0
"""Seconds of readers alone, about as many as a backfill takes: as much of the machine's own doings in both."""
_STORED: Final = {"fixings": ("fixings", "quarantine", "decisions"), "raw responses": ("raw",)}


def backfill(folder: Path, effort: Effort) -> list[Row]:
    """Measure backfills into empty stores, each beside a service that shows the source and follows what is filled.

    Nothing is pinned: so an operator runs it, and on two cores all of it has to share.
    """
    took = Row("backfill of ten years, under load", "its responses alone", "s", most=60, related=False)
    waits = Row("/v1/ticker during a backfill, p99", "idle", "ms", most_ratio=2)
    parts = {name: Row(f"store, ten years, {name}", "before", "MB", related=False) for name in _STORED}
    whole = Row("store, ten years, total", "before", "MB", most=25, related=False)
    folder.mkdir()
    with beside("bank", folder) as its:
        for number in range(effort.backfills):
            service = Service(folder / str(number), its.port)
            with service.running() as server, ThreadPoolExecutor(1) as other:
                before = _stored(service)
                idle = p99(server.port, "/v1/ticker", other.submit(time.sleep, _IDLE).done)
                filling = other.submit(service.run, *_COMMAND)
                waits.pairs.append((idle, p99(server.port, "/v1/ticker", filling.done)))
                after = _stored(service)
            took.pairs.append((_asked(its), filling.result()))
            for name, part in parts.items():
                part.pairs.append((before[name], after[name]))
            whole.pairs.append((sum(before.values()), sum(after.values())))
    return [took, waits, *parts.values(), whole]


def _asked(its: Server) -> float:
    """Return the seconds that the bank takes for all that a backfill asks, with nobody who understands it."""
    begun = time.perf_counter()
    for offset in range((LAST - FIRST).days + 1):
        ask(its.port, f"/rss/get_rates.cfm?fdate={FIRST + timedelta(days=offset):%d.%m.%Y}")
    return time.perf_counter() - begun


def _stored(service: Service) -> dict[str, float]:
    """Return what the store holds of the bank, in MB of its memory."""
    with Redis(unix_socket_path=str(service.data / "valkey.sock")) as store:
        return {
            name: sum(
                store.memory_usage(key, samples=0) or 0  # 0: every field of a hash, not some of them
                for kind in kinds
                for key in store.scan_iter(f"ticker:{kind}:nbk*", count=1000)
            )
            / 1e6
            for name, kinds in _STORED.items()
        }
