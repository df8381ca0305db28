"""Registry of adapters, by the key of `[sources.<key>]` or by `adapter`; `http` is that of sources without code."""

from datetime import date
from typing import Final

from service.domain.holidays import days_off
from service.errors import SettingsError
from service.settings import Settings
from service.settings.types import HTTP, is_clear_text
from service.sources.adapter import SourceAdapter
from service.sources.banks.bnr import Bnr
from service.sources.banks.boc import Boc
from service.sources.banks.boe import Boe
from service.sources.banks.boi import Boi
from service.sources.banks.bom import Bom
from service.sources.banks.cba import Cba
from service.sources.banks.cbar import Cbar
from service.sources.banks.cbr import Cbr
from service.sources.banks.cbt import Cbt
from service.sources.banks.cbu import Cbu
from service.sources.banks.cbuae import Cbuae
from service.sources.banks.cnb import Cnb
from service.sources.banks.ecb import Ecb
from service.sources.banks.fbil import Fbil
from service.sources.banks.frankfurter import Frankfurter
from service.sources.banks.fred import Fred
from service.sources.banks.mnb import Mnb
from service.sources.banks.nb import Nb
from service.sources.banks.nbg import Nbg
from service.sources.banks.nbk import Nbk
from service.sources.banks.nbkr import Nbkr
from service.sources.banks.nbm import Nbm
from service.sources.banks.nbp import Nbp
from service.sources.banks.nbrb import Nbrb
from service.sources.banks.nbt import Nbt
from service.sources.banks.nbu import Nbu
from service.sources.banks.rb import Rb
from service.sources.banks.rba import Rba
from service.sources.banks.recorded import Recorded
from service.sources.banks.tcmb import Tcmb

SOURCES: Final[dict[str, SourceAdapter]] = {
    "nbk": Nbk(),
    "cbr": Cbr(),
    "ecb": Ecb(),
    "nbu": Nbu(),
    "cbu": Cbu(),
    "nbrb": Nbrb(),
    "nbkr": Nbkr(),
    "nbg": Nbg(),
    "nbm": Nbm(),
    "cba": Cba(),
    "nbt": Nbt(),
    "nbp": Nbp(),
    "cnb": Cnb(),
    "bnr": Bnr(),
    "mnb": Mnb(),
    "boc": Boc(),
    "boe": Boe(),
    "nb": Nb(),
    "rb": Rb(),
    "tcmb": Tcmb(),
    "cbar": Cbar(),
    "boi": Boi(),
    "fbil": Fbil(),
    "rba": Rba(),
    "bom": Bom(),
    "cbt": Cbt(),
    "cbuae": Cbuae(),
    "fred": Fred(),
    "frankfurter": Frankfurter(),
    "recorded": Recorded(),
}


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
            days_off(source.calendar, date.today().year)  # noqa: DTZ011 - any year raises for an unknown calendar
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
