"""What can go wrong, in one tree.

::

    TickerError                 everything below; its text is one line for people
    ├── SettingsError           the configuration cannot be used (exit status 2)
    ├── StoreError              Redis or Valkey failed or refused a command
    └── SourceError             a bank, named with the URL and what was wrong
        ├── Unreachable         request failed: no connection, timeout, 5xx
        ├── BadAnswer           unusable response: status, size
        └── NotUnderstood       an answer that is not the document the bank publishes
"""

LONGEST = 400
"""Characters of a problem that are shown."""


class TickerError(Exception):
    """Base of all errors of this project."""


class SettingsError(TickerError):
    """The configuration cannot be used; the text names the key."""


class StoreError(TickerError):
    """The store is away or refused; the text names the store without its password."""

    refused = False
    """It answers, and would not do this: something else it may do."""


class SourceError(TickerError):
    """A bank's answer could not be had or used. Never "no data"."""

    def __init__(self, source: str, url: str, problem: str) -> None:
        # What a bank has sent may stand in it: never more than a line that can be logged, stored and shown.
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
    """The answer is none: a status other than 2xx, or more than we read."""

    def __init__(self, source: str, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(source, url, problem)
        self.status = status


class NotUnderstood(SourceError):
    """The answer is not the document that the bank publishes."""
