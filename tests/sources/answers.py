"""Answers as a bank would give them, and a feed that records what it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from service.domain.fixing import Fixing, Quotation
from service.errors import BadAnswer
from service.settings import load
from service.sources.adapter import RawResponse
from service.sources.banks import SOURCES
from tests.support.fixings import FETCHED

FIXTURES = Path(__file__).parent.parent / "fixtures"
URL = "http://bank.test/an/answer?of=today"
_RELAY = {
    "frankfurter": {
        "provider": "NBK",
        "base": "KZT",
        "url": "http://bank.test",
        "timezone": "Asia/Almaty",
        "name": "A relay",
    }
}
CONFIGURED = load(environ={}, overrides={"sources": _RELAY}).sources
"""Every adapter's source, and one for the relay, which the default configuration has not."""


def documents(key: str) -> list[Path]:
    """Return the documents of a bank, written for these tests."""
    return sorted(path for path in (FIXTURES / key).iterdir() if path.name != "wire.toml")


def document(key: str, name: str) -> bytes:
    """Return a document in the wire format of a bank, written for these tests, with real figures."""
    return (FIXTURES / key / name).read_bytes()


def answer(key: str, body: bytes, url: str = URL) -> RawResponse:
    return RawResponse(key, CONFIGURED[key].base, url, body, FETCHED)


def parse(key: str, body: bytes) -> list[Fixing]:
    return SOURCES[key].parse(answer(key, body))


def digits(fixing: Fixing) -> dict[str, tuple[str, int, str | None]]:
    """Return value, nominal and the bank's own change, the numbers as text: a lost zero shows."""
    return {
        code: (str(rate.value), rate.nominal, None if rate.change is None else str(rate.change))
        for code, rate in fixing.rates.items()
    }


def receipt(fixing: Fixing) -> tuple[str, str, Quotation, str, datetime, str]:
    return (fixing.source, fixing.base, fixing.direction, fixing.url, fixing.fetched_at, fixing.digest)


@dataclass
class Asked:
    """A feed that answers with nothing where no answer is given, and keeps the steps it was asked for."""

    key: str
    base: str = "KZT"
    url: str = "http://bank.test"
    provider: str = ""
    wanted: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()
    """Steps that are answered with 404."""
    answers: Mapping[str, bytes] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    posts: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Bodies and headers of what was asked by a body."""

    def now(self) -> datetime:
        return FETCHED

    async def get(self, step: str) -> RawResponse:
        self.steps.append(step)
        if step in self.absent:
            raise BadAnswer(self.key, self.url + step, "responded with status 404", 404)
        return RawResponse(self.key, self.base, self.url + step, self.answers.get(step, b""), FETCHED)

    async def find(self, step: str) -> RawResponse | None:
        try:
            return await self.get(step)
        except BadAnswer:
            return None

    async def post(self, step: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        self.posts.append((body.decode(), headers))
        return await self.get(step)


async def asked(key: str, since: date, until: date) -> list[str]:
    """Return the steps that an adapter asks for; each yields the one answer it was given."""
    feed = Asked(key)
    urls = [payload.url async for payload in SOURCES[key].fetch(feed, since, until)]
    assert urls == [feed.url + step for step in feed.steps]
    return feed.steps
