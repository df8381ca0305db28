"""Numbers, dates and names by CLDR: expected texts are those of ICU, another implementation of the same data."""

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


def forget() -> None:
    language.cache_clear()
    localedata._cache.clear()


@pytest.fixture
def _fresh() -> Iterator[None]:
    """No language was asked for before, and none stays for other tests."""
    forget()
    yield
    forget()


def said(tag: str) -> Language:
    return language(resolve(tag))


@pytest.mark.parametrize(
    ("tag", "up", "down", "flat"),
    [
        ("en", "+1.35%", "-0.77%", "0.00%"),
        ("kk", "+1,35%", "-0,77%", "0,00%"),
        ("ru", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        ("de", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        # The standard wants U+202F before French punctuation; CLDR has that in numbers, and U+00A0 before the sign.
        ("fr", f"+1,35{NB}%", f"-0,77{NB}%", f"0,00{NB}%"),
        ("uz", "+1,35%", "-0,77%", "0,00%"),
        ("zh", "+1.35%", "-0.77%", "0.00%"),
        # ICU has such marks on both sides of the percent sign too; the eye sees no difference.
        ("ar", f"{LEFT}+1.35%", f"{LEFT}-0.77%", "0.00%"),
        ("sv", f"+1,35{NB}%", f"\u22120,77{NB}%", f"0,00{NB}%"),
        ("fa", f"{LEFT}+1.35%", f"{LEFT}\u22120.77%", "0.00%"),
        ("tr", "+%1,35", "-%0,77", "%0,00"),
        ("de-CH", "+1.35%", "-0.77%", "0.00%"),
    ],
)
def test_a_percentage_is_written_as_the_language_does(tag: str, up: str, down: str, flat: str) -> None:
    """A rise and a fall have the language's sign, zero has none, all have two decimals."""
    spoken = said(tag)
    assert spoken.percent(Decimal("1.35")) == up
    assert spoken.percent(Decimal("-0.77")) == down
    assert spoken.percent(Decimal("0.00")) == spoken.percent(Decimal("-0.00")) == flat
    assert spoken.percent(None) == "—"


@pytest.mark.parametrize("value", ["0.01", "9.99", "35.50", "100.00", "12345.67", "-0.01"])
def test_a_percentage_keeps_its_digits(value: str) -> None:
    """What is rounded already is not rounded again, at any size."""
    sign = "" if value.startswith("-") else "+"
    assert said("en").percent(Decimal(value)) == f"{sign}{Decimal(value):,}%"


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
def test_a_number_is_written_as_the_language_does(tag: str, small: str, large: str, changed: str) -> None:
    """Separator and groups are the language's, the decimals those asked for, the sign only on request."""
    spoken = said(tag)
    assert spoken.number(Decimal("475.09"), 2) == small
    assert spoken.number(Decimal("12345.6"), 2) == large
    assert spoken.number(Decimal("-3.68"), 2, signed=True) == changed
    assert spoken.number(Decimal("0.00"), 2, signed=True) in ("0.00", "0,00")
    assert spoken.number(None, 2) == "—"


@pytest.mark.parametrize(
    ("decimals", "text"), [(0, "1,235"), (1, "1,234.6"), (4, "1,234.5670"), (10, "1,234.5670000000")]
)
def test_number_has_the_requested_decimals(decimals: int, text: str) -> None:
    """Zeros are added and surplus digits rounded away."""
    assert said("en").number(Decimal("1234.567"), decimals) == text


def test_hindi_groups_by_two_after_the_first_three() -> None:
    """Lakhs stay lakhs, where decimals are added to the pattern."""
    assert said("hi").number(Decimal("1234567.8"), 2) == "12,34,567.80"


@pytest.mark.usefixtures("_fresh")
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
def test_a_date_is_written_as_the_language_does(tag: str, short: str, long: str) -> None:
    """Day and month in the order of the language; English has the day first, that of the United States has not."""
    assert said(tag).date(DAY) == short
    assert said(tag).long_date(DAY) == long
    assert said(tag).date(None) == ""


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
def test_a_currency_has_its_name(tag: str, dollar: str, tenge: str) -> None:
    """Names are CLDR's; a code that it does not know names itself."""
    spoken = said(tag)
    assert (spoken.name("USD"), spoken.name("KZT"), spoken.name("XYZ")) == (dollar, tenge, "XYZ")


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
def test_a_language_knows_its_words_and_its_direction(tag: str, direction: str, words: str, sentences: bool) -> None:
    """Where we have no words in it they are English, and no sentences are made of them."""
    spoken = said(tag)
    assert (spoken.tag, spoken.dir, spoken.words_tag, spoken.spoken) == (tag, direction, words, sentences)


@pytest.mark.parametrize(
    ("tag", "found"),
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
def test_a_tag_leads_to_the_nearest_that_cldr_has(tag: str, found: str) -> None:
    """Case and separator do not matter; subtags that mean nothing here are dropped from the end."""
    assert resolve(tag) == found


@pytest.mark.parametrize(
    "tag",
    [
        "", "-", "--", "*", "zzz", "tlh", "english", "root", "root-x", "x-private", "i-klingon", "12", "kk ", " kk",
        "kk;q=1", "қаз", "ＫＫ", "../../etc/passwd", "\x00", "kk\n", "k" * 10_000, "a-" * 10_000,
    ],
)  # fmt: skip
def test_what_is_no_language_is_english(tag: str) -> None:
    """Unknown and malformed tags are no error: the figures matter more than their language."""
    assert resolve(tag) == "en"


@pytest.mark.parametrize("tag", ["en@x", "kk@\x01", 'ca-ES@"><script>'])
def test_what_cldr_does_not_have_is_in_no_tag(tag: str) -> None:
    """A tag stands in `lang` and in XML, and each is a variant of its own: nobody may write into it."""
    assert re.fullmatch("[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", resolve(tag))


@pytest.mark.usefixtures("_fresh")
@given(st.text(max_size=50) | st.text("akKzruRUen-_@.", max_size=50))
def test_any_text_leads_to_a_language(tag: str) -> None:
    """Whatever somebody writes, there is a language for it, and it can write a figure."""
    assert said(tag).percent(Decimal("1.35"))


@pytest.mark.parametrize(
    ("header", "found"),
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
def test_client_gets_its_preferred_format(header: str, found: str) -> None:
    """The heaviest known language, of equals the first, never one with q=0; English where none is known."""
    assert negotiate(header) == found


@pytest.mark.parametrize(
    ("header", "found"),
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
def test_junk_in_accept_language_is_passed_over(header: str, found: str) -> None:
    """A weight that is none does not count; what else can be read still does."""
    assert negotiate(header) == found


def test_a_weight_is_known_by_any_case() -> None:
    """`q` is case-insensitive (RFC 9110, 12.4.2 and RFC 5234, 2.3)."""
    assert negotiate("ru;Q=0.9, kk;q=0.8") == "ru"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("x" * 100_000 + ",kk", "kk"),
        ("kk," + "x," * 100_000, "kk"),
        ("zzz," * 100_000 + "kk", "en"),
        ("kk;q=" + "0" * 100_000, "en"),
        ("," * 100_000, "en"),
    ],
)
def test_a_very_long_header_costs_nothing(header: str, found: str) -> None:
    """Ten languages are looked at, and of each no more than a tag can have."""
    assert negotiate(header) == found


@given(st.text(max_size=80) | st.text("kruzen-;,=q.01* ", max_size=80))
def test_any_header_leads_to_a_language_that_resolves(header: str) -> None:
    """What is negotiated is a tag like any other."""
    assert resolve(negotiate(header)) == negotiate(header)


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_every_cldr_locale_formats_a_number_and_few_stay_in_memory(step: int) -> None:
    """Two decimals, signs and the year in all of them; whoever asks for all does not make the service grow."""
    for name in LOCALES[::step]:
        spoken = said(name)
        up, down, flat = (spoken.percent(Decimal(value)) for value in ("1.35", "-1.35", "0.00"))
        assert spoken.tag == name.replace("_", "-")
        assert re.search(r"1\D35", up), (name, up)
        assert re.search(r"0\D00", flat), (name, flat)
        assert len({up, down, flat.replace("0", "1")}) == 3, name
        assert re.search(r"5\D60$", spoken.number(Decimal("12345.6"), 2)), name
        assert "2026" in spoken.date(DAY), name
        assert "2026" in spoken.long_date(DAY), name
        assert spoken.name("USD"), name
        assert spoken.base("KZT"), name
        assert len(localedata._cache) < 48, name
    gc.collect()
    assert sum(isinstance(one, Language) for one in gc.get_objects()) <= 12


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("first", ["wa", "kk", "en-US", "sr-Latn"])
@pytest.mark.parametrize("tag", ["ar", "ko", "ur", "ru", "uz"])
def test_language_formats_do_not_depend_on_earlier_languages(first: str, tag: str) -> None:
    """What one reader asks for changes nothing of what another one sees."""

    def texts(on: date = DAY) -> tuple[str, ...]:
        spoken = said(tag)
        return spoken.date(on), spoken.long_date(on), spoken.percent(Decimal("1.35")), spoken.name("USD")

    alone = texts()
    forget()
    said(first).date(DAY)
    assert texts() == alone
