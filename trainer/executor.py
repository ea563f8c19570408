"""Where jobs run: a child process each, or Ray; the folder goes in and out, so the result is the same."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Protocol

from trainer.child import PARENT
from trainer.vault import KeyHandle

MAX_ERROR_BYTES = 4096

KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "200000000",
}
"""Has the C library (glibc) keep what a job frees: torch asks for the same large pieces thousands of times, and a third
of a job's time went into the kernel's giving them."""

YIELDS_CORES = {"GOMP_SPINCOUNT": "10000"}
"""How often one of torch's threads looks for the others before it sleeps. By itself 300,000 times, which keeps a core
busy while whoever is waited for has none: beside two busy processes, or four, fine-tuning on two cores took twice as
long. With nobody beside it the difference is lost in the noise."""


class JobFailed(Exception):
    """A job ended without a result: it is tried again. The text says how it ended."""


class Executor(Protocol):
    """Runs the job of a folder to its end; cancelling stops it."""

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Return once `result.json` is written; the handle opens the parts.

        Raises:
            JobFailed: It is not.
        """


class LocalExecutor:
    """Runs each job in a child process that does not outlive this one."""

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Run the job; the child is killed where this is cancelled."""
        await _run_child(["trainer.job_run", str(folder)], handle)


class RayExecutor:
    """Runs each job as a Ray task, driven by a child process: whatever becomes of the cluster, this one lives on."""

    def __init__(self, address: str | None, *, threads: int) -> None:
        self._address, self._threads = address, threads

    async def run(self, folder: Path, handle: KeyHandle) -> None:
        """Run the job; Ray ends the task where its driver is killed, as it is where this is cancelled."""
        address = [] if self._address is None else [self._address]
        await _run_child(["trainer.ray_job", str(folder), str(self._threads), *address], handle)


def environment_of_job() -> dict[str, str]:
    """Return the variables that a job's process starts with; an operator's own win over ours.

    They are read when a process starts or loads a library: the job cannot set them itself.
    """
    return KEEPS_MEMORY | YIELDS_CORES | os.environ | {PARENT: str(os.getpid())}


async def _run_child(module: list[str], handle: KeyHandle) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trainer.child",
        *module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment_of_job(),
    )
    try:
        _, said = await child.communicate(handle.model_dump_json().encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        last = said[-MAX_ERROR_BYTES:].decode(errors="replace").strip().rpartition("\n")[2]
        raise JobFailed(f"its process ended with {child.returncode}: {last}")
