"""The calibration of an environment's cameras: in memory for judging, on disk so that a restart does not begin anew."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from gateway.contract.bundle import Bundle
from gateway.daemon.teaching import Teaches, all_teach
from gateway.errors import StorageError
from gateway.screening import decide
from gateway.screening.store import CalibrationStore
from gateway.storage.tables import StoredTrack, kept_as

MAX_UNKEPT = 10_000
"""Tracks that may wait for the disk; older ones are then missing after a restart, which costs calibration alone."""

MOST_CONFIRMED = 1000
"""Confirmed alerts whose tracks are under way; a broker has a say in how many."""

_log = structlog.get_logger()


class Table(Protocol):
    """Keeps the statistics of finished tracks; `storage.tables.CalibrationTable` is one."""

    async def add(self, statistic: float, *, camera: str, environment: str, alert_id: str | None = None) -> None:
        """Keep a track."""

    async def remove(self, alert_id: str) -> None:
        """Forget the track of an alert."""


class Memory:
    """Writes what was learnt, and what was unlearnt, to the disk, aside from screening; one `run` for the daemon."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting: deque[StoredTrack | str] = deque()  # a track to keep, or the alert whose track is to go
        self._changed = asyncio.Event()
        self.dropped = 0

    def add(self, track: StoredTrack) -> None:
        """Let a track be kept; never waits."""
        self._put(track)

    def remove(self, alert_id: str) -> None:
        """Let the track of an alert be forgotten, after it was kept; never waits."""
        self._put(alert_id)

    async def run(self) -> None:
        """Write what comes, in order, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write what waits."""
        while self._waiting:
            item = self._waiting.popleft()
            try:
                await self._write(item)
            except StorageError as error:
                self.dropped += 1
                _log.warning("calibration_not_kept", reason=str(error), dropped=self.dropped)

    def _put(self, item: StoredTrack | str) -> None:
        if len(self._waiting) >= MAX_UNKEPT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(item)
        self._changed.set()

    async def _write(self, item: StoredTrack | str) -> None:
        if isinstance(item, str):
            await self._table.remove(item)
        else:
            await self._table.add(
                item.statistic, camera=item.camera, environment=item.environment, alert_id=item.alert_id
            )


class LiveCalibration:
    """Judges the tracks of an environment's cameras by their own past; every finished track of those that teach enters.

    Statistics of other weights say nothing about these, so what is kept names the weights, and what was kept under
    others is not taken up again.
    """

    def __init__(
        self,
        bundle: Bundle,
        environment: str,
        rates: Mapping[str, float],
        memory: Memory,
        *,
        teaches: Teaches = all_teach,
    ) -> None:
        self._teaches = teaches
        self._bundle = bundle
        self._environment = environment
        self._kept_as = kept_as(environment, bundle.identity.sha256)
        self._rates = rates
        self._memory = memory
        self._store = CalibrationStore()
        self._confirmed: OrderedDict[str, None] = OrderedDict()

    def take_up(self, tracks: Iterable[StoredTrack]) -> None:
        """Learn what an earlier run kept for this environment and these weights."""
        for track in tracks:
            if track.environment == self._kept_as:
                self._add(track)

    def reference(self, camera: str, environment: str) -> decide.Reference | None:
        """Return what a track that opens now is judged against."""
        return decide.choose_reference(
            asked_rate=self._rates[camera],
            camera=self._store.camera(camera),
            environment=self._store.environment(environment),
            factory=self._bundle.calibration.clean_tracks,
        )

    def learn(self, verdict: decide.Verdict, environment: str) -> None:  # noqa: ARG002  (a Protocol's)
        """Take in a finished track of a camera that teaches, and let it be kept."""
        if not self._teaches(verdict.camera):
            return
        if verdict.statistic is None or verdict.alert_id in self._confirmed:
            return
        track = StoredTrack(verdict.camera, self._kept_as, verdict.statistic, verdict.alert_id)
        was = self._level(verdict.camera)
        self._add(track)
        self._memory.add(track)
        if (now := self._level(verdict.camera)) != was:
            _log.info("calibration_changed", camera=verdict.camera, was=was, now=now, tracks_known=self.tracks)

    def _level(self, camera: str) -> str:
        """Return whose tracks decide for a camera."""
        reference = self.reference(camera, self._environment)
        return "factory" if reference is None else reference.level

    def forget(self, alert_id: str) -> bool:
        """Take out the track of an alert that was confirmed; return whether it was in."""
        return self._store.remove(alert_id)

    def confirm(self, alert_id: str) -> None:
        """Never take in the track of this alert, which is still under way."""
        self._confirmed[alert_id] = None
        if len(self._confirmed) > MOST_CONFIRMED:
            self._confirmed.popitem(last=False)

    @property
    def tracks(self) -> int:
        """How many tracks of the environment it knows."""
        return len(self._store.environment(self._environment))

    def tracks_of(self, camera: str) -> int:
        """Return how many tracks of one camera it knows."""
        return len(self._store.camera(camera))

    def _add(self, track: StoredTrack) -> None:
        self._store.add(track.statistic, camera=track.camera, environment=self._environment, alert_id=track.alert_id)
