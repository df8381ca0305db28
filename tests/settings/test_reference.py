"""The generated settings reference is complete and up to date."""

import tomllib

from babel.core import get_global

from service.settings import load
from service.settings.currencies import CODES
from service.settings.loader import DEFAULT
from service.settings.reference import DOCUMENT, all_settings, configuration_md, default_toml


def test_shipped_files_are_generated_from_the_models() -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert text == default_toml(text), "config/default.toml is outdated: run `make docs`"
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == configuration_md(), "docs/configuration.md is outdated: run `make docs`"


def test_every_setting_is_described_in_one_sentence() -> None:
    for path, field in all_settings():
        assert field.description, path
        assert field.description.endswith("."), path


def test_default_configuration_equals_the_defaults_of_the_models() -> None:
    """The default file documents the defaults and changes none."""
    shipped = tomllib.loads(DEFAULT.read_text(encoding="utf-8"))
    settings = load(environ={})
    defaults = type(settings).model_validate({"tickers": shipped["tickers"], "sources": shipped["sources"]})
    assert defaults == settings


def test_currency_codes_are_those_of_babel() -> None:
    assert set(get_global("all_currencies")) == CODES
