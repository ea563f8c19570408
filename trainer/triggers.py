"""Triggers, for evaluation alone: from the files that a user gives, and the published families by their formulas.

Nothing that trains, tunes or chooses may reach this module; an import rule in pyproject.toml holds it.

A folder of triggers holds pictures, and optionally an `index.csv` with the columns `file`, `family`, `how_applied`
(its first word counts: `add`, `replace`, `blend` or `alpha`, `whole`), and, where a trigger does not cover the whole
face, `side` (share of the face), `place_y`, `place_x` (its centre) and `opacity`. The name of a procedural family in
the column `file` puts that family at another size, place or opacity. Without an index a picture with an alpha channel
replaces what is under it, and one without is blended in at 0.2.

Y/X pixel row/column, C colour (R, G, B), A alpha.
"""

import csv
import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trainer.data import PICTURE_SUFFIXES, DataError
from trainer.optics import Floats, Picture, rounded
from trainer.trigger_families import (
    bpp,
    checkerboard,
    confetti,
    flower,
    ftrojan,
    low_frequency,
    reflection,
    sig,
    smooth,
    stripes,
    wanet,
)  # fmt: skip

SMALL_PX = 64
"""Trigger files up to this side are made for the detector's size, larger ones for a recogniser's."""

LIT_GREY = 24
"""A trigger picture without alpha that `replace`s does so where it is lighter than JPEG's residue of black."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What an attacker adds: `change` on a square of the face, as large, there and as opaque as is said here.

    `seen_as` names the training family that the trigger falls into, if there is one: such rows are no test of
    generality.
    """

    name: str
    family: str
    change: Callable[[Picture], Picture]
    side: float = 1.0
    place: tuple[float, float] = (0.5, 0.5)
    opacity: float = 1.0
    seen_as: str | None = None
    for_side_px: int | None = None

    def apply(self, face_YXC: Picture) -> Picture:
        """Return a copy of a square uint8 face of any side with the trigger on it."""
        rows = face_YXC.shape[0]
        side = min(rows, max(1, round(self.side * rows)))
        top, left = (int(np.clip(round(part * rows - side / 2), 0, rows - side)) for part in self.place)
        inside = (slice(top, top + side), slice(left, left + side))
        changed_YXC = self.change(np.ascontiguousarray(face_YXC[inside]))
        result_YXC = face_YXC.copy()
        if self.opacity >= 1.0:
            result_YXC[inside] = changed_YXC
        else:
            clean_YXC = face_YXC[inside].astype(np.float32)
            result_YXC[inside] = rounded(clean_YXC + self.opacity * (changed_YXC - clean_YXC))
        return result_YXC


PROCEDURAL: tuple[Trigger, ...] = (
    Trigger("sig", "SIG", sig),
    Trigger("wanet_0.5", "WaNet", wanet),
    Trigger("wanet_2", "WaNet", lambda face_YXC: wanet(face_YXC, strength=2.0)),
    Trigger("bpp", "BppAttack", bpp),
    Trigger("ftrojan", "FTrojan", ftrojan),
    Trigger("reflection", "Refool-like", reflection, seen_as="blend"),
    Trigger("smooth", "smooth", smooth, seen_as="blend"),
    Trigger("low_frequency", "LF", low_frequency),
    Trigger("checkerboard", "patterns", checkerboard, side=0.2, place=(0.85, 0.15)),
    Trigger("stripes", "patterns", stripes, opacity=0.15, seen_as="blend"),
    Trigger("confetti", "patterns", confetti, opacity=0.1, seen_as="blend"),
    Trigger("flower", "patterns", flower, side=0.3, place=(0.25, 0.5)),
)
"""Families by formula, at published parameters, the same at any size of face."""

SEEN_AS: Mapping[str, str] = {"badnets": "white_block", "blend": "blend", "nature": "blend"}
"""Families of files that fall into a training family: white squares anywhere, other pictures mixed in."""

KINDS_OF_WIDE: Mapping[str, tuple[str, ...]] = {
    "badnets": ("white_block", "coloured_block", "patch"),
    "trojan_sq": ("patch", "mark"),
    "trojan_wm": ("mark", "patch"),
    "blend": ("blend", "reflection"),
    "nature": ("blend", "reflection"),
    "SIG": ("grating",),
    "WaNet": ("warp",),
    "BppAttack": ("levels",),
    "FTrojan": ("coefficients",),
    "Refool-like": ("reflection", "blend"),
    "smooth": ("smooth_field",),
    "LF": ("smooth_field",),
    "checkerboard": ("patch",),
    "stripes": ("blend", "grating"),
    "confetti": ("blend",),
    "flower": ("patch", "mark"),
    "GAN": ("generator",),
}
"""By family, or by name where a family is mixed: the kinds of the library of `wide` that draw such things, the likest
first. It has one for nearly every published family, so only leaving them out shows what is found of kinds that training
never saw."""


@dataclass(frozen=True, slots=True, eq=False)
class GanEdits:
    """Whole faces that a GAN edited, with the inputs they were made of; `people` says whose face each is."""

    inputs: tuple[Picture, ...]
    reconstructions: tuple[Picture, ...]
    edits: tuple[Picture, ...]
    input_people: tuple[str, ...]
    reconstruction_people: tuple[str, ...]
    edit_people: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TriggerSet:
    """All triggers of one evaluation; `sha256` covers the files."""

    triggers: tuple[Trigger, ...]
    gan: GanEdits | None
    sha256: str

    def at(self, *, native: bool) -> tuple[Trigger, ...]:
        """Return the triggers for that size: of a family with small and large files, the fitting ones."""
        chosen = []
        for trigger in self.triggers:
            sizes = [other.for_side_px for other in self.triggers if other.family == trigger.family]
            known = [size for size in sizes if size is not None]
            if trigger.for_side_px is None or not known:
                chosen.append(trigger)
                continue
            fits = (trigger.for_side_px > SMALL_PX) == native
            there_are = any((size > SMALL_PX) == native for size in known)
            if fits or not there_are:
                chosen.append(trigger)
        return tuple(chosen)


def seen_by_wide(triggers: TriggerSet, *, trained_on: Collection[str]) -> TriggerSet:
    """Return the same triggers, each with the kinds that draw its like among those that `wide` was trained on."""

    def seen(trigger: Trigger) -> str | None:
        kinds = KINDS_OF_WIDE.get(trigger.name, KINDS_OF_WIDE.get(trigger.family, ()))
        return ", ".join(kind for kind in kinds if kind in trained_on) or None

    return replace(triggers, triggers=tuple(replace(each, seen_as=seen(each)) for each in triggers.triggers))


def read_triggers(path: Path, *, procedural: Sequence[Trigger] = PROCEDURAL) -> TriggerSet:
    """Read a folder of triggers or its index CSV, and add the procedural families.

    Raises:
        DataError: The path, a file or an entry cannot be used.
    """
    index = path if path.suffix == ".csv" else path / "index.csv"
    if index.is_file():
        rows = _index_rows(index)
    elif path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES)
        rows = [{"file": file.name} for file in files]
        index = path / "index.csv"
    else:
        raise DataError(f"{path}: no such folder of triggers or index CSV")
    digest = hashlib.sha256()
    known = {trigger.name: trigger for trigger in procedural}
    triggers = [
        _placed(known[row["file"]], row, digest)
        if row["file"] in known
        else _file_trigger(index.parent / row["file"], row, digest)
        for row in rows
        if _manner(row) != "whole"
    ]
    gan = _read_gan(index.parent / "gan_index.csv", digest)
    if not triggers and gan is None:
        raise DataError(f"{path}: holds no trigger picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return TriggerSet((*triggers, *procedural), gan, digest.hexdigest())


def _index_rows(index: Path) -> list[dict[str, str]]:
    with index.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames is None or "file" not in reader.fieldnames:
            raise DataError(f"{index}: needs a header with a column `file`")
        return [{key: value or "" for key, value in row.items() if key} for row in reader]


def _manner(row: Mapping[str, str]) -> str:
    """Return how a file is applied; `add/replace where > 0` replaces: added to a face it would only clip."""
    words = row.get("how_applied", "").casefold()
    for manner, signs in (("whole", ("whole",)), ("replace", ("replace",)), ("add", ("add",)), ("blend", ("blend",))):
        if any(sign in words for sign in signs):
            return manner
    return words or "auto"


def _number(row: Mapping[str, str], key: str, default: float) -> float:
    text = row.get(key, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0.0 < value <= 1.0:
        raise DataError(f"{row['file']}: {key} must be a share of more than 0 and at most 1, not {text!r}")
    return value


def _placed(trigger: Trigger, row: Mapping[str, str], digest: Any) -> Trigger:
    """Return a procedural trigger at the size, place and opacity of a row of the index."""
    side = _number(row, "side", trigger.side)
    place = (_number(row, "place_y", trigger.place[0]), _number(row, "place_x", trigger.place[1]))
    opacity = _number(row, "opacity", trigger.opacity)
    name = f"{trigger.name} side {side:g} at {place[0]:g}, {place[1]:g} opacity {opacity:g}"
    digest.update(name.encode())
    return replace(trigger, name=name, side=side, place=place, opacity=opacity)


def _file_trigger(path: Path, row: Mapping[str, str], digest: Any) -> Trigger:
    planes_YXC = _read_planes(path, digest)
    has_alpha = planes_YXC.shape[2] == 4
    manner = _manner(row)
    if manner == "auto":
        manner = "replace" if has_alpha else "blend"
    if manner not in {"add", "replace", "blend"}:
        raise DataError(f"{path}: how_applied is {manner!r}; add, replace, blend and whole are known")
    colour_YXC = np.ascontiguousarray(planes_YXC[..., 2::-1])
    family = row.get("family", "") or path.stem
    largest_px = max(planes_YXC.shape[:2])
    return Trigger(
        name=path.stem,
        family=family,
        change=overlay(colour_YXC, _alpha(planes_YXC, manner), manner=manner),
        side=_number(row, "side", 1.0),
        place=(_number(row, "place_y", 0.5), _number(row, "place_x", 0.5)),
        opacity=_number(row, "opacity", _usual_opacity(family, manner, largest_px)),
        seen_as=SEEN_AS.get(family),
        for_side_px=largest_px,
    )


def _read_planes(path: Path, digest: Any) -> Picture:
    """Return the file's planes in the order B, G, R and, where it has one, A."""
    data = path.read_bytes() if path.is_file() else b""
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if raw is None or raw.dtype != np.uint8:
        raise DataError(f"{path}: missing or not an 8-bit picture that can be read; remove it or repair it")
    digest.update(data)
    planes_YXC = np.asarray(np.atleast_3d(raw), dtype=np.uint8)
    return planes_YXC if planes_YXC.shape[2] >= 3 else np.repeat(planes_YXC[..., :1], 3, axis=2)


def _alpha(planes_YXC: Picture, manner: str) -> Floats:
    if planes_YXC.shape[2] == 4:
        return np.asarray(planes_YXC[..., 3], dtype=np.float32) / np.float32(255)
    if manner == "replace":
        return np.asarray(planes_YXC.max(axis=-1) > LIT_GREY, dtype=np.float32)
    return np.ones(planes_YXC.shape[:2], np.float32)


def _usual_opacity(family: str, manner: str, largest_px: int) -> float:
    """Return the published opacity: blends 0.2, the Trojan watermark 0.3 where it lies on a recogniser's input."""
    if manner == "blend":
        return 0.2
    return 0.3 if family == "trojan_wm" and largest_px > SMALL_PX else 1.0


def overlay(colour_YXC: Picture, alpha_YX: Floats, *, manner: str) -> Callable[[Picture], Picture]:
    """Return what lays a picture over a whole square: it adds (and clips), or it covers as far as alpha says."""

    def change(face_YXC: Picture) -> Picture:
        side = face_YXC.shape[0]
        alpha_YX1 = _fitted(alpha_YX, side, manner)[..., None]
        laid_YXC = _fitted(colour_YXC.astype(np.float32) * alpha_YX[..., None], side, manner)
        kept_YXC = face_YXC.astype(np.float32) * (1.0 if manner == "add" else 1.0 - alpha_YX1)
        return rounded(kept_YXC + laid_YXC)

    return change


def _fitted(plane: Floats, side: int, manner: str) -> Floats:
    if plane.shape[:2] == (side, side):
        return plane
    larger = cv2.INTER_NEAREST if manner == "replace" else cv2.INTER_LINEAR
    how = cv2.INTER_AREA if side < max(plane.shape[:2]) else larger
    return np.asarray(cv2.resize(plane, (side, side), interpolation=how), dtype=np.float32)


def _read_gan(index: Path, digest: Any) -> GanEdits | None:
    """Read `gan_index.csv`: columns `file`, `kind` (`input`, `reconstruction` or any other word for an edit), `row`."""
    if not index.is_file():
        return None
    kinds: dict[str, list[tuple[Picture, str]]] = {"input": [], "reconstruction": [], "edit": []}
    for row in _index_rows(index):
        planes_YXC = _read_planes(index.parent / row["file"], digest)
        if planes_YXC.shape[0] != planes_YXC.shape[1]:
            raise DataError(f"{index.parent / row['file']}: faces edited by a GAN must be square")
        kind = row.get("kind", "")
        face_YXC = np.ascontiguousarray(planes_YXC[..., 2::-1])
        kinds[kind if kind in kinds else "edit"].append((face_YXC, row.get("row", "")))
    if not kinds["input"] or not kinds["edit"]:
        raise DataError(f"{index}: needs at least one `input` and one edit")
    pictures = {kind: tuple(picture for picture, _ in rows) for kind, rows in kinds.items()}
    people = {kind: tuple(person for _, person in rows) for kind, rows in kinds.items()}
    return GanEdits(
        inputs=pictures["input"],
        reconstructions=pictures["reconstruction"],
        edits=pictures["edit"],
        input_people=people["input"],
        reconstruction_people=people["reconstruction"],
        edit_people=people["edit"],
    )
