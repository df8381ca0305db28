"""Events: what differs from what was reported before."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from service.domain.event import Event, cloud_event
from service.domain.fixing import Fixing
from service.settings import Settings, load
from service.state.events import Reported, detect
from service.state.memory import MemoryState, SourceState
from service.validation.quarantine import QuarantinedFixing
from tests.support.fixings import APRIL, day, fixing, later, with_sides

NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
OLD, NEW = (fixing(on, **rates) for on, rates in APRIL.items())  # type: ignore[arg-type]
NEXT = fixing(day(3), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.20")


def memory_of(*fixings: Fixing, now: datetime = NOW, polled: datetime | None = NOW) -> MemoryState:
    """Return the memory of an instance with one ticker that has these fixings of its only source."""
    memory = MemoryState(_settings())
    for each in fixings:
        memory.add(each)
    if polled:
        memory.states["nbk"] = SourceState(polled, polled)
    memory.refresh(now)
    return memory


def _settings(sources: Mapping[str, object] | None = None) -> Settings:
    ticker = {"id": "kzt", "base": "KZT", "currencies": ["USD", "EUR", "RUB", "GBP", "CNY"], "sources": ["nbk"]}
    return load(environ={}, overrides={"tickers": [ticker], "sources": sources or {}})


def reported(*fixings: Fixing) -> Reported:
    """Return what is reported of these fixings."""
    return detect(memory_of(*fixings), Reported(), NOW).reported


def events(memory: MemoryState, before: Reported, now: datetime = NOW) -> list[Event]:
    """Return the events; a second call must have none."""
    found, after = detect(memory, before, now)
    assert detect(memory, after, now).events == []
    return found


def test_first_rates_are_no_event() -> None:
    assert detect(memory_of(OLD, NEW), Reported(), NOW).events == []


def test_changed_rates_are_an_event() -> None:
    """It has all quotes, and names those that changed; numbers have the published digits."""
    memory = memory_of(OLD, NEW, NEXT)
    (event,) = events(memory, reported(OLD, NEW))
    assert (event.type, event.subject, event.time) == ("ticker.changed", "kzt", NOW)
    body = cloud_event(event, "https://ticker.example")
    assert '"rate":480.00,"previous":475.09,"change":4.91,"percent":1.03,"direction":"up"' in body
    data = msgspec.json.decode(body)["data"]
    assert data["changed"] == ["USD", "EUR", "RUB", "GBP", "CNY"]
    assert (data["ticker"], data["base"], data["as_of"], data["status"]) == ("kzt", "KZT", "2026-04-03", "current")
    assert event.reach == Decimal("1.03")


def test_only_changed_quotes_count_for_the_threshold() -> None:
    """The dollar was reported before; only the euro is revised."""
    before = reported(OLD, NEW, NEXT)
    revised = later(replace(NEXT, rates={**NEXT.rates, "EUR": replace(NEXT.rates["EUR"], value=Decimal("551.60"))}))
    (changed,) = [event for event in events(memory_of(OLD, NEW, revised), before) if event.type == "ticker.changed"]
    assert changed.data["changed"] == ["EUR"]
    assert changed.reach == Decimal("0.10")


def test_event_has_the_same_id_on_every_instance() -> None:
    """Also at another time; and another event of the same rates has another one."""
    before = reported(OLD, NEW)
    (first,), after = detect(memory_of(OLD, NEW, NEXT), before, NOW)
    (same,) = detect(memory_of(OLD, NEW, NEXT), before, NOW + timedelta(minutes=1)).events
    assert same.id == first.id
    (back,), retracted = detect(memory_of(OLD, NEW), after, NOW)
    (again,), _ = detect(memory_of(OLD, NEW, NEXT), retracted, NOW)
    assert len({first.id, back.id, again.id}) == 3


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 4, 2, 16, 0, tzinfo=UTC), ["ticker.late"]),
        (datetime(2026, 4, 10, 4, 0, tzinfo=UTC), ["ticker.stale"]),
    ],
)
def test_overdue_ticker_is_reported_once_per_date(now: datetime, expected: list[str]) -> None:
    memory = memory_of(OLD, NEW, now=now, polled=now)
    found, after = detect(memory, reported(OLD, NEW), now)
    assert [event.type for event in found] == expected
    memory.refresh(NOW)
    memory.refresh(now)
    assert detect(memory, after, now).events == []
    tomorrow = detect(
        memory_of(OLD, NEW, NEXT, now=now + timedelta(days=9), polled=now + timedelta(days=9)),
        after,
        now + timedelta(days=9),
    )
    assert [event.type for event in tomorrow.events] == ["ticker.changed", "ticker.stale"]


def test_old_rates_of_the_store_are_not_reported_before_a_poll() -> None:
    """After a long outage the ticker is stale until the bank has been polled."""
    now = NOW + timedelta(days=8)
    before = reported(OLD, NEW)
    assert events(memory_of(OLD, NEW, now=now, polled=NOW), before, now) == []
    assert [event.type for event in events(memory_of(OLD, NEW, now=now, polled=now), before, now)] == ["ticker.stale"]


def test_quarantined_rates_are_an_event() -> None:
    """Once; again if other rates are quarantined, not if some are released."""
    before, memory = reported(OLD, NEW), memory_of(OLD, NEW)
    held = QuarantinedFixing(fixing(day(3), USD="578.09", EUR="700"), ("EUR moved", "USD moved by +21.68%"), NOW)
    memory.quarantine["nbk"].waiting[day(3)] = held
    (event,), after = detect(memory, before, NOW)
    assert (event.type, event.subject) == ("fixing.quarantined", "nbk/2026-04-03")
    assert event.data["rates"]["USD"] == {"value": Decimal("578.09"), "nominal": 1}
    assert "USD moved by +21.68%" in event.data["reasons"]
    memory.quarantine["nbk"].waiting[day(3)] = replace(held, fixing=held.fixing.without({"EUR"}))
    released, after = detect(memory, after, NOW)
    assert released == []
    memory.quarantine["nbk"].waiting[day(3)] = replace(held, fixing=fixing(day(3), USD="579"), since=NOW + timedelta(1))
    (again,), _ = detect(memory, after, NOW)
    assert again.id != event.id


def test_rates_that_no_ticker_needs_are_no_event() -> None:
    memory = memory_of(OLD, NEW)
    memory.quarantine["nbk"].waiting[day(3)] = QuarantinedFixing(fixing(day(3), SEK="9"), ("SEK moved",), NOW)
    assert events(memory, reported(OLD, NEW)) == []


def test_revision_is_an_event_with_both_values() -> None:
    """Later forms of the document that change no published rate are none, and revisions of before the start neither."""
    before = reported(OLD, NEW)
    rates = {**NEW.rates, "USD": replace(NEW.rates["USD"], value=Decimal("475.19"))}
    revised = later(replace(NEW, rates=rates)).with_revision_of(NEW)
    found, after = detect(memory_of(OLD, revised), before, NOW)
    event = next(event for event in found if event.type == "fixing.revised")
    assert event.subject == "nbk/2026-04-02"
    assert event.data["rates"] == {"USD": {"value": Decimal("475.19"), "nominal": 1, "before": Decimal("475.09")}}
    more = replace(later(revised), rates={**rates, "SEK": NEW.rates["EUR"]})
    assert detect(memory_of(OLD, more), after, NOW).events == []
    assert detect(memory_of(OLD, revised), Reported(), NOW).events == []


def test_revision_without_a_changed_rate_is_no_event() -> None:
    """A currency was added to what an operator had entered before."""
    added = later(replace(NEW, entered_by="Aigul")).with_revision_of(NEW.without({"EUR"}))
    found, after = detect(memory_of(OLD, added), reported(OLD, NEW.without({"EUR"})), NOW)
    assert "fixing.revised" not in [event.type for event in found]
    assert detect(memory_of(OLD, added), after, NOW).events == []


def test_currency_that_is_added_to_the_ticker_is_no_event() -> None:
    before = reported(OLD, NEW)
    known = {code: quote for code, quote in before.tickers["kzt"].quotes.items() if code != "EUR"}
    assert (
        events(memory_of(OLD, NEW), replace(before, tickers={"kzt": replace(before.tickers["kzt"], quotes=known)}))
        == []
    )


def test_revision_that_memory_lacks_for_a_while_is_no_second_event() -> None:
    """The store was restored from a backup, and completed by another instance."""
    revised = later(replace(NEW, rates=NEXT.rates)).with_revision_of(NEW)
    before = detect(memory_of(OLD, revised), reported(OLD, NEW), NOW).reported
    lacking = detect(memory_of(OLD, NEW), before, NOW).reported
    assert [event.type for event in events(memory_of(OLD, revised), lacking)] == ["ticker.changed"]


def test_revision_of_a_selling_rate_is_an_event() -> None:
    old = with_sides(NEW, USD=("474", "476"))
    revised = later(with_sides(NEW, USD=("474", "477"))).with_revision_of(old)
    found, _ = detect(memory_of(OLD, revised), reported(OLD, old), NOW)
    (event,) = [event for event in found if event.type == "fixing.revised"]
    value = Decimal("475.09")
    usd = {"value": value, "nominal": 1, "buying": Decimal(474), "selling": Decimal(477), "before": value}
    assert event.data["rates"] == {"USD": usd}


def test_ticker_of_entered_rates_has_events_without_polls() -> None:
    """Its rates are changed, and late if they have a window, although their source is never polled."""
    settings = _settings({"nbk": {"adapter": "manual"}})

    def memory_at(now: datetime, *fixings: Fixing) -> MemoryState:
        memory = MemoryState(settings)
        for each in fixings:
            memory.add(each)
        memory.refresh(now)
        return memory

    before = detect(memory_at(NOW, OLD, NEW), Reported(), NOW).reported
    (changed,) = events(memory_at(NOW, OLD, NEW, NEXT), before)
    assert changed.type == "ticker.changed"
    later_on = NOW + timedelta(days=1, hours=12)
    assert [event.type for event in events(memory_at(later_on, OLD, NEW), before, later_on)] == ["ticker.late"]
