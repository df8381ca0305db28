"""Structured logging to standard error: one event per line, constant event names with key/value pairs."""

import logging
import sys
from typing import Final

import stamina
import structlog

from service.observability.context import add_request_id
from service.observability.tracing import add_trace
from service.settings import LogSettings

TIME: Final = "time"
"""The key of the time (UTC) in every event; the edge's access log has the same."""


def configure(settings: LogSettings) -> None:
    """Configure logging of the process: our events, and warnings of libraries in the same format.

    Single retries are not logged: the poller logs the result.
    """
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, timestamp_key=TIME)
    )
    shared_processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key=TIME),
        add_request_id,
        add_trace,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared_processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared_processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # its warnings about overlapping polls are expected
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # any client can cause errors with bad requests
    stamina.instrumentation.set_on_retry_hooks([])
