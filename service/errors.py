"""Exceptions of the project.

::

    TickerError                 base class; the message is one line for humans
    ├── SettingsError           invalid configuration (exit status 2)
    ├── StoreError              Redis or Valkey is down, or replied with an error
    │   └── UnusableStoreError  a store that this version cannot use: the start fails
    │       └── NewerSchemaError    a newer version has written the store
    └── SourceError             a request to a bank failed; has the source, the URL and the problem
        ├── Unreachable         failed request: no connection, timeout, status 5xx
        ├── BadAnswer           unusable response: status, size, encoding
        ├── RateLimited         the bank demands a pause; has the time until which nothing is requested
        └── NotUnderstood       a response that is not the expected document
"""

from datetime import datetime

LONGEST = 400
"""Maximum length of a source's problem, in characters."""


def safe(untrusted: str) -> str:
    """Replace the control characters of a text, which a terminal would obey; line breaks stay."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in untrusted
    )


class TickerError(Exception):
    """Base of all errors of this project."""


class SettingsError(TickerError):
    """Invalid configuration; the message names the key."""


class StoreError(TickerError):
    """Redis is down or replied with an error; the message names the store without its password."""

    refused = False
    """Redis replied with an error (the connection works): other commands may succeed."""


class UnusableStoreError(StoreError):
    """A store that this version of the service cannot use: a newer layout, or a Redis Cluster. The start fails."""


class NewerSchemaError(UnusableStoreError):
    """A newer version of the service has written the store: this one could misread or damage its records."""


class SourceError(TickerError):
    """A request to a bank failed, or its response is unusable. Never raised for "no data"."""

    def __init__(self, source: str, url: str, problem: str) -> None:
        # The problem may quote what a bank has sent: limit it to one printable line.
        problem = "".join(
            letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
            for letter in " ".join(problem[:LONGEST].split())
        )
        super().__init__(f"{source}: {problem} ({url})")
        self.source = source
        self.url = url
        self.problem = problem


class Unreachable(SourceError):
    """A request failed; it may be retried."""


class BadAnswer(SourceError):
    """An unusable response: a status other than 2xx, too large, or an unsupported encoding."""

    def __init__(self, source: str, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(source, url, problem)
        self.status = status


class RateLimited(SourceError):
    """The bank demands a pause: by status 429, or 503 with `Retry-After`, or by status 403 after it had responded.

    Nothing is requested from it before `until` (UTC).
    """

    def __init__(self, source: str, url: str, problem: str, until: datetime) -> None:
        super().__init__(source, url, f"{problem}; no request before {until:%F %T} UTC")
        self.until = until


class NotUnderstood(SourceError):
    """The response is not the document that the bank publishes."""
