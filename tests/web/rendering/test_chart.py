"""Charts as SVG: what is inside the path of a line, axes, marks and texts."""

import datetime as dt
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from lxml import etree

from service.web.i18n.locale import language
from service.web.rendering.chart import (
    ChartLine,
    ChartPoint,
    chart_svg,
    index_starts,
    linear_ticks,
    log_ticks,
    range_start,
)

FIRST = dt.date(2026, 1, 5)
ENGLISH = language("en")


def line(rates: Sequence[str], code: str = "USD", *, step: int = 1, new_unit: int | None = None) -> ChartLine:
    """Return publications every `step` days; that with the index `new_unit` is in a new unit."""
    points = [
        ChartPoint(FIRST + dt.timedelta(step * index), Decimal(rate), new_unit=index == new_unit)
        for index, rate in enumerate(rates)
    ]
    return ChartLine(code, "KZT", points)


def drawn(*lines: ChartLine, **options: object) -> etree._Element:
    return etree.fromstring(chart_svg(lines, ENGLISH, **options).encode())  # type: ignore[arg-type]


def elements(svg: etree._Element, name: str) -> list[etree._Element]:
    return list(svg.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def segments(svg: etree._Element, code: str = "USD") -> list[list[tuple[float, float]]]:
    """Return the coordinates of the line of a currency, by segment."""
    (path,) = (path for path in elements(svg, "path") if path.get("data-currency") == code)
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", part)]
        for part in path.attrib["d"].split("M")[1:]
    ]


def labels(svg: etree._Element) -> list[str]:
    return [text.text or "" for text in elements(svg, "text")]


def test_line_has_a_coordinate_for_each_publication() -> None:
    """Time runs from left to right, in proportion to days; the lowest rate is the lowest point."""
    rates = ["475.10", "478.00", "470.25", "480.00"]
    (points,) = segments(drawn(line(rates)))
    xs = [x for x, _ in points]
    assert xs == pytest.approx([xs[0] + index * (710 - xs[0]) / 3 for index in range(4)], abs=0.1)
    assert xs[0] > 10 + 7 * len("480"), "beside the values of the axis"
    height = {rate: y for rate, (_, y) in zip(rates, points, strict=True)}
    assert sorted(rates, key=lambda rate: -height[rate]) == sorted(rates)
    low, high = height["470.25"], height["480.00"]
    assert (low - height["475.10"]) / (low - high) == pytest.approx((475.10 - 470.25) / 9.75, abs=0.001)


def test_gap_is_not_bridged() -> None:
    """The longest run of holidays is joined, a month without a publication is not."""
    near = line(["1.1", "1.2", "1.3"], step=12)
    assert len(segments(drawn(near))) == 1
    days = [0, 1, 4, 5, 40, 41]
    points = [ChartPoint(FIRST + dt.timedelta(day), Decimal(100 + day)) for day in days]
    parts = segments(drawn(ChartLine("USD", "KZT", points)))
    assert [len(part) for part in parts] == [4, 2]


def test_monthly_publications_are_joined() -> None:
    assert len(segments(drawn(line(["1.1", "1.2", "1.3", "1.2"], step=30)))) == 1


def test_redenomination_ends_the_line_and_makes_the_scale_logarithmic() -> None:
    """The two parts are not joined, both are visible, and the day is marked."""
    svg = drawn(line(["20000", "20400", "2.0", "2.04"], new_unit=2))
    old, new = segments(svg)
    assert abs(old[0][1] - old[1][1]) == pytest.approx(abs(new[0][1] - new[1][1]), abs=0.2), "equal percentages"
    (mark,) = (path for path in elements(svg, "path") if path.get("data-mark") == "unit")
    assert mark[0].text == "7 Jan 2026: new currency unit"
    assert {"10", "100", "1,000", "10,000"} <= set(labels(svg))


@pytest.mark.parametrize(("high", "logarithmic"), [("20.0", False), ("20.1", True)])
def test_scale_is_logarithmic_above_a_factor_of_ten(high: str, logarithmic: bool) -> None:
    assert line(["2.0", high]).is_logarithmic is logarithmic


def test_equal_rates_are_a_line_in_the_middle() -> None:
    ((_, first), (_, last)) = segments(drawn(line(["5.00", "5.00"])))[0]
    assert first == last
    assert 100 < first < 220


def test_single_publication_is_drawn() -> None:
    assert len(segments(drawn(line(["5.00"])))[0]) == 1


def test_two_currencies_are_drawn_as_indices() -> None:
    """Both are 100 on the first day that both have, whatever their rates are."""
    dollar, rouble = line(["400", "440", "420"]), line(["5.0", "5.5", "5.0"], "RUB")
    svg = drawn(dollar, rouble)
    assert segments(svg)[0][:2] == segments(svg, "RUB")[0][:2]
    assert segments(svg)[0][2] != segments(svg, "RUB")[0][2]
    assert {"100", "110"} <= {label.removesuffix(".0") for label in labels(svg)}
    dashes = [path.get("stroke-dasharray") for path in elements(svg, "path") if path.get("data-currency")]
    assert dashes == [None, "6 4"], "distinguished without colours"


def test_range_begins_with_the_publication_in_force() -> None:
    """As the changes over periods do; a line that has stopped before has no part."""
    weekly = line(["400", "410", "420", "430"], step=7)
    days = [point.day for point in weekly.points]
    assert [point.day for point in weekly.since(days[2] - dt.timedelta(2)).points] == days[1:]
    assert weekly.since(days[2] - dt.timedelta(2)).percent == Decimal("4.88")
    assert [point.day for point in weekly.since(days[2]).points] == days[2:]
    assert [point.day for point in weekly.since(days[0] - dt.timedelta(9)).points] == days
    assert weekly.since(days[3] + dt.timedelta(1)).points == []
    rare = line(["400", "410"], step=90)
    assert [point.day for point in rare.since(rare.points[1].day - dt.timedelta(9)).points] == [rare.points[1].day]


def test_indices_begin_with_the_last_redenomination() -> None:
    """An index across it would compare two units."""
    dollar, manat = line(["400", "420", "440", "462"]), line(["20000", "20400", "2.0", "2.1"], "TMT", new_unit=2)
    svg = drawn(dollar, manat)
    assert segments(svg) == segments(svg, "TMT"), "both have risen by 5 %"
    assert len(segments(svg)[0]) == 2
    assert not [label for label in labels(svg) if "000" in label]


def test_comparison_with_a_currency_without_rates_in_the_range() -> None:
    """It has stopped: the other one is an index nevertheless."""
    svg = drawn(line(["400", "440"]), ChartLine("RUB", "KZT", []))
    assert len(segments(svg)[0]) == 2
    assert {"100", "110"} <= {label.removesuffix(".0") for label in labels(svg)}
    assert "RUB" not in etree.tostring(svg).decode()


def test_index_is_100_on_the_first_day_that_all_have() -> None:
    """Of a line without a publication on that day, at the next one."""
    euro = ChartLine("EUR", "KZT", [ChartPoint(FIRST + dt.timedelta(days), Decimal(500)) for days in (1, 3)])
    starts = index_starts([line(["400", "410", "420", "430"], step=2), euro])
    assert [start.day for start in starts] == [FIRST + dt.timedelta(2), FIRST + dt.timedelta(1)]


def test_corrected_and_quarantined_days_are_marked() -> None:
    plain = line(["1.10", "1.20", "1.30"])
    days = [point.day for point in plain.points]
    marked = ChartLine("USD", "KZT", plain.points, frozenset(days[1:2]), frozenset([days[2], dt.date(2025, 1, 1)]))
    svg = drawn(marked)
    (circle,) = elements(svg, "circle")
    assert (float(circle.attrib["cx"]), float(circle.attrib["cy"])) == segments(svg)[0][1]
    assert circle[0].text == "6 Jan 2026: corrected by the source"
    (triangle,) = (path for path in elements(svg, "path") if path.get("data-mark") == "quarantined")
    assert triangle[0].text == "7 Jan 2026: suspicious rate, not published"


def test_title_and_description_say_what_the_line_shows() -> None:
    """For screen readers: which currencies, when, the change, the lowest and highest rate."""
    svg = drawn(line(["400.00", "410.00", "405.40"]), prefix="rates")
    title, description = elements(svg, "title")[0], elements(svg, "desc")[0]
    assert (svg.get("role"), svg.get("aria-labelledby")) == ("img", title.get("id"))
    assert (title.get("id"), description.get("id")) == ("rates-title", "rates-desc")
    assert title.text == "US Dollar / KZT, 5 Jan 2026 – 7 Jan 2026"
    assert description.text == (
        "US dollar, up 1.35 percent against the tenge. "
        "3 publications from 5 January 2026 to 7 January 2026: lowest 400.00, highest 410.00."
    )


def test_change_is_unknown_across_a_redenomination() -> None:
    text = elements(drawn(line(["20000", "2.0"], new_unit=1)), "desc")[0].text
    assert text is not None
    assert "percent" not in text


def test_labels_are_in_the_language() -> None:
    rates = [str(Decimal(1470) + index) for index in range(12)]
    svg = etree.fromstring(chart_svg([line(rates, step=31)], language("kk")).encode())
    assert "1\u00a0475" in labels(svg)
    assert any("мам." in label for label in labels(svg))


@pytest.mark.parametrize("days", [1, 20, 31, 92, 366, 1827, 3653, 10000])
def test_dates_have_few_labels(days: int) -> None:
    """From one to six, at different positions, whatever the range."""
    points = [ChartPoint(FIRST + dt.timedelta(day), Decimal("1.5")) for day in (0, days)]
    svg = drawn(ChartLine("USD", "KZT", points))
    dates = [text for text in elements(svg, "text") if text.get("y") == "312"]
    assert 1 <= len(dates) <= 6
    positions = [float(text.attrib["x"]) for text in dates]
    assert all(right - left > 50 for left, right in pairwise(positions))


def test_ticks_are_round_values_between_the_bounds() -> None:
    assert linear_ticks(469.8, 480.4, 5) == [470, 475, 480]
    assert linear_ticks(0.0123, 0.0137, 5) == [Decimal(text) for text in ("0.0125", "0.0130", "0.0135")]
    assert log_ticks(1.5, 30, 10) == [2, 5, 10, 20]
    assert log_ticks(1.5, 20_000_000, 10) == [Decimal(10) ** power for power in range(1, 8)]


def test_themes_set_colours_without_scripts() -> None:
    """`auto` has a style sheet with the dark colours; `page` takes the colour of the text around it, and has none."""
    rates = line(["1.1", "1.2"])
    assert "prefers-color-scheme" in chart_svg([rates], ENGLISH, theme="auto")
    assert "prefers-color-scheme" not in chart_svg([rates], ENGLISH, theme="dark")
    page = chart_svg([rates], ENGLISH, theme="page")
    assert "<style" not in page
    assert "#" not in page
    assert 'stroke="currentColor"' in page
    assert "<rect" not in page


def test_ranges_end_with_the_latest_day() -> None:
    latest = dt.date(2026, 3, 31)
    starts = [str(range_start(name, latest, dt.date(2016, 4, 1))) for name in ("1m", "3m", "1y", "5y", "all")]
    assert starts == ["2026-02-28", "2025-12-31", "2025-03-31", "2021-03-31", "2016-04-01"]
    assert range_start("1y", latest, dt.date(2026, 1, 1)) == dt.date(2026, 1, 1)
