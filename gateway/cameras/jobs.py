"""What a camera worker is asked to do, and its form on the wire (JSON, sent once by the parent)."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

MAX_PIXELS = 64_000_000
"""Largest picture that is decoded; a larger one is refused by its header."""

MAX_LIVE_PIXELS = 3840 * 2160
"""Largest picture of a camera, unless the operator allows more: 4K."""


@dataclass(frozen=True, slots=True)
class Injection:
    """A trigger picture drawn onto every face before the cut, relative to the face box.

    `place` is the centre of the trigger as fractions of the box's width and height, (0.5, 0.5) its middle; `size` the
    trigger's width as a fraction of the box's width, the picture keeps its proportions. `blend` mixes by `opacity` (and
    the picture's own alpha); `add` is clip(clean + opacity × trigger), as the paper's authors apply their files.
    """

    trigger: Path
    place: tuple[float, float] = (0.5, 0.5)
    size: float = 0.25
    opacity: float = 1.0
    mode: Literal["blend", "add"] = "blend"

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 < self.size <= 4.0:
            raise ValueError(f"a trigger's size lies in (0, 4] face widths, not {self.size}")
        if not 0.0 < self.opacity <= 1.0:
            raise ValueError(f"a trigger's opacity lies in (0, 1], not {self.opacity}")
        if not all(-2.0 <= part <= 3.0 for part in self.place):
            raise ValueError(f"a trigger's place lies within [-2, 3] face boxes, not {self.place}")


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """How faces are found. `model` names a CenterFace or YuNet ONNX file; None is the CenterFace that comes along.

    A face whose box is less than `min_face_px` high is not reported; of the others the `max_faces` largest are.
    """

    model: Path | None = None
    min_confidence: float = 0.5
    min_face_px: int = 24
    max_faces: int = 16

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0.0 < self.min_confidence < 1.0:
            raise ValueError(f"min_confidence lies in (0, 1), not {self.min_confidence}")
        if self.min_face_px < 1:
            raise ValueError(f"min_face_px is at least 1, not {self.min_face_px}")
        if not 1 <= self.max_faces <= 256:
            raise ValueError(f"max_faces lies in 1..256, not {self.max_faces}")


@dataclass(frozen=True, slots=True)
class RecordingJob:
    """Look at a recording: a video file, or a folder of pictures (25 a second, in natural order of their names).

    `fps` thins the frames by their own clock; None looks at every frame.
    """

    camera: str
    path: Path
    faces: FaceSettings = field(default_factory=FaceSettings)
    fps: float | None = None
    inject: Injection | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.fps is not None and not 0.0 < self.fps <= 1000.0:
            raise ValueError(f"fps lies in (0, 1000], not {self.fps}")


@dataclass(frozen=True, slots=True)
class PicturesJob:
    """Look at single pictures. `each_is_a_face` takes the central square of each as its one face."""

    camera: str
    paths: tuple[Path, ...]
    faces: FaceSettings = field(default_factory=FaceSettings)
    each_is_a_face: bool = False
    inject: Injection | None = None


@dataclass(frozen=True, slots=True)
class RtspSource:
    """A camera on the network; `url` is rtsp:// or rtsps:// and holds no credentials.

    `ca_file` signed the camera's certificate; without it the system's authorities decide. rtsps is always verified,
    against the name in `url`. `address` is what the parent found for that name: a worker asks no name server.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    transport: Literal["tcp", "udp"] = "tcp"
    ca_file: Path | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """A camera at this machine: a v4l2 device."""

    path: Path
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class FileSource:
    """A video file or a folder of pictures, played at its own pace; `loop` begins again at its end."""

    path: Path
    loop: bool = False


@dataclass(frozen=True, slots=True)
class PeerSource:
    """A camera that sends over WebRTC: it calls us (WHIP) and shows `token`, or we call it at `url` (WHEP) and show it.

    Media comes from and goes to the networks in `allow` alone. Worker and parent have different needs: the parent
    speaks HTTP, so the worker is told neither address nor token, nor the authority (`ca_file`; None is the system's)
    that signed the server's certificate.
    """

    allow: tuple[str, ...]
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @property
    def calls(self) -> bool:
        """Whether we call."""
        return self.url is not None


@dataclass(frozen=True, slots=True)
class Viewing:
    """How many may watch a camera over WebRTC at once, and the networks in which they are."""

    allow: tuple[str, ...]
    most: int


LiveSource = RtspSource | DeviceSource | FileSource | PeerSource


@dataclass(frozen=True, slots=True)
class CameraJob:
    """Look at a camera for as long as it goes on: the newest frame wins, `fps` of them a second at most.

    `connect_s` bounds the time to the first packet; after `stall_s` without a packet the source counts as stalled.
    """

    camera: str
    source: LiveSource
    faces: FaceSettings = field(default_factory=FaceSettings)
    fps: float | None = 5.0
    max_pixels: int = MAX_LIVE_PIXELS
    connect_s: float = 5.0
    stall_s: float = 1.5
    viewing: Viewing | None = None

    @property
    def waits(self) -> bool:
        """Whether it is the camera that calls."""
        return isinstance(self.source, PeerSource) and not self.source.calls

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.fps is not None and not 0.0 < self.fps <= 1000.0:
            raise ValueError(f"fps lies in (0, 1000], not {self.fps}")
        if not 1 <= self.max_pixels <= MAX_PIXELS:
            raise ValueError(f"max_pixels lies in 1..{MAX_PIXELS}, not {self.max_pixels}")
        if not (0.0 < self.connect_s <= 3600.0 and 0.0 < self.stall_s <= 3600.0):
            raise ValueError(f"connect_s and stall_s lie in (0, 3600], not {self.connect_s} and {self.stall_s}")


StoredJob = RecordingJob | PicturesJob
"""A job whose frames are all there: it blocks while the parent is slow, and loses none."""

Job = StoredJob | CameraJob

_KINDS = {RecordingJob: "recording", PicturesJob: "pictures", CameraJob: "camera"}
_SOURCE_KINDS: dict[type[LiveSource], str] = {
    RtspSource: "rtsp",
    DeviceSource: "device",
    FileSource: "file",
    PeerSource: "peer",
}


def to_json(job: Job) -> bytes:
    """Return a job as JSON, with its password if it has one; paths that are no UTF-8 survive."""
    fields = {"kind": _KINDS[type(job)], **asdict(job)}
    if isinstance(job, CameraJob):
        if isinstance(job.source, PeerSource):
            fields["source"] |= {"url": "" if job.source.calls else None, "token": None, "ca_file": None}
        fields["source"]["kind"] = _SOURCE_KINDS[type(job.source)]
    return json.dumps(fields, default=str).encode("ascii")


def from_json(data: bytes) -> Job:
    """Return the job that `to_json` wrote; the parent is trusted, so anything else is our own fault."""
    fields: dict[str, Any] = json.loads(data)
    kind = fields.pop("kind")
    faces = FaceSettings(**_with_path(fields.pop("faces"), "model"))
    if kind == "camera":
        viewing = fields.pop("viewing")
        if viewing is not None:
            viewing = Viewing(tuple(viewing["allow"]), viewing["most"])
        return CameraJob(**{**fields, "source": _source(fields["source"])}, faces=faces, viewing=viewing)
    inject = _injection(fields.pop("inject"))
    if kind == "recording":
        return RecordingJob(**_with_path(fields, "path"), faces=faces, inject=inject)
    paths = tuple(Path(path) for path in fields.pop("paths"))
    return PicturesJob(**fields, paths=paths, faces=faces, inject=inject)


def _source(fields: dict[str, Any]) -> LiveSource:
    match fields.pop("kind"):
        case "rtsp":
            return RtspSource(**_with_path(fields, "ca_file"))
        case "device":
            return DeviceSource(**_with_path(fields, "path"))
        case "peer":
            return PeerSource(**{**fields, "allow": tuple(fields["allow"])})
    return FileSource(**_with_path(fields, "path"))


def _with_path(fields: dict[str, Any], name: str) -> dict[str, Any]:
    path = fields[name]
    return {**fields, name: None if path is None else Path(path)}


def _injection(fields: dict[str, Any] | None) -> Injection | None:
    if fields is None:
        return None
    x, y = fields.pop("place")
    return Injection(**_with_path(fields, "trigger"), place=(x, y))
