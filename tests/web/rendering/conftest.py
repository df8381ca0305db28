"""Fixtures of the output formats."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from service.app import create_app
from service.settings import load
from tests.conftest import Clock, ProductionServer
from tests.support.http import Client, until_ready
from tests.support.pages import published
from tests.support.standin import Banks, serving


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["true", "false"], ids=["cached", "uncached"])
async def client(valkey: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Yield a client of a service with and without the response cache; it has polled 1 and 2 April 2026."""
    async with serving(published(Banks())) as banks:
        environ = banks.environ() | {
            "TICKER_STORE__URL": valkey,
            "TICKER_STORE__PREFIX": f"{request.module.__name__} {request.param}:",
            "TICKER_HTTP__RESPONSE_CACHE": request.param,
        }
        app = create_app(load(environ=environ), None, Clock(datetime(2026, 4, 2, 4, 0, tzinfo=UTC)))
        async with TestClient(ProductionServer(app), auto_decompress=False) as client:
            await until_ready(client)
            yield client
