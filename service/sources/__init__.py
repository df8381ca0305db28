"""Every source that can be asked: the adapter behind each key of `[sources.<key>]`."""

from typing import Final

from service.sources.base import Source
from service.sources.cbr import Cbr
from service.sources.cbu import Cbu
from service.sources.ecb import Ecb
from service.sources.nbk import Nbk
from service.sources.nbu import Nbu
from service.sources.recorded import Recorded

SOURCES: Final[dict[str, Source]] = {
    "nbk": Nbk(),
    "cbr": Cbr(),
    "ecb": Ecb(),
    "nbu": Nbu(),
    "cbu": Cbu(),
    "recorded": Recorded(),
}
