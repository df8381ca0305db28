"""No output contains a secret: settings have canaries, everything fails, and all outputs are searched.

Every setting counts as a secret unless it is in `SHOWN`, including new ones.
"""

import asyncio
import contextlib
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin

import psutil
import pytest
import redis
from pydantic import BaseModel

from service.clock import Clock
from service.errors import SettingsError, StoreError
from service.settings import Settings, load
from service.settings.loader import ROOT
from service.sources.registry import validate
from service.storage.repository import Store, open_store
from tests.support.cli import command, process
from tests.support.ports import unused_port
from tests.support.process import NEW, OLD, Service, local, running
from tests.support.receiver import SECRET
from tests.support.servers import Server, sentinel, valkey
from tests.support.standin import Banks, serving
from tests.support.wait import wait_until

CANARY = "canary0secret"
SHOWN = {
    "http.host",  # in the log at startup
    "http.public_url",  # in URLs in the responses of /oembed and /embed
    "http.frame_ancestors",  # in the policy of /embed
    "store.data_dir",  # in errors of the embedded store
    "tickers.0.id",  # in URLs
    "tickers.0.sources",  # keys that identify sources
    "webhooks.0.name",  # in health, metrics and logs
    *(f"sources.nbk.{name}" for name in ("name", "names.kk", "url", "terms", "provider", "timezone", "calendar")),
}
"""Settings that are public, or shown in errors."""
FORMATS = {
    "store.url": "redis://:{}@127.0.0.1:1/0",
    "http.public_url": "https://{}.example",
    "sources.nbk.url": "http://127.0.0.1:1/{}",
    "client.proxy": "http://user:{}@127.0.0.1:1",
    "sources.nbk.proxy": "http://user:{}@127.0.0.1:1",
    "tracing.endpoint": "http://127.0.0.1:1/{}",
    "webhooks.0.url": "https://127.0.0.1:1/{}",
    "webhooks.0.secret": "whsec_{}AAAAAAAAA",  # a canary of 27 letters: 36 characters of base64
}
"""Formats for canaries in settings that do not accept any text."""


def setting_paths(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield the path of every setting."""
    for name, field in model.model_fields.items():
        inside = [kind for kind in (field.annotation, *_type_arguments(field.annotation)) if _is_model(kind)]
        below = {"tickers": "0.", "sources": "nbk.", "webhooks": "0."}.get(name, "") if not path else ""
        if inside:
            yield from setting_paths(inside[0], f"{path}{name}.{below}")
        else:
            yield f"{path}{name}.kk" if get_origin(field.annotation) is dict else f"{path}{name}"


def _type_arguments(kind: Any) -> Iterator[Any]:
    for argument in get_args(kind):
        yield argument
        yield from _type_arguments(argument)


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


SETTING_PATHS = list(setting_paths(Settings))
WEBHOOK = {"url": "https://127.0.0.1:1/", "secret": SECRET}
TICKER = {"id": "kzt", "base": "KZT", "currencies": ["USD"], "sources": ["nbk"]}


def nested(path: str, value: object) -> dict[str, Any]:
    """Return nested settings with one value at a path."""
    *parents, last = path.split(".")
    if parents[:1] == ["tickers"]:
        return {"tickers": [TICKER | {last: value}]}
    if parents[:1] == ["webhooks"]:
        return {"webhooks": [WEBHOOK | ({"headers": {last: value}} if "headers" in parents else {last: value})]}
    for name in (last, *reversed(parents)):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_every_setting_is_found() -> None:
    """Includes settings in nested tables, lists and named tables."""
    assert {"http.host", "store.url", "tickers.0.currencies", "sources.nbk.names.kk", "log.level"} <= set(SETTING_PATHS)
    assert len(SETTING_PATHS) == len(set(SETTING_PATHS)) > 40
    assert set(SETTING_PATHS) >= SHOWN


@pytest.mark.parametrize("path", [path for path in SETTING_PATHS if path != "tickers.0.sources"])
def test_no_settings_error_shows_a_value(path: str) -> None:
    """Values of every type for every setting: text, list, table, URL."""
    texts: list[object] = [CANARY, f"{CANARY}!", CANARY.upper(), f"x {CANARY}\n", f"https://{CANARY}@h/", "", 10**30]
    texts += [
        f"redis://:{CANARY}@h:port/0",
        f"https://h/?key={CANARY}",
        f"https://h/#{CANARY}",
        f"redis://:1/{CANARY}@h/0",
    ]
    for value in (*texts, [CANARY], [[CANARY]], {"x": CANARY}, [{"x": CANARY}], f"[{CANARY}", f'{{"x": "{CANARY}"'):
        assert CANARY not in fault(overrides=nested(path, value)).lower()
        if isinstance(value, str) and not path.startswith(("tickers", "webhooks")):
            assert CANARY not in fault(environ={variable(path): value}).lower()


def fault(environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None) -> str:
    """Return the error of a start with these settings, or an empty string."""
    try:
        open_store(validate(load(environ=environ or {}, overrides=overrides)), None, Clock())
    except SettingsError as error:
        return "".join(traceback.format_exception(error, chain=True)).rpartition("SettingsError")[2]
    return ""


def variable(path: str) -> str:
    return "TICKER_" + "__".join(path.split(".")).upper()


@pytest.mark.parametrize(
    "text", ['[store]\nurl = "redis://:{}@h', "[store]\nurl = {}", 'url = "{}" {}', "a = 1\na = '{}'"]
)
def test_error_of_invalid_toml_does_not_quote_it(tmp_path: Path, text: str) -> None:
    """The error shows line and column only."""
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("{}", CANARY))
    with pytest.raises(SettingsError, match="invalid TOML") as error:
        load(file, environ={})
    assert CANARY not in str(error.value)


@cache
def canaries() -> dict[str, str]:
    """Return a canary by path for each setting that accepts one; the canary contains the path."""
    accepted = {}
    for path in SETTING_PATHS:
        canary = re.sub(r"[^a-z]", "", path) + CANARY
        with contextlib.suppress(SettingsError):
            validate(load(environ={}, overrides=nested(path, FORMATS.get(path, "{}").format(canary))))
            accepted[path] = canary
    return accepted


@cache
def secrets() -> dict[str, str]:
    return {path: canary for path, canary in canaries().items() if path not in SHOWN}


def leaked(text: str) -> set[str]:
    """Return the settings whose canaries a text contains."""
    return {path for path, canary in secrets().items() if canary.lower() in text.lower()}


def environ(url: str) -> dict[str, str]:
    """Return an environment with a canary in every setting that accepts one, except those that must be valid."""
    values = {path: FORMATS.get(path, "{}").format(canary) for path, canary in canaries().items()}
    values |= {"store.url": url, "http.host": "127.0.0.1", "log.level": "debug"}
    values |= {"client.attempts": "1", "client.timeout": "1", "sources.nbk.sweep": "1", "sources.cbr.sweep": "1"}
    # With a proxy no bank would respond; see tests/sources/test_outgoing.py.
    for path in ("sources.nbk.provider", "store.data_dir", "tickers.0.id", "client.proxy", "sources.nbk.proxy"):
        values.pop(path, None)
    webhook: dict[str, Any] = WEBHOOK | {"url": values.pop("webhooks.0.url"), "secret": values.pop("webhooks.0.secret")}
    webhook |= {"headers": {"kk": values.pop("webhooks.0.headers.kk")}, "allow_private": True}
    values = {path: value for path, value in values.items() if not path.startswith("webhooks")}
    return {variable(path): value for path, value in values.items()} | {"TICKER_WEBHOOKS": json.dumps([webhook])}


def test_secret_settings_have_canaries() -> None:
    """Includes the store's password and settings of free text."""
    free_texts = {"store.url", "store.prefix", "client.user_agent", "sources.nbk.user_agent"}
    assert free_texts | {"client.proxy", "sources.nbk.proxy", "sources.nbk.headers.kk"} <= secrets().keys()
    assert {"webhooks.0.url", "webhooks.0.secret", "webhooks.0.headers.kk"} <= secrets().keys()


@pytest.fixture
async def banks() -> AsyncIterator[Banks]:
    """Yield banks of which one responds, and each of the others has another fault."""
    faults = {"cbr": 302, "ecb": "hang", "nbu": "reset", "cbu": b"<junk"}
    async with serving(Banks(faults=faults)) as banks:
        today = local("Asia/Almaty")
        banks.published["nbk"] = {today - timedelta(days=1): OLD, today: NEW}
        yield banks


PATHS = (
    "/v1/ticker", "/v1/ticker.txt", "/v1/ticker.svg", "/v1/ticker.html", "/v1/history/usd", "/v1/sources", "/embed",
    "/health", "/health?verbose", "/metrics", "/", "/openapi.json", "/docs", "/readyz", "/nowhere", "/v1/ticker?x=1",
    "/oembed?url=http%3A%2F%2F127.0.0.1%2Fembed", "/v1/ticker.atom", "/status",
)  # fmt: skip


def stored(server: Server) -> list[Any]:
    """Return all values of a store; key names may contain the prefix."""
    with redis.Redis(port=server.port, password=secrets()["store.url"]) as client:
        found: list[Any] = []
        for key in client.scan_iter():
            kind = client.type(key)
            if kind == b"hash":
                found.append(client.hgetall(key))
            elif kind == b"list":
                found.append(client.lrange(key, 0, -1))
            elif kind == b"zset":
                found.append(client.zrange(key, 0, -1))
            elif b"leader" not in key:
                found.append(client.get(key))
    return found


@pytest.mark.parametrize("form", ["json", pytest.param("console", marks=pytest.mark.slow)])
async def test_failing_service_shows_no_secret(tmp_path: Path, banks: Banks, form: str) -> None:
    """Log, responses and records, while banks fail and the store is down, rejects the password, and is back."""
    with valkey(tmp_path / "v", "--requirepass", secrets()["store.url"]) as server:
        env = environ(f"redis://:{secrets()['store.url']}@127.0.0.1:{server.port}/0") | banks.environ()
        env |= {"TICKER_LOG__FORMAT": form}
        valid_arguments = server.arguments

        def check() -> tuple[str, list[str]]:
            outputs = list[str]()

            def request_all() -> None:
                today = local("Asia/Almaty")
                for path in (*PATHS, f"/v1/fixings/nbk/{today}", f"/v1/fixings/nbk/{today}.raw"):
                    status, body = service.get(path)
                    outputs.append(f"{path} {status} {body}")

            with running(env) as service:
                for key in ("cbr", "ecb", "nbu", "cbu"):
                    service.wait_for("/health", f'"{key}: ')
                service.wait_for("/v1/ticker", '"source":"nbk"')
                request_all()
                wait_until(lambda: len(stored(server)) > 3, "rates in the store")
                add_event(server)
                service.wait_for("/health?verbose", "webhook 127.0.0.1:1: failing")
                outputs.append(str(stored(server)))
                outputs.append(command_lines(service.process.pid))
                server.kill()
                service.wait_for("/health?verbose", "cannot connect")
                request_all()
                server.arguments = ["--save", "", "--requirepass", "another"]
                server.start()
                service.wait_for("/health?verbose", "the password is missing or wrong")
                request_all()
                server.kill()
                server.arguments = valid_arguments
                server.start()
                service.process.send_signal(signal.SIGTERM)
                return service.ended()[1], outputs

        log, outputs = await asyncio.to_thread(check)
    assert "store.lost" in log
    assert "source.failing" in log
    assert "webhook.failing" in log
    assert leaked(log) == set()
    for output in outputs:
        assert leaked(output) == set(), output[:100]


def add_event(server: Server) -> None:
    """Add an event to the queue of the webhook, whose receiver does not listen."""
    event = {"id": "e1", "type": "ticker.changed", "subject": "kzt", "time": "2026-04-02T04:00:00Z", "body": "{}"}
    with redis.Redis(port=server.port, password=secrets()["store.url"]) as client:
        client.rpush(f"{secrets()['store.prefix']}webhooks:127.0.0.1:1", json.dumps(event))


def command_lines(pid: int) -> str:
    """Return the command lines of a process and its children; every user of the machine can read them."""
    service = psutil.Process(pid)
    return " ".join(word for process in (service, *service.children(recursive=True)) for word in process.cmdline())


COMMANDS = (
    ("backfill", "nbk", "--from", "{today}", "--pause", "0"), ("show",), ("sources",), ("poll", "nbk"), ("poll", "cbr"),
    ("poll", "nbu"), ("quarantine",), ("quarantine", "accept", "nbk", "2026-01-01"), ("export", "{file}"),
    ("import", "{file}"), ("sources", "--markdown"), ("check",), ("check", "--repair"), ("check-config",),
    ("show", "--json"), ("sources", "--json"), ("poll", "nbk", "--json"), ("quarantine", "--json"),
    ("webhooks", "list"), ("webhooks", "list", "--json"), ("webhooks", "test"), ("webhooks", "test", "nowhere"),
)  # fmt: skip


async def test_no_command_shows_a_secret(tmp_path: Path, banks: Banks, caplog: pytest.LogCaptureFixture) -> None:
    """Output and exported file, with a working store and with stores that fail."""
    file = tmp_path / "all.ndjson.gz"
    values = {"today": str(local("Asia/Almaty")), "file": str(file)}
    password = secrets()["store.url"]
    with valkey(tmp_path / "v", "--requirepass", password) as server:
        valid = f"redis://:{password}@127.0.0.1:{server.port}/0"
        failing = (valid.replace("://:", "://:wrong"), f"redis://:{password}@127.0.0.1:1/0", f"{valid}/x@")
        for url, commands in ((valid, COMMANDS), *((url, COMMANDS[:2]) for url in failing)):
            env = environ(url) | banks.environ()
            for words in commands:
                output = (await asyncio.to_thread(command, env, *(word.format(**values) for word in words))).output
                assert leaked(output) == set(), output
                assert "Traceback" not in output
                assert url == valid or re.search(r"error: (redis://127|store\.url)", output)
    assert leaked(caplog.text) == set()  # a process prints the logs of its libraries
    exported = gzip.decompress(file.read_bytes()).decode()
    assert '"rates"' in exported
    assert leaked(exported) == set()


CRASHING_COMMAND = """
import sys
from service.cli import commands
from service.storage.repository import Store

def crash(settings, *_, **__):
    store = Store(settings.store.url.get_secret_value(), settings.store.prefix)
    raise RuntimeError("oops")

commands.sources = crash
sys.argv = ["service", "sources"]
from service.cli.main import cli
cli()
"""


def test_traceback_of_a_crash_shows_no_values() -> None:
    """Neither the line that reports it, nor the traceback that is printed on request."""
    variables = environ(FORMATS["store.url"].format(secrets()["store.url"]))
    for mode, found in (({}, "internal error (RuntimeError in "), ({"PYTHONDEVMODE": "1"}, "RuntimeError: oops")):
        done = process(variables | mode, "-c", CRASHING_COMMAND)
        assert found in done.stderr
        assert leaked(f"{done.stdout}{done.stderr}") == set()


CRASHING_POLL = """
from service import app
from service.sources.banks import SOURCES

class Crashing(type(SOURCES["nbk"])):
    def fetch(self, session, since, until):
        password, settings = current.store.url.get_secret_value(), current
        raise RuntimeError(f"oops {len(password)} {settings!r:.0}")

def create_app(settings, *others, original=app.create_app, **options):
    global current
    current = settings
    return original(settings, *others, **options)

app.create_app, SOURCES["nbk"] = create_app, Crashing()
from service.cli.main import cli
cli()
"""


class Crashing(Service):
    """The service with an adapter that crashes in a frame with all settings."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.port = unused_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CRASHING_POLL, "serve", "--port", str(self.port)],
            cwd=ROOT, env={"PATH": os.defpath, **environ}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.mark.parametrize("form", ["json", "console"])
async def test_crash_in_a_poll_logs_no_values(banks: Banks, form: str) -> None:
    """The log has the full traceback, health one line."""
    url = f"redis://:{secrets()['store.url']}@127.0.0.1:{unused_port()}/0"
    service = Crashing(environ(url) | banks.environ() | {"TICKER_LOG__FORMAT": form})

    def check() -> str:
        try:
            return service.wait_for("/health", "internal error: RuntimeError('oops ")
        finally:
            service.process.terminate()

    health = await asyncio.to_thread(check)
    _, log = await asyncio.to_thread(service.ended)
    assert "poll.crashed" in log
    assert "in fetch" in log
    assert leaked(f"{log}{health}") == set()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:{}@127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}/0?username=user&password={}",
        "rediss://:{}@127.0.0.1:{port}/0",
        "unix:///nowhere.sock?password={}",
        "redis+sentinel://user:{}@127.0.0.1:{port},localhost:{port}/main/0",
        "redis+sentinel://:{}@127.0.0.1:{sentinel}/main/0",
        "redis+sentinel://:{}@127.0.0.1:{sentinel}/nosuch/0",
        "redis+sentinel://127.0.0.1:{sentinel}/main/0?sentinel_username=user&sentinel_password={}",
        "rediss+sentinel://127.0.0.1:1/main/0?sentinel_password={}",
    ],
)
async def test_no_store_url_shows_its_password(tmp_path: Path, url: str) -> None:
    """Neither in the error nor in its traceback, also if the server requires another password."""
    with (
        valkey(tmp_path / "v", "--requirepass", "another") as server,
        sentinel(tmp_path / "s", server) as watching,
    ):
        store_url = (
            url.replace("{}", CANARY).replace("{port}", str(server.port)).replace("{sentinel}", str(watching.port))
        )
        async with Store(store_url, "t:") as store:
            with pytest.raises(StoreError) as error:
                await store.versions()
    shown = "".join(traceback.format_exception(error.value, chain=True))
    assert "StoreError" in shown
    assert CANARY not in f"{shown}{error.value!r}{store!r}{vars(store)!r}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:12/{}@127.0.0.1:6379/0",
        "redis://:12#{}@127.0.0.1:6379/0",
        "redis://:12?{}@127.0.0.1:6379/0",
        "redis+sentinel://h:12/{}@127.0.0.1:26379/main/0",
        "unix://:12/{}@/run/valkey.sock",
        "{}",
        "{}://h",
        "redis+sentinel://:{}@h:port/main",
        "redis+sentinel://h/main?sentinel_password=12&{}",
        "redis+sentinel://h/main?sentinel_password=12&{}=12",
        "redis://h?{}",
        "redis://{}@h",
    ],
)
def test_password_that_breaks_the_url_is_not_shown(url: str) -> None:
    """A character with a meaning in URLs ends the password early; the rest would be shown as a path."""
    with pytest.raises(SettingsError, match=r"store\.url") as error:
        Store(url.replace("{}", CANARY), "t:")
    assert CANARY not in str(error.value)
