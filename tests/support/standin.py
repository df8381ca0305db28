"""Local HTTP servers that stand in for the five banks, in the banks' own wire formats."""

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

Figures = Mapping[str, str | tuple[str, int]]
"""A currency's published digits, for 1 of it or for a nominal."""


def _pair(figure: str | tuple[str, int]) -> tuple[str, int]:
    return figure if isinstance(figure, tuple) else (figure, 1)


def nbk(day: date, figures: Figures, changes: Mapping[str, str] | None = None) -> bytes:
    """Return the document of one date; no figures for a date that is not set yet."""
    items = "".join(
        f"<item><fullname>ВАЛЮТА</fullname><title>{code}</title><description>{value}</description>"
        f"<quant>{nominal}</quant><index></index><change>{(changes or {}).get(code, '0.00')}</change></item>"
        for code, (value, nominal) in ((code, _pair(one)) for code, one in figures.items())
    )
    return f'<?xml version="1.0" encoding="utf-8"?>\n<rates><date>{day:%d.%m.%Y}</date>{items}</rates>'.encode()


def cbr(day: date, figures: Figures) -> bytes:
    rows = "".join(
        f'<Valute ID="R01235"><NumCode>840</NumCode><CharCode>{code}</CharCode><Nominal>{nominal}</Nominal>'
        f"<Name>Доллар</Name><Value>{value.replace('.', ',')}</Value></Valute>"
        for code, (value, nominal) in ((code, _pair(one)) for code, one in figures.items())
    )
    head = (
        f'<?xml version="1.0" encoding="windows-1251"?><ValCurs Date="{day:%d.%m.%Y}" name="Foreign Currency Market">'
    )
    return f"{head}{rows}</ValCurs>".encode("windows-1251")


def ecb(published: Mapping[date, Figures]) -> bytes:
    rows = sorted((code, day, _pair(one)[0]) for day, figures in published.items() for code, one in figures.items())
    lines = (f"D,{code},{day},{value}\n" for code, day, value in rows)
    return ("FREQ,CURRENCY,TIME_PERIOD,OBS_VALUE\n" + "".join(lines)).encode()


def nbu(published: Mapping[date, Figures]) -> bytes:
    rows = [
        f'{{"exchangedate":"{day:%d.%m.%Y}","cc":"{code}","txt":"Долар","rate":{value},"units":{nominal},'
        f'"rate_per_unit":{Decimal(value) / nominal:f},"calcdate":"{day:%d.%m.%Y}"}}'
        for day, figures in sorted(published.items())
        for code, (value, nominal) in ((code, _pair(one)) for code, one in figures.items())
    ]
    return f"[{','.join(rows)}]".encode()


def cbu(day: date, figures: Figures, changes: Mapping[str, str] | None = None) -> bytes:
    rows = [
        {"Ccy": code, "Nominal": str(nominal), "Rate": value, "Diff": (changes or {}).get(code, "0")}
        for code, (value, nominal) in ((code, _pair(one)) for code, one in figures.items())
    ]
    return json.dumps([{**row, "Date": f"{day:%d.%m.%Y}"} for row in rows]).encode()


@dataclass
class Banks:
    """What the banks have published, and how they behave; both may change while the server runs."""

    published: dict[str, dict[date, Figures]] = field(default_factory=dict)
    faults: dict[str, Any] = field(default_factory=dict)
    """By bank, or by the query of one request: a status, bytes to answer instead, `hang` or `reset`."""
    asked: Counter[str] = field(default_factory=Counter)
    targets: list[str] = field(default_factory=list)
    """Path and query of each request."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    at_once: dict[str, int] = field(default_factory=dict)
    """By bank: the most requests that were under way together."""
    url: str = ""
    _under_way: Counter[str] = field(default_factory=Counter)

    def environ(self) -> dict[str, str]:
        """Return the variables that send the service here instead of to the banks."""
        steps = {"nbk": "rss", "cbr": "scripts", "ecb": "EXR", "nbu": "NBU_Exchange", "cbu": "json"}
        return {f"TICKER_SOURCES__{key.upper()}__URL": f"{self.url}/{key}/{step}" for key, step in steps.items()}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        key = request.path.split("/")[1]
        self.asked[key] += 1
        self.targets.append(request.path_qs)
        self.headers.append(dict(request.headers))
        self._under_way[key] += 1
        self.at_once[key] = max(self.at_once.get(key, 0), self._under_way[key])
        try:
            await asyncio.sleep(0)
            fault = self.faults.get(key, self.faults.get(request.query_string))
            if fault == "hang":
                await asyncio.sleep(60)
            if fault == "reset" and request.transport:
                request.transport.abort()
            if isinstance(fault, int):
                return web.Response(status=fault, text="a fault")
            if isinstance(fault, bytes):
                return web.Response(body=fault)
            return web.Response(body=self._document(key, request))
        finally:
            self._under_way[key] -= 1

    def _document(self, key: str, request: web.Request) -> bytes:
        published, query = self.published.get(key, {}), request.query
        if key == "nbk":
            day = datetime.strptime(query["fdate"], "%d.%m.%Y").date()
            return nbk(day, published.get(day, {}))
        if key == "cbr":
            asked = datetime.strptime(query["date_req"], "%d/%m/%Y").date()
            day = max((day for day in published if day <= asked), default=min(published))
            return cbr(day, published[day])
        if key == "ecb":
            since = date.fromisoformat(query["startPeriod"])
            return ecb({day: figures for day, figures in published.items() if day >= since})
        if key == "nbu":
            start, end = (datetime.strptime(query[name], "%Y%m%d").date() for name in ("start", "end"))
            return nbu({day: figures for day, figures in published.items() if start <= day <= end})
        day = date.fromisoformat(request.path.rstrip("/").rsplit("/", 1)[1])
        return cbu(day, published[day]) if day in published else b"[]"


@asynccontextmanager
async def serving(banks: Banks) -> AsyncIterator[Banks]:
    app = web.Application()
    app.router.add_get("/{path:.*}", banks.answer)
    async with TestServer(app, shutdown_timeout=0) as server:
        banks.url = f"http://{server.host}:{server.port}"
        yield banks
