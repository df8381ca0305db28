"""Invariant of snapshots: no percentage beyond the limit is shown without a justification.

Random sequences of all operations on the data of a source: publications, revisions, inserted dates, decisions of
operators, manual edits of a series. The snapshots are compared with the publications and decisions, not with the
result of the cross-check.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import exp, log

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Quotation, Rate
from service.domain.snapshot import Quote
from service.settings import TickerSettings, load
from service.state.memory import KEEP, MemoryState
from service.validation.cross_check import LEVELS_DIFFER, log_value
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing
from service.validation.rules import judge_all

DEFAULT = load(environ={})
LIMIT = DEFAULT.acceptance.jump
TICKERS = (
    *DEFAULT.tickers,
    DEFAULT.tickers[0].model_copy(update={"id": "kzt-today", "effective": "today"}),
    TickerSettings(id="rub", base="RUB", currencies=("USD", "EUR", "KZT", "BYN"), sources=("cbr", "nbk", "nbu")),
    TickerSettings(id="eur", base="EUR", currencies=("USD", "CNY"), sources=("ecb", "nbu", "nbk")),
)
SETTINGS = DEFAULT.model_copy(update={"tickers": TICKERS})
SOURCES = {
    "nbk": ("KZT", ("USD", "EUR", "RUB", "GBP", "CNY", "BYN")),
    "cbr": ("RUB", ("USD", "EUR", "KZT", "GBP", "CNY", "BYN")),
    "nbu": ("UAH", ("USD", "EUR", "KZT", "CNY")),
    "ecb": ("EUR", ("USD", "GBP", "CNY")),
}
IN_DOLLARS = {
    "USD": 1.0, "EUR": 1.16, "GBP": 1.33, "CNY": 0.1456, "RUB": 0.01235, "KZT": 0.002105, "UAH": 0.0232, "BYN": 0.351,
}  # fmt: skip
START = date(2026, 4, 2)
MAX_DISTANCE = 0.065
"""Largest difference of logarithms at which another bank may confirm a rate: 5 % and rounding."""
MAX_DATE_DISTANCE = timedelta(days=9)
"""Largest distance between the dates of two banks for the same market day: 5 days, a weekend and a lag."""

banks = st.sampled_from(sorted(SOURCES))
currencies = st.sampled_from(sorted(IN_DOLLARS))
factors = st.sampled_from(
    [1.0, 1.002, 0.995, 1.05, 1.12, 0.9, 1.149, 0.86, 1.2, 0.8, 1.36, 2.1, 0.45, 10.0, 0.1, 1000.0]
)
break_factors = st.sampled_from([(), (), (None,), (Decimal(1000),), (Decimal("0.1"),)])
"""Factors of the breaks declared with an accepted rate: no break, an unknown factor, or a known one."""
errors = st.dictionaries(currencies, factors, max_size=3) | st.builds(
    lambda factor: dict.fromkeys(IN_DOLLARS, factor), factors
)
numbers = st.integers(0, 50)


class Operations(RuleBasedStateMachine):
    """Random operations on four sources; `current_values` are the values of all currencies in dollars."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryState(SETTINGS)
        self.today = START
        self.current_values = dict(IN_DOLLARS)
        self.count = 0
        self.decisions: dict[str, list[QuarantineDecision]] = {key: [] for key in SOURCES}

    @property
    def now(self) -> datetime:
        return datetime(self.today.year, self.today.month, self.today.day, 12, tzinfo=UTC) + timedelta(
            seconds=self.count
        )

    def document(self, source: str, on: date, wrong: dict[str, float], missing: frozenset[str] = frozenset()) -> Fixing:
        """Return what a source publishes for a date: the current values times the errors, without `missing`."""
        base, codes = SOURCES[source]
        self.count += 1
        rates = {}
        for code in codes:
            if code not in missing:
                value = (
                    self.current_values[code]
                    * wrong.get(code, 1.0)
                    / (self.current_values[base] * wrong.get(base, 1.0))
                )
                rates[code] = Rate(Decimal(f"{1 / value if source == 'ecb' else value:.6g}"))
        direction = Quotation.INVERSE if source == "ecb" else Quotation.DIRECT
        return Fixing(source, base, on, rates, "http://bank", self.now, f"digest {self.count}", direction)

    def publish(self, source: str, *documents: Fixing) -> None:
        """Validate and apply documents, as a poll does."""
        ordered = sorted((item for item in documents if item.rates), key=lambda item: item.date)
        judged = judge_all(ordered, self.memory.series(source), self.memory.context(source, self.now), KEEP)
        note(f"  {source}: {[(str(item.fixing.date), item.verdict.value, item.reasons) for item in judged]}")
        self.memory.apply_judgements(source, judged, self.now)

    @initialize(days=st.integers(0, 12), sources=st.sets(banks, min_size=1))
    def history(self, days: int, sources: set[str]) -> None:
        """Let some sources publish correct rates for some days."""
        self.today += timedelta(days=days)
        for source in sorted(sources):
            for number in range(days):
                self.current_values["USD"] *= 1.0005
                self.publish(source, self.document(source, START + timedelta(days=number), {}))

    @rule(days=st.integers(1, 5))
    def wait(self, days: int) -> None:
        self.today += timedelta(days=days)

    @rule(code=currencies, factor=factors)
    def market_moves(self, code: str, factor: float) -> None:
        self.current_values[code] *= factor

    @rule(sources=st.sets(banks, min_size=1))
    def publish_correct_rates(self, sources: set[str]) -> None:
        for source in sorted(sources):
            self.publish(source, self.document(source, self.today, {}))

    @rule(source=banks, wrong=errors, missing=st.frozensets(currencies, max_size=2), ago=st.integers(-1, 12))
    def publish_revise_or_insert(self, source: str, wrong: dict[str, float], missing: frozenset[str], ago: int) -> None:
        self.publish(source, self.document(source, self.today - timedelta(days=ago), wrong, missing))

    @rule(source=banks, steps=st.lists(st.tuples(st.integers(0, 12), errors), min_size=2, max_size=5))
    def publish_many_dates(self, source: str, steps: list[tuple[int, dict[str, float]]]) -> None:
        documents = {
            self.today - timedelta(days=ago): self.document(source, self.today - timedelta(days=ago), wrong)
            for ago, wrong in steps
        }
        self.publish(source, *documents.values())

    @rule(source=banks, code=currencies, factor=factors)
    def repeat_latest(self, source: str, code: str, factor: float) -> None:
        """Publish the latest document with today's date; one rate may have a noisy digit."""
        if latest := self.memory.series(source).latest:
            self.count += 1
            rates = {
                quoted: Rate(Decimal(f"{float(rate.value) * factor:.6g}"), rate.nominal) if quoted == code else rate
                for quoted, rate in latest.rates.items()
            }
            self.publish(source, replace(latest, date=self.today, rates=rates, digest=f"digest {self.count}"))

    @property
    def quarantined(self) -> list[QuarantinedFixing]:
        return [entry for key in sorted(SOURCES) for entry in self.memory.quarantine[key].waiting.values()]

    def decide(self, waiting: QuarantinedFixing, outcome: Outcome, *breaks: Break) -> None:
        """Apply a decision as the service does, which reads all of them from the store."""
        source = waiting.fixing.source
        self.decisions[source].insert(0, QuarantineDecision(waiting, outcome, self.now, breaks))
        entries = []
        for entry in self.memory.quarantine[source].waiting.values():
            decided = waiting.fixing.rates if entry.fixing.date == waiting.fixing.date else {}
            remaining = entry.fixing.without(decided)
            if remaining.rates:
                entries.append(replace(entry, fixing=remaining))
        self.memory.quarantine[source] = Quarantine.of(entries, self.decisions[source])
        self.memory.drop_rejected(source)

    @precondition(lambda self: self.quarantined)
    @rule(index=numbers, only=st.none() | currencies, factors_of_break=break_factors)
    def accept(self, index: int, only: str | None, factors_of_break: tuple[Decimal | None, ...]) -> None:
        waiting = self.quarantined[index % len(self.quarantined)]
        codes = {only} & waiting.fixing.rates.keys() or set(waiting.fixing.rates)
        part = replace(waiting, fixing=waiting.fixing.without(waiting.fixing.rates.keys() - codes))
        breaks = [Break(code, part.fixing.date, factor) for code in part.fixing.rates for factor in factors_of_break]
        published = self.memory.series(part.fixing.source).on(part.fixing.date)
        rates = {**(published.rates if published else {}), **part.fixing.rates}
        self.decide(part, Outcome.ACCEPTED, *breaks)
        self.memory.add(replace(part.fixing, rates=rates))

    @precondition(lambda self: self.quarantined)
    @rule(index=numbers)
    def reject(self, index: int) -> None:
        self.decide(self.quarantined[index % len(self.quarantined)], Outcome.REJECTED)

    @rule(source=banks, index=numbers, only=st.none() | currencies)
    def retract(self, source: str, index: int, only: str | None) -> None:
        if fixings := self.memory.series(source).fixings:
            fixing = fixings[-1 - index % len(fixings)]
            codes = {only} & fixing.rates.keys() or set(fixing.rates)
            retracted = fixing.without(fixing.rates.keys() - codes)
            self.decide(QuarantinedFixing(retracted, ("retracted by an operator",), self.now), Outcome.RETRACTED)

    @rule(source=banks, index=numbers, changed=st.dictionaries(currencies, factors, min_size=1, max_size=2))
    def edit_manually(self, source: str, index: int, changed: dict[str, float]) -> None:
        """Change rates in the store without validation."""
        fixings = list(self.memory.series(source).fixings)
        if fixings:
            position = index % len(fixings)
            rates = {
                code: Rate(Decimal(f"{float(rate.value) * changed.get(code, 1):.6g}"), rate.nominal)
                for code, rate in fixings[position].rates.items()
            }
            fixings[position] = replace(fixings[position], rates=rates)
            self.memory.reset(source, fixings)

    @rule(source=banks, index=numbers)
    def remove_manually(self, source: str, index: int) -> None:
        fixings = list(self.memory.series(source).fixings)
        if fixings:
            del fixings[index % len(fixings)]
            self.memory.reset(source, fixings)

    @rule(source=banks, ago=st.integers(0, 12), wrong=errors)
    def import_without_validation(self, source: str, ago: int, wrong: dict[str, float]) -> None:
        self.memory.add(self.document(source, self.today - timedelta(days=ago), wrong))

    @invariant()
    def no_percentage_beyond_the_limit_without_justification(self) -> None:
        self.memory = replace(self.memory, _snapshots={})  # only the snapshots of this state
        snapshots = {item.id: item for item in self.memory.refresh(self.now)}
        for ticker in TICKERS:
            for quote in snapshots[ticker.id].quotes if ticker.id in snapshots else ():
                if quote.percent is not None and abs(quote.percent) > LIMIT:
                    justifications = [*self.acceptances(ticker, quote), *self.confirmations(ticker, quote)]
                    assert justifications, f"{ticker.id} shows {quote}"

    def acceptances(self, ticker: TickerSettings, quote: Quote) -> Iterator[str]:
        """Yield the accepted rates that explain a change: of its new date, or at the same level since."""
        new = self.fixing(quote, quote.date)
        for accepted in self.memory.quarantine[new.source].accepted:
            for code in {quote.code, ticker.base} & accepted.rates.keys():
                level = log_value(new, code) - log_value(accepted, code)
                before = quote.previous_date is None or quote.previous_date < accepted.date
                if before and accepted.date <= new.date and abs(exp(level) - 1) * 100 <= LIMIT:
                    yield f"{code} of {accepted.date} was accepted"

    def confirmations(self, ticker: TickerSettings, quote: Quote) -> Iterator[str]:
        """Yield a line if another bank has both rates."""
        banks = [
            self.banks_near(self.fixing(quote, on), quote.code, ticker.base) for on in (quote.date, quote.previous_date)
        ]
        if all(banks):
            yield f"confirmed by {banks}"

    def banks_near(self, fixing: Fixing, code: str, base: str) -> list[str]:
        """Return the banks with about the same rate for about the same date, published or quarantined."""
        assert not {code, base} & LEVELS_DIFFER
        return [
            key
            for key in SOURCES
            for other in self.documents(key)
            if other.base != fixing.base
            and other.quotes(code, base)
            and abs(other.date - fixing.date) <= MAX_DATE_DISTANCE
            if abs(log(other.cross(code, base)) - log(fixing.cross(code, base))) <= MAX_DISTANCE
        ]

    def documents(self, source: str) -> Iterator[Fixing]:
        """Yield the published fixings of a source, and its quarantined rates merged with those of their date."""
        known = self.memory.series(source)
        yield from known.fixings
        for entry in self.memory.quarantine[source].waiting.values():
            published = known.on(entry.fixing.date)
            yield replace(entry.fixing, rates={**(published.rates if published else {}), **entry.fixing.rates})

    def fixing(self, quote: Quote, on: date | None) -> Fixing:
        assert quote.source is not None
        assert on is not None
        found = self.memory.series(quote.source).on(on)
        assert found is not None
        return found


@pytest.mark.timeout(1800)
@pytest.mark.fuzz
def test_no_percentage_beyond_the_limit_without_justification() -> None:
    """Another bank has both rates, an operator accepted the change, or the factor of a break explains it."""
    run_settings = settings(
        max_examples=settings().max_examples * 2 // 5,  # each example is a sequence of steps
        stateful_step_count=25,
        phases=[Phase.generate, Phase.shrink],  # no explain phase: it takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Operations, settings=run_settings)
