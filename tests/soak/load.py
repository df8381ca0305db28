"""What comes and goes meanwhile: banks that publish every few seconds and err, readers, strangers, streams."""

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
"""Seconds from one publication to the next: a bank's years in minutes."""
_PAUSE: Final = 0.05
"""Seconds that a reader waits between two requests."""
_DAYS: Final = 5
_REST: Final[RawRates] = {"EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12"}
_BANKS: Final[tuple[tuple[str, int, RawRates], ...]] = (("nbk", 475, _REST), ("cbr", 81, {"KZT": ("17.05", 100)}))
_KNOWN: Final = {200, 304, 400, 404, 405, 406, 429, 501}
"""What may be answered; 503 too, while nothing has been polled. Everything else is a fault."""
_LANGUAGES: Final = ("kk", "ru", "en", "de", "ar", "zh-Hant", "sr-Latn", "pt-BR", "fa", "ja")
_JUNK: Final = "abc0123'\"<>%&=/\\;é☃ "


@dataclass
class Load:
    """All of it, for some instances."""

    banks: Banks
    ports: tuple[int, ...]
    streams: int
    chance: random.Random = field(default_factory=lambda: random.Random(39))  # noqa: S311 - the same at each run
    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=lambda: ['"none"'])

    def __post_init__(self) -> None:
        for bank in _BANKS:
            self._published(*bank)

    async def publish(self) -> None:
        """Let the banks correct a day's figures; now and then they jump, are taken back, or cannot be had."""
        for number in count():
            key, level, more = _BANKS[number % len(_BANKS)]
            days, today = self._published(key, level, more)
            self.banks.faults = {"cbr": self.chance.choice([503, 404, "reset", b"<junk"])} if number % 20 == 10 else {}
            days[self._day(today)] = self._figures(level * (2 if number % 11 == 10 else 1), more)
            self.answers["publications"] += 1
            await asyncio.sleep(PUBLISHED)

    def _published(self, key: str, level: int, more: RawRates) -> tuple[dict[date, RawRates], date]:
        """Return what a bank has published, today's and that of some days before, and its today."""
        today = datetime.now(ZoneInfo("Asia/Almaty" if key == "nbk" else "Europe/Moscow")).date()
        days = self.banks.published.setdefault(key, {})
        for ago in range(_DAYS):
            days.setdefault(today - timedelta(days=ago), self._figures(level, more))
        return days, today

    def _day(self, today: date) -> date:
        return today - timedelta(days=self.chance.choice((0, 0, 0, 1, 2)))

    def _figures(self, level: int, more: RawRates) -> RawRates:
        return {"USD": str(level + Decimal(self.chance.randint(-300, 300)) / 100), **more}

    async def read(self, *, kept: bool) -> None:
        """One reader, over a connection that is kept, or over a new one each time."""
        async with self._client(TCPConnector(force_close=not kept)) as client:
            while True:
                path, headers = self._asked()
                where = f"http://127.0.0.1:{self.chance.choice(self.ports)}{path}"
                method = self.chance.choices(("GET", "HEAD", "POST"), (90, 8, 2))[0]
                try:
                    async with client.request(method, where, headers=headers, allow_redirects=False) as reply:
                        await reply.read()
                        self._note(path, reply.status, reply.headers.get("ETag"))
                except (ClientError, OSError, TimeoutError) as error:
                    self.faults.append(f"{method} {path}: {error!r}")
                await asyncio.sleep(_PAUSE)

    def _client(self, connector: TCPConnector) -> ClientSession:
        return ClientSession(connector=connector, timeout=ClientTimeout(10), cookie_jar=DummyCookieJar())

    def _note(self, path: str, status: int, tag: str | None) -> None:
        self.answers[str(status)] += 1
        if tag and path.startswith("/v1/ticker"):
            self.tags = [*self.tags[-20:], tag]
        if status not in _KNOWN and not (status == 503 and path == "/health"):
            self.faults.append(f"{path}: {status}")

    def _asked(self) -> tuple[str, dict[str, str]]:
        pick = self.chance.choice
        headers = {"Accept-Encoding": pick(("gzip", "identity", "br;q=0.1")), "Accept-Language": pick(_LANGUAGES)}
        if self.chance.random() < 0.3:
            headers["If-None-Match"] = pick(self.tags)
        junk = "".join(self.chance.choices(_JUNK, k=12)).replace(" ", "+")
        day = date(2026, 1, 1) + timedelta(days=self.chance.randint(0, 400))
        today = datetime.now(ZoneInfo("Asia/Almaty")).date()
        number = self.chance.randint(0, 10**9)
        usual = (
            "/v1/ticker", "/v1/ticker.txt", "/v1/ticker/kzt", f"/v1/ticker.svg?lang={pick(_LANGUAGES)}&spark=1",
            f"/v1/ticker.html?lang={pick(_LANGUAGES)}", f"/v1/ticker?currencies={pick(('usd,eur', 'rub', 'cny,usd'))}",
            f"/v1/history/usd?from={day}", "/v1/history/eur.csv", f"/v1/fixings/nbk/{today}",
            f"/v1/fixings/nbk/{today}.raw", f"/v1/fixings/cbr/{today - timedelta(days=1)}", "/v1/sources", "/embed",
            f"/embed?layout={pick(('strip', 'list', 'tape'))}&theme=dark&lang={pick(_LANGUAGES)}", "/", "/embed.js",
            "/oembed?url=http%3A%2F%2F127.0.0.1%2Fembed", "/health", "/health?verbose", "/metrics", "/livez", "/docs",
            "/openapi.json",
        )  # fmt: skip
        strange = (
            f"/{number}", f"/v1/ticker/{number}", f"/v1/ticker?lang={number}", f"/v1/ticker?currencies={number}",
            f"/v1/ticker?{number}={number}", f"/v1/history/{number}", f"/v1/history/usd?from={number}",
            f"/v1/fixings/{number}/{day}", f"/v1/fixings/nbk/{day}", f"/embed?lang=x-{number}", f"/oembed?url={number}",
            f"/v1/ticker?lang={junk.encode().hex()}", f"/embed?show={number}", f"/v1/stream?ticker={number}",
        )  # fmt: skip
        if self.chance.random() < 0.25:
            headers["Host"] = f"host-{number}.example"
            headers["Accept-Language"] = f"x{number % 1000},{pick(_LANGUAGES)};q=0.{number % 10}"
            return pick(strange), headers
        return pick(usual), headers

    async def stream(self) -> None:
        """One stream after the other: each is read for a while, or never, and left politely or not."""
        while True:
            await asyncio.sleep(self.chance.random() * 2)
            query = self.chance.choice(("", "", "?lang=kk", "?lang=ru", "?currencies=usd", "?currencies=eur,usd"))
            tag = self.chance.choice(self.tags)
            asked = f"GET /v1/stream{query} HTTP/1.1\r\nHost: h\r\nLast-Event-ID: {tag}\r\n\r\n"
            with suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.chance.choice(self.ports))
                try:
                    writer.write(self.chance.choices((asked.encode(), b"\x16\x03\x01no HTTP\r\n\r\n"), (95, 5))[0])
                    self.answers["streams"] += 1
                    async with asyncio.timeout(self.chance.uniform(1, 20)):
                        if self.chance.random() < 0.2:
                            await asyncio.sleep(20)
                        while await reader.read(65536):
                            pass
                finally:
                    if self.chance.random() < 0.5:
                        writer.transport.abort()
                    writer.close()

    async def all(self) -> None:
        """Do all of this until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kept in (True, True, False, False):
                tasks.create_task(self.read(kept=kept))
            for _ in range(self.streams):
                tasks.create_task(self.stream())
