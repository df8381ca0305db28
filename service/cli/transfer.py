"""Export and import all fixings, quarantined fixings and decisions as one file: NDJSON, compressed with gzip.

The first line is a header. Each other line is one record as stored: a fixing with its revisions, or an object with the
key `decision` or `quarantined`. They are ordered by source; of each source decisions come first, newest first, then
fixings and quarantined fixings by date. Equal stores produce identical files. Version 1 had fixings only.
"""

import gzip
import json
import os
import secrets
import stat
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, Final, TypeVar, cast

from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from pydantic import ValidationError

from service.domain.bounds import date_errors, structural_errors, summary
from service.domain.fixing import Fixing
from service.errors import TickerError
from service.storage.codecs import DECISION, FIXING, WAITING, Kind, Place, problem
from service.storage.repository import Store
from service.validation.quarantine import Outcome, Quarantine, QuarantineDecision, QuarantinedFixing

T = TypeVar("T")
_WRAPPED: Final[dict[str, Kind[Any]]] = {"decision": DECISION, "quarantined": WAITING}
"""Keys of the objects of all records but fixings."""
Record = Fixing | QuarantineDecision | QuarantinedFixing

_FORMAT: Final = "currency-ticker fixings"
HEADER: Final = {"format": _FORMAT, "version": 2}
_READ: Final = (1, 2)
"""Versions that can be imported."""
_BATCH: Final = 250
_LONGEST: Final = 1_000_000
"""Maximum line length in bytes: 20 times that of a fixing of 75 currencies with ten revisions."""
_SHRINKS: Final = (19, 20)
"""The least part of the records of the existing file that must still be there: 95 %."""


@dataclass
class Exported:
    """Numbers of exported records, the sources with fixings, and the number of records that could not be read."""

    fixings: int = 0
    decisions: int = 0
    quarantined: int = 0
    unreadable: int = 0
    sources: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{self.fixings} fixings, {self.decisions} decisions, {self.quarantined} quarantined"


@dataclass
class Imported:
    """Numbers of imported records; `refused` are the others, as pairs of place and reason."""

    added: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        reasons = Counter(reason for _, reason in self.refused)
        listed = (
            next(iter(reasons), "") if len(reasons) == 1 else "; ".join(f"{n}: {text}" for text, n in reasons.items())
        )
        refused = f"{len(self.refused)} refused" + (f" ({listed})" if listed else "")
        return f"{self.added} added, {self.unchanged} unchanged, {refused}"


class _Line(Struct):
    """What a line of an export is, without decoding the record."""

    source: str = ""
    decision: dict[str, Any] | None = None
    quarantined: dict[str, Any] | None = None


async def export(store: Store, path: Path, *, force: bool = False, keep: int = 0) -> Exported:
    """Write every stored record to a file, completely or not at all.

    With `keep`, so many earlier files are kept as `<path>.1`, the newest, and so on. Raises `TickerError` if the file
    cannot be written, if it or an earlier one is not a regular file or, without `force`, if it is not an export or
    would shrink by more than 5 %.
    """
    generations = [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]
    before = _existing(path, force=force)
    for generation in generations:
        _is_regular(generation)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with _opened(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as raw:
                exported = await write(store, raw)
                raw.flush()
                os.fsync(raw.fileno())
            if before and not force:
                _check_shrinkage(path, before, exported)
            _keep(path, generations)
            unfinished.replace(path)
        except OSError as error:
            raise TickerError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):  # it does not exist, or its name is too long
            unfinished.unlink()
    return exported


def _opened(path: Path, flags: int) -> IO[bytes]:
    """Open a file, but not through a symbolic link."""
    return os.fdopen(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb" if flags & os.O_CREAT else "rb")


async def write(store: Store, raw: IO[bytes]) -> Exported:
    """Write every stored record to a binary stream."""
    exported = Exported()
    with gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(json.dumps(HEADER).encode() + b"\n")
        for source in await store.sources():
            sizes = (await store.sizes([source]))[source]
            read_before = exported.fixings + exported.decisions + exported.quarantined
            for decision in await store.decisions(source):
                file.write(b'{"decision":' + DECISION.adapter.dump_json(decision) + b"}\n")
                exported.decisions += 1
            days = await store.dates(source)
            for start in range(0, len(days), _BATCH):
                for fixing in await store.fixings(source, days[start : start + _BATCH]):
                    file.write(FIXING.adapter.dump_json(fixing) + b"\n")
                    exported.fixings += 1
                    exported.sources.add(source)
            for entry in await store.waiting(source):
                file.write(b'{"quarantined":' + WAITING.adapter.dump_json(entry) + b"}\n")
                exported.quarantined += 1
            read = exported.fixings + exported.decisions + exported.quarantined - read_before
            stored = await store.count(source) + sizes.decisions + sizes.quarantined
            exported.unreadable += max(0, stored - read)
    return exported


def _existing(path: Path, *, force: bool) -> Exported | None:
    """Return what an existing file contains; None if there is none, or if it is empty.

    Raises `TickerError` if it is not a regular file or, without `force`, not an export.
    """
    if not _is_regular(path, "; - writes to standard output") or force:
        return None
    counted, decoder = Exported(), Decoder(_Line)
    try:
        with _opened(path, os.O_RDONLY) as raw:
            if not os.fstat(raw.fileno()).st_size:
                return None
            with gzip.GzipFile(fileobj=raw) as file:
                _check_header(path, file.readline(_LONGEST))
                while text := file.readline(_LONGEST):
                    line = decoder.decode(text)
                    if line.decision is not None:
                        counted.decisions += 1
                    elif line.quarantined is not None:
                        counted.quarantined += 1
                    else:
                        counted.fixings += 1
                        counted.sources.add(line.source)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError, DecodeError, TickerError):
        raise TickerError(f"{path}: exists and is not a complete export; choose another file, or use --force") from None
    return counted


def _is_regular(path: Path, remedy: str = "; move it away") -> bool:
    """Return whether a file exists; raise `TickerError` if it is not a regular one."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise TickerError(f"{path}: cannot be written: {error.strerror}") from None
    if not stat.S_ISREG(kind):
        named = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a directory"}.get(
            stat.S_IFMT(kind), "a device or pipe"
        )
        raise TickerError(f"{path}: is {named}, not a regular file{remedy}")
    return True


def _check_shrinkage(path: Path, before: Exported, now: Exported) -> None:
    """Raise `TickerError` if an export has less than 95 % of the records of the existing file, or lacks a source."""
    kept, of = _SHRINKS
    missing = sorted(before.sources - now.sources)
    if of * now.fixings < kept * before.fixings or of * now.decisions < kept * before.decisions or missing:
        lacks = f", and lacks {', '.join(missing)}" if missing else ""
        raise TickerError(
            f"{path}: not overwritten: the store has {now}, the file has {before}{lacks}. Check whether the store has"
            " lost records; --force overwrites the file"
        )


def _keep(path: Path, generations: list[Path]) -> None:
    """Rename `<path>.1` to `<path>.2` and so on, and let `<path>.1` be the existing file."""
    if not generations or not path.exists():
        return
    for older, newer in zip(reversed(generations), reversed(generations[:-1]), strict=False):
        if newer.exists():
            newer.replace(older)
    generations[0].unlink(missing_ok=True)
    try:
        generations[0].hardlink_to(path)  # so that the file exists at any time
    except OSError:  # a file system without hard links
        path.replace(generations[0])


async def load(store: Store, path: Path, now: datetime) -> tuple[Imported, Imported]:
    """Import the records of a file; return the numbers of fixings, and of decisions and quarantined fixings.

    A fixing is refused if a different one is stored for its date, or if an operator has rejected its rates here. The
    whole file is validated before anything is written. Raises `TickerError` if it is invalid.
    """
    for _ in _read(path, store.last_date):
        pass
    fixings, others = Imported(), Imported()
    for source, records in groupby(_read(path, store.last_date), key=source_of):
        for kind, same in groupby(records, key=type):
            if kind is QuarantineDecision:
                await _load_decisions(store, source, cast("Iterator[QuarantineDecision]", same), others)
            elif kind is QuarantinedFixing:
                await _load_quarantined(store, source, cast("Iterator[QuarantinedFixing]", same), others)
            else:
                await _load_fixings(store, source, cast("Iterator[Fixing]", same), now, fixings)
    return fixings, others


def source_of(record: Record) -> str:
    """Return the source of a record."""
    match record:
        case Fixing():
            return record.source
        case QuarantinedFixing():
            return record.fixing.source
        case QuarantineDecision():
            return record.waiting.fixing.source


async def _load_decisions(
    store: Store, source: str, decisions: Iterator[QuarantineDecision], imported: Imported
) -> None:
    read = list(decisions)
    added = await store.restore_decisions(source, read)
    imported.added += added
    imported.unchanged += len(read) - added


async def _load_fixings(
    store: Store, source: str, fixings: Iterator[Fixing], now: datetime, imported: Imported
) -> None:
    rejected = Quarantine.of([], await store.decisions(source))
    while batch := list(islice(fixings, _BATCH)):
        quarantined = await store.waiting(source)
        stored = {fixing.date: fixing for fixing in await store.fixings(source, [fixing.date for fixing in batch])}
        stored_dates = set(await store.dates(source))  # including fixings that this version cannot read
        new = list[Fixing]()
        for fixing in batch:
            place = f"{source} {fixing.date}"
            if fixing.date in stored and stored[fixing.date].has_same_rates(fixing):
                imported.unchanged += 1
            elif fixing.date in stored_dates:
                imported.refused.append((place, "a different fixing is stored"))
            elif rejected.is_rejected(fixing):
                imported.refused.append((place, "an operator has rejected its rates"))
            else:
                new.append(fixing)
        if new:
            await store.save(*new)
        imported.added += len(new)
        for decision in _decisions(quarantined, new, now):
            await store.record_decision(decision)


async def _load_quarantined(
    store: Store, source: str, entries: Iterator[QuarantinedFixing], imported: Imported
) -> None:
    """Restore quarantined fixings, unless an operator, or the bank, has decided on them since."""
    stored = {entry.fixing.date: entry for entry in await store.waiting(source)}
    decisions = await store.decisions(source)
    quarantine = Quarantine.of([], decisions)
    ended = {(decision.waiting.fixing.date, decision.waiting.since) for decision in decisions}
    for entry in entries:
        day = entry.fixing.date
        published = await store.fixing(source, day)
        if day in stored and stored[day].fixing.has_same_rates(entry.fixing):
            imported.unchanged += 1
        elif day in stored:
            imported.refused.append((f"{source} {day}", "other rates are quarantined"))
        elif (day, entry.since) in ended or quarantine.is_rejected(entry.fixing):
            imported.refused.append((f"{source} {day}", "its quarantine has ended"))
        elif published and entry.fixing.rates.keys() <= published.rates.keys():
            imported.refused.append((f"{source} {day}", "rates of that date are published"))
        else:
            await store.quarantine(entry)
            imported.added += 1


def _decisions(
    quarantined: list[QuarantinedFixing], imported: list[Fixing], now: datetime
) -> Iterator[QuarantineDecision]:
    """Yield the decisions that end the quarantine of dates for which a fixing was imported."""
    by_date = {fixing.date: fixing for fixing in imported}
    for entry in quarantined:
        if fixing := by_date.get(entry.fixing.date):
            is_same = fixing.has_same_rates(entry.fixing)
            yield QuarantineDecision(entry, Outcome.CONFIRMED if is_same else Outcome.WITHDRAWN, now)


def _read(path: Path, last_date: Callable[[str], date]) -> Iterator[Record]:
    """Yield the records of a file, each validated; `last_date` returns the last possible date of a source.

    Raises `TickerError` for a file that cannot be read or has an invalid line.
    """
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_LONGEST):
                number += 1
                if number == 1:
                    _check_header(path, line)
                else:
                    yield _record(line, last_date)
    except (OSError, EOFError, zlib.error) as error:
        raise TickerError(f"{path}: cannot be read: {_reason(error)}") from None
    except _InvalidRecord as error:
        raise TickerError(f"{path}: line {number}: {error}") from None
    except (ValueError, RecursionError):
        raise TickerError(f"{path}: line {number}: is not JSON") from None
    if not number:
        raise TickerError(f"{path}: is empty")


class _InvalidRecord(Exception):
    """A line of a file is not a valid record; the message is the problem."""


def _record(line: bytes, last_date: Callable[[str], date]) -> Record:
    """Decode and validate a line."""
    for key, kind in _WRAPPED.items():
        if line.startswith(b'{"%b":' % key.encode()):
            return cast("Record", _wrapped(kind, json.loads(line)[key]))
    try:
        fixing = FIXING.adapter.validate_json(line)
    except ValidationError as error:
        raise _InvalidRecord(f"is not a fixing: {problem(error)}") from None
    if errors := structural_errors(fixing) or date_errors(fixing.date, last_date(fixing.source)):
        raise _InvalidRecord(summary(errors))
    return fixing


def _wrapped(kind: Kind[T], document: Any) -> T:  # noqa: ANN401 - anything of JSON
    """Decode and validate a decision or a quarantined fixing."""
    try:
        fixing = (document["waiting"] if kind is DECISION else document)["fixing"]
        return kind.read(json.dumps(document), Place(f"{kind.name}:{fixing['source']}", str(fixing["date"])))
    except (KeyError, TypeError):
        raise _InvalidRecord(f"is not a {kind.name}: it has no fixing with a source and a date") from None
    except ValueError as error:
        raise _InvalidRecord(f"is not a {kind.name}: {error}") from None


def _check_header(path: Path, line: bytes) -> None:
    """Raise `TickerError` for the first line of a file that is not an export, or is one of a newer version."""
    header = json.loads(line)
    if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") not in _READ:
        raise TickerError(f"{path}: is not an export of fixings, version {' or '.join(map(str, _READ))}")


def _reason(error: Exception) -> str:
    """Return why a file cannot be read, without the words of the library."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it ends too early" if isinstance(error, EOFError) else "it is not compressed with gzip, or is damaged"
