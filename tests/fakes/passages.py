"""Faces without pictures: frames, tracked faces and scores for the tests of screening."""

from collections.abc import Iterable

import numpy as np

from gateway.values import ClockSource, FaceBox, FaceCrop, FrameFaces, Quality, Screening, TrackedFace

NO_PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)
BOX = FaceBox(100.0, 100.0, 160.0, 175.0, 0.9)


def face(x: float, y: float, size: float) -> FaceBox:
    """Return the box of a face by its centre and width, a quarter higher than wide."""
    return FaceBox(x - size / 2, y - 0.625 * size, x + size / 2, y + 0.625 * size, 0.9)


def frame(
    time_s: float, boxes: Iterable[FaceBox], *, seq: int = 0, size_px: tuple[int, int] = (1920, 1080)
) -> FrameFaces:
    """Return one looked-at frame of camera `lobby`."""
    crops = tuple(FaceCrop("lobby", seq, time_s, box, NO_PIXELS, 1) for box in boxes)
    return FrameFaces("lobby", seq, time_s, ClockSource.FILE_PTS, *size_px, crops, 0)


def tracked(seq: int, *, camera: str = "lobby", track_id: int = 1) -> TrackedFace:
    """Return one face of a track; `seq` tells the faces apart."""
    return TrackedFace(track_id, FaceCrop(camera, seq, seq / 10, BOX, NO_PIXELS, 1))


def screening(
    score: float, *, seq: int = 0, quality: Quality = Quality.USABLE, camera: str = "lobby", track_id: int = 1
) -> Screening:
    """Return what the detector said of a face seen at `seq / 10` s."""
    return Screening(camera, track_id, seq, seq / 10, BOX, score, quality)
