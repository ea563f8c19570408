"""The HTTP server inside a loop."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest
from fakes.brokers import make_authority
from fakes.processes import wait_until
from fakes.web import BEARER, app_over
from fakes.windows import TOKEN, FakeWindow
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import SecretStr

from gateway.contract import doorway as doorway_module
from gateway.contract.doorway import Doorway, Limits
from gateway.errors import ConfigError
from gateway.service.doors import Doors
from gateway.service.guard import Guard
from gateway.service.server import HttpServer
from gateway.service.web import Addition
from gateway.settings import HttpSettings

HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


def settings(port: int = 0) -> HttpSettings:
    """Return settings of a server at this machine."""
    return HttpSettings(port=port, token=SecretStr(TOKEN))


def served(
    app: Guard,
    asked: HttpSettings | None = None,
    *,
    doorway: Doorway | None = None,
    on_end: Callable[[], None] = lambda: None,
) -> HttpServer:
    """Return a server that has not begun."""
    return HttpServer(app, asked or settings(), doorway or Doors(TOKEN).doorway, on_end=on_end)


async def test_server_serves_until_cancelled_and_lets_streams_go() -> None:
    """What happens reaches a listener at once; the end of the server ends its stream and frees the port."""
    window = FakeWindow()
    server = served(app_over(window), on_end=window.hub.close)
    heard: list[str] = []
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        async with (
            httpx2.AsyncClient(base_url=server.url, headers=BEARER, timeout=10) as client,
            client.stream("GET", "/api/v1/events") as stream,
        ):
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            assert await anext(lines) == ": welcome"
            window.hub.publish("alert", '{"a":1}')
            async for line in lines:
                heard.append(line)
                if line.startswith("data:"):
                    serving.cancel()
    assert heard[-4:] == ["id: 1", "event: alert", 'data: {"a":1}', ""]
    host, port = server.url.removeprefix("http://").split(":")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.parametrize("sent", [[b""], [b"GET /healthz HTTP/1.1\r\nHost: a\r\n"], [HEALTHZ, b"GET /he"]])
async def test_connection_that_asks_for_nothing_is_closed(monkeypatch: pytest.MonkeyPatch, sent: list[bytes]) -> None:
    """Who only holds on, from the first or between two requests, does not take the place of others."""
    monkeypatch.setattr(doorway_module, "OPENING_S", 0.3)
    server = served(app_over())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(sent[0])
        for part in sent[1:]:
            await reader.readuntil(b"alive\n")
            writer.write(part)
        assert await reader.read() == b""  # it is closed
        writer.close()
        await writer.wait_closed()
        serving.cancel()


async def test_what_is_no_request_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can send it, as fast as the network allows; the journal drops our own lines where there are too many."""
    server = served(app_over())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"\x00\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
        serving.cancel()
    assert caplog.records == []


async def test_connection_whose_answer_is_not_taken_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks a hundred times and reads nothing does not keep its place."""
    monkeypatch.setattr(doorway_module, "TAKING_S", 0.3)
    router = APIRouter()

    @router.get("/static/large")
    async def large() -> PlainTextResponse:
        return PlainTextResponse("x" * 200_000)

    server = served(app_over(additions=[Addition(router, open_prefixes=("/static/",))]))
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(slow, (server.host, server.port))
            await loop.sock_sendall(slow, 50 * b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
            connections = server._server.server_state.connections
            await wait_until(lambda: bool(connections))
            await wait_until(lambda: not connections)
        async with httpx2.AsyncClient(base_url=server.url, timeout=10) as client:
            assert len((await client.get("/static/large")).content) == 200_000
        serving.cancel()


async def test_connections_are_bounded_in_all_and_for_each_address() -> None:
    """Beyond the bounds it is hung up at once; whoever leaves makes room again, and other addresses have theirs."""
    server = served(app_over(), doorway=Doorway(Limits(connections=6, of_address=4)))

    async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=(address, 0))
        try:
            writer.write(HEALTHZ)
            await reader.readuntil(b"alive\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return None
        return reader, writer

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        first = [await connect("127.0.0.1") for _ in range(6)]
        assert [each is None for each in first] == 4 * [False] + 2 * [True]
        second = [await connect("127.0.0.2") for _ in range(4)]
        assert [each is None for each in second] == 2 * [False] + 2 * [True]
        assert len(server._server.server_state.connections) == 6
        for _, writer in filter(None, first):
            writer.close()
            await writer.wait_closed()
        await wait_until(lambda: len(server._server.server_state.connections) == 2)
        again = [await connect("127.0.0.2") for _ in range(3)]
        assert [each is None for each in again] == [False, False, True]
        for _, writer in filter(None, second + again):
            writer.close()
        serving.cancel()


async def test_connections_that_come_too_often_are_hung_up_on() -> None:
    """Before anything is read of them, TLS included; another address comes in, and after a while the first again."""
    now_s = [0.0]
    limits = Limits(connections=50, of_address=50, connections_at_once=5, connections_per_s=1.0)
    doorway = Doorway(limits, clock=lambda: now_s[0], spares=lambda _host: False)
    server = served(app_over(), doorway=doorway)

    async def is_answered(address: str) -> bool:
        reader, writer = await asyncio.open_connection(server.host, server.port, local_addr=(address, 0))
        try:
            writer.write(HEALTHZ)
            await reader.readuntil(b"alive\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        finally:
            writer.close()
        return True

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        assert [await is_answered("127.0.0.1") for _ in range(8)] == 5 * [True] + 3 * [False]
        assert await is_answered("127.0.0.2")
        now_s[0] = 2.0
        assert [await is_answered("127.0.0.1") for _ in range(3)] == [True, True, False]
        serving.cancel()
    assert doorway.refused["connection_rate"] == 4


async def test_answer_that_takes_its_time_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time to ask is over, the answer is not."""
    monkeypatch.setattr(doorway_module, "OPENING_S", 2.0)
    window = FakeWindow()
    server = served(app_over(window), on_end=window.hub.close)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        async with (
            httpx2.AsyncClient(base_url=server.url, headers=BEARER, timeout=10) as client,
            client.stream("GET", "/api/v1/events") as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            await asyncio.sleep(2.5)
            window.hub.publish("alert", "{}")
            assert [line async for line in _until(lines, "data: {}")][-1] == "data: {}"
        serving.cancel()


async def _until(lines: AsyncIterator[str], last: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line == last:
            return


async def test_port_that_is_taken_is_known_at_once() -> None:
    """The operator reads which, before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: cannot be listened on"):
            served(app_over(), settings(port))


async def test_server_speaks_tls_and_nothing_older_than_1_2(tmp_path: Path) -> None:
    """Verified against the authority that signed its certificate; an old client and plain HTTP get no answer."""
    await asyncio.to_thread(make_authority, tmp_path)
    secured = HttpSettings(
        port=0, token=SecretStr(TOKEN), tls_certfile=tmp_path / "srv.pem", tls_keyfile=tmp_path / "srv.key"
    )
    server = served(app_over(), secured)
    assert server.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.run(), name="server")
        try:
            async with httpx2.AsyncClient(verify=trusting, timeout=10) as client:
                assert (await client.get(f"{server.url}/healthz")).status_code == 200
            async with httpx2.AsyncClient(timeout=10) as client:
                with pytest.raises(httpx2.ConnectError):
                    await client.get(f"{server.url}/healthz")
                with pytest.raises(httpx2.TransportError):
                    await client.get(f"http://127.0.0.1:{server.port}/healthz")
            assert server._server.config.ssl.minimum_version is ssl.TLSVersion.TLSv1_2
        finally:
            serving.cancel()


async def test_certificate_that_cannot_be_used_is_known_at_once(tmp_path: Path) -> None:
    """A key that belongs to another certificate is a mistake of the configuration."""
    await asyncio.to_thread(make_authority, tmp_path)
    mixed = HttpSettings(
        port=0, token=SecretStr(TOKEN), tls_certfile=tmp_path / "srv.pem", tls_keyfile=tmp_path / "client.key"
    )
    with pytest.raises(ConfigError, match=r"http\.tls_certfile"):
        served(app_over(), mixed)
