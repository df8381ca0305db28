"""The baseline: a minimal aiohttp application on the same event loop, without access log."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"event: hello\ndata: hello\n\n")
    await asyncio.Event().wait()
    return response


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", _hello)
    app.router.add_get("/v1/stream", _stream)
    web.run_app(
        app,
        host="127.0.0.1",
        port=port,
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=None,
        shutdown_timeout=1,  # otherwise it waits for open streams
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
