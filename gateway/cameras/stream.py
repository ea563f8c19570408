"""From an open container to frames of a live camera: decode on one thread, tell damage, give each frame its times.

What a decoder makes up after a loss looks like a picture but is none, so nothing from a loss to the next keyframe is
ever looked at, nor anything before the first keyframe. A loss shows as: a frame that the decoder marks, an error, RTP
packets that FFmpeg misses (it says so in its log, nowhere else), a hole in the time stamps, or a packet after silence.

H/W picture row/column, C colour (R, G, B).
"""

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from gateway.cameras.cadence import Cadence, Step
from gateway.cameras.camera_clock import CameraClock, reference_time_s
from gateway.cameras.damage import LONGEST_RUN, DamageFilter
from gateway.errors import SourceError, SourceReason
from gateway.values import ClockSource

_MISSED = "RTP: missed"
_REDIRECT = re.compile(r"Status \d+: Redirecting to (.*)", re.DOTALL)
_LOST_CONNECTION = SourceError("the camera closed the connection", SourceReason.ENDED)

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FeedHeader:
    """What a live source said of itself; a size of 0 × 0 is not known before its first frame."""

    width_px: int
    height_px: int
    fps: float
    codec: str


@dataclass(frozen=True, slots=True, eq=False)
class LiveFrame:
    """One frame; `picture` converts it to RGB on demand, from any thread but one at a time; None where it is damaged.

    `frame_clock_s` is the source's own clock, by which frames are thinned; `arrived_at_s` is monotonic.
    """

    width_px: int
    height_px: int
    frame_clock_s: float
    arrived_at_s: float
    captured_at_s: float
    clock_source: ClockSource
    picture: Callable[[], Picture] | None


class Feed(Protocol):
    """A live source that was opened; used and closed by one thread alone."""

    @property
    def header(self) -> FeedHeader:
        """What the source said of itself."""
        ...

    @property
    def frame_time_s(self) -> float | None:
        """How long a frame lasts; None until that is known."""
        ...

    def frames(self) -> Iterator[LiveFrame | None]:
        """Yield frames as they come; None for whatever arrives and is no frame yet. Ends where the source does.

        Raises:
            SourceError: The source cannot be read on.
        """
        ...

    def close(self) -> None:
        """Take leave of the source."""
        ...


class FFmpegLog:
    """Hears what FFmpeg says in this process, and keeps it from stderr, for it names addresses and passwords.

    `on_redirect` hears the address to which a camera sends its client, before FFmpeg goes there: it does not while that
    call lasts.
    """

    def __init__(self, on_redirect: Callable[[str], None] = lambda _: None) -> None:
        self._on_redirect = on_redirect
        self._has_missed = False
        self._ear = _Ear(self._hear)

    def __enter__(self) -> Self:
        """Take over the log."""
        logger = logging.getLogger("libav")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(self._ear)
        av.logging.set_skip_repeated(False)
        av.logging.set_level(av.logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        """Let FFmpeg be silent again."""
        av.logging.set_level(None)
        logging.getLogger("libav").removeHandler(self._ear)

    def tells_of_loss(self) -> bool:
        """Return whether RTP packets were missed since the last call."""
        has_missed, self._has_missed = self._has_missed, False
        return has_missed

    def _hear(self, said: str) -> None:
        self._has_missed |= _MISSED in said
        redirect = _REDIRECT.match(said)
        if redirect:
            self._on_redirect(redirect[1])


class _Ear(logging.Handler):
    """Hands on what is said, without the lock of other handlers: hearing it may take for ever."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__()
        self._hear = hear

    def handle(self, record: logging.LogRecord) -> bool:
        self._hear(record.getMessage())
        return True


class Stream:
    """The video stream of a container that delivers as time goes by."""

    def __init__(self, container: Any, stream: Any, *, max_pixels: int, log: FFmpegLog) -> None:
        self._container, self._stream = container, stream
        self._max_pixels, self._log = max_pixels, log
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        self.header = _header(stream)
        self._unit_s = float(stream.time_base)
        self._reformatter = VideoReformatter()
        self._clock, self._cadence = CameraClock(), Cadence()
        self._damage: DamageFilter[Any] = DamageFilter()
        self._damage.lost(None)  # until the first keyframe
        self._arrivals: deque[tuple[int | None, float]] = deque(maxlen=2 * LONGEST_RUN)
        self._shown_at_s = 0.0

    @property
    def frame_time_s(self) -> float | None:
        """How long a frame lasts, as the time stamps tell."""
        return self._cadence.frame_time_s

    def frames(self) -> Iterator[LiveFrame | None]:
        """Yield frames as they come, and None for each packet that completes none.

        Raises:
            SourceError: The camera closed the connection, or its pictures are too large.
        """
        for packet in self._packets():
            self._take_note(packet)
            settled = [pair for frame in self._decoded(packet) for pair in self._settled(frame)]
            for frame, is_damaged in settled:
                yield self._live(frame, is_damaged=is_damaged)
            if not settled:
                yield None

    def close(self) -> None:
        """Take leave of the camera; never from another thread than the one that reads."""
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except av.error.FFmpegError:
            raise _LOST_CONNECTION from None
        raise _LOST_CONNECTION

    def _take_note(self, packet: Any) -> None:
        self._arrivals.append((packet.pts, time.monotonic()))
        if self._log.tells_of_loss() or packet.is_corrupt:
            self._damage.lost(packet.pts)
        stamp_s = self._stamp_s(packet.pts)
        if stamp_s is not None and packet.has_sidedata("prft"):
            utc_s = reference_time_s(bytes(packet.get_sidedata("prft")))
            if utc_s is not None:
                self._clock.report(stamp_s, utc_s)

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self._stream.decode(packet))
        except av.error.FFmpegError:
            context = self._stream.codec_context
            if context.width * context.height > self._max_pixels:  # which its decoder refused by the new header
                raise too_large(context.width, context.height, self._max_pixels) from None
            self._damage.lost(packet.pts)
            return []

    def _settled(self, frame: Any) -> list[tuple[Any, bool]]:
        before: list[tuple[Any, bool]] = []
        match self._cadence.take(self._stamp_s(frame.pts)):
            case Step.HOLE:
                # This frame may be the keyframe that mends it: what was lost came before.
                self._damage.lost(None)
            case Step.BACK:
                # The camera set its clock: nothing is "before the damage" any more by its time stamp.
                before = [(held, True) for held, _ in self._damage.flush()]
                self._damage = DamageFilter()
                self._damage.lost(None)
        return before + self._damage.take(frame, reorders=self._stream.codec_context.reorder_depth > 0)

    def _live(self, frame: Any, *, is_damaged: bool) -> LiveFrame:
        if frame.width * frame.height > self._max_pixels:
            raise too_large(frame.width, frame.height, self._max_pixels)
        # What B-frames are predicted from arrives before them and is shown after them: time must not go back and forth.
        arrived_at_s = self._shown_at_s = max(self._shown_at_s, self._arrived_at_s(frame.pts))
        arrived_utc_s = time.time() - (time.monotonic() - arrived_at_s)
        stamp_s = self._stamp_s(frame.pts)
        captured_at_s, clock = self._clock.read(stamp_s, arrived_utc_s=arrived_utc_s)
        return LiveFrame(
            frame.width,
            frame.height,
            arrived_at_s if stamp_s is None else stamp_s,
            arrived_at_s,
            captured_at_s,
            clock,
            None if is_damaged else partial(self._picture, frame),
        )

    def _picture(self, frame: Any) -> Picture:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        return np.ascontiguousarray(rgb.to_ndarray())

    def _stamp_s(self, pts: int | None) -> float | None:
        return None if pts is None else pts * self._unit_s

    def _arrived_at_s(self, pts: int | None) -> float:
        return next((at_s for stamp, at_s in reversed(self._arrivals) if stamp == pts), self._arrivals[-1][1])


def video_stream(container: Any, codecs: frozenset[str], *, max_pixels: int) -> Any:
    """Return the first video stream of a container, if it may be decoded.

    Raises:
        SourceError: There is none, or its codec or size is not read here.
    """
    if not container.streams.video:
        raise SourceError("it sends no video; choose another stream of it", SourceReason.NO_VIDEO)
    stream = container.streams.video[0]
    context = stream.codec_context
    name = "unknown" if context is None else context.codec.canonical_name
    if name not in codecs:
        raise SourceError(
            f"its codec {name} is not read here; set the camera to H.264, H.265 or MJPEG", SourceReason.CODEC
        )
    if context.width * context.height > max_pixels:
        raise too_large(context.width, context.height, max_pixels)
    return stream


def too_large(width_px: int, height_px: int, max_pixels: int) -> SourceError:
    """Return the error of a picture beyond the limit."""
    return SourceError(
        f"its pictures of {width_px}×{height_px} px are larger than the limit of {max_pixels} px; choose a smaller "
        "stream of the camera, or raise max_pixels",
        SourceReason.TOO_LARGE,
    )


def _header(stream: Any) -> FeedHeader:
    rate = stream.average_rate or stream.guessed_rate
    fps = float(rate) if rate and 0 < rate <= 1000 else 0.0
    context = stream.codec_context
    return FeedHeader(context.width, context.height, fps, context.codec.canonical_name)
