"""A camera that sends over WebRTC: the peer inside its worker, as a feed like any other.

One thread runs the library's loop and hands each decoded picture on at once: the library's own queues have no bound.
One publisher is one life of the worker; whoever comes meanwhile is told so. What a loss leaves behind looks like a
picture, so from a loss to the next keyframe nothing is looked at.
"""

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from aiortc.mediastreams import MediaStreamError
from av.video.reformatter import Interpolation, VideoReformatter

from gateway.cameras import peering, wire
from gateway.cameras.asked import Inbox, Offer, RemoteAnswer
from gateway.cameras.cadence import Cadence
from gateway.cameras.guarded import bind_towards, guard
from gateway.cameras.jobs import PeerSource
from gateway.cameras.offers import MAX_SDP_BYTES, TOO_LARGE, UNUSABLE, Reach, Refusal, cleaned, hastened
from gateway.cameras.stream import FeedHeader, LiveFrame, Picture, too_large
from gateway.errors import SourceError, SourceReason
from gateway.values import ClockSource

CONFLICT = 409
_CLOSE_S, _DROP_S = 0.2, 2.0
_ANSWER_S = 6.0
"""Time to answer an offer: shorter than the parent waits."""

_MOST_WAITING = 100
"""Pictures that wait for the decoder: beyond it the processor does not keep up with this camera."""

_IDR = re.compile(rb"\x00\x00\x01[\x05\x25\x45\x65]")  # a slice of type 5, whatever its rank


class Peer:
    """The receiving end; used and closed by one thread alone, but for `begun_at_s`."""

    def __init__(
        self, source: PeerSource, *, inbox: Inbox, say: Callable[[wire.Message], None], max_pixels: int
    ) -> None:
        self._source, self._inbox, self._say, self._max_pixels = source, inbox, say, max_pixels
        self.header = FeedHeader(0, 0, 0.0, "webrtc")
        self.begun_at_s: float | None = None
        self._reach = Reach(source.allow)
        self._cadence = Cadence()
        self._reformatter = VideoReformatter()
        self._offers: deque[Offer | RemoteAnswer] = deque(maxlen=4)
        self._called = asyncio.Event()
        self._connection: Any = None
        self._receiver: Any = None
        self._is_lost = True  # until the first keyframe
        self._damaged: deque[int] = deque(maxlen=2 * _MOST_WAITING)  # time stamps on their way through the decoder
        self._loop = asyncio.new_event_loop()
        self._loop.add_reader(inbox.fileno(), self._hear)
        guard(self._reach)

    @property
    def frame_time_s(self) -> float | None:
        """How long a frame lasts, as its time stamps tell."""
        return self._cadence.frame_time_s

    def frames(self) -> Iterator[LiveFrame | None]:
        """Wait for a publisher and yield what it sends; ends when the inbox is closed.

        Raises:
            SourceError: The publisher has gone, or sends what cannot be looked at.
        """
        if not self._loop.run_until_complete(self._connect()):
            return
        while True:
            frame = self._loop.run_until_complete(self._next())
            if frame is None:
                return
            yield self._live(frame)

    def close(self) -> None:
        """Take leave of the publisher."""
        with contextlib.suppress(TimeoutError):
            self._loop.run_until_complete(self._leave(_CLOSE_S))
        self._loop.remove_reader(self._inbox.fileno())
        self._loop.close()

    def _hear(self) -> None:
        for ask in self._inbox.collect():
            self._offers.append(ask)
        if self._receiver is not None:
            self._decline_others()
        self._called.set()

    def _decline_others(self) -> None:
        while self._offers:
            ask = self._offers.popleft()
            if isinstance(ask, Offer):
                self._say(wire.Declined(ask.number, CONFLICT, "somebody already sends for this camera"))

    async def _connect(self) -> bool:
        """Return whether a publisher was found before the end."""
        if self._source.calls:
            await self._call()
        while not self._inbox.is_closed:
            while self._offers:
                self.begun_at_s = time.monotonic()  # from here on the watch runs, also where a library hangs
                if await self._take(self._offers.popleft()):
                    self._decline_others()
                    return True
                self.begun_at_s = None
            self._called.clear()
            await self._called.wait()
        return False

    async def _call(self) -> None:
        bind_towards("", self._reach)
        self._connection = peering.new_connection()
        self._connection.addTransceiver("video", direction="recvonly")
        await self._connection.setLocalDescription(await self._connection.createOffer())
        self._say(wire.Calling(self._connection.localDescription.sdp.encode()[:MAX_SDP_BYTES]))

    async def _take(self, ask: Offer | RemoteAnswer) -> bool:
        if isinstance(ask, RemoteAnswer):
            await self._on_answer(ask)
            return True
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._answer(ask.sdp)
        except TimeoutError:
            await self._drop()
            self._say(wire.Declined(ask.number, UNUSABLE, f"it could not be answered within {_ANSWER_S:g} s"))
            return False
        except Refusal as refusal:
            await self._drop()
            self._say(wire.Declined(ask.number, refusal.status, str(refusal)))
            return False
        self._say(wire.Answered(ask.number, answer))
        return True

    async def _on_answer(self, ask: RemoteAnswer) -> None:
        try:
            await peering.read(self._connection, cleaned(ask.sdp, self._reach), "answer")
            self._receiver = self._connection.getTransceivers()[0].receiver
            self._watch_losses()
        except Refusal as refusal:
            raise SourceError(f"the server's answer cannot be used: {refusal}", SourceReason.UNREADABLE) from None

    async def _answer(self, sdp: bytes) -> bytes:
        text = cleaned(sdp, self._reach)
        bind_towards(text, self._reach)
        self._connection = peering.new_connection()
        await peering.read(self._connection, text, "offer")
        videos = [each for each in self._connection.getTransceivers() if each.kind == "video"]
        if not videos or videos[0].receiver.track is None:
            raise Refusal(UNUSABLE, "no video is sent; the offer must be to send it")
        for other in self._connection.getTransceivers():
            if other is not videos[0]:
                other.direction = "inactive"
        answer = hastened(await peering.answer(self._connection)).encode()
        if len(answer) > MAX_SDP_BYTES:
            raise Refusal(TOO_LARGE, "the answer to it would be too long")
        self._receiver = videos[0].receiver
        self._watch_losses()
        return answer

    async def _drop(self) -> None:
        """Leave nothing of an offer behind.

        Raises:
            SourceError: The library does not let go of it; the next life of this worker is free of it.
        """
        try:
            await self._leave(_DROP_S)
        except TimeoutError:
            raise SourceError("the connection of a declined offer does not end", SourceReason.HUNG) from None

    async def _leave(self, within_s: float) -> None:
        connection, self._connection, self._receiver = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(within_s):
                    await peering.end(connection)

    def _watch_losses(self) -> None:
        ask_for_keyframe = self._receiver._send_rtcp_pli  # noqa: SLF001  (the one place where a loss is told)

        async def asking(ssrc: int) -> None:
            self._is_lost = True
            await ask_for_keyframe(ssrc)

        self._receiver._send_rtcp_pli = asking  # noqa: SLF001
        decoding = self._receiver._RTCRtpReceiver__decoder_queue  # noqa: SLF001
        put = decoding.put

        def putting(item: Any) -> None:
            if item is not None:
                self._mark(*item)
            put(item)

        decoding.put = putting

    def _mark(self, codec: Any, encoded: Any) -> None:
        """Note whether a frame is damaged before it is decoded: not every decoder tells a keyframe afterwards."""
        if is_keyframe(codec.name, encoded.data):
            self._is_lost = False
        if self._is_lost:
            self._damaged.append(encoded.timestamp)

    async def _next(self) -> Any:
        """Return the next picture, or None at the end.

        Raises:
            SourceError: No more will come.
        """
        coming = asyncio.ensure_future(self._receiver.track.recv())
        try:
            while not coming.done():
                if self._inbox.is_closed:
                    return None
                self._called.clear()
                ending = asyncio.ensure_future(self._called.wait())
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                ending.cancel()
            return coming.result()
        except MediaStreamError:
            raise SourceError("the publisher has gone", SourceReason.ENDED) from None
        finally:
            coming.cancel()

    def _live(self, frame: Any) -> LiveFrame:
        if frame.width * frame.height > self._max_pixels:
            raise too_large(frame.width, frame.height, self._max_pixels)
        if self._receiver._RTCRtpReceiver__decoder_queue.qsize() > _MOST_WAITING:  # noqa: SLF001
            raise SourceError("its pictures come faster than they can be decoded; choose a smaller one")
        self._is_lost |= frame.is_corrupt
        is_damaged = frame.is_corrupt or frame.pts in self._damaged
        now_s, stamp_s = time.monotonic(), float(frame.pts * frame.time_base)
        self._cadence.take(stamp_s)
        picture = None if is_damaged else partial(self._picture, frame)
        return LiveFrame(frame.width, frame.height, stamp_s, now_s, time.time(), ClockSource.ARRIVAL, picture)

    def _picture(self, frame: Any) -> Picture:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        return np.ascontiguousarray(rgb.to_ndarray())


def is_keyframe(codec: str, data: bytes) -> bool:
    """Return whether an encoded frame needs none before it."""
    if codec == "VP8":
        return bool(data) and not data[0] & 1
    return _IDR.search(data) is not None
