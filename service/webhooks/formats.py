"""Formats of requests: a signed CloudEvent, or a purge of a cache by the key of what has changed. Pure."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from multidict import CIMultiDict

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
    """Return the request that sends an event at `now`. Headers of the settings cannot replace those of the format."""
    headers = CIMultiDict({"User-Agent": f"currency-ticker/{__version__}", "Accept": "*/*"})
    headers.update({name: value.get_secret_value() for name, value in webhook.headers.items()})
    key, method, body = purge_key(event), "POST", ""
    match webhook.format:
        case "fastly":
            headers["Surrogate-Key"] = key
        case "cloudflare":
            headers["Content-Type"], body = "application/json", json.dumps({"tags": [key]})
        case "varnish":
            headers["xkey-purge"], method = key, "PURGE"
        case "cloudevents":
            timestamp, body = int(now.timestamp()), event.body
            headers["Content-Type"] = "application/cloudevents+json"
            headers["webhook-id"] = event.id
            headers["webhook-timestamp"] = str(timestamp)
            headers["webhook-signature"] = signature(webhook.secret, event.id, timestamp, body)
    return OutgoingRequest(method, headers, body)


def purge_key(event: QueuedEvent) -> str:
    """Return the surrogate key of the responses that an event has changed."""
    subject, _, day = event.subject.partition("/")
    return source_key(subject) if day else ticker_key(subject)


def is_settled(webhook: WebhookSettings, event: QueuedEvent, now: datetime) -> bool:
    """Return whether an event can be sent: a purge waits for `SETTLED`, unless a wrong clock has dated it later."""
    return webhook.format == "cloudevents" or not timedelta() <= now - event.time < SETTLED
