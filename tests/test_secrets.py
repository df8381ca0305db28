"""No secret is told: canaries in every setting, everything made to fail, and all that comes out looked through.

Every setting counts as a secret that is not named in `SHOWN`, a new one too.
"""

import asyncio
import contextlib
import gzip
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
import redis
from pydantic import BaseModel

from service.clock import Clock
from service.errors import SettingsError, StoreError
from service.settings import Settings, load
from service.settings.loader import ROOT
from service.sources.banks import validate
from service.storage.repository import Store, open_store
from tests.support.cli import command, process
from tests.support.ports import unused_port
from tests.support.process import NEW, OLD, Service, local, running
from tests.support.servers import Server, sentinel, valkey
from tests.support.standin import Banks, serving
from tests.support.wait import wait_until

CANARY = "canary0secret"
SHOWN = {
    "http.host",  # in the log, at the start
    "http.public_url",  # in what /oembed and /embed say of themselves
    "http.frame_ancestors",  # in the policy of /embed
    "store.data_dir",  # in errors of the embedded store
    "tickers.0.id",  # in addresses
    "tickers.0.sources",  # keys, by which sources are spoken of
    *(f"sources.nbk.{name}" for name in ("name", "names.kk", "url", "terms", "provider", "timezone", "calendar")),
}
"""What is there to be seen, or told when it is wrong."""
FORMS = {
    "store.url": "redis://:{}@127.0.0.1:1/0",
    "http.public_url": "https://{}.example",
    "sources.nbk.url": "http://127.0.0.1:1/{}",
}
"""How a canary is put where not every text will do."""


def leaves(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield every setting, by its path."""
    for name, field in model.model_fields.items():
        inside = [kind for kind in (field.annotation, *_within(field.annotation)) if _is_model(kind)]
        below = {"tickers": "0.", "sources": "nbk."}.get(name, "") if not path else ""
        if inside:
            yield from leaves(inside[0], f"{path}{name}.{below}")
        else:
            yield f"{path}{name}.kk" if field.annotation == dict[str, str] else f"{path}{name}"


def _within(kind: Any) -> Iterator[Any]:
    for one in get_args(kind):
        yield one
        yield from _within(one)


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


LEAVES = list(leaves(Settings))
TICKER = {"id": "kzt", "base": "KZT", "currencies": ["USD"], "sources": ["nbk"]}


def laid(path: str, value: object) -> dict[str, Any]:
    """Return a layer of settings with one value in its place."""
    *parents, last = path.split(".")
    if parents[:1] == ["tickers"]:
        return {"tickers": [TICKER | {last: value}]}
    for name in (last, *reversed(parents)):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_every_setting_is_walked_to() -> None:
    """Tables in tables, in lists and in tables by name."""
    assert {"http.host", "store.url", "tickers.0.currencies", "sources.nbk.names.kk", "log.level"} <= set(LEAVES)
    assert len(LEAVES) == len(set(LEAVES)) > 40
    assert set(LEAVES) >= SHOWN


@pytest.mark.parametrize("path", [path for path in LEAVES if path != "tickers.0.sources"])
def test_no_settings_error_shows_a_value(path: str) -> None:
    """Whatever is put in the place of whatever: a text, a list, a table, an address."""
    texts: list[object] = [CANARY, f"{CANARY}!", CANARY.upper(), f"x {CANARY}\n", f"https://{CANARY}@h/", "", 10**30]
    texts += [
        f"redis://:{CANARY}@h:port/0",
        f"https://h/?key={CANARY}",
        f"https://h/#{CANARY}",
        f"redis://:1/{CANARY}@h/0",
    ]
    for value in (*texts, [CANARY], [[CANARY]], {"x": CANARY}, [{"x": CANARY}], f"[{CANARY}", f'{{"x": "{CANARY}"'):
        assert CANARY not in fault(overrides=laid(path, value)).lower()
        if isinstance(value, str) and not path.startswith("tickers"):
            assert CANARY not in fault(environ={variable(path): value}).lower()


def fault(environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None) -> str:
    """Return what a start with such settings says of them, if anything."""
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
def test_a_file_that_is_no_toml_is_not_quoted(tmp_path: Path, text: str) -> None:
    """Its line and column say enough."""
    file = tmp_path / "mine.toml"
    file.write_text(text.replace("{}", CANARY))
    with pytest.raises(SettingsError, match="invalid TOML") as error:
        load(file, environ={})
    assert CANARY not in str(error.value)


def canaries() -> dict[str, str]:
    """Return a canary for each setting that takes one, by its path: the path itself tells whose it was."""
    taken = {}
    for path in LEAVES:
        one = re.sub(r"[^a-z]", "", path) + CANARY
        with contextlib.suppress(SettingsError):
            validate(load(environ={}, overrides=laid(path, FORMS.get(path, "{}").format(one))))
            taken[path] = one
    return taken


SECRET = {path: one for path, one in canaries().items() if path not in SHOWN}


def told(text: str) -> set[str]:
    """Return the settings whose canaries are in a text."""
    return {path for path, one in SECRET.items() if one.lower() in text.lower()}


def environ(url: str) -> dict[str, str]:
    """Return the environment with a canary in every setting that takes one, but for what has to be right."""
    chosen = {path: FORMS.get(path, "{}").format(one) for path, one in canaries().items()}
    chosen |= {"store.url": url, "http.host": "127.0.0.1", "log.level": "debug"}
    chosen |= {"client.attempts": "1", "client.timeout": "1", "sources.nbk.sweep": "1", "sources.cbr.sweep": "1"}
    for path in ("sources.nbk.provider", "store.data_dir", "tickers.0.id"):
        chosen.pop(path, None)
    return {variable(path): value for path, value in chosen.items()}


def test_what_can_be_a_secret_is_among_the_canaries() -> None:
    """The store's password, and whatever else is free text."""
    assert {"store.url", "store.prefix", "client.user_agent"} <= SECRET.keys()


@pytest.fixture
async def banks() -> AsyncIterator[Banks]:
    """One bank that answers, and one fault each of the others."""
    faults = {"cbr": 302, "ecb": "hang", "nbu": "reset", "cbu": b"<junk"}
    async with serving(Banks(faults=faults)) as banks:
        today = local("Asia/Almaty")
        banks.published["nbk"] = {today - timedelta(days=1): OLD, today: NEW}
        yield banks


PATHS = (
    "/v1/ticker", "/v1/ticker.txt", "/v1/ticker.svg", "/v1/ticker.html", "/v1/history/usd", "/v1/sources", "/embed",
    "/health", "/health?verbose", "/metrics", "/", "/openapi.json", "/docs", "/readyz", "/nowhere", "/v1/ticker?x=1",
    "/oembed?url=http%3A%2F%2F127.0.0.1%2Fembed",
)  # fmt: skip


def stored(server: Server) -> list[Any]:
    """Return all values of a store; the names of keys have the prefix for their purpose."""
    with redis.Redis(port=server.port, password=SECRET["store.url"]) as client:
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


@pytest.mark.parametrize("form", ["json", "console"])
async def test_failing_service_shows_no_secret(tmp_path: Path, banks: Banks, form: str) -> None:
    """Log, replies and records, while banks fail and the store is lost, refuses the password, and is back."""
    with valkey(tmp_path / "v", "--requirepass", SECRET["store.url"]) as server:
        env = environ(f"redis://:{SECRET['store.url']}@127.0.0.1:{server.port}/0") | banks.environ()
        env |= {"TICKER_LOG__FORMAT": form}
        right = server.arguments

        def check() -> tuple[str, list[str]]:
            replies = list[str]()

            def ask() -> None:
                today = local("Asia/Almaty")
                for path in (*PATHS, f"/v1/fixings/nbk/{today}", f"/v1/fixings/nbk/{today}.raw"):
                    status, body = service.get(path)
                    replies.append(f"{path} {status} {body}")

            with running(env) as service:
                for key in ("cbr", "ecb", "nbu", "cbu"):
                    service.wait_for("/health", f'"{key}: ')
                service.wait_for("/v1/ticker", '"source":"nbk"')
                ask()
                wait_until(lambda: len(stored(server)) > 3, "rates in the store")
                replies.append(str(stored(server)))
                replies.append(command_lines(service.process.pid))
                server.kill()
                service.wait_for("/health?verbose", "connecting to")
                ask()
                server.arguments = ["--save", "", "--requirepass", "another"]
                server.start()
                service.wait_for("/health?verbose", "the password is missing or wrong")
                ask()
                server.kill()
                server.arguments = right
                server.start()
                service.process.send_signal(signal.SIGTERM)
                return service.ended()[1], replies

        log, replies = await asyncio.to_thread(check)
    assert "store.lost" in log
    assert "source.failing" in log
    assert told(log) == set()
    for reply in replies:
        assert told(reply) == set(), reply[:100]


def command_lines(pid: int) -> str:
    """Return the command lines of a process and of all that it started, which every user of a machine can read."""
    service = psutil.Process(pid)
    return " ".join(word for one in (service, *service.children(recursive=True)) for word in one.cmdline())


COMMANDS = (
    ("backfill", "nbk", "--from", "{today}", "--pause", "0"), ("show",), ("sources",), ("poll", "nbk"), ("poll", "cbr"),
    ("poll", "nbu"), ("quarantine",), ("quarantine", "accept", "nbk", "2026-01-01"), ("export", "{file}"),
    ("import", "{file}"), ("sources", "--markdown"), ("check",), ("check", "--repair"),
)  # fmt: skip


async def test_no_command_shows_a_secret(tmp_path: Path, banks: Banks, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does the file that is exported: with a store that obeys, and with one that refuses."""
    file = tmp_path / "all.ndjson.gz"
    values = {"today": str(local("Asia/Almaty")), "file": str(file)}
    password = SECRET["store.url"]
    with valkey(tmp_path / "v", "--requirepass", password) as server:
        right = f"redis://:{password}@127.0.0.1:{server.port}/0"
        wrong = (right.replace("://:", "://:wrong"), f"redis://:{password}@127.0.0.1:1/0", f"{right}/x@")
        for url, commands in ((right, COMMANDS), *((url, COMMANDS[:2]) for url in wrong)):
            env = environ(url) | banks.environ()
            for words in commands:
                said = (await asyncio.to_thread(command, env, *(word.format(**values) for word in words))).output
                assert told(said) == set(), said
                assert "Traceback" not in said
                assert url == right or re.search(r"error: (redis://127|store\.url)", said)
    assert told(caplog.text) == set()  # a process prints what its libraries log
    kept = gzip.decompress(file.read_bytes()).decode()
    assert '"rates"' in kept
    assert told(kept) == set()


CRASHES = """
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


def test_a_command_that_crashes_shows_where_and_not_with_what() -> None:
    """A traceback has no values."""
    done = process(environ(FORMS["store.url"].format(SECRET["store.url"])), "-c", CRASHES)
    assert "RuntimeError: oops" in done.stderr
    assert told(f"{done.stdout}{done.stderr}") == set()


POLL_CRASHES = """
from service import app
from service.sources.banks import SOURCES

class Crashing(type(SOURCES["nbk"])):
    def fetch(self, session, since, until):
        password, settings = made.store.url.get_secret_value(), made
        raise RuntimeError(f"oops {len(password)} {settings!r:.0}")

def create_app(settings, *others, made_before=app.create_app):
    global made
    made = settings
    return made_before(settings, *others)

app.create_app, SOURCES["nbk"] = create_app, Crashing()
from service.cli.main import cli
cli()
"""


class Crashing(Service):
    """The service with an adapter that has a fault, beside all settings."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.port = unused_port()
        self.process = subprocess.Popen(
            [sys.executable, "-c", POLL_CRASHES, "serve", "--port", str(self.port)],
            cwd=ROOT, env={"PATH": os.defpath, **environ}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_crash_in_a_poll_logs_no_values(banks: Banks, form: str) -> None:
    """The log has the whole traceback, and health one line."""
    url = f"redis://:{SECRET['store.url']}@127.0.0.1:{unused_port()}/0"
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
    assert told(f"{log}{health}") == set()


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
    ],
)
async def test_no_store_url_shows_its_password(tmp_path: Path, url: str) -> None:
    """Neither in what is told of a fault nor in the traceback behind it; of a server that wants another password."""
    with (
        valkey(tmp_path / "v", "--requirepass", "another") as server,
        sentinel(tmp_path / "s", server) as watching,
    ):
        made = url.replace("{}", CANARY).replace("{port}", str(server.port)).replace("{sentinel}", str(watching.port))
        async with Store(made, "t:") as store:
            with pytest.raises(StoreError) as error:
                await store.versions()
    said = "".join(traceback.format_exception(error.value, chain=True))
    assert "StoreError" in said
    assert CANARY not in f"{said}{error.value!r}{store!r}{vars(store)!r}"


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
    ],
)
def test_a_password_that_breaks_its_address_is_not_taken_for_a_part_of_it(url: str) -> None:
    """What has a meaning in an address ends the password early: its rest would be shown as a path."""
    with pytest.raises(SettingsError, match=r"store\.url") as error:
        Store(url.replace("{}", CANARY), "t:")
    assert CANARY not in str(error.value)
