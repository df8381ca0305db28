"""The settings of benchmarks: they follow those of the service, as when a bank or a ticker is added."""

from pathlib import Path

from service.settings import load
from tests.benchmarks.refreshing import settings_of
from tests.benchmarks.status import config_of
from tests.support.wire import FORMS


def test_refreshes_poll_the_banks_that_have_documents(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "http://127.0.0.1:1").polled.keys() == FORMS.keys()


def test_status_has_all_banks(tmp_path: Path) -> None:
    banks = [key for key, source in load(environ={}).sources.items() if not source.recorded]
    file = tmp_path / "ticker.toml"
    file.write_text(config_of(banks), encoding="utf-8")
    assert set(banks) <= load(file, environ={}).polled.keys()
