"""Sources without code: `adapter = "http"`, described by settings."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from service.domain.fixing import Fixing, Quotation
from service.domain.publication_schedule import Freshness, freshness, latest_possible_date
from service.errors import NotUnderstood, SettingsError
from service.settings import ClientSettings, Settings, load
from service.settings.loader import ROOT
from service.sources.adapter import ParsedResponse, RawResponse
from service.sources.banks import SOURCES
from service.sources.configured import Configured
from service.sources.http_client import Client
from service.sources.paths import MOST_ELEMENTS, MOST_ROWS
from service.sources.registry import adapter_of, validate
from service.sources.session import BankSession
from tests.conftest import Clock
from tests.fuzz.mutations import BY_NAME, mutated
from tests.sources.answers import ADAPTERS, EXAMPLES, RecordingSession, digits, documents, response_of
from tests.support.fixings import FETCHED, day

SHOP: dict[str, Any] = {
    "adapter": "http",
    "name": "Shop",
    "base": "KZT",
    "timezone": "Asia/Almaty",
    "window": "09:00-10:00",
    "url": "http://bank.test/rates",
    "format": "json",
    "rows": "rates",
    "currency": "code",
    "value": "rate",
}
XML = {"format": "xml", "rows": "/r/v", "currency": "c", "value": "n"}
HTML = {"format": "html", "rows": "//tr[td]", "currency": "td[1]", "value": "td[2]"}
CSV = {"format": "csv", "rows": "", "currency": "code", "value": "rate"}


def settings(**changes: Any) -> Settings:
    return load(environ={}, overrides={"sources": {"shop": SHOP | changes}})


def shop(**changes: Any) -> Configured:
    adapter = adapter_of(settings(**changes), "shop")
    assert isinstance(adapter, Configured)
    return adapter


def response(body: str | bytes, since: date = date.min) -> RawResponse:
    body = body.encode() if isinstance(body, str) else body
    return RawResponse("shop", "KZT", "http://bank.test/rates", body, FETCHED, since)


def rates(body: str | bytes, **changes: Any) -> dict[str, tuple[str, int, str | None]]:
    """Return the rates of a document with one date, as text."""
    parsed = shop(**changes).parse(response(body))
    assert parsed.left_out == ()
    (fixing,) = parsed
    return digits(fixing)


def page(*rows: str) -> str:
    cells = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<!DOCTYPE html><html><body><h1>Rates</h1><table><tr><th>a</th></tr>{cells}</table></body></html>"


# The examples, compared with the adapters of their banks


@pytest.mark.parametrize("key", EXAMPLES)
def test_example_reads_every_rate_of_its_bank(key: str) -> None:
    """All digits, nominals, changes and dates are those of the adapter with code."""
    compared = 0
    for path in documents(key):
        bank = SOURCES[EXAMPLES[key]].parse(response_of(EXAMPLES[key], path.read_bytes()))
        own = ADAPTERS[key].parse(response_of(key, path.read_bytes()))
        assert [published(fixing) for fixing in own] == [published(fixing) for fixing in bank]
        assert own.left_out == bank.left_out == ()
        compared += sum(len(fixing.rates) for fixing in own)
    assert compared >= 7


@pytest.mark.fuzz
@pytest.mark.parametrize("key", EXAMPLES)
def test_mutated_document_has_the_rates_of_the_bank_or_is_refused(key: str) -> None:
    """No error but `NotUnderstood`; what both adapters read is the same."""
    bodies = [path.read_bytes() for path in documents(key)]

    @given(
        st.sampled_from(bodies),
        st.lists(st.sampled_from(sorted(BY_NAME)), min_size=1, max_size=3),
        st.integers(0, 2**32),
    )
    def check(body: bytes, names: list[str], seed: int) -> None:
        broken = mutated(body, names, Random(seed))  # noqa: S311 - no secret
        own, bank = (rates_or_none(adapter, broken) for adapter in (key, EXAMPLES[key]))
        shared = own.keys() & bank.keys()
        assert {place: own[place] for place in shared} == {place: bank[place] for place in shared}

    check()


def rates_or_none(key: str, body: bytes) -> dict[tuple[date, str], tuple[str, int, str | None]]:
    try:
        fixings = ADAPTERS[key].parse(response_of(key, body))
    except NotUnderstood:
        return {}
    return {(fixing.date, code): rate for fixing in fixings for code, rate in digits(fixing).items()}


def published(fixing: Fixing) -> tuple[date, Quotation, Mapping[str, object]]:
    return fixing.date, fixing.direction, digits(fixing)


@pytest.mark.parametrize("key", EXAMPLES)
async def test_example_requests_what_its_bank_requests(key: str) -> None:
    """The same URLs, for a range of dates that is past."""

    async def urls(adapter: str, base: str) -> list[str]:
        session = RecordingSession(adapter, url=base)
        return [each.url async for each in ADAPTERS[adapter].fetch(session, date(2026, 3, 1), date(2026, 3, 3))]

    source = load(environ={}).sources[EXAMPLES[key]]
    own = adapter_url(key)
    assert await urls(key, own) == await urls(EXAMPLES[key], source.url.rstrip("/"))


def adapter_url(key: str) -> str:
    adapter = ADAPTERS[key]
    assert isinstance(adapter, Configured)
    return adapter.source.base_url


# What is requested


async def requested(url: str, since: date, until: date, **changes: Any) -> list[RawResponse]:
    session = RecordingSession("shop", not_found=frozenset({"/none"}))
    if "{secret}" in url:
        changes |= {"secret": "0123456789"}
    adapter = shop(url=url, **({"date": "date"} if "{" in url.replace("{secret}", "") else {}), **changes)
    return [each async for each in adapter.fetch(session, since, until)]


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("http://bank.test/rates.json", ["/rates.json"]),
        ("http://bank.test", [""]),
        ("http://bank.test/{date:%d.%m.%Y}/all?x=%5B1%5D", ["/31.03.2026/all?x=%5B1%5D", "/01.04.2026/all?x=%5B1%5D"]),
        ("http://bank.test/?d={date}&e={date:%y}", ["/?d=2026-03-31&e=26", "/?d=2026-04-01&e=26"]),
        ("http://bank.test/{date:%Y}.json", ["/2026.json"]),
        ("http://bank.test/?from={since:%Y%m%d}&to={until:%d/%b/%Y}", ["/?from=20260331&to=01/Apr/2026"]),
        ("http://bank.test/?from={since}", ["/?from=2026-03-31"]),
        ("https://bank.test/?key={secret}", ["/?key={secret}"]),
    ],
)
async def test_url_has_the_requested_dates(url: str, paths: list[str]) -> None:
    """By day, as a range, or none; a document of several days is requested once. The secret is filled in when sent."""
    responses = await requested(url, date(2026, 3, 31), day(1))
    assert [each.url.removeprefix("http://bank.test") for each in responses] == paths


async def test_status_404_means_nothing_only_if_configured() -> None:
    """Otherwise it is an error, as at banks."""
    assert await requested("http://bank.test/none", day(1), day(1), may_be_missing=True) == []
    with pytest.raises(Exception, match="responded with status 404"):
        await requested("http://bank.test/none", day(1), day(1))


def test_capabilities_follow_from_the_settings() -> None:
    """Without a date in the URL the source has no history; a range is requested a year at a time."""
    latest = shop()
    by_day = shop(url="http://bank.test/{date}", date="date", change="diff")
    by_range = shop(url="http://bank.test/{since}/{until}", date="date")
    capabilities = [(each.latest_only, each.yearly, each.publishes_changes) for each in (latest, by_day, by_range)]
    assert capabilities == [(True, False, False), (False, False, True), (False, True, False)]


# What is read


def test_json_by_jmespath() -> None:
    """Rows below members, cells below rows, the date at the root; numbers keep their digits."""
    usd = '{"c":{"code":"USD"},"rate":475.090,"per":"1"}'
    irr = '{"c":{"code":"IRR"},"rate":"0.40","per":1000}'
    body = f'{{"on":"02.04.2026","data":{{"rates":[{usd},{irr}]}}}}'
    changes = {"rows": "data.rates", "currency": "c.code", "nominal": "per", "date": "$.on", "date_format": "%d.%m.%Y"}
    assert rates(body, **changes) == {"USD": ("475.090", 1, None), "IRR": ("0.40", 1000, None)}
    assert shop(**changes).parse(response(body))[0].date == day(2)


def test_object_with_a_member_per_currency() -> None:
    """`items` makes rows of it: the usual form of commercial services."""
    body = '{"timestamp":1775088000,"base":"USD","rates":{"EUR":0.8612,"KZT":475.09}}'
    changes = {"rows": "items(rates)", "currency": "[0]", "value": "[1]", "date": "$.timestamp", "date_format": "unix"}
    parsed = shop(**changes, direction="inverse").parse(response(body))
    assert digits(parsed[0]) == {"EUR": ("0.8612", 1, None), "KZT": ("475.09", 1, None)}
    assert (parsed[0].date, parsed[0].direction) == (day(2), Quotation.INVERSE)


def test_xml_by_xpath_without_namespaces() -> None:
    """Namespaces are ignored; attributes, ancestors and the root can be read."""
    body = '<r xmlns="urn:x"><d on="2026-04-02"><v c="USD">475.09</v><v c="EUR">551.06</v></d></r>'
    expected = {"USD": ("475.09", 100, None), "EUR": ("551.06", 100, None)}
    paths = {"format": "xml", "rows": "/r/d/v", "currency": "@c", "value": ".", "nominal": 100}
    assert rates(body, **paths, date="../@on") == rates(body, **paths, date="/r/d/@on") == expected


def test_html_by_xpath_and_css() -> None:
    """Both find the same cells; repaired markup and entities are read as browsers do."""
    body = page("<td>USD<td><b>1&nbsp;475,09</b>", "<td>EUR</td><td> 551,06 </td>")
    numbers = {"decimal_mark": ",", "thousands_mark": " "}
    expected = {"USD": ("1475.09", 1, None), "EUR": ("551.06", 1, None)}
    assert rates(body, **HTML, **numbers) == expected
    css = {"rows": "css:table tr:not(:first-child)", "currency": "css:td", "value": "css:td + td"}
    assert rates(body, **HTML | css | {"currency": "css:td:first-child"}, **numbers) == expected


def test_csv_by_columns() -> None:
    """Another delimiter and encoding; a JMESPath selects lines."""
    body = "Код;rate;kind\nUSD;475,09;cash\nEUR;551,06;card\n".encode("windows-1251")
    form = {"delimiter": ";", "encoding": "windows-1251", "decimal_mark": ",", "currency": "Код"}
    assert rates(body, **CSV | form | {"rows": "[?kind=='cash']"}) == {"USD": ("475.09", 1, None)}
    assert rates(body, **CSV | form).keys() == {"USD", "EUR"}


COLUMNS = {"format": "csv", "rows": "", "date": "Date", "currency": "*", "value": ""}


def test_csv_with_a_column_per_currency() -> None:
    """A name may have the number of units, spaces, or a code of its own; an empty cell is no rate, nor is `no_rate`."""
    body = "Date, USD, 100 JPY,1000IDR,Euro,GBP,CHF,TWI, \n02.04.2026, 475.09, 317.5, 28.10, 551.06,, N/A, 61.2, \n"
    form = {"date_format": "%d.%m.%Y", "no_rate": "N/A", "codes": {"Euro": "EUR", "TWI": ""}}
    expected = {"USD": ("475.09", 1), "JPY": ("317.5", 100), "IDR": ("28.10", 1000), "EUR": ("551.06", 1)}
    assert rates(body, **COLUMNS | form) == {code: (*rate, None) for code, rate in expected.items()}
    yen = "Date,USD,100 Yen\n2026-04-02,475.09,317.5\n"
    for codes in ({"100 Yen": "JPY"}, {"Yen": "JPY"}):
        assert rates(yen, **COLUMNS, codes=codes)["JPY"] == ("317.5", 100, None)
    assert rates(body, **COLUMNS | form, nominal="10")["USD"] == ("475.09", 10, None)


def test_lines_of_a_csv_with_columns_are_dated() -> None:
    """As in a history, of which only the requested dates are read, in any order."""
    lines = [f"{date(2026, 4, 2) - timedelta(days=age)},{500 - age},N/A\n" for age in range(8_000)]
    body = "".join(["Date,USD,BGN\n", *lines])
    adapter = shop(**COLUMNS, no_rate="N/A")
    parsed = adapter.parse(response(body, day(1)))
    assert [(fixing.date, digits(fixing)) for fixing in parsed] == [
        (day(1), {"USD": ("499", 1, None)}),
        (day(2), {"USD": ("500", 1, None)}),
    ]
    assert parsed.left_out == ()
    (selected,) = shop(**COLUMNS | {"no_rate": "N/A", "rows": "[?Date=='2026-04-01']"}).parse(response(body))
    assert digits(selected)["USD"][0] == "499"


def test_column_that_cannot_be_read_is_named_once() -> None:
    """The others are read. `no_rate` is needed for other text than a number."""
    body = "Date,USD,TWI,EUR\n2026-04-01,475.09,61.2,N/A\n2026-04-02,475.10,61.3,551.06\n"
    parsed = shop(**COLUMNS).parse(response(body))
    assert parsed.left_out == (
        "has the column 'TWI', which is named by no currency of ISO 4217",
        "has 'N/A' where a number is expected for EUR on 2026-04-01",
    )
    assert [set(fixing.rates) for fixing in parsed] == [{"USD"}, {"USD", "EUR"}]
    many = shop(**COLUMNS).parse(response("Date,USD,Average,Least,2026\n2026-04-02,475.09,1,2,3\n"))
    assert (set(many[0].rates), len(many.left_out)) == ({"USD"}, 3)
    nothing = shop(**COLUMNS).parse(response("Date,USD,Comment\n2026-04-02,,holiday\n"))
    assert (list(nothing), len(nothing.left_out)) == ([], 1)
    inverse = shop(**COLUMNS, direction="inverse").parse(response("Date,USD,100 HUF\n2026-04-02,1.15,381.2\n"))
    assert (set(inverse[0].rates), len(inverse.left_out)) == ({"USD"}, 1)
    twice = shop(**COLUMNS).parse(response("Date,USD,1 USD,EUR\n2026-04-02,475.09,475.09,551.06\n"))
    assert (set(twice[0].rates), twice.left_out) == ({"EUR"}, ("quotes USD twice for 2026-04-02",))


def test_rates_that_are_not_published_are_left_out_silently() -> None:
    """In every format: of a currency with an empty code, or with `no_rate` in the place of the rate."""
    body = "code,rate\nUSD,475.09\nEUR,-\nTWI,61.2\n"
    assert rates(body, **CSV, no_rate="-", codes={"TWI": ""}) == {"USD": ("475.09", 1, None)}
    beside = "code,rate,b,s\nUSD,475,-,-\nEUR,550,540,560\n"
    assert rates(beside, **CSV, no_rate="-", buying="b", selling="s").keys() == {"USD", "EUR"}
    json = '{"rates":[{"code":"USD","b":"1","s":"3"},{"code":"EUR","b":"-","s":"5"},{"code":"GBP","b":"5","s":"-"}]}'
    assert rates(json, value="", buying="b", selling="s", no_rate="-").keys() == {"USD"}


@pytest.mark.parametrize(
    ("marks", "text", "value"),
    [
        ({"thousands_mark": ","}, "3,576.42", "3576.42"),
        ({"thousands_mark": ","}, "1,234", "1234"),
        ({"thousands_mark": ","}, "3576.42", "3576.42"),
        ({"thousands_mark": ".", "decimal_mark": ","}, "-1.234.567,50", "-1234567.50"),
        ({"thousands_mark": " "}, "12\u202f142.10", "12142.10"),
        ({"thousands_mark": "'"}, "12'142", "12142"),
        ({"decimal_mark": ","}, "0,40", "0.40"),
    ],
)
def test_marks_of_numbers(marks: dict[str, str], text: str, value: str) -> None:
    """Digits are kept, trailing zeros too."""
    assert rates(f'{{"rates":[{{"code":"USD","rate":"{text}"}}]}}', **marks)["USD"][0] == value


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        ({}, "3,576.42"),
        ({"thousands_mark": ","}, "35,76.42"),
        ({"thousands_mark": ","}, "1,23"),
        ({"thousands_mark": ",", "decimal_mark": "."}, "1.234,56"),
        ({"thousands_mark": " "}, "1 23 456"),
        ({}, "475.09 KZT"),
        ({}, "4.7509e2"),
        ({}, "9" * 65),
        ({}, "9" * 1_100_000),
    ],
    ids=lambda value: value[:10] if isinstance(value, str) else "",
)
def test_number_in_another_form_is_left_out(marks: dict[str, str], text: str) -> None:
    """It is named, and the other rate is used."""
    body = f'{{"rates":[{{"code":"USD","rate":"{text}"}},{{"code":"EUR","rate":"5.1"}}]}}'
    parsed = shop(**marks).parse(response(body))
    assert digits(parsed[0]).keys() == {"EUR"}
    (problem,) = parsed.left_out
    assert re.fullmatch(r"has '.*' where a number is expected for USD on 20\d\d-\d\d-\d\d", problem)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("0.0025834567890123456", "0.0025834567890123456"),
        ("1.2345678901234567e-5", "0.000012345678901234567"),
        ("-1.23456789012345678901234567890e-5", "-0.0000123456789012345678901234567890"),
    ],
)
def test_number_with_many_decimals_is_read(number: str, value: str) -> None:
    """Programs write a double with up to 17 digits, and a small one with an exponent."""
    body = f'{{"rates":[{{"code":"USD","rate":{number}}},{{"code":"EUR","rate":5.1}}]}}'
    (found,) = parsed = shop().parse(response(body))
    assert (f"{found.rates['USD'].value:f}", parsed.left_out) == (value, ())


def sides(body: str, **changes: Any) -> tuple[list[str | None], tuple[str, ...]]:
    """Return value, buying and selling rate of the dollar as text, and what was left out."""
    parsed = shop(**changes).parse(response(body))
    rate = parsed[0].rates["USD"]
    numbers = (rate.value, rate.buying, rate.selling)
    return [None if number is None else str(number) for number in numbers], parsed.left_out


BOTH = {"buying": "buy", "selling": "sell", "decimal_mark": ",", "thousands_mark": " "}


def test_buying_and_selling_rates_are_kept() -> None:
    """With a rate of their own, or as its exact mean."""
    body = '{"rates":[{"code":"USD","buy":"1 472,50","sell":"1 478,05","rate":"1 475,00"}]}'
    assert sides(body, **BOTH, value="") == (["1475.275", "1472.50", "1478.05"], ())
    assert sides(body, **BOTH) == (["1475.00", "1472.50", "1478.05"], ())
    assert sides(body, **BOTH | {"selling": ""}) == (["1475.00", "1472.50", None], ())


def test_unreadable_side_is_left_out() -> None:
    """Alone beside a rate, with the rate if it is their mean. An empty rate is not replaced by the mean."""
    row = '{"code":"EUR","buy":"5","sell":"6","rate":"5"}'
    usd = '{"code":"USD","buy":"472,50","sell":"n/a","rate":"475,00"}'
    expected = "has 'n/a' where a number is expected for the selling rate of USD on "
    numbers, (problem,) = sides(f'{{"rates":[{row},{usd}]}}', **BOTH)
    assert numbers == ["475.00", "472.50", None]
    assert problem.startswith(expected)
    without = usd.replace(',"sell":"n/a"', "")
    assert sides(f'{{"rates":[{row},{without}]}}', **BOTH)[1] == ("lacks selling in row 2",)
    for changes, odd in (({"value": ""}, usd), ({}, usd.replace("475,00", "").replace("n/a", "478"))):
        parsed = shop(**BOTH | changes).parse(response(f'{{"rates":[{row},{odd}]}}'))
        assert list(parsed[0].rates) == ["EUR"]
        assert "where a number is expected for USD on" in parsed.left_out[0]
    digits_of_mean = f'{{"code":"USD","buy":"5,1{"0" * 27}1","sell":"6,2{"0" * 27}2"}}'
    parsed = shop(**BOTH | {"value": ""}).parse(response(f'{{"rates":[{row},{digits_of_mean}]}}'))
    assert list(parsed[0].rates) == ["EUR"]
    assert parsed.left_out[0].endswith("whose mean has 31 digits, at most 30 are allowed")


def test_names_of_currencies_are_mapped_to_codes() -> None:
    """Other names are left out."""
    body = '{"rates":[{"code":"US Dollar","rate":"475.09"},{"code":"SDR","rate":"650"},{"code":"Gold","rate":"1"}]}'
    parsed = shop(codes={"US Dollar": "USD", "SDR": "XDR"}).parse(response(body))
    assert digits(parsed[0]).keys() == {"USD", "XDR"}
    assert parsed.left_out == ("has 'Gold' where a currency code is expected",)


def test_rates_without_a_date_are_those_of_the_day_of_the_request() -> None:
    """In the time zone of the source."""
    body = '{"rates":[{"code":"USD","rate":1}]}'
    zones = ("Pacific/Kiritimati", "Pacific/Pago_Pago")
    days = [shop(timezone=zone).parse(response(body))[0].date for zone in zones]
    assert days[0] - days[1] == timedelta(days=1)
    assert FETCHED.date() in days


@pytest.mark.parametrize(("date_path", "expected"), [("", [day(1), day(2), day(3)]), ("$.on", [day(1)] * 3)])
async def test_unchanged_response_has_the_date_of_its_request(
    clock: Clock, date_path: str, expected: list[date]
) -> None:
    """Status 304 confirms the rates of an undated source for today; a dated document keeps its date."""
    statuses = list[int]()

    async def respond(request: web.Request) -> web.Response:
        is_known = request.headers.get("If-None-Match") == '"1"'
        statuses.append(304 if is_known else 200)
        body = None if is_known else '{"on":"2026-04-01","rates":[{"code":"USD","rate":1}]}'
        return web.Response(status=statuses[-1], text=body, headers={"ETag": '"1"'})

    app = web.Application()
    app.router.add_get("/rates", respond)
    clock.time = FETCHED
    read = list[tuple[date, datetime]]()
    async with TestServer(app, shutdown_timeout=0) as server, Client(ClientSettings()) as client:
        adapter = shop(url=f"http://127.0.0.1:{server.port}/rates", date=date_path)
        session = BankSession("shop", adapter.source, client, clock)
        for _ in range(3):
            async for each in adapter.fetch(session, day(1), day(1)):
                read += [(fixing.date, fixing.fetched_at) for fixing in adapter.parse(each)]
            clock.forward(days=1, microseconds=1)
    assert statuses == [200, 304, 304]
    assert [on for on, _ in read] == expected
    assert all(fetched_at.microsecond == 0 for _, fetched_at in read)


@pytest.mark.parametrize(
    ("form", "published", "zone", "expected"),
    [
        ("%Y-%m-%dT%H:%M:%S%z", "2026-04-01T19:30:00+0000", "Asia/Almaty", day(2)),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-04-01T19:30:00Z", "UTC", day(1)),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-04-02T02:00:00+05:00", "America/New_York", day(1)),
        ("%Y-%m-%dT%H:%M:%S", "2026-04-01T23:30:00", "Asia/Almaty", day(1)),
        ("%Y-%m-%d%z", "2026-04-02Z", "America/New_York", day(2)),
    ],
)
def test_time_with_an_offset_has_the_date_of_the_time_zone(
    form: str, published: str, zone: str, expected: date
) -> None:
    """As seconds since 1970 have; a time without an offset is local, and a date without a time is as published."""
    body = f'{{"on":"{published}","rates":[{{"code":"USD","rate":1}}]}}'
    assert shop(date="$.on", date_format=form, timezone=zone).parse(response(body))[0].date == expected


def test_time_outside_of_the_calendar_is_rejected() -> None:
    """Conversion to the time zone leaves the year 9999."""
    body = '{"on":"9999-12-31T23:30:00Z","rates":[{"code":"USD","rate":1}]}'
    with pytest.raises(NotUnderstood, match="where a date is expected"):
        shop(date="$.on", date_format="%Y-%m-%dT%H:%M:%S%z").parse(response(body))


def test_only_requested_dates_are_read_but_always_the_newest() -> None:
    """A document may have the whole year; or only the last rates, which are older than requested."""
    body = "date,code,rate\n2026-03-01,USD,n/a\n2026-04-01,USD,1\n2026-04-02,USD,2\n"
    adapter = shop(**CSV, date="date")

    def dates(since: date) -> tuple[list[date], int]:
        parsed = adapter.parse(response(body, since))
        return [fixing.date for fixing in parsed], len(parsed.left_out)

    assert dates(day(2)) == ([day(2)], 0)
    assert dates(day(1)) == ([day(1), day(2)], 0)
    assert dates(date(2026, 3, 1)) == ([day(1), day(2)], 1)
    assert dates(date(2026, 5, 1)) == ([day(2)], 0)


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({}, '{"rates":[]}'),
        ({"rows": "items(rates)"}, '{"rates":{}}'),
        (XML | {"date": "/r/@on"}, '<r on="2026-04-02"/>'),
        (HTML | {"date": "//h1"}, page().replace("Rates", "2026-04-02")),
        (CSV, "code,rate\n"),
        (COLUMNS, "Date,USD\n"),
    ],
)
def test_document_without_rows_means_nothing_only_if_configured(changes: dict[str, Any], body: str) -> None:
    """Otherwise it is an error: it may be another document."""
    assert shop(**changes, may_be_empty=True).parse(response(body)) == ParsedResponse()
    with pytest.raises(NotUnderstood, match="has no rows"):
        shop(**changes).parse(response(body))


@pytest.mark.parametrize(
    ("changes", "body", "problem"),
    [
        ({}, "{}", "lacks rows, an array"),
        ({}, '{"rates":{"USD":1}}', "lacks rows, an array"),
        ({"rows": "items(rates)"}, '{"rates":[]}', r"lacks rows: In function items\(\)"),
        (XML | {"date": "/r/@on"}, "<r/>", "lacks date"),
        (XML | {"date": "/r/@on"}, '<x on="2026-04-02"/>', "has the root <x> instead of"),
        (HTML | {"date": "//h1"}, page(), "has 'Rates' where a date is expected"),
        (CSV, "code\n", "lacks the columns rate"),
        (COLUMNS, "Day,USD\n", "lacks the columns Date"),
        (COLUMNS, "Date,dollar\n2026-04-02,1\n", "has no column that is named by a currency"),
    ],
)
def test_other_document_never_means_nothing(changes: dict[str, Any], body: str, problem: str) -> None:
    """Even if the document may be empty."""
    with pytest.raises(NotUnderstood, match=problem):
        shop(**changes, may_be_empty=True).parse(response(body))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"code":"USD"}', "lacks value in row 2"),
        ('{"code":"USD","rate":null}', "lacks value in row 2"),
        ('{"code":"USD","rate":[1]}', "lacks value in row 2: it is no text"),
        ("1", "lacks currency in row 2"),
    ],
)
def test_missing_cell_is_left_out_and_named(row: str, problem: str) -> None:
    """The rates of the other rows are used."""
    body = f'{{"rates":[{{"code":"EUR","rate":"5"}},{row},{{"code":"GBP","rate":"6"}}]}}'
    parsed = shop().parse(response(body))
    assert parsed.left_out == (problem,)
    assert digits(parsed[0]).keys() == {"EUR", "GBP"}


@pytest.mark.parametrize("on", ['"2026-04-02"', "null"])
@pytest.mark.parametrize("form", ["json", "xml"])
def test_path_from_the_root_is_evaluated_once(monkeypatch: pytest.MonkeyPatch, form: str, on: str) -> None:
    """Also if it leads to nothing: its time would grow with the square of the rows."""
    codes = ("USD", "EUR", "GBP", "RUB")
    if form == "json":
        adapter = shop(date="$.on")
        rows = ",".join(f'{{"code":"{code}","rate":1}}' for code in codes)
        body = f'{{"on":{on},"rates":[{rows}]}}'
    else:
        adapter = shop(**XML, date="/r/@on")
        attribute = "" if on == "null" else f" on={on}"
        body = f"<r{attribute}>{''.join(f'<v><c>{code}</c><n>1</n></v>' for code in codes)}</r>"
    compiled = adapter._paths.compiled
    evaluate, contexts = compiled["date"], list[object]()

    def counted(context: object) -> Any:
        contexts.append(context)
        return evaluate(context)

    monkeypatch.setitem(compiled, "date", counted)
    if on == "null":
        with pytest.raises(NotUnderstood, match=r"the response lacks date; 4 of 4 rates could not be read \("):
            adapter.parse(response(body))
    else:
        (fixing,) = adapter.parse(response(body))
        assert (fixing.date, set(fixing.rates)) == (day(2), set(codes))
    assert len(contexts) == 1


COMPARED = "'>' not supported between instances of 'str' and 'int'; numbers are text: compare with '0', or write"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("rates[?rate > `0`]", f"lacks rows: {COMPARED}"),
        ("rates[?contains(rate, `1`)]", "lacks rows: 'in <string>' requires string as left operand"),
        ("rates[::0]", "lacks rows: slice step cannot be zero"),
        ("rates[?ceil(`1e999`)]", "lacks rows: cannot convert float infinity to integer"),
    ],
)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_rows_that_cannot_be_evaluated_reject_the_document(form: str, path: str, problem: str) -> None:
    """The library raises errors of Python, too."""
    changes, body = {"rows": path}, '{"rates":[{"code":"USD","rate":1}]}'
    if form == "csv":
        changes, body = CSV | {"rows": path.replace("rates[", "[")}, "code,rate\nUSD,1\n"
    with pytest.raises(NotUnderstood) as error:
        shop(**changes).parse(response(body))
    assert error.value.problem.startswith(f"the response {problem}")


def test_numbers_are_compared_as_text_or_converted() -> None:
    """As the error advises; digits are kept."""
    body = '{"rates":[{"code":"USD","rate":475.090,"units":1},{"code":"EUR","rate":5,"units":0}]}'
    for path in ("rates[?units != '0']", "rates[?to_number(units) > `0`]"):
        assert rates(body, rows=path) == {"USD": ("475.090", 1, None)}


@pytest.mark.parametrize(
    ("path", "odd", "problem"),
    [
        ("(per > `0` && 'x') || rate", '"per":"1",', f"lacks value in row 2: {COMPARED}"),
        ("list[::0] || rate", '"list":[1],', "lacks value in row 2: slice step cannot be zero"),
    ],
)
def test_cell_that_cannot_be_evaluated_is_left_out(path: str, odd: str, problem: str) -> None:
    """Alone: the rates of the other rows are used."""
    rows = '{"code":"EUR","rate":"5"}', f'{{{odd}"code":"USD","rate":"475"}}', '{"code":"GBP","rate":"6"}'
    parsed = shop(value=path).parse(response(f'{{"rates":[{",".join(rows)}]}}'))
    assert digits(parsed[0]).keys() == {"EUR", "GBP"}
    (left_out,) = parsed.left_out
    assert left_out.startswith(problem)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("to_number(rate)", "lacks value in row 1: it is no text"),
        ("to_string(to_number(rate))", r"lacks value in row 1: In function to_string\(\)"),
        ("`475.10`", "lacks value in row 1: it is no text"),
        ("join('', rate)", r"lacks value in row 1: In function join\(\)"),
    ],
)
def test_calculated_value_is_refused(path: str, problem: str) -> None:
    """It is not as published: JMESPath calculates by floating point."""
    with pytest.raises(NotUnderstood, match=problem):
        shop(value=path).parse(response('{"rates":[{"code":"USD","rate":"475.10"}]}'))


@pytest.mark.parametrize(
    ("changes", "row", "problem"),
    [
        (XML, "<v><c>USD</c></v>", "lacks value in row 2"),
        (XML, "<v><c>USD</c><n>4</n><n>5</n></v>", "has value 2 times in row 2"),
        (XML, "<v><c>USD</c><n>47<!-- -->5</n></v>", "has other content than text in <n>"),
        (XML | {"value": "count(n[. != 7])"}, "<v><c>USD</c><n>5</n></v>", None),
        (HTML, "<td>USD</td><td>475<sup>09</sup></td>", r"has several texts in <td> \(475 \| 09\)"),
        (HTML, "<td>USD</td><td>47<!-- -->5.09</td>", r"has several texts in <td>"),
        (HTML, "<td>USD</td>", "lacks value in row 2"),
        (HTML | {"value": "td[2]/text()"}, "<td>USD</td><td>475<b>.</b>09</td>", "has value 2 times in row 2"),
    ],
)
def test_odd_element_is_left_out_and_named(changes: dict[str, str], row: str, problem: str | None) -> None:
    """No part of a number is read as the number."""
    if changes["format"] == "xml":
        body = f"<r><v><c>EUR</c><n>5</n></v>{row}<v><c>GBP</c><n>6</n></v></r>"
    else:
        body = page("<td>EUR</td><td>5</td>", row, "<td>GBP</td><td>6</td>")
    if problem is None:
        with pytest.raises(NotUnderstood, match="lacks value in row 1: it is no text"):
            shop(**changes).parse(response(body))
        return
    parsed = shop(**changes).parse(response(body))
    assert re.match(problem, parsed.left_out[0])
    assert len(parsed.left_out) == 1
    assert digits(parsed[0]).keys() == {"EUR", "GBP"}


# What is refused


@pytest.mark.parametrize("end", ["</html>", ">"])
def test_truncated_page_is_rejected(end: str) -> None:
    """A browser would repair it: a cut number would be another number. A fragment ends with a tag."""
    whole = page("<td>USD</td><td>475.09</td>", "<td>EUR</td><td>551.06</td>")
    if end == ">":
        whole = whole.removeprefix("<!DOCTYPE html><html><body>").removesuffix("</body></html>")
    adapter = shop(**HTML)
    assert len(adapter.parse(response(whole + "\n<!-- cached -->\n"))[0].rates) == 2
    for cut in range(whole.index("475"), len(whole) - len("</table></body></html>")):
        if end == ">" and whole[:cut].endswith(">"):
            continue
        with pytest.raises(NotUnderstood, match="is truncated"):
            adapter.parse(response(whole[:cut]))


@pytest.mark.parametrize(
    ("changes", "body", "problem"),
    [
        (HTML, "", "is empty"),
        (HTML, "<!-- -->", "is not an HTML page"),
        (HTML, "\0<p>", "contains a null byte"),
        (HTML, "<html>\u20ac</html>".encode("windows-1252"), "is not HTML in UTF-8"),
        (HTML, "<p>" * 100_001, "has more than 100000 tags"),
        (HTML | {"encoding": "windows-1250"}, b"<p>\x81</p>", "is not HTML in windows-1250"),
        (XML | {"encoding": "windows-1251"}, b"<r>\x98</r>", "is not well-formed XML"),
        (XML, '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]><r><v>&a;</v></r>', "document type declaration"),
        (XML | {"rows": "//v"}, "<r><v><v/></v></r>", "has a row within another row"),
        (XML | {"rows": "//@c"}, '<r c="1"/>', "lacks rows: the path does not lead to elements"),
        (XML | {"rows": "count(//v)"}, "<r/>", "lacks rows: the path does not lead to elements"),
        (
            XML | {"rows": "css:v:nth-child(2)"},
            f"<r>{'<v/>' * MOST_ELEMENTS}</r>",
            f"has more than {MOST_ELEMENTS} elements",
        ),
        ({}, f'{{"rates":[{",".join("1" * (MOST_ROWS + 1))}]}}', f"has more than {MOST_ROWS} rows"),
        (CSV, "code,rate\n" + "USD,1\n" * (MOST_ROWS + 1), f"has more than {MOST_ROWS} rows"),
        (COLUMNS, f"Date{',' * 302}\n", "has a duplicate column"),
        (COLUMNS, f"Date,USD,{','.join(map(str, range(300)))}\n2026-04-02{',1' * 301}\n", "has more than 300 columns"),
        (COLUMNS, "Date,USD,EUR\n" + "2026-04-02,1,2\n" * (MOST_ROWS // 2 + 1), f"has more than {MOST_ROWS} rates"),
        (COLUMNS, "Date,USD\n" + "2026-04-02,1\n" * (MOST_ROWS + 1), f"has more than {MOST_ROWS} rows"),
        (CSV | {"encoding": "windows-1250"}, b"code,rate\n\x81,1\n", "is not CSV in windows-1250"),
        ({}, '{"rates":[{"code":"USD","rate":1,"rate":2}]}', "has a duplicate name"),
    ],
)
def test_invalid_or_too_large_document_is_rejected(changes: dict[str, str], body: str | bytes, problem: str) -> None:
    """The bounds are those of the banks, and some of their own."""
    with pytest.raises(NotUnderstood, match=problem):
        shop(**changes).parse(response(body))


def test_entities_and_network_are_not_used(tmp_path: Path) -> None:
    """A page may have a doctype: nothing that it names is read."""
    secret = tmp_path / "secret"
    secret.write_text("475.09")
    doctype = f'<!DOCTYPE html [<!ENTITY a SYSTEM "file://{secret}">]>'
    body = page("<td>USD</td><td>&a;</td>", "<td>EUR</td><td>5</td>").replace("<!DOCTYPE html>", doctype)
    parsed = shop(**HTML).parse(response(body))
    assert digits(parsed[0]).keys() == {"EUR"}
    assert "475" not in parsed.left_out[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rows": "rates["}, r"rows: is not a JMESPath: unexpected end or token in column 7"),
        ({"value": "rate &"}, r"value: is not a JMESPath: unexpected end or token in column \d+"),
        ({"value": "#rate"}, r"value: is not a JMESPath: unexpected character in column 1"),
        ({"value": "rat('x')"}, r"value: uses the unknown function rat\(\)"),
        ({"date": "$.a[?b(c)]"}, r"date: uses the unknown function b\(\)"),
        (XML | {"rows": "//a["}, "rows: is not an XPath: invalid expression"),
        (XML | {"rows": "//a[foo()]"}, r"rows: uses the unknown function foo\(\)"),
        (XML | {"value": "x:a"}, "value: has a namespace prefix or a variable; .*"),
        (XML | {"value": "$a"}, "value: has a namespace prefix or a variable; .*"),
        (XML | {"value": "count(1)"}, "value: is not an XPath: invalid type"),
        (XML | {"value": "preceding::n"}, "value: uses preceding:: or following::; .*"),
        (XML | {"value": "td[. = /r/n]"}, "value: returns to the root after its beginning"),
        (XML | {"rows": "//v[//n]"}, "rows: returns to the root after its beginning"),
        (XML | {"value": "../..//n"}, "value: uses // or descendant:: after a step to siblings or ancestors"),
        (XML | {"rows": "//v[ancestor::r//n]"}, "rows: uses // or descendant:: after a step to siblings or ancestors"),
        (
            XML | {"rows": "//v[preceding-sibling::v = following-sibling::v]"},
            r"rows: has several steps to siblings or ancestors in a predicate \[ \]",
        ),
        (XML | {"rows": "css:h2 + v"}, r"rows: has a step to siblings or ancestors outside of a predicate \[ \]"),
        (HTML | {"value": "css:td["}, "value: is not a CSS selector: .*"),
        (CSV | {"rows": "[?"}, "rows: is not a JMESPath: unexpected end or token in column 3"),
    ],
)
def test_invalid_path_is_an_error_at_the_start(changes: dict[str, str], problem: str) -> None:
    """It names the setting, in one line."""
    with pytest.raises(SettingsError) as error:
        validate(settings(**changes))
    assert re.fullmatch(rf"sources\.shop\.{problem}", str(error.value))


@pytest.mark.parametrize(
    ("path", "operator"),
    [
        ("string(n * 1.1)", "*"),
        ("string(* * 2)", "*"),
        ("string(n[1]* 2)", "*"),
        ("string(n div 2)", "div"),
        ("string(div div 2)", "div"),
        ("string(n mod 7)", "mod"),
        ("string(n + 0)", "+"),
        ("string(n - 1)", "-"),
        ("string(-n)", "-"),
        ("concat('', -(n))", "-"),
        ("n * 1", "*"),
        ("number(n[. != 7])", "number()"),
        ("string(number(n))", "number()"),
        ("string( number (n))", "number()"),
        ("string(sum(n))", "sum()"),
        ("string(floor(n))", "floor()"),
        ("string(ceiling(n))", "ceiling()"),
        ("string(round(n))", "round()"),
        ("concat(substring(n, 1, 2), round(n))", "round()"),
        ("substring(n * 2, 1)", "*"),
    ],
)
@pytest.mark.parametrize("name", ["value", "change"])
def test_calculation_of_a_cell_in_xpath_is_an_error_at_the_start(name: str, path: str, operator: str) -> None:
    """It would lose published digits: XPath calculates by floating point."""
    with pytest.raises(SettingsError) as error:
        validate(settings(**XML | {name: path}))
    assert str(error.value).startswith(f"sources.shop.{name}: calculates a number by {operator}, which may lose digits")


@pytest.mark.parametrize(
    "path",
    [
        "n[position() = last() - 0]",
        "*[2]",
        "*[number(.) > 0][floor(1.5)]",
        "@*/../n",
        "./child::*[name() = 'n' and position() * 1 = 2]",
        "div/div | n",
        "n | div",
        "a-b | n",
        "translate(n, '*+- div', '')",
        "substring(n, string-length(n) - 5)",
        "substring(n, 2 - 1, string-length(substring(n, 1)) * 2)",
        "substring-before(concat(n, ' -'), ' -')",
        "concat(n, '')",
        "css:n",
        "css:c + n",
        "css:* > n, c > *",
    ],
)
def test_path_to_a_cell_may_count_positions(path: str) -> None:
    """In predicates and in `substring`; signs within names and texts, and wildcards, calculate nothing."""
    assert rates('<r><v a="1"><c>USD</c><n>475.09</n></v></r>', **XML | {"value": path})["USD"][0] == "475.09"


def test_rows_may_be_calculated() -> None:
    """A path to rows leads to elements, never to a number."""
    body = "<r><v><c>EUR</c><n>5</n></v><v><c>USD</c><n>475.09</n></v></r>"
    assert rates(body, **XML | {"rows": "/r/v[number(n) * 2 > 10]"}) == {"USD": ("475.09", 1, None)}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": "yaml"}, "sources.shop.format: must be one of 'json', 'xml', 'csv' or 'html'"),
        ({"value": ""}, 'sources.shop: value is required with adapter = "http"'),
        ({"value": "", "buying": "b"}, 'sources.shop: value is required with adapter = "http"'),
        ({"rows": ""}, 'sources.shop: rows is required with adapter = "http"'),
        (COLUMNS | {"value": "USD"}, 'sources.shop: value cannot be a column with currency = "*"'),
        (COLUMNS | {"nominal": "units"}, 'sources.shop: nominal cannot be a column with currency = "*"'),
        (CSV | {"codes": {"Euro": "eu"}}, "sources.shop.codes.Euro: is not a currency code of ISO 4217"),
        ({"url": "http://bank.test/{date}"}, 'sources.shop: date is required with adapter = "http"'),
        ({"url": "http://bank.test/{day}"}, "sources.shop.url: has an unknown placeholder; known are"),
        ({"url": "http://bank.test/{until}"}, "sources.shop.url: must have either {date:…}, or {since:…} and {until"),
        ({"url": "http://{date}.test/"}, "sources.shop.url: must not have a placeholder in its host"),
        ({"url": "http://bank.test/a b"}, "sources.shop.url: must be printable ASCII without spaces"),
        ({"url": "http://u:p@bank.test/?x"}, "sources.shop.url: must not contain a login"),
        ({"url": "http://bank.test/?x#y"}, "sources.shop.url: must not have a fragment"),
        ({"url": "ftp://bank.test/?x"}, "sources.shop.url: must be a URL like"),
        ({"url": "http://bank.test/?k={secret}"}, "sources.shop: secret is required, since url or headers have"),
        ({"headers": {"X-Key": "{secret}"}}, "sources.shop: secret is required, since url or headers have"),
        ({"secret": "0123456789"}, "sources.shop: secret is not used: write {secret} in url or headers"),
        ({"secret": "0123456789", "headers": {"X-Key": "k"}}, "sources.shop: secret is not used: write {secret} in"),
        ({"secret": "short"}, "sources.shop.secret: must have 8 to 200 letters"),
        ({"secret": "with spaces in it"}, "sources.shop.secret: must have 8 to 200 letters"),
        ({"date_format": "%d.%m"}, "sources.shop.date_format: must be the format of a whole date, like %d.%m.%Y"),
        ({"date_format": "%a, %d.%m"}, "sources.shop.date_format: must be the format of a whole date, like %d.%m.%Y"),
        ({"date_format": "%d.%m.%Y %Y"}, "sources.shop.date_format: must be the format of a whole date, like %d.%m.%Y"),
        ({"date_format": "%Y-%m"}, "sources.shop.date_format: must be the format of a whole date, like %d.%m.%Y"),
        ({"date_format": "%Q"}, "sources.shop.date_format: must be the format of a whole date, like %d.%m.%Y"),
        ({"nominal": 0}, "sources.shop.nominal: must be a whole number from 1 to 9999999, or a path"),
        ({"nominal": ""}, "sources.shop.nominal: must be a whole number from 1 to 9999999, or a path"),
        ({"nominal": " 0 "}, "sources.shop.nominal: must be a whole number from 1 to 9999999, or a path"),
        ({"nominal": " "}, "sources.shop.nominal: must be a whole number from 1 to 9999999, or a path"),
        ({"nominal": 1.5}, "sources.shop.nominal: must be text"),
        ({"nominal": 10, "power": "p"}, "sources.shop: power and nominal exclude each other"),
        ({"thousands_mark": "."}, "sources.shop: decimal_mark and thousands_mark are the same"),
        ({"encoding": "utf-7"}, "sources.shop.encoding: must be one of"),
        (XML | {"may_be_empty": True}, 'sources.shop: date is required with adapter = "http"'),
        (XML | {"may_be_empty": True, "date": "d"}, "sources.shop: may_be_empty requires a date that begins at the"),
        ({"adapter": "nbk"}, 'sources.shop: format is only used with adapter = "http"'),
        ({"adapter": "htp"}, 'sources.shop: format is only used with adapter = "http"'),
    ],
)
def test_invalid_setting_is_named(changes: dict[str, Any], problem: str) -> None:
    """At the start, in one line that begins with the setting or its source."""
    with pytest.raises(SettingsError) as error:
        validate(settings(**changes))
    assert str(error.value).startswith(problem)


RELAY = {"adapter": "frankfurter", "provider": "NBK", "url": "http://relay.test", "name": "Relay", "base": "KZT"}
FEED = {key: value for key, value in SHOP.items() if key != "window"}


@pytest.mark.parametrize(
    ("source", "window", "effective"),
    [
        (FEED, ("00:00", "23:59"), "same-day"),
        (RELAY, ("00:00", "23:59"), "same-day"),
        (FEED | {"effective": "next-day", "date": "d"}, ("00:00", "23:59"), "next-day"),
        (SHOP, ("09:00", "10:00"), "same-day"),
        (SHOP | {"date": "d"}, ("09:00", "10:00"), "next-day"),
        (RELAY | {"window": "09:00-10:00"}, ("09:00", "10:00"), "next-day"),
    ],
)
def test_source_of_which_little_is_said_is_not_late_for_that(
    source: dict[str, Any], window: tuple[str, str], effective: str
) -> None:
    """Without a window it may publish all day; what the request dates is of the same day."""
    loaded = load(environ={}, overrides={"sources": {"own": {"timezone": "Asia/Almaty"} | source}}).sources["own"]
    assert loaded.window == tuple(map(time.fromisoformat, window))
    assert loaded.effective == effective


def test_source_without_a_window_may_be_dated_tomorrow_and_is_polled_seldom() -> None:
    """Nothing is said of when it publishes, nor that it deserves more requests. Also where settings are text."""
    environ = {"TICKER_SOURCES__OWN__RECORDED": "false", "TICKER_SOURCES__OWN__SWEEP": "7200"}
    loaded = load(environ=environ, overrides={"sources": {"own": RELAY | {"timezone": "Asia/Almaty"}}}).sources["own"]
    assert loaded.window is not None
    assert loaded.every == loaded.sweep == timedelta(hours=2)
    noon = datetime(2026, 4, 1, 12, tzinfo=loaded.timezone)
    assert latest_possible_date(loaded, noon) == date(2026, 4, 2)
    assert latest_possible_date(loaded.model_copy(update={"ahead": 0}), noon) == date(2026, 4, 1)


def test_rates_of_a_source_without_a_window_become_late_and_stale() -> None:
    """At the end of the next publication day without new ones, in its time zone."""
    loaded = load(environ={}, overrides={"sources": {"own": FEED}}).sources["own"]
    friday, noon = date(2026, 4, 3), datetime(2026, 4, 3, 12, tzinfo=loaded.timezone)

    def after(days: int) -> Freshness:
        return freshness(loaded, friday, noon + timedelta(days=days))

    assert {after(days) for days in range(4)} == {Freshness.CURRENT}  # until Monday
    assert (after(4), after(6)) == (Freshness.LATE, Freshness.STALE)


@pytest.mark.parametrize("host", ["bank.test", "localhost.bank.test", "10.0.0.1", "[2001:db8::1]", "0.0.0.0"])  # noqa: S104 - refused
@pytest.mark.parametrize("place", ["url", "headers"])
def test_secret_is_not_sent_unencrypted_to_another_machine(host: str, place: str) -> None:
    """The network could read it in the URL as well as in headers."""
    with pytest.raises(SettingsError) as error:
        with_secret(f"http://{host}:80/", place)
    assert str(error.value) == ("sources.shop: url must begin with https://, since {secret} would be sent unencrypted")
    with_secret(f"https://{host}/", place)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9:8080", "[::1]:8080", "LOCALHOST:1"])
@pytest.mark.parametrize("place", ["url", "headers"])
def test_secret_may_be_sent_unencrypted_to_this_machine(host: str, place: str) -> None:
    """E.g. to a relay beside the service."""
    with_secret(f"http://{host}/", place)


def with_secret(url: str, place: str) -> None:
    sent: dict[str, Any] = {"url": f"{url}?k={{secret}}"}
    if place == "headers":
        sent = {"url": url, "headers": {"X-Key": "{secret}"}}
    validate(settings(secret="0123456789", **sent))  # noqa: S106 - of a test


def test_bank_with_a_query_in_its_url_is_refused() -> None:
    """Requests append a path to it."""
    for url in ("https://bank.test/?key=1", "https://bank.test/{date}"):
        with pytest.raises(SettingsError, match=r"nbk\.url: must not have a query or placeholder: it is public"):
            load(environ={}, overrides={"sources": {"nbk": {"url": url}}})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("(//table)[1]//tr[td]", "475.09"),
        ("//table[preceding-sibling::h1[1] = 'Rates']//tr[td]", "475.09"),
        ("//table/tr[td] | //none", "475.09"),
        ("css:h1 ~ table tr:not(:first-child)", None),
        ("css:table tr:not(:first-child)", "475.09"),
        ("css:table tr:not(:first-child):last-child", "475.09"),
    ],
)
def test_path_finds_a_table_among_others(path: str, text: str | None) -> None:
    """Siblings and ancestors belong into a predicate, where their number is limited."""
    body = page("<td>USD</td><td>475.09</td>")
    if text is None:
        with pytest.raises(SettingsError, match="after a step to siblings"):
            shop(**HTML | {"rows": path})
    else:
        assert rates(body, **HTML | {"rows": path}) == {"USD": (text, 1, None)}


def test_date_within_a_function_begins_at_the_root() -> None:
    """It is the same for all rows, and recognises a page without rows."""
    form = HTML | {"date": "substring-after(//h1, 'of ')", "may_be_empty": True}
    body = page("<td>USD</td><td>475.09</td>").replace("Rates", "Rates of 2026-04-02")
    assert shop(**form).parse(response(body))[0].date == day(2)
    assert shop(**form).parse(response(page().replace("Rates", "Rates of 2026-04-02"))) == []
    with pytest.raises(NotUnderstood, match="has '' where a date is expected"):
        shop(**form).parse(response(page()))


def test_cells_are_shown_with_their_places() -> None:
    """An element by its path and line, a CSV cell by its line and column, a JSON cell by its row."""
    xml = '<r>\n<v c="USD">\n<n>475.09</n></v></r>'
    assert places(xml, **XML | {"currency": "@c"}) == {"currency": "/r/v/@c, line 2", "value": "/r/v/n, line 3"}
    csv = "code,rate\nEUR,n/a\nUSD,475.09\n"
    expected = {"currency": "line 3, column 1 (code)", "value": "line 3, column 2 (rate)"}
    assert places(csv, **CSV) == places(csv, **CSV | {"rows": "[?code=='USD']"}) == expected
    columns = "Date,EUR, 100 USD\n2026-04-02,N/A,475.09\n"
    expected = {
        "date": "line 2, column 1 (Date)",
        "currency": "header, column 3 (100 USD)",
        "value": "line 2, column 3 (100 USD)",
    }
    assert places(columns, **COLUMNS, no_rate="N/A") == expected
    json = '{"date":"2026-04-02","rates":[{"code":"USD","rate":475.09}]}'
    expected = {"date": "$.date", "currency": "row 1, code", "value": "row 1, rate"}
    assert places(json, date="$.date") == expected
    html = page("<td>USD</td>\n<td>475.09</td>").replace("<table>", "\n<table>")
    expected = {"currency": "/html/body/table/tr[2]/td[1], line 2", "value": "/html/body/table/tr[2]/td[2], line 3"}
    assert places(html, **HTML) == expected


@pytest.mark.parametrize("optional", ["change", "buying", "selling"])
def test_cells_are_shown_without_an_optional_one_that_cannot_be_read(optional: str) -> None:
    """The rates are the same as without places, even if most rows lack it; all other cells are shown."""
    rows = ",".join(f'{{"code":"{code}","rate":5,"more":null}}' for code in ("USD", "EUR"))
    adapter = shop(**{optional: "more"})
    document = response(f'{{"rates":[{rows}]}}')
    parsed, origins = adapter.read(document, with_places=True)
    used = adapter.parse(document)
    assert (parsed, parsed.left_out) == (used, used.left_out)
    assert parsed.left_out == (f"lacks {optional} in row 1", f"lacks {optional} in row 2")
    shown = [(origin.code, [cell.name for cell in origin.cells]) for origin in origins]
    assert shown == [("USD", ["currency", "value"]), ("EUR", ["currency", "value"])]


def places(body: str, **changes: Any) -> dict[str, str]:
    _, (origin,) = shop(**changes).read(response(body), with_places=True)
    assert (origin.code, {cell.name: cell.text for cell in origin.cells}["value"]) == ("USD", "475.09")
    return {cell.name: cell.place for cell in origin.cells}


def test_example_of_the_guide_is_valid(tmp_path: Path) -> None:
    """It reads the document that its comment shows."""
    text = (ROOT / "docs" / "own-source.md").read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    file = tmp_path / "my.toml"
    file.write_text(text)
    configured = load(file, environ={})
    body = text.partition("# {")[2].partition("\n")[0].replace(", …", "")
    (fixing,) = adapter_of(validate(configured), "shop").parse(response("{" + body))
    assert (fixing.date, digits(fixing), configured.wanted("shop")) == (day(2), {"USD": ("475.09", 1, None)}, ("USD",))
