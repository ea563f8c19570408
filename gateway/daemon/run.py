"""From the command line to a running daemon and back: what is opened first and closed last, signals, the exit code."""

import asyncio
import datetime as dt
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.exchange import Channel, Exchange
from gateway.adaptation.place import Pace
from gateway.adaptation.shadow import Limits
from gateway.cameras.forkserver import ForkServer
from gateway.cameras.lines import Lines
from gateway.cameras.link import open_source
from gateway.cameras.starting import StartWorker
from gateway.config import Config
from gateway.config_file import load_config
from gateway.contract.supervision import Notifier, Watchdog
from gateway.contract.topics import Topics
from gateway.daemon.calling import call
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.daemon import Daemon, Fittings
from gateway.daemon.ending import Ending, take_signals
from gateway.daemon.explaining import MAX_BYTES, Detectors, Explaining, ModelOf
from gateway.daemon.keeping import Unheard
from gateway.daemon.models import Updates
from gateway.daemon.plan import Plan, plan_of
from gateway.daemon.postman import Delivering
from gateway.daemon.reload import ConfigFile, Reloads
from gateway.daemon.sending import Sending
from gateway.daemon.statistics import product_version
from gateway.daemon.watchdog import pulses_of, say_wedged
from gateway.daemon.web import Web
from gateway.delivery.commands import Ears
from gateway.delivery.outbox import Outbox
from gateway.delivery.service import Delivery
from gateway.errors import ConfigError, innermost
from gateway.screening.hangs import HangFile
from gateway.screening.runtime import LIVE, InferenceThread
from gateway.settings import BrokerSettings
from gateway.storage.sealed import EVIDENCE_FOLDER, SealedFiles
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, MarkerTable, RetainedTable, SwitchTable
from gateway.tasks import supervise

THREADS = 4
"""Threads for what would block the loop: reading the configuration, closing the state folder."""

FAILED, CONFIG = 1, 78

STOP_S = 1.2
"""Time to end everything in good order; what then still runs is cancelled."""

END_S = 1.8
"""Time until the process is gone, whatever hangs."""

FAIL_S = 5.0
"""The same after a fault of our own."""

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


async def run_daemon(path: Path, ending: Ending) -> int:
    """Run the daemon until SIGTERM or SIGINT and return its exit code; `ending` sees to it that it ends.

    Raises:
        ConfigError: The configuration cannot be used.
        StorageError: The state folder cannot be used.
        RuntimeFault: A part of our own failed; the supervisor is to start the process again.
    """
    signals = Signals(ending)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="aside"))
    file = ConfigFile(path)
    config = load_config(path)
    folder = state_folder(config)
    try:
        async with AsyncExitStack() as stack:
            start_worker = await stack.enter_async_context(ForkServer())
            storage = await stack.enter_async_context(Storage.open(folder, settings=config.outbox))
            fittings = await fit(stack, config, storage, start_worker)
            links = await stack.enter_async_context(asyncio.TaskGroup())
            async with _silent_when_failed(ending) as daemons, asyncio.TaskGroup() as group:
                daemons.append(daemon := Daemon(path, fittings, group, links=links))
                storage.on_health = daemon.on_disk
                web = _open_web(stack, config, daemon)
                await _serve(daemon, plan_of(config), group, Outside(signals, file, web, Notifier()))
    except BaseExceptionGroup as failures:
        raise innermost(failures) from failures
    ending.exit_code = 0
    _log.info("stopped")
    return 0


def _open_web(stack: AsyncExitStack, config: Config, daemon: Daemon) -> Web | None:
    if config.http is None:
        return None
    web = Web(daemon, config.http, daemon.outbox, signalling=daemon.signalling)
    stack.callback(web.close)
    return web


async def fit(
    stack: AsyncExitStack,
    config: Config,
    storage: Storage,
    start_worker: StartWorker,
    *,
    clock: Callable[[], float] = time.time,
) -> Fittings:
    """Open what the daemon stands on; the fork server warms up meanwhile. `clock` is UTC epoch seconds.

    Raises:
        ConfigError: The root that the site trusts cannot be read.
    """
    settings = config.mqtt or BrokerSettings()
    topics = Topics(settings.topic_prefix)
    await asyncio.to_thread(erase_unwanted, config, storage.folder)
    outbox = await Outbox.open(storage, client_id=settings.client_id, settings=config.outbox)
    screening = config.screening
    inference = InferenceThread(
        device=screening.device, threads=screening.threads, deadlines=LIVE, hangs=HangFile(storage.folder / "gpu-hangs")
    )
    stack.push_async_callback(inference.close)
    switches, lines = SwitchTable(storage), Lines(call)
    return Fittings(
        inference=inference,
        open_source=partial(open_source, start=start_worker, lines=lines),
        outbox=outbox,
        topics=topics,
        make_link=partial(_link, outbox, RetainedTable(storage)),
        calibration=CalibrationTable(storage),
        switches=switches,
        positions=await switches.all(),
        updates=_updates(config, storage.folder, clock),
        lines=lines,
        markers=MarkerTable(storage),
        make_explaining=partial(_explaining, config, storage.folder, clock) if config.evidence.explanations else None,
        make_collecting=partial(_collecting, config, storage.folder, clock)
        if config.adaptation.upload == "crops"
        else None,
    )


def erase_unwanted(config: Config, folder: Path) -> None:
    """Erase the faces that an earlier configuration let be kept and this one does not: else nobody ages them out."""
    kept = (
        ("evidence.explanations", config.evidence.explanations, SealedFiles(folder / EVIDENCE_FOLDER, max_bytes=0)),
        ("adaptation.upload", config.adaptation.upload == "crops", CleanSets(folder)),
    )
    for key, is_wanted, files in kept:
        if is_wanted:
            continue
        try:
            count = files.forget()
        except OSError as error:  # to screen matters more
            _log.error("faces_not_erased", reason=f"{key} is off: {error.strerror}; `spectragate forget` erases them")
            continue
        if count:
            _log.warning("faces_erased", count=count, reason=f"{key} is off")


def _collecting(config: Config, folder: Path, clock: Callable[[], float], place: Place) -> Collecting:
    client_id = (config.mqtt or BrokerSettings()).client_id
    sets = CleanSets(folder)
    sending = Sending(sets, config.adaptation, place.road, client_id=client_id, clock=clock)
    return Collecting(sets, place, sending)


def _explaining(
    config: Config, folder: Path, clock: Callable[[], float], detectors: Callable[[], Detectors], model_of: ModelOf
) -> Explaining:
    files = SealedFiles(folder / EVIDENCE_FOLDER, max_bytes=MAX_BYTES)
    return Explaining(files, detectors, model_of=model_of, keep_s=86_400.0 * config.evidence.keep_days, clock=clock)


def _updates(config: Config, folder: Path, clock: Callable[[], float]) -> Updates:
    """Return where bundles lie, and how new ones come where any are taken.

    Raises:
        ConfigError: The root that the site trusts cannot be read.
    """
    asked = config.adaptation
    if asked.repository is None or asked.root is None:
        return Updates(folder)
    try:
        root = asked.root.read_bytes()
    except OSError as error:
        raise ConfigError(f"adaptation.root: {asked.root}: {error.strerror}") from None
    channel = Channel(asked.repository, root, asked.ca_file, asked.token)
    limits = Limits(asked.trial_faces, asked.trial_s)
    source = Exchange(channel, folder / "channel", now=lambda: dt.datetime.fromtimestamp(clock(), dt.UTC))
    return Updates(folder, source, Pace(asked.poll_s, limits, limits))


def _link(outbox: Outbox, ledger: RetainedTable, daemon: Daemon, settings: BrokerSettings | None) -> Delivering:
    if settings is None:
        return Unheard(outbox, Topics(BrokerSettings().topic_prefix))
    return Delivery(settings, outbox, ledger, ears=Ears(daemon.switch, daemon.judge, daemon.choose))


@asynccontextmanager
async def _silent_when_failed(ending: Ending) -> AsyncIterator[list[Daemon]]:
    """Let the links of these daemons leave without a word when the block fails, and the process end soon."""
    daemons: list[Daemon] = []
    try:
        yield daemons
    except BaseExceptionGroup as failures:
        ending.exit_code = CONFIG if isinstance(innermost(failures), ConfigError) else FAILED
        ending.begin(FAIL_S)
        for daemon in daemons:
            daemon.postman.link.fall_silent()
        raise


@dataclass(frozen=True, slots=True)
class Outside:
    """By what the daemon is told something: signals, its file, and where `http` is configured, requests.

    And whom it tells how it is: the service manager.
    """

    signals: "Signals"
    file: ConfigFile
    web: Web | None
    manager: Notifier


async def _serve(daemon: Daemon, plan: Plan, group: asyncio.TaskGroup, outside: Outside) -> None:
    """Run every part until a signal says stop, and end them in good order."""
    signals = outside.signals
    starting = group.create_task(daemon.start(plan), name="start")
    stopping = group.create_task(signals.stop.wait(), name="stop")
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    parts: set[asyncio.Task[Any]] = {starting}
    if not signals.stop.is_set():
        starting.result()  # what cannot be started is raised here, before anything is said to run
        parts |= _begin_parts(daemon, group, outside)
        outside.manager.ready(_status(daemon))
        _log.info(
            "started", version=product_version(), cameras=len(plan.cameras), screening_on=daemon.device.in_words()
        )
    await stopping
    outside.manager.stopping()
    _log.info("stopping")
    for task in parts:
        task.cancel()
    try:
        async with asyncio.timeout(STOP_S):
            await daemon.stop()
    except TimeoutError:
        _log.error("stop_cut_off", after_s=STOP_S)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


def _begin_parts(daemon: Daemon, group: asyncio.TaskGroup, outside: Outside) -> set[asyncio.Task[Any]]:
    reloads = Reloads(partial(_reload, daemon, outside.manager), outside.signals.reload)
    watchdog = Watchdog(partial(pulses_of, daemon), outside.manager, on_wedged=say_wedged)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "gpu": daemon.keep_on_gpu,
        "calibration": daemon.memory.run,
        "drift": daemon.adapting.run,
        "operating-points": daemon.operating.run,
        "reload": reloads.run,
        "config-file": partial(outside.file.watch, reloads.ask),
        "stats": daemon.tell_statistics,
        "watchdog": watchdog.run,
    }
    if outside.web is not None:
        parts["http"] = outside.web.run
    if daemon.models is not None:
        parts["bundles"] = daemon.models.run
    if daemon.explaining is not None:
        parts["explaining"] = daemon.explaining.run
    if daemon.collecting is not None:
        parts["collecting"] = daemon.collecting.run
    return {group.create_task(supervise(name, part), name=name) for name, part in parts.items()}


async def _reload(daemon: Daemon, manager: Notifier) -> None:
    manager.reloading()
    await daemon.reload()
    manager.ready(_status(daemon))


def _status(daemon: Daemon) -> str:
    refused = "; the configuration was refused, see the log" if "config" in daemon.postman.troubles else ""
    return f"{len(daemon.cameras.all)} cameras, {daemon.device.in_words()}{refused}"


class Signals:
    """What the process is told: `stop` by SIGTERM and Ctrl-C, `reload` by SIGHUP; what came before counts."""

    def __init__(self, ending: Ending) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._ending = ending
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)
        take_signals()

    def _on_stop(self) -> None:
        self._ending.begin(END_S)
        self.stop.set()
