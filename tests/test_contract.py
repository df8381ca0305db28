"""Compare every output of the service byte for byte with digests of an earlier commit in `contract.json`.

For an intended change of the contract: `WRITE_CONTRACT=1 make test ARGS=tests/test_contract.py`; the difference is
reviewed.
"""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp.test_utils import TestClient

from service.settings import Settings
from service.storage.codecs import DECISION, FIXING, SPANS, STATE, WAITING, Kind
from service.storage.repository import Store
from tests.conftest import Started
from tests.support.stored import STORED, restore

EXPECTED = Path(__file__).with_name("contract.json")
LOOKS = "currencies=usd,eur&lang={lang}&theme={theme}&layout={layout}&show=rate,change,percent&spark=1"
REQUESTS = [
    "/",
    "/?lang=ru",
    "/?lang=kk",
    "/docs",
    "/embed.js",
    "/robots.txt",
    "/favicon.ico",
    "/livez",
    "/readyz",
    "/v1/ticker",
    "/v1/ticker?lang=ru",
    "/v1/ticker?currencies=usd,kzt",
    "/v1/ticker?ticker=nobody",
    "/v1/ticker.txt",
    "/v1/ticker.txt?currencies=eur",
    "/v1/ticker.txt?show=rate,buy,sell,change,percent",
    *(
        f"{path}?{LOOKS.format(lang=lang, theme=theme, layout=layout)}"
        for path in ("/v1/ticker", "/v1/ticker.svg", "/v1/ticker.html", "/embed")
        for lang in ("en", "ru", "kk", "de", "ar")
        for theme, layout in (("light", "strip"), ("dark", "list"), ("auto", "tape"))
    ),
    "/v1/ticker.svg",
    "/v1/ticker.html",
    "/v1/ticker.atom",
    "/v1/ticker.atom?lang=kk&currencies=usd",
    "/v1/ticker.svg?width=320",
    "/embed",
    "/embed?currencies=usd&live=1",
    "/v1/sources",
    "/v1/history/usd",
    "/v1/history/usd?from=2026-03-01&to=2026-04-02",
    "/v1/history/usd.csv",
    "/v1/chart/usd",
    "/v1/chart/usd?lang=kk",
    "/v1/chart/usd.svg?range=1m&theme=auto",
    "/v1/chart/xyz",
    "/rates?lang=en",
    "/rates/usd?lang=kk&range=1m&compare=eur",
    "/rates/xyz?lang=en",
    "/fixings/nbk/2026-04-02?lang=en",
    "/v1/history/xyz",
    "/v1/history/usd?from=yesterday",
    "/v1/fixings/nbk/2026-04-02",
    "/v1/fixings/nbk/2026-04-01",
    "/v1/fixings/nbk/1999-01-01",
    "/v1/fixings/nobody/2026-04-02",
    "/oembed?url=http%3A%2F%2Fticker.example%2Fembed&format=json",
    "/oembed?url=http%3A%2F%2Fticker.example%2Fembed&format=xml",
    "/health",
    "/nothing",
]
VARYING = {"Date", "Age", "X-Request-ID"}


class DisabledSchedule:
    """A schedule that polls nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def digest(client: TestClient[Any, Any], path: str) -> str:
    headers = {"Accept-Encoding": "identity", "Host": "ticker.example", "Accept-Language": "en"}
    async with client.get(path, headers=headers, allow_redirects=False) as response:
        kept = {name: value for name, value in response.headers.items() if name not in VARYING}
        body = await response.read()
    if path == "/health":  # only fields of tickers and sources; those of the instance depend on the machine
        document = json.loads(body)
        document["checks"] = {name: check for name, check in document["checks"].items() if ":" in name}
        del document["notes"]
        body = json.dumps(_shape(document), sort_keys=True).encode()
        kept.pop("Content-Length")
    text = json.dumps([response.status, sorted(kept.items())]).encode() + body
    return sha256(text).hexdigest()[:20]


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(value[0])] if isinstance(value, list) and value else None


async def metric_names(client: TestClient[Any, Any]) -> list[str]:
    async with client.get("/metrics", headers={"Accept-Encoding": "identity"}) as response:
        lines = (await response.text()).splitlines()
    return sorted(line.removeprefix("# ") for line in lines if line.startswith(("# HELP", "# TYPE")))


KINDS: dict[str, Kind[Any]] = {
    "fixings": FIXING,
    "quarantine": WAITING,
    "decisions": DECISION,
    "states": STATE,
    "backfilled": SPANS,
}


def reserialized_records() -> dict[str, str]:
    """Parse each record of a store and return it serialized again."""
    serialized: dict[str, str] = {}
    for key, value in STORED.items():
        rows = value["hash"].items() if "hash" in value else enumerate(value["list"])
        kind = KINDS.get(key.partition(":")[0])
        for field, text in rows if kind else ():
            assert kind
            serialized[f"{key} {field}"] = kind.adapter.dump_json(kind.adapter.validate_json(text)).decode()
    return serialized


async def test_outputs_are_unchanged(settings: Settings, start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.polling.scheduler.PollScheduler", DisabledSchedule)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        await restore(store)
    sources = {
        key: source.model_copy(update={"url": f"https://{key}.example"}) for key, source in settings.sources.items()
    }
    client = await start(settings.model_copy(update={"sources": sources}))
    outputs: dict[str, object] = {path: await digest(client, path) for path in REQUESTS}
    outputs["/metrics"] = await metric_names(client)
    outputs["stored"] = reserialized_records()
    if os.environ.get("WRITE_CONTRACT"):
        EXPECTED.write_text(json.dumps(outputs, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert {path for path in outputs if outputs[path] != expected.get(path)} == set()
