"""The last check before anything is shown: no percentage beyond the limit without its ground, whatever happened before.

Random sequences of all operations that change what is known of a source: publications, revisions, inserted dates,
decisions of an operator, a series that was edited by hand. What is shown is compared with what was published and
decided, not with the cross check.
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
NEAR = 0.065
"""The largest distance (a difference of logarithms) at which another bank may confirm a rate: 5 % and rounding."""
AROUND = timedelta(days=9)
"""How far the dates of two banks for the same market day may lie apart: 5 days, a weekend, and a publication's lag."""

banks = st.sampled_from(sorted(SOURCES))
currencies = st.sampled_from(sorted(IN_DOLLARS))
factors = st.sampled_from(
    [1.0, 1.002, 0.995, 1.05, 1.12, 0.9, 1.149, 0.86, 1.2, 0.8, 1.36, 2.1, 0.45, 10.0, 0.1, 1000.0]
)
units = st.sampled_from([(), (), (None,), (Decimal(1000),), (Decimal("0.1"),)])
"""Factors of a break declared with an accepted rate: none is declared, the factor is unknown, or it is known."""
lies = st.dictionaries(currencies, factors, max_size=3) | st.builds(lambda by: dict.fromkeys(IN_DOLLARS, by), factors)
numbers = st.integers(0, 50)


class Operations(RuleBasedStateMachine):
    """One board, with four sources; `truth` is what one unit of each currency is worth today, in dollars."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = MemoryState(SETTINGS)
        self.today = START
        self.truth = dict(IN_DOLLARS)
        self.count = 0
        self.decisions: dict[str, list[QuarantineDecision]] = {key: [] for key in SOURCES}

    @property
    def now(self) -> datetime:
        return datetime(self.today.year, self.today.month, self.today.day, 12, tzinfo=UTC) + timedelta(
            seconds=self.count
        )

    def document(self, source: str, on: date, wrong: dict[str, float], missing: frozenset[str] = frozenset()) -> Fixing:
        """Return what a source would publish of a date: the truth of today, but for what is `wrong` or `missing`."""
        base, codes = SOURCES[source]
        self.count += 1
        rates = {}
        for code in codes:
            if code not in missing:
                value = self.truth[code] * wrong.get(code, 1.0) / (self.truth[base] * wrong.get(base, 1.0))
                rates[code] = Rate(Decimal(f"{1 / value if source == 'ecb' else value:.6g}"))
        direction = Quotation.INVERSE if source == "ecb" else Quotation.DIRECT
        return Fixing(source, base, on, rates, "http://bank", self.now, f"digest {self.count}", direction)

    def publish(self, source: str, *documents: Fixing) -> None:
        """Judge and take in, as a poll does."""
        wanted = sorted((one for one in documents if one.rates), key=lambda one: one.date)
        judged = judge_all(wanted, self.memory.series(source), self.memory.context(source, self.now), KEEP)
        note(f"  {source}: {[(str(one.fixing.date), one.verdict.value, one.reasons) for one in judged]}")
        self.memory.apply_judgements(source, judged, self.now)

    @initialize(days=st.integers(0, 12), told=st.sets(banks, min_size=1))
    def history(self, days: int, told: set[str]) -> None:
        """Let some sources publish the truth for some days."""
        self.today += timedelta(days=days)
        for source in sorted(told):
            for number in range(days):
                self.truth["USD"] *= 1.0005
                self.publish(source, self.document(source, START + timedelta(days=number), {}))

    @rule(days=st.integers(1, 5))
    def wait(self, days: int) -> None:
        self.today += timedelta(days=days)

    @rule(code=currencies, by=factors)
    def market_moves(self, code: str, by: float) -> None:
        self.truth[code] *= by

    @rule(told=st.sets(banks, min_size=1))
    def publish_the_truth(self, told: set[str]) -> None:
        for source in sorted(told):
            self.publish(source, self.document(source, self.today, {}))

    @rule(source=banks, wrong=lies, missing=st.frozensets(currencies, max_size=2), ago=st.integers(-1, 12))
    def publish_revise_or_insert(self, source: str, wrong: dict[str, float], missing: frozenset[str], ago: int) -> None:
        self.publish(source, self.document(source, self.today - timedelta(days=ago), wrong, missing))

    @rule(source=banks, steps=st.lists(st.tuples(st.integers(0, 12), lies), min_size=2, max_size=5))
    def publish_many_dates(self, source: str, steps: list[tuple[int, dict[str, float]]]) -> None:
        documents = {
            self.today - timedelta(days=ago): self.document(source, self.today - timedelta(days=ago), wrong)
            for ago, wrong in steps
        }
        self.publish(source, *documents.values())

    @rule(source=banks, code=currencies, by=factors)
    def freeze(self, source: str, code: str, by: float) -> None:
        """Publish the latest document under today's date; one rate may have a noisy digit."""
        if latest := self.memory.series(source).latest:
            self.count += 1
            rates = {
                one: Rate(Decimal(f"{float(rate.value) * by:.6g}"), rate.nominal) if one == code else rate
                for one, rate in latest.rates.items()
            }
            self.publish(source, replace(latest, date=self.today, rates=rates, digest=f"digest {self.count}"))

    @property
    def held(self) -> list[QuarantinedFixing]:
        return [one for key in sorted(SOURCES) for one in self.memory.quarantine[key].waiting.values()]

    def decide(self, waiting: QuarantinedFixing, outcome: Outcome, *breaks: Break) -> None:
        """Take in a decision as the service does, which reads all of them from the store."""
        source = waiting.fixing.source
        self.decisions[source].insert(0, QuarantineDecision(waiting, outcome, self.now, breaks))
        entries = []
        for one in self.memory.quarantine[source].waiting.values():
            decided = waiting.fixing.rates if one.fixing.date == waiting.fixing.date else {}
            left = one.fixing.without(decided)
            if left.rates:
                entries.append(replace(one, fixing=left))
        self.memory.quarantine[source] = Quarantine.of(entries, self.decisions[source])
        self.memory.drop_rejected(source)

    @precondition(lambda self: self.held)
    @rule(which=numbers, only=st.none() | currencies, factors_of_break=units)
    def accept(self, which: int, only: str | None, factors_of_break: tuple[Decimal | None, ...]) -> None:
        waiting = self.held[which % len(self.held)]
        codes = {only} & waiting.fixing.rates.keys() or set(waiting.fixing.rates)
        part = replace(waiting, fixing=waiting.fixing.without(waiting.fixing.rates.keys() - codes))
        breaks = [Break(code, part.fixing.date, factor) for code in part.fixing.rates for factor in factors_of_break]
        published = self.memory.series(part.fixing.source).on(part.fixing.date)
        rates = {**(published.rates if published else {}), **part.fixing.rates}
        self.decide(part, Outcome.ACCEPTED, *breaks)
        self.memory.add(replace(part.fixing, rates=rates))

    @precondition(lambda self: self.held)
    @rule(which=numbers)
    def reject(self, which: int) -> None:
        self.decide(self.held[which % len(self.held)], Outcome.REJECTED)

    @rule(source=banks, which=numbers, only=st.none() | currencies)
    def retract(self, source: str, which: int, only: str | None) -> None:
        if fixings := self.memory.series(source).fixings:
            fixing = fixings[-1 - which % len(fixings)]
            codes = {only} & fixing.rates.keys() or set(fixing.rates)
            taken = fixing.without(fixing.rates.keys() - codes)
            self.decide(QuarantinedFixing(taken, ("retracted by an operator",), self.now), Outcome.RETRACTED)

    @rule(source=banks, which=numbers, changed=st.dictionaries(currencies, factors, min_size=1, max_size=2))
    def edit_by_hand(self, source: str, which: int, changed: dict[str, float]) -> None:
        """Change rates in the store, without any judgement."""
        fixings = list(self.memory.series(source).fixings)
        if fixings:
            at = which % len(fixings)
            rates = {
                code: Rate(Decimal(f"{float(rate.value) * changed.get(code, 1):.6g}"), rate.nominal)
                for code, rate in fixings[at].rates.items()
            }
            fixings[at] = replace(fixings[at], rates=rates)
            self.memory.reset(source, fixings)

    @rule(source=banks, which=numbers)
    def remove_by_hand(self, source: str, which: int) -> None:
        fixings = list(self.memory.series(source).fixings)
        if fixings:
            del fixings[which % len(fixings)]
            self.memory.reset(source, fixings)

    @rule(source=banks, ago=st.integers(0, 12), wrong=lies)
    def import_without_judgement(self, source: str, ago: int, wrong: dict[str, float]) -> None:
        self.memory.add(self.document(source, self.today - timedelta(days=ago), wrong))

    @invariant()
    def no_percentage_beyond_the_limit_without_its_ground(self) -> None:
        self.memory = replace(self.memory, _snapshots={})  # those of this state alone
        made = {one.id: one for one in self.memory.refresh(self.now)}
        for ticker in TICKERS:
            for quote in made[ticker.id].quotes if ticker.id in made else ():
                if quote.percent is not None and abs(quote.percent) > LIMIT:
                    grounds = [*self.acceptances(ticker, quote), *self.confirmations(ticker, quote)]
                    assert grounds, f"{ticker.id} shows {quote}"

    def acceptances(self, ticker: TickerSettings, quote: Quote) -> Iterator[str]:
        """Yield the accepted rates that explain a change: of its new date, or still at that level."""
        new = self.fixing(quote, quote.date)
        for accepted in self.memory.quarantine[new.source].accepted:
            for code in {quote.code, ticker.base} & accepted.rates.keys():
                level = log_value(new, code) - log_value(accepted, code)
                before = quote.previous_date is None or quote.previous_date < accepted.date
                if before and accepted.date <= new.date and abs(exp(level) - 1) * 100 <= LIMIT:
                    yield f"{code} of {accepted.date} was accepted"

    def confirmations(self, ticker: TickerSettings, quote: Quote) -> Iterator[str]:
        """Yield that another bank has both rates."""
        banks = [self.near(self.fixing(quote, on), quote.code, ticker.base) for on in (quote.date, quote.previous_date)]
        if all(banks):
            yield f"confirmed by {banks}"

    def near(self, fixing: Fixing, code: str, base: str) -> list[str]:
        """Return the banks that have, published or in quarantine, about the same rate for about the same date."""
        assert not {code, base} & LEVELS_DIFFER
        return [
            key
            for key in SOURCES
            for other in self.documents(key)
            if other.base != fixing.base and other.quotes(code, base) and abs(other.date - fixing.date) <= AROUND
            if abs(log(other.cross(code, base)) - log(fixing.cross(code, base))) <= NEAR
        ]

    def documents(self, source: str) -> Iterator[Fixing]:
        """Yield what a source has published, and what is in quarantine together with what is published of its date."""
        known = self.memory.series(source)
        yield from known.fixings
        for held in self.memory.quarantine[source].waiting.values():
            published = known.on(held.fixing.date)
            yield replace(held.fixing, rates={**(published.rates if published else {}), **held.fixing.rates})

    def fixing(self, quote: Quote, on: date | None) -> Fixing:
        assert quote.source is not None
        assert on is not None
        found = self.memory.series(quote.source).on(on)
        assert found is not None
        return found


@pytest.mark.timeout(1800)
@pytest.mark.fuzz
def test_no_percentage_beyond_the_limit_is_shown_without_confirmation_or_decision() -> None:
    """Another bank has both rates, an operator accepted the change, or the factor of a break explains it."""
    chosen = settings(
        max_examples=settings().max_examples * 2 // 5,  # each is a sequence of many
        stateful_step_count=25,
        phases=[Phase.generate, Phase.shrink],  # no tracing of what explains a failure: that takes minutes
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Operations, settings=chosen)
