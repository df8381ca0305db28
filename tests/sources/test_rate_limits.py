"""Pauses that a bank demands: 429, 503 with `Retry-After`, and 403 after it had responded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import pytest
import stamina
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.errors import BadAnswer, RateLimited, Unreachable
from service.settings import ClientSettings
from service.sources.adapter import by_day
from service.sources.http_client import Client
from service.sources.session import BankSession, retry_after
from tests.conftest import Clock
from tests.sources.answers import CONFIGURED

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)


@dataclass
class Bank:
    """A local server that replies with `status` and `headers`, and the session with it."""

    session: BankSession
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    requests: int = 0

    async def respond(self, _: web.Request) -> web.Response:
        self.requests += 1
        return web.Response(status=self.status, headers=self.headers, text="a body")

    def pause(self, clock: Clock) -> timedelta:
        assert self.session.not_before
        return self.session.not_before - clock.time


@pytest.fixture
async def bank(clock: Clock) -> AsyncIterator[Bank]:
    async with running_bank(clock) as bank:
        yield bank


@asynccontextmanager
async def running_bank(clock: Clock) -> AsyncIterator[Bank]:
    async def respond(request: web.Request) -> web.Response:
        return await running.respond(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    async with TestServer(app, shutdown_timeout=0) as server, Client(ClientSettings()) as client:
        url = f"http://{server.host}:{server.port}"
        running = Bank(BankSession("nbk", CONFIGURED["nbk"].model_copy(update={"url": url}), client, clock))
        yield running


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "header",
    ["3600", format_datetime(NOW + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "date"],
)
async def test_retry_after_is_honoured(bank: Bank, clock: Clock, status: int, header: str) -> None:
    """Nothing is requested until then, and the attempt is not repeated; afterwards requests go on."""
    bank.status, bank.headers = status, {"Retry-After": header}
    with stamina.set_testing(True, attempts=3), pytest.raises(RateLimited, match=f"status {status}") as raised:
        await bank.session.get("/one")
    assert raised.value.until == NOW + timedelta(hours=1)
    assert "no request before 2026-04-02 05:00:00 UTC" in str(raised.value)

    bank.status, bank.headers = 200, {}
    clock.forward(minutes=59)
    with pytest.raises(RateLimited, match="demanded a pause"):
        await bank.session.get("/two")
    assert bank.requests == 1
    clock.forward(minutes=1)
    await bank.session.get("/three")
    assert bank.requests == 2


async def test_rest_of_a_poll_is_not_requested(bank: Bank) -> None:
    bank.status = 429
    with pytest.raises(RateLimited):
        async for _ in by_day(bank.session, date(2026, 4, 1), date(2026, 4, 3), lambda day: f"/{day}"):
            pass
    assert bank.requests == 1


async def test_pause_is_doubled_up_to_the_sweep_and_reset_by_a_response(bank: Bank, clock: Clock) -> None:
    bank.status = 429
    pauses = list[timedelta]()
    for _ in range(13):
        with pytest.raises(RateLimited):
            await bank.session.get("/")
        pauses.append(bank.pause(clock))
        clock.time += pauses[-1]
    assert pauses[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert pauses[-1] == bank.session.source.sweep

    bank.status = 200
    await bank.session.get("/")
    bank.status = 429
    with pytest.raises(RateLimited):
        await bank.session.get("/")
    assert bank.pause(clock) == timedelta(minutes=1)


async def test_503_without_retry_after_is_retried(bank: Bank) -> None:
    bank.status = 503
    with stamina.set_testing(True, attempts=3), pytest.raises(Unreachable):
        await bank.session.get("/")
    assert bank.requests == 3
    assert bank.session.not_before is None


async def test_403_is_a_pause_only_after_a_response(bank: Bank) -> None:
    """A bank that has never responded is configured wrongly; one that has, blocks a client that polls too often."""
    bank.status = 403
    with pytest.raises(BadAnswer):
        await bank.session.get("/")
    bank.status = 200
    await bank.session.get("/")
    bank.status = 403
    with pytest.raises(RateLimited):
        await bank.session.get("/")


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("120", timedelta(minutes=2)),
        ("0 Feb 23:59:60  Feb 99999999999", timedelta()),
        (" 120 ", timedelta(minutes=2)),
        ("0", timedelta()),
        ("9" * 5000, timedelta(days=1)),
        ("Thu, 02 Apr 2026 04:10:00 GMT", timedelta(minutes=10)),
        ("Thu, 02 Apr 2026 03:50:00 GMT", timedelta()),
        ("Thu, 02 Apr 2026 04:10:00 -0000", timedelta(minutes=10)),
        ("", timedelta()),
        ("soon", timedelta()),
        ("-5", timedelta()),
        ("1.5", timedelta()),
        ("\u0665", timedelta()),
        ("Thu, 32 Apr 99999 04:10:00 GMT", timedelta()),
    ],
)
def test_retry_after_is_parsed_in_both_forms(header: str, pause: timedelta) -> None:
    assert retry_after(header, NOW) == pause


async def test_pause_of_more_than_a_day_is_bounded(bank: Bank, clock: Clock) -> None:
    bank.status, bank.headers = 429, {"Retry-After": "864000"}
    with pytest.raises(RateLimited):
        await bank.session.get("/")
    assert bank.pause(clock) == timedelta(days=1)
