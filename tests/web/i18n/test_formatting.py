"""Visible and accessible texts of a snapshot."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from service.domain.change import Trend
from service.domain.fixing import Quotation, Series
from service.domain.snapshot import Point, Quote, Snapshot, Status
from service.settings import TickerSettings
from service.web.i18n.formatting import QuoteText, TickerText, quote_text, spark_text, ticker_text
from service.web.i18n.locale import language
from tests.support.fixings import day, fixing, series
from tests.support.snapshots import CBR, KZT, NBK, NOW, SETTINGS, snapshot_of

NB, NARROW = "\u00a0", "\u202f"
BANK = "National Bank of Kazakhstan"
QUOTE = Quote(
    code="USD",
    rate=Decimal("475.09"),
    previous=Decimal("478.77"),
    change=Decimal("-3.68"),
    percent=Decimal("-0.77"),
    direction=Trend.DOWN,
    date=day(2),
    previous_date=day(1),
    source="nbk",
    choice=1,
)
UP = replace(QUOTE, percent=Decimal("1.35"), direction=Trend.UP)
FLAT = replace(QUOTE, percent=Decimal("0.00"), direction=Trend.FLAT)
UNKNOWN = replace(QUOTE, previous=None, change=None, percent=None, direction=None, previous_date=None)


def texts_of(quote: Quote, lang: str = "en", base: str = "KZT") -> QuoteText:
    snapshot = Snapshot("kzt", base, Status.CURRENT, False, day(2), datetime.now(UTC), None, (quote,))
    return quote_text(quote, snapshot, SETTINGS, language(lang))


def all_texts(snapshot: Snapshot, lang: str = "en") -> tuple[TickerText, dict[str, QuoteText]]:
    """Return the texts of a ticker, and those of its quotes by currency."""
    return ticker_text(snapshot, SETTINGS, language(lang)), {
        quote.code: quote_text(quote, snapshot, SETTINGS, language(lang)) for quote in snapshot.quotes
    }


@pytest.mark.parametrize(
    ("lang", "short", "long"),
    [("en", "1 Apr 2026", "1 April 2026"), ("ru", f"1 апр. 2026{NARROW}г.", f"1 апреля 2026{NARROW}г.")],
)
def test_quote_of_another_day_has_its_own_date(lang: str, short: str, long: str) -> None:
    text = texts_of(replace(QUOTE, date=day(1)), lang)
    assert text.own_date == short
    assert text.sentence == f"{texts_of(QUOTE, lang).sentence}, {long}"
    assert texts_of(QUOTE, lang).own_date == ""


@pytest.mark.parametrize(
    ("lang", "up", "down", "flat", "none"),
    [
        (
            "en",
            "US dollar, up 1.35 percent against the tenge",
            "US dollar, down 0.77 percent against the tenge",
            "US dollar, unchanged against the tenge",
            "US dollar, change unknown",
        ),
        (
            "ru",
            "доллар США, рост на 1,35 процента к тенге",
            "доллар США, снижение на 0,77 процента к тенге",
            "доллар США, без изменений по отношению к тенге",
            "доллар США, изменение неизвестно",
        ),
        (
            "kk",
            "АҚШ доллары, теңгеге қатысты 1,35 пайызға өсті",
            "АҚШ доллары, теңгеге қатысты 0,77 пайызға төмендеді",
            "АҚШ доллары, теңгеге қатысты өзгерген жоқ",
            "АҚШ доллары, өзгерісі белгісіз",
        ),
    ],
)
def test_sentence_describes_the_change(lang: str, up: str, down: str, flat: str, none: str) -> None:
    """The direction is a word instead of a sign; an unknown change is named as such."""
    assert [texts_of(quote, lang).sentence for quote in (UP, QUOTE, FLAT, UNKNOWN)] == [up, down, flat, none]


@pytest.mark.parametrize(
    ("lang", "base", "sentence"),
    [
        ("en", "RUB", "US dollar, down 0.77 percent against the Russian ruble"),
        ("en", "EUR", "US dollar, down 0.77 percent against the euro"),
        ("en", "SEK", "US dollar, down 0.77 percent against the Swedish krona"),
        ("ru", "RUB", "доллар США, снижение на 0,77 процента к рублю"),
        ("ru", "EUR", "доллар США, снижение на 0,77 процента к евро"),
        ("ru", "SEK", "доллар США, снижение на 0,77 процента к валюте SEK"),
        ("kk", "RUB", "АҚШ доллары, рубльге қатысты 0,77 пайызға төмендеді"),
        ("kk", "EUR", "АҚШ доллары, еуроға қатысты 0,77 пайызға төмендеді"),
        ("kk", "SEK", "АҚШ доллары, SEK валютасына қатысты 0,77 пайызға төмендеді"),
    ],
)
def test_base_has_the_grammatical_case_of_the_sentence(lang: str, base: str, sentence: str) -> None:
    """A base without translated forms is named by its code, without a wrong ending."""
    assert texts_of(QUOTE, lang, base).sentence == sentence


@pytest.mark.parametrize(
    ("base", "en", "ru", "kk"),
    [
        (
            "KZT",
            "Exchange rate changes against the tenge",
            "Изменение курсов валют к тенге",
            "Валюта бағамдарының теңгеге қатысты өзгерісі",
        ),
        (
            "EUR",
            "Exchange rate changes against the euro",
            "Изменение курсов валют к евро",
            "Валюта бағамдарының еуроға қатысты өзгерісі",
        ),
    ],
)
def test_label_names_the_base(base: str, en: str, ru: str, kk: str) -> None:
    """In the visitor's language."""
    snapshot = replace(snapshot_of(nbk=NBK), base=base)
    assert [all_texts(snapshot, lang)[0].label for lang in ("en", "ru", "kk")] == [en, ru, kk]


@pytest.mark.parametrize(
    ("lang", "up", "down", "flat", "name", "label"),
    [
        ("it", "+1,35%", "-0,77%", "0,00%", "dollaro statunitense", "tenge kazako"),
        ("ja", "+1.35%", "-0.77%", "0.00%", "米ドル", "カザフスタン テンゲ"),
        ("zh-Hant", "+1.35%", "-0.77%", "0.00%", "美元", "哈薩克堅戈"),
    ],
)
def test_untranslated_language_uses_names_and_values(
    lang: str, up: str, down: str, flat: str, name: str, label: str
) -> None:
    """No English sentence is built around foreign names."""
    sentences = [texts_of(quote, lang).sentence for quote in (UP, QUOTE, FLAT, UNKNOWN)]
    assert sentences == [f"{name} {up}", f"{name} {down}", f"{name} {flat}", f"{name} —"]
    text = all_texts(snapshot_of(nbk=NBK), lang)[0]
    assert (text.label, text.lang, text.words) == (label, lang, "en")


@pytest.mark.parametrize(
    ("lang", "source", "details"),
    [
        ("en", BANK, "US Dollar: 475.09 KZT (2 Apr 2026), previously 478.77 (1 Apr 2026). {source}"),
        (
            "ru",
            "Национальный Банк Казахстана",
            f"доллар США: 475,09 KZT (2 апр. 2026{NARROW}г.), ранее 478,77 (1 апр. 2026{NARROW}г.). {{source}}",
        ),
        (
            "kk",
            "Қазақстан Ұлттық Банкі",
            f"АҚШ доллары: 475,09 KZT (2026{NARROW}ж. 2 сәу.), бұрын 478,77 (2026{NARROW}ж. 1 сәу.). {{source}}",
        ),
        ("it", BANK, "dollaro statunitense: 475,09 KZT (2 apr 2026) / 478,77 (1 apr 2026). {source}"),
    ],
)
def test_details_have_both_rates_both_dates_and_the_source(lang: str, source: str, details: str) -> None:
    """The values behind the percentage are shown; a preferred source needs no note."""
    text = texts_of(QUOTE, lang)
    assert (text.details, text.source, text.note) == (details.format(source=source), source, "")


def test_details_without_previous_rate_have_one_date() -> None:
    """Unknown values are dashes."""
    text = texts_of(UNKNOWN)
    assert (text.rate, text.previous, text.change, text.percent) == ("475.09", "—", "—", "—")
    assert (text.date, text.previous_date) == ("2 Apr 2026", "")
    assert text.details == "US Dollar: 475.09 KZT (2 Apr 2026). National Bank of Kazakhstan"


@pytest.mark.parametrize(
    ("lang", "note", "euro"),
    [
        (
            "en",
            "Bank of Russia, cross rate, fallback source",
            "Euro: 555.556 KZT (2 Apr 2026), previously 562.500 (1 Apr 2026). {note}",
        ),
        (
            "ru",
            "Банк России, кросс-курс, резервный источник",
            f"евро: 555,556 KZT (2 апр. 2026{NARROW}г.), ранее 562,500 (1 апр. 2026{NARROW}г.). {{note}}",
        ),
        (
            "kk",
            "Ресей Банкі, кросс-бағам, қосалқы дереккөз",
            f"Еуро: 555,556 KZT (2026{NARROW}ж. 2 сәу.), бұрын 562,500 (2026{NARROW}ж. 1 сәу.). {{note}}",
        ),
        (
            "it",
            "Bank of Russia, cross rate, fallback source",
            "euro: 555,556 KZT (2 apr 2026) / 562,500 (1 apr 2026). {note}",
        ),
    ],
)
def test_cross_rate_of_a_fallback_source_has_both_notes(lang: str, note: str, euro: str) -> None:
    """The note, the details and the sentence name the source and the kind of rate."""
    _, texts = all_texts(snapshot_of(cbr=CBR), lang)
    assert {text.note for text in texts.values()} == {note}
    assert texts["EUR"].details == euro.format(note=note)
    assert all(text.sentence.endswith(f" ({note})") for text in texts.values())


@pytest.mark.parametrize(
    ("choice", "en", "ru", "kk"),
    [
        (2, "fallback source", "резервный источник", "қосалқы дереккөз"),
        (3, "fallback source", "резервный источник", "қосалқы дереккөз"),
        (4, "fallback source", "резервный источник", "қосалқы дереккөз"),
        (5, "fallback source", "резервный источник", "қосалқы дереккөз"),
    ],
)
def test_each_fallback_source_is_marked(choice: int, en: str, ru: str, kk: str) -> None:
    """A direct rate of a fallback source has only that note."""
    fallback = replace(QUOTE, source="cbr", choice=choice)
    assert [texts_of(fallback, lang).note for lang in ("en", "ru", "kk")] == [
        f"Bank of Russia, {en}", f"Банк России, {ru}", f"Ресей Банкі, {kk}"
    ]  # fmt: skip


def test_cross_rate_of_the_preferred_source_has_one_note() -> None:
    """It is not a fallback source."""
    assert texts_of(replace(QUOTE, source="cbr", cross=True)).note == "Bank of Russia, cross rate"


@pytest.mark.parametrize(
    ("lang", "sentence", "name", "reason"),
    [
        ("en", "US dollar, change unknown", "US Dollar", "not available"),
        ("kk", "АҚШ доллары, өзгерісі белгісіз", "АҚШ доллары", "дерек жоқ"),
        ("it", "dollaro statunitense —", "dollaro statunitense", "not available"),
    ],
)
def test_unquoted_currency_is_not_available(lang: str, sentence: str, name: str, reason: str) -> None:
    """Dashes, no dates, and the reason."""
    text = texts_of(Quote("USD"), lang)
    assert (text.sentence, text.details, text.source) == (f"{sentence} ({reason})", f"{name}: {reason}", "")
    assert (text.rate, text.previous, text.change, text.percent, text.date) == ("—", "—", "—", "—", "")


@pytest.mark.parametrize(
    ("lang", "status", "name"),
    [
        ("en", "sample data", "National Bank of Kazakhstan (sample data)"),
        ("ru", "демонстрационные данные", "Национальный Банк Казахстана (демо)"),
        ("kk", "үлгі деректер", "Қазақстан Ұлттық Банкі (үлгі)"),
    ],
)
def test_sample_data_is_marked_once(lang: str, status: str, name: str) -> None:
    """By the status and the name of the source; a note on the fallback source would add nothing."""
    known = series(fixing(day(1), "recorded", USD="478.77"), fixing(day(2), "recorded", USD="475.09"))
    snapshot = snapshot_of(now=datetime(2026, 7, 1, 4, 0, tzinfo=UTC), recorded=known)
    text, quotes = all_texts(snapshot, lang)
    assert (text.status, text.footer.partition(f". {name}")[1:]) == (status, (f". {name}", ""))
    assert (quotes["USD"].note, quotes["USD"].source) == ("", name)


@pytest.mark.parametrize(
    ("lang", "statuses"),
    [
        ("en", ["up to date", "delayed", "outdated", "sample data"]),
        ("ru", ["актуально", "обновление задерживается", "данные устарели", "демонстрационные данные"]),
        ("kk", ["өзекті", "жаңарту кешігуде", "деректер ескірген", "үлгі деректер"]),
        ("it", ["up to date", "delayed", "outdated", "sample data"]),
    ],
)
def test_status_is_translated(lang: str, statuses: list[str]) -> None:
    """Or English, in languages without translation."""
    snapshot = snapshot_of(nbk=NBK)
    assert [all_texts(replace(snapshot, status=status), lang)[0].status for status in Status] == statuses


@pytest.mark.parametrize(
    ("lang", "footer"),
    [
        ("en", "2 April 2026 compared with 1 April 2026. National Bank of Kazakhstan"),
        ("en-US", "April 2, 2026 compared with April 1, 2026. National Bank of Kazakhstan"),
        (
            "ru",
            f"2 апреля 2026{NARROW}г. по сравнению с 1 апреля 2026{NARROW}г. Национальный Банк Казахстана",
        ),
        ("kk", f"2026{NARROW}ж. 2 сәуір, салыстыру күні: 2026{NARROW}ж. 1 сәуір. Қазақстан Ұлттық Банкі"),
        ("it", "2 aprile 2026 / 1 aprile 2026. National Bank of Kazakhstan"),
    ],
)
def test_footer_names_both_compared_dates(lang: str, footer: str) -> None:
    """If all rates have the same two dates."""
    assert all_texts(snapshot_of(nbk=NBK), lang)[0].footer == footer


NEWER = fixing(day(3), USD="470.00", EUR="551.06", RUB="5.87", GBP="631.87", CNY="69.12")
DOLLAR = series(fixing(day(1), USD="478.77"), fixing(day(2), USD="475.09"))


@pytest.mark.parametrize(
    ("series_by_source", "footer"),
    [
        # The dollar is the National Bank's, the others are the Bank of Russia's, of the same two dates.
        (
            {"nbk": DOLLAR, "cbr": CBR},
            "2 April 2026 compared with 1 April 2026. National Bank of Kazakhstan; Bank of Russia",
        ),
        # The dollar is of the 3rd, the others are of the 2nd.
        (
            {"nbk": series(fixing(day(2), USD="475.09"), fixing(day(3), USD="470.00")), "cbr": CBR},
            "3 April 2026. National Bank of Kazakhstan; Bank of Russia",
        ),
        # Of one date, compared with different ones: the pound was not quoted on the 1st.
        (
            {"nbk": series(
                fixing(day(31, 3), USD="470.00", EUR="540.00", RUB="5.80", GBP="630.00", CNY="69.00"),
                fixing(day(1), USD="478.77", EUR="548.62", RUB="5.87", CNY="69.31"),
                NBK.fixings[1],
            )},
            "2 April 2026. National Bank of Kazakhstan",
        ),
        # The pound has no previous rate.
        (
            {"nbk": series(fixing(day(1), USD="478.77", EUR="548.62", RUB="5.87", CNY="69.31"), NBK.fixings[1])},
            "2 April 2026. National Bank of Kazakhstan",
        ),
        ({"nbk": series(*NBK.fixings, NEWER)}, "3 April 2026 compared with 2 April 2026. National Bank of Kazakhstan"),
    ],
)  # fmt: skip
def test_footer_of_different_dates_names_only_the_latest(series_by_source: dict[str, Series], footer: str) -> None:
    """One comparison would not hold for all rates; each source is named once."""
    assert all_texts(snapshot_of(KZT, NOW, **series_by_source))[0].footer == footer


def test_date_line_shows_the_date_of_the_latest_rates() -> None:
    """The short date, for narrow layouts."""
    assert all_texts(snapshot_of(nbk=series(*NBK.fixings, NEWER)))[0].date == "3 Apr 2026"


@pytest.mark.parametrize(
    ("rate", "previous", "expected"),
    [
        ("475.09", "478.77", ("475.09", "478.77", "-3.68")),
        ("26.7960", "26.8000", ("26.7960", "26.8000", "-0.0040")),
        ("475.1", "478.77", ("475.10", "478.77", "-3.67")),
        ("475", "478", ("475", "478", "-3")),
        ("0.0000123", "0.0000120", ("0.0000123", "0.0000120", "+0.0000003")),
        ("12142.10", "12100.00", ("12,142.10", "12,100.00", "+42.10")),
    ],
)
def test_published_rates_keep_all_digits(rate: str, previous: str, expected: tuple[str, str, str]) -> None:
    """Trailing zeros too; both rates and the change have the same number of decimals."""
    new, old = Decimal(rate), Decimal(previous)
    text = texts_of(replace(QUOTE, rate=new, previous=old, change=new - old))
    assert (text.rate, text.previous, text.change) == expected


@pytest.mark.parametrize(
    ("rate", "previous", "expected"),
    [
        ("6.476012848", "6.440000000", ("6.47601", "6.44000", "+0.03601")),
        ("555.5555556", "562.5", ("555.556", "562.500", "-6.944")),
        ("12345.67891", "12000.00000", ("12,345.68", "12,000.00", "+345.68")),
        ("1234567.891", "1234000.000", ("1,234,567.89", "1,234,000.00", "+567.89")),
        ("0.03968253968", "0.04000000000", ("0.0396825", "0.0400000", "-0.0003175")),
        ("500", "500", ("500.000", "500.000", "0.000")),
        ("1.000000001", "1.000000003", ("1.00000", "1.00000", "0.00000")),
        ("1.000000003", "1.000000001", ("1.00000", "1.00000", "0.00000")),
    ],
)
def test_cross_rate_has_six_significant_digits(rate: str, previous: str, expected: tuple[str, str, str]) -> None:
    """More digits would suggest a precision that was not published; at least two decimals are shown."""
    new, old = Decimal(rate), Decimal(previous)
    text = texts_of(replace(QUOTE, rate=new, previous=old, change=new - old, cross=True))
    assert (text.rate, text.previous, text.change) == expected


def test_inverse_rate_has_six_significant_digits() -> None:
    """The ECB publishes dollars for a euro; euros for a dollar are computed."""
    ticker = TickerSettings(id="eur", base="EUR", currencies=("USD",), sources=("ecb",))
    ecb = series(
        fixing(day(1), "ecb", "EUR", Quotation.INVERSE, USD="1.1525"),
        fixing(day(2), "ecb", "EUR", Quotation.INVERSE, USD="1.1599"),
    )
    _, texts = all_texts(snapshot_of(ticker, ecb=ecb))
    assert (texts["USD"].rate, texts["USD"].previous) == ("0.862143", "0.867679")


@pytest.mark.parametrize(
    ("show", "spoken_values"),
    [
        (("percent",), ""),
        (("rate", "percent"), ", 475.09"),
        (("rate", "change", "percent"), ", 475.09, -3.68"),
        (("rate",), ", 475.09"),
    ],
)
def test_accessible_label_has_all_visible_values(show: tuple[str, ...], spoken_values: str) -> None:
    """The sentence, then each value that it does not contain."""
    assert texts_of(QUOTE).accessible_label(show) == f"US dollar, down 0.77 percent against the tenge{spoken_values}"


@pytest.mark.parametrize(
    ("lang", "label"),
    [
        ("en", "3 publications from 31 March 2026 to 2 April 2026: lowest 470.10, highest 481.54"),
        (
            "ru",
            (f"3 публикации с 31 марта 2026{NARROW}г. по 2 апреля 2026{NARROW}г.: минимум 470,10, максимум 481,54"),
        ),
        (
            "kk",
            f"3 жарияланым, 2026{NARROW}ж. 31 наурыз – 2026{NARROW}ж. 2 сәуір: ең төмені 470,10, ең жоғарысы 481,54",
        ),
        ("it", "31 marzo 2026 – 2 aprile 2026: 470,10 – 481,54"),
        ("zh", "2026年3月31日至2026年4月2日共3次发布：最低470.10，最高481.54"),
    ],
)
def test_sparkline_has_a_label(lang: str, label: str) -> None:
    """The number of publications, the dates and the range of rates; only values in untranslated languages."""
    rates = (Point(day(31, 3), Decimal("470.1")), Point(day(1), Decimal("481.54")), Point(day(2), Decimal("475.09")))
    assert spark_text(replace(QUOTE, history=rates), language(lang)) == label


def test_sparkline_label_keeps_all_published_digits() -> None:
    """Also those that only one of the two rates has; a cross rate has six significant digits."""
    rates = tuple(Point(day(number), Decimal(rate)) for number, rate in ((1, "470.1234"), (2, "475"), (3, "476")))
    assert spark_text(replace(QUOTE, history=rates), language("en")).endswith(": lowest 470.1234, highest 476.0000")
    derived = replace(QUOTE, rate=Decimal("6.476012848"), cross=True, history=(Point(day(1), Decimal("6.123456789")),))
    assert spark_text(derived, language("en")).endswith(": lowest 6.12346, highest 6.12346")
