"""`/v1/rates/{date}`, `/v1/convert`, and tickers `on` a date: the rates that were in force then.

Dates that memory does not have are read from the store, a few requests at a time.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final

from aiohttp import web
from msgspec import UNSET

from service.domain.change import DERIVED_DIGITS, sides
from service.domain.conversion import convert
from service.domain.snapshot import Snapshot
from service.domain.surrogate_keys import source_key, surrogate_headers, ticker_key
from service.errors import StoreError
from service.settings import TickerSettings
from service.storage.rates_on_date import RateInForce, RatesOnDate
from service.web import models
from service.web.http.problems import Problem, handle_async_errors
from service.web.http.responses import Representation
from service.web.i18n.locale import ENGLISH, language
from service.web.rendering.formats import FORMATS, to_json
from service.web.rendering.options import parse_currencies
from service.web.rendering.page_cache import PageCache

_CONCURRENT: Final = 2
"""Requests that are read and computed at a time."""
_MAX_WAITING: Final = 64
"""Requests in progress, including those that wait."""
_AMOUNT: Final = re.compile(r"\d{1,15}(\.\d{1,10})?", re.ASCII)


@dataclass
class DatedRates:
    """Handlers of requests for the rates on a date."""

    pages: PageCache
    rates: RatesOnDate
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT))
    _in_progress: int = 0

    async def ticker(self, request: web.Request, name: str, form: str) -> web.StreamResponse:
        """Respond with a ticker in an output format, with the rates in force on the date `on`. Raises `Problem`."""
        options, output = self.pages.options(request, name, form), FORMATS[form]
        ticker = self._ticker(name)
        day = self._day(ticker, request.query["on"], "on")
        async with self._turn():
            snapshot = await self.rates.snapshot(ticker, day)
            if snapshot is None:
                raise await self._none(ticker, day)
        page = output.render(self.pages.dated_view(snapshot, options, day))
        vary = "Accept-Language" if options.negotiated else None
        sources = [quote.source for quote in snapshot.quotes]
        return self._reply(request, name, sources, page, output.content_type, vary)

    async def on_date(self, request: web.Request) -> web.StreamResponse:
        """Respond to `/v1/rates/{date}`. Raises `Problem`."""
        current, ticker = self._requested_ticker(request)
        codes = parse_currencies(current, ",".join(request.query.getall("currencies", []))) or ticker.currencies
        day = self._day(ticker, request.match_info["date"], "The date")
        async with self._turn():
            found = await self.rates.rates(ticker, codes, day)
            if not any(found.values()):
                raise await self._none(ticker, day)
        rates = [_document(code, found[code]) for code in codes]
        document = models.Rates(ticker=ticker.id, base=ticker.base, on=day, rates=rates)
        return self._reply(request, ticker.id, [rate.source for rate in rates], to_json(document))

    async def convert(self, request: web.Request) -> web.StreamResponse:
        """Respond to `/v1/convert`. Raises `Problem`."""
        current, ticker = self._requested_ticker(request)
        query = request.query
        old, new = (_currency(query.get(name, ""), name, ticker) for name in ("from", "to"))
        amount = _amount(query.get("amount", ""))
        codes = [code for code in dict.fromkeys((old, new)) if code != ticker.base]
        if query.get("on"):
            day = self._day(ticker, query["on"], "on")
            async with self._turn():
                legs = await self._found(ticker, codes, day)
        else:
            day, legs = None, self._current(current, codes)
        exact = {code: leg.exact for code, leg in legs.items()} | {ticker.base: Fraction(1)}
        result = convert(amount, exact[old] / exact[new])
        document = models.Converted(
            ticker=ticker.id,
            base=ticker.base,
            on=day,
            source_currency=old,
            target_currency=new,
            amount=amount,
            result=result.result,
            exact=result.exact,
            rate=legs[old].rate if new == ticker.base and old in legs else _rounded(exact[old] / exact[new]),
            rates=[_document(code, leg) for code, leg in legs.items()],
        )
        return self._reply(request, ticker.id, [leg.source for leg in legs.values()], to_json(document))

    async def _found(self, ticker: TickerSettings, codes: list[str], day: date) -> Mapping[str, RateInForce]:
        """Return the rates of all currencies on a date. Raises `Problem` if one is missing."""
        rates = await self.rates.rates(ticker, codes, day)
        found = {code: leg for code, leg in rates.items() if leg}
        for code in codes:
            if code not in found:
                raise await self._none(ticker, day, f"rate of {code} was")
        return found

    def _current(self, snapshot: Snapshot, codes: list[str]) -> Mapping[str, RateInForce]:
        """Return the rates that a ticker shows. Raises `Problem` if it shows none of a currency."""
        found = {}
        for quote in snapshot.quotes:
            if quote.code in codes and quote.source and quote.date and quote.choice:
                fixing = self.pages.memory.series(quote.source).on(quote.date)
                if fixing and fixing.quotes(quote.code, snapshot.base):
                    found[quote.code] = RateInForce(quote.code, snapshot.base, quote.source, quote.choice, [fixing])
        if missing := [code for code in codes if code not in found]:
            raise Problem(404, f"No source of the ticker {snapshot.id} has a rate of {missing[0]}.")
        return found

    def _requested_ticker(self, request: web.Request) -> tuple[Snapshot, TickerSettings]:
        name = request.query.get("ticker") or self.pages.memory.settings.tickers[0].id
        return self.pages.snapshot(name), self._ticker(name)

    def _ticker(self, name: str) -> TickerSettings:
        """Return the settings of a ticker that has a snapshot."""
        return next(ticker for ticker in self.pages.memory.settings.tickers if ticker.id == name)

    def _day(self, ticker: TickerSettings, text: str, name: str) -> date:
        """Parse a date that may have rates. Raises `Problem`."""
        try:
            day = date.fromisoformat(text)
        except ValueError:
            day = None
        if day is None or str(day) != text:  # one URL for each date: not 20260402 and not 2026-W14-4
            raise Problem(400, f"{name} must be a date like 2026-04-02, not {text[:20]!r}.")
        last = self.rates.last_date(ticker, self.pages.now())
        if day > last:
            raise Problem(400, f"{day} is in the future; the last date with rates is {last}.")
        return day

    async def _none(self, ticker: TickerSettings, day: date, missing: str = "rates were") -> Problem:
        """Return the error for a date without rates: it says of which dates there are any."""
        span = await self.rates.span(ticker)
        if span is None:
            return Problem(404, f"No source of the ticker {ticker.id} has rates.")
        detail = f"No {missing} in force on {day}: the ticker {ticker.id} has rates from {span[0]} to {span[1]}."
        return Problem(404, detail, available=[str(day) for day in dict.fromkeys(span)])

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until a request may be read and computed. Raises `Problem` if too many wait, or the store fails."""
        if self._in_progress >= _MAX_WAITING:
            raise Problem(503, "Too many concurrent requests for rates on a date.", {"Retry-After": "5"})
        self._in_progress += 1
        try:
            async with self._turns:
                yield
        except StoreError:
            raise Problem(503, "Older rates are temporarily unavailable.", {"Retry-After": "30"}) from None
        finally:
            self._in_progress -= 1

    def _reply(
        self,
        request: web.Request,
        ticker: str,
        sources: Iterable[str | None],
        body: bytes,
        content_type: str = "application/json",
        vary: str | None = None,
    ) -> web.StreamResponse:
        """Respond with a body; `sources` are those whose rates it has."""
        caching = self.pages.caching(self.pages.snapshot(ticker))
        keys = (ticker_key(ticker), *(source_key(source) for source in dict.fromkeys(sources) if source))
        headers = surrogate_headers(self.pages.memory.settings.http, *keys)
        return Representation(body, content_type, caching, headers, vary).reply(request, self.pages.now.seconds())


def _document(code: str, found: RateInForce | None) -> models.RateOnDate:
    buying, selling = sides(code, found.base, found.table) if found else (None, None)
    return models.RateOnDate(
        code=code,
        name=language(ENGLISH).name(code),
        rate=found.rate if found else None,
        date=found.table.date if found else None,
        source=found.source if found else None,
        cross=found.table.base != found.base if found else False,
        receipt=models.receipt_path(found.source, found.table.date) if found else None,
        buying=UNSET if buying is None else buying,
        selling=UNSET if selling is None else selling,
    )


def _currency(text: str, name: str, ticker: TickerSettings) -> str:
    """Return the code of a currency of the ticker, or its base. Raises `Problem`."""
    code, available = text.strip().upper(), list(dict.fromkeys((*ticker.currencies, ticker.base)))
    if not code:
        raise Problem(400, f"{name} is missing; it must be a currency.", available=available)
    if code not in available:
        raise Problem(400, f"Unknown currency {text[:8]!r} in {name}.", available=available)
    return code


def _amount(text: str) -> Decimal:
    """Parse an amount; 1 if it is missing. Raises `Problem`."""
    if not text:
        return Decimal(1)
    if not _AMOUNT.fullmatch(text):
        detail = f"amount must be a number like 100 or 99.95, with up to 15 digits and 10 decimals, not {text[:30]!r}."
        raise Problem(400, detail)
    return Decimal(text)


def _rounded(exact: Fraction) -> Decimal:
    """Return a derived rate."""
    with localcontext(prec=DERIVED_DIGITS):
        return Decimal(exact.numerator) / Decimal(exact.denominator)


def routes(dated: DatedRates) -> list[web.RouteDef]:
    return [
        web.get("/v1/rates/{date}", handle_async_errors(dated.on_date)),
        web.get("/v1/convert", handle_async_errors(dated.convert)),
    ]
