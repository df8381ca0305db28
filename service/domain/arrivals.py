"""When the publications of a source arrive, learned from when its last ones were first seen. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from service.domain.fixing import Fixing, Series
from service.domain.publication_schedule import ExpectedArrival, Publication, publication_of
from service.settings import SourceSettings

_SAMPLES: Final = 20
"""Maximum number of publications that are learned from."""
_MIN_SAMPLES: Final = 5
_TRIMMED_FROM: Final = 10
"""Number of samples from which the earliest and the latest are ignored: a single late publication is no habit."""
_MARGIN: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The usual arrival of a source's publications: between two delays after the opening of their window."""

    earliest: timedelta
    latest: timedelta

    def of(self, publication: Publication) -> ExpectedArrival:
        """Return when a publication is expected."""
        return ExpectedArrival(publication.opens + self.earliest, publication.opens + self.latest)


def learned(source: SourceSettings, series: Series) -> Arrivals | None:
    """Return the usual arrival of a source's publications; None if too few were observed.

    A publication counts if it was seen for the first time on its day, by a service that was running when its window
    opened: the one before had been seen earlier.
    """
    if source.window is None:
        return None
    delays = list[timedelta]()
    for previous, fixing in pairwise(series.distinct[-_SAMPLES - 1 :]):
        publication, seen = publication_of(source, fixing.date), first_seen(fixing)
        if publication and first_seen(previous) < publication.opens <= seen <= publication.day_ends:
            delays.append(seen - publication.opens)
    if len(delays) < _MIN_SAMPLES:
        return None
    delays.sort()
    if len(delays) >= _TRIMMED_FROM:
        delays = delays[1:-1]
    return Arrivals(max(timedelta(), delays[0] - _MARGIN), delays[-1] + _MARGIN)


def first_seen(fixing: Fixing) -> datetime:
    """Return when the first form of a fixing was fetched."""
    return min([fixing.fetched_at, *(revision.fetched_at for revision in fixing.revisions)])
