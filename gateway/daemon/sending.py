"""Clean sets on their way: brought to the trainer when there are enough faces, and their jobs followed to the end.

What is under way stands on the disk before it begins: after a restart the very same set goes on, and its job is
followed. An environment has one set under way at a time.
"""

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Literal

import httpx2
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import Progress, Sighting, choose, missing, progress, ripe_of, spread
from gateway.adaptation.upload import job, pack, upload
from gateway.contract import messages
from gateway.contract.exchange import JobState, JobView
from gateway.daemon.adapting import Markers
from gateway.errors import ExchangeError, ExchangeReason, StorageError
from gateway.settings import AdaptationSettings

LOOK_EVERY_S = 600.0
MOST_WORDS = 500
TIMEOUT_S = 30.0
FORGOTTEN = "the trainer knows nothing of this job any more"
_MARKER = "clean-set:"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Road:
    """Who is where, where there is drift, who is told how the trainer stands, and what outlives a restart."""

    environment_of: Callable[[], Mapping[str, str]]
    has_drifted: Callable[[str], bool]
    show: Callable[[messages.TrainerState], None]
    markers: Markers


class _UnderWay(BaseModel):
    """A set of the faces up to this time, and its job once the trainer has all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    until_s: float
    job: JobView | None = None


class Sending:
    """Brings clean sets to the trainer; `look` and `follow` may be called at any time, from one task."""

    def __init__(
        self,
        sets: CleanSets,
        settings: AdaptationSettings,
        road: Road,
        *,
        client_id: str,
        clock: Callable[[], float],
    ) -> None:
        self._sets = sets
        self._settings = settings
        self._road = road
        self._client_id = client_id
        self._clock = clock
        self._looked_at_s: float | None = None
        self._under_way: dict[str, _UnderWay] = {}
        self._progress: dict[str, Progress] = {}
        self._said: messages.TrainerState | None = None
        self._state: Literal["idle", "online", "away", "refused"] = "idle"
        self._reason: str | None = None
        self._unsent: dict[str, str] = {}  # why, where that was logged

    async def load(self) -> None:
        """Take up what was under way when the gateway ended, and tell it."""
        try:
            known = await self._road.markers.all()
        except StorageError as error:
            _log.warning("clean_sets_not_taken_up", reason=str(error))
            known = {}
        for name, text in known.items():
            if name.startswith(_MARKER):
                try:
                    self._under_way[name.removeprefix(_MARKER)] = _UnderWay.model_validate_json(text)
                except ValidationError:
                    _log.warning("clean_sets_not_taken_up", reason=f"{name} is damaged")
        self._show()

    @property
    def open_jobs(self) -> list[str]:
        """The environments whose job has not ended."""
        return sorted(name for name, job_ in self._jobs.items() if not job_.state.is_final)

    @property
    def _jobs(self) -> dict[str, JobView]:
        return {name: each.job for name, each in self._under_way.items() if each.job is not None}

    async def look(self) -> None:
        """Erase what is old and send what is enough, every ten minutes."""
        now_s = self._clock()
        # A clock that was set back is no reason to look at nothing until it has caught up.
        if self._looked_at_s is not None and 0.0 <= now_s - self._looked_at_s < LOOK_EVERY_S:
            return
        self._looked_at_s = now_s
        try:
            await asyncio.to_thread(self._sets.sweep, now_s)
            cameras = self._road.environment_of()
            environments = sorted(set(cameras.values()))
            for gone in set(self._under_way) - set(environments):
                await self._note(gone, None)
            self._progress = {}
            for environment in environments:
                here = frozenset(name for name, where in cameras.items() if where == environment)
                if self._road.has_drifted(environment):
                    await self._send(environment, here, now_s)
        except OSError as error:
            _log.warning("clean_faces_not_read", reason=error.strerror)
        self._show()

    async def follow(self) -> None:
        """Ask the trainer for every job that has not ended, and tell how they stand."""
        for environment in self.open_jobs:
            before = self._under_way[environment]
            if before.job is None:
                continue
            try:
                async with self._trainer() as client:
                    view = await job(client, before.job.job)
            except ExchangeError:
                return  # what is wrong was told
            if view is None:
                view = before.job.model_copy(update={"state": JobState.CANCELLED, "reason": FORGOTTEN})
            if view.state is not before.job.state:
                words = None if view.reason is None else view.reason[:MOST_WORDS]
                _log.info("job_state", environment=environment, job=view.job, state=view.state.value, reason=words)
            await self._note(environment, _UnderWay(until_s=before.until_s, job=view))
            self._show("online")

    async def _send(self, environment: str, cameras: frozenset[str], now_s: float) -> None:
        """Send a set where there are enough faces: the one that was begun, where there is such a one."""
        kept = await asyncio.to_thread(self._sets.sightings, cameras)
        under_way = self._under_way.get(environment)
        if under_way is not None and under_way.job is not None:
            kept = await self._without_sent(kept, cameras, under_way.until_s)
        self._progress[environment] = how_far = progress(kept, now_s)
        if environment in self.open_jobs:
            return
        chosen = ripe_of(kept, now_s)
        if under_way is not None and under_way.job is None:
            chosen = [seen for seen in chosen if seen.time_s <= under_way.until_s]
        if missing(chosen, now_s) is not None:  # also where what was begun has been erased meanwhile
            _log.info("clean_faces", environment=environment, reason=how_far.lacks)
            if under_way is not None and under_way.job is None:
                await self._note(environment, None)
            return
        until_s = max(seen.time_s for seen in chosen)
        await self._note(environment, _UnderWay(until_s=until_s))
        view = await self._upload(environment, chosen)
        if view is not None:
            await self._note(environment, _UnderWay(until_s=until_s, job=view))
            kept = await self._without_sent(kept, cameras, until_s)
            self._progress[environment] = progress(kept, now_s)
            self._show("online")

    async def _without_sent(self, kept: list[Sighting], cameras: frozenset[str], until_s: float) -> list[Sighting]:
        """Erase the faces that the trainer has, and return what is kept then."""
        if all(seen.time_s > until_s for seen in kept):
            return kept
        for camera in cameras:
            await asyncio.to_thread(self._sets.forget, camera=camera, until_s=math.nextafter(until_s, math.inf))
        return await asyncio.to_thread(self._sets.sightings, cameras)

    async def _upload(self, environment: str, chosen: list[Sighting]) -> JobView | None:
        faces = await asyncio.to_thread(self._sets.faces, spread(chosen))
        choice = await asyncio.to_thread(choose, faces)
        clean_set, contents = await asyncio.to_thread(
            pack, faces, choice, gateway=self._client_id, environment=environment
        )
        try:
            async with self._trainer() as client:
                view = await upload(client, clean_set, contents)
        except ExchangeError as error:
            if self._unsent.get(environment) != str(error):  # once, and not every ten minutes while it is away
                _log.warning("clean_faces_not_sent", environment=environment, reason=str(error))
            self._unsent[environment] = str(error)
            return None
        self._unsent.pop(environment, None)
        count = len(choice.clean) + len(choice.operator)
        _log.info("clean_faces_sent", environment=environment, count=count, state=view.state.value)
        return view

    async def _note(self, environment: str, under_way: _UnderWay | None) -> None:
        """Keep what is under way, here and on the disk; a disk that takes nothing costs no more than a second job."""
        if under_way == self._under_way.get(environment):
            return
        if under_way is None:
            del self._under_way[environment]
        else:
            self._under_way[environment] = under_way
        text = None if under_way is None else under_way.model_dump_json()
        try:
            await self._road.markers.set(f"{_MARKER}{environment}", text)
        except StorageError as error:
            _log.warning("clean_set_not_noted", environment=environment, reason=str(error))

    @asynccontextmanager
    async def _trainer(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Return a client; what goes wrong is told before it is raised."""
        try:
            # Aside: the authorities of a system take tens of milliseconds to read, in which no batch would go out.
            async with await asyncio.to_thread(client_of, self._settings) as client:
                yield client
        except ExchangeError as error:
            self._show("refused" if error.reason is ExchangeReason.REFUSED else "away", str(error))
            raise
        except OSError as error:
            self._show("away", "adaptation.ca_file cannot be read")
            text = f"adaptation.ca_file cannot be read: {error.strerror}"
            raise ExchangeError(text, ExchangeReason.UNREACHABLE) from None

    def _show(
        self, state: Literal["idle", "online", "away", "refused"] | None = None, reason: str | None = None
    ) -> None:
        """Tell what is collected, how the trainer was reached and what becomes of its jobs, when that is new."""
        if state is not None:
            self._state, self._reason = state, None if reason is None else reason[:MOST_WORDS]
        said = messages.TrainerState(
            time=self._clock(),
            state=self._state,
            reason=self._reason,
            jobs=tuple(_job_of(name, view) for name, view in sorted(self._jobs.items())),
            clean_sets=tuple(_set_of(name, each) for name, each in sorted(self._progress.items())),
        )
        if self._said is None or said != self._said.model_copy(update={"time": said.time}):
            self._said = said
            self._road.show(said)


def _job_of(environment: str, view: JobView) -> messages.TrainerJob:
    reason = None if view.reason is None else view.reason[:MOST_WORDS]
    return messages.TrainerJob(
        environment=environment, job=view.job, state=view.state.value, reason=reason, version=view.version
    )


def _set_of(environment: str, how_far: Progress) -> messages.CleanSetProgress:
    return messages.CleanSetProgress(environment=environment, **asdict(how_far))


def client_of(settings: AdaptationSettings) -> httpx2.AsyncClient:
    """Return a client that shows the trainer the token, and trusts the authority that is configured."""
    context = ssl.create_default_context(cafile=None if settings.ca_file is None else str(settings.ca_file))
    token = "" if settings.token is None else settings.token.get_secret_value()
    return httpx2.AsyncClient(
        base_url=settings.trainer or "",
        headers={"authorization": f"Bearer {token}"},
        verify=context,
        timeout=TIMEOUT_S,
        trust_env=False,
    )
