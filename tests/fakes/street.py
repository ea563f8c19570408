"""The real daemon under a clock of the test's own, before whose cameras people walk past when the test says so.

Everything but the clock and the camera's own pace is real: recordings are decoded and faces found by sandboxed workers,
alerts go through the outbox to a broker, bundles come over TLS.
"""

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fakes.brokers import Subscriber
from fakes.walkers import CELL_PX, COLUMNS, Light, walk_past

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, RecordingJob
from gateway.cameras.link import open_source
from gateway.cameras.starting import StartWorker
from gateway.config_file import load_config
from gateway.contract import messages
from gateway.daemon.daemon import Daemon
from gateway.daemon.plan import plan_of
from gateway.daemon.run import fit
from gateway.storage.state import Storage
from gateway.tasks import supervise
from gateway.values import ClockSource, FrameFaces, SourceEnded, SourceEvent, SourceOpened, SourceProgress
from trainer.optics import Picture

STEP_S = 120.0
"""Everything that is waited for comes within this many real seconds, several times over."""

AFTER_S = 5.0
"""So long nobody is seen after a passage, which ends every track."""


class Clock:
    """UTC epoch seconds that go where the test says, never back."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s

    def advance_to(self, time_s: float) -> None:
        """Let it be later."""
        assert time_s >= self.now_s
        self.now_s = time_s


class Street:
    """What cameras see: recordings that the test makes, read by real workers, stamped with the clock's time."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.clock = clock
        self.frames = 0
        self._folder = folder
        self._start: StartWorker | None = None
        self._scenes: asyncio.Queue[tuple[Path, asyncio.Event]] = asyncio.Queue(1)
        self._waiting: Callable[[], int] = lambda: 0

    def begin(self, start: StartWorker) -> None:
        """Name who starts workers."""
        self._start = start

    def look_at(self, waiting: Callable[[], int]) -> None:
        """Name how many faces wait for the detector: a recording waits for it, as a replay does."""
        self._waiting = waiting

    async def pass_by(self, stills: Sequence[Picture], light: Light, *, seed: int) -> None:
        """Let people walk past side by side, and return when all of it was seen."""
        path = self._folder / "scene.mkv"
        await asyncio.to_thread(walk_past, path, stills, light, seed=seed)
        seen = asyncio.Event()
        async with asyncio.timeout(STEP_S):
            await self._scenes.put((path, seen))
            await seen.wait()

    @asynccontextmanager
    async def open(self, job: CameraJob) -> AsyncIterator[AsyncIterator[SourceEvent]]:
        """Be the camera of the daemon."""
        yield self._events(job)

    async def _events(self, job: CameraJob) -> AsyncIterator[SourceEvent]:
        self.frames = 0
        while True:
            path, seen = await self._scenes.get()
            begins_s = self.clock.now_s
            recording = RecordingJob(job.camera, path, job.faces)
            async with open_source(recording, start=self._start) as events:
                async for event in events:
                    match event:
                        case SourceOpened() if self.frames == 0:
                            yield event
                        case FrameFaces():
                            yield self._stamped(event, begins_s + event.captured_at_s)
                            await self._until_screened()
                        case SourceEnded():
                            assert (event.frames_skipped, event.frames_damaged) == (0, 0)
            yield self._stamped(_empty(job.camera), self.clock.now_s + AFTER_S)
            yield SourceProgress(job.camera, self.frames, self.frames, 0, 0, 0)
            seen.set()

    def _stamped(self, frame: FrameFaces, time_s: float) -> FrameFaces:
        self.clock.advance_to(time_s)
        self.frames += 1
        now_s = time.monotonic()
        crops = tuple(replace(crop, seq=self.frames, captured_at_s=time_s) for crop in frame.crops)
        return replace(frame, seq=self.frames, captured_at_s=time_s, crops=crops, arrived_at_s=now_s, found_at_s=now_s)

    async def _until_screened(self) -> None:
        while self._waiting():  # noqa: ASYNC110  (the product has no such event: live cameras wait for nobody)
            await asyncio.sleep(0.002)


def _empty(camera: str) -> FrameFaces:
    """Return a picture in which nobody is."""
    return FrameFaces(camera, 0, 0.0, ClockSource.ARRIVAL, COLUMNS * CELL_PX, CELL_PX, (), 0)


@asynccontextmanager
async def daemon_on(street: Street, config_file: Path) -> AsyncIterator[Daemon]:
    """Run the daemon that this configuration describes before the street, under the street's clock."""
    config = load_config(config_file)
    assert config.state_folder is not None
    async with AsyncExitStack() as stack:
        start = await stack.enter_async_context(ForkServer())
        street.begin(start)
        storage = await stack.enter_async_context(Storage.open(config.state_folder, settings=config.outbox))
        fittings = await fit(stack, config, storage, start, clock=street.clock)
        links = await stack.enter_async_context(asyncio.TaskGroup())
        async with asyncio.TaskGroup() as group:
            fittings = replace(fittings, open_source=street.open)
            daemon = Daemon(config_file, fittings, group, links=links, clock=street.clock)
            await daemon.start(plan_of(config))
            street.look_at(lambda: sum(waiting_of(daemon)))
            assert daemon.models is not None
            assert daemon.collecting is not None
            parts = {
                "calibration": daemon.memory.run,
                "drift": daemon.adapting.run,
                "operating-points": daemon.operating.run,
                "stats": daemon.tell_statistics,
                "bundles": daemon.models.run,
                "collecting": daemon.collecting.run,
            }
            tasks = [group.create_task(supervise(name, part), name=name) for name, part in parts.items()]
            yield daemon
            for task in tasks:
                task.cancel()
            await daemon.stop()


def waiting_of(daemon: Daemon) -> tuple[int, int]:
    """Return how many faces wait for the detector, and how much waits to be measured for drift."""
    bundles = daemon.environments.bundles
    return sum(daemon.environments.screening(name).waiting for name in bundles), daemon.adapting.waiting


class Heard:
    """Everything that a subscriber was told, in order; and waiting for a word."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self.all: list[tuple[str, messages.Message]] = []
        """What was said by topic, but plain words and what was taken back."""
        self._changed = asyncio.Event()

    async def listen(self) -> None:
        """Take what comes, for ever."""
        while True:
            with suppress(queue.Empty):
                received = await self._subscriber.next(within_s=1.0)
                if received.payload.startswith(b"{"):
                    self.all.append((received.topic, messages.parse(received.payload)))
                self._changed.set()

    async def until(self, condition: Callable[[], bool], *, within_s: float = STEP_S) -> None:
        """Return once what was heard makes it true."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def on(self, topic: str) -> list[messages.Message]:
        """Return the messages of a topic, in order."""
        return [message for where, message in self.all if where == topic]
