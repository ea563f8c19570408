"""What gateways and the trainer's service say to each other: clean sets up, jobs and scorecards back (HTTPS, JSON).

A gateway describes a clean set, puts its parts one by one in any order, and declares it complete; then there is a job.
Every step may be repeated: a set is named by the digest of its description, a part by the digest of its bytes.
"""

import hashlib
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.contract.bundle import BundleError, Sha256, read_safetensors

CLEAN_SET_PATH = "/api/v1/clean-sets/{sha256}"
"""PUT: the description; answers `UploadState`."""
PART_PATH = "/api/v1/clean-sets/{sha256}/parts/{part}"
"""PUT: the bytes of one part, a safetensors file; answers 204."""
COMPLETE_PATH = "/api/v1/clean-sets/{sha256}/complete"
"""POST: all parts are there; answers `JobView`, the same job however often it is asked."""
JOB_PATH = "/api/v1/jobs/{job}"
"""GET: a `JobView`; its `scorecard` says how the gates judged. 404 with `UNKNOWN_JOB` where there is no such job."""
UNKNOWN_JOB = "unknown_job"

MAX_PART_BYTES = 8 << 20
MAX_PART_FACES = 256
MAX_PARTS = 64
MAX_CROP_PX = 256
MIN_CROP_PX = 16
MAX_DESCRIPTION_BYTES = 64 * 1024

PartKind = Literal["clean", "operator", "held_back", "repeated"]

_FACE_NAME = re.compile(r"[0-9]{1,9}\.[0-9]{1,4}")


class ExchangeFormatError(Exception):
    """A part of a clean set is not as this contract demands; the text says how."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(_Model):
    """A file of faces: those to tune on, or some that quarantine held back, which never teach.

    `clean` passed screening and quarantine; `operator` were alerts that an operator called false. `held_back` were the
    ones with the highest scores: they calibrate and are audited; `repeated` share a pattern at one place with others
    and are audited alone.
    """

    sha256: Sha256
    length_bytes: int = Field(gt=0, le=MAX_PART_BYTES)
    faces: int = Field(gt=0, le=MAX_PART_FACES)
    kind: PartKind = "clean"


class CleanSet(_Model):
    """The description of a clean set; `gateway` is the client id, never a name of a person or place in clear."""

    format: Literal[1] = 1
    gateway: str = Field(min_length=1, max_length=64)
    environment: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    collected_from: str = Field(max_length=40, description="UTC time of the first face")
    collected_to: str = Field(max_length=40, description="UTC time of the last face")
    parts: tuple[Part, ...] = Field(min_length=1, max_length=MAX_PARTS)

    @model_validator(mode="after")
    def _each_part_once(self) -> "CleanSet":
        if len({part.sha256 for part in self.parts}) != len(self.parts):
            raise ValueError("the same part is named twice")
        if not any(part.kind == "clean" for part in self.parts):
            raise ValueError("there is no part of clean faces")
        return self

    def to_bytes(self) -> bytes:
        """Return the one spelling that is sent and digested."""
        return self.model_dump_json().encode()

    @property
    def sha256(self) -> str:
        """Name of the set in every path."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


class UploadState(_Model):
    """Which parts are still to be put, and the job once the set is complete."""

    missing: tuple[Sha256, ...]
    job: str | None = None


class JobState(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHED = "published"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing more happens to it."""
        return self in {JobState.PUBLISHED, JobState.REFUSED, JobState.CANCELLED}


class Gate(_Model):
    """One gate's judgement: the figure, its limit and, in words, what they mean."""

    name: str = Field(max_length=64)
    passed: bool
    value: float
    limit: float
    words: str = Field(max_length=500)


class Scorecard(_Model):
    """All gates of a job; it passes where each does."""

    gates: tuple[Gate, ...]

    @property
    def passed(self) -> bool:
        """Whether the bundle may be published."""
        return all(gate.passed for gate in self.gates)


class JobView(_Model):
    """A job as its gateway sees it; `reason` says in words why it was refused."""

    job: str
    environment: str
    state: JobState
    attempts: int = 0
    reason: str | None = None
    version: int | None = None
    bundle_sha256: Sha256 | None = None
    scorecard: Scorecard | None = None


class Problem(_Model):
    """Body of every answer that is no success: a constant word, and a sentence for the operator."""

    error: Annotated[str, Field(pattern=r"^[a-z_]+$")]
    detail: str


class Face(NamedTuple):
    """One crop, uint8 (side, side, 3), and the number of the track it is of."""

    track: int
    pixels_YXC: NDArray[np.uint8]


def face_name(track: int, index: int) -> str:
    """Return the name of a track's `index`-th crop among the tensors of a part."""
    return f"{track}.{index}"


def read_part(content: bytes, part: Part) -> tuple[Face, ...]:
    """Return the faces of a part, by name.

    Raises:
        ExchangeFormatError: The bytes are not those described, or hold anything but square crops.
    """
    if len(content) != part.length_bytes or hashlib.sha256(content).hexdigest() != part.sha256:
        raise ExchangeFormatError("the bytes are not those of the description (length or digest differ)")
    try:
        tensors = read_safetensors(content, Path("part"))
    except BundleError as error:
        raise ExchangeFormatError(str(error)) from None
    if len(tensors) != part.faces:
        raise ExchangeFormatError(f"holds {len(tensors)} faces, the description says {part.faces}")
    return tuple(_face(name, tensors[name]) for name in sorted(tensors))


def _face(name: str, pixels_YXC: NDArray[Any]) -> Face:
    if _FACE_NAME.fullmatch(name) is None:
        raise ExchangeFormatError("a face must be named <track>.<index>")
    shape = pixels_YXC.shape
    is_square = len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
    if pixels_YXC.dtype != np.uint8 or not is_square or not MIN_CROP_PX <= shape[0] <= MAX_CROP_PX:
        raise ExchangeFormatError(
            f"face {name}: {pixels_YXC.dtype}{shape}; needed: uint8 (side, side, 3), {MIN_CROP_PX} to {MAX_CROP_PX} px"
        )
    return Face(int(name.partition(".")[0]), pixels_YXC)
