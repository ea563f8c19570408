"""Read recordings: video files of any common container, and folders of pictures.

Every frame is accounted for: it is handed out, or it is damaged. What a decoder makes up after damage looks like a
picture but is none, so nothing from a damaged frame up to the next keyframe is ever looked at.

H/W picture row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from gateway.cameras.damage import DamageFilter
from gateway.cameras.jobs import MAX_PIXELS
from gateway.cameras.names import PICTURE_SUFFIXES, natural_key
from gateway.cameras.pictures import PICTURES_PER_S, PictureError, read_picture
from gateway.errors import SourceError, SourceReason

# A "recording" that is a play list would make the worker open what it names: only containers that hold their own data.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,gif,h264,hevc,vvc,m4v,mjpeg,mjpeg_2000,ogg,asf,mxf,"
    "ivf,obu,av1,nut,dv,rm,wtv,yuv4mpegpipe,apng,h263,h261,ingenient,smjpeg,r3d,gxf,swf,vc1,rcv,dirac,cavsvideo,avs2,avs3"
)
_CODECS = frozenset(
    """h264 hevc vvc av1 vp8 vp9 mpeg1video mpeg2video mpeg4 mjpeg mjpegb jpeg2000 gif apng png bmp tiff webp prores
    ffv1 ffvhuff huffyuv utvideo rawvideo v210 theora h261 h263 h263p flv1 wmv1 wmv2 wmv3 vc1 msmpeg4v1 msmpeg4v2
    msmpeg4v3 dvvideo dnxhd cinepak""".split()  # noqa: SIM905  (a list of names, one a line, would fill a page)
)

_HONEST_HEADERS = (
    "mov",
    "matroska",
    "avi",
)  # others guess their length by bit rate, or by what is there
_LEAST_MISSING_S, _LEAST_MISSING_SHARE = 0.5, 0.05  # less may be rounding, or a last frame that is shown for long

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording is; sizes are those of the upright picture."""

    width_px: int
    height_px: int
    fps: float
    codec: str
    frames_expected: int | None


@dataclass(frozen=True, slots=True, eq=False)
class RecordedFrame:
    """One frame in order; `picture` converts it to RGB on demand, and is None where the frame is damaged.

    `reason` says why, where a file can be named.
    """

    time_s: float
    picture: Callable[[], Picture] | None
    reason: str | None = None


class Recording(Protocol):
    """A recording that can be read once, from its beginning."""

    @property
    def header(self) -> Header:
        """What is known once the first frame was handed out."""
        ...

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield every frame in order; times never decrease."""
        ...


def open_recording(path: Path, *, max_pixels: int = MAX_PIXELS) -> Recording:
    """Return the recording behind a path.

    Raises:
        SourceError: There is none, or it can be seen at once that it cannot be read.
    """
    try:
        if path.is_dir():
            return PictureFolder(path)
        if not path.is_file():
            raise SourceError(
                f"{path}: no such file or folder" if not path.exists() else f"{path}: not a file or folder"
            )
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty")
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    return VideoFile(path, max_pixels=max_pixels)


class Thinning:
    """Says which frames are looked at so that `fps` of them are in a second of the recording's own clock.

    `phase`, in [0, 1), moves the slots of 1 / fps seconds, so that cameras in step are not looked at all at once.
    """

    def __init__(self, fps: float | None, *, phase: float = 0.0) -> None:
        self._fps = fps
        self._phase = phase
        self._last_slot: int | None = None

    def takes(self, time_s: float) -> bool:
        """Return whether the frame of this time is looked at: the first of each slot."""
        if self._fps is None:
            return True
        # The margin keeps a slot from being missed because 0.04 × 25 is a hair below 1.
        slot = int(time_s * self._fps + self._phase + 1e-3)
        if slot == self._last_slot:
            return False
        self._last_slot = slot
        return True


class PictureFolder:
    """A folder of pictures as a recording of 25 frames a second, names in natural order (2 before 10)."""

    def __init__(self, path: Path) -> None:
        names = [
            entry
            for entry in path.iterdir()
            if entry.suffix.lower() in PICTURE_SUFFIXES and not entry.name.startswith(".")
        ]
        if not names:
            raise SourceError(
                f"{path}: no pictures in this folder; give a folder of JPEG, PNG, BMP, WebP or TIFF files"
            )
        self._paths = sorted(names, key=lambda entry: natural_key(entry.name))
        self._size = (0, 0)

    @property
    def header(self) -> Header:
        """The size is that of the first readable picture."""
        return Header(*self._size, PICTURES_PER_S, "pictures", len(self._paths))

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield one frame per picture; an unreadable one is damaged and says why."""
        for index, path in enumerate(self._paths):
            yield self._frame(path, index / PICTURES_PER_S)

    def _frame(self, path: Path, time_s: float) -> RecordedFrame:
        try:
            picture_HWC = read_picture(path)
        except PictureError as error:
            return RecordedFrame(time_s, None, str(error))
        if self._size == (0, 0):
            self._size = (picture_HWC.shape[1], picture_HWC.shape[0])
        return RecordedFrame(time_s, lambda: picture_HWC)


class VideoFile:
    """A video file through PyAV, on one thread; only its first video stream is read."""

    def __init__(self, path: Path, *, max_pixels: int = MAX_PIXELS) -> None:
        self._path, self._max_pixels = path, max_pixels
        self._container = self._open()
        self._stream = self._video_stream()
        # Taken now: once its container is closed, a stream answers from freed memory.
        self._codec, self._frames_expected = (
            self._stream.codec_context.codec.canonical_name,
            self._stream.frames or None,
        )
        self._reformatter = VideoReformatter()
        self._damage: DamageFilter[Any] = DamageFilter()
        self._clock = _Clock(self._container, self._stream)
        self._size = (0, 0)
        self._held = self._accounted = 0
        self._promised_s, self._there_s = _promised_s(self._container, self._stream), 0.0

    @property
    def header(self) -> Header:
        """The size is that of the first frame, upright."""
        return Header(*self._size, self._clock.fps, self._codec, self._frames_expected)

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield every frame in order; those that the decoder swallowed stand as damaged frames at the end.

        Raises:
            SourceError: A frame is too large; or, after all that is there, the file is shorter than it says.
        """
        with closing(self._container):
            for packet in self._packets():
                if packet is not None and packet.pts is not None:
                    self._there_s = max(self._there_s, self._clock.since_start_s(packet.pts + (packet.duration or 0)))
                self._held += packet is None or (packet.size > 0 and not packet.is_discard)
                for frame in self._decoded(packet):
                    reorders = self._stream.codec_context.reorder_depth > 0
                    yield from self._recorded(self._damage.take(frame, reorders=reorders))
            yield from self._recorded(self._damage.flush())
        for _ in range(self._held - self._accounted):
            yield RecordedFrame(self._clock.last_s, None)
        if self._there_s < self._promised_s - max(_LEAST_MISSING_S, _LEAST_MISSING_SHARE * self._promised_s):
            raise self._error(f"cut short: only {self._there_s:.1f} s of {self._promised_s:.1f} s are there")

    def _decoded(self, packet: Any) -> list[Any]:
        if packet is None or packet.is_corrupt:
            self._damage.lost(packet.pts if packet else None)
        try:
            return list(self._stream.decode(packet))
        except av.error.FFmpegError:
            self._damage.lost(packet.pts if packet else None)
            return []

    def _recorded(self, settled: list[tuple[Any, bool]]) -> Iterator[RecordedFrame]:
        for frame, is_damaged in settled:
            self._accounted += 1
            if frame.width * frame.height > self._max_pixels:
                raise self._too_large(frame.width, frame.height)
            turns = round(frame.rotation / 90) % 4
            if self._size == (0, 0):
                self._size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
            yield RecordedFrame(
                self._clock.read(frame.pts), None if is_damaged else partial(self._picture, frame, turns)
            )

    def _picture(self, frame: Any, turns: int) -> Picture:
        rgb = self._reformatter.reformat(frame, format="rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))

    def _packets(self) -> Iterator[Any]:
        """Yield the packets, the last one empty; None in its place where the rest of the file cannot be read."""
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError:
            yield None

    def _open(self) -> Any:
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        try:
            # "file:" keeps a name with a colon or a percent sign from being read as a protocol or a pattern.
            return av.open(f"file:{self._path}", options=options, metadata_errors="replace")
        except av.error.ArgumentError:
            raise self._error(
                "not a container that is read here; give MP4, MKV, AVI, TS, WebM, GIF or the like"
            ) from None
        except av.error.FFmpegError as error:
            raise self._error(f"not a recording, or damaged from its beginning ({error.strerror})") from None
        except UnicodeError:
            raise self._error("its name is no UTF-8; rename it") from None

    def _video_stream(self) -> Any:
        if not self._container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "nothing"
            raise self._error(f"no video in this file, only {kinds}")
        stream = self._container.streams.video[0]
        context = stream.codec_context
        if context is None or context.codec.canonical_name not in _CODECS:
            raise self._error(
                f"its codec {'unknown' if context is None else context.name} is not read here; convert it to H.264"
            )
        if context.width * context.height > self._max_pixels:
            raise self._too_large(context.width, context.height)
        stream.thread_type = "NONE"
        context.thread_count = 1
        context.options = {"max_pixels": str(self._max_pixels)}
        return stream

    def _too_large(self, width: int, height: int) -> SourceError:
        text = f"{self._path}: {width}×{height} px is more than the limit of {self._max_pixels} px"
        return SourceError(text, SourceReason.TOO_LARGE)

    def _error(self, reason: str) -> SourceError:
        return SourceError(f"{self._path}: {reason}")


class _Clock:
    """Turns time stamps into seconds: the file's creation time (or 0) plus the time since its start; never back."""

    def __init__(self, container: Any, stream: Any) -> None:
        rate = stream.average_rate or stream.guessed_rate
        self.fps = float(rate) if rate and 0 < rate <= 1000 else 25.0
        self._unit_s = float(stream.time_base) if stream.time_base else 1.0 / self.fps
        self._start = stream.start_time or 0
        self._origin_s = _creation_time_s(container.metadata)
        self.last_s = self._origin_s
        self._is_running = False

    def read(self, pts: int | None) -> float:
        step_s = 1.0 / self.fps if self._is_running else 0.0
        stamp_s = self.last_s + step_s if pts is None else self._origin_s + self.since_start_s(pts)
        self._is_running = True
        self.last_s = max(self.last_s, stamp_s)
        return self.last_s

    def since_start_s(self, pts: int) -> float:
        """Return the time from the stream's start to a time stamp."""
        return float((pts - self._start) * self._unit_s)


def _promised_s(container: Any, stream: Any) -> float:
    """Return how long the header says that the video is; 0 where it does not say, or only guesses."""
    if container.format.name.split(",")[0] not in _HONEST_HEADERS:
        return 0.0
    whole_s = (container.duration or 0) / av.time_base
    if stream.duration and stream.time_base:
        # The lesser: edit lists leave out a part of the stream, and another stream may last longer.
        return float(min(whole_s, stream.duration * stream.time_base))
    return whole_s if len(container.streams) == 1 else 0.0


def _creation_time_s(metadata: dict[str, str]) -> float:
    try:
        created = datetime.fromisoformat(metadata.get("creation_time", ""))
    except ValueError:
        return 0.0
    believable = created.tzinfo is not None and 1980 <= created.year < 3000
    return created.timestamp() if believable else 0.0
