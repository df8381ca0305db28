"""What operators are told at `/health`: each state produced on purpose, as a document and as text."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.cluster.leader_election import LeaderElection
from service.settings import Settings
from service.storage.coordination import Coordination, PingResult
from service.storage.repository import Store
from service.storage.sync import StoreSync
from tests.conftest import Started
from tests.support.fixings import APRIL
from tests.support.http import Client
from tests.support.standin import Banks
from tests.support.wait import until

PLAIN = {"Accept-Encoding": "identity"}


async def health(client: Client) -> tuple[int, dict[str, Any]]:
    async with client.get("/health", headers=PLAIN) as response:
        return response.status, json.loads(await response.text())


async def checks(client: Client, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return a check, once it holds."""

    async def held() -> dict[str, Any]:
        (check,) = (await health(client))[1]["checks"][name]
        return dict(check) if holds(check) else {}

    return await until(held)


@pytest.fixture
def settings(settings: Settings, banks: Banks) -> Settings:
    """Return one ticker of one bank, so that nothing else can be wrong."""
    banks.published["nbk"] = dict(APRIL)
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    sources = {"nbk": settings.sources["nbk"]}
    given = {name: getattr(settings, name) for name in Settings.model_fields}
    return Settings(**given | {"tickers": (ticker,), "sources": sources})


@pytest.fixture
async def client(start: Started) -> Client:
    client = await start()
    await checks(client, "ticker:kzt", lambda check: check["status"] == "pass")
    return client


async def test_all_is_well(client: Client) -> None:
    """`pass`, 200; and how old all is, who leads, how quick the store is."""
    await checks(client, "leader", lambda check: check["observedValue"] == "leader")
    status, document = await health(client)
    assert (status, document["status"], document["notes"]) == (200, "pass", [])
    names = ["ticker:kzt", "source:nbk", "polling", "following", "leader", "clock", "store"]
    assert list(document["checks"]) == names
    told = {name: check for name, (check,) in document["checks"].items()}
    assert told["ticker:kzt"]["age"] == 0
    assert (told["source:nbk"]["lastFixingAge"], told["source:nbk"]["lastSuccessAge"]) == (9 * 3600, 0)
    assert told["store"]["observedValue"] > 0
    assert told["store"]["observedUnit"] == "ms"
    assert abs(told["clock"]["observedValue"]) < 5


async def test_people_read_it_as_text(client: Client, banks: Banks) -> None:
    """The same, a line a check, what is wrong below it; the status too."""
    await checks(client, "leader", lambda check: check["observedValue"] == "leader")
    async with client.get("/health?verbose", headers=PLAIN) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "text/plain")
    first, *lines = text.splitlines()
    assert first.startswith("currency ticker ")
    assert first.endswith(": pass, 2026-04-02 04:00:00 UTC")
    assert lines[:2] == ["pass  ticker:kzt       current", "      as of 2026-04-02, next update 2026-04-02 10:30:00"]
    assert "pass  leader           leader" in lines
    # A zero is told as one.
    assert any(re.fullmatch(r"(pass|warn)  clock +-?\d+(\.\d+)? s", line) for line in lines), lines


async def test_a_bank_that_fails_is_a_warning(client: Client, start: Started, banks: Banks) -> None:
    """The ticker is current: 200, with the bank, its error and since when."""
    await client.close()
    banks.faults["nbk"] = 503
    client = await start()
    check = await checks(client, "source:nbk", lambda check: check["status"] == "warn")
    assert check["consecutiveFailures"] == 1
    assert check["failingSince"]
    status, document = await health(client)
    assert (status, document["status"]) == (200, "warn")
    assert document["notes"][0].startswith("nbk: responded with status 503")
    async with client.get("/health?verbose", headers=PLAIN) as response:
        assert f"      {document['notes'][0]}" in (await response.text()).splitlines()


async def test_a_store_that_is_away_is_a_warning(start: Started, settings: Settings) -> None:
    """Readers are served: 200, with what is wrong; and this instance asks the banks for itself."""
    store = settings.store.model_copy(update={"url": SecretStr("redis://:canary@127.0.0.1:1/0")})
    client = await start(settings.model_copy(update={"store": store}))
    check = await checks(client, "store", lambda check: check["status"] == "warn")
    assert check["output"].startswith("redis://127.0.0.1:1/0: ")
    assert "observedValue" not in check
    await checks(client, "leader", lambda check: check["observedValue"] == "alone")
    await checks(client, "ticker:kzt", lambda check: check["status"] == "pass")
    status, document = await health(client)
    assert (status, document["status"]) == (200, "warn")
    assert "canary" not in str(document)


@pytest.mark.parametrize(("days", "told"), [(1, "1 day, 0:00:0"), (-1, "behind the store's")])
async def test_a_clock_that_is_wrong_is_a_warning(
    start: Started, monkeypatch: pytest.MonkeyPatch, days: int, told: str
) -> None:
    """By that of the store, which all instances share."""
    look = LeaderElection.refresh

    async def wrong(self: LeaderElection) -> None:
        await look(self)
        assert self.offset is not None
        self.offset += timedelta(days=days)

    monkeypatch.setattr(LeaderElection, "refresh", wrong)
    check = await checks(await start(), "clock", lambda check: check["status"] == "warn")
    assert told in check["output"]
    assert abs(check["observedValue"] - 86400 * days) < 5


async def test_polling_that_has_stopped_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures would grow old in silence: 503, with what to do."""
    monkeypatch.setattr("service.polling.lifecycle.PollingLifecycle.stopped", True)
    status, document = await health(client)
    assert (status, document["status"]) == (503, "fail")
    assert document["notes"] == ["polling stopped because of an internal error, see the log; restart the service"]


async def test_a_fault_of_following_fails_and_is_got_over(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told while it lasts, and following goes on after it."""
    review = StoreSync.request_sync
    url, prefix = settings.store.url.get_secret_value(), settings.store.prefix
    async with Store(url, prefix) as store:  # by which it hears of changes

        async def following(status: str) -> dict[str, Any]:
            await store.coordination.publish_change()
            (check,) = (await health(client))[1]["checks"]["following"]
            return dict(check) if check["status"] == status else {}

        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(StoreSync, "request_sync", broken)
            check = await until(lambda: following("fail"))
            assert check["output"] == "internal error, see the log: KeyError('oops')"
            assert (await health(client))[0] == 503
            patch.setattr(StoreSync, "request_sync", review)
            await until(lambda: following("pass"))
    assert [log["event"] for log in logs if log["event"].startswith("following.")] == [
        "following.crashed", "following.recovered"
    ]  # fmt: skip


async def test_leader_election_error_is_reported_and_recovers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instance polls for itself meanwhile."""
    contact = Coordination.ping
    with capture_logs() as logs:
        monkeypatch.setattr(Coordination, "ping", broken)
        check = await checks(client, "store", lambda check: check["status"] == "warn")
    assert "leader.crashed" in {log["event"] for log in logs}
    assert check["output"] == "internal error: KeyError('oops')"
    monkeypatch.setattr(Coordination, "ping", contact)
    await checks(client, "store", lambda check: check["status"] == "pass")
    await checks(client, "leader", lambda check: check["observedValue"] == "leader")


async def test_a_slow_store_is_a_warning(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before it is too slow."""
    contact = Coordination.ping

    async def slow(self: Coordination) -> PingResult:
        return replace(await contact(self), latency=0.9017)

    monkeypatch.setattr(Coordination, "ping", slow)
    check = await checks(await start(), "store", lambda check: check["status"] == "warn")
    assert check["output"] == "the store is slow: latency 902 ms"
    assert check["observedValue"] == 901.7


async def broken(*_: object) -> None:
    raise KeyError("oops")


async def test_ticker_without_rates_fails(start: Started, banks: Banks) -> None:
    """503: there is nothing to serve."""
    banks.faults["nbk"] = 404
    status, document = await health(await start())
    assert (status, document["status"]) == (503, "fail")
    assert "ticker kzt: no source has responded yet" in document["notes"]
