"""The inference session and the one thread that owns it.

The graph ships with the gateway and holds no weights; they come from the bundle through external initializers, so two
sessions can never share or mix them (decision 0005).

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.spectrum import dct_matrix
from gateway.errors import ConfigError, RuntimeFault
from gateway.models.shipped import graph_template

# onnxruntime reports home by default since 1.29; the variable counts only before its first import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

onnxruntime.set_default_logger_severity(4)  # a missing CUDA library is told by `DeviceReport`, once

ONNXRUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(
        error
        for error in vars(onnxruntime_pybind11_state).values()
        if isinstance(error, type) and issubclass(error, Exception)
    ),
)
"""What a session raises: onnxruntime's own classes share no base but `Exception`, and differ between versions."""

GPU_ERRORS: tuple[type[Exception], ...] = (RuntimeFault, BundleError, *ONNXRUNTIME_ERRORS)
"""Why a GPU session is not used."""

_log = structlog.get_logger()

Device = Literal["auto", "cpu", "cuda"]

BUCKETS = (1, 8, 32, 128)
"""Batch sizes that a session ever sees: a smaller batch is filled up, so that memory and kernels stay warm."""

LARGEST_ON_CPU = 32
"""Beyond this a batch leaves the processor's cache: 128 faces at once cost a tenth more each than 32."""

SELF_TEST_TOLERANCE = 1e-3
"""Largest difference of a self-test score from the one in the bundle; processors and devices round differently."""

ANSWER_DEADLINE_S = 30.0
"""Longest wait for one batch; a session that hangs cannot be stopped, only left behind with its process."""


class Session(Protocol):
    """What this module needs of `onnxruntime.InferenceSession`."""

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        """Return the outputs for these inputs."""

    def get_providers(self) -> list[str]:
        """Return the execution providers in use, best first."""


class _OwningSession:
    """An onnxruntime session with the weights it was opened with.

    The session reads external initializers in place and does not keep the arrays behind them alive: without an owner it
    would screen with freed memory.
    """

    def __init__(self, session: Any, weights: tuple[Any, ...]) -> None:
        self._session = session
        self._weights = weights

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        outputs: list[Any] = self._session.run(output_names, input_feed)
        return outputs

    def get_providers(self) -> list[str]:
        providers: list[str] = self._session.get_providers()
        return providers


OpenSession = Callable[[Bundle, str, int], Session]


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """Where screening runs, against what was asked; `reason` says why it is not the GPU, or is empty."""

    asked: Device
    got: Literal["cpu", "cuda"]
    reason: str

    @property
    def degraded(self) -> bool:
        """A GPU was asked for by name and is not used."""
        return self.asked == "cuda" and self.got != "cuda"

    def in_words(self) -> str:
        """Return where screening runs, and why not on the GPU, as a line for the operator."""
        if self.got == "cuda":
            return "screening on the GPU"
        return f"screening on the CPU{f': {self.reason}' if self.reason else ''}"


def open_session(bundle: Bundle, provider: str, threads: int) -> Session:
    """Open a session of the profile's graph with the bundle's weights on one execution provider.

    Raises:
        RuntimeFault: onnxruntime refuses; the text is its own.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    dct_UY = dct_matrix(bundle.profile.side_px)
    initializers = {"dct": dct_UY, "dct_transposed": np.ascontiguousarray(dct_UY.T), **bundle.weights}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array)) for array in initializers.values()]
    options.add_external_initializers(list(initializers), values)
    template = graph_template(bundle.profile.name)
    try:
        session = onnxruntime.InferenceSession(template, options, providers=[provider])
    except ONNXRUNTIME_ERRORS as error:
        raise RuntimeFault(f"{bundle.folder}: onnxruntime cannot open it on {provider}: {error}") from error
    return _OwningSession(session, tuple(values))


def check_self_test(session: Session, bundle: Bundle) -> None:
    """Compare the session's scores of the bundle's self-test pictures with the bundle's.

    Raises:
        BundleError: They differ by more than `SELF_TEST_TOLERANCE`: the weights do here not what they did in training.
    """
    pixels_NYXC, expected_N = bundle.self_test
    scores_N = run_in_buckets(session, pixels_NYXC)
    worst = float(np.abs(scores_N - expected_N).max())
    if not worst <= SELF_TEST_TOLERANCE:
        raise BundleError(f"{bundle.folder}: self-test scores differ by {worst:.2g}, allowed is {SELF_TEST_TOLERANCE}")


def run_in_buckets(session: Session, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the scores, shape (N,), of any number of faces, in batches of fixed sizes."""
    on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
    buckets = tuple(size for size in BUCKETS if not on_cpu or size <= LARGEST_ON_CPU)
    parts: list[NDArray[np.float32]] = []
    start = 0
    while start < len(pixels_NYXC):
        rest = len(pixels_NYXC) - start
        bucket = next((size for size in buckets if size >= rest), buckets[-1])
        batch_NYXC = pixels_NYXC[start : start + bucket]
        if len(batch_NYXC) < bucket:
            filled_NYXC = np.zeros((bucket, *pixels_NYXC.shape[1:]), np.uint8)
            filled_NYXC[: len(batch_NYXC)] = batch_NYXC
        else:
            filled_NYXC = np.ascontiguousarray(batch_NYXC)
        scores_N = session.run(["scores"], {"pixels": filled_NYXC})[0]
        parts.append(scores_N[: len(batch_NYXC)])
        start += bucket
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


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


class InferenceThread:
    """The one thread that holds the session: batches go in one at a time, scores come out.

    On a GPU a warm CPU session stands by; an error of the device switches to it for good and says so in `report`.
    """

    def __init__(
        self, bundle: Bundle, *, device: Device = "auto", threads: int = 2, opener: OpenSession = open_session
    ) -> None:
        self.bundle = bundle
        self.report = DeviceReport(device, "cpu", "not started")
        self._threads = threads
        self._opener = opener
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._active: Session | None = None
        self._standby: Session | None = None

    async def start(self) -> DeviceReport:
        """Open, warm and self-test the session; return where it runs.

        Raises:
            BundleError: The weights fail their self-test.
            RuntimeFault: No session can be opened.
        """
        self.report = await self._call(self._open)
        return self.report

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores, float32 (N,), of uint8 faces (N, S, S, 3); higher is more suspicious.

        Raises:
            RuntimeFault: The session fails on the CPU as well, or does not answer in `ANSWER_DEADLINE_S`.
        """
        scores_N: NDArray[np.float32] = await self._call(lambda: self._run(pixels_NYXC))
        if not np.isfinite(scores_N).all():
            raise RuntimeFault("the inference session returned scores that are not finite")
        return scores_N

    async def close(self) -> None:
        """End the thread; a batch under way is finished first, one that hangs is left to the process's end."""
        self._is_closed = True
        self._orders.put(None)
        self._active = self._standby = None

    async def _call(self, work: Callable[[], Any]) -> Any:
        if self._is_closed:
            raise RuntimeFault("the inference thread is closed")
        if self._thread is None:
            # A daemon: Python waits for any other thread when the process ends, for one that hangs without end.
            self._thread = threading.Thread(target=_serve, args=(self._orders,), name="inference", daemon=True)
            self._thread.start()
        answer: Future[Any] = Future()
        self._orders.put((work, answer))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_DEADLINE_S)
        except TimeoutError:
            raise RuntimeFault(f"the inference session gave no answer within {ANSWER_DEADLINE_S:.0f} s") from None

    def _open(self) -> DeviceReport:
        cpu = self._opener(self.bundle, "CPUExecutionProvider", self._threads)
        check_self_test(cpu, self.bundle)
        self._active = cpu
        if self.report.asked == "cpu":
            return DeviceReport("cpu", "cpu", "")
        gpu, reason = self._open_gpu()
        if gpu is None:
            return DeviceReport(self.report.asked, "cpu", reason)
        self._active, self._standby = gpu, cpu
        return DeviceReport(self.report.asked, "cuda", "")

    def _open_gpu(self) -> tuple[Session | None, str]:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            return None, "this onnxruntime has no CUDA support"
        try:
            gpu = self._opener(self.bundle, "CUDAExecutionProvider", self._threads)
            # The provider list names CUDA where there is none; the session then silently runs on the CPU.
            if gpu.get_providers()[0] != "CUDAExecutionProvider":
                return None, "no usable GPU or CUDA libraries; pip install 'spectragate[cuda]' brings the libraries"
            check_self_test(gpu, self.bundle)
            for size in BUCKETS:
                side_px = self.bundle.profile.side_px
                gpu.run(["scores"], {"pixels": np.zeros((size, side_px, side_px, 3), np.uint8)})
        except GPU_ERRORS as error:
            return None, f"the GPU session fails: {error}"
        return gpu, ""

    def _run(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._active is None:
            raise RuntimeFault("screening was asked for before the inference thread was started")
        try:
            return run_in_buckets(self._active, pixels_NYXC)
        except ONNXRUNTIME_ERRORS as error:
            if self._standby is None:
                raise RuntimeFault(f"the inference session fails: {error}") from error
            self._active, self._standby = self._standby, None
            self.report = DeviceReport(self.report.asked, "cpu", f"the GPU failed while screening: {error}")
            _log.warning("gpu_failed", screening_on="cpu", reason=str(error))
            return run_in_buckets(self._active, pixels_NYXC)


def check_device(device: Device, report: DeviceReport) -> None:
    """Refuse to go on where a GPU was demanded on the command line and is not to be had.

    Raises:
        ConfigError: `cuda` was asked for and the session runs on the CPU.
    """
    if device == "cuda" and report.degraded:
        raise ConfigError(f"screening.device is cuda, but screening runs on the CPU: {report.reason}")
