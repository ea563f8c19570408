"""The messages between a camera worker and its parent: a length, a JSON header, the raw bytes of the crops.

The worker parses hostile bytes, so the parent takes nothing on trust: every type, count, range and size is checked here
before a value is made, and the first message that breaks a rule ends the worker.

Y/X pixel row/column, C colour (R, G, B).
"""

import json
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar

import numpy as np

from gateway.cameras.offers import MAX_SDP_BYTES
from gateway.contract.geometry import MAX_CROP_PX
from gateway.errors import ConfigError, SourceError, SourceReason, SpectragateError
from gateway.values import (
    ClockSource,
    FaceBox,
    FaceCrop,
    FrameFaces,
    PictureRefused,
    SourceEnded,
    SourceEvent,
    SourceOpened,
    SourceProgress,
    SourceWaiting,
)

PREFIX = struct.Struct("!4sII")
MAGIC = b"SGC1"
MAX_HEADER_BYTES = 256 * 1024
MAX_CROP_BYTES = MAX_CROP_PX * MAX_CROP_PX * 3
MAX_JOB_BYTES = 64 * 1024 * 1024
MAX_PREVIEW_BYTES = 256 * 1024

_MAX_SIDE_PX = 1 << 17
_MAX_COUNT = 1 << 40
_MAX_TIME_S = 2.5e11  # before the year 9999, the last one that messages can tell
_MAX_TEXT = 2000
_PROGRESS_COUNTS = 5
_ASIDES = ("answered", "declined", "calling", "preview")
_JPEG = b"\xff\xd8\xff"


class WireError(Exception):
    """A message breaks the rules: its sender can no longer be trusted."""


@dataclass(frozen=True, slots=True)
class Alive:
    """The worker moves, but has nothing to tell: frames are being skipped."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot go on; `reason` is a sentence for the operator, `code` a word, `blame` says who must act."""

    blame: Literal["config", "source"]
    reason: str
    code: SourceReason = SourceReason.UNREADABLE


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to the offer of this number: opaque to the parent."""

    number: int
    sdp: bytes


@dataclass(frozen=True, slots=True)
class Declined:
    """The offer of this number is not taken; `status` is said over HTTP."""

    number: int
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Calling:
    """The worker's own offer, for the parent to take to the server that it calls."""

    sdp: bytes


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture for people to look at, as an opaque JPEG; `seq` is that of its frame."""

    seq: int
    jpeg: bytes


Aside = Answered | Declined | Calling | Preview
"""What a worker says beside its events, to whoever asked."""

Message = SourceEvent | Alive | Failed | Aside

_Word = TypeVar("_Word", bound=StrEnum)


def failure(error: SpectragateError) -> Failed:
    """Return what a worker says when it cannot go on."""
    code = error.reason if isinstance(error, SourceError) else SourceReason.UNREADABLE
    return Failed("config" if isinstance(error, ConfigError) else "source", str(error), code)


def pack(message: Message) -> bytes:
    """Return a message as bytes."""
    header, payload = _fields(message)
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii")
    return PREFIX.pack(MAGIC, len(text), len(payload)) + text + payload


def _fields(message: Message) -> tuple[dict[str, Any], bytes]:
    match message:
        case SourceOpened(_, width, height, fps, codec, expected):
            return {"kind": "opened", "size": [width, height], "fps": fps, "codec": codec, "expected": expected}, b""
        case FrameFaces():
            return _frame_fields(message), b"".join(crop.pixels_YXC.tobytes() for crop in message.crops)
        case PictureRefused(_, seq, reason):
            return {"kind": "refused", "seq": seq, "reason": reason[:_MAX_TEXT]}, b""
        case SourceProgress(_, received, looked_at, skipped, replaced, damaged):
            return {"kind": "progress", "frames": [received, looked_at, skipped, replaced, damaged]}, b""
        case SourceEnded(_, looked_at, skipped, damaged):
            return {"kind": "ended", "frames": [looked_at, skipped, damaged]}, b""
        case Failed(blame, reason, code):
            return {"kind": "failed", "blame": blame, "reason": reason[:_MAX_TEXT], "code": code.value}, b""
        case SourceWaiting():
            return {"kind": "waiting"}, b""
        case Alive():
            return {"kind": "alive"}, b""
        case Answered() | Declined() | Calling() | Preview():
            return _aside_fields(message)


def _aside_fields(message: Aside) -> tuple[dict[str, Any], bytes]:
    match message:
        case Answered(number, sdp):
            return {"kind": "answered", "number": number}, sdp
        case Declined(number, status, reason):
            return {"kind": "declined", "number": number, "status": status, "reason": reason[:_MAX_TEXT]}, b""
        case Calling(sdp):
            return {"kind": "calling"}, sdp
        case Preview(seq, jpeg):
            return {"kind": "preview", "seq": seq}, jpeg


def _frame_fields(frame: FrameFaces) -> dict[str, Any]:
    faces = [
        [
            [crop.box.x1, crop.box.y1, crop.box.x2, crop.box.y2, crop.box.confidence],
            crop.pixels_YXC.shape[0],
            crop.square_px,
        ]
        for crop in frame.crops
    ]
    return {
        "kind": "frame",
        "seq": frame.seq,
        "time": frame.captured_at_s,
        "clock": frame.clock_source.value,
        "seen": None if frame.arrived_at_s is None else [frame.arrived_at_s, frame.found_at_s],
        "size": [frame.frame_width_px, frame.frame_height_px],
        "dropped": frame.faces_dropped,
        "faces": faces,
    }


def sizes(prefix: bytes, *, max_faces: int) -> tuple[int, int]:
    """Return the lengths of header and payload that a prefix announces.

    Raises:
        WireError: It is no prefix, or announces more than `max_faces` crops can need.
    """
    magic, header_bytes, payload_bytes = PREFIX.unpack(prefix)
    if magic != MAGIC or not 2 <= header_bytes <= MAX_HEADER_BYTES or payload_bytes > max_faces * MAX_CROP_BYTES:
        raise WireError("a message that is too long or has no beginning")
    return header_bytes, payload_bytes


def unpack(header: bytes, payload: bytes, *, camera: str, max_faces: int) -> Message:
    """Return the checked message of a worker; its camera is the parent's own word, never the worker's.

    Raises:
        WireError: Anything is not as `pack` writes it.
    """
    try:
        fields = json.loads(header.decode("ascii"))
    except (ValueError, RecursionError):
        raise WireError("a header that is no JSON") from None
    if not isinstance(fields, dict):
        raise WireError("a header that is no object")
    if fields.get("kind") == "frame":
        return _frame(fields, payload, camera=camera, max_faces=max_faces)
    if fields.get("kind") in _ASIDES:
        return _aside(fields, payload)
    if payload:
        raise WireError("pixels where none belong")
    return _plain(fields, camera=camera)


def _aside(fields: dict[str, Any], payload: bytes) -> Aside:
    match fields:
        case {"kind": "answered", "number": number} if 0 < len(payload) <= MAX_SDP_BYTES:
            return Answered(_count(number), payload)
        case {"kind": "calling"} if 0 < len(payload) <= MAX_SDP_BYTES:
            return Calling(payload)
        case {"kind": "preview", "seq": seq} if payload.startswith(_JPEG) and len(payload) <= MAX_PREVIEW_BYTES:
            return Preview(_count(seq), payload)
        case {"kind": "declined", "number": number, "status": status, "reason": reason} if not payload:
            return Declined(_count(number), _count(status, least=400, most=499), _text(reason))
    raise WireError("an answer of another shape")


def _plain(fields: dict[str, Any], *, camera: str) -> Message:
    match fields:
        case {"kind": "opened", "size": size, "fps": fps, "codec": codec, "expected": expected}:
            width, height = _size(size)
            count = None if expected is None else _count(expected)
            return SourceOpened(camera, width, height, _number(fps, 0.0, 1e6), _text(codec), count)
        case {"kind": "refused", "seq": seq, "reason": reason}:
            return PictureRefused(camera, _count(seq), _text(reason))
        case {"kind": "progress", "frames": list(counts)} if len(counts) == _PROGRESS_COUNTS:
            return SourceProgress(camera, *map(_count, counts))
        case {"kind": "ended", "frames": [looked_at, skipped, damaged]}:
            return SourceEnded(camera, _count(looked_at), _count(skipped), _count(damaged))
        case {"kind": "waiting"}:
            return SourceWaiting(camera)
        case {"kind": "alive"}:
            return Alive()
        case {"kind": "failed", "blame": "config" | "source" as blame, "reason": reason, "code": code}:
            return Failed(blame, _text(reason), _member(SourceReason, code))
    raise WireError("a message of no known kind")


def _frame(fields: dict[str, Any], payload: bytes, *, camera: str, max_faces: int) -> FrameFaces:
    faces = fields.get("faces")
    if not isinstance(faces, list) or len(faces) > max_faces:
        raise WireError("faces of another shape, or too many")
    seq, time_s = _count(fields.get("seq")), _number(fields.get("time"), -_MAX_TIME_S, _MAX_TIME_S)
    width, height = _size(fields.get("size"))
    clock = _member(ClockSource, fields.get("clock"))
    arrived_at_s, found_at_s = _seen(fields.get("seen"))
    crops: list[FaceCrop] = []
    start = 0
    for face in faces:
        box, side, square_px = _face(face, width=width, height=height)
        end = start + side * side * 3
        if end > len(payload):
            raise WireError("fewer pixels than announced")
        pixels_YXC = np.frombuffer(payload, dtype=np.uint8, count=end - start, offset=start).reshape(side, side, 3)
        crops.append(FaceCrop(camera, seq, time_s, box, pixels_YXC, square_px))
        start = end
    if start != len(payload):
        raise WireError("more pixels than announced")
    dropped = _count(fields.get("dropped"))
    return FrameFaces(camera, seq, time_s, clock, width, height, tuple(crops), dropped, arrived_at_s, found_at_s)


def _seen(value: object) -> tuple[float | None, float | None]:
    match value:
        case None:
            return None, None
        case [arrived, found]:
            arrived_at_s = _number(arrived, 0.0, _MAX_TIME_S)
            return arrived_at_s, _number(found, arrived_at_s, _MAX_TIME_S)
    raise WireError("times of another shape")


def _face(face: object, *, width: int, height: int) -> tuple[FaceBox, int, int]:
    match face:
        case [[x1, y1, x2, y2, confidence], side, square_px]:
            left, right = _number(x1, 0, width), _number(x2, 0, width)
            top, bottom = _number(y1, 0, height), _number(y2, 0, height)
            if not (left < right and top < bottom):
                raise WireError("a box without an area")
            square = _count(square_px, least=1, most=min(width, height))
            box = FaceBox(left, top, right, bottom, _number(confidence, 0, 1))
            return box, _count(side, least=1, most=min(square, MAX_CROP_PX)), square
    raise WireError("a face of another shape")


def _size(value: object) -> tuple[int, int]:
    match value:
        case [width, height]:
            return _count(width, least=1, most=_MAX_SIDE_PX), _count(height, least=1, most=_MAX_SIDE_PX)
    raise WireError("a size that is none")


def _count(value: object, *, least: int = 0, most: int = _MAX_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError("a number out of range")
    return value


def _number(value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WireError("something else where a number belongs")
    if not least <= value <= most:  # also refuses NaN
        raise WireError("a number out of range")
    return float(value)


def _member(kind: type[_Word], value: object) -> _Word:
    try:
        return kind(_text(value))
    except ValueError:
        raise WireError(f"an unknown {kind.__name__}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise WireError("something else where a text belongs")
    return "".join(letter if letter.isprintable() else " " for letter in value)
