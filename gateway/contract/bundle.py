"""Bundles: weights, calibration and self-test vectors of a detector, in a folder that is checked before it is believed.

A folder holds `manifest.json` and the files it names with length and SHA-256. Opening one executes nothing and hands no
byte to a parser before its digest is right; whether the manifest itself is to be trusted is the caller's question, and
`expected_sha256` its answer.
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.contract.calibration import TrackRule
from gateway.contract.geometry import CONTEXT, RESIZE_FILTER
from gateway.contract.messages import ModelIdentity
from gateway.contract.network import PROFILES, Profile

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 64 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_DIMENSION = 1 << 24
MAX_FILE_BYTES = MappingProxyType(
    {"weights.safetensors": 8 << 20, "self_test.safetensors": 1 << 20, "calibration.json": 1 << 20}
)
"""The files of a bundle and the most each may hold."""

GATEWAY_VERSION = "0.1.0"
"""The version of this gateway, which a manifest's `minimum_gateway` is compared with."""

LEAST_CALIBRATION = 19
"""Fewer clean faces or tracks would flag more than one in twenty until a camera has its own."""

_Parsed = TypeVar("_Parsed", bound=BaseModel)
_DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType({"F32": np.dtype("<f4"), "U8": np.dtype("u1")})


class BundleError(Exception):
    """A bundle is damaged, incomplete, not the expected one or unfit for this gateway; the active one stays."""


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileDigest(_Model):
    """What a file must be."""

    sha256: Sha256
    length_bytes: int = Field(gt=0)


class DataDigest(_Model):
    """A source of training pictures, named so that a run can be repeated; `use` says what they were used for."""

    name: str = Field(max_length=200)
    sha256: Sha256
    pictures: int = Field(gt=0)
    use: Literal["train", "validation", "calibration", "test"]


class Training(_Model):
    """How the weights were made."""

    command: str = Field(max_length=2000)
    seed: int
    epochs: int = Field(ge=0)
    perturbations: tuple[str, ...]
    data: tuple[DataDigest, ...]


class Manifest(_Model):
    """The description of a bundle; its digest is the bundle's identity."""

    format: Literal[1]
    version: int = Field(ge=1, le=2**31)
    profile: str
    environment: str = Field(max_length=64)
    parent_sha256: Sha256 | None
    resize_filter: str
    context: float
    created: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    files: dict[str, FileDigest]
    training: Training
    minimum_gateway: str | None = Field(
        default=None, pattern=r"^\d{1,6}\.\d{1,6}\.\d{1,6}$", description="the oldest gateway that may run it"
    )
    gate_sha256: Sha256 | None = Field(default=None, description="digest of the report of the gate that it passed")


class Calibration(_Model):
    """Clean scores of other people than training's, ascending: what decides until a camera has its own.

    `clean_faces` are scores of single faces, `clean_tracks` statistics of whole tracks under `rule`.
    """

    rule: TrackRule
    clean_faces: tuple[float, ...] = Field(max_length=50_000)
    clean_tracks: tuple[float, ...] = Field(max_length=50_000)
    source: str = Field(max_length=500, description="whose faces, and how their tracks came about")

    @model_validator(mode="after")
    def _ascending(self) -> "Calibration":
        for name in ("clean_faces", "clean_tracks"):
            scores = getattr(self, name)
            if any(later < earlier for earlier, later in pairwise(scores)):
                raise ValueError(f"{name} must be ascending")
        return self


class SelfTest(NamedTuple):
    """Pictures, uint8 (N, S, S, 3), and their scores, float32 (N,), at the time of the export."""

    pixels_NYXC: NDArray[np.uint8]
    scores_N: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose every byte has been checked."""

    folder: Path
    manifest: Manifest
    identity: ModelIdentity
    profile: Profile
    weights: Mapping[str, NDArray[np.float32]]
    calibration: Calibration
    self_test: SelfTest


def open_bundle(folder: Path, *, expected_sha256: str | None = None) -> Bundle:
    """Read a bundle folder and check all of it.

    Raises:
        BundleError: A file is missing, too long, not the one the manifest names, malformed or unfit for this version;
            or the manifest's digest is not `expected_sha256`.
    """
    content = _read_file(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    sha256 = hashlib.sha256(content).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise BundleError(f"{folder}: its manifest has the digest {sha256[:12]}…, expected {expected_sha256[:12]}…")
    manifest = _parse(Manifest, content, folder / MANIFEST_NAME)
    profile = _fitting_profile(manifest, folder)
    files = {name: _read_named(folder / name, manifest.files[name]) for name in MAX_FILE_BYTES}
    calibration = _parse(Calibration, files["calibration.json"], folder / "calibration.json")
    if min(len(calibration.clean_faces), len(calibration.clean_tracks)) < LEAST_CALIBRATION:
        raise BundleError(f"{folder}: calibrated on fewer than {LEAST_CALIBRATION} clean faces or tracks")
    return Bundle(
        folder=folder,
        manifest=manifest,
        identity=ModelIdentity(version=manifest.version, sha256=sha256, profile=profile.name),
        profile=profile,
        weights=_checked_weights(files["weights.safetensors"], profile, folder / "weights.safetensors"),
        calibration=calibration,
        self_test=_checked_self_test(files["self_test.safetensors"], profile, folder / "self_test.safetensors"),
    )


def _parse(model: type[_Parsed], content: bytes, path: Path) -> _Parsed:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleError(f"{path}: {where}: {first['msg']}") from None


def _fitting_profile(manifest: Manifest, folder: Path) -> Profile:
    profile = PROFILES.get(manifest.profile)
    if profile is None:
        raise BundleError(f"{folder}: profile {manifest.profile!r} is unknown; this version has {', '.join(PROFILES)}")
    if manifest.resize_filter != RESIZE_FILTER or not math.isclose(manifest.context, CONTEXT):
        raise BundleError(
            f"{folder}: was trained on faces cut at {manifest.context} and reduced by {manifest.resize_filter!r}; "
            f"this version cuts at {CONTEXT} and reduces by {RESIZE_FILTER!r}"
        )
    if manifest.minimum_gateway is not None and _numbers(manifest.minimum_gateway) > _numbers(GATEWAY_VERSION):
        raise BundleError(f"{folder}: needs gateway {manifest.minimum_gateway}; this one is {GATEWAY_VERSION}")
    if set(manifest.files) != set(MAX_FILE_BYTES):
        raise BundleError(f"{folder}: names the files {sorted(manifest.files)}, needed are {sorted(MAX_FILE_BYTES)}")
    return profile


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _read_file(path: Path, most_bytes: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(f"{path}: cannot be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as handle:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{path}: is not a plain file")
        content = handle.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise BundleError(f"{path}: is longer than {most_bytes} bytes")
    return content


def _read_named(path: Path, digest: FileDigest) -> bytes:
    content = _read_file(path, MAX_FILE_BYTES[path.name])
    if len(content) != digest.length_bytes or hashlib.sha256(content).hexdigest() != digest.sha256:
        raise BundleError(f"{path}: is not the file that the manifest names (length or digest differ)")
    return content


def read_safetensors(content: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Return the float32 and uint8 arrays of a safetensors file, read-only views of `content`.

    The tensors must lie end to end in the order of their offsets and cover the data whole, as the format demands.

    Raises:
        BundleError: The file is malformed; `path` only names it.
    """
    if len(content) < 8:
        raise BundleError(f"{path}: too short for a safetensors file")
    header_length = int.from_bytes(content[:8], "little")
    if header_length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise BundleError(f"{path}: its header of {header_length} bytes does not fit")
    try:
        header = json.loads(content[8 : 8 + header_length])
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise BundleError(f"{path}: its header is not an object")
    header.pop("__metadata__", None)
    data = memoryview(content)[8 + header_length :]
    tensors = {name: _tensor_view(name, entry, data, path) for name, entry in header.items()}
    spans = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    ends = [0, *(end for _, end in spans)]
    if any(begin != end for (begin, _), end in zip(spans, ends, strict=False)) or ends[-1] != len(data):
        raise BundleError(f"{path}: its tensors do not cover the data exactly")
    return tensors


def _tensor_view(name: str, entry: Any, data: memoryview, path: Path) -> NDArray[Any]:
    match entry:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            sizes_fit = all(type(size) is int and 0 <= size <= MAX_DIMENSION for size in shape)
        case _:
            raise BundleError(f"{path}: tensor {name!r} is not described as the format demands")
    dtype = _DTYPES.get(kind)
    if dtype is None or not sizes_fit or not 0 <= begin <= end <= len(data):
        raise BundleError(f"{path}: tensor {name!r} has an unknown type {kind!r}, or lies outside the file")
    if math.prod(shape) * dtype.itemsize != end - begin:
        raise BundleError(f"{path}: tensor {name!r} has {end - begin} bytes, its shape {shape} needs other")
    values: NDArray[Any] = np.frombuffer(data[begin:end], dtype=dtype)
    return values.reshape(shape)


def _checked_weights(content: bytes, profile: Profile, path: Path) -> Mapping[str, NDArray[np.float32]]:
    tensors = read_safetensors(content, path)
    wanted = {tensor.name: tensor for tensor in profile.tensors}
    if set(tensors) != set(wanted):
        odd = sorted(set(tensors) ^ set(wanted))
        raise BundleError(f"{path}: its tensors are not those of profile {profile.name!r}: {', '.join(odd[:4])}")
    for name, values in tensors.items():
        if values.dtype != np.float32 or values.shape != wanted[name].shape:
            raise BundleError(f"{path}: {name} is {values.dtype}{values.shape}, needed float32{wanted[name].shape}")
        if not np.isfinite(values).all():
            raise BundleError(f"{path}: {name} holds values that are not finite")
        if name.endswith("running_var") and (values < 0).any():
            raise BundleError(f"{path}: {name} holds a negative variance")
    # A copy aligns what the runtime will read in place.
    return MappingProxyType({name: np.array(tensors[name], dtype=np.float32, order="C") for name in wanted})


def _checked_self_test(content: bytes, profile: Profile, path: Path) -> SelfTest:
    tensors = read_safetensors(content, path)
    if set(tensors) != {"pixels", "scores"}:
        raise BundleError(f"{path}: must hold `pixels` and `scores`, not {sorted(tensors)}")
    pixels_NYXC, scores_N = tensors["pixels"], tensors["scores"]
    shape = (len(scores_N), profile.side_px, profile.side_px, 3)
    fits = pixels_NYXC.dtype == np.uint8 and pixels_NYXC.shape == shape and scores_N.dtype == np.float32
    if not fits or scores_N.ndim != 1 or len(scores_N) == 0 or not np.isfinite(scores_N).all():
        raise BundleError(f"{path}: the self-test needs uint8 pixels (N, S, S, 3) and N finite float32 scores")
    return SelfTest(pixels_NYXC, scores_N)
