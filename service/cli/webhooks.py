"""Commands for webhooks: list what waits, send a test event, resume a stopped one."""

import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from typing import Final
from uuid import uuid4

from rich.text import Text

from service.cli.commands import QUIET, with_store
from service.cli.output import add_row, console, table, text
from service.clock import Clock
from service.domain.event import TEST, Event, cloud_event
from service.errors import SettingsError, TickerError
from service.observability.logging import configure
from service.runtime.background import run_interruptibly
from service.settings import Settings, WebhookSettings
from service.state.deliveries import DeliveryState, QueuedEvent, WebhookStatus
from service.storage.codecs import printable
from service.storage.repository import Store
from service.webhooks.recorder import UNNAMED
from service.webhooks.sender import Attempt, WebhookSender

_SHOWN: Final = 200
"""Bytes of a response that `test` prints."""


def list_all(settings: Settings, *, as_json: bool) -> None:
    """Print each webhook with what waits and the result of its last deliveries."""
    configure(QUIET)

    async def read(store: Store) -> list[WebhookStatus]:
        return [await store.webhooks.status(webhook.label) for webhook in settings.webhooks]

    statuses = with_store(settings, read)
    if as_json:
        documents = [_document(webhook, status) for webhook, status in zip(settings.webhooks, statuses, strict=True)]
        sys.stdout.write(json.dumps(documents, indent=2, default=text) + "\n")
        return
    columns = ("webhook", "events", "waiting", "oldest", "delivered", "failures", "next attempt", "error", "dropped")
    rows = table(*columns)
    for webhook, (state, waiting, first) in zip(settings.webhooks, statuses, strict=True):
        error = f"stopped: {state.error}" if state.stopped_at else state.error
        oldest = first.event.time if first else None
        cells = (waiting, oldest, state.delivered_at, state.failures, state.not_before, error, state.dropped)
        add_row(rows, (webhook.label, Text("\n".join(webhook.events)), *cells))
    console().print(rows if settings.webhooks else "No webhooks are configured.")


def _document(webhook: WebhookSettings, status: WebhookStatus) -> dict[str, object]:
    oldest = status.first.event.time.isoformat() if status.first else None
    state = {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in asdict(status.state).items()
    }
    return {"webhook": webhook.label, "events": webhook.events, "waiting": status.waiting, "oldest": oldest} | state


def send_test(settings: Settings, which: str | None) -> None:
    """Send a test event to one webhook, or to all, and print the responses. Raises `TickerError` if one failed."""
    configure(QUIET)
    webhooks = [_find(settings, which)] if which else settings.webhooks
    if not webhooks:
        raise SettingsError("no webhooks are configured; see docs/webhooks.md")
    attempts = run_interruptibly(_send(settings, webhooks))
    for webhook, attempt in zip(webhooks, attempts, strict=True):
        body = printable(attempt.body[:_SHOWN].decode(errors="replace"))
        result = attempt.problem or f"accepted with status {attempt.status}"
        console(soft_wrap=True).print(f"{webhook.label}: {result}{f': {body}' if body else ''}")
    failed = [webhook.label for webhook, attempt in zip(webhooks, attempts, strict=True) if attempt.problem]
    if failed:
        raise TickerError(f"not accepted: {', '.join(failed)}")


async def _send(settings: Settings, webhooks: Sequence[WebhookSettings]) -> list[Attempt]:
    clock, ticker = Clock(), settings.tickers[0]
    event = Event(uuid4().hex, TEST, ticker.id, clock(), {"ticker": ticker.id})
    body = cloud_event(event, settings.http.public_url or UNNAMED)
    queued = QueuedEvent(event.id, event.type, event.subject, event.time, body)
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(WebhookSender(settings.client, clock))
        return [await sender.send(webhook, queued) for webhook in webhooks]


def resume(settings: Settings, which: str) -> None:
    """Send events again to a webhook whose receiver has refused them by status 410."""
    configure(QUIET)
    webhook = _find(settings, which)

    async def write(store: Store) -> None:
        state, _, _ = await store.webhooks.status(webhook.label)
        if state.stopped_at is None:
            raise TickerError(f"{webhook.label} is not stopped, nothing was changed")
        kept = replace(DeliveryState(), delivered_at=state.delivered_at, dropped=state.dropped)
        await store.webhooks.save(webhook.label, kept)

    with_store(settings, write)
    console().print(f"{webhook.label}: resumed")


def _find(settings: Settings, which: str) -> WebhookSettings:
    """Return a webhook by its name, its URL, or its number in the settings, from 1; raise `SettingsError`."""
    for number, webhook in enumerate(settings.webhooks, 1):
        if which in (webhook.label, str(number), webhook.url.get_secret_value()):
            return webhook
    names = ", ".join(webhook.label for webhook in settings.webhooks) or "none"
    raise SettingsError(f"unknown webhook (known: {names})")
