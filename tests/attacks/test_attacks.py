"""A bank that attacks, as a process of its own: it is refused in one line, in time, and nobody else notices."""

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

Asking = TestClient[Any, Any]
Handler = Callable[[web.Request], Awaitable[web.Response]]
TAKEN = ("good", "cookies", "a validator that is none", "a charset that is none", "a picture", "a broken type")
"""What is only told wrongly, and is the bank's document: what stands in it counts."""
LARGE = "responded with more than 2000000 bytes"
LATE = "no response within 1 s"
NOT_ASKED = "which was not accepted"
HEAD = "request failed: 400, message="
CUT = "request failed: Response payload is not completed"
DOCTYPE = "has a document type declaration|Maximum entity amplification factor exceeded"
REFUSED: dict[str, tuple[type[SourceError], str]] = {
    **dict.fromkeys(("80 MB", "80 MB in chunks", "80 MB until it hangs up", "endless chunks"), (BadAnswer, LARGE)),
    "endless chunks of one byte": (SourceError, f"{LARGE}|{LATE}"),
    "a chunk extension without end": (Unreachable, LATE),
    "trailers without end": (Unreachable, "Too many headers received"),
    "a chunk of 2**63": (BadAnswer, LARGE),
    "a gzip bomb": (BadAnswer, LARGE),
    "a gzip bomb in a gzip": (NotUnderstood, "contains a null byte|not well-formed"),
    "a gzip bomb for the transfer": (NotUnderstood, "contains a null byte|not well-formed"),
    "a gzip bomb, twice encoded": (BadAnswer, f"the content encoding gzip, gzip, {NOT_ASKED}"),
    "a gzip of many members": (BadAnswer, "data after the end of the gzip stream"),
    "a gzip with a second member": (BadAnswer, "data after the end of the gzip stream"),
    **{name: (BadAnswer, f"the content encoding {name}, {NOT_ASKED}") for name in ("deflate", "br", "zstd")},
    **dict.fromkeys(("a byte a second", "a head of a byte a second", "silence"), (Unreachable, LATE)),
    **dict.fromkeys(
        ("a header of 1 MB", "a cookie of 1 MB", "100000 headers", "headers without end", "a header without end",
         "a reason of 1 MB", "junk", "junk without end", "two lengths", "a length below zero", "a length and chunks"),
        (Unreachable, HEAD),
    ),
    "early hints without end": (Unreachable, LATE),
    "a document without a head": (Unreachable, f"{HEAD}|Server disconnected"),
    "a length too large": (Unreachable, CUT),
    "a reset": (Unreachable, f"{CUT}|reset by peer"),
    "a length too small": (SourceError, f"{HEAD}|not well-formed"),
    "another protocol": (BadAnswer, "responded with status 101"),
    **dict.fromkeys(
        ("billion laughs", "quadratic blowup", "a file as entity", "a parameter entity"), (NotUnderstood, DOCTYPE)
    ),
    "an encoding that is none": (NotUnderstood, "Unsupported encoding"),
    "an encoding of another": (NotUnderstood, "has the unsupported encoding utf-7"),
    "deep nesting": (NotUnderstood, "Excessive depth"),
    "an empty page": (NotUnderstood, "is empty"),
}  # fmt: skip


HELD = 0.5
"""Seconds on the processor within which the event loop must have run other tasks."""


@dataclass
class Watched:
    """What happened meanwhile: the longest time on the processor without a turn for others, in seconds; megabytes."""

    held: float = 0
    grown: float = 0


@asynccontextmanager
async def watching() -> AsyncIterator[Watched]:
    watched, process, turned = Watched(), psutil.Process(), asyncio.Event()
    before = process.memory_info().rss

    async def watch() -> None:
        while True:
            busy = time.thread_time()
            await asyncio.sleep(0.002)
            watched.held = max(watched.held, time.thread_time() - busy)
            watched.grown = max(watched.grown, (process.memory_info().rss - before) / 1e6)
            turned.set()

    task = asyncio.create_task(watch())
    try:
        await turned.wait()
        yield watched
        turned.clear()
        await turned.wait()
    finally:
        task.cancel()


@pytest.fixture(scope="module")
def attacker() -> Iterator[str]:
    with attacking() as url:
        yield url


def test_every_attack_is_tried() -> None:
    """The list of what is refused, and how, has each of them."""
    assert {*TAKEN, *REFUSED} == ATTACKS.keys()


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_ends_in_one_clear_line(attacker: str, clock: Clock, name: str) -> None:
    """Though it goes on for ever, in little memory, and the loop is held for no time that a reader would notice."""
    found = []
    refused: SourceError | None = None
    late = name in REFUSED and LATE in REFUSED[name][1]
    timeout = timedelta(seconds=1 if late else 60)  # all others are refused for what they are, however slow we are
    async with Client(ClientSettings(timeout=timeout)) as client, watching() as watched:
        feed = BankSession("nbk", CONFIGURED["nbk"].model_copy(update={"url": attacker}), client, clock)
        for _ in range(2 if name in TAKEN else 1):  # what a bank has said once must spoil no later question
            try:
                payload = await feed.get(f"/{quote(name)}")
                found += await asyncio.to_thread(SOURCES["nbk"].parse, payload)
            except SourceError as error:
                refused = error
    assert fits(watched.held, HELD), watched
    assert watched.grown < 40, watched
    if name in TAKEN:
        assert [digits(one) for one in found] == [{"USD": ("475.09", 1, "-3.68")}] * 2
        return
    kind, says = REFUSED[name]
    assert refused is not None
    assert found == []
    with pytest.raises(kind, match=rf"^nbk: .*(?:{says}).* \({attacker}/"):
        raise refused
    assert str(refused).isprintable()
    assert len(str(refused)) < 600


LOUD = (
    "early hints without end",
    "endless chunks of one byte",
    "a gzip bomb",
    "80 MB",
    "billion laughs",
    "deep nesting",
)


async def read_until_it_fails(client: Asking, clock: Clock) -> tuple[set[str], Watched]:
    """Read the ticker all the time, until the Bank of Kazakhstan is known to fail; return what was served meanwhile."""
    served = set[str]()

    async def fails() -> bool:
        clock.forward(seconds=1)  # what is told of sources is kept that long
        async with client.get("/v1/ticker.txt") as response:
            served.add(f"{response.status} {await body(response)}")
        async with client.get("/v1/sources") as response:
            (told,) = (one for one in json.loads(await body(response))["sources"] if one["key"] == "nbk")
        return bool(told["error"])

    async with watching() as watched:
        await until(fails)
    return served, watched


@pytest.mark.parametrize("name", LOUD)
async def test_hostile_bank_does_not_affect_clients(
    attacker: str, settings: Settings, start: Started, banks: Banks, clock: Clock, name: str
) -> None:
    """While it is polled the last good snapshot is served, unchanged, and the loop is held for no time to speak of."""
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
    served, watched = await read_until_it_fails(client, clock)
    assert served == {"200 usd -0.77%\neur +0.44%\nrub 0.00%\ngbp -0.02%\ncny -0.27%\n"}
    assert fits(watched.held, HELD), watched


async def test_slow_validation_does_not_block_clients(settings: Settings, clock: Clock, banks: Banks) -> None:
    """Days of as many currencies as there may be, each odd beside every other: the loop goes on meanwhile."""
    chance = Random(1)  # noqa: S311 - no secret
    codes = ["".join(one) for one in islice(product(ascii_uppercase, repeat=3), MOST_CURRENCIES)]
    hostile: dict[date, RawRates] = {
        day(1) + timedelta(days=number - 13): {code: f"{chance.randint(10**14, 10**15)}.123456789" for code in codes}
        for number in range(15)
    }
    banks.faults["nbu"] = nbu(hostile)
    async with polling(settings, clock) as poller, watching() as watched:
        await poller.poll("nbu")
        assert poller.memory.states["nbu"].error is None
    assert fits(watched.held, HELD), watched


async def test_a_poll_takes_no_more_days_than_a_bank_can_have_published(
    settings: Settings, clock: Clock, banks: Banks
) -> None:
    """Of a year of figures the latest, at each poll; of a year of days to come no more than that have to wait."""
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


PLACES = (
    "http://127.0.0.2:{port}/inside", "http://localhost:{port}/inside", "http://127.0.0.1:{port}/inside",
    "http://2130706433:{port}/inside", "http://[::1]:{port}/inside", "//127.0.0.2:{port}/inside",
    "http://169.254.169.254/latest/meta-data", "https://127.0.0.1:{port}/inside", "file:///etc/passwd",
    "http://bank@127.0.0.2:{port}/inside", "http://bank@127.0.0.1:{own}/inside", "https://127.0.0.1:{own}/inside",
    "http://127.0.0.1:{own}:80/", "http://[", "ftp://127.0.0.1:{own}/inside",
)  # fmt: skip


@pytest.mark.parametrize("status", sorted(REDIRECTS))
@pytest.mark.parametrize("place", PLACES)
async def test_a_redirect_leads_nowhere(clock: Clock, place: str, status: int) -> None:
    """To no other host or port and none of our own network: said at once, with where it would have led."""
    asked = []

    async def inside(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=DOCUMENT)

    async def bank(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": location})

    async with (
        serving_at("0.0.0.0", inside) as port,  # noqa: S104 - all loopback addresses are meant
        serving_at("127.0.0.1", bank) as own,
        Client(ClientSettings()) as client,
    ):
        location = place.replace("{port}", str(port)).replace("{own}", str(own))
        url = f"http://127.0.0.1:{own}"
        feed = BankSession("mnb", CONFIGURED["mnb"].model_copy(update={"url": url}), client, clock)
        for ask in (feed.get("/a"), feed.find("/a"), feed.post("/a", b"<question/>", {})):
            with pytest.raises(BadAnswer) as refused:
                await ask
            told = f"responded with status {status}, a redirect to {location}, which is not followed"
            assert str(refused.value) == f"mnb: {told} ({url}/a)"
    assert asked == ["/a"] * 3


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
    "good": "",
    "for another host": "mismatch",
    "expired": "certificate has expired",
    "signed by nobody we know": "unable to get (local )?issuer certificate|self[- ]signed certificate",
    "of an old protocol": "Cannot connect to host",
    "none at all": "wrong version number|record layer failure|packet length too long",
}


ASK = """
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
            feed = BankSession("nbk", source, client, lambda: datetime.now(UTC))
            try:
                print((await feed.get("/")).body.decode())
            except SourceError as error:
                print(error)

asyncio.run(main())
"""
"""A process that asks each port, since what is trusted is read once, from SSL_CERT_FILE."""


def _context(name: str, authority: trustme.CA) -> ssl.SSLContext | None:
    if name == "none at all":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if name == "signed by nobody we know":
        authority = trustme.CA()
    host = "bank.test" if name == "for another host" else "127.0.0.1"
    expires = datetime(2020, 1, 1, tzinfo=UTC) if name == "expired" else None
    authority.issue_cert(host, not_after=expires).configure_cert(context)
    if name == "of an old protocol":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def test_no_fault_of_a_certificate_is_passed_over(tmp_path: Path) -> None:
    """Whoever is not the bank, by a certificate that is good today, is not asked; with one the same address is read."""
    asked = []

    async def bank(request: web.Request) -> web.Response:
        asked.append(request.url.port)
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
            sys.executable, "-c", ASK, *ports, cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE
        )
        told = (await process.communicate())[0].decode().splitlines()
    assert asked == [int(ports[0])]
    for line, (name, says), port in zip(told, CERTIFICATES.items(), ports, strict=True):
        pattern = rf"nbk: request failed: .*(?:{says}).* \(https://127.0.0.1:{port}/\)" if says else ".*475.09.*"
        assert re.fullmatch(pattern, line, re.IGNORECASE), (name, line)


@pytest.mark.parametrize("status", sorted(REDIRECTS))
@pytest.mark.parametrize(
    "place", ["/there", "there?of=today", "http://127.0.0.1:{own}/there", "//127.0.0.1:{own}/there"]
)
async def test_a_redirect_within_the_host_of_a_bank_is_followed(clock: Clock, place: str, status: int) -> None:
    """With the answer of there as that to what was asked; a body goes only where it goes by the protocol."""
    asked = []

    async def bank(request: web.Request) -> web.Response:
        asked.append((request.method, request.path, await request.read()))
        if request.path == "/there":
            return web.Response(body=DOCUMENT)
        return web.Response(status=status, headers={"Location": place.replace("{own}", str(own))})

    async with serving_at("127.0.0.1", bank) as own, Client(ClientSettings()) as client:
        url = f"http://127.0.0.1:{own}"
        feed = BankSession("mnb", CONFIGURED["mnb"].model_copy(update={"url": url}), client, clock)
        payload = await feed.get("/a")
        assert (payload.url, payload.body) == (f"{url}/a", DOCUMENT)
        assert asked == [("GET", "/a", b""), ("GET", "/there", b"")]
        if status in (307, 308):
            assert (await feed.post("/a", b"<question/>", {})).body == DOCUMENT
            assert asked[2:] == [("POST", "/a", b"<question/>"), ("POST", "/there", b"<question/>")]
        else:
            with pytest.raises(BadAnswer, match="which is not followed"):
                await feed.post("/a", b"<question/>", {})


async def test_redirects_without_an_end_are_given_up(clock: Clock) -> None:
    """After a few, said with the last of them."""
    asked = []

    async def bank(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": f"/{len(asked)}"})

    async with serving_at("127.0.0.1", bank) as own, Client(ClientSettings()) as client:
        feed = BankSession(
            "mnb", CONFIGURED["mnb"].model_copy(update={"url": f"http://127.0.0.1:{own}"}), client, clock
        )
        with pytest.raises(BadAnswer, match=r"a redirect to /4, after 3 others"):
            await feed.get("/a")
    assert asked == ["/a", "/1", "/2", "/3"]


@pytest.mark.parametrize(
    ("asked", "place", "leads"),
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
def test_only_to_tls_may_a_scheme_change(asked: str, place: str, leads: str | None) -> None:
    """On the usual ports and on the very host."""
    assert str(_within(URL(asked), place)).lower() == str(leads).lower()
