"""Generate the list of sources in Markdown: docs/sources.md, or the same for an operator's settings."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from service.settings import Settings, SourceSettings
from service.settings.types import DAYS
from service.sources.banks import SOURCES

_INTRO: Final = """\
# Sources

<!-- Written by `make docs` from config/default.toml. -->

A source is one publisher of official rates: a central bank, with its base currency, its schedule and its terms. To use
one, name it in a ticker: `sources = ["nbg"]`; it is polled from then on. `enabled = true` polls a source that no ticker
names. A ticker with another base shows cross rates through the source's own rate of that base, so the source must quote
it.

- **currencies**: how many the source quotes, as its responses were recorded; banks add and remove some.
- **publishes**: the days and the time, in the source's own time zone. Holidays are those of the
  [`holidays`](https://holidays.readthedocs.io) library, by the calendar named below.
- **dated**: the effective date of a publication, counted from the day on which it appears.
- **since**: the first date of its history; a dash if that is unknown, or no date can be requested.
  `config/default.toml` says on what ground, and where an older rate is in an older unit of the same code.
- **polled**: `yes` if a ticker of the default configuration names it; the others are disabled by default.
"""
_RELAYS: Final = """\
## Relays

An adapter can serve several sources. `frankfurter` requests [Frankfurter](https://frankfurter.dev), public or
self-hosted, which relays the official rates of many banks: `provider` names the bank, `base` is that bank's. The
currencies of the tickers are requested one by one, also for past dates. [`config/example.toml`](../config/example.toml)
has such a source, to be copied. The rates remain under the terms of their bank.
"""
_COLUMNS: Final = ("source", "name", "base", "currencies", "publishes", "dated", "since", "polled")
_DAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DATED: Final = {"same-day": "the same day", "next-day": "the next day", "next-working-day": "the next working day"}

_UNITS: Final = ((3600, "hour"), (60, "minute"), (1, "second"))


def markdown(settings: Settings) -> str:
    """Return the list of all configured sources, polled or not, in the order of the settings."""
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
    yield f"- **URL**: `{source.url}`" + (f", for `{source.provider}`" if SOURCES[adapter].relay else "")
    yield f"- **Terms**: {source.terms or 'unknown'}"
    if source.window:
        closed = f", but not on the holidays of `{source.calendar}`" if source.calendar else ""
        yield f"- **Publishes**: {_publishes(source)}{closed}; dated {_DATED[source.effective]}"
        every, sweep = _span(source.every), _span(source.sweep)
        yield f"- **Polled**: every {every} until the publication arrives, otherwise every {sweep}"
    yield f"- **History**: {_history(source, adapter)}"
    if SOURCES[adapter].publishes_changes:
        yield "- **Own changes**: published beside the rates; ours are compared with them"
    codes = " ".join(source.quotes)
    yield f"- **Currencies**: {f'{len(source.quotes)}: {codes}' if codes else 'unknown'}"


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
        return "none: it only publishes its latest rates, so a missed day stays missing"
    return f"by date, {f'since {source.since}' if source.since else 'first date unknown'}"


def _span(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return unit if seconds == size else f"{seconds // size} {unit}s"
