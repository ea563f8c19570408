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
from gateway.daemon.cameras import Cameras, Ears, Frames
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
        ears = Ears(self._on_state, lambda camera, is_on: self.overloads.append((camera, is_on)), self._of, self.fake)
        self.cameras = Cameras(ears, group, switches={})

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
        frames.on_opened()
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


async def test_overload_ends_with_calm() -> None:
    """It is told once when it begins; shed faces and replaced frames both count."""
    async with hall() as here:
        camera = here.cameras.begin(PLAN)
        await here.until(lambda: "gate" in here.fake.opened)
        camera.summary.faces_shed += 1
        here.fake.progress("gate", looked_at=10)
        here.fake.progress("gate", looked_at=20)
        here.fake.fail("gate")
        await here.until(lambda: ("offline", "stalled") in here.states)
        assert here.overloads == [("gate", True)]


async def test_nobody_is_switched_who_is_not_there() -> None:
    """A command for a camera that does not exist changes nothing."""
    async with hall() as here:
        assert not here.cameras.switch("nobody", is_on=True)
