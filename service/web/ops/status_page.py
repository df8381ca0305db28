"""`/status`: the state of the service as a page for people.

It shows what `/health` and `/v1/sources` say, and nothing else. It is rendered at most every few seconds in each
language, in a worker thread.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.hdrs import ACCEPT_LANGUAGE

from service.domain.publication_days import DayState
from service.observability.tracing import span
from service.runtime.background import run_in_thread
from service.runtime.program import program
from service.settings import Settings
from service.web import models
from service.web.api.sources import describe, prepare_days, with_days
from service.web.http.problems import handle_async_errors
from service.web.http.responses import SECURE, Representation
from service.web.i18n.locale import ENGLISH, Language, language, negotiate, resolve
from service.web.i18n.messages import BUILDER, N_, catalogue, languages
from service.web.ops.health import HealthReport, report
from service.web.rendering.formats import STRICT
from service.web.rendering.options import AUTO, HEADER_LONGEST
from service.web.rendering.templates import rendered

_LIFE: Final = 5
"""Seconds for which a rendered page is used."""
_HEADERS: Final = {**SECURE, "Content-Security-Policy": STRICT}


_STEP: Final = 6
_HEIGHT: Final = 24
"""Width of a day and height of a strip, in units of its view box."""
_SHAPES: Final[Mapping[DayState, str]] = {
    DayState.ON_TIME: "M{x} 0h4v24h-4z",
    DayState.LATE: "M{x} 12h4v12h-4z",
    DayState.PUBLISHED: "M{x} 0h4v9h-4zM{x} 15h4v9h-4z",
    DayState.MISSED: "M{x} 1h4v22h-4z",
    DayState.QUARANTINED: "M{x} 0h4v5h-4zM{x} 9.5h4v5h-4zM{x} 19h4v5h-4z",
    DayState.DUE: "M{x} 19h4v5h-4z",
    DayState.NONE: "M{x} 23h4v1h-4z",
}
"""The shape of a day by its state, which differs in more than the colour; an unknown day is empty."""
DAYS: Final[Mapping[DayState, str]] = {
    DayState.ON_TIME: N_("on time"),
    DayState.LATE: N_("late"),
    DayState.PUBLISHED: N_("published, arrival unknown"),
    DayState.QUARANTINED: N_("quarantined"),
    DayState.MISSED: N_("missed"),
    DayState.DUE: N_("due"),
    DayState.NONE: N_("no publication expected"),
}
"""Names of the states of a day, in the order of the legend."""
_UNUSUAL: Final = (DayState.LATE, DayState.QUARANTINED, DayState.MISSED)
"""States whose dates are listed."""
VERDICTS: Final[Mapping[str, str]] = {
    "pass": N_("Everything works"),
    "warn": N_("Rates are served, but something needs attention"),
    "fail": N_("The service does not work as it should"),
}
STATES: Final[Mapping[str, str]] = {
    "current": N_("up to date"),
    "late": N_("delayed"),
    "stale": N_("outdated"),
    "recorded": N_("sample data"),
    "failing": N_("failing"),
    "partial": N_("partly unreadable"),
    "empty": N_("no rates yet"),
}
ROLES: Final[Mapping[str, str]] = {
    "leader": N_("leader, polls the banks"),
    "follower": N_("follower"),
    "alone": N_("without the store, polls the banks itself"),
}
MARKS: Final[Mapping[str, str]] = {"pass": "✓", "warn": "!", "fail": "✕", "empty": "\N{EN DASH}"}
"""The sign of each status of `/health`; `empty`: nothing is wrong with a source, but it has no rates yet."""


@dataclass
class StatusPage:
    """The status page, cached for a few seconds in each language."""

    health: HealthReport
    _collected: tuple[datetime, models.HealthDocument, Mapping[str, models.SourceDocument]] | None = None
    _collecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _cached: dict[tuple[str, bool], tuple[datetime, "asyncio.Task[Representation]"]] = field(default_factory=dict)

    async def reply(self, request: web.Request) -> web.StreamResponse:
        tag = request.query.get("lang", AUTO)
        negotiated = tag == AUTO
        tag = negotiate(request.headers.get(ACCEPT_LANGUAGE, "")[:HEADER_LONGEST]) if negotiated else resolve(tag)
        words = language(tag).words_tag
        page = await self._page(words if words in languages(BUILDER) else ENGLISH, negotiated=negotiated)
        return page.reply(request, self.health.now.seconds())

    async def _page(self, lang: str, *, negotiated: bool) -> Representation:
        """Return the page; it is rendered once, however many requests wait for it."""
        now, key = self.health.now(), (lang, negotiated)
        rendered_at, rendering = self._cached.get(key, (None, None))
        if rendered_at is None or rendering is None or not _is_fresh(rendered_at, now):
            rendering = asyncio.create_task(self._render(lang, now, negotiated=negotiated))
            self._cached[key] = now, rendering
            rendering.add_done_callback(partial(self._forget_failed, key))
        return await asyncio.shield(rendering)

    def _forget_failed(self, key: tuple[str, bool], rendering: "asyncio.Task[Representation]") -> None:
        """Forget a page that could not be rendered, so that the next request tries again."""
        if rendering.cancelled() or rendering.exception():
            self._cached.pop(key, None)

    async def _render(self, lang: str, now: datetime, *, negotiated: bool) -> Representation:
        with span("page", {"page": "status"}):
            async with self._collecting:  # the languages share what is collected
                if self._collected is None or not _is_fresh(self._collected[0], now):
                    self._collected = now, report(self.health), await self._sources(now)
            _, health, sources = self._collected
            render = partial(_rendered, health, sources, self.health.memory.settings, lang)
            vary = "Accept-Language" if negotiated else None
            # Without stale-if-error: an old copy would say that a service that is down works.
            caching = f"public, max-age={_LIFE}, must-revalidate"
            return await run_in_thread(
                lambda: Representation(render(), "text/html; charset=utf-8", lambda _: caching, _HEADERS, vary)
            )

    async def _sources(self, now: datetime) -> Mapping[str, models.SourceDocument]:
        """Return the documents of all sources by key; computed in slices."""
        memory, polling = self.health.memory, self.health.polling
        await prepare_days(memory, now)
        sources = dict[str, models.SourceDocument]()
        for key in memory.settings.polled:
            sources[key] = with_days(describe(memory, key, polling.next_poll(key), now), memory, now)
            await asyncio.sleep(0)
        return sources


def _is_fresh(made_at: datetime, now: datetime) -> bool:
    return timedelta() <= now - made_at < timedelta(seconds=_LIFE)


def _rendered(
    health: models.HealthDocument, sources: Mapping[str, models.SourceDocument], settings: Settings, lang: str
) -> bytes:
    return rendered("status.html", **_values(health, sources, settings, language(lang)))


def _values(
    health: models.HealthDocument,
    sources: Mapping[str, models.SourceDocument],
    settings: Settings,
    locale: Language,
) -> dict[str, Any]:
    """Return the variables of the template."""
    checks = {name: check for name, (check,) in health.checks.items()}
    polled = settings.polled
    return {
        "_": catalogue(locale.words_tag, BUILDER).gettext,
        "lang": locale.words_tag,
        "translations": languages(BUILDER),
        "health": health,
        "tickers": [(ticker, checks[f"ticker:{ticker.id}"]) for ticker in settings.tickers],
        "sources": [(document, checks[f"source:{key}"]) for key, document in sources.items()],
        "names": {key: source.names.get(locale.words_tag, source.name) for key, source in polled.items()},
        "checks": checks,
        "program": program(),
        "verdicts": VERDICTS,
        "states": STATES,
        "roles": ROLES,
        "days": DAYS,
        "marks": MARKS,
        "by_source": _by_source,
        "strip": _strip,
        "recent": _recent,
        "unusual": _UNUSUAL,
        "ends": _ends,
        "shapes": {state: shape.format(x=1) for state, shape in _SHAPES.items()},
        "day": locale.date,
        "moment": locale.moment,
        "countdown": partial(_countdown, now=health.time),
    }


def _by_source(check: models.Component) -> list[tuple[str | None, models.Choice, list[str]]]:
    """Return the sources of a ticker's quotes, each with its first `Choice` and its currencies; None: no source."""
    grouped = dict[str | None, tuple[models.Choice, list[str]]]()
    for code, choice in (check.choices or {}).items():
        grouped.setdefault(choice.source, (choice, []))[1].append(code)
    return [(source, choice, codes) for source, (choice, codes) in grouped.items()]


def _strip(document: models.SourceDocument) -> list[tuple[DayState, str]]:
    """Return an SVG path for each state that a source has in its last days."""
    shapes = dict[DayState, list[str]]()
    for number, state in enumerate(document.days.states if document.days else ()):
        if state in _SHAPES:
            shapes.setdefault(state, []).append(_SHAPES[state].format(x=_STEP * number + 1))
    return [(state, "".join(paths)) for state, paths in shapes.items()]


def _ends(document: models.SourceDocument) -> list[date]:
    """Return the first and the last date of a strip."""
    since, count = (document.days.since, len(document.days.states)) if document.days else (date.min, 1)
    return [since, since + timedelta(days=count - 1)]


def _recent(document: models.SourceDocument) -> Iterator[tuple[DayState, list[date]]]:
    """Yield the states of a source's last days in the order of the legend, with their dates."""
    states, since = (document.days.states, document.days.since) if document.days else ((), date.min)
    for state in DAYS:
        dates = [since + timedelta(days=number) for number, own in enumerate(states) if own is state]
        if dates and state is not DayState.NONE:
            yield state, dates


def _countdown(due: datetime, now: datetime) -> str:
    """Return the time until `due`, as `6:30:00`; the script of the page continues it."""
    seconds = max(0, round((due - now).total_seconds()))
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def routes(health: HealthReport) -> list[web.RouteDef]:
    return [web.get("/status", handle_async_errors(StatusPage(health).reply))]
