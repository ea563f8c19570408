"""Clean streams of real faces whose tracks hang together: groups, people who come back, light that wanders, days.

`PYTHONPATH=.:tests python -m adaptation.dependent_streams --data FOLDER --out tests/adaptation/drift_results.json`
tells how often drift is said of them without any, and after how many tracks the paper's shifts are seen.

N tracks, Y/X pixel row/column, C colour (R, G, B).
"""

import argparse
import csv
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.adaptation.drift import MOST_REFERENCE, Sample, Watch
from gateway.adaptation.features import frequency_features
from gateway.contract.geometry import reduce_to
from trainer.environments import ENVIRONMENTS

SIDE_PX = 32
FACE_PX = (24, 126)  # the face and its surroundings in a picture of 150 px
BEFORE, AFTER = 300, 2000
"""Tracks after the reference before a shift is tried, and tracks that are to be quiet."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Kind:
    """How tracks hang together: `run` neighbours are one person, one of `people` (None: of all); the light.

    The logarithm of the light wanders with a standard deviation of `wander` and forgets within `memory` tracks, and it
    rises and falls by `day` within `period` tracks.
    """

    run: float = 1.0
    people: int | None = None
    wander: float = 0.0
    memory: float = 10.0
    day: float = 0.0
    period: int = 400


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "independent": Kind(),
        "runs of 5": Kind(run=5),
        "30 people who come back, runs of 3": Kind(run=3, people=30),
        "light 5 %, memory 10": Kind(wander=0.05),
        "light 5 %, memory 50, runs of 3": Kind(run=3, wander=0.05, memory=50),
        "light 10 %, memory 50, runs of 3": Kind(run=3, wander=0.10, memory=50),
        "light 10 %, memory 200, runs of 3": Kind(run=3, wander=0.10, memory=200),
        "days of 400, 20 % and 3 %, runs of 3": Kind(run=3, wander=0.03, memory=20, day=0.2),
        "days of 1000, 15 % and 3 %, runs of 3": Kind(run=3, wander=0.03, memory=20, day=0.15, period=1000),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Faces as a detector gets them, uint8 (N, 32, 32, 3), and those of each person."""

    pixels_NYXC: Pixels
    of_person: tuple[NDArray[np.intp], ...]


def read_faces(data: Path) -> Faces:
    """Read the LFW faces of the data folder."""
    index, (top, bottom) = data / "faces/index.csv", FACE_PX
    with index.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["file"].startswith("lfw/")]
    stills = [(cv2.imread(str(index.parent / row["file"])), row["identity"]) for row in rows]
    usable = [(still[top:bottom, top:bottom, ::-1], who) for still, who in stills if still is not None]
    small = [reduce_to(np.ascontiguousarray(still_YXC), SIDE_PX) for still_YXC, _ in usable]
    names = np.array([who for _, who in usable])
    return Faces(np.stack(small), tuple(np.flatnonzero(names == name) for name in np.unique(names)))


def _who(faces: Faces, kind: Kind, count: int, draw: np.random.Generator) -> NDArray[np.intp]:
    if kind.run <= 1:
        return draw.integers(len(faces.pixels_NYXC), size=count)
    people = [faces.of_person[place] for place in draw.permutation(len(faces.of_person))[: kind.people]]
    chosen: list[int] = []
    while len(chosen) < count:
        person = people[draw.integers(len(people))]
        chosen += [int(draw.choice(person)) for _ in range(int(draw.geometric(1 / kind.run)))]
    return np.array(chosen[:count])


def _light(kind: Kind, count: int, draw: np.random.Generator) -> NDArray[np.float64]:
    keeps, level, wandering = np.exp(-1 / kind.memory), float(draw.normal()), np.empty(count)
    for place in range(count):
        level = keeps * level + np.sqrt(1 - keeps**2) * float(draw.normal())
        wandering[place] = level
    rising = np.sin(2 * np.pi * (np.arange(count) / kind.period + draw.random()))
    return np.asarray(np.exp(kind.wander * wandering + kind.day * rising))


def stream(faces: Faces, kind: Kind, count: int, *, seed: int, shift: str | None = None) -> list[Sample]:
    """Return `count` tracks, a minute apart; under a shift they are in that environment of the evaluation."""
    draw = np.random.default_rng((seed, 0 if shift is None else 1))
    pixels_NYXC = faces.pixels_NYXC[_who(faces, kind, count, draw)]
    if shift is not None:
        pixels_NYXC = np.stack(ENVIRONMENTS[shift].of(list(pixels_NYXC), seed=seed))
    lit_NYXC = pixels_NYXC.astype(np.float32) * _light(kind, count, draw)[:, None, None, None].astype(np.float32)
    features_NF = frequency_features(np.clip(lit_NYXC, 0, 255).round().astype(np.uint8))
    first_s = 0.0 if shift is None else 1e6
    return [
        Sample.of(features_F[None], [0.0], time_s=first_s + 60.0 * place)
        for place, features_F in enumerate(features_NF)
    ]


@dataclass(frozen=True, slots=True)
class Told:
    """What a watch said of a stream: tracks of its reference, the share of the later tracks at which it said drift.

    `seen` is after how many tracks each shift was seen; None: not at all, or it had said drift before.
    """

    reference: int
    drifted: float
    seen: dict[str, int | None]


def told_of(faces: Faces, kind: Kind, *, seed: int, shifts: tuple[str, ...] = ()) -> Told:
    """Return what is said of a clean stream, and of the same camera when a shift comes."""
    watch, samples = Watch(), iter(stream(faces, kind, MOST_REFERENCE + AFTER, seed=seed))
    while watch.reference is None:
        watch.add(next(samples))
    reference = watch.tracks
    states = [watch.add(next(samples)).state for _ in range(BEFORE)]
    seen: dict[str, int | None] = {}
    for shift in shifts:
        later, seen[shift] = deepcopy(watch), None
        if later.finding.state != "drifted":
            found = [later.add(sample).state for sample in stream(faces, kind, 200, seed=seed, shift=shift)]
            seen[shift] = found.index("drifted") + 1 if "drifted" in found else None
    states += [watch.add(next(samples)).state for _ in range(AFTER - BEFORE)]
    return Told(reference, sum(state == "drifted" for state in states) / len(states), seen)


def main() -> None:
    """Write what is said of streams of every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--streams", type=int, default=20)
    asked = parser.parse_args()
    faces, found = read_faces(asked.data), {}
    for name, kind in KINDS.items():
        told = [
            told_of(faces, kind, seed=seed, shifts=("brightness", "motion")) for seed in range(1, asked.streams + 1)
        ]
        found[name] = summary_of(told)
        asked.out.write_text(json.dumps({"tracks": AFTER, "kinds": found}, indent=1) + "\n", "utf-8")
        print(name, found[name], flush=True)


def summary_of(told: list[Told]) -> dict[str, Any]:
    """Return what is to be known of the streams of one kind."""
    seen = {
        shift: [10**6 if each.seen[shift] is None else int(each.seen[shift] or 0) for each in told]
        for shift in told[0].seen
    }
    return {
        "streams": len(told),
        "reference_median": int(np.median([each.reference for each in told])),
        "streams_that_said_drift": sum(each.drifted > 0 for each in told),
        "share_of_tracks": round(float(np.mean([each.drifted for each in told])), 4),
        **{f"{shift}_within_100": sum(each <= 100 for each in tracks) for shift, tracks in seen.items()},
        **{f"{shift}_within_200": sum(each <= 200 for each in tracks) for shift, tracks in seen.items()},
        **{f"{shift}_median": None if np.median(t) >= 10**5 else int(np.median(t)) for shift, t in seen.items()},
    }


if __name__ == "__main__":
    main()
