"""Properties of every document: parsed exactly or rejected, quickly and with little memory."""

import resource
import time
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from functools import cache
from pathlib import Path

from service.domain.fixing import Fixing, Quotation, Series
from service.errors import LONGEST, NotUnderstood
from service.sources.adapter import ParsedResponse, RawResponse
from service.sources.banks import SOURCES
from service.sources.banks import recorded as shipped
from service.state.memory import KEEP
from service.validation.rules import ValidationContext, judge_all
from tests.fuzz import independent
from tests.sources.answers import CONFIGURED, documents
from tests.support.fixings import FETCHED
from tests.support.machine import fits

RULES = ValidationContext(date(2026, 12, 31), jump=Fraction(15, 100))


class Outcome(StrEnum):
    """The result of a document."""

    REFUSED = "refused"
    NOTHING = "nothing"
    WAITS = "waits"
    ACCEPTED = "accepted"


@dataclass(frozen=True)
class Cost:
    """The cost of parsing: CPU seconds, and megabytes above the previous peak of the process."""

    seconds: float
    grown: float

    def fits(self, size: int) -> bool:
        """Return whether a document of `size` bytes may cost that: a second per megabyte, and 64 times its size."""
        return fits(self.seconds, 0.25 + size / 1e6) and self.grown <= 16 + 64 * size / 1e6


@cache
def seeds(key: str) -> tuple[bytes, ...]:
    """Return the documents that are mutated."""
    if key == "recorded":
        rows = (Path(shipped.__file__).parent / "recorded.csv").read_bytes().splitlines(keepends=True)
        return (b"".join(row for row in rows if row[:4] == b"date" or row[11:14] in (b"USD", b"EUR", b"RUB", b"IRR")),)
    return tuple(path.read_bytes() for path in documents(key))


@cache
def before(key: str) -> Series:
    """Return the publication before the source's first document, to validate with."""
    first = min(
        (fixing for body in seeds(key) for fixing in parsed_or_empty(key, body)), key=lambda fixing: fixing.date
    )
    return Series((payload(key, b"").fixing(first.date - timedelta(days=1), first.rates, first.direction),))


def payload(key: str, body: bytes) -> RawResponse:
    return RawResponse(key, CONFIGURED[key].base, "http://bank.test/", body, FETCHED)


def parsed_or_empty(key: str, body: bytes) -> ParsedResponse:
    try:
        return SOURCES[key].parse(payload(key, body))
    except NotUnderstood:
        return ParsedResponse()


def read(key: str, body: bytes) -> tuple[ParsedResponse, Cost, str]:
    """Parse a document as the service does; return its fixings, the cost, and the error if it was rejected.

    One that costs too much is parsed up to twice more, and the least time counts: a busy machine takes time away from
    a process for moments.
    """
    peak_before = peak_memory()
    fixings, cost, error_text = _read_once(key, body)
    for _ in range(2):
        if cost.fits(len(body)):
            break
        cost = min(cost, _read_once(key, body)[1], key=lambda measured: measured.seconds)
    return fixings, Cost(cost.seconds, peak_memory() - peak_before), error_text


def _read_once(key: str, body: bytes) -> tuple[ParsedResponse, Cost, str]:
    peak_before, started = peak_memory(), time.thread_time()
    error_text, fixings = "", ParsedResponse()
    try:
        fixings = SOURCES[key].parse(payload(key, body))
    except NotUnderstood as error:
        error_text = str(error)
    return fixings, Cost(time.thread_time() - started, peak_memory() - peak_before), error_text


def check(key: str, body: bytes) -> tuple[Outcome, Cost]:
    """Parse a document and verify that every parsed rate is in it, if the source has an independent parser."""
    fixings, cost, error_text = read(key, body)
    assert cost.fits(len(body)), cost
    if error_text:
        assert error_text.isprintable(), error_text
        assert len(error_text) < LONGEST + 100, error_text
        return Outcome.REFUSED, cost
    if not fixings:
        is_empty = independent.is_empty(key, body) if key in independent.READ else body.strip()
        assert is_empty, "taken for nothing published, but it has rates"
        return Outcome.NOTHING, cost
    check_origin(key, fixings)
    if key in independent.READ:
        compare(key, body, fixings)
    judged = judge_all(fixings, before(key), RULES, KEEP)
    return (Outcome.ACCEPTED if any(judgement.accepted for judgement in judged) else Outcome.WAITS), cost


def check_origin(key: str, fixings: ParsedResponse) -> None:
    """Verify what the document does not decide: source, base and direction; and that no date occurs twice."""
    inverse = Quotation.INVERSE if key in ("ecb", "boe", "rba", "fred") else Quotation.DIRECT
    assert len({fixing.date for fixing in fixings}) == len(fixings)
    for fixing in fixings:
        assert (fixing.source, fixing.base) == (key, CONFIGURED[key].base)
        assert fixing.direction is inverse, f"{fixing.date} is {fixing.direction}, not {inverse}"


def compare(key: str, body: bytes, fixings: ParsedResponse) -> None:
    """Compare rates with those of the independent parser: digits, nominal, change, date.

    If something was left out, it may be the other of two rates of a currency, or the change of a rate.
    """
    expected = independent.read(key, body)
    for fixing in fixings:
        for code, rate in fixing.rates.items():
            parsed, candidates = (
                independent.ParsedRate(*(rate.value, rate.nominal, rate.change)),
                expected.get((fixing.date, code), []),
            )
            message = f"{fixing.date} {code}: taken as {parsed}, written {candidates}"
            if fixings.left_out:
                without_changes = [candidate._replace(change=None) for candidate in candidates]
                assert any(parsed.same(candidate) for candidate in [*candidates, *without_changes]), message
            else:
                assert len(candidates) == 1, message
                assert parsed.same(candidates[0]), message


def check_complete(key: str, body: bytes, fixings: list[Fixing]) -> None:
    """Verify that no rate of a bank's own document is omitted."""
    parsed = {(fixing.date, code) for fixing in fixings for code in fixing.rates}
    assert parsed == independent.read(key, body).keys(), "rates are left out, or parsed rates are not in the document"


def peak_memory() -> float:
    """Return the peak memory of the process, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
