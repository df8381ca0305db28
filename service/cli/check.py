"""Check stored records (`python -m service check`) and the configuration (`check-config`)."""

import sys

from service.cli.commands import QUIET, with_store
from service.errors import TickerError
from service.observability.logging import configure
from service.runtime.program import program
from service.settings import Settings
from service.sources.registry import validate
from service.storage.codecs import printable
from service.storage.repository import BadRecord, Store
from service.storage.store_url import check as check_store_url


def check(settings: Settings, *, repair: bool) -> None:
    """Print each stored record that is unreadable or out of bounds; with `repair`, move it to `aside:<source>`.

    Raises `TickerError` if any remain.
    """
    configure(QUIET)

    async def read(store: Store) -> list[tuple[BadRecord, bool]]:
        return [(bad, repair and await store.set_aside(bad)) for bad in await store.bad_records()]

    records = with_store(settings, read)
    for bad, is_moved in records:
        where = " ".join(printable(part) for part in (bad.place.key, bad.place.field) if part)
        sys.stdout.write(f"{where}: {bad.problem}{': moved aside' if is_moved else ''}\n")
    remaining = sum(not is_moved for _, is_moved in records)
    if remaining and repair:
        raise TickerError(f"{remaining} of these records changed during the check; run: {program()} check")
    if remaining:
        raise TickerError(f"{remaining} invalid stored records; move them aside: {program()} check --repair")
    if not records:
        sys.stdout.write("All stored records are valid.\n")


def check_config(settings: Settings) -> None:
    """Check settings as the start of the service does, without the store and the banks, and print what they mean.

    Raises `SettingsError` if they are invalid.
    """
    validate(settings)
    check_store_url(settings.store.url.get_secret_value())
    tickers = ", ".join(ticker.id for ticker in settings.tickers)
    sys.stdout.write(f"The configuration is valid: tickers {tickers}; sources {', '.join(settings.polled)}.\n")
