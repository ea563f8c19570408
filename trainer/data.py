"""Clean pictures for training: read from what operators have, without ever unpickling, and split by person.

N pictures, Y/X pixel row/column, C colour (R, G, B).
"""

import csv
import hashlib
import random
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp", ".tif", ".tiff"})
MAX_SIDE_PX = 160
"""Larger pictures are reduced to this on reading: the training chain reduces further, and memory stays bounded."""

CIFAR_RECORD_BYTES = 1 + 3 * 32 * 32
MAX_PICTURES = 2_000_000


class DataError(Exception):
    """Training data cannot be used; the text names the path and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """A source of clean pictures.

    `pixels` holds square uint8 RGB arrays (Y, X, C), possibly of different sizes; `groups` names for each the person,
    sign or track it shows, so that no group is split; `sha256` identifies the content whatever its place on disk.
    """

    name: str
    pixels: tuple[NDArray[np.uint8], ...]
    groups: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pixels)

    def subset(self, indices: Sequence[int], name: str) -> "Pictures":
        """Return the pictures at `indices`, under a new name; the digest covers them alone."""
        pixels = tuple(self.pixels[i] for i in indices)
        return _with_digest(name, pixels, tuple(self.groups[i] for i in indices))


def read_pictures(path: Path) -> Pictures:
    """Read clean pictures from an `.npz`, a picture folder, an index CSV, CIFAR-10 (binary version) or GTSRB.

    - `.npz`: an array `images`, uint8 (N, Y, X, 3); an array `groups` or `source` is optional.
    - index CSV: a column `file` (relative to the CSV), optionally `identity`.
    - folder: pictures, sub-folders included; a sub-folder is one person. A folder with `data_batch_*.bin` is
      CIFAR-10 in its binary version, one with `Final_Training` in its path is GTSRB, whose files of one sign
      share a track.

    Raises:
        DataError: The path does not exist, holds no picture, or a file in it cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; name an .npz, a folder of pictures or an index CSV")
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".csv":
        return _read_files(path.stem, _indexed_files(path))
    if path.is_file():
        raise DataError(f"{path}: neither an .npz, a folder of pictures nor an index CSV")
    batches = sorted(path.rglob("data_batch_*.bin"))
    if batches:
        return _read_cifar(path, batches)
    return _read_files(path.name, _folder_files(path))


def read_collections(path: Path) -> dict[str, Pictures]:
    """Read clean pictures as `read_pictures` does, apart by collection where an index CSV names them.

    An identity `lfw:Name` belongs to the collection `lfw`. Sources differ in how their pictures were coded and reduced:
    faces are compared within one of them alone.

    Raises:
        DataError: As `read_pictures`.
    """
    pictures = read_pictures(path)
    names = [pictures.name] * len(pictures)
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as handle:
            identities = [row.get("identity") or "" for row in csv.DictReader(handle)]
        names = [identity.rpartition(":")[0].strip() or pictures.name for identity in identities]
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        indices.setdefault(name, []).append(index)
    return {name: pictures.subset(chosen, name) for name, chosen in indices.items()}


def split_by_group(pictures: Pictures, *, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """Return (rest, held out): about `share` of the pictures, no group in both."""
    names = sorted(set(pictures.groups))
    random.Random(seed).shuffle(names)  # noqa: S311 - a reproducible split, no secret
    wanted, held, count = share * len(pictures), set[str](), 0
    sizes: dict[str, int] = {}
    for group in pictures.groups:
        sizes[group] = sizes.get(group, 0) + 1
    for name in names:
        if count >= wanted:
            break
        held.add(name)
        count += sizes[name]
    inside = [i for i, group in enumerate(pictures.groups) if group in held]
    outside = [i for i, group in enumerate(pictures.groups) if group not in held]
    return pictures.subset(outside, f"{pictures.name}/rest"), pictures.subset(inside, f"{pictures.name}/held out")


@dataclass(frozen=True, slots=True)
class FaceSplit:
    """Faces divided by person, for the four uses that must not share anybody."""

    train: Pictures
    validation: Pictures
    calibration: Pictures
    test: Pictures


def split_faces(faces: Pictures, *, seed: int) -> FaceSplit:
    """Return 55 % training, 9 % validation, 16 % calibration and 20 % test faces, no person in two of them."""
    rest, test = split_by_group(faces, share=0.20, seed=seed * 1000 + 1)
    rest, calibration = split_by_group(rest, share=0.20, seed=seed * 1000 + 2)
    train, validation = split_by_group(rest, share=0.14, seed=seed * 1000 + 3)
    return FaceSplit(
        train=replace(train, name=f"{faces.name}, training people"),
        validation=replace(validation, name=f"{faces.name}, validation people"),
        calibration=replace(calibration, name=f"{faces.name}, calibration people"),
        test=replace(test, name=f"{faces.name}, test people"),
    )


def person_of(identity: str) -> str:
    """Return the person behind an identity of the form `collection:Name`; collections share people."""
    return identity.rsplit(":", 1)[-1].strip().casefold()


def _with_digest(name: str, pixels: tuple[NDArray[np.uint8], ...], groups: tuple[str, ...]) -> Pictures:
    digest = hashlib.sha256()
    for picture_YXC in pixels:
        digest.update(repr(picture_YXC.shape).encode())
        digest.update(np.ascontiguousarray(picture_YXC).data)
    return Pictures(name=name, pixels=pixels, groups=groups, sha256=digest.hexdigest())


def _read_npz(path: Path) -> Pictures:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:  # noqa: TID251 - no pickle
            names = set(archive.files)
            if "images" not in names:
                raise DataError(f"{path}: holds {sorted(names)}, but no array `images`")
            images_NYXC = archive["images"]
            groups = archive["groups"] if "groups" in names else np.arange(len(images_NYXC))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz of plain arrays: {error}") from error
    if images_NYXC.dtype != np.uint8 or images_NYXC.ndim != 4 or images_NYXC.shape[-1] != 3:
        raise DataError(f"{path}: `images` must be uint8 (N, Y, X, 3), not {images_NYXC.dtype} {images_NYXC.shape}")
    if len(images_NYXC) == 0:
        raise DataError(f"{path}: `images` is empty")
    pixels = tuple(_squared(picture_YXC) for picture_YXC in images_NYXC)
    return _with_digest(path.stem, pixels, tuple(f"{path.stem}/{group}" for group in groups))


def _read_cifar(folder: Path, batches: list[Path]) -> Pictures:
    planes: list[NDArray[np.uint8]] = []
    for batch in batches:
        data = np.fromfile(batch, dtype=np.uint8)
        if data.size == 0 or data.size % CIFAR_RECORD_BYTES:
            raise DataError(f"{batch}: {data.size} bytes are not whole CIFAR-10 records of {CIFAR_RECORD_BYTES}")
        planes.append(data.reshape(-1, CIFAR_RECORD_BYTES)[:, 1:].reshape(-1, 3, 32, 32))
    images_NYXC = np.concatenate(planes).transpose(0, 2, 3, 1)
    return _with_digest(folder.name, tuple(images_NYXC), tuple(f"cifar/{i}" for i in range(len(images_NYXC))))


def _indexed_files(index: Path) -> Iterator[tuple[Path, str]]:
    with index.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames is None or "file" not in reader.fieldnames:
            raise DataError(f"{index}: needs a header with a column `file`")
        for row in reader:
            file = index.parent / row["file"]
            yield file, person_of(row.get("identity") or str(file))


def _folder_files(folder: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in PICTURE_SUFFIXES or not file.is_file():
            continue
        sign_track = re.fullmatch(r"(\d{5})_\d{5}", file.stem)
        nested = file.parent != folder
        if sign_track and nested:
            yield file, f"{file.parent.name}/{sign_track[1]}"
        else:
            yield file, person_of(file.parent.name) if nested else str(file)


def _read_files(name: str, files: Iterator[tuple[Path, str]]) -> Pictures:
    pixels: list[NDArray[np.uint8]] = []
    groups: list[str] = []
    for file, group in files:
        data = np.fromfile(file, dtype=np.uint8) if file.is_file() else np.empty(0, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if picture is None:
            raise DataError(f"{file}: missing or not a readable picture; remove it or repair it")
        pixels.append(_squared(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)))
        groups.append(group)
        if len(pixels) > MAX_PICTURES:
            raise DataError(f"{name}: more than {MAX_PICTURES:,} pictures; split the folder")
    if not pixels:
        raise DataError(f"{name}: holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return _with_digest(name, tuple(pixels), tuple(groups))


def _squared(picture_YXC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the central square, at most `MAX_SIDE_PX` a side."""
    rows, columns = picture_YXC.shape[:2]
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square_YXC = picture_YXC[top : top + side, left : left + side]
    if side > MAX_SIDE_PX:
        square_YXC = reduce_to(square_YXC, MAX_SIDE_PX)
    return np.ascontiguousarray(square_YXC, dtype=np.uint8)
