"""How the application is run: behind the door, the micro-cache before its routes, SIGTERM and SIGINT as its end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import uvloop
from aiohttp import web
from aiohttp.web_runner import GracefulExit

from service.settings import Http
from service.web.server.connection_limits import LimitedServer, before_it_goes
from service.web.server.response_cache import ResponseCache

RESPONSE_CACHE: Final = web.AppKey("microcache", ResponseCache)
_BACKLOG: Final = 1024


class Runner(web.AppRunner):
    """aiohttp's runner with a server of ours; a site, or gunicorn's worker, says where."""

    def __init__(self, app: web.Application, http: Http, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(app, **{"shutdown_timeout": 1, **options})
        self._http = http
        app.on_response_prepare.append(before_it_goes)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        made.request_handler = self.app[RESPONSE_CACHE].before(made.request_handler)
        return LimitedServer(made, self._http)


def run(app: web.Application, http: Http, ready: Callable[[], None]) -> None:
    """Serve until a signal, then finish what is in flight; `ready` is called once connections are taken.

    As `web.run_app`, which knows no other runner than its own. Raises `OSError` for an address that is not ours.
    """
    stop = asyncio.Event()

    async def serve() -> None:
        runner = Runner(app, http, handle_signals=True)
        try:
            await runner.setup()
            await web.TCPSite(runner, http.host, http.port, backlog=_BACKLOG).start()
            ready()
            await stop.wait()
        finally:
            await runner.cleanup()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as own:
        loop = own.get_loop()
        asyncio.set_event_loop(loop)
        serving = loop.create_task(serve())
        try:
            loop.run_until_complete(serving)
        except GracefulExit:
            stop.set()  # where the start swallows a cancellation (`background.cancel_and_wait`)
            # Alone and first: what it finishes may need the other tasks.
            serving.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
