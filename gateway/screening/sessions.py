"""Inference sessions: one bundle's weights on one device, warmed and self-tested before they screen.

The graph ships with the gateway and holds no weights; they come from the bundle through external initializers, so two
sessions can never share or mix them (decision 0005).

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle, BundleError
from gateway.contract.constants import graph_constants
from gateway.errors import RuntimeFault
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

Device = Literal["auto", "cpu", "cuda"]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

CUDA_OPTIONS = {
    # Memory grows by what is asked for: with doubling it creeps up for days.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    # Short mantissas may move a score by more than the self-test allows.
    "use_tf32": "0",
}

CUDA_LIBRARIES = ("cudart", "cublasLt", "cublas", "nvrtc", "curand", "cufft", "cudnn")
"""What onnxruntime's CUDA provider needs, each after what it needs itself."""

BUCKETS = (1, 8, 32, 128)
"""Batch sizes that a session ever sees: a smaller batch is filled up, so that memory and kernels stay warm."""

LARGEST_ON_CPU = 32
"""Beyond this a batch leaves the processor's cache: 128 faces at once cost a tenth more each than 32."""

SELF_TEST_TOLERANCE = 1e-3
"""Largest difference of a self-test score from the one in the bundle; processors and devices round differently."""


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
    initializers = {**graph_constants(bundle.profile), **bundle.weights}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.array(array)) for array in initializers.values()]
    options.add_external_initializers(list(initializers), values)
    template = graph_template(bundle.profile.name)
    providers = [(provider, CUDA_OPTIONS if provider == CUDA else {})]
    try:
        # Its own fallback prints, goes to the CPU once and tells nobody: ours is `runtime.InferenceThread`.
        session = onnxruntime.InferenceSession(template, options, providers=providers, enable_fallback=0)
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
    on_cpu = session.get_providers()[0] == CPU
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


def open_on_cpu(bundle: Bundle, threads: int, opener: OpenSession) -> Session:
    """Return a tested session on the CPU.

    Raises:
        BundleError: The weights fail their self-test.
        RuntimeFault: onnxruntime refuses.
    """
    session = opener(bundle, CPU, threads)
    check_self_test(session, bundle)
    return session


def load_cuda_libraries(packages: Path = Path(onnxruntime.__file__).parents[1]) -> None:
    """Load the libraries that the extra `cuda` installs: the system's loader does not look where packages lie.

    What is missing there is left to the loader. (onnxruntime's own `preload_dlls` prints what it misses.)
    """
    for name in CUDA_LIBRARIES:
        for path in sorted(packages.glob(f"nvidia/*/lib/lib{name}.so.*")):
            with suppress(OSError):
                ctypes.CDLL(str(path))


def open_on_gpu(bundle: Bundle, threads: int, opener: OpenSession) -> tuple[Session | None, str]:
    """Return a tested session on the GPU with every batch size warm, or None and why there is none."""
    if CUDA not in onnxruntime.get_available_providers():
        return None, "this onnxruntime has no CUDA support"
    load_cuda_libraries()
    try:
        session = opener(bundle, CUDA, threads)
        # The provider list names CUDA where there is none; the session then silently runs on the CPU.
        if session.get_providers()[0] != CUDA:
            return None, "no usable GPU or CUDA libraries; the extra cuda brings the libraries: pip install '.[cuda]'"
        side_px = bundle.profile.side_px
        for size in reversed(BUCKETS):  # the largest first: the smaller ones then fit into its memory
            session.run(["scores"], {"pixels": np.zeros((size, side_px, side_px, 3), np.uint8)})
        check_self_test(session, bundle)
    except GPU_ERRORS as error:
        return None, f"the GPU session fails: {error}"
    return session, ""
