"""docs/webhooks.md: its receiver works and refuses forgeries, its settings are valid, its example is an event."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout
from pydantic import SecretStr

from service.clock import Clock
from service.settings import ClientSettings, WebhookSettings, load
from service.settings.loader import ROOT
from service.state.deliveries import QueuedEvent
from service.webhooks.sender import WebhookSender
from service.webhooks.signature import signature
from tests.support.ports import unused_port
from tests.support.receiver import OTHER_SECRET, SECRET
from tests.support.wait import wait_until

DOCUMENT = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
BODY = '{"data":{"ticker":"kzt"}}'
QUEUED = QueuedEvent("e1", "ticker.changed", "kzt", datetime(2026, 4, 2, tzinfo=UTC), BODY)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


class Sample:
    """The receiver of the document, as a process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, unused_port()
        (folder / "receiver.py").write_text(blocks("python")[0], encoding="utf-8")
        self.start()

    def start(self) -> None:
        self.output = (self.folder / "output").open("a")
        self.process = subprocess.Popen(
            [sys.executable, "receiver.py", str(self.port)],
            cwd=self.folder, env={"PATH": os.defpath, "WEBHOOK_SECRET": SECRET}, stdout=self.output,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._listens, "the receiver listens")

    def _listens(self) -> bool:
        import socket  # noqa: PLC0415

        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.output.close()

    @property
    def processed(self) -> list[str]:
        return (self.folder / "output").read_text(encoding="utf-8").splitlines()

    def webhook(self, **settings: Any) -> WebhookSettings:
        url = f"http://127.0.0.1:{self.port}/"
        return WebhookSettings.model_validate({"url": url, "secret": SECRET, "allow_private": True} | settings)


@contextmanager
def running(folder: Path) -> Iterator[Sample]:
    sample = Sample(folder)
    try:
        yield sample
    finally:
        sample.end()


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Sample]:
    with running(tmp_path) as sample:
        yield sample


@pytest.fixture
async def sender() -> AsyncIterator[WebhookSender]:
    async with WebhookSender(ClientSettings(timeout="60"), Clock()) as sender:  # type: ignore[arg-type]
        yield sender


async def post(sample: Sample, body: str = BODY, **changed: str) -> int:
    """Post a genuine request, with these headers changed; return the status."""
    now = int(time.time())
    headers = {"webhook-id": "e1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = signature([SecretStr(SECRET)], "e1", now, BODY)
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    async with (
        ClientSession(timeout=ClientTimeout(60)) as client,
        client.post(f"http://127.0.0.1:{sample.port}/", data=body, headers=headers) as response,
    ):
        return response.status


async def test_receiver_accepts_an_event_once(sample: Sample, sender: WebhookSender) -> None:
    """A repeated delivery is accepted and not processed, also after a restart of the receiver."""
    for _ in range(2):
        attempt = await sender.send(sample.webhook(), QUEUED)
        assert (attempt.problem, attempt.status) == (None, 204)
    sample.end()
    sample.start()
    assert (await sender.send(sample.webhook(), QUEUED)).status == 204
    assert sample.processed == ['{"ticker": "kzt"}']


async def test_receiver_accepts_the_old_or_the_new_secret(sample: Sample, sender: WebhookSender) -> None:
    """So the secret can be exchanged without a lost event."""
    assert (await sender.send(sample.webhook(secret=[OTHER_SECRET, SECRET]), QUEUED)).status == 204
    assert (await sender.send(sample.webhook(secret=OTHER_SECRET), QUEUED)).status == 401
    assert len(sample.processed) == 1


async def test_receiver_refuses_altered_requests(sample: Sample) -> None:
    """Another body, id, time or signature."""
    now = int(time.time())
    altered = [
        {"body": BODY.replace("kzt", "usd")},
        {"webhook_id": "e2"},
        {"webhook_timestamp": str(now + 1)},
        {"webhook_timestamp": ""},
        {"webhook_signature": ""},
        {"webhook_signature": signature([SecretStr(OTHER_SECRET)], "e1", now, BODY)},
        {"webhook_signature": "v1,"},
    ]
    for changed in altered:
        assert await post(sample, **changed) == 401, changed
    assert sample.processed == []
    assert await post(sample) == 204


@pytest.mark.parametrize("seconds", [-301, 301, -86_400])
async def test_receiver_refuses_a_replayed_request(sample: Sample, seconds: int) -> None:
    """It is genuine, but of another time than now."""
    sent = int(time.time()) + seconds
    signed = signature([SecretStr(SECRET)], "e1", sent, BODY)
    assert await post(sample, webhook_timestamp=str(sent), webhook_signature=signed) == 401
    assert sample.processed == []


async def test_request_that_is_replayed_at_once_is_not_processed_again(sample: Sample) -> None:
    now = int(time.time())
    signed = {"webhook_timestamp": str(now), "webhook_signature": signature([SecretStr(SECRET)], "e1", now, BODY)}
    assert [await post(sample, **signed) for _ in range(3)] == [204, 204, 204]
    assert len(sample.processed) == 1


def test_settings_of_the_document_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for text in blocks("toml"):
        file.write_text(text, encoding="utf-8")
        assert load(file, environ={}).webhooks


def test_example_is_an_event() -> None:
    """Its fields are those that are sent; tests/state/test_events.py checks their values."""
    (example,) = blocks("json")
    document = json.loads(example)
    assert document.keys() == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
    assert len(document["id"]) == 32
