"""Live cameras without processes: sources that follow a script, and a daemon's parts that remember what they hear."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

from fakes.naming import live_frame

from gateway.cameras.jobs import CameraJob
from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.daemon.keeping import Unheard
from gateway.delivery.commands import Obeyed
from gateway.delivery.outbox import Outbox
from gateway.errors import SourceError, SourceReason
from gateway.values import SourceEvent, SourceOpened, SourceProgress


class Changes:
    """Wakes whoever waits for something to be so."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def note(self) -> None:
        """Something changed."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Return once the condition holds; it is looked at after every change."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@dataclass
class FakeCameras:
    """Cameras by name, opened as `link.open_source` opens them: each shows what it is told to and fails when told.

    A camera that is away refuses to be opened. `opened` and `left` count lives; `early` is said before a source opens.
    """

    away: set[str] = field(default_factory=set)
    opened: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    jobs: list[CameraJob] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    early: SourceProgress | None = None
    _queues: dict[str, "asyncio.Queue[SourceEvent | SourceError]"] = field(default_factory=dict)

    def __call__(self, job: CameraJob) -> AbstractAsyncContextManager[AsyncIterator[SourceEvent]]:
        """Open a camera."""
        return self._open(job)

    @asynccontextmanager
    async def _open(self, job: CameraJob) -> AsyncIterator[AsyncIterator[SourceEvent]]:
        self.jobs.append(job)
        queue = self._queues[job.camera] = asyncio.Queue()
        self.opened[job.camera] = self.opened.get(job.camera, 0) + 1
        self.changes.note()
        try:
            yield self._events(job.camera, queue)
        finally:
            self.left[job.camera] = self.left.get(job.camera, 0) + 1
            self.changes.note()

    async def _events(
        self, camera: str, queue: "asyncio.Queue[SourceEvent | SourceError]"
    ) -> AsyncIterator[SourceEvent]:
        if camera in self.away:
            raise SourceError(f"{camera}: nobody answers", SourceReason.UNREACHABLE)
        if self.early is not None:
            yield self.early
        yield SourceOpened(camera, 1920, 1080, 15.0, "h264", None)
        while True:
            event = await queue.get()
            if isinstance(event, SourceError):
                raise event
            yield event

    def show(self, camera: str, *events: SourceEvent) -> None:
        """Let an open camera send these."""
        for event in events:
            self._queues[camera].put_nowait(event)

    def passage(self, camera: str, *, frames: int = 5, white: float = 0.0, time_s: float = 0.0) -> None:
        """Let a person pass before a camera, and then nobody for two seconds."""
        for seq in range(frames):
            self.show(camera, live_frame(seq, camera=camera, white=white, time_s=time_s + seq / 5))
        for seq in range(frames, frames + 10):
            empty = live_frame(seq, camera=camera, faces=0, time_s=time_s + seq / 5)
            self.show(camera, replace(empty, crops=()))

    def progress(self, camera: str, *, looked_at: int, replaced: int = 0) -> None:
        """Let a camera's worker say what it counted."""
        self.show(camera, SourceProgress(camera, looked_at + replaced, looked_at, 0, replaced, 0))

    def fail(self, camera: str, reason: SourceReason = SourceReason.STALLED) -> None:
        """Let an open camera break off."""
        self._queues[camera].put_nowait(SourceError(f"{camera}: {reason}", reason))


@dataclass
class FakeShown:
    """Remembers what is shown, topic by topic, and wakes whoever waits for a word."""

    topics: dict[str, bytes] = field(default_factory=dict)
    history: list[tuple[str, bytes | None]] = field(default_factory=list)
    said: list[tuple[str, bytes]] = field(default_factory=list)
    told: list[tuple[str, str | None]] = field(default_factory=list)
    obeyed: list[Obeyed] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    def show(self, topic: str, payload: bytes) -> None:
        """Remember a retained word."""
        self.topics[topic] = payload
        self._note(topic, payload)

    def clear(self, topic: str) -> None:
        """Forget a retained word."""
        self.topics.pop(topic, None)
        self._note(topic, None)

    def say(self, topic: str, payload: bytes) -> None:
        """Remember what was said once."""
        self.said.append((topic, payload))
        self.changes.note()

    def _note(self, topic: str, payload: bytes | None) -> None:
        self.history.append((topic, payload))
        self.changes.note()

    def tell(self, *, part: str, reason: str | None) -> None:
        """Remember what is told among the alerts."""
        self.told.append((part, reason))
        self.changes.note()

    def lamp(self, camera: str) -> list[bytes | None]:
        """Return everything that was said of a camera's alarm."""
        return [payload for topic, payload in self.history if topic == f"spectragate/{camera}/alert"]

    def status(self, camera: str) -> tuple[str, str | None] | None:
        """Return the word that stands for a camera."""
        payload = self.topics.get(f"spectragate/{camera}/status")
        if payload is None:
            return None
        status = messages.parse(payload)
        assert isinstance(status, messages.CameraStatus)
        return status.state, status.reason


@dataclass
class FakeAlerts:
    """Keeps alerts in memory; `fail` says what a broken disk does."""

    kept: list[messages.Alert] = field(default_factory=list)
    fail: Exception | None = None
    hold: bool = False
    held: list["asyncio.Future[None]"] = field(default_factory=list)
    seq: int = 0
    changes: Changes = field(default_factory=Changes)

    def next_seq(self) -> int:
        """Count."""
        self.seq += 1
        return self.seq

    def submit(self, alert: messages.Alert) -> "asyncio.Future[None]":
        """Keep an alert, at once or when `release` is called."""
        if self.fail is not None:
            raise self.fail
        self.kept.append(alert)
        self.changes.note()
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hold:
            self.held.append(stored)
        else:
            stored.set_result(None)
        return stored

    def release(self) -> None:
        """Let the disk catch up."""
        for stored in self.held:
            stored.set_result(None)
        self.held.clear()


class FakeLink(Unheard):
    """A link to nobody that remembers what it is given."""

    def __init__(self, outbox: Outbox, shown: FakeShown, alerts: FakeAlerts) -> None:
        super().__init__(outbox, Topics("spectragate"))
        self.show, self.clear, self.say = shown.show, shown.clear, shown.say  # type: ignore[method-assign]
        self.tell, self.submit = shown.tell, alerts.submit  # type: ignore[method-assign]
        self.tell_command = shown.obeyed.append  # type: ignore[method-assign]
