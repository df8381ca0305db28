"""The service and an embedding site of another origin, beside the browser.

Playwright's synchronous interface uses the thread of the tests; all servers run in another thread.
"""

import asyncio
import itertools
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from aiohttp import web

from service.app import create_app
from service.clock import Clock
from service.settings import Settings, load
from tests.support.standin import Banks, RawRates, serving
from tests.support.wait import PATIENCE

T = TypeVar("T")
STRICT = "default-src 'none'; script-src {service}; connect-src {service}; require-trusted-types-for 'script'"
"""The strictest policy of a site under which the element works."""
OLD: RawRates = {"USD": "400.00", "EUR": "500.00", "RUB": "5.00", "GBP": "600.00", "CNY": "80.00"}
NEW: RawRates = {"USD": "405.40", "EUR": "513.40", "RUB": "5.00", "GBP": "594.66", "CNY": "80.20"}
EARLIER: tuple[RawRates, ...] = tuple(
    {**OLD, "USD": f"{395 + number * 3 % 7}.50", "EUR": f"{505 - number}.00", "RUB": "5.00"} for number in range(11)
)
"""Rates of the days before, oldest first."""
_PREFIXES = (f"browser{number}:" for number in itertools.count())


@dataclass
class Site:
    """A service that polls a fake bank every second, and the site of another origin that embeds it."""

    store: str
    banks: Banks = field(default_factory=Banks)
    published: tuple[RawRates, RawRates] = (OLD, NEW)
    earlier: tuple[RawRates, ...] = EARLIER
    http: dict[str, Any] = field(default_factory=dict)
    tickers: list[dict[str, Any]] = field(default_factory=list)
    pages: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Pages of the embedding site: path to markup and Content-Security-Policy."""
    clock: Clock = field(default_factory=Clock)
    port: int = 0
    foreign_port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _service: web.AppRunner | None = None

    @property
    def service(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def foreign(self) -> str:
        return f"http://localhost:{self.foreign_port}"

    def page(self, markup: str, policy: str = STRICT, path: str = "/", lang: str = "en") -> str:
        """Add a page to the embedding site and return its URL."""
        document = f'<!doctype html><html lang="{lang}"><head><meta charset="utf-8"><title>A site</title></head>'
        self.pages[path] = (
            f"{document}<body><main><h1>News</h1>{markup}</main></body></html>",
            policy.format(service=self.service),
        )
        return self.foreign + path

    def publish(self, rates: RawRates, before: RawRates = OLD) -> None:
        day = self.clock().astimezone(self.settings.sources["nbk"].timezone).date()
        all_rates = (*self.earlier, before, rates)
        self.banks.published["nbk"] = {
            day - timedelta(days=number): rates_of_day for number, rates_of_day in enumerate(reversed(all_rates))
        }

    def start(self) -> None:
        self.run(self._start())

    def stop(self) -> None:
        """Stop the service; to clients it looks like a crash or a network failure."""
        self.run(self._stop())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    async def _start(self) -> None:
        runner = web.AppRunner(create_app(self.settings, None, self.clock), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self._service = runner

    async def _stop(self) -> None:
        if self._service:
            await self._service.cleanup()
            self._service = None

    @property
    def settings(self) -> Settings:
        environ = self.banks.environ() | {"TICKER_STORE__URL": self.store, "TICKER_STORE__PREFIX": next(_PREFIXES)}
        # Today's publication is available and tomorrow's is not due, whatever the time of day.
        week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        nbk = {"window": "00:00-23:59", "days": week, "effective": "same-day", "sweep": 1}
        others = {key: {"enabled": False} for key in ("cbr", "ecb", "nbu", "cbu", "recorded")}
        default = {"id": "kzt", "base": "KZT", "currencies": list(OLD), "sources": ["nbk"]}
        overrides = {"sources": {"nbk": nbk, **others}, "http": self.http, "tickers": self.tickers or [default]}
        return load(environ=environ, overrides=overrides)

    async def _serve_page(self, request: web.Request) -> web.Response:
        if request.path == "/favicon.ico":
            return web.Response(status=204)
        markup, policy = self.pages[request.path]
        headers = {"Content-Security-Policy": policy} if policy else {}
        return web.Response(text=markup, content_type="text/html", headers=headers)

    @contextmanager
    def serving(self) -> Iterator["Site"]:
        with _reserve_port() as service_socket, _reserve_port() as foreign_socket:
            self.port, self.foreign_port = service_socket.getsockname()[1], foreign_socket.getsockname()[1]
            with self._serving():
                yield self

    @contextmanager
    def _serving(self) -> Iterator[None]:
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        banks = serving(self.banks)
        foreign = web.Application()
        foreign.router.add_get("/{path:.*}", self._serve_page)
        runner = web.AppRunner(foreign, shutdown_timeout=0.1)

        async def begin() -> None:
            await banks.__aenter__()
            await runner.setup()
            await web.TCPSite(runner, "localhost", self.foreign_port).start()

        async def end() -> None:
            await self._stop()
            await runner.cleanup()
            await banks.__aexit__(None, None, None)

        self.run(begin())
        try:
            self.publish(self.published[1], self.published[0])
            self.start()
            yield
        finally:
            self.run(end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()


def _reserve_port() -> socket.socket:
    """Return a socket that is bound but does not listen, so that no other process gets its port.

    The service can then be stopped and started again on the same port.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
