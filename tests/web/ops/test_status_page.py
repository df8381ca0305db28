"""`/status`: the page shows what `/health` and `/v1/sources` report, complete without JavaScript."""

import asyncio
import json
import re
from datetime import date, datetime, timedelta
from typing import Any, Self

import pytest

from service.settings import Settings
from service.storage.repository import Store
from service.web.rendering import templates
from tests.conftest import Clock, Started
from tests.support.http import Client, body, until_ready
from tests.support.pages import published
from tests.support.publications import fill
from tests.support.standin import Banks
from tests.support.wait import until

PLAIN = {"Accept-Encoding": "identity"}


class NoPolls:
    """A schedule that polls nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
async def client(start: Started, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Return a client of a service with 90 days of publications; nbk is failing, late at times and quarantined."""
    monkeypatch.setattr("service.polling.scheduler.PollScheduler", NoPolls)
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        await fill(store, settings, clock(), {"nbk"})
    client = await start()
    await until(lambda: is_leader(client))
    await until(lambda: has_loaded_states(client))
    return client


async def is_leader(client: Client) -> bool:
    (check,) = (await get_json(client, "/health"))["checks"]["leader"]
    return bool(check["observedValue"] == "leader" and check["instances"])


async def has_loaded_states(client: Client) -> bool:
    """Return whether the states of sources are read from the store, which a busy machine does after the start."""
    return "Last poll" in words(card(await get_page(client), "source-nbk"))


async def get_json(client: Client, path: str) -> dict[str, Any]:
    async with client.get(path, headers=PLAIN) as response:
        document: dict[str, Any] = json.loads(await response.text())
    return document


async def get_page(client: Client, query: str = "", **headers: str) -> str:
    async with client.get(f"/status{query}", headers=PLAIN | headers) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        return await response.text()


def card(page: str, label: str) -> str:
    """Return the markup of the article or section with a label."""
    found = re.search(rf'<(article|section)[^>]* aria-labelledby="{label}">.*?</\1>', page, re.DOTALL)
    assert found, label
    return found[0]


def words(markup: str) -> str:
    """Return the text of markup, with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


async def test_ticker_shows_status_since_and_what_is_due(client: Client) -> None:
    text = words(card(await get_page(client), "ticker-kzt"))
    assert text.startswith("kzt KZT ✓ up to date Since 1 Apr 2026, ")
    assert "Next publication due 2 Apr 2026, 10:30 UTC 6:30:00" in text


async def test_source_shows_polls_failures_and_its_last_days(client: Client) -> None:
    """Every state has a path in the strip, and a count in words; unusual ones their dates."""
    markup = card(await get_page(client), "source-nbk")
    text = words(markup)
    assert "National Bank of Kazakhstan nbk ! failing" in text
    assert "Last publication 2 Apr 2026 Last poll 2 Apr 2026, 03:56 UTC Next poll 2 Apr 2026, 04:00 UTC" in text
    assert "Failed polls 1 · since 2 Apr 2026, 01:00 UTC" in text
    assert "nbk: responded with status 503" in text
    assert re.search(r"3 Jan 2026 2 Apr 2026 \d+ on time; 2 late; 1 quarantined; 3 missed", text), text
    assert re.findall(r'<path class="(\w+)"', markup) == ["none", "on_time", "missed", "late", "quarantined"]
    assert len(re.findall(r'href="fixings/nbk/[\d-]+"', markup)) == 3
    assert "none" in re.findall(r'<path class="(\w+)"', card(await get_page(client), "source-cbr"))


async def test_quarantine_shows_both_rates_and_the_command(client: Client) -> None:
    """The digest is that of the command line."""
    (source,) = (await get_json(client, "/health"))["checks"]["source:nbk"]
    (held,) = source["quarantine"]
    (rate,) = held["rates"]
    text = words(card(await get_page(client), "quarantine"))
    assert f"Currency Quarantined rate Previous USD {rate['rate']} {rate['previous']} 1 Apr 2026" in text
    assert float(rate["rate"]) > 1.9 * float(rate["previous"])
    assert f"python -m service quarantine accept nbk 2026-04-02 --digest {held['digest']}" in text.replace(
        "currency-ticker", "python -m service"
    )


async def test_instances_and_parts_are_shown(client: Client) -> None:
    page = await get_page(client)
    (check,) = (await get_json(client, "/health"))["checks"]["leader"]
    assert f"{check['componentId']} (responded) leader, polls the banks 0.1.0" in words(card(page, "instances"))
    assert re.search(r"✓ Store \d+\.\d ms ✓ Polling ✓ Synchronisation . Clock", words(card(page, "parts")))


async def test_page_shows_only_what_health_and_sources_report(client: Client) -> None:
    """Every time and date occurs in one of both documents."""
    documents = [await get_json(client, path) for path in ("/health", "/v1/sources")]
    texts = set(re.findall(r'"([^"]*)"', json.dumps(documents)))
    known = {datetime.fromisoformat(text) for text in texts if re.match(r"\d{4}-\d\d-\d\dT", text)}
    known_dates = {date.fromisoformat(text) for text in texts if re.fullmatch(r"\d{4}-\d\d-\d\d", text)}
    for source in documents[1]["sources"]:
        first = date.fromisoformat(source["days"]["from"])
        known_dates |= {first + timedelta(days=number) for number in range(len(source["days"]["states"]))}
    page = await get_page(client)
    page = page.replace(card(page, "instances"), "")  # they announce themselves every few seconds
    shown = re.findall(r'<time datetime="([^"]+)"', page)
    moments = {datetime.fromisoformat(text) for text in shown if "T" in text}
    minutes = {moment.replace(second=0, microsecond=0) for moment in known}
    assert len(moments) > 10
    assert {moment.replace(second=0, microsecond=0) for moment in moments} <= minutes
    assert {date.fromisoformat(text) for text in shown if "T" not in text} <= known_dates


async def test_currencies_are_listed_by_source(start: Started, settings: Settings, banks: Banks) -> None:
    """Also those that no source quotes, in the order of the ticker."""
    ticker = settings.tickers[0].model_copy(update={"currencies": ("USD", "XAU", "EUR"), "sources": ("nbk",)})
    published(banks)
    client = await start(settings.model_copy(update={"tickers": (ticker,)}))
    await until_ready(client)
    text = words(card(await get_page(client), "ticker-kzt"))
    assert "National Bank of Kazakhstan USD, EUR Not available XAU" in text


async def test_page_is_served_while_nothing_works(start: Started, settings: Settings, banks: Banks) -> None:
    """Status 200 for people; programs use `/health`, which fails."""
    for key in settings.polled:
        banks.faults[key] = 503
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    page = await get_page(await start(settings.model_copy(update={"tickers": (ticker,)})))
    assert "✕ The service does not work as it should" in words(page)
    assert "kzt KZT ✕ no rates yet" in words(card(page, "ticker-kzt"))
    assert "Nothing is quarantined." in page


async def test_language_is_negotiated_like_the_builder(client: Client) -> None:
    """A language without a complete translation falls back to English."""
    async with client.get("/status", headers={"Accept-Language": "kk"}) as response:
        assert "Сервис күйі" in await body(response)
        assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"
    async with client.get("/status?lang=ru", headers={"Accept-Language": "kk"}) as response:
        assert "Состояние сервиса" in await body(response)
        assert response.headers["Vary"] == "Accept-Encoding"
    for query in ("?lang=de", "?lang=xx", "?lang=", "?lang=<script>"):
        assert '<html lang="en">' in await get_page(client, query)


async def test_headers_are_strict_and_no_stale_copy_is_allowed(client: Client) -> None:
    """An old copy would say that a service that is down works."""
    async with client.get("/status") as response, client.get("/docs") as docs:
        assert response.headers["Content-Security-Policy"] == docs.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "public, max-age=5, must-revalidate"
        assert response.headers["ETag"]
        page = await body(response)
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page)
    assert '<noscript><meta http-equiv="refresh" content="30"></noscript>' in page


async def test_page_is_rendered_once_for_concurrent_requests(
    client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at most every five seconds in each language."""
    rendered = list[str]()

    def counted(template: str, **values: Any) -> bytes:
        rendered.append(values["lang"])
        return templates.rendered(template, **values)

    monkeypatch.setattr("service.web.ops.status_page.rendered", counted)
    pages = await asyncio.gather(*(get_page(client, f"?lang=en&{number}") for number in range(20)))
    assert (len(set(pages)), rendered) == (1, ["en"])
    clock.forward(seconds=4.9)
    await get_page(client, "?lang=en&x")
    assert rendered == ["en"]
    await get_page(client, "?lang=kk")
    clock.forward(seconds=0.2)
    await get_page(client, "?lang=en&y")
    assert rendered == ["en", "kk", "en"]


async def test_failed_rendering_is_not_cached(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("service.web.ops.status_page.rendered", fail)
        async with client.get("/status?lang=en") as response:
            assert response.status == 500
    assert "Service status" in await get_page(client, "?lang=en")


def fail(*_: object, **__: object) -> bytes:
    raise KeyError("oops")


async def test_builder_links_the_status_page(client: Client) -> None:
    async with client.get("/?lang=kk", headers=PLAIN) as response:
        assert '<a href="status?lang=kk">' in await response.text()


async def test_sources_report_the_state_of_each_day(client: Client) -> None:
    """In `/v1/sources`, for programs."""
    sources = {source["key"]: source["days"] for source in (await get_json(client, "/v1/sources"))["sources"]}
    states = sources["nbk"]["states"]
    assert (sources["nbk"]["from"], len(states)) == ("2026-01-03", 90)
    assert states[-3:] == ["on_time", "on_time", "quarantined"]
    assert {state: states.count(state) for state in ("late", "missed")} == {"late": 2, "missed": 3}
