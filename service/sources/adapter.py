"""The contract of a source adapter.

An adapter implements the API of one publisher: which URLs to request, and how to parse the responses. The bank's name
and schedule are in `config/default.toml`, under the adapter's key in `SOURCES`. A source may name another adapter, so
that one relay serves several sources: `adapter = "frankfurter"`. The adapter `http` is described by the settings of its
source, so each source has one of its own.

`fetch` requests every effective date from `since` to `until`, both included and both in the bank's own calendar, and
yields the raw responses, oldest first. `until` is the last date that the bank may have published ahead. `since` is
requested again although it is known, because rates are revised; therefore responses without any fixing are an error.
`fetch` uses the methods of `session` only: `get`; `post` for SOAP; `find` if the bank reports by status 404 that it has
published nothing, with the reason in a comment, because at every other bank a 404 is an error.

`parse` converts one response into fixings. It is pure and depends on the response only. An empty result means that the
bank reports, in its own documented way, that it has published nothing for that date. Anything else that is not the
expected document is `response.reject(...)`, never an empty result. A single rate or day that cannot be read is left out
and named: each is read within `RateTableBuilder.entry()`. Rates are kept as published: digits, nominal, direction,
date. Adapters do not validate rates.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import NoReturn, Protocol

from service.domain.fixing import Fixing, Quotation, Rate
from service.errors import BadAnswer, NotUnderstood

_BLANK = b"\xef\xbb\xbf \t\r\n"
_NEW_YEAR = timedelta(days=7)
"""Days at the beginning of a year in which its document may not exist yet."""


@dataclass(frozen=True)
class RawResponse:
    """One raw response with its source, URL and time (UTC).

    `since` and `until` are the requested dates: older and newer ones in the response are ignored.
    """

    source: str
    base: str
    url: str
    body: bytes
    fetched_at: datetime
    since: date = date.min
    until: date = date.max

    @cached_property
    def digest(self) -> str:
        return sha256(self.body).hexdigest()

    def fixing(self, day: date, rates: Mapping[str, Rate], direction: Quotation = Quotation.DIRECT) -> Fixing:
        """Return the fixing of this response for `day`."""
        return Fixing(self.source, self.base, day, rates, self.url, self.fetched_at, self.digest, direction)

    def reject(self, problem: str) -> NoReturn:
        """Raise `NotUnderstood`; `problem` continues the words "the response …"."""
        raise NotUnderstood(self.source, self.url, f"the response {problem}")


def is_blank(body: bytes) -> bool:
    return not body.lstrip(_BLANK)


def is_html(body: bytes) -> bool:
    """Return whether a body is a page for people, which no bank's document is."""
    return body.lstrip(_BLANK)[:20].lower().startswith((b"<!doctype html", b"<html"))


class ParsedResponse(list[Fixing]):
    """The fixings of a response, oldest first. `left_out` says which rates or days could not be read, and why."""

    def __init__(self, fixings: Iterable[Fixing] = (), left_out: Iterable[str] = ()) -> None:
        super().__init__(fixings)
        self.left_out = tuple(left_out)


class SourceSession(Protocol):
    """The session with one bank, as its adapter sees it."""

    @property
    def key(self) -> str: ...

    @property
    def base(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def provider(self) -> str:
        """The bank whose rates a relay is requested for."""
        ...

    @property
    def wanted(self) -> tuple[str, ...]:
        """The currencies that tickers use, for adapters that request each currency."""
        ...

    def now(self) -> datetime: ...

    async def get(self, step: str) -> RawResponse:
        """Send a GET request to a path below the base URL: `await session.get("/json/all/2026-04-02/")`."""
        ...

    async def find(self, step: str) -> RawResponse | None:
        """Send a GET request to a bank whose status 404 means that nothing is published; return None in that case."""
        ...

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        """Send a POST request that only reads; it may be retried."""
        ...


class SourceAdapter(ABC):
    """Base class of adapters. Adapters are stateless; the module's docstring is their contract."""

    publishes_changes: bool = False
    """Whether responses include the bank's own absolute changes."""
    latest_only: bool = False
    """Whether the bank only publishes its latest rates: no history, and missed dates stay missing."""
    whole_history: bool = False
    """Whether every response has the whole history, whatever dates are requested."""
    yearly: bool = False
    """Whether a backfill requests a whole year at a time: one response may cover a year without being too large."""
    relay: bool = False
    """Whether the source relays several banks, so that `provider` must name one."""
    needs_secret: bool = False
    """Whether the source cannot be polled without its `secret`: the key of an API."""

    @abstractmethod
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]: ...

    @abstractmethod
    def parse(self, response: RawResponse) -> ParsedResponse: ...


async def by_day(
    session: SourceSession, since: date, until: date, step: Callable[[date], str], *, may_be_missing: bool = False
) -> AsyncIterator[RawResponse]:
    """Request each day from `since` to `until`, one after the other; a path that several days share only once.

    `may_be_missing` is for banks that report by status 404 that a day has no rates.
    After a bad response for one day the other days are still requested; the first error is raised at the end. If the
    bank is unreachable, the error is raised at once.
    """
    failure: BadAnswer | None = None
    request = session.find if may_be_missing else session.get
    for path in dict.fromkeys(step(since + timedelta(days=offset)) for offset in range((until - since).days + 1)):
        try:
            if response := await request(path):
                yield response
        except BadAnswer as error:
            failure = failure or error
    if failure:
        raise failure


async def by_year(
    session: SourceSession, since: date, until: date, step: Callable[[int], str]
) -> AsyncIterator[RawResponse]:
    """Request each year from `since` to `until`, one after the other; rates before `since` are ignored.

    The first year must exist. A later one, and one that has just begun, may be missing: nothing is published yet. Some
    banks say so by status 404, others by a page for people instead of the document.
    """
    for year in range(since.year, until.year + 1):
        is_new = until < date(year, 1, 1) + _NEW_YEAR
        response = await (session.find if is_new or year > since.year else session.get)(step(year))
        if response and not (is_new and is_html(response.body)):
            yield replace(response, since=since)
