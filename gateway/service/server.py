"""The HTTP server inside the daemon's loop: it takes no signals, says nothing, and ends when its task is cancelled."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.contract.doorway import Doorway, Gate, Prompt, listen
from gateway.errors import ConfigError
from gateway.settings import HttpSettings

END_S = 1
MOST_HEADER_BYTES = 16_384

_log = structlog.get_logger()


class _Prompt(Prompt, H11Protocol):
    """Waits for nobody for ever."""

    @property
    def is_answering(self) -> bool:
        """Whether a request stands there whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield


class HttpServer:
    """Serves an application, for ever; `on_end` is called first when it ends, so that streams let go."""

    def __init__(
        self, app: ASGIApp, settings: HttpSettings, doorway: Doorway, *, on_end: Callable[[], None] = lambda: None
    ) -> None:
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
        self._socket = _listen(settings, doorway)
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


def _listen(settings: HttpSettings, doorway: Doorway) -> Gate:
    try:
        return listen(settings.host, settings.port, doorway)
    except OSError as error:
        where = f"http: {settings.host} port {settings.port}"
        raise ConfigError(f"{where}: cannot be listened on: {error.strerror}") from None
