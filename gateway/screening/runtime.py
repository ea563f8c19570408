"""The one thread in which every bundle's session runs, on the GPU where it works and on the warm CPU where it does not.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle
from gateway.errors import ConfigError, LateFault, RuntimeFault, ScoreFault
from gateway.screening.hangs import Hangs, NoHangs
from gateway.screening.measured import Measured
from gateway.screening.sessions import (
    ONNXRUNTIME_ERRORS,
    Device,
    OpenSession,
    Session,
    open_on_cpu,
    open_on_gpu,
    open_session,
    run_in_buckets,
)

_log = structlog.get_logger()

FIRST_PAUSE_S = 60.0
"""Time on the CPU before the GPU is tried again; it doubles with each try in vain and each GPU that soon fails anew."""

LONGEST_PAUSE_S = 600.0

LASTING_S = 600.0
"""A GPU that worked this long counts as sound: what came before is forgotten."""


NOTICED_LATE_S = 0.2
"""A deadline that is noticed so late is given a second time: a machine that was paused has no GPU that hangs."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Longest wait for one batch on either device, and for a session to open.

    A session that hangs cannot be stopped, only left behind with its process.
    """

    gpu_s: float
    cpu_s: float
    open_s: float = 30.0


PATIENT = Deadlines(gpu_s=30.0, cpu_s=30.0)
"""For recordings, which lose nothing while they wait."""

LIVE = Deadlines(gpu_s=1.0, cpu_s=10.0)
"""For cameras. A batch takes the GPU milliseconds; a CPU may be busy with other things for a while."""


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Where screening runs, against what was asked; `reason` says why it is not the GPU, or is empty.

    `lost` is a GPU that was in use and failed, in this run or the last.
    """

    asked: Device
    got: Literal["cpu", "cuda"]
    reason: str
    lost: bool = False

    @property
    def degraded(self) -> bool:
        """A GPU was asked for by name or was in use, and is not used now."""
        return self.got != "cuda" and (self.asked == "cuda" or self.lost)

    def in_words(self) -> str:
        """Return where screening runs, and why not on the GPU, as a line for the operator."""
        if self.got == "cuda":
            return "screening on the GPU"
        return f"screening on the CPU{f': {self.reason}' if self.reason else ''}"


def check_device(device: Device, report: DeviceReport) -> None:
    """Refuse to go on where a GPU was demanded on the command line and is not to be had.

    Raises:
        ConfigError: `cuda` was asked for and the session runs on the CPU.
    """
    if device == "cuda" and report.degraded:
        raise ConfigError(f"screening.device is cuda, but screening runs on the CPU: {report.reason}")


_Order = tuple[Callable[[], Any], Future[Any]]


def _serve(orders: "queue.SimpleQueue[_Order | None]") -> None:
    """Do the work that comes in, in order, until None comes; what it raises goes to whoever asked."""
    while (order := orders.get()) is not None:
        work, answer = order
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 (handed on, whatever it is)
                answer.set_exception(error)
        del order, work, answer  # holds no faces while it waits


class _Thread:
    """A thread that does one piece of work after another.

    It is a daemon: Python waits for any other thread when the process ends, for one that hangs without end.
    """

    def __init__(self, name: str) -> None:
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._orders,), name=name, daemon=True).start()

    async def call(self, work: Callable[[], Any], deadline_s: float) -> Any:
        """Return what the work returns.

        Raises:
            TimeoutError: There is no answer within the deadline; the work goes on, or hangs.
            Exception: What the work raises.
        """
        answer: Future[Any] = Future()
        self._orders.put((work, answer))
        waiting = asyncio.wrap_future(answer)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            # Not `wait_for`: an answer that came while the loop itself was held up is an answer.
            await asyncio.wait([waiting], timeout=deadline_s)
            if loop.time() - began_s > deadline_s + NOTICED_LATE_S:  # the whole process was held up, thread included
                await asyncio.wait([waiting], timeout=deadline_s)
            if not waiting.done() and not answer.done():
                raise TimeoutError
            return await waiting
        finally:
            waiting.cancel()  # nobody waits any more for what is still to come

    def end(self) -> None:
        """Let the thread end after its work; one that hangs is left to the process's end."""
        self._orders.put(None)


@dataclass(slots=True, eq=False)
class _Sessions:
    """One bundle's sessions: the CPU's stands by, warm, while the GPU's is there."""

    bundle: Bundle
    cpu: Session
    gpu: Session | None = None
    took_s: float = 0.0


class BundleDetector:
    """Scores faces with one bundle; opened and served by an `InferenceThread`."""

    def __init__(self, inference: "InferenceThread", sessions: _Sessions) -> None:
        self.bundle = sessions.bundle
        self._inference = inference
        self._sessions = sessions

    @property
    def report(self) -> DeviceReport:
        """Where the inference thread screens."""
        return self._inference.report

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores, float32 (N,), of uint8 faces (N, S, S, 3); higher is more suspicious.

        Raises:
            RuntimeFault: The session fails on the CPU as well, does not answer in time, or scores what is no number.
        """
        return await self._inference.screen(self._sessions, pixels_NYXC)

    @property
    def took_s(self) -> float:
        """How long its newest batch took, without the wait for its turn."""
        return self._sessions.took_s

    def release(self) -> None:
        """Give the sessions back: nobody screens with this bundle any more."""
        self._inference.release(self._sessions)


class InferenceThread:
    """The one thread that screens: bundles share it, batches go in one at a time, scores come out.

    On a GPU a warm CPU session stands by; an error of the device switches every bundle to it, and `keep_on_gpu` brings
    them back. A hang ends the process where a bundle in use cannot answer, and the next one starts on the CPU, unless
    the GPU answered a batch after it.
    """

    def __init__(
        self,
        *,
        device: Device = "auto",
        threads: int = 2,
        deadlines: Deadlines = PATIENT,
        hangs: Hangs | None = None,
        opener: OpenSession = open_session,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked: Device = device
        self._threads = threads
        self._deadlines = deadlines
        self._hangs = hangs or NoHangs()
        self._opener = opener
        self._clock = clock
        self.measured = Measured()
        self._served: list[_Sessions] = []
        self._thread: _Thread | None = None
        self._is_closed = False
        self._has_hung = False
        self._turn = asyncio.Lock()
        self._tries = 0 if device == "cpu" else self._hangs.count()
        self._lost = self._tries > 0
        self._reason = "the last run ended because the GPU hung" if self._lost else "not started"
        self._gpu_since_s = clock()
        self._wanted = asyncio.Event()

    @property
    def report(self) -> DeviceReport:
        """Where screening runs, against what was asked."""
        if self._is_on_gpu():
            return DeviceReport(self._asked, "cuda", "")
        return DeviceReport(self._asked, "cpu", self._reason, self._lost)

    async def open(self, bundle: Bundle) -> BundleDetector:
        """Open, warm and self-test a bundle's sessions; batches of other bundles go on meanwhile.

        Raises:
            BundleError: The weights fail their self-test.
            LateFault: There is no session within the deadline.
            RuntimeFault: No session can be opened.
        """
        cpu: Session = await self._open_aside(partial(open_on_cpu, bundle, self._threads, self._opener), "cpu")
        sessions = _Sessions(bundle, cpu)
        if self._asked == "cpu":
            self._reason = ""
        elif not self._lost:
            work = partial(open_on_gpu, bundle, self._threads, self._opener)
            sessions.gpu, self._reason = await self._open_aside(work, "cuda")
        self._served.append(sessions)
        self._see_whether_gpu_is_wanted()
        return BundleDetector(self, sessions)

    async def screen(self, sessions: _Sessions, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do `BundleDetector.screen`."""
        self._refuse_when_closed()
        async with self._turn:  # a deadline counts from when the batch's turn has come
            self._thread = self._thread or _Thread("inference")
            device: Literal["cpu", "cuda"] = "cpu" if sessions.gpu is None else "cuda"
            deadline_s = self._deadlines.cpu_s if device == "cpu" else self._deadlines.gpu_s
            began_s = self._clock()
            try:
                scores_N: NDArray[np.float32] = await self._thread.call(
                    lambda: self._run(sessions, pixels_NYXC), deadline_s
                )
            except TimeoutError:
                raise self._hung(device, deadline_s) from None
            sessions.took_s = self._clock() - began_s
            self.measured.note(len(pixels_NYXC), took_s=sessions.took_s, device=device)
            if self._has_hung and device == "cuda" and sessions.gpu is not None:  # not left within this batch
                self._has_hung = False
                self._hangs.forget()
        self._see_whether_gpu_is_wanted()
        if not np.isfinite(scores_N).all():
            raise ScoreFault("the inference session returned scores that are not finite")
        return scores_N

    def release(self, sessions: _Sessions) -> None:
        """Do `BundleDetector.release`."""
        self._served = [each for each in self._served if each is not sessions]

    async def close(self) -> None:
        """End the thread; a batch under way is finished first, one that hangs is left to the process's end."""
        self._is_closed = True
        if self._is_on_gpu() and not self._has_hung:
            self._hangs.forget()
        if self._thread is not None:
            self._thread.end()
        self._served = []

    async def keep_on_gpu(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Go back to a GPU that failed: opened and tested off the batch path, taken between two batches.

        For ever, or until the GPU hangs while it is tried.
        """
        while True:
            await self._wanted.wait()
            await sleep(pause_s(self._tries))
            self._tries += 1
            try:
                await self._return_to_gpu()
            except TimeoutError:
                # Its thread is left behind; another try would leave another.
                self._reason = "the GPU does not answer; it is tried again after a restart"
                _log.warning("gpu_hangs", screening_on="cpu")
                return

    async def _return_to_gpu(self) -> None:
        for sessions in [each for each in self._served if each.gpu is None]:
            work = partial(open_on_gpu, sessions.bundle, self._threads, self._opener)
            gpu, reason = await self._call_aside(work)
            if gpu is None:
                self._reason = reason
                return
            async with self._turn:
                sessions.gpu = gpu
        if self._is_on_gpu():
            self._lost, self._reason, self._gpu_since_s = False, "", self._clock()
            self._wanted.clear()
            _log.info("gpu_back", screening_on="cuda")

    def _is_on_gpu(self) -> bool:
        return bool(self._served) and all(sessions.gpu is not None for sessions in self._served)

    def _see_whether_gpu_is_wanted(self) -> None:
        if self.report.degraded:
            self._wanted.set()

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise RuntimeFault("the inference thread is closed")

    async def _open_aside(self, work: Callable[[], Any], device: Literal["cpu", "cuda"]) -> Any:
        try:
            return await self._call_aside(work)
        except TimeoutError:
            raise self._hung(device, self._deadlines.open_s) from None

    async def _call_aside(self, work: Callable[[], Any]) -> Any:
        """Open a session in a thread of its own, which hangs alone where the GPU does."""
        self._refuse_when_closed()
        aside = _Thread("inference-open")
        try:
            return await aside.call(work, self._deadlines.open_s)
        finally:
            aside.end()

    def _hung(self, device: Literal["cpu", "cuda"], deadline_s: float) -> LateFault:
        """Return the fault; where it was the GPU, the next run is told, for this one may end by it.

        It need not: the fault of a bundle that is only tried is survived. A batch that the GPU answers after takes the
        word back.
        """
        if device == "cuda":
            self._has_hung = True
            self._hangs.note(1 if self._has_lasted() else self._tries + 1)
        where = "on the GPU" if device == "cuda" else "on the CPU"
        return LateFault(f"the inference session {where} gave no answer within {deadline_s:g} s")

    def _has_lasted(self) -> bool:
        return self._clock() - self._gpu_since_s >= LASTING_S

    def _run(self, sessions: _Sessions, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        if sessions.gpu is not None:
            try:
                return run_in_buckets(sessions.gpu, pixels_NYXC)
            except ONNXRUNTIME_ERRORS as error:
                self._leave_gpu(error)
        try:
            return run_in_buckets(sessions.cpu, pixels_NYXC)
        except ONNXRUNTIME_ERRORS as error:
            raise RuntimeFault(f"the inference session fails: {error}") from error

    def _leave_gpu(self, error: Exception) -> None:
        """Go to the CPU with every bundle: what broke one session of a device breaks the others."""
        for sessions in self._served:
            sessions.gpu = None
        self._tries = 0 if self._has_lasted() else self._tries
        self._lost, self._reason = True, f"the GPU failed while screening: {error}"
        _log.warning("gpu_failed", screening_on="cpu", reason=str(error))


def pause_s(tries: int) -> float:
    """Return how long to stay on the CPU after this many tries in vain."""
    return min(FIRST_PAUSE_S * 2.0**tries, LONGEST_PAUSE_S)
