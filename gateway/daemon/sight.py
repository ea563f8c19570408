"""Whether a camera shows faces that can be judged: where most who pass stay too small or blurred, nobody is watched.

Such a camera sends pictures, raises no alert and looks well. The word `quality` says that it is not.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.calibration import TrackRule
from gateway.daemon.board import Told
from gateway.screening import decide
from gateway.values import Screening, TrackedFace

PASSAGES = 50
"""So many of a camera's newest passages are looked at."""

LEAST_PASSAGES = 20
LOST_FROM, FOUND_BELOW = 0.5, 0.3
"""Shares of passages that could not be judged: above the one it is said, below the other it is over."""

LEAST_FACES = TrackRule().first_face
"""Who was seen less often could not be judged, however good the picture."""

_log = structlog.get_logger()


class Sight:
    """Watches how many of those who pass can be judged; a `Witness` of screening."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._unfit: dict[str, deque[bool]] = {}
        self._environments: dict[str, str] = {}
        self._lost: set[str] = set()

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Take a batch; single faces say nothing here."""

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Count a passage that was long enough to be judged."""
        if self._environments.setdefault(camera, environment) != environment:
            return  # judged by what no longer judges here
        if verdict.faces_seen < LEAST_FACES:
            return
        newest = self._unfit.setdefault(camera, deque(maxlen=PASSAGES))
        newest.append(verdict.reason == "quality")
        if len(newest) < LEAST_PASSAGES:
            return
        share = sum(newest) / len(newest)
        if camera in self._lost:
            self._say(camera, is_lost=share >= FOUND_BELOW)
        else:
            self._say(camera, is_lost=share > LOST_FROM)

    def know(self, cameras: Mapping[str, str], *, anew: AbstractSet[str] = frozenset()) -> None:
        """Learn which cameras there are, with their environments; what was counted of others is forgotten.

        So it is of those that are watched `anew`: with other pictures, or by a detector that may judge smaller faces.
        """
        known = self._environments.items()
        for camera in [name for name, place in known if cameras.get(name) != place or name in anew]:
            self._unfit.pop(camera, None)
            self._say(camera, is_lost=False)
        self._environments = dict(cameras)

    def _say(self, camera: str, *, is_lost: bool) -> None:
        if is_lost == (camera in self._lost):
            return
        (self._lost.add if is_lost else self._lost.discard)(camera)
        newest = self._unfit.get(camera, ())
        _log.warning("faces_not_judged", camera=camera, is_on=is_lost, count=sum(newest), tracks_known=len(newest))
        self._told.on_passages(camera, "quality", is_on=is_lost)
