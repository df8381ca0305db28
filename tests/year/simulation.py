"""Run two instances of the service through simulated time, on a real store and a real local server as all banks.

Real are the parts of an instance from polling to metrics, the adapters, HTTP, and the store. Simulated are the clock
and every sleep: a queue of events is worked off, one after the other. What an instance does every few seconds happens
only where it matters: it renews the lock before each poll, reads the store after a notification and every hour, and
updates its statuses every 15 minutes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from service import clock as clocks
from service.cluster.follower import StoreFollower
from service.cluster.leader_election import LeaderElection, Role
from service.observability.counters import Counters
from service.polling.poller import Poller
from service.polling.scheduler import PollScheduler
from service.settings import Settings
from service.sources.banks import SOURCES
from service.sources.http_client import Client
from service.sources.session import BankSession
from service.state.memory import MemoryState
from service.storage.repository import Sizes, Store, open_store
from service.storage.server_monitor import ServerMonitor
from service.storage.sync import StoreSync
from service.web.ops.collector import register
from service.web.ops.health import HealthReport
from tests.support.instances import follower, publisher
from tests.support.servers import Server
from tests.year.truth import Incident, Truth

if TYPE_CHECKING:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler

TICK: Final = timedelta(minutes=15)
_LOCK_LIFE: Final = timedelta(seconds=15)
_RENEWAL: Final = 3.0
"""Real seconds for which a renewed lock is left alone: in the store it expires in real time."""
_AFTERMATH: Final = timedelta(minutes=5)
"""Time after an incident in which locks are renewed each time."""

Action = Callable[[], Awaitable[None]]


@dataclass(order=True)
class _Event:
    at: datetime
    number: int
    action: Action | None = field(compare=False)


@dataclass
class Time:
    """Simulated time: `now`, and the actions that are due later."""

    now: datetime
    _events: list[_Event] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def seconds(self) -> float:
        """Return the monotonic time, which no clock step changes."""
        return self.now.timestamp()

    def at(self, when: datetime, action: Action) -> Callable[[], None]:
        """Schedule an action; return a function that cancels it."""
        event = _Event(max(when, self.now), next(self._numbers), action)
        heappush(self._events, event)

        def cancel() -> None:
            event.action = None

        return cancel

    async def run(self, until: datetime) -> None:
        while self._events and self._events[0].at <= until:
            event = heappop(self._events)
            self.now = max(self.now, event.at)
            if event.action:
                await event.action()
        self.now = until


@dataclass
class SkewedClock(clocks.Clock):
    """The clock of a machine: right, unless it was set wrong."""

    time: Time
    skew: timedelta = timedelta()

    def __call__(self) -> datetime:
        return self.time.now + self.skew


@dataclass
class MachineClock(clocks.Clock):
    """The clock that is compared with the store's, which is that of this machine."""

    clock: SkewedClock

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.clock.skew


class Timers:
    """Runs the jobs of a `PollScheduler` in simulated time, instead of APScheduler."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._cancel: dict[str, Callable[[], None]] = {}

    def add_job(self, job: Callable[..., Awaitable[None]], trigger: Any, arguments: list[str], **options: Any) -> None:
        key = options["id"]
        if key in self._cancel:
            self._cancel.pop(key)()
        delay = max(0.0, round((trigger.run_date - datetime.now(UTC)).total_seconds(), 1))

        async def run() -> None:
            self._cancel.pop(key, None)
            await job(*arguments)

        self._cancel[key] = self._time.at(self._time.now + timedelta(seconds=delay), run)

    def get_jobs(self) -> list[Any]:
        return [_Job(key) for key in self._cancel]

    def start(self) -> None:
        pass

    def shutdown(self, **_: bool) -> None:
        for cancel in self._cancel.values():
            cancel()
        self._cancel.clear()


@dataclass
class _Job:
    id: str


class Inline:
    """Takes the place of the worker thread's queue, and does the work at once: nothing else is to be done meanwhile."""

    def put(self, work: Callable[[], None]) -> None:
        work()


@dataclass
class Instance:
    """One instance of the service; `start` makes a new process, so to speak."""

    name: str
    settings: Settings
    time: Time
    clock: SkewedClock
    on_snapshot: Callable[["Instance"], None]
    on_write: Callable[["Instance"], None] = lambda _: None
    """Called when this instance notifies the others."""
    disturbed_until: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """End of the last incident that may concern the lock."""
    polled: Callable[[str], None] = lambda _: None
    is_up: bool = False
    memory: MemoryState = field(init=False)
    store: Store = field(init=False)
    sync: StoreSync = field(init=False)
    election: LeaderElection = field(init=False)
    poller: Poller = field(init=False)
    registry: CollectorRegistry = field(init=False)
    health: HealthReport = field(init=False)
    follower: StoreFollower = field(init=False)
    scheduler: PollScheduler | None = None
    _client: Client = field(init=False)
    _stepped: asyncio.Event = field(default_factory=asyncio.Event)
    _leads: bool = False
    _renewed: float = float("-inf")
    """When the lock was renewed in the store, in real seconds."""

    async def start(self) -> None:
        settings, clock = self.settings, self.clock
        self.memory = MemoryState(settings)
        self.store = open_store(settings, None, clock)
        await self.store.__aenter__()
        publish_change = self.store.coordination.publish_change

        async def notify() -> None:
            await publish_change()
            self.on_write(self)

        self.store.coordination.publish_change = notify  # type: ignore[method-assign]
        self._count_seldom()
        self.sync = StoreSync(self.memory, self.store, now=clock)
        self.follower = follower(self.sync, clock)
        counters = Counters()
        machine = MachineClock(clock)
        self.election = LeaderElection(self.store.coordination, machine=machine, monotonic=self.time.seconds)
        self._client = await Client(settings.client).__aenter__()
        sessions = {
            key: BankSession(key, source, self._client, clock, settings.wanted(key))
            for key, source in settings.polled.items()
        }
        self.poller = Poller(self.memory, self.sync, publisher(self.sync), SOURCES, sessions, clock, counters)
        self.registry = CollectorRegistry()
        monitor = ServerMonitor(self.store)  # not started: the simulated store has no disk or memory limit
        register(self.registry, self.memory, self.sync, monitor, self.election, counters, lambda: 0, {}, clock)
        self.health = HealthReport(self.memory, self.sync, self.election, self.follower, self, clock, clock())
        self.memory.watchers.append(lambda _: self.on_snapshot(self))
        self._is_first_term, self._renewed = True, float("-inf")
        await self.follower.refresh()
        self.is_up = True
        await self.tick()

    def _count_seldom(self) -> None:
        """Count the records of the store every few real seconds: each sync does, in case some vanish."""
        count_records, counted, counted_at = self.store.sizes, dict[str, Sizes](), float("-inf")

        async def sizes(sources: Sequence[str]) -> dict[str, Sizes]:
            nonlocal counted, counted_at
            if not self._is_undisturbed or monotonic() - counted_at >= _RENEWAL:
                counted, counted_at = await count_records(sources), monotonic()
            return counted

        self.store.sizes = sizes  # type: ignore[method-assign]

    @property
    def _is_undisturbed(self) -> bool:
        return self.time.now > self.disturbed_until and self.sync.error is None

    stopped = False

    def next_poll(self, key: str) -> datetime:
        return self.memory.next_poll(key, self.clock())

    async def renew(self) -> None:
        """Acquire or renew the lock, as every three seconds."""
        if not self.is_up:
            return
        if self._is_undisturbed and monotonic() - self._renewed < _RENEWAL:
            if self._leads:
                self.election._leads_until = self.time.seconds() + _LOCK_LIFE.total_seconds()
            return
        await self.election.refresh()
        self._leads, self._renewed = self.election.role is Role.LEADER, monotonic()

    async def tick(self, *, reads: bool = True) -> None:
        """Do what an instance does every three seconds; reading the store may be left out if nobody has written."""
        await self.renew()
        if self.is_up:
            await self._poll_if_leading()
            if reads or self.sync.error is not None:
                await self.follower.refresh()
            else:
                await self.follower.publisher.publish(self.clock())

    async def _poll_if_leading(self) -> None:
        if self.election.is_polling and self.scheduler is None:
            at_once = self._is_first_term and self.election.role is Role.LEADER
            self._is_first_term = False
            self.scheduler = PollScheduler(
                cast("Poller", _Renewing(self)),
                at_once=at_once,
                monotonic=self.time.seconds,
                sleep=self._until_stepped,
            )
            self.scheduler._scheduler = cast("AsyncIOScheduler", Timers(self.time))
            await self.scheduler.__aenter__()
            await asyncio.sleep(0)
        elif not self.election.is_polling and self.scheduler is not None:
            await self.stop_polling()

    async def stop_polling(self) -> None:
        scheduler, self.scheduler = self.scheduler, None
        if scheduler:
            await scheduler.__aexit__()

    async def _until_stepped(self, _: float) -> None:
        """Sleep until the clock was set: at any other time the comparison of the clocks finds nothing."""
        await self._stepped.wait()

    async def set_clock(self, skew: timedelta) -> None:
        self.clock.skew = skew

        async def notice() -> None:
            self._stepped.set()
            self._stepped.clear()
            for _ in range(5):
                await asyncio.sleep(0)

        if self.is_up:
            self.time.at(self.time.now + timedelta(seconds=20), notice)
            await self.tick()

    async def stop(self) -> None:
        """End as after SIGTERM."""
        self.is_up = False
        await self.stop_polling()
        await self.election.__aexit__()
        await self.sync.close()
        await self._close()

    async def kill(self) -> None:
        """End as after SIGKILL: the lock is left, and expires."""
        self.is_up = False
        token = self.election.coordination._lock.local.token
        leads = self.election.role is Role.LEADER
        await self.stop_polling()
        await self._close()

        async def expire() -> None:
            async with Store(self.settings.store.url.get_secret_value(), self.settings.store.prefix) as store:
                key = f"{self.settings.store.prefix}leader"
                with suppress(RedisError):  # the store may be down too
                    if await store._redis.get(key) == token.decode():
                        await store._redis.delete(key)

        if leads:
            self.time.at(self.time.now + _LOCK_LIFE, expire)

    async def _close(self) -> None:
        await self._client.__aexit__(None, None, None)
        await self.store.__aexit__(None, None, None)


class _Renewing:
    """The poller of an instance, which renews the lock before each poll: it has done so every three seconds."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.memory, self.now = instance.memory, instance.clock

    async def poll(self, key: str) -> None:
        instance = self._instance
        await instance.renew()
        if instance.election.is_polling:
            await instance.poller.poll(key)
            instance.polled(key)


class BankServer:
    """All banks of the truth on one local HTTP server."""

    def __init__(self, truth: Truth, time: Time) -> None:
        self._truth, self._time = truth, time

    def environ(self, url: str) -> dict[str, str]:
        return {f"TICKER_SOURCES__{key.upper()}__URL": f"{url}/{key}" for key in self._truth.banks}

    async def respond(self, request: web.Request) -> web.StreamResponse:
        key = request.path.split("/")[1]
        bank, now = self._truth.banks[key], self._time.now
        bank.requests += 1
        if incident := bank.fault(now):
            return _failure(incident, request)
        path = request.path_qs[len(key) + 2 :]
        text = path + (await request.text() if request.method == "POST" else "")
        body = self._truth.respond(key, text, now)
        return web.Response(status=404, text="404 NotFound") if body is None else web.Response(body=body)


def _failure(incident: Incident, request: web.Request) -> web.Response:
    match incident.fault:
        case int() as status:
            return web.Response(status=status)
        case float() as seconds:
            return web.Response(status=429, headers={"Retry-After": f"{seconds:.0f}"})
        case bytes() as body:
            return web.Response(body=body)
    if request.transport:
        request.transport.abort()
    return web.Response()


async def serve_banks(server: BankServer) -> TestServer:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.respond)
    running = TestServer(app, host="127.0.0.1", shutdown_timeout=0)
    await running.start_server(access_log=None)
    return running


async def cause(incident: Incident, time: Time, instances: Mapping[str, Instance], store: Server) -> None:
    """Begin an incident, and schedule its end."""

    async def tick_all() -> None:
        for instance in instances.values():
            await instance.tick()

    async def restore() -> None:
        store.start()

    def tick_after(at: datetime, *seconds: int) -> None:
        for delay in seconds:
            time.at(at + timedelta(seconds=delay), tick_all)

    for each in instances.values():
        each.disturbed_until = max(each.disturbed_until, incident.end + _AFTERMATH)
    instance = instances.get(incident.subject)
    if incident.kind == "store":
        store.end()
        time.at(incident.end, restore)
        tick_after(incident.begin, 1, 2, 3)
        tick_after(incident.end, 3, 10)
    elif instance and incident.kind == "clock":
        assert isinstance(incident.fault, float)
        await instance.set_clock(timedelta(seconds=incident.fault))
        time.at(incident.end, partial(instance.set_clock, timedelta()))
    elif instance and instance.is_up:
        await (instance.stop if incident.kind == "restart" else instance.kill)()
        time.at(incident.end, instance.start)
        tick_after(incident.begin, 3, 16, 20)
