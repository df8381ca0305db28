"""Traces, as a real collector receives them from real polls, and that they cost nothing unless they are enabled."""

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import structlog
from aiohttp import web
from structlog.testing import LogCapture, capture_logs

from service.errors import SettingsError
from service.observability import tracing
from service.observability.tracing import Tracing, add_trace, span
from service.settings import Settings, TracingSettings, load
from service.settings.loader import ROOT
from tests.conftest import Clock, Started
from tests.support.collector import Collector, collecting
from tests.support.fixings import APRIL
from tests.support.pollers import polling
from tests.support.ports import unused_port
from tests.support.process import offline, running
from tests.support.standin import Banks
from tests.support.wait import PATIENCE, until_true

CANARY = "canary0secret"
INSTANCE = "0123456789abcdef"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Yield a collector; spans are sent to it at once."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    async with collecting() as collector:
        yield collector


def traces_of(collector: Collector) -> Tracing:
    """Return the context that sends all its spans to a collector before it ends."""
    return Tracing(collector.settings, INSTANCE, PATIENCE)


async def poll(settings: Settings, clock: Clock, collector: Collector, key: str = "nbk") -> None:
    async with traces_of(collector), polling(settings, clock) as poller:
        await poller.poll(key)


async def test_poll_is_a_trace_with_its_stages(
    settings: Settings, clock: Clock, banks: Banks, collector: Collector
) -> None:
    """Each stage is a child of the poll, and the calls of the store are children of the flush."""
    banks.published["nbk"] = dict(APRIL)
    await poll(settings, clock, collector)
    root = collector.one("poll")
    assert (root.parent, root.error, root.attributes) == ("", None, {"source": "nbk"})
    assert {span.trace for span in collector.spans} == {root.trace}
    for name in ("fetch", "parse", "validate", "apply", "publish", "flush"):
        for stage in collector.named(name):
            assert collector.ancestors(stage) == ["poll"], name
    assert len(collector.named("fetch")) == len(banks.targets)
    assert len(collector.named("parse")) == len(banks.targets)
    assert collector.named("fetch")[0].attributes == {
        "source": "nbk",
        "http.request.method": "GET",
        "url.full": f"{banks.url}{banks.targets[0]}",
    }
    for name in ("store.save", "store.save_raw", "store.save_state", "store.save_snapshot", "store.publish_change"):
        assert {tuple(collector.ancestors(call)) for call in collector.named(name)} == {("flush", "poll")}, name
    assert all(0 <= span.seconds <= root.seconds for span in collector.spans)
    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.instance.id"]) == ("currency-ticker", INSTANCE)


async def test_failure_is_recorded_where_it_happens(
    settings: Settings, clock: Clock, banks: Banks, collector: Collector
) -> None:
    """With the message of the log; what comes after it has not failed."""
    banks.faults["nbk"] = 404
    await poll(settings, clock, collector)
    failed = {span.name: span for span in collector.spans if span.error is not None}
    assert failed.keys() == {"poll", "fetch"}
    for failure in failed.values():
        assert failure.error is not None
        assert failure.error.startswith("nbk: responded with status 404")
        assert failure.attributes["error.type"] == "BadAnswer"


async def test_no_span_contains_a_secret(
    settings: Settings, clock: Clock, banks: Banks, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers of a bank, the password of the store, and the collector's own headers, which it does receive."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{CANARY}")
    banks.faults["nbk"] = 500
    down = f"redis://user:{CANARY}@127.0.0.1:{unused_port()}/0"
    environ = banks.environ() | {
        "TICKER_STORE__URL": down,
        "TICKER_SOURCES__NBK__HEADERS": json.dumps({"X-Api-Key": CANARY}),
        "TICKER_SOURCES__NBK__PROXY": f"http://user:{CANARY}@{urlsplit(banks.url).netloc}",
    }
    await poll(load(environ=environ), clock, collector)
    assert banks.headers[0]["X-Api-Key"] == CANARY
    assert collector.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert any(span.name.startswith("store.") and span.error for span in collector.spans)
    assert not [body for body in collector.bodies if CANARY.encode() in body]


async def test_unexpected_error_is_recorded_without_its_message(collector: Collector) -> None:
    """It may have any content."""
    async with traces_of(collector):
        with pytest.raises(ValueError, match=CANARY), span("page", {}):
            raise ValueError(CANARY)
    assert (collector.one("page").error, collector.one("page").attributes) == ("", {"error.type": "ValueError"})
    assert not [body for body in collector.bodies if CANARY.encode() in body]


async def test_mistake_of_a_client_is_no_error(collector: Collector) -> None:
    async with traces_of(collector):
        with pytest.raises(web.HTTPNotFound), span("page", {}):
            raise web.HTTPNotFound
        with pytest.raises(web.HTTPServiceUnavailable), span("page", {}):
            raise web.HTTPServiceUnavailable
    assert [span.error for span in collector.named("page")] == [None, ""]


async def test_cache_misses_are_traced_with_the_id_of_the_request(
    settings: Settings, banks: Banks, collector: Collector, start: Started
) -> None:
    """A page that is rendered once is one span. Calls of the store are spans in requests; those of timers are none."""
    banks.published["nbk"] = dict(APRIL)
    client = await start(settings.model_copy(update={"tracing": collector.settings}))
    await until_true(lambda: len(collector.named("poll")) == len(settings.polled))  # the rates change no more
    paths = {
        "/v1/ticker?lang=kk": "json",
        "/v1/ticker.svg?lang=kk": "svg",
        "/v1/ticker.png?lang=kk": "png",
        "/v1/chart/usd.svg": "chart svg",
        "/rates": "rates",
        "/rates/usd": "rate",
        "/fixings/nbk/2026-04-02": "receipt",
        "/status": "status",
    }
    for path, page in paths.items():
        for turn in ("first", "second"):
            async with client.get(path, headers={"X-Request-ID": f"{turn}-{page.replace(' ', '-')}"}) as response:
                assert response.status == 200, path
    async with client.get("/v1/fixings/nbk/2020-01-10", headers={"X-Request-ID": "the-last-one"}) as response:
        assert response.status == 404
    await until_true(lambda: "the-last-one" in {span.attributes.get("request_id") for span in collector.spans})
    rendered = [(span.attributes["page"], span.attributes["request_id"]) for span in collector.named("page")]
    assert sorted(rendered) == sorted((page, f"first-{page.replace(' ', '-')}") for page in paths.values())
    roots = {span.name for span in collector.spans if not span.parent}
    assert {"poll", "page", "store.fixing"} <= roots
    assert all(span.attributes.get("request_id") for span in collector.spans if span.name in roots - {"poll"})
    assert not [span for span in collector.spans if span.name in ("store.ping", "store.acquire_or_renew")]


async def test_log_events_have_the_ids_of_their_trace(
    settings: Settings, clock: Clock, banks: Banks, collector: Collector
) -> None:
    """Those of a poll have; others have none."""
    capture = LogCapture()
    structlog.configure(processors=[add_trace, capture])
    banks.published["nbk"] = dict(APRIL)
    await poll(settings, clock, collector)
    structlog.get_logger().info("outside")
    (changed,) = [event for event in capture.entries if event["event"] == "ticker.changed"]
    assert (changed["trace_id"], changed["span_id"]) == (collector.one("poll").trace, collector.one("publish").id)
    assert "trace_id" not in capture.entries[-1]


async def test_failing_collector_is_reported_once(collector: Collector) -> None:
    """When sending begins to fail and when it works again. The reason names no path: it may contain a token."""
    settings = TracingSettings(endpoint=f"{collector.url}/{CANARY}")
    with capture_logs() as logs:
        async with Tracing(settings, INSTANCE, PATIENCE):
            for _ in range(2):
                with span("page", {}):
                    pass
                await until_true(lambda: logs)
    (failing,) = logs
    assert (failing["event"], failing["collector"]) == ("tracing.failing", collector.url)
    assert failing["error"] == "Failed to export spans batch code: 404, reason: Not Found"
    assert CANARY not in str(logs)
    collector.statuses = [400, 400]
    with capture_logs() as logs:
        async with traces_of(collector):
            for count in (1, 2, 3):
                with span("page", {}):
                    pass
                await until_true(lambda count=count: len(collector.bodies) >= count)  # type: ignore[misc]
    assert [entry["event"] for entry in logs] == ["tracing.failing", "tracing.recovered"]


async def test_unreachable_collector_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of the HTTP client contains the path, which is left out."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")  # one retry, after a second
    endpoint = f"http://127.0.0.1:{unused_port()}"
    with capture_logs() as logs:
        async with Tracing(TracingSettings(endpoint=f"{endpoint}/{CANARY}"), INSTANCE, PATIENCE):
            with span("page", {}):
                pass
    (failing,) = logs
    assert (failing["event"], failing["collector"]) == ("tracing.failing", endpoint)
    assert CANARY not in str(logs)


def test_service_ends_although_the_collector_hangs(tmp_path: Path) -> None:
    """A collector that accepts connections and never responds. OpenTelemetry itself would wait for 30 s."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        endpoint = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        with running(
            offline(tmp_path) | {"TICKER_TRACING__ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
        ) as service:
            service.wait_for("/v1/ticker.txt", "cny")
            service.process.terminate()
            status, log = service.ended(within=25)
    assert status == 0, log
    assert "Traceback" not in log


SENDING = ("opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.sdk.trace", "google.protobuf", "requests")


@pytest.mark.parametrize("is_installed", [True, False])
def test_opentelemetry_is_not_imported_unless_it_is_used(is_installed: bool) -> None:
    """Without an endpoint nothing is loaded that sends traces, and every span is the same object.

    Where OpenTelemetry is installed, redis-py imports another part of it: its metrics.
    """
    script = f"""
import sys
if not {is_installed}:
    sys.modules["opentelemetry"] = None
from service.app import create_app
from service.clock import Clock
from service.observability.tracing import span
from service.settings import load
create_app(load(), None, Clock())
assert span("poll", {{}}) is span("page", {{}})
print([name for name in sys.modules if name.startswith({SENDING})])
"""
    assert run_script(script, TICKER_STORE__URL="redis://127.0.0.1:1/0") == (0, "[]\n", "")


@pytest.mark.parametrize("command", [["serve"], pytest.param(["check-config"], marks=pytest.mark.slow)])
def test_missing_package_is_named(command: list[str]) -> None:
    """One line with the setting and the command that installs it; exit status 2."""
    script = f"""
import sys
sys.modules["opentelemetry"] = None
from service.cli.main import cli
cli({command})
"""
    status, _, errors = run_script(script, TICKER_TRACING__ENDPOINT="http://localhost:4318")
    assert status == 2
    (line,) = errors.splitlines()
    assert "tracing.endpoint" in line
    assert "pip install 'currency-ticker[otel]'" in line


def run_script(script: str, **environ: str) -> tuple[int, str, str]:
    """Run a script in a process of its own; return exit status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "endpoint",
    [
        "localhost:4318",
        "ftp://collector",
        "http://",
        "http://:4318",
        "http://h:port",
        "http://h h",
        f"http://u:{CANARY}@h",
        f"http://h/?{CANARY}",
        f"http://h/#{CANARY}",
    ],
)
def test_invalid_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"tracing\.endpoint") as caught:
        load(environ={"TICKER_TRACING__ENDPOINT": endpoint})
    assert CANARY not in str(caught.value)


async def test_invalid_variable_is_refused(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a setting is: the start fails with one line."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "-1")
    with pytest.raises(SettingsError, match="OTEL_"):
        traces_of(collector)


async def test_malformed_header_is_not_logged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenTelemetry would log it with its value."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", CANARY)
    async with traces_of(collector):
        pass
    assert CANARY not in caplog.text


async def test_standard_variables_set_the_rest(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name and attributes of the service, and sampling."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ticker-of-a-bank")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with traces_of(collector):
        with span("page", {}):
            pass
    assert collector.resources[0]["service.name"] == "ticker-of-a-bank"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with traces_of(collector):
        with span("page", {}):
            pass
    assert len(collector.spans) == 1
    assert tracing._tracer is None
