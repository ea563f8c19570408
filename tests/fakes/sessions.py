"""Inference sessions that do as told, for devices this machine does not have."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from gateway.contract.bundle import Bundle
from gateway.errors import RuntimeFault
from gateway.screening.runtime import Session, open_session


class FakeSession:
    """A CPU session that claims to run on `provider` and can be told to break."""

    def __init__(self, real: Session, provider: str) -> None:
        self.real = real
        self.provider = provider
        self.broken = False
        self.batches: list[int] = []
        self.offset = np.float32(0)

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        """Answer as the real session, shifted by `offset`; raise what onnxruntime raises once broken."""
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

    def __init__(self, gpu: Callable[[FakeSession], None]) -> None:
        self.gpu = gpu
        self.opened: dict[str, FakeSession] = {}

    def open(self, bundle: Bundle, provider: str, threads: int) -> Session:
        """Open a session on the CPU whatever the provider, dressed as the one asked for."""
        session = FakeSession(open_session(bundle, "CPUExecutionProvider", threads), provider)
        if provider == "CUDAExecutionProvider":
            self.gpu(session)
        self.opened[provider] = session
        return session


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
