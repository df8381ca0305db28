"""Sample responses of banks, and a session that records requests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from service.domain.fixing import Fixing, Quotation
from service.errors import BadAnswer
from service.settings import Settings, load
from service.settings.loader import ROOT
from service.sources.adapter import ParsedResponse, RawResponse, SourceAdapter
from service.sources.banks import SOURCES
from service.sources.registry import adapter_of
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
EXAMPLES = {"uzbekistan": "cbu", "russia": "cbr", "norway": "nb", "britain": "boe"}
"""Sources without code, and the banks whose documents they have: those of `config/examples/<bank>.toml`."""


def example(key: str) -> Settings:
    """Return the settings with a source without code."""
    return load(ROOT / "config" / "examples" / f"{EXAMPLES[key]}.toml", environ={})


CONFIGURED = load(environ={}, overrides={"sources": _RELAY}).sources | {
    key: example(key).sources[key] for key in EXAMPLES
}
"""The source of every adapter, one for the relay, which is not in the default configuration, and those without code."""
ADAPTERS: dict[str, SourceAdapter] = SOURCES | {key: adapter_of(example(key), key) for key in EXAMPLES}


def documents(key: str) -> list[Path]:
    """Return the test documents of a bank."""
    return sorted(path for path in folder(key).iterdir() if path.name != "wire.toml")


def folder(key: str) -> Path:
    return FIXTURES / EXAMPLES.get(key, key)


def document(key: str, name: str) -> bytes:
    """Return a test document in the wire format of a bank, with real rates."""
    return (folder(key) / name).read_bytes()


def response_of(key: str, body: bytes, url: str = URL) -> RawResponse:
    return RawResponse(key, CONFIGURED[key].base, url, body, FETCHED)


def parse(key: str, body: bytes) -> ParsedResponse:
    return ADAPTERS[key].parse(response_of(key, body))


def digits(fixing: Fixing) -> dict[str, tuple[str, int, str | None]]:
    """Return value, nominal and published change of each currency, as text so that lost zeros show."""
    return {
        code: (str(rate.value), rate.nominal, None if rate.change is None else str(rate.change))
        for code, rate in fixing.rates.items()
    }


def metadata(fixing: Fixing) -> tuple[str, str, Quotation, str, datetime, str]:
    return (fixing.source, fixing.base, fixing.direction, fixing.url, fixing.fetched_at, fixing.digest)


@dataclass
class RecordingSession:
    """A session that records requested paths and returns empty responses by default."""

    key: str
    base: str = "KZT"
    url: str = "http://bank.test"
    provider: str = ""
    wanted: tuple[str, ...] = ()
    not_found: frozenset[str] = frozenset()
    """Paths with a 404 response."""
    responses: Mapping[str, bytes] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    posts: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Bodies and headers of POST requests."""

    def now(self) -> datetime:
        return FETCHED

    async def get(self, path: str) -> RawResponse:
        self.paths.append(path)
        if path in self.not_found:
            raise BadAnswer(self.key, self.url + path, "responded with status 404", 404)
        return RawResponse(self.key, self.base, self.url + path, self.responses.get(path, b""), FETCHED)

    async def find(self, path: str) -> RawResponse | None:
        try:
            return await self.get(path)
        except BadAnswer:
            return None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> RawResponse:
        self.posts.append((body.decode(), headers))
        return await self.get(path)


async def requested_paths(key: str, since: date, until: date) -> list[str]:
    """Return the paths that an adapter requests; each response is yielded once."""
    session = RecordingSession(key)
    urls = [payload.url async for payload in SOURCES[key].fetch(session, since, until)]
    assert urls == [session.url + path for path in session.paths]
    return session.paths
