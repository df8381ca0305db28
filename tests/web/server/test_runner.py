"""What ends serving: signals to this process, as a supervisor sends them."""

import asyncio
import signal
import socket
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from service.settings import HttpSettings
from service.web.server.runner import DRAINING, run
from tests.support.ports import unused_port

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Block SIGHUP, as the command `serve` does, and restore all handlers."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_serving(number: signal.Signals) -> None:
    assert run(web.Application(), HttpSettings(port=unused_port()), lambda _: signal.raise_signal(number)) is False


def test_hang_up_ends_serving_if_it_may_restart() -> None:
    """Sent before the application serves, it is not lost."""
    signal.raise_signal(signal.SIGHUP)
    assert run(web.Application(), HttpSettings(port=unused_port()), lambda _: None, lambda: True) is True


def test_hang_up_changes_nothing_if_it_may_not_restart() -> None:
    """Invalid settings: the application serves until another signal."""
    app, port, ended = web.Application(), unused_port(), list[str]()

    def may_restart() -> bool:
        signal.raise_signal(signal.SIGTERM)
        return False

    async def end(_: web.Application) -> None:
        ended.append("cleaned up")

    app.on_cleanup.append(end)
    assert run(app, HttpSettings(port=port), lambda _: signal.raise_signal(signal.SIGHUP), may_restart) is False
    assert ended == ["cleaned up"]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30)


def test_termination_wins_over_a_restart() -> None:
    """A supervisor sends it once: the process must not start again."""

    def may_restart() -> bool:
        signal.raise_signal(signal.SIGTERM)
        return True

    assert (
        run(
            web.Application(),
            HttpSettings(port=unused_port()),
            lambda _: signal.raise_signal(signal.SIGHUP),
            may_restart,
        )
        is False
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_drain_ends_by_itself(number: signal.Signals) -> None:
    """After a restart too, which closes the listener as well."""
    app, http = web.Application(), HttpSettings(port=unused_port(), drain=timedelta(milliseconds=1))
    app[DRAINING] = asyncio.Event()
    assert run(app, http, lambda _: signal.raise_signal(number), lambda: True) is (number is signal.SIGHUP)
    assert app[DRAINING].is_set()


def test_termination_after_a_hang_up_does_not_end_the_drain() -> None:
    """Only a second one does: the load balancer still sends requests."""
    app, sent = web.Application(), list[signal.Signals]()
    app[DRAINING] = asyncio.Event()

    async def end_when_draining() -> None:
        await app[DRAINING].wait()
        for number in (signal.SIGTERM, signal.SIGTERM):
            sent.append(number)
            signal.raise_signal(number)
            await asyncio.sleep(0)
            if len(sent) == 1:
                assert not is_cleaned_up()
                await asyncio.sleep(0.01)
                assert not is_cleaned_up()

    cleaned = list[str]()

    def is_cleaned_up() -> bool:
        return bool(cleaned)

    async def begin(_: web.Application) -> None:
        tasks.append(asyncio.create_task(end_when_draining()))

    async def end(_: web.Application) -> None:
        cleaned.append("cleaned up")

    tasks = list[asyncio.Task[None]]()
    app.on_startup.append(begin)
    app.on_cleanup.append(end)
    http = HttpSettings(port=unused_port(), drain=timedelta(hours=1))
    assert run(app, http, lambda _: signal.raise_signal(signal.SIGHUP), lambda: True) is False
    assert cleaned
    assert [task.exception() for task in tasks] == [None]
    assert len(sent) == 2


def test_url_has_the_port_that_was_chosen() -> None:
    """With port 0 the log names an address to which a client can connect."""
    urls = list[str]()

    def ready(url: str) -> None:
        urls.append(url)
        address = urlsplit(url)
        socket.create_connection((address.hostname, address.port), 30).close()
        signal.raise_signal(signal.SIGTERM)

    run(web.Application(), HttpSettings(port=0), ready)
    assert [url.rpartition(":")[0] for url in urls] == ["http://127.0.0.1"]


def test_address_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(OSError, match="address already in use"):
        run(web.Application(), HttpSettings(port=server.getsockname()[1]), lambda _: None)
