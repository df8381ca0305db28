"""`/v1/ticker.atom`: valid by RFC 4287, an entry per publication, stable identifiers, links to receipts."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient
from lxml import etree

from service.app import create_app
from service.settings import Settings, load
from service.state.memory import MemoryState
from service.storage.repository import Store
from service.web.i18n.messages import STRIP, languages
from service.web.rendering.atom import ENTRIES
from service.web.rendering.formats import FORMATS, View, sayer
from service.web.rendering.options import Options
from tests.conftest import Clock, ProductionServer, Started
from tests.support.fixings import day, fixing
from tests.support.http import Client, body, until_ready
from tests.support.pages import json_of, page_of, published, select_one, text_of
from tests.support.standin import Banks, serving
from tests.support.wait import until

ATOM, XHTML = "{http://www.w3.org/2005/Atom}", "{http://www.w3.org/1999/xhtml}"
SCHEMA: Final = etree.RelaxNG(etree.parse(Path(__file__).with_name("atom.rng")))
PUBLIC: Final = "https://ticker.example"
CODES: Final = ["USD", "EUR", "RUB", "GBP", "CNY"]
shared_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["true", "false"], ids=["cached", "uncached"])
async def client(valkey: str, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """Yield a client of a service with a public URL; its store has the days of March, 1 and 2 April are polled."""
    prefix = f"atom {request.param}:"
    async with Store(valkey, prefix) as store, serving(published(Banks())) as banks:
        for number in range(31):
            on = day(31 - number, 3)
            usd, eur, cny = f"47{number % 7}.00", f"5{number:02}.00", f"69.{number:02}"
            await store.save(fixing(on, USD=usd, EUR=eur, RUB="5.87", GBP="630.00", CNY=cny))
        environ = banks.environ() | {
            "TICKER_STORE__URL": valkey,
            "TICKER_STORE__PREFIX": prefix,
            "TICKER_HTTP__RESPONSE_CACHE": request.param,
            "TICKER_HTTP__PUBLIC_URL": PUBLIC,
        }
        app = create_app(load(environ=environ), None, Clock(datetime(2026, 4, 2, 12, 0, tzinfo=UTC)))
        async with TestClient(ProductionServer(app), auto_decompress=False) as client:

            async def rates_are_current() -> bool:
                return bool((await json_of(client, "/v1/ticker"))["as_of"] == "2026-04-02")

            await until(rates_are_current)
            yield client


async def feed_of(client: Client, path: str = "/v1/ticker.atom", language: str = "") -> etree._Element:
    """Return a feed; fail if it violates the grammar of RFC 4287 or one of its other rules."""
    feed = etree.fromstring((await text_of(client, path, language=language)).encode())
    assert SCHEMA.validate(feed), SCHEMA.error_log
    check_rules(feed)
    return feed


def check_rules(feed: etree._Element) -> None:
    """Check the rules of RFC 4287 that its grammar cannot express, and those that the W3C's validator adds."""
    entries = feed.findall(f"{ATOM}entry")
    identifiers = [text(element, "id") for element in (feed, *entries)]
    assert len(set(identifiers)) == len(identifiers)
    for identifier in identifiers:
        assert urlsplit(identifier).scheme, "an IRI, not a relative reference (4.2.6)"
    for element in (feed, *entries):
        assert element.findall(f"{ATOM}author") or feed.findall(f"{ATOM}author"), "4.1.1, 4.1.2"
        alternates = Counter((link.get("type"), link.get("hreflang")) for link in links(element, "alternate"))
        assert set(alternates.values()) <= {1}, "one per type and language (4.1.1, 4.1.2)"
        assert text(element, "title")
        datetime.strptime(text(element, "updated"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert len(links(feed, "self")) == 1, "should have one (4.1.1)"
    for entry in entries:
        assert entry.findall(f"{ATOM}content") or links(entry, "alternate"), "4.1.2"
        (content,) = entry.findall(f"{ATOM}content")
        assert [child.tag for child in content] == [f"{XHTML}div"], "4.1.3.3"
        forbidden = {f"{XHTML}{name}" for name in ("script", "style", "iframe", "object", "embed", "form", "meta")}
        assert not [child for child in content.iter() if child.tag in forbidden]
        assert not [name for child in content.iter() for name in child.attrib if str(name).startswith(("on", "style"))]
    updates = [text(entry, "updated") for entry in entries]
    assert text(feed, "updated") == max(updates, default=text(feed, "updated"))


def links(element: etree._Element, rel: str) -> list[etree._Element]:
    return [link for link in element.findall(f"{ATOM}link") if link.get("rel") == rel]


def text(element: etree._Element, name: str) -> str:
    return str(element.findtext(f"{ATOM}{name}"))


def entries_of(feed: etree._Element) -> list[etree._Element]:
    return feed.findall(f"{ATOM}entry")


def names_of(element: etree._Element) -> list[str]:
    return [text(author, "name") for author in element.findall(f"{ATOM}author")]


@shared_loop
@pytest.mark.parametrize("lang", languages(STRIP))
async def test_feed_is_valid(client: Client, lang: str) -> None:
    """In every language, with the changes of each quote in the words of the other formats."""
    feed = await feed_of(client, f"/v1/ticker.atom?lang={lang}")
    document = await json_of(client, f"/v1/ticker?lang={lang}")
    first, *_ = entries_of(feed)
    changes = ", ".join(f"{quote['code']} {quote['text']['percent']}" for quote in document["quotes"])
    assert text(first, "title") == f"{document['text']['date']}: {changes}"
    assert text(feed, "title") == document["text"]["label"]
    assert feed.get("{http://www.w3.org/XML/1998/namespace}lang") == lang
    content = "".join(map(str, first.itertext()))
    for quote in document["quotes"]:
        assert all(quote["text"][name] in content for name in ("name", "rate", "previous", "percent"))
    assert document["text"]["footer"] in content


@shared_loop
async def test_feed_has_the_last_publications(client: Client) -> None:
    """Newest first, each with all quotes; weekends and the first known publication are none."""
    entries = entries_of(await feed_of(client))
    assert len(entries) == ENTRIES
    dates = [text(entry, "id").partition("#")[2].removesuffix(",nbk") for entry in entries]
    assert dates == sorted(dates, reverse=True)
    assert dates[:3] == ["2026-04-02", "2026-04-01", "2026-03-31"]
    for entry in entries:
        items = list(entry.iter(f"{XHTML}li"))
        assert ["".join(map(str, item.itertext()))[:3] for item in items] == CODES
        assert names_of(entry) == ["National Bank of Kazakhstan"]
        assert "—" not in text(entry, "title")


@shared_loop
async def test_changes_are_those_of_the_history(client: Client) -> None:
    """Each percentage equals that of `/v1/history` for its date."""
    history = (await json_of(client, "/v1/history/usd"))["history"]
    percents = {point["date"]: point["percent"] for point in history}
    for entry in entries_of(await feed_of(client, "/v1/ticker.atom?currencies=usd")):
        date, change = (
            text(entry, "id").partition("#")[2].removesuffix(",nbk"),
            text(entry, "title").partition("USD ")[2],
        )
        assert float(change.removesuffix("%")) == percents[date]


@shared_loop
async def test_links_lead_to_receipts(client: Client) -> None:
    """Of the publication and the one before; absolute, and every one exists."""
    for entry in entries_of(await feed_of(client)):
        date = text(entry, "id").partition("#")[2].removesuffix(",nbk")
        (receipt,), (previous,) = links(entry, "alternate"), links(entry, "related")
        assert receipt.get("href") == f"{PUBLIC}/v1/fixings/nbk/{date}"
        assert str(previous.get("href")) < str(receipt.get("href"))
        in_content = {str(link.get("href")) for link in entry.iter(f"{XHTML}a")}
        assert in_content == {receipt.get("href"), previous.get("href")}
        for url in in_content:
            document = await json_of(client, url.removeprefix(PUBLIC))
            assert document["source"] == "nbk"
            assert str(document["date"]) == url.rpartition("/")[2]


@shared_loop
async def test_feed_names_itself(client: Client) -> None:
    """Its own URL with the options that change it, in one form, and the page of the ticker."""
    for query, own in (
        ("", ""),
        ("?lang=en&theme=dark&utm_source=x", ""),
        ("?lang=kk&currencies=usd,EUR", "?currencies=usd,eur&lang=kk"),
    ):
        for path in ("/v1/ticker.atom", "/v1/ticker/kzt.atom"):
            feed = await feed_of(client, f"{path}{query}")
            (link,), (page,) = links(feed, "self"), links(feed, "alternate")
            assert (link.get("href"), link.get("type")) == (f"{PUBLIC}/v1/ticker.atom{own}", "application/atom+xml")
            assert (page.get("href"), page.get("type")) == (f"{PUBLIC}/", "text/html")
            assert text(feed, "id") == f"tag:ticker.example,2026:/v1/ticker.atom{own}"
            same = await text_of(client, str(link.get("href")).removeprefix(PUBLIC))
            assert same == await text_of(client, f"{path}{query}")


@shared_loop
async def test_feed_is_cacheable(client: Client) -> None:
    """ETag, 304, gzip, HEAD and headers as for other formats."""
    async with client.get("/v1/ticker.atom", headers={"Accept-Encoding": "gzip"}) as response:
        assert (response.status, response.content_type) == (200, "application/atom+xml")
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Cache-Control"].startswith("public, max-age=")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        tag = response.headers["ETag"]
        assert "<feed" in await body(response)
    async with client.get("/v1/ticker.atom", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with client.head("/v1/ticker.atom", headers={"Accept-Encoding": "gzip"}) as response:
        assert (response.status, response.headers["ETag"], await response.read()) == (200, tag, b"")
    async with client.get("/v1/ticker.atom?lang=auto", headers={"Accept-Language": "kk"}) as response:
        assert response.headers["Vary"] == "Accept-Encoding, Accept-Language"


@shared_loop
@pytest.mark.parametrize("lang", ["en", "ru"])
async def test_page_names_the_feed(client: Client, lang: str) -> None:
    """Browsers and readers find it by the page at `/`, in the page's language."""
    page = await page_of(client, f"/?lang={lang}")
    link = select_one(page, 'link[rel="alternate"][type="application/atom+xml"]')
    path = urljoin("/", str(link.attrs["href"]))
    assert path.startswith("/v1/ticker.atom")
    feed = await feed_of(client, path)
    assert feed.get("{http://www.w3.org/XML/1998/namespace}lang") == lang
    assert text(feed, "title") == link.attrs["title"]


def test_entries_are_stable() -> None:
    """A new publication adds an entry; the earlier ones keep their identifiers, times and contents."""
    memory, feeds = MemoryState(load(environ={})), list[etree._Element]()
    for on in (day(31, 3), day(1), day(2)):
        memory.add(
            replace(fixing(on, USD=f"47{on.day % 7}.00"), fetched_at=datetime(2026, on.month, on.day, tzinfo=UTC))
        )
        memory.refresh(datetime(2026, 4, 2, 4, 0, tzinfo=UTC))
        (snapshot,) = memory.snapshots.values()
        texts = sayer(snapshot, memory.settings)
        view = View(snapshot, memory.settings, Options(origin=PUBLIC), texts, memory.publications())
        feeds.append(etree.fromstring(FORMATS["atom"].render(view)))
        assert SCHEMA.validate(feeds[-1]), SCHEMA.error_log
    contents = [[etree.tostring(entry) for entry in entries_of(feed)] for feed in feeds]
    assert [len(entries) for entries in contents] == [0, 1, 2]
    assert contents[2][1:] == contents[1]
    assert len({text(feed, "id") for feed in feeds}) == 1
    assert [text(feed, "updated")[:10] for feed in feeds] == ["2026-03-31", "2026-04-01", "2026-04-02"]


async def test_feed_without_a_public_url_has_relative_links(start: Started, banks: Banks) -> None:
    """A host that the client sent is not in a page that caches share; on loopback links are absolute."""
    published(banks)
    client = await start()
    await until_ready(client)
    own = str(client.make_url("")).rstrip("/")
    assert links(await feed_of(client), "self")[0].get("href") == f"{own}/v1/ticker.atom"
    async with client.get("/v1/ticker.atom", headers={"Host": "evil.example"}) as response:
        feed = etree.fromstring((await body(response)).encode())
    assert SCHEMA.validate(feed), SCHEMA.error_log
    assert "evil.example" not in etree.tostring(feed).decode()
    assert links(feed, "self")[0].get("href") == "/v1/ticker.atom"
    assert text(feed, "id") == "tag:localhost,2026:/v1/ticker.atom"


async def test_name_of_a_source_is_escaped(settings: Settings, start: Started, banks: Banks) -> None:
    """An operator can set any name; it is shown literally, as the author and in the content."""
    name = '"><script>x</script> & Söhne <b>'
    nbk = settings.sources["nbk"].model_copy(update={"name": name})
    published(banks)
    client = await start(settings.model_copy(update={"sources": {**settings.sources, "nbk": nbk}}))
    await until_ready(client)
    feed = await feed_of(client)
    (entry,) = entries_of(feed)
    assert names_of(feed) == names_of(entry) == [name]
    assert name in "".join(map(str, entry.itertext()))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("<updated>2026-04-02</updated>", "<updated>2026-04-02T00:00:00Z</updated>"),
        ("", "<updated>2026-04-02T00:00:00Z</updated>"),
        ("<updated>2026-04-02T00:00:00Z</updated><summery/>", "<updated>2026-04-02T00:00:00Z</updated>"),
    ],
)
def test_grammar_refuses_invalid_feeds(wrong: str, right: str) -> None:
    """The schema of these tests can fail: a date without a time, a missing and an unknown element."""
    feed = '<feed xmlns="http://www.w3.org/2005/Atom"><id>tag:a,2026:b</id><title>t</title>{}</feed>'
    assert SCHEMA.validate(etree.fromstring(feed.format(right)))
    assert not SCHEMA.validate(etree.fromstring(feed.format(wrong)))
