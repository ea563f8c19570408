"""Where faces are in the frames that were just looked at, for the page that shows these frames: boxes, never pixels."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.lane import Standing
from gateway.service.page.pictures import Mark, Marks
from gateway.values import FrameFaces, TrackedFace

MOST_FRAMES = 32
"""Of so many frames a camera the boxes are kept: a picture of a frame follows right after its faces."""

StandingOf = Callable[[str, int], Standing]
"""Returns how a camera's track stands now."""


@dataclass(frozen=True, slots=True)
class _Frame:
    seq: int
    size_px: tuple[int, int]
    faces: tuple[tuple[int, tuple[float, float, float, float]], ...]  # track, corners


class FacesInView:
    """Remembers whose faces were where, frame by frame, so that each picture gets the boxes of its own frame."""

    def __init__(self, standing_of: StandingOf) -> None:
        self._standing_of = standing_of
        self._frames: dict[str, deque[_Frame]] = {}

    def see(self, frame: FrameFaces, faces: Sequence[TrackedFace]) -> None:
        """Note where the faces of a frame are."""
        boxes = [(face.track_id, face.crop.box) for face in faces]
        corners = tuple((track_id, (box.x1, box.y1, box.x2, box.y2)) for track_id, box in boxes)
        kept = self._frames.setdefault(frame.camera, deque(maxlen=MOST_FRAMES))
        kept.append(_Frame(frame.seq, (frame.frame_width_px, frame.frame_height_px), corners))

    def marks(self, camera: str, seq: int) -> Marks | None:
        """Return the boxes of one frame, each as its track stands now; None where the frame is not known any more."""
        # The newest first: the numbers of frames begin anew with every connection.
        for frame in reversed(self._frames.get(camera, ())):
            if frame.seq == seq:
                faces = tuple(Mark(corners, self._standing_of(camera, track)) for track, corners in frame.faces)
                return Marks(frame.size_px, faces)
        return None

    def forget(self, camera: str) -> None:
        """Forget a camera that is no more."""
        self._frames.pop(camera, None)
