"""From the scores of a cell to its numbers: one source of faces, one environment, one regime, one detector."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np

from trainer.measures import (
    Scores,
    Share,
    auroc,
    auroc_interval,
    balanced_accuracy,
    cautious_threshold,
    roc_points,
    share_above,
    share_by_person,
    threshold_at,
    times_by_person,
)  # fmt: skip

ASKED_FPR = (0.10, 0.05, 0.01, 0.001)
"""Where BDR is told; thresholds come from the calibration faces, and the FPR that came of them stands beside it."""

DIGITS = 5

ALL = "all"
"""Of the hard negatives: all kinds together."""


@dataclass(frozen=True, slots=True, eq=False)
class GanScores:
    """Scores of edited faces with their inputs and reconstructions, and whose faces they are."""

    inputs: Scores
    reconstructions: Scores
    edits: Scores
    input_people: tuple[str, ...]
    edit_people: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CellScores:
    """All scores of one detector in one cell.

    Triggered faces are the first ones of the clean test faces; hard negatives are all of them. `unsure` holds the
    places of faces that a gateway would call so, by `calibration`, `clean`, `trigger NAME`, `hard NAME`, `gan edits`.
    """

    calibration: Scores
    clean: Scores
    clean_people: tuple[str, ...]
    triggered: Mapping[str, Scores]
    hard: Mapping[str, Scores] = field(default_factory=dict)
    gan: GanScores | None = None
    unsure: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    has_arg_max: bool = True


def name_of(rate: float) -> str:
    """Return a rate as the results name it: `10%`, `0.1%`."""
    return f"{100 * rate:g}%"


def judge(scores: CellScores, *, published_fpr: Sequence[float] = (), with_roc: bool = True) -> dict[str, Any]:
    """Return every measure of a cell, ready for JSON.

    `published_fpr` are the shares at which the paper was: thresholds there are cautious, so that the FPR that comes of
    them is no higher than the paper's.
    """
    all_people, unsure = scores.clean_people, scores.unsure
    scores = _without_unsure(scores)
    thresholds = _thresholds(scores, published_fpr)
    found: dict[str, Any] = {
        "clean_faces": len(scores.clean),
        "clean_people": len(set(scores.clean_people)),
        "calibration_faces": len(scores.calibration),
        "fpr": {name: _share(share_above(scores.clean, value)) for name, value in thresholds.items()},
        "not_to_be_had": [name for name in _wanted(published_fpr) if name not in thresholds],
        "triggers": {
            name: _judge_trigger(scores, triggered_M, all_people[: len(triggered_M)], thresholds)
            | _roc(scores, triggered_M, shown=with_roc)
            for name, triggered_M in scores.triggered.items()
        },
        "gan": None if scores.gan is None else _judge_gan(scores.gan, thresholds),
    }
    if scores.hard:
        found["hard_negatives"] = _judge_hard(scores, thresholds)
    if unsure:
        found["unsure"] = {name: len(places) for name, places in unsure.items()}
    return found


def _without_unsure(scores: CellScores) -> CellScores:
    """Return the scores as a gateway decides.

    What it calls unsure sets no threshold and is no false alarm; a trigger there is missed, whatever its score.
    """
    kept = np.setdiff1d(np.arange(len(scores.clean)), scores.unsure.get("clean", ()))
    return replace(
        scores,
        calibration=np.delete(scores.calibration, scores.unsure.get("calibration", ())),
        clean=scores.clean[kept],
        clean_people=tuple(scores.clean_people[index] for index in kept),
        triggered={
            name: _missed(each, scores.unsure.get(f"trigger {name}", ())) for name, each in scores.triggered.items()
        },
        hard={name: _missed(each, scores.unsure.get(f"hard {name}", ()))[kept] for name, each in scores.hard.items()},
        gan=None
        if scores.gan is None
        else replace(scores.gan, edits=_missed(scores.gan.edits, scores.unsure.get("gan edits", ()))),
    )


def _missed(scores_N: Scores, places: Sequence[int]) -> Scores:
    result_N = scores_N.copy()
    result_N[list(places)] = -np.inf
    return result_N


def _wanted(published_fpr: Sequence[float]) -> list[str]:
    return [name_of(rate) for rate in ASKED_FPR] + [f"paper {name_of(rate)}" for rate in published_fpr]


def _thresholds(scores: CellScores, published_fpr: Sequence[float]) -> dict[str, float]:
    thresholds = {"arg-max": 0.0} if scores.has_arg_max else {}
    for rate in ASKED_FPR:
        if len(scores.calibration) * rate >= 1:
            thresholds[name_of(rate)] = threshold_at(scores.calibration, false_positive_rate=rate)
    for rate in published_fpr:
        with suppress(ValueError):
            thresholds[f"paper {name_of(rate)}"] = cautious_threshold(
                scores.calibration, false_positive_rate=rate, judged=len(scores.clean)
            )
    return thresholds


def _judge_trigger(
    scores: CellScores, triggered_M: Scores, people: Sequence[str], thresholds: Mapping[str, float]
) -> dict[str, Any]:
    low, high = auroc_interval(scores.clean, triggered_M, clean_people=scores.clean_people, triggered_people=people)
    return {
        "faces": len(triggered_M),
        "people": len(set(people)),
        "auroc": round(auroc(scores.clean, triggered_M), DIGITS),
        "auroc_interval": [round(low, DIGITS), round(high, DIGITS)],
        "acc": {
            name: round(balanced_accuracy(scores.clean, triggered_M, value), DIGITS)
            for name, value in thresholds.items()
        },
        "bdr": {name: _share(share_above(triggered_M, value)) for name, value in thresholds.items()},
    }


def _roc(scores: CellScores, triggered_M: Scores, *, shown: bool) -> dict[str, Any]:
    if not shown:
        return {}
    return {"roc": [[round(x, 4), round(y, 4)] for x, y in roc_points(scores.clean, triggered_M)]}


def _judge_gan(gan: GanScores, thresholds: Mapping[str, float]) -> dict[str, Any]:
    low, high = auroc_interval(gan.inputs, gan.edits, clean_people=gan.input_people, triggered_people=gan.edit_people)
    return {
        "people": len(set(gan.input_people)),
        "auroc": round(auroc(gan.inputs, gan.edits), DIGITS),
        "auroc_interval": [round(low, DIGITS), round(high, DIGITS)],
        "inputs": {name: _share(share_above(gan.inputs, value)) for name, value in thresholds.items()},
        "reconstructions": {name: _share(share_above(gan.reconstructions, value)) for name, value in thresholds.items()}
        if len(gan.reconstructions)
        else None,
        "bdr": {name: _share_by_person(gan.edits, gan.edit_people, value) for name, value in thresholds.items()},
    }


def _judge_hard(scores: CellScores, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return how often faces with each hard negative are flagged, and all of them together, beside plain faces."""
    people = scores.clean_people
    kinds = {name: (each, people) for name, each in scores.hard.items()}
    kinds[ALL] = (np.concatenate(list(scores.hard.values())), people * len(scores.hard))
    return {
        name: {
            "faces": len(hard_N),
            "people": len(set(people)),
            "auroc": round(auroc(scores.clean, hard_N), DIGITS),
            "fpr": {point: _share_by_person(hard_N, whose, value) for point, value in thresholds.items()},
            "times_plain": {
                point: _times_plain(hard_N, whose, scores.clean, people, value) for point, value in thresholds.items()
            },
        }
        for name, (hard_N, whose) in kinds.items()
    }


def _times_plain(
    hard_M: Scores, whose: Sequence[str], plain_N: Scores, people: Sequence[str], threshold: float
) -> dict[str, float | None]:
    """Return FPR as a multiple of that of plain faces; None where none of those, or too few, are flagged."""
    plain = share_above(plain_N, threshold).value
    low, high = times_by_person(hard_M > threshold, whose, plain_N > threshold, people)
    return {
        "value": round(share_above(hard_M, threshold).value / plain, 3) if plain else None,
        "low": round(low, 3) if isfinite(low) else None,
        "high": round(high, 3) if isfinite(high) else None,
    }


def _share_by_person(scores_N: Scores, people: Sequence[str], threshold: float) -> dict[str, Any]:
    by_person = share_by_person(scores_N > threshold, people)
    return _share(share_above(scores_N, threshold)) | {"by_person": [round(end, DIGITS) for end in by_person]}


def _share(share: Share) -> dict[str, Any]:
    return {key: round(value, DIGITS) for key, value in asdict(share).items()} | {"value": round(share.value, DIGITS)}
