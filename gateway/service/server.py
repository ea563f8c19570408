"""The HTTP server inside the daemon's loop: it takes no signals, says nothing, and ends when its task is cancelled."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.bucket import Bucket
from gateway.errors import ConfigError
from gateway.settings import HttpSettings

MOST_CONNECTIONS = 128
MOST_OF_ADDRESS = 64
"""Connections from one address: who holds on to all it can get leaves others half of them."""

END_S = 1
OPENING_S = 10.0
"""Within which a connection's request has to stand there, but for its body."""

TAKING_S = 60.0
"""Within which whoever asked has to take what was sent so far."""

MOST_HEADER_BYTES = 16_384

_log = structlog.get_logger()


class _Gate(socket.socket):
    """A listening socket that hangs up on whoever is one too many: each connection takes a descriptor of the daemon."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._inside: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
        self._lines = Bucket(1.0, 1.0 / 60.0, now_s=time.monotonic())
        self._refused = 0

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            ConnectionAbortedError: There is no room for it; the loop asks again when the next one waits.
        """
        connection, address = super().accept()
        open_now = [host for each, host in self._inside.items() if each.fileno() >= 0]
        if len(open_now) >= MOST_CONNECTIONS or open_now.count(address[0]) >= MOST_OF_ADDRESS:
            connection.close()
            self._refused += 1
            if self._lines.take(time.monotonic()):
                _log.warning("http_connections_full", host=address[0], count=len(open_now), dropped=self._refused)
            raise ConnectionAbortedError
        self._inside[connection] = address[0]
        return connection, address


class _Prompt(H11Protocol):
    """Ends a connection on which no whole request comes, or no answer is taken, in time.

    Who only holds on takes the place of others.
    """

    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # so that what is not taken is told below; 0 would stop TLS for ever
        self._patience = self.loop.call_later(OPENING_S, transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(TAKING_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._patience.cancel()
        elif self._patience.cancelled():  # the next request has begun; what trickles in later earns no more time
            self._patience = self.loop.call_later(OPENING_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class HttpServer:
    """Serves an application, for ever; `on_end` is called first when it ends, so that streams let go."""

    def __init__(self, app: ASGIApp, settings: HttpSettings, *, on_end: Callable[[], None] = lambda: None) -> None:
        """Listen, so that a port that is taken is known at once.

        Raises:
            ConfigError: The address cannot be listened on, or the certificate cannot be used.
        """
        config = uvicorn.Config(
            app,
            http=_Prompt,
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # anybody can send what is no request: a line for each would crowd out ours
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=END_S,
            ssl_certfile=settings.tls_certfile,
            ssl_keyfile=settings.tls_keyfile,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"http.tls_certfile: the certificate and its key cannot be used: {error}") from None
        if config.ssl is not None:
            config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        self._server = _Quiet(config)
        self._on_end = on_end
        self._socket = _listen(settings)
        scheme = "https" if settings.is_encrypted else "http"
        self.host, self.port = settings.host, int(self._socket.getsockname()[1])
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{scheme}://{host}:{self.port}"

    def close(self) -> None:
        """Listen no more; for a server that was never run."""
        self._socket.close()

    async def run(self) -> NoReturn:
        """Serve until cancelled."""
        _log.info("http_listening", host=self.host, port=self.port)
        try:
            await self._server.serve(sockets=[self._socket])
            raise asyncio.CancelledError  # nothing but its owner ends it
        finally:
            self._on_end()
            if self._server.started:
                with suppress(TimeoutError):
                    async with asyncio.timeout(2 * END_S):
                        await self._server.shutdown()
            self._socket.close()


def _listen(settings: HttpSettings) -> socket.socket:
    where = f"http: {settings.host} port {settings.port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = _Gate(family, kind, proto)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be listened on: {error.strerror}") from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(MOST_CONNECTIONS)
    except OSError as error:
        listening.close()
        raise ConfigError(f"{where}: cannot be listened on: {error.strerror}") from None
    return listening
