"""Read /metrics."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families as families

from tests.support.http import Client
from tests.support.wait import until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
BANKS = ("nbk", "cbr", "ecb", "nbu", "cbu")
RESULTS = ("ok", "failed")


async def text(client: Client, accept: str = "text/plain") -> str:
    async with client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        return await response.text()


async def scraped(client: Client) -> Samples:
    parsed = families(await text(client))
    return {(item.name, frozenset(item.labels.items())): item.value for family in parsed for item in family.samples}


async def until_scraped(client: Client, condition: Callable[[Samples], bool]) -> Samples:
    """Return the metrics once the condition holds for them."""

    async def matching() -> Samples:
        samples = await scraped(client)
        return samples if condition(samples) else {}

    return await until(matching)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))
