"""Show a camera to people over WebRTC (WHEP): the sending peer inside its worker, for a few viewers at a time.

A thread of its own runs the library's loop; it begins with the first viewer. Every viewer has one slot, in which the
newest picture waits: whoever is slow sees fewer, and nothing gathers. Pictures are as small and as few as previews.

H/W picture row/column, C colour (R, G, B).
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame
from numpy.typing import NDArray

from gateway.cameras import peering, wire
from gateway.cameras.asked import Leave, View
from gateway.cameras.guarded import bind_towards, guard
from gateway.cameras.jobs import Viewing
from gateway.cameras.offers import MAX_SDP_BYTES, TOO_LARGE, UNUSABLE, Reach, Refusal, cleaned
from gateway.cameras.previews import MOST_PER_S, small

FULL = 429
CONNECT_S = 10.0
VIEW_S = 3600.0
"""After so long a viewer asks again, and shows again that it may."""

_ANSWER_S, _END_S = 6.0, 2.0
_CLOCK = 90_000
_TO_THEM = ("sendonly", "sendrecv")  # as the library calls it from our side: the offer wants to receive


class Slot(MediaStreamTrack):
    """The newest picture for one viewer, as the track that the library sends."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._began_s = time.monotonic()
        self._picture_HWC: NDArray[np.uint8] | None = None
        self._fresh = asyncio.Event()

    def put(self, picture_HWC: NDArray[np.uint8]) -> None:
        """Put a picture in, in the place of one that still waits."""
        self._picture_HWC = picture_HWC
        self._fresh.set()

    async def recv(self) -> VideoFrame:
        """Return the next picture."""
        await self._fresh.wait()
        self._fresh.clear()
        if self.readyState != "live" or self._picture_HWC is None:
            raise MediaStreamError
        frame = VideoFrame.from_ndarray(self._picture_HWC, format="rgb24")
        frame.pts = int((time.monotonic() - self._began_s) * _CLOCK)
        frame.time_base = Fraction(1, _CLOCK)
        return frame


class Viewers:
    """Those who watch one camera; everything here but the loop's own part is for the worker's main thread."""

    def __init__(self, viewing: Viewing, *, say: Callable[[wire.Message], None]) -> None:
        self._viewing, self._say = viewing, say
        self._room: _Room | None = None
        self._next_at_s = 0.0

    def hear(self, ask: View | Leave) -> None:
        """Take what the parent asks."""
        if self._room is None or not self._room.is_alive():
            self._room = _Room(self._viewing, self._say)
            self._room.start()
        self._room.hear(ask)

    def show(self, picture_HWC: NDArray[np.uint8], *, now_s: float) -> None:
        """Show a picture to all who watch, unless the last one was just now."""
        room = self._room
        if room is None or not room.slots or now_s < self._next_at_s:
            return
        self._next_at_s = now_s + 0.9 / MOST_PER_S  # frames that come a little early belong to the next slot
        room.show(small(picture_HWC, even=True))

    def stop(self) -> None:
        """Take leave of everybody, without waiting for them."""
        if self._room is not None:
            self._room.stop()


class _Room(threading.Thread):
    """The thread in which viewers are answered and kept."""

    def __init__(self, viewing: Viewing, say: Callable[[wire.Message], None]) -> None:
        super().__init__(name="camera-viewers", daemon=True)
        self._most, self._reach, self._say = viewing.most, Reach(viewing.allow), say
        self.slots: dict[int, Slot] = {}
        self._left: dict[int, asyncio.Event] = {}
        self._asks: asyncio.Queue[View | None] = asyncio.Queue(maxsize=8)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(1, thread_name_prefix="viewer-encoder"))
        guard(self._reach)

    def run(self) -> None:
        """Answer and keep viewers until stopped."""
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    def hear(self, ask: View | Leave) -> None:
        self._call(self._take, ask)

    def show(self, picture_HWC: NDArray[np.uint8]) -> None:
        self._call(self._put, picture_HWC)

    def stop(self) -> None:
        self._call(self._stop)

    def _call(self, what: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: so has everybody who watched
            self._loop.call_soon_threadsafe(what, *arguments)

    def _take(self, ask: View | Leave) -> None:
        if isinstance(ask, Leave):
            if ask.number in self._left:
                self._left[ask.number].set()
        elif len(self.slots) + self._asks.qsize() >= self._most or self._asks.full():
            self._say(wire.Declined(ask.number, FULL, f"{self._most} watch already, which is as many as may"))
        else:
            self._asks.put_nowait(ask)

    def _put(self, picture_HWC: NDArray[np.uint8]) -> None:
        for slot in self.slots.values():
            slot.put(picture_HWC)

    def _stop(self) -> None:
        for left in self._left.values():
            left.set()
        with contextlib.suppress(asyncio.QueueFull):
            self._asks.put_nowait(None)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while (ask := await self._asks.get()) is not None:
                connection = peering.new_connection()
                slot, ended = Slot(), asyncio.Event()
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        answer = await self._answer(ask.sdp, connection, slot)
                except (Refusal, TimeoutError) as error:
                    await _end(connection)
                    status = error.status if isinstance(error, Refusal) else FULL
                    self._say(wire.Declined(ask.number, status, str(error) or "it could not be answered in time"))
                    continue
                self.slots[ask.number], self._left[ask.number] = slot, ended
                group.create_task(self._keep(ask.number, connection, ended), name=f"viewer:{ask.number}")
                self._say(wire.Answered(ask.number, answer))

    async def _answer(self, sdp: bytes, connection: Any, slot: Slot) -> bytes:
        text = cleaned(sdp, self._reach)
        bind_towards(text, self._reach)
        await peering.read(connection, text, "offer")
        wanted = [
            each
            for each in connection.getTransceivers()
            if each.kind == "video" and each._offerDirection in _TO_THEM  # noqa: SLF001
        ]
        if not wanted:
            raise Refusal(UNUSABLE, "no video is asked for; the offer must be to receive it")
        for each in connection.getTransceivers():
            each.direction = "sendonly" if each is wanted[0] else "inactive"
        wanted[0].sender.replaceTrack(slot)
        answer = (await peering.answer(connection)).encode()
        if len(answer) > MAX_SDP_BYTES:
            raise Refusal(TOO_LARGE, "the answer to it would be too long")
        return answer

    async def _keep(self, number: int, connection: Any, ended: asyncio.Event) -> None:
        connected = asyncio.Event()

        def on_change() -> None:
            if connection.connectionState == "connected":
                connected.set()
            elif connection.connectionState in {"failed", "closed"}:
                connected.set()
                ended.set()

        connection.on("connectionstatechange", on_change)
        on_change()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_S) as deadline:
                    await _first_of(connected, ended)
                    deadline.reschedule(asyncio.get_running_loop().time() + VIEW_S)
                    await ended.wait()
        finally:
            slot = self.slots.pop(number)
            del self._left[number]
            slot.stop()
            await _end(connection)


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def _end(connection: Any) -> None:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(_END_S):
            await peering.end(connection)
