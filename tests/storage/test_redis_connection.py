"""What a store that does not do what it is asked is called, each fault of a real server."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from service.errors import StoreError
from service.storage.redis_connection import TIMEOUT
from service.storage.repository import Store
from tests.support.fixings import day, fixing
from tests.support.servers import Server, sentinel, valkey
from tests.support.wait import until_true

PASSWORD = ("--requirepass", "s3cret")


async def fault(url: str, timeout: float = 30) -> str:  # noqa: ASYNC109 - the store's
    """Return what is told of a store that cannot be written."""
    async with Store(url, "t:", timeout=timeout) as store:
        with pytest.raises(StoreError) as error:
            await store.save(fixing(day(1), USD="478.77"))
    told = str(error.value)
    assert "s3cret" not in told
    assert "\n" not in told
    return told.partition(f"{url.partition('?')[0].rpartition('@')[2].removeprefix('redis://')}: ")[2] or told


@pytest.mark.parametrize("login", ["", ":wrong@"])
async def test_a_password_that_is_missing_or_wrong(tmp_path: Path, login: str) -> None:
    """The setting that has it is named."""
    with valkey(tmp_path, *PASSWORD) as server:
        assert "the password is missing or wrong; see store.url" in await fault(
            f"redis://{login}127.0.0.1:{server.port}/0"
        )


async def test_a_user_that_may_not(tmp_path: Path) -> None:
    """What it may not do is told."""
    with valkey(tmp_path) as server:
        with server.client() as client:
            client.execute_command("ACL SETUSER reader on >s3cret ~* +@read +@connection +@transaction")
        assert "no permissions" in await fault(f"redis://reader:s3cret@127.0.0.1:{server.port}/0")


async def test_a_replica(tmp_path: Path) -> None:
    """It can be read and not written: whom to name instead is told."""
    with (
        valkey(tmp_path / "master", "--repl-diskless-sync-delay", "0") as master,
        valkey(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        await eventually_linked(replica)
        assert "set store.url to the master" in await fault(f"redis://127.0.0.1:{replica.port}/0")


async def eventually_linked(replica: Server) -> None:
    with replica.client() as client:
        await until_true(lambda: client.info("replication").get("master_link_status") == "up")


async def test_a_full_one(tmp_path: Path) -> None:
    """The limit is named."""
    with valkey(tmp_path, "--maxmemory", "1mb") as server:
        assert "the server is out of memory; increase maxmemory" in await fault(f"redis://127.0.0.1:{server.port}/0")


async def test_one_that_does_not_answer(tmp_path: Path) -> None:
    """Nobody waits for it longer than the timeout, which is a second."""
    assert TIMEOUT == 1
    with valkey(tmp_path) as server:
        assert server.process
        server.process.send_signal(signal.SIGSTOP)
        assert "no response within 0.2 s" in await fault(f"redis://127.0.0.1:{server.port}/0", timeout=0.2)


async def test_one_that_is_not_there() -> None:
    """As the operating system says it."""
    assert "Connect call failed" in await fault("redis://127.0.0.1:1/0")
    assert "nosuch.invalid" in await fault("redis://nosuch.invalid:1/0")


@asynccontextmanager
async def over_tls(server: Server, authority: trustme.CA) -> AsyncIterator[int]:
    """Stand before a server and speak TLS, as it would itself; yield the port."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pass_on(reader, inner[1]), pass_on(inner[0], writer), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    standing = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with standing:
        yield standing.sockets[0].getsockname()[1]


async def test_tls(tmp_path: Path) -> None:
    """It is used, and checked: a certificate of nobody we know is an error, told as one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with valkey(tmp_path, *PASSWORD) as server:
        async with over_tls(server, authority) as port:
            url = f"rediss://:s3cret@127.0.0.1:{port}/0"
            told = await fault(url)
            assert "TLS" in told
            assert "certificate verify failed" in told
            async with Store(f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}", "t:") as store:
                await store.save(fixing(day(1), USD="478.77"))
                assert await store.dates("nbk") == [day(1)]
        assert "no response within 0.2 s" in await fault(f"rediss://127.0.0.1:{server.port}/0", timeout=0.2)


async def test_a_sentinel_that_hangs(tmp_path: Path) -> None:
    """The next one is asked after the timeout; a machine that lost its power answers nothing and refuses nothing."""
    with (
        valkey(tmp_path / "master") as master,
        sentinel(tmp_path / "one", master) as hanging,
        sentinel(tmp_path / "two", master) as watching,
    ):
        assert hanging.process
        hanging.process.send_signal(signal.SIGSTOP)
        async with Store(f"redis+sentinel://127.0.0.1:{hanging.port},127.0.0.1:{watching.port}/main/0", "t:") as store:
            await store.save(fixing(day(1), USD="478.77"))
            assert await store.dates("nbk") == [day(1)]
