"""What pre-training of `wide` is watched by: pairs of people that it never sees.

N faces, Y/X pixel row/column, C colour.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.library import KINDS, Library
from trainer.measures import auroc, detection_rate
from trainer.network import score_pixels
from trainer.optics import Picture
from trainer.upsampling import StandIn
from trainer.wide_chain import Pair, WideChainSettings, make_pairs
from trainer.wide_model import WideDetector
from trainer.wide_pool import TOGETHER

VALIDATION_FPR = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Pairs of people that training never sees."""

    clean_NYXC: Picture
    changed_NYXC: Picture
    kinds: NDArray[np.str_]
    regimes: NDArray[np.str_]
    nuisances: NDArray[np.str_]


def validation_pairs(
    stills: Sequence[Picture], upsamplers: Sequence[StandIn], chain: WideChainSettings, *, draws: int
) -> HeldOut:
    """Return pairs of all kinds, also of those that are left out of training, the same on every call."""
    draw = np.random.default_rng(2**31)
    library = Library(lambda each: stills[int(each.integers(len(stills)))], upsamplers)
    pairs: list[Pair] = []
    for start in _starts(len(stills), draws):
        pairs += make_pairs(stills[start : start + TOGETHER], library, draw, chain)
    return HeldOut(
        np.stack([pair.clean_YXC for pair in pairs]),
        np.stack([pair.changed_YXC for pair in pairs]),
        np.array([pair.kind for pair in pairs]),
        np.array([pair.regime for pair in pairs]),
        np.array([pair.nuisance or "plain" for pair in pairs]),
    )


def _starts(count: int, draws: int) -> Iterator[int]:
    for _ in range(draws):
        yield from range(0, count, TOGETHER)


def validate_wide(detector: WideDetector, held: HeldOut) -> dict[str, float]:
    """Return AUROC and BDR by regime and kind, and the false alarms on each nuisance, at a 1 % FPR of the regime."""
    clean_N = score_pixels(detector, held.clean_NYXC)
    changed_N = score_pixels(detector, held.changed_NYXC)
    found: dict[str, float] = {}
    for regime in ("D", "C"):
        here_N = held.regimes == regime
        if here_N.sum() * VALIDATION_FPR < 1:
            continue
        found[f"{regime} auroc"] = auroc(clean_N[here_N], changed_N[here_N])
        rate = {"false_positive_rate": VALIDATION_FPR}
        found[f"{regime} bdr"] = detection_rate(clean_N[here_N], changed_N[here_N], **rate)
        for kind in KINDS:
            chosen_N = here_N & (held.kinds == kind)
            if chosen_N.any():
                found[f"{regime} auroc/{kind}"] = auroc(clean_N[here_N], changed_N[chosen_N])
                found[f"{regime} bdr/{kind}"] = detection_rate(clean_N[here_N], changed_N[chosen_N], **rate)
    limit = float(np.quantile(clean_N, 1 - VALIDATION_FPR))
    for nuisance in sorted(set(held.nuisances.tolist())):
        found[f"fpr/{nuisance}"] = float((clean_N[held.nuisances == nuisance] > limit).mean())
    return found
