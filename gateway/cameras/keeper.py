"""One camera for ever: what is said of it while it comes and goes, and when it is tried again.

A `Keeper` watches one life of its source at a time, from opening to failure; whoever supervises it begins the next one
after `pause_s`. What the camera or the network does wrong passes by itself, so it is tried again within a second; what
needs the operator (a password, an unknown codec) is tried rarely. A worker that dies again and again costs processor
time that the other cameras need: such a camera is `degraded` and gets one try a minute.
"""

import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal

import structlog

from gateway import backoff
from gateway.cameras.jobs import CameraJob
from gateway.errors import ConfigError, SourceError, SourceReason
from gateway.values import FrameFaces, SourceEnded, SourceEvent, SourceWaiting

CONFIG, CRASH_LOOP, STARTING, WAITING = "config", "crash_loop", "starting", "waiting"

PAUSES_S: dict[str, float] = {
    CONFIG: 30.0,
    SourceReason.AUTH: 30.0,
    SourceReason.CODEC: 30.0,
    SourceReason.TOO_LARGE: 30.0,
    SourceReason.NO_VIDEO: 30.0,
    SourceReason.NOT_FOUND: 5.0,
}
"""Pauses for what does not pass by itself; every other reason is tried again within a second."""

STEADY_S = 5.0
"""A camera that was watched for so long is no reason to wait when it goes."""

TOLD_FLAPS = 5
"""So many short lives in a row are logged one by one, after them only the 8th, 16th, 32nd …: a camera may come and go
every second for months."""

CRASHES = 3
CRASH_WINDOW_S = 60.0
CRASH_PAUSE_S = 60.0

State = Literal["online", "offline", "disabled", "degraded"]
Open = Callable[[CameraJob], AbstractAsyncContextManager[AsyncIterator[SourceEvent]]]
Take = Callable[[SourceEvent], Awaitable[None]]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CameraState:
    """Whether a camera is watched, and if not, why, as a word for rules; `since_s` is UTC epoch seconds."""

    camera: str
    state: State
    reason: str | None
    since_s: float


Say = Callable[[CameraState], None]


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where a keeper has its times and its chance from."""

    monotonic_s: Callable[[], float] = time.monotonic
    epoch_s: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random


class Keeper:
    """Watches one camera; says every change of its state once, and logs that it went and that it is back."""

    def __init__(self, job: CameraJob, open_source: Open, *, say: Say, clocks: Clocks | None = None) -> None:
        self._job = job
        self._open = open_source
        self._say = say
        self._clocks = clocks or Clocks()
        self._state = CameraState(job.camera, "offline", STARTING, self._clocks.epoch_s())
        self._failures = self._flaps = 0
        self._reason = STARTING
        self._crashes: deque[float] = deque(maxlen=CRASHES)
        self._is_looping = False
        self._online_since_s: float | None = None
        self._away_since_s: float | None = None
        say(self._state)

    @property
    def state(self) -> CameraState:
        """What was last said of the camera."""
        return self._state

    async def watch(self, take: Take) -> None:
        """Hand on the events of one life of the source; return only where a recording is over for good.

        Raises:
            SourceError: The source cannot be read or broke off; its state has been said.
        """
        began_s = self._clocks.monotonic_s()
        self._online_since_s = None
        try:
            await self._live(take, began_s)
        except ConfigError as error:
            self._on_failure(CONFIG, str(error), began_s)
            raise SourceError(str(error)) from None
        except SourceError as error:
            self._on_failure(error.reason, str(error), began_s)
            raise

    async def _live(self, take: Take, began_s: float) -> None:
        async with self._open(self._job) as events:
            async for event in events:
                if isinstance(event, FrameFaces):
                    self._on_frame(began_s)
                elif isinstance(event, SourceWaiting) and not self._is_looping:
                    self._change("offline", WAITING)
                await take(event)
                if isinstance(event, SourceEnded):
                    return self._change("offline", SourceReason.ENDED)
        raise SourceError(f"camera {self._job.camera}: its worker ended", SourceReason.CRASHED)

    def disable(self, reason: str) -> None:
        """Say that the camera is not watched because nobody wants it; `reason` says who."""
        self._failures, self._is_looping = 0, False
        self._crashes.clear()
        self._change("disabled", reason)

    def enable(self) -> None:
        """Say that the camera is about to be watched again."""
        self._away_since_s = None
        self._change("offline", STARTING)

    def pause_s(self, _error: Exception | None = None) -> float:
        """Return how long to wait before the next life, after the failure that was just said."""
        if self._is_looping:
            return CRASH_PAUSE_S
        fixed_s = PAUSES_S.get(self._reason)
        return backoff.pause_s(self._failures, chance=self._clocks.chance()) if fixed_s is None else fixed_s

    def _on_frame(self, began_s: float) -> None:
        now_s = self._clocks.monotonic_s()
        if self._online_since_s is None:
            self._online_since_s = now_s
            if self._is_told():
                self._tell_online(now_s, began_s)
            self._away_since_s = None
        if self._is_looping and now_s - began_s >= CRASH_WINDOW_S:
            self._is_looping = False
            self._crashes.clear()
        if self._is_looping:
            self._change("degraded", CRASH_LOOP)
        else:
            self._change("online", None)

    def _tell_online(self, now_s: float, began_s: float) -> None:
        if self._away_since_s is None:
            _log.info("camera_online", camera=self._job.camera, after_s=round(now_s - began_s, 2))
        else:
            _log.info("camera_back", camera=self._job.camera, after_s=round(now_s - self._away_since_s, 2))

    def _on_failure(self, reason: str, text: str, began_s: float) -> None:
        now_s = self._clocks.monotonic_s()
        if self._away_since_s is None:
            self._away_since_s = now_s
        was_online = self._online_since_s is not None
        was_steady = self._online_since_s is not None and now_s - self._online_since_s > STEADY_S
        self._failures = 1 if was_steady else self._failures + 1
        self._flaps = self._flaps + 1 if was_online and not was_steady else 0
        died = reason in {SourceReason.CRASHED, SourceReason.HUNG}
        if died:
            self._count_death(now_s, began_s)
        is_news = (was_online and self._is_told()) or reason != self._reason
        self._reason = reason
        if is_news:
            _log.warning("camera_lost", camera=self._job.camera, reason=reason, said=text, retry_s=self.pause_s())
        if died and self._is_looping:
            self._change("degraded", CRASH_LOOP)
        else:
            self._change("offline", reason)

    def _is_told(self) -> bool:
        """Return whether the log is to hear of a life that began or ended."""
        return self._flaps <= TOLD_FLAPS or self._flaps.bit_count() == 1

    def _count_death(self, now_s: float, began_s: float) -> None:
        if self._is_looping and now_s - began_s < CRASH_WINDOW_S:
            return
        self._crashes.append(now_s)
        self._is_looping = len(self._crashes) == CRASHES and now_s - self._crashes[0] <= CRASH_WINDOW_S

    def _change(self, state: State, reason: str | None) -> None:
        if (state, reason) == (self._state.state, self._state.reason):
            return
        since_s = self._state.since_s if state == self._state.state else self._clocks.epoch_s()
        self._state = CameraState(self._job.camera, state, reason, since_s)
        self._say(self._state)
