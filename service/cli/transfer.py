"""Export and import all fixings as one file: NDJSON, compressed with gzip.

The first line is a header; each other line is one fixing as stored, with its revisions, ordered by source and date.
Equal stores produce identical files.
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
"""Maximum line length in bytes: 20 times that of a fixing of 75 currencies with ten revisions."""


async def export(store: Store, path: Path) -> tuple[int, int]:
    """Write every stored fixing to a file; return how many were written, and how many could not be read.

    The file is written completely or not at all. Raises `TickerError` if it cannot be written.
    """
    count, stored, unfinished = 0, 0, path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            file.write(json.dumps(HEADER).encode() + b"\n")
            for source in await store.sources():
                days = await store.dates(source)
                stored += await store.count(source)
                for start in range(0, len(days), _BATCH):
                    for fixing in await store.fixings(source, days[start : start + _BATCH]):
                        file.write(FIXING.adapter.dump_json(fixing) + b"\n")
                        count += 1
        unfinished.replace(path)
    except OSError as error:
        raise TickerError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return count, stored - count


async def load(store: Store, path: Path, now: datetime) -> tuple[int, int, int]:
    """Import the fixings of a file; return how many are new, known, and skipped.

    A fixing is skipped if a different one is stored for its date, or if an operator has rejected its rates here.
    The whole file is validated before anything is written. Raises `TickerError` if it is invalid.
    """
    for _ in _read(path, store.last_date):
        pass
    new_count = known_count = skipped_count = 0
    for source, fixings in groupby(_read(path, store.last_date), key=lambda fixing: fixing.source):
        rejected = Quarantine.of([], await store.decisions(source))
        while batch := list(islice(fixings, _BATCH)):
            quarantined = await store.waiting(source)
            stored = {fixing.date: fixing for fixing in await store.fixings(source, [fixing.date for fixing in batch])}
            stored_dates = set(await store.dates(source))  # including fixings that this version cannot read
            new = [fixing for fixing in batch if fixing.date not in stored_dates and not rejected.is_rejected(fixing)]
            if new:
                await store.save(*new)
            for decision in _decisions(quarantined, new, now):
                await store.record_decision(decision)
            known = [fixing for fixing in batch if fixing.date in stored and stored[fixing.date].same_figures(fixing)]
            new_count += len(new)
            known_count += len(known)
            skipped_count += len(batch) - len(new) - len(known)
    return new_count, known_count, skipped_count


def _decisions(
    quarantined: list[QuarantinedFixing], imported: list[Fixing], now: datetime
) -> Iterator[QuarantineDecision]:
    """Yield the decisions that end the quarantine of dates for which a fixing was imported."""
    by_date = {fixing.date: fixing for fixing in imported}
    for entry in quarantined:
        if fixing := by_date.get(entry.fixing.date):
            is_same = fixing.same_figures(entry.fixing)
            yield QuarantineDecision(entry, Outcome.CONFIRMED if is_same else Outcome.WITHDRAWN, now)


def _read(path: Path, last_date: Callable[[str], date]) -> Iterator[Fixing]:
    """Yield the fixings of a file, each validated; `last_date` returns the last possible date of a source.

    Raises `TickerError` for a file that cannot be read or has an invalid line.
    """
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_LONGEST):
                number += 1
                if number == 1:
                    if json.loads(line) != HEADER:
                        raise TickerError(f"{path}: is not an export of fixings, version {HEADER['version']}")
                    continue
                fixing = FIXING.adapter.validate_json(line)
                errors = structural_errors(fixing) or date_errors(fixing.date, last_date(fixing.source))
                if errors:
                    raise TickerError(f"{path}: line {number}: {summary(errors)}")
                yield fixing
    except (OSError, EOFError, zlib.error) as error:
        raise TickerError(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        raise TickerError(f"{path}: line {number}: is not a fixing: {problem(error)}") from None
    except (ValueError, RecursionError):
        raise TickerError(f"{path}: line {number}: is not JSON") from None
    if not number:
        raise TickerError(f"{path}: is empty")
