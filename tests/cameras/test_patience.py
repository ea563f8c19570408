"""Deadlines run out for others, not because this process stood still."""

import asyncio
import time

import pytest

from gateway.cameras.patience import MOMENT_S, NOTICED_LATE_S, within

DEADLINE_S = 0.1


class Answer:
    """Something to wait for that can be waited for again."""

    def __init__(self) -> None:
        self.calls = 0
        self.came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        """Wait."""
        self.calls += 1
        return await asyncio.shield(self.came)


def _stand_still(answer: Answer, comes_after_s: float) -> None:
    """Let the loop stand still from now on beyond the deadline, and the answer come after that."""
    loop = asyncio.get_running_loop()
    loop.call_soon(time.sleep, DEADLINE_S + NOTICED_LATE_S + 0.1)
    loop.call_later(DEADLINE_S + NOTICED_LATE_S + 0.1 + comes_after_s, answer.came.set_result, "late")


async def test_an_answer_is_returned_when_it_comes_in_time() -> None:
    """Once asked, once answered."""
    answer = Answer()
    answer.came.set_result("now")
    assert await within(DEADLINE_S, answer) == "now"
    assert answer.calls == 1


async def test_a_deadline_runs_out_when_nothing_comes() -> None:
    """Who is only silent gets no second wait."""
    answer = Answer()
    with pytest.raises(TimeoutError):
        await within(DEADLINE_S, answer)
    assert answer.calls == 1


async def test_a_moment_is_given_when_this_process_stood_still() -> None:
    """What was sent meanwhile is there a little later."""
    answer = Answer()
    _stand_still(answer, 0.2)
    assert await within(DEADLINE_S, answer) == "late"
    assert answer.calls == 2


async def test_only_a_moment_is_given_when_nothing_comes_even_then() -> None:
    """A stand-still does not excuse one who is dead."""
    answer = Answer()
    _stand_still(answer, 60.0)
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(DEADLINE_S, answer)
    assert time.monotonic() - began_s < 10 * (DEADLINE_S + NOTICED_LATE_S + MOMENT_S)
