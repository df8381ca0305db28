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
    read = families(await text(client))
    return {(one.name, frozenset(one.labels.items())): one.value for family in read for one in family.samples}


async def until_scraped(client: Client, so: Callable[[Samples], bool]) -> Samples:
    """Return what is told once it is so."""

    async def told() -> Samples:
        samples = await scraped(client)
        return samples if so(samples) else {}

    return await until(told)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))
