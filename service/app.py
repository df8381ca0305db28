"""The wiring, and nothing else: whatever holds a resource is a cleanup context."""

import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from aiohttp import web

from service import __version__
from service.clock import Clock
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.errors import TickerError
from service.observability.counters import Counters
from service.observability.logging import configure
from service.polling.lifecycle import PollingLifecycle
from service.runtime import gc_tuning
from service.settings import Settings
from service.sources.banks import validate
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.repository import open_store
from service.storage.sync import StoreSync
from service.web.api import fixings, history, sources, stream, ticker
from service.web.api.stream import EventStreamHub
from service.web.embed import oembed, views
from service.web.http.problems import not_found, unexpecting
from service.web.openapi import docs
from service.web.ops import health, prometheus
from service.web.ops.health import HealthReport
from service.web.rendering.page_cache import PageCache
from service.web.server.instrumentation import OTHER, counted, counting, timed
from service.web.server.response_cache import ResponseCache
from service.web.server.runner import RESPONSE_CACHE, run

log = structlog.get_logger()


def serve(settings: Settings, server: EmbeddedValkey | None, obey: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight is finished first.

    `obey` ends the process if it was told to meanwhile.
    """
    configure(settings.log)
    where = settings.http
    app = create_app(settings, server, Clock())
    gc_tuning.tune_runtime()
    obey()
    try:
        url = f"http://{where.host}:{where.port}"
        run(app, where, lambda: log.info("service.ready", url=url, version=__version__))
    except OSError as error:
        raise TickerError(f"cannot listen on {where.host}:{where.port}: {error.strerror or error}") from None


def create_app(settings: Settings, server: EmbeddedValkey | None, now: Clock) -> web.Application:
    """Return the whole service; it asks no bank and opens no store before it starts."""
    memory = MemoryState(validate(settings))
    store = open_store(settings, server, now)
    store_sync = StoreSync(memory, store, server)
    counters = Counters()
    publisher = SnapshotPublisher(memory, store_sync.outbox.enqueue_snapshot)
    follower = StoreFollower(store_sync, publisher, now)
    election = LeaderElection(store.coordination, own=server is not None)
    polling = PollingLifecycle(memory, store_sync, publisher, election, now, counters)
    pages = PageCache(memory, now, counters)
    streams = EventStreamHub(pages)

    app = web.Application()
    app[RESPONSE_CACHE] = cache = ResponseCache(now)
    memory.watchers.append(cache.forget)
    ready = [*ticker.routes(pages), *stream.routes(streams), *views.routes(pages)]
    worked_out = [
        *history.routes(pages, store),
        *oembed.routes(pages),
        *sources.routes(memory, polling.next_poll, now),
        *fixings.routes(memory, store, now),
        *health.routes(HealthReport(memory, store_sync, election, follower, polling, now)),
        *docs.routes(pages),
        *prometheus.routes(memory, store_sync, election, counters, streams),
    ]
    app.add_routes(counted(ready, counters))
    app.add_routes(timed(worked_out, counters))
    other = counting(not_found, counters.of_route(OTHER))
    app.router.add_route("*", "/{path:(?s:.*)}", other, expect_handler=unexpecting)

    @asynccontextmanager
    async def remembered() -> AsyncIterator[None]:
        """Show what the store remembers before anybody can ask; at the end leave it all there is."""
        await follower.refresh()
        gc.freeze()  # 17 banks' figures of 90 days, a hundred thousand objects: no round has to look at them
        yield
        await store_sync.close()

    contexts: list[AbstractAsyncContextManager[object]] = [
        store,
        streams,
        remembered(),
        election,
        follower,
        polling,
    ]
    if server:
        contexts.insert(0, server)
    app.on_shutdown.append(streams.close)
    app.cleanup_ctx.extend(map(_as_cleanup, contexts))
    return app


def _as_cleanup(context: AbstractAsyncContextManager[object]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def cleanup(_: web.Application) -> AsyncIterator[None]:
        async with context:
            yield

    return cleanup
