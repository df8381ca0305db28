"""The soak test itself: a short run, and detection of a simulated leak."""

import random
from pathlib import Path

import pytest

from tests.soak.measure import Length, Measured, soak
from tests.soak.slope import slope

HALF_AN_HOUR = [step / 360 for step in range(180)]
"""Times of measurements every ten seconds, in hours."""


def varying_values(rng: random.Random, stay: float) -> list[float]:
    """Return values that vary without a trend; each keeps the fraction `stay` of the previous one."""
    values, value = list[float](), 0.0
    for _ in HALF_AN_HOUR:
        value = stay * value + rng.gauss(0, 0.3)
        values.append(80 + value)
    return values


@pytest.mark.parametrize("stay", [0.0, 0.9])
def test_leak_is_detected_and_noise_is_not(stay: float) -> None:
    """Few of a hundred runs without a leak are reported, also with correlated values; all with a leak are."""
    false_alarms = found = 0
    for seed in range(100):
        rng = random.Random(seed)  # noqa: S311 - the same at each run
        without_leak = varying_values(rng, stay)
        leaking = [value + 12 * hour for value, hour in zip(without_leak, HALF_AN_HOUR, strict=True)]
        false_alarms += slope(HALF_AN_HOUR, without_leak).grows(1)
        found += slope(HALF_AN_HOUR, leaking).grows(1)
    assert false_alarms <= 10
    assert found == 100


def test_slope_is_fitted_by_least_squares() -> None:
    """The error is the usual one for independent values, and 0 for constant values."""
    fitted = slope(range(10), [2 * time + (0.5, -0.5, -0.5, 0.5, 0)[time % 5] for time in range(10)])
    assert (round(fitted.value, 6), round(fitted.error, 4)) == (2.0, 0.055)
    flat = slope(range(10), [7.0] * 10)
    assert (flat.value, flat.error, flat.grows(0)) == (0, 0, False)
    with pytest.raises(ValueError, match="too few"):
        slope(range(9), range(9))


def test_growth_below_the_bound_is_flat() -> None:
    """A drop is flat, a value without a bound is not judged, a value that varies too much is unknown."""
    measured = Measured()
    for step, hour in enumerate(HALF_AN_HOUR):
        measured.at.append(hour)
        for name, unit, per_hour in (("some", "MB", 0.5), ("much", "MB", 2), ("less", "MB", -2), ("kept", "", 20)):
            measured.add(name, unit, 80 + hour * per_hour + step % 2 / 1000)
        measured.add("odd", "MB", 80 + 9 * (step % 2))
    verdicts = {row[0]: (row[-1], grows) for row, grows in measured.rows(warm=0.1)}
    assert verdicts == {
        "some, MB": ("flat", False),
        "much, MB": ("GROWS", True),
        "less, MB": ("flat", False),
        "kept, not judged": ("", False),
        "odd, MB": ("unknown", False),
    }


@pytest.mark.slow
async def test_short_run_has_no_faults(tmp_path: Path) -> None:
    """Two real instances, banks that publish, valid and invalid requests, streams: no response is a fault."""
    expected_results = {"publications", "streams", "200", "304", "400", "404"}
    measured, load = await soak(
        tmp_path,
        Length(seconds=8, step=0.5, warm=1),
        lambda load: expected_results <= load.results.keys() or bool(load.faults),
    )
    assert load.faults == []
    assert expected_results <= load.results.keys()
    rows = {row[0]: row for row, _ in measured.rows(1 / 3600)}
    assert {
        f"{value} of the {role}" for value in ("memory", "open files", "p99") for role in ("leader", "follower")
    } <= {name.partition(",")[0] for name in rows}
    assert all(value > 0 for values in measured.series.values() for value in values)


@pytest.mark.parametrize(("minutes", "expected"), [(30, (1800, 10, 600)), (1, (60, 1, 20)), (600, (36000, 10, 600))])
def test_length_of_a_run(minutes: float, expected: tuple[float, float, float]) -> None:
    """A run of one minute also has enough measurements after the warm-up."""
    length = Length.of(minutes)
    assert (length.seconds, length.step, length.warm) == expected
