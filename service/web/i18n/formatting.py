"""Texts of a snapshot, visible ones and those for screen readers: the same for all output formats."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from msgspec import UNSET, UnsetType

from service.domain.change import DERIVED_DIGITS
from service.domain.periods import Period, begin
from service.domain.snapshot import Quote, Snapshot
from service.settings import Settings, SourceSettings
from service.web.i18n import messages
from service.web.i18n.locale import Language

_SHOWN_DIGITS: Final = 6
"""Significant digits of a derived rate (a cross or inverse rate) in texts."""


@dataclass(frozen=True, slots=True)
class QuoteText:
    """The texts of a quote. `sentence` is for screen readers; `note` marks a fallback source or a cross rate.

    `own_date` is its date if that differs from the ticker's; else empty. `buy` and `sell` are the rates at which the
    source buys and sells, with their labels; present if it publishes both.
    """

    name: str
    rate: str
    previous: str
    change: str
    percent: str
    sentence: str
    details: str
    note: str
    source: str
    date: str
    previous_date: str
    own_date: str
    buy: str | UnsetType = UNSET
    sell: str | UnsetType = UNSET

    def shown(self, show: Iterable[str]) -> tuple[str, ...]:
        """Return the names of the values to show: the rate in place of buying and selling rates that it lacks."""
        return tuple(dict.fromkeys(value if getattr(self, value) else "rate" for value in show))

    def accessible_label(self, show: tuple[str, ...]) -> str:
        """Return the text for screen readers: the sentence, which has the percentage, and the other shown values."""
        return ", ".join([self.sentence, *(getattr(self, value) for value in self.shown(show) if value != "percent")])


@dataclass(frozen=True, slots=True)
class TickerText:
    """The texts of a ticker. `words` is the language of its messages; `lang` that of numbers, dates and names.

    `sources` (abbreviated), `date` and `status` are for the date line, which shows the status unless it is `current`.
    `date` has the first and the last day of a period that is longer than a day. `footer` names the dates compared and
    the sources; `away` is shown while the service is unreachable. `pause` and `close` name buttons: of a tape, and of
    the details in a frame.
    """

    lang: str
    dir: str
    words: str
    label: str
    sources: str
    date: str
    status: str
    footer: str
    away: str
    pause: str
    close: str


def quote_text(quote: Quote, snapshot: Snapshot, settings: Settings, language: Language) -> QuoteText:
    """Return the texts of a quote of a snapshot."""
    base, own_date = snapshot.base, quote.date if quote.date != snapshot.as_of else None
    decimals = shown_decimals(quote)
    name, rate = language.name(quote.code), language.number(quote.rate, decimals)
    percent = language.percent(quote.percent)
    previous = language.number(quote.previous, decimals)
    note, source = _note(quote, settings, language), _source(quote, settings, language)
    sentence = _sentence(quote, base, percent, note, language)
    buy, sell = _sides(quote, language)
    return QuoteText(
        name=name,
        rate=rate,
        previous=previous,
        change=language.number(quote.change, decimals, signed=True),
        percent=percent,
        sentence=f"{sentence}, {language.long_date(own_date)}" if own_date else sentence,
        details=_details(quote, f"{name}: {rate} {base}", previous, note or source, language),
        note=note,
        source=source,
        date=language.date(quote.date),
        previous_date=language.date(quote.previous_date),
        own_date=language.date(own_date),
        buy=buy,
        sell=sell,
    )


def spark_text(quote: Quote, language: Language) -> str:
    """Return the text alternative of a quote's sparkline. Its history must not be empty."""
    rates = [rate for _, rate in quote.history]
    decimals = shown_decimals(quote, min(rates), max(rates))
    low, high = (language.number(rate, decimals) for rate in (min(rates), max(rates)))
    first, last = (language.long_date(day) for day, _ in (quote.history[0], quote.history[-1]))
    pattern = language.ngettext(*messages.SPARK, len(rates)) if language.spoken else messages.SPARK_WITHOUT_WORDS
    return pattern.format(count=len(rates), first=first, last=last, low=low, high=high)


def ticker_text(snapshot: Snapshot, settings: Settings, language: Language, period: Period = Period.DAY) -> TickerText:
    """Return the texts of a ticker; `period` is that of its quotes' changes."""
    used = dict.fromkeys(quote.source for quote in snapshot.quotes if quote.source)
    short_names = dict.fromkeys(settings.sources[key].short_name or key.upper() for key in used)
    names = "; ".join(source_name(settings.sources[key], language) for key in used)
    compared = _compared(snapshot, language, period)
    return TickerText(
        lang=language.tag,
        dir=language.dir,
        words=language.words_tag,
        label=language.gettext(messages.LABEL).format(base=language.base(snapshot.base))
        if language.spoken
        else language.name(snapshot.base),
        sources=", ".join(short_names),
        date=_dates(snapshot.as_of, period, language),
        status=language.gettext(messages.STATUS[snapshot.status]),
        footer=f"{compared.removesuffix('.')}. {names}" if names else compared,
        away=language.gettext(messages.NO_CONNECTION),
        pause=language.gettext(messages.PAUSE),
        close=language.gettext(messages.CLOSE),
    )


def _dates(day: date, period: Period, language: Language) -> str:
    """Return the date of a ticker; of a longer period, its first and last day."""
    last = language.date(day)
    return last if period is Period.DAY else f"{language.date(begin(period, day))} \N{EN DASH} {last}"


def shown_decimals(quote: Quote, *others: Decimal) -> int:
    """Return the number of decimals to show: the most that a published rate of the quote, or of `others`, has.

    Rates with many digits are derived, or computed by the source: six digits of the quote's rate are shown.
    """
    if quote.rate is None:
        return 0
    values = [value for value in (quote.rate, quote.previous, *others) if value is not None]
    if quote.cross or any(len(value.as_tuple().digits) >= DERIVED_DIGITS for value in values):
        return max(2, _SHOWN_DIGITS - quote.rate.adjusted() - 1)
    return _decimals(*values)


def _decimals(*values: Decimal) -> int:
    exponents = (value.as_tuple().exponent for value in values)
    return max(0, *(-exponent for exponent in exponents if isinstance(exponent, int)))


def _sides(quote: Quote, language: Language) -> tuple[str | UnsetType, str | UnsetType]:
    """Return the buying and the selling rate with their labels; unset without them."""
    buying, selling = quote.buying, quote.selling
    if buying is None or selling is None:
        return UNSET, UNSET
    decimals = _decimals(buying, selling)
    if any(len(side.as_tuple().digits) >= DERIVED_DIGITS for side in (buying, selling)):
        decimals = max(2, _SHOWN_DIGITS - buying.adjusted() - 1)
    buy, sell = (language.number(side, decimals) for side in (buying, selling))
    return language.gettext(messages.BUY).format(rate=buy), language.gettext(messages.SELL).format(rate=sell)


def _sentence(quote: Quote, base: str, percent: str, note: str, language: Language) -> str:
    if language.spoken:
        pattern = language.gettext(messages.CHANGE[quote.direction])
        value = language.number(abs(quote.percent or Decimal(0)), 2)
        name = language.name_of_one(quote.code)
        sentence = pattern.format(name=name, percent=value, base=language.base(base))
    else:
        sentence = f"{language.name(quote.code)} {percent}"
    return f"{sentence} ({note})" if note else sentence


def _details(quote: Quote, rate: str, previous: str, source: str, language: Language) -> str:
    if quote.date is None:
        return f"{language.name(quote.code)}: {source}"
    comparison = ""
    if quote.previous_date:
        before = f", {language.gettext(messages.PREVIOUS)}" if language.spoken else " /"
        comparison = f"{before} {previous} ({language.date(quote.previous_date)})"
    return f"{rate} ({language.date(quote.date)}){comparison}. {source}"


def _note(quote: Quote, settings: Settings, language: Language) -> str:
    """Return the note of a quote: its source if it is a fallback source or the rate a cross rate; else empty."""
    if quote.source is None:
        return language.gettext(messages.NOT_AVAILABLE)
    source = settings.sources[quote.source]
    notes = [language.gettext(messages.CROSS_RATE)] if quote.cross else []
    if quote.choice and quote.choice > 1 and not source.recorded:
        notes.append(language.gettext(messages.FALLBACK))
    return ", ".join([source_name(source, language), *notes]) if notes else ""


def _source(quote: Quote, settings: Settings, language: Language) -> str:
    return source_name(settings.sources[quote.source], language) if quote.source else ""


def source_name(source: SourceSettings, language: Language) -> str:
    """Return the name of a source in the language of the messages; its own name if there is none."""
    return source.names.get(language.words_tag, source.name)


def _compared(snapshot: Snapshot, language: Language, period: Period) -> str:
    """Return the date, and the date it is compared with.

    That is the date of the previous rates if it is the same for all quotes; else the first day of a longer period, or
    none.
    """
    date = language.long_date(snapshot.as_of)
    dates = {quote.date for quote in snapshot.quotes if quote.date}
    previous_dates = {quote.previous_date for quote in snapshot.quotes if quote.date == snapshot.as_of}
    previous_date = None
    if dates == {snapshot.as_of} and len(previous_dates) == 1:
        previous_date = previous_dates.pop()
    if previous_date is None and period is not Period.DAY:
        previous_date = begin(period, snapshot.as_of)
    if previous_date is None:
        return date
    previous = language.long_date(previous_date)
    if language.spoken:
        return language.gettext(messages.COMPARED).format(date=date, previous=previous)
    return f"{date} / {previous}"
