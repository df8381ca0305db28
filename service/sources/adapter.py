"""What a source is: the contract for whoever adds a bank.

An adapter knows one publisher's way of publishing: which addresses to ask, and what the answers mean.
Who the bank is and when it publishes lies in `config/default.toml`, under the adapter's key in `SOURCES`. An
adapter that serves several sources (a relay) is named by them: `adapter = "frankfurter"`.

`fetch` asks for every effective date from `since` to `until`, both included and both in the bank's own
calendar, and yields the raw answers, oldest first. `until` is what the bank may have published ahead.
`since` is asked for again though it is known: figures are revised, and an answer without any fixing is
thereby a broken one. It asks through `session` and nothing else: by `get`; by `post` where the bank speaks
SOAP; by `find` where the bank says by status 404 that there is nothing, which is a reason to be written
beside the call, since at every other bank a 404 is a bad answer.

`parse` turns one answer into fixings, and is pure: it sees the response alone. An empty list means that
the bank says, in its own documented way, that it has published nothing for that date. Whatever else
is not the expected document is `response.reject(...)`, never an empty list. A rate is taken as published:
digits, nominal, direction, date. Judging it is not the adapter's business.
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
    """One raw answer: whose, from where, when (UTC).

    `since` is the first date that was wanted of an answer that has many more; older ones are left out.
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
        """Return the fixing that this answer holds for `day`."""
        return Fixing(self.source, self.base, day, rates, self.url, self.fetched_at, self.digest, direction)

    def reject(self, problem: str) -> NoReturn:
        """Raise `NotUnderstood`; `problem` continues the words "the answer …"."""
        raise NotUnderstood(self.source, self.url, f"the answer {problem}")


class SourceSession(Protocol):
    """The way to one bank, for its adapter: whose it is, and how to ask."""

    @property
    def key(self) -> str: ...

    @property
    def base(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def provider(self) -> str:
        """Whose rates a relay is asked for."""
        ...

    @property
    def wanted(self) -> tuple[str, ...]:
        """The currencies that tickers want, for who must ask for each."""
        ...

    def now(self) -> datetime: ...

    async def get(self, step: str) -> RawResponse:
        """Ask for what lies behind the bank's base address: `await session.get("/json/all/2026-04-02/")`."""
        ...

    async def find(self, step: str) -> RawResponse | None:
        """Ask like `get`, of a bank whose 404 means that there is nothing: None then."""
        ...

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        """Ask by a body, for what it says to read; it may be sent more than once."""
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
    """Ask for one day after the other.

    A day that is answered badly keeps no other from being asked: its error comes after them. A bank that
    cannot be reached is not asked on.
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
    """Ask for one year after the other, of which only what lies after `since` is wanted.

    The year of `since` must be there. One that begins after it may be missing by 404: in its first days
    the bank has published nothing for it.
    """
    yield replace(await session.get(step(since.year)), since=since)
    for year in range(since.year + 1, until.year + 1):
        if begun := await session.find(step(year)):
            yield begun
