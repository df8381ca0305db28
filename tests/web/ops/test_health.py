"""`/health`: each state is produced and checked as JSON and as text."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from service import __version__
from service.cluster.leader_election import LeaderElection
from service.domain import holidays
from service.settings import Settings, load
from service.state.memory import SourceState
from service.storage.coordination import LIFE, Coordination, Instance, PingResult
from service.storage.repository import Store
from service.storage.sync import StoreSync
from service.validation.quarantine import Outcome, QuarantineDecision, QuarantinedFixing
from service.web.ops.health import _calendar_note
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day
from tests.support.http import Client, body
from tests.support.standin import Banks
from tests.support.wait import until

PLAIN = {"Accept-Encoding": "identity"}


async def get_health(client: Client) -> tuple[int, dict[str, Any]]:
    """Return status and document."""
    async with client.get("/health", headers=PLAIN) as response:
        return response.status, json.loads(await response.text())


async def check_that(client: Client, name: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the check `name` once the condition holds."""

    async def matching() -> dict[str, Any]:
        (check,) = (await get_health(client))[1]["checks"][name]
        return dict(check) if condition(check) else {}

    return await until(matching)


@pytest.fixture
def settings(settings: Settings, banks: Banks) -> Settings:
    """Return settings with one ticker and one bank, so that no other check can fail."""
    banks.published["nbk"] = dict(APRIL)
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    sources = {"nbk": settings.sources["nbk"]}
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return Settings(**values | {"tickers": (ticker,), "sources": sources})


@pytest.fixture
async def client(start: Started) -> Client:
    client = await start()
    await check_that(client, "ticker:kzt", lambda check: check["status"] == "pass")
    return client


async def test_healthy_service_passes(client: Client) -> None:
    """`pass` and 200; checks report ages, the leader and the latency of the store."""
    await check_that(client, "leader", lambda check: check["observedValue"] == "leader")
    status, document = await get_health(client)
    assert (status, document["status"], document["notes"]) == (200, "pass", [])
    names = ["ticker:kzt", "source:nbk", "polling", "following", "leader", "clock", "store"]
    assert list(document["checks"]) == names
    by_name = {name: check for name, (check,) in document["checks"].items()}
    assert by_name["ticker:kzt"]["age"] == 0
    assert (by_name["source:nbk"]["lastFixingAge"], by_name["source:nbk"]["lastSuccessAge"]) == (9 * 3600, 0)
    assert by_name["store"]["observedValue"] > 0
    assert by_name["store"]["observedUnit"] == "ms"
    assert abs(by_name["clock"]["observedValue"]) < 5


async def test_verbose_health_is_readable_text(client: Client, banks: Banks) -> None:
    """The status, then one line per check with its problems below."""
    await check_that(client, "leader", lambda check: check["observedValue"] == "leader")
    async with client.get("/health?verbose", headers=PLAIN) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "text/plain")
    first, *lines = text.splitlines()
    assert first.startswith("currency ticker ")
    assert first.endswith(": pass, 2026-04-02 04:00:00 UTC")
    assert lines[:2] == ["pass  ticker:kzt       current", "      as of 2026-04-02, next update 2026-04-02 10:30:00"]
    assert "pass  leader           leader" in lines
    # An offset of zero is shown as 0.
    assert any(re.fullmatch(r"(pass|warn)  clock +-?\d+(\.\d+)? s", line) for line in lines), lines


async def test_currency_that_a_bank_has_stopped_quoting_is_a_warning(start: Started, banks: Banks) -> None:
    """Its quote keeps the last rate, with its own date in every format."""
    banks.published["nbk"][day(2)] = {code: value for code, value in APRIL[day(2)].items() if code != "RUB"}
    client = await start()
    check = await check_that(client, "ticker:kzt", lambda check: check["status"] == "warn")
    assert check["output"].endswith("; RUB is of 2026-04-01, and not in the latest publication of nbk")
    async with client.get("/v1/ticker.txt") as response:
        assert "rub — 2026-04-01\n" in (text := await body(response))
        assert "usd -0.77%\n" in text
    for path in ("/embed?lang=en", "/v1/ticker.svg", "/v1/ticker.html"):
        async with client.get(path) as response:
            assert "1 Apr 2026" in await body(response)


async def test_rate_that_is_not_published_is_not_missing(start: Started, settings: Settings, banks: Banks) -> None:
    """One that is quarantined is reported once; one that an operator has rejected or retracted no longer."""
    banks.published["nbk"][day(2)] = {**APRIL[day(2)], "USD": "748.77"}
    client = await start()
    check = await check_that(client, "source:nbk", lambda check: check["status"] == "warn")
    assert "2026-04-02 is quarantined: USD moved" in check["output"]
    assert "missing" not in check["output"]
    ticker = await check_that(client, "ticker:kzt", lambda check: "asOf" in check)
    assert ticker["output"] == "ticker kzt: late, as of 2026-04-02"

    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        (entry,) = await until(lambda: store.waiting("nbk"))
        now = datetime(2026, 4, 2, 4, tzinfo=UTC)
        await store.record_decision(QuarantineDecision(entry, Outcome.REJECTED, now))
        await check_that(client, "source:nbk", lambda check: check["status"] == "pass")
        published = await store.fixing("nbk", day(2))
        assert published is not None
        rate = replace(published, rates={"EUR": published.rates["EUR"]}, revisions=())
        retracted = QuarantineDecision(
            QuarantinedFixing(rate, ("retracted by an operator",), now), Outcome.RETRACTED, now
        )
        await store.retract(published, retracted)

    async def is_retracted() -> bool:
        async with client.get("/v1/ticker") as response:
            return bool(json.loads(await body(response))["quotes"][1]["date"] == "2026-04-01")

    await until(is_retracted)
    assert (await get_health(client))[1]["notes"] == ["ticker kzt: late, as of 2026-04-02"]


async def test_failing_bank_is_a_warning(client: Client, start: Started, banks: Banks) -> None:
    """The ticker is current: 200 with the bank, its error and since when it fails."""
    await client.close()
    banks.faults["nbk"] = 503
    client = await start()
    check = await check_that(client, "source:nbk", lambda check: check["status"] == "warn")
    assert check["consecutiveFailures"] == 1
    assert check["failingSince"]
    status, document = await get_health(client)
    assert (status, document["status"]) == (200, "warn")
    assert document["notes"][0].startswith("nbk: responded with status 503")
    async with client.get("/health?verbose", headers=PLAIN) as response:
        assert f"      {document['notes'][0]}" in (await response.text()).splitlines()


async def test_store_outage_is_a_warning(start: Started, settings: Settings) -> None:
    """Clients are served: 200 with the error; the instance polls for itself. Passwords are not shown."""
    store = settings.store.model_copy(update={"url": SecretStr("redis://:canary@127.0.0.1:1/0")})
    client = await start(settings.model_copy(update={"store": store}))
    check = await check_that(client, "store", lambda check: check["status"] == "warn")
    assert check["output"].startswith("redis://127.0.0.1:1/0: ")
    assert "observedValue" not in check
    await check_that(client, "leader", lambda check: check["observedValue"] == "alone")
    await check_that(client, "ticker:kzt", lambda check: check["status"] == "pass")
    status, document = await get_health(client)
    assert (status, document["status"]) == (200, "warn")
    assert "canary" not in str(document)


@pytest.mark.parametrize(("days", "expected"), [(1, "1 day, 0:00:0"), (-1, "behind the store's")])
async def test_clock_offset_is_a_warning(
    start: Started, monkeypatch: pytest.MonkeyPatch, days: int, expected: str
) -> None:
    """Compared with the clock of the store, which all instances share."""
    refresh = LeaderElection.refresh

    async def refresh_with_offset(self: LeaderElection) -> None:
        await refresh(self)
        assert self.offset is not None
        self.offset += timedelta(days=days)

    monkeypatch.setattr(LeaderElection, "refresh", refresh_with_offset)
    check = await check_that(await start(), "clock", lambda check: check["status"] == "warn")
    assert expected in check["output"]
    assert abs(check["observedValue"] - 86400 * days) < 5


async def test_stopped_polling_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates would become outdated unnoticed: 503 with the remedy."""
    monkeypatch.setattr("service.polling.lifecycle.PollingLifecycle.stopped", True)
    status, document = await get_health(client)
    assert (status, document["status"]) == (503, "fail")
    assert document["notes"] == ["polling stopped because of an internal error, see the log; restart the service"]


async def test_synchronisation_error_is_reported_and_recovers(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported while it lasts, and synchronisation continues afterwards."""
    request_sync = StoreSync.request_sync
    url, prefix = settings.store.url.get_secret_value(), settings.store.prefix
    async with Store(url, prefix) as store:  # publishing a change wakes up the synchronisation

        async def following_check(status: str) -> dict[str, Any]:
            await store.coordination.publish_change()
            (check,) = (await get_health(client))[1]["checks"]["following"]
            return dict(check) if check["status"] == status else {}

        with monkeypatch.context() as patch, capture_logs() as logs:
            patch.setattr(StoreSync, "request_sync", raise_key_error)
            check = await until(lambda: following_check("fail"))
            assert check["output"] == "internal error, see the log: KeyError('oops')"
            assert (await get_health(client))[0] == 503
            patch.setattr(StoreSync, "request_sync", request_sync)
            await until(lambda: following_check("pass"))
    assert [log["event"] for log in logs if log["event"].startswith("follower.")] == [
        "follower.crashed", "follower.recovered"
    ]  # fmt: skip


async def test_leader_election_error_is_reported_and_recovers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each instance polls for itself meanwhile."""
    ping = Coordination.ping
    with capture_logs() as logs:
        monkeypatch.setattr(Coordination, "ping", raise_key_error)
        check = await check_that(client, "store", lambda check: check["status"] == "warn")
    assert "leader.crashed" in {log["event"] for log in logs}
    assert check["output"] == "internal error: KeyError('oops')"
    monkeypatch.setattr(Coordination, "ping", ping)
    await check_that(client, "store", lambda check: check["status"] == "pass")
    await check_that(client, "leader", lambda check: check["observedValue"] == "leader")


async def test_slow_store_is_a_warning(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before requests time out."""
    ping = Coordination.ping

    async def slow_ping(self: Coordination) -> PingResult:
        return replace(await ping(self), latency=0.9017)

    monkeypatch.setattr(Coordination, "ping", slow_ping)
    check = await check_that(await start(), "store", lambda check: check["status"] == "warn")
    assert check["output"] == "the store is slow: latency 902 ms"
    assert check["observedValue"] == 901.7


async def raise_key_error(*_: object) -> None:
    raise KeyError("oops")


async def test_ticker_without_rates_fails(start: Started, banks: Banks) -> None:
    """503: nothing can be served."""
    banks.faults["nbk"] = 404
    status, document = await get_health(await start())
    assert (status, document["status"]) == (503, "fail")
    assert "ticker kzt: no source has responded yet" in document["notes"]


@pytest.fixture
def two_banks(settings: Settings, banks: Banks) -> Settings:
    """Return settings with a second bank."""
    banks.published["cbr"] = {day(2): {"USD": "84.00", "KZT": ("17.60", 100)}}
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    return Settings(
        **values | {"sources": dict(settings.sources) | {"cbr": load(environ=banks.environ()).sources["cbr"]}}
    )


@pytest.mark.parametrize("minutes", [10, 16])
async def test_polling_that_nobody_does_fails(
    start: Started, clock: Clock, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """Whoever leads: here nobody can lead, since a program holds the lock. Shortly after the start it passes."""
    monkeypatch.setattr(Coordination, "acquire_or_renew", nothing_acquired)
    client = await start()
    await check_that(client, "leader", lambda check: check["observedValue"] == "follower")
    clock.forward(minutes=minutes)
    (check,) = (await get_health(client))[1]["checks"]["polling"]
    if minutes < 15:
        assert check == {"componentType": "component", "status": "pass"}
        return
    status, document = await get_health(client)
    assert (status, document["status"], check["status"]) == (503, "fail", "fail")
    assert check["output"] == (
        "no instance polls the banks: nbk should have been polled at 2026-04-02 04:00 UTC, and no source has been "
        "since; see the log of the leader and restart it"
    )
    assert "nbk: has not been polled since it was due at 2026-04-02 04:00 UTC" in document["notes"]


async def nothing_acquired(_: Coordination) -> bool:
    return False


async def test_source_that_is_not_polled_is_a_warning(start: Started, two_banks: Settings, clock: Clock) -> None:
    """Another one is polled by somebody, so that the service as a whole works."""
    client = await start(two_banks)
    for key in ("nbk", "cbr"):
        await check_that(client, f"source:{key}", lambda check: bool(check.get("lastSuccess")))
    clock.forward(hours=5)
    async with Store(two_banks.store.url.get_secret_value(), two_banks.store.prefix) as store:

        async def polled_by_another_instance() -> bool:
            await store.save_state("cbr", SourceState(clock.time, clock.time))  # repeated: an own poll is being stored
            await store.coordination.publish_change()
            (check,) = (await get_health(client))[1]["checks"]["source:cbr"]
            return bool(check["lastSuccessAge"] == 0)

        await until(polled_by_another_instance)
    checks = (await get_health(client))[1]["checks"]
    assert [checks[f"source:{key}"][0]["status"] for key in ("nbk", "cbr")] == ["warn", "pass"]
    assert "nbk: has not been polled since it was due at" in checks["source:nbk"][0]["output"]
    assert checks["polling"][0]["status"] == "pass"


@pytest.mark.parametrize(
    ("content", "life", "problem"),
    [
        ("0123456789abcdef0123456789abcdef", None, "has no expiry"),
        ("of another program", 10_000, "is held by another program"),
        ("0123456789abcdef0123456789abcdef", 3_600_000, "expires only in 0:59:59"),
    ],
)
async def test_lock_of_a_stranger_is_reported_with_the_remedy(
    start: Started, settings: Settings, content: str, life: int | None, problem: str
) -> None:
    """No instance can lead until somebody deletes it; then one does."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        key = f"{settings.store.prefix}leader"
        await store._redis.set(key, content, px=life)
        client = await start()
        check = await check_that(client, "leader", lambda check: check["status"] == "warn")
        assert check["output"].startswith(f"the leader's lock {problem}: no instance can become the leader; delete the")
        assert check["observedValue"] == "follower"
        await store._redis.delete(key)
        await check_that(client, "leader", lambda check: check["status"] == "pass")


async def test_lock_of_a_wrong_type_is_reported(start: Started, settings: Settings) -> None:
    """It is not an outage of the store."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        await store._redis.hset(f"{settings.store.prefix}leader", "x", "y")
        client = await start()
        check = await check_that(client, "leader", lambda check: check["status"] == "warn")
    assert check["output"].startswith("the leader's lock is a hash instead of a string: ")


async def test_instances_are_listed_with_the_leader(start: Started, settings: Settings) -> None:
    """Each reports all, and which one it is itself; one that ends disappears at once."""
    first = await start()
    leading = await check_that(first, "leader", lambda check: check["observedValue"] == "leader")
    second = await start()
    check = await check_that(second, "leader", lambda check: len(check["instances"]) == 2)
    roles = {instance["id"]: instance["role"] for instance in check["instances"]}
    assert roles == {leading["componentId"]: "leader", check["componentId"]: "follower"}
    assert {instance["version"] for instance in check["instances"]} == {__version__}
    await second.close()
    await check_that(first, "leader", lambda check: len(check["instances"]) == 1)


async def test_entry_of_an_instance_that_was_killed_expires(store: Store) -> None:
    """After two lives of the lock; entries that cannot be read are removed too."""
    now = (await store.coordination.ping()).time
    old = now - timedelta(seconds=2 * LIFE + 1)
    killed = Instance(id="killed", version="1", role="leader", started=old, seen=old)
    alive = Instance(id="alive", version="1", role="follower", started=now, seen=now)
    await store._redis.hset(f"{store._prefix}instances", "strange", "{}")
    await store._redis.hset(f"{store._prefix}instances", "invalid", b'{"id":"\xff"}')
    await store.coordination.announce(killed)
    assert await store.coordination.announce(alive) == (alive,)
    assert await store._redis.hkeys(f"{store._prefix}instances") == ["alive"]


async def test_currency_that_no_bank_quotes_is_a_warning(start: Started, settings: Settings) -> None:
    """For ever, with the reason of each source: XAU is a code of ISO 4217, and the strip shows a dash."""
    ticker = settings.tickers[0].model_copy(update={"currencies": ("USD", "XAU")})
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    check = await check_that(client, "ticker:kzt", lambda check: "as_of" not in check and check["status"] == "warn")
    assert check["output"] == "ticker kzt: XAU has no rate: nbk does not quote it"


async def test_end_of_the_known_days_off_is_noted(client: Client, clock: Clock) -> None:
    """Governments decree them every year; those of Kazakhstan are known up to 2027. The status stays."""
    assert "output" not in (await get_health(client))[1]["checks"]["source:nbk"][0]
    clock.time = datetime(2028, 1, 3, 4, 0, tzinfo=UTC)
    check = await check_that(client, "source:nbk", lambda check: "decree" in check.get("output", ""))
    assert check["output"].endswith(
        "nbk: days off by decree are known up to 2027 (calendar KZ); upgrade, or set days_off and working_days"
    )


def test_days_off_that_an_operator_has_set_end_the_note(settings: Settings) -> None:
    """The remedy that the note names ends it for that year."""
    nbk, now = settings.sources["nbk"], datetime(2028, 1, 3, 4, 0, tzinfo=UTC)
    assert len(list(_calendar_note("nbk", nbk, now))) == 1
    for day_off, notes in ((date(2028, 1, 6), 0), (date(2027, 1, 6), 1)):
        known = nbk.model_copy(update={"days_off": (day_off,)})
        assert len(list(_calendar_note("nbk", known, now))) == notes


@pytest.mark.parametrize(("calendar", "year"), [("KZ", 2027), ("UZ", 2026), ("RU", 2027), ("XECB", None), ("", None)])
def test_known_days_off_end_with_the_library(calendar: str, year: int | None) -> None:
    """A later version of the library may know more."""
    known = holidays.known_until(calendar)
    assert known == year if year is None else known is not None and known >= year
