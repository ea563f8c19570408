"""How a face becomes a square of pixels: one cut and one resize filter for training and screening.

The filter is part of the model: changing it moves the top DCT band by several times what a JPEG round trip does, so the
manifest of a bundle names it and both sides call this function (decision 0002).

Y/X pixel row/column, C colour (R, G, B).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CONTEXT = 1.5
"""Side of the square cut, as a multiple of the longer side of the face box."""

MAX_CROP_PX = 256
"""Largest side of a crop; larger squares are reduced once, by `reduce_to`."""

RESIZE_FILTER = "triangle"
"""Name of the filter of `reduce_to`, as a manifest writes it: antialiased bilinear."""


WEIGHT_STEPS = 256
"""Filter weights are whole 256ths: 8-bit pixels times two such weights stay below 2²⁴, so float32 sums are exact in any
order, and a reduced face is the same to the bit on every machine."""


@lru_cache(maxsize=512)
def _weights(source_px: int, target_px: int) -> NDArray[np.float32]:
    """Return the (target, source) weights of the triangle filter in 256ths; its support widens with the reduction."""
    scale = source_px / target_px
    centre_T = (np.arange(target_px) + 0.5) * scale
    source_S = np.arange(source_px) + 0.5
    weight_TS = np.maximum(0.0, 1.0 - np.abs(source_S[None, :] - centre_T[:, None]) / scale)
    # Rounding the running sum, not each weight, lets every row sum to exactly 256.
    steps_TS = np.rint(WEIGHT_STEPS * np.cumsum(weight_TS, axis=1) / weight_TS.sum(axis=1, keepdims=True))
    return np.asarray(np.diff(steps_TS, axis=1, prepend=0.0), dtype=np.float32)


def reduce_to(pixels_YXC: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a square picture reduced to `side_px` by the triangle filter, uint8, rounded half to even.

    A picture that already has that side comes back unchanged.

    Raises:
        ValueError: The picture is not square, or smaller than `side_px`: faces are never enlarged.
    """
    rows, columns = pixels_YXC.shape[:2]
    if rows != columns:
        raise ValueError(f"a crop must be square, not {columns}×{rows}")
    if rows == side_px:
        return pixels_YXC
    if rows < side_px:
        raise ValueError(f"a crop of {rows} px cannot be reduced to {side_px} px: faces are never enlarged")
    weight_TS = _weights(rows, side_px)
    short_TXC = (weight_TS @ pixels_YXC.reshape(rows, -1).astype(np.float32)).reshape(side_px, rows, 3)
    columns_XTC = np.ascontiguousarray(short_TXC.transpose(1, 0, 2)).reshape(rows, -1)
    reduced_YXC = (weight_TS @ columns_XTC).reshape(side_px, side_px, 3).transpose(1, 0, 2)
    return np.ascontiguousarray(np.rint(reduced_YXC / WEIGHT_STEPS**2)).astype(np.uint8)


def square_around(
    box_xyxy: tuple[float, float, float, float], *, frame_width_px: int, frame_height_px: int
) -> tuple[int, int, int]:
    """Return (left, top, side) in px of the square to cut around a face box.

    The side is `CONTEXT` times the longer side of the box, at most what the frame allows. A square that would leave the
    frame is shifted back inside: padding would draw edges that no camera saw.
    """
    x1, y1, x2, y2 = box_xyxy
    side = max(1, min(round(CONTEXT * max(x2 - x1, y2 - y1)), frame_width_px, frame_height_px))
    left = round((x1 + x2 - side) / 2)
    top = round((y1 + y2 - side) / 2)
    return min(max(left, 0), frame_width_px - side), min(max(top, 0), frame_height_px - side), side
