"""Deadlines for what other processes say, which do not run out because this one stood still.

A machine may be paused for seconds (a snapshot of it, a processor that others use up), and then everything is late at
once. What was sent meanwhile is there a moment later, so a deadline that is noticed late is given that moment.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

NOTICED_LATE_S = 0.5
MOMENT_S = 1.0

_Result = TypeVar("_Result")


async def within(deadline_s: float, wait: Callable[[], Awaitable[_Result]]) -> _Result:
    """Return what is waited for; `wait` is called again after a stand-still and goes on where it was cancelled.

    Raises:
        TimeoutError: It did not come in time.
        Exception: What `wait` raises.
    """
    loop = asyncio.get_running_loop()
    due_s = loop.time() + deadline_s
    try:
        async with asyncio.timeout_at(due_s):
            return await wait()
    except TimeoutError:
        if loop.time() < due_s + NOTICED_LATE_S:
            raise
    async with asyncio.timeout(MOMENT_S):
        return await wait()
