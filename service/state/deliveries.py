"""State of the deliveries of webhooks: stored, and reported by health and metrics. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

GIVE_UP: Final = timedelta(days=1)
"""Age of an event after which it is dropped if its delivery fails."""
MOST_WAITING: Final = 1000
"""Maximum number of events that wait for a webhook; the oldest are dropped."""
_FIRST_RETRY: Final = timedelta(seconds=5)
_LAST_RETRY: Final = timedelta(minutes=15)
"""Longest time between two attempts, unless the receiver demands a longer one."""
_MOST_DOUBLINGS: Final = 10


@dataclass(frozen=True, slots=True)
class QueuedEvent:
    """An event that waits for delivery; `body` is the CloudEvent (JSON), the same bytes at every attempt."""

    id: str
    type: str
    subject: str
    time: datetime
    body: str


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """Result of the last deliveries of a webhook; times are in UTC."""

    failures: int = 0
    """Consecutive failed attempts."""
    failing_since: datetime | None = None
    error: str | None = None
    not_before: datetime | None = None
    """Time of the next attempt; None if the last one succeeded."""
    delivered_at: datetime | None = None
    dropped: int = 0
    """Events that were not delivered: too old, or too many."""
    dropped_at: datetime | None = None
    stopped_at: datetime | None = None
    """When the receiver refused all further events by status 410."""

    def after_success(self, now: datetime) -> "DeliveryState":
        return DeliveryState(delivered_at=now, dropped=self.dropped, dropped_at=self.dropped_at)

    def after_failure(self, now: datetime, error: str, pause: timedelta) -> "DeliveryState":
        """Return the state after a failed attempt; `pause` is what the receiver demands (`Retry-After`)."""
        backoff = min(_FIRST_RETRY * 2 ** min(self.failures, _MOST_DOUBLINGS), _LAST_RETRY)
        return replace(
            self,
            failures=self.failures + 1,
            failing_since=self.failing_since or now,
            error=error,
            not_before=now + min(max(backoff, pause), GIVE_UP),
        )

    def after_dropping(self, count: int, now: datetime) -> "DeliveryState":
        return replace(self, dropped=self.dropped + count, dropped_at=now) if count else self

    def is_due(self, now: datetime) -> bool:
        """Return whether the next attempt is due. A time that is further away comes from a wrong clock."""
        return self.not_before is None or not now < self.not_before <= now + GIVE_UP


class WaitingEvent(NamedTuple):
    """An event in a queue, and the text as which it is stored."""

    event: QueuedEvent
    text: str


class WebhookStatus(NamedTuple):
    """A webhook as the store has it: the state of its deliveries, the number and the first of the waiting events."""

    state: DeliveryState = DeliveryState()
    waiting: int = 0
    first: WaitingEvent | None = None
