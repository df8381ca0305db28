"""Rates that cannot be read: the others are used, and the source is reported as partial until all can be read."""

from datetime import date

from structlog.testing import capture_logs

from service.polling.backfill import Backfill
from service.settings import Settings
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.storage.repository import Store
from service.web.api.sources import describe
from tests.conftest import Clock, Started
from tests.support import standin
from tests.support.fixings import APRIL, day
from tests.support.pollers import polling
from tests.support.standin import Banks
from tests.support.wait import until

ODD = standin.nbk(day(2), APRIL[day(2)]).replace(b"475.09", b"n/a")
PROBLEM = "has 'n/a' where a number is expected for USD on 2026-04-02"


async def test_other_rates_of_a_partial_response_are_used(settings: Settings, clock: Clock, banks: Banks) -> None:
    """The poll succeeds; the quote that could not be read keeps its last rate and date."""
    banks.published["nbk"] = APRIL
    banks.faults["fdate=02.04.2026"] = ODD
    async with polling(settings, clock) as poller:
        with capture_logs() as logs:
            await poller.poll("nbk")
            await poller.poll("nbk")
        state = poller.memory.states["nbk"]
        assert (state.error, state.left_out) == (None, (PROBLEM,))
        assert describe(poller.memory, "nbk", None, clock()).state == "partial"
        (snapshot,) = poller.memory.snapshots.values()
        dates = {quote.code: quote.date for quote in snapshot.quotes if quote.source == "nbk"}
        assert (dates["USD"], dates["EUR"]) == (day(1), day(2))
        assert [entry["left_out"] for entry in logs if entry["event"] == "source.partial"] == [(PROBLEM,)]

        del banks.faults["fdate=02.04.2026"]
        await poller.poll("nbk")
        assert poller.memory.states["nbk"].left_out == ()
        assert describe(poller.memory, "nbk", None, clock()).state == "current"
        (snapshot,) = poller.memory.snapshots.values()
        assert {quote.date for quote in snapshot.quotes} == {day(2)}


async def test_known_rate_stays_if_it_can_no_longer_be_read(settings: Settings, clock: Clock, banks: Banks) -> None:
    banks.published["nbk"] = APRIL
    async with polling(settings, clock) as poller:
        await poller.poll("nbk")
        before = poller.memory.series("nbk").latest
        banks.faults["fdate=02.04.2026"] = ODD
        await poller.poll("nbk")
        latest = poller.memory.series("nbk").latest
    assert before is not None
    assert latest is not None
    assert latest.rates == before.rates


async def test_health_reports_a_partial_source(start: Started, banks: Banks) -> None:
    banks.published["nbk"] = APRIL
    banks.faults["fdate=02.04.2026"] = ODD
    client = await start()

    async def is_reported() -> bool:
        response = await client.get("/health")
        (check,) = (await response.json(content_type=None))["checks"]["source:nbk"]
        return check["status"] == "warn" and PROBLEM in check.get("output", "")

    await until(is_reported)
    response = await client.get("/v1/sources", headers={"Accept-Encoding": "identity"})
    sources = {each["key"]: each for each in (await response.json())["sources"]}
    assert (sources["nbk"]["state"], sources["nbk"]["left_out"]) == ("partial", [PROBLEM])
    assert sources["cbr"]["left_out"] == []


async def test_backfill_names_what_it_could_not_read(
    settings: Settings, clock: Clock, banks: Banks, store: Store
) -> None:
    banks.published["nbk"] = APRIL
    banks.faults["fdate=02.04.2026"] = ODD
    settings = settings.model_copy(update={"client": settings.client.model_copy(update={"attempts": 1})})
    async with Client(settings.client) as client:
        session = BankSession("nbk", settings.sources["nbk"], client, clock)
        backfill = Backfill(settings, store, session, clock, lambda *_: None)
        count = await backfill.run(date(2026, 3, 28), day(2))
    assert count.left_out == [PROBLEM]
    assert [fixing.rates.keys() for fixing in await store.fixings("nbk", [day(2)])] == [APRIL[day(2)].keys() - {"USD"}]
