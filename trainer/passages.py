"""Passages made from stills: the clean tracks that calibrate a bundle before any camera has its own.

They are synthetic and named so wherever they count: real passages differ, which is why a camera's own tracks replace
them as soon as there are enough.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from gateway.contract.calibration import TrackRule, running_statistic
from gateway.contract.geometry import reduce_to
from trainer.data import Pictures
from trainer.network import Network, score_pixels
from trainer.optics import Picture, coded, rounded

SOURCE = (
    "synthetic passages: stills of people that training never saw, panned, zoomed, lit and coded as a camera would; "
    "one score per still for single faces"
)


@dataclass(frozen=True, slots=True)
class Views:
    """How the pictures of a passage differ: zoom first and last, light, and what a camera adds; ranges to draw from."""

    zoom_from: tuple[float, float] = (0.75, 0.95)
    zoom_to: tuple[float, float] = (0.5, 0.75)
    gain: tuple[float, float] = (0.8, 1.2)
    noise_grey: tuple[float, float] = (0.2, 1.5)
    blur_sigma: tuple[float, float] = (0.0, 0.8)
    is_coded: bool = True
    single: tuple[float, float] = (0.6, 0.9)


STILLS = Views()
"""Of photographs: the face is cut out, and light, lens and codec are still to come."""

CROPS = Views((0.9, 1.0), (0.9, 1.0), (0.95, 1.05), (0.0, 1.0), (0.0, 0.0), is_coded=False, single=(0.9, 1.0))
"""Of faces as a camera cut them: its light, lens and codec are in them. Enlarged, blurred or coded once more they would
be what it never shows, and a threshold that holds for those flags half of those it does."""


def plain_faces(stills: Pictures, *, side_px: int, seed: int, views: Views = STILLS) -> NDArray[np.uint8]:
    """Return one input of the detector per still, uint8 (N, S, S, 3): a square near the middle, only reduced."""
    draw = np.random.default_rng((seed, 1))
    share = views.single
    rows = [
        reduce_to(_square(still, float(draw.uniform(*share)), (0.5, 0.5), side_px), side_px) for still in stills.pixels
    ]
    return np.stack(rows)


def passage(
    still_YXC: Picture, *, faces: int, side_px: int, draw: np.random.Generator, views: Views = STILLS
) -> NDArray[np.uint8]:
    """Return `faces` successive inputs of the detector, uint8 (N, S, S, 3), of one walk past the camera.

    The face drifts, grows, is lit by a slowly changing light, moves a little within each exposure, and every picture is
    coded at the camera's one quality, each as far as `views` says.
    """
    zoom_from, zoom_to = draw.uniform(*views.zoom_from), draw.uniform(*views.zoom_to)
    drift_from, drift_to = draw.uniform(0.3, 0.7, 2), draw.uniform(0.3, 0.7, 2)
    gain_from, gain_to = draw.uniform(*views.gain, 2)
    quality, noise_grey = int(draw.integers(70, 98)), draw.uniform(*views.noise_grey)
    blur_sigma = draw.uniform(*views.blur_sigma)
    rows = []
    for t in np.linspace(0.0, 1.0, faces):
        place = drift_from + t * (drift_to - drift_from) + draw.normal(0, 0.02, 2)
        square_YXC = _square(still_YXC, zoom_from + t * (zoom_to - zoom_from), (place[0], place[1]), side_px)
        values_YXC = square_YXC.astype(np.float32) * (gain_from + t * (gain_to - gain_from))
        if blur_sigma > 0.3:
            values_YXC = np.asarray(cv2.GaussianBlur(values_YXC, (0, 0), blur_sigma), dtype=np.float32)
        values_YXC += noise_grey * draw.standard_normal(values_YXC.shape, dtype=np.float32)
        picture_YXC = rounded(values_YXC)
        rows.append(reduce_to(coded(picture_YXC, quality) if views.is_coded else picture_YXC, side_px))
    return np.stack(rows)


def clean_track_statistics(
    detector: Network, stills: Pictures, rule: TrackRule, *, per_still: int, seed: int, views: Views = STILLS
) -> tuple[float, ...]:
    """Return the statistics of synthetic clean passages of every still, ascending."""
    side_px = detector.profile.side_px
    statistics = []
    for index, still_YXC in enumerate(stills.pixels):
        for repeat in range(per_still):
            draw = np.random.default_rng((seed, index, repeat))
            faces_NYXC = passage(still_YXC, faces=rule.last_face, side_px=side_px, draw=draw, views=views)
            statistic = running_statistic(score_pixels(detector, faces_NYXC).tolist(), rule)
            assert statistic is not None  # noqa: S101 - a passage has at least `first_face` faces
            statistics.append(statistic)
    return tuple(sorted(statistics))


def _square(still_YXC: Picture, share: float, place: tuple[float, float], least_px: int) -> Picture:
    """Return the square of `share` of the still's side at `place` (rows, columns; shares of the slack)."""
    rows = still_YXC.shape[0]
    side = min(rows, max(least_px, round(rows * share)))
    top, left = (int(np.clip(round(part * (rows - side)), 0, rows - side)) for part in place)
    return np.ascontiguousarray(still_YXC[top : top + side, left : left + side])
