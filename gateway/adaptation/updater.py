"""Brings one environment from bundle to bundle: does what `swap` commands and tells it what came of it.

Nothing here is waited for by screening. What faces the channel is tried again with a capped pause; a channel that is
away or has expired stops new bundles, never screening.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import structlog

from gateway import backoff
from gateway.adaptation import swap
from gateway.adaptation.canaries import plant
from gateway.adaptation.patience import Patience, insist
from gateway.adaptation.place import Answer, Finished, Pace, Place, Said, Seen
from gateway.adaptation.shadow import Limits, Trial
from gateway.adaptation.writes import Write, Writes
from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.requests import ModelOrder, RequestsWait
from gateway.errors import ExchangeError, ExchangeReason, LateFault, RuntimeFault, StorageError
from gateway.values import Quality

MOST_ASKED = 8
MOST_WAITING = 256
MOST_BATCHES = 16
"""Batches of faces that may wait for the bundle on trial; it is shown fewer faces where it is too slow."""

COMPARE_EVERY = 4
"""So many batches of a shadow run for each that both bundles score with planted triggers."""

FIRST_PAUSE_S = 5.0
"""Pause after the first look at the channel in vain."""

_log = structlog.get_logger()


class Updater:
    """One environment's way from bundle to bundle; one `run` for as long as the environment runs."""

    def __init__(
        self,
        environment: str,
        place: Place,
        *,
        pace: Pace,
        state: swap.Swap,
        running: Bundle,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._place = place
        self._pace = pace
        self.state = state
        self._clock = clock
        self._asked: deque[ModelOrder] = deque()
        self._is_written_on = True  # whatever happened between the look at the disk and the first one here
        self._line: deque[Seen | Finished] = deque()
        self._wake = asyncio.Event()
        self._candidate: Bundle | None = running if state.phase == "probation" else None
        self._trial = self._new_trial(running, pace.probation) if state.phase == "probation" else None
        self._poll_at_s = clock()
        self._look_at_s = float("inf")
        self._offered, self._named = Patience(), Patience()
        self._failures = 0
        self._writes = Writes(environment, clock)
        self._update: str | None = None
        self._missed_as: str | None = None
        self._reason: str | None = None
        self._refusal: str | None = None
        self._batches_seen = 0
        self._answer: Answer | None = None
        self.dropped = 0

    def ask(self, order: ModelOrder) -> None:
        """Take what the operator wants; never waits.

        Raises:
            RequestsWait: Too much is wanted already; that is told as the answer too.
        """
        if len(self._asked) >= MOST_ASKED:
            full = RequestsWait(f"{MOST_ASKED} orders for {self._environment} wait already; ask again in a moment")
            self._answer = Answer(order, str(full))
            self._show()
            raise full
        self._asked.append(order)
        self._wake.set()

    def look(self) -> None:
        """Look at the disk soon: somebody wrote on it; never waits."""
        self._is_written_on = True
        self._wake.set()

    def on_seen(self, seen: Seen) -> None:
        """Take a batch; never waits, and where too many wait it is dropped and counted."""
        if self._trial is None:
            return
        batches = sum(isinstance(each, Seen) for each in self._line)
        if batches >= MOST_BATCHES or len(self._line) >= MOST_WAITING:
            self.dropped += 1
            return
        self._line.append(seen)
        self._wake.set()

    def on_finished(self, finished: Finished) -> None:
        """Take the end of a track; never waits."""
        if self._trial is not None and len(self._line) < MOST_WAITING:
            self._line.append(finished)
            self._wake.set()

    async def run(self) -> None:
        """Go on for ever."""
        self._show()
        while True:
            await self._rest()
            if self._clock() >= self._writes.due_s and await self._writes.go_on():
                self._wake.set()  # somebody else may have written meanwhile
            while self._asked:
                await self._obey(self._asked.popleft())
            if self._clock() >= self._look_at_s:
                self._look_at_s, self._is_written_on = float("inf"), True
            if self._is_written_on:
                await self._look_at_disk()
            await self._look()
            await self._judge()
            if self._clock() >= self._poll_at_s:
                await self._poll()

    async def _rest(self) -> None:
        due_s = max(0.0, min(self._poll_at_s, self._look_at_s, self._writes.due_s) - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(due_s):
                await self._wake.wait()
            self._wake.clear()

    async def _poll(self) -> None:
        self._poll_at_s = self._clock() + self._pace.poll_s
        if self.state.phase != "steady" or self.state.is_pinned or self._writes:
            return  # the disk may still name a bundle that was denied
        try:
            offered = await self._place.newest()
        except (ExchangeError, BundleError, StorageError) as error:
            self._missed(error)
            return
        if offered != self._offered.sha256:
            self._offered.forget()
        self._found()
        if offered is not None and self._offered.allows(offered, self._clock()):
            await self._take(swap.Offered(offered))

    async def _obey(self, order: ModelOrder) -> None:
        """Do what the operator wants, and say what came of it."""
        self._refusal = None
        try:
            if order.what == "rollback":
                await self._place.check_before()
                await self._take(swap.RollBack())
            else:
                await self._place.choose(order.version)
                self._named.forget()
                await self._look_at_disk()
        except (BundleError, StorageError) as error:
            self._refusal = str(error)
        self._answer = Answer(order, self._refusal)
        self._show()

    async def _look_at_disk(self) -> None:
        """Follow what somebody else wrote on it; not before what is to be written here stands there too."""
        if self._writes:
            return
        self._is_written_on = False
        try:
            named = await self._place.named()
        except BundleError as error:
            _log.error("model_damaged", environment=self._environment, reason=str(error))
            return
        if named is None or (named.is_running and named.is_pinned == self.state.is_pinned):
            return  # it is what was written here
        if named.is_running or self._named.allows(named.sha256, self._clock()):
            await self._take(named)

    async def _look(self) -> None:
        """Let the bundle on trial see what waits; what comes meanwhile waits for the next turn, or none would end."""
        for _ in range(len(self._line)):
            if self._trial is None:
                return
            item = self._line.popleft()
            if isinstance(item, Finished):
                self._finish(self._trial, item)
            else:
                await self._see(self._trial, item)

    async def _see(self, trial: Trial, seen: Seen) -> None:
        if self.state.phase == "shadow":
            try:
                scores = [float(score) for score in await self._place.score(seen.pixels_NYXC)]
                await self._compare(trial, seen)
            except LateFault as error:
                if self.state.candidate is not None:
                    await self._take(self._late(self._offered, self.state.candidate, error))
                return
            except RuntimeFault as error:
                trial.fail(f"it cannot score faces: {error}")
                return
        else:
            scores = [screening.score for screening in seen.screenings]
        for screening, score in zip(seen.screenings, scores, strict=True):
            is_usable = screening.quality is Quality.USABLE
            if self.state.phase == "probation" and screening.quality is Quality.UNSCORED:
                trial.fail("it gave a face no score")
            trial.see(screening.camera, screening.track_id, score, is_usable=is_usable)

    async def _compare(self, trial: Trial, seen: Seen) -> None:
        """Now and then plant triggers into what was seen, and see what both bundles make of them."""
        self._batches_seen += 1
        if self._batches_seen % COMPARE_EVERY == 0:
            turn = self._batches_seen // COMPARE_EVERY
            compared = await self._place.compare(await asyncio.to_thread(plant, seen.pixels_NYXC, turn))
            if compared is not None:
                trial.compare(compared)

    def _finish(self, trial: Trial, item: Finished) -> None:
        in_shadow = self.state.phase == "shadow"
        is_flagged = in_shadow and item.alert_id is not None
        statistic = trial.finish(
            item.camera,
            item.track_id,
            faces_seen=item.faces_seen,
            is_flagged=is_flagged,
            in_use=item.statistic if in_shadow else None,
        )
        if statistic is not None and in_shadow:
            self._place.learn(item.camera, statistic, item.alert_id)

    async def _judge(self) -> None:
        trial, sha256 = self._trial, self.state.candidate
        if trial is None or sha256 is None:
            return
        outcome = trial.outcome(self._clock(), has_drifted=self._place.has_drifted())
        if outcome is not None:
            await self._take(swap.Passed(sha256) if outcome.passed else swap.Failed(sha256, outcome.reason))

    async def _take(self, event: swap.Event) -> None:
        """Do what follows from an event, and from what comes of that."""
        events: deque[swap.Event] = deque([event])
        while events:
            self.state, commands = swap.advance(self.state, events.popleft())
            for command in commands:
                follows = await self._do(command)
                events += [] if follows is None else [follows]
            self._show()

    async def _do(self, command: swap.Command) -> swap.Event | None:
        _log.info("model_step", environment=self._environment, said=type(command).__name__.lower())
        match command:
            case swap.Stage(sha256):
                return await self._stage(sha256)
            case swap.Shadow() if self._candidate is not None:
                self._trial = self._new_trial(self._candidate, self._pace.shadow)
            case swap.Activate(sha256):
                return await self._activate(sha256)
            case swap.Commit(sha256):
                await self._keep(partial(self._place.commit, sha256))
            case swap.Confirm():
                self._end_trial()
                await self._keep(self._place.confirm)
            case swap.Deny(sha256, reason):
                await self._deny(sha256, reason)
            case swap.Follow(sha256):
                return await self._follow(sha256)
            case swap.Discard():
                self._end_trial()
                self._place.discard()
            case swap.Restore(reason, is_pinned):
                return await self._restore(reason, is_pinned=is_pinned)
        return None

    async def _keep(self, write: Write) -> None:
        """Have something written down, in order; a disk that takes nothing delays that and nothing else."""
        if await self._writes.add(write):
            self._wake.set()  # somebody else may have written meanwhile

    async def _stage(self, sha256: str) -> swap.Event:
        try:
            staged = await self._place.stage(sha256)
        except LateFault as error:
            return self._late(self._offered, sha256, error)
        except (BundleError, RuntimeFault) as error:
            return swap.Failed(sha256, str(error))
        except (ExchangeError, StorageError) as error:
            self._missed(error)
            return swap.Missed(sha256)
        if staged is None:
            return swap.Missed(sha256)
        self._candidate = staged
        if sha256 == self._offered.sha256:
            self._reason = None  # that it came too late is over
        return swap.Staged(sha256)

    def _late(self, patience: Patience, sha256: str, error: LateFault) -> swap.Missed:
        """Say that time ran out, and try again later: another time, the machine may have more of it."""
        pause_s = patience.note(sha256, self._clock())
        then = "with the next start" if pause_s is None else f"again in {pause_s:g} s"
        self._refusal = self._reason = f"bundle {sha256[:12]}…: {error}; it is tried {then}"
        _log.warning("model_late", environment=self._environment, reason=self._reason, retry_s=pause_s)
        if pause_s is not None:
            self._poll_at_s = min(self._poll_at_s, self._clock() + pause_s)
            self._look_at_s = min(self._look_at_s, self._clock() + pause_s)
        return swap.Missed(sha256)

    async def _activate(self, sha256: str) -> swap.Event:
        share = 0.0 if self._trial is None else self._trial.share_in_use
        if not await self._place.activate():
            return swap.Missed(sha256)
        self._line.clear()  # what was scored until now, the bundle before has scored
        if self._candidate is not None:
            self._trial = self._new_trial(self._candidate, self._pace.probation, share)
        return swap.Activated(sha256)

    async def _follow(self, sha256: str) -> swap.Event:
        self._end_trial()
        try:
            bundle = await self._place.follow(sha256)
        except LateFault as error:
            return self._late(self._named, sha256, error)
        except (BundleError, RuntimeFault) as error:
            return swap.Failed(sha256, str(error))
        if sha256 == self._named.sha256:
            self._reason = None
        if self.state.phase == "activating":
            self._candidate, self._trial = bundle, self._new_trial(bundle, self._pace.probation)
        return swap.Followed(sha256)

    async def _deny(self, sha256: str, reason: str) -> None:
        self._end_trial()
        self._reason = self._refusal = reason
        _log.warning("model_denied", environment=self._environment, version=sha256[:12], reason=reason)
        self._place.discard()
        await self._keep(partial(self._place.deny, sha256, reason))

    async def _restore(self, reason: str, *, is_pinned: bool) -> swap.Event:
        self._end_trial()
        self._reason = reason
        try:
            undone = await insist(self._place.restore)
        except (BundleError, LateFault) as error:  # what judges goes on: there is nothing else that could
            self._reason = self._refusal = f"{reason}; but no other bundle can judge: {error}"
            _log.error("model_damaged", environment=self._environment, reason=self._reason)
            return swap.Restored()
        _log.warning("model_undone", environment=self._environment, reason=reason)
        await self._keep(partial(self._place.keep_restored, undone, reason, is_pinned=is_pinned))
        return swap.Restored()

    def _new_trial(self, bundle: Bundle, limits: Limits, expected_share: float = 0.0) -> Trial:
        calibration = bundle.calibration
        return Trial(
            calibration.rule,
            calibration.clean_tracks,
            limits,
            now_s=self._clock(),
            expected_share=expected_share,
            in_use_tracks=self._place.in_use().calibration.clean_tracks,
        )

    def _end_trial(self) -> None:
        self._trial = self._candidate = None
        self._line.clear()

    def _missed(self, error: Exception) -> None:
        """Try again later; what is the same as at the last try is not said again, on MQTT or in the log."""
        self._failures += 1
        pause_s = backoff.pause_s(self._failures, chance=0.0, first_s=FIRST_PAUSE_S, last_s=self._pace.poll_s)
        self._poll_at_s = self._clock() + pause_s
        kind = error.reason if isinstance(error, ExchangeError) else type(error).__name__
        if kind == self._missed_as:
            return
        self._missed_as = kind
        self._update = "update_stale" if kind == ExchangeReason.EXPIRED else "unreachable"
        _log.warning("update_missed", environment=self._environment, reason=str(error), retry_s=pause_s)
        self._show()

    def _found(self) -> None:
        self._failures, self._missed_as = 0, None
        ending = self._place.ending
        update = None if ending is None else "update_expires"
        if update == self._update:
            return
        self._update = update
        if ending is None:
            _log.info("update_found", environment=self._environment)
        else:
            _log.warning("update_expires", environment=self._environment, reason=ending)
        self._show()

    def _show(self) -> None:
        self._place.show(Said(self.state, self._update, self._reason, self._answer))
