"""What the log says of a ticker that has changed."""

from collections import defaultdict

import structlog

from service.domain.snapshot import Snapshot

log = structlog.get_logger()


def tell(snapshot: Snapshot, before: Snapshot | None) -> None:
    """Tell that a ticker has changed, which quotes come from another source than they did, and why."""
    log.info("ticker.changed", ticker=snapshot.id, status=snapshot.status, as_of=str(snapshot.as_of))
    was = {quote.code: quote.source for quote in before.quotes} if before else {}
    moved = defaultdict[tuple[str | None, str | None, str | None], list[str]](list)
    for quote in snapshot.quotes:
        if before and quote.source != was.get(quote.code):
            moved[was.get(quote.code), quote.source, quote.reason].append(quote.code)
    for (old, new, reason), codes in moved.items():
        told = reason or "the first choice is back"
        log.warning("ticker.source_changed", ticker=snapshot.id, codes=codes, before=old, source=new, reason=told)
