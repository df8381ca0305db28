"""The way to Redis or Valkey: what a store's URL means, and what its errors are called."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import SettingsError, StoreError

SENTINEL = "redis+sentinel"
_FORMS = "embedded, redis://, rediss://, unix://, redis+sentinel://host:26379,host2:26379/name/0"
_MISPLACED: Final = re.compile(r"#|^(?!unix:///)[^:]*://[^/?]*[/?].*@")
"""A password with such a character ends where it should not: its rest would be taken for a path, and be shown."""
_TIMEOUT = 1.0
_WORDS: dict[type[Exception], str] = {
    AuthenticationError: "the password is missing or wrong, see store.url",
    ReadOnlyError: "it is read-only, a replica perhaps: name the master, or the Sentinels",
    OutOfMemoryError: "it is full: give it more memory (maxmemory)",
    BusyLoadingError: "it is still reading its file",
    MasterNotFoundError: "no Sentinel that answers knows a master of this name",
    TimeoutError: f"no answer within {_TIMEOUT:.0f} s: it is overloaded or cut off, or no Redis at all",
    RedisTimeoutError: f"no answer within {_TIMEOUT:.0f} s: it is overloaded or cut off, or no Redis at all",
}


class RedisConnection:
    """The client of a store and those of the Sentinels that name it. Connects lazily."""

    def __init__(self, url: str) -> None:
        """Take `redis://`, `rediss://`, `unix://` or `redis+sentinel://host,host2/name/0`.

        Raises `SettingsError` for a URL of no known form.
        """
        if _MISPLACED.search(url):
            raise SettingsError(
                "store.url: what has a meaning in URLs must be escaped, in a password and elsewhere: "
                "%40 for @, %2F for /, %3F for ?, %23 for #"
            )
        try:
            self.redis, self._sentinels = _clients(url)
        except ValueError:
            raise SettingsError(f"store.url: is none of {_FORMS}") from None
        parts = urlsplit(url)
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """The address without its password, for messages."""

    async def close(self) -> None:
        for client in (self.redis, *self._sentinels):
            await client.aclose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever goes wrong into a `StoreError`."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            ours = StoreError(f"{self.where}: {_problem(error)}")
            ours.refused = isinstance(error, ResponseError)
            raise ours from error
        except ValidationError as error:
            raise StoreError(f"{self.where}: holds what this version cannot read: {error.title}") from error
        except ValueError as error:  # bytes that are no text, an answer that is none of Redis
            raise StoreError(f"{self.where}: holds or answers what cannot be read: {error}") from error


def _problem(error: Exception) -> str:
    """Return what is wrong and what to do about it, where that is known; else what the client says."""
    if isinstance(error.__cause__, SSLError) or isinstance(error.__context__, SSLError):
        return f"TLS: {error.__cause__ or error.__context__}"
    if known := next((words for kind, words in _WORDS.items() if isinstance(error, kind)), None):
        return known
    # redis-py prints the whole client of each Sentinel that did not answer, and the whole command of a pipeline.
    message = str(error).partition(" : <")[0].rpartition(" of pipeline caused error: ")[2] or type(error).__name__
    if "WRONGTYPE" in message:
        return "a key is of a wrong type, see: python -m service check"
    return f"it cannot write its file, see whether its disk is full: {message}" if "MISCONF" in message else message


def _clients(url: str) -> tuple[Redis, list[Redis]]:
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # bytes that are no text make one record unreadable, not all of its key
        "socket_timeout": _TIMEOUT,
        "socket_connect_timeout": _TIMEOUT,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 1),
    }
    parts = urlsplit(url)
    if parts.scheme != SENTINEL:
        return Redis.from_url(url, **options), []
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    name, _, db = parts.path.strip("/").partition("/")
    addresses = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in hosts.split(","))]
    if not name or not all(host for host, _ in addresses):
        raise ValueError("needs hosts and a service name")
    if password:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    # Each Sentinel is tried once: the next one knows as much.
    once = {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(addresses, sentinel_kwargs=once, **options)  # type: ignore[no-untyped-call]
    return cast("Redis", sentinel.master_for(name, db=int(db or 0))), sentinel.sentinels
