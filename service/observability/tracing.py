"""Traces: spans of polls, store calls and rendered pages, sent to a collector by OTLP.

The only module that imports OpenTelemetry, and only if `tracing.endpoint` is set: otherwise a span is an object that
does nothing. Like the log, the tracer belongs to the process.

Attributes and errors of spans contain only what the log may contain: no headers, no bodies, no URL of the store.
"""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping
from functools import wraps
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import structlog

from service import __version__
from service.errors import SettingsError, TickerError
from service.observability.context import current_request_id
from service.settings import TracingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

log = structlog.get_logger()

_PATH: Final = "/v1/traces"
_PATIENCE: Final = 1.0
"""Seconds that the end of the service waits for the last spans to be sent."""
_EXPORTER_LOG: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_HEADERS_LOG: Final = "opentelemetry.util.re"
"""It logs a malformed header of OTEL_EXPORTER_OTLP_HEADERS, which may be a secret."""
_C = TypeVar("_C", bound=type)

_tracer: "Tracer | None" = None
"""The tracer of the process; None if tracing is disabled."""


class Span:
    """A span that is not recorded: tracing is disabled."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def fail(self, error: Exception) -> None:
        """Record that what the span stands for has failed; an exception that leaves the span does that too."""


class _RecordedSpan(Span):
    def __init__(self, tracer: "Tracer", name: str, attributes: Mapping[str, str | int]) -> None:
        request_id = current_request_id()
        self._context: AbstractContextManager[OtelSpan] = tracer.start_as_current_span(
            name,
            attributes={**attributes, **({"request_id": request_id} if request_id else {})},
            record_exception=False,  # a message may have any content, see `fail`
            set_status_on_exception=False,
        )

    def __enter__(self) -> Self:
        self._span = self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and getattr(error, "status_code", 500) >= 500:  # otherwise a client's mistake
            self.fail(error)
        self._context.__exit__(None, None, None)

    def fail(self, error: Exception) -> None:
        """Record the type of an error, and the message of our own ones, which never contain a secret."""
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - only if tracing is enabled

        self._span.set_attribute("error.type", type(error).__name__)
        self._span.set_status(StatusCode.ERROR, str(error) if isinstance(error, TickerError) else None)


_NOT_RECORDED: Final = Span()


def span(name: str, attributes: Mapping[str, str | int]) -> Span:
    """Return a span, to be used as a context; spans inside it become its children, in tasks that it starts too."""
    return _RecordedSpan(_tracer, name, attributes) if _tracer else _NOT_RECORDED


def traced(prefix: str) -> Callable[[_C], _C]:
    """Decorate a class: a call of a public coroutine method is a span, within another span or a request.

    Other calls are repeated every few seconds (leader election, synchronisation): they are no spans.
    """

    def decorate(cls: _C) -> _C:
        for name, method in list(vars(cls).items()):
            if inspect.iscoroutinefunction(method) and not name.startswith("_"):
                setattr(cls, name, _traced_method(f"{prefix}.{name}", method))
        return cls

    return decorate


def _traced_method(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    async def recorded(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - those of any method
        with span(name, {}):
            return await method(*args, **options)

    @wraps(method)
    def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        return (recorded if _tracer and _is_traced() else method)(*args, **options)

    return call


def _is_traced() -> bool:
    """Return whether the caller is inside a span or a request."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    return get_current_span().get_span_context().is_valid or current_request_id() is not None


def add_trace(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the ids of the current trace and span to an event (a processor of structlog)."""
    if _tracer:
        from opentelemetry.trace import format_span_id, format_trace_id, get_current_span  # noqa: PLC0415

        context = get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = format_trace_id(context.trace_id)
            event["span_id"] = format_span_id(context.span_id)
    return event


class Tracing:
    """Context in which spans are recorded and sent, if there is an endpoint.

    The variables OTEL_* of OpenTelemetry set the rest: sampling, headers, timeouts, attributes of the resource.
    """

    def __init__(self, settings: TracingSettings, instance: str, patience: float = _PATIENCE) -> None:
        """Take the settings, the id of the instance, and how long the end waits for the last spans, in seconds.

        Raises `SettingsError` if OpenTelemetry cannot be set up.
        """
        self._patience = patience
        self._provider: TracerProvider | None = None
        if settings.endpoint:
            logging.getLogger(_HEADERS_LOG).setLevel(logging.CRITICAL)
            try:
                self._provider = _provider(settings.endpoint.rstrip("/"), instance)
            except ValueError:
                raise SettingsError("tracing: a variable OTEL_* has an invalid value") from None

    async def __aenter__(self) -> Self:
        global _tracer  # noqa: PLW0603 - the tracer of the process
        if self._provider:
            _tracer = self._provider.get_tracer("currency-ticker", __version__)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send the last spans. A collector that does not respond does not delay the end by more than the patience."""
        global _tracer  # noqa: PLW0603
        if self._provider:
            _tracer = None
            sending = Thread(target=self._provider.shutdown, name="traces", daemon=True)
            sending.start()
            await asyncio.to_thread(sending.join, self._patience)


def _provider(endpoint: str, instance: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    own = {"service.name": "currency-ticker", "service.version": __version__, "service.instance.id": instance}
    resource = Resource.create().merge(Resource(own)).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}{_PATH}")
    provider.add_span_processor(BatchSpanProcessor(_reporting(exporter, endpoint)))
    return provider


def _reporting(exporter: "SpanExporter", endpoint: str) -> "SpanExporter":
    """Return an exporter that logs when sending begins to fail and when it works again, instead of every failure."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    parts = urlsplit(endpoint)
    collector, path = f"{parts.scheme}://{parts.netloc}", f"{parts.path}{_PATH}"
    problems = list[str]()

    def keep(record: logging.LogRecord) -> bool:
        problems.append(record.getMessage().replace(path, "/..."))  # a path may contain a token
        return False

    class ReportingExporter(SpanExporter):
        is_failing = False

        def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
            problems.clear()
            result = exporter.export(spans)
            is_failing = result is not SpanExportResult.SUCCESS
            if is_failing and not self.is_failing:
                log.warning("tracing.failing", collector=collector, error=next(iter(problems), "unknown"))
            elif self.is_failing and not is_failing:
                log.info("tracing.recovered", collector=collector)
            self.is_failing = is_failing
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    logger = logging.getLogger(_EXPORTER_LOG)
    logger.filters[:] = []  # of an earlier application in this process
    logger.addFilter(keep)
    return ReportingExporter()
