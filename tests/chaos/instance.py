"""An instance whose clock is wrong, and whose lock runs faster: the service itself, started with other constants.

`python -m tests.chaos.instance <seconds that its clock is ahead> <how many times faster> serve ...`
"""

import sys
from datetime import UTC, datetime, timedelta
from time import time

from service.cli.main import cli
from service.clock import Clock
from service.cluster import leader_election
from service.storage import coordination


def disturb(ahead: float, faster: float) -> None:
    """Change the clock, and how long a lock lives."""
    by = timedelta(seconds=ahead)
    setattr(Clock, "__call__", lambda _: datetime.now(UTC) + by)  # noqa: B010 - or mypy takes it for a mistake
    setattr(Clock, "seconds", lambda _: time() + ahead)  # noqa: B010
    for module, name in (
        (coordination, "LIFE"),
        (leader_election, "LIFE"),
        (leader_election, "RENEWED"),
        (leader_election, "_AGAIN"),
    ):
        setattr(module, name, getattr(module, name) / faster)


if __name__ == "__main__":
    disturb(float(sys.argv.pop(1)), float(sys.argv.pop(1)))
    cli()
