"""Play a recording as if it were a camera: at its own pace, once or for ever."""

import threading
import time
from collections.abc import Iterator

from gateway.cameras.jobs import FileSource
from gateway.cameras.recording import RecordedFrame, Recording, open_recording
from gateway.cameras.stream import FeedHeader, LiveFrame
from gateway.errors import SourceError
from gateway.values import ClockSource


class Playing:
    """A recording whose frames come when a camera would have sent them; they are captured when they come."""

    def __init__(self, source: FileSource, *, max_pixels: int, is_over: threading.Event) -> None:
        """Open the recording; `is_over` ends a wait for the next frame.

        Raises:
            SourceError: There is none, or it can be seen at once that it cannot be read.
        """
        self._source, self._max_pixels, self._is_over = source, max_pixels, is_over
        self._recording = open_recording(source.path, max_pixels=max_pixels)

    @property
    def header(self) -> FeedHeader:
        """What is known; the size only once the first frame was handed out."""
        header = self._recording.header
        return FeedHeader(header.width_px, header.height_px, header.fps, header.codec)

    @property
    def frame_time_s(self) -> float | None:
        """How long a frame lasts, as the recording says."""
        return 1.0 / self._recording.header.fps

    def frames(self) -> Iterator[LiveFrame]:
        """Yield every frame in its time.

        Raises:
            SourceError: The recording cannot be read on.
        """
        begun_s, rounds_s = time.monotonic(), 0.0
        while True:
            clock_s = rounds_s
            for frame, shown_s in _since_start(self._recording):
                clock_s = rounds_s + shown_s
                if self._is_over.wait(max(0.0, begun_s + clock_s - time.monotonic())):
                    return
                yield self._live(frame, clock_s)
            if not self.header.width_px:  # a loop over nothing would never rest
                raise SourceError(f"{self._source.path}: no frame could be decoded; the file is damaged or cut short")
            if not self._source.loop:
                return
            rounds_s = clock_s + 1.0 / self._recording.header.fps
            self._recording = open_recording(self._source.path, max_pixels=self._max_pixels)

    def close(self) -> None:
        """Nothing is held open but by `frames`, which closes what it reads."""

    def _live(self, frame: RecordedFrame, clock_s: float) -> LiveFrame:
        header, now_s = self._recording.header, time.monotonic()
        return LiveFrame(
            header.width_px, header.height_px, clock_s, now_s, time.time(), ClockSource.ARRIVAL, frame.picture
        )


def _since_start(recording: Recording) -> Iterator[tuple[RecordedFrame, float]]:
    first_s: float | None = None
    for frame in recording.frames():
        first_s = frame.time_s if first_s is None else first_s
        yield frame, frame.time_s - first_s
