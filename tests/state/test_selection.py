"""Selection of quotes: settings and fixings in, a snapshot out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Quotation, Series
from service.domain.periods import Period
from service.domain.snapshot import HISTORY, Confidence, Point, Quote, Snapshot, Status
from service.settings import TickerSettings
from service.state.memory import MemoryState, witness_of
from service.state.selection import Evidence, publications, snapshot
from service.validation.cross_check import CrossCheck
from service.validation.quarantine import QuarantinedFixing
from tests.support.fixings import day, fixing, series
from tests.support.snapshots import CBR, KZT, NBK, NOW, SETTINGS, snapshot_of


def percents(built: Snapshot) -> dict[str, str | None]:
    return {quote.code: str(quote.percent) if quote.percent is not None else None for quote in built.quotes}


def test_quotes_come_from_the_preferred_source() -> None:
    """The rates of 2 April 2026: direct, current, with both dates."""
    built = snapshot_of(nbk=NBK, cbr=CBR)
    assert percents(built) == {"USD": "-0.77", "EUR": "0.44", "RUB": "0.00", "GBP": "-0.02", "CNY": "-0.27"}
    assert (built.status, built.recorded, built.as_of) == (Status.CURRENT, False, day(2))
    assert built.next_update == datetime(2026, 4, 2, 10, 30, tzinfo=UTC)
    dollar = built.quotes[0]
    assert (dollar.source, dollar.choice, dollar.cross) == ("nbk", 1, False)
    assert (dollar.date, dollar.previous_date) == (day(2), day(1))
    assert (dollar.rate, dollar.previous, dollar.change) == (Decimal("475.09"), Decimal("478.77"), Decimal("-3.68"))


def test_percentages_of_the_design_example() -> None:
    """Fixings whose exact changes are +1.35, +2.68, 0.00, +4.11 and +0.25 % yield these percentages."""
    old = fixing(day(1), USD="400.00", EUR="500.00", RUB="5.00", GBP="600.00", CNY="80.00")
    new = fixing(day(2), USD="405.40", EUR="513.40", RUB="5.00", GBP="624.66", CNY="80.20")
    built = snapshot_of(nbk=series(old, new))
    assert percents(built) == {"USD": "1.35", "EUR": "2.68", "RUB": "0.00", "GBP": "4.11", "CNY": "0.25"}


def test_quotes_of_a_fallback_source_are_marked() -> None:
    """Without the first source every quote is a cross of the next one, including the rouble."""
    built = snapshot_of(cbr=CBR)
    assert {(quote.source, quote.choice, quote.cross) for quote in built.quotes} == {("cbr", 2, True)}
    # 80 / 0.16 = 500, 81 / 0.162 = 500; 90 / 0.162 = 555.56; 1 / 0.16 = 6.25, 1 / 0.162 = 6.17
    assert percents(built) == {"USD": "0.00", "EUR": "-1.23", "RUB": "-1.23", "GBP": "-1.23", "CNY": "-1.23"}


def test_stale_source_is_skipped_until_it_recovers() -> None:
    """After three missed publications the next source is used; a new fixing makes the first one preferred again."""
    old = series(*(fixing(day(number, 3), USD=f"47{number}.00") for number in (12, 13)))
    cbr = snapshot_of(nbk=old, cbr=CBR)
    assert (cbr.quotes[0].source, cbr.quotes[0].choice) == ("cbr", 2)
    assert cbr.quotes[0].reason == "nbk is stale, its latest rates are of 2026-03-13"
    assert cbr.quotes[1].reason == "nbk does not quote it"
    recovered = snapshot_of(nbk=NBK, cbr=CBR)
    assert {(quote.source, quote.reason) for quote in recovered.quotes} == {("nbk", None)}


def test_repeated_rates_are_stale() -> None:
    """The same rates on four working days: the next source is used although the dates are recent."""
    repeated = [replace(NBK.fixings[1], date=day(number, 3)) for number in (27, 28, 29, 30, 31)]
    frozen = series(*repeated, replace(repeated[0], date=day(1)))
    two_missed = snapshot_of(now=datetime(2026, 3, 30, 15, 0, tzinfo=UTC), nbk=frozen, cbr=CBR)
    assert ({quote.source for quote in two_missed.quotes}, two_missed.status) == ({"nbk"}, Status.LATE)
    three_missed = snapshot_of(now=datetime(2026, 3, 31, 15, 0, tzinfo=UTC), nbk=frozen, cbr=CBR)
    assert {quote.source for quote in three_missed.quotes} == {"cbr"}


def test_failover_affects_only_the_missing_currency() -> None:
    """A currency that the bank stopped quoting comes from the next source, the others stay."""
    without = fixing(day(1), USD="475.09", EUR="551.06", GBP="631.87", CNY="69.12")
    older = fixing(day(20, 3), USD="470.00", EUR="550.06", RUB="5.80", GBP="630.87", CNY="69.02")
    built = snapshot_of(nbk=series(older, without, NBK.fixings[1]), cbr=CBR)
    assert {quote.code: quote.source for quote in built.quotes if quote.source != "nbk"} == {}
    latest = fixing(day(2), USD="476.00", EUR="550.00", GBP="630.00", CNY="69.00")
    built = snapshot_of(nbk=series(older, without, latest), cbr=CBR)
    assert {quote.code: quote.source for quote in built.quotes if quote.source != "nbk"} == {"RUB": "cbr"}


def test_selection_has_the_status_of_its_own_quotes() -> None:
    """A currency that the bank has dropped makes the whole ticker stale, and no strip without it."""
    dropped = fixing(day(20, 3), USD="470.00", EUR="550.06", RUB="5.80")
    ticker = KZT.model_copy(update={"currencies": ("USD", "RUB", "XAU"), "sources": ("nbk",)})
    new = [replace(each, rates={"USD": each.rates["USD"]}) for each in NBK.fixings]
    built = snapshot(ticker, SETTINGS.polled, {"nbk": series(dropped, *new)}, NOW)
    assert built is not None
    assert (built.status, built.as_of) == (Status.STALE, day(2))
    assert built.quotes[1].reason == "nbk has not quoted it since 2026-03-20"
    expected = {
        ("USD",): Status.CURRENT,
        ("RUB",): Status.STALE,
        ("RUB", "USD"): Status.STALE,
        ("XAU",): Status.STALE,  # without a quote: as the ticker
    }
    for codes, status in expected.items():
        selected = built.select(codes)
        assert (selected.status, selected.as_of, selected.recorded) == (status, day(2), False)
        assert tuple(quote.code for quote in selected.quotes) == codes


def test_selection_without_sample_data_is_not_marked() -> None:
    sample = fixing(day(1), "recorded", USD="478.77", RUB="5.87"), fixing(day(2), "recorded", USD="475.09", RUB="5.90")
    built = snapshot_of(
        nbk=series(*(fixing(each.date, USD=str(each.rates["USD"].value)) for each in sample)), recorded=series(*sample)
    )
    assert (built.status, built.recorded) == (Status.RECORDED, True)
    for code, status in (("USD", Status.CURRENT), ("RUB", Status.RECORDED)):
        selected = built.select([code])
        assert (selected.status, selected.recorded) == (status, status is Status.RECORDED)


def test_fallback_is_never_older_than_what_it_replaces() -> None:
    """A holiday by decree that no calendar has: the first choice stays, as stale, and the date never goes back."""
    without_decree = SETTINGS.polled["nbk"].model_copy(update={"calendar": ""})
    nbk = series(fixing(date(2026, 12, 31), USD="500.00"), fixing(date(2027, 1, 1), USD="505.00"))
    cbr = series(
        fixing(date(2026, 12, 30), "cbr", "RUB", USD="80.0000", KZT=("16.0000", 100)),
        fixing(date(2026, 12, 31), "cbr", "RUB", USD="81.0000", KZT=("16.0000", 100)),
    )

    def dollar(*known: Fixing) -> tuple[Quote, Status]:
        banks = {"nbk": nbk, "cbr": Series((*cbr.fixings, *known))}
        now = datetime(2027, 1, 8, 16, 0, tzinfo=UTC)
        built = snapshot(KZT, {**SETTINGS.polled, "nbk": without_decree}, banks, now)
        assert built is not None
        return built.quotes[0], built.status

    quote, status = dollar()
    assert (quote.source, quote.date, status) == ("nbk", date(2027, 1, 1), Status.STALE)
    assert quote.reason is not None
    assert "cbr is older than nbk, its latest rates are of 2026-12-31" in quote.reason
    newer = fixing(date(2027, 1, 9), "cbr", "RUB", USD="82.0000", KZT=("16.0000", 100))
    quote, status = dollar(newer)
    assert (quote.source, quote.date, status) == ("cbr", date(2027, 1, 9), Status.CURRENT)


def test_manual_rate_in_force_replaces_a_stale_source() -> None:
    """Also if it was entered before that source ended: it is in force until the next one."""
    sources = SETTINGS.polled | {"cbr": SETTINGS.polled["cbr"].model_copy(update={"adapter": "manual", "window": None})}
    nbk = series(*(fixing(day(number, 3), USD=f"50{number}.00") for number in (10, 11)))
    manual = series(fixing(day(9, 3), "cbr", "KZT", USD="502.00"))
    built = snapshot(KZT, sources, {"nbk": nbk, "cbr": manual}, NOW)
    assert built is not None
    assert (built.quotes[0].source, built.quotes[0].rate) == ("cbr", Decimal("502.00"))


def test_history_has_no_unconfirmed_jump() -> None:
    """A rate of another order that was reversed, e.g. from an import, is no point of the sparkline."""
    values = [f"{475 + number % 5}.10" for number in range(20)]
    values[11] = "4750.00"
    known = series(*(fixing(day(1) - timedelta(days=19 - number), USD=value) for number, value in enumerate(values)))
    quote = snapshot_of(nbk=known).quotes[0]
    assert [str(point.rate) for point in quote.history] == [value for value in values if value != "4750.00"]


def test_late_source_is_still_preferred() -> None:
    """Late rates are shown and marked as late."""
    evening = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)
    built = snapshot_of(now=evening, nbk=NBK, cbr=CBR)
    assert (built.quotes[0].source, built.status) == ("nbk", Status.LATE)


def test_latest_rates_are_shown_if_all_sources_are_stale() -> None:
    """Rates stay visible, marked as stale; older sample data is not preferred."""
    summer = datetime(2026, 7, 1, 4, 0, tzinfo=UTC)
    older = series(fixing(day(30, 3), "recorded", USD="470.00"), fixing(day(31, 3), "recorded", USD="471.00"))
    built = snapshot_of(now=summer, nbk=NBK, recorded=older)
    assert (built.quotes[0].source, built.status, built.recorded) == ("nbk", Status.STALE, False)


def test_sample_data_is_marked() -> None:
    """Sample data is the last fallback, with its date and the next publication of the first source."""
    known = series(fixing(day(1), "recorded", USD="478.77"), fixing(day(2), "recorded", USD="475.09"))
    built = snapshot_of(now=datetime(2026, 7, 1, 4, 0, tzinfo=UTC), recorded=known)
    assert (built.status, built.recorded, built.as_of) == (Status.RECORDED, True, day(2))
    assert built.next_update == datetime(2026, 7, 1, 10, 30, tzinfo=UTC)


def test_weekend_keeps_the_last_change() -> None:
    """Friday's rates are repeated on Saturday, Sunday and Monday: Friday's change and date are kept."""
    friday = fixing(day(4), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    carry_overs = [
        fixing(day(number), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12") for number in (5, 6)
    ]
    built = snapshot_of(now=datetime(2026, 4, 5, 9, 0, tzinfo=UTC), nbk=series(*NBK.fixings, friday, *carry_overs))
    dollar = built.quotes[0]
    assert (str(dollar.percent), dollar.date, dollar.previous_date) == ("1.03", day(4), day(2))
    assert percents(built)["RUB"] == "0.00"
    assert built.status is Status.CURRENT


def test_snapshot_is_emptied_when_all_rates_are_retracted() -> None:
    """Retracted rates disappear from an existing snapshot; without one none is built."""
    before = snapshot_of(nbk=NBK)
    known = {"nbk": Series()}
    now = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
    emptied = snapshot(SETTINGS.tickers[0], SETTINGS.polled, known, now, before=before)
    assert emptied
    assert {(quote.rate, quote.percent, quote.source) for quote in emptied.quotes} == {(None, None, None)}
    assert (emptied.status, emptied.as_of) == (Status.STALE, before.as_of)
    assert emptied.quotes[0].reason
    assert snapshot(SETTINGS.tickers[0], SETTINGS.polled, known, now) is None
    again = snapshot(SETTINGS.tickers[0], SETTINGS.polled, {"nbk": NBK}, now, before=emptied)
    assert again == snapshot(SETTINGS.tickers[0], SETTINGS.polled, {"nbk": NBK}, now)


def test_currency_without_a_source_has_an_empty_quote() -> None:
    """The ECB does not quote the rouble: the quote keeps its position, with a reason and no rate."""
    eur = TickerSettings(id="eur", base="EUR", currencies=("USD", "RUB"), sources=("ecb",))
    ecb = series(
        fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.1525"),
        fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1599"),
    )
    built = snapshot_of(eur, ecb=ecb)
    assert str(built.quotes[0].percent) == "-0.64"
    assert built.quotes[1] == Quote("RUB", reason="ecb does not quote it")


def test_currency_added_in_a_carry_over_has_a_rate() -> None:
    """The other currencies repeat their rates; the new one gets its first rate from this fixing."""
    built = snapshot_of(nbk=series(fixing(day(1), USD="475.09"), fixing(day(2), USD="475.09", EUR="551.06")))
    dollar, euro = built.quotes[0], built.quotes[1]
    assert (dollar.date, dollar.percent) == (day(1), None)
    assert (str(euro.rate), euro.date, euro.percent) == ("551.06", day(2), None)


def test_single_fixing_has_a_rate_and_no_change() -> None:
    """A quote without a previous fixing has no percentage and no direction."""
    quote = snapshot_of(nbk=series(NBK.fixings[1])).quotes[0]
    assert (str(quote.rate), quote.percent, quote.direction, quote.previous_date) == ("475.09", None, None, None)


def test_no_fixings_no_snapshot() -> None:
    """Nothing is shown if nothing is known."""
    assert snapshot(KZT, SETTINGS.polled, {}, NOW) is None


@pytest.mark.parametrize(("effective", "as_of"), [("latest", day(3)), ("today", day(2))])
def test_tomorrows_or_todays_rates(effective: str, as_of: object) -> None:
    """The latest published rates are shown, or the ones in force if the ticker is set so."""
    tomorrow = fixing(day(3), USD="470.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    ticker = KZT.model_copy(update={"effective": effective})
    assert snapshot_of(ticker, nbk=series(*NBK.fixings, tomorrow)).as_of == as_of


def every_day(count: int) -> Series:
    """Return the publications of `count` days up to 2 April, the dollar rising by 0.01 each, weekends carried over."""
    days = [day(2) - timedelta(number) for number in reversed(range(count))]
    working = [sum(on.weekday() < 5 for on in days[: number + 1]) for number in range(count)]
    return series(
        *(
            fixing(on, USD=f"{400 + number // 100}.{number % 100:02}", EUR="500.10")
            for on, number in zip(days, working, strict=True)
        )
    )


@pytest.mark.parametrize("days", [1, 2, 7, 20, 60, 90])
def test_history_has_the_last_publications(days: int) -> None:
    """The history has the last 30 publications, oldest first, without carry-overs; the last is the quote's."""
    known = every_day(days)
    dollar = snapshot_of(nbk=known).quotes[0]
    expected = [Point(item.date, item.rates["USD"].value) for item in known.fixings if item.date.weekday() < 5]
    if known.fixings[0].date.weekday() >= 5:  # the first fixing has no predecessor to repeat
        expected.insert(0, Point(known.fixings[0].date, known.fixings[0].rates["USD"].value))
    assert list(dollar.history) == expected[-HISTORY:]
    assert len(dollar.history) <= HISTORY == 30
    assert dollar.history[-1] == (dollar.date, dollar.rate)
    assert [point.rate for point in dollar.history[-2:-1]] == [dollar.previous] * (days > 1)


def test_history_has_one_source_and_the_base_of_the_ticker() -> None:
    """Sources are never mixed; crosses are computed for each publication as for the rate itself."""
    built = snapshot_of(
        cbr=CBR, nbk=series(fixing(day(1, 3), USD="470.00", EUR="548.62"), fixing(day(2, 3), USD="471.00"))
    )
    for quote in built.quotes:
        assert quote.source == "cbr"
        assert quote.history == ((day(1), quote.previous), (day(2), quote.rate))
    assert built.quotes[1].history == ((day(1), Decimal("562.5")), (day(2), Decimal("555.5555556")))


def test_history_skips_publications_without_the_currency() -> None:
    """Dates on which the bank omitted the currency are left out and not interpolated."""
    known = series(*every_day(4).fixings, fixing(day(3), USD="410.00", EUR="501.00", GBP="600.00"))
    dollar, _, rouble, pound, _ = snapshot_of(nbk=known).quotes
    assert len(dollar.history) == 5
    assert pound.history == ((day(3), Decimal("600.00")),)
    assert rouble.history == ()


def test_history_has_no_rates_that_are_not_in_force() -> None:
    """A ticker that shows the rates in force has no later ones in its history."""
    ticker = KZT.model_copy(update={"effective": "today"})
    known = series(*NBK.fixings, fixing(day(3), USD="470.00"))
    dates = [[point.date for point in snapshot_of(shown, nbk=known).quotes[0].history] for shown in (ticker, KZT)]
    assert dates == [[day(1), day(2)], [day(1), day(2), day(3)]]


def test_source_without_rates_in_force_yet_is_named() -> None:
    """Its only rates are tomorrow's: the next source is used, and the reason accuses no bank."""
    ticker = KZT.model_copy(update={"effective": "today"})
    built = snapshot_of(ticker, nbk=series(fixing(day(3), USD="470.00")), cbr=CBR)
    assert built.quotes[0].source == "cbr"
    assert built.quotes[0].reason == "nbk's rates are not in force yet"


def test_rates_in_force_are_not_late_once_tomorrows_are_known() -> None:
    """In the evening tomorrow's rates are known but not shown yet: nothing is missing, and midnight comes next."""
    evening = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)
    tomorrow = fixing(day(3), USD="470.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    built = snapshot_of(KZT.model_copy(update={"effective": "today"}), evening, nbk=series(*NBK.fixings, tomorrow))
    assert (built.as_of, built.status) == (day(2), Status.CURRENT)
    assert built.next_update == datetime(2026, 4, 2, 19, 0, tzinfo=UTC)  # in Almaty
    later = fixing(day(6), USD="471.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    built = snapshot_of(
        KZT.model_copy(update={"effective": "today"}), evening + timedelta(hours=5), nbk=series(tomorrow, later)
    )
    assert (built.as_of, built.next_update) == (day(3), datetime(2026, 4, 5, 19, 0, tzinfo=UTC))
    # A source of higher priority, whose first rates are tomorrow's, replaces the one in use then.
    built = snapshot_of(KZT.model_copy(update={"effective": "today"}), evening, nbk=series(tomorrow), cbr=CBR)
    assert (built.quotes[0].source, built.next_update) == ("cbr", datetime(2026, 4, 2, 19, 0, tzinfo=UTC))


def evidence(
    held: Mapping[str, Sequence[Fixing]] | None = None, accepted: Sequence[Fixing] = (), **known: Series
) -> Evidence:
    """Return a cross-check of the ticker's sources; `held` are quarantined rates by source."""
    polled = SETTINGS.polled
    witnesses = {
        key: witness_of(polled[key], key, known.get(key, Series()), (held or {}).get(key, ())) for key in polled
    }
    return Evidence(CrossCheck(witnesses, accepted={"nbk": accepted}))


def compared(held: Mapping[str, Sequence[Fixing]] | None = None, **known: Series) -> Snapshot:
    """Return the tenge ticker with its sources compared with each other."""
    built = snapshot(KZT, SETTINGS.polled, known, NOW, evidence(held, (), **known))
    assert built is not None
    return built


MOSCOW = series(
    fixing(day(1), "cbr", "RUB", USD="81.5600", EUR="93.4600", GBP="107.6600", CNY="11.8070", KZT=("17.0358", 100)),
    fixing(day(2), "cbr", "RUB", USD="80.9300", EUR="93.8700", GBP="107.6400", CNY="11.7750", KZT=("17.0358", 100)),
)


def test_quote_has_the_confidence_of_its_rate() -> None:
    """Confirmed if another bank has it at the same level; unconfirmed if no other bank quotes it."""
    assert {quote.confidence for quote in snapshot_of(nbk=NBK).quotes} == {Confidence.UNCONFIRMED}
    assert {quote.confidence for quote in compared(nbk=NBK, cbr=MOSCOW).quotes} == {Confidence.CONFIRMED}
    without = series(*(moscow.without({"CNY"}) for moscow in MOSCOW.fixings))
    by_code = {quote.code: quote.confidence for quote in compared(nbk=NBK, cbr=without).quotes}
    assert by_code.pop("CNY") is Confidence.UNCONFIRMED
    assert set(by_code.values()) == {Confidence.CONFIRMED}


def test_diverging_source_is_replaced_by_the_next() -> None:
    """Only for the rate that other banks refute; the reason names the last date before the divergence."""
    wrong = replace(NBK.fixings[1], rates={**NBK.fixings[1].rates, "USD": fixing(day(2), USD="520.00").rates["USD"]})
    built = compared(nbk=series(NBK.fixings[0], wrong), cbr=MOSCOW)
    dollar, euro = built.quotes[:2]
    assert (dollar.source, dollar.choice, dollar.date) == ("cbr", 2, day(2))
    assert dollar.reason == "nbk diverges from other banks since 2026-04-01"
    assert (euro.source, euro.reason, euro.confidence) == ("nbk", None, Confidence.CONFIRMED)


def test_diverging_only_source_shows_its_last_confirmed_rate() -> None:
    """It has its own date and is marked as diverging."""
    wrong = replace(NBK.fixings[1], rates={**NBK.fixings[1].rates, "USD": fixing(day(2), USD="520.00").rates["USD"]})
    known = {"nbk": series(NBK.fixings[0], wrong), "cbr": MOSCOW}
    single_source = KZT.model_copy(update={"sources": ("nbk",)})
    built = snapshot(single_source, SETTINGS.polled, known, NOW, evidence(nbk=known["nbk"], cbr=known["cbr"]))
    assert built is not None
    dollar = built.quotes[0]
    assert (str(dollar.rate), dollar.date, dollar.percent) == ("478.77", day(1), None)
    assert (dollar.source, dollar.confidence) == ("nbk", Confidence.DIVERGING)


def test_source_with_a_refuted_quarantined_rate_is_replaced() -> None:
    """The quarantined rate is not published but shows that the source has diverged."""
    published = (
        replace(NBK.fixings[1], date=day(1)),
        fixing(day(2), EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"),
    )
    held = {"nbk": [fixing(day(2), USD="4750.90")]}
    built = compared(held, nbk=series(replace(NBK.fixings[0], date=day(31, 3)), *published), cbr=MOSCOW)
    dollar, euro = built.quotes[:2]
    assert (dollar.source, dollar.reason) == ("cbr", "nbk diverges from other banks since 2026-04-01")
    assert euro.source == "nbk"


def test_quarantined_rate_of_a_cross_is_refuted() -> None:
    """The quarantined fixing lacks the rate of the ticker's base; the published fixing of that date has it."""
    moscow_first = KZT.model_copy(update={"sources": ("cbr", "nbk")})
    memory = MemoryState(SETTINGS.model_copy(update={"tickers": (moscow_first,)}))
    memory.reset("nbk", NBK.fixings)
    memory.reset("cbr", (MOSCOW.fixings[0], MOSCOW.fixings[1].without({"USD"})))
    held = fixing(day(2), "cbr", "RUB", USD="809.30")
    memory.quarantine["cbr"].waiting[day(2)] = QuarantinedFixing(held, ("USD moved",), NOW)
    (built,) = memory.refresh(NOW)
    assert (built.quotes[0].source, built.quotes[0].reason) == ("nbk", "cbr diverges from other banks since 2026-04-01")
    assert built.quotes[1].source == "cbr"


def test_percentage_beyond_the_limit_is_not_shown_without_confirmation() -> None:
    """However the rate got into the series, the publication before it is shown, marked as diverging."""
    jump = series(*NBK.fixings, replace(NBK.fixings[1], date=day(3), rates=fixing(day(3), USD="950.18").rates))
    dollar = snapshot_of(nbk=jump).quotes[0]
    assert (str(dollar.rate), str(dollar.percent), dollar.date) == ("475.09", "-0.77", day(2))
    assert dollar.confidence is Confidence.DIVERGING


def test_percentage_beyond_the_limit_is_shown_if_both_are_confirmed() -> None:
    """Another bank has both the rate before the jump and the one after it."""
    later = fixing(day(3), USD="643.75", EUR="746.69", RUB="7.95", GBP="856.18", CNY="93.66")
    moscow = fixing(
        day(3), "cbr", "RUB", USD="80.9300", EUR="93.8700", GBP="107.6400", CNY="11.7750", KZT=("12.5720", 100)
    )
    known = {"nbk": series(*NBK.fixings, later), "cbr": series(*MOSCOW.fixings, moscow)}
    dollar = compared(nbk=known["nbk"], cbr=known["cbr"]).quotes[0]
    assert (dollar.source, str(dollar.percent), dollar.confidence) == ("nbk", "35.50", Confidence.CONFIRMED)
    unchanged = replace(moscow, rates={**moscow.rates, "KZT": MOSCOW.fixings[1].rates["KZT"]})
    assert compared(nbk=known["nbk"], cbr=series(*MOSCOW.fixings, unchanged)).quotes[0].source == "cbr"


def test_percentage_beyond_the_limit_is_shown_if_accepted() -> None:
    """An operator's decision applies to this rate alone."""
    jump = fixing(day(3), USD="950.18")
    known = series(*NBK.fixings, jump)
    accepted = snapshot(KZT, SETTINGS.polled, {"nbk": known}, NOW, evidence(accepted=[jump], nbk=known))
    assert accepted is not None
    assert (str(accepted.quotes[0].rate), str(accepted.quotes[0].percent)) == ("950.18", "100.00")
    other = evidence(accepted=[fixing(day(3), USD="950.19")], nbk=known)
    refused = snapshot(KZT, SETTINGS.polled, {"nbk": known}, NOW, other)
    assert refused is not None
    assert str(refused.quotes[0].rate) == "475.09"


BELARUS = series(
    fixing(date(2016, 7, 4), BYN=("169.10", 10_000), USD="338.87"), fixing(date(2016, 7, 5), BYN="168.90", USD="338.49")
)


@pytest.mark.parametrize(("factor", "percent"), [("10000", "-0.12"), (None, None)])
def test_change_across_a_break_is_exact_or_not_shown(factor: str | None, percent: str | None) -> None:
    """The history is converted to today's unit too, or omits rates in another unit."""
    ticker = KZT.model_copy(update={"currencies": ("BYN",)})
    redenomination = Break("BYN", date(2016, 7, 5), Decimal(factor) if factor else None)
    found = snapshot(ticker, SETTINGS.polled, {"nbk": BELARUS}, NOW, Evidence(breaks={"nbk": [redenomination]}))
    assert found is not None
    (quote,) = found.quotes
    assert (str(quote.rate), quote.date) == ("168.90", date(2016, 7, 5))
    assert (str(quote.percent) if quote.percent is not None else None) == percent
    assert [str(point.rate) for point in quote.history] == (["169.1", "168.90"] if factor else ["168.90"])


def test_publications_have_the_changes_of_their_dates() -> None:
    """Newest first, as many as requested; the first known one has no change and is left out."""
    nbk = series(*(fixing(day(number), USD=f"4{number}0.00", EUR="500.00") for number in (1, 2, 3)))
    built = snapshot_of(nbk=nbk)
    found = publications(built, {"nbk": nbk}, Evidence(), 10)
    assert [(publication.date, [quote.code for quote in publication.quotes]) for publication in found] == [
        (day(3), ["USD", "EUR"]),
        (day(2), ["USD", "EUR"]),
    ]
    assert [quote.percent for quote in found[1].quotes] == [Decimal("2.44"), Decimal("0.00")]
    assert found[0].quotes[0] == replace(built.quotes[0], history=(), changes={})
    assert found[0].updated_at == nbk.fixings[-1].fetched_at
    assert publications(built, {"nbk": nbk}, Evidence(), 1) == found[:1]


def test_publication_with_an_unconfirmed_jump_has_no_change() -> None:
    """A change beyond the limit is shown nowhere, also not among earlier publications."""
    rates = ("400.00", "401.00", "600.00", "601.00")
    nbk = series(*(fixing(day(number), USD=rate) for number, rate in enumerate(rates, 1)))
    shown = [
        quote.percent
        for publication in publications(snapshot_of(nbk=nbk), {"nbk": nbk}, Evidence(), 10)
        for quote in publication.quotes
    ]
    assert all(percent is None or abs(percent) < 1 for percent in shown)
    assert Decimal("0.25") in shown


def test_longer_change_contains_no_unconfirmed_jump() -> None:
    """What must not be shown as the change of a day is not shown as that of a week either."""
    nbk = series(*(fixing(day(number, 3), USD=rate) for number, rate in enumerate(("400", "401", "600", "601"), 20)))
    jump = snapshot_of(now=datetime(2026, 3, 23, 15, tzinfo=UTC), nbk=nbk).quotes[0]
    assert (jump.rate, jump.changes[Period.WEEK]) == (Decimal(601), None)
    later = series(*nbk.fixings, *(fixing(day(number, 3), USD=f"60{number - 22}.50") for number in (27, 30)))
    built = snapshot_of(now=datetime(2026, 3, 30, 15, tzinfo=UTC), nbk=later).quotes[0]
    week = built.changes[Period.WEEK]
    assert week is not None
    assert (week.date, week.percent) == (day(23, 3), Decimal("1.25"))
    accepted = Evidence(jump=Fraction(1))
    shown = snapshot(KZT, SETTINGS.polled, {"nbk": later}, datetime(2026, 4, 20, tzinfo=UTC), accepted)
    assert shown is not None
    assert shown.quotes[0].changes[Period.WEEK] == week


def test_rate_that_other_banks_refute_is_no_beginning_of_a_period() -> None:
    """The publication before it is compared."""
    nbk = series(*(fixing(day(number, 3), USD=rate) for number, rate in ((24, "470"), (25, "520"), (31, "475"))))
    cbr = series(
        *(fixing(day(number, 3), "cbr", "RUB", USD=rate, KZT=("16", 100)) for number, rate in
          ((24, "75.2"), (25, "75.3"), (26, "75.4"), (31, "76"))),
    )  # fmt: skip
    both, now = {"nbk": nbk, "cbr": cbr}, datetime(2026, 4, 1, 4, tzinfo=UTC)
    check = CrossCheck({key: witness_of(SETTINGS.sources[key], key, known) for key, known in both.items()})
    assert check.assess("nbk", nbk.fixings[1], "USD", "KZT").refuted
    ticker = KZT.model_copy(update={"currencies": ("USD",), "sources": ("nbk", "cbr")})
    shown = snapshot(ticker, SETTINGS.polled, both, now, Evidence(check))
    assert shown is not None
    week = shown.quotes[0].changes[Period.WEEK]
    assert week is not None
    assert (week.date, week.percent) == (day(24, 3), Decimal("1.06"))


def test_carry_over_is_no_publication() -> None:
    """A weekend, on which a bank repeats its rates, has no entry."""
    rates = ("400.00", "410.00", "410.00", "420.00")
    nbk = series(*(fixing(day(number), USD=rate, EUR=rate) for number, rate in enumerate(rates, 1)))
    found = publications(snapshot_of(nbk=nbk), {"nbk": nbk}, Evidence(), 10)
    assert [publication.date for publication in found] == [day(4), day(2)]
