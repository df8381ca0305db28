"""A real WordPress with MariaDB and PHP's built-in server, from Debian's packages, in a temporary folder.

The packages are downloaded and unpacked, not installed. Programs refuse root or should not have it: if the tests run as
root, everything runs as `nobody`.
"""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.ports import unused_port
from tests.support.wait import wait_until

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of users that exist during a test
VERSION_FOLDER: Final = os.environ.get("WORDPRESS_DIR")
"""An unpacked WordPress of another version, to use instead of Debian's."""
_PROGRAMS: Final = ("php-cli", "php-mysql", "mariadb-server-core")
_FILES: Final = (
    "wordpress",
    "wordpress-theme-twentytwentyone",
    "wordpress-theme-twentytwentythree",
    *("libjs-underscore", "libjs-cropper", "php-getid3"),  # `wordpress` links to their files
)
_EXTENSIONS: Final = ("ctype", "exif", "fileinfo", "iconv", "mysqlnd", "mysqli", "posix", "tokenizer")
_DOWNLOAD: Final = 180
"""Timeout in seconds of each step of a download."""
_CONFIGURATION: Final = """<?php
define('DB_NAME', 'wordpress');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:{folder}/mariadb.sock');
define('DB_CHARSET', 'utf8mb4');
define('WP_SITEURL', '{url}');
define('WP_HOME', '{url}');
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('WP_ACCESSIBLE_HOSTS', '127.0.0.1');
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('FS_METHOD', 'direct');
define('WP_DEBUG', true);
define('WP_DEBUG_DISPLAY', false);
define('WP_DEBUG_LOG', '{folder}/php.log');
$table_prefix = 'wp_';
defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require ABSPATH . 'wp-settings.php';
"""
_INSTALL: Final = """
define('WP_INSTALLING', true);
require 'wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('News', 'administrator', 'administrator@site.example', true, '', $argv[1]);
$author = ['user_login' => 'author', 'user_email' => 'author@site.example', 'role' => 'author'];
if (is_wp_error(wp_insert_user($author + ['user_pass' => $argv[1]]))) exit(1);
"""


class UnavailableError(Exception):
    """Debian's packages cannot be downloaded or unpacked here."""


@dataclass(frozen=True)
class WordPress:
    """A running site with the users `administrator` and `author`, both with `PASSWORD`."""

    url: str
    folder: Path
    php: Sequence[str]
    environ: Mapping[str, str]

    def evaluate(self, code: str) -> str:
        """Return what PHP code prints within WordPress; functions of its administration are loaded."""
        load = "require 'wp-load.php'; require_once ABSPATH . 'wp-admin/includes/admin.php';"
        return _run([*self.php, "-r", load + code], self.environ, self.folder / "site")

    def messages_of(self, plugin: str) -> list[str]:
        """Return the errors, warnings and notices of PHP that name the folder of a plugin."""
        log = self.folder / "php.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [line for line in lines if f"plugins/{plugin}/" in line]


@contextmanager
def wordpress() -> Iterator[WordPress]:
    """Run a new site. Raises `UnavailableError` where that is not possible."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wordpress-")))
        packages = folder / "packages"
        _unpack_packages(packages)
        url = f"http://localhost:{unused_port()}"
        shutil.copytree(
            VERSION_FOLDER or packages / "usr/share/wordpress", folder / "site", ignore_dangling_symlinks=True
        )
        (folder / "site/wp-config.php").write_text(_CONFIGURATION.format(folder=folder, url=url), encoding="utf-8")
        (folder / "database").mkdir()
        (folder / "php.ini").write_text(_php_settings(packages), encoding="utf-8")
        libraries = ":".join(map(str, packages.glob("usr/lib/*-linux-*")))
        programs = [packages / "usr/bin", packages / "usr/sbin", *os.defpath.split(":"), "/usr/sbin"]
        environ = {
            "PATH": ":".join(map(str, programs)), "LD_LIBRARY_PATH": libraries,
            "HOME": str(folder), "TMPDIR": str(folder), "PHP_CLI_SERVER_WORKERS": "4",
        }  # fmt: skip
        if os.getuid() == 0:
            for path in (folder, *(folder / "site").rglob("*"), folder / "site", folder / "database"):
                shutil.chown(path, "nobody", "nogroup")
        site = WordPress(url, folder, _php_command(folder, packages), environ)
        stack.enter_context(_database(site, packages))
        _run([*site.php, "-r", _INSTALL, PASSWORD], environ, folder / "site")
        server = [*site.php, "-S", url.removeprefix("http://"), "-t", str(folder / "site")]
        stack.enter_context(_process(server, site, "server.log"))
        wait_until(lambda: urllib.request.urlopen(url, timeout=30).close() is None)
        yield site


def _unpack_packages(folder: Path) -> None:
    """Download the packages that are not installed, and unpack them into a folder."""
    folder.mkdir()
    try:
        if os.getuid() == 0:
            _apt(folder, "apt-get", "update", "-qq")
        # The packages of programs have dependencies. Those of files do not need theirs: a web server, a mail server.
        plan = _apt(folder, "apt-get", "install", "--simulate", "--no-install-recommends", *_PROGRAMS)
        programs = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
        _apt(folder, "apt-get", "download", "-qq", *programs, *_FILES)
        for package in folder.glob("*.deb"):
            _apt(folder, "dpkg", "-x", package.name, ".")
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(getattr(error, "stderr", "") or str(error)) from error


def _apt(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_DOWNLOAD)
    return done.stdout


def _php_settings(packages: Path) -> str:
    """Return the settings of an unpacked PHP; one that is installed has its own."""
    lines = ["error_reporting = -1", "upload_max_filesize = 8M"]
    for extensions in packages.glob("usr/lib/php/*/mysqli.so"):
        lines += [f"extension_dir = {extensions.parent}", *(f"extension = {name}" for name in _EXTENSIONS)]
        lines += ["zend_extension = opcache"]
    return "\n".join(lines)


def _php_command(folder: Path, packages: Path) -> list[str]:
    unpacked = sorted(packages.glob("usr/bin/php[0-9]*.[0-9]*"))
    return [str(unpacked[-1]), "-c", str(folder / "php.ini")] if unpacked else ["php"]


@contextmanager
def _database(site: WordPress, packages: Path) -> Iterator[None]:
    """Run MariaDB with an empty database."""
    socket = site.folder / "mariadb.sock"
    messages = packages / "usr/share/mysql"
    unpacked = [f"--lc-messages-dir={messages}", f"--character-sets-dir={messages}/charsets"]
    # Without grant tables an empty folder is enough; no port is open, and the folder of the socket is private.
    command = [
        "mariadbd", "--no-defaults", f"--datadir={site.folder}/database", f"--socket={socket}",
        f"--pid-file={site.folder}/database/pid", "--skip-networking", "--skip-grant-tables",
        *(unpacked if messages.is_dir() else []),
    ]  # fmt: skip
    with _process(command, site, "mariadb.log"):
        wait_until(socket.exists)
        create = f"(new mysqli(null, 'root', '', null, 0, '{socket}'))->query('CREATE DATABASE wordpress');"
        _run([*site.php, "-r", create], site.environ, site.folder)
        yield


@contextmanager
def _process(command: Sequence[str], site: WordPress, log: str) -> Iterator[None]:
    with (site.folder / log).open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=site.folder / "site",
            env=site.environ,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **_user(),
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # PHP's server does not end its workers
            process.wait(60)


def _run(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60, **_user()
    )
    output: str = done.stdout
    assert done.returncode == 0, output + done.stderr
    return output


def _user() -> dict[str, Any]:
    """Return the options of `subprocess` that select the user."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
