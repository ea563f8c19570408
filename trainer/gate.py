"""The gates between an adapted detector and its publication, each with its figure, its limit and words.

None sees a trigger of the evaluation. They catch what lies outside what clean adaptations do; they prove nothing about
a trigger that neither the base nor any cell of the bank resembles.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.contract.exchange import Gate, Scorecard
from trainer.measures import share_above, threshold_at
from trainer.network import Network, export_weights, score_pixels
from trainer.optics import Passage, Picture
from trainer.perturb import Perturber

BANK_FAMILIES = ("white_block", "coloured_block", "gaussian_noise", "shadow")
CELLS_PER_FAMILY = 15
FALSE_POSITIVE_RATE = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a gate refuses; set by judgement (decision 0023)."""

    false_alarm_growth: float = 0.10
    cell_loss: float = 0.20
    lost_cells_share: float = 0.15
    distance: float = 0.6
    audit_loss: float = 0.5


LIMITS = Limits()


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Whom the gates look at: faces of the site and of the reference that tuned nothing, and the held back."""

    site: Sequence[Picture]
    reference: Sequence[Picture]
    held_back: Sequence[Picture]


def judge_adaptation(
    base: Network, adapted: Network, judged: Judged, passage: Passage, *, limits: Limits = LIMITS
) -> Scorecard:
    """Return the judgement of all gates."""
    site_NYXC, reference_NYXC = passage.finish(judged.site), passage.finish(judged.reference)
    gates = [
        _false_alarms(base, adapted, (site_NYXC, reference_NYXC), limits),
        _bank(base, adapted, judged.site, (site_NYXC, passage), limits),
        _distance(base, adapted, limits),
    ]
    if judged.held_back:
        gates.append(_audit(base, adapted, (site_NYXC, passage.finish(judged.held_back)), limits))
    return Scorecard(gates=tuple(gates))


def _false_alarms(base: Network, adapted: Network, faces: tuple[Picture, Picture], limits: Limits) -> Gate:
    """Judge by the threshold that known clean faces set: the site's clean faces must not pass it more often."""
    before, after = (_flagged(detector, *faces) for detector in (base, adapted))
    limit = max(before, FALSE_POSITIVE_RATE) + limits.false_alarm_growth
    return Gate(
        name="clean_false_alarms",
        passed=after <= limit,
        value=after,
        limit=limit,
        words=f"flags {after:.0%} of the site's clean faces by the reference's threshold; the base {before:.0%}",
    )


def _flagged(detector: Network, site_NYXC: Picture, reference_NYXC: Picture) -> float:
    threshold = threshold_at(score_pixels(detector, reference_NYXC), false_positive_rate=FALSE_POSITIVE_RATE)
    return share_above(score_pixels(detector, site_NYXC), threshold).value


def _bank(
    base: Network,
    adapted: Network,
    site: Sequence[Picture],
    seen: tuple[Picture, Passage],
    limits: Limits,
) -> Gate:
    """Count the cells (one perturbation, the same on every face) that the adapted detector sees much worse."""
    site_NYXC, passage = seen
    thresholds = [
        threshold_at(score_pixels(each, site_NYXC), false_positive_rate=FALSE_POSITIVE_RATE) for each in (base, adapted)
    ]
    lost, cells = 0, 0
    for family in BANK_FAMILIES:
        perturber = Perturber(lambda: site[0], families=(family,))
        for cell in range(CELLS_PER_FAMILY):
            changed = [perturber.perturb(face_YXC, np.random.default_rng((23, cell)))[0] for face_YXC in site]
            changed_NYXC = passage.finish(changed)
            before, after = (
                share_above(score_pixels(detector, changed_NYXC), threshold).value
                for detector, threshold in zip((base, adapted), thresholds, strict=True)
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


def _audit(base: Network, adapted: Network, faces: tuple[Picture, Picture], limits: Limits) -> Gate:
    """Ask of what quarantine held back, and the base is surest of, whether the adapted detector still sees it."""
    site_NYXC, held_NYXC = faces
    surest = score_pixels(base, held_NYXC) > _highest(score_pixels(base, site_NYXC))
    threshold = threshold_at(score_pixels(adapted, site_NYXC), false_positive_rate=FALSE_POSITIVE_RATE)
    count = int(surest.sum())
    cleared = float((score_pixels(adapted, held_NYXC)[surest] <= threshold).mean()) if count else 0.0
    return Gate(
        name="held_back_audit",
        passed=cleared <= limits.audit_loss,
        value=cleared,
        limit=limits.audit_loss,
        words=f"passes {cleared:.0%} of the {count} held-back faces that the base is surer of than of any other",
    )


def _highest(scores_N: NDArray[np.float32]) -> float:
    return float(scores_N.max())
