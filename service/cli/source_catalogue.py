"""The sources as a document, written from the registry: `docs/sources.md`, or the same of an operator's settings."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from service.settings import Settings, SourceSettings
from service.settings.types import DAYS
from service.sources.banks import SOURCES

_INTRO: Final = """\
# Sources

Where figures come from. Written by `make docs` from the registry, `config/default.toml`: change that, not this page.

A source is one publisher with its own currency, its base, and its own way of publishing. To turn one on, name it in a
ticker: `sources = ["nbg"]`. It is polled from then on; `enabled = true` polls one that no ticker names. A ticker in
another base shows crosses through the source's own rate of that base, so the source must quote it.

- **currencies**: how many it quotes, as its answers were recorded; banks take some in and drop some.
- **publishes**: the days and the time, in its own time zone. Holidays are no such days: the calendar that is told below
  is one of the [`holidays`](https://holidays.readthedocs.io) library.
- **dated**: the date that a publication carries, counted from the day on which it appears.
- **since**: the first date that its feed is known to answer for, a dash where none is known or none can be asked for.
  The registry says on what ground, and where an older figure means an older money of the same code.
- **polled**: `yes` where it is already; the others are as soon as a ticker names them.
"""
_RELAYS: Final = """\
## Relays

An adapter can serve several sources. `frankfurter` asks [Frankfurter](https://frankfurter.dev), public or self-hosted,
which relays the official rates of many banks: `provider` says whose, `base` is that bank's. It is asked for the
currencies that tickers want, one request each, and for past dates. [`config/example.toml`](../config/example.toml) has
such a source, to be copied. The rates stay under the terms of their bank.
"""
_COLUMNS: Final = ("source", "name", "base", "currencies", "publishes", "dated", "since", "polled")
_DAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DATED: Final = {"same-day": "the same day", "next-day": "the next day", "next-working-day": "the next working day"}

_UNITS: Final = ((3600, "hour"), (60, "minute"), (1, "second"))


def markdown(settings: Settings) -> str:
    """Return the document of all sources, polled or not, in the order of the registry."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(settings, key) for key in settings.sources)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    sections = ("\n".join(_section(settings, key)) + "\n" for key in settings.sources)
    return "\n".join([_INTRO, table, *sections, _RELAYS])


def _row(settings: Settings, key: str) -> tuple[str, ...]:
    source = settings.sources[key]
    return (
        f"[`{key}`](#{key})",
        source.name.replace("|", r"\|"),
        source.base,
        str(len(source.quotes) or "—"),
        _publishes(source),
        _DATED[source.effective] if source.window else "—",
        str(source.since or "—"),
        "yes" if key in settings.polled else "when named",
    )


def _section(settings: Settings, key: str) -> Iterator[str]:
    source, adapter = settings.sources[key], settings.adapter(key)
    yield f"## {key}\n"
    yield f"**{source.name}**" + "".join(f" · {name} ({language})" for language, name in source.names.items()) + "\n"
    yield f"- **Base**: {source.base}"
    yield f"- **Address**: `{source.url}`" + (f", for `{source.provider}`" if SOURCES[adapter].relay else "")
    yield f"- **Terms**: {source.terms or 'not told'}"
    if source.window:
        closed = f", but not on the holidays of `{source.calendar}`" if source.calendar else ""
        yield f"- **Publishes**: {_publishes(source)}{closed}; dated {_DATED[source.effective]}"
        yield f"- **Asked**: every {_span(source.every)} until it is there, else every {_span(source.sweep)}"
    yield f"- **History**: {_history(source, adapter)}"
    if SOURCES[adapter].publishes_changes:
        yield "- **Own changes**: published beside the rates; ours are checked by them"
    codes = " ".join(source.quotes)
    yield f"- **Currencies**: {f'{len(source.quotes)}: {codes}' if codes else 'not told'}"


def _publishes(source: SourceSettings) -> str:
    if source.window is None:
        return "nothing new"
    start, end = source.window
    return f"{_days(source.weekdays)}, {start:%H:%M} to {end:%H:%M} {source.timezone}"


def _days(weekdays: frozenset[int]) -> str:
    numbers = sorted(weekdays)
    if len(numbers) == len(DAYS):
        return "every day"
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 2 and last - first == len(numbers) - 1:
        return f"{_DAY_NAMES[first]} to {_DAY_NAMES[last]}"
    return ", ".join(_DAY_NAMES[number] for number in numbers)


def _history(source: SourceSettings, adapter: str) -> str:
    if source.recorded:
        return "what ships with the project" + (f", from {source.since} on" if source.since else "")
    if SOURCES[adapter].latest_only:
        return "none: it answers with its latest rates alone, and a day that was missed stays missing"
    return f"by date, {f'since {source.since}' if source.since else 'since when is not known'}"


def _span(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return unit if seconds == size else f"{seconds // size} {unit}s"
