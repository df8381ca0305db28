"""What is said of each bank, by `config/default.toml` and beside `SOURCES`, against its adapter and its documents."""

from collections.abc import Iterator
from datetime import date
from importlib.resources import files

import pytest

from service.domain.fixing import Fixing
from service.errors import NotUnderstood
from service.settings import TickerSettings, load
from service.settings.loader import ROOT
from service.sources.banks import SOURCES
from service.sources.banks.boe import SERIES
from service.sources.banks.cba import CURRENCIES as OF_ARMENIA
from service.sources.banks.mnb import CURRENCIES as OF_HUNGARY
from tests.sources.answers import Asked, documents, parse
from tests.support.fixings import day

REGISTRY = load(environ={}).sources
EXAMPLE = load(ROOT / "config" / "example.toml", environ={})
PRODUCTION = load(ROOT / "config" / "production.toml", environ={})


def written(key: str) -> Iterator[Fixing]:
    """Yield the fixings of all our documents of a bank; those that show what it refuses have none."""
    if key == "recorded":
        yield from parse(key, (files("service.sources.banks") / "recorded.csv").read_bytes())
        return
    for path in documents(key):
        try:
            yield from parse(key, path.read_bytes())
        except NotUnderstood:
            continue


@pytest.mark.parametrize("key", REGISTRY)
def test_a_bank_is_described(key: str) -> None:
    """It has terms; its currencies are in order, each once, and without its own."""
    source = REGISTRY[key]
    assert source.terms
    assert source.quotes
    assert list(source.quotes) == sorted({*source.quotes} - {source.base})


@pytest.mark.parametrize("key", REGISTRY)
def test_what_a_bank_quotes_holds_what_our_documents_of_it_quote(key: str) -> None:
    """No document has a currency that is not told of, or a date before the first one that is."""
    source, fixings = REGISTRY[key], list(written(key))
    assert fixings
    assert {code for fixing in fixings for code in fixing.rates} <= {*source.quotes}
    assert source.since is None or source.since <= min(fixing.date for fixing in fixings)


@pytest.mark.parametrize(
    ("key", "asked"), [("cba", OF_ARMENIA.split(",")), ("mnb", OF_HUNGARY.split(",")), ("boe", SERIES.values())]
)
def test_bank_requested_by_currency_quotes_only_those(key: str, asked: list[str]) -> None:
    """What is not asked for cannot be had, whatever the bank has besides."""
    assert sorted(asked) == list(REGISTRY[key].quotes)


def test_the_shipped_publications_are_all_that_is_recorded() -> None:
    """Their first date and their currencies are told to the letter."""
    fixings = list(written("recorded"))
    assert REGISTRY["recorded"].since == min(fixing.date for fixing in fixings)
    assert list(REGISTRY["recorded"].quotes) == sorted({code for fixing in fixings for code in fixing.rates})


@pytest.mark.parametrize("key", SOURCES)
async def test_source_with_history_requests_dates(key: str) -> None:
    """Another year is another question, but to those of whom it is said that they have their latest alone."""

    async def asked(since: date, until: date) -> list[object]:
        feed = Asked(key, wanted=("USD",))
        async for _ in SOURCES[key].fetch(feed, since, until):
            pass
        return [*feed.steps, *feed.posts]

    same = await asked(day(1), day(2)) == await asked(date(2019, 4, 1), date(2019, 4, 2))
    assert same == (SOURCES[key].latest_only)


@pytest.mark.parametrize("key", SOURCES)
def test_who_publishes_changes_of_its_own_has_them_in_its_documents(key: str) -> None:
    """And nobody else has."""
    with_change = any(rate.change is not None for fixing in written(key) for rate in fixing.rates.values())
    assert with_change == SOURCES[key].publishes_changes


@pytest.mark.parametrize(
    "ticker", [*EXAMPLE.tickers, *PRODUCTION.tickers, *load(environ={}).tickers], ids=lambda ticker: ticker.id
)
def test_the_banks_of_the_shipped_tickers_quote_what_they_want(ticker: TickerSettings) -> None:
    """Each ticker's first choice has all of its currencies, each further one the base and most of them."""
    for choice, key in enumerate(ticker.sources):
        source = EXAMPLE.sources[key]
        missing = {*ticker.currencies, ticker.base} - {source.base, *source.quotes}
        assert ticker.base not in missing
        assert len(missing) <= min(choice, 1)
