"""The in-memory state builds a snapshot again only if something has changed."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import settings as examples

from service.domain.breaks import Break
from service.domain.fixing import Rate
from service.domain.periods import LONGER, begin
from service.domain.snapshot import Status
from service.settings import Settings, load
from service.state import memory as memory_module
from service.state.memory import KEEP, MemoryState
from service.state.selection import snapshot
from service.validation.rules import ValidationContext, judge_all
from tests.support.fixings import day, fixing

SETTINGS = load(environ={})


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the tickers of which a snapshot is built."""
    tickers = list[str]()
    build = snapshot

    def counted(ticker: Any, *rest: Any) -> Any:
        tickers.append(ticker.id)
        return build(ticker, *rest)

    monkeypatch.setattr(memory_module, "snapshot", counted)
    return tickers


def test_snapshot_is_built_once_while_nothing_changes(built: list[str]) -> None:
    """A poll without news and a follower's look every few seconds cost no building; a closing window does."""
    memory, now = MemoryState(SETTINGS), datetime(2026, 4, 2, 4, tzinfo=UTC)
    for number, value in ((1, "478.77"), (2, "475.09")):
        memory.add(fixing(day(number), USD=value, EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"))
    memory.refresh(now)
    shown = memory.snapshots["kzt"]
    for seconds in range(3, 600, 3):
        assert memory.refresh(now + timedelta(seconds=seconds)) == ()
    assert (len(built), memory.snapshots["kzt"]) == (1, shown)
    memory.refresh(datetime(2026, 4, 2, 14, tzinfo=UTC))
    assert memory.snapshots["kzt"].status is Status.LATE
    memory.refresh(now)  # the clock was set back
    assert memory.snapshots["kzt"] == shown


@pytest.mark.fuzz
@pytest.mark.parametrize("effective", ["latest", "today"])
def test_snapshots_are_the_same_as_without_the_cache(effective: str) -> None:
    """For random publications of several banks, at times that also go back, over a change of daylight saving time.

    Some are quarantined, or in a new unit, of which the break is declared later; publications of before are loaded.
    """
    tickers = tuple(replace_effective(ticker, effective) for ticker in SETTINGS.tickers)
    settings = Settings(tickers=tickers, sources=SETTINGS.sources)
    memory, random = MemoryState(settings), Random(7)  # noqa: S311 - reproducible
    context = ValidationContext(date(2026, 12, 31), jump=Fraction(15, 100))
    now, changes, quarantined, pound = datetime(2026, 3, 24, 4, tzinfo=UTC), 0, 0, Decimal(600)
    undeclared, explained = list[Break](), 0
    for _ in range(max(150, examples().max_examples)):
        now += timedelta(minutes=random.choice((1, 5, 60, 240, -90)))
        if random.random() < 0.3:
            source = random.choice(("nbk", "cbr", "nbu"))
            rate = f"{475 * random.choice((*9 * (1,), 2)) + random.randint(-5, 5)}.{random.randint(10, 99)}"
            others = {"nbk": {"RUB": "5.87", "GBP": f"{pound:f}"}, "cbr": {"KZT": "0.17"}, "nbu": {"KZT": "0.09"}}[
                source
            ]
            base = settings.sources[source].base
            on = now.date() + timedelta(days=random.randint(-1, 1))
            new = replace(fixing(on, source, base, USD=rate, **others), fetched_at=now)  # type: ignore[arg-type]
            applied = memory.apply_judgements(source, judge_all([new], memory.series(source), context, KEEP), now)
            quarantined += len(applied.news)
        if random.random() < 0.2 and (known := memory.series(key := random.choice(("nbk", "cbr", "nbu"))).latest):
            starts = replace(known, rates={**known.rates, "USD": Rate(Decimal(random.randint(400, 500)))})
            memory.period_starts[key] = {("USD", "KZT", begin(period, known.date)): starts for period in LONGER}
        is_declared = bool(undeclared) and random.random() < 0.3
        if is_declared:
            memory.quarantine["nbk"].breaks = (*memory.quarantine["nbk"].breaks, undeclared.pop())
        elif random.random() < 0.1 and (known := memory.series("nbk").latest) and "GBP" in known.rates:
            factor = Decimal("0.25") if pound > 600 else Decimal(4)
            pound, on = known.rates["GBP"].value * factor, known.date + timedelta(days=1)
            memory.add(replace(known, date=on, rates={**known.rates, "GBP": Rate(pound)}))  # as an operator accepts it
            undeclared.append(Break("GBP", on, factor))
        fresh = MemoryState(settings, quarantine=memory.quarantine)
        for key in settings.polled:
            fresh.reset(key, memory.series(key).fixings)
        fresh._snapshots = dict(memory.snapshots)
        fresh.period_starts = dict(memory.period_starts)
        fresh.refresh(now)
        changed = len(memory.refresh(now))
        assert memory.snapshots == fresh.snapshots
        changes, explained = changes + changed, explained + (is_declared and changed)
    assert changes > 10
    assert quarantined
    assert explained


def test_source_is_polled_sooner_while_a_needed_rate_is_quarantined() -> None:
    """The bank may correct it. Rates that no ticker needs can wait."""
    memory, now = MemoryState(SETTINGS), datetime(2026, 4, 2, 8, tzinfo=UTC)
    rates = {"USD": "478.77", "EUR": "551.06", "RUB": "5.87", "GBP": "631.87", "CNY": "69.12", "JPY": "3.2"}
    memory.add(fixing(day(2), **rates))  # type: ignore[arg-type]
    usual = memory.next_poll("nbk", now, polled=now)
    context = ValidationContext(date(2026, 12, 31), jump=Fraction(15, 100))
    for rate, expected in (("JPY", usual), ("USD", now + SETTINGS.sources["nbk"].every)):
        suspicious = fixing(day(3), **rates | {rate: "47880"})  # type: ignore[arg-type]
        memory.apply_judgements("nbk", judge_all([suspicious], memory.series("nbk"), context, KEEP), now)
        assert set(memory.quarantine["nbk"].waiting[day(3)].fixing.rates) == {rate}
        assert memory.next_poll("nbk", now, polled=now) == expected
    later = now + timedelta(hours=2)
    assert memory.next_poll("nbk", later, polled=later) - later == timedelta(minutes=20)


def replace_effective(ticker: Any, effective: str) -> Any:
    return ticker.model_copy(update={"effective": effective})


def test_true_devaluation_keeps_its_change_until_memory_forgets_it() -> None:
    """Near the end of the rates in memory too: the store has enough publications before it."""
    memory, first, devalued = MemoryState(SETTINGS), date(2026, 1, 1), date(2026, 1, 20)
    for number in range(19 + KEEP):
        on = first + timedelta(days=number)
        dollar, drift = ("625" if on >= devalued else "500"), f".{number:02d}"
        memory.add(fixing(on, USD=dollar + drift, EUR="551" + drift, RUB="5.87", GBP="631" + drift))
        untrusted = memory.untrusted("nbk", "USD", "KZT")
        days = (on - devalued).days
        assert untrusted.hidden == ({on} if days == 0 else set()), on
        assert untrusted.without_change == ({devalued} if days in (1, 2) else set()), on
    assert memory.series("nbk").fixings[0].date == devalued
