"""Connection to Redis or Valkey: parse the store's URL, create clients, translate errors."""

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
from service.runtime.program import program

SENTINEL = "redis+sentinel"
_FORMS = "embedded, redis://, rediss://, unix://, redis+sentinel://host:26379,host2:26379/name/0"
_MISPLACED: Final = re.compile(r"#|^(?!unix:///)[^:]*://[^/?]*[/?].*@")
"""Unescaped special characters: the rest of a password would be parsed as a path, and appear in messages."""
TIMEOUT: Final = 1.0
"""Default timeout of connecting and of each command, in seconds."""
_TIMED_OUT = "no response within {timeout:g} s: the server is overloaded, unreachable or not Redis"
_MESSAGES: dict[type[Exception], str] = {
    AuthenticationError: "the password is missing or wrong; see store.url",
    ReadOnlyError: "the server is read-only, probably a replica; set store.url to the master or the Sentinels",
    OutOfMemoryError: "the server is out of memory; increase maxmemory",
    BusyLoadingError: "the server is still loading its data",
    MasterNotFoundError: "no reachable Sentinel knows a master of this name",
    TimeoutError: _TIMED_OUT,
    RedisTimeoutError: _TIMED_OUT,
}


class RedisConnection:
    """The client of a store and those of its Sentinels. Connects lazily."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        """Create the clients for `redis://`, `rediss://`, `unix://` or `redis+sentinel://host,host2/name/0`.

        `timeout` is that of connecting and of each command, in seconds. Raises `SettingsError` for any other URL.
        """
        if _MISPLACED.search(url):
            raise SettingsError(
                "store.url: special characters must be escaped, e.g. in the password: "
                "%40 for @, %2F for /, %3F for ?, %23 for #"
            )
        try:
            self.redis, self._sentinels = _clients(url, timeout)
        except ValueError:
            raise SettingsError(f"store.url: is none of {_FORMS}") from None
        parts = urlsplit(url)
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """The URL without user and password, for messages."""
        self.wrong_type_seen = False
        """Whether a command has failed because a key is of a wrong type; reset by whoever looks for that key."""
        self._timeout = timeout

    async def close(self) -> None:
        for client in (self.redis, *self._sentinels):
            await client.aclose()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate all errors of the client into `StoreError`."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            store_error = StoreError(f"{self.where}: {_problem(error, self._timeout)}")
            store_error.refused = isinstance(error, ResponseError)
            self.wrong_type_seen |= store_error.refused and "WRONGTYPE" in str(error)
            raise store_error from error
        except ValidationError as error:
            raise StoreError(f"{self.where}: a record cannot be read by this version: {error.title}") from error
        except ValueError as error:  # bytes that are not text, a reply that is not of the Redis protocol
            raise StoreError(f"{self.where}: a record or reply cannot be decoded: {error}") from error


def _problem(error: Exception, timeout: float) -> str:
    """Return the problem and its remedy if known; otherwise the message of the client."""
    if isinstance(error.__cause__, SSLError) or isinstance(error.__context__, SSLError):
        return f"TLS: {error.__cause__ or error.__context__}"
    for error_type, known_message in _MESSAGES.items():
        if isinstance(error, error_type):
            return known_message.format(timeout=timeout)
    # redis-py prints the whole client of each unreachable Sentinel, and the whole command of a pipeline.
    message = str(error).partition(" : <")[0].rpartition(" of pipeline caused error: ")[2] or type(error).__name__
    if "WRONGTYPE" in message:
        return f"a key is of a wrong type; see: {program()} check"
    if "MISCONF" in message:
        return f"the server cannot write to disk; check whether the disk is full: {message}"
    return message


def _clients(url: str, timeout: float) -> tuple[Redis, list[Redis]]:
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "surrogateescape",  # invalid UTF-8 makes one record unreadable, not its whole key
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 1),
    }
    parts = urlsplit(url)
    if parts.scheme != SENTINEL:
        return Redis.from_url(url, **options), []
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    name, _, db = parts.path.strip("/").partition("/")
    addresses = list[tuple[str, int]]()
    for address in hosts.split(","):
        host, _, port = address.partition(":")
        addresses.append((host, int(port or 26379)))
    if not name or not all(host for host, _ in addresses):
        raise ValueError("needs hosts and a service name")
    if password:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    # Without retries: the next Sentinel has the same information.
    sentinel_options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel(addresses, sentinel_kwargs=sentinel_options, **options)  # type: ignore[no-untyped-call]
    return cast("Redis", sentinel.master_for(name, db=int(db or 0))), sentinel.sentinels
