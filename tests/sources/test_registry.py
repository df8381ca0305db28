"""Descriptions of the banks in `config/default.toml` and `SOURCES`, compared with adapters and documents."""

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
from service.sources.registry import validate
from tests.sources.answers import RecordingSession, documents, parse
from tests.support.fixings import day

REGISTRY = load(environ={}).sources
EXAMPLE = load(ROOT / "config" / "example.toml", environ={})
PRODUCTION = load(ROOT / "config" / "production.toml", environ={})


def sample_fixings(key: str) -> Iterator[Fixing]:
    """Yield the fixings of all test documents of a bank; invalid documents have none."""
    if key == "recorded":
        yield from parse(key, (files("service.sources.banks") / "recorded.csv").read_bytes())
        return
    for path in documents(key):
        try:
            yield from parse(key, path.read_bytes())
        except NotUnderstood:
            continue


@pytest.mark.parametrize("key", REGISTRY)
def test_bank_has_a_description(key: str) -> None:
    """It has terms; its currencies are sorted, unique and without its own."""
    source = REGISTRY[key]
    assert source.terms
    assert source.quotes
    assert list(source.quotes) == sorted({*source.quotes} - {source.base})


@pytest.mark.parametrize("key", REGISTRY)
def test_documents_agree_with_the_described_currencies(key: str) -> None:
    """No document has an undescribed currency, or a date before the described first one."""
    source, fixings = REGISTRY[key], list(sample_fixings(key))
    assert fixings
    assert {code for fixing in fixings for code in fixing.rates} <= {*source.quotes}
    assert source.since is None or source.since <= min(fixing.date for fixing in fixings)


@pytest.mark.parametrize(
    ("key", "requested"), [("cba", OF_ARMENIA.split(",")), ("mnb", OF_HUNGARY.split(",")), ("boe", SERIES.values())]
)
def test_bank_requested_by_currency_quotes_only_those(key: str, requested: list[str]) -> None:
    """Currencies that are not requested are not described either."""
    assert sorted(requested) == list(REGISTRY[key].quotes)


def test_sample_data_agrees_with_its_description() -> None:
    """First date and currencies are exactly those of the sample data."""
    fixings = list(sample_fixings("recorded"))
    assert REGISTRY["recorded"].since == min(fixing.date for fixing in fixings)
    assert list(REGISTRY["recorded"].quotes) == sorted({code for fixing in fixings for code in fixing.rates})


@pytest.mark.parametrize("key", SOURCES)
async def test_source_with_history_requests_dates(key: str) -> None:
    """Another year needs another request, unless a source has only the latest rates, or always all of them."""

    async def requests_for(since: date, until: date) -> list[object]:
        session = RecordingSession(key, wanted=("USD",))
        async for _ in SOURCES[key].fetch(session, since, until):
            pass
        return [*session.paths, *session.posts]

    same = await requests_for(day(1), day(2)) == await requests_for(date(2019, 4, 1), date(2019, 4, 2))
    assert same == (SOURCES[key].latest_only or SOURCES[key].whole_history)


@pytest.mark.parametrize("key", SOURCES)
def test_only_sources_that_publish_changes_have_them(key: str) -> None:
    """The flag of the adapter agrees with its documents."""
    with_change = any(rate.change is not None for fixing in sample_fixings(key) for rate in fixing.rates.values())
    assert with_change == SOURCES[key].publishes_changes


@pytest.mark.parametrize(
    "ticker", [*EXAMPLE.tickers, *PRODUCTION.tickers, *load(environ={}).tickers], ids=lambda ticker: ticker.id
)
def test_sources_of_shipped_tickers_quote_their_currencies(ticker: TickerSettings) -> None:
    """The preferred source has all currencies of a ticker, each fallback the base and all but one."""
    for fallbacks, key in enumerate(ticker.sources):
        source = EXAMPLE.sources[key]
        missing = {*ticker.currencies, ticker.base} - {source.base, *source.quotes}
        assert ticker.base not in missing
        assert len(missing) <= min(fallbacks, 1)


def test_example_has_tickers_for_the_manats_and_the_lira() -> None:
    """And a source whose rates are entered by hand; the file passes all checks of a start."""
    example = validate(EXAMPLE)
    assert {"AZN", "TRY", "TMT"} <= {ticker.base for ticker in example.tickers}
    assert [key for key, source in example.sources.items() if source.is_manual] == ["shop"]
