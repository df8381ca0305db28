"""Commands as an operator uses them: options, terminals and pipes, JSON, usage errors, a store without a service."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from service import __version__
from service.cli.output import text
from service.domain.fixing import Fixing
from service.settings import Settings
from service.settings.loader import ROOT
from service.state.memory import SourceState
from service.storage.repository import Store
from service.validation.quarantine import QuarantinedFixing
from tests.support.cli import command, process
from tests.support.fixings import FETCHED, day, fixing, rates
from tests.support.process import local
from tests.support.standin import Banks, RawRates
from tests.support.wait import wait_until

RATES: RawRates = {"USD": "400.00", "EUR": "500.00", "RUB": "5.00", "GBP": "600.00", "CNY": "80.00"}
ESCAPE = "\x1b[31mred\x1b]8;;http://evil\x07[/] :smile: [bold]"


def on_date(on: date, usd: str = "400.00") -> Fixing:
    """Return the rates of a date."""
    return replace(fixing(on), rates=rates({**RATES, "USD": usd}))


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """Yield the store that the commands use."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


@pytest.fixture
def environ(settings: Settings, banks: Banks) -> dict[str, str]:
    """Return the environment of the commands: the store, and stand-in banks."""
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    return banks.environ() | store


def on_terminal(environ: dict[str, str], *arguments: str, columns: int = 100) -> str:
    """Run a command in a process with a terminal as standard output; return what it prints."""
    controller, terminal = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
    size = {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "40"}
    done = subprocess.Popen(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, env=clean | size | environ, stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(terminal)
    chunks = list[bytes]()

    def read() -> None:
        try:
            while chunk := os.read(controller, 65536):
                chunks.append(chunk)
        except OSError:  # the terminal was closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    _, errors = done.communicate(timeout=90)
    reader.join()
    os.close(controller)
    assert done.returncode == 0, errors
    return b"".join(chunks).decode()


@pytest.mark.parametrize("arguments", [("-h",), ("--help",), ("show", "-h"), ("quarantine", "accept", "-h")])
def test_help_is_printed(arguments: tuple[str, ...]) -> None:
    """With status 0, for the program and each command."""
    printed = command({}, *arguments)
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout.startswith("Usage: python -m service")


def test_version_is_printed() -> None:
    printed = command({}, "--version")
    assert (printed.exit_code, printed.stdout) == (0, f"currency-ticker {__version__}\n")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        pytest.param("qua", "quarantine", marks=pytest.mark.slow),
        ("poll nb", "nbk"),
        pytest.param("export --k", "--keep", marks=pytest.mark.slow),
    ],
)
def test_shell_completes_commands_options_and_sources(words: str, found: str) -> None:
    """As bash asks the console script."""
    line = f"currency-ticker {words}"
    variables = {
        "_CURRENCY_TICKER_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
    }
    start = "import sys; sys.argv[0] = 'currency-ticker'; from service.cli.main import cli; cli()"
    completed = process(variables, "-c", start)
    assert found in completed.stdout.split(), completed.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "no such command 'nosuch'; see: python -m service --help"),
        (("show", "--jsn"), "no such option: --jsn"),
        (("poll",), "missing argument 'source'; see: python -m service poll --help"),
        (("quarantine", "accept", "nbk", "20x"), "invalid value for 'DATE': must be a date like 2026-04-02; see:"),
        (("serve", "--port", "x"), "invalid value for '--port': must be a whole number; see: python -m service serve"),
        (("backfill", "nbk", "--pause", "x"), "invalid value for '--pause': must be a number; see:"),
        (("export", "x", "--keep", "1001"), "invalid value for '--keep': must be at most 1000; see:"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    """On standard error, with status 2, and no words of a library."""
    done = command({}, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert "Value error" not in done.stderr


@pytest.mark.parametrize("arguments", [("poll", "fred"), ("backfill", "fred", "--from", "2026-04-01")])
def test_source_without_its_key_is_not_requested(arguments: tuple[str, ...]) -> None:
    """Although no ticker names it: the bank would receive the placeholder of the key."""
    done = command({"TICKER_STORE__URL": "redis://127.0.0.1:1/0"}, *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: sources.fred.secret: is required: ")
    assert done.stderr.count("\n") == 1


class TestConfiguration:
    def test_valid_configuration_is_summarised(self, tmp_path: Path) -> None:
        """Without a store or a bank; as an argument or an option."""
        file = tmp_path / "my.toml"
        file.write_text('[[tickers]]\nid = "mine"\nbase = "KZT"\ncurrencies = ["USD"]\nsources = ["nbk"]\n')
        store_down = {"TICKER_STORE__URL": "redis://127.0.0.1:1/0"}
        for arguments in ((str(file),), ("--config", str(file))):
            done = command(store_down, "check-config", *arguments)
            assert (done.exit_code, done.stderr) == (0, "")
            assert done.stdout.startswith("The configuration is valid: tickers mine; sources nbk")

    @pytest.mark.parametrize(
        ("variables", "message"),
        [
            ({"TICKER_HTPT__PORT": "1"}, "TICKER_HTPT__PORT: htpt: unknown setting; did you mean http?"),
            ({"TICKER_HTTP__PORT": "x"}, "TICKER_HTTP__PORT: http.port: must be a whole number"),
            ({"TICKER_HTTP__PORT": "99999"}, "TICKER_HTTP__PORT: http.port: must be at most 65535"),
            (
                {"TICKER_STORE__KEEP_RAW": "x"},
                "TICKER_STORE__KEEP_RAW: store.keep_raw: must be a duration: seconds, or",
            ),
            ({"TICKER_HTTP__RESPONSE_CACHE": "x"}, "TICKER_HTTP__RESPONSE_CACHE: http.response_cache: must be true or"),
            ({"TICKER_LOG__FORMAT": "x"}, "TICKER_LOG__FORMAT: log.format: must be one of 'console' or 'json'"),
            ({"TICKER_STORE__URL": "http://x"}, "store.url: is none of"),
            ({"TICKER_STORE__URL": "redis://x?foo=1"}, "store.url: unknown parameter 'foo'; known: username, "),
            ({"TICKER_SOURCES__NBK__CALENDAR": "XX"}, "sources.nbk.calendar: "),
        ],
    )
    def test_invalid_configuration_is_reported(self, variables: dict[str, str], message: str) -> None:
        """One line in the words of the project, status 2."""
        done = command(variables, "check-config")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {message}")
        assert done.stderr.count("\n") == 1
        assert "Input should" not in done.stderr


async def test_output_of_a_pipe_has_a_line_per_row(environ: dict[str, str], store: Store) -> None:
    """Not wrapped, cut off or drawn with lines, however long a cell is."""
    reasons = ("USD moved by +900.00%", "EUR moved " + "far " * 100)
    await store.quarantine(QuarantinedFixing(fixing(day(2), USD="1.00", EUR="1.00"), reasons, FETCHED))
    printed = await asyncio.to_thread(command, environ | {"COLUMNS": "40"}, "quarantine")
    title, header, row = (line.rstrip() for line in printed.stdout.rstrip().splitlines())
    assert title == "quarantined"
    assert header.split() == ["source", "date", "digest", "since", "reasons"]
    assert row.startswith("nbk     2026-04-02  ")
    assert row.endswith("; ".join(reasons).rstrip())
    assert not re.search("[─━│┃\x1b]", printed.stdout)


async def lead(store: Store) -> None:
    """Hold the leader's lock as a running service does, so that nothing is polled; a slow test keeps it."""
    assert await store.coordination.acquire_or_renew()
    await store._redis.persist(store._key("leader"))


async def test_terminal_shows_rises_and_falls_in_colour(environ: dict[str, str], store: Store) -> None:
    """Green and red; none with NO_COLOR, and none for what did not change."""
    today = local("Asia/Almaty")
    moved: RawRates = {"USD": "404.00", "EUR": "495.00", "RUB": "5.00", "GBP": "600.00", "CNY": "80.00"}
    await store.save(on_date(today - timedelta(days=1)), replace(on_date(today), rates=rates(moved)))
    await lead(store)
    shown = await asyncio.to_thread(on_terminal, environ, "show")
    assert "\x1b[32m+1.00%" in shown
    assert "\x1b[31m-1.00%" in shown
    assert not re.search(r"\x1b\[3[12]m0\.00%", shown)
    assert "│" in shown
    plain = await asyncio.to_thread(on_terminal, environ | {"NO_COLOR": "1"}, "show")
    assert "+1.00%" in plain
    assert not re.search(r"\x1b\[[\d;]*3[0-9]", plain)


async def test_text_of_a_bank_does_not_control_a_terminal(environ: dict[str, str], store: Store) -> None:
    """Escape sequences, markup and emoji codes of stored text are printed as text by every command."""
    state = replace(SourceState(FETCHED), error=ESCAPE, failing_since=FETCHED, failures=1)
    await store.save_state("nbk", state)
    await store.quarantine(QuarantinedFixing(fixing(day(2), USD="475.09"), (f"USD {ESCAPE}",), FETCHED))
    for arguments in (["sources"], ["quarantine"]):
        shown = await asyncio.to_thread(on_terminal, environ, *arguments, columns=300)
        assert "\x1b[31m" not in shown
        assert "\x1b]8" not in shown
        assert "\N{REPLACEMENT CHARACTER}[31mred" in shown
        assert "[/] :smile: [bold]" in shown
        piped = await asyncio.to_thread(command, environ, *arguments)
        assert "\x1b" not in piped.stdout
    declined = await asyncio.to_thread(command, environ, "quarantine", "accept", "nbk", "2026-04-02")
    assert declined.exit_code == 1
    assert "Publish these rates? [y/N]" in declined.stderr
    assert "\x1b" not in declined.stderr


def test_cells_are_readable() -> None:
    assert text(None) == "—"
    assert text(datetime(2026, 4, 2, 10, 30, tzinfo=UTC)) == "2026-04-02 10:30 UTC"


async def test_sources_are_printed_as_json(environ: dict[str, str], store: Store) -> None:
    """As `/v1/sources` has them."""
    await store.save(fixing(day(2), USD="475.09"))
    printed = await asyncio.to_thread(command, environ, "sources", "--json")
    by_key = {source["key"]: source for source in json.loads(printed.stdout)["sources"]}
    assert list(by_key) == ["nbk", "cbr", "ecb", "nbu", "cbu", "recorded"]
    assert by_key["nbk"]["last_fixing"] == "2026-04-02"
    assert by_key["nbk"]["next_poll"]


async def test_poll_judges_by_stored_rates(environ: dict[str, str], store: Store, banks: Banks) -> None:
    """A jump is quarantined although the bank has repeated it and no longer returns the rates before it."""
    today = local("Asia/Almaty")
    jump = {**RATES, "USD": "648.00"}
    banks.published["nbk"] = {
        today - timedelta(days=1): {**jump},
        today: {**jump},
    }  # the old rates are no longer returned
    await store.save(*(on_date(today - timedelta(days=number)) for number in (3, 2)))
    before = await store._redis.hgetall(store._key("fixings", "nbk"))
    polled = await asyncio.to_thread(command, environ, "poll", "nbk", "--json")
    document = json.loads(polled.stdout)
    latest = document["fixings"][-1]
    assert document["source"] == "nbk"
    assert latest["date"] == str(today)
    assert latest["reasons"][0].startswith("USD moved by +62.00%, from 400.00")
    assert latest["rates"]["USD"] == {"value": 648.00, "nominal": 1, "quarantined": True}
    assert latest["rates"]["EUR"]["quarantined"] is False
    assert latest["verdict"] == "quarantined in part"
    listed = await asyncio.to_thread(command, environ, "poll", "nbk")
    assert listed.exit_code == 0
    assert "USD moved by +62.00%" in listed.stdout
    assert await store._redis.hgetall(store._key("fixings", "nbk")) == before
    assert await store.waiting("nbk") == []


async def test_poll_of_published_rates_beside_quarantined_ones_succeeds(
    environ: dict[str, str], store: Store, banks: Banks
) -> None:
    """The service has published the others already."""
    today = local("Asia/Almaty")
    banks.published["nbk"] = {today: {**RATES, "USD": "648.00"}}
    published = on_date(today)
    await store.save(on_date(today - timedelta(days=1)), published.without({"USD"}))
    polled = await asyncio.to_thread(command, environ, "poll", "nbk", "--json")
    assert polled.exit_code == 0, polled.stderr
    assert [each["verdict"] for each in json.loads(polled.stdout)["fixings"]] == ["quarantined in part"]


async def test_poll_of_a_source_that_is_not_polled(environ: dict[str, str], store: Store, banks: Banks) -> None:
    """It is judged by its own stored past."""
    today = local("Asia/Almaty")
    banks.published["nbk"] = {today: {**RATES, "USD": "648.00"}}
    await store.save(*(on_date(today - timedelta(days=number)) for number in (2, 1)))
    ticker = {"id": "kzt", "base": "KZT", "currencies": ["USD"], "sources": ["cbr"]}
    config = {"TICKER_SOURCES__NBK__ENABLED": "false", "TICKER_TICKERS": json.dumps([ticker])}
    polled = await asyncio.to_thread(command, environ | config, "poll", "nbk")
    assert "USD moved by +62.00%" in polled.stdout, polled.stderr


async def test_sources_list_why_a_response_was_read_in_part(environ: dict[str, str], store: Store) -> None:
    """In the column of errors, as in JSON."""
    today = local("Asia/Almaty")
    await store.save(on_date(today - timedelta(days=1)), on_date(today, "401.00"))
    problem = "has 'n/a' where a number is expected for EUR on 2026-04-02"
    await store.save_state("nbk", SourceState(FETCHED, FETCHED, left_out=(problem, "lacks <title>")))
    printed = await asyncio.to_thread(command, environ, "sources")
    (line,) = [line for line in printed.stdout.splitlines() if line.startswith("nbk")]
    assert re.search(r" partial .*UTC +(.*)$", line.rstrip())[1] == f"{problem}; lacks <title>"  # type: ignore[index]


async def test_show_polls_once_without_a_service(environ: dict[str, str], store: Store, banks: Banks) -> None:
    """What it fetches is stored, so the next call makes no request; it is left to a running service."""
    today = local("Asia/Almaty")
    banks.published["nbk"] = {today - timedelta(days=1): {**RATES}, today: {**RATES, "USD": "404.00"}}
    await lead(store)
    served = await asyncio.to_thread(command, environ, "show")
    assert served.exit_code == 1
    assert "has no rates yet" in served.stderr
    assert banks.targets == []
    await store.coordination.release()
    shown = await asyncio.to_thread(command, environ, "show")
    assert shown.exit_code == 0, shown.stderr
    assert "+1.00%" in shown.stdout
    assert str(today) in [str(on) for on in await store.dates("nbk")]
    assert await store._redis.exists(store._key("leader")) == 0
    requests = len(banks.targets)
    assert requests
    again = await asyncio.to_thread(command, environ, "show", "--json")
    assert json.loads(again.stdout)["quotes"][0]["percent"] == 1.0
    assert [target for target in banks.targets[requests:] if "/nbk/" in target] == []


async def test_show_has_the_changes_since_rates_that_are_not_in_memory(environ: dict[str, str], store: Store) -> None:
    """Those over a year too, like the API."""
    today = local("Asia/Almaty")
    await store.save(*(on_date(today - timedelta(days=number)) for number in range(1, 400)), on_date(today, "404.00"))
    await lead(store)
    shown = await asyncio.to_thread(command, environ, "show", "--json")
    assert shown.exit_code == 0, shown.stderr
    assert json.loads(shown.stdout)["quotes"][0]["changes"]["year"]["percent"] == 1.0


async def test_show_is_kept_fresh(environ: dict[str, str], store: Store) -> None:
    """`--watch` prints the ticker again at a change, and ends with status 0 at Ctrl-C."""
    today = local("Asia/Almaty")
    await store.save(on_date(today - timedelta(days=1)), on_date(today, "404.00"))
    await lead(store)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TICKER_")}
    watching = subprocess.Popen(  # noqa: ASYNC220 - it is read in a thread
        [sys.executable, "-m", "service", "show", "--json", "--watch"],
        cwd=ROOT, env=clean | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watching.stdout
    try:
        first = json.loads(await asyncio.to_thread(watching.stdout.readline))
        assert first["quotes"][0]["percent"] == 1.0
        await store.save(replace(on_date(today, "408.00"), fetched_at=datetime.now(UTC)))
        second = json.loads(await asyncio.to_thread(watching.stdout.readline))
        assert second["quotes"][0]["percent"] == 2.0
        watching.send_signal(signal.SIGINT)
        wait_until(lambda: watching.poll() is not None, "the end of the command")
    finally:
        if watching.poll() is None:
            watching.kill()
        _, errors = watching.communicate()
    assert (watching.returncode, errors) == (0, "")


CRASH = """
import sys
from service.cli import commands

def crash(*_, **__):
    raise RuntimeError("a value")

commands.sources = crash
sys.argv = ["service", "sources"]
from service.cli.main import cli
cli()
"""


def test_internal_error_is_one_line() -> None:
    """It names the place; the traceback is printed on request."""
    done = process({}, "-c", CRASH)
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: internal error \(RuntimeError in <string>, line \d+\); PYTHONDEVMODE=1 shows .*\n", done.stderr
    )
    assert "RuntimeError: a value" in process({"PYTHONDEVMODE": "1"}, "-c", CRASH).stderr
