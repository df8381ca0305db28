"""Two months of every source with the default settings: how soon a publication is found, and with how many requests."""

from datetime import timedelta
from functools import cache

import pytest

from service.settings import Settings, load
from service.sources.banks import SOURCES
from tests.support.arrivals import Simulation

WEEKS = 8
LEARNING = 10
"""Publications after which the usual arrival is known."""
LONG_INTERVALS = {"nbkr": timedelta(minutes=2), "nbm": timedelta(minutes=2), "bom": timedelta(minutes=5)}
"""Banks that allow few requests, publish at any time of a long window, or return 5 MB each time; the largest median."""


@cache
def settings() -> Settings:
    enabled = {key: {"enabled": True} for key, adapter in SOURCES.items() if not adapter.relay}
    return load(environ={}, overrides={"sources": enabled})


@cache
def simulated(key: str) -> Simulation:
    simulation = Simulation(settings(), key, SOURCES[settings().adapter(key)])
    simulation.run(WEEKS)
    return simulation


FAST = {"nbk", "cbr", "nbkr"}
"""Banks that `make test` simulates: by day, a table, and with few requests. `make test-slow` simulates the others."""
KEYS = [
    pytest.param(key, marks=() if key in FAST else pytest.mark.slow)
    for key, source in load(environ={}).sources.items()
    if source.window and len(source.days) > 1  # those of a weekly publication are too few to learn from
]


@pytest.mark.parametrize("key", KEYS)
def test_requests_of_every_day_stay_within_the_budget(key: str) -> None:
    """Also while nothing has been learned, on weekends and before holidays."""
    assert max(simulated(key).requests.values()) <= settings().polled[key].budget


@pytest.mark.parametrize("key", KEYS)
def test_publications_are_found_within_half_a_minute(key: str) -> None:
    """The median, once the usual arrival is known; all publications are found."""
    delays = sorted(simulated(key).delays[LEARNING:])
    assert len(delays) > 20
    assert simulated(key).lost == 0
    median, most = delays[len(delays) // 2], delays[int(0.9 * len(delays))]
    if key in LONG_INTERVALS:
        assert median <= LONG_INTERVALS[key]
    else:
        assert median <= timedelta(seconds=30)
        assert most <= timedelta(seconds=60)


def test_learning_is_what_makes_it_quick() -> None:
    simulation = Simulation(settings(), "nbk", SOURCES["nbk"], is_adaptive=False)
    simulation.run(WEEKS)
    delays = sorted(simulation.delays)
    assert delays[len(delays) // 2] > timedelta(minutes=2)
