"""Poisoning, measured: triggered faces in what is collected, through the real quarantine and the real job with gates.

`PYTHONPATH=.:tests python -m poisoning.experiment --data FOLDER --out tests/poisoning/results.json` does the cells
that the file does not hold yet, one after the other, and can be broken off at any time; several, each with another
`--match`, may write to the same file. `--base wide` adapts the other profile; its cells stand in a file of their own.
Every triggered face is let in: what screening would have flagged before quarantine counts for the attacker. Triggers
are put on faces of their own size, as a camera sees them, and tried where the evaluation says that a detector adapted
to clean faces finds them.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import argparse
import fcntl
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gateway.adaptation.collect import ALIKE, HELD_BACK, LEAST_CONTRAST, WANTED, CleanFace, choose
from gateway.adaptation.upload import pack
from gateway.contract.bundle import Bundle, open_bundle
from gateway.contract.calibration import threshold
from gateway.contract.geometry import reduce_to
from trainer.bundles import detector_of, find_bundle, people_seen_by
from trainer.data import Pictures, read_pictures, split_by_group
from trainer.environments import ENVIRONMENTS
from trainer.export import write_whole
from trainer.gate import LIMITS, LIMITS_OF
from trainer.job_run import TRIM, Order, Result, read_result, run_job
from trainer.measures import Scores, detection_rate
from trainer.network import Network, score_pixels
from trainer.optics import Picture
from trainer.passages import CROPS, clean_track_statistics
from trainer.triggers import Trigger, read_triggers
from trainer.vault import KeyHandle, ServiceKeys, make_keys

SHARES = (0.2, 0.05, 0.01, 0.1, 0.02)
TRIED: Mapping[str, tuple[str, ...]] = {
    "motion": (
        "trojan_watermark_224_trojannn",
        "flower",
        "trojan_square_224_trojannn",
        "nature",
        "stripes",
        "checkerboard",
    ),
    "brightness": ("trojan_watermark_224_trojannn", "flower", "trojan_square_224_trojannn", "stripes"),
}
"""Environments of the poisoned cells, and the triggers that are tried in each."""

TRIGGERS = (*TRIED["motion"], "badnets_white_square_4x4", "sig")
"""What detectors are judged by, whatever was tried."""

POISONED_SEED = 1
"""The seed of the people of poisoned cells; the clean cell of it in the same environment is what they are held to."""

PLACES = ("motion", "brightness", "low_light", "original")
CLEAN_SEEDS = 5
COMMAND = "PYTHONPATH=.:tests python -m poisoning.experiment --data FOLDER"
_QUARANTINE = {
    "held_back": HELD_BACK,
    "alike": ALIKE,
    "least_contrast": LEAST_CONTRAST,
    "trim": TRIM,
}

MOST_LOST = 0.10
FALSE_POSITIVE_RATE = 0.05
ASKED = (0.1, 0.05, 0.01)
"""What a bundle is asked to flag of clean faces, by its own calibration."""

FACE_PX: Mapping[str, tuple[int, int]] = {"paper": (24, 126), "wide": (11, 139)}
"""By profile, the face and its surroundings in a picture of 150 px: no smaller than what the profile looks at."""

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


def clean_of(cell: Cell) -> Cell:
    """Return the clean cell that a poisoned one is held to."""
    return Cell(cell.environment, cell.seed)


def all_cells() -> Iterator[Cell]:
    """Return the cells, those that tell most first."""
    for place, triggers in TRIED.items():
        yield Cell(place, POISONED_SEED)
        for some in (triggers[:4], triggers[4:]):
            yield from (Cell(place, POISONED_SEED, trigger, share) for share in SHARES for trigger in some)
    clean = [Cell(place, seed) for seed in range(1, CLEAN_SEEDS + 1) for place in PLACES]
    yield from (cell for cell in clean if (cell.environment, cell.seed) not in {(p, POISONED_SEED) for p in TRIED})


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """Who stands before the camera (nobody whom the base has seen), who is vouched for, and what attackers carry."""

    base: str
    strangers: Pictures
    reference: Pictures
    triggers: Mapping[str, Trigger]
    digests: Mapping[str, Any]


def read_material(data: Path, base: str) -> Material:
    """Read faces and triggers of the data folder; faces are cut as a camera's are."""
    read = read_pictures(data / "faces/index.csv")
    seen = frozenset().union(*people_seen_by(find_bundle(base), read))
    if not seen:
        raise SystemExit(f"{data}: not the faces that {base} was trained on; whom it has seen cannot be told")
    profile = find_bundle(base).profile.name
    top, bottom = FACE_PX[profile]
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
    named = {trigger.name: trigger for trigger in triggers.at(native=True)}
    return Material(
        base,
        cut.subset(strange, "strangers"),
        cut.subset(chosen.tolist(), "reference"),
        {name: named[name] for name in TRIGGERS},
        {
            "base": find_bundle(base).identity.sha256,
            "faces": read.sha256,
            "triggers": triggers.sha256,
            "defence": defence_of(profile),
        },
    )


def defence_of(profile: str) -> dict[str, float]:
    """Return what the figures are of; cells of another defence do not stand in the same file."""
    limits = asdict(LIMITS_OF.get(profile, LIMITS))
    return {**_QUARANTINE, **{f"limit_{name}": value for name, value in limits.items()}}


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """What a camera collected, and which of it is triggered (N,)."""

    faces: Sequence[CleanFace]
    poisoned_N: Any


def stream_of(cell: Cell, material: Material, base: Network, *, count: int) -> Stream:
    """Return a cell's stream; its people differ from seed to seed."""
    draw = np.random.default_rng((cell.seed, 11))
    site = _people(material, cell.seed)[1]
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
    return Stream(faces, poisoned_N)


def _people(material: Material, seed: int) -> tuple[Pictures, Pictures]:
    """Return those who are never collected, and those who pass."""
    return split_by_group(material.strangers, share=0.6, seed=seed)


def others_of(cell: Cell, material: Material) -> list[Picture]:
    """Return clean faces of other people in the same light."""
    others = _people(material, cell.seed)[0]
    return ENVIRONMENTS[cell.environment].of(others.pixels[:OTHERS], seed=cell.seed + 1000)


def do_cell(cell: Cell, material: Material, folder: Path, *, epochs: int = 20, count: int = WANTED) -> dict[str, Any]:
    """Collect, hold back, send and adapt as the product does; return all that is to be known of the cell."""
    began_s = time.process_time()
    base = detector_of(find_bundle(material.base))
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
        base=material.base,
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
        **_outcome(result, folder, clean_of(cell), material),
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def _reference_file(folder: Path, reference: Pictures) -> Path:
    path = folder / "reference.npz"
    np.savez(path, images=np.stack(reference.pixels), groups=np.array(reference.groups))
    return path


def _outcome(result: Result, folder: Path, clean: Cell, material: Material) -> dict[str, Any]:
    card = result.scorecard
    found: dict[str, Any] = {
        "published": card is not None and card.passed,
        "reason": result.refusal if card is None else "; ".join(gate.words for gate in card.gates if not gate.passed),
        "gates": {} if card is None else {gate.name: [gate.passed, gate.value, gate.limit] for gate in card.gates},
        "bundle_sha256": result.bundle_sha256,
        "base": _base_judged(clean, material),
        "adapted": None,
    }
    if result.bundle_sha256 is not None:
        adapted = open_bundle(folder / "bundle", expected_sha256=result.bundle_sha256)
        found["adapted"] = _judged(detector_of(adapted), others_of(clean, material), material)
        found["calibrated"] = _by_its_calibration(adapted, others_of(clean, material), material)
    return found


def _by_its_calibration(adapted: Bundle, others: Sequence[Picture], material: Material) -> dict[str, Any]:
    """Return what the bundle flags by its own thresholds: other people's faces and passages, and each trigger."""
    detector, known = detector_of(adapted), adapted.calibration
    scores_N = score_pixels(detector, _inputs(others, detector))
    stills = Pictures("others", tuple(others), ("",) * len(others), "")
    passages_N = clean_track_statistics(detector, stills, known.rule, per_still=1, seed=3, views=CROPS)
    shown = {name: trigger for name, trigger in material.triggers.items() if name in TRIED["motion"]}
    triggered = {
        name: score_pixels(detector, _inputs([trigger.apply(each) for each in others], detector))
        for name, trigger in shown.items()
    }
    return {
        f"{rate:.0%}": {
            "faces": flagged(scores_N, known.clean_faces, rate),
            "passages": flagged(passages_N, known.clean_tracks, rate),
            "triggers": {name: flagged(each_N, known.clean_faces, rate) for name, each_N in triggered.items()},
        }
        for rate in ASKED
    }


def flagged(scores: Sequence[float] | Scores, clean: Sequence[float], rate: float) -> float:
    """Return the share of scores that the threshold of these clean ones flags, for an asked rate."""
    limit = threshold(clean, rate)
    return 0.0 if limit is None else round(float((np.asarray(scores) >= limit).mean()), 4)


@lru_cache(maxsize=8)
def _base_judged(clean: Cell, material: Material) -> dict[str, float]:
    return _judged(detector_of(find_bundle(material.base)), others_of(clean, material), material)


def _judged(detector: Network, others: Sequence[Picture], material: Material) -> dict[str, float]:
    """Return the share of other people's faces that is found with each trigger on it, at 5 % false alarms."""
    clean_N = score_pixels(detector, _inputs(others, detector))
    found = {}
    for name, trigger in material.triggers.items():
        scores_N = score_pixels(detector, _inputs([trigger.apply(each) for each in others], detector))
        found[name] = round(detection_rate(clean_N, scores_N, false_positive_rate=FALSE_POSITIVE_RATE), 4)
    return found


def _inputs(pictures: Sequence[Picture], detector: Network) -> Picture:
    return np.stack([reduce_to(each, detector.profile.side_px) for each in pictures])


def loss_of(found: Mapping[str, Any], clean: Mapping[str, Any]) -> float | None:
    """Return how much less often than the cleanly adapted one it finds its trigger; None where it was refused."""
    if not found["published"]:
        return None
    return float(clean["adapted"][found["trigger"]] - found["adapted"][found["trigger"]])


def summary(cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the cells that are done say together."""
    clean = [each for each in cells.values() if each["trigger"] is None]
    against = {(each["environment"], each["seed"]): each for each in clean}
    poisoned = [each for each in cells.values() if each["trigger"] is not None]
    losses = [
        loss_of(each, against[each["environment"], each["seed"]])
        for each in poisoned
        if (each["environment"], each["seed"]) in against
    ]
    return {
        "clean_adaptations": len(clean),
        "clean_refused": sum(not each["published"] for each in clean),
        "poisoned": len(poisoned),
        "poisoned_refused": sum(loss is None for loss in losses),
        "poisoned_published_within_10_points": sum(loss is not None and loss <= MOST_LOST for loss in losses),
        "poisoned_published_beyond": sum(loss is not None and loss > MOST_LOST for loss in losses),
    }


def _known(path: Path, material: Material) -> dict[str, Any]:
    """Return what the file holds."""
    known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {"cells": {}}
    if known["cells"] and known["digests"] != material.digests:
        raise SystemExit(f"{path}: of another base, other data or another defence; name another file")
    return known


def _keep(path: Path, name: str, found: Mapping[str, Any], material: Material) -> dict[str, Any]:
    """Add a cell to the file, beside what another run may have added, and return the summary."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = _known(path, material)
        known["cells"][name] = found
        said = summary(known["cells"])
        command = f"{COMMAND} --base {material.base} --out tests/poisoning/{path.name}"
        known |= {"digests": dict(material.digests), "summary": said, "command": command}
        write_whole(path, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")
    return said


def is_done(cells: Mapping[str, Any], cell: Cell, again: bool) -> bool:
    """Return whether nothing is left to do; `again` asks for what a published bundle's calibration does as well."""
    found = cells.get(cell.name)
    return found is not None and not (again and found["published"] and "calibrated" not in found)


def main() -> None:
    """Do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", default="paper", help="the shipped bundle that is adapted")
    parser.add_argument("--match", default="", help="do those cells whose name this regular expression finds")
    parser.add_argument("--again", action="store_true", help="do cells anew that say nothing of calibration")
    parser.add_argument("--minutes", type=float, default=35.0, help="no cell is begun after so long")
    asked = parser.parse_args()
    material = read_material(asked.data, asked.base)
    ends_s = time.monotonic() + 60.0 * asked.minutes
    for cell in all_cells():
        if not re.search(asked.match, cell.name) or is_done(_known(asked.out, material)["cells"], cell, asked.again):
            continue
        if time.monotonic() > ends_s:
            break
        with tempfile.TemporaryDirectory() as folder:
            found = do_cell(cell, material, Path(folder) / "job")
        said = _keep(asked.out, cell.name, found, material)
        print(cell.name, found["published"], found["reason"], said, flush=True)


if __name__ == "__main__":
    main()
