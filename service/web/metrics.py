"""`/metrics`: for Prometheus, in the format that it asks for. Never cached, and nothing for other sites' pages."""

from functools import cache
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT

from service.archive import Archive
from service.board import Board
from service.leadership import Leadership
from service.tally import Tally
from service.web.problems import guarded
from service.web.stream import Streams

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def routes(
    board: Board, archive: Archive, leadership: Leadership, tally: Tally, streams: Streams
) -> list[web.RouteDef]:
    @cache
    def registry() -> "CollectorRegistry":
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - many instances are never scraped

        from service.metrics import register  # noqa: PLC0415

        made = CollectorRegistry()
        register(made, board, archive, leadership, tally, lambda: streams.count)
        return made

    def metrics(request: web.Request) -> web.StreamResponse:
        from service.metrics import exposition  # noqa: PLC0415

        body, content_type = exposition(registry(), request.headers.get(ACCEPT, ""))
        return web.Response(body=body, headers={**_HEADERS, "Content-Type": content_type})

    return [web.get("/metrics", guarded(metrics))]
