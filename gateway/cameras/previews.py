"""Pictures of a camera for people to look at: small, few, only while somebody watches, and never kept.

H/W picture row/column, C colour (R, G, B).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.cameras.wire import MAX_PREVIEW_BYTES, Preview

MOST_PER_S = 5.0
MOST_WIDE_PX = 640
_QUALITIES = (70, 40)


class Previews:
    """Makes a picture of a frame when one is due."""

    def __init__(self) -> None:
        self.is_on = False
        self._next_at_s = 0.0

    def of(self, picture_HWC: NDArray[np.uint8], seq: int, *, now_s: float) -> Preview | None:
        """Return a frame as it is shown, or None where nobody watches or the last one was just now."""
        if not self.is_on or now_s < self._next_at_s:
            return None
        self._next_at_s = now_s + 1.0 / MOST_PER_S
        small_HWC = small(picture_HWC)[:, :, ::-1]
        for quality in _QUALITIES:
            _, jpeg = cv2.imencode(".jpg", small_HWC, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if jpeg.size <= MAX_PREVIEW_BYTES:
                return Preview(seq, jpeg.tobytes())
        return None  # noise that no quality makes small enough


def small(picture_HWC: NDArray[np.uint8], *, even: bool = False) -> NDArray[np.uint8]:
    """Return a picture as it is shown; with `even` sides where an encoder needs them."""
    height, width = picture_HWC.shape[:2]
    scale, step = min(1.0, MOST_WIDE_PX / max(height, width)), 2 if even else 1
    size = (max(step, round(width * scale) // step * step), max(step, round(height * scale) // step * step))
    return np.asarray(cv2.resize(picture_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
