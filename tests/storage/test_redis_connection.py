"""Store errors: each fault of a real server has a clear message."""

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
    """The message is that of the operating system."""
    assert "Connect call failed" in await message_of("redis://127.0.0.1:1/0")
    assert "nosuch.invalid" in await message_of("redis://nosuch.invalid:1/0")


@asynccontextmanager
async def tls_proxy(server: Server, authority: trustme.CA) -> AsyncIterator[int]:
    """Run a TLS-terminating proxy in front of a server; yield its port."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(reader, upstream[1]), forward(upstream[0], writer), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    proxy = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with proxy:
        yield proxy.sockets[0].getsockname()[1]


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
        assert "no response within 0.2 s" in await message_of(f"rediss://127.0.0.1:{server.port}/0", timeout=0.2)


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
