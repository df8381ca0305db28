"""Requests to the service in this process."""

import asyncio
import gzip
import json
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

Client = TestClient[Any, Any]


async def until_ready(client: Client) -> None:
    """Wait until the first poll has made a snapshot."""
    for _ in range(500):
        async with client.get("/v1/ticker") as response:
            if response.status == 200 and json.loads(await body(response))["quotes"][0]["source"] == "nbk":
                return
        await asyncio.sleep(0.005)
    raise AssertionError("no snapshot from nbk came")


async def body(response: ClientResponse) -> str:
    raw = await response.read()
    return (gzip.decompress(raw) if response.headers.get("Content-Encoding") == "gzip" else raw).decode()
