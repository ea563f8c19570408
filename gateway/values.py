"""The values that travel with a face, from the decoded picture to the verdict.

Y/X pixel row/column, C colour (R, G, B). Times: `captured_at_s` is UTC epoch seconds, `arrived_at_s` monotonic.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class ClockSource(StrEnum):
    """Where `captured_at_s` comes from."""

    RTCP_NTP = "rtcp_ntp"
    ARRIVAL = "arrival"
    FILE_PTS = "file_pts"


class Quality(StrEnum):
    """Whether a face can be judged, and if not, why."""

    USABLE = "usable"
    TOO_SMALL = "too_small"
    FLAT = "flat"
    BLURRED = "blurred"
    UNSCORED = "unscored"  # the detector gave no number


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A face in the coordinates of the full-size picture, in px; `x2` and `y2` are exclusive."""

    x1: float
    y1: float
    x2: float
    y2: float
    confidence: float

    @property
    def width_px(self) -> float:
        """Width of the box."""
        return self.x2 - self.x1

    @property
    def height_px(self) -> float:
        """Height of the box."""
        return self.y2 - self.y1

    @property
    def area_px(self) -> float:
        """Area of the box."""
        return max(0.0, self.width_px) * max(0.0, self.height_px)


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """One face as the camera saw it: the square around `box` with its context, never enlarged.

    `pixels_YXC` is uint8 RGB, square, at most `contract.geometry.MAX_CROP_PX` a side; `square_px` is the side of that
    square in the camera's picture, so `square_px > side` means it was reduced once.
    """

    camera: str
    seq: int
    captured_at_s: float
    box: FaceBox
    pixels_YXC: NDArray[np.uint8]
    square_px: int


@dataclass(frozen=True, slots=True)
class SourceOpened:
    """What a source said of itself when it was opened."""

    camera: str
    width_px: int
    height_px: int
    fps: float
    codec: str
    frames_expected: int | None


@dataclass(frozen=True, slots=True, eq=False)
class FrameFaces:
    """The faces of one looked-at frame, largest first; empty when none was found.

    `faces_dropped` counts faces beyond the limit per frame. A live source also says when the frame arrived and when its
    faces were found, on the monotonic clock that all processes of a machine share; a recording does not.
    """

    camera: str
    seq: int
    captured_at_s: float
    clock_source: ClockSource
    frame_width_px: int
    frame_height_px: int
    crops: tuple[FaceCrop, ...]
    faces_dropped: int
    arrived_at_s: float | None = None
    found_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """What a live source counted since it was opened, said about once a second while frames arrive.

    Every frame received is in exactly one of the four others, or is being looked at. `frames_replaced` were due, but a
    newer one came before there was time for them.
    """

    camera: str
    frames_received: int
    frames_looked_at: int
    frames_skipped: int
    frames_replaced: int
    frames_damaged: int


@dataclass(frozen=True, slots=True)
class SourceWaiting:
    """A live source that is ready and waits for somebody to send to it: nothing is wrong."""

    camera: str


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """A recording is over; every frame it held is counted in exactly one of the three numbers."""

    camera: str
    frames_looked_at: int
    frames_skipped: int
    frames_damaged: int


@dataclass(frozen=True, slots=True)
class PictureRefused:
    """One picture of a set cannot be used; `reason` is a sentence for the operator. The others go on."""

    camera: str
    seq: int
    reason: str


SourceEvent = SourceOpened | SourceWaiting | FrameFaces | PictureRefused | SourceProgress | SourceEnded


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """A crop and the passage it belongs to."""

    track_id: int
    crop: FaceCrop


@dataclass(frozen=True, slots=True)
class Screening:
    """What the detector said of one face of a track; higher `score` is more suspicious (logit margin).

    `frame_time_s` is the crop's `captured_at_s`.
    """

    camera: str
    track_id: int
    seq: int
    frame_time_s: float
    box: FaceBox
    score: float
    quality: Quality
