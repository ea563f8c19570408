"""Decode single pictures from files that may be anything.

In a worker the limit of pixels is in force inside the decoder, which refuses by the header: `link` starts it with
OPENCV_IO_MAX_IMAGE_PIXELS, which OpenCV reads when it is loaded.

H/W picture row/column, Y/X crop row/column, C colour (R, G, B).
"""

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.cameras.jobs import MAX_PIXELS
from gateway.contract.geometry import MAX_CROP_PX, reduce_to
from gateway.errors import SourceError
from gateway.values import FaceBox, FaceCrop

MAX_FILE_BYTES = 256 * 1024 * 1024
PICTURES_PER_S = 25.0

_KINDS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|RIFF....WEBP|II\*\x00|MM\x00\*", re.DOTALL)

Picture = NDArray[np.uint8]


class PictureError(SourceError):
    """One picture cannot be used; the others go on."""


def read_picture(path: Path) -> Picture:
    """Return a picture as 8-bit RGB, upright by its EXIF orientation; alpha is dropped, 16 bits keep the upper eight.

    Raises:
        PictureError: It cannot be read, is of another kind, damaged or too large; the text starts with the path.
    """
    data = _read_bytes(path)
    if not _KINDS.match(data):
        raise PictureError(f"{path}: not a picture that is read here; give JPEG, PNG, BMP, WebP or TIFF")
    if _is_cut_short(data):
        raise PictureError(f"{path}: damaged: the file ends before the picture does")
    try:
        picture_HWC = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "CV_IO_MAX" in str(error):
            raise PictureError(f"{path}: larger than {MAX_PIXELS // 1_000_000} megapixels") from None
        raise PictureError(f"{path}: cannot be decoded; the file is damaged") from None
    if picture_HWC is None or picture_HWC.dtype != np.uint8:
        raise PictureError(f"{path}: cannot be decoded; the file is damaged or of a rare kind")
    if picture_HWC.shape[0] * picture_HWC.shape[1] > MAX_PIXELS:
        raise PictureError(f"{path}: larger than {MAX_PIXELS // 1_000_000} megapixels")
    return np.asarray(cv2.cvtColor(picture_HWC, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def whole_face(picture_HWC: Picture, *, camera: str, seq: int, captured_at_s: float) -> FaceCrop:
    """Return the central square of a picture that is one face already; its box is the whole picture."""
    height, width = picture_HWC.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square_YXC = np.ascontiguousarray(picture_HWC[top : top + side, left : left + side])
    pixels_YXC = reduce_to(square_YXC, MAX_CROP_PX) if side > MAX_CROP_PX else square_YXC
    return FaceCrop(camera, seq, captured_at_s, whole_box(picture_HWC), pixels_YXC, side)


def whole_box(picture_HWC: Picture) -> FaceBox:
    """Return the box around a whole picture, of full confidence."""
    return FaceBox(0.0, 0.0, float(picture_HWC.shape[1]), float(picture_HWC.shape[0]), 1.0)


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise PictureError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PictureError(f"{path}: larger than {MAX_FILE_BYTES // 1024 // 1024} MB")
        data = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise PictureError(f"{path}: the file is empty")
    return data


def _is_cut_short(data: bytes) -> bool:
    # Decoders fill what is missing with grey and say nothing: edges that no camera saw. In the data of a JPEG an FF is
    # always followed by 00 or a restart marker, so its last scan header is the picture's own, never a thumbnail's.
    if data.startswith(b"\xff\xd8"):
        return data.find(b"\xff\xd9", max(0, data.rfind(b"\xff\xda"))) < 0
    return data.startswith(b"\x89PNG") and b"IEND" not in data
