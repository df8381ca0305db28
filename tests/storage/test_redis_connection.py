"""Store errors: each fault of a real server has a clear message."""

import asyncio
import re
import signal
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from service.errors import StoreError, UnusableStoreError
from service.storage.redis_connection import TIMEOUT, RedisConnection
from service.storage.repository import Store
from tests.support.fixings import day, fixing
from tests.support.servers import Server, in_cluster_mode, sentinel, valkey
from tests.support.wait import until, until_true

PASSWORD = ("--requirepass", "s3cret")


async def message_of(url: str, timeout: float = 30) -> str:  # noqa: ASYNC109 - the store's
    """Return the error message of a store that cannot be written."""
    async with Store(url, "t:", timeout=timeout) as store:
        with pytest.raises(StoreError) as error:
            await store.save(fixing(day(1), USD="478.77"))
    message = str(error.value)
    assert "s3cret" not in message
    assert "\n" not in message
    return message.partition(f"{url.partition('?')[0].rpartition('@')[2].removeprefix('redis://')}: ")[2] or message


@pytest.mark.parametrize("login", ["", ":wrong@"])
async def test_missing_or_wrong_password_is_reported(tmp_path: Path, login: str) -> None:
    """The message names the setting with the password."""
    with valkey(tmp_path, *PASSWORD) as server:
        assert "the password is missing or wrong; see store.url" in await message_of(
            f"redis://{login}127.0.0.1:{server.port}/0"
        )


async def test_missing_permission_is_reported(tmp_path: Path) -> None:
    """A read-only user may not write."""
    with valkey(tmp_path) as server:
        with server.client() as client:
            client.execute_command("ACL SETUSER reader on >s3cret ~* +@read +@connection +@transaction")
        assert "no permissions" in await message_of(f"redis://reader:s3cret@127.0.0.1:{server.port}/0")


async def test_read_only_replica_is_reported(tmp_path: Path) -> None:
    """The message says that `store.url` must name the master."""
    with (
        valkey(tmp_path / "master", "--repl-diskless-sync-delay", "0") as master,
        valkey(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        await until_linked(replica)
        assert "set store.url to the master" in await message_of(f"redis://127.0.0.1:{replica.port}/0")


async def until_linked(replica: Server) -> None:
    with replica.client() as client:
        await until_true(lambda: client.info("replication").get("master_link_status") == "up")


async def test_full_server_is_reported(tmp_path: Path) -> None:
    """The message names the memory limit."""
    with valkey(tmp_path, "--maxmemory", "1mb") as server:
        assert "the server is out of memory; increase maxmemory" in await message_of(
            f"redis://127.0.0.1:{server.port}/0"
        )


async def test_hung_server_is_reported(tmp_path: Path) -> None:
    """Operations wait no longer than the timeout, one second by default."""
    assert TIMEOUT == 1
    with valkey(tmp_path) as server:
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        assert "no response within 0.2 s" in await message_of(f"redis://127.0.0.1:{server.port}/0", timeout=0.2)


async def test_unreachable_server_is_reported() -> None:
    """The message has the reason of the operating system."""
    refused = "cannot connect: Connection refused; check store.url, and that the server runs"
    assert await message_of("redis://127.0.0.1:1/0") == refused
    unknown = await message_of("redis://nosuch.invalid:1/0")
    assert re.fullmatch(r"cannot connect: [A-Za-z ]+; check store\.url, .+", unknown)


async def test_unreachable_server_with_two_addresses_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` has on many machines: one reason, not what asyncio prints of each address."""

    async def both_addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
        v6, v4 = (socket.AF_INET6, ("::1", 1, 0, 0)), (socket.AF_INET, ("127.0.0.1", 1))
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for family, address in (v6, v4)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both_addresses)
    message = await message_of("redis://localhost:1/0")
    assert re.fullmatch(r"cannot connect: [A-Za-z ,]+; check store\.url, and that the server runs", message)
    assert "Connection refused" in message


async def test_lost_connection_is_reported() -> None:
    """As such, not as one that could not be made; a server with TLS may end it so."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        message = await message_of(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    assert "cannot connect" not in message
    assert message.endswith("; if the server uses TLS, use rediss://")


@asynccontextmanager
async def tls_proxy(server: Server, authority: trustme.CA, *, also_plain: bool = False) -> AsyncIterator[int]:
    """Run a TLS-terminating proxy in front of a server; yield its port.

    With `also_plain`, it also forwards connections without TLS: Sentinels connect to the master that they name.
    """

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(reader, upstream[1]), forward(upstream[0], writer), return_exceptions=True)

    async def accept(connection: socket.socket) -> None:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(connection, readable.set)
        await readable.wait()
        loop.remove_reader(connection)
        is_tls = not also_plain or connection.recv(1, socket.MSG_PEEK) == b"\x16"
        with suppress(OSError):  # the handshake fails
            await loop.connect_accepted_socket(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), handle),
                connection,
                ssl=context if is_tls else None,
            )

    async def listen() -> None:
        async with asyncio.TaskGroup() as connections:
            while True:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                connections.create_task(accept(connection))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        listening = asyncio.create_task(listen())
        yield listener.getsockname()[1]
        listening.cancel()
        await asyncio.wait([listening])


async def test_tls_certificate_is_verified(tmp_path: Path) -> None:
    """A certificate of an unknown authority is reported as an error."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with valkey(tmp_path, *PASSWORD) as server:
        async with tls_proxy(server, authority) as port:
            url = f"rediss://:s3cret@127.0.0.1:{port}/0"
            message = await message_of(url)
            assert "TLS" in message
            assert "certificate verify failed" in message
            async with Store(f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}", "t:") as store:
                await store.save(fixing(day(1), USD="478.77"))
                assert await store.dates("nbk") == [day(1)]
            message = await message_of(f"redis://:s3cret@127.0.0.1:{port}/0")
            assert message.endswith("; if the server uses TLS, use rediss://")
        message = await message_of(f"rediss://127.0.0.1:{server.port}/0", timeout=0.2)
        assert "no response within 0.2 s" in message
        assert "does not use TLS" in message


async def test_hung_sentinel_is_bypassed(tmp_path: Path) -> None:
    """The next Sentinel is queried after the timeout; a dead machine neither responds nor refuses."""
    with (
        valkey(tmp_path / "master") as master,
        sentinel(tmp_path / "one", master) as hung,
        sentinel(tmp_path / "two", master) as responding,
    ):
        assert hung.process
        hung.process.send_signal(signal.SIGSTOP)
        async with Store(f"redis+sentinel://127.0.0.1:{hung.port},127.0.0.1:{responding.port}/main/0", "t:") as store:
            await store.save(fixing(day(1), USD="478.77"))
            assert await store.dates("nbk") == [day(1)]


async def test_concurrent_searches_for_the_master_keep_all_sentinels(tmp_path: Path) -> None:
    """Commands that bypass the same Sentinel at once do not replace it by another one, which would count twice."""
    with (
        valkey(tmp_path / "master") as master,
        sentinel(tmp_path / "two", master) as two,
        sentinel(tmp_path / "three", master) as three,
    ):
        hosts = f"127.0.0.1:1,127.0.0.1:{two.port},127.0.0.1:{three.port}"
        for running in (two, three):
            await until_found(f"redis+sentinel://127.0.0.1:{running.port}/main/0")
        connection = RedisConnection(f"redis+sentinel://{hosts}/main/0", timeout=30)
        try:
            await asyncio.gather(*(connection.redis.ping() for _ in range(4)))
            assert await connection.sentinel_status() == (3, 2, 0)
        finally:
            await connection.close()


async def until_found(url: str) -> None:
    """Wait until the Sentinel of a URL has seen its master, and the store can be written."""

    async def is_written() -> bool:
        async with Store(url, "t:") as store:
            with suppress(StoreError):
                await store.save(fixing(day(1), USD="478.77"))
                return True
        return False

    deadline = asyncio.get_running_loop().time() + 60
    while not await is_written():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


SENTINEL_USER = "user watcher on >0wn +@all ~* &*\nuser default off\n"


async def test_sentinels_may_have_a_login_of_their_own(tmp_path: Path) -> None:
    """A Sentinel with another password than the store, or a user; a missing or wrong one is reported as such."""
    auth = "sentinel auth-pass main s3cret\n"
    with (
        valkey(tmp_path / "master", *PASSWORD) as master,
        sentinel(tmp_path / "password", master, more=f"requirepass 0wn\n{auth}") as one,
        sentinel(tmp_path / "user", master, more=f"{SENTINEL_USER}{auth}") as two,
    ):
        first, second = f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"
        await until_found(f"redis+sentinel://:s3cret@{first}/main/0?sentinel_password=0wn")
        await until_found(f"redis+sentinel://:s3cret@{second}/main/0?sentinel_username=watcher&sentinel_password=0wn")
        assert await message_of(f"redis+sentinel://:s3cret@{first},{second}/main/0") == (
            f"Sentinel {first}, {second}: it requires a password of its own; set sentinel_password in store.url"
        )
        for wrong in ("?sentinel_password=s3cret", "?sentinel_username=watcher&sentinel_password=s3cret"):
            message = await message_of(f"redis+sentinel://:s3cret@{first}/main/0{wrong}")
            assert message == f"Sentinel {first}: it refuses sentinel_password or sentinel_username; see store.url"
        message = await message_of(f"redis+sentinel://:wrong@{first}/main/0?sentinel_password=0wn")
        assert "the password is missing or wrong; see store.url" in message
        assert "Sentinel 127" not in message


async def test_each_unusable_sentinel_is_reported(tmp_path: Path) -> None:
    """With its own problem: refused, unknown host, not a Sentinel, another master, a master that is down."""
    with (
        valkey(tmp_path / "master") as master,
        sentinel(tmp_path / "one", master, more="sentinel down-after-milliseconds main 100\n") as watching,
    ):
        address = f"127.0.0.1:{watching.port}"
        await until_found(f"redis+sentinel://{address}/main/0")
        hosts = f"127.0.0.1:1,[::1]:1,nosuch.invalid,127.0.0.1:{master.port},{address}"
        message = await message_of(f"redis+sentinel://{hosts}/other/0")
        problems = message.split("; Sentinel ")
        assert "cannot connect: Connection refused" in problems[0]
        assert "[::1]:1: cannot connect: " in message
        assert "nosuch.invalid:26379: cannot connect: " in message
        assert problems[-2] == f"127.0.0.1:{master.port}: it is not a Sentinel but a Redis server; see store.url"
        assert problems[-1] == f"{address}: it knows no master 'other' (known: 'main'); see store.url"
        master.kill()
        state = f"its master 'main' (127.0.0.1:{master.port}) is down, and no replica has replaced it yet"

        async def is_reported() -> bool:
            return await message_of(f"redis+sentinel://{address}/main/0") == f"Sentinel {address}: {state}"

        await until(is_reported)


async def test_sentinels_and_store_with_tls(tmp_path: Path) -> None:
    """Both certificates are verified, by an authority of their own; a URL without TLS, or the reverse, is reported."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with valkey(tmp_path / "master", *PASSWORD) as master:
        async with tls_proxy(master, authority, also_plain=True) as master_port:
            watched = Server(tmp_path, [], port=master_port)
            auth = "requirepass 0wn\nsentinel auth-pass main s3cret\n"
            with sentinel(tmp_path / "s", watched, more=auth) as watching:
                async with tls_proxy(watching, authority) as port:
                    url = f"rediss+sentinel://:s3cret@127.0.0.1:{port}/main/0?sentinel_password=0wn"
                    await until_found(f"{url}&ssl_ca_certs={tmp_path / 'ca.pem'}")
                    message = await message_of(url)
                    assert f"Sentinel 127.0.0.1:{port}: TLS: " in message
                    assert "certificate verify failed" in message
                    assert "rediss://" in await message_of(url.replace("rediss", "redis"))
                plain = url.replace(f"{port}/", f"{watching.port}/")
                assert "does not use TLS" in await message_of(plain, timeout=0.2)


@pytest.mark.parametrize("covers_all_slots", [False, True])
async def test_redis_cluster_is_refused(tmp_path: Path, covers_all_slots: bool) -> None:
    """A node that has all slots would refuse the first transaction; one that has none replies CLUSTERDOWN."""
    with valkey(tmp_path, *in_cluster_mode()) as node:
        url = f"redis://127.0.0.1:{node.port}/0"
        if covers_all_slots:
            with node.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
                await until_true(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        async with Store(url, "t:") as store:
            for call in (lambda: store.check_schema(prepare=True), lambda: store.save(fixing(day(1), USD="478.77"))):
                with pytest.raises(UnusableStoreError, match="is a Redis Cluster, which is not supported"):
                    await call()


async def test_redis_cluster_is_recognised_by_its_redirects(tmp_path: Path) -> None:
    """A user without permission for `INFO` gets the same error from the first command for another node."""
    with valkey(tmp_path / "a", *in_cluster_mode()) as node:
        with node.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 100)
            client.execute_command("CONFIG SET cluster-require-full-coverage no")
            client.execute_command("ACL SETUSER limited on >s3cret ~* &* +@all -info")
            await until_true(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        async with Store(f"redis://limited:s3cret@127.0.0.1:{node.port}/0", "t:") as store:
            with pytest.raises(UnusableStoreError, match="is a Redis Cluster, which is not supported"):
                await store.check_schema(prepare=True)


async def test_store_at_an_ipv6_address(tmp_path: Path) -> None:
    """Named in the URL, or by a Sentinel."""
    with valkey(tmp_path / "master") as master:
        with master.client() as client:
            client.config_set("bind", "127.0.0.1 ::1")
        async with Store(f"redis://[::1]:{master.port}/0", "t:") as store:
            await store.save(fixing(day(1), USD="478.77"))
        more = f"sentinel monitor six ::1 {master.port} 1\n"
        with sentinel(tmp_path / "s", master, more=more) as watching:
            await until_found(f"redis+sentinel://127.0.0.1:{watching.port}/six/0")
