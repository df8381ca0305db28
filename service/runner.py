"""How the application is run: the micro-cache before its routes, SIGTERM and SIGINT as its end."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvloop
from aiohttp import web
from aiohttp.web_runner import GracefulExit

from service.web.microcache import Microcache

MICROCACHE: Final = web.AppKey("microcache", Microcache)


class Runner(web.AppRunner):
    """aiohttp's runner; what its application answered a moment ago is answered before any route is looked for."""

    async def setup(self) -> None:
        await super().setup()
        if (server := self.server) is not None:
            server.request_handler = self.app[MICROCACHE].before(server.request_handler)


def run(app: web.Application, host: str, port: int, ready: Callable[[], None]) -> None:
    """Serve until a signal, then finish what is in flight; `ready` is called once connections are taken.

    As `web.run_app`, which knows no other runner than its own. Raises `OSError` for an address that is not ours.
    """

    async def serve() -> None:
        runner = Runner(app, handle_signals=True, access_log=None, shutdown_timeout=1)
        try:
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            ready()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as own:
        loop = own.get_loop()
        asyncio.set_event_loop(loop)
        serving = loop.create_task(serve())
        try:
            loop.run_until_complete(serving)
        except GracefulExit:
            # Alone and first: what it finishes may need the other tasks.
            serving.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
