"""Which faces of a drifted place may teach the detector; pure: no clock, no I/O.

An attacker passes too, and 2 % of triggered faces blind a detector that is tuned on them. So one face of a track and
few of a time are taken, only tracks that were found clean. Of those the most suspicious third never teaches, though it
calibrates, and faces that share a pattern at one place do neither: people differ, a trigger does not.

N faces, Y/X pixel row/column, P places, V values of a patch.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to

MOST_IN_WINDOW = 5
WINDOW_S = 600.0
WANTED = 500
LEAST_SPAN_S = 2 * 3600.0
LONG_SPAN_S = 2 * 24 * 3600.0
HOLD_S = 24 * 3600.0
"""Faces wait so long before they are used: late evidence can void them."""

MOST_FACES = 640
"""Of more, as many are sent, spread over the time: the largest of them still fit into what a trainer takes at once."""

HELD_BACK = 0.3
OPERATOR_SHARE = 0.05
"""Of all faces at most so many are used on an operator's word, although their scores are high; others are not sent."""

SIDE_PX = 32
PATCH_PX = 8
STRIDE_PX = 4
LEAST_CONTRAST = 8.0
ALIKE = 0.9
LEAST_ALIKE = 3
_SHARE_ALIKE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class CleanFace:
    """A face that may be used: when and where it was seen, and the highest score of its track.

    `alert_id` is set where the track was an alert that an operator called false: such a face is not there because
    screening passed it, and it says so on its way to the trainer.
    """

    camera: str
    time_s: float
    score: float
    pixels_YXC: NDArray[np.uint8]
    alert_id: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """When and where a face was seen that is kept."""

    camera: str
    time_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Places in the sequence that was chosen from: those to tune on, and those that quarantine holds back.

    Held back are those with the highest scores, and apart from them those that share a pattern. `operator` are those to
    tune on because an operator called their alert false; more of these than `OPERATOR_SHARE` stand nowhere.
    """

    clean: tuple[int, ...]
    held_back: tuple[int, ...]
    repeated: tuple[int, ...] = ()
    operator: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a set is: `held` are enough faces that are not old enough yet, `ready` are those that may be used."""

    state: Literal["collecting", "held", "ready"]
    kept: int
    old_enough: int
    wanted: int
    lacks: str | None


class Admission:
    """Lets at most `MOST_IN_WINDOW` tracks of a camera in within `WINDOW_S`."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def admits(self, camera: str, time_s: float) -> bool:
        """Return whether a track that ends now may be kept, and count it if so."""
        times = self._times.setdefault(camera, deque(maxlen=MOST_IN_WINDOW))
        # A clock that was set back by more than a window has begun anew.
        if len(times) == MOST_IN_WINDOW and abs(time_s - times[0]) < WINDOW_S:
            return False
        times.append(time_s)
        return True


def ripe_of(kept: Sequence[Sighting], now_s: float) -> list[Sighting]:
    """Return the faces that have waited long enough."""
    return [face for face in kept if now_s - face.time_s >= HOLD_S]


def spread(ripe: Sequence[Sighting]) -> list[Sighting]:
    """Return at most `MOST_FACES` faces, evenly spread over those that are given in the order of time."""
    if len(ripe) <= MOST_FACES:
        return list(ripe)
    return [ripe[index * len(ripe) // MOST_FACES] for index in range(MOST_FACES)]


def missing(kept: Sequence[Sighting], now_s: float) -> str | None:
    """Return what a set of faces still lacks, in words; None where it may be used."""
    ripe = ripe_of(kept, now_s)
    if len(ripe) < WANTED:
        return f"{len(ripe)} of {WANTED} faces are a day old ({len(kept)} are kept)"
    span_s = max(face.time_s for face in ripe) - min(face.time_s for face in ripe)
    if span_s < LEAST_SPAN_S:
        return f"the faces are of {span_s / 3600:.1f} h; at least {LEAST_SPAN_S / 3600:g} h are needed"
    if len({face.camera for face in ripe}) < 2 and span_s < LONG_SPAN_S:
        return f"one camera's faces must be spread over {LONG_SPAN_S / 3600:g} h; these are of {span_s / 3600:.1f} h"
    return None


def progress(kept: Sequence[Sighting], now_s: float) -> Progress:
    """Return how far a set of faces is."""
    lacks = missing(kept, now_s)
    would_do = lacks is None or missing(kept, now_s + HOLD_S) is None
    state: Literal["collecting", "held", "ready"] = "ready" if lacks is None else "held" if would_do else "collecting"
    return Progress(state, len(kept), len(ripe_of(kept, now_s)), WANTED, lacks)


def choose(faces: Sequence[CleanFace]) -> Choice:
    """Return which faces are used: never the share `HELD_BACK` with the highest scores, never a repeated pattern.

    What an operator called a false alert is used whatever its score, the earliest first and few; not with a pattern.
    Of more, none calibrates: whoever may judge alerts would move the threshold. Nor do they count among the highest
    scores, where each would let one more of the others teach.
    """
    repeats = {int(place) for place in np.flatnonzero(repeated([face.pixels_YXC for face in faces]))}
    vouched = [place for place, face in enumerate(faces) if face.alert_id is not None]
    operator = [place for place in vouched if place not in repeats][: int(OPERATOR_SHARE * len(faces))]
    judged = sorted(set(range(len(faces))) - set(vouched), key=lambda place: faces[place].score)
    highest = set(judged[len(judged) - int(np.ceil(HELD_BACK * len(judged))) :])
    clean = sorted(set(judged) - highest - repeats)
    return Choice(tuple(clean), tuple(sorted(highest - repeats)), tuple(sorted(repeats)), tuple(operator))


def repeated(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Return which faces (N,) have at some place a fine pattern that several others have at the very same place."""
    found_N = np.zeros(len(pictures), bool)
    if len(pictures) <= LEAST_ALIKE:
        return found_N
    luma_NYX = np.stack([_luma(each) for each in pictures])
    padded_NYX = np.pad(luma_NYX, ((0, 0), (1, 1), (1, 1)), mode="edge")
    around_NYX = sum(padded_NYX[:, y : y + SIDE_PX, x : x + SIDE_PX] for y in range(3) for x in range(3))
    fine_NYX = luma_NYX - around_NYX / 9.0
    enough = max(LEAST_ALIKE, _SHARE_ALIKE * len(pictures))
    for y in range(0, SIDE_PX - PATCH_PX + 1, STRIDE_PX):
        for x in range(0, SIDE_PX - PATCH_PX + 1, STRIDE_PX):
            patch_NV = fine_NYX[:, y : y + PATCH_PX, x : x + PATCH_PX].reshape(len(pictures), -1)
            contrast_N = np.sqrt(np.square(patch_NV).mean(axis=1))
            unit_NV = patch_NV / np.maximum(contrast_N * PATCH_PX, 1e-6)[:, None]
            unit_NV[contrast_N < LEAST_CONTRAST] = 0.0
            found_N |= (unit_NV @ unit_NV.T > ALIKE).sum(axis=1) - 1 >= enough
    return found_N


def _luma(pixels_YXC: NDArray[np.uint8]) -> NDArray[np.float32]:
    small_YXC = reduce_to(pixels_YXC, SIDE_PX) if pixels_YXC.shape[0] > SIDE_PX else pixels_YXC
    return np.asarray(small_YXC.astype(np.float32).mean(axis=2))
