"""What a source is: the contract for whoever adds a bank.

An adapter knows one publisher's way of publishing: which addresses to ask, and what the answers mean.
Who the bank is and when it publishes lies in `config/default.toml`, under the adapter's key in `SOURCES`.

`fetch` asks for every effective date from `since` to `until`, both included and both in the bank's own
calendar, and yields the raw answers, oldest first. `until` is what the bank may have published ahead.
`since` is asked for again though it is known: figures are revised, and an answer without any fixing is
thereby a broken one. It asks through `feed` and nothing else.

`parse` turns one answer into fixings, and is pure: it sees the payload alone. An empty list means that
the bank says, in its own documented way, that it has published nothing for that date. Whatever else
is not the expected document is `payload.reject(...)`, never an empty list. A rate is taken as published:
digits, nominal, direction, date. Judging it is not the adapter's business.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import NoReturn, Protocol

from service.errors import BadAnswer, NotUnderstood
from service.fixings import Direction, Fixing, Rate


@dataclass(frozen=True)
class Payload:
    """One raw answer: whose, from where, when (UTC)."""

    source: str
    base: str
    url: str
    body: bytes
    fetched_at: datetime

    @cached_property
    def digest(self) -> str:
        return sha256(self.body).hexdigest()

    def fixing(self, day: date, rates: Mapping[str, Rate], direction: Direction = Direction.DIRECT) -> Fixing:
        """Return the fixing that this answer holds for `day`."""
        return Fixing(self.source, self.base, day, rates, self.url, self.fetched_at, self.digest, direction)

    def reject(self, problem: str) -> NoReturn:
        """Raise `NotUnderstood`; `problem` continues the words "the answer …"."""
        raise NotUnderstood(self.source, self.url, f"the answer {problem}")


class Feed(Protocol):
    """The way to one bank, for its adapter: whose it is, and how to ask."""

    @property
    def key(self) -> str: ...

    @property
    def base(self) -> str: ...

    @property
    def url(self) -> str: ...

    def now(self) -> datetime: ...

    async def get(self, step: str) -> Payload:
        """Ask for what lies behind the bank's base address: `await feed.get("/json/all/2026-04-02/")`."""
        ...


class Source(Protocol):
    """An adapter. It has no state and no identity; see the module's words."""

    def fetch(self, feed: Feed, since: date, until: date) -> AsyncIterator[Payload]: ...

    def parse(self, payload: Payload) -> list[Fixing]: ...


async def by_day(feed: Feed, since: date, until: date, step: Callable[[date], str]) -> AsyncIterator[Payload]:
    """Ask for one day after the other.

    A day that is answered badly keeps no other from being asked: its error comes after them. A bank that
    cannot be reached is not asked on.
    """
    refused: BadAnswer | None = None
    for offset in range((until - since).days + 1):
        try:
            yield await feed.get(step(since + timedelta(days=offset)))
        except BadAnswer as error:
            refused = refused or error
    if refused:
        raise refused
