"""Settings and fixings in, a snapshot out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from service.domain.breaks import Break
from service.domain.fixing import Fixing, Quotation, Series
from service.domain.snapshot import HISTORY, Confidence, Point, Quote, Snapshot, Status
from service.settings import TickerSettings
from service.state.memory import MemoryState, witness_of
from service.state.selection import Evidence, snapshot
from service.validation.cross_check import CrossCheck
from service.validation.quarantine import QuarantinedFixing
from tests.support.fixings import day, fixing, series
from tests.support.snapshots import CBR, KZT, NBK, NOW, SETTINGS, snapshot_of


def percents(made: Snapshot) -> dict[str, str | None]:
    return {quote.code: str(quote.percent) if quote.percent is not None else None for quote in made.quotes}


def test_a_ticker_from_its_first_source() -> None:
    """The figures of 2 April 2026, direct, current, with both dates."""
    made = snapshot_of(nbk=NBK, cbr=CBR)
    assert percents(made) == {"USD": "-0.77", "EUR": "0.44", "RUB": "0.00", "GBP": "-0.02", "CNY": "-0.27"}
    assert (made.status, made.recorded, made.as_of) == (Status.CURRENT, False, day(2))
    assert made.next_update == datetime(2026, 4, 2, 10, 30, tzinfo=UTC)
    dollar = made.quotes[0]
    assert (dollar.source, dollar.choice, dollar.cross) == ("nbk", 1, False)
    assert (dollar.date, dollar.previous_date) == (day(2), day(1))
    assert (dollar.rate, dollar.previous, dollar.change) == (Decimal("475.09"), Decimal("478.77"), Decimal("-3.68"))


def test_the_inspiring_strip() -> None:
    """Fixings whose true changes are +1.35, +2.68, 0.00, +4.11 and +0.25 % give just these."""
    old = fixing(day(1), USD="400.00", EUR="500.00", RUB="5.00", GBP="600.00", CNY="80.00")
    new = fixing(day(2), USD="405.40", EUR="513.40", RUB="5.00", GBP="624.66", CNY="80.20")
    made = snapshot_of(nbk=series(old, new))
    assert percents(made) == {"USD": "1.35", "EUR": "2.68", "RUB": "0.00", "GBP": "4.11", "CNY": "0.25"}


def test_quote_of_a_fallback_source_is_whole_and_marked() -> None:
    """Without the first source every quote is a cross of the next, the rouble too."""
    made = snapshot_of(cbr=CBR)
    assert {(quote.source, quote.choice, quote.cross) for quote in made.quotes} == {("cbr", 2, True)}
    # 80 / 0.16 = 500, 81 / 0.162 = 500; 90 / 0.162 = 555.56; 1 / 0.16 = 6.25, 1 / 0.162 = 6.17
    assert percents(made) == {"USD": "0.00", "EUR": "-1.23", "RUB": "-1.23", "GBP": "-1.23", "CNY": "-1.23"}


def test_a_stale_source_is_passed_over_and_taken_again() -> None:
    """Three missed publications: the next source; with a new fixing the first one is back."""
    old = series(*(fixing(day(number, 3), USD=f"47{number}.00") for number in (12, 13)))
    cbr = snapshot_of(nbk=old, cbr=CBR)
    assert (cbr.quotes[0].source, cbr.quotes[0].choice) == ("cbr", 2)
    assert cbr.quotes[0].reason == "nbk is stale, its latest rates are of 2026-03-13"
    assert cbr.quotes[1].reason == "nbk does not quote it"
    back = snapshot_of(nbk=NBK, cbr=CBR)
    assert {(quote.source, quote.reason) for quote in back.quotes} == {("nbk", None)}


def test_a_frozen_feed_is_as_stale_as_a_silent_one() -> None:
    """The same figures under the dates of four working days: the next source, though the dates are fresh."""
    same = [replace(NBK.fixings[1], date=day(number, 3)) for number in (27, 28, 29, 30, 31)]
    frozen = series(*same, replace(same[0], date=day(1)))
    two_missed = snapshot_of(now=datetime(2026, 3, 30, 15, 0, tzinfo=UTC), nbk=frozen, cbr=CBR)
    assert ({quote.source for quote in two_missed.quotes}, two_missed.status) == ({"nbk"}, Status.LATE)
    three_missed = snapshot_of(now=datetime(2026, 3, 31, 15, 0, tzinfo=UTC), nbk=frozen, cbr=CBR)
    assert {quote.source for quote in three_missed.quotes} == {"cbr"}


def test_a_quote_fails_over_alone() -> None:
    """A currency that the bank no longer quotes comes from the next, the others stay where they are."""
    without = fixing(day(1), USD="475.09", EUR="551.06", GBP="631.87", CNY="69.12")
    older = fixing(day(20, 3), USD="470.00", EUR="550.06", RUB="5.80", GBP="630.87", CNY="69.02")
    made = snapshot_of(nbk=series(older, without, NBK.fixings[1]), cbr=CBR)
    assert {quote.code: quote.source for quote in made.quotes if quote.source != "nbk"} == {}
    latest = fixing(day(2), USD="476.00", EUR="550.00", GBP="630.00", CNY="69.00")
    made = snapshot_of(nbk=series(older, without, latest), cbr=CBR)
    assert {quote.code: quote.source for quote in made.quotes if quote.source != "nbk"} == {"RUB": "cbr"}


def test_late_source_is_still_preferred() -> None:
    """Late figures are shown, and said to be late."""
    evening = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)
    made = snapshot_of(now=evening, nbk=NBK, cbr=CBR)
    assert (made.quotes[0].source, made.status) == ("nbk", Status.LATE)


def test_where_all_are_stale_the_latest_date_is_shown() -> None:
    """Figures stay visible, told as stale; the recorded ones of an earlier date are not preferred."""
    summer = datetime(2026, 7, 1, 4, 0, tzinfo=UTC)
    older = series(fixing(day(30, 3), "recorded", USD="470.00"), fixing(day(31, 3), "recorded", USD="471.00"))
    made = snapshot_of(now=summer, nbk=NBK, recorded=older)
    assert (made.quotes[0].source, made.status, made.recorded) == ("nbk", Status.STALE, False)


def test_recorded_publications_are_marked() -> None:
    """With nothing else the last choice serves, dated, with the next publication of the first."""
    known = series(fixing(day(1), "recorded", USD="478.77"), fixing(day(2), "recorded", USD="475.09"))
    made = snapshot_of(now=datetime(2026, 7, 1, 4, 0, tzinfo=UTC), recorded=known)
    assert (made.status, made.recorded, made.as_of) == (Status.RECORDED, True, day(2))
    assert made.next_update == datetime(2026, 7, 1, 10, 30, tzinfo=UTC)


def test_a_weekend_leaves_the_last_real_change() -> None:
    """Friday's figures under Saturday's, Sunday's and Monday's date: still Friday's change and date."""
    friday = fixing(day(4), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    carried = [
        fixing(day(number), USD="480.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12") for number in (5, 6)
    ]
    made = snapshot_of(now=datetime(2026, 4, 5, 9, 0, tzinfo=UTC), nbk=series(*NBK.fixings, friday, *carried))
    dollar = made.quotes[0]
    assert (str(dollar.percent), dollar.date, dollar.previous_date) == ("1.03", day(4), day(2))
    assert percents(made)["RUB"] == "0.00"
    assert made.status is Status.CURRENT


def test_snapshot_is_emptied_where_nothing_may_be_shown_any_more() -> None:
    """All rates were taken back: what was shown does not stay. Without a snapshot before there is none."""
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


def test_currency_that_no_source_quotes_has_an_empty_quote_with_a_reason() -> None:
    """The ECB has no rouble: the quote keeps its place, without a rate."""
    eur = TickerSettings(id="eur", base="EUR", currencies=("USD", "RUB"), sources=("ecb",))
    ecb = series(
        fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.1525"),
        fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1599"),
    )
    made = snapshot_of(eur, ecb=ecb)
    assert str(made.quotes[0].percent) == "-0.64"
    assert made.quotes[1] == Quote("RUB", reason="ecb does not quote it")


def test_a_currency_that_first_appears_in_a_carry_over_has_a_rate() -> None:
    """The others repeat, so the fixing is no news of them; the new one has its first figure by it."""
    made = snapshot_of(nbk=series(fixing(day(1), USD="475.09"), fixing(day(2), USD="475.09", EUR="551.06")))
    dollar, euro = made.quotes[0], made.quotes[1]
    assert (dollar.date, dollar.percent) == (day(1), None)
    assert (str(euro.rate), euro.date, euro.percent) == ("551.06", day(2), None)


def test_one_fixing_gives_a_rate_and_no_change() -> None:
    """A quote without a predecessor has no percent and no direction."""
    quote = snapshot_of(nbk=series(NBK.fixings[1])).quotes[0]
    assert (str(quote.rate), quote.percent, quote.direction, quote.previous_date) == ("475.09", None, None, None)


def test_nothing_known_gives_no_snapshot() -> None:
    """There is nothing to show, and nothing is made up."""
    assert snapshot(KZT, SETTINGS.polled, {}, NOW) is None


@pytest.mark.parametrize(("effective", "as_of"), [("latest", day(3)), ("today", day(2))])
def test_tomorrows_or_todays_rates(effective: str, as_of: object) -> None:
    """The latest published is shown, or by the ticker's settings the one in force."""
    tomorrow = fixing(day(3), USD="470.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    ticker = KZT.model_copy(update={"effective": effective})
    assert snapshot_of(ticker, nbk=series(*NBK.fixings, tomorrow)).as_of == as_of


def every_day(count: int) -> Series:
    """Return the publications of so many days up to 2 April, the dollar rising by 0.01 each, weekends carried over."""
    days = [day(2) - timedelta(number) for number in reversed(range(count))]
    working = [sum(on.weekday() < 5 for on in days[: number + 1]) for number in range(count)]
    return series(
        *(
            fixing(on, USD=f"{400 + number // 100}.{number % 100:02}", EUR="500.10")
            for on, number in zip(days, working, strict=True)
        )
    )


@pytest.mark.parametrize("days", [1, 2, 7, 20, 60, 90])
def test_a_quote_remembers_its_publications(days: int) -> None:
    """The last 30, oldest first, by the first days of their figures; a carry-over is none; the last is the quote's."""
    known = every_day(days)
    dollar = snapshot_of(nbk=known).quotes[0]
    expected = [Point(one.date, one.rates["USD"].value) for one in known.fixings if one.date.weekday() < 5]
    if known.fixings[0].date.weekday() >= 5:  # nothing is known before it
        expected.insert(0, Point(known.fixings[0].date, known.fixings[0].rates["USD"].value))
    assert list(dollar.history) == expected[-HISTORY:]
    assert len(dollar.history) <= HISTORY == 30
    assert dollar.history[-1] == (dollar.date, dollar.rate)
    assert [point.rate for point in dollar.history[-2:-1]] == [dollar.previous] * (days > 1)


def test_what_is_remembered_is_of_one_source_and_in_the_tickers_base() -> None:
    """Another bank's publications are never mixed in; a cross is worked out for each of them as the rate itself is."""
    made = snapshot_of(
        cbr=CBR, nbk=series(fixing(day(1, 3), USD="470.00", EUR="548.62"), fixing(day(2, 3), USD="471.00"))
    )
    for quote in made.quotes:
        assert quote.source == "cbr"
        assert quote.history == ((day(1), quote.previous), (day(2), quote.rate))
    assert made.quotes[1].history == ((day(1), Decimal("562.5")), (day(2), Decimal("555.5555556")))


def test_what_does_not_quote_a_currency_is_no_publication_of_it() -> None:
    """The dates on which the bank left it out are not there, and nothing is put in their place."""
    known = series(*every_day(4).fixings, fixing(day(3), USD="410.00", EUR="501.00", GBP="600.00"))
    dollar, _, rouble, pound, _ = snapshot_of(nbk=known).quotes
    assert len(dollar.history) == 5
    assert pound.history == ((day(3), Decimal("600.00")),)
    assert rouble.history == ()


def test_what_is_not_in_force_yet_is_not_remembered_either() -> None:
    """A ticker that shows the figures in force has no later ones in their history."""
    ticker = KZT.model_copy(update={"effective": "today"})
    known = series(*NBK.fixings, fixing(day(3), USD="470.00"))
    dates = [[point.date for point in snapshot_of(one, nbk=known).quotes[0].history] for one in (ticker, KZT)]
    assert dates == [[day(1), day(2)], [day(1), day(2), day(3)]]


def test_what_is_in_force_today_is_not_late_when_tomorrows_is_here() -> None:
    """In the evening tomorrow's figures have come, and are not shown yet: nothing is missing."""
    evening = datetime(2026, 4, 2, 15, 0, tzinfo=UTC)
    tomorrow = fixing(day(3), USD="470.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
    made = snapshot_of(KZT.model_copy(update={"effective": "today"}), evening, nbk=series(*NBK.fixings, tomorrow))
    assert (made.as_of, made.status) == (day(2), Status.CURRENT)
    assert made.next_update == datetime(2026, 4, 3, 10, 30, tzinfo=UTC)


def evidence(
    held: Mapping[str, Sequence[Fixing]] | None = None, accepted: Sequence[Fixing] = (), **known: Series
) -> Evidence:
    """Return the sources of the ticker beside each other; `held` are rates in quarantine, by source."""
    polled = SETTINGS.polled
    witnesses = {
        key: witness_of(polled[key], key, known.get(key, Series()), (held or {}).get(key, ())) for key in polled
    }
    return Evidence(CrossCheck(witnesses, accepted={"nbk": accepted}))


def compared(held: Mapping[str, Sequence[Fixing]] | None = None, **known: Series) -> Snapshot:
    """Return the tenge's ticker where each source is compared with the others."""
    made = snapshot(KZT, SETTINGS.polled, known, NOW, evidence(held, (), **known))
    assert made is not None
    return made


MOSCOW = series(
    fixing(day(1), "cbr", "RUB", USD="81.5600", EUR="93.4600", GBP="107.6600", CNY="11.8070", KZT=("17.0358", 100)),
    fixing(day(2), "cbr", "RUB", USD="80.9300", EUR="93.8700", GBP="107.6400", CNY="11.7750", KZT=("17.0358", 100)),
)


def test_quote_has_the_confidence_of_its_rate() -> None:
    """Confirmed by a bank that has it at the same level; unconfirmed where no other bank quotes it."""
    assert {quote.confidence for quote in snapshot_of(nbk=NBK).quotes} == {Confidence.UNCONFIRMED}
    assert {quote.confidence for quote in compared(nbk=NBK, cbr=MOSCOW).quotes} == {Confidence.CONFIRMED}
    without = series(*(one.without({"CNY"}) for one in MOSCOW.fixings))
    by_code = {quote.code: quote.confidence for quote in compared(nbk=NBK, cbr=without).quotes}
    assert by_code.pop("CNY") is Confidence.UNCONFIRMED
    assert set(by_code.values()) == {Confidence.CONFIRMED}


def test_diverging_source_is_replaced_by_the_next() -> None:
    """Only for the rate that other banks refute; the reason names the last date on which it did not diverge."""
    wrong = replace(NBK.fixings[1], rates={**NBK.fixings[1].rates, "USD": fixing(day(2), USD="520.00").rates["USD"]})
    made = compared(nbk=series(NBK.fixings[0], wrong), cbr=MOSCOW)
    dollar, euro = made.quotes[:2]
    assert (dollar.source, dollar.choice, dollar.date) == ("cbr", 2, day(2))
    assert dollar.reason == "nbk diverges from other banks since 2026-04-01"
    assert (euro.source, euro.reason, euro.confidence) == ("nbk", None, Confidence.CONFIRMED)


def test_diverging_source_without_a_replacement_shows_its_last_confirmed_rate() -> None:
    """With its own date, marked as diverging."""
    wrong = replace(NBK.fixings[1], rates={**NBK.fixings[1].rates, "USD": fixing(day(2), USD="520.00").rates["USD"]})
    known = {"nbk": series(NBK.fixings[0], wrong), "cbr": MOSCOW}
    alone = KZT.model_copy(update={"sources": ("nbk",)})
    made = snapshot(alone, SETTINGS.polled, known, NOW, evidence(nbk=known["nbk"], cbr=known["cbr"]))
    assert made is not None
    dollar = made.quotes[0]
    assert (str(dollar.rate), dollar.date, dollar.percent) == ("478.77", day(1), None)
    assert (dollar.source, dollar.confidence) == ("nbk", Confidence.DIVERGING)


def test_source_whose_next_rate_is_held_and_refuted_is_replaced() -> None:
    """The rate in quarantine is not published, and yet shows that the source has moved away."""
    published = (
        replace(NBK.fixings[1], date=day(1)),
        fixing(day(2), EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12"),
    )
    held = {"nbk": [fixing(day(2), USD="4750.90")]}
    made = compared(held, nbk=series(replace(NBK.fixings[0], date=day(31, 3)), *published), cbr=MOSCOW)
    dollar, euro = made.quotes[:2]
    assert (dollar.source, dollar.reason) == ("cbr", "nbk diverges from other banks since 2026-04-01")
    assert euro.source == "nbk"


def test_held_rate_of_a_cross_is_refuted_together_with_what_is_published_of_its_date() -> None:
    """The rate in quarantine has no rate of the ticker's base beside it; the publication of that date has."""
    moscow_first = KZT.model_copy(update={"sources": ("cbr", "nbk")})
    memory = MemoryState(SETTINGS.model_copy(update={"tickers": (moscow_first,)}))
    memory.reset("nbk", NBK.fixings)
    memory.reset("cbr", (MOSCOW.fixings[0], MOSCOW.fixings[1].without({"USD"})))
    held = fixing(day(2), "cbr", "RUB", USD="809.30")
    memory.quarantine["cbr"].waiting[day(2)] = QuarantinedFixing(held, ("USD moved",), NOW)
    (made,) = memory.refresh(NOW)
    assert (made.quotes[0].source, made.quotes[0].reason) == ("nbk", "cbr diverges from other banks since 2026-04-01")
    assert made.quotes[1].source == "cbr"


def test_percentage_beyond_the_limit_is_not_shown_without_confirmation() -> None:
    """Whatever way the rate came into the series: the publication before it is shown, marked as diverging."""
    jump = series(*NBK.fixings, replace(NBK.fixings[1], date=day(3), rates=fixing(day(3), USD="950.18").rates))
    dollar = snapshot_of(nbk=jump).quotes[0]
    assert (str(dollar.rate), str(dollar.percent), dollar.date) == ("475.09", "-0.77", day(2))
    assert dollar.confidence is Confidence.DIVERGING


def test_percentage_beyond_the_limit_is_shown_where_both_rates_are_confirmed() -> None:
    """Another bank has the rate before the jump, and the one after it."""
    later = fixing(day(3), USD="643.75", EUR="746.69", RUB="7.95", GBP="856.18", CNY="93.66")
    moscow = fixing(
        day(3), "cbr", "RUB", USD="80.9300", EUR="93.8700", GBP="107.6400", CNY="11.7750", KZT=("12.5720", 100)
    )
    known = {"nbk": series(*NBK.fixings, later), "cbr": series(*MOSCOW.fixings, moscow)}
    dollar = compared(nbk=known["nbk"], cbr=known["cbr"]).quotes[0]
    assert (dollar.source, str(dollar.percent), dollar.confidence) == ("nbk", "35.50", Confidence.CONFIRMED)
    still = replace(moscow, rates={**moscow.rates, "KZT": MOSCOW.fixings[1].rates["KZT"]})
    assert compared(nbk=known["nbk"], cbr=series(*MOSCOW.fixings, still)).quotes[0].source == "cbr"


def test_percentage_beyond_the_limit_is_shown_where_an_operator_has_accepted_the_rate() -> None:
    """The decision is of this rate, and holds for it alone."""
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
def test_change_across_a_break_is_exact_by_its_factor_or_not_shown(factor: str | None, percent: str | None) -> None:
    """So is the history: in today's unit, or without what is in another one."""
    ticker = KZT.model_copy(update={"currencies": ("BYN",)})
    broken = Break("BYN", date(2016, 7, 5), Decimal(factor) if factor else None)
    found = snapshot(ticker, SETTINGS.polled, {"nbk": BELARUS}, NOW, Evidence(breaks={"nbk": [broken]}))
    assert found is not None
    (quote,) = found.quotes
    assert (str(quote.rate), quote.date) == ("168.90", date(2016, 7, 5))
    assert (str(quote.percent) if quote.percent is not None else None) == percent
    assert [str(point.rate) for point in quote.history] == (["169.1", "168.90"] if factor else ["168.90"])
