"""Numbers, dates and names by CLDR; expected texts are those of ICU, another implementation of the same data."""

import gc
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import pytest
from babel import localedata
from hypothesis import given
from hypothesis import strategies as st

from service.web.i18n.locale import Language, language, negotiate, resolve
from tests.support.fixings import day

NB, NARROW, LEFT = "\u00a0", "\u202f", "\u200e"
"""No-break space, narrow no-break space, left-to-right mark."""
LOCALES = sorted(localedata.locale_identifiers())
DAY = day(2)


def clear_caches() -> None:
    language.cache_clear()
    localedata._cache.clear()


@pytest.fixture
def _empty_caches() -> Iterator[None]:
    """Clear the caches of languages before and after the test."""
    clear_caches()
    yield
    clear_caches()


def language_of(tag: str) -> Language:
    return language(resolve(tag))


@pytest.mark.parametrize(
    ("tag", "up", "down", "flat"),
    [
        ("en", "+1.35%", "-0.77%", "0.00%"),
        ("kk", "+1,35%", "-0,77%", "0,00%"),
        ("ru", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        ("de", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        # The standard requires U+202F before French punctuation; CLDR has it in numbers, but U+00A0 before the sign.
        ("fr", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        ("uz", "+1,35%", "-0,77%", "0,00%"),
        ("zh", "+1.35%", "-0.77%", "0.00%"),
        # ICU has such marks on both sides of the percent sign too; there is no visible difference.
        ("ar", f"{LEFT}+1.35%", f"{LEFT}-0.77%", "0.00%"),
        ("sv", f"+1,35{NB}%", f"\u22120,77{NB}%", f"0,00{NB}%"),
        ("fa", f"{LEFT}+1.35%", f"{LEFT}\u22120.77%", "0.00%"),
        ("tr", "+%1,35", "-%0,77", "%0,00"),
        ("de-CH", "+1.35%", "-0.77%", "0.00%"),
    ],
)
def test_percentage_has_the_format_of_the_language(tag: str, up: str, down: str, flat: str) -> None:
    """Changes have the language's sign, zero has none, all have two decimals."""
    spoken = language_of(tag)
    assert spoken.percent(Decimal("1.35")) == up
    assert spoken.percent(Decimal("-0.77")) == down
    assert spoken.percent(Decimal("0.00")) == spoken.percent(Decimal("-0.00")) == flat
    assert spoken.percent(None) == "—"


@pytest.mark.parametrize("value", ["0.01", "9.99", "35.50", "100.00", "12345.67", "-0.01"])
def test_percentage_is_not_rounded_again(value: str) -> None:
    """It is rounded already, at any size."""
    sign = "" if value.startswith("-") else "+"
    assert language_of("en").percent(Decimal(value)) == f"{sign}{Decimal(value):,}%"


@pytest.mark.parametrize(
    ("tag", "small", "large", "changed"),
    [
        ("en", "475.09", "12,345.60", "-3.68"),
        ("kk", "475,09", f"12{NB}345,60", "-3,68"),
        ("ru", "475,09", f"12{NB}345,60", "-3,68"),
        ("de", "475,09", "12.345,60", "-3,68"),
        ("fr", "475,09", f"12{NARROW}345,60", "-3,68"),
        ("uz", "475,09", f"12{NB}345,60", "-3,68"),
        ("zh", "475.09", "12,345.60", "-3.68"),
        ("ar", "475.09", "12,345.60", f"{LEFT}-3.68"),
        ("sv", "475,09", f"12{NB}345,60", "\u22123,68"),
        ("hi", "475.09", "12,345.60", "-3.68"),
    ],
)
def test_number_has_the_format_of_the_language(tag: str, small: str, large: str, changed: str) -> None:
    """Separators and groups are the language's; decimals and sign are as requested."""
    locale = language_of(tag)
    assert locale.number(Decimal("475.09"), 2) == small
    assert locale.number(Decimal("12345.6"), 2) == large
    assert locale.number(Decimal("-3.68"), 2, signed=True) == changed
    assert locale.number(Decimal("0.00"), 2, signed=True) in ("0.00", "0,00")
    for zero in ("-0.00", "-0.004", "0.004", "-0.0000001"):
        assert locale.number(Decimal(zero), 2, signed=True) in ("0.00", "0,00")
        assert locale.percent(Decimal(zero)) == locale.percent(Decimal(0))
    assert locale.number(Decimal("-0.4"), 0, signed=True) == "0"
    assert locale.number(Decimal("-0.006"), 2, signed=True) == changed.replace("3", "0").replace("68", "01")
    assert locale.number(None, 2) == "—"


@pytest.mark.parametrize(
    ("decimals", "text"), [(0, "1,235"), (1, "1,234.6"), (4, "1,234.5670"), (10, "1,234.5670000000")]
)
def test_number_has_the_requested_decimals(decimals: int, text: str) -> None:
    """Zeros are added and surplus digits rounded."""
    assert language_of("en").number(Decimal("1234.567"), decimals) == text


def test_hindi_groups_by_two_after_the_first_three() -> None:
    """Lakhs are kept when decimals are added to the pattern."""
    assert language_of("hi").number(Decimal("1234567.8"), 2) == "12,34,567.80"


@pytest.mark.usefixtures("_empty_caches")
@pytest.mark.parametrize(
    ("tag", "short", "long"),
    [
        ("en", "2 Apr 2026", "2 April 2026"),
        ("en-US", "Apr 2, 2026", "April 2, 2026"),
        ("en-GB", "2 Apr 2026", "2 April 2026"),
        ("kk", f"2026{NARROW}ж. 2 сәу.", f"2026{NARROW}ж. 2 сәуір"),
        ("ru", f"2 апр. 2026{NARROW}г.", f"2 апреля 2026{NARROW}г."),
        ("de", "2. Apr. 2026", "2. April 2026"),
        ("fr", "2 avr. 2026", "2 avril 2026"),
        ("uz", "2-apr, 2026", "2-aprel, 2026"),
        ("zh", "2026年4月2日", "2026年4月2日"),
        ("ar", "2 أبريل 2026", "2 أبريل 2026"),
        ("sv", "2 apr. 2026", "2 april 2026"),
        ("ko", "2026년 4월 2일", "2026년 4월 2일"),
        ("fa", "2 آوریل 2026", "2 آوریل 2026"),
    ],
)
def test_date_has_the_format_of_the_language(tag: str, short: str, long: str) -> None:
    """Day and month are in the language's order; English has the day first, except in the United States."""
    assert language_of(tag).date(DAY) == short
    assert language_of(tag).long_date(DAY) == long
    assert language_of(tag).date(None) == ""


@pytest.mark.parametrize(
    ("tag", "dollar", "tenge"),
    [
        ("en", "US Dollar", "Kazakhstani Tenge"),
        ("kk", "АҚШ доллары", "Қазақстан теңгесі"),
        ("ru", "доллар США", "казахский тенге"),
        ("de", "US-Dollar", "Kasachischer Tenge"),
        ("fr", "dollar des États-Unis", "tenge kazakh"),
        ("uz", "AQSH dollari", "Qozog‘iston tengesi"),
        ("zh", "美元", "哈萨克斯坦坚戈"),
        ("ar", "دولار أمريكي", "تينغ كازاخستاني"),
    ],
)
def test_currency_has_its_cldr_name(tag: str, dollar: str, tenge: str) -> None:
    """An unknown code is its own name."""
    locale = language_of(tag)
    assert (locale.name("USD"), locale.name("KZT"), locale.name("XYZ")) == (dollar, tenge, "XYZ")


@pytest.mark.parametrize(
    ("tag", "direction", "words", "sentences"),
    [
        ("en", "ltr", "en", True),
        ("en-US", "ltr", "en", True),
        ("kk", "ltr", "kk", True),
        ("ru-KZ", "ltr", "ru", True),
        ("de", "ltr", "de", True),
        ("de-AT", "ltr", "de", True),
        ("it", "ltr", "en", False),
        ("zh", "ltr", "zh", True),
        ("zh-Hant-TW", "ltr", "en", False),
        ("uz-Cyrl", "ltr", "en", False),
        ("ar", "rtl", "ar", True),
        ("he", "rtl", "en", False),
    ],
)
def test_language_has_direction_and_translations(tag: str, direction: str, words: str, sentences: bool) -> None:
    """Untranslated languages use English texts, without sentences."""
    locale = language_of(tag)
    assert (locale.tag, locale.dir, locale.words_tag, locale.spoken) == (tag, direction, words, sentences)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("kk", "kk"),
        ("KK", "kk"),
        ("kk-KZ", "kk-KZ"),
        ("kk_KZ", "kk-KZ"),
        ("kk-kz-x-private", "kk-KZ"),
        ("kk-Cyrl-KZ-u-nu-latn", "kk-Cyrl-KZ"),
        ("ru-u-ca-gregory", "ru"),
        ("de-1996", "de"),
        ("sl-rozaj-biske-1994", "sl"),
        ("zh-TW", "zh-Hant-TW"),
        ("uz-Cyrl", "uz-Cyrl"),
    ],
)
def test_tag_resolves_to_the_nearest_cldr_locale(tag: str, expected: str) -> None:
    """Case and separator are ignored; unknown subtags are dropped from the end."""
    assert resolve(tag) == expected


@pytest.mark.parametrize(
    "tag",
    [
        "", "-", "--", "*", "zzz", "tlh", "english", "root", "root-x", "x-private", "i-klingon", "12", "kk ", " kk",
        "kk;q=1", "қаз", "ＫＫ", "../../etc/passwd", "\x00", "kk\n", "k" * 10_000, "a-" * 10_000,
    ],
)  # fmt: skip
def test_invalid_tag_falls_back_to_english(tag: str) -> None:
    """Unknown and malformed tags are no error: the rates are shown anyway."""
    assert resolve(tag) == "en"


@pytest.mark.parametrize("tag", ["en@x", "kk@\x01", 'ca-ES@"><script>'])
def test_resolved_tag_contains_no_client_input(tag: str) -> None:
    """A tag is written into `lang` and XML and is part of cache keys."""
    assert re.fullmatch("[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", resolve(tag))


@pytest.mark.usefixtures("_empty_caches")
@given(st.text(max_size=50) | st.text("akKzruRUen-_@.", max_size=50))
def test_any_text_resolves_to_a_language(tag: str) -> None:
    """It can format a percentage."""
    assert language_of(tag).percent(Decimal("1.35"))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("kk", "kk"),
        ("kk-KZ,kk;q=0.9,ru;q=0.8,en;q=0.7", "kk-KZ"),
        ("ru;q=0.5, kk", "kk"),
        ("ru;q=0.5,kk;q=0.50,de;q=0.4", "ru"),
        ("de;q=0.001, fr;q=0.000", "de"),
        ("ru ; q=0.3 ,\tkk; q=0.4", "kk"),
        ("ru;q=1.000,kk;q=1", "ru"),
        ("tlh, ru;q=0.1", "ru"),
        ("*, ru;q=0.1", "ru"),
        ("kk;q=0, ru;q=0.1", "ru"),
        ("kk;q=0", "en"),
        ("*", "en"),
        ("*;q=0", "en"),
        ("", "en"),
        ("zzz, i-klingon, x-y", "en"),
    ],
)
def test_client_gets_its_preferred_language(header: str, expected: str) -> None:
    """The known language with the highest weight; the first of equal ones, never one with q=0; else English."""
    assert negotiate(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (";;,", "en"),
        (",,,kk,,", "kk"),
        ("ru;q=oops, kk;q=0.1", "kk"),
        ("ru;q=, kk;q=0.1", "kk"),
        ("ru;q=-1, kk;q=0.1", "kk"),
        ("ru;q=nan, kk;q=0.1", "kk"),
        ("ru;q=1e9, kk;q=0.1", "kk"),
        ("ru;q=inf, kk;q=0.1", "kk"),
        ("ru;q=\u0661, kk;q=0.1", "kk"),
        ("ru;q=0.12345678901234567890, kk;q=0.1", "kk"),
        ("=,;q=1,kk;q=0.1", "kk"),
        ("<script>, kk;q=0.1", "kk"),
        ("\x00\xff, kk;q=0.1", "kk"),
    ],
)
def test_invalid_parts_of_accept_language_are_ignored(header: str, expected: str) -> None:
    """Valid parts still count."""
    assert negotiate(header) == expected


def test_weight_is_case_insensitive() -> None:
    """`q` is case-insensitive (RFC 9110, 12.4.2 and RFC 5234, 2.3)."""
    assert negotiate("ru;Q=0.9, kk;q=0.8") == "ru"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("x" * 100_000 + ",kk", "kk"),
        ("kk," + "x," * 100_000, "kk"),
        ("zzz," * 100_000 + "kk", "en"),
        ("kk;q=" + "0" * 100_000, "en"),
        ("," * 100_000, "en"),
    ],
)
def test_long_header_is_truncated(header: str, expected: str) -> None:
    """Only ten languages are parsed, each up to the maximum length of a tag."""
    assert negotiate(header) == expected


@given(st.text(max_size=80) | st.text("kruzen-;,=q.01* ", max_size=80))
def test_any_header_negotiates_a_resolved_language(header: str) -> None:
    """Negotiation returns a tag that resolves to itself."""
    assert resolve(negotiate(header)) == negotiate(header)


@pytest.mark.usefixtures("_empty_caches")
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_cldr_locale_works_and_caches_stay_small(step: int) -> None:
    """Two decimals, signs and the year in all of them; requests for all languages do not exhaust memory."""
    for name in LOCALES[::step]:
        locale = language_of(name)
        up, down, flat = (locale.percent(Decimal(value)) for value in ("1.35", "-1.35", "0.00"))
        assert locale.tag == name.replace("_", "-")
        assert re.search(r"1\D35", up), (name, up)
        assert re.search(r"0\D00", flat), (name, flat)
        assert len({up, down, flat.replace("0", "1")}) == 3, name
        assert re.search(r"5\D60$", locale.number(Decimal("12345.6"), 2)), name
        assert "2026" in locale.date(DAY), name
        assert "2026" in locale.long_date(DAY), name
        assert locale.name("USD"), name
        assert locale.base("KZT"), name
        assert len(localedata._cache) < 48, name
    gc.unfreeze()  # otherwise objects that are older than the first test are not returned
    gc.collect()
    found = sum(isinstance(item, Language) for item in gc.get_objects())
    gc.freeze()
    assert found <= 12


@pytest.mark.usefixtures("_empty_caches")
@pytest.mark.parametrize("first", ["wa", "kk", "en-US", "sr-Latn"])
@pytest.mark.parametrize("tag", ["ar", "ko", "ur", "ru", "uz"])
def test_language_formats_do_not_depend_on_earlier_languages(first: str, tag: str) -> None:
    """Requests of one client do not change the texts of another."""

    def texts(on: date = DAY) -> tuple[str, ...]:
        locale = language_of(tag)
        return locale.date(on), locale.long_date(on), locale.percent(Decimal("1.35")), locale.name("USD")

    before = texts()
    clear_caches()
    language_of(first).date(DAY)
    assert texts() == before
