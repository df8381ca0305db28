"""Connection to Redis or Valkey: create clients, translate errors."""

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from typing import Any, Final, NamedTuple, cast

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import StoreError, UnusableStoreError
from service.runtime.program import program
from service.storage.store_url import StoreUrl, parse

TIMEOUT: Final = 1.0
"""Default timeout of connecting and of each command, in seconds."""
CLUSTER: Final = (
    "is a Redis Cluster, which is not supported: set store.url to a server that is not in cluster mode; for failover,"
    " use Sentinels (redis+sentinel://)"
)
_CLUSTER_ERRORS: Final = (MovedError, AskError, ClusterDownError, ClusterCrossSlotError)
_TIMED_OUT = "no response within {timeout:g} s: the server is overloaded, unreachable or not Redis{tls}"
_MESSAGES: dict[type[Exception], str] = {
    AuthenticationError: "the password is missing or wrong; see store.url",
    ReadOnlyError: "the server is read-only, probably a replica; set store.url to the master or the Sentinels",
    OutOfMemoryError: "the server is out of memory; increase maxmemory",
    BusyLoadingError: "the server is still loading its data",
    TimeoutError: _TIMED_OUT,
    RedisTimeoutError: _TIMED_OUT,
    InvalidResponse: "the response is not of the Redis protocol; if the server uses TLS, use rediss://",
}
_NAMED: Final = 5
"""Masters of a Sentinel that are named in a message."""


class SentinelStatus(NamedTuple):
    """What the Sentinels of the store's URL report."""

    configured: int
    """Sentinels in the URL."""
    responding: int
    """Those that respond and know the master."""
    replicas: int | None
    """Replicas of the master that they know, whether these are running or not; None if no Sentinel responds."""


class RedisConnection:
    """The client of a store and those of its Sentinels. Connects lazily."""

    def __init__(self, url: str, timeout: float = TIMEOUT) -> None:
        """Create the clients for a URL, see `service.storage.store_url`.

        `timeout` is that of connecting and of each command, in seconds. Raises `SettingsError` for an invalid URL.
        """
        parsed = parse(url)
        self.redis, self._sentinels = _clients(parsed, timeout)
        self.where = parsed.where
        """The URL without user and password, for messages."""
        self.wrong_type_seen = False
        """Whether a command has failed because a key is of a wrong type; reset by whoever looks for that key."""
        self._timeout, self._tls = timeout, "ssl" in parsed.options

    async def close(self) -> None:
        for client in (self.redis, *self._sentinels):
            await client.aclose()

    async def sentinel_status(self) -> SentinelStatus | None:
        """Request the state of the master from all Sentinels at once; None if the URL names none. Never raises."""
        pool = self.redis.connection_pool
        if not isinstance(pool, SentinelConnectionPool):
            return None

        async def known_replicas(sentinel: Redis) -> int | None:
            try:
                state: Any = await sentinel.sentinel_master(pool.service_name)
                return int(state["num-slaves"])
            except (RedisError, OSError, TimeoutError, KeyError, ValueError):
                return None

        replies = await asyncio.gather(*map(known_replicas, self._sentinels))
        known = [replicas for replicas in replies if replicas is not None]
        return SentinelStatus(len(replies), len(known), max(known, default=None))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate all errors of the client into `StoreError`."""
        try:
            yield
        except _CLUSTER_ERRORS as error:
            raise UnusableStoreError(f"{self.where}: {CLUSTER}") from error
        except (RedisError, OSError, TimeoutError) as error:
            store_error = StoreError(f"{self.where}: {_problem(error, self._timeout, tls=self._tls)}")
            store_error.refused = isinstance(error, ResponseError)
            self.wrong_type_seen |= store_error.refused and "WRONGTYPE" in str(error)
            raise store_error from error
        except ValidationError as error:
            raise StoreError(f"{self.where}: a record cannot be read by this version: {error.title}") from error
        except ValueError as error:  # bytes that are not text, a reply that is not of the Redis protocol
            raise StoreError(f"{self.where}: a record or reply cannot be decoded: {error}") from error


class _Sentinels(Sentinel):
    """Sentinels, with an error that names the problem of each of them."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master; raise `MasterNotFoundError` if no Sentinel knows one that is up."""
        problems = dict[str, list[str]]()
        for client in tuple(self.sentinels):
            try:
                masters = cast("dict[str, dict[str, Any]]", await client.sentinel_masters())
            except (RedisError, OSError, TimeoutError) as error:
                problem = self._problem(error)
            else:
                state = masters.get(service_name)
                if state and self.check_master_state(state, service_name):
                    # The next request begins with this Sentinel. Another one may have moved it meanwhile.
                    self.sentinels.remove(client)
                    self.sentinels.insert(0, client)
                    return state["ip"], state["port"]
                problem = _master_problem(service_name, masters)
            options = client.connection_pool.connection_kwargs
            host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
            problems.setdefault(problem, []).append(f"{host}:{options['port']}")
        raise MasterNotFoundError("; ".join(f"Sentinel {', '.join(hosts)}: {text}" for text, hosts in problems.items()))

    def _problem(self, error: Exception) -> str:
        if isinstance(error, AuthenticationError):
            if "password" in self.sentinel_kwargs:
                return "it refuses sentinel_password or sentinel_username; see store.url"
            return "it requires a password of its own; set sentinel_password in store.url"
        if isinstance(error, ResponseError) and "unknown command" in str(error):
            return "it is not a Sentinel but a Redis server; see store.url"
        return _problem(error, self.sentinel_kwargs["socket_timeout"], tls="ssl" in self.sentinel_kwargs)


def _master_problem(name: str, masters: dict[str, dict[str, Any]]) -> str:
    """Return why a Sentinel that responded has no master to use."""
    if state := masters.get(name):
        return f"its master {name!r} ({state['ip']}:{state['port']}) is down, and no replica has replaced it yet"
    known = [repr(other) for other in sorted(masters)]
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"it knows no master {name!r} (known: {', '.join(known[:_NAMED]) or 'none'}{more}); see store.url"


def _problem(error: Exception, timeout: float, *, tls: bool) -> str:
    """Return the problem and its remedy if known; otherwise the message of the client."""
    if isinstance(error, MasterNotFoundError):
        return str(error)
    if isinstance(error.__cause__, SSLError) or isinstance(error.__context__, SSLError):
        return f"TLS: {error.__cause__ or error.__context__}"
    for error_type, known_message in _MESSAGES.items():
        if isinstance(error, error_type):
            return known_message.format(timeout=timeout, tls=", or does not use TLS" if tls else "")
    # redis-py prints the whole command of a pipeline.
    message = str(error).rpartition(" of pipeline caused error: ")[2] or type(error).__name__
    if " connecting to " in message and (reason := _reason(error.__context__)):  # not of a connection that was lost
        return f"cannot connect: {reason}; check store.url, and that the server runs"
    if "WRONGTYPE" in message:
        return f"a key is of a wrong type; see: {program()} check"
    if "MISCONF" in message:
        message = f"the server cannot write to disk; check whether the disk is full: {message}"
    elif not tls and isinstance(error, RedisConnectionError) and ("closed" in message or "reset" in message):
        message = f"{message.rstrip('.')}; if the server uses TLS, use rediss://"
    return message


def _reason(error: BaseException | None) -> str | None:
    """Return in words why a connection failed; None if the error does not say it."""
    if not isinstance(error, OSError):
        return None
    if error.errno and error.errno < 0:  # only errors of resolving names have negative numbers
        return error.strerror
    # Where a name has several addresses, as localhost may have, only the text has the numbers.
    numbers = [error.errno] if error.errno else map(int, re.findall(r"\[Errno (\d+)\]", str(error)))
    return ", ".join(dict.fromkeys(map(os.strerror, numbers))) or None


def _clients(url: StoreUrl, timeout: float) -> tuple[Redis, list[Redis]]:
    timeouts: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    options: dict[str, Any] = (
        url.options
        | timeouts
        | {
            "decode_responses": True,
            "encoding_errors": "surrogateescape",  # invalid UTF-8 makes one record unreadable, not its whole key
            "retry": Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 1),
        }
    )
    if url.master is None:
        return Redis(**options), []
    # Without retries: the next Sentinel has the same information.
    sentinel_options = url.sentinel_options | timeouts | {"retry": Retry(NoBackoff(), 0)}
    sentinel = _Sentinels(url.sentinels, sentinel_kwargs=sentinel_options, **options)  # type: ignore[no-untyped-call]
    return cast("Redis", sentinel.master_for(url.master)), sentinel.sentinels
