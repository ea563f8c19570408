"""Poisoning, measured: triggered faces in what is collected, through the real quarantine and the real job with gates.

`PYTHONPATH=.:tests python -m poisoning.experiment --data FOLDER --out tests/poisoning/results.json` does the cells
that the file does not hold yet, one after the other, and can be broken off at any time. Every triggered face is let in:
what screening would have flagged before quarantine counts for the attacker.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.adaptation.collect import WANTED, CleanFace, choose
from gateway.adaptation.upload import pack
from gateway.contract.bundle import open_bundle
from gateway.contract.geometry import reduce_to
from trainer.bundles import detector_of, find_bundle, people_seen_by
from trainer.data import Pictures, read_pictures, split_by_group
from trainer.environments import ENVIRONMENTS
from trainer.export import write_whole
from trainer.job_run import Order, Result, read_result, run_job
from trainer.measures import detection_rate
from trainer.model import Detector
from trainer.network import score_pixels
from trainer.optics import Picture
from trainer.triggers import Trigger, read_triggers
from trainer.vault import KeyHandle, ServiceKeys, make_keys

SHARES = (0.2, 0.05, 0.1, 0.02, 0.01)
TRIGGERS = ("badnets_white_square_4x4", "checkerboard", "flower", "blend", "sig")
POISONED_IN = ("brightness", 1)
"""The environment and the people's seed of the poisoned cells; the clean cell of both is what they are held to."""

CLEAN_SEEDS = 4
MOST_LOST = 0.10
FALSE_POSITIVE_RATE = 0.05
FACE_PX = (24, 126)  # the face and its surroundings in a picture of 150 px
REFERENCE_FACES = 500
OTHERS = 250


@dataclass(frozen=True, slots=True)
class Cell:
    """One adaptation: whose faces where, and the share of them that carries which trigger."""

    environment: str
    seed: int
    trigger: str | None = None
    share: float = 0.0

    @property
    def name(self) -> str:
        """Key of the cell in the results."""
        poison = "clean" if self.trigger is None else f"{self.trigger} {self.share:.0%}"
        return f"{self.environment} {self.seed} {poison}"


def all_cells() -> Iterator[Cell]:
    """Return the cells, those that tell most first."""
    names = sorted(ENVIRONMENTS, key=lambda name: (name != POISONED_IN[0], name))
    clean = [Cell(name, seed) for seed in range(1, CLEAN_SEEDS + 1) for name in names]
    yield clean[0]
    yield from (Cell(*POISONED_IN, trigger, share) for share in SHARES for trigger in TRIGGERS)
    yield from clean[1:]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Who stands before the camera (nobody whom the base has seen), who is vouched for, and what attackers carry."""

    strangers: Pictures
    reference: Pictures
    triggers: Mapping[str, Trigger]
    digests: Mapping[str, str]


def read_material(data: Path, base: str) -> Material:
    """Read faces and triggers of the data folder; faces are cut as a camera's are."""
    read = read_pictures(data / "faces/index.csv")
    seen = frozenset().union(*people_seen_by(find_bundle(base), read))
    if not seen:
        raise SystemExit(f"{data}: not the faces that {base} was trained on; whom it has seen cannot be told")
    top, bottom = FACE_PX
    large = [index for index, picture in enumerate(read.pixels) if picture.shape[0] == 150]
    cut = Pictures(
        "faces",
        tuple(np.ascontiguousarray(read.pixels[index][top:bottom, top:bottom]) for index in large),
        tuple(read.groups[index] for index in large),
        read.sha256,
    )
    known = [index for index, person in enumerate(cut.groups) if person in seen]
    strange = [index for index, person in enumerate(cut.groups) if person not in seen]
    chosen = np.random.default_rng(5).permutation(known)[:REFERENCE_FACES]
    triggers = read_triggers(data / "triggers")
    named = {trigger.name: trigger for trigger in triggers.at(native=True)} | {
        trigger.name: trigger for trigger in triggers.triggers if trigger.name in TRIGGERS
    }
    return Material(
        cut.subset(strange, "strangers"),
        cut.subset(chosen.tolist(), "reference"),
        {name: named[name] for name in TRIGGERS},
        {"base": find_bundle(base).identity.sha256, "faces": read.sha256, "triggers": triggers.sha256},
    )


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """What a camera collected, which of it is triggered (N,), and clean faces of other people in the same light."""

    faces: Sequence[CleanFace]
    poisoned_N: Any
    others: Sequence[Picture]


def stream_of(cell: Cell, material: Material, base: Detector, *, count: int) -> Stream:
    """Return a cell's stream; its people differ from seed to seed."""
    draw = np.random.default_rng((cell.seed, 11))
    others, site = split_by_group(material.strangers, share=0.6, seed=cell.seed)
    chosen = draw.permutation(len(site))[:count]
    alter = ENVIRONMENTS[cell.environment].of
    pictures = alter([site.pixels[index] for index in chosen], seed=cell.seed)
    poisoned_N = np.zeros(len(pictures), bool)
    if cell.trigger is not None:
        poisoned_N[draw.permutation(len(pictures))[: round(cell.share * len(pictures))]] = True
        change = material.triggers[cell.trigger].apply
        pictures = [change(each) if bad else each for each, bad in zip(pictures, poisoned_N, strict=True)]
    scores_N = score_pixels(base, _inputs(pictures, base))
    faces = [
        CleanFace("gate", 60.0 * place, float(score), picture)
        for place, (score, picture) in enumerate(zip(scores_N, pictures, strict=True))
    ]
    return Stream(faces, poisoned_N, alter(others.pixels[:OTHERS], seed=cell.seed + 1000))


def do_cell(cell: Cell, material: Material, folder: Path, *, epochs: int = 20, count: int = WANTED) -> dict[str, Any]:
    """Collect, hold back, send and adapt as the product does; return all that is to be known of the cell."""
    began_s = time.process_time()
    base = detector_of(find_bundle("paper"))
    stream = stream_of(cell, material, base, count=count)
    choice = choose(stream.faces)
    clean_set, contents = pack(stream.faces, choice, gateway="experiment", environment="hall")
    (folder / "parts").mkdir(parents=True)
    make_keys(folder / "faces.key")
    sealed_key = ServiceKeys.load(folder / "faces.key").new_key(clean_set.sha256)
    handle = KeyHandle(clean_set=clean_set.sha256, sealed_key=sealed_key, faces_key=folder / "faces.key")
    for sha256, content in contents.items():
        (folder / "parts" / sha256).write_bytes(handle.open().seal(content, sha256))
    order = Order(
        clean_set=clean_set,
        base="paper",
        reference=str(_reference_file(folder, material.reference)),
        version=2,
        created="2026-11-25",
        faces=500,
        epochs=epochs,
        threads=1,
        regime="native",
    )
    (folder / "order.json").write_text(order.model_dump_json(), "utf-8")
    run_job(folder, handle)
    result = read_result(folder)
    assert result is not None
    return {
        **asdict(cell),
        "collected": len(stream.faces),
        "poisoned": int(stream.poisoned_N.sum()),
        "poisoned_let_through": int(stream.poisoned_N[list(choice.clean)].sum()),
        "held_back": len(choice.held_back),
        "repeated": len(choice.repeated),
        "clean_set_sha256": clean_set.sha256,
        **_outcome(result, folder, base, stream.others, material),
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def _reference_file(folder: Path, reference: Pictures) -> Path:
    path = folder / "reference.npz"
    np.savez(path, images=np.stack(reference.pixels), groups=np.array(reference.groups))
    return path


def _outcome(
    result: Result, folder: Path, base: Detector, others: Sequence[Picture], material: Material
) -> dict[str, Any]:
    card = result.scorecard
    found: dict[str, Any] = {
        "published": card is not None and card.passed,
        "reason": result.refusal if card is None else "; ".join(gate.words for gate in card.gates if not gate.passed),
        "gates": {} if card is None else {gate.name: [gate.passed, gate.value, gate.limit] for gate in card.gates},
        "bundle_sha256": result.bundle_sha256,
        "base": _judged(base, others, material),
        "adapted": None,
    }
    if result.bundle_sha256 is not None:
        adapted = open_bundle(folder / "bundle", expected_sha256=result.bundle_sha256)
        found["adapted"] = _judged(detector_of(adapted), others, material)
    return found


def _judged(detector: Detector, others: Sequence[Picture], material: Material) -> dict[str, float]:
    """Return the share of other people's faces that is found with each trigger on it, at 5 % false alarms."""
    clean_N = score_pixels(detector, _inputs(others, detector))
    found = {}
    for name, trigger in material.triggers.items():
        scores_N = score_pixels(detector, _inputs([trigger.apply(each) for each in others], detector))
        found[name] = round(detection_rate(clean_N, scores_N, false_positive_rate=FALSE_POSITIVE_RATE), 4)
    return found


def _inputs(pictures: Sequence[Picture], detector: Detector) -> Picture:
    return np.stack([reduce_to(each, detector.profile.side_px) for each in pictures])


def loss_of(found: Mapping[str, Any], clean: Mapping[str, Any]) -> float | None:
    """Return how much less often than the cleanly adapted one it finds its trigger; None where it was refused."""
    if not found["published"]:
        return None
    return float(clean["adapted"][found["trigger"]] - found["adapted"][found["trigger"]])


def summary(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the cells that are done say together."""
    clean = [each for each in cells.values() if each["trigger"] is None]
    against = cells.get(Cell(*POISONED_IN).name)
    poisoned = [each for each in cells.values() if each["trigger"] is not None]
    losses = [] if against is None else [loss_of(each, against) for each in poisoned]
    return {
        "clean_adaptations": len(clean),
        "clean_refused": sum(not each["published"] for each in clean),
        "poisoned": len(poisoned),
        "poisoned_refused": sum(loss is None for loss in losses),
        "poisoned_published_within_10_points": sum(loss is not None and loss <= MOST_LOST for loss in losses),
        "poisoned_published_beyond": sum(loss is not None and loss > MOST_LOST for loss in losses),
    }


def main() -> None:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35.0, help="no cell is begun after so long")
    asked = parser.parse_args()
    material = read_material(asked.data, "paper")
    known = json.loads(asked.out.read_text("utf-8")) if asked.out.exists() else {"digests": {}, "cells": {}}
    if known["cells"] and known["digests"] != material.digests:
        raise SystemExit(f"{asked.out}: of another base or other data; name another file")
    ends_s = time.monotonic() + 60.0 * asked.minutes
    for cell in all_cells():
        if cell.name in known["cells"] or time.monotonic() > ends_s:
            continue
        with tempfile.TemporaryDirectory() as folder:
            known["cells"][cell.name] = do_cell(cell, material, Path(folder) / "job")
        known |= {"digests": dict(material.digests), "summary": summary(known["cells"])}
        write_whole(asked.out, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
        print(cell.name, known["cells"][cell.name]["published"], known["summary"], flush=True)


if __name__ == "__main__":
    main()
