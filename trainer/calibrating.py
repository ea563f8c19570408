"""What an adapted bundle is calibrated by: faces that passed quarantine and taught nothing, and some it held back.

Quarantine holds the most suspicious faces back so that poison cannot teach. Most of them are clean, and without them
the upper end of the scores is missing: a threshold from the rest flags several times what is asked. So they calibrate,
in the share that they are of what was collected, and do not teach. Triggered ones among them would lift the threshold
above the trigger: whom the base is surer of than the middle of all its scores lets expect is left out (decision 0045).

N faces.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gateway.contract.bundle import Calibration
from gateway.contract.calibration import TrackRule
from gateway.contract.geometry import reduce_to
from trainer.data import Pictures
from trainer.network import Network, score_pixels
from trainer.passages import Views, plain_faces
from trainer.pretrain import calibrate
from trainer.walks import tracks_of

MIDDLE = (0.25, 0.65)
"""Between these shares of all scores centre and spread are read: triggered faces that the base sees lie above."""

MOST_DEVIATIONS = 2.0
"""So many spreads above the centre a score is still expected."""

LEAST_EXPECTED = 0.7
"""So many of all are expected, whatever their scores: those that quarantine passed."""


def expected_below(scores_N: NDArray[np.float32]) -> float:
    """Return the score above which few clean faces lie, as the middle of all scores tells.

    The middle is taken for that of a normal distribution. What lies above is left out and the rest looked at again, for
    many triggered faces move the middle as well.
    """
    ordered_N = np.sort(scores_N.astype(np.float64))
    count, least = len(ordered_N), int(np.ceil(LEAST_EXPECTED * len(ordered_N)))
    while True:
        share_N = (np.arange(count) + 0.5) / count
        middle_N = (share_N >= MIDDLE[0]) & (share_N <= MIDDLE[1])
        spread, centre = np.polyfit(ndtri(share_N[middle_N]), ordered_N[:count][middle_N], 1)
        limit = float(centre + MOST_DEVIATIONS * spread)
        below = max(least, int(np.searchsorted(ordered_N, limit, side="right")))
        if below >= count:
            return limit
        count = below


def expected_of(held_back: Pictures, passed: Pictures, base: Network) -> Pictures:
    """Return those held back that the base is no surer of than the middle of all collected faces lets expect."""
    if not len(held_back):
        return held_back
    scores = [_scores(base, pictures) for pictures in (passed, held_back)]
    limit = expected_below(np.concatenate(scores))
    return held_back.subset(np.flatnonzero(scores[1] <= limit).tolist(), held_back.name)


def _scores(detector: Network, pictures: Pictures) -> NDArray[np.float32]:
    side_px = detector.profile.side_px
    return score_pixels(detector, np.stack([reduce_to(each, side_px) for each in pictures.pixels]))


def calibrate_adapted(
    detector: Network, passed: Pictures, held_back: Pictures, *, held_share: float, seed: int, views: Views
) -> Calibration:
    """Return the calibration of an adapted detector.

    `passed` are faces that quarantine passed, of people who taught nothing; `held_back` some that it held back for
    their scores, which stand for `held_share` of all: as large a share of the calibration is theirs.

    Raises:
        DataError: No face that passed is large enough.
    """
    rule = TrackRule()
    found = calibrate(detector, passed, rule, seed=seed, views=views)
    if not len(held_back):
        return found
    beside = held_share / (1 - held_share)
    order = np.random.default_rng((seed, 2)).permutation(len(held_back)).tolist()
    tracks = max(1, round(beside * len(found.clean_tracks)))
    per_still = -(-tracks // len(held_back))  # as many people as there are, before one passes twice
    walking = held_back.subset(order[: max(1, tracks // per_still)], "held back")
    standing = held_back.subset(order[: max(1, round(beside * len(found.clean_faces)))], "held back")
    made = tracks_of(detector.profile, views)
    statistics = made.statistics(detector, walking, rule, per_still=per_still, seed=seed)
    faces_NYXC = plain_faces(standing, side_px=detector.profile.side_px, seed=seed, views=views)
    return Calibration(
        rule=rule,
        clean_faces=tuple(sorted([*found.clean_faces, *score_pixels(detector, faces_NYXC).tolist()])),
        clean_tracks=tuple(sorted([*found.clean_tracks, *statistics])),
        source=f"{found.source}; and {len(walking)} stills that quarantine held back",
    )
