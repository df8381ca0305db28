"""Registry of the adapters of banks and relays, by the key of `[sources.<key>]` or by `adapter`."""

from typing import Final

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
