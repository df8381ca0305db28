"""The load: banks that publish and fail, clients with valid and invalid requests, streams."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from tests.support.standin import Banks, RawRates

PUBLISHED: Final = 3.0
"""Seconds from one publication to the next, so that minutes correspond to years of a bank."""
_PAUSE: Final = 0.05
"""Seconds between two requests of a client."""
_DAYS: Final = 5
_REST: Final[RawRates] = {"EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"}
_BANK_RATES: Final[tuple[tuple[str, int, RawRates], ...]] = (("nbk", 475, _REST), ("cbr", 81, {"KZT": ("17.05", 100)}))
_KNOWN: Final = {200, 304, 400, 404, 405, 406, 429, 501}
"""Expected statuses; /health may also return 503 before the first poll. Every other status is a fault."""
_LANGUAGES: Final = ("kk", "ru", "en", "de", "ar", "zh-Hant", "sr-Latn", "pt-BR", "fa", "ja")
_JUNK: Final = "abc0123'\"<>%&=/\\;é☃ "


@dataclass
class Load:
    """Load on some instances, with its results and faults."""

    banks: Banks
    ports: tuple[int, ...]
    streams: int
    rng: random.Random = field(default_factory=lambda: random.Random(39))  # noqa: S311 - the same at each run
    results: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=lambda: ['"none"'])

    def __post_init__(self) -> None:
        for bank in _BANK_RATES:
            self._publications(*bank)

    async def publish(self) -> None:
        """Let the banks correct the rates of a day; sometimes rates jump, are reverted, or a bank fails."""
        for number in count():
            key, dollar, others = _BANK_RATES[number % len(_BANK_RATES)]
            days, today = self._publications(key, dollar, others)
            self.banks.faults = {"cbr": self.rng.choice([503, 404, "reset", b"<junk"])} if number % 20 == 10 else {}
            days[self._day(today)] = self._random_rates(dollar * (2 if number % 11 == 10 else 1), others)
            self.results["publications"] += 1
            await asyncio.sleep(PUBLISHED)

    def _publications(self, key: str, dollar: int, others: RawRates) -> tuple[dict[date, RawRates], date]:
        """Return what a bank has published for today and some days before, and today's date there."""
        today = datetime.now(ZoneInfo("Asia/Almaty" if key == "nbk" else "Europe/Moscow")).date()
        days = self.banks.published.setdefault(key, {})
        for ago in range(_DAYS):
            days.setdefault(today - timedelta(days=ago), self._random_rates(dollar, others))
        return days, today

    def _day(self, today: date) -> date:
        return today - timedelta(days=self.rng.choice((0, 0, 0, 1, 2)))

    def _random_rates(self, dollar: int, others: RawRates) -> RawRates:
        return {"USD": str(dollar + Decimal(self.rng.randint(-300, 300)) / 100), **others}

    async def run_client(self, *, keep_alive: bool) -> None:
        """Run one client, over a keep-alive connection or over a new one for each request."""
        async with self._client(TCPConnector(force_close=not keep_alive)) as client:
            while True:
                path, headers = self._random_request()
                url = f"http://127.0.0.1:{self.rng.choice(self.ports)}{path}"
                method = self.rng.choices(("GET", "HEAD", "POST"), (90, 8, 2))[0]
                try:
                    async with client.request(method, url, headers=headers, allow_redirects=False) as response:
                        await response.read()
                        self._note(path, response.status, response.headers.get("ETag"))
                except (ClientError, OSError, TimeoutError) as error:
                    self.faults.append(f"{method} {path}: {error!r}")
                await asyncio.sleep(_PAUSE)

    def _client(self, connector: TCPConnector) -> ClientSession:
        return ClientSession(connector=connector, timeout=ClientTimeout(10), cookie_jar=DummyCookieJar())

    def _note(self, path: str, status: int, tag: str | None) -> None:
        self.results[str(status)] += 1
        if tag and path.startswith("/v1/ticker"):
            self.tags = [*self.tags[-20:], tag]
        if status not in _KNOWN and not (status == 503 and path == "/health"):
            self.faults.append(f"{path}: {status}")

    def _random_request(self) -> tuple[str, dict[str, str]]:
        pick = self.rng.choice
        headers = {"Accept-Encoding": pick(("gzip", "identity", "br;q=0.1")), "Accept-Language": pick(_LANGUAGES)}
        if self.rng.random() < 0.3:
            headers["If-None-Match"] = pick(self.tags)
        junk = "".join(self.rng.choices(_JUNK, k=12)).replace(" ", "+")
        day = date(2026, 1, 1) + timedelta(days=self.rng.randint(0, 400))
        today = datetime.now(ZoneInfo("Asia/Almaty")).date()
        number = self.rng.randint(0, 10**9)
        valid = (
            "/v1/ticker", "/v1/ticker.txt", "/v1/ticker/kzt", f"/v1/ticker.svg?lang={pick(_LANGUAGES)}&spark=1",
            f"/v1/ticker.html?lang={pick(_LANGUAGES)}", f"/v1/ticker?currencies={pick(('usd,eur', 'rub', 'cny,usd'))}",
            f"/v1/history/usd?from={day}", "/v1/history/eur.csv", f"/v1/fixings/nbk/{today}",
            f"/v1/fixings/nbk/{today}.raw", f"/v1/fixings/cbr/{today - timedelta(days=1)}", "/v1/sources", "/embed",
            f"/embed?layout={pick(('strip', 'list', 'tape'))}&theme=dark&lang={pick(_LANGUAGES)}", "/", "/embed.js",
            "/oembed?url=http%3A%2F%2F127.0.0.1%2Fembed", "/health", "/health?verbose", "/metrics", "/livez", "/docs",
            "/openapi.json",
        )  # fmt: skip
        invalid = (
            f"/{number}", f"/v1/ticker/{number}", f"/v1/ticker?lang={number}", f"/v1/ticker?currencies={number}",
            f"/v1/ticker?{number}={number}", f"/v1/history/{number}", f"/v1/history/usd?from={number}",
            f"/v1/fixings/{number}/{day}", f"/v1/fixings/nbk/{day}", f"/embed?lang=x-{number}", f"/oembed?url={number}",
            f"/v1/ticker?lang={junk.encode().hex()}", f"/embed?show={number}", f"/v1/stream?ticker={number}",
        )  # fmt: skip
        if self.rng.random() < 0.25:
            headers["Host"] = f"host-{number}.example"
            headers["Accept-Language"] = f"x{number % 1000},{pick(_LANGUAGES)};q=0.{number % 10}"
            return pick(invalid), headers
        return pick(valid), headers

    async def run_streams(self) -> None:
        """Open one stream after the other: each is read for a while or not at all, and closed or aborted."""
        while True:
            await asyncio.sleep(self.rng.random() * 2)
            query = self.rng.choice(("", "", "?lang=kk", "?lang=ru", "?currencies=usd", "?currencies=eur,usd"))
            tag = self.rng.choice(self.tags)
            request = f"GET /v1/stream{query} HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {tag}\r\n\r\n"
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.rng.choice(self.ports))
                try:
                    writer.write(self.rng.choices((request.encode(), b"\x16\x03\x01no HTTP\r\n\r\n"), (95, 5))[0])
                    self.results["streams"] += 1
                    async with asyncio.timeout(self.rng.uniform(1, 20)):
                        if self.rng.random() < 0.2:
                            await asyncio.sleep(20)
                        while await reader.read(65536):
                            pass
                finally:
                    if self.rng.random() < 0.5:
                        writer.transport.abort()
                    writer.close()

    async def run(self) -> None:
        """Run all load until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for keep_alive in (True, True, False, False):
                tasks.create_task(self.run_client(keep_alive=keep_alive))
            for _ in range(self.streams):
                tasks.create_task(self.run_streams())
