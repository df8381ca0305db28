"""The service as a process: startup, signals, store, exit status and commands."""

import asyncio
import contextlib
import gzip
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from service import app
from service.cli import main
from service.cli.transfer import HEADER
from service.cluster import leader_election
from service.errors import SettingsError
from service.settings import HttpSettings, load
from service.settings.loader import ROOT
from service.storage import embedded_valkey, sync
from service.web.server.runner import Runner
from tests.support.cli import command, process
from tests.support.ports import unused_port
from tests.support.process import NEW, OLD, Service, local, offline, running
from tests.support.servers import in_cluster_mode, valkey
from tests.support.standin import Banks, serving
from tests.support.wait import PATIENCE, wait_until

EXPECTED = "usd +1.35%\neur +2.68%\nrub 0.00%\ngbp +4.11%\ncny +0.25%\n"
SAMPLE_DATA = "usd -0.77%\neur +0.44%\nrub 0.00%\ngbp -0.02%\ncny -0.27%\n"


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[tuple[dict[str, str], Banks]]:
    """Yield the environment of a service with stand-in banks and a data directory of its own."""
    async with serving(Banks()) as banks:
        yield banks.environ() | {"TICKER_STORE__DATA_DIR": str(tmp_path / "d")}, banks


def test_sample_data_is_served_without_a_network(tmp_path: Path) -> None:
    """The default configuration: five rates marked as sample data, and health reports every bank.

    A second service on the same port exits with one line and status 1; `show` and `sources` print what is served.
    """
    variables = offline(tmp_path)
    with running(variables) as service:
        assert service.wait_for("/v1/ticker.txt", "cny") == SAMPLE_DATA
        snapshot = json.loads(service.get("/v1/ticker")[1])
        assert (snapshot["recorded"], snapshot["status"], snapshot["as_of"]) == (True, "recorded", "2026-04-02")
        assert "sample data" in service.get("/embed")[1]
        for key in ("nbk", "cbr", "ecb", "nbu", "cbu"):
            service.wait_for("/health", f"{key}: request failed")
        status, health = service.get("/health")
        assert (status, json.loads(health)["status"]) == (200, "warn")

        with running(variables | {"TICKER_STORE__DATA_DIR": str(tmp_path / "e")}, port=service.port) as second:
            status, log = second.ended()
        assert status == 1
        assert re.search(rf"error: cannot listen on 127\.0\.0\.1:{service.port}: ", log)
        assert "Traceback" not in log

        def same() -> bool:
            shown = command(variables, "show", "--json")
            return not shown.exit_code and json.loads(shown.stdout) == json.loads(service.get("/v1/ticker")[1])

        wait_until(same, "the store to have the served snapshot")
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status == 0
    assert "Traceback" not in log
    assert log.count("source.failing") == 5

    table = command(variables, "show", "kzt")
    assert table.exit_code == 0
    for text in ("recorded, as of 2026-04-02", "475.09", "-0.77%", "2026-04-02"):
        assert text in table.stdout
    printed = command(variables, "sources")
    assert printed.exit_code == 0
    for text in ("nbk", "Bank of Russia", "failing", "recorded", "2026-04-02"):
        assert text in printed.stdout


@pytest.mark.slow
async def test_tickers_use_their_sources_and_fallbacks(env: tuple[dict[str, str], Banks], tmp_path: Path) -> None:
    """KZT from NBK, or as marked cross rates of the Bank of Russia; EUR from the ECB, without the rouble."""
    variables, banks = env
    zones = {"nbk": "Asia/Almaty", "cbr": "Europe/Moscow", "ecb": "Europe/Berlin"}
    today = {key: local(zone) for key, zone in zones.items()}
    yesterday = {key: day - timedelta(days=1) for key, day in today.items()}
    banks.published = {
        "nbk": {yesterday["nbk"]: OLD, today["nbk"]: NEW},
        "cbr": {
            yesterday["cbr"]: {
                "USD": "80.00",
                "EUR": "100.00",
                "GBP": "120.00",
                "CNY": "16.00",
                "KZT": ("20.0000", 100),
            },
            today["cbr"]: {"USD": "81.08", "EUR": "102.50", "GBP": "124.80", "CNY": "16.00", "KZT": ("19.9000", 100)},
        },
        "ecb": {
            yesterday["ecb"]: {"USD": "1.2500", "GBP": "0.8300", "CNY": "6.3500"},
            today["ecb"]: {"USD": "1.2580", "GBP": "0.8300", "CNY": "6.3102"},
        },
        "nbu": {local("Europe/Kyiv"): {"USD": "43.10", "KZT": ("10.65", 100)}},
        "cbu": {local("Asia/Tashkent"): {"USD": "12142.10", "KZT": "29.95"}},
    }
    config = tmp_path / "tickers.toml"
    config.write_text(
        '[[tickers]]\nid = "kzt"\nbase = "KZT"\n'
        'currencies = ["USD", "EUR", "RUB", "GBP", "CNY"]\nsources = ["nbk", "cbr"]\n'
        '[[tickers]]\nid = "eur"\nbase = "EUR"\ncurrencies = ["USD", "GBP", "CNY", "RUB"]\nsources = ["ecb"]\n'
    )

    def check() -> None:
        with running(variables, "--config", str(config)) as service:
            service.wait_for("/v1/ticker", '"source":"nbk"')
            assert service.get("/v1/ticker.txt")[1] == EXPECTED
            assert service.wait_for("/v1/ticker/eur.txt", "usd") == "usd -0.64%\ngbp 0.00%\ncny +0.63%\nrub —\n"
            rouble = json.loads(service.get("/v1/ticker/eur")[1])["quotes"][3]
            assert (rouble["rate"], rouble["percent"], rouble["source"]) == (None, None, None)
            for key in ("nbk", "cbr", "ecb", "nbu", "cbu"):
                service.wait_for("/v1/sources", f'"key":"{key}"')
            states = {source["key"]: source["error"] for source in json.loads(service.get("/v1/sources")[1])["sources"]}
            assert set(states.values()) == {None}
        banks.faults["nbk"] = 503
        with running(variables | {"TICKER_STORE__DATA_DIR": str(tmp_path / "e")}, "--config", str(config)) as service:
            # 80 / 0.2 = 400, 81.08 / 0.199 = 407.44; 102.5 / 0.199 = 515.08; 1 / 0.199 = 5.03; 124.8 / 0.199 = 627.14
            service.wait_for("/v1/ticker", '"source":"cbr"')
            assert service.get("/v1/ticker.txt")[1] == "usd +1.86%\neur +3.02%\nrub +0.50%\ngbp +4.52%\ncny +0.50%\n"
            quotes = json.loads(service.get("/v1/ticker")[1])["quotes"]
            assert {(quote["source"], quote["choice"], quote["cross"]) for quote in quotes} == {("cbr", 2, True)}
            assert "Bank of Russia, cross rate, fallback source" in service.get("/embed")[1]

    await asyncio.to_thread(check)


@pytest.mark.slow
async def test_kill_of_service_and_store_loses_no_rates(env: tuple[dict[str, str], Banks]) -> None:
    """Killed while polling and restarted while all banks hang, it serves the same ticker from the store."""
    variables, banks = env
    today = local("Asia/Almaty")
    banks.published["nbk"] = {today - timedelta(days=1): OLD, today: NEW}
    variables |= {"TICKER_SOURCES__NBK__SWEEP": "1"}

    def check() -> None:
        first = Service(variables, port=unused_port())
        try:
            first.wait_for("/v1/ticker", '"source":"nbk"')
            before = first.get("/v1/ticker")[1]
            banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), "hang"))
            polls = banks.requests["nbk"]
            wait_until(lambda: banks.requests["nbk"] > polls, "another poll")
        finally:
            first.kill_all()
        with running(variables) as second:
            assert second.wait_for("/v1/ticker", '"source":"nbk"') == before
            second.process.send_signal(signal.SIGKILL)
            second.ended()
        with running(variables) as third:
            assert third.wait_for("/v1/ticker", '"source":"nbk"') == before

    await asyncio.to_thread(check)


@pytest.mark.slow
async def test_killed_store_is_restarted(env: tuple[dict[str, str], Banks]) -> None:
    """Rates accepted meanwhile are written later: they are shown after a restart while all banks hang."""
    variables, banks = env
    today = local("Asia/Almaty")
    banks.published["nbk"] = {today - timedelta(days=1): OLD, today: {**OLD, "USD": "401.00"}}
    variables |= {"TICKER_SOURCES__NBK__SWEEP": "1"}

    def check() -> None:
        with running(variables) as service:
            service.wait_for("/v1/ticker.txt", "usd +0.25%")
            (store,) = children(service)
            store.kill()
            banks.published["nbk"][today] = NEW
            service.wait_for("/v1/ticker.txt", "usd +1.35%")
            assert service.wait_for("/v1/ticker.txt", "cny") == EXPECTED
            service.wait_for("/health", '"store":[{"componentType":"datastore","status":"pass"')
        banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), "hang"))
        with running(variables) as service:
            assert service.wait_for("/v1/ticker.txt", "cny") == EXPECTED

    await asyncio.to_thread(check)


@pytest.mark.slow
async def test_invalid_records_in_the_store_are_skipped(env: tuple[dict[str, str], Banks], tmp_path: Path) -> None:
    """Invalid dates, numbers and bytes, and a key of the wrong type, which is moved aside: the log names each."""
    variables, banks = env
    today = local("Asia/Almaty")
    yesterday = today - timedelta(days=1)
    banks.published["nbk"] = {yesterday: OLD, today: NEW}

    def work() -> None:
        with valkey(tmp_path / "valkey") as server, server.client() as client:
            variables["TICKER_STORE__URL"] = f"redis://127.0.0.1:{server.port}/0"
            with running(variables) as service:
                service.wait_for("/v1/ticker", '"source":"nbk"')
            valid = client.hget("ticker:fixings:nbk", str(today))
            assert isinstance(valid, str)
            far_future, huge = valid.replace(str(today), "9999-12-31"), valid.replace('"405.40"', '"1E+2000000"')
            broken = {"9999-12-31": far_future, "2030-01-01": valid.replace(str(today), "2030-01-01")}
            broken |= {str(today - timedelta(days=2)): huge.replace(str(today), str(today - timedelta(days=2)))}
            broken |= {str(today - timedelta(days=3)): "{oops", "never": valid}
            client.hset("ticker:fixings:nbk", mapping={**broken, str(today - timedelta(days=4)): b"\xff"})
            client.hset("ticker:quarantine:nbk", "9999-12-31", "{}")
            client.delete("ticker:fixings:cbu")
            client.set("ticker:fixings:cbu", "oops")
            banks.faults["nbk"] = 503
            with running(variables) as service:
                assert service.wait_for("/v1/ticker.txt", "cny") == EXPECTED
                snapshot = json.loads(service.get("/v1/ticker")[1])
                assert (snapshot["as_of"], snapshot["quotes"][0]["source"]) == (str(today), "nbk")
                assert service.get(f"/v1/history/usd?from={yesterday}")[0] == 200
                service.process.send_signal(signal.SIGTERM)
                status, log = service.ended()
            assert status == 0
            assert "Traceback" not in log
            reported = [line for line in log.splitlines() if "store.unreadable" in line]
            for field in (*broken, str(today - timedelta(days=4))):
                assert any("fixings:nbk" in line and field in line for line in reported), field
            assert any("quarantine:nbk" in line for line in reported)
            assert any("store.moved_aside" in line and "fixings:cbu" in line for line in log.splitlines())
            assert client.get("ticker:aside:cbu:fixings:cbu") == "oops"
            listed = command(variables, "check")
            assert (listed.exit_code, listed.stdout.count("\n")) == (1, 7)
            assert "fixings:nbk 9999-12-31: it is dated 9999-12-31, after" in listed.stdout
            assert command(variables, "check", "--repair").exit_code == command(variables, "check").exit_code == 0
            assert client.hget("ticker:aside:nbk", "fixings:nbk 9999-12-31") == far_future
            for line in (far_future, huge, broken["2030-01-01"]):
                file = tmp_path / "fixings.ndjson.gz"
                file.write_bytes(gzip.compress(f"{json.dumps(HEADER)}\n{line}\n".encode()))
                refused = command(variables, "import", str(file))
                assert refused.exit_code == 1
                assert refused.stderr.startswith(f"error: {file}: line 2: ")

    await asyncio.to_thread(work)


def catches(service: Service, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def children(service: Service) -> list[psutil.Process]:
    return list(psutil.Process(service.process.pid).children())


def listens(service: Service) -> bool:
    return any(item.status == psutil.CONN_LISTEN for item in psutil.Process(service.process.pid).net_connections())


MOMENTS: dict[str, Callable[[Service], object]] = {
    "once its handler is set": lambda _: True,
    "once the store's process exists": children,
    "once it listens": listens,
}


@pytest.mark.parametrize(
    "moment",
    [
        MOMENTS["once its handler is set"],
        pytest.param(MOMENTS["once the store's process exists"], marks=pytest.mark.slow),
        MOMENTS["once it listens"],
    ],
    ids=MOMENTS,
)
def test_sigterm_during_startup_stops_the_service(tmp_path: Path, moment: Callable[[Service], object]) -> None:
    """Exit status 0, and no store process remains."""
    with running(offline(tmp_path)) as service:
        wait_until(lambda: catches(service, signal.SIGTERM), "a handler of SIGTERM")
        wait_until(lambda: moment(service), "the moment")
        started = children(service)
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
        assert (status, "Traceback" in log) == (0, False), log
        _, remaining = psutil.wait_procs(started, timeout=PATIENCE)
        assert remaining == []


def test_exit_swallowed_by_a_library_stops_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exit raised in a C callback is only printed; the flag it sets is checked before anything is served."""
    stop = main._Stop()
    with contextlib.suppress(SystemExit):
        stop()
    monkeypatch.setattr(app, "run", lambda *_: pytest.fail("the service serves"))
    with pytest.raises(SystemExit) as ended:
        app.serve(load(environ={"TICKER_STORE__URL": "redis://127.0.0.1:1"}), None, stop.obey)
    assert ended.value.code == 0

    def swallowed() -> None:
        with main._reported_errors(stop):
            raise SettingsError("inside a validator")

    with pytest.raises(SystemExit) as ended:
        swallowed()
    assert ended.value.code == 0


def test_shutdown_timeouts_are_below_five_seconds() -> None:
    """Requests in progress, last write, leader's lock and embedded store are stopped in turn, each with a timeout."""
    requests = Runner(web.Application(), HttpSettings())._shutdown_timeout
    assert requests + sync._PATIENCE + max(leader_election._RESIGN, embedded_valkey._STOP) < 5


async def test_sigterm_does_not_wait_for_hung_connections(env: tuple[dict[str, str], Banks]) -> None:
    """Polls, a client that never reads, an incomplete request and a suspended store do not delay the exit."""
    variables, banks = env
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), "hang"))

    def check() -> None:
        with running(variables) as service:
            service.wait_for("/v1/ticker", "recorded")
            wait_until(lambda: len(banks.requests) == 5, "polls")
            (store,) = children(service)
            with socket.create_connection(("127.0.0.1", service.port or 0)) as reading_client:
                reading_client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        reading_client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 100)
                with socket.create_connection(("127.0.0.1", service.port or 0)) as writing_client:
                    writing_client.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\n\r\nhalf")
                    store.suspend()
                    service.process.send_signal(signal.SIGTERM)
                    status, log = service.ended()
            assert status == 0, log
            assert "Traceback" not in log
            assert not store.is_running()

    await asyncio.to_thread(check)


def test_readiness_fails_before_the_listener_closes(tmp_path: Path) -> None:
    """A load balancer needs time to notice that an instance stops: until then, or a second signal, it still serves."""
    with running(offline(tmp_path) | {"TICKER_HTTP__DRAIN": "600"}) as service:
        service.wait_for("/readyz", "pass")
        service.process.send_signal(signal.SIGTERM)
        service.wait_for("/readyz", "The instance is about to stop.")
        assert {path: service.get(path)[0] for path in ("/readyz", "/livez", "/v1/ticker", "/health")} == {
            "/readyz": 503,
            "/livez": 200,
            "/v1/ticker": 200,
            "/health": 200,
        }
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status == 0
    assert log.index("service.draining") < log.index("service.stopping")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TICKER_HTPT__PORT": "1"}, "error: TICKER_HTPT__PORT: htpt: unknown setting; did you mean http?"),
        pytest.param(
            {"TICKER_HTTP__PORT": "canary"},
            "error: TICKER_HTTP__PORT: http.port: must be a whole number",
            marks=pytest.mark.slow,
        ),
        pytest.param({"TICKER_STORE__URL": "http://canary"}, "error: store.url: ", marks=pytest.mark.slow),
        pytest.param(
            {"TICKER_CONFIG": "/nowhere.toml"}, "error: /nowhere.toml: cannot be read", marks=pytest.mark.slow
        ),
    ],
)
def test_invalid_settings_are_reported_at_startup(variables: dict[str, str], message: str, tmp_path: Path) -> None:
    """One line with the key, exit status 2, no traceback, no value."""
    with running(variables | {"TICKER_STORE__DATA_DIR": str(tmp_path / "d")}, port=None) as service:
        status, log = service.ended()
    assert status == 2
    assert log.startswith(message)
    assert log.count("\n") == 1
    assert "canary" not in log


def test_sighup_reads_the_settings_again_or_changes_nothing(tmp_path: Path) -> None:
    """Invalid settings are reported, and the service goes on; with valid ones the same process starts again."""
    config = tmp_path / "ticker.toml"
    ticker = '[[tickers]]\nid = "kzt"\nbase = "KZT"\ncurrencies = {}\nsources = ["recorded"]\n'
    config.write_text(ticker.format('["USD", "EUR"]'))
    with running(offline(tmp_path), "--config", str(config)) as service:
        assert service.wait_for("/v1/ticker.txt", "eur") == "usd -0.77%\neur +0.44%\n"
        config.write_text(ticker.format('["USD", "EURO"]'))
        service.process.send_signal(signal.SIGHUP)
        assert service.process.stderr
        refusal = next(line for line in service.process.stderr if "settings.refused" in line)
        assert "tickers.0.currencies.1: is not a currency code" in refusal
        assert service.wait_for("/v1/ticker.txt", "eur") == "usd -0.77%\neur +0.44%\n"
        config.write_text(ticker.format('["GBP"]') + '[store]\nurl = "redis://h?foo=1"\n')
        service.process.send_signal(signal.SIGHUP)
        refusal = next(line for line in service.process.stderr if "settings.refused" in line)
        assert "store.url: unknown parameter 'foo'" in refusal
        config.write_text(ticker.format('["GBP"]') + '[http]\nhost = "203.0.113.9"\n')
        service.process.send_signal(signal.SIGHUP)
        refusal = next(line for line in service.process.stderr if "settings.refused" in line)
        assert "cannot listen on 203.0.113.9:" in refusal
        assert service.wait_for("/v1/ticker.txt", "eur") == "usd -0.77%\neur +0.44%\n"
        config.write_text(ticker.format('["GBP"]'))
        service.process.send_signal(signal.SIGHUP)
        assert service.wait_for("/v1/ticker.txt", "gbp") == "gbp -0.02%\n"
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status == 0
    assert log.count("settings.changed") == log.count("service.ready") == 1
    assert "settings.refused" not in log


def test_sigterm_during_a_restart_ends_the_process(tmp_path: Path) -> None:
    """A supervisor sends it once: the process must not start again."""
    with running(offline(tmp_path)) as service:
        service.wait_for("/livez", "pass")
        service.process.send_signal(signal.SIGHUP)
        assert service.process.stderr
        next(line for line in service.process.stderr if "service.stopping" in line)
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status in (0, -signal.SIGTERM)
    assert "service.ready" not in log


@pytest.mark.slow
def test_sighups_during_a_restart_are_not_lost_and_do_not_kill_the_process(tmp_path: Path) -> None:
    """They arrive while it stops, between its programs, and while it starts: it starts once more."""
    config = tmp_path / "ticker.toml"
    ticker = '[[tickers]]\nid = "kzt"\nbase = "KZT"\ncurrencies = ["{}"]\nsources = ["recorded"]\n'
    config.write_text(ticker.format("USD"))
    with running(offline(tmp_path), "--config", str(config)) as service:
        service.wait_for("/v1/ticker.txt", "usd")
        for number in range(60):
            assert service.process.poll() is None, service.ended()
            if number == 59:
                config.write_text(ticker.format("GBP"))
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        service.wait_for("/v1/ticker.txt", "gbp")
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status == 0
    assert "Traceback" not in log


BROKEN_POLLING = """
import sys
from service.polling import lifecycle
from service.sources import http_client

class BrokenClient(http_client.Client):
    async def __aenter__(self):
        raise ImportError("no such module")

http_client.Client, lifecycle._MOST_CRASHES = BrokenClient, 1
sys.argv = ["service", "serve", "--port", "0"]
from service.cli.main import cli
cli()
"""


def test_process_that_cannot_poll_ends_for_its_supervisor(tmp_path: Path) -> None:
    """With exit status 1 and a message, after a regular shutdown."""
    done = process(offline(tmp_path), "-c", BROKEN_POLLING)
    assert done.returncode == 1
    assert "error: polling has crashed several times in a row" in done.stderr
    assert "service.stopped" in f"{done.stdout}{done.stderr}"


def test_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """The service and every command that uses the store end with one line and status 1; nothing is changed."""
    problem = (
        r"error: the store has schema 99, this version of the service knows up to 1: start the newer version, .*\n"
    )
    with valkey(tmp_path / "v") as store, store.client() as client:
        client.set("ticker:schema", 99)
        env = offline(tmp_path) | {"TICKER_STORE__URL": f"redis://127.0.0.1:{store.port}/0"}
        with running(env) as service:
            status, log = service.ended()
        assert status == 1
        assert re.fullmatch(problem, log)
        file = tmp_path / "fixings.gz"
        file.write_bytes(b"")
        for arguments in (("show",), ("sources",), ("quarantine",), ("check",), ("import", str(file))):
            done = command(env, *arguments)
            assert (done.exit_code, done.stdout) == (1, "")
            assert re.fullmatch(problem, done.stderr)
        assert client.keys("*") == ["ticker:schema"]


def test_redis_cluster_is_refused(tmp_path: Path) -> None:
    """The service and commands end with one line, which names the alternative, and status 1."""
    with valkey(tmp_path / "v", *in_cluster_mode()) as node:
        env = offline(tmp_path) | {"TICKER_STORE__URL": f"redis://127.0.0.1:{node.port}/0"}
        with running(env) as service:
            status, log = service.ended()
        assert (status, command(env, "show").exit_code) == (1, 1)
        assert log == command(env, "show").stderr
        assert log.startswith(f"error: redis://127.0.0.1:{node.port}/0: is a Redis Cluster, which is not supported: ")
        assert "redis+sentinel://" in log
        assert log.count("\n") == 1


@pytest.mark.parametrize("known", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sigterm_does_not_wait_for_a_store_that_hangs(tmp_path: Path, known: bool) -> None:
    """Exit status 0 while the store hangs, whether that is known yet or not, with an open stream."""
    with valkey(tmp_path / "v") as store:
        env = offline(tmp_path) | {"TICKER_STORE__URL": f"redis://127.0.0.1:{store.port}/0"}
        with running(env) as service:
            service.wait_for("/health", '"observedValue":"leader"')
            with socket.create_connection(("127.0.0.1", service.port)) as stream:
                stream.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n")
                stream.recv(100)
                assert store.process
                store.process.send_signal(signal.SIGSTOP)
                if known:
                    service.wait_for("/health", '"store":[{"componentType":"datastore","status":"warn"')
                service.process.terminate()
                status, log = service.ended()
                assert psutil.Process(store.process.pid).status() == psutil.STATUS_STOPPED
    assert status == 0
    assert "Traceback" not in log


def test_service_runs_without_a_store(tmp_path: Path) -> None:
    """It serves from memory, and health reports the problem without the password."""
    store_down = {"TICKER_STORE__URL": f"redis://:canary@127.0.0.1:{unused_port()}/0"}
    with running(offline(tmp_path) | store_down) as service:
        assert service.wait_for("/v1/ticker.txt", "cny") == SAMPLE_DATA
        health = service.wait_for("/health", "redis://127.0.0.1")
        assert json.loads(health)["checks"]["store"][0]["status"] == "warn"
        assert "canary" not in health
        service.process.send_signal(signal.SIGTERM)
        status, log = service.ended()
    assert status == 0
    assert log.count("store.lost") == 1
    assert "canary" not in log


class TestCommands:
    """Commands, with and without a running service."""

    def test_status_output_and_errors_of_a_process(self, tmp_path: Path) -> None:
        """A command in this process has the same result as in a shell, as other tests assume."""
        variables = offline(tmp_path)
        for arguments, status in (
            (("quarantine", "accept", "nbk", "2026-04-02"), 1),
            (("sources", "--markdown"), 0),
            (("show", "xyz"), 2),
        ):
            done, same = process(variables, "-m", "service", *arguments), command(variables, *arguments)
            assert (done.returncode, done.stdout, done.stderr) == (status, same.stdout, same.stderr)
            assert same.exit_code == status

    def test_show_without_rates_is_an_error(self, tmp_path: Path) -> None:
        """With the errors of the banks, and exit status 1; an unknown ticker is an error of usage."""
        variables = offline(tmp_path)
        (tmp_path / "banks.toml").write_text(
            '[[tickers]]\nid = "kzt"\nbase = "KZT"\ncurrencies = ["USD"]\nsources = ["nbk"]\n'
        )
        empty = command(variables, "show", "--config", str(tmp_path / "banks.toml"))
        assert (empty.exit_code, empty.stdout) == (1, "")
        failed, error = empty.stderr.splitlines()
        assert failed.startswith("nbk: request failed: ")
        assert error == "error: ticker 'kzt' has no rates yet; no bank has responded"
        unknown = command(variables, "show", "xyz")
        assert (unknown.exit_code, unknown.stderr) == (2, "error: unknown ticker 'xyz' (known: kzt)\n")

    async def test_poll_prints_what_would_be_stored(self, env: tuple[dict[str, str], Banks]) -> None:
        """Each date with its verdict, and the latest rates; nothing is stored."""
        variables, banks = env
        today = local("Asia/Almaty")
        banks.published["nbk"] = {
            today - timedelta(days=2): OLD, today - timedelta(days=1): OLD, today: NEW,
            today + timedelta(days=1): {"USD": "0"},
        }  # fmt: skip
        polled = await asyncio.to_thread(command, variables, "poll", "nbk")
        assert polled.exit_code == 0, polled.stderr
        for text in ("carry-over", "refused: USD is 0", "405.40", str(today)):
            assert text in polled.stdout
        banks.faults["nbk"] = b"<html></html>"
        broken = await asyncio.to_thread(command, variables, "poll", "nbk")
        assert broken.exit_code == 1
        assert re.fullmatch(r"error: nbk: the response is an HTML page \(http://.*\)\n", broken.stderr)
        unknown = await asyncio.to_thread(command, variables, "poll", "xyz")
        assert unknown.exit_code == 2

    async def test_an_operator_decides_on_quarantined_rates(self, env: tuple[dict[str, str], Banks]) -> None:
        """The running service applies decisions: rejected, accepted and retracted rates."""
        variables, banks = env
        variables |= {"TICKER_SOURCES__NBK__SWEEP": "1"}
        today = local("Asia/Almaty")
        banks.published["nbk"] = {today - timedelta(days=1): OLD, today: {**OLD, "USD": "4054.00"}}

        def run(*arguments: str) -> tuple[int, str]:
            done = command(variables, *arguments)
            return done.exit_code, done.stdout or done.stderr

        def work() -> None:
            with running(variables) as service:
                service.wait_for("/health", "USD moved by +913.50%")
                wait_until(lambda: json.loads(run("quarantine", "--json")[1]), "the rates in the store")
                listed = run("quarantine")[1]
                for text in ("nbk", str(today), "USD moved by +913.50%, from 400.00", "no other bank confirms it"):
                    assert text in listed
                (quarantined,) = json.loads(run("quarantine", "--json")[1])
                digest = quarantined["digest"]
                assert digest in listed
                assert run("quarantine", "accept", "nbk", "2001-01-01") == (
                    1,
                    f"error: nbk 2001-01-01 is not quarantined (quarantined: {today})\n",
                )
                unconfirmed = run("quarantine", "accept", "nbk", str(today))
                assert unconfirmed[0] == 1
                assert "not confirmed, nothing was changed" in unconfirmed[1]
                refused = run("quarantine", "accept", "nbk", str(today), "--digest", "0123456789ab")
                assert refused[0] == 1
                assert "do not match digest 0123456789ab" in refused[1]
                decided = ("nbk", str(today), "--digest", digest)
                assert run("quarantine", "reject", *decided) == (0, f"nbk {today}: USD 4054.00: rejected\n")
                service.wait_for("/health", '"quarantine":[]')
                assert "rejected" in run("quarantine")[1]
                banks.published["nbk"][today] = {**NEW, "USD": "4054.00"}
                service.wait_for("/v1/ticker.txt", "eur +2.68%")
                wait_until(lambda: "513.40" in run("show")[1], "the rates in the store")
                assert json.loads(run("quarantine", "--json")[1]) == []
                assert run("quarantine", "accept", *decided) == (0, f"nbk {today}: USD 4054.00: accepted\n")
                assert "usd +913.50%\neur +2.68%\n" in service.wait_for("/v1/ticker.txt", "+913.50%")
                retracted = run("retract", "nbk", str(today), "usd", "--yes")
                assert retracted == (0, f"nbk {today}: USD 4054.00: retracted\n")
                service.wait_for("/v1/ticker.txt", "usd —")
                banks.published["nbk"][today] = {**NEW, "USD": "4054.00", "EUR": "514.00"}  # it repeats the dollar
                text = service.wait_for("/v1/ticker.txt", "eur +2.80%")
                assert text.startswith("usd — ")  # with its own date, since it is older

        await asyncio.to_thread(work)

    def test_sources_prints_markdown_without_a_store(self) -> None:
        """It equals docs/sources.md, also while the store is down."""
        store_down = {"TICKER_STORE__URL": f"redis://127.0.0.1:{unused_port()}/0"}
        printed = command(store_down, "sources", "--markdown")
        assert (printed.exit_code, printed.stderr) == (0, "")
        assert printed.stdout == (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


def test_help_lists_the_commands() -> None:
    """The help lists the commands."""
    done = command({}, "--help")
    assert done.exit_code == 0
    for name in ("serve", "show", "poll", "sources", "quarantine", "check"):
        assert name in done.stdout
