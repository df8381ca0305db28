"""The request that is being handled, for what is logged and traced meanwhile."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

import structlog

RequestId = Callable[[], str | None]
request_id: Final[ContextVar[RequestId | None]] = ContextVar("request_id", default=None)
"""Returns the id of the request that is being handled. It is called only if the id is needed."""


def current_request_id() -> str | None:
    """Return the id of the request that is being handled; None outside of a request."""
    read = request_id.get()
    return read() if read else None


def add_request_id(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the id of the request that is being handled to an event (a processor of structlog)."""
    if known := current_request_id():
        event["request_id"] = known
    return event
