"""`/metrics`: metrics for Prometheus, in the negotiated format. Never cached, and without CORS headers."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT

from service.clock import Clock
from service.cluster.leader_election import LeaderElection
from service.observability.counters import Counters
from service.state.deliveries import WebhookStatus
from service.state.memory import MemoryState
from service.storage.server_monitor import ServerMonitor
from service.storage.sync import StoreSync
from service.web.api.stream import EventStreamHub
from service.web.http.problems import handle_errors

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def routes(
    memory: MemoryState,
    store_sync: StoreSync,
    monitor: ServerMonitor,
    election: LeaderElection,
    counters: Counters,
    streams: EventStreamHub,
    webhooks: Mapping[str, WebhookStatus],
    now: Clock,
) -> list[web.RouteDef]:
    @cache
    def registry() -> "CollectorRegistry":
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - many instances are never scraped

        from service.web.ops.collector import register  # noqa: PLC0415

        collectors = CollectorRegistry()
        register(collectors, memory, store_sync, monitor, election, counters, lambda: streams.count, webhooks, now)
        return collectors

    def metrics(request: web.Request) -> web.StreamResponse:
        from service.web.ops.collector import exposition  # noqa: PLC0415

        body, content_type = exposition(registry(), request.headers.get(ACCEPT, ""))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    return [web.get("/metrics", handle_errors(metrics))]
