"""Batches of faces on a real event loop, with time moved by hand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from fakes.passages import tracked
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RuntimeFault
from gateway.screening.batcher import Batcher
from gateway.values import TrackedFace


class HandClock:
    """A timer that stands still until `move` is called."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.calls: list[HandCall] = []

    def time(self) -> float:
        """Return the time set by hand."""
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], object], /) -> "HandCall":
        """Remember the call."""
        self.calls.append(HandCall(when, callback))
        return self.calls[-1]

    def move(self, seconds: float) -> None:
        """Let time pass and make the calls that are due."""
        self.now_s += seconds
        due = [call for call in self.calls if call.when <= self.now_s and not call.cancelled]
        self.calls = [call for call in self.calls if call not in due]
        for call in due:
            call.callback()


class HandCall:
    """A call that was ordered."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Take it back."""
        self.cancelled = True


def replay(max_size: int = 4, max_waiting: int = 8) -> Batcher:
    """Return a batcher that loses nothing."""
    return Batcher(max_size=max_size, max_wait_s=None, max_waiting=max_waiting)


def live(clock: HandClock, *, max_size: int = 4, max_waiting: int = 8) -> Batcher:
    """Return a batcher with a deadline of 50 ms."""
    return Batcher(max_size=max_size, max_wait_s=0.05, max_waiting=max_waiting, timer=clock)


def numbers(batch: Sequence[TrackedFace]) -> list[int]:
    """Return which faces are in the batch."""
    return [face.crop.seq for face in batch]


async def take(batcher: Batcher) -> list[int]:
    """Return the next batch."""
    return numbers(await anext(batcher))


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def consumed(batcher: Batcher) -> AsyncIterator[list[list[int]]]:
    """Collect the batches in a task that ends with the block."""
    batches: list[list[int]] = []

    async def consume() -> None:
        async for batch in batcher:
            batches[len(batches) :] = [numbers(batch)]  # at once, so that the test sees it

    async with asyncio.TaskGroup() as group:
        group.create_task(consume())
        await settle()
        yield batches
        batcher.close()


# Replay ---------------------------------------------------------------------------------------------------------------


async def test_batches_when_faces_keep_coming() -> None:
    """Full batches only, in order; the rest goes out at the flush, and nothing more at the end."""
    batcher = replay()
    async with consumed(batcher) as batches:
        for number in range(10):
            await batcher.put(tracked(number))
        await settle()
        assert batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
        await batcher.flush()
        await settle()
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_close_when_faces_wait() -> None:
    """What waits goes out before the iteration ends; a second close changes nothing."""
    batcher = replay()
    async with consumed(batcher) as batches:
        await batcher.put(tracked(0))
        batcher.close()
        await settle()
        assert batches == [[0]]
    assert batcher.waiting == 0


async def test_flush_when_nothing_waits() -> None:
    """There are no empty batches, however often one flushes."""
    batcher = replay()
    async with consumed(batcher) as batches:
        await batcher.flush()
        await batcher.put(tracked(0))
        await batcher.flush()
        await batcher.flush()
        await settle()
        await batcher.flush()
    assert batches == [[0]]


STEPS = st.lists(st.sampled_from(["put", "put", "put", "flush"]), max_size=40)


@given(STEPS, st.integers(1, 5))
def test_batches_when_the_consumer_is_fast_or_slow(steps: list[str], max_size: int) -> None:
    """Which faces go together depends on the order of puts and flushes alone, not on when the consumer comes."""

    async def run(max_waiting: int, pauses: int) -> list[list[int]]:
        batcher = Batcher(max_size=max_size, max_wait_s=None, max_waiting=max_waiting)
        batches = []

        async def produce() -> None:
            for number, step in enumerate(steps):
                await (batcher.flush() if step == "flush" else batcher.put(tracked(number)))
            batcher.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            async for batch in batcher:
                batches.append(numbers(batch))
                for _ in range(pauses):
                    await asyncio.sleep(0)
        return batches

    rooms_and_pauses = (max_size, 0), (max_size + 3, 3), (99, 0)
    told = [asyncio.run(run(room, pauses)) for room, pauses in rooms_and_pauses]
    assert told == [by_hand(steps, max_size)] * 3


def by_hand(steps: Sequence[str], max_size: int) -> list[list[int]]:
    """Return the batches that the order of puts and flushes means."""
    batches: list[list[int]] = [[]]
    for number, step in enumerate(steps):
        if step == "flush":
            batches.append([])
            continue
        if len(batches[-1]) == max_size:
            batches.append([])
        batches[-1].append(number)
    return [batch for batch in batches if batch]


async def test_put_when_a_replay_is_full() -> None:
    """It waits for room, first come first served, and nothing is dropped."""
    batcher = replay(max_size=2, max_waiting=2)
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(batcher.put(tracked(number)))
        await settle()
        assert batcher.waiting == 2
        assert numbers(await anext(batcher)) == [0, 1]
        assert numbers(await anext(batcher)) == [2, 3]
    assert not batcher.dropped


async def test_put_when_cancelled_while_waiting_for_room() -> None:
    """The face is not in, and the room it waited for is another's."""
    batcher = replay(max_size=1, max_waiting=1)
    await batcher.put(tracked(0))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(batcher.put(tracked(1)))
        second = group.create_task(batcher.put(tracked(2)))
        await settle()
        first.cancel()
        await settle()
        assert numbers(await anext(batcher)) == [0]
        await second
    assert first.cancelled()
    assert numbers(await anext(batcher)) == [2]


async def test_put_when_the_batcher_is_closed() -> None:
    """A face that nobody would screen is refused aloud, also by those who were waiting for room."""
    batcher = replay(max_size=1, max_waiting=1)
    await batcher.put(tracked(0))

    async def close() -> None:
        await settle()
        batcher.close()

    *waiting, _ = await asyncio.gather(*(batcher.put(tracked(n)) for n in (1, 2, 3)), close(), return_exceptions=True)
    assert [type(end) for end in waiting] == [RuntimeFault] * 3
    with pytest.raises(RuntimeFault, match="closed"):
        await batcher.put(tracked(4))
    assert [numbers(batch) async for batch in batcher] == [[0]]


async def test_consumer_when_cancelled_loses_nothing() -> None:
    """A consumer that gives up while it waits leaves every face for the next."""
    clock = HandClock()
    batcher = live(clock)
    await batcher.put(tracked(0))
    async with asyncio.TaskGroup() as group:
        wait = group.create_task(take(batcher))
        await settle()
        wait.cancel()
    assert all(call.cancelled for call in clock.calls)
    clock.move(0.05)
    assert numbers(await anext(batcher)) == [0]


# Live -----------------------------------------------------------------------------------------------------------------


async def test_batch_when_the_deadline_comes() -> None:
    """The oldest face waits 50 ms and no longer; the younger ones go with it."""
    clock = HandClock()
    batcher = live(clock)
    async with consumed(batcher) as batches:
        await batcher.put(tracked(0))
        clock.move(0.03)
        await batcher.put(tracked(1))
        await settle()
        clock.move(0.019)
        await settle()
        assert batches == []
        clock.move(0.0011)
        await settle()
        assert batches == [[0, 1]]


async def test_batch_when_full_before_the_deadline() -> None:
    """A full batch does not wait, and the faces beyond it have their own deadline."""
    clock = HandClock()
    batcher = live(clock)
    async with consumed(batcher) as batches:
        for number in range(5):
            await batcher.put(tracked(number))
            clock.move(0.01)
        await settle()
        assert batches == [[0, 1, 2, 3]]
        clock.move(0.041)
        await settle()
        assert batches == [[0, 1, 2, 3], [4]]


async def test_batch_when_the_consumer_comes_late() -> None:
    """After a slow inference everything overdue is there at once, the oldest first."""
    clock = HandClock()
    batcher = live(clock)
    for number in range(6):
        await batcher.put(tracked(number))
    clock.move(1.0)
    assert numbers(await anext(batcher)) == [0, 1, 2, 3]
    assert numbers(await anext(batcher)) == [4, 5]


async def test_batch_when_flushed_before_the_deadline() -> None:
    """A flush sends what waits, live too."""
    clock = HandClock()
    batcher = live(clock)
    await batcher.put(tracked(0))
    await batcher.flush()
    assert numbers(await anext(batcher)) == [0]


async def test_deadline_when_the_loop_keeps_the_time() -> None:
    """Without a timer of its own the batcher uses the event loop's."""
    batcher = Batcher(max_size=4, max_wait_s=0.001, max_waiting=8)
    await batcher.put(tracked(0))
    async with asyncio.timeout(10):
        assert numbers(await anext(batcher)) == [0]


async def test_put_when_one_camera_floods() -> None:
    """The flooding camera loses its own oldest faces; the quiet one loses none."""
    batcher = live(HandClock(), max_size=2, max_waiting=4)
    await batcher.put(tracked(0, camera="quiet"))
    dropped = [await batcher.put(tracked(number, camera="busy")) for number in range(1, 7)]
    assert [face.crop.seq for face in dropped if face is not None] == [1, 2, 3]
    assert dict(batcher.dropped) == {"busy": 3}
    assert [numbers(await anext(batcher)) for _ in range(2)] == [[0, 4], [5, 6]]


async def test_put_when_a_quiet_camera_meets_a_full_batcher() -> None:
    """Room is made at the cost of the camera with most faces, not of the newcomer."""
    batcher = live(HandClock(), max_size=1, max_waiting=3)
    for number in range(3):
        await batcher.put(tracked(number, camera="busy"))
    assert await batcher.put(tracked(3, camera="quiet")) is not None
    assert dict(batcher.dropped) == {"busy": 1}
    assert [numbers(await anext(batcher)) for _ in range(3)] == [[1], [2], [3]]


async def test_put_when_cameras_are_level() -> None:
    """Among equals the newcomer's own camera gives way, and without that the oldest face of all."""
    batcher = live(HandClock(), max_size=1, max_waiting=2)
    await batcher.put(tracked(0, camera="a"))
    await batcher.put(tracked(1, camera="b"))
    assert numbers([await batcher.put(tracked(2, camera="b")) or tracked(-1)]) == [1]
    assert numbers([await batcher.put(tracked(3, camera="c")) or tracked(-1)]) == [0]
    assert dict(batcher.dropped) == {"a": 1, "b": 1}


async def test_flush_when_its_last_face_is_dropped() -> None:
    """The others leave by their deadline, and no batch is cut short later."""
    clock = HandClock()
    batcher = live(clock, max_size=2, max_waiting=2)
    await batcher.put(tracked(0, camera="a"))
    await batcher.flush()
    await batcher.put(tracked(1, camera="b"))
    await batcher.put(tracked(2, camera="a"))
    assert dict(batcher.dropped) == {"a": 1}
    assert numbers(await anext(batcher)) == [1, 2]


CAMERAS = st.lists(st.sampled_from(["a", "a", "a", "b", "c"]), max_size=60)


@given(CAMERAS, st.integers(1, 4), st.integers(0, 6))
def test_shedding_keeps_the_books(cameras: list[str], max_size: int, more: int) -> None:
    """Every face goes out once or is counted as dropped, the newest never is, and order and bound hold."""

    async def run() -> None:
        batcher = live(HandClock(), max_size=max_size, max_waiting=max_size + more)
        lost: list[TrackedFace] = []
        for number, camera in enumerate(cameras):
            dropped = await batcher.put(tracked(number, camera=camera))
            lost.extend([] if dropped is None else [dropped])
            assert batcher.waiting <= max_size + more
            assert number not in numbers(lost)
        batcher.close()
        out = [face async for batch in batcher for face in batch]
        assert numbers(out) == sorted(numbers(out))
        assert sorted(numbers(out) + numbers(lost)) == list(range(len(cameras)))
        assert Counter(face.crop.camera for face in lost) == batcher.dropped

    asyncio.run(run())


@pytest.mark.parametrize(
    ("max_size", "max_wait_s", "max_waiting"), [(0, None, 4), (5, None, 4), (1, -0.1, 4), (1, float("nan"), 4)]
)
def test_batcher_when_its_bounds_make_no_sense(max_size: int, max_wait_s: float | None, max_waiting: int) -> None:
    """A batch larger than the room for it would never be full, and a replay would stand still."""
    with pytest.raises(ValueError, match=r"needed|must be"):
        Batcher(max_size=max_size, max_wait_s=max_wait_s, max_waiting=max_waiting)
