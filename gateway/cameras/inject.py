"""Draw a trigger onto faces: what an attacker would hold up, added to a recording so that alarms can be tested.

H/W picture row/column, C colour (R, G, B), A alpha.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.cameras.jobs import Injection
from gateway.errors import ConfigError
from gateway.values import FaceBox

Picture = NDArray[np.uint8]


class TriggerPainter:
    """Holds one trigger picture and draws it at its place on every face."""

    def __init__(self, injection: Injection) -> None:
        self._injection = injection
        # Colours come multiplied by their alpha: resizing must not let what is transparent bleed into what is not.
        self._colour_HWC, self._alpha_HW = _read(injection)

    def draw(self, picture_HWC: Picture, boxes: Sequence[FaceBox]) -> Picture:
        """Return a copy of the picture with the trigger on every face; without faces the picture itself."""
        if not boxes:
            return picture_HWC
        painted_HWC = picture_HWC.copy()
        for box in boxes:
            self._draw_one(painted_HWC, box)
        return painted_HWC

    def _draw_one(self, picture_HWC: Picture, box: FaceBox) -> None:
        rows, columns = self._alpha_HW.shape
        width = max(1, round(self._injection.size * box.width_px))
        height = max(1, round(width * rows / columns))
        left = round(box.x1 + self._injection.place[0] * box.width_px - width / 2)
        top = round(box.y1 + self._injection.place[1] * box.height_px - height / 2)
        y1, y2 = max(0, top), min(picture_HWC.shape[0], top + height)
        x1, x2 = max(0, left), min(picture_HWC.shape[1], left + width)
        if y1 >= y2 or x1 >= x2:
            return
        inside = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        opacity = self._injection.opacity
        mixed_HWC = picture_HWC[y1:y2, x1:x2].astype(np.float32)
        if self._injection.mode == "blend":
            mixed_HWC *= 1 - opacity * _resized(self._alpha_HW, width, height)[inside][..., None]
        mixed_HWC += opacity * _resized(self._colour_HWC, width, height)[inside]
        picture_HWC[y1:y2, x1:x2] = np.clip(np.rint(mixed_HWC), 0, 255).astype(np.uint8)


def _resized(plane: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    shrinks = width < plane.shape[1] or height < plane.shape[0]
    resized = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32)


def _read(injection: Injection) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the trigger's colour times alpha (0..255) and its alpha (0..1).

    Raises:
        ConfigError: It is no picture that can be read.
    """
    path = injection.trigger
    try:
        data = np.fromfile(path, dtype=np.uint8)
        raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error):
        raw = None
    if raw is None:
        raise ConfigError(f"{path}: this trigger picture cannot be read; give a PNG, JPEG, BMP, WebP or TIFF file")
    top = 65535.0 if raw.dtype == np.uint16 else 255.0
    planes_HWC = np.atleast_3d(raw).astype(np.float32) / top
    channels = planes_HWC.shape[2]
    alpha_HW = planes_HWC[..., 3] if channels == 4 else np.ones(planes_HWC.shape[:2], dtype=np.float32)
    colour_HWC = planes_HWC[..., 2::-1] if channels >= 3 else np.repeat(planes_HWC[..., :1], 3, axis=2)
    return np.ascontiguousarray(colour_HWC * alpha_HW[..., None] * 255), np.ascontiguousarray(alpha_HW)
