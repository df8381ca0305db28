"""The pages of every ticker, each rendered once per snapshot, a bounded number kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Final

from aiohttp import web

from service.board import Board
from service.clock import Clock
from service.ticker import Snapshot
from service.web.pages import SECURE, Page, cache_for
from service.web.problems import Problem
from service.web.render import FORMS

_CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "embed": {**SECURE, "Content-Security-Policy": f"{_CSP}*"},
    "index": {**SECURE, "Content-Security-Policy": f"{_CSP}'none'"},
    "html": {**SECURE, "Content-Security-Policy": f"{_CSP}'none'"},
}

Variant = Callable[[str, tuple[str, ...]], Page]
"""The page of one snapshot in a form, with the picked currencies (all for none)."""


@dataclass
class Shelf:
    board: Board
    now: Clock
    _variants: dict[str, tuple[Snapshot, Variant]] = field(default_factory=dict)

    def reply(self, request: web.Request, ticker: str, form: str) -> web.StreamResponse:
        """Answer with a ticker in the form asked for, of the currencies asked for."""
        snapshot = self.board.snapshots.get(ticker)
        if snapshot is None:
            raise self._missing(ticker)
        shelved, variant = self._variants.get(ticker, (None, None))
        if variant is None or shelved is not snapshot:
            variant = lru_cache(self.board.settings.http.variants)(partial(self._page, snapshot))
            self._variants[ticker] = (snapshot, variant)
        codes: tuple[str, ...] = ()
        if request.rel_url.raw_query_string:
            codes = picked(snapshot, ",".join(request.query.getall("currencies", [])))
        return variant(form, codes).reply(request, self.now.seconds())

    def _page(self, snapshot: Snapshot, form: str, codes: tuple[str, ...]) -> Page:
        if codes:
            quotes = {quote.code: quote for quote in snapshot.quotes}
            snapshot = replace(snapshot, quotes=tuple(quotes[code] for code in codes))
        settings = self.board.settings
        render, content_type = FORMS[form]
        longest = int(settings.http.max_age.total_seconds())
        cache_control = cache_for(longest, snapshot.next_update)
        return Page(render(snapshot, settings), content_type, cache_control, _HEADERS.get(form))

    def _missing(self, ticker: str) -> Problem:
        ids = [known.id for known in self.board.settings.tickers]
        if ticker in ids:
            return Problem(503, f"No source has answered for the ticker {ticker} yet.", {"Retry-After": "5"})
        return Problem(404, f"There is no ticker {ticker!r}.", available=ids)


def picked(snapshot: Snapshot, currencies: str) -> tuple[str, ...]:
    """Return the codes that a `currencies` parameter names, each once, in its order; none for an empty one."""
    if not currencies:
        return ()
    known = [quote.code for quote in snapshot.quotes]
    codes = tuple(dict.fromkeys(code.strip().upper() for code in currencies.split(",")))
    if unknown := [code for code in codes if code not in known]:
        names = ", ".join(repr(code[:8]) for code in unknown[:5])
        raise Problem(400, f"The ticker {snapshot.id} has no currency {names}.", available=known)
    return codes
