"""Fetch the document of a source without code once, and show where its rates come from: `sources try`."""

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from service.cli.commands import QUIET, source_of
from service.cli.output import add_row, console, lines, table, write_json
from service.clock import Clock
from service.domain import publication_schedule
from service.errors import SettingsError, TickerError
from service.observability.logging import configure
from service.settings import Settings, load
from service.settings.types import HTTP
from service.sources.adapter import ParsedResponse, RawResponse
from service.sources.configured import Configured, Origin
from service.sources.http_client import Client
from service.sources.registry import adapter_of, validate
from service.sources.session import BankSession
from service.web.rendering.formats import to_json

_RANGE: Final = timedelta(days=7)
"""Days that are requested of a source that is requested by range."""


def try_source(file: Path, key: str | None, on: date | None, *, as_json: bool = False) -> None:
    """Request a document of the source in `file` once; print each rate with its cells, and what was left out.

    `on` is the date that is requested, by default today's of the source. Store nothing. Raise `TickerError` if the
    document cannot be fetched or has no rates.
    """
    configure(QUIET)
    settings = validate(load(file))
    key = key or _only_source(settings)
    source_of(settings, key)
    adapter = adapter_of(settings, key)
    if not isinstance(adapter, Configured):
        raise SettingsError(f'sources.{key}: has code; only a source with adapter = "{HTTP}" can be tried')
    on = on or publication_schedule.today(settings.sources[key], Clock()())
    response = asyncio.run(_fetch(settings, key, adapter, on))
    if response is None:
        raise TickerError(f"{key}: nothing is published for {on} (status 404); choose another date by --date")
    parsed, origins = adapter.read(response, with_places=True)
    if as_json:
        write_json(to_json(_document(response, parsed, origins)))
    else:
        _print(response, parsed, origins)
    if not parsed:
        raise TickerError(f"{key}: the document has no rates; choose another date by --date")


def _only_source(settings: Settings) -> str:
    """Return the source without code; raise `SettingsError` if none or several are configured."""
    keys = [key for key, source in settings.sources.items() if source.adapter == HTTP]
    if len(keys) != 1:
        found = f"several ({', '.join(keys)}); choose one by --source" if keys else "none"
        raise SettingsError(f'one source with adapter = "{HTTP}" is expected, the configuration has {found}')
    return keys[0]


async def _fetch(settings: Settings, key: str, adapter: Configured, on: date) -> RawResponse | None:
    """Send one request, which is not repeated; return None for status 404 where it means that nothing is published."""
    since = on - _RANGE if "since" in adapter.source.requested else on
    async with Client(settings.client.model_copy(update={"attempts": 1})) as client:
        session = BankSession(key, settings.sources[key], client, Clock())
        async for response in adapter.fetch(session, since, on):
            return response
    return None


def _document(response: RawResponse, parsed: ParsedResponse, origins: list[Origin]) -> dict[str, object]:
    fixings = {fixing.date: fixing for fixing in parsed}
    rates = [
        {
            "date": str(origin.date),
            "currency": origin.code,
            "value": (rate := fixings[origin.date].rates[origin.code]).value,
            "nominal": rate.nominal,
            "change": rate.change,
            "buying": rate.buying,
            "selling": rate.selling,
            "cells": {cell.name: {"text": cell.text, "place": cell.place} for cell in origin.cells},
        }
        for origin in origins
    ]
    direction = parsed[0].direction if parsed else None
    return {
        "source": response.source,
        "url": response.url,
        "digest": response.digest,
        "bytes": len(response.body),
        "base": response.base,
        "direction": direction,
        "rates": rates,
        "left_out": parsed.left_out,
    }


def _print(response: RawResponse, parsed: ParsedResponse, origins: list[Origin]) -> None:
    output = console()
    lines(output, [f"{response.url}: {len(response.body)} bytes"])
    fixings = {fixing.date: fixing for fixing in parsed}
    columns = ("date", "currency", "nominal", "rate", "cell", "text", "place")
    rows = table(*columns, title=f"{response.source}: {response.base}" + (f", {parsed[0].direction}" if parsed else ""))
    for day, code, cells in origins:
        rate = fixings[day].rates[code]
        for number, cell in enumerate(cells):
            first = (day, code, rate.nominal, rate.value) if number == 0 else ("", "", "", "")
            add_row(rows, (*first, *cell))
    output.print(rows)
    lines(output, [f"left out: {problem}" for problem in parsed.left_out])
