"""An OTLP collector: a real HTTP server that decodes the spans it receives."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from service.settings import TracingSettings


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it arrived; ids are hexadecimal, `parent` is empty for the first span of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    attributes: Mapping[str, Any]
    error: str | None
    """Message of an error; empty if it has none, None if the span has not failed."""
    seconds: float


@dataclass
class Collector:
    """Records spans; `statuses` are those of the next responses, after them 200."""

    url: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list)
    resources: list[Mapping[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    @property
    def settings(self) -> TracingSettings:
        return TracingSettings(endpoint=self.url)

    async def respond(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        if self.statuses:
            return web.Response(status=self.statuses.pop(0))
        for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_attributes(traced.resource.attributes))
            for scope in traced.scope_spans:
                self.spans.extend(map(_decoded, scope.spans))
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReceivedSpan:
        (span,) = self.named(name)
        return span

    def ancestors(self, span: ReceivedSpan) -> list[str]:
        """Return the names of the spans around a span, the innermost first."""
        by_id = {known.id: known for known in self.spans}
        names = list[str]()
        while span.parent:
            span = by_id[span.parent]
            names.append(span.name)
        return names


def _decoded(span: Any) -> ReceivedSpan:
    return ReceivedSpan(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        _attributes(span.attributes),
        span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
    )


def _attributes(pairs: Any) -> Mapping[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.respond)
    async with TestServer(app, shutdown_timeout=0) as server:
        collector.url = f"http://{server.host}:{server.port}"
        yield collector
