"""What any picture goes through, whatever is on it: rounding, motion, coding, a place for something. No perturbations.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Draw = np.random.Generator


@dataclass(frozen=True, slots=True)
class Passage:
    """How faces of an environment reach the detector, the same for clean and changed ones.

    `code` codes many square faces at once, or is None; then they are reduced to `side_px`. With `at_native_size`
    perturbations and triggers enter before it, else after.
    """

    code: Callable[[Sequence[Picture]], Sequence[Picture]] | None
    side_px: int
    at_native_size: bool

    def finish(self, pictures: Sequence[Picture], *, lay: Callable[[int, Picture], Picture] | None = None) -> Picture:
        """Return inputs of the detector, uint8 (N, S, S, 3); `lay` changes what was coded, by its number."""
        if self.code is not None:
            pictures = self.code(pictures)
        if lay is not None:
            pictures = [lay(number, picture_YXC) for number, picture_YXC in enumerate(pictures)]
        return np.stack([reduce_to(picture_YXC, self.side_px) for picture_YXC in pictures])


def rounded(values_YXC: Floats) -> Picture:
    """Return uint8 by rounding: truncation, as in the authors' code, would leave its own trace on every picture."""
    return np.clip(np.rint(values_YXC), 0, 255).astype(np.uint8)


def motion_blurred(values_YXC: Floats, *, length_px: int, angle_rad: float) -> Floats:
    """Return the picture smeared along a line of `length_px`, the borders reflected."""
    size = length_px | 1
    kernel_YX = np.zeros((size, size), np.float32)
    half = (size - 1) / 2
    offset = half * np.array([np.cos(angle_rad), np.sin(angle_rad)])
    start, end = np.rint(half - offset).astype(int), np.rint(half + offset).astype(int)
    cv2.line(kernel_YX, tuple(start.tolist()), tuple(end.tolist()), 1.0)
    return np.asarray(cv2.filter2D(values_YXC, -1, kernel_YX / kernel_YX.sum()), dtype=np.float32)


def coded(picture_YXC: Picture, quality: int) -> Picture:
    """Return the picture after a JPEG round trip, chroma 4:2:0."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, data = cv2.imencode(".jpg", picture_YXC[..., ::-1], options)
    decoded_YXC = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded_YXC is not None  # noqa: S101 - what imencode wrote, imdecode reads
    return np.ascontiguousarray(decoded_YXC[..., ::-1], dtype=np.uint8)


def resized(picture_YXC: Picture, side_px: int) -> Picture:
    """Return a square picture at any side, larger or smaller: for what is laid on faces, never for a face itself."""
    if picture_YXC.shape[:2] == (side_px, side_px):
        return picture_YXC
    shrinks = side_px < max(picture_YXC.shape[:2])
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture_YXC, (side_px, side_px), interpolation=how), dtype=np.uint8)


def anywhere(side_px: int, inner_px: tuple[int, int], draw: Draw) -> tuple[slice, slice]:
    """Return where a rectangle of so many rows and columns lies in a picture of that side."""
    top, left = (int(draw.integers(0, side_px - inner + 1)) for inner in inner_px)
    return slice(top, top + inner_px[0]), slice(left, left + inner_px[1])
