"""gunicorn's configuration: `gunicorn --config config/gunicorn.conf.py --workers 4` runs several processes on one port.

Each worker is an instance: one is the leader and polls the banks, the others follow. `TICKER_CONFIG` names the
service's own configuration file. Options on gunicorn's command line override this file.
"""

import sys

from gunicorn.glogging import Logger

from service.app import shared_settings
from service.errors import SettingsError
from service.observability.logging import configure

try:
    _settings = shared_settings()
except SettingsError as error:
    print(f"error: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
_host = f"[{_settings.http.host}]" if ":" in _settings.http.host else _settings.http.host


class StructuredLogger(Logger):
    """Logs gunicorn's messages in the service's format; requests are not logged."""

    def setup(self, cfg: object) -> None:  # noqa: ARG002 - gunicorn's signature
        configure(_settings.log)
        self.error_log.propagate = True


wsgi_app = "service.app:create_worker"
worker_class = "aiohttp.GunicornUVLoopWebWorker"
bind = f"{_host}:{_settings.http.port}"
graceful_timeout = 4
"""Seconds from SIGTERM until a worker is killed; it needs two or three."""
logger_class = StructuredLogger
control_socket_disable = True
"""Not used, and it would be created in the user's home directory."""
