"""From the command line to a running daemon and back: what is opened first and closed last, signals, the exit code."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import structlog

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.link import open_source
from gateway.config import Config
from gateway.config_file import load_config
from gateway.contract.topics import Topics
from gateway.daemon.daemon import Daemon, Fittings
from gateway.daemon.keeping import Unheard
from gateway.daemon.plan import plan_of
from gateway.daemon.reload import Reloads, watch_file
from gateway.daemon.statistics import product_version
from gateway.delivery.outbox import Outbox
from gateway.errors import ConfigError, innermost
from gateway.screening.hangs import HangFile
from gateway.screening.runtime import LIVE, InferenceThread
from gateway.settings import BrokerSettings
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, SwitchTable
from gateway.tasks import supervise

STOP_S = 1.5
"""Time to end everything in good order; what then still runs is cut off."""

_log = structlog.get_logger()


def state_folder(config: Config, environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the daemon keeps what must survive it.

    Raises:
        ConfigError: Nobody named a folder.
    """
    if config.state_folder is not None:
        return config.state_folder
    # systemd separates several by colons; the first is ours.
    named = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if not named:
        raise ConfigError("state_folder: name the folder where alerts wait for delivery; systemd would name one itself")
    return Path(named)


async def run_daemon(path: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT and return its exit code.

    Raises:
        ConfigError: The configuration cannot be used.
        StorageError: The state folder cannot be used.
        RuntimeFault: A part of our own failed; the supervisor is to start the process again.
    """
    signals = Signals()
    config = load_config(path)
    folder = state_folder(config)
    try:
        async with AsyncExitStack() as stack:
            fittings = await _fit(stack, config, folder)
            await _serve(path, config, fittings, signals)
    except BaseExceptionGroup as failures:
        raise innermost(failures) from failures
    _log.info("stopped")
    return 0


async def _fit(stack: AsyncExitStack, config: Config, folder: Path) -> Fittings:
    """Open what the daemon stands on; the fork server comes first and warms up meanwhile."""
    start_worker = await stack.enter_async_context(ForkServer())
    storage = await stack.enter_async_context(Storage.open(folder, settings=config.outbox))
    settings = config.mqtt or BrokerSettings()
    topics = Topics(settings.topic_prefix)
    outbox = await Outbox.open(storage, client_id=settings.client_id, settings=config.outbox)
    screening = config.screening
    inference = InferenceThread(
        device=screening.device, threads=screening.threads, deadlines=LIVE, hangs=HangFile(folder / "gpu-hangs")
    )
    stack.push_async_callback(inference.close)
    switches = SwitchTable(storage)
    return Fittings(
        inference=inference,
        open_source=partial(open_source, start=start_worker),
        outbox=outbox,
        topics=topics,
        make_link=lambda _daemon, _settings: Unheard(outbox, topics),
        calibration=CalibrationTable(storage),
        switches=switches,
        positions=await switches.all(),
    )


async def _serve(path: Path, config: Config, fittings: Fittings, signals: "Signals") -> None:
    """Run every part until a signal says stop."""
    async with asyncio.TaskGroup() as group:
        daemon = Daemon(path, fittings, group)
        reloads = Reloads(daemon.reload)
        signals.on_reload(reloads.ask)
        if not await _started(daemon, config, group, signals.stop):
            return
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "gpu": fittings.inference.keep_on_gpu,
            "calibration": daemon.memory.run,
            "reload": reloads.run,
            "config-file": partial(watch_file, path.parent, path.name, reloads.ask),
            "stats": partial(_tick, daemon, _stats_interval_s(config)),
        }
        running = [group.create_task(supervise(name, part), name=name) for name, part in parts.items()]
        _log.info("started", version=product_version(), cameras=len(config.cameras), screening_on=_device(fittings))
        await signals.stop.wait()
        _log.info("stopping")
        for task in running:
            task.cancel()
        try:
            async with asyncio.timeout(STOP_S):
                await daemon.stop()
        except TimeoutError:
            _log.error("stop_cut_off", after_s=STOP_S)


def _device(fittings: Fittings) -> str:
    return fittings.inference.report.in_words()


def _stats_interval_s(config: Config) -> float:
    return float((config.mqtt or BrokerSettings()).stats_interval)


async def _tick(daemon: Daemon, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        daemon.tick()


async def _started(daemon: Daemon, config: Config, group: asyncio.TaskGroup, stop: asyncio.Event) -> bool:
    """Start the daemon's parts; return False where a signal came first."""
    starting = group.create_task(daemon.start(plan_of(config)), name="start")
    stopping = group.create_task(stop.wait(), name="stop")
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    return not starting.cancel()


class Signals:
    """What the process is told: `stop` by SIGTERM and Ctrl-C, and by SIGHUP to reload, once there is anything."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop.set)
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    def on_reload(self, reload: Callable[[], None]) -> None:
        """Call back on SIGHUP."""
        self._loop.add_signal_handler(signal.SIGHUP, reload)
