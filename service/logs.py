"""One event a line, constant names with key/values, to standard error."""

import logging
import sys

import stamina
import structlog

from service.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up logging for the process. Retries are not told one by one: the poller tells what came of them."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a poll that outlasts its interval is no news
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # any stranger can send a bad request
    stamina.instrumentation.set_on_retry_hooks([])
