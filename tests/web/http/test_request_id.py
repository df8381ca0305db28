"""Ids of requests: who may choose them, which log events have them, and that successful requests make none."""

import asyncio
import gc
import re
import weakref
from collections.abc import AsyncIterator

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from structlog.testing import LogCapture

from service.observability.context import add_request_id
from service.observability.counters import Counters
from service.settings import HttpSettings
from service.web.http.problems import Problem, handle_async_errors
from service.web.http.request_id import REQUEST_ID, LoggedRequest, RequestIds
from service.web.server.instrumentation import counted
from tests.support.http import Client

RANDOM = re.compile("[0-9a-f]{32}")
SENT = "0123456789abcdef0123456789abcdef"

log = structlog.get_logger()


@pytest.fixture
def events() -> LogCapture:
    """Capture log events as the service writes them, with the id of the request."""
    capture = LogCapture()
    structlog.configure(processors=[add_request_id, capture])
    return capture


@pytest.fixture
async def client(events: LogCapture) -> AsyncIterator[Client]:
    """Return a client of routes that log, fail and start tasks; a loopback address is a trusted proxy."""

    async def respond(request: web.Request) -> web.StreamResponse:
        log.info("in the request")
        await asyncio.gather(asyncio.create_task(background()))
        match request.query_string:
            case "problem":
                raise Problem(404, "Not found.")
            case "crash":
                raise ZeroDivisionError
        return web.Response(text="fine")

    async def background() -> None:
        log.info("in its task")

    ids, app = RequestIds(HttpSettings()), web.Application()
    app.on_response_prepare.append(ids.add_to_error)
    app.add_routes(counted([web.get("/", handle_async_errors(respond))], Counters(), ids))
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(("query", "status"), [("problem", 404), ("crash", 500)])
async def test_error_and_its_log_events_have_the_same_id(
    client: Client, events: LogCapture, query: str, status: int
) -> None:
    """Also the events of tasks that the request waits for. Each request has an id of its own."""
    for _ in range(2):
        async with client.get(f"/?{query}") as response:
            assert response.status == status
            assert RANDOM.fullmatch(response.headers[REQUEST_ID])
            assert {event["request_id"] for event in events.entries} == {response.headers[REQUEST_ID]}
            logged = ["in the request", "in its task", *(["request.crashed"] if query == "crash" else [])]
            assert [event["event"] for event in events.entries] == logged
        events.entries.clear()


async def test_successful_response_has_no_id(client: Client, events: LogCapture) -> None:
    """Its log events have the one that the proxy has sent; after the request there is none."""
    async with client.get("/", headers={REQUEST_ID: SENT}) as response:
        assert response.status == 200
        assert REQUEST_ID not in response.headers
    log.info("after the request")
    assert [event.get("request_id") for event in events.entries] == [SENT, SENT, None]


@pytest.mark.parametrize(
    ("sent", "is_used"),
    [
        ([SENT], True),
        (["018f3f0e-6b2a-7c11-9d1e-2f3a4b5c6d7e"], True),
        (["Root.1-67891233-abcdef012345678912345678"], True),
        ([], False),
        ([""], False),
        (["short"], False),
        (["a" * 65], False),
        (["with space in it"], False),
        (['quote"quote"quote'], False),
        (["идентификатор"], False),
        ([f"{SENT}\n"], False),
        ([SENT, SENT], False),
    ],
)
def test_malformed_id_is_replaced(sent: list[str], is_used: bool) -> None:
    """Anything that would need escaping in a log, is too short or long, or is sent twice."""
    request = make_mocked_request("GET", "/", headers=[(REQUEST_ID, value) for value in sent])
    ids = RequestIds(HttpSettings())
    known = ids.of(request)
    assert (known == SENT or known in sent) is is_used
    assert is_used or RANDOM.fullmatch(known)
    assert ids.of(request) == known


def test_no_id_is_made_unless_an_event_is_logged(events: LogCapture) -> None:
    """A request that logs nothing costs no random number."""
    request, ids = make_mocked_request("GET", "/"), RequestIds(HttpSettings())
    with LoggedRequest(request, ids):
        assert len(request) == 0
        log.info("something")
        assert len(request) == 1


async def test_task_that_outlives_its_request_does_not_keep_it(events: LogCapture) -> None:
    """A cached page keeps the task that rendered it, and so the task's context."""
    ended, request = asyncio.Event(), make_mocked_request("GET", "/")
    reference = weakref.ref(request)

    async def outlive() -> None:
        await ended.wait()
        log.info("later")

    with LoggedRequest(request, RequestIds(HttpSettings())):
        task = asyncio.create_task(outlive())
    del request
    gc.collect()
    assert reference() is None
    ended.set()
    await task
    assert events.entries == [{"event": "later", "log_level": "info"}]
