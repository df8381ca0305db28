"""The Atom feed of a ticker (RFC 4287): an entry for each of its last publications.

Identifiers are `tag:` URIs (RFC 4151) of the host of `http.public_url`. They stay the same whatever URL a client uses,
and change only with that setting, the ticker and the options of the feed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from urllib.parse import urlencode, urlsplit

from service.domain.snapshot import PublishedQuotes, Quote, Snapshot
from service.settings import Settings
from service.web.i18n.formatting import QuoteText, TickerText, quote_text, ticker_text
from service.web.i18n.locale import ENGLISH, language
from service.web.models import receipt_path
from service.web.rendering.options import Options

ENTRIES: Final = 10
"""Publications in a feed: two weeks, longer than a feed client waits between two requests."""
_YEAR: Final = 2026
"""The year in identifiers: at its beginning the host must have belonged to the operator. Never change it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: one publication. `receipts` are the paths of the fixings that it shows, its own first."""

    id: str
    updated: str
    text: TickerText
    pairs: Sequence[tuple[Quote, QuoteText]]
    receipts: Sequence[str]
    authors: Sequence[str]


@dataclass(frozen=True, slots=True)
class Feed:
    """The input of the template `ticker.atom`; `path` is that of the feed itself."""

    id: str
    path: str
    updated: str
    authors: Sequence[str]
    entries: Sequence[Entry]


def feed(snapshot: Snapshot, published: Iterable[PublishedQuotes], settings: Settings, options: Options) -> Feed:
    """Return the feed of a snapshot and the publications behind it, newest first."""
    lang = options.lang or ENGLISH
    path = _path(snapshot, settings, options)
    host = urlsplit(settings.http.public_url or "").hostname or "localhost"
    identifier = f"tag:{host},{_YEAR}:{path}"
    entries = [_entry(identifier, snapshot, publication, settings, lang) for publication in published]
    authors = dict.fromkeys(author for entry in entries for author in entry.authors)
    return Feed(
        id=identifier,
        path=path,
        updated=max((entry.updated for entry in entries), default=_time(snapshot.updated_at)),
        authors=list(authors) or [ticker_text(snapshot, settings, language(lang)).label],
        entries=entries,
    )


def _entry(identifier: str, snapshot: Snapshot, publication: PublishedQuotes, settings: Settings, lang: str) -> Entry:
    locale, quotes = language(lang), publication.quotes
    published = replace(snapshot, as_of=publication.date, quotes=quotes)
    sources = dict.fromkeys(quote.source for quote in quotes if quote.source)
    pairs = [(quote, quote_text(quote, published, settings, locale)) for quote in quotes]
    own = [receipt_path(quote.source, publication.date) for quote in quotes if quote.source]
    previous = [receipt_path(quote.source, day) for quote in quotes if quote.source and (day := quote.previous_date)]
    return Entry(
        # Of another source the entry is another one: its rates differ.
        id=f"{identifier}#{','.join([str(publication.date), *sources])}",
        updated=_time(publication.updated_at),
        text=ticker_text(published, settings, locale),
        pairs=pairs,
        receipts=list(dict.fromkeys([*own, *previous])),
        authors=list(dict.fromkeys(text.source for _, text in pairs)),
    )


def _path(snapshot: Snapshot, settings: Settings, options: Options) -> str:
    is_default = snapshot.id == settings.tickers[0].id
    values = {
        "currencies": ",".join(options.currencies or ()).lower(),
        "lang": "auto" if options.negotiated else options.lang if options.lang != ENGLISH else "",
    }
    query = urlencode({name: value for name, value in values.items() if value}, safe=",")
    return f"/v1/ticker{'' if is_default else f'/{snapshot.id}'}.atom{f'?{query}' if query else ''}"


def _time(moment: datetime) -> str:
    """Return a time in UTC by RFC 3339."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
