"""docs/sources.md: generated from the source registry, also for an operator's own settings."""

import re
from pathlib import Path

import pytest

from service.cli.source_catalogue import markdown
from service.settings import load
from service.settings.types import DAYS
from service.sources.banks import SOURCES

DOCUMENT = Path(__file__).parents[2] / "docs" / "sources.md"
REGISTRY = load(environ={})


def section(text: str, key: str) -> str:
    """Return the text under a heading, up to the next heading."""
    return text.split(f"\n## {key}\n", 1)[1].split("\n## ", 1)[0]


def described_source(**overrides: object) -> str:
    """Return the section of a source with the required settings and these overrides."""
    return section(document(**overrides), "mine")


def document(**overrides: object) -> str:
    required = {
        "name": "Bank",
        "base": "KZT",
        "url": "https://bank.example",
        "timezone": "Asia/Almaty",
        "adapter": "ecb",
    }
    return markdown(load(environ={}, overrides={"sources": {"mine": required | overrides}}))


def test_shipped_document_matches_the_registry() -> None:
    """Run `make docs` after a change of the registry."""
    assert DOCUMENT.read_text(encoding="utf-8") == markdown(REGISTRY), "docs/sources.md is outdated: run `make docs`"


def test_every_source_has_a_row_and_a_section_in_registry_order() -> None:
    """Polled or not, and relays; rows link to sections."""
    text = DOCUMENT.read_text(encoding="utf-8")
    keys = list(REGISTRY.sources)
    assert re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\) \|", text, re.MULTILINE) == [(key, key) for key in keys]
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == [*keys, "Relays"]
    for key, source in REGISTRY.sources.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| [`{key}`]"))
        assert f"| {source.name} | {source.base} | {len(source.quotes)} | " in row
        assert row.endswith(f"| {source.since or '—'} | {'yes' if key in REGISTRY.polled else 'when named'} |")
        body = section(text, key)
        for expected in (source.name, *source.names.values(), source.base, str(source.url), " ".join(source.quotes)):
            assert expected in body
        assert f"- **Terms**: {source.terms}\n" in body
    assert all(f"`{relay}`" in section(text, "Relays") for relay, adapter in SOURCES.items() if adapter.relay)


def test_document_is_well_formatted() -> None:
    """No trailing space, no two empty lines, one newline at the end, and the same number of cells in all rows."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert "\n\n\n" not in text
    assert text.endswith(".\n")
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {9}


DAILY = {"window": "00:00-12:00"}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (DAILY | {"effective": "same-day"}, "Monday to Friday, 00:00 to 12:00 Asia/Almaty; dated the same day"),
        (
            DAILY | {"days": ["mon", "wed", "tue"]},
            "Monday to Wednesday, 00:00 to 12:00 Asia/Almaty; dated the next day",
        ),
        (DAILY | {"days": ["sun", "wed"]}, "Wednesday, Sunday, 00:00 to 12:00 Asia/Almaty; dated the next day"),
        (DAILY | {"days": DAYS}, "every day, 00:00 to 12:00 Asia/Almaty; dated the next day"),
        (DAILY | {"effective": "next-working-day"}, "; dated the next working day"),
        (DAILY | {"calendar": "GB-ENG"}, ", but not on the holidays of `GB-ENG`; dated the next day"),
        (
            DAILY | {"every": 90, "sweep": "PT1H"},
            "every 90 seconds until the publication arrives, otherwise every hour",
        ),
        (
            DAILY | {"every": "PT1M", "sweep": "P1D"},
            "every minute until the publication arrives, otherwise every 24 hours",
        ),
        ({}, "**History**: by date, first date unknown"),
        ({"since": "2001-02-03"}, "**History**: by date, since 2001-02-03"),
        (
            {"adapter": "nbkr"},
            ": none; only the latest rates are published, so a missed day stays missing",
        ),
        ({"adapter": "nbg"}, "**Own changes**: published with the rates; computed changes are compared with them"),
        ({"adapter": "frankfurter", "provider": "NBK"}, "**URL**: `https://bank.example`, for `NBK`"),
        (
            {"documented_only": True},
            "**Evidence**: documented and reported only; not tested with a response of the bank",
        ),
        ({}, "**Terms**: unknown"),
        ({}, "**Currencies**: unknown"),
        ({"quotes": "usd, eur"}, "**Currencies**: 2: USD EUR"),
        ({"quotes": ["usd"]}, "**Currencies**: 1: USD"),
    ],
)
def test_settings_are_described_in_words(overrides: dict[str, object], line: str) -> None:
    """Cover days, times, durations and unknown values."""
    assert f"{line}\n" in described_source(**overrides)


def test_missing_properties_are_omitted() -> None:
    """Without a window, publication and polling times are omitted; without own changes, their comparison."""
    body = described_source()
    assert not any(name in body for name in ("Publishes", "Polled", "Own changes", "Evidence"))
    (row,) = (line for line in document().splitlines() if line.startswith("| [`mine`]"))
    assert "| Monday to Friday, at any time | — |" in row


def test_pipe_in_a_name_is_escaped() -> None:
    """A pipe would end the cell of the table."""
    sources = {"sources": {"nbk": {"name": "A | B"}}}
    assert r"| A \| B | KZT |" in markdown(load(environ={}, overrides=sources))
