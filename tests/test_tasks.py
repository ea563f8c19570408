"""The two failure policies: the world is tried again for ever, our own fault ends the process."""

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from gateway.errors import DeliveryError, RuntimeFault, SourceError
from gateway.tasks import NEVER, Retry, supervise


class Script:
    """A part that raises what it is told, one after the other, and then returns."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.begun = 0

    async def work(self) -> None:
        """Fail as told."""
        self.begun += 1
        if self.failures:
            raise self.failures.pop(0)


def noted(pauses: list[float]) -> Callable[[float], "asyncio.Future[None]"]:
    """Return a sleep that only notes how long it should have been."""

    def sleep(pause_s: float) -> "asyncio.Future[None]":
        pauses.append(pause_s)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    return sleep


async def test_world_is_tried_again_for_ever() -> None:
    """After each named error the part begins again, when the pause asked for that error has passed."""
    pauses: list[float] = []
    script = Script(*(SourceError(f"{number}") for number in range(1000)))
    retry = Retry((SourceError, DeliveryError), lambda error: float(str(error)))
    await supervise("camera:gate", script.work, retry=retry, sleep=noted(pauses))
    assert script.begun == 1001
    assert pauses == [float(number) for number in range(1000)]


async def test_world_is_not_logged_here() -> None:
    """The part said itself what the world did; it is not said twice."""
    with capture_logs() as logs:
        await supervise("delivery", Script(DeliveryError("away")).work, retry=Retry((DeliveryError,), lambda _: 0.0))
    assert logs == []


@pytest.mark.parametrize("retry", [NEVER, Retry((SourceError,), lambda _: 0.0)], ids=["own part", "camera"])
async def test_own_fault_ends_the_part(retry: Retry) -> None:
    """What is not named comes out at once and is logged with the part's name, also from a part that faces the world."""
    script = Script(RuntimeFault("a defect"))
    with capture_logs() as logs, pytest.raises(RuntimeFault, match="a defect"):
        await supervise("screen:hall", script.work, retry=retry)
    assert script.begun == 1
    assert [(log["event"], log["part"], log["log_level"]) for log in logs] == [
        ("part_failed", "screen:hall", "critical")
    ]


async def test_cancellation_is_no_failure() -> None:
    """A part that is cancelled ends without a word."""

    async def wait() -> None:
        await asyncio.sleep(3600)

    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(supervise("camera:gate", wait), name="camera:gate")
            await asyncio.sleep(0)
            task.cancel()
    assert task.cancelled()
    assert logs == []
