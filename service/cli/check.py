"""List what is stored and cannot be used, and move it aside (`python -m service check`)."""

import sys

from service.cli.commands import QUIET, with_store
from service.errors import TickerError
from service.observability.logging import configure
from service.settings import Settings
from service.storage.codecs import printable
from service.storage.repository import BadRecord, Store


def check(settings: Settings, *, repair: bool) -> None:
    """Print each stored record that is unreadable or out of bounds; with `repair`, move it to `aside:<source>`.

    Raises `TickerError` where one is left.
    """
    configure(QUIET)

    async def read(store: Store) -> list[tuple[BadRecord, bool]]:
        return [(one, repair and await store.set_aside(one)) for one in await store.bad_records()]

    found = with_store(settings, read)
    for bad, moved in found:
        where = " ".join(printable(part) for part in (bad.place.key, bad.place.field) if part)
        sys.stdout.write(f"{where}: {bad.problem}{': moved aside' if moved else ''}\n")
    left = sum(not moved for _, moved in found)
    if left and repair:
        raise TickerError(f"{left} of these records changed meanwhile; check again: python -m service check")
    if left:
        raise TickerError(
            f"{left} of the stored records cannot be used; move them aside: python -m service check --repair"
        )
    if not found:
        sys.stdout.write("All stored records can be used.\n")
