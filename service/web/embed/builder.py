"""The words of the page at `/`, on which a site owner makes a strip. To add a language, add a `BuilderMessages`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

LANGUAGES: Final[Mapping[str, str]] = {
    "kk": "Қазақша",
    "ru": "Русский",
    "en": "English",
    "ar": "العربية",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "ky": "Кыргызча",
    "tr": "Türkçe",
    "uz": "O‘zbekcha",
    "zh": "中文",
}
"""What the page offers, by their own names; any other that CLDR has can be written by hand."""


@dataclass(frozen=True, slots=True)
class BuilderMessages:
    title: str
    lead: str
    make: str
    ticker: str
    currencies: str
    language: str
    theme: str
    layout: str
    figures: str
    values: Mapping[str, str]
    """How the values of theme, layout and figures are called."""
    as_page: str
    spark: str
    live: str
    preview: str
    take: str
    snippets: Mapping[str, str]
    copy: str
    copied: str
    no_script: str
    caption: str
    columns: tuple[str, str, str, str, str]
    more: str
    sources: str
    health: str
    docs: str


BUILDER: Final[Mapping[str, BuilderMessages]] = {
    "en": BuilderMessages(
        title="Currency ticker",
        lead="What a currency costs by its bank’s official rate, and how that changed since the publication before.",
        make="Make yours",
        ticker="Ticker",
        currencies="Currencies",
        language="Language",
        theme="Theme",
        layout="Layout",
        figures="Figures",
        values={
            "auto": "as the reader has it",
            "light": "light",
            "dark": "dark",
            "transparent": "transparent",
            "strip": "strip",
            "list": "list",
            "tape": "moving tape",
            "rate": "rate",
            "change": "change",
            "percent": "percent",
        },
        as_page="As the page",
        spark="Sparkline of the last 30 publications",
        live="Update at once, by a stream",
        preview="Preview",
        take="Take it",
        snippets={
            "element": "On a page: one line of HTML",
            "iframe": "In a frame: needs no script",
            "svg": "As a picture: README, e-mail",
            "html": "For a server-side include",
            "oembed": "For an editor that knows oEmbed",
            "json": "For programs",
        },
        copy="Copy",
        copied="Copied",
        no_script="Choosing needs JavaScript. Without it, the strip can be taken like this:",
        caption="Every figure leads to what the bank published",
        columns=("Currency", "Rate", "Before", "Change", "Source"),
        more="More",
        sources="the banks, their last publication and the next poll",
        health="what works and what does not",
        docs="all of it, described for programs and people",
    ),
    "ru": BuilderMessages(
        title="Курсы валют строкой",
        lead="Сколько стоит валюта по официальному курсу и как он изменился с предыдущей публикации.",
        make="Соберите свою строку",
        ticker="Набор",
        currencies="Валюты",
        language="Язык",
        theme="Тема",
        layout="Вид",
        figures="Показатели",
        values={
            "auto": "как у читателя",
            "light": "светлая",
            "dark": "тёмная",
            "transparent": "прозрачная",
            "strip": "строка",
            "list": "список",
            "tape": "бегущая строка",
            "rate": "курс",
            "change": "изменение",
            "percent": "процент",
        },
        as_page="Как на странице",
        spark="График последних 30 публикаций",
        live="Обновлять сразу, потоком",
        preview="Предпросмотр",
        take="Возьмите код",
        snippets={
            "element": "На страницу: одна строка HTML",
            "iframe": "Во фрейме: без скриптов",
            "svg": "Картинкой: README, письма",
            "html": "Для включения на сервере (SSI)",
            "oembed": "Для редактора с oEmbed",
            "json": "Для программ",
        },
        copy="Скопировать",
        copied="Скопировано",
        no_script="Для выбора нужен JavaScript. Без него строку можно взять так:",
        caption="От каждой цифры можно перейти к публикации банка",
        columns=("Валюта", "Курс", "До этого", "Изменение", "Источник"),
        more="Ещё",
        sources="банки, их последняя публикация и следующий опрос",
        health="что работает и что нет",
        docs="полное описание интерфейса",
    ),
    "kk": BuilderMessages(
        title="Валюта бағамдарының жолағы",
        lead="Валютаның ресми бағамы және оның алдыңғы жарияланымнан бергі өзгерісі.",
        make="Өз жолағыңызды жасаңыз",
        ticker="Жинақ",
        currencies="Валюталар",
        language="Тіл",
        theme="Тақырып",
        layout="Түрі",
        figures="Көрсеткіштер",
        values={
            "auto": "оқырмандағыдай",
            "light": "ашық",
            "dark": "қараңғы",
            "transparent": "мөлдір",
            "strip": "жолақ",
            "list": "тізім",
            "tape": "жүгірме жол",
            "rate": "бағам",
            "change": "өзгеріс",
            "percent": "пайыз",
        },
        as_page="Беттегідей",
        spark="Соңғы 30 жарияланымның сызығы",
        live="Бірден, ағынмен жаңарту",
        preview="Алдын ала қарау",
        take="Кодты алыңыз",
        snippets={
            "element": "Бетке: HTML-дің бір жолы",
            "iframe": "Фреймде: скриптсіз",
            "svg": "Сурет ретінде: README, хат",
            "html": "Серверде қосу үшін (SSI)",
            "oembed": "oEmbed білетін редактор үшін",
            "json": "Бағдарламалар үшін",
        },
        copy="Көшіру",
        copied="Көшірілді",
        no_script="Таңдау үшін JavaScript керек. Онсыз жолақты былай алуға болады:",
        caption="Әр саннан банктің жарияланымына өтуге болады",
        columns=("Валюта", "Бағам", "Бұрын", "Өзгеріс", "Дереккөз"),
        more="Тағы да",
        sources="банктер, соңғы жарияланым және келесі сұрау",
        health="қызметтің жай-күйі",
        docs="интерфейстің толық сипаттамасы",
    ),
}
