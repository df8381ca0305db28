"""The wire formats of all banks, with documents as long as the real ones; write them, and read what is requested.

`%(day)s`, `%(code)s`, `%(value)s` and `%(units)s` are placeholders.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from service.sources.banks.boe import SERIES

_NAME: Final = "доллар или евро"


@dataclass(frozen=True)
class Form:
    """The format of a bank: `head` and `day` have the date, a `row` has the rate as well."""

    head: str
    row: str
    tail: str = ""
    day: str = ""
    end: str = ""
    between: str = ""
    """The separator of days and of rows."""
    date: str = "%Y-%m-%d"
    span: str = "range"
    """The days of a response: the requested `range`, the `day`, the last one `until` it, or the `latest`."""
    weekends: bool = False
    """Whether weekends repeat the rates before them."""
    comma: bool = False
    units: bool = True


_SOAP = '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
_CBA = "ExchangeRatesByDateRangeByISO"
_VALUTE = (
    '<Valute ID="R01010">\n<NumCode>036</NumCode>\n<CharCode>%(code)s</CharCode>\n<Nominal>%(units)s</Nominal>\n'
    f"<Name>{_NAME}</Name>\n<Value>%(value)s</Value>\n</Valute>\n"
)
_VAL_CURS = '<?xml version="1.0" encoding="utf-8"?>\n<ValCurs Date="%(day)s" name="Foreign Currency Market">\n'
FORMS: Final = {
    "nbk": Form(
        '<?xml version="1.0" encoding="utf-8"?>\n<rates>\n<date>%(day)s</date>\n',
        f"            <item>\n            <fullname>{_NAME}</fullname>\n            <title>%(code)s</title>\n"
        "            <description>%(value)s</description>\n            <quant>%(units)s</quant>\n"
        "            <index>UP</index>\n            <change>0.00</change>\n            </item>\n        ",
        "</rates>",
        date="%d.%m.%Y",
        span="day",
        weekends=True,
    ),
    "cbr": Form(_VAL_CURS, _VALUTE, "</ValCurs>", date="%d.%m.%Y", span="until", comma=True),
    "ecb": Form("FREQ,CURRENCY,TIME_PERIOD,OBS_VALUE\n", "D,%(code)s,%(day)s,%(value)s\n", units=False),
    "nbu": Form(
        "[\n",
        '{ \n"exchangedate":"%(day)s","r030":840,"cc":"%(code)s","txt":"' + _NAME + '","enname":"US Dollar",'
        '"rate":%(value)s,"units":%(units)s,"rate_per_unit":%(value)s,"group":"1","calcdate":"%(day)s",'
        '"special":null\n }\n',
        "]",
        between=",",
        date="%d.%m.%Y",
        weekends=True,
    ),
    "cbu": Form(
        "[",
        '{"id":69,"Code":"840","Ccy":"%(code)s","CcyNm_RU":"'
        + _NAME
        + '","CcyNm_UZ":"AQSH dollari","CcyNm_UZC":"'
        + _NAME
        + '","CcyNm_EN":"US Dollar","Nominal":"%(units)s","Rate":"%(value)s","Diff":"0","Date":"%(day)s"}',
        "]",
        between=",",
        date="%d.%m.%Y",
        span="day",
    ),
    "nbrb": Form(
        "[",
        '{"Cur_ID":431,"Date":"%(day)s","Cur_Abbreviation":"%(code)s","Cur_Scale":%(units)s,"Cur_Name":"'
        + _NAME
        + '","Cur_OfficialRate":%(value)s}',
        "]",
        between=",",
        date="%Y-%m-%dT00:00:00",
        span="day",
        weekends=True,
    ),
    "nbkr": Form(
        '<?xml version="1.0" encoding="utf-8"?>\n<CurrencyRates Name="Daily Exchange Rates" Date="%(day)s">\n',
        '<Currency ISOCode="%(code)s">\n<Nominal>%(units)s</Nominal>\n<Value>%(value)s</Value>\n</Currency>\n',
        "</CurrencyRates>",
        date="%d.%m.%Y",
        span="latest",
        comma=True,
    ),
    "nbg": Form(
        '[{"date":"%(day)s","currencies":[',
        '{"code":"%(code)s","quantity":%(units)s,"rateFormated":"%(value)s","diffFormated":"0.0000","rate":%(value)s,'
        '"name":"' + _NAME + '","diff":0,"date":"%(day)s","validFromDate":"%(day)s"}',
        "]}]",
        between=",",
        date="%Y-%m-%dT00:00:00.000Z",
        span="until",
    ),
    "nbm": Form(_VAL_CURS, _VALUTE, "</ValCurs>", date="%d.%m.%Y", span="day"),
    "cba": Form(
        f'<?xml version="1.0" encoding="utf-8"?>{_SOAP}<{_CBA}Response xmlns="http://www.cba.am/"><{_CBA}Result>'
        '<diffgr:diffgram xmlns:msdata="urn:schemas-microsoft-com:xml-msdata" '
        'xmlns:diffgr="urn:schemas-microsoft-com:xml-diffgram-v1"><DocumentElement xmlns="">',
        '<ExchangeRatesByRange diffgr:id="ExchangeRatesByRange1" msdata:rowOrder="0"><Rate>%(value)s</Rate>'
        "<Amount>%(units)s</Amount><ISO>%(code)s</ISO><Diff>0</Diff><RateDate>%(day)s</RateDate>"
        "</ExchangeRatesByRange>",
        f"</DocumentElement></diffgr:diffgram></{_CBA}Result></{_CBA}Response></soap:Body></soap:Envelope>",
        date="%Y-%m-%dT00:00:00+04:00",
    ),
    "nbt": Form(_VAL_CURS, _VALUTE, "</ValCurs>", span="until"),
    "nbp": Form(
        "[",
        '{"currency":"' + _NAME + '","code":"%(code)s","mid":%(value)s}',
        "]",
        day='{"table":"A","no":"041/A/NBP/2026","effectiveDate":"%(day)s","rates":[',
        end="]}",
        between=",",
        units=False,
    ),
    "cnb": Form(
        '{"rates":[',
        '{"currencyCode":"%(code)s","amount":%(units)s,"validFor":"%(day)s","rate":%(value)s}',
        "]}",
        between=",",
    ),
    "bnr": Form(
        '<?xml version="1.0" encoding="utf-8"?>\n<DataSet xmlns="https://www.bnr.ro/xsd"><Body>',
        '<Rate currency="%(code)s" multiplier="%(units)s">%(value)s</Rate>',
        "</Body></DataSet>",
        day='<Cube date="%(day)s">',
        end="</Cube>\n",
    ),
    "mnb": Form(
        f'{_SOAP}<GetExchangeRatesResponse xmlns="http://www.mnb.hu/webservices/"><GetExchangeRatesResult>'
        "&lt;MNBExchangeRates&gt;",
        '&lt;Rate unit="%(units)s" curr="%(code)s"&gt;%(value)s&lt;/Rate&gt;',
        "&lt;/MNBExchangeRates&gt;</GetExchangeRatesResult></GetExchangeRatesResponse></soap:Body></soap:Envelope>",
        day='&lt;Day date="%(day)s"&gt;',
        end="&lt;/Day&gt;",
        comma=True,
    ),
    "boc": Form(
        '{"terms": {}, "seriesDetail": {}, "observations": [',
        '            "FX%(code)sCAD": {\n                "v": "%(value)s"\n            }',
        "]}",
        day='        {\n            "d": "%(day)s",\n',
        end="\n        }",
        between=",\n",
        units=False,
    ),
    "boe": Form(
        f"DATE,{','.join(SERIES)}\n", "%(value)s", day="%(day)s,", end="\n", between=",", date="%d %b %Y", units=False
    ),
}

_DATES: Final = {
    r"\d{4}-\d\d-\d\d": "%Y-%m-%d",
    r"\d\d\.\d\d\.\d{4}": "%d.%m.%Y",
    r"\d\d/\d\d/\d{4}": "%d/%m/%Y",
    r"\d\d/[A-Z][a-z]{2}/\d{4}": "%d/%b/%Y",
    r"\d{8}": "%Y%m%d",
    r"20\d\d(?=&|\.xml)": "%Y",
}
_OPEN_ENDED: Final = ("ecb", "boc")
"""Banks whose requests have no end date if it is today."""


def requested_dates(key: str, text: str) -> tuple[date, date]:
    """Return the first and the last date of a request (path, query and body); the last day of a year for a year."""
    for pattern, form in _DATES.items():
        if matches := re.findall(pattern, text):
            days = [datetime.strptime(match, form).replace(tzinfo=UTC).date() for match in matches]
            begin = days[0]
            if FORMS[key].span == "day":
                return begin, begin
            if key in _OPEN_ENDED:
                return begin, date.max if len(days) < 2 else days[-1]
            return begin, begin.replace(month=12, day=31) if form == "%Y" else days[-1]
    return date.min, date.max


def written(key: str, begin: date, days: Iterable[date], rates: Callable[[date], Mapping[str, float]]) -> bytes:
    """Return the document of a bank with these days and their rates per unit; `begin` is the date in its head.

    `rates` has the same currencies every day; at the Bank of England those of its series, in their order.
    """
    form = FORMS[key]
    between = "" if key == "boe" else form.between
    parts = [
        form.day % {"day": day.strftime(form.date)}
        + form.between.join(_row(form, code, rate, day) for code, rate in rates(day).items())
        + form.end
        for day in days
    ]
    return (form.head.replace("%(day)s", begin.strftime(form.date)) + between.join(parts) + form.tail).encode()


def _row(form: Form, code: str, rate: float, day: date) -> str:
    units = 1
    while form.units and rate < 0.1 and units < 100_000:
        rate, units = rate * 10, units * 10
    digits = f"{Decimal(f'{rate:.6g}'):f}"
    value = digits.replace(".", ",") if form.comma else digits
    return form.row % {"code": code, "value": value, "units": units, "day": day.strftime(form.date)}
