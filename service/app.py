"""The wiring, and nothing else: whatever holds a resource is a cleanup context."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from aiohttp import web

from service import __version__, runtime
from service.clock import Clock
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.errors import SettingsError, TickerError
from service.observability.counters import Counters
from service.observability.logging import configure
from service.polling.lifecycle import PollingLifecycle
from service.runtime import gc_tuning
from service.settings import Settings, load
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
from service.web.server.runner import RESPONSE_CACHE, Runner, run

log = structlog.get_logger()


def serve(settings: Settings, server: EmbeddedValkey | None, obey: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; what is in flight is finished first.

    `obey` ends the process if SIGTERM came meanwhile.
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


def shared_settings() -> Settings:
    """Return the settings for several processes; raise `SettingsError` if they have no store to share."""
    settings = load()
    runtime.configure(settings.runtime)
    validate(settings)
    if settings.store.url.get_secret_value() == "embedded":
        raise SettingsError(
            "store.url: several workers need a store that they share, like redis://localhost:6379/0; "
            "the embedded one belongs to one process"
        )
    open_store(settings, None, Clock())  # refuses an invalid URL once, and not in each worker
    return settings


async def create_worker() -> Runner:
    """Return what a gunicorn worker runs: with our limits, since gunicorn's would close idle connections after 2 s."""
    settings = shared_settings()
    app = create_app(settings, None, Clock())
    gc_tuning.tune_runtime()
    log.info("worker.started", version=__version__)
    return Runner(app, settings.http)


def create_app(settings: Settings, server: EmbeddedValkey | None, now: Clock) -> web.Application:
    """Return the whole application; it contacts no bank and opens no store before it starts."""
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
    if settings.http.response_cache:
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
        """Load stored rates before the first request is served; at the end flush what is pending."""
        await follower.refresh()
        gc_tuning.freeze()
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
