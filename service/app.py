"""Create and run the aiohttp application. Everything that holds a resource is a cleanup context."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import Final

import structlog
from aiohttp import web

from service import __version__, runtime
from service.clock import Clock
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection
from service.errors import SettingsError, TickerError
from service.observability.counters import Counters
from service.observability.logging import configure
from service.observability.tracing import Tracing
from service.polling.lifecycle import START_DELAY, PollingLifecycle
from service.runtime import gc_tuning, systemd
from service.runtime.background import BackgroundTask, run_in_thread
from service.settings import HttpSettings, Settings, load
from service.sources.registry import validate
from service.state.deliveries import WebhookStatus
from service.state.memory import MemoryState
from service.state.publisher import SnapshotPublisher
from service.storage.coordination import LIFE
from service.storage.embedded_valkey import EmbeddedValkey
from service.storage.rates_on_date import RatesOnDate
from service.storage.repository import open_store
from service.storage.server_monitor import ServerMonitor
from service.storage.store_url import check as check_store_url
from service.storage.sync import StoreSync
from service.web.api import chart, fixings, history, rates, sources, stream, ticker
from service.web.api.rates import DatedRates
from service.web.api.stream import EventStreamHub
from service.web.embed import oembed, views
from service.web.http.problems import not_found, unexpecting
from service.web.http.request_id import RequestIds
from service.web.i18n import locale
from service.web.openapi import docs
from service.web.ops import health, prometheus, status_page
from service.web.ops.health import HealthReport
from service.web.pages import rates as rate_pages
from service.web.pages import receipts
from service.web.pages.documents import DocumentCache
from service.web.rendering import templates
from service.web.rendering.page_cache import PageCache
from service.web.server.instrumentation import OTHER, counted, counting, timed
from service.web.server.response_cache import ResponseCache
from service.web.server.runner import DRAINING, RESPONSE_CACHE, Runner, run

log = structlog.get_logger()

_LOADED_AFTER_START: Final = ("babel.dates", "babel.numbers", "service.web.ops.collector")
"""Modules of the first page and the first scrape. Those of polling are loaded by its lifecycle."""


class ModuleLoader(BackgroundTask):
    """Background task that loads what is left: an upgrade in place may replace the files later.

    The first page and the first strip do not wait for it either. Templates come first: compiling them takes 3 MB for a
    moment, which the others use again.
    """

    async def _run(self) -> None:
        await asyncio.sleep(START_DELAY)
        try:
            for name in await run_in_thread(templates.names):
                await run_in_thread(templates.load, name)
            for name in _LOADED_AFTER_START:
                await run_in_thread(import_module, name)
            await run_in_thread(locale.language, locale.ENGLISH)
            gc_tuning.freeze()  # 10,000 objects that stay, and what the first polls have compared
        except Exception:
            log.exception("loader.crashed")  # the request that needs it fails too, and says so


def serve(
    settings: Settings,
    server: EmbeddedValkey | None,
    obey: Callable[[], None],
    read_settings: Callable[[], Settings] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    On SIGHUP the process starts again if the settings, which `read_settings` reads, are valid. Started from a terminal,
    where SIGHUP means that it was closed, `read_settings` is None.

    `obey` exits the process if SIGTERM arrived during startup. Raises `TickerError` if the port cannot be bound, or
    when polling gives up.
    """
    configure(settings.log)
    http = settings.http
    gave_up = False

    def give_up() -> None:
        nonlocal gave_up
        gave_up = True
        signal.raise_signal(signal.SIGTERM)

    def ready(url: str) -> None:
        log.info("service.ready", url=url, version=__version__)
        systemd.notify("READY=1")

    def may_restart(read: Callable[[], Settings]) -> bool:
        try:
            changed = validate(read())
            check_store_url(changed.store.url.get_secret_value())
            _check_address(changed.http, http)
        except SettingsError as error:
            log.warning("settings.refused", error=str(error))
            return False
        log.info("settings.changed")
        return True

    app = create_app(settings, server, Clock(), give_up=give_up)
    gc_tuning.tune_runtime()
    obey()
    try:
        restarts = run(app, http, ready, partial(may_restart, read_settings) if read_settings else None)
    except OSError as error:
        raise TickerError(_cannot_listen(http, error)) from None
    if restarts:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself
    if gave_up:
        raise TickerError("polling has crashed several times in a row, see the log; the process ends to be restarted")


def _check_address(changed: HttpSettings, current: HttpSettings) -> None:
    """Raise `SettingsError` if a changed address cannot be bound; of the current port, any on a changed host."""
    if (changed.host, changed.port) == (current.host, current.port):
        return
    port = 0 if changed.port == current.port else changed.port
    try:
        family, kind, _, _, address = socket.getaddrinfo(changed.host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(f"http: {_cannot_listen(changed, error)}") from None


def _cannot_listen(http: HttpSettings, error: OSError) -> str:
    return f"cannot listen on {http.host}:{http.port}: {error.strerror or error}"


def shared_settings() -> Settings:
    """Return the settings for several worker processes; raise `SettingsError` if they have no shared store."""
    settings = load()
    runtime.configure(settings.runtime)
    validate(settings)
    if settings.store.url.get_secret_value() == "embedded":
        raise SettingsError(
            "store.url: several workers need a shared store, e.g. redis://localhost:6379/0; "
            "the embedded server belongs to one process"
        )
    check_store_url(settings.store.url.get_secret_value())  # once instead of in each worker
    return settings


async def create_worker() -> Runner:
    """Return the runner of a gunicorn worker. It has our own timeouts: gunicorn closes idle connections after 2 s."""
    settings = shared_settings()
    app = create_app(settings, None, Clock(), give_up=lambda: signal.raise_signal(signal.SIGTERM))
    gc_tuning.tune_runtime()
    log.info("worker.started", version=__version__)
    return Runner(app, settings.http)


def create_app(
    settings: Settings,
    server: EmbeddedValkey | None,
    now: Clock,
    *,
    machine: Clock | None = None,
    lock_life: float = LIFE,
    give_up: Callable[[], None] = lambda: None,
) -> web.Application:
    """Return the application. It connects to banks and the store only when it is started.

    `machine` is the system clock, which is compared with the store's; `lock_life` the time to live of the leader's lock
    in seconds; `give_up` ends the process when it cannot poll.
    """
    memory = MemoryState(validate(settings))
    store = open_store(settings, server, now, lock_life=lock_life)
    store_sync = StoreSync(memory, store, server, now)
    counters = Counters()
    publisher = SnapshotPublisher(memory, store_sync.outbox.enqueue_snapshot, store_sync.load_period_starts)
    follower = StoreFollower(store_sync, publisher, now)
    monitor = ServerMonitor(store, server.data_dir if server else None)
    election = LeaderElection(store.coordination, own=server is not None, machine=machine or Clock())
    polling = PollingLifecycle(memory, store_sync, publisher, election, now, counters, give_up)
    pages = PageCache(memory, now, counters)
    streams = EventStreamHub(pages)
    webhooks = {webhook.label: WebhookStatus() for webhook in settings.webhooks}
    histories = history.Histories(pages, store)
    charts, documents = chart.Charts(pages, histories), DocumentCache(now)

    draining = asyncio.Event()
    health_report = HealthReport(memory, store_sync, election, follower, polling, now, now(), webhooks, draining)

    app = web.Application()
    app[DRAINING] = draining
    if settings.http.response_cache:
        app[RESPONSE_CACHE] = cache = ResponseCache(now)
        memory.watchers.append(cache.forget)
    dated = DatedRates(pages, RatesOnDate(memory, store))
    cached = [
        *ticker.routes(pages, dated),
        *stream.routes(streams),
        *views.routes(pages),
        *chart.routes(charts),
    ]
    computed = [
        *history.routes(histories),
        *rates.routes(dated),
        *rate_pages.routes(pages, charts, documents),
        *receipts.routes(pages, store, documents),
        *oembed.routes(pages),
        *sources.routes(memory, polling.next_poll, now),
        *fixings.routes(memory, store, now),
        *health.routes(health_report),
        *status_page.routes(health_report),
        *docs.routes(pages),
        *prometheus.routes(memory, store_sync, monitor, election, counters, streams, webhooks, now),
    ]
    ids = RequestIds(settings.http)
    app.on_response_prepare.append(ids.add_to_error)
    app.add_routes(counted(cached, counters, ids))
    app.add_routes(timed(computed, counters, ids))
    other = counting(not_found, counters.of_route(OTHER), ids)
    app.router.add_route("*", "/{path:(?s:.*)}", other, expect_handler=unexpecting)

    @asynccontextmanager
    async def stored_rates() -> AsyncIterator[None]:
        """Load stored rates before the first request is served; flush pending writes on cleanup.

        Raises `UnusableStoreError` if this version cannot use the store.
        """
        await follower.refresh()
        if store_sync.unusable:
            raise store_sync.unusable
        gc_tuning.freeze()
        yield
        await store_sync.close()

    contexts: list[AbstractAsyncContextManager[object]] = [
        store,
        streams,
        stored_rates(),
        election,
        follower,
        monitor,
        polling,
        ModuleLoader(),
        systemd.Watchdog(),
    ]
    if settings.webhooks:
        from service.webhooks.delivery import Webhooks  # noqa: PLC0415 - disabled by default

        contexts.append(Webhooks(store_sync, publisher, election, counters, webhooks, now))
    if server:
        contexts.insert(0, server)
    contexts.insert(0, Tracing(settings.tracing, election.id))  # the last to end: it sends the spans of the others
    app.on_shutdown.append(streams.close)
    app.cleanup_ctx.extend(map(_as_cleanup, contexts))
    return app


def _as_cleanup(context: AbstractAsyncContextManager[object]) -> Callable[[web.Application], AsyncIterator[None]]:
    async def cleanup(_: web.Application) -> AsyncIterator[None]:
        async with context:
            yield

    return cleanup
