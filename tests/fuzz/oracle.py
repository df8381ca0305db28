"""What holds of every document, whatever it is: read as it is written, or refused; quickly, and in little memory."""

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
from service.sources.adapter import RawResponse
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
    """What became of a document."""

    REFUSED = "refused"
    NOTHING = "nothing"
    WAITS = "waits"
    ACCEPTED = "accepted"


@dataclass(frozen=True)
class Cost:
    """What reading one took: seconds of the processor, and megabytes that the process had never had before."""

    seconds: float
    grown: float

    def fits(self, size: int) -> bool:
        """Whether a document of so many bytes may cost that: a second for a megabyte, and 64 times its size."""
        return fits(self.seconds, 0.25 + size / 1e6) and self.grown <= 16 + 64 * size / 1e6


@cache
def seeds(key: str) -> tuple[bytes, ...]:
    """Return the documents that the mutated ones are made of."""
    if key == "recorded":
        rows = (Path(shipped.__file__).parent / "recorded.csv").read_bytes().splitlines(keepends=True)
        return (b"".join(row for row in rows if row[:4] == b"date" or row[11:14] in (b"USD", b"EUR", b"RUB", b"IRR")),)
    return tuple(path.read_bytes() for path in documents(key))


@cache
def before(key: str) -> Series:
    """Return what the source said the day before its first document: what an odd one is held against."""
    first = min((fixing for body in seeds(key) for fixing in understood(key, body)), key=lambda one: one.date)
    return Series((payload(key, b"").fixing(first.date - timedelta(days=1), first.rates, first.direction),))


def payload(key: str, body: bytes) -> RawResponse:
    return RawResponse(key, CONFIGURED[key].base, "http://bank.test/", body, FETCHED)


def understood(key: str, body: bytes) -> list[Fixing]:
    try:
        return SOURCES[key].parse(payload(key, body))
    except NotUnderstood:
        return []


def read(key: str, body: bytes) -> tuple[list[Fixing], Cost, str]:
    """Read a document as the service does; return what it holds, what that cost, and why it was refused."""
    peak, begun = most(), time.thread_time()
    told, fixings = "", list[Fixing]()
    try:
        fixings = SOURCES[key].parse(payload(key, body))
    except NotUnderstood as error:
        told = str(error)
    return fixings, Cost(time.thread_time() - begun, most() - peak), told


def check(key: str, body: bytes) -> tuple[Outcome, Cost]:
    """Read a document, and see that all of it that is taken is what is written there."""
    fixings, cost, told = read(key, body)
    assert cost.fits(len(body)), cost
    if told:
        assert told.isprintable(), told
        assert len(told) < LONGEST + 100, told
        return Outcome.REFUSED, cost
    if not fixings:
        assert independent.says_nothing(key, body), "taken for nothing published, and does not say so"
        return Outcome.NOTHING, cost
    hold(key, body, fixings)
    judged = judge_all(fixings, before(key), RULES, KEEP)
    return (Outcome.ACCEPTED if any(one.accepted for one in judged) else Outcome.WAITS), cost


def hold(key: str, body: bytes, fixings: list[Fixing]) -> None:
    """Hold figures against what another reader finds in the document: digits, nominal, change, date, direction."""
    written = independent.read(key, body)
    inverse = Quotation.INVERSE if key in ("ecb", "boe") else Quotation.DIRECT
    assert len({fixing.date for fixing in fixings}) == len(fixings)
    for fixing in fixings:
        assert (fixing.source, fixing.base) == (key, CONFIGURED[key].base)
        assert fixing.direction is inverse, f"{fixing.date} is {fixing.direction}, not {inverse}"
        for code, rate in fixing.rates.items():
            taken, found = (
                independent.Figure(*(rate.value, rate.nominal, rate.change)),
                written.get((fixing.date, code), []),
            )
            assert len(found) == 1, f"{fixing.date} {code}: taken as {taken}, written {found}"
            assert taken.same(found[0]), f"{fixing.date} {code}: taken as {taken}, written {found}"


def whole(key: str, body: bytes, fixings: list[Fixing]) -> None:
    """See that of a document as the bank writes it nothing is left out that another reader finds there."""
    taken = {(fixing.date, code) for fixing in fixings for code in fixing.rates}
    assert taken == independent.read(key, body).keys(), "figures are left out, or taken that are not written"


def most() -> float:
    """Return the most memory that the process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
