"""Settings for tests that poll."""

import pytest

from service.settings import Settings
from tests.support.pollers import patient


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return patient(settings)
