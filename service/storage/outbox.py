"""Pending writes: records that the next sync writes to the store, retried until they are written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from typing import Final, NamedTuple

from service.domain.fixing import Fixing
from service.domain.snapshot import Snapshot
from service.sources.adapter import RawResponse
from service.state.memory import SourceState
from service.validation.quarantine import QuarantineDecision, QuarantinedFixing

_MAX_RESPONSES: Final = 100
"""Maximum number of pending raw responses while the store is down: they are large and not essential."""


class RecordKind(IntEnum):
    """Kinds of records, in the order in which they are written.

    A fixing and a decision end the quarantine of their date, so rates that stay quarantined are written after them.
    """

    FIXING = 0
    DECISION = 1
    QUARANTINED = 2
    RESPONSE = 3
    STATE = 4
    SNAPSHOT = 5


class LostDecisions(NamedTuple):
    """Decisions of operators that the store has lost. They end no quarantine: it is newer than they are."""

    decisions: tuple[QuarantineDecision, ...]


Record = Fixing | QuarantineDecision | LostDecisions | QuarantinedFixing | RawResponse | SourceState | Snapshot
Key = tuple[RecordKind, str, str]


class PendingWrite(NamedTuple):
    """A record to be written; it replaces a pending one with the same kind, owner and name.

    `owner` is the source, or the ticker of a snapshot. `name` is the effective date; for a raw response the digest, for
    a decision date and time, "lost" for the lost ones, and empty if an owner has only one record of that kind.
    """

    kind: RecordKind
    owner: str
    name: str
    record: Record

    @property
    def key(self) -> Key:
        return self.kind, self.owner, self.name


@dataclass
class Outbox:
    """The pending writes of an instance."""

    _writes: dict[Key, PendingWrite] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._writes)

    def __iter__(self) -> Iterator[PendingWrite]:
        """Yield the pending writes in the order in which they are written; the outbox may change during iteration."""
        return iter(sorted(self._writes.values(), key=lambda write: write.kind))

    def __contains__(self, write: PendingWrite) -> bool:
        """Return whether exactly this write is pending, i.e. was neither replaced nor removed."""
        return self._writes.get(write.key) is write

    def remove(self, write: PendingWrite) -> None:
        """Remove a completed write, unless another one has replaced it since."""
        if write in self:
            del self._writes[write.key]

    def enqueue_fixing(self, fixing: Fixing) -> None:
        self._enqueue(PendingWrite(RecordKind.FIXING, fixing.source, str(fixing.date), fixing))

    def remove_fixing(self, source: str, day: date) -> None:
        self._writes.pop((RecordKind.FIXING, source, str(day)), None)

    def enqueue_quarantined(self, quarantined: QuarantinedFixing) -> None:
        fixing = quarantined.fixing
        self._enqueue(PendingWrite(RecordKind.QUARANTINED, fixing.source, str(fixing.date), quarantined))

    def enqueue_decision(self, decision: QuarantineDecision) -> None:
        """Enqueue a decision, which ends the quarantine of its date."""
        source, day = decision.waiting.fixing.source, str(decision.waiting.fixing.date)
        self._writes.pop((RecordKind.QUARANTINED, source, day), None)
        self._enqueue(PendingWrite(RecordKind.DECISION, source, f"{day} {decision.at.isoformat()}", decision))

    def enqueue_lost_decisions(self, source: str, decisions: Sequence[QuarantineDecision]) -> None:
        self._enqueue(PendingWrite(RecordKind.DECISION, source, "lost", LostDecisions(tuple(decisions))))

    def enqueue_response(self, response: RawResponse) -> None:
        """Enqueue a raw response; it is dropped if too many are pending."""
        if sum(write.kind is RecordKind.RESPONSE for write in self._writes.values()) < _MAX_RESPONSES:
            self._enqueue(PendingWrite(RecordKind.RESPONSE, response.source, response.digest, response))

    def enqueue_state(self, source: str, state: SourceState) -> None:
        self._enqueue(PendingWrite(RecordKind.STATE, source, "", state))

    def enqueue_snapshot(self, snapshot: Snapshot) -> None:
        self._enqueue(PendingWrite(RecordKind.SNAPSHOT, snapshot.id, "", snapshot))

    @property
    def has_rates(self) -> bool:
        """Whether published or quarantined rates, or decisions on them, are pending."""
        return any(write.kind <= RecordKind.QUARANTINED for write in self._writes.values())

    @property
    def sources_with_state(self) -> set[str]:
        """The sources whose state is pending."""
        return {write.owner for write in self._writes.values() if write.kind is RecordKind.STATE}

    def decided_dates(self, source: str) -> set[date]:
        """Return the dates of a source with a pending decision."""
        return {
            write.record.waiting.fixing.date
            for write in self._writes.values()
            if isinstance(write.record, QuarantineDecision) and write.owner == source
        }

    def quarantined_dates(self, source: str) -> set[date]:
        """Return the dates of a source with a pending quarantined fixing."""
        return {
            write.record.fixing.date
            for write in self._writes.values()
            if isinstance(write.record, QuarantinedFixing) and write.owner == source
        }

    def _enqueue(self, write: PendingWrite) -> None:
        self._writes[write.key] = write
