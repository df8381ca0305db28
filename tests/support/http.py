"""Requests to the service in this process."""

import gzip
import json
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from tests.support.wait import until

Client = TestClient[Any, Any]


async def until_ready(client: Client) -> None:
    """Wait until the rates of the first poll are served."""

    async def ready() -> bool:
        async with client.get("/v1/ticker") as response:
            return response.status == 200 and json.loads(await body(response))["quotes"][0]["source"] == "nbk"

    await until(ready)


async def body(response: ClientResponse) -> str:
    raw = await response.read()
    return (gzip.decompress(raw) if response.headers.get("Content-Encoding") == "gzip" else raw).decode()
