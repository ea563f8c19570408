"""What a check found, and how checks are kept from waiting without end."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in words; `advice` says what to do about it, and is empty where all is well."""

    check: str
    level: Level
    found: str
    advice: str = ""


Check = Callable[[], Awaitable[Finding]]


def fine(check: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return that the gateway runs, but less well than it could."""
    return Finding(check, "warning", found, advice)


def failed(check: str, found: str, advice: str) -> Finding:
    """Return that something of the gateway does not work."""
    return Finding(check, "failed", found, advice)


async def examine(checks: Sequence[tuple[str, Check]], *, deadline_s: float) -> list[Finding]:
    """Return what the checks found, in their order; they run side by side, and none is waited for longer."""

    async def within(name: str, check: Check) -> Finding:
        try:
            async with asyncio.timeout(deadline_s):
                return await check()
        except TimeoutError:
            return failed(name, f"no answer within {deadline_s:g} s", "see whether a disk, a driver or a network hangs")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(within(name, check), name=f"doctor:{name}") for name, check in checks]
    return [task.result() for task in tasks]


async def in_thread(work: Callable[[], Finding]) -> Finding:
    """Do work that blocks in a thread of its own; one that hangs is left behind and ends with the process.

    Raises:
        Exception: What the work raises.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Finding] = loop.create_future()

    def settle(finding: Finding | None, error: Exception | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        elif finding is not None:
            answer.set_result(finding)

    def run() -> None:
        finding, error = None, None
        try:
            finding = work()
        except Exception as raised:  # noqa: BLE001 (handed on, whatever it is)
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, finding, error)

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await answer
