"""Gathers the faces of an environment's cameras into batches: many producers, one consumer, one `Batcher` each.

Replay (`max_wait_s=None`): nothing is lost and nothing depends on timing. Batches are cut from the faces in the order
of `put`: after every `max_size` faces and at every `flush`, wherever the consumer happens to be. A full batcher blocks
`put`, in the order of arrival. Whoever wants the same batches from several recordings puts them one after the other.

Live (`max_wait_s` given): a batch goes out when `max_size` faces wait or the oldest has waited `max_wait_s`, and holds
the oldest up to `max_size`. `put` never blocks: when `max_waiting` faces wait, the camera with the most of them, the
new one counted, loses its oldest one; among equals the oldest of all goes.

Nothing here polls, and nothing here owns a task: the owner runs producers and consumer in one TaskGroup, whose
cancellation ends a blocked `put` when the consumer fails.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from gateway.errors import RuntimeFault
from gateway.values import TrackedFace


class Cancellable(Protocol):
    """A call that was ordered and can be taken back."""

    def cancel(self) -> None:
        """Take it back; harmless after it ran."""


class Timer(Protocol):
    """A monotonic clock that calls back; an asyncio event loop is one."""

    def time(self) -> float:
        """Return now, in seconds."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> Cancellable:
        """Call back once `time()` has reached `when`."""


@dataclass(slots=True)
class _Waiting:
    face: TrackedFace
    since_s: float
    ends_batch: bool = False


class Batcher:
    """An async iterator of batches (tuples of 1 to `max_size` faces, oldest first); ends after `close`.

    `timer` is the running event loop unless a test brings its own.
    """

    def __init__(
        self, *, max_size: int, max_wait_s: float | None, max_waiting: int, timer: Timer | None = None
    ) -> None:
        if not 1 <= max_size <= max_waiting:
            raise ValueError(f"1 ≤ max_size ≤ max_waiting is needed, not {max_size}, {max_waiting}")
        if max_wait_s is not None and not max_wait_s >= 0.0:
            raise ValueError(f"max_wait_s must be ≥ 0 or None, not {max_wait_s}")
        self._max_size = max_size
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._timer = timer
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()  # by arrival number, so in order of arrival
        self._by_camera: dict[str, deque[int]] = {}  # the arrival numbers of each camera that has some
        self._arrivals = 0
        self._flushes = 0  # entries of _waiting that end a batch
        self._dropped: Counter[str] = Counter()
        self._room = asyncio.Semaphore(max_waiting)
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many faces wait."""
        return len(self._waiting)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many faces each camera lost so far; cameras that lost none are absent."""
        return MappingProxyType(self._dropped)

    async def put(self, face: TrackedFace) -> TrackedFace | None:
        """Add a face; return the one that was dropped for it (live), or wait until there is room (replay).

        Raises:
            RuntimeFault: The batcher is closed, before or while waiting.
        """
        dropped = None
        if self._max_wait_s is None:
            await self._room.acquire()
        elif len(self._waiting) >= self._max_waiting:
            dropped = self._drop(self._loser(face.crop.camera))
        if self._closed:
            self._room.release()  # wakes the next blocked put, which finds the same
            raise RuntimeFault("a face was put into a closed batcher: close it after its producers ended")
        self._add(face)
        return dropped

    async def flush(self) -> None:
        """End a batch after the faces put so far, full or not, and return at once; nothing happens without faces.

        Live, a flush is forgotten if its last face is dropped; the deadline then sends the others.
        """
        if not self._waiting:
            return
        last = self._waiting[next(reversed(self._waiting))]
        self._flushes += not last.ends_batch
        last.ends_batch = True
        self._changed.set()

    def close(self) -> None:
        """Take no more faces; the iteration ends when those that wait have gone out."""
        self._closed = True
        self._changed.set()
        self._room.release()

    def __aiter__(self) -> "Batcher":
        """Return itself: there is one consumer."""
        return self

    async def __anext__(self) -> tuple[TrackedFace, ...]:
        """Return the next batch; nothing is lost when this wait is cancelled."""
        while not self._is_due():
            if self._closed:
                raise StopAsyncIteration
            await self._change()
        return self._take()

    def _add(self, face: TrackedFace) -> None:
        self._waiting[self._arrivals] = _Waiting(face, self._clock().time())
        self._by_camera.setdefault(face.crop.camera, deque()).append(self._arrivals)
        self._arrivals += 1
        self._changed.set()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if len(self._waiting) >= self._max_size or self._flushes or self._closed:
            return True
        due_s = self._due_s()
        return due_s is not None and self._clock().time() >= due_s

    def _due_s(self) -> float | None:
        """Return when the oldest face must go out, None where there is no face or no deadline."""
        if self._max_wait_s is None or not self._waiting:
            return None
        return self._waiting[next(iter(self._waiting))].since_s + self._max_wait_s

    async def _change(self) -> None:
        """Wait until something was put, flushed or closed, or the deadline has come."""
        self._changed.clear()
        due_s = self._due_s()
        call = None if due_s is None else self._clock().call_at(due_s, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if call is not None:
                call.cancel()

    def _take(self) -> tuple[TrackedFace, ...]:
        batch: list[TrackedFace] = []
        ends = False
        while self._waiting and len(batch) < self._max_size and not ends:
            arrival, entry = next(iter(self._waiting.items()))
            ends = entry.ends_batch
            self._remove(arrival)
            batch.append(entry.face)
            if self._max_wait_s is None:
                self._room.release()
        return tuple(batch)

    def _loser(self, newcomer: str) -> str:
        """Return the camera that must give up a face so that one of `newcomer` has room."""
        return max(
            self._by_camera,
            key=lambda camera: (len(self._by_camera[camera]) + (camera == newcomer), -self._by_camera[camera][0]),
        )

    def _drop(self, camera: str) -> TrackedFace:
        self._dropped[camera] += 1
        return self._remove(self._by_camera[camera][0]).face

    def _remove(self, arrival: int) -> _Waiting:
        """Take out an entry that is the oldest of its camera."""
        entry = self._waiting.pop(arrival)
        camera = entry.face.crop.camera
        self._by_camera[camera].popleft()
        if not self._by_camera[camera]:
            del self._by_camera[camera]
        self._flushes -= entry.ends_batch
        return entry

    def _clock(self) -> Timer:
        return self._timer or asyncio.get_running_loop()
