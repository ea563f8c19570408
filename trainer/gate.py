"""The gates between an adapted detector and its publication, each with its figure, its limit and words.

None sees a trigger of the evaluation. They catch what lies outside what clean adaptations do; they prove nothing about
a trigger that neither the base nor any cell of the bank resembles.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from gateway.contract.exchange import Gate, Scorecard
from trainer.measures import share_above, threshold_at
from trainer.model import Detector
from trainer.network import Network, export_weights, score_pixels
from trainer.optics import Passage, Picture
from trainer.perturb import Perturber
from trainer.wide_model import WideDetector

BANK_FAMILIES = ("white_block", "coloured_block", "gaussian_noise", "shadow")
CELLS_PER_FAMILY = 15
BANK_FACES = 75
"""Each cell is shown on at most so many of the site's faces: a share of them is known to 6 points, the limit is 20."""

FALSE_POSITIVE_RATE = 0.1
_BATCH = 500
_WIDE_BATCH = 16
_WIDE_TUNED = frozenset({"features_mean", "features_scale", "dense1", "dense2", "dense3"})
"""What tuning may change of a wide detector without a face having to be looked at twice."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a gate refuses: beyond what adaptations to clean faces do (decision 0038)."""

    false_alarm_growth: float = 0.25
    cell_loss: float = 0.20
    lost_cells_share: float = 0.15
    distance: float = 0.6
    audit_loss: float = 0.8
    repeated_share: float = 0.02


LIMITS = Limits()

LIMITS_OF = MappingProxyType({"wide": replace(LIMITS, lost_cells_share=0.25)})
"""Of profiles whose adaptations to clean faces lose more: the seventh `wide` lost 11 of 60 cells to 500 clean faces."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Whom the gates look at: faces of the site and of the reference that tuned nothing, and the held back.

    `held_back` are to be audited: whatever quarantine did not pass, and what taught on an operator's word alone.
    """

    site: Sequence[Picture]
    reference: Sequence[Picture]
    held_back: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many faces of a set passed quarantine, and how many were held back for their score and for a pattern."""

    passed: int
    held_back: int
    repeated: int
    operator: int


def judge_adaptation(
    base: Network, adapted: Network, judged: Judged, passage: Passage, *, limits: Limits | None = None
) -> Scorecard:
    """Return the judgement of all gates, by the limits of the detector's profile if none are given."""
    limits = limits or LIMITS_OF.get(adapted.profile.name, LIMITS)
    both = Both(base, adapted)
    site = both.scores(passage.finish(judged.site))
    gates = [
        _false_alarms(site, both.scores(passage.finish(judged.reference)), limits),
        _bank(both, judged.site, (site, passage), limits),
        _distance(base, adapted, limits),
    ]
    if judged.held_back:
        gates.append(_audit(site, both.scores(passage.finish(judged.held_back)), limits))
    return Scorecard(gates=tuple(gates))


_Scores = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Of the same faces, the base's scores and the adapted detector's."""


class Both:
    """The base and what was made of it: convolutions that tuning left as they were work once for both."""

    def __init__(self, base: Network, adapted: Network) -> None:
        self._base, self._adapted = base.eval(), adapted.eval()
        before, after = export_weights(base), export_weights(adapted)
        self._differ = {name.partition(".")[0] for name in before if not np.array_equal(before[name], after[name])}

    def scores(self, pixels_NYXC: Picture) -> _Scores:
        """Return the scores of inputs of the detector, uint8 (N, S, S, 3), by each of the two."""
        base, adapted = self._base, self._adapted
        if isinstance(base, Detector) and isinstance(adapted, Detector):
            return self._by_one_trunk(base, adapted, pixels_NYXC)
        if isinstance(base, WideDetector) and isinstance(adapted, WideDetector) and self._differ <= _WIDE_TUNED:
            return self._by_one_look(base, adapted, pixels_NYXC)
        return score_pixels(base, pixels_NYXC), score_pixels(adapted, pixels_NYXC)

    @torch.no_grad()
    def _by_one_trunk(self, base: Detector, adapted: Detector, pixels_NYXC: Picture) -> _Scores:
        layers = range(1, base.convolutions + 1)
        first = next((layer for layer in layers if {f"conv{layer}", f"norm{layer}"} & self._differ), len(layers) + 1)
        found: list[list[NDArray[np.float32]]] = [[], []]
        for start in range(0, len(pixels_NYXC), _BATCH):
            part_NYXC = torch.from_numpy(np.ascontiguousarray(pixels_NYXC[start : start + _BATCH]))
            x = base.convolve(base.spectrum(part_NYXC), layers[: first - 1])
            for detector, scores in zip((base, adapted), found, strict=True):
                logits_N2 = detector.classify(detector.convolve(x, layers[first - 1 :]))
                scores.append((logits_N2[:, 1] - logits_N2[:, 0]).numpy())
        before_N, after_N = (np.concatenate(scores) for scores in found)
        return before_N, after_N

    @torch.no_grad()
    def _by_one_look(self, base: WideDetector, adapted: WideDetector, pixels_NYXC: Picture) -> _Scores:
        found: list[list[NDArray[np.float32]]] = [[], []]
        for start in range(0, len(pixels_NYXC), _WIDE_BATCH):
            part_NYXC = torch.from_numpy(np.ascontiguousarray(pixels_NYXC[start : start + _WIDE_BATCH]))
            features_NF, places_NFPQ = base.seen(part_NYXC)
            shapes_NK = base.shapes(base.standardised_places(places_NFPQ))
            for detector, scores in zip((base, adapted), found, strict=True):
                logits_N2 = detector.combine(detector.standardised(features_NF), shapes_NK)
                scores.append((logits_N2[:, 1] - logits_N2[:, 0]).numpy())
        before_N, after_N = (np.concatenate(scores) for scores in found)
        return before_N, after_N


def _false_alarms(site: _Scores, reference: _Scores, limits: Limits) -> Gate:
    """Judge by the threshold that known clean faces set: the site's clean faces must not pass it more often."""
    before, after = (
        share_above(scores_N, threshold_at(known_M, false_positive_rate=FALSE_POSITIVE_RATE)).value
        for scores_N, known_M in zip(site, reference, strict=True)
    )
    limit = max(before, FALSE_POSITIVE_RATE) + limits.false_alarm_growth
    return Gate(
        name="clean_false_alarms",
        passed=after <= limit,
        value=after,
        limit=limit,
        words=f"flags {after:.0%} of the site's clean faces by the reference's threshold; the base {before:.0%}",
    )


def _bank(both: Both, site: Sequence[Picture], seen: tuple[_Scores, Passage], limits: Limits) -> Gate:
    """Count the cells (one perturbation, the same on every face) that the adapted detector sees much worse."""
    thresholds = [threshold_at(scores_N, false_positive_rate=FALSE_POSITIVE_RATE) for scores_N in seen[0]]
    lost, cells = 0, 0
    for family in BANK_FAMILIES:
        perturber = Perturber(lambda: site[0], families=(family,))
        for cell in range(CELLS_PER_FAMILY):
            draws = (np.random.default_rng((23, cell)) for _ in site[:BANK_FACES])
            changed = [perturber.perturb(face, draw)[0] for face, draw in zip(site[:BANK_FACES], draws, strict=True)]
            before, after = (
                share_above(scores_N, threshold).value
                for scores_N, threshold in zip(both.scores(seen[1].finish(changed)), thresholds, strict=True)
            )
            cells += 1
            lost += after < before - limits.cell_loss
    share = lost / cells
    return Gate(
        name="perturbation_cells",
        passed=share <= limits.lost_cells_share,
        value=share,
        limit=limits.lost_cells_share,
        words=f"{lost} of {cells} fixed perturbations are found over {limits.cell_loss:.0%} less often than before",
    )


def _distance(base: Network, adapted: Network, limits: Limits) -> Gate:
    """Measure how far the weights went, relative to the base's own length, in the layer that went farthest."""
    before, after = export_weights(base), export_weights(adapted)
    moved = {
        name: float(np.linalg.norm(after[name] - before[name])) / max(float(np.linalg.norm(before[name])), 1e-6)
        for name in before
        if before[name].ndim > 1
    }
    farthest = max(moved, key=lambda name: moved[name])
    return Gate(
        name="distance_from_base",
        passed=moved[farthest] <= limits.distance,
        value=moved[farthest],
        limit=limits.distance,
        words=f"{farthest} went farthest, by {moved[farthest]:.0%} of its length",
    )


def _audit(site: _Scores, held_back: _Scores, limits: Limits) -> Gate:
    """Ask of what quarantine held back, and the base is surest of, whether the adapted detector still sees it."""
    surest_N = held_back[0] > site[0].max()
    threshold = threshold_at(site[1], false_positive_rate=FALSE_POSITIVE_RATE)
    count = int(surest_N.sum())
    cleared = float((held_back[1][surest_N] <= threshold).mean()) if count else 0.0
    return Gate(
        name="held_back_audit",
        passed=cleared <= limits.audit_loss,
        value=cleared,
        limit=limits.audit_loss,
        words=f"passes {cleared:.0%} of the {count} held-back faces that the base is surer of than of any other",
    )


def judge_quarantine(counts: Counts, *, limits: Limits = LIMITS) -> Gate:
    """Judge whether quarantine held back what it holds back of clean faces: people do not share a pattern."""
    total = counts.passed + counts.held_back + counts.repeated + counts.operator
    share = counts.repeated / max(1, total)
    return Gate(
        name="held_back_share",
        passed=share <= limits.repeated_share,
        value=share,
        limit=limits.repeated_share,
        words=f"of {total} faces {counts.held_back} were held back for their score and {counts.repeated} for a pattern "
        f"that others share; {counts.operator} teach on an operator's word",
    )
