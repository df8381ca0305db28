"""Settings: loaded from TOML and the environment, frozen, with clear errors."""

import tomllib
from datetime import time, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.domain import holidays
from service.errors import SettingsError
from service.settings import Settings, load
from service.settings.loader import DEFAULT, ROOT
from service.settings.types import Window
from service.sources.registry import validate


def test_default_configuration_is_complete() -> None:
    """Without a file or variables the tenge ticker is configured with all its sources."""
    settings = load(environ={})
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.store.url.get_secret_value() == "embedded"
    ticker = settings.tickers[0]
    assert (ticker.id, ticker.base, ticker.currencies) == ("kzt", "KZT", ("USD", "EUR", "RUB", "GBP", "CNY"))
    assert ticker.sources == ("nbk", "cbr", "nbu", "cbu", "recorded")
    assert settings.sources["nbk"].window == Window(time(15, 30), time(19))


def test_source_is_polled_if_a_ticker_names_it_or_a_setting_enables_it() -> None:
    default = {"nbk", "cbr", "ecb", "nbu", "cbu", "recorded"}
    settings = load(environ={"TICKER_SOURCES__NBG__ENABLED": "true"})
    assert set(settings.polled) == default | {"nbg"}
    ticker = {"id": "byn", "base": "BYN", "currencies": ["USD"], "sources": ["nbrb"]}
    settings = load(environ={"TICKER_SOURCES__ECB__ENABLED": "false"}, overrides={"tickers": [ticker]})
    assert set(settings.polled) == default - {"ecb", "recorded"} | {"nbrb"}


def test_production_has_no_sample_data() -> None:
    """The shipped production file neither shows nor polls the `recorded` source."""
    settings = load(ROOT / "config" / "production.toml", environ={})
    assert "recorded" not in settings.tickers[0].sources
    assert "recorded" not in settings.polled


def test_later_layers_override_earlier_ones(tmp_path: Path) -> None:
    """Default, file, environment, command line: tables are merged, values and lists are replaced."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[http]\nport = 1\n[sources.nbk]\nname = "Mine"\nevery = 900\n'
        '[[tickers]]\nid = "eur"\nbase = "eur"\ncurrencies = ["usd"]\nsources = ["ecb"]\n'
    )
    environ = {
        "TICKER_CONFIG": str(file),
        "TICKER_HTTP__HOST": "::1",
        "TICKER_HTTP__PORT": "2",
        "TICKER_SOURCES__NBK__URL": "http://127.0.0.1:1",
        "TICKER_SOURCES__NBK__SWEEP": "PT15M",
        "TICKER_SOURCES__CBR__SWEEP": "90",
        "UNRELATED": "1",
    }
    settings = load(environ=environ, overrides={"http": {"port": 3}})
    assert (settings.http.host, settings.http.port) == ("::1", 3)
    assert [(ticker.id, ticker.base, ticker.currencies) for ticker in settings.tickers] == [("eur", "EUR", ("USD",))]
    nbk = settings.sources["nbk"]
    assert (nbk.name, nbk.url, nbk.base) == ("Mine", "http://127.0.0.1:1", "KZT")
    assert (nbk.every, nbk.sweep) == (timedelta(minutes=15), timedelta(minutes=15))
    assert settings.sources["cbr"].sweep == timedelta(seconds=90)


def test_source_that_no_layer_changes_is_validated_once() -> None:
    """The result is that of a validation of everything; a source that another layer changes is validated anew."""
    first, second = load(environ={}), load(environ={"TICKER_SOURCES__CBR__SWEEP": "90"})
    assert first == Settings.model_validate(tomllib.loads(DEFAULT.read_text(encoding="utf-8")))
    assert second.sources["nbk"] is first.sources["nbk"]
    assert second.sources["cbr"] == first.sources["cbr"].model_copy(update={"sweep": timedelta(seconds=90)})


def test_lists_in_the_environment_are_json() -> None:
    """Values that are not scalars are JSON."""
    tickers = '[{"id": "uzs", "base": "UZS", "currencies": ["USD", "KZT"], "sources": ["cbu"]}]'
    assert load(environ={"TICKER_TICKERS": tickers}).tickers[0].currencies == ("USD", "KZT")


TICKER = '[[tickers]]\nid = "kzt"\nbase = "KZT"\ncurrencies = ["USD"]\nsources = ["nbk"]\n'

NO_NETWORK = "must be an IP address or network like 10.0.0.0/8"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\nprot = 1", "mine.toml: http.prot: unknown setting; did you mean http.port?"),
        ("[htpt]\nport = 1", "mine.toml: htpt: unknown setting; did you mean http?"),
        ("[http]\nport = 65536", "http.port: "),
        ('[http]\nport = "x"', "http.port: "),
        ('[sources.nbk]\nwindow = "19:00-15:30"', "sources.nbk.window: must end after it starts"),
        ('[sources.nbk]\nwindow = "noon"', "sources.nbk.window: must look like"),
        ('[sources.nbk]\nwidow = "noon"', "sources.nbk.widow: unknown setting; did you mean sources.nbk.window?"),
        ("[http]\nnothing_like_it_at_all = 1", "http.nothing_like_it_at_all: unknown setting"),
        ('[sources.nbk]\ntimezone = "Asia/Astana-2"', "sources.nbk.timezone: must be an IANA time zone"),
        ('[sources.nbk]\ntimezone = "../etc/passwd"', "sources.nbk.timezone: "),
        ("[sources.nbk]\nevery = 0.5", "sources.nbk.every: "),
        ('[sources.nbk]\nsweep = "P9999D"', "sources.nbk.sweep: "),
        ('[sources.nbk]\nwindow = "15:30+02:00-19:00"', "sources.nbk.window: "),
        ('[sources.nbk]\nurl = "nonsense"', "sources.nbk.url: must be a URL like"),
        ('[sources.nbk]\nurl = "ftp://bank.example"', "sources.nbk.url: must be a URL like"),
        ('[sources.nbk]\nurl = "https://bank.example:port"', "sources.nbk.url: must be a URL like"),
        ('[http]\npublic_url = "http://[::1"', "http.public_url: must be a URL like"),
        ('[sources.nbk]\nurl = "https://user:pass@bank.example"', "sources.nbk.url: must not contain a login"),
        ('[sources.nbk]\nurl = "https://bank.example/?key=x"', "sources.nbk.url: must not have a query"),
        ('[sources.nbk]\nquotes = "USD dollar"', "sources.nbk.quotes.1: is not a currency code"),
        ('[sources.nbk]\nsince = "1999"', "sources.nbk.since: must be a date like"),
        ("[sources.nbk]\nsweep = 0", "sources.nbk.sweep: "),
        ('[sources.nbk]\nsweep = "soon"', "sources.nbk.sweep: "),
        ("[sources.nbk]\ndays = []", "sources.nbk.days: "),
        ('[sources.nbk]\nbase = "TENGE"', "sources.nbk.base: "),
        ('[sources.xyz]\nname = "X"', "mine.toml: sources.xyz.base: is required"),
        (TICKER.replace('"USD"', '"USX"'), "tickers.0.currencies.0: is not a currency code of ISO 4217"),
        (TICKER.replace('"USD"', '"KZT"'), "tickers.0: currencies names the base KZT"),
        (TICKER.replace('"USD"', '"USD", "usd"'), "tickers.0: currencies names USD twice"),
        (TICKER.replace('"nbk"', '"nbk", "cbr", "nbk"'), "tickers.0: sources names nbk twice"),
        (TICKER + TICKER, "tickers: two have the same id 'kzt'"),
        (TICKER.replace('"nbk"', '"nkb"'), "tickers.kzt.sources: unknown or disabled source 'nkb' (enabled: nbk"),
        (TICKER.replace('"kzt"', '"Kzt!"'), "tickers.0.id: "),
        ('[http]\nproxies = ["10.0.0.0/33"]', f"mine.toml: http.proxies.0: {NO_NETWORK}"),
        ('[http]\nproxies = ["::1", "10.0.0.0/8,foo"]', f"mine.toml: http.proxies.1: {NO_NETWORK}"),
        ("[http]\nproxies = [1]", f"mine.toml: http.proxies.0: {NO_NETWORK}"),
        (
            '[http]\nproxies = ["10.0.0.1/8"]',
            "mine.toml: http.proxies.0: is an address within a network; did you mean 10.0.0.0/8?",
        ),
        ('[http]\nproxies = ["fd00::1/8"]', "within a network; did you mean fd00::/8?"),
        ('[http]\nproxies = ["10.0.0.1/0"]', "mine.toml: http.proxies.0: is an address within a network"),
        ('[sources.BAD]\nname = "X"', "mine.toml: sources.BAD: must match ^[a-z0-9]"),
        ("[http\n", "invalid TOML"),
    ],
)
def test_invalid_setting_is_reported_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    """An unknown key or an invalid value is reported with its key."""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file, environ={})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).count(message) == 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("TICKER_HTPT__PORT", "1", r"TICKER_HTPT__PORT: htpt: unknown setting; did you mean http\?"),
        ("TICKER_HTTP__PROT", "1", r"^TICKER_HTTP__PROT: unknown setting; did you mean http.port\?"),
        ("TICKER_TICKERS", '[{"id": "x"}]', "^TICKER_TICKERS: tickers.0.base: is required"),
        (
            "TICKER_TICKERS",
            '[{"id": "x", "base": "KZT", "currencies": ["EURO"], "sources": ["nbk"]}]',
            r"^TICKER_TICKERS: tickers.0.currencies.0: is not a currency code of ISO 4217$",
        ),
        ("TICKER_FOO", "1", "^TICKER_FOO: unknown setting$"),
        ("TICKER_HTTP_PORT", "1", r"^TICKER_HTTP_PORT: unknown setting; did you mean TICKER_HTTP__PORT\?$"),
        ("TICKER_STORE_URL_FILE", "1", r"_FILE: unknown setting; did you mean TICKER_STORE__URL_FILE\?$"),
        ("TICKER_SOURCES_NBK_DAYS_OFF", "1", r"unknown setting; did you mean TICKER_SOURCES__NBK__DAYS_OFF\?$"),
        ("TICKER_SOURCES_XYZ_URL", "1", r"unknown setting; did you mean sources\?$"),
        ("TICKER_TICKERS_ID", "1", r"unknown setting; did you mean tickers\?$"),
        ("TICKER_HTTP__PORT", "x", "^TICKER_HTTP__PORT: http.port: "),
        ("TICKER_TICKERS", "[oops", r"TICKER_TICKERS: invalid JSON"),
        ("TICKER_HTTP", "x", "^TICKER_HTTP: http: "),
        ("TICKER_CONFIG", "/nowhere.toml", "/nowhere.toml: cannot be read: No such file"),
        ("TICKER_HTTP__PROXIES", "10.0.0.0/8,foo", f"^TICKER_HTTP__PROXIES: http.proxies.1: {NO_NETWORK}$"),
        ("TICKER_HTTP__PROXIES", '["10.0.0.0/8","x"]', f"^TICKER_HTTP__PROXIES: http.proxies.1: {NO_NETWORK}$"),
        ("TICKER_HTTP__FRAME_ANCESTORS", "https://a.example ###", "^TICKER_HTTP__FRAME_ANCESTORS: .*_ancestors.1: "),
        ("TICKER_SOURCES__NBK__DAYS_OFF", "2026-01-01,x", "^TICKER_SOURCES__NBK__DAYS_OFF: sources.nbk.days_off.1: "),
    ],
)
def test_invalid_variable_is_an_error(variable: str, value: str, message: str) -> None:
    """The environment is validated as strictly as the file."""
    with pytest.raises(SettingsError, match=message):
        load(environ={variable: value})


def test_networks_of_proxies_are_read() -> None:
    """A single address is a network; a mask may be written out."""
    proxies = load(environ={"TICKER_HTTP__PROXIES": "::1, 10.0.0.0/255.0.0.0 10.0.0.1/32 192.168.1.1"}).http.proxies
    assert list(map(str, proxies)) == ["::1/128", "10.0.0.0/8", "10.0.0.1/32", "192.168.1.1/32"]


def service_links(service: str, host: str, **ports: int) -> dict[str, str]:
    """Return the variables that the kubelet sets for a service (`FromServices` of its package `envvars`)."""
    at = f"[{host}]" if ":" in host else host
    links = {f"{service}_SERVICE_HOST": host}
    for name, port in ports.items():
        links.setdefault(f"{service}_SERVICE_PORT", str(port))
        links.setdefault(f"{service}_PORT", f"tcp://{at}:{port}")
        links[f"{service}_SERVICE_PORT_{name}"] = str(port)
        each = {"": f"tcp://{at}:{port}", "_PROTO": "tcp", "_PORT": str(port), "_ADDR": host}
        links |= {f"{service}_PORT_{port}_TCP{suffix}": value for suffix, value in each.items()}
    return links


@pytest.mark.parametrize("service", ["TICKER", "TICKER_VALKEY", "TICKER_STORE_2"])
@pytest.mark.parametrize("host", ["10.96.12.7", "fd00:10:96::7"])
def test_variables_of_kubernetes_for_a_service_are_ignored(service: str, host: str) -> None:
    """Services named `ticker` or `ticker-*` do not stop the start of a pod in their namespace."""
    links = service_links(service, host, HTTP=8080, METRICS_2=9090)
    assert load(environ=links | {"TICKER_HTTP__PORT": "9000"}) == load(environ={"TICKER_HTTP__PORT": "9000"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TICKER_HTTP_PORT", "9000"),
        ("TICKER_HTTP_PORT", "tcp://10.96.12.7:9000"),  # of a service without a host
        ("TICKER_VALKEY_PORT", "9000"),
        ("TICKER_VALKEY_PORT", "tcp://10.96.12.8:6379"),
        ("TICKER_VALKEY_PORT", "http://10.96.12.7:6379"),
        ("TICKER_VALKEY_PORT_6379_TCP", "tcp://10.96.12.7:6380"),
        ("TICKER_VALKEY_PORT_6379_TCP_ADDR", "valkey"),
        ("TICKER_VALKEY_SERVICE_PORT", "x"),
        ("TICKER_VALKEY_URL", "tcp://10.96.12.7:6379"),
    ],
)
def test_variable_that_only_resembles_one_of_kubernetes_is_an_error(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: unknown setting"):
        load(environ=service_links("TICKER_VALKEY", "10.96.12.7", VALKEY=6379) | {variable: value})


def test_secret_is_never_shown() -> None:
    """A password in the store URL appears in no representation and in no error."""
    settings = load(environ={"TICKER_STORE__URL": "redis://:canary@h/0"})
    assert "canary" not in f"{settings!r}{settings}{settings.model_dump_json()}"
    with pytest.raises(SettingsError) as error:
        load(
            environ={
                "TICKER_STORE__URL": "redis://:canary@h/0",
                "TICKER_STORE__URL__X": "canary",
                "TICKER_HTTP__X": "1",
            }
        )
    assert "canary" not in str(error.value)


def test_url_of_the_store_may_be_in_a_file(tmp_path: Path) -> None:
    """A mounted secret, read anew at each load; no representation and no error shows its content."""
    file = tmp_path / "url"
    variables = {"TICKER_STORE__URL_FILE": str(file)}
    for url in ("redis://:canary1@h/0", "redis://:canary2@h/0"):
        file.write_text(f"{url}\n", encoding="utf-8")
        settings = load(environ=variables)
        assert settings.store.url.get_secret_value() == url
        assert "canary" not in f"{settings!r}{settings}{settings.model_dump_json()}"
    assert load(environ={"TICKER_STORE__URL_FILE": ""}).store.url.get_secret_value() == "embedded"
    file.write_bytes(b"\xffcanary")
    for name in (file, tmp_path, tmp_path / "nothing"):
        with pytest.raises(SettingsError) as error:
            load(environ=variables | {"TICKER_STORE__URL_FILE": str(name)})
        assert str(error.value) == "TICKER_STORE__URL_FILE: store.url_file: cannot be read as a text file"
    with pytest.raises(SettingsError, match=r"^TICKER_STORE__URL_FILE: store\.url_file: must be text$"):
        load(environ={"TICKER_STORE__URL_FILE": "[1]"})


def test_url_of_the_store_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    """Neither overrides the other silently, wherever they are set; an empty `url_file` is none."""
    file, config = tmp_path / "url", tmp_path / "ticker.toml"
    file.write_text("redis://:canary1@h/0", encoding="utf-8")
    config.write_text(f'[store]\nurl_file = "{file}"\n', encoding="utf-8")
    url = {"TICKER_STORE__URL": "redis://:canary2@other/0"}
    for path, variables in ((config, url), (None, url | {"TICKER_STORE__URL_FILE": str(file)})):
        with pytest.raises(SettingsError) as error:
            load(path, environ=variables)
        assert str(error.value) == (
            "TICKER_STORE__URL: store.url: must not be set together with url_file (TICKER_STORE__URL_FILE): remove one"
            " of them"
        )
    file.unlink()
    with pytest.raises(SettingsError, match=r"^TICKER_STORE__URL_FILE: .* a text file; TICKER_STORE__URL: .* together"):
        load(environ=url | {"TICKER_STORE__URL_FILE": str(file)})
    no_file = load(config, environ=url | {"TICKER_STORE__URL_FILE": ""})
    assert no_file.store.url.get_secret_value() == url["TICKER_STORE__URL"]


def test_settings_are_frozen() -> None:
    """Settings cannot be changed once they are loaded."""
    with pytest.raises(ValidationError):
        load(environ={}).http.port = 1


def test_frame_ancestors_are_a_list_or_a_string() -> None:
    """Both forms are equivalent; values that could inject another directive are rejected."""
    for value in ('["https://a.example", "*.b.example"]', "https://a.example *.b.example"):
        http = load(environ={"TICKER_HTTP__FRAME_ANCESTORS": value}).http
        assert http.frame_ancestors == ("https://a.example", "*.b.example")
    for bad in ("https://a.example; script-src *", "", "none'"):
        with pytest.raises(SettingsError, match=r"http\.frame_ancestors"):
            load(environ={"TICKER_HTTP__FRAME_ANCESTORS": bad})


def test_unknown_calendar_is_an_error() -> None:
    """Reject a value of the wrong form and an unknown country."""
    with pytest.raises(SettingsError, match=r"sources\.nbk\.calendar: must match "):
        load(environ={"TICKER_SOURCES__NBK__CALENDAR": "Kazakhstan"})
    for unknown in ("XX", "BANK", "GB-XXX", "XX-ENG"):  # BANK is a constant of the library
        with pytest.raises(SettingsError, match=rf"sources\.nbk\.calendar: unknown calendar '{unknown}'"):
            validate(load(environ={"TICKER_SOURCES__NBK__CALENDAR": unknown}))


def test_every_calendar_that_can_be_loaded_is_known() -> None:
    """The check by name refuses no calendar that the library can load."""
    for known in ("", "KZ", "IL", "US", "XECB", "XNYS", "GB-ENG"):
        holidays.check(known)
        assert holidays.days_off(known, 2026) or not known


WEBHOOK = (
    '[[webhooks]]\nurl = "https://r.example/events"\nsecret = "whsec_c2VjcmV0IG9mIGEgdGVzdCwgMzIgYnl0ZXMgbG9uZyE="\n'
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (WEBHOOK.replace("https", "http"), "webhooks.0: url must begin with https:// unless allow_private is set"),
        (WEBHOOK.partition("secret")[0], "webhooks.0: secret is required"),
        (WEBHOOK.replace("whsec_", ""), "webhooks.0.secret.0: must be whsec_ and 24 to 64 random bytes in base64"),
        (WEBHOOK.replace("IGVz", "").replace("MzIgYnl0ZXMgbG9uZyE=", ""), "webhooks.0.secret.0: must be whsec_"),
        (WEBHOOK.replace("r.example", "user:p@r.example"), "webhooks.0.url: must not contain a login or a fragment"),
        (WEBHOOK.replace("https://r.example/events", "r.example"), "webhooks.0.url: must be a URL like https://"),
        (WEBHOOK + WEBHOOK, "webhooks: two have the same name or host 'r.example'; set name"),
        (WEBHOOK + 'events = ["ticker.moved"]', "webhooks.0.events.0: must be one of 'ticker.changed', "),
        (WEBHOOK + "threshold = -1", "webhooks.0.threshold: must be"),
        (WEBHOOK + "tresh = 1", "webhooks.0.tresh: unknown setting; did you mean"),
    ],
)
def test_invalid_webhook_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file, environ={})
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[client]\npause = 0", "client.pause: must be greater than 0 s"),
        ("[client]\npause = 1e9", "client.pause: must be at most 3.16224e+07 s"),
        ("[http]\nhost = ''", "http.host: must not be empty"),
        ("[sources.nbk]\nevery = 0.5", "sources.nbk.every: must be at least 1 s"),
    ],
)
def test_limit_of_a_duration_is_in_seconds(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as error:
        load(file, environ={})
    assert problem in str(error.value)


def test_webhook_is_named_after_its_host(tmp_path: Path) -> None:
    """Its own name counts first. Several secrets may be given, also as one text."""
    file = tmp_path / "mine.toml"
    secret = WEBHOOK.partition('secret = "')[2].strip('"\n')
    file.write_text(WEBHOOK + WEBHOOK.replace(secret, f"{secret} {secret}") + 'name = "other"\nallow_private = true')
    first, second = load(file, environ={}).webhooks
    assert (first.label, len(first.secret), first.events) == ("r.example", 1, ("ticker.changed",))
    assert (second.label, len(second.secret)) == ("other", 2)
