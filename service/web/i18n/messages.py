"""The words that the strip says, in the languages that we speak; numbers, dates and names are CLDR's.

To add a language, add a `Messages` here. What stands in braces is filled in by `formatting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.change import Trend
from service.domain.snapshot import Status

SPARK_WITHOUT_WORDS: Final = "{first} – {last}: {low} – {high}"
"""What a sparkline shows, in a language of which we have no words."""


@dataclass(frozen=True, slots=True)
class Messages:
    """What is said in one language."""

    spoken: Mapping[Trend | None, str]
    """The sentence that a screen reader says of a quote, by its direction; None: no change is known."""
    bases: Mapping[str, str]
    """How a base is named inside a sentence (in the case that the language wants there)."""
    base: str
    """The same for any other base."""
    status: Mapping[Status, str]
    label: str
    against: str
    """The date of the figures and the date that they are compared with."""
    before: str
    """Leads to the rate before."""
    spark: str
    """What a sparkline shows: how many publications, of which dates, between which rates. `count` is three or more."""
    nothing: str
    """No source quotes the currency."""
    cross: str
    choices: Mapping[int, str]
    later_choice: str
    away: str
    pause: str


WORDS: Final[Mapping[str, Messages]] = {
    "en": Messages(
        spoken={
            Trend.UP: "{name}, up {percent} percent against {base}",
            Trend.DOWN: "{name}, down {percent} percent against {base}",
            Trend.FLAT: "{name}, unchanged against {base}",
            None: "{name}, no change known",
        },
        bases={"KZT": "the tenge"},
        base="the {name}",
        status={
            Status.CURRENT: "up to date",
            Status.LATE: "update late",
            Status.STALE: "update overdue",
            Status.RECORDED: "recorded",
        },
        label="Currency changes against {base}",
        against="{date} against {previous}",
        before="before that",
        spark="{count} publications, {first} to {last}: lowest {low}, highest {high}",
        nothing="no source quotes it",
        cross="cross rate",
        choices={2: "second choice", 3: "third choice", 4: "fourth choice"},
        later_choice="a later choice",
        away="no connection",
        pause="Pause",
    ),
    "ru": Messages(
        spoken={
            Trend.UP: "{name}, рост на {percent} процента к {base}",
            Trend.DOWN: "{name}, снижение на {percent} процента к {base}",
            Trend.FLAT: "{name}, без изменений по отношению к {base}",
            None: "{name}, изменение неизвестно",
        },
        bases={
            "AMD": "армянскому драму", "AZN": "азербайджанскому манату", "BYN": "белорусскому рублю",
            "CAD": "канадскому доллару", "CNY": "юаню", "CZK": "чешской кроне", "EUR": "евро",
            "GBP": "фунту стерлингов", "GEL": "лари", "HUF": "форинту", "KGS": "киргизскому сому", "KZT": "тенге",
            "MDL": "молдавскому лею", "PLN": "злотому", "RON": "румынскому лею", "RUB": "рублю", "TJS": "сомони",
            "TRY": "турецкой лире", "UAH": "гривне", "USD": "доллару США", "UZS": "узбекскому суму",
            "CHF": "швейцарскому франку", "JPY": "японской иене", "KRW": "южнокорейской воне",
        },
        base="валюте {code}",
        status={
            Status.CURRENT: "актуально",
            Status.LATE: "обновление задерживается",
            Status.STALE: "данные устарели",
            Status.RECORDED: "архивные данные",
        },
        label="Изменение курсов валют к {base}",
        against="{date} по сравнению с {previous}",
        before="до этого",
        # The number stands apart: its noun would need three endings.
        spark="Публикации с {first} по {last} (всего {count}): минимум {low}, максимум {high}",
        nothing="ни один источник не котирует эту валюту",
        cross="кросс-курс",
        choices={2: "второй источник", 3: "третий источник", 4: "четвёртый источник"},
        later_choice="запасной источник",
        away="нет связи",
        pause="Пауза",
    ),
    "kk": Messages(
        spoken={
            Trend.UP: "{name}, {base} қатысты {percent} пайызға өсті",
            Trend.DOWN: "{name}, {base} қатысты {percent} пайызға төмендеді",
            Trend.FLAT: "{name}, {base} қатысты өзгерген жоқ",
            None: "{name}, өзгерісі белгісіз",
        },
        bases={
            "AMD": "Армения драмына", "AZN": "Әзірбайжан манатына", "BYN": "Беларусь рубліне",
            "CAD": "Канада долларына", "CNY": "Қытай юаніне", "CZK": "Чехия кронасына",
            "EUR": "еуроға",
            "GBP": "Британдық фунтқа", "GEL": "лариге", "HUF": "форинтке", "KGS": "Қырғызстан сомына",
            "KZT": "теңгеге",
            "MDL": "Молдова лейіне", "PLN": "Польша злотасына", "RON": "Румыния лейіне", "RUB": "рубльге",
            "TJS": "сомониге",
            "TRY": "Түрік лирасына", "UAH": "гривнаға", "USD": "АҚШ долларына", "UZS": "Өзбекстан сомына",
            "CHF": "Швейцария франкіне", "JPY": "Жапония иенасына", "KRW": "Оңтүстік Корея вонасына",
        },
        base="{code} валютасына",
        status={
            Status.CURRENT: "өзекті",
            Status.LATE: "жаңарту кешігуде",
            Status.STALE: "деректер ескірген",
            Status.RECORDED: "мұрағат деректері",
        },
        label="Валюта бағамдарының {base} қатысты өзгерісі",
        against="{date}, салыстыру күні: {previous}",
        before="бұған дейін",
        spark="{count} жарияланым, {first} – {last}: ең төмені {low}, ең жоғарысы {high}",
        nothing="ешбір дереккөз бағамын бермейді",
        cross="кросс-бағам",
        choices={2: "екінші дереккөз", 3: "үшінші дереккөз", 4: "төртінші дереккөз"},
        later_choice="қосалқы дереккөз",
        away="байланыс жоқ",
        pause="Кідірту",
    ),
}  # fmt: skip
