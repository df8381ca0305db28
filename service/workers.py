"""Several processes on one address, by gunicorn: `gunicorn --config python:service.workers --workers 4`.

Each worker is an instance like any other: one of them leads and polls, all show what it learns. This module is what
gunicorn reads as its configuration, so the settings are read when it is imported; `--config` is gunicorn's own here,
`TICKER_CONFIG` names ours.
"""

import sys
from typing import Final

import structlog
from gunicorn.glogging import Logger

from service import __version__
from service.app import create_app
from service.clock import Clock
from service.errors import SettingsError
from service.observability.logging import configure
from service.runtime import gc_tuning
from service.settings import Settings, load
from service.sources.banks import validate
from service.storage.repository import open_store
from service.web.server.runner import Runner

log = structlog.get_logger()


def shared() -> Settings:
    """Return the settings; raise `SettingsError` where the store cannot be shared."""
    settings = validate(load())
    if settings.store.url.get_secret_value() == "embedded":
        raise SettingsError(
            "store.url: several workers need a store that they share, like redis://localhost:6379/0; "
            "the embedded one belongs to one process"
        )
    open_store(settings, None, Clock())  # an address of no known form is told now, and once
    return settings


class Log(Logger):  # type: ignore[misc]  # gunicorn has no types
    """What gunicorn has to say, in the form of all else; it logs no requests."""

    def setup(self, cfg: object) -> None:  # noqa: ARG002 - gunicorn's
        configure(_settings.log)
        self.error_log.propagate = True


async def app() -> Runner:
    """Return what serves, as `service.app.serve` does: gunicorn's own limits would end idle connections after 2 s."""
    made = create_app(_settings, None, Clock())
    gc_tuning.tune_runtime()
    log.info("worker.started", version=__version__)
    return Runner(made, _settings.http)


try:
    _settings: Final = shared()
except SettingsError as error:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
_host: Final = f"[{_settings.http.host}]" if ":" in _settings.http.host else _settings.http.host

# What gunicorn is told; its command line may say otherwise.
wsgi_app = "service.workers:app"
worker_class = "aiohttp.GunicornUVLoopWebWorker"
bind = f"{_host}:{_settings.http.port}"
graceful_timeout = 4
"""Seconds from SIGTERM to the end of what does not end by itself; it takes two or three."""
logger_class = Log
control_socket_disable = True
"""Nobody needs it, and it would be written into the home of whoever runs this."""
