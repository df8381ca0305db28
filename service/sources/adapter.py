"""The contract of a source adapter.

An adapter knows how one publisher publishes: which URLs to request, and what the responses mean. Who the bank is and
when it publishes is in `config/default.toml`, under the adapter's key in `SOURCES`. A source may name another adapter,
so that a relay serves several: `adapter = "frankfurter"`.

`fetch` requests every effective date from `since` to `until`, both included and both in the bank's own calendar, and
yields the raw responses, oldest first. `until` is what the bank may have published ahead. `since` is requested again
though it is known, since rates are revised; so a response without any fixing is a broken one. It uses the methods of
`session` only: `get`; `post` for SOAP; `find` where the bank says by status 404 that it has published nothing, with the
reason in a comment, since at every other bank a 404 is an error.

`parse` turns one response into fixings, and is pure: it sees the response alone. An empty list means that the bank
says, in its own documented way, that it has published nothing for that date. Everything else that is not the expected
document is `response.reject(...)`, never an empty list. A rate is taken as published: digits, nominal, direction, date.
Adapters do not validate rates.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, NoReturn, Protocol

from service.domain.fixing import Fixing, Quotation, Rate
from service.errors import BadAnswer, NotUnderstood


@dataclass(frozen=True)
class RawResponse:
    """One raw response: source, URL, time (UTC).

    `since` is the first date that is wanted of a response with many more; older ones are left out.
    """

    source: str
    base: str
    url: str
    body: bytes
    fetched_at: datetime
    since: date = date.min

    @cached_property
    def digest(self) -> str:
        return sha256(self.body).hexdigest()

    def fixing(self, day: date, rates: Mapping[str, Rate], direction: Quotation = Quotation.DIRECT) -> Fixing:
        """Return the fixing of this response for `day`."""
        return Fixing(self.source, self.base, day, rates, self.url, self.fetched_at, self.digest, direction)

    def reject(self, problem: str) -> NoReturn:
        """Raise `NotUnderstood`; `problem` continues the words "the answer …"."""
        raise NotUnderstood(self.source, self.url, f"the answer {problem}")


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
        """The currencies that tickers use, for adapters that request each one."""
        ...

    def now(self) -> datetime: ...

    async def get(self, step: str) -> RawResponse:
        """Send a GET request for a path below the base URL: `await session.get("/json/all/2026-04-02/")`."""
        ...

    async def find(self, step: str) -> RawResponse | None:
        """Send a GET request to a bank whose 404 means that nothing is published; return None then."""
        ...

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        """Send a POST request that only reads; it may be sent more than once."""
        ...


class SourceAdapter(ABC):
    """Fetches and parses what one bank publishes. It has no state; the module's docstring is its contract."""

    publishes_changes: ClassVar[bool] = False
    """Whether responses have the bank's own absolute changes beside the rates."""
    latest_only: ClassVar[bool] = False
    """Whether the bank only has its latest rates: no history, and what was missed stays missing."""
    yearly: ClassVar[bool] = False
    """Whether a backfill requests a year at once: one response holds as much, and is not too large."""
    relay: ClassVar[bool] = False
    """Whether the source relays several banks, so that `provider` must name one."""

    @abstractmethod
    def fetch(self, session: SourceSession, since: date, until: date) -> AsyncIterator[RawResponse]: ...

    @abstractmethod
    def parse(self, response: RawResponse) -> list[Fixing]: ...


async def by_day(
    session: SourceSession, since: date, until: date, step: Callable[[date], str]
) -> AsyncIterator[RawResponse]:
    """Request one day after the other.

    A bad response for one day does not stop the others: its error is raised after them. An unreachable bank is not
    requested any further.
    """
    refused: BadAnswer | None = None
    for offset in range((until - since).days + 1):
        try:
            yield await session.get(step(since + timedelta(days=offset)))
        except BadAnswer as error:
            refused = refused or error
    if refused:
        raise refused


async def by_year(
    session: SourceSession, since: date, until: date, step: Callable[[int], str]
) -> AsyncIterator[RawResponse]:
    """Request one year after the other; rates before `since` are left out.

    The year of `since` must exist. A later one may be missing (404): in its first days nothing is published for it.
    """
    yield replace(await session.get(step(since.year)), since=since)
    for year in range(since.year + 1, until.year + 1):
        if begun := await session.find(step(year)):
            yield begun
