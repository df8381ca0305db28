"""From a snapshot to bytes: JSON, text, HTML. Pure; the caller keeps the bytes."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.change import percent_text
from service.settings import Settings
from service.ticker import Quote, Snapshot
from service.web.assets import ASSETS

if TYPE_CHECKING:
    from jinja2 import Environment

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ARROWS = {"up": "▲", "down": "▼", "flat": "■", None: ""}
_ORDINALS = {2: "second", 3: "third", 4: "fourth"}
_LOCALE = "en"


def to_json(value: object) -> bytes:
    """Encode; a `Decimal` becomes a JSON number with all its digits."""
    return _ENCODER.encode(value)


def ticker_json(snapshot: Snapshot, settings: Settings) -> bytes:  # noqa: ARG001 - one signature for all forms
    quotes = [{"code": quote.code, "name": _name(quote.code), **asdict(quote)} for quote in snapshot.quotes]
    return to_json({**asdict(snapshot), "quotes": quotes})


def ticker_txt(snapshot: Snapshot, settings: Settings) -> bytes:  # noqa: ARG001 - one signature for all forms
    lines = (f"{quote.code.lower()} {percent_text(quote.percent)}\n" for quote in snapshot.quotes)
    return "".join(lines).encode()


def ticker_html(snapshot: Snapshot, settings: Settings) -> bytes:
    return _page("ticker.html", snapshot, settings)


def embed(snapshot: Snapshot, settings: Settings) -> bytes:
    return _page("embed.html", snapshot, settings)


def index(snapshot: Snapshot, settings: Settings) -> bytes:
    return _page("index.html", snapshot, settings)


FORMS: Final[Mapping[str, tuple[Callable[[Snapshot, Settings], bytes], str]]] = {
    "json": (ticker_json, "application/json"),
    "txt": (ticker_txt, "text/plain; charset=utf-8"),
    "html": (ticker_html, "text/html; charset=utf-8"),
    "embed": (embed, "text/html; charset=utf-8"),
    "index": (index, "text/html; charset=utf-8"),
}


def _page(template: str, snapshot: Snapshot, settings: Settings) -> bytes:
    lines = [_line(quote, snapshot.base, settings) for quote in snapshot.quotes]
    return (
        _templates()
        .get_template(template)
        .render(snapshot=snapshot, lines=lines, date_line=_date_line(snapshot, settings), settings=settings)
        .encode()
    )


def _line(quote: Quote, base: str, settings: Settings) -> dict[str, Any]:
    name, whose = _name(quote.code), _whose(quote, settings)
    then = f"{quote.previous:f} on {_date(quote.previous_date)}" if quote.previous_date else "nothing earlier is known"
    return {
        "code": quote.code.lower(),
        "name": name,
        "percent": percent_text(quote.percent),
        "direction": quote.direction or "none",
        "arrow": _ARROWS[quote.direction],
        "date": _date(quote.date),
        "previous_date": _date(quote.previous_date),
        "whose": whose,
        "details": f"{name}: {quote.rate:f} {base} on {_date(quote.date)}, {then} ({whose})"
        if quote.date
        else f"{name}: {whose}",
        "quote": quote,
    }


def _whose(quote: Quote, settings: Settings) -> str:
    """Name the source, and say where it is not the first choice or not direct."""
    if quote.source is None:
        return "no source quotes it"
    notes = ["cross rate"] if quote.cross else []
    source = settings.sources[quote.source]
    if quote.choice and quote.choice > 1 and not source.recorded:
        notes.append(f"{_ORDINALS.get(quote.choice, 'a later')} choice")
    return ", ".join([source.name, *notes])


def _date_line(snapshot: Snapshot, settings: Settings) -> dict[str, str]:
    used = dict.fromkeys(quote.source for quote in snapshot.quotes if quote.source)
    words = {"recorded": "recorded, ", "late": "update late, ", "stale": "update overdue, "}
    return {
        "before": words.get(snapshot.status, ""),
        "date": _date(snapshot.as_of),
        "sources": "; ".join(settings.sources[key].name for key in used),
    }


def _date(day: date | None) -> str:
    from babel.dates import format_date  # noqa: PLC0415 - with the first page, not with the start

    return format_date(day, "d MMM y", locale=_LOCALE) if day else ""


@cache
def _name(code: str) -> str:
    from babel import Locale  # noqa: PLC0415

    return str(Locale.parse(_LOCALE).currencies.get(code, code))


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = ASSETS.names.__getitem__
    return environment
