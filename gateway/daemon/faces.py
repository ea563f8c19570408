"""Where faces are in a camera's picture now, for the page that shows it: boxes, never pixels."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.contract import messages
from gateway.screening.decide import Verdict
from gateway.service.page.pictures import Mark
from gateway.values import FaceBox, Screening, TrackedFace

FRESH_S = 1.0
"""A face that was not seen for so long is not there any more."""


@dataclass(frozen=True, slots=True)
class _Seen:
    box: FaceBox
    at_s: float


class FacesInView:
    """Implements `lane.Witness`: keeps the newest box of every track that is under way."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, dict[int, _Seen]] = {}

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Note where faces are."""
        del environment, pixels_NYXC, screenings
        now_s = self._monotonic()
        for face in faces:
            self._seen.setdefault(face.crop.camera, {})[face.track_id] = _Seen(face.crop.box, now_s)

    def on_finished(self, camera: str, environment: str, verdict: Verdict) -> None:
        """Forget a face that has gone."""
        del environment
        tracks = self._seen.get(camera, {})
        tracks.pop(verdict.track_id, None)
        if not tracks:
            self._seen.pop(camera, None)

    def marks(self, camera: str, alerts: Iterable[messages.Alert]) -> tuple[Mark, ...]:
        """Return the boxes that are fresh; a track whose alert is open is triggered."""
        triggered = {
            alert.data.track_id for alert in alerts if alert.data.camera == camera and alert.data.end_time is None
        }
        oldest_s = self._monotonic() - FRESH_S
        return tuple(
            Mark((seen.box.x1, seen.box.y1, seen.box.x2, seen.box.y2), is_triggered=track_id in triggered)
            for track_id, seen in self._seen.get(camera, {}).items()
            if seen.at_s >= oldest_s
        )
