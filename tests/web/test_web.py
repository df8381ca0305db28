"""Responses of the public endpoints, over a real socket from the service in this process."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from aiohttp import ClientResponse
from justhtml import JustHTML
from structlog.testing import capture_logs

from service.settings import Settings
from service.web.rendering import page_cache
from service.web.rendering.formats import FORMATS, SUFFIXES, View
from tests.conftest import Clock, Started
from tests.support.fixings import APRIL, day
from tests.support.http import Client, body, until_ready
from tests.support.pages import select
from tests.support.standin import Banks, nbk
from tests.support.wait import until


@pytest.fixture
async def client(start: Started, banks: Banks) -> Client:
    """Return a client of the service, which has polled the rates of 1 and 2 April 2026."""
    banks.published["nbk"] = dict(APRIL)
    for key in ("cbr", "ecb", "nbu", "cbu"):
        banks.faults[key] = 404
    client = await start()
    await until_ready(client)
    return client


async def test_currency_without_a_source_breaks_no_path(start: Started, settings: Settings, banks: Banks) -> None:
    """The others are served, and what is missing is not found."""
    banks.published["nbk"] = dict(APRIL)
    ticker = settings.tickers[0].model_copy(update={"currencies": ("USD", "XAU", "EUR"), "sources": ("nbk",)})
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    await until_ready(client)
    forms = [f"/v1/ticker.{suffix}{query}" for suffix in SUFFIXES for query in ("", "?currencies=xau")]
    others = ["/", "/rates", "/rates/usd", "/status", "/embed", "/embed?layout=list", "/docs", "/v1/sources", "/health"]
    dated = ["/v1/ticker?on=2026-04-01", "/v1/rates/2026-04-01", "/rates?on=2026-04-01"]
    missing = ["/rates/xau", "/v1/history/xau", "/v1/chart/xau.svg", "/v1/convert?from=xau&to=usd&amount=1"]
    for path, status in [*((path, 200) for path in [*forms, *others, *dated]), *((path, 404) for path in missing)]:
        async with client.get(path, headers={"Accept": "text/html"}) as response:
            assert (path, response.status) == (path, status)


async def test_json_matches_the_contract(client: Client) -> None:
    """Check fields, order, types and digits."""
    async with client.get("/v1/ticker") as response:
        assert response.status == 200
        text = await body(response)
    document = json.loads(text, parse_float=Decimal)
    assert list(document) == [
        "id", "base", "status", "recorded", "as_of", "updated_at", "next_update", "quotes"
    ]  # fmt: skip
    usd, rouble = document["quotes"][0], document["quotes"][2]
    assert document | {"quotes": None} == {
        "id": "kzt", "base": "KZT", "status": "current", "recorded": False, "as_of": "2026-04-02",
        "updated_at": "2026-04-02T04:00:00Z", "next_update": "2026-04-02T10:30:00Z", "quotes": None,
    }  # fmt: skip
    assert usd == {
        "code": "USD", "name": "US Dollar", "rate": Decimal("475.09"), "previous": Decimal("478.77"),
        "change": Decimal("-3.68"), "percent": Decimal("-0.77"), "direction": "down", "date": "2026-04-02",
        "previous_date": "2026-04-01", "source": "nbk", "choice": 1, "reason": None, "cross": False,
        "status": "current",
        "confidence": "unconfirmed",
        "receipts": ["/v1/fixings/nbk/2026-04-02", "/v1/fixings/nbk/2026-04-01"],
        "changes": {
            "day": {
                "percent": Decimal("-0.77"), "change": Decimal("-3.68"), "direction": "down",
                "previous": Decimal("478.77"), "date": "2026-04-01",
            },
            "week": None, "month": None, "year": None, "ytd": None,
        },
    }  # fmt: skip
    assert (rouble["direction"], str(rouble["percent"])) == ("flat", "0.00")
    assert '"rate":475.09,' in text


async def test_rates_keep_all_their_digits(start: Started, banks: Banks) -> None:
    """An ordinary double of a bank has up to 17 digits, and 30 are allowed."""
    old, new = "475.123456789012345678901234567", "478.0025834567890123456"
    banks.published["nbk"] = {
        day(1): {**APRIL[day(1)], "USD": old},
        day(2): {**APRIL[day(2)], "USD": new},
    }
    for key in ("cbr", "ecb", "nbu", "cbu"):
        banks.faults[key] = 404
    client = await start()
    await until_ready(client)
    change = "2.879126667776666666698765433"
    for path, expected in {
        "/v1/ticker": f'"rate":{new},"previous":{old},"change":{change},"percent":0.61,',
        "/v1/history/usd?to=2026-04-02": f'"rate":{new},"previous":{old},"change":{change},',
        "/v1/history/usd.csv?to=2026-04-02": f"USD,KZT,{new},{change},0.61,",
        "/v1/fixings/nbk/2026-04-02": f'"value":{new}',
        "/fixings/nbk/2026-04-02?lang=en": new,
        "/v1/rates/2026-04-01": f'"rate":{old}',
    }.items():
        async with client.get(path) as response:
            assert response.status == 200
            assert expected in await body(response)


@pytest.mark.parametrize("digits", ["475.12345678901234567", "475.123456789012345678901234567", "0.000000000000001"])
@pytest.mark.parametrize("is_latest", [True, False])
async def test_long_rate_is_shown_in_every_form(start: Started, banks: Banks, digits: str, *, is_latest: bool) -> None:
    """With six digits for people, beside a short one; a receipt has all."""
    published = {day(1): digits, day(2): "478.00" if digits[0] == "4" else "0.000000000000002"}
    if is_latest:
        published = {day(1): published[day(2)], day(2): digits}
    banks.published["nbk"] = {on: {"USD": rate, "EUR": "551.06"} for on, rate in published.items()}
    for key in ("cbr", "ecb", "nbu", "cbu"):
        banks.faults[key] = 404
    client = await start()
    await until_ready(client)
    forms = [f"/v1/ticker.{suffix}?lang=en&show=rate,change,percent&spark=1" for suffix in SUFFIXES]
    for path in [*forms, "/embed?show=rate,change", "/rates", "/rates/usd", "/v1/chart/usd.svg", "/v1/chart/usd"]:
        async with client.get(path) as response:
            assert (path, response.status) == (path, 200)
            if "embed" in path and digits[0] == "4":
                assert "475.123" in await body(response) or not is_latest
                assert digits[:9] not in await body(response)
    async with client.get(f"/fixings/nbk/2026-04-0{2 if is_latest else 1}") as response:
        assert digits in await body(response)


@pytest.mark.parametrize("path", ["/v1/ticker.txt", "/v1/ticker/kzt.txt"])
async def test_text_has_one_line_per_currency(client: Client, path: str) -> None:
    """The rates of 2 April 2026."""
    async with client.get(path) as response:
        assert response.content_type == "text/plain"
        assert await body(response) == "usd -0.77%\neur +0.44%\nrub 0.00%\ngbp -0.02%\ncny -0.27%\n"


CACHEABLE = (
    ("/v1/ticker", "application/json", '"code":"USD"'),
    ("/v1/ticker.json", "application/json", '"code":"USD"'),
    ("/v1/ticker/kzt", "application/json", '"code":"USD"'),
    ("/v1/ticker/kzt.html", "text/html", "-0.77%"),
    ("/v1/ticker.html", "text/html", "2 Apr 2026"),
    ("/v1/ticker.svg", "image/svg+xml", "-0.77%"),
    ("/rates?lang=en", "text/html", "Official exchange rates in KZT"),
    ("/rates/usd?lang=en", "text/html", "475.09"),
    ("/fixings/nbk/2026-04-02?lang=en", "text/html", "SHA-256"),
    ("/v1/chart/usd", "application/json", '"rates":[478.77,475.09]'),
    ("/v1/chart/usd.svg?range=1m", "image/svg+xml", 'data-currency="USD"'),
    ("/v1/ticker?lang=kk", "application/json", "-0,77%"),
    ("/embed", "text/html", "-0.77%"),
    ("/embed.js", "text/javascript", "currency-ticker"),
    ("/chart.js", "text/javascript", "currency-chart"),
    ("/embed.css", "text/css", ".ticker"),
    ("/embed.d.ts", "text/plain", '"currency-ticker": CurrencyTickerElement'),
    ("/custom-elements.json", "application/json", '"tagName": "currency-ticker"'),
    ("/oembed?url={own}/embed", "application/json", '"rich"'),
    ("/", "text/html", "National Bank of Kazakhstan"),
    ("/v1/sources", "application/json", '"key":"nbk"'),
    ("/openapi.json", "application/json", '"/v1/ticker.svg":'),
    ("/docs", "text/html", "static/viewer/swagger-ui"),
    ("/v1/fixings/nbk/2026-04-02", "application/json", '"value":475.09'),
)
"""Path, content type and a part of the response."""


async def check_cacheable(client: Client, path: str, content_type: str, expected: str) -> None:
    path = path.replace("{own}", str(client.make_url("")).rstrip("/"))
    async with client.get(path, headers={"Accept-Encoding": "identity"}) as uncompressed:
        assert (uncompressed.status, uncompressed.content_type) == (200, content_type)
        text = await body(uncompressed)
    assert expected in text
    assert uncompressed.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in uncompressed.headers
    assert "Set-Cookie" not in uncompressed.headers
    assert uncompressed.headers["X-Content-Type-Options"] == "nosniff"
    vary = "Accept-Encoding, Accept-Language" if path in ("/embed", "/") else "Accept-Encoding"
    assert uncompressed.headers["Vary"] == vary
    assert uncompressed.headers["Cache-Control"].startswith("public, max-age=")
    assert uncompressed.headers["Content-Length"] == str(len(text.encode()))
    assert "Date" in uncompressed.headers
    tag = uncompressed.headers["ETag"]
    assert tag[0] == tag[-1] == '"'

    async with client.get(path, headers={"Accept-Encoding": "gzip"}) as compressed:
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert compressed.headers["ETag"] != tag
        assert await body(compressed) == text

    for known in (tag, compressed.headers["ETag"], f'W/{tag}, "other"', "*"):
        async with client.get(path, headers={"If-None-Match": known}) as unchanged:
            assert (unchanged.status, await unchanged.read()) == (304, b"")
            for name in ("ETag", "Cache-Control", "Vary", "Access-Control-Allow-Origin"):
                assert name in unchanged.headers
            assert "Content-Length" not in unchanged.headers
    async with client.get(path, headers={"If-None-Match": '"other"'}) as changed:
        assert changed.status == 200

    async with client.head(path, headers={"Accept-Encoding": "identity"}) as head:
        assert (head.status, await head.read()) == (200, b"")
        assert head.headers["Content-Length"] == uncompressed.headers["Content-Length"]
        assert head.headers["ETag"] == tag


async def test_cacheable_responses_support_head_gzip_and_etags(client: Client, subtests: pytest.Subtests) -> None:
    """Check GET, HEAD, gzip, 304 and the headers on every cacheable route."""
    for path, content_type, expected in CACHEABLE:
        with subtests.test(path=path):
            await check_cacheable(client, path, content_type, expected)


async def test_pages_have_strict_security_headers(client: Client) -> None:
    """Only our scripts and styles, only /embed can be framed; the stylesheet is immutable."""
    for path, ancestors in (("/embed", "*"), ("/", "'none'"), ("/v1/ticker.html", "'none'")):
        async with client.get(path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; ")
            assert "unsafe" not in policy
            assert policy.endswith(f"frame-ancestors {ancestors}")
            assert response.headers["Referrer-Policy"] == "no-referrer"
            text = await body(response)
            assert text.count("<script") == text.count('<script type="module" src="')
            assert "<style" not in text
            assert select(JustHTML(text, sanitize=False).root, "[style]") == []
    async with client.get("/embed") as response:
        href = (await body(response)).split('rel="stylesheet" href="')[1].split('"')[0]
    async with client.get(f"/{href}") as style:
        assert (style.status, style.content_type) == (200, "text/css")
        assert style.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    async with client.get("/static/strip.css") as unversioned:
        assert unversioned.status == 404


async def test_empty_parameters_are_ignored(client: Client) -> None:
    """Forms send them where nothing was chosen."""
    for path, query in (("/embed", "ticker=&theme=&layout=&show="), ("/v1/history/usd", "ticker=&from=&to=")):
        async with client.get(path) as without, client.get(f"{path}?{query}&currencies=") as with_empty:
            assert (with_empty.status, await body(with_empty)) == (200, await body(without))
    async with client.head("/v1/stream?ticker=") as stream:
        assert stream.status == 200


async def test_currencies_are_selected_and_ordered(client: Client) -> None:
    """`?currencies=` works in every format, ignores case and removes duplicates."""
    async with client.get("/v1/ticker.txt?currencies=rub,USD,rub") as response:
        assert await body(response) == "rub 0.00%\nusd -0.77%\n"
    async with client.get("/v1/ticker.txt?currencies=rub&currencies=usd") as response:
        assert await body(response) == "rub 0.00%\nusd -0.77%\n"
    async with client.get("/v1/ticker?currencies=cny") as response:
        assert [quote["code"] for quote in json.loads(await body(response))["quotes"]] == ["CNY"]
    async with client.get("/embed?currencies=eur") as response:
        text = await body(response)
        assert "+0.44%" in text
        assert "-0.77%" not in text


ERRORS = (
    ("/v1/ticker/eur", 404, "Unknown ticker 'eur'", ["kzt"]),
    ("/embed?ticker=eur", 404, "Unknown ticker 'eur'", ["kzt"]),
    ("/v1/ticker/kzt.pdf", 404, "Unknown format .pdf", [f".{name}" for name in SUFFIXES]),
    ("/v1/ticker?currencies=usd,zzz", 400, "Unknown currency 'ZZZ'", ["USD", "EUR", "RUB", "GBP", "CNY"]),
    ("/v1/ticker?currencies=,", 400, "Unknown currency ''", ["USD", "EUR", "RUB", "GBP", "CNY"]),
    ("/v1/fixings/xyz/2026-04-02", 404, "Unknown source 'xyz'", ["nbk", "cbr", "ecb", "nbu", "cbu", "recorded"]),
    ("/v1/fixings/nbk/2026-04-03", 404, "no fixing for '2026-04-03'", ["2026-04-02", "2026-04-01"]),
    ("/v1/fixings/nbk/yesterday", 404, "no fixing for 'yesterday'", ["2026-04-02", "2026-04-01"]),
    ("/nowhere", 404, "Not found. See /docs", None),
    ("/v1/ticker/%3Cscript%3E", 404, "Unknown ticker", ["kzt"]),
)
"""Path, status, a part of the detail, and the available values."""


async def check_error(client: Client, path: str, status: int, detail: str, available: list[str] | None) -> None:
    async with client.get(path) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["X-Request-ID"]
        assert response.headers.getall("Access-Control-Expose-Headers") == ["Retry-After, X-Request-ID"]
        problem = await response.json(content_type=None)
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert problem.get("available") == available


async def test_errors_are_problems_that_list_available_values(client: Client, subtests: pytest.Subtests) -> None:
    """A problem document that is never cached and has CORS headers."""
    for path, status, detail, available in ERRORS:
        with subtests.test(path=path):
            await check_error(client, path, status, detail, available)


@pytest.mark.parametrize("path", ["/embed", "/"])
async def test_browsers_get_errors_of_pages_as_pages(
    settings: Settings, start: Started, banks: Banks, path: str
) -> None:
    """With the status, and the policy of the page: the sites that may frame the strip may frame its error."""
    empty = settings.tickers[0].model_copy(update={"id": "empty", "sources": ("ecb",), "currencies": ("USD",)})
    banks.faults["ecb"] = 404
    http = settings.http.model_copy(update={"frame_ancestors": ("https://a.example",)})
    client = await start(settings.model_copy(update={"tickers": (*settings.tickers, empty), "http": http}))
    ancestors = "'self' https://a.example" if path == "/embed" else "'none'"
    for ticker, status, retry in (("nope", 404, None), ("empty", 503, "5")):
        url, browser = f"{path}?ticker={ticker}&lang=de&theme=dark", {"Accept": "text/html,*/*;q=0.8"}
        async with client.get(url, headers=browser) as response:
            assert (response.status, response.content_type) == (status, "text/html")
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers.get("Retry-After") == retry
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
            assert response.headers["Content-Security-Policy"].endswith(f"frame-ancestors {ancestors}")
            assert '<html lang="de"' in await body(response)
            assert ('class="ticker strip dark"' in await body(response)) == (path == "/embed")
            # A frame reloads itself: nobody else does.
            assert ('http-equiv="refresh"' in await body(response)) == (path == "/embed" and status == 503)
        async with client.get(url) as response:
            assert (response.status, response.content_type) == (status, "application/problem+json")


async def test_only_get_head_and_options_are_allowed(client: Client) -> None:
    """Other methods get 405 and `Allow`; a preflight succeeds; unknown paths stay 404."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with client.request(method, "/v1/ticker") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
            assert response.content_type == "application/problem+json"
    async with client.options("/v1/ticker") as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, "*")
        assert response.headers["Access-Control-Allow-Headers"] == "If-None-Match"
    async with client.post("/nowhere") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("now", "max_age"),
    [("2026-04-02T04:00:00", 60), ("2026-04-02T10:29:30", 30), ("2026-04-02T10:29:59", 1), ("2026-04-02T10:30:00", 0)],
)
async def test_max_age_ends_at_the_next_publication(client: Client, clock: Clock, now: str, max_age: int) -> None:
    """max-age shrinks as the next publication comes closer."""
    clock.time = datetime.fromisoformat(now).replace(tzinfo=UTC)
    paths = {"/v1/ticker": 60, "/embed": 60, "/v1/fixings/nbk/2026-04-02": 15 if max_age else 0}
    for path, maximum in paths.items():
        if not maximum:  # receipts are not cached, so the publication window has opened already
            continue
        async with client.get(path) as response:
            assert response.headers["Cache-Control"].split(", ")[1] == f"max-age={min(max_age, maximum)}"
            assert response.headers["Date"] == f"{clock.time:%a, %d %b %Y %H:%M:%S GMT}"


async def test_receipt_links_to_the_raw_response(client: Client, banks: Banks) -> None:
    """Check rates as published, URL, time and digest."""
    async with client.get("/v1/fixings/nbk/2026-04-02") as response:
        receipt = json.loads(await body(response), parse_float=Decimal)
    assert receipt["rates"]["USD"] == {"value": Decimal("475.09"), "nominal": 1, "change": Decimal("0.00")}
    assert receipt["url"] == f"{banks.url}/nbk/rss/get_rates.cfm?fdate=02.04.2026"
    assert (receipt["source"], receipt["base"], receipt["date"], receipt["direction"]) == (
        "nbk", "KZT", "2026-04-02", "direct"
    )  # fmt: skip
    assert receipt["fetched_at"] == "2026-04-02T04:00:00Z"
    assert receipt["revisions"] == []

    async def stored() -> ClientResponse | None:
        response = await client.get(receipt["raw"])
        return response if response.status == 200 else None

    response = await until(stored)  # the raw response is stored after the rates are served
    raw = await response.read()
    assert sha256(raw).hexdigest() == receipt["digest"]
    assert b"<description>475.09</description>" in raw
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == 'attachment; filename="nbk-2026-04-02.raw"'
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_each_quote_links_to_its_two_receipts(client: Client) -> None:
    """Rates of the ticker equal those of the linked fixings."""
    async with client.get("/v1/ticker") as response:
        quotes = json.loads(await body(response), parse_float=Decimal)["quotes"]
    for quote in quotes:
        for path, field in zip(quote["receipts"], ("rate", "previous"), strict=True):
            async with client.get(path) as response:
                receipt = json.loads(await body(response), parse_float=Decimal)
            assert receipt["rates"][quote["code"]]["value"] == quote[field]


@pytest.mark.parametrize(("own_change", "result"), [("-3.68", "equal"), ("-3.86", "different")])
async def test_receipt_has_the_banks_own_change(start: Started, banks: Banks, own_change: str, result: str) -> None:
    """A difference is a warning with both values, and the rates are shown nevertheless."""
    changes = {"USD": own_change, "EUR": "2.44", "RUB": "0.00", "GBP": "-0.11", "CNY": "-0.19"}
    banks.published["nbk"] = dict(APRIL)
    banks.faults["fdate=02.04.2026"] = nbk(day(2), APRIL[day(2)], changes)
    client = await start()
    await until_ready(client)
    async with client.get("/v1/fixings/nbk/2026-04-02") as response:
        check = json.loads(await body(response))["check"]
    assert (check["result"], check["against"], check["compared"]) == (result, "2026-04-01", 5)
    async with client.get("/health") as response:
        health = await response.json(content_type=None)
    note = (
        "nbk: the changes that the bank published for 2026-04-02 differ from those since 2026-04-01: "
        "USD -3.86, computed -3.68"
    )
    assert (note in health["notes"]) is (result == "different")
    async with client.get("/v1/ticker.txt") as response:
        assert (await body(response)).startswith("usd -0.77%")


async def test_sources_report_their_state(client: Client) -> None:
    """Check name, state, last and next poll."""
    async with client.get("/v1/sources") as response:
        sources = {source["key"]: source for source in json.loads(await body(response))["sources"]}
    assert list(sources) == ["nbk", "cbr", "ecb", "nbu", "cbu", "recorded"]
    assert sources["nbk"]["name"] == "National Bank of Kazakhstan"
    assert (sources["nbk"]["state"], sources["nbk"]["last_fixing"]) == ("current", "2026-04-02")
    assert sources["nbk"]["last_poll"] == "2026-04-02T04:00:00Z"
    assert sources["nbk"]["next_poll"].endswith("Z")
    assert sources["recorded"]["state"] == "recorded"


async def test_health_warns_of_each_failing_bank(client: Client, banks: Banks) -> None:
    """The ticker is current, so the status is `warn`, and every failing bank is named."""

    async def with_all_notes() -> tuple[ClientResponse, Any] | None:
        async with client.get("/health") as response:
            health = await response.json(content_type=None)
        return (response, health) if len(health["notes"]) == 4 else None

    response, health = await until(with_all_notes)
    assert (response.status, response.content_type, health["status"]) == (200, "application/health+json", "warn")
    assert response.headers["Cache-Control"] == "no-store"
    assert [note.split(":")[0] for note in health["notes"]] == ["cbr", "ecb", "nbu", "cbu"]
    assert "responded with status 404" in health["checks"]["source:cbr"][0]["output"]
    assert health["checks"]["ticker:kzt"][0]["status"] == "pass"
    assert health["checks"]["source:nbk"][0]["lastFixing"] == "2026-04-02"


async def test_stale_ticker_is_served_but_fails_health(
    settings: Settings, start: Started, banks: Banks, clock: Clock
) -> None:
    """Clients get dated rates marked as stale; monitoring gets 503."""
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    banks.published["nbk"] = dict(APRIL)
    clock.time = datetime(2026, 4, 10, 4, 0, tzinfo=UTC)
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    await until_ready(client)
    async with client.get("/v1/ticker") as response:
        assert json.loads(await body(response))["status"] == "stale"
    async with client.get("/embed") as response:
        assert "outdated" in await body(response)
    async with client.get("/health") as response:
        assert (response.status, (await response.json(content_type=None))["status"]) == (503, "fail")
    async with client.get("/livez") as response:
        assert response.status == 200


async def test_selection_is_not_outdated_because_of_others(
    settings: Settings, start: Started, banks: Banks, clock: Clock
) -> None:
    """The bank has dropped the rouble: what shows the other currencies alone is up to date."""
    ticker = settings.tickers[0].model_copy(update={"currencies": ("USD", "RUB"), "sources": ("nbk",)})
    banks.published["nbk"] = {day(1): {"USD": "470.00", "RUB": "5.80"}}
    banks.published["nbk"] |= {day(number): {"USD": f"47{number % 10}.50"} for number in range(2, 11)}
    clock.time = datetime(2026, 4, 10, 4, 0, tzinfo=UTC)
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    await until_ready(client)
    for query, status in (("", "stale"), ("?currencies=usd", "current"), ("?currencies=rub", "stale")):
        async with client.get(f"/v1/ticker{query}") as response:
            assert json.loads(await body(response))["status"] == status
        for form in ("/embed", "/v1/ticker.svg", "/v1/ticker.html"):
            async with client.get(f"{form}{query}") as response:
                assert ("outdated" in await body(response)) is (status == "stale"), form


async def test_service_is_alive_but_not_ready_without_rates(settings: Settings, start: Started, banks: Banks) -> None:
    """503 as a problem with Retry-After wherever rates are needed."""
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    banks.faults.update(dict.fromkeys(("nbk", "cbr", "ecb", "nbu", "cbu"), 404))
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    for path in ("/v1/ticker", "/v1/ticker.txt", "/embed", "/", "/readyz"):
        async with client.get(path) as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "5")
            assert response.content_type == "application/problem+json"
    async with client.get("/health") as response:
        assert response.status == 503
    async with client.get("/livez") as response:
        assert response.status == 200


async def test_stopped_polling_fails_health(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates would become outdated unnoticed; clients are still served."""
    monkeypatch.setattr("service.polling.lifecycle.PollingLifecycle.stopped", True)
    async with client.get("/health") as response:
        assert response.status == 503
        assert "polling stopped" in await body(response)
    async with client.get("/v1/ticker") as response:
        assert response.status == 200


async def test_unexpected_error_is_a_problem_document(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a 500 and logged, and the next request is served."""
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("service.web.rendering.page_cache.PageCache.reply", lambda *_: 1 / 0)
        async with client.get("/v1/ticker?never=before") as response:
            assert (response.status, response.content_type) == (500, "application/problem+json")
    assert "request.crashed" in {log["event"] for log in logs}
    async with client.get("/v1/ticker") as response:
        assert response.status == 200


async def test_variants_are_cached_and_bounded(
    settings: Settings, start: Started, banks: Banks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equivalent selections share one rendering; the number of cached variants is limited."""
    rendered: list[tuple[str, ...]] = []
    text_format = FORMATS["txt"]

    def record_rendering(view: View) -> bytes:
        rendered.append(tuple(quote.code for quote in view.snapshot.quotes))
        return text_format.render(view)

    monkeypatch.setattr(page_cache, "FORMATS", {**FORMATS, "txt": replace(text_format, render=record_rendering)})
    banks.published["nbk"] = dict(APRIL)
    http = settings.http.model_copy(update={"variants": 4})
    client = await start(settings.model_copy(update={"http": http}))
    await until_ready(client)
    for currencies in ("usd,eur", "USD, eur", "usd,eur&junk=1", "usd,eur,usd"):
        async with client.get(f"/v1/ticker.txt?currencies={currencies}") as response:
            assert response.status == 200
    assert rendered == [("USD", "EUR")]
    for pair in ("usd,rub", "usd,gbp", "usd,cny", "eur,rub", "eur,gbp"):
        async with client.get(f"/v1/ticker.txt?currencies={pair}") as response:
            assert response.status == 200
    async with client.get("/v1/ticker.txt?currencies=usd,eur&never=before") as response:
        assert response.status == 200
    assert rendered[-1] == ("USD", "EUR")


async def test_percentages_of_the_example_strip(start: Started, banks: Banks) -> None:
    """Changes of +1.35, +2.68, 0.00, +4.11 and +0.25 % appear so in the text and on the page."""
    banks.published["nbk"] = {
        day(1): {"USD": "400.00", "EUR": "500.00", "RUB": "5.00", "GBP": "600.00", "CNY": "80.00"},
        day(2): {"USD": "405.40", "EUR": "513.40", "RUB": "5.00", "GBP": "624.66", "CNY": "80.20"},
    }
    client = await start()
    await until_ready(client)
    strip = ["usd +1.35%", "eur +2.68%", "rub 0.00%", "gbp +4.11%", "cny +0.25%"]
    async with client.get("/v1/ticker.txt") as response:
        assert (await body(response)).splitlines() == strip
    async with client.get("/embed") as response:
        page = await body(response)
    texts = [" ".join(plain_text(item).split()[:2]) for item in page.split("<li ")[1:]]
    assert texts == strip


def plain_text(markup: str) -> str:
    """Return the text between the tags of a fragment that begins inside a tag."""
    return " ".join(part.partition("<")[0] for part in markup.split(">")[1:])
