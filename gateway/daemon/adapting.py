"""Drift of the cameras in service: what screening shows is measured aside, kept on the disk and said on MQTT.

A camera is watched under the weights that judge it: new ones were made for what is new, so learning begins again.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.adaptation.drift import TEST_EVERY, Change, Finding, Sample, Watch
from gateway.adaptation.features import frequency_features
from gateway.adaptation.memory import from_text, to_text
from gateway.contract import messages
from gateway.contract.messages import CameraDrift, DriftChange, DriftState, ModelIdentity
from gateway.contract.topics import Topics
from gateway.errors import StorageError
from gateway.screening import decide
from gateway.values import Quality, Screening, TrackedFace

FACES_OF_A_TRACK = 8
MAX_WAITING = 256
"""Batches and ends of tracks that may wait to be measured; more are left out, which costs samples alone."""

MAX_OPEN_TRACKS = 1024
_MARKER = "drift:"

_log = structlog.get_logger()

# N faces, Y/X pixel row/column, C colour (R, G, B), F feature.


class Shown(Protocol):
    """What subscribers see; `postman.Postman` is one."""

    def show(self, topic: str, payload: bytes) -> None:
        """Keep this word for whoever comes."""

    def clear(self, topic: str) -> None:
        """Take a word back."""


class Markers(Protocol):
    """Facts that outlive a restart; `storage.tables.MarkerTable` is one."""

    async def set(self, name: str, value: str | None) -> None:
        """Keep a fact; None forgets it."""

    async def all(self) -> dict[str, str]:
        """Return every fact."""


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """Faces of a batch that are to be measured, with the track of each and its score."""

    tracks: tuple[tuple[str, int], ...]
    pixels_NYXC: NDArray[np.uint8]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _End:
    """A track is over."""

    camera: str
    environment: str
    track_id: int
    time_s: float
    sha256: str
    """The weights by which it was scored."""


@dataclass(slots=True)
class _Track:
    features: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Camera:
    """A camera's watch under the weights `sha256`; `since_s` is when its state began."""

    environment: str
    sha256: str
    watch: Watch
    since_s: float
    is_kept: bool = True


class Adapting:
    """Watches every camera for drift; a `Witness` of screening, and one `run` for the daemon.

    `model_of` returns the weights that judge an environment now.
    """

    def __init__(
        self, shown: Shown, topics: Topics, markers: Markers, *, model_of: Callable[[str], ModelIdentity | None]
    ) -> None:
        self._shown = shown
        self._topics = topics
        self._markers = markers
        self._model_of = model_of
        self._waiting: deque[_Faces | _End] = deque()
        self._changed = asyncio.Event()
        self._taken: OrderedDict[tuple[str, int], tuple[int, str]] = OrderedDict()
        self._tracks: OrderedDict[tuple[str, int], _Track] = OrderedDict()
        self._environments: dict[str, str] = {}
        self._cameras: dict[str, _Camera] = {}
        self.dropped = 0

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Let the first usable faces of each track be measured."""
        model = self._model_of(environment)
        if model is None:
            return
        chosen = [
            index
            for index, (face, screening) in enumerate(zip(faces, screenings, strict=True))
            if screening.quality is Quality.USABLE and self._is_wanted((face.crop.camera, face.track_id), model.sha256)
        ]
        if chosen:
            tracks = tuple((faces[index].crop.camera, faces[index].track_id) for index in chosen)
            scores = tuple(screenings[index].score for index in chosen)
            self._put(_Faces(tracks, pixels_NYXC[chosen], scores))

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Let a track become a sample."""
        taken = self._taken.pop((camera, verdict.track_id), None)
        if taken is not None:
            self._put(_End(camera, environment, verdict.track_id, verdict.end_time_s, taken[1]))

    @property
    def waiting(self) -> int:
        """How many batches and ends of tracks wait to be measured."""
        return len(self._waiting)

    def _is_wanted(self, track: tuple[str, int], sha256: str) -> bool:
        # The weights of its first face: a track may end when others have taken over, and mixes no two.
        taken, begun_by = self._taken.get(track, (0, sha256))
        self._taken[track] = taken + 1, begun_by
        if len(self._taken) > MAX_OPEN_TRACKS:
            self._taken.popitem(last=False)
        return taken < FACES_OF_A_TRACK

    def _put(self, item: _Faces | _End) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        self._waiting.append(item)
        self._changed.set()

    async def load(self) -> None:
        """Take up what earlier runs learnt.

        Raises:
            StorageError: The state folder cannot be read.
        """
        for name, text in (await self._markers.all()).items():
            if name.startswith(_MARKER):
                try:
                    self._cameras[name.removeprefix(_MARKER)] = await asyncio.to_thread(_camera_from, text)
                except ValueError as error:
                    _log.warning("drift_not_taken_up", camera=name.removeprefix(_MARKER), reason=str(error))

    async def know(self, cameras: Mapping[str, str]) -> None:
        """Learn which cameras there are, with their environments; what was learnt of others is forgotten."""
        gone = set(self._environments.values()) - set(cameras.values())
        self._environments = dict(cameras)
        for camera in [name for name, each in self._cameras.items() if cameras.get(name) != each.environment]:
            del self._cameras[camera]
            await self._keep(camera, None)
        for environment in gone:
            self._shown.clear(self._topics.drift_state(environment))
        for environment in sorted(set(cameras.values())):
            self._show(environment)

    async def run(self) -> None:
        """Measure what comes, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.settle()

    async def settle(self) -> None:
        """Measure what waits."""
        while self._waiting:
            match self._waiting.popleft():
                case _Faces() as faces:
                    await self._measure(faces)
                case _End() as end:
                    await self._finish(end)

    def has_drifted(self, environment: str) -> bool:
        """Return whether the pictures of a camera of this environment have changed, under the weights of now."""
        model = self._model_of(environment)
        return model is not None and any(
            (each.environment, each.sha256, each.watch.finding.state) == (environment, model.sha256, "drifted")
            for each in self._cameras.values()
        )

    async def flush(self) -> None:
        """Keep what was learnt since it was last kept."""
        for name, camera in self._cameras.items():
            if not camera.is_kept:
                await self._keep(name, camera)

    async def _measure(self, faces: _Faces) -> None:
        features_NF = await asyncio.to_thread(frequency_features, faces.pixels_NYXC)
        for key, features_F, score in zip(faces.tracks, features_NF, faces.scores, strict=True):
            track = self._tracks.setdefault(key, _Track())
            track.features.append(features_F)
            track.scores.append(score)
        while len(self._tracks) > MAX_OPEN_TRACKS:
            self._tracks.popitem(last=False)

    async def _finish(self, end: _End) -> None:
        track = self._tracks.pop((end.camera, end.track_id), None)
        model = self._model_of(end.environment)
        if track is None or model is None or self._environments.get(end.camera) != end.environment:
            return
        if end.sha256 != model.sha256:  # its scores would be part of what is usual under weights that never gave them
            return
        camera = self._cameras.get(end.camera)
        if camera is None or camera.sha256 != model.sha256:
            camera = self._cameras[end.camera] = _Camera(end.environment, model.sha256, Watch(), end.time_s)
        before = camera.watch.finding
        sample = Sample.of(np.stack(track.features), track.scores, time_s=end.time_s)
        finding = await asyncio.to_thread(camera.watch.add, sample)
        camera.is_kept = False
        if finding.state != before.state:
            camera.since_s = end.time_s
            _log.warning("drift", camera=end.camera, state=finding.state, reason=in_words(finding))
        if finding.state != before.state or finding.tracks % TEST_EVERY == 0 or finding.tracks == 1:
            self._show(end.environment)
            await self._keep(end.camera, camera)

    async def _keep(self, name: str, camera: _Camera | None) -> None:
        text = None if camera is None else await asyncio.to_thread(_text_of, camera)
        try:
            await self._markers.set(f"{_MARKER}{name}", text)
        except StorageError as error:
            _log.warning("drift_not_kept", camera=name, reason=str(error))
            return
        if camera is not None:
            camera.is_kept = True

    def _show(self, environment: str) -> None:
        model = self._model_of(environment)
        if model is None:
            return
        known = {
            name: camera
            for name, camera in sorted(self._cameras.items())
            if camera.environment == environment and camera.sha256 == model.sha256
        }
        if not known:
            self._shown.clear(self._topics.drift_state(environment))
            return
        states = {camera.watch.finding.state for camera in known.values()}
        state = DriftState(
            environment=environment,
            time=max(camera.watch.newest_at_s for camera in known.values()),
            state=next(each for each in ("drifted", "steady", "learning") if each in states),
            model=model,
            cameras=tuple(_drift_of(name, camera) for name, camera in known.items()),
        )
        self._shown.show(self._topics.drift_state(environment), messages.to_bytes(state))


def in_words(finding: Finding) -> str:
    """Return what is different in words, or what is still to be learnt."""
    if finding.state == "learning":
        return f"learning what is usual here: {finding.tracks} of {finding.wanted} passages"
    if finding.state == "steady":
        return "as it was"
    return ", ".join(_change_in_words(change) for change in finding.changes)


def _change_in_words(change: Change) -> str:
    word = change.word.replace("_", " ")
    if change.scalar == "spectrum":
        return word
    return f"{word} ({change.scalar.replace('_', ' ')} {change.before:.3g} before, {change.now:.3g} now)"


def _drift_of(name: str, camera: _Camera) -> CameraDrift:
    finding = camera.watch.finding
    return CameraDrift(
        camera=name,
        state=finding.state,
        since=camera.since_s,
        tracks=finding.tracks,
        reference_tracks=finding.wanted,
        statistic=finding.statistic,
        threshold=finding.threshold,
        causes=tuple(
            DriftChange(scalar=each.scalar, change=each.word, before=each.before, now=each.now, since=each.since_s)
            for each in finding.changes
        ),
        words=in_words(finding),
    )


def _text_of(camera: _Camera) -> str:
    facts = {"environment": camera.environment, "sha256": camera.sha256, "since_s": camera.since_s}
    return json.dumps({**facts, "watch": to_text(camera.watch)})


def _camera_from(text: str) -> _Camera:
    """Return the camera that `_text_of` wrote.

    Raises:
        ValueError: It wrote something else.
    """
    try:
        facts = json.loads(text)
        watch = from_text(facts["watch"])
        return _Camera(str(facts["environment"]), str(facts["sha256"]), watch, float(facts["since_s"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"what is kept of a camera's drift cannot be read: {error!r}") from None
