"""Formats of requests: a signed CloudEvent, or a purge of a cache by the key of what has changed. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from service import __version__
from service.domain.surrogate_keys import source_key, ticker_key
from service.settings import WebhookSettings
from service.state.deliveries import QueuedEvent
from service.webhooks.signature import signature

SETTLED: Final = timedelta(seconds=5)
"""Time between an event and a purge: until then a cache could get the old rates again from an instance that follows."""


class OutgoingRequest(NamedTuple):
    method: str
    headers: Mapping[str, str]
    body: str


def outgoing_request(webhook: WebhookSettings, event: QueuedEvent, now: datetime) -> OutgoingRequest:
    """Return the request that sends an event to a webhook at `now`."""
    own = {"User-Agent": f"currency-ticker/{__version__}", "Accept": "*/*"}
    own |= {name: value.get_secret_value() for name, value in webhook.headers.items()}
    key = purge_key(event)
    match webhook.format:
        case "fastly":
            return OutgoingRequest("POST", own | {"Surrogate-Key": key}, "")
        case "cloudflare":
            body = json.dumps({"tags": [key]})
            return OutgoingRequest("POST", own | {"Content-Type": "application/json"}, body)
        case "varnish":
            return OutgoingRequest("PURGE", own | {"xkey-purge": key}, "")
    timestamp = int(now.timestamp())
    headers = {
        "Content-Type": "application/cloudevents+json",
        "webhook-id": event.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(webhook.secret, event.id, timestamp, event.body),
    }
    return OutgoingRequest("POST", own | headers, event.body)


def purge_key(event: QueuedEvent) -> str:
    """Return the surrogate key of the responses that an event has changed."""
    subject, _, day = event.subject.partition("/")
    return source_key(subject) if day else ticker_key(subject)


def is_settled(webhook: WebhookSettings, event: QueuedEvent, now: datetime) -> bool:
    """Return whether an event can be sent: a purge waits for `SETTLED`, unless a wrong clock has dated it later."""
    return webhook.format == "cloudevents" or not timedelta() <= now - event.time < SETTLED
