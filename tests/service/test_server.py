"""The HTTP server inside a loop."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx2
import pytest
from fakes.brokers import make_authority
from fakes.web import BEARER, app_over
from fakes.windows import TOKEN, FakeWindow
from pydantic import SecretStr

from gateway.errors import ConfigError
from gateway.service.server import HttpServer
from gateway.settings import HttpSettings


def settings(port: int = 0) -> HttpSettings:
    """Return settings of a server at this machine."""
    return HttpSettings(port=port, token=SecretStr(TOKEN))


async def test_server_serves_until_cancelled_and_lets_streams_go() -> None:
    """What happens reaches a listener at once; the end of the server ends its stream and frees the port."""
    window = FakeWindow()
    server = HttpServer(app_over(window), settings(), on_end=window.hub.close)
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


async def test_port_that_is_taken_is_known_at_once() -> None:
    """The operator reads which, before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}: cannot be listened on"):
            HttpServer(app_over(), settings(port))


async def test_server_speaks_tls_and_nothing_older_than_1_2(tmp_path: Path) -> None:
    """Verified against the authority that signed its certificate; an old client and plain HTTP get no answer."""
    await asyncio.to_thread(make_authority, tmp_path)
    secured = HttpSettings(
        port=0, token=SecretStr(TOKEN), tls_certfile=tmp_path / "srv.pem", tls_keyfile=tmp_path / "srv.key"
    )
    server = HttpServer(app_over(), secured)
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
        HttpServer(app_over(), mixed)
