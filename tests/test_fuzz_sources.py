"""Whatever a bank's document has become: it is read as it is written, or refused in one line."""

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
"""Those with an independent reader to compare with."""


@dataclass(frozen=True)
class Mutated:
    """How a document came to be what it is; chance by its seed."""

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
@pytest.mark.parametrize("key", SOURCES)
def test_no_document_is_read_as_what_it_does_not_say(key: str) -> None:
    """No error but `SourceError`, no figure that is not in it, no time and memory beyond the bounds."""

    @given(MUTATED)
    def check(how: Mutated) -> None:
        oracle.check(key, how.of(key))

    check()


@pytest.mark.slow
def test_the_worst_documents_cost_little() -> None:
    """Of the largest size that is read, each in a process of its own: within the bounds of time and memory."""
    told = subprocess.run([sys.executable, "-m", "tests.fuzz.worst"], cwd=ROOT, capture_output=True, check=True).stdout
    measured = [json.loads(line) for line in told.splitlines()]
    assert len(measured) > 30
    for name, _, size, seconds, grown, _ in measured:
        assert 0.95 * SIZE < size < 1.01 * SIZE, name
        assert oracle.Cost(seconds, grown).fits(size), name


def check_all(key: str) -> None:
    outcomes = [oracle.check(key, body)[0] for body in oracle.seeds(key)]
    for body in oracle.seeds(key):
        if fixings := oracle.understood(key, body):
            oracle.whole(key, body, fixings)
    assert oracle.Outcome.ACCEPTED in outcomes


Add = Callable[..., None]
WHOLE = RateTableBuilder.add


def _without_nominal(
    figures: RateTableBuilder, on: date, code: str, value: str, nominal: str = "1", change: str = ""
) -> None:
    WHOLE(figures, on, code, value, "1", change)


def _of_the_row_before(figures: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    before = [rate.value for rates in figures._rates.values() for rate in rates.values()][-1:]
    WHOLE(figures, on, code, str(before[0]).replace(".", figures._mark) if before else value, *more)


def _cut(figures: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    WHOLE(figures, on, code, value[:-1].rstrip(".,") or "7", *more)


def _whole_number(figures: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    WHOLE(figures, on, code, value.replace(",", ".").split(".")[0], *more)


def _without_mark(figures: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    WHOLE(figures, on, code, value.replace(",", "").replace(".", ""), *more)


def _a_day_later(figures: RateTableBuilder, on: date, *more: str) -> None:
    WHOLE(figures, on + timedelta(days=1), *more)


def _under_another_code(figures: RateTableBuilder, on: date, code: str, *more: str) -> None:
    WHOLE(figures, on, {"USD": "EUR", "EUR": "USD"}.get(code, code), *more)


def _change_without_sign(
    figures: RateTableBuilder, on: date, code: str, value: str, nominal: str = "1", change: str = ""
) -> None:
    WHOLE(figures, on, code, value, nominal, change.lstrip("-"))


def _only_the_first(figures: RateTableBuilder, on: date, code: str, value: str, *more: str) -> None:
    if not any(figures._rates.values()):
        WHOLE(figures, on, code, value, *more)


FAULTS: dict[Add, AbstractSet[str]] = {
    _without_nominal: {"nbk", "cbr", "nbu", "cbu", "nbrb", "nbg", "nbm", "cba", "nbt", "cnb", "bnr", "mnb", "recorded"},
    _only_the_first: SOURCES.keys(),
    **{one: SOURCES.keys() for one in (_of_the_row_before, _cut, _whole_number, _without_mark, _under_another_code)},
    _a_day_later: SOURCES.keys() - {"recorded"},  # which looks its receipts up by the date
    _change_without_sign: {key for key, adapter in SOURCES.items() if adapter.publishes_changes},
}


@pytest.mark.parametrize(("fault", "key"), [(fault, key) for fault, keys in FAULTS.items() for key in sorted(keys)])
def test_a_parser_that_reads_something_else_is_found_out(fault: Add, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that loses a nominal, digits or a sign, or takes another figure, date or code, fails at a good document."""
    check_all(key)
    monkeypatch.setattr(RateTableBuilder, "add", fault)
    with pytest.raises(AssertionError, match=r"taken as .*, written|left out"):
        check_all(key)


@pytest.mark.parametrize("key", SOURCES)
def test_a_parser_that_takes_a_rate_upside_down_is_found_out(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units of one currency for the other, or the other way round: each bank has its own way, and keeps it."""
    check_all(key)
    whole = RawResponse.fixing

    def inverted(
        payload: RawResponse, day: date, rates: Mapping[str, Rate], direction: Quotation = Quotation.DIRECT
    ) -> Fixing:
        other = {Quotation.DIRECT: Quotation.INVERSE, Quotation.INVERSE: Quotation.DIRECT}[direction]
        return whole(payload, day, rates, other)

    monkeypatch.setattr(RawResponse, "fixing", inverted)
    with pytest.raises(AssertionError, match=r"is (direct|inverse), not"):
        check_all(key)


@pytest.mark.parametrize("key", SOURCES)
def test_parser_that_takes_a_broken_document_for_nothing_is_detected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty body, a document with figures or one that is no document is never taken for nothing published."""
    (body, *_) = (one for one in oracle.seeds(key) if oracle.understood(key, one))
    monkeypatch.setattr(type(SOURCES[key]), "parse", lambda *_: [])
    for broken in (body, *([] if key == "ecb" else [b"", b" \r\n"])):
        with pytest.raises(AssertionError, match="taken for nothing published"):
            oracle.check(key, broken)


def test_a_parser_that_reads_a_number_up_to_a_comment_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an element ends for lxml where a comment begins; the figure goes on."""
    (body, *_) = oracle.seeds("nbk")
    cut = body.replace(b"478.77", b"47<!-- -->8.77")
    assert cut != body
    assert oracle.check("nbk", cut)[0] is oracle.Outcome.REFUSED
    monkeypatch.setattr(parsing, "content", lambda _, element: (element.text or "").strip())
    with pytest.raises(AssertionError, match=r"USD: taken as .*'47'.*, written .*'478.77'"):
        oracle.check("nbk", cut)
