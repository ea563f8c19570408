"""The service as one process: the HTTP server and the worker, in one loop, until a signal ends both."""

import asyncio
import datetime as dt
import importlib.util
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.contract.doorway import Doorway, Limits, Prompt, RefusedFor, listen
from gateway.contract.supervision import Notifier, Pulse, Watchdog
from trainer.executor import Executor, LocalExecutor, RayExecutor
from trainer.intake import Intake
from trainer.jobs import Jobs
from trainer.server import Desk, service_app
from trainer.service_config import HttpConfig, ServiceConfig, ServiceConfigError
from trainer.vault import KeyFileError, ServiceKeys, make_keys
from trainer.worker import Parts, Publisher, Worker

LIMITS = Limits(connections=64, of_address=32)
"""Gateways of a site come from one address, each with a connection or two."""

MOST_HEADER_BYTES = 16_384
START_S = 60.0
END_S = 2

_log = structlog.get_logger()


class _Prompt(Prompt, H11Protocol):
    """Waits for nobody for ever: not for a request, not for whoever reads an answer."""

    @property
    def is_answering(self) -> bool:
        """Whether a request stands there whose answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete


class _Quiet(uvicorn.Server):
    """Leaves signals to the service, and shows that it comes round."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_serving = asyncio.Event()
        self.turns = 0

    async def on_tick(self, counter: int) -> bool:
        """Count ten times a second; true asks for the end."""
        self.is_serving.set()
        self.turns += 1
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service."""
        yield


def log_as_json() -> None:
    """Write every line as one JSON object on stderr, where journald and containers look for it."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def utc_now() -> dt.datetime:
    """Return the time of this machine's clock."""
    return dt.datetime.now(dt.UTC)


async def serve(
    config: ServiceConfig,
    publisher: Publisher,
    *,
    repository: Path,
    executor: Executor | None = None,
    now: Callable[[], dt.datetime] = utc_now,
) -> None:
    """Serve until SIGTERM or SIGINT; jobs under way are given up, and done by the next start.

    Without an executor it is the configured one. `now` is the clock of leases, signatures and erasure.

    Raises:
        ServiceConfigError: The address, the certificate or the folder cannot be used.
    """
    await asyncio.to_thread(_make_folder, config.folder)
    keys = await asyncio.to_thread(_faces_keys, config.faces_key_file)
    doorway = Doorway(LIMITS, on_refused=_log_refused)
    with _listen(config.http, doorway) as listening:
        jobs = await Jobs.open(config.database_url)
        try:
            intake = Intake(config.store or config.folder / "store")
            worker = Worker(Parts(jobs, intake, executor or _executor(config), publisher, keys), config, now=now)
            desk = Desk(jobs, intake, config, repository, lambda: now().timestamp(), worker.poke, keys, doorway)
            await _run(_server_of(service_app(desk), config.http), worker, listening)
        finally:
            await jobs.close()


async def _run(server: _Quiet, worker: Worker, listening: socket.socket) -> None:
    stopped, manager = asyncio.Event(), Notifier()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    watchdog = Watchdog(partial(_pulses_of, server, worker), manager, on_wedged=_say_wedged)
    async with asyncio.TaskGroup() as group:
        parts = [
            group.create_task(worker.run(), name="worker"),
            group.create_task(worker.refresh(), name="refresh"),
            group.create_task(watchdog.run(), name="watchdog"),
        ]
        group.create_task(server.serve(sockets=[listening]), name="http")
        async with asyncio.timeout(START_S):
            await server.is_serving.wait()
        host, port = listening.getsockname()[:2]
        manager.ready(f"takes clean sets at {host}:{port}")
        _log.info("trainer_listening", host=host, port=port)
        await stopped.wait()
        manager.stopping()
        for part in parts:
            part.cancel()
        server.should_exit = True
    await worker.end()


def _pulses_of(server: _Quiet, worker: Worker) -> dict[str, Pulse]:
    steps = {f"worker:{name}": pulse for name, pulse in worker.pulses.items()}
    return {"http": Pulse(server.turns, is_busy=True), **steps}


def _say_wedged(parts: tuple[str, ...]) -> None:
    _log.critical("wedged", parts=parts)


def _log_refused(why: RefusedFor, host: str, count: int) -> None:
    _log.warning("http_address_refused", host=host, reason=why, dropped=count)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(folder, os.W_OK):
            raise ServiceConfigError(f"folder: {folder} cannot be written to")
    except OSError as error:
        raise ServiceConfigError(f"folder: {folder} cannot be made: {error.strerror}") from None


def _faces_keys(file: Path) -> ServiceKeys:
    try:
        if make_keys(file):
            _log.warning("faces_key_made", file=str(file))
        return ServiceKeys.load(file)
    except KeyFileError as error:
        raise ServiceConfigError(f"faces_key: {error}") from None


def _executor(config: ServiceConfig) -> Executor:
    if config.jobs.executor == "local":
        return LocalExecutor()
    if importlib.util.find_spec("ray") is None:
        raise ServiceConfigError("jobs.executor: Ray is not installed; pip install 'spectragate[fleet]'")
    return RayExecutor(config.jobs.ray_address, threads=config.jobs.threads)


def _listen(http: HttpConfig, doorway: Doorway) -> socket.socket:
    try:
        return listen(http.host, http.port, doorway)
    except OSError as error:
        raise ServiceConfigError(f"http: {http.host}:{http.port} cannot be listened on: {error.strerror}") from None


def _server_of(app: FastAPI, http: HttpConfig) -> _Quiet:
    settings = uvicorn.Config(
        app,
        http=_Prompt,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=END_S,
        ssl_certfile=http.tls_certfile,
        ssl_keyfile=http.tls_keyfile,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as error:
        text = f"http.tls_certfile: the certificate and its key cannot be used: {error}"
        raise ServiceConfigError(text) from None
    if settings.ssl is not None:
        settings.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Quiet(settings)
