"""Explanations of alerts, on demand: the most suspicious face of each is kept, sealed, until somebody asks for it.

Off unless `evidence.explanations` says otherwise: a face is personal data. Asked for, it is explained while nothing
waits for the detector, and then erased: the map that is kept instead shows nobody. The cameras' batches never wait
longer than one face takes, and faces that are to be kept never wait for an explanation.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Literal, Protocol, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.messages import ModelIdentity
from gateway.errors import RuntimeFault
from gateway.screening import decide
from gateway.screening.explain import Explanation, explain
from gateway.storage.sealed import SealedFiles
from gateway.values import Quality, Screening, TrackedFace

MAX_BYTES = 64 * 2**20
MAX_OPEN_TRACKS = 256
MAX_WAITING = 16
MAX_SHOWN = 64
IDLE_S = 0.05
"""Screening is looked at so often while it is busy."""

LONGEST_S = 120.0
"""A box that is never idle for so long explains nothing, and says so."""

SWEEP_EVERY_S = 3600.0

ModelOf = Callable[[str], ModelIdentity | None]
State = Literal["waiting", "done", "unknown", "busy", "other_model"]

_Item = TypeVar("_Item")

_log = structlog.get_logger()


class Detectors(Protocol):
    """The detectors in use; `environments.Environments` is one."""

    async def score(self, environment: str, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the detector of an environment says of faces."""

    @property
    def is_busy(self) -> bool:
        """Whether any faces wait for a detector."""


class _OtherModelError(Exception):
    """The model that judged a face is not in use any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """How it stands with an explanation: it comes once the state is `done`."""

    state: State
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """The most suspicious face of a track under way, and the model that judges it."""

    score: float
    sha256: str
    pixels_YXC: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    alert_id: str
    camera: str
    time_s: float
    environment: str
    sha256: str
    pixels_YXC: NDArray[np.uint8]


class Explaining:
    """Keeps a face of each alert and explains it when asked; a `Witness` of screening, and one `run` for the daemon."""

    def __init__(
        self,
        files: SealedFiles,
        detectors: Callable[[], Detectors],
        *,
        model_of: ModelOf,
        keep_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._files = files
        self._detectors = detectors
        self._model_of = model_of
        self._keep_s = keep_s
        self._clock = clock
        self._open: OrderedDict[tuple[str, int], _Held] = OrderedDict()
        self._to_keep: deque[_Face] = deque()
        self._asked: deque[str] = deque()
        self._told: OrderedDict[str, Told] = OrderedDict()
        self._changed = asyncio.Event()
        self._swept_at_s = float("-inf")
        self._turn = asyncio.Lock()
        self.dropped = 0

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Hold the most suspicious usable face of each track, as the detector saw it."""
        model = self._model_of(environment)
        if model is None:
            return
        for face, pixels_YXC, screening in zip(faces, pixels_NYXC, screenings, strict=True):
            key = face.crop.camera, face.track_id
            held = self._open.get(key)
            if screening.quality is Quality.USABLE and (held is None or screening.score > held.score):
                # Of the model under which the track began: it ends when another takes over.
                sha256 = model.sha256 if held is None else held.sha256
                self._open[key] = _Held(screening.score, sha256, pixels_YXC.copy())
        while len(self._open) > MAX_OPEN_TRACKS:
            self._open.popitem(last=False)

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Let the face of a track that raised an alert be kept."""
        held = self._open.pop((camera, verdict.track_id), None)
        if held is None or verdict.alert_id is None:
            return
        face = _Face(verdict.alert_id, camera, verdict.end_time_s, environment, held.sha256, held.pixels_YXC)
        if not self._put(self._to_keep, face):
            _log.warning("evidence_not_kept", camera=camera, reason=f"{MAX_WAITING} faces wait for the disk already")

    def ask(self, alert_id: str) -> Told:
        """Return the explanation of an alert, or let it be made; never waits."""
        told = self._told.get(alert_id)
        if told is not None:
            if told.state not in {"waiting", "done"}:  # asked again, it is looked for again
                del self._told[alert_id]
            return told
        if not self._put(self._asked, alert_id):
            return Told("busy")
        self._tell(alert_id, Told("waiting"))
        return Told("waiting")

    async def run(self) -> None:
        """Keep and explain what comes, and erase what is old, for ever."""
        while True:
            try:
                async with asyncio.timeout(SWEEP_EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self.settle()

    async def settle(self) -> None:
        """Do what waits."""
        await self.flush()
        while self._asked:
            await self._explain(self._asked.popleft())
            await self.flush()
        now_s = self._clock()
        if not 0.0 <= now_s - self._swept_at_s < SWEEP_EVERY_S:  # also where the clock was set back
            self._swept_at_s = now_s
            try:
                await self._in_turn(partial(self._files.forget, until_s=now_s - self._keep_s))
            except OSError as error:  # in an hour again
                _log.error("evidence_not_erased", reason=error.strerror)

    def _put(self, line: deque[_Item], item: _Item) -> bool:
        if len(line) >= MAX_WAITING:
            self.dropped += 1
            return False
        line.append(item)
        self._changed.set()
        return True

    def _tell(self, alert_id: str, told: Told) -> None:
        self._told[alert_id] = told
        self._told.move_to_end(alert_id)
        if len(self._told) > MAX_SHOWN:
            self._told.popitem(last=False)

    async def flush(self) -> None:
        """Keep the faces that wait; also beside a `run` that was cancelled while it kept one."""
        while self._to_keep:
            face = self._to_keep[0]  # it stays first in line until it is on the disk: whoever keeps it may be cancelled
            try:
                await self._keep(face)
            except OSError as error:
                self.dropped += 1
                _log.warning("evidence_not_kept", reason=error.strerror)
            if self._to_keep and self._to_keep[0] is face:
                self._to_keep.popleft()

    async def _in_turn(self, work: Callable[[], _Item]) -> _Item:
        """Do file work in a thread, one after the other, and to its end also where whoever waits is cancelled."""
        async with self._turn:
            doing = asyncio.ensure_future(asyncio.to_thread(work))
            try:
                return await asyncio.shield(doing)
            except asyncio.CancelledError:
                await asyncio.wait({doing})
                if not doing.cancelled():
                    doing.exception()  # seen: whoever does it again says what is wrong
                raise

    async def _keep(self, face: _Face) -> None:
        facts = {"environment": face.environment, "sha256": face.sha256, "side_px": face.pixels_YXC.shape[0]}
        content = json.dumps(facts).encode() + b"\n" + face.pixels_YXC.tobytes()
        place = {"kind": "face", "camera": face.camera, "time_s": face.time_s}
        if not await self._in_turn(partial(self._files.put, face.alert_id, content, **place)):  # type: ignore[arg-type]
            self.dropped += 1
            _log.warning("evidence_full", camera=face.camera)

    async def _explain(self, alert_id: str) -> None:
        kept = await self._in_turn(partial(self._files.get, alert_id, "map"))
        if kept is not None:
            await self._erase_face(alert_id)  # where an end came between the map and this
            self._tell(alert_id, Told("done", _from_bytes(kept[2])))
            return
        kept = await self._in_turn(partial(self._files.get, alert_id, "face"))
        if kept is None:
            self._tell(alert_id, Told("unknown"))
            return
        camera, time_s, content = kept
        head, _, pixels = content.partition(b"\n")
        facts = json.loads(head)
        side_px = facts["side_px"]
        pixels_YXC = np.frombuffer(pixels, np.uint8).reshape(side_px, side_px, 3)
        try:
            found = await self._explained(pixels_YXC, facts["environment"], facts["sha256"])
        except _OtherModelError:
            self._tell(alert_id, Told("other_model"))
            return
        except (TimeoutError, RuntimeFault) as error:
            _log.warning("alert_not_explained", alert_id=alert_id, reason=str(error) or "the box is never idle")
            self._tell(alert_id, Told("busy"))
            return
        self._tell(alert_id, Told("done", found))  # also where the disk does not take it
        text = json.dumps(asdict(found)).encode()
        try:
            put = partial(self._files.put, alert_id, text, kind="map", camera=camera, time_s=time_s)
            if not await self._in_turn(put):
                return
        except OSError as error:
            _log.warning("evidence_not_kept", camera=camera, reason=error.strerror)
            return
        await self._erase_face(alert_id)

    async def _erase_face(self, alert_id: str) -> None:
        try:
            await self._in_turn(partial(self._files.drop, alert_id, "face"))
        except OSError as error:
            _log.error("evidence_not_erased", reason=error.strerror)

    async def _explained(self, pixels_YXC: NDArray[np.uint8], environment: str, sha256: str) -> Explanation:
        """Explain a face by the model that judged it.

        Raises:
            _OtherModelError: Another judges the environment by now.
            TimeoutError: The box is not idle for long enough.
            RuntimeFault: The detector fails.
        """
        ends_at_s = asyncio.get_running_loop().time() + LONGEST_S

        async def wait_until_idle() -> None:
            # By its own clock: to be cancelled would leave a file half written behind.
            await self.flush()
            while self._detectors().is_busy:
                if asyncio.get_running_loop().time() >= ends_at_s:
                    raise TimeoutError
                await asyncio.sleep(IDLE_S)
                await self.flush()

        async def score(pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
            model = self._model_of(environment)  # it may change between two squares
            if model is None or model.sha256 != sha256:
                raise _OtherModelError
            return await self._detectors().score(environment, pixels_NYXC)

        return await explain(pixels_YXC, score, before_each=wait_until_idle)


def _from_bytes(content: bytes) -> Explanation:
    facts = json.loads(content)
    return Explanation(facts["score"], tuple(tuple(row) for row in facts["places"]), tuple(facts["bands"]))
