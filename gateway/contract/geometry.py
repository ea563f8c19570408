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


@lru_cache(maxsize=512)
def _weights(source_px: int, target_px: int) -> NDArray[np.float32]:
    """Return the (target, source) weights of the triangle filter, widened by the reduction; rows sum to 1."""
    scale = source_px / target_px
    centre_T = (np.arange(target_px) + 0.5) * scale
    source_S = np.arange(source_px) + 0.5
    weight_TS = np.maximum(0.0, 1.0 - np.abs(source_S[None, :] - centre_T[:, None]) / scale)
    weight_TS /= weight_TS.sum(axis=1, keepdims=True)
    return np.asarray(weight_TS, dtype=np.float32)


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
    narrow_YTC = np.tensordot(pixels_YXC.astype(np.float32), weight_TS, axes=([1], [1])).transpose(0, 2, 1)
    reduced_TTC = np.tensordot(weight_TS, narrow_YTC, axes=([1], [0]))
    return np.asarray(np.clip(np.rint(reduced_TTC), 0, 255), dtype=np.uint8)


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
