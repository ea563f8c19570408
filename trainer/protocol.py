"""Who is tuned on, who sets thresholds and who is judged: faces divided by person, within one source.

Y/X pixel row/column, C colour (R, G, B).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data import DataError, Pictures
from trainer.optics import Passage, Picture

LEAST_FACES = 60
"""With fewer faces in a source, the three parts say nothing."""

LARGE = 2000
"""From so many faces on, the paper's 500 tune and 1,000 calibrate, so that an FPR of 0.1 % can be asked for."""

TUNE, CALIBRATE = 500, 1000


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Faces for one use: square pictures at their own size, and whose they are."""

    stills: tuple[Picture, ...]
    people: tuple[str, ...]
    sha256: str

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.stills)


@dataclass(frozen=True, slots=True, eq=False)
class Division:
    """A source of faces divided by person; nobody is in two parts. `share` is the middle of each picture's side."""

    name: str
    tune: Part
    calibrate: Part
    test: Part
    seen_may_tune: int
    too_small: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What a detector is tuned for: the faces to tune on, in their environment, and their way to the detector.

    `source` names where they come from: what is costly and the same for all environments of a source is kept by it.
    `tune` holds the faces before the environment changed them.
    """

    source: str
    tune: Part
    stills: tuple[Picture, ...]
    passage: Passage


def central_square(picture_YXC: Picture, share: float) -> Picture:
    """Return the middle of a picture: `share` of its side."""
    side = picture_YXC.shape[0]
    keep = max(1, round(share * side))
    start = (side - keep) // 2
    return np.ascontiguousarray(picture_YXC[start : start + keep, start : start + keep])


def divide(
    pictures: Pictures,
    *,
    trained_on: frozenset[str],
    watched: frozenset[str],
    least_px: int,
    share: float = 1.0,
    seed: int = 1,
) -> Division:
    """Divide a source into faces to tune on, to calibrate by and to judge.

    People whom the base was trained on may only tune; those who were watched while it was trained may tune and
    calibrate; the rest are judged. `share` is the middle of each picture that is used.

    Raises:
        DataError: Too few faces, or too few people, remain.
    """
    squares = [central_square(picture_YXC, share) for picture_YXC in pictures.pixels]
    usable = [index for index, square_YXC in enumerate(squares) if square_YXC.shape[0] >= least_px]
    by_person: dict[str, list[int]] = {}
    for index in usable:
        by_person.setdefault(pictures.groups[index], []).append(index)
    wanted = _sizes(len(usable))
    order = sorted(by_person)
    random.Random(seed).shuffle(order)  # noqa: S311 - a reproducible split, no secret
    order.sort(key=lambda person: 0 if person in trained_on else 1 if person in watched else 2)
    tune = _take(order, by_person, wanted[0])
    rest = [person for person in order if person not in tune and person not in trained_on]
    calibrate = _take(rest, by_person, wanted[1])
    test = [person for person in rest if person not in calibrate and person not in watched]
    parts = [
        _part(pictures, squares, [index for person in people for index in by_person[person]], name)
        for people, name in ((tune, "tune"), (calibrate, "calibrate"), (test, "test"))
    ]
    if len(usable) < LEAST_FACES or min(len(part) for part in parts) < LEAST_FACES // 5:
        raise DataError(
            f"{pictures.name}: {len(usable)} usable faces of {len(by_person)} people are too few to tune, calibrate "
            f"and judge by different people"
        )
    return Division(
        name=pictures.name,
        tune=parts[0],
        calibrate=parts[1],
        test=parts[2],
        seen_may_tune=sum(person in trained_on for person in parts[0].people),
        too_small=len(squares) - len(usable),
        share=share,
    )


def _sizes(faces: int) -> tuple[int, int]:
    """Return how many faces tune and calibrate: the paper's numbers, or 40 and 20 % of a small source."""
    if faces >= LARGE:
        return TUNE, CALIBRATE
    return min(TUNE, round(0.4 * faces)), round(0.2 * faces)


def _take(order: Sequence[str], by_person: Mapping[str, list[int]], wanted: int) -> list[str]:
    """Return the first people who together have the wanted number of faces, without exceeding it by a whole person."""
    chosen: list[str] = []
    count = 0
    for person in order:
        if count and count + len(by_person[person]) > wanted:
            continue
        chosen.append(person)
        count += len(by_person[person])
        if count >= wanted:
            break
    return chosen


def _part(pictures: Pictures, squares: Sequence[Picture], indices: Sequence[int], name: str) -> Part:
    return Part(
        stills=tuple(squares[index] for index in indices),
        people=tuple(pictures.groups[index] for index in indices),
        sha256=pictures.subset(indices, name).sha256,
    )
