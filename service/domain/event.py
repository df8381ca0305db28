"""Events that webhooks report, and their form as CloudEvents 1.0. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import msgspec

TEST: Final = "webhook.test"
"""Type of the event that an operator sends to test a receiver."""
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class Event:
    """A change of a ticker or a source.

    `id` depends on the content alone, so that every instance gives the same event the same one. `subject` is a ticker,
    or a source and an effective date (`nbk/2026-04-03`). `time` is when the event was detected, in UTC. `reach` is the
    largest change of the changed quotes, in percent, without its sign; None for events that have no quotes.
    """

    id: str
    type: str
    subject: str
    time: datetime
    data: Mapping[str, Any]
    reach: Decimal | None = None


def event_id(kind: str, subject: str, *content: object) -> str:
    """Return the identifier of an event: 32 hex digits of the SHA-256 of its content."""
    return sha256(json.dumps([kind, subject, *map(str, content)]).encode()).hexdigest()[:32]


def cloud_event(event: Event, source: str) -> str:
    """Return an event as a CloudEvent (structured mode, JSON); `source` identifies the service."""
    document = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "datacontenttype": "application/json",
        "data": event.data,
    }
    return _ENCODER.encode(document).decode()
