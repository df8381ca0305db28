"""The long measurement in short: it runs, and a leak that was made up does not pass."""

import random
from pathlib import Path

import pytest

from tests.soak.measure import Length, Measured, soak
from tests.soak.slope import slope

HALF_AN_HOUR = [step / 360 for step in range(180)]
"""Every ten seconds, in hours."""


def steps(chance: random.Random, stay: float) -> list[float]:
    """Return what moves and does not grow: each value keeps a part of the one before."""
    values, value = list[float](), 0.0
    for _ in HALF_AN_HOUR:
        value = stay * value + chance.gauss(0, 0.3)
        values.append(80 + value)
    return values


@pytest.mark.parametrize("stay", [0.0, 0.9])
def test_a_leak_is_found_and_noise_is_none(stay: float) -> None:
    """Of a hundred runs without a leak hardly one is blamed, also where memory stays taken; of those with one, all."""
    blamed = found = 0
    for seed in range(100):
        chance = random.Random(seed)  # noqa: S311 - the same at each run
        quiet = steps(chance, stay)
        leaking = [value + 12 * hour for value, hour in zip(quiet, HALF_AN_HOUR, strict=True)]
        blamed += slope(HALF_AN_HOUR, quiet).grows(1)
        found += slope(HALF_AN_HOUR, leaking).grows(1)
    assert blamed <= 10
    assert found == 100


def test_a_slope_is_that_of_least_squares() -> None:
    """With the textbook's error where neighbours have nothing in common; what does not move has none."""
    fitted = slope(range(10), [2 * time + (0.5, -0.5, -0.5, 0.5, 0)[time % 5] for time in range(10)])
    assert (round(fitted.value, 6), round(fitted.error, 4)) == (2.0, 0.055)
    flat = slope(range(10), [7.0] * 10)
    assert (flat.value, flat.error, flat.grows(0)) == (0, 0, False)
    with pytest.raises(ValueError, match="too few"):
        slope(range(9), range(9))


def test_what_grows_by_less_than_matters_is_flat() -> None:
    """However surely; a drop is no leak; what has no bound is not judged, of what varies too much nothing is known."""
    measured = Measured()
    for step, hour in enumerate(HALF_AN_HOUR):
        measured.at.append(hour)
        for name, unit, an_hour in (("some", "MB", 0.5), ("much", "MB", 2), ("less", "MB", -2), ("kept", "", 20)):
            measured.add(name, unit, 80 + hour * an_hour + step % 2 / 1000)
        measured.add("odd", "MB", 80 + 9 * (step % 2))
    told = {row[0]: (row[-1], grows) for row, grows in measured.rows(warm=0.1)}
    assert told == {
        "some, MB": ("flat", False),
        "much, MB": ("GROWS", True),
        "less, MB": ("flat", False),
        "kept, not judged": ("", False),
        "odd, MB": ("not known", False),
    }


@pytest.mark.slow
async def test_it_runs(tmp_path: Path) -> None:
    """Two real instances, banks that publish, readers, strangers and streams; nobody is answered wrongly."""
    wanted = {"publications", "streams", "200", "304", "400", "404"}
    measured, load = await soak(
        tmp_path, Length(seconds=8, step=0.5, warm=1), lambda load: wanted <= load.answers.keys() or bool(load.faults)
    )
    assert load.faults == []
    assert wanted <= load.answers.keys()
    rows = {row[0]: row for row, _ in measured.rows(1 / 3600)}
    assert {f"{what} of the {who}" for what in ("memory", "open files", "p99") for who in ("leader", "follower")} <= {
        name.partition(",")[0] for name in rows
    }
    assert all(value > 0 for values in measured.series.values() for value in values)


@pytest.mark.parametrize(("minutes", "expected"), [(30, (1800, 10, 600)), (1, (60, 1, 20)), (600, (36000, 10, 600))])
def test_how_long_it_takes(minutes: float, expected: tuple[float, float, float]) -> None:
    """A minute has enough measurements too, after a warm-up."""
    length = Length.of(minutes)
    assert (length.seconds, length.step, length.warm) == expected
