"""Local HTTP servers that stand in for six banks, in the banks' own wire formats."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

RawRates = Mapping[str, str | tuple[str, int]]
"""Published value by currency, for 1 unit or with a nominal; of `tcmb` two values with a slash between them."""


def _pair(rate: str | tuple[str, int]) -> tuple[str, int]:
    return rate if isinstance(rate, tuple) else (rate, 1)


def nbk(day: date, rates: RawRates, changes: Mapping[str, str] | None = None) -> bytes:
    """Return the document of one date; it has no rates for a date that is not published yet."""
    items = "".join(
        f"<item><fullname>ВАЛЮТА</fullname><title>{code}</title><description>{value}</description>"
        f"<quant>{nominal}</quant><index></index><change>{(changes or {}).get(code, '0.00')}</change></item>"
        for code, (value, nominal) in ((code, _pair(rate)) for code, rate in rates.items())
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n<rates><date>{day:%d.%m.%Y}</date>{items}</rates>'.encode()


def cbr(day: date, rates: RawRates) -> bytes:
    rows = "".join(
        f'<Valute ID="R01235"><NumCode>840</NumCode><CharCode>{code}</CharCode><Nominal>{nominal}</Nominal>'
        f"<Name>Доллар</Name><Value>{value.replace('.', ',')}</Value></Valute>"
        for code, (value, nominal) in ((code, _pair(rate)) for code, rate in rates.items())
    )
    head = (
        f'<?xml version="1.0" encoding="windows-1251"?><ValCurs Date="{day:%d.%m.%Y}" name="Foreign Currency Market">'
    )
    return f"{head}{rows}</ValCurs>".encode("windows-1251")


def ecb(published: Mapping[date, RawRates]) -> bytes:
    rows = sorted((code, day, _pair(rate)[0]) for day, rates in published.items() for code, rate in rates.items())
    lines = (f"D,{code},{day},{value}\n" for code, day, value in rows)
    return ("FREQ,CURRENCY,TIME_PERIOD,OBS_VALUE\n" + "".join(lines)).encode()


def nbu(published: Mapping[date, RawRates]) -> bytes:
    rows = [
        f'{{"exchangedate":"{day:%d.%m.%Y}","cc":"{code}","txt":"Долар","rate":{value},"units":{nominal},'
        f'"rate_per_unit":{Decimal(value) / nominal:f},"calcdate":"{day:%d.%m.%Y}"}}'
        for day, rates in sorted(published.items())
        for code, (value, nominal) in ((code, _pair(rate)) for code, rate in rates.items())
    ]
    return f"[{','.join(rows)}]".encode()


def cbu(day: date, rates: RawRates, changes: Mapping[str, str] | None = None) -> bytes:
    rows = [
        {"Ccy": code, "Nominal": str(nominal), "Rate": value, "Diff": (changes or {}).get(code, "0")}
        for code, (value, nominal) in ((code, _pair(rate)) for code, rate in rates.items())
    ]
    return json.dumps([{**row, "Date": f"{day:%d.%m.%Y}"} for row in rows]).encode()


def tcmb(day: date, rates: RawRates) -> bytes:
    """Return the buying and selling rates of one date; of XDR there is one only."""
    rows = "".join(
        f'<Currency CurrencyCode="{code}"><Unit>{nominal}</Unit><ForexBuying>{value.partition("/")[0]}</ForexBuying>'
        f"<ForexSelling>{value.partition('/')[2]}</ForexSelling></Currency>"
        for code, (value, nominal) in ((code, _pair(rate)) for code, rate in rates.items())
    )
    return f'<Tarih_Date Tarih="{day:%d.%m.%Y}">{rows}</Tarih_Date>'.encode()


@dataclass(frozen=True)
class Refusal:
    """A response that demands a pause."""

    status: int
    retry_after: str


@dataclass
class Banks:
    """Publications and faults of the banks; both may be changed while the server runs."""

    published: dict[str, dict[date, RawRates]] = field(default_factory=dict)
    faults: dict[str, Any] = field(default_factory=dict)
    """Fault by bank or by query string: a status, a body to send instead, `hang`, `reset`, or a `Refusal`."""
    requests: Counter[str] = field(default_factory=Counter)
    targets: list[str] = field(default_factory=list)
    """Path and query of each request."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    most_concurrent: dict[str, int] = field(default_factory=dict)
    """Largest number of concurrent requests by bank."""
    url: str = ""
    _in_progress: Counter[str] = field(default_factory=Counter)

    def environ(self) -> dict[str, str]:
        """Return the environment variables that point the service to this server instead of the banks."""
        steps = {"nbk": "rss", "cbr": "scripts", "ecb": "EXR", "nbu": "NBU_Exchange", "cbu": "json", "tcmb": "kurlar"}
        return {f"TICKER_SOURCES__{key.upper()}__URL": f"{self.url}/{key}/{step}" for key, step in steps.items()}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        key = request.path.split("/")[1]
        self.requests[key] += 1
        self.targets.append(request.path_qs)
        self.headers.append(dict(request.headers))
        self._in_progress[key] += 1
        self.most_concurrent[key] = max(self.most_concurrent.get(key, 0), self._in_progress[key])
        try:
            await asyncio.sleep(0)
            fault = self.faults.get(key, self.faults.get(request.query_string))
            if fault == "hang":
                await asyncio.sleep(60)
            if fault == "reset" and request.transport:
                request.transport.abort()
            if isinstance(fault, int):
                return web.Response(status=fault, text="a fault")
            if isinstance(fault, Refusal):
                return web.Response(status=fault.status, headers={"Retry-After": fault.retry_after})
            if isinstance(fault, bytes):
                return web.Response(body=fault)
            return web.Response(body=self._document(key, request))
        finally:
            self._in_progress[key] -= 1

    def _document(self, key: str, request: web.Request) -> bytes:
        published, query = self.published.get(key, {}), request.query
        if key == "nbk":
            day = datetime.strptime(query["fdate"], "%d.%m.%Y").date()
            return nbk(day, published.get(day, {}))
        if key == "cbr":
            requested = datetime.strptime(query["date_req"], "%d/%m/%Y").date()
            day = max((day for day in published if day <= requested), default=min(published, default=requested))
            return cbr(day, published[day]) if published else b""
        if key == "ecb":
            since = date.fromisoformat(query["startPeriod"])
            return ecb({day: rates for day, rates in published.items() if day >= since})
        if key == "nbu":
            start, end = (datetime.strptime(query[name], "%Y%m%d").date() for name in ("start", "end"))
            return nbu({day: rates for day, rates in published.items() if start <= day <= end})
        if key == "tcmb":
            day = datetime.strptime(request.path.rsplit("/", 1)[1], "%d%m%Y.xml").date()
            if day not in published:
                raise web.HTTPNotFound
            return tcmb(day, published[day])
        day = date.fromisoformat(request.path.rstrip("/").rsplit("/", 1)[1])
        return cbu(day, published[day]) if day in published else b"[]"


@asynccontextmanager
async def serving(banks: Banks, host: str = "127.0.0.1") -> AsyncIterator[Banks]:
    app = web.Application()
    app.router.add_get("/{path:.*}", banks.respond)
    async with TestServer(app, host=host, shutdown_timeout=0) as server:
        banks.url = f"http://{server.host}:{server.port}"
        yield banks
