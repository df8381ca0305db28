"""A hostile bank, as a separate process: it is rejected with a one-line error, in time, without affecting clients."""

import asyncio
import json
import os
import re
import ssl
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, product
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestClient
from yarl import URL

from service.domain.fixing import Fixing
from service.errors import BadAnswer, NotUnderstood, SourceError, Unreachable
from service.settings import ClientSettings, Settings, load
from service.sources.banks import SOURCES
from service.sources.http_client import Client
from service.sources.rate_table import MOST_CURRENCIES
from service.sources.session import REDIRECTS, BankSession, _within
from tests.attacks.attacker import ATTACKS, DOCUMENT, attacking
from tests.conftest import ROOT, Clock, Started
from tests.sources.answers import CONFIGURED, digits
from tests.support.fixings import APRIL, day
from tests.support.http import body
from tests.support.instances import refresh_poller
from tests.support.machine import fits
from tests.support.pollers import polling
from tests.support.standin import Banks, RawRates, ecb, nbu
from tests.support.wait import until

ServiceClient = TestClient[Any, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
ACCEPTED = ("valid", "cookies", "invalid validator", "invalid charset", "image type", "broken type")
"""Valid documents with wrong or unusual headers: they are parsed."""
LARGE = "responded with more than 2000000 bytes"
LATE = "no response within 1 s"
NOT_ACCEPTED = "which was not accepted"
HEAD = "request failed: 400, message="
TRUNCATED = "request failed: Response payload is not completed"
DOCTYPE = "has a document type declaration|Maximum entity amplification factor exceeded"
REFUSED: dict[str, tuple[type[SourceError], str]] = {
    **dict.fromkeys(("80 MB", "80 MB in chunks", "80 MB until close", "endless chunks"), (BadAnswer, LARGE)),
    "endless chunks of one byte": (SourceError, f"{LARGE}|{LATE}"),
    "endless chunk extension": (Unreachable, LATE),
    "endless trailers": (Unreachable, "Too many headers received"),
    "chunk of 2**63": (BadAnswer, LARGE),
    "gzip bomb": (BadAnswer, LARGE),
    "gzip bomb in gzip": (NotUnderstood, "contains a null byte|not well-formed"),
    "gzip bomb as transfer encoding": (NotUnderstood, "contains a null byte|not well-formed"),
    "gzip bomb, encoded twice": (BadAnswer, f"the content encoding gzip, gzip, {NOT_ACCEPTED}"),
    "gzip with many members": (BadAnswer, "data after the end of the gzip stream"),
    "gzip with a second member": (BadAnswer, "data after the end of the gzip stream"),
    **{name: (BadAnswer, f"the content encoding {name}, {NOT_ACCEPTED}") for name in ("deflate", "br", "zstd")},
    **dict.fromkeys(("one byte per second", "headers at one byte per second", "no response"), (Unreachable, LATE)),
    **dict.fromkeys(
        ("header of 1 MB", "cookie of 1 MB", "100000 headers", "endless headers", "endless header",
         "reason phrase of 1 MB", "junk", "endless junk", "two lengths", "negative length", "length and chunks"),
        (Unreachable, HEAD),
    ),
    "endless early hints": (Unreachable, LATE),
    "document without headers": (Unreachable, f"{HEAD}|Server disconnected"),
    "length too large": (Unreachable, TRUNCATED),
    "connection reset": (Unreachable, f"{TRUNCATED}|reset by peer"),
    "length too small": (SourceError, f"{HEAD}|not well-formed"),
    "protocol upgrade": (BadAnswer, "responded with status 101"),
    **dict.fromkeys(
        ("billion laughs", "quadratic blowup", "external entity", "parameter entity"), (NotUnderstood, DOCTYPE)
    ),
    "unknown encoding": (NotUnderstood, "Unsupported encoding"),
    "unsupported encoding": (NotUnderstood, "has the unsupported encoding utf-7"),
    "deep nesting": (NotUnderstood, "Excessive depth"),
    "empty page": (NotUnderstood, "is empty"),
}  # fmt: skip


MAX_BLOCKED = 0.5
"""CPU seconds within which the event loop must have run other tasks."""


@dataclass
class LoopUsage:
    """Longest CPU time between two turns of the event loop, in seconds, and growth of memory, in MB."""

    blocked: float = 0
    grown: float = 0


@asynccontextmanager
async def measured_loop() -> AsyncIterator[LoopUsage]:
    usage, process, sampled = LoopUsage(), psutil.Process(), asyncio.Event()
    before = process.memory_info().rss

    async def sample() -> None:
        while True:
            busy = time.thread_time()
            await asyncio.sleep(0.002)
            usage.blocked = max(usage.blocked, time.thread_time() - busy)
            usage.grown = max(usage.grown, (process.memory_info().rss - before) / 1e6)
            sampled.set()

    task = asyncio.create_task(sample())
    try:
        await sampled.wait()
        yield usage
        sampled.clear()
        await sampled.wait()
    finally:
        task.cancel()


@pytest.fixture(scope="module")
def attacker() -> Iterator[str]:
    with attacking() as url:
        yield url


def test_every_attack_has_an_expected_outcome() -> None:
    """Each attack is either accepted or rejected with a known error."""
    assert {*ACCEPTED, *REFUSED} == ATTACKS.keys()


@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_is_rejected_with_a_clear_error(attacker: str, clock: Clock, name: str) -> None:
    """Even if it is endless, in little memory, and without blocking the event loop noticeably."""
    parsed = list[Fixing]()
    raised: SourceError | None = None
    late = name in REFUSED and LATE in REFUSED[name][1]
    timeout = timedelta(
        seconds=1 if late else 60
    )  # all others are rejected for their content, however slow this machine is
    async with Client(ClientSettings(timeout=timeout)) as client, measured_loop() as usage:
        session = BankSession("nbk", CONFIGURED["nbk"].model_copy(update={"url": attacker}), client, clock)
        for _ in range(2 if name in ACCEPTED else 1):  # a response must not affect later requests
            try:
                payload = await session.get(f"/{quote(name)}")
                parsed += await asyncio.to_thread(SOURCES["nbk"].parse, payload)
            except SourceError as error:
                raised = error
    assert fits(usage.blocked, MAX_BLOCKED), usage
    assert usage.grown < 40, usage
    if name in ACCEPTED:
        assert [digits(fixing) for fixing in parsed] == [{"USD": ("475.09", 1, "-3.68")}] * 2
        return
    kind, expected = REFUSED[name]
    assert raised is not None
    assert parsed == []
    with pytest.raises(kind, match=rf"^nbk: .*(?:{expected}).* \({attacker}/"):
        raise raised
    assert str(raised).isprintable()
    assert len(str(raised)) < 600


EXPENSIVE = (
    "endless early hints",
    "endless chunks of one byte",
    "gzip bomb",
    "80 MB",
    "billion laughs",
    "deep nesting",
)


async def poll_until_source_fails(client: ServiceClient, clock: Clock) -> tuple[set[str], LoopUsage]:
    """Request the ticker until the Bank of Kazakhstan is reported as failing; return the responses."""
    served = set[str]()

    async def is_failing() -> bool:
        clock.forward(seconds=1)  # the response of /v1/sources is cached that long
        async with client.get("/v1/ticker.txt") as response:
            served.add(f"{response.status} {await body(response)}")
        async with client.get("/v1/sources") as response:
            (nbk,) = (item for item in json.loads(await body(response))["sources"] if item["key"] == "nbk")
        return bool(nbk["error"])

    async with measured_loop() as usage:
        await until(is_failing)
    return served, usage


@pytest.mark.parametrize("name", EXPENSIVE)
async def test_hostile_bank_does_not_affect_clients(
    attacker: str, settings: Settings, start: Started, banks: Banks, clock: Clock, name: str
) -> None:
    """While it is polled the last snapshot is served unchanged and the event loop is not blocked."""
    banks.published["nbk"] = dict(APRIL)
    banks.faults.update(dict.fromkeys(("cbr", "ecb", "nbu", "cbu"), 404))
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        await refresh_poller(poller)
    clock.forward(minutes=1)
    environ = banks.environ() | {
        "TICKER_SOURCES__NBK__URL": f"{attacker}/{quote(name)}",
        "TICKER_STORE__URL": settings.store.url.get_secret_value(),
        "TICKER_STORE__PREFIX": settings.store.prefix,
    }
    client = await start(load(environ=environ, overrides={"client": {"timeout": 2}}))
    served, usage = await poll_until_source_fails(client, clock)
    assert served == {"200 usd -0.77%\neur +0.44%\nrub 0.00%\ngbp -0.02%\ncny -0.27%\n"}
    assert fits(usage.blocked, MAX_BLOCKED), usage


async def test_slow_validation_does_not_block_clients(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Days with the maximum number of currencies, all suspicious: the event loop keeps running."""
    random = Random(1)  # noqa: S311 - no secret
    codes = ["".join(letters) for letters in islice(product(ascii_uppercase, repeat=3), MOST_CURRENCIES)]
    hostile: dict[date, RawRates] = {
        day(1) + timedelta(days=number - 13): {code: f"{random.randint(10**14, 10**15)}.123456789" for code in codes}
        for number in range(15)
    }
    banks.faults["nbu"] = nbu(hostile)
    async with polling(settings, clock) as poller, measured_loop() as usage:
        await poller.poll("nbu")
        assert poller.memory.states["nbu"].error is None
    assert fits(usage.blocked, MAX_BLOCKED), usage


async def test_number_of_days_per_poll_is_limited(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Of a year of rates only the latest days are published, of a year of future dates only some are quarantined."""
    days = [clock().date() + timedelta(days=number) for number in range(-365, 366)]
    banks.faults["nbu"] = nbu({day: {"USD": "44.1"} for day in days[:366]})
    banks.faults["ecb"] = ecb({day: {"USD": "1.1"} for day in days[366:]})
    async with polling(settings, clock) as poller:
        for _ in range(2):
            await poller.poll("nbu")
            assert poller.memory.states["nbu"].error is None
            fixings = poller.memory.series("nbu").fixings
            assert 14 < len(fixings) < 60
            assert fixings[-1].date == days[365]
        await poller.poll("ecb")
        assert not poller.memory.series("ecb").fixings
        assert len(poller.memory.quarantine["ecb"].waiting) < 60


FORBIDDEN_REDIRECTS = (
    "http://127.0.0.2:{port}/inside", "http://localhost:{port}/inside", "http://127.0.0.1:{port}/inside",
    "http://2130706433:{port}/inside", "http://[::1]:{port}/inside", "//127.0.0.2:{port}/inside",
    "http://169.254.169.254/latest/meta-data", "https://127.0.0.1:{port}/inside", "file:///etc/passwd",
    "http://bank@127.0.0.2:{port}/inside", "http://bank@127.0.0.1:{own}/inside", "https://127.0.0.1:{own}/inside",
    "http://127.0.0.1:{own}:80/", "http://[", "ftp://127.0.0.1:{own}/inside",
)  # fmt: skip


@pytest.mark.parametrize("status", sorted(REDIRECTS))
@pytest.mark.parametrize("template", FORBIDDEN_REDIRECTS)
async def test_redirect_to_another_host_is_not_followed(clock: Clock, template: str, status: int) -> None:
    """Neither to another host or port nor to the local network: the error names the target at once."""
    requests = []

    async def other_host(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(body=DOCUMENT)

    async def bank(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(status=status, headers={"Location": location})

    async with (
        serving_at("0.0.0.0", other_host) as port,  # noqa: S104 - all loopback addresses are meant
        serving_at("127.0.0.1", bank) as own,
        Client(ClientSettings()) as client,
    ):
        location = template.replace("{port}", str(port)).replace("{own}", str(own))
        url = f"http://127.0.0.1:{own}"
        session = BankSession("mnb", CONFIGURED["mnb"].model_copy(update={"url": url}), client, clock)
        for attempt in (session.get("/a"), session.find("/a"), session.post("/a", b"<question/>", {})):
            with pytest.raises(BadAnswer) as error:
                await attempt
            message = f"responded with status {status}, a redirect to {location}, which is not followed"
            assert str(error.value) == f"mnb: {message} ({url}/a)"
    assert requests == ["/a"] * 3


@asynccontextmanager
async def serving_at(host: str, handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


CERTIFICATES = {
    "valid": "",
    "for another host": "mismatch",
    "expired": "certificate has expired",
    "signed by an unknown authority": "unable to get (local )?issuer certificate|self[- ]signed certificate",
    "of an old TLS version": "Cannot connect to host",
    "no TLS": "wrong version number|record layer failure|packet length too long",
}


REQUEST_EACH_PORT = """
import asyncio, sys
from datetime import UTC, datetime
from service.errors import SourceError
from service.settings import ClientSettings, load
from service.sources.http_client import Client
from service.sources.session import BankSession

async def main():
    nbk = load(environ={}).sources["nbk"]
    async with Client(ClientSettings(attempts=1)) as client:
        for port in sys.argv[1:]:
            source = nbk.model_copy(update={"url": f"https://127.0.0.1:{port}"})
            session = BankSession("nbk", source, client, lambda: datetime.now(UTC))
            try:
                print((await session.get("/")).body.decode())
            except SourceError as error:
                print(error)

asyncio.run(main())
"""
"""Request each port in a new process, since SSL_CERT_FILE is read once."""


def _context(name: str, authority: trustme.CA) -> ssl.SSLContext | None:
    if name == "no TLS":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if name == "signed by an unknown authority":
        authority = trustme.CA()
    host = "bank.test" if name == "for another host" else "127.0.0.1"
    expires = datetime(2020, 1, 1, tzinfo=UTC) if name == "expired" else None
    authority.issue_cert(host, not_after=expires).configure_cert(context)
    if name == "of an old TLS version":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_invalid_certificate_is_rejected(tmp_path: Path) -> None:
    """Only the server with a valid certificate receives a request."""
    requests = []

    async def bank(request: web.Request) -> web.Response:
        requests.append(request.url.port)
        return web.Response(body=DOCUMENT)

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AsyncExitStack() as stack:
        ports = [
            str(await stack.enter_async_context(serving_at("127.0.0.1", bank, _context(name, authority))))
            for name in CERTIFICATES
        ]
        environ = os.environ | {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", REQUEST_EACH_PORT, *ports, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE
        )
        lines = (await process.communicate())[0].decode().splitlines()
    assert requests == [int(ports[0])]
    for line, (name, expected), port in zip(lines, CERTIFICATES.items(), ports, strict=True):
        pattern = (
            rf"nbk: request failed: .*(?:{expected}).* \(https://127.0.0.1:{port}/\)" if expected else ".*475.09.*"
        )
        assert re.fullmatch(pattern, line, re.IGNORECASE), (name, line)


@pytest.mark.parametrize("status", sorted(REDIRECTS))
@pytest.mark.parametrize(
    "template", ["/there", "there?of=today", "http://127.0.0.1:{own}/there", "//127.0.0.1:{own}/there"]
)
async def test_redirect_within_the_host_is_followed(clock: Clock, template: str, status: int) -> None:
    """The payload keeps the requested URL; a body is resent only where the protocol says so."""
    requests = []

    async def bank(request: web.Request) -> web.Response:
        requests.append((request.method, request.path, await request.read()))
        if request.path == "/there":
            return web.Response(body=DOCUMENT)
        return web.Response(status=status, headers={"Location": template.replace("{own}", str(own))})

    async with serving_at("127.0.0.1", bank) as own, Client(ClientSettings()) as client:
        url = f"http://127.0.0.1:{own}"
        session = BankSession("mnb", CONFIGURED["mnb"].model_copy(update={"url": url}), client, clock)
        payload = await session.get("/a")
        assert (payload.url, payload.body) == (f"{url}/a", DOCUMENT)
        assert requests == [("GET", "/a", b""), ("GET", "/there", b"")]
        if status in (307, 308):
            assert (await session.post("/a", b"<question/>", {})).body == DOCUMENT
            assert requests[2:] == [("POST", "/a", b"<question/>"), ("POST", "/there", b"<question/>")]
        else:
            with pytest.raises(BadAnswer, match="which is not followed"):
                await session.post("/a", b"<question/>", {})


async def test_redirect_loop_is_given_up(clock: Clock) -> None:
    """After a few redirects the error names the last one."""
    requests = []

    async def bank(request: web.Request) -> web.Response:
        requests.append(request.path)
        return web.Response(status=302, headers={"Location": f"/{len(requests)}"})

    async with serving_at("127.0.0.1", bank) as own, Client(ClientSettings()) as client:
        session = BankSession(
            "mnb", CONFIGURED["mnb"].model_copy(update={"url": f"http://127.0.0.1:{own}"}), client, clock
        )
        with pytest.raises(BadAnswer, match=r"a redirect to /4, after 3 others"):
            await session.get("/a")
    assert requests == ["/a", "/1", "/2", "/3"]


@pytest.mark.parametrize(
    ("requested", "location", "target"),
    [
        ("http://bank.test/a", "https://bank.test/b", "https://bank.test/b"),
        ("http://bank.test/a", "https://BANK.test/b", "https://bank.test/b"),
        ("https://bank.test/a", "https://bank.test:443/b?d=01%2F04", "https://bank.test/b?d=01%2F04"),
        ("http://bank.test:80/a", "http://bank.test/b", "http://bank.test/b"),
        ("http://bank.test:8080/a", "https://bank.test/b", None),
        ("http://bank.test/a", "https://bank.test:8443/b", None),
        ("https://bank.test/a", "http://bank.test/b", None),
        ("https://bank.test/a", "https://www.bank.test/b", None),
        ("https://bank.test/a", "https://bank.test.evil.example/b", None),
        ("https://bank.test/a", "https://bank.test@evil.example/b", None),
    ],
)
def test_scheme_may_change_only_to_https(requested: str, location: str, target: str | None) -> None:
    """Only on the default ports and on the same host."""
    assert str(_within(URL(requested), location)).lower() == str(target).lower()
