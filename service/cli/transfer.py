"""All fixings as one file, to move between installations: NDJSON, compressed by gzip.

The first line says what it is, each further one is a fixing as it is stored, with its revisions, by source and
date. Equal stores make equal files.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from service.domain.bounds import date_errors, structural_errors, summary
from service.domain.fixing import Fixing
from service.errors import TickerError
from service.storage.codecs import FIXING, problem
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing

HEADER: Final = {"format": "currency-ticker fixings", "version": 1}
_BATCH: Final = 250
_LONGEST: Final = 1_000_000
"""Bytes of a line: a fixing of 75 currencies with ten revisions has a twentieth of it."""


async def export(store: Store, path: Path) -> tuple[int, int]:
    """Write every fixing of the store, and return how many, and how many could not be read.

    The file is there whole or not at all.
    """
    count, there, unfinished = 0, 0, path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(json.dumps(HEADER).encode() + b"\n")
            for source in await store.sources():
                days = await store.dates(source)
                there += await store.count(source)
                for at in range(0, len(days), _BATCH):
                    for fixing in await store.fixings(source, days[at : at + _BATCH]):
                        file.write(FIXING.adapter.dump_json(fixing) + b"\n")
                        count += 1
        unfinished.replace(path)
    except OSError as error:
        raise TickerError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count, there - count


async def load(store: Store, path: Path, now: datetime) -> tuple[int, int, int]:
    """Take in the fixings of a file; return how many are new, known, and different from what is known, which stays.

    What an operator has rejected here is different too, and not taken in.
    The file is read to its end before anything is written: a bad line costs nothing. Raises `TickerError`.
    """
    for _ in _read(path, store.last_date):
        pass
    new = known = different = 0
    for source, fixings in groupby(_read(path, store.last_date), key=lambda fixing: fixing.source):
        rejected = Quarantine.of([], await store.decisions(source))
        while batch := list(islice(fixings, _BATCH)):
            waiting = await store.waiting(source)
            stored = {one.date: one for one in await store.fixings(source, [one.date for one in batch])}
            there = set(await store.dates(source))  # also what this version cannot read
            missing = [one for one in batch if one.date not in there and not rejected.is_rejected(one)]
            if missing:
                await store.save(*missing)
            for ended in _ended(waiting, missing, now):
                await store.record_decision(ended)
            same = sum(one.date in stored and stored[one.date].same_figures(one) for one in batch)
            new, known, different = (
                new + len(missing),
                known + same,
                different + len(batch) - len(missing) - same,
            )
    return new, known, different


def _ended(waiting: list[QuarantinedFixing], taken: list[Fixing], now: datetime) -> Iterator[QuarantineDecision]:
    """Yield how the waits end whose dates have a fixing now."""
    by_day = {one.date: one for one in taken}
    for one in waiting:
        if fixing := by_day.get(one.fixing.date):
            same = fixing.same_figures(one.fixing)
            yield QuarantineDecision(one, Outcome.CONFIRMED if same else Outcome.WITHDRAWN, now)


def _read(path: Path, last_date: Callable[[str], date]) -> Iterator[Fixing]:
    """Yield the fixings of a file, each within the bounds; `last_date` returns the last possible date of a source."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_LONGEST):
                number += 1
                if number == 1:
                    if json.loads(line) != HEADER:
                        raise TickerError(f"{path}: is no export of fixings, version {HEADER['version']}")
                    continue
                fixing = FIXING.adapter.validate_json(line)
                if bad := structural_errors(fixing) or date_errors(fixing.date, last_date(fixing.source)):
                    raise TickerError(f"{path}: line {number}: {summary(bad)}")
                yield fixing
    except (OSError, EOFError, zlib.error) as error:
        raise TickerError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        raise TickerError(f"{path}: line {number}: is no fixing: {problem(error)}") from None
    except (ValueError, RecursionError):
        raise TickerError(f"{path}: line {number}: is not JSON") from None
    if not number:
        raise TickerError(f"{path}: is empty")
