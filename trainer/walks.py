"""Clean tracks that calibrate `wide` before any camera has its own: people who walk past many cameras, whole frames.

A detector that sees fine traces sees what movement, lens and H.264 leave as well: a threshold from stills that are only
cut, lit and coded one by one holds for no camera (decision 0052). Every group of people has a camera of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from gateway.contract.calibration import TrackRule, running_statistic
from gateway.contract.geometry import reduce_to
from gateway.contract.network import Profile
from trainer.data import DataError, Pictures
from trainer.network import Network, score_pixels
from trainer.optics import Picture
from trainer.passages import SOURCE, STILLS, Views, clean_track_statistics
from trainer.scenes import PEOPLE, Camera, Group, Walk
from trainer.video_codec import clip_round_trip

WALKED = (
    "synthetic passages: stills of people that training never saw, who walk past cameras of different light, lens, "
    "sensor and codec; one score per still for single faces"
)


class TrackStatistics(Protocol):
    """Makes clean tracks of stills and returns their statistics, ascending."""

    def __call__(
        self, detector: Network, stills: Pictures, rule: TrackRule, /, *, per_still: int, seed: int
    ) -> tuple[float, ...]:
        """Return `per_still` statistics of each still; the same seed gives the same."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """How clean tracks are made of stills, and what a calibration says of them."""

    statistics: TrackStatistics
    source: str


def tracks_of(profile: Profile, views: Views) -> Tracks:
    """Return how clean tracks are made for a profile: `wide` gets whole cameras, unless its faces come from one."""
    if profile.name == "wide" and views is STILLS:
        return Tracks(walked_track_statistics, WALKED)
    return Tracks(partial(clean_track_statistics, views=views), SOURCE)


def walked_track_statistics(
    detector: Network, stills: Pictures, rule: TrackRule, *, per_still: int, seed: int
) -> tuple[float, ...]:
    """Return the statistics of synthetic clean passages of every still, ascending; the same seed gives the same.

    As at the gateway, faces smaller than the detector's input are left out, and passages with too few others.

    Raises:
        CodecError: This machine's FFmpeg cannot code H.264.
        DataError: Nobody comes near enough for the detector to see as many faces as a passage takes.
    """
    side_px = detector.profile.side_px
    order = np.random.default_rng((seed, 11)).permutation(len(stills) * per_still) % len(stills)
    statistics: list[float] = []
    for number, first in enumerate(range(0, len(order), PEOPLE)):
        chosen = [stills.pixels[int(index)] for index in order[first : first + PEOPLE]]
        for faces in _walked(chosen, seed=seed, number=number):
            inputs = [reduce_to(face_YXC, side_px) for face_YXC in faces if face_YXC.shape[0] >= side_px]
            statistic = running_statistic(score_pixels(detector, np.stack(inputs)).tolist(), rule) if inputs else None
            statistics += [] if statistic is None else [statistic]
    if not statistics:
        raise DataError(
            f"{stills.name}: no passage has {rule.first_face} faces of {side_px} px to calibrate by; give more pictures"
        )
    return tuple(sorted(statistics))


def _walked(stills: Sequence[Picture], *, seed: int, number: int) -> list[list[Picture]]:
    """Return the faces of a group of people as a camera of their own sees them, person by person."""
    draw = np.random.default_rng((seed, 12, number))
    camera = Camera.drawn(int(draw.integers(2**31)))
    group = Group([Walk(still_YXC) for still_YXC in stills], camera, draw)
    return group.faces(clip_round_trip(list(group.scenes()), crf=camera.crf))
