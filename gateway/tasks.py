"""What happens when a part fails: the two policies, here and nowhere else.

A part that faces the world (a camera, the broker) names the errors by which the world shows; after each of them it is
begun again, for ever. Anything else, from any part, is our own fault: it is logged and ends the process, which its
supervisor starts again. A part says itself why the world failed it; this module would only repeat it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

_log = structlog.get_logger()

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Retry:
    """Begin again after any of `errors`, when `pause_s` of that error has passed."""

    errors: tuple[type[Exception], ...]
    pause_s: Callable[[Exception], float]


NEVER = Retry((), lambda _: 0.0)


async def supervise(
    name: str, work: Callable[[], Awaitable[None]], *, retry: Retry = NEVER, sleep: Sleep = asyncio.sleep
) -> None:
    """Run a part until it returns; with `retry` as often as that takes.

    Raises:
        Exception: Whatever the part raises that is not to be retried.
    """
    while True:
        try:
            return await work()
        except retry.errors as error:
            pause_s = retry.pause_s(error)
        except Exception as error:
            _log.critical("part_failed", part=name, error=type(error).__name__, reason=str(error), exc_info=True)
            raise
        await sleep(pause_s)
