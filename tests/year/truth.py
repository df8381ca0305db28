"""What the banks of the simulated year publish, and when; what goes wrong, and which alert it justifies.

All banks publish one market, a random walk, each by the calendar, the time zone and the window of its settings. Of a
bank's publications, most arrive around its usual time, some late or the next morning; some are corrected, and some
days off are announced by decree on the day itself, so that no calendar has them.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from random import Random
from typing import Final

from service.domain.holidays import days_off, worked_weekend_days
from service.settings import Settings, SourceSettings
from service.sources.banks.boe import SERIES
from tests.support.wire import FORMS, requested_dates, written

DAY: Final = timedelta(days=1)
KEYS: Final = tuple(FORMS)
"""The 17 banks."""
CODES: Final = (
    "USD", "EUR", "RUB", "GBP", "CNY", "KZT", "CHF", "PLN", "BYN", "JPY", "TRY", "UAH", "UZS", "KGS", "CZK", "AED",
)  # fmt: skip
"""Currencies that all banks quote, besides those that the Bank of England requires."""
_LARGEST_STEP: Final = 0.012
"""Largest move of a currency on an ordinary day, as a fraction."""
DEVALUATIONS: Final = {"KZT": 0.20, "UZS": 0.18}
"""True jumps of a currency, as fractions of its value; each once in the year."""
_LATEST_DATES: Final = 31
"""Days in a yearly document: real ones have all, which would only take longer."""
WORKING_SATURDAYS: Final = ("cbr", "cbu", "nbu")
"""Banks that publish on Saturdays that are worked because a day off was transferred."""


@dataclass(frozen=True)
class Version:
    """One form of a publication; `wrong` is the currency that is a hundred times too high."""

    at: datetime
    wrong: str | None = None


@dataclass(frozen=True)
class Publication:
    """A publication of a bank: its window (UTC), its effective date, and its versions.

    `due` is false on a worked Saturday, on which not all banks publish.
    """

    day: date
    effective: date
    opens: datetime
    closes: datetime
    versions: tuple[Version, ...]
    due: bool = True


@dataclass(frozen=True)
class Incident:
    """What goes wrong from `begin` to `end` (UTC), and the alerts that are right to fire meanwhile or soon after."""

    kind: str
    begin: datetime
    end: datetime
    subject: str = ""
    """The bank or the instance."""
    justifies: frozenset[str] = frozenset()
    fault: object = None
    """What the bank's requests get: a status, `reset`, a body, or seconds of `Retry-After`."""

    def covers(self, at: datetime) -> bool:
        return self.begin <= at < self.end


@dataclass
class Bank:
    """One bank: its publications in order, and its faults."""

    key: str
    source: SourceSettings
    publications: list[Publication]
    faults: list[Incident] = field(default_factory=list)
    decreed: frozenset[date] = frozenset()
    """Days off that no calendar has."""
    requests: int = 0

    def __post_init__(self) -> None:
        self._first_at = [publication.versions[0].at for publication in self.publications]
        self._effective = [publication.effective for publication in self.publications]

    def published(self, now: datetime) -> list[Publication]:
        """Return the latest publications that have appeared by now."""
        end = bisect_right(self._first_at, now)
        return self.publications[max(0, end - 2) : end]

    def publication_for(self, day: date) -> Publication | None:
        """Return the latest publication in force on a date, whether it has appeared or not."""
        index = bisect_right(self._effective, day)
        return self.publications[index - 1] if index else None

    def missed(self, shown: date, now: datetime) -> int:
        """Return how many due publications after the shown date have a window that has closed."""
        start = bisect_right(self._effective, shown)
        return sum(1 for each in self.publications[start : start + 8] if each.due and each.closes <= now)

    def fault(self, now: datetime) -> Incident | None:
        return next((incident for incident in self.faults if incident.covers(now)), None)


def _publication_days(source: SourceSettings, key: str, first: date, last: date) -> Iterator[tuple[date, bool]]:
    """Yield the days on which a bank publishes, with whether the publication is due."""
    for offset in range((last - first).days + 1):
        day = first + offset * DAY
        if day.weekday() in source.weekdays and day not in days_off(source.calendar, day.year):
            yield day, True
        elif key in WORKING_SATURDAYS and day in worked_weekend_days(source.calendar, day.year):
            yield day, False


class Truth:
    """The whole year: banks, rates, and incidents."""

    def __init__(self, settings: Settings, seed: int, first: date, last: date, history: timedelta = 30 * DAY) -> None:
        """`history`: for how long before `first` the banks have published."""
        self.settings = settings
        self.first, self.last, self.history = first, last, history
        self._seed = seed
        self.random = Random(seed)  # noqa: S311 - reproducible
        self.incidents: list[Incident] = []
        self._walks = dict(self._walked(first - history - 30 * DAY, last + 10 * DAY))
        self.banks = {key: self._bank(key, source) for key, source in settings.polled.items()}
        self.rates = lru_cache(maxsize=2000)(self._rates)
        self.document = lru_cache(maxsize=500)(self._document)

    def _walked(self, first: date, last: date) -> Iterator[tuple[str, dict[date, float]]]:
        """Yield the value of each currency on each day: what it moves by, and its devaluation."""
        chance = Random(self._seed)  # noqa: S311 - reproducible
        codes = sorted({*CODES, *SERIES.values(), *(source.base for source in self.settings.polled.values())})
        span, simulated = (last - first).days, (self.last - self.first).days
        for number, code in enumerate(codes):
            value, walk = 0.001 * 1.3**number, dict[date, float]()
            jump = date.max
            if simulated > 200:
                jump = self.first + timedelta(days=chance.randint(simulated // 4, 3 * simulated // 4))
            while jump != date.max and jump.weekday() != 2:
                jump += DAY
            for offset in range(span + 1):
                day = first + offset * DAY
                if day.weekday() < 5:
                    value *= 1 + max(-_LARGEST_STEP, min(_LARGEST_STEP, chance.gauss(0, 0.004)))
                if day == jump and code in DEVALUATIONS:
                    value *= 1 - DEVALUATIONS[code]
                walk[day] = value
            yield code, walk

    def _bank(self, key: str, source: SourceSettings) -> Bank:
        chance = Random(f"{self._seed} {key}")  # noqa: S311 - reproducible
        assert source.window
        opens_at, closes_at = source.window
        usual_share = chance.uniform(0.1, 0.6)
        days = list(_publication_days(source, key, self.first - self.history, self.last + 14 * DAY))
        decreed = set[date]()
        if key in ("nbk", "nbg"):  # one day off in half a year that is in no calendar
            candidates = [day for day, _ in days if self.first < day < self.last]
            decreed = {chance.choice(candidates) for _ in range(len(candidates) // 125)}
        publications = list[Publication]()
        for index, (day, due) in enumerate(days):
            if day in decreed:
                continue
            following = days[index + 1][0] if index + 1 < len(days) else day + 3 * DAY
            effective = {"same-day": day, "next-day": day + DAY, "next-working-day": following}[source.effective]
            opens = datetime.combine(day, opens_at, source.timezone).astimezone(UTC)
            closes = datetime.combine(day, closes_at, source.timezone).astimezone(UTC)
            delay = (closes - opens) * usual_share + timedelta(minutes=4 * chance.gauss(0, 1))
            at = max(opens, opens + delay)
            kind = chance.random() if day >= self.first else 1
            if kind < 0.03:
                at += timedelta(hours=chance.random())
            elif kind < 0.05:  # late: after the window
                at = closes + timedelta(minutes=chance.randint(5, 150))
            elif kind < 0.053:  # the next morning
                at = closes + timedelta(hours=chance.uniform(6, 14))
                justified = frozenset({"TickerLate"})
                self.incidents.append(Incident("a day late", closes, at + timedelta(hours=4), key, justified))
            publications.append(Publication(day, effective, opens, closes, tuple(self._versions(chance, day, at)), due))
        publications.sort(key=lambda publication: publication.effective)
        assert all(one.versions[0].at < two.versions[0].at for one, two in pairwise(publications))
        return Bank(key, source, publications, decreed=frozenset(decreed))

    def _versions(self, chance: Random, day: date, at: datetime) -> Iterator[Version]:
        """Yield the versions of a publication: one in a hundred is wrong first, and corrected within hours."""
        at = at.replace(microsecond=0)
        if day >= self.first and chance.random() < 0.01:
            yield Version(at, chance.choice(("USD", "EUR", "CNY", "GBP")))
            at += timedelta(minutes=chance.randint(10, 180))
        yield Version(at)

    def _rates(self, key: str, day: date, wrong: str | None) -> Mapping[str, float]:
        """Return what a bank publishes on a day, per unit: the market, and a little noise of its own."""
        base = self.settings.polled[key].base
        codes = tuple(SERIES.values()) if key == "boe" else tuple(code for code in CODES if code != base)
        noise = Random(f"{key} {day}")  # noqa: S311 - reproducible
        rates = dict[str, float]()
        for code in codes:
            rate = self._walks[code][day] / self._walks[base][day] * (1 + noise.gauss(0, 0.0003))
            rates[code] = (1 / rate if key in ("ecb", "boe") else rate) * (100 if code == wrong else 1)
        return rates

    def in_force(self, key: str, day: date, now: datetime) -> tuple[Publication, Version] | None:
        """Return the publication that a bank has in force on a date, in its present version; None if none appeared."""
        publication = self.banks[key].publication_for(day)
        if publication is None:
            return None
        versions = [version for version in publication.versions if version.at <= now]
        return (publication, versions[-1]) if versions else None

    def respond(self, key: str, text: str, now: datetime) -> bytes | None:
        """Return the document for a request (path, query and body); None if the bank says 404."""
        form, bank = FORMS[key], self.banks[key]
        begin, end = requested_dates(key, text)
        published = bank.published(now)
        latest = published[-1].effective
        if form.span == "latest":
            begin = end = latest
        elif form.span == "until":
            publication = bank.publication_for(min(begin, latest))
            assert publication
            begin = end = publication.effective
        year = re.search(r"20\d\d(?=&|\.xml)", text) if key in ("cnb", "bnr") else None
        begin = max(begin, min(end, latest) - _LATEST_DATES * DAY)
        if year:
            begin = max(begin, date(int(year[0]), 1, 1))
        days = tuple(self._days(key, begin, end, now))
        if not days and (key == "nbp" or year):
            return None
        return self.document(key, begin if days or form.span == "day" else end, days)

    def _days(self, key: str, begin: date, end: date, now: datetime) -> Iterator[tuple[date, date, str | None]]:
        """Yield the dates of a document, with the day of their publication and its wrong currency.

        Banks that repeat their rates on weekends do so as soon as nothing else is going to be published for a date.
        """
        bank, form = self.banks[key], FORMS[key]
        last = bank.published(now)[-1].effective + 10 * DAY
        for offset in range((min(end, last) - begin).days + 1):
            day = begin + offset * DAY
            found = self.in_force(key, day, now)
            if found and (found[0].effective == day or form.weekends):
                yield day, found[0].day, found[1].wrong

    def _document(self, key: str, begin: date, days: tuple[tuple[date, date, str | None], ...]) -> bytes:
        by_date = {day: (published, wrong) for day, published, wrong in days}
        return written(key, begin, by_date, lambda day: self.rates(key, *by_date[day]))

    def noon(self, day: date) -> datetime:
        return datetime.combine(day, time(12), UTC)


@dataclass
class Calendar:
    """Incidents by day, for quick look-ups."""

    by_day: dict[date, list[Incident]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, incidents: list[Incident]) -> "Calendar":
        calendar = cls()
        for incident in incidents:
            day = incident.begin.date()
            while day <= incident.end.date():
                calendar.by_day[day].append(incident)
                day += DAY
        return calendar


@dataclass(frozen=True)
class Chances:
    """How often things go wrong in a year."""

    outages: int = 18
    """Of each bank: five minutes to five hours."""
    network: int = 8
    """Of all banks at once: ten to ninety minutes."""
    store: int = 12
    """Restarts of the store: twenty seconds to three minutes."""
    deploys: int = 24
    """Restarts of the instances, one after the other."""
    crashes: int = 6
    """An instance that is killed, and started again."""
    steps: int = 8
    """Clocks of an instance that are off by a minute or two for some minutes."""


ROUTINE: Final = Chances()


def fail_routinely(truth: Truth, chances: Chances = ROUTINE) -> None:
    """Add what happens at random, and needs nobody."""
    chance = truth.random
    days = (truth.last - truth.first).days

    def moments(per_year: float) -> Iterator[datetime]:
        number = per_year * days / 365
        for _ in range(int(number) + (chance.random() < number % 1)):
            yield truth.noon(truth.first) + timedelta(seconds=int(86400 * chance.uniform(1, max(2, days - 1))))

    def add(kind: str, begin: datetime, seconds: float, subject: str = "", fault: object = None) -> None:
        truth.incidents.append(Incident(kind, begin, begin + timedelta(seconds=int(seconds)), subject, fault=fault))

    for key, begin in [(key, begin) for key in truth.banks for begin in moments(chances.outages)]:
        pause = float(chance.randint(60, 3600))
        kinds = (500, 503, 404, 403, "reset", b"", b"<!DOCTYPE html><title>Maintenance</title>", pause)
        add("bank", begin, chance.uniform(300, 18000), key, chance.choice(kinds))
    for begin in moments(chances.network):
        add("network", begin, chance.uniform(600, 5400), fault="reset")
    for begin in moments(chances.store):
        add("store", begin, chance.uniform(20, 180))
    for begin in moments(chances.deploys):
        add("restart", begin, chance.uniform(5, 60), "a")
        add("restart", begin + timedelta(minutes=3), chance.uniform(5, 60), "b")
    for begin in moments(chances.crashes):
        add("crash", begin, chance.uniform(20, 100), chance.choice("ab"))
    for begin in moments(chances.steps):
        seconds = chance.choice((-120.0, -75.0, 40.0, 90.0, 150.0))
        add("clock", begin, chance.uniform(60, 240), chance.choice("ab"), fault=seconds)


def fail(truth: Truth) -> None:
    """Add all incidents of a year."""
    fail_routinely(truth)
    fail_badly(truth)


def fail_badly(truth: Truth) -> None:
    """Add what an operator should look at, each once, at fixed times of the year."""

    def add(kind: str, day: int, hours: float, *alerts: str, subject: str = "", fault: object = None) -> None:
        begin = truth.noon(truth.first + day * DAY) - timedelta(hours=5)
        end = begin + timedelta(hours=hours)
        truth.incidents.append(Incident(kind, begin, end, subject, frozenset(alerts), fault))

    add("bank", 40, 100, "SourceFailing", "TickerLate", "SecondChoice", subject="nbk", fault=500)
    add("bank", 90, 30, "SourceFailing", "TickerLate", subject="ecb", fault="reset")
    add("network", 130, 14, "NoBankAnswers", "TickerLate", fault="reset")
    add("store", 160, 0.7, "StoreDown")
    add("clock", 190, 0.3, "ClockWrong", subject="a", fault=86400.0)
    add("clock", 220, 3, "ClockWrong", "TickerLate", subject="a", fault=-86400.0)
    add("clock", 250, 3, "ClockWrong", "TickerLate", subject="b", fault=-86400.0)


def settle(truth: Truth) -> Calendar:
    """Give the banks their faults; return all incidents by day."""
    for incident in truth.incidents:
        if incident.kind == "bank":
            truth.banks[incident.subject].faults.append(incident)
        elif incident.kind == "network":
            for bank in truth.banks.values():
                bank.faults.append(incident)
    for key, bank in truth.banks.items():
        for day in sorted(bank.decreed):
            assert bank.source.window
            begin = datetime.combine(day, bank.source.window[1], bank.source.timezone).astimezone(UTC)
            end = begin + 4 * DAY
            truth.incidents.append(Incident("decree", begin, end, key, frozenset({"TickerLate"})))
    return Calendar.of(truth.incidents)
