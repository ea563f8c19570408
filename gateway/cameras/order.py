"""The order and the sums that the events of a worker must keep, whatever it was sent."""

from dataclasses import astuple

from gateway.cameras.jobs import CameraJob, Job, PicturesJob, RecordingJob
from gateway.cameras.wire import WireError
from gateway.values import (
    FrameFaces,
    PictureRefused,
    SourceEnded,
    SourceEvent,
    SourceOpened,
    SourceProgress,
    SourceWaiting,
)

SAVED_S = 60.0
"""What a camera's worker did not say for so long it may say at once: it waits while the parent is held up."""

_MOST_LOOKS = 3.0  # times as often as asked; a worker looks twice as often at most
_MOST_WORDS_PER_S = 10.0  # beside frames
_FASTEST_FPS = 250.0


class Order:
    """Holds a worker to the order and the sums of its events.

    A camera's times may step with its clock, and it tells its progress; a recording does neither.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._is_live = isinstance(job, CameraJob)
        self._waits = isinstance(job, CameraJob) and job.waits
        self._count = len(job.paths) if isinstance(job, PicturesJob) else None
        self.is_opened = isinstance(job, PicturesJob)
        self._next_seq = self._frames = 0
        self._last_s = float("-inf")
        self._progress = (0, 0, 0, 0, 0)
        fps = (job.fps or _FASTEST_FPS) if isinstance(job, CameraJob) else 0.0
        self._most_per_s = _MOST_LOOKS * fps + _MOST_WORDS_PER_S
        self._left, self._heard_at_s = 0.0, float("-inf")

    def hear(self, now_s: float) -> None:
        """Count a message of any kind. A worker of a recording says as much as it can, and blocks.

        Raises:
            WireError: A camera's worker says more than a camera can give rise to: the others would be heard no more.
        """
        since_s, self._heard_at_s = now_s - self._heard_at_s, now_s
        self._left = min(SAVED_S * self._most_per_s, self._left + since_s * self._most_per_s) - 1.0
        if self._is_live and self._left < 0.0:
            raise WireError("more messages than there can be")

    def check(self, event: SourceEvent, *, now_s: float) -> None:
        """Take the next event, at `now_s` of the monotonic clock that a worker shares.

        Raises:
            WireError: It must not come here.
        """
        if isinstance(event, SourceWaiting):
            if self.is_opened or not self._waits:
                raise WireError("an event out of order")
            return
        # A camera may tell its size late: until then it counts what it received, which only shows that it lives.
        is_early = isinstance(event, SourceProgress) and self._is_live and not self.is_opened
        if not is_early:
            if isinstance(event, SourceOpened) is self.is_opened:
                raise WireError("an event out of order")
            self.is_opened = True
        match event:
            case FrameFaces():
                self._check_seq(event.seq)
                self._check_time(event.captured_at_s)
                self._check_arrival(event, now_s)
            case PictureRefused():
                self._check_seq(event.seq)
            case SourceProgress():
                self._check_progress(event)
            case SourceEnded():
                self._check_sums(event)

    def _check_seq(self, seq: int) -> None:
        if seq < self._next_seq or (self._count is not None and not seq == self._next_seq < self._count):
            raise WireError("a frame out of order")
        self._next_seq = seq + 1

    def _check_time(self, time_s: float) -> None:
        if time_s < self._last_s and not self._is_live:
            raise WireError("a time that runs backwards")
        self._frames, self._last_s = self._frames + 1, time_s

    def _check_arrival(self, frame: FrameFaces, now_s: float) -> None:
        arrived_at_s, found_at_s = frame.arrived_at_s, frame.found_at_s
        if arrived_at_s is None or found_at_s is None:
            if self._is_live:
                raise WireError("a frame that never arrived")
        elif not arrived_at_s <= found_at_s <= now_s:
            raise WireError("a frame from the future")

    def _check_progress(self, progress: SourceProgress) -> None:
        _, *counts = astuple(progress)
        received, *parts = counts
        if not self._is_live or sum(parts) > received:
            raise WireError("a progress whose sums are wrong")
        if any(now < before for now, before in zip(counts, self._progress, strict=True)):
            raise WireError("a progress that runs backwards")
        self._progress = tuple(counts)

    def _check_sums(self, ended: SourceEnded) -> None:
        if ended.frames_looked_at != self._frames or (self._count is not None and self._next_seq != self._count):
            raise WireError("an end whose sums are wrong")

    def where(self) -> str:
        """Return the file that is being read, or the camera's name: its address is nobody else's business."""
        match self._job:
            case CameraJob(camera=camera):
                return camera
            case RecordingJob(path=path):
                return str(path)
            case PicturesJob(camera=camera, paths=paths):
                return str(paths[min(self._next_seq, len(paths) - 1)]) if paths else camera
