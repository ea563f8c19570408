"""Inference sessions that do as told, for devices this machine does not have."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from gateway.contract.bundle import Bundle
from gateway.errors import RuntimeFault
from gateway.screening.sessions import CUDA, Session, open_session

if TYPE_CHECKING:
    import threading


def drawn_faces(count: int, seed: int = 5) -> NDArray[np.uint8]:
    """Return drawn pictures of the paper's size."""
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


class FakeSession:
    """A CPU session that claims to run on `provider` and can be told to break."""

    def __init__(self, real: Session, provider: str) -> None:
        self.real = real
        self.provider = provider
        self.broken = False
        self.hangs_until: threading.Event | None = None
        self.batches: list[int] = []
        self.offset = np.float32(0)

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        """Answer as the real session, shifted by `offset`; raise what onnxruntime raises once broken."""
        if self.hangs_until is not None:
            self.hangs_until.wait(20)
        if self.broken:
            raise RuntimeException("CUDA failure 700: an illegal memory access was encountered")
        self.batches.append(len(input_feed["pixels"]))
        return [self.real.run(output_names, input_feed)[0] + self.offset]

    def get_providers(self) -> list[str]:
        """Return the provider it claims."""
        return [self.provider, "CPUExecutionProvider"]


class FakeDevices:
    """Opens sessions as `open_session` does, with a GPU that `gpu` describes.

    `gpu` is called with the session about to be handed out for CUDA and may change or refuse it.
    """

    def __init__(self, gpu: Callable[[FakeSession], object]) -> None:
        self.gpu = gpu
        self.opened: dict[str, FakeSession] = {}
        self.sessions: list[FakeSession] = []

    def open(self, bundle: Bundle, provider: str, threads: int) -> Session:
        """Open a session on the CPU whatever the provider, dressed as the one asked for."""
        session = FakeSession(open_session(bundle, "CPUExecutionProvider", threads), provider)
        if provider == CUDA:
            self.gpu(session)
        self.opened[provider] = session
        self.sessions.append(session)
        return session

    def break_gpu(self) -> None:
        """Let every session that runs on the GPU now fail from now on."""
        for session in self.sessions:
            session.broken = session.broken or session.provider == CUDA


def healthy(_: FakeSession) -> None:
    """Describe a GPU that works."""


def silent_fallback(session: FakeSession) -> None:
    """Describe onnxruntime on a machine without a driver: the session opens, on the CPU."""
    session.provider = "CPUExecutionProvider"


def refusing(_: FakeSession) -> None:
    """Describe a GPU on which no session opens."""
    raise RuntimeFault("CUDA driver version is insufficient")


def miscounting(session: FakeSession) -> None:
    """Describe a GPU whose results are off."""
    session.offset = np.float32(0.1)
