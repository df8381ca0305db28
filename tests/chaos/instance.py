"""Run an instance of the service with a shifted clock and another lifetime of the leader's lock.

`python -m tests.chaos.instance CONFIG PORT AHEAD LIFE`: AHEAD is the shift of the clock in seconds, LIFE the time to
live of the lock in seconds.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time

from service.app import create_app
from service.clock import Clock
from service.observability.logging import configure
from service.settings import load
from service.web.server.runner import run


class WrongClock(Clock):
    """The system clock, plus a constant number of seconds."""

    def __init__(self, ahead: float) -> None:
        self._ahead = timedelta(seconds=ahead)
        self.seconds = lambda: time() + ahead

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead


def main(config: Path, port: int, ahead: float, life: float) -> None:
    """Serve until SIGTERM."""
    settings = load(config, overrides={"http": {"port": port}})
    configure(settings.log)
    clock = WrongClock(ahead)
    run(create_app(settings, None, clock, machine=clock, lock_life=life), settings.http, lambda _: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
