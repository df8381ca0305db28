"""`/fixings/{source}/{date}`: the receipt of a publication, for people.

It shows what `/v1/fixings/{source}/{date}` has, what waits in quarantine for that date, the decisions on it, and the
beginning of the bank's response as text.
"""

import asyncio
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from service.domain.fixing import Fixing
from service.domain.snapshot import Confidence
from service.domain.surrogate_keys import source_key, surrogate_headers
from service.errors import StoreError
from service.observability.tracing import span
from service.runtime.background import run_in_thread
from service.settings import SourceSettings
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.validation.published_change import Check, Result, check
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.web.api import fixings
from service.web.api.sources import due
from service.web.http.problems import Problem
from service.web.http.responses import Representation, cache_for
from service.web.i18n.formatting import source_name
from service.web.i18n.messages import N_
from service.web.models import receipt_path
from service.web.pages.documents import (
    DocumentCache,
    PageNotFound,
    PageOptions,
    handle_page_errors,
    page_options,
    representation,
    shell,
)
from service.web.rendering.page_cache import PageCache

CONFIDENCE: Final = {
    Confidence.CONFIRMED: N_("confirmed"),
    Confidence.UNCONFIRMED: N_("not confirmed"),
    Confidence.DIVERGING: N_("contradicted"),
}
RESULTS: Final = {
    Result.EQUAL: N_("The changes that the bank publishes equal the computed ones."),
    Result.DIFFERENT: N_("The changes that the bank publishes differ from the computed ones."),
    Result.NOT_COMPARED: N_("The changes that the bank publishes were not compared."),
}
OUTCOMES: Final = {
    Outcome.ACCEPTED: N_("accepted by the operator"),
    Outcome.REJECTED: N_("rejected by the operator"),
    Outcome.RETRACTED: N_("retracted by the operator"),
    Outcome.CONFIRMED: N_("confirmed"),
    Outcome.WITHDRAWN: N_("withdrawn by the bank"),
}
_SHOWN_BYTES: Final = 64 * 1024
"""Bytes of the raw response that the page shows."""
_LINKED_DATES: Final = 12
"""Latest dates that the page of an unknown date links to."""
_MAX_AGE: Final = 15
_MAX_DECISIONS: Final = 20
_ENCODING: Final = re.compile(rb"""\A\s*<\?xml[^>]{0,80}encoding=["']([A-Za-z0-9._-]{1,40})["']""")


@dataclass(frozen=True)
class _Raw:
    """The beginning of the bank's response; without `text` it is no longer stored, or cannot be read now."""

    text: str = ""
    size: int = 0
    is_cut: bool = False


@dataclass(frozen=True)
class _Found:
    """What is known about a date of a source. `fixing` is the published or, if there is none, the quarantined one."""

    fixing: Fixing
    is_published: bool
    confidence: dict[str, Confidence]
    check: Check | None
    quarantined: QuarantinedFixing | None
    decisions: Sequence[QuarantineDecision]
    raw: _Raw


@dataclass
class ReceiptPages:
    """Handler of the pages of receipts."""

    pages: PageCache
    store: Store
    documents: DocumentCache

    @property
    def memory(self) -> MemoryState:
        return self.pages.memory

    def options(self, request: web.Request) -> PageOptions:
        return page_options(request, self.memory.settings, self.pages.cacheable_origin(request))

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        """Respond with the page of a receipt. Raises `Problem`."""
        key, day, options = request.match_info["source"], request.match_info["date"], self.options(request)
        source = self.memory.settings.polled.get(key)
        if source is None:
            raise PageNotFound(f"Unknown source {key[:40]!r}.")

        async def make() -> Representation:
            with span("page", {"page": "receipt"}):
                found = await self._find(key, day, options, source)
                return await run_in_thread(self._page, found, options, source)

        inputs = (self.memory.cross_check, self.memory.series(key), self.memory.quarantine[key].decisions)
        page = await self.documents.get(("receipt", key, day, options), inputs, make)
        return page.reply(request, self.pages.now.seconds())

    async def _find(self, key: str, day: str, options: PageOptions, source: SourceSettings) -> _Found:
        """Return what is known about a date. Raises `Problem`."""
        waiting = {str(date): entry for date, entry in self.memory.quarantine[key].waiting.items()}.get(day)
        try:
            pair = await fixings.find(self.memory, self.store, key, day)
        except StoreError:
            raise Problem(503, "Older fixings are temporarily unavailable.", {"Retry-After": "30"}) from None
        if pair is not None:
            fixing, before = pair
            cross_check = await fixings.cross_check(self.memory, self.store, fixing)
            confidence = {code: cross_check.assess(key, fixing, code).confidence for code in fixing.rates}
            own = check(fixing, before, source)
        elif waiting is not None:
            fixing, confidence, own = waiting.fixing, {}, None
        else:
            known = reversed(self.memory.series(key).fixings[-_LINKED_DATES:])
            links = {options.language.date(each.date): f"{each.date}{options.query()}" for each in known}
            raise PageNotFound(f"{key} has no fixing for {day[:20]!r}.", links)
        # Together: each waits for its timeout while the store hangs, and the edge waits 3 s.
        decisions, raw = await asyncio.gather(self._decisions(key, fixing.date), self._raw(key, fixing.digest))
        return _Found(fixing, pair is not None, confidence, own, waiting, decisions, raw)

    async def _decisions(self, key: str, day: dt.date) -> Sequence[QuarantineDecision]:
        try:
            stored: Sequence[QuarantineDecision] = await self.store.decisions(key)
        except StoreError:
            stored = self.memory.quarantine[key].decisions
        return [decision for decision in stored if decision.waiting.fixing.date == day][:_MAX_DECISIONS]

    async def _raw(self, key: str, digest: str) -> _Raw:
        try:
            body = await self.store.raw(key, digest)
        except StoreError:
            body = None
        return _Raw(_text(body[:_SHOWN_BYTES]), len(body), len(body) > _SHOWN_BYTES) if body else _Raw()

    def _page(self, found: _Found, options: PageOptions, source: SourceSettings) -> Representation:
        language, fixing, _ = options.language, found.fixing, options.gettext
        shown = shell(options, "../../", "fixings")
        shown |= {
            "fixing": fixing,
            "found": found,
            "source": source,
            "source_name": source_name(source, language),
            "date": language.long_date(fixing.date),
            "name": language.name,
            "moment": lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "confidence": CONFIDENCE,
            "result": RESULTS[found.check.result] if found.check else "",
            "outcomes": OUTCOMES,
            "json_path": receipt_path(fixing.source, fixing.date).removeprefix("/"),
            "number": lambda value: f"{value:f}",
            "kilobytes": lambda count: language.number(count, 0),
            "canonical": f"fixings/{fixing.source}/{fixing.date}{options.query()}",
        }
        values: dict[str, Any] = shown
        caching = cache_for(_MAX_AGE, due(self.memory, fixing.source, self.pages.now()))
        surrogate = surrogate_headers(self.memory.settings.http, source_key(fixing.source))
        return representation("receipt.html", options, caching, values, surrogate)


def _text(beginning: bytes) -> str:
    """Return the beginning of a response as text, by the encoding that it declares; else as UTF-8."""
    declared = _ENCODING.match(beginning)
    try:
        return beginning.decode(declared[1].decode() if declared else "utf-8", errors="replace")
    except LookupError:
        return beginning.decode(errors="replace")


def routes(pages: PageCache, store: Store, documents: DocumentCache) -> list[web.RouteDef]:
    receipts = ReceiptPages(pages, store, documents)
    handler = handle_page_errors(receipts.receipt, receipts.options, "../../", "fixings")
    return [web.get("/fixings/{source}/{date}", handler)]
