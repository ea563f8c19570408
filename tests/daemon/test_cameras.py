"""One camera and all of them: counts over many lives, switches, and what a fault of our own does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.live import Changes, FakeCameras
from fakes.naming import FactoryCalibration, LiveNames, live_frame
from fakes.screening import FakeDetector, make_bundle

from gateway.cameras.jobs import CameraJob, FileSource
from gateway.cameras.keeper import CameraState
from gateway.daemon.cameras import Camera, Cameras, Ears, Frames
from gateway.daemon.plan import CameraPlan
from gateway.errors import RuntimeFault
from gateway.lane import Outcome, Parts
from gateway.pipeline import LiveScreening
from gateway.values import SourceProgress

PLAN = CameraPlan(CameraJob("gate", FileSource(Path("gate.mp4"))), "hall", True, 0.001)


class Hall:
    """An environment and its cameras, all fake."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        changes = Changes()
        self.until = changes.until
        self.fake = FakeCameras(changes=changes)
        self.states: list[tuple[str, str | None]] = []
        self.overloads: list[tuple[str, bool]] = []
        bundle = make_bundle()
        parts = Parts(bundle, FakeDetector(), FactoryCalibration(bundle), LiveNames(), 8)
        self.screening = LiveScreening(parts, environment="hall", deliver=self._deliver, max_wait_s=0.01)
        self.seen: list[tuple[int, list[int]]] = []
        self.ears = Ears(
            self._on_state,
            lambda camera, is_on: self.overloads.append((camera, is_on)),
            self._of,
            self.fake,
            lambda frame, faces: self.seen.append((frame.seq, [face.track_id for face in faces])),
        )
        self.cameras = Cameras(self.ears, group, switches={})

    async def _deliver(self, outcome: Outcome) -> None:
        pass

    def _of(self, environment: str) -> LiveScreening:
        assert environment == "hall"
        return self.screening

    def _on_state(self, state: CameraState) -> None:
        self.states.append((state.state, state.reason))
        self.fake.changes.note()


@asynccontextmanager
async def hall() -> AsyncIterator[Hall]:
    """Run the hall's cameras until the block ends."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        here = Hall(group)
        yield here
        await here.cameras.end([camera.name for camera in here.cameras.all])


def test_counts_go_on_over_lives() -> None:
    """A worker counts from its own start; the camera's numbers never go back."""
    frames = Frames()
    for life in ((10, 20), (5,), ()):
        frames.begin_life()
        for looked_at in life:
            frames.on_progress(SourceProgress("gate", 3 * looked_at, looked_at, looked_at, looked_at - 1, 1))
    assert (frames.received, frames.looked_at, frames.skipped, frames.replaced, frames.damaged) == (75, 25, 25, 23, 2)


async def test_camera_is_switched_off_while_it_waits_for_its_next_try() -> None:
    """A command does not wait for a pause to be over."""
    async with hall() as here:
        here.fake.away.add("gate")
        here.cameras.begin(PLAN)
        await here.until(lambda: ("offline", "unreachable") in here.states)
        assert here.cameras.switch("gate", is_on=False)
        await here.until(lambda: here.states[-1] == ("disabled", "by_command"))
        tries = here.fake.opened["gate"]
        here.fake.away.clear()
        assert here.cameras.switch("gate", is_on=True)
        await here.until(lambda: here.fake.opened["gate"] == tries + 1)


async def test_faces_of_a_frame_are_told_with_their_tracks() -> None:
    """Whoever shows the camera's frames knows whose face is where in each of them."""
    async with hall() as here:
        here.cameras.begin(PLAN)
        await here.until(lambda: here.fake.opened.get("gate") == 1)
        here.fake.show("gate", live_frame(0), live_frame(1))
        await here.until(lambda: len(here.seen) >= 2)
        assert here.seen[:2] == [(0, [1]), (1, [1])]


async def test_command_outlives_a_changed_configuration() -> None:
    """A camera switched off stays off when its configuration is changed."""
    async with hall() as here:
        here.cameras.begin(PLAN)
        here.cameras.switch("gate", is_on=False)
        await here.cameras.end(["gate"])
        assert here.cameras.get("gate") is None
        assert here.cameras.begin(PLAN).is_on is False


async def test_fault_of_our_own_comes_out_of_the_group() -> None:
    """What the camera does wrong never ends the daemon; a defect does, at once."""

    async def break_it() -> None:
        async with hall() as here:
            here.cameras.begin(PLAN)
            await here.until(lambda: "gate" in here.fake.opened)
            # A face of another camera can only come from a mix-up of ours.
            here.fake.show("gate", replace(live_frame(0, camera="lobby"), camera="gate"))
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as failure:
        await break_it()
    assert failure.group_contains(RuntimeFault, match="a face of camera lobby came from the source of gate")


class Minute:
    """A camera whose worker says something once a second of a clock that the test moves."""

    def __init__(self, here: Hall) -> None:
        self.now_s = 0.0
        self.here = here
        self.camera = Camera(PLAN, here.ears, is_on=True, clock=lambda: self.now_s)
        self.looked_at = self.replaced = 0

    async def seconds(self, count: int, *, replaced: int = 0, shed: int = 0) -> None:
        """Let so many pass; in each so many frames are replaced and faces shed."""
        for _ in range(count):
            self.now_s += 1.0
            self.looked_at, self.replaced = self.looked_at + 5, self.replaced + replaced
            self.camera.summary.faces_shed += shed
            events = self.camera.frames.events
            self.here.fake.progress("gate", looked_at=self.looked_at, replaced=self.replaced)
            self.here.fake.show("gate", live_frame(round(self.now_s), faces=0))
            await self.here.until(lambda: ("online", None) in self.here.states)
            while self.camera.frames.events < events + 2:  # noqa: ASYNC110  (the loop's own turns)
                await asyncio.sleep(0)


@asynccontextmanager
async def minute() -> AsyncIterator[Minute]:
    """Run the camera until the block ends."""
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        here = Hall(group)
        one = Minute(here)
        task = group.create_task(one.camera.run(), name="gate")
        await here.until(lambda: "gate" in here.fake.opened)
        yield one
        task.cancel()


@pytest.mark.parametrize("what", ["replaced", "shed"])
async def test_overload_is_told_when_it_goes_on_and_ends_with_calm(what: str) -> None:
    """Replaced frames and shed faces both count; a first second with losses does not."""
    async with minute() as one:
        await one.seconds(1, replaced=5, shed=5)
        await one.seconds(10)
        assert one.here.overloads == []
        await one.seconds(10, **{what: 3})
        assert one.here.overloads == [("gate", True)]
        await one.seconds(12)
        assert one.here.overloads == [("gate", True), ("gate", False)]


async def test_overload_is_told_again_when_a_camera_comes_back() -> None:
    """What was said of the life before went with it."""
    async with minute() as one:
        await one.seconds(6, replaced=3)
        one.here.fake.fail("gate")
        await one.here.until(lambda: one.here.fake.opened["gate"] == 2)
        one.looked_at = one.replaced = 0
        await one.seconds(6, replaced=3)
        assert one.here.overloads == [("gate", True), ("gate", True)]


async def test_progress_before_a_source_is_open_counts_once() -> None:
    """A camera that tells its size late counts before; what its life before counted does not go back."""
    async with hall() as here:
        camera = here.cameras.begin(PLAN)
        await here.until(lambda: "gate" in here.fake.opened)
        here.fake.progress("gate", looked_at=100)
        here.fake.fail("gate")
        await here.until(lambda: here.fake.opened["gate"] == 2)
        here.fake.early = SourceProgress("gate", 3, 3, 0, 0, 0)
        here.fake.fail("gate")
        await here.until(lambda: here.fake.opened["gate"] == 3)
        here.fake.progress("gate", looked_at=50)
        here.fake.show("gate", live_frame(0))
        await here.until(lambda: here.states[-1] == ("online", None))
        assert camera.frames.received == 150


async def test_camera_that_is_on_goes_on_when_it_is_switched_on() -> None:
    """A command that is repeated, as retained ones are, does not interrupt the watch."""
    async with hall() as here:
        here.cameras.begin(PLAN)
        await here.until(lambda: "gate" in here.fake.opened)
        for _ in range(3):
            assert here.cameras.switch("gate", is_on=True)
            await asyncio.sleep(0.01)
        assert (here.fake.opened, here.fake.left) == ({"gate": 1}, {})


async def test_camera_that_is_off_is_off_by_command_when_it_is_switched_off() -> None:
    """Who wanted it is said; it is not opened in between."""
    async with hall() as here:
        here.cameras.begin(replace(PLAN, enabled=False))
        await here.until(lambda: here.states[-1] == ("disabled", "by_config"))
        here.cameras.switch("gate", is_on=False)
        await here.until(lambda: here.states[-1] == ("disabled", "by_command"))
        assert here.states[-2] == ("disabled", "by_config")
        assert here.fake.opened == {}


async def test_counts_go_on_when_a_camera_is_begun_anew() -> None:
    """A changed configuration is no reason to count from 0, nor to take faces that were shed long ago for a loss."""
    async with hall() as here:
        camera = here.cameras.begin(PLAN)
        camera.frames.received = 7
        await here.cameras.end(["gate"])
        assert here.cameras.begin(PLAN).frames.received == 7


async def test_nobody_is_switched_who_is_not_there() -> None:
    """A command for a camera that does not exist changes nothing."""
    async with hall() as here:
        assert not here.cameras.switch("nobody", is_on=True)
