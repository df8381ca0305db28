"""The baseline of speed: the least that aiohttp serves, on the same loop and as sparing with logs as we are."""

import sys

import uvloop
from aiohttp import web


async def _hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


def main(port: int) -> None:
    app = web.Application()
    app.router.add_get("/", _hello)
    web.run_app(app, host="127.0.0.1", port=port, loop=uvloop.new_event_loop(), access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
