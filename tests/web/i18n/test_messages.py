"""The gettext catalogues are complete, compiled, and use the same placeholders as the English messages."""

import string
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from service.domain.periods import PERIODS
from service.settings import load
from service.settings.loader import ROOT
from service.web.embed.builder import SNIPPETS, VALUES
from service.web.i18n.messages import BASE_CONTEXT, BUILDER, LOCALE, PAGES, STRIP, languages
from service.web.rendering.options import LAYOUTS, SHOWN_VALUES, THEMES

Id = tuple[str | None, str | tuple[str, ...]]
FILES = sorted(LOCALE.glob("*/LC_MESSAGES/*.po"))
NAMES = [f"{path.parents[1].name}-{path.stem}" for path in FILES]
KEYWORDS = DEFAULT_KEYWORDS | {"N_": None}
TEMPLATES = {
    STRIP: (),
    BUILDER: ("index", "status"),
    PAGES: ("layout", "navigation", "rates", "rate", "receipt", "error"),
}
"""The templates with messages of a domain."""
REQUIRED = {"en", "ru", "kk", "uz", "ky", "tr", "de", "fr", "es", "zh", "ar"}


def read_catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parents[1].name)


def message_ids(domain: str) -> set[Id]:
    """Return the messages in the code, each with its context."""
    messages: set[Id] = set()
    web = ROOT / "service" / "web"
    for folder in {STRIP: ["i18n"], BUILDER: ["embed", "ops"], PAGES: ["pages"]}[domain]:
        for _, _, message, _, context in extract_from_dir(web / folder, [("**.py", "python")], keywords=KEYWORDS):
            messages.add((context, message))
    for name in TEMPLATES[domain]:
        found = extract_from_file("jinja2.ext:babel_extract", web / "templates" / f"{name}.html")
        messages |= {(context, message) for _, message, _, context in found}
    return messages


def placeholders(text: str) -> set[str]:
    """Return the names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_catalogue_has_the_messages_of_the_code(path: Path) -> None:
    """None is missing or unused, so `make messages` was run."""
    known = {(message.context, message.id) for message in read_catalogue(path) if message.id}
    assert known == message_ids(path.stem)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_compiled_catalogue_is_up_to_date(path: Path) -> None:
    compiled = BytesIO()
    write_mo(compiled, read_catalogue(path))
    assert path.with_suffix(".mo").read_bytes() == compiled.getvalue(), "run `make messages`"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_translations_have_the_same_placeholders(path: Path) -> None:
    """English is the message itself; a base may lack its own form, because a generic one exists."""
    language = path.parents[1].name
    for message in read_catalogue(path):
        translations = [message.string] if isinstance(message.string, str) else list(message.string or ())
        if not message.id or language == "en" or (message.context == BASE_CONTEXT and not any(translations)):
            continue
        english = message.id if isinstance(message.id, str) else message.id[-1]
        for text in translations:
            assert text, message.id
            assert text == text.strip()
            assert placeholders(text) <= placeholders(english) | {"code"}, text
            if english != "the {name}":
                assert placeholders(text) == placeholders(english), text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_catalogue_names_its_translator(path: Path) -> None:
    """Its header states whether a native speaker has reviewed it."""
    assert "Translation: " in read_catalogue(path).header_comment


def test_required_languages_have_a_catalogue() -> None:
    assert languages(STRIP).keys() >= REQUIRED
    assert languages(PAGES) == languages(STRIP)
    assert languages(BUILDER).keys() >= {"en", "ru", "kk"}


def test_default_bases_have_their_form_in_russian_and_kazakh() -> None:
    (ticker,) = load(environ={}).tickers
    for language in ("ru", "kk"):
        translated = {
            message.id
            for message in read_catalogue(LOCALE / language / "LC_MESSAGES" / f"{STRIP}.po")
            if message.context == BASE_CONTEXT and message.string
        }
        assert {ticker.base, *ticker.currencies} <= translated


def test_builder_has_a_label_for_every_choice() -> None:
    assert set(VALUES) == {*THEMES, *LAYOUTS, *SHOWN_VALUES, *PERIODS}
    assert len(SNIPPETS) == len(set(SNIPPETS.values()))
