"""The operating point of every camera: what screening does is compared with what was promised, kept, and said.

A camera is watched under the weights that judge it; new ones make a new promise, so counting begins again.
"""

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.messages import ModelIdentity, RealisedRate
from gateway.daemon.adapting import Markers
from gateway.daemon.board import Told
from gateway.errors import StorageError
from gateway.screening import decide
from gateway.screening.monitor import RateMonitor
from gateway.values import Screening, TrackedFace

KEEP_EVERY = 50
"""A camera's counts are kept on the disk after so many passages, and when its word changes."""

MAX_OPEN_TRACKS = 1024
MOST_CONFIRMED = 1000
"""Confirmed alerts whose passages are not over yet; a broker has a say in how many."""

_MARKER = "operating_point:"

_log = structlog.get_logger()


@dataclass(slots=True)
class _Camera:
    environment: str
    sha256: str
    monitor: RateMonitor
    unkept: int = 0


class _Day:
    """Passages of the last 24 hours, counted by the hour."""

    def __init__(self, now_s: float) -> None:
        self._since_s = now_s
        self._hours: deque[list[int]] = deque(maxlen=25)

    def add(self, now_s: float) -> None:
        hour = int((now_s - self._since_s) // 3600)
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append([hour, 0])
        self._hours[-1][1] += 1

    def count(self, now_s: float) -> int | None:
        """Return the number of the last 24 whole hours; None before there are so many."""
        now = int((now_s - self._since_s) // 3600)
        return sum(count for hour, count in self._hours if now - 24 <= hour < now) if now >= 24 else None


class OperatingPoints:
    """Watches every camera's rate of alerts; a `Witness` of screening, and one `run` for the daemon."""

    def __init__(
        self,
        told: Told,
        markers: Markers,
        *,
        model_of: Callable[[str], ModelIdentity | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told = told
        self._markers = markers
        self._model_of = model_of
        self._clock = clock
        self._days: dict[str, _Day] = {}
        self._cameras: dict[str, _Camera] = {}
        self._to_keep: dict[str, None] = {}
        self._confirmed: OrderedDict[str, None] = OrderedDict()
        self._judging: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._changed = asyncio.Event()

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],  # noqa: ARG002  (a Protocol's)
        screenings: Sequence[Screening],  # noqa: ARG002
    ) -> None:
        """Note by which weights a passage is judged: it may end when others have taken over."""
        model = self._model_of(environment)
        if model is None:
            return
        for face in faces:
            self._judging.setdefault((face.crop.camera, face.track_id), model.sha256)
        while len(self._judging) > MAX_OPEN_TRACKS:
            self._judging.popitem(last=False)

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Count a passage that was judged, by what its reference held."""
        model = self._model_of(environment)
        judged_by = self._judging.pop((camera, verdict.track_id), None)
        if verdict.label == "unsure" or verdict.reference is None or model is None:
            return
        now_s = self._clock()
        self._days.setdefault(camera, _Day(now_s)).add(now_s)
        if verdict.alert_id in self._confirmed or judged_by not in {None, model.sha256}:
            return  # weights that have gone promise nothing any more
        known = self._cameras.get(camera)
        if known is None or (known.environment, known.sha256) != (environment, model.sha256):
            self._begin(camera, _Camera(environment, model.sha256, RateMonitor()))
            known = self._cameras[camera]
        before = known.monitor.realised.exceeds
        known.monitor.add(verdict.reference.false_alarm_rate, verdict.alert_id)
        known.unkept += 1
        self._see(camera, known, before=before)

    def confirm(self, alert_id: str) -> None:
        """Leave an alert out of account that an operator confirmed as a trigger."""
        for camera, known in self._cameras.items():
            before = known.monitor.realised.exceeds
            if known.monitor.confirm(alert_id):
                known.unkept += KEEP_EVERY
                self._see(camera, known, before=before)
                return
        self._confirmed[alert_id] = None
        if len(self._confirmed) > MOST_CONFIRMED:
            self._confirmed.popitem(last=False)

    def realised(self, camera: str) -> RealisedRate | None:
        """Return what a camera did with its promise; None before its first judged passage."""
        known = self._cameras.get(camera)
        if known is None:
            return None
        found, day = known.monitor.realised, self._days.get(camera)
        return RealisedRate(
            tracks=found.tracks,
            promised_alerts=found.promised,
            alerts=found.alerts,
            exceeds=found.exceeds,
            last_day_tracks=None if day is None else day.count(self._clock()),
        )

    async def load(self) -> None:
        """Take up what earlier runs counted.

        Raises:
            StorageError: The state folder cannot be read.
        """
        for name, text in (await self._markers.all()).items():
            if not name.startswith(_MARKER):
                continue
            camera = name.removeprefix(_MARKER)
            try:
                facts = json.loads(text)
                monitor = RateMonitor.from_text(facts["monitor"])
                self._begin(camera, _Camera(str(facts["environment"]), str(facts["sha256"]), monitor))
            except (ValueError, KeyError, TypeError) as error:
                _log.warning("operating_point_not_taken_up", camera=camera, reason=str(error))

    async def know(self, cameras: Mapping[str, str]) -> None:
        """Learn which cameras there are, with their environments; what was counted of others is forgotten."""
        self._days = {camera: day for camera, day in self._days.items() if camera in cameras}
        for camera in [name for name, known in self._cameras.items() if cameras.get(name) != known.environment]:
            del self._cameras[camera]
            self._to_keep.pop(camera, None)
            self._told.on_passages(camera, "operating_point", is_on=False)
            await self._keep(camera, None)

    async def run(self) -> None:
        """Keep what is to be kept, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.flush(everything=False)

    async def flush(self, *, everything: bool = True) -> None:
        """Keep what was counted since it was last kept; all of it, or what is due."""
        due = [name for name, known in self._cameras.items() if known.unkept] if everything else list(self._to_keep)
        self._to_keep.clear()
        for name in due:
            known = self._cameras.get(name)
            if known is not None and await self._keep(name, known):
                known.unkept = 0

    def _begin(self, camera: str, known: _Camera) -> None:
        self._cameras[camera] = known
        self._told.on_passages(camera, "operating_point", is_on=known.monitor.realised.exceeds)

    def _see(self, camera: str, known: _Camera, *, before: bool) -> None:
        found = known.monitor.realised
        if found.exceeds != before:
            _log.warning(
                "operating_point",
                camera=camera,
                is_on=found.exceeds,
                count=found.alerts,
                promised=round(found.promised, 2),
                tracks_known=found.tracks,
            )
            self._told.on_passages(camera, "operating_point", is_on=found.exceeds)
        if found.exceeds != before or known.unkept >= KEEP_EVERY:
            self._to_keep[camera] = None
            self._changed.set()

    async def _keep(self, camera: str, known: _Camera | None) -> bool:
        facts = None
        if known is not None:
            facts = {"environment": known.environment, "sha256": known.sha256, "monitor": known.monitor.to_text()}
        try:
            await self._markers.set(f"{_MARKER}{camera}", None if facts is None else json.dumps(facts))
        except StorageError as error:
            _log.warning("operating_point_not_kept", camera=camera, reason=str(error))
            return False
        return True
