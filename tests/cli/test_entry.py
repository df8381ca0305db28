"""`set-rate`: rates entered by hand, as the operator, a running service, receipts and health see them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from service.domain.fixing import Fixing
from service.domain.publication_schedule import Freshness, freshness
from service.errors import SettingsError, StoreError
from service.settings import Settings, load
from service.sources.registry import validate
from service.storage.repository import Store
from service.validation.quarantine import Outcome
from tests.conftest import Started
from tests.support.cli import command
from tests.support.fixings import day, fixing
from tests.support.http import Client, until_ready
from tests.support.pages import json_of, page_of, select_one, text_of
from tests.support.standin import Banks
from tests.support.wait import until

CONFIG = """
[[tickers]]
id = "shop"
base = "KZT"
currencies = ["USD", "EUR"]
sources = ["shop"]

[sources.shop]
adapter = "manual"
name = "Shop"
base = "KZT"
timezone = "Asia/Almaty"
"""
Enter = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def settings(settings: Settings, config: Path, banks: Banks) -> Settings:
    """Return settings with one ticker and one source, whose rates are entered by hand."""
    store = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_STORE__PREFIX": settings.store.prefix}
    loaded = load(config, environ=banks.environ() | store)
    values = {name: getattr(loaded, name) for name in Settings.model_fields}
    sources = {"shop": loaded.sources["shop"], "nbk": loaded.sources["nbk"].model_copy(update={"enabled": None})}
    return Settings(**values | {"sources": sources})


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[Store]:
    """Yield the store that the settings name."""
    async with Store(settings.store.url.get_secret_value(), settings.store.prefix) as store:
        yield store


@pytest.fixture
def enter(settings: Settings, config: Path, banks: Banks) -> Enter:
    """Return a function that runs `set-rate`, in a thread with its own event loop."""
    environ = {"TICKER_STORE__URL": settings.store.url.get_secret_value(), "TICKER_CONFIG": str(config)}
    environ |= {"TICKER_STORE__PREFIX": settings.store.prefix} | banks.environ()

    async def entered(*arguments: str, status: int = 0, name: str = "set-rate") -> str:
        result = await asyncio.to_thread(command, environ, name, *arguments)
        assert result.exit_code == status, result.output
        return result.output

    return entered


async def check_of(client: Client, name: str) -> Any:
    return (await json_of(client, "/health"))["checks"][name][0]


async def test_entry_is_stored_with_author_time_and_text(enter: Enter, store: Store) -> None:
    """The raw text has the digest of the receipt."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    printed = await enter("shop", "2026-04-02", "USD=475.09", "eur=551.06", "--by", "Aigul")
    assert printed == "shop 2026-04-02: EUR 551.06, USD 475.09: new\n"
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    assert (fixing.entered_by, fixing.base, fixing.url) == ("Aigul", "KZT", "")
    assert before <= fixing.fetched_at <= datetime.now(UTC)
    text = b"date,code,value\n2026-04-02,USD,475.09\n2026-04-02,EUR,551.06\n"
    assert await store.raw("shop", fixing.digest) == text
    assert fixing.digest == sha256(text).hexdigest()


async def test_correction_is_a_revision_with_its_own_author(enter: Enter, store: Store) -> None:
    """So is an added currency: the receipt names who entered which rates. A repetition changes nothing."""
    await enter("shop", "2026-04-02", "USD=475.09", "--by", "Aigul")
    await enter("shop", "2026-04-02", "USD=475.90")
    await enter("shop", "2026-04-02", "EUR=551.06", "--by", "Boris")
    assert "already published" in await enter("shop", "2026-04-02", "USD=475.90", "--by", "Boris")
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    forms = [fixing, *fixing.revisions]
    assert [form.entered_by for form in forms] == ["Boris", "operator", "Aigul"]
    assert [str(form.rates["USD"].value) for form in forms] == ["475.90", "475.90", "475.09"]
    assert [sorted(form.rates) for form in forms] == [["EUR", "USD"], ["USD"], ["USD"]]


async def test_earlier_rates_can_be_entered_again(enter: Enter, store: Store) -> None:
    """The text then has the digest of an earlier version."""
    for value in ("475.09", "475.90", "475.09"):
        await enter("shop", "2026-04-02", f"USD={value}")
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    assert [str(form.rates["USD"].value) for form in (fixing, *fixing.revisions)] == ["475.09", "475.90", "475.09"]


async def test_suspicious_rates_need_a_confirmation(enter: Enter, store: Store) -> None:
    """End of input means no: nothing is stored, not even the valid rates. `--accept` records a decision."""
    await enter("shop", "2026-04-01", "USD=478.77", "EUR=548.62")
    arguments = ("shop", "2026-04-02", "USD=4750.90", "EUR=551.06")
    refused = await enter(*arguments, status=1)
    assert "These rates would be quarantined, or not shown:\nshop 2026-04-02: USD 4750.90\n" in refused
    assert "\n  USD moved by +892.31%, from 478.77" in refused
    assert refused.endswith("error: shop: not confirmed, nothing was changed; publish these rates with --accept\n")
    assert await store.fixing("shop", day(2)) is None
    assert await store.waiting("shop") == []
    assert await enter(*arguments, "--accept") == "shop 2026-04-02: EUR 551.06, USD 4750.90: accepted\n"
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    assert {code: str(rate.value) for code, rate in fixing.rates.items()} == {"USD": "4750.90", "EUR": "551.06"}
    assert await store.raw("shop", fixing.digest)
    (decision,) = await store.decisions("shop")
    assert (decision.outcome, list(decision.waiting.fixing.rates)) == (Outcome.ACCEPTED, ["USD"])


@pytest.mark.parametrize("is_stored", [False, True])
async def test_rates_that_other_banks_refute_are_shown_once_accepted(
    enter: Enter, store: Store, *, is_stored: bool
) -> None:
    """They would be published and not shown, so they need a confirmation; also if they are stored already."""
    hryvnia = fixing(day(3), "nbu", "UAH", USD="44.00", EUR="50.88", KZT="0.0847")
    await store.save(hryvnia, replace(hryvnia, date=day(2)))
    arguments = ("shop", "2026-04-02", "USD=400.00", "EUR=600.50")
    if is_stored:
        await store.save(fixing(day(2), "shop", USD="400.00", EUR="600.50"))
    refused = await enter(*arguments, status=1)
    assert "shop 2026-04-02: USD 400.00\n  USD: other banks have it elsewhere (nbu +29.87%)" in refused
    assert "400.00" not in await enter(name="show", status=0 if is_stored else 1)
    assert "USD 400.00: accepted" in await enter(*arguments, "--accept")
    (decision,) = await store.decisions("shop")
    assert (decision.outcome, list(decision.waiting.fixing.rates)) == (Outcome.ACCEPTED, ["USD"])
    assert re.search(r"USD +400.00 .*2026-04-02 +shop", await enter(name="show"))
    assert "already published" in await enter(*arguments)


async def test_retracted_rates_can_be_entered_again(enter: Enter, store: Store) -> None:
    """That too needs a confirmation."""
    await enter("shop", "2026-04-02", "USD=475.09")
    await enter("shop", "2026-04-02", "--yes", name="retract")
    assert "an operator has rejected it" in await enter("shop", "2026-04-02", "USD=475.09", status=1)
    await enter("shop", "2026-04-02", "USD=475.09", "--accept")
    assert await store.fixing("shop", day(2)) is not None


@pytest.mark.parametrize(("retracted", "entered"), [("470/480", "475"), ("475", "470/480"), ("475.0", "475.00")])
async def test_accepted_rate_replaces_its_retraction(enter: Enter, retracted: str, entered: str) -> None:
    """Also without the buying and selling rates that were retracted with it, or with new ones."""
    await enter("shop", "2026-04-01", "USD=474.00")
    await enter("shop", "2026-04-02", f"USD={retracted}")
    await enter("shop", "2026-04-02", "--yes", name="retract")
    assert not re.search(r"2026-04-02 +shop", await enter(name="show"))
    await enter("shop", "2026-04-02", f"USD={entered}", "--accept")
    assert re.search(r"USD +475\.?0* .*2026-04-02 +shop", await enter(name="show"))


async def test_file_has_dates_and_nominals(enter: Enter, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("date,code,value,nominal\n2026-04-02,USD,475.09,1\n2026-04-01,USD,478.77,\n2026-04-02,JPY,3.1,10\n")
    printed = await enter("shop", "--csv", str(file), "--by", "Aigul")
    assert printed == "shop 2026-04-01: USD 478.77: new\nshop 2026-04-02: JPY 3.1 for 10, USD 475.09: new\n"
    fixings = [await store.fixing("shop", on) for on in (day(1), day(2))]
    digest = sha256(file.read_bytes()).hexdigest()
    assert [(fixing.digest, fixing.entered_by) for fixing in fixings if fixing] == [(digest, "Aigul")] * 2
    assert await store.raw("shop", digest) == file.read_bytes()


async def test_buying_and_selling_rates_are_entered_beside_the_rate(enter: Enter, store: Store) -> None:
    """Without a rate, it is their exact mean. The text has the columns of a file."""
    printed = await enter("shop", "2026-04-02", "usd=475.09:470/480.5", "EUR=545.11/557", "GBP=630")
    assert printed == (
        "shop 2026-04-02: EUR 551.055 (buying 545.11, selling 557), GBP 630,"
        " USD 475.09 (buying 470, selling 480.5): new\n"
    )
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    assert await store.raw("shop", fixing.digest) == (
        b"date,code,value,buying,selling\n2026-04-02,USD,475.09,470,480.5\n2026-04-02,EUR,,545.11,557\n"
        b"2026-04-02,GBP,630,,\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "date,code,nominal,buying,selling\n2026-04-02,JPY,100,300,320.0\n",
        "date,code,value,nominal,buying,selling\n2026-04-02,JPY,310,100,300,320.0\n",
    ],
)
async def test_file_has_buying_and_selling_rates(enter: Enter, store: Store, tmp_path: Path, text: str) -> None:
    """Per the nominal, as the rate."""
    file = tmp_path / "rates.csv"
    file.write_text(text)
    await enter("shop", "--csv", str(file))
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    rate = fixing.rates["JPY"]
    assert (f"{rate.value:.0f}", rate.nominal, str(rate.buying), str(rate.selling)) == ("310", 100, "300", "320.0")


async def test_buying_and_selling_rates_can_be_added_and_removed(enter: Enter, store: Store) -> None:
    """Each such entry is a revision, although the rate is the same. A repetition changes nothing."""
    entries = ("USD=475", "USD=470/480", "USD=475:471/479", "USD=475")
    outcomes = [await enter("shop", "2026-04-02", each) for each in entries]
    assert [outcome.rsplit(": ", 1)[1] for outcome in outcomes] == ["new\n", *["revision\n"] * 3]
    assert "already published" in await enter("shop", "2026-04-02", "USD=475")
    await enter("shop", "2026-04-02", "EUR=551.06")
    fixing = await store.fixing("shop", day(2))
    assert fixing is not None
    sides = [(form.rates["USD"].buying, form.rates["USD"].selling) for form in (fixing, *fixing.revisions)]
    assert sides == [(None, None), (None, None), (471, 479), (470, 480), (None, None)]


async def test_running_service_shows_buying_and_selling_rates(enter: Enter, start: Started) -> None:
    """In the ticker, its text, and the receipt."""
    await enter("shop", "2026-04-01", "USD=478.77", "EUR=548.62")
    await enter("shop", "2026-04-02", "USD=475.09:470/480.5", "EUR=551.06")
    client = await start()
    usd, eur = (await json_of(client, "/v1/ticker"))["quotes"]
    assert (usd["rate"], usd["buying"], usd["selling"], "buying" in eur) == (475.09, 470, 480.5, False)
    assert (await text_of(client, "/v1/ticker.txt?show=buy,sell")).splitlines()[0] == "usd 470 480.5"
    rate = (await json_of(client, "/v1/fixings/shop/2026-04-02"))["rates"]["USD"]
    assert (rate["value"], rate["buying"], rate["selling"]) == (475.09, 470, 480.5)
    row = select_one(await page_of(client, "/fixings/shop/2026-04-02?lang=en"), "#USD").to_text()
    assert ("470" in row, "480.5" in row) == (True, True)
    await enter("shop", "2026-04-02", "USD=475.09:471/480.5")

    async def is_revised() -> bool:
        return bool((await json_of(client, "/v1/ticker"))["quotes"][0]["buying"] == 471)

    await until(is_revised)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("2026-04-02", "USD=480/470"), "the buying and the selling rate of USD are in the wrong order"),
        (("2026-04-02", "USD=475.09:0/480"), "the buying rate of USD is 0, beyond half or double its rate of 475.09"),
        (("2026-04-02", "USD=475.09:470/4800"), "the selling rate of USD is 4800, beyond half or double its rate of"),
        (("2026-04-02", "USD=0"), "shop 2026-04-02: USD is 0 for 1, not a positive finite rate; nothing was changed"),
        (("2026-04-02", "KZT=1"), "2026-04-02: the base KZT is quoted in itself; the rates of other currencies are"),
        (("2026-04-02", "KZT=2"), "2026-04-02: the base KZT is quoted in itself at 2 for 1; nothing was changed"),
        (("2199-04-02", "USD=475.09"), "shop 2199-04-02: it is dated 2199-04-02, after 20"),
        (("1948-04-02", "USD=475.09"), "it is dated 1948-04-02, before 1949-01-01, the first possible date"),
    ],
)
async def test_invalid_entry_changes_nothing(
    enter: Enter, store: Store, arguments: tuple[str, ...], problem: str
) -> None:
    """Not even `--accept` publishes it, nor the valid rates beside it."""
    printed = await enter("shop", *arguments, "EUR=551.06", "--accept", status=1)
    assert printed.startswith("error: ")
    assert problem in printed
    assert await store.count("shop") == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("USD",), "'USD' is not a rate like USD=475.09"),
        (
            ("USD=475,09",),
            "or USD=475.09:470/480; decimals follow a point, not a comma",
        ),
        *(
            ((wrong,), f"{wrong!r} is not a rate like USD=475.09, USD=470/480 (buying/selling) or USD=475.09:470/480\n")
            for wrong in ("USD=470/", "USD=/480", "USD=475:", "USD=475:470", "USD=475:470/", "USD=470/475/480")
        ),
        (("USD=n/a",), "has 'n' where a number is expected for USD on 2026-04-02"),
        (("USD=475:n/a",), "has 'n' where a number is expected for the buying rate of USD on 2026-04-02"),
        (("USD=1e3",), "the entered text has '1e3' where a number is expected for USD on 2026-04-02"),
        (("USD=1", "USD=2"), "the entered text quotes USD twice for 2026-04-02"),
        (("UDS=475.09",), "the entered text has 'UDS', which is not a currency code of ISO 4217; nothing was changed"),
    ],
)
async def test_wrong_argument_is_a_wrong_usage(
    enter: Enter, store: Store, arguments: tuple[str, ...], problem: str
) -> None:
    """The status is 2; nothing is stored, nor the valid rates beside it."""
    printed = await enter("shop", "2026-04-02", *arguments, "EUR=551.06", "--accept", status=2)
    assert printed.startswith("error: ")
    assert problem in printed
    assert await store.count("shop") == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("shop",), "nothing to enter: give a date and rates like USD=475.09, or --csv FILE"),
        (("shop", "2026-04-02"), "nothing to enter"),
        (("shop", "2026-04-02", "--csv", "x.csv"), "--csv takes the place of a date and rates"),
        (("shop", "2026-04-02", "USD=1", "--by", "a\nb"), "--by must be a name of at most 80 printable characters"),
        (("nbk", "2026-04-02", "USD=1"), 'nbk is polled: rates are entered for sources with adapter = "manual" (shop)'),
        (("shops", "2026-04-02", "USD=1"), "unknown source 'shops'"),
    ],
)
async def test_wrong_usage(enter: Enter, arguments: tuple[str, ...], problem: str) -> None:
    assert problem in await enter(*arguments, status=2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("date,code\n", "the entered text lacks the columns value; it has 'date', 'code'; nothing was changed"),
        ("date;code;value\n", "lacks the columns code, date, value; it has 'date;code;value'; nothing was changed"),
        ("Date,Code,Value\n", "lacks the columns code, date, value; it has 'Date', 'Code', 'Value'; nothing"),
        ("date,code,value\n2026-04-02,KZT,1\n2026-04-02,USD,475.09\n", "the base KZT is quoted in itself; the rates"),
        ("date,code,value\n2026-04-02,USD,475.09", "the entered text is truncated: the last line has no line break"),
        ("date,code,value\n", "the entered text has no rates"),
        ("date,code,buying\n", "the entered text lacks the columns value"),
        (
            "date,code,value,buying\n2026-04-02,USD,475,470\n",
            "has only one of buying and selling for USD on 2026-04-02",
        ),
        (
            "date,code,value,buying,selling\n2026-04-02,USD,475,470,480\n2026-04-02,EUR,,,\n",
            "has '' where a number is expected for EUR on 2026-04-02; nothing was changed",
        ),
        *(
            (
                f"date,code,value,{name}\n2026-04-02,JPY,310,100\n",
                (
                    f"the entered text has the unknown column {name!r}; "
                    "known are date, code, value, buying, selling and nominal"
                ),
            )
            for name in ("Nominal", "units", " nominal", "")
        ),
        (
            "date,code,value\n1999-01-04,USD,84\n2026-04-02,USD,475.09\n",
            "has dates from 1999-01-04 to 2026-04-02, more than 400 days apart; split it; nothing was changed",
        ),
        ("date,code,value\n02.04.2026,USD,475.09\n", "has '02.04.2026' where a date is expected"),
        ("date,code,value\n" + "2026-04-02,USD,475.09\n" * 250_000, "bytes (client.max_bytes); split it"),
    ],
)
async def test_invalid_file(enter: Enter, tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "rates.csv").write_text(content)
    assert problem in await enter("shop", "--csv", str(tmp_path / "rates.csv"), status=1)


async def test_file_may_span_400_days(enter: Enter, store: Store, tmp_path: Path) -> None:
    file, first = tmp_path / "rates.csv", day(2) - timedelta(days=400)
    file.write_text(f"date,code,value\n{first},USD,475.09\n{day(2)},USD,475.09\n")
    await enter("shop", "--csv", str(file), "--accept")
    assert await store.count("shop") == 2


async def test_store_that_fails_halfway_is_reported_and_repaired(
    enter: Enter, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is stored before any rate; the error names what is published; a repetition completes the entry."""
    await enter("shop", "2026-04-01", "USD=478.77")
    file = tmp_path / "rates.csv"
    file.write_text("date,code,value\n2026-04-02,EUR,551.06\n2026-04-03,USD,4750.90\n")
    save, raws = Store.save, list[bytes | None]()

    async def failing(self: Store, *fixings: Fixing, **arguments: Any) -> Any:
        raws.append(await self.raw("shop", sha256(file.read_bytes()).hexdigest()))
        if arguments:
            raise StoreError("the store is down")
        return await save(self, *fixings)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "save", failing)
        printed = await enter("shop", "--csv", str(file), "--accept", status=1)
    assert printed == (
        "error: the store is down; dates that are certainly published: 2026-04-02;"
        " run the same command again to publish all\n"
    )
    assert raws == [file.read_bytes()] * 2
    assert await store.fixing("shop", day(3)) is None
    printed = await enter("shop", "--csv", str(file), "--accept")
    assert printed == "shop 2026-04-02: EUR 551.06: already published\nshop 2026-04-03: USD 4750.90: accepted\n"


async def test_missing_file(enter: Enter, tmp_path: Path) -> None:
    printed = await enter("shop", "--csv", str(tmp_path / "none.csv"), status=1)
    assert "cannot be read: No such file or directory" in printed


async def test_commands_that_poll_refuse_it(enter: Enter) -> None:
    """They name the command to use instead."""
    expected = "shop is not polled, its rates are entered by hand; enter them with: python -m service set-rate shop"
    assert expected in await enter("shop", name="poll", status=2)
    assert expected in await enter("shop", "--from", "2026-04-01", name="backfill", status=2)


async def test_running_service_shows_entered_rates(enter: Enter, start: Started, banks: Banks) -> None:
    """It is never polled, and neither overdue, late nor incomplete; no bank is requested for it."""
    await enter("shop", "2026-04-01", "USD=478.77", "EUR=548.62")
    client = await start()
    await enter("shop", "2026-04-02", "USD=475.09", "--by", "Aigul <b>")

    async def shown() -> Any:
        ticker = await json_of(client, "/v1/ticker")
        return ticker if ticker["quotes"][0]["rate"] == 475.09 else None

    ticker = await until(shown)
    assert ticker["status"] == "current"
    assert [(quote["code"], quote["rate"], quote["date"]) for quote in ticker["quotes"]] == [
        ("USD", 475.09, "2026-04-02"),
        ("EUR", 548.62, "2026-04-01"),
    ]
    (source,) = (await json_of(client, "/v1/sources"))["sources"]
    expected = {"state": "current", "error": None, "last_poll": None, "next_poll": None, "expected_until": None}
    assert source | expected == source
    assert {"missed", "due"}.isdisjoint(source["days"]["states"])
    for name in ("source:shop", "ticker:shop", "polling"):
        assert (await check_of(client, name))["status"] == "pass"
    assert 'ticker_polls_total{result="failed",source="shop"}' not in await text_of(client, "/metrics")
    assert 'ticker_source_missing{source="shop"} 0.0' in await text_of(client, "/metrics")
    status = await page_of(client, "/status")
    assert "Next poll" not in status.to_text()
    assert not banks.requests


async def test_rates_that_were_not_entered_yet_are_named_as_such(enter: Enter, start: Started) -> None:
    """With the command that enters them: no source is asked for them."""
    client = await start()
    entry = "enter them with: python -m service set-rate shop DATE CODE=VALUE"
    problem = json.loads(await text_of(client, "/v1/ticker/shop", 503))
    assert problem["detail"] == f"No rates have been entered yet; {entry}"
    check = json.loads(await text_of(client, "/health", 503))
    assert check["checks"]["ticker:shop"][0]["output"] == f"ticker shop: no rates have been entered yet; {entry}"
    (source,) = check["checks"]["source:shop"]
    assert (source["status"], source["observedValue"]) == ("pass", "empty")
    assert f"ticker 'shop' has no rates yet; {entry}" in await enter("shop", name="show", status=1)
    page = await page_of(client, "/status?lang=en")
    badge = select_one(page, ".source .badge")
    assert " ".join(badge.to_text().split()) == "\N{EN DASH} no rates yet"
    assert entry in page.to_text()


async def test_commands_show_entered_rates_without_a_service(enter: Enter, banks: Banks) -> None:
    """No bank is polled for them."""
    await enter("shop", "2026-04-02", "USD=475.09", "EUR=551.06")
    assert re.search(r"USD +475.09 .*2026-04-02 +shop", await enter(name="show"))
    assert re.search(r"shop +Shop +KZT +current +2026-04-02", await enter(name="sources"))
    listed = await enter("--markdown", name="sources")
    assert "- **Polled**: never; its rates are entered with `set-rate`" in listed
    assert "| [`shop`](#shop) | Shop | KZT | — | at no set times | — | — | never |" in listed


async def test_receipt_names_who_entered_it(enter: Enter, start: Started) -> None:
    """The name is text, not HTML. The receipt has the entered text instead of a bank's response."""
    await enter("shop", "2026-04-02", "USD=475.10", "--by", "Boris")
    await enter("shop", "2026-04-02", "USD=475.09", "--by", "Aigul <b>")
    client = await start()
    receipt = await json_of(client, "/v1/fixings/shop/2026-04-02")
    assert (receipt["entered_by"], receipt["url"]) == ("Aigul <b>", "")
    assert [earlier["entered_by"] for earlier in receipt["revisions"]] == ["Boris"]
    text = await text_of(client, receipt["raw"])
    assert text == "date,code,value\n2026-04-02,USD,475.09\n"
    assert receipt["digest"] == sha256(text.encode()).hexdigest()
    page = await page_of(client, "/fixings/shop/2026-04-02?lang=en")
    entered = receipt["fetched_at"].replace("T", " ").replace("Z", " UTC")
    shown = " ".join(select_one(page, ".details").to_text().split()).replace(" ,", ",")
    assert f"Entered by hand Aigul <b>, {entered}" in shown
    assert "Fetched" not in shown
    assert "From" not in shown
    whole = page.to_text()
    assert "Entered text" in whole
    assert "bank" not in whole.replace("Other banks", "")
    assert "Boris" in whole


async def test_receipt_of_a_bank_names_nobody(settings: Settings, start: Started, banks: Banks) -> None:
    """Its document has no such field, neither for itself nor for earlier versions."""
    banks.published["nbk"] = {day(2): {"USD": "475.09", "EUR": "551.06"}}
    ticker = settings.tickers[0].model_copy(update={"sources": ("nbk",)})
    values = {name: getattr(settings, name) for name in Settings.model_fields}
    client = await start(Settings(**values | {"tickers": (ticker,)}))
    await until_ready(client)
    assert "entered_by" not in await text_of(client, "/v1/fixings/nbk/2026-04-02")


async def test_source_with_a_window_can_be_late(settings: Settings) -> None:
    """Without one its rates hold until they are replaced."""
    source, now = settings.sources["shop"], datetime(2026, 4, 9, 4, tzinfo=UTC)
    assert freshness(source, day(2), now) is Freshness.CURRENT
    daily = settings.sources["nbk"].model_copy(update={"adapter": "manual"})
    assert freshness(daily, day(2), now) is Freshness.STALE
    assert freshness(daily, date(2026, 4, 9), now) is Freshness.CURRENT


def test_url_of_a_manual_source_may_have_a_query(tmp_path: Path) -> None:
    """It is only shown; no request appends a path to it, or fills in a date."""
    path = tmp_path / "shop.toml"
    path.write_text(f'{CONFIG}url = "https://shop.example/rates?city=almaty"\n')
    assert validate(load(path, environ={})).sources["shop"].url == "https://shop.example/rates?city=almaty"
    path.write_text(f'{CONFIG}url = "https://shop.example/{{date}}"\n')
    with pytest.raises(SettingsError, match=r"sources\.shop\.url: must not have a placeholder: it is only shown"):
        load(path, environ={})


def test_only_a_manual_source_needs_no_url(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(CONFIG.replace('adapter = "manual"', 'adapter = "nbk"'))
    with pytest.raises(SettingsError, match=r"sources\.shop: url is required"):
        load(path, environ={})
    path.write_text(CONFIG.replace('adapter = "manual"', 'adapter = "manul"\nurl = "https://shop.example"'))
    with pytest.raises(SettingsError, match=r"sources\.shop\.adapter: unknown adapter .*manual\)"):
        validate(load(path, environ={}))
