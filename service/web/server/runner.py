"""Run the application: connection limits around aiohttp's server, the response cache before its router, signals."""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import Any, Final

import structlog
import uvloop
from aiohttp import web

from service.runtime.background import cancel_and_wait
from service.settings import HttpSettings
from service.web.server.connection_limits import LimitedServer, remove_server_header
from service.web.server.response_cache import ResponseCache

log = structlog.get_logger()

DRAINING: Final = web.AppKey("draining", asyncio.Event)
"""Set while the application still serves although it is about to stop (`http.drain`): `/readyz` fails then."""
RESPONSE_CACHE: Final = web.AppKey("microcache", ResponseCache)
"""The application's response cache; absent where `http.response_cache` is off."""
_BACKLOG: Final = 1024
_HANG_UP: Final = (signal.SIGHUP,)


class Runner(web.AppRunner):
    """aiohttp's runner with a `LimitedServer`; a site, or gunicorn's worker, binds the address."""

    def __init__(self, app: web.Application, http: HttpSettings, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(app, **{"shutdown_timeout": 1, **options})
        self._http = http
        app.on_response_prepare.append(remove_server_header)

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        if cache := self.app.get(RESPONSE_CACHE):
            server.request_handler = cache.before(server.request_handler)
        return LimitedServer(server, self._http)


def run(
    app: web.Application,
    http: HttpSettings,
    ready: Callable[[str], None],
    may_restart: Callable[[], bool] | None = None,
) -> bool:
    """Serve until SIGTERM or SIGINT, then finish requests in progress.

    Once connections are accepted, `ready` is called with the URL, which has the actual port if `http.port` is 0.

    New connections are accepted for `http.drain` longer, or until a second signal, while `DRAINING` is set.

    SIGHUP, if `may_restart` is given and returns true, ends serving too; returns whether it was the reason. It is
    unblocked while the application serves, and blocked otherwise: the next program of the process receives one that
    arrives meanwhile. Raises `OSError` if the address cannot be bound.
    """
    return uvloop.run(_serve(app, http, ready, may_restart))


async def _serve(
    app: web.Application, http: HttpSettings, ready: Callable[[str], None], may_restart: Callable[[], bool] | None
) -> bool:
    runner, stopped, drained, restarts = Runner(app, http), asyncio.Event(), asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def stop() -> None:
        nonlocal restarts
        if stopped.is_set() and not restarts:  # a second one; the first may arrive after SIGHUP
            drained.set()
        restarts = False  # also if a restart has begun: the supervisor sends SIGTERM once
        stopped.set()

    def hang_up() -> None:
        nonlocal restarts
        if not stopped.is_set() and may_restart and may_restart():
            restarts = True
            stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    stopping = asyncio.create_task(stopped.wait())
    starting = asyncio.create_task(_start(runner, http))
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            ready(starting.result())
            if may_restart:
                loop.add_signal_handler(signal.SIGHUP, hang_up)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANG_UP)
            await stopping
            if http.drain:
                app[DRAINING].set()
                log.info("service.draining", seconds=http.drain.total_seconds())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(http.drain.total_seconds()):
                        await drained.wait()
            log.info("service.stopping")
    finally:
        if may_restart:
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANG_UP)
        await cancel_and_wait(starting, stopping)
        await runner.cleanup()
    log.info("service.stopped")
    return restarts


async def _start(runner: Runner, http: HttpSettings) -> str:
    """Accept connections; return the URL."""
    await runner.setup()
    site = web.TCPSite(runner, http.host, http.port, backlog=_BACKLOG)
    await site.start()
    return site.name
