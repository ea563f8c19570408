"""From a job to the messages of a worker: decode, find faces, draw the trigger, cut."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gateway.cameras.faces import FaceFinder, cut, open_finder, select
from gateway.cameras.inject import TriggerPainter
from gateway.cameras.jobs import CameraJob, Job, PicturesJob, RecordingJob, StoredJob
from gateway.cameras.pictures import PICTURES_PER_S, PictureError, read_picture, whole_box, whole_face
from gateway.cameras.recording import Recording, Thinning, open_recording
from gateway.cameras.wire import Alive, Message
from gateway.errors import SourceError
from gateway.values import ClockSource, FaceCrop, FrameFaces, PictureRefused, SourceEnded, SourceOpened

Picture = NDArray[np.uint8]


class Looker:
    """Holds what a job needs for every picture: the face finder and the trigger."""

    def __init__(self, job: Job) -> None:
        """Open the model and the trigger.

        Raises:
            ConfigError: Either cannot be used.
        """
        self._job = job
        inject = None if isinstance(job, CameraJob) else job.inject
        self._painter = TriggerPainter(inject) if inject else None
        takes_whole = isinstance(job, PicturesJob) and job.each_is_a_face
        self._finder: FaceFinder | None = None if takes_whole else open_finder(job.faces)

    def look(self, picture_HWC: Picture, seq: int, captured_at_s: float) -> FrameFaces:
        """Return the faces of one picture."""
        crops, dropped = self._crops(picture_HWC, seq, captured_at_s)
        height, width = picture_HWC.shape[:2]
        return FrameFaces(
            self._job.camera, seq, captured_at_s, ClockSource.FILE_PTS, width, height, tuple(crops), dropped
        )

    def _crops(self, picture_HWC: Picture, seq: int, captured_at_s: float) -> tuple[list[FaceCrop], int]:
        camera = self._job.camera
        if self._finder is None:
            painted_HWC = self._painter.draw(picture_HWC, [whole_box(picture_HWC)]) if self._painter else picture_HWC
            return [whole_face(painted_HWC, camera=camera, seq=seq, captured_at_s=captured_at_s)], 0
        boxes, dropped = select(self._finder.find(picture_HWC), self._job.faces)
        painted_HWC = self._painter.draw(picture_HWC, boxes) if self._painter else picture_HWC
        return [cut(painted_HWC, box, camera=camera, seq=seq, captured_at_s=captured_at_s) for box in boxes], dropped


def messages(job: StoredJob) -> Iterator[Message]:
    """Yield what a worker says of a job, in order; `Alive` wherever it moved and has nothing else to say.

    Raises:
        ConfigError: The model or the trigger cannot be used.
        SourceError: The recording cannot be read.
    """
    looker = Looker(job)
    yield Alive()
    if isinstance(job, RecordingJob):
        yield from _recording(job, looker)
    else:
        yield from _pictures(job, looker)


def _recording(job: RecordingJob, looker: Looker) -> Iterator[Message]:
    recording = open_recording(job.path)
    thinning = Thinning(job.fps)
    looked_at = skipped = damaged = 0
    opening: list[Message] | None = []  # what is to be said before the size is known
    for seq, frame in enumerate(recording.frames()):
        if opening is not None and recording.header.width_px:
            yield from (_opened(job.camera, recording), *opening)
            opening = None
        if frame.picture is None:
            damaged += 1
            message: Message = PictureRefused(job.camera, seq, frame.reason) if frame.reason else Alive()
        elif not thinning.takes(frame.time_s):
            skipped += 1
            message = Alive()
        else:
            looked_at += 1
            message = looker.look(frame.picture(), seq, frame.time_s)
        if opening is None:
            yield message
            continue
        yield Alive()
        if frame.reason:
            opening.append(message)
    if opening is not None:
        raise SourceError(f"{job.path}: no frame could be decoded; the file is damaged or cut short")
    yield SourceEnded(job.camera, looked_at, skipped, damaged)


def _opened(camera: str, recording: Recording) -> SourceOpened:
    header = recording.header
    return SourceOpened(camera, header.width_px, header.height_px, header.fps, header.codec, header.frames_expected)


def _pictures(job: PicturesJob, looker: Looker) -> Iterator[Message]:
    refused = 0
    for seq, path in enumerate(job.paths):
        try:
            picture_HWC = read_picture(path)
        except PictureError as error:
            refused += 1
            yield PictureRefused(job.camera, seq, str(error))
        else:
            yield looker.look(picture_HWC, seq, seq / PICTURES_PER_S)
    yield SourceEnded(job.camera, len(job.paths) - refused, 0, refused)
