"""The store's URL: every form, its parameters, and one clear error for each mistake."""

import re
from pathlib import Path
from typing import Any

import pytest
import trustme

from service.errors import SettingsError
from service.storage.store_url import StoreUrl, parse

SENTINELS = "redis+sentinel://h/main/0"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0}),
        ("redis:///2", {"host": "localhost", "port": 6379, "db": 2}),
        ("redis://u:p%40ss@h:1/3", {"host": "h", "port": 1, "db": 3, "username": "u", "password": "p@ss"}),
        ("redis://h/?db=4&username=u&password=a+b%26c", {"db": 4, "username": "u", "password": "a+b&c"}),
        ("redis://:p@ss@h", {"host": "h", "password": "p@ss"}),
        ("redis://[::1]", {"host": "::1", "port": 6379}),
        ("redis://:p@[2001:DB8::1]:7000/1", {"host": "2001:db8::1", "port": 7000, "db": 1}),
        ("redis://[fe80::1%25eth0]:1", {"host": "fe80::1%eth0", "port": 1}),
        ("rediss://h?ssl_check_hostname=false", {"host": "h", "ssl": True, "ssl_check_hostname": False}),
        ("unix:///run/a%20b.sock?db=1", {"unix_socket_path": "/run/a b.sock", "db": 1}),
        ("unix://u:p@/run/v.sock", {"unix_socket_path": "/run/v.sock", "username": "u", "password": "p"}),
    ],
)
def test_url_of_a_server_is_parsed(url: str, options: dict[str, Any]) -> None:
    """Also IPv6 addresses, and a plus sign in a parameter, which is no space."""
    parsed = parse(url)
    assert parsed.options == parsed.options | options
    assert "ssl" not in parsed.options or url.startswith("rediss")
    assert parsed.master is None


def test_url_of_sentinels_is_parsed() -> None:
    """Sentinels and the store have logins of their own; IPv6 addresses and names may be mixed."""
    parsed = parse(
        "rediss+sentinel://u:p@one,[::1],[2001:db8::2]:26380,10.0.0.1:1/m%20n/3?sentinel_username=su&sentinel_password=s%23"
    )
    assert parsed == StoreUrl(
        where="rediss+sentinel://one,[::1],[2001:db8::2]:26380,10.0.0.1:1/m%20n/3",
        options={"username": "u", "password": "p", "ssl": True, "db": 3},
        master="m n",
        sentinels=[("one", 26379), ("::1", 26379), ("2001:db8::2", 26380), ("10.0.0.1", 1)],
        sentinel_options={"username": "su", "password": "s#", "ssl": True},
    )


def test_sentinels_do_not_receive_the_password_of_the_store() -> None:
    assert parse("redis+sentinel://u:p@h/main/0").sentinel_options == {}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "is none of embedded, redis://"),
        ("redis://h?foo=1", "unknown parameter 'foo'; known: username, password, db"),
        ("rediss://h?ssl_ca=/x", "unknown parameter 'ssl_ca'; known: username, password, db, ssl_ca_certs, "),
        (f"{SENTINELS}?socket_timeout=5", "unknown parameter 'socket_timeout'; known: .*, sentinel_password"),
        ("redis://h?s3cret", "unknown parameter; known: username"),
        ("redis://h?password=s3&cret=1", r"unknown parameter \(in a password, write & as %26\); known"),
        ("redis://h?password=s3&cret", r"unknown parameter \(in a password, write & as %26\); known"),
        (f"{SENTINELS}?sentinel_password=s3&db=", r"the parameter db has no value \(in a password"),
        ("redis://h?db=1&db=2", "the parameter db is given twice"),
        ("redis://h?ssl_ca_certs=/x", "the parameter ssl_ca_certs needs rediss:// or rediss"),
        ("rediss://h?sentinel_password=s3cret", r"the parameter sentinel_password needs redis\+sentinel://"),
        (f"{SENTINELS}?sentinel_username=u", "sentinel_username needs sentinel_password"),
        ("redis://s3cret@h", r"has a user without a password; .*redis://:PASSWORD@host"),
        ("redis://h/ticker", "the database must be a number"),
        ("redis+sentinel://h/main/ticker", "the database must be a number"),
        ("redis+sentinel://h", "needs the addresses of Sentinels and the name of their master"),
        ("redis+sentinel:///main", "needs the addresses of Sentinels"),
        ("redis+sentinel://one,,two/main", "an address is not of the form host or host:port$"),
        ("redis://::1:6379/0", r"an IPv6 address is written in brackets, \[::1\]:6379"),
        ("redis+sentinel://::1:26379/main", r"an IPv6 address is written in brackets"),
        ("redis://[::g]:6379/0", "an address is not of the form"),
        ("redis://one,two/0", "an address is not of the form"),
        ("redis://h:0", "an address is not of the form"),
        ("redis://h:65536", "an address is not of the form"),
        ("redis://h:s3cret", "an address is not of the form"),
        ("unix://run/v.sock", "needs an absolute path"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname must be true or false"),
        ("rediss://h?ssl_ca_certs=/nowhere.pem", "ssl_ca_certs cannot be read as a file of certificates"),
        ("rediss+sentinel://h/main?ssl_ca_certs={junk}", "ssl_ca_certs cannot be read as a file of certificates"),
        ("rediss://h?ssl_keyfile=/k.pem", "ssl_keyfile needs ssl_certfile"),
        ("rediss://h?ssl_certfile={junk}", "ssl_certfile and ssl_keyfile cannot be read"),
    ],
)
def test_mistake_is_reported_in_one_line(tmp_path: Path, url: str, message: str) -> None:
    """The error names the setting and the problem, and contains no password."""
    (tmp_path / "junk").write_text("no certificate")
    with pytest.raises(SettingsError, match=f"^store\\.url: .*{message}") as error:
        parse(url.replace("{junk}", str(tmp_path / "junk")))
    assert not re.search("s3|cret", str(error.value).replace("ssl_ca_certs", ""))
    assert "\n" not in str(error.value)


def test_files_of_tls_are_read(tmp_path: Path) -> None:
    """Certificate authorities of the store, and the certificate of this client."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("ticker.example")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    parsed = parse(f"rediss://h?ssl_ca_certs={tmp_path}/ca.pem&ssl_certfile={tmp_path}/own.pem")
    assert parsed.options["ssl_ca_certs"] == f"{tmp_path}/ca.pem"
    assert parsed.options["ssl_certfile"] == f"{tmp_path}/own.pem"
