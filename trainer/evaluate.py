"""The evaluation: every detector, source, environment and regime against triggers that none of them has seen.

What is judged is made elsewhere (`Makers`); this module must not reach what training uses. Scores of a finished cell
lie in a file of their own, so that an interrupted evaluation goes on where it was, and every number can be drawn from
them again.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gateway.contract.quality import unfit
from trainer.environments import ENVIRONMENTS, REGIMES, Environment, Regime
from trainer.export import write_whole
from trainer.hard_negatives import HARD_NEGATIVES, hard_inputs
from trainer.judging import CellScores, GanScores, judge
from trainer.measures import Scores
from trainer.optics import Passage, Picture
from trainer.parity import published_rates
from trainer.protocol import Division, Setting
from trainer.triggers import GanEdits, Trigger, TriggerSet

FORMAT = 1
MOST_TRIGGERED = 500
"""Faces that carry a trigger, as in the paper; clean ones are all of the test faces."""

TUNE_SEED, CALIBRATE_SEED, TEST_SEED = 11, 12, 13

Scorer = Callable[[Picture], Scores]


class Makers(Protocol):
    """Makes the detectors that are judged."""

    def untuned(self) -> Scorer:
        """Return the base as it is."""

    def tuned(self, setting: Setting, *, plan: str, seed: int) -> Scorer:
        """Return the base tuned for a setting."""

    def autoencoder(self, setting: Setting, *, seed: int) -> tuple[Scorer, dict[str, Any]]:
        """Return the baseline for a setting, and how its settings were chosen."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One source in one environment and regime, and the detectors that are judged there."""

    source: str
    environment: str
    regime: str
    detectors: tuple[str, ...]
    part: str = ""

    @property
    def key(self) -> str:
        """Name of its file."""
        return f"{self.source}-{self.environment}-{self.regime}{self.part}"

    @property
    def hard_negatives(self) -> tuple[str, ...]:
        """What clean faces carry here besides; at the faces' own size alone, and where light and lens add nothing."""
        plain = self.environment == "original" and REGIMES[self.regime].at_native_size
        return tuple(HARD_NEGATIVES) if plain else ()


@dataclass(frozen=True, slots=True)
class Scope:
    """How much is evaluated; the defaults are everything that the report shows.

    Environments that were `named` are judged in every regime, also those that the paper does not have.
    """

    environments: tuple[str, ...] = tuple(ENVIRONMENTS)
    regimes: tuple[str, ...] = tuple(REGIMES)
    plans: tuple[str, ...] = ("fc", "last1", "last2", "last3", "all", "scratch")
    plan: str = "last2"
    seed: int = 1
    side_px: int = 32
    named: bool = False


def cells_of(sources: Sequence[str], scope: Scope) -> list[Cell]:
    """Return the cells, the paper's Tables III and IV first, Table II (which takes longest) last.

    The autoencoder and the other plans are judged by the authors' protocol alone, plans in the original environment, as
    in the paper; environments that the paper does not have are left to the authors' protocol where none were named.
    """
    cells = []
    for regime in scope.regimes:
        detectors = ("untuned", scope.plan, *(("autoencoder",) if regime == "authors" else ()))
        for environment in scope.environments:
            if scope.named or regime == "authors" or ENVIRONMENTS[environment].in_paper:
                cells += [Cell(source, environment, regime, detectors) for source in sources]
    if "authors" in scope.regimes and "original" in scope.environments:
        plans = tuple(plan for plan in scope.plans if plan != scope.plan)
        cells += [Cell(source, "original", "authors", plans, part="-plans") for source in sources if plans]
    return cells


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One evaluation: what is judged, on whom, by what, and the folder that keeps the scores.

    `made_by` says how the makers were set: scores of other settings are not taken for these.
    """

    makers: Makers
    made_by: str
    base_sha256: str
    divisions: Mapping[str, Division]
    triggers: TriggerSet
    scope: Scope
    folder: Path

    def cells(self) -> list[Cell]:
        """Return what there is to do."""
        return cells_of(list(self.divisions), self.scope)

    def run(self, progress: Callable[[Cell, str], None]) -> Iterator[tuple[Cell, dict[str, Any]]]:
        """Return each cell with its scores, computed or read; `progress` hears of each detector before it is made."""
        for cell in self.cells():
            path = self.folder / "cells" / f"{cell.key}.json"
            kept = _kept(path, self._fingerprint(cell))
            if kept is None:
                kept = {"fingerprint": self._fingerprint(cell)} | self._compute(cell, progress)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps(kept, separators=(",", ":"), allow_nan=False).encode())
            yield cell, kept

    def _fingerprint(self, cell: Cell) -> str:
        division = self.divisions[cell.source]
        facts = {
            "format": FORMAT,
            "base": self.base_sha256,
            "made_by": self.made_by,
            "faces": [part.sha256 for part in (division.tune, division.calibrate, division.test)],
            "triggers": self.triggers.sha256,
            "names": [trigger.name for trigger in self.triggers.triggers],
            "cell": [cell.key, *cell.detectors],
            "seed": self.scope.seed,
        }
        if cell.hard_negatives:
            facts["hard_negatives"] = cell.hard_negatives
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _compute(self, cell: Cell, progress: Callable[[Cell, str], None]) -> dict[str, Any]:
        started = time.monotonic()
        division = self.divisions[cell.source]
        environment, regime = ENVIRONMENTS[cell.environment], REGIMES[cell.regime]
        side_px = self.scope.side_px
        inputs = _inputs(division, environment, regime, self.triggers, side_px)
        for name in cell.hard_negatives:
            stills, share = division.test.stills, division.share
            inputs[f"hard {name}"] = hard_inputs(stills, name, regime, side_px=side_px, seed=TEST_SEED, share=share)
        setting = Setting(
            source=cell.source,
            tune=division.tune,
            stills=tuple(environment.of(division.tune.stills, seed=TUNE_SEED)),
            passage=regime.passage(side_px=side_px, seed=TUNE_SEED),
        )
        unsure = {name: unsure_of(pixels_NYXC) for name, pixels_NYXC in inputs.items()}
        found: dict[str, Any] = {}
        notes: dict[str, Any] = {}
        for detector in cell.detectors:
            progress(cell, detector)
            scorer, note = self._make(detector, setting)
            found[detector] = {name: _listed(scorer(pixels_NYXC)) for name, pixels_NYXC in inputs.items()}
            if note:
                notes[detector] = note
        seconds = round(time.monotonic() - started, 1)
        return {"scores": found, "notes": notes, "unsure": unsure, "seconds": seconds}

    def _make(self, detector: str, setting: Setting) -> tuple[Scorer, dict[str, Any]]:
        if detector == "untuned":
            return self.makers.untuned(), {}
        if detector == "autoencoder":
            return self.makers.autoencoder(setting, seed=self.scope.seed)
        return self.makers.tuned(setting, plan=detector, seed=self.scope.seed), {}


def unsure_of(pixels_NYXC: Picture) -> list[int]:
    """Return which of a detector's inputs a gateway would not judge: it calls them `unsure`, for their quality."""
    return [index for index, pixels_YXC in enumerate(pixels_NYXC) if unfit(pixels_YXC) is not None]


def _listed(scores_N: Scores) -> list[float]:
    """Return scores as they are kept: six digits, which order them as they were."""
    return [float(f"{value:.6g}") for value in scores_N.tolist()]


def _kept(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the scores of a finished cell, None where there are none or they are of another evaluation."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and kept.get("fingerprint") == fingerprint else None


def _inputs(
    division: Division, environment: Environment, regime: Regime, triggers: TriggerSet, side_px: int
) -> dict[str, Picture]:
    """Return everything that a detector scores in a cell, by name."""
    calibrate = environment.of(division.calibrate.stills, seed=CALIBRATE_SEED)
    test = environment.of(division.test.stills, seed=TEST_SEED)
    passage = regime.passage(side_px=side_px, seed=TEST_SEED)
    inputs = {
        "calibration": regime.finish(calibrate, side_px=side_px, seed=CALIBRATE_SEED),
        "clean": passage.finish(test),
    }
    for trigger in triggers.at(native=regime.at_native_size):
        inputs[f"trigger {trigger.name}"] = triggered_inputs(
            test[:MOST_TRIGGERED], inputs["clean"][:MOST_TRIGGERED], trigger, passage
        )
    if triggers.gan is not None:
        inputs |= _gan_inputs(triggers.gan, environment, passage)
    return inputs


def triggered_inputs(stills: Sequence[Picture], clean_NYXC: Picture, trigger: Trigger, passage: Passage) -> Picture:
    """Return inputs of the detector with a trigger: put on the faces at their own size, or on the reduced ones."""
    if passage.at_native_size:
        return passage.finish([trigger.apply(still_YXC) for still_YXC in stills])
    return np.stack([trigger.apply(clean_YXC) for clean_YXC in clean_NYXC])


def _gan_inputs(gan: GanEdits, environment: Environment, passage: Passage) -> dict[str, Picture]:
    parts = {"gan inputs": gan.inputs, "gan reconstructions": gan.reconstructions, "gan edits": gan.edits}
    return {
        name: passage.finish(environment.of(pictures, seed=TEST_SEED)) for name, pictures in parts.items() if pictures
    }


def measured(evaluation: Evaluation, cell: Cell, kept: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the numbers of a cell, one entry a detector."""
    people = evaluation.divisions[cell.source].test.people
    for detector, scores in kept["scores"].items():
        arrays = {name: np.array(values, np.float32) for name, values in scores.items()}
        shown = cell.environment == "original" and detector == evaluation.scope.plan
        unsure = {name: tuple(indices) for name, indices in kept.get("unsure", {}).items()}
        found = replace(_scores_of(arrays, people, evaluation.triggers.gan, detector), unsure=unsure)
        rates = published_rates(cell.environment) if cell.regime == "authors" else ()
        yield {
            "source": cell.source,
            "environment": cell.environment,
            "regime": cell.regime,
            "detector": detector,
            "note": kept["notes"].get(detector),
            "measures": judge(found, published_fpr=rates, with_roc=shown),
        }


def _scores_of(arrays: Mapping[str, Scores], people: Sequence[str], gan: GanEdits | None, detector: str) -> CellScores:
    return CellScores(
        calibration=arrays["calibration"],
        clean=arrays["clean"],
        clean_people=tuple(people),
        triggered=_named(arrays, "trigger "),
        hard=_named(arrays, "hard "),
        gan=None
        if gan is None
        else GanScores(
            inputs=arrays["gan inputs"],
            reconstructions=arrays.get("gan reconstructions", np.empty(0, np.float32)),
            edits=arrays["gan edits"],
            input_people=gan.input_people,
            edit_people=gan.edit_people,
        ),
        has_arg_max=detector != "autoencoder",
    )


def _named(arrays: Mapping[str, Scores], prefix: str) -> dict[str, Scores]:
    return {name.removeprefix(prefix): each for name, each in arrays.items() if name.startswith(prefix)}
