"""The adapter of each configured source, and what settings of sources require beyond their form.

`http` is the adapter of sources without code; those of banks are in `service.sources.banks`.
"""

from service.domain import holidays
from service.errors import SettingsError
from service.settings import Settings
from service.settings.types import HTTP, is_clear_text
from service.sources.adapter import SourceAdapter
from service.sources.banks import SOURCES


def adapter_of(settings: Settings, key: str) -> SourceAdapter:
    """Return the adapter of a source; raise `SettingsError` for an unknown one, or for invalid paths."""
    source = settings.sources[key]
    if source.adapter == HTTP:
        # Only for these: JMESPath and CSS selectors take 40 ms to import.
        from service.sources.configured import Configured  # noqa: PLC0415

        return Configured(key, source)
    if adapter := SOURCES.get(settings.adapter(key)):
        return adapter
    setting, kind = (f"{key}.adapter", "adapter") if source.adapter else (key, "source")
    raise SettingsError(f"sources.{setting}: unknown {kind} (known: {', '.join(SOURCES)}, {HTTP}, manual)")


def validate(settings: Settings) -> Settings:
    """Return the settings unchanged; raise `SettingsError` for an unknown adapter or calendar, or an invalid path."""
    for key, source in settings.sources.items():
        try:
            holidays.check(source.calendar)
        except SettingsError as error:
            raise SettingsError(f"sources.{key}.{error}") from None
        if source.is_manual:
            continue
        adapter = adapter_of(settings, key)
        if adapter.relay and not source.provider:
            raise SettingsError(f"sources.{key}.provider: is required: the bank whose rates the relay returns")
        if key in settings.polled:
            check_secret(settings, key)
        if adapter.needs_secret and source.secret and is_clear_text(source.url):
            raise SettingsError(f"sources.{key}.url: must begin with https://, since secret would be sent unencrypted")
    return settings


def check_secret(settings: Settings, key: str) -> None:
    """Raise `SettingsError` if a source lacks the secret that its adapter needs: nothing can be requested from it."""
    source = settings.sources[key]
    if adapter_of(settings, key).needs_secret and not source.secret:
        variable = f"TICKER_SOURCES__{key.upper()}__SECRET"
        raise SettingsError(
            f"sources.{key}.secret: is required: a key of {source.url}; set {variable}, or name another source"
        )
