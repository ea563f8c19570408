"""The cameras: each is watched while it is switched on, and what its worker sends goes to its environment."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gateway.cameras.keeper import CameraState, Keeper, Open
from gateway.daemon.plan import CameraPlan
from gateway.errors import SourceError
from gateway.lane import SourceSummary
from gateway.pipeline import LiveScreening
from gateway.screening.overload import Overload, replaces_too_many
from gateway.tasks import Retry, supervise
from gateway.values import FrameFaces, SourceEvent, SourceProgress, TrackedFace

BY_CONFIG, BY_COMMAND = "by_config", "by_command"
END_S = 2.0

_log = structlog.get_logger()


@dataclass(slots=True)
class Frames:
    """What a camera's workers counted since the daemon began to watch it, life after life."""

    received: int = 0
    looked_at: int = 0
    skipped: int = 0
    replaced: int = 0
    damaged: int = 0
    newest_arrived_at_s: float | None = None
    events: int = 0
    _last: SourceProgress | None = None

    def begin_life(self) -> None:
        """A new life begins: its worker counts from 0, also before it tells that its source is open."""
        self._last = None

    def on_progress(self, now: SourceProgress) -> tuple[int, int]:
        """Add what was counted since the last word; return how many frames were replaced and looked at in it."""
        before = self._last or SourceProgress(now.camera, 0, 0, 0, 0, 0)
        replaced = now.frames_replaced - before.frames_replaced
        looked_at = now.frames_looked_at - before.frames_looked_at
        self.received += now.frames_received - before.frames_received
        self.looked_at += looked_at
        self.skipped += now.frames_skipped - before.frames_skipped
        self.replaced += replaced
        self.damaged += now.frames_damaged - before.frames_damaged
        self._last = now
        return replaced, looked_at


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears of a camera: its state, its overload, where its faces are; and who screens its environment now."""

    on_state: Callable[[CameraState], None]
    on_overload: Callable[[str, bool], None]
    screening_of: Callable[[str], LiveScreening]
    open_source: Open
    on_faces: Callable[[FrameFaces, Sequence[TrackedFace]], None]


class Camera:
    """One camera of the configuration; `run` for ever."""

    def __init__(
        self,
        plan: CameraPlan,
        ears: Ears,
        *,
        is_on: bool,
        frames: Frames | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.name = plan.job.camera
        self.frames = frames or Frames()
        self.is_on = is_on
        self.reason = BY_CONFIG
        self._ears = ears
        self._clock = clock
        self._overload = Overload()
        self._shed = self.summary.faces_shed
        self._switched = asyncio.Event()
        self.is_taking = False
        self._keeper = Keeper(plan.job, ears.open_source, say=ears.on_state)

    @property
    def summary(self) -> SourceSummary:
        """What screening counted for the camera."""
        summaries = self._ears.screening_of(self.plan.environment).summaries
        return summaries.setdefault(self.name, SourceSummary(self.name))

    def switch(self, *, is_on: bool, reason: str) -> None:
        """Watch the camera or do not; one that is watched already goes on as it is."""
        if (is_on, reason) != (self.is_on, self.reason) and not (is_on and self.is_on):
            self._switched.set()
        self.is_on, self.reason = is_on, reason

    async def run(self) -> None:
        """Watch the camera whenever it is switched on.

        Raises:
            Exception: A fault of our own; what the camera does wrong never comes out.
        """
        while True:
            self._switched.clear()
            if self.is_on:
                await self._watch_until_switched()
            else:
                await self._stay_off()

    async def _stay_off(self) -> None:
        self._keeper.disable(self.reason)
        await self._switched.wait()
        if self.is_on:
            self._keeper.enable()

    async def _watch_until_switched(self) -> None:
        retry = Retry((SourceError,), self._keeper.pause_s)
        async with asyncio.TaskGroup() as group:
            name = f"camera:{self.name}"
            watching = group.create_task(supervise(name, self._live_once, retry=retry), name=f"{name}:watch")
            await self._switched.wait()
            watching.cancel()

    async def _live_once(self) -> None:
        self.frames.begin_life()
        self._overload = Overload()
        try:
            await self._keeper.watch(self._take)
        finally:
            # Whoever stood before the camera is not the one who stands there when it comes back.
            await self._ears.screening_of(self.plan.environment).end_tracks(self.name)

    async def _take(self, event: SourceEvent) -> None:
        self.frames.events += 1
        self.is_taking = True
        try:
            await self._use(event)
        finally:
            self.is_taking = False

    async def _use(self, event: SourceEvent) -> None:
        match event:
            case FrameFaces():
                self.frames.newest_arrived_at_s = event.arrived_at_s
                faces = await self._ears.screening_of(self.plan.environment).see(event)
                self._ears.on_faces(event, faces)
            case SourceProgress():
                replaced, looked_at = self.frames.on_progress(event)
                if replaces_too_many(replaced=replaced, looked_at=looked_at):
                    self._overload.lose(self._clock())
        self._judge_overload()

    def _judge_overload(self) -> None:
        now_s, shed = self._clock(), self.summary.faces_shed
        if shed > self._shed:
            self._overload.lose(now_s)
        self._shed = shed
        if self._overload.advance(now_s):
            _log.warning("overload", camera=self.name, is_on=self._overload.is_on, faces_shed=shed)
            self._ears.on_overload(self.name, self._overload.is_on)


class Cameras:
    """All cameras that are configured; their tasks belong to `group`.

    `switches` are the positions that operators gave cameras by command; they outlive a restart and a reload.
    """

    def __init__(self, ears: Ears, group: asyncio.TaskGroup, *, switches: Mapping[str, bool]) -> None:
        self._ears = ears
        self._group = group
        self._switches = dict(switches)
        self._cameras: dict[str, Camera] = {}
        self._frames: dict[str, Frames] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def all(self) -> tuple[Camera, ...]:
        """Every camera, watched or not, in the order of the configuration."""
        return tuple(self._cameras.values())

    def get(self, name: str) -> Camera | None:
        """Return a camera, or None where there is none of this name."""
        return self._cameras.get(name)

    def begin(self, plan: CameraPlan) -> Camera:
        """Begin to watch a camera; a position given by command counts more than the configuration's."""
        name = plan.job.camera
        switched = self._switches.get(name)
        frames = self._frames.setdefault(name, Frames())
        camera = Camera(plan, self._ears, is_on=plan.enabled if switched is None else switched, frames=frames)
        if switched is not None:
            camera.reason = BY_COMMAND
        self._cameras[name] = camera
        self._tasks[name] = self._group.create_task(supervise(f"camera:{name}", camera.run), name=f"camera:{name}")
        return camera

    async def end(self, names: Iterable[str]) -> None:
        """End cameras, their workers and their tracks."""
        ended = {name: self._tasks.pop(name) for name in names if name in self._tasks}
        for task in ended.values():
            task.cancel()
        if ended:
            await asyncio.wait(ended.values(), timeout=END_S)
        for name in ended:
            camera = self._cameras.pop(name)
            await self._ears.screening_of(camera.plan.environment).leave(name)

    def switch(self, name: str, *, is_on: bool) -> bool:
        """Obey a command; return whether there is such a camera."""
        camera = self._cameras.get(name)
        if camera is not None:
            self._switches[name] = is_on
            camera.switch(is_on=is_on, reason=BY_COMMAND)
        return camera is not None
