"""Fuzz the documents of banks: each is parsed correctly or refused with one line."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.fixing import Fixing, Quotation, Rate
from service.sources import parsing
from service.sources.adapter import RawResponse
from service.sources.banks import SOURCES as ADAPTERS
from service.sources.rate_table import RateTableBuilder
from tests.conftest import ROOT
from tests.fuzz import oracle
from tests.fuzz.independent import READ
from tests.fuzz.mutations import BY_NAME, mutated
from tests.fuzz.worst import SIZE

SOURCES = {key: ADAPTERS[key] for key in ADAPTERS if key in READ}
"""Adapters with an independent parser to compare with."""


@dataclass(frozen=True)
class Mutated:
    """How a document was mutated; `seed` is that of the random numbers."""

    document: int
    names: tuple[str, ...]
    seed: int

    def of(self, key: str) -> bytes:
        seeds = oracle.seeds(key)
        return mutated(seeds[self.document % len(seeds)], list(self.names), Random(self.seed))  # noqa: S311 - no secret


MUTATED = st.builds(
    Mutated,
    st.integers(0, 2),
    st.lists(st.sampled_from(sorted(BY_NAME)), min_size=1, max_size=3).map(tuple),
    st.integers(0, 2**32),
)


@pytest.mark.fuzz
@pytest.mark.parametrize("key", ADAPTERS)
def test_mutated_document_is_read_correctly_or_refused(key: str) -> None:
    """No error but `SourceError`, no time or memory beyond the bounds, and no rate that is not in the document.

    The last only for adapters with an independent parser.
    """

    @given(MUTATED)
    def check(how: Mutated) -> None:
        oracle.check(key, how.of(key))

    check()


@pytest.mark.slow
def test_cost_of_the_largest_documents_is_bounded() -> None:
    """Documents of the largest accepted size, each in a process of its own, stay within the bounds."""
    output = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.worst"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    measured = [json.loads(line) for line in output.splitlines()]
    assert len(measured) > 30
    for name, _, size, seconds, grown, _ in measured:
        assert 0.95 * SIZE < size < 1.01 * SIZE, name
        assert oracle.Cost(seconds, grown).fits(size), name


def check_all(key: str) -> None:
    outcomes = [oracle.check(key, body)[0] for body in oracle.seeds(key)]
    for body in oracle.seeds(key):
        if key in READ and (fixings := oracle.parsed_or_empty(key, body)):
            oracle.check_complete(key, body, fixings)
    assert oracle.Outcome.ACCEPTED in outcomes


Add = Callable[..., None]
ORIGINAL_ADD = RateTableBuilder.add


def _without_nominal(
    table: RateTableBuilder, on: date, code: str, value: str, nominal: str = "1", change: str = ""
) -> None:
    ORIGINAL_ADD(table, on, code, value, "1", change)


def _of_previous_row(table: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    before = [rate.value for rates in table._rates.values() for rate in rates.values()][-1:]
    ORIGINAL_ADD(table, on, code, str(before[0]).replace(".", table._mark) if before else value, *more)


def _truncated(table: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    ORIGINAL_ADD(table, on, code, value[:-1].rstrip(".,") or "7", *more)


def _integer_part(table: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    ORIGINAL_ADD(table, on, code, value.replace(",", ".").split(".")[0], *more)


def _without_separator(table: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    ORIGINAL_ADD(table, on, code, value.replace(",", "").replace(".", ""), *more)


def _next_day(table: RateTableBuilder, on: date, *more: str) -> None:
    ORIGINAL_ADD(table, on + timedelta(days=1), *more)


def _other_code(table: RateTableBuilder, on: date, code: str, *more: str) -> None:
    ORIGINAL_ADD(table, on, {"USD": "EUR", "EUR": "USD"}.get(code, code), *more)


def _change_without_sign(
    table: RateTableBuilder, on: date, code: str, value: str, nominal: str = "1", change: str = ""
) -> None:
    ORIGINAL_ADD(table, on, code, value, nominal, change.lstrip("-"))


def _only_first_rate(table: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    if not any(table._rates.values()):
        ORIGINAL_ADD(table, on, code, value, *more)


FAULTS: dict[Add, AbstractSet[str]] = {
    _without_nominal: SOURCES.keys() - {"ecb", "nbkr", "nbp", "boc", "boe", "rb", "frankfurter"},
    _only_first_rate: SOURCES.keys(),
    **{
        fault: SOURCES.keys()
        for fault in (_of_previous_row, _truncated, _integer_part, _without_separator, _other_code)
    },
    _next_day: SOURCES.keys() - {"recorded"},  # it finds its receipts by the date
    _change_without_sign: {key for key, adapter in SOURCES.items() if adapter.publishes_changes},
}


@pytest.mark.parametrize(("fault", "key"), [(fault, key) for fault, keys in FAULTS.items() for key in sorted(keys)])
def test_faulty_parser_is_detected(fault: Add, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that loses a nominal, digits or a sign, or reads another rate, date or code, is detected."""
    check_all(key)
    monkeypatch.setattr(RateTableBuilder, "add", fault)
    with pytest.raises(AssertionError, match=r"taken as .*, written|left out"):
        check_all(key)


@pytest.mark.parametrize("key", ADAPTERS)
def test_parser_that_inverts_rates_is_detected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that inverts the quotation of its bank (direct or inverse) fails."""
    check_all(key)
    original = RawResponse.fixing

    def inverted(
        payload: RawResponse, day: date, rates: Mapping[str, Rate], direction: Quotation = Quotation.DIRECT
    ) -> Fixing:
        other = {Quotation.DIRECT: Quotation.INVERSE, Quotation.INVERSE: Quotation.DIRECT}[direction]
        return original(payload, day, rates, other)

    monkeypatch.setattr(RawResponse, "fixing", inverted)
    with pytest.raises(AssertionError, match=r"is (direct|inverse), not"):
        check_all(key)


@pytest.mark.parametrize("key", SOURCES)
def test_parser_that_takes_a_broken_document_for_nothing_is_detected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty body, a document with figures or one that is no document is never taken for nothing published."""
    (body, *_) = (one for one in oracle.seeds(key) if oracle.parsed_or_empty(key, one))
    monkeypatch.setattr(type(SOURCES[key]), "parse", lambda *_: [])
    for broken in (body, *([] if key == "ecb" else [b"", b" \r\n"])):
        with pytest.raises(AssertionError, match="taken for nothing published"):
            oracle.check(key, broken)


def test_parser_that_stops_at_a_comment_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """For lxml, the text of an element ends at a comment; the number continues after it."""
    (body, *_) = oracle.seeds("nbk")
    cut = body.replace(b"478.77", b"47<!-- -->8.77")
    assert cut != body
    oracle.check("nbk", cut)
    assert all("USD" not in fixing.rates for fixing in oracle.parsed_or_empty("nbk", cut))
    monkeypatch.setattr(parsing, "content", lambda _, element: (element.text or "").strip())
    with pytest.raises(AssertionError, match=r"USD: taken as .*'47'.*, written .*'478.77'"):
        oracle.check("nbk", cut)
