"""One camera for ever: what is said of it and when it is tried again, on clocks that stand still until told."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.passages import frame
from structlog.testing import capture_logs

from gateway.cameras.jobs import CameraJob, FileSource
from gateway.cameras.keeper import STEADY_S, CameraState, Clocks, Keeper
from gateway.errors import ConfigError, RuntimeFault, SourceError, SourceReason
from gateway.values import FrameFaces, SourceEnded, SourceEvent, SourceOpened, SourceWaiting

JOB = CameraJob("lobby", FileSource(Path("lobby.mp4")))
OPENED = SourceOpened("lobby", 640, 360, 25.0, "h264", None)
FRAME = frame(1.0, [])
Step = SourceEvent | Exception | float


@dataclass
class World:
    """A camera whose lives follow a script: events, seconds that pass, and a last exception."""

    now_s: float = 1000.0
    opened: int = 0
    left: int = 0
    said: list[CameraState] = field(default_factory=list)
    lives: list[Sequence[Step]] = field(default_factory=list)

    def keeper(self, *lives: Sequence[Step], chance: float = 0.0) -> Keeper:
        """Return a keeper of this camera."""
        self.lives = list(lives)
        clocks = Clocks(lambda: self.now_s, lambda: 1e9 + self.now_s, lambda: chance)
        return Keeper(JOB, self.open, say=self.said.append, clocks=clocks)

    def open(self, job: CameraJob) -> AbstractAsyncContextManager[AsyncIterator[SourceEvent]]:
        """Begin the next life."""
        return self._open(self.lives.pop(0))

    @asynccontextmanager
    async def _open(self, life: Sequence[Step]) -> AsyncIterator[AsyncIterator[SourceEvent]]:
        self.opened += 1
        try:
            yield self._events(life)
        finally:
            self.left += 1

    async def _events(self, life: Sequence[Step]) -> AsyncIterator[SourceEvent]:
        for step in life:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, float):
                self.now_s += step
            else:
                yield step

    @property
    def words(self) -> list[tuple[str, str | None]]:
        """What was said, without times."""
        return [(state.state, state.reason) for state in self.said]


async def forget(_event: SourceEvent) -> None:
    """Take an event and do nothing."""


async def fail(keeper: Keeper, times: int = 1) -> None:
    """Let lives of the camera fail."""
    for _ in range(times):
        with pytest.raises(SourceError):
            await keeper.watch(forget)


def failing(reason: SourceReason, *before: Step) -> list[Step]:
    """Return a life that ends so."""
    return [*before, SourceError(f"lobby: {reason}", reason)]


async def test_camera_is_online_with_its_first_frame() -> None:
    """Opening alone shows nothing yet; the events come through in order; what breaks off is offline with its reason."""
    world, events = World(), list[SourceEvent]()
    keeper = world.keeper(failing(SourceReason.STALLED, OPENED, 2.0, FRAME, 10.0, FRAME))

    async def take(event: SourceEvent) -> None:
        events.append(event)

    with pytest.raises(SourceError):
        await keeper.watch(take)
    assert events == [OPENED, FRAME, FRAME]
    assert world.words == [("offline", "starting"), ("online", None), ("offline", "stalled")]
    assert [state.since_s for state in world.said] == [1e9 + 1000.0, 1e9 + 1002.0, 1e9 + 1012.0]
    assert (world.opened, world.left) == (1, 1)


async def test_pauses_grow_while_a_camera_is_away() -> None:
    """From 0.1 s to 1 s, and from the start again once it was watched for a while."""
    world = World()
    away = [failing(SourceReason.UNREACHABLE)] * 6
    keeper = world.keeper(*away, failing(SourceReason.STALLED, FRAME, 6.0), failing(SourceReason.STALLED, FRAME, 1.0))
    pauses = []
    for _ in range(8):
        await fail(keeper)
        pauses.append(round(keeper.pause_s(), 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 0.1, 0.2]


@pytest.mark.parametrize(
    ("reason", "pause_s"),
    [
        ("auth", 30),
        ("codec", 30),
        ("too_large", 30),
        ("no_video", 30),
        ("not_found", 5),
        ("timeout", 0.1),
        ("tls", 0.1),
    ],
)
async def test_pause_depends_on_who_must_act(reason: str, pause_s: float) -> None:
    """What needs the operator is tried rarely, so that a camera does not lock our account; the rest at once."""
    world = World()
    keeper = world.keeper(failing(SourceReason(reason)))
    await fail(keeper)
    assert keeper.pause_s() == pause_s


async def test_worker_that_dies_again_and_again_is_degraded() -> None:
    """Three deaths within a minute: one try a minute until a life has lasted one."""
    world = World()
    death = failing(SourceReason.CRASHED, FRAME, 1.0)
    keeper = world.keeper(death, death, death, death, failing(SourceReason.CRASHED, FRAME, 61.0, FRAME))
    await fail(keeper, 2)
    assert keeper.pause_s() < 1.0
    await fail(keeper)
    assert (keeper.state.state, keeper.state.reason, keeper.pause_s()) == ("degraded", "crash_loop", 60.0)
    await fail(keeper)
    assert keeper.state.state == "degraded"
    await fail(keeper)
    assert world.words[-2:] == [("online", None), ("offline", "crashed")]
    assert keeper.pause_s() == 0.1


async def test_looping_camera_that_goes_for_another_reason_is_offline() -> None:
    """A camera that is away is never called degraded, but its next try still waits."""
    world = World()
    keeper = world.keeper(*[failing(SourceReason.HUNG)] * 3, failing(SourceReason.UNREACHABLE))
    await fail(keeper, 4)
    assert (keeper.state.state, keeper.state.reason, keeper.pause_s()) == ("offline", "unreachable", 60.0)


async def test_deaths_far_apart_are_no_loop() -> None:
    """A worker may die once an hour without being called degraded."""
    world = World()
    keeper = world.keeper(*[failing(SourceReason.CRASHED, FRAME, 3600.0)] * 5)
    await fail(keeper, 5)
    assert keeper.state.state == "offline"


async def test_log_says_once_that_it_went_and_once_that_it_is_back() -> None:
    """However often it is tried in between; another reason is news."""
    world = World()
    away = failing(SourceReason.UNREACHABLE)
    keeper = world.keeper(away, away, away, failing(SourceReason.AUTH), failing(SourceReason.STALLED, FRAME, FRAME))
    with capture_logs() as logs:
        await fail(keeper, 5)
    assert [(log["event"], log.get("reason")) for log in logs] == [
        ("camera_lost", "unreachable"),
        ("camera_lost", "auth"),
        ("camera_back", None),
        ("camera_lost", "stalled"),
    ]


async def test_log_says_how_long_a_camera_was_away_and_nothing_of_return_at_the_first_start() -> None:
    """An operator reads the whole outage from its end, not the time that the last try took."""
    world = World()
    away: list[Step] = [7.0, SourceError("away", SourceReason.UNREACHABLE)]
    lost: list[Step] = [2.0, FRAME, 10.0, FRAME, SourceError("gone", SourceReason.STALLED)]
    keeper = world.keeper(lost, away, away, lost)
    with capture_logs() as logs:
        await fail(keeper, 4)
    found = [(log["event"], log["after_s"]) for log in logs if "after_s" in log]
    assert found == [("camera_online", 2.0), ("camera_back", 16.0)]


async def test_recording_that_is_over_is_not_begun_again() -> None:
    """A file without loop ends for good, and its camera says so."""
    world = World()
    keeper = world.keeper([OPENED, FRAME, SourceEnded("lobby", 1, 0, 0)])
    await keeper.watch(forget)
    assert world.words[-1] == ("offline", "ended")


async def test_face_model_that_cannot_be_used_is_said() -> None:
    """It is the operator's to mend: the camera is offline and rarely tried; the daemon goes on."""
    world = World()
    keeper = world.keeper([ConfigError("faces.model: not a model")])
    await fail(keeper)
    assert (keeper.state.state, keeper.state.reason, keeper.pause_s()) == ("offline", "config", 30.0)


async def test_stream_that_just_ends_counts_as_a_crash() -> None:
    """Events that stop without an end mean that the worker is gone."""
    world = World()
    keeper = world.keeper([FRAME])
    await fail(keeper)
    assert keeper.state.reason == "crashed"


async def test_own_fault_comes_out() -> None:
    """A listener that fails is not the camera's doing: nothing is said of the camera, the source is left."""
    world = World()
    keeper = world.keeper([FRAME, FRAME])

    async def take(event: SourceEvent) -> None:
        assert isinstance(event, FrameFaces)
        raise RuntimeFault("a defect")

    with pytest.raises(RuntimeFault):
        await keeper.watch(take)
    assert world.words[-1] == ("online", None)
    assert world.left == 1


async def test_disabled_camera_is_said_and_forgets_its_failures() -> None:
    """Switched off is a state of its own; switched on it starts as if new."""
    world = World()
    keeper = world.keeper(*[failing(SourceReason.CRASHED)] * 3, failing(SourceReason.UNREACHABLE))
    await fail(keeper, 3)
    keeper.disable("by_command")
    keeper.enable()
    assert world.words[-2:] == [("disabled", "by_command"), ("offline", "starting")]
    await fail(keeper)
    assert keeper.pause_s() == 0.1


async def test_the_log_is_not_filled_when_a_camera_comes_and_goes_every_second() -> None:
    """Each change of its state is said, but only the first are logged, then ever fewer; a steady life begins anew."""
    short: list[Step] = [OPENED, FRAME, 1.0, SourceError("gone", SourceReason.ENDED)]
    steady: list[Step] = [OPENED, FRAME, STEADY_S + 1.0, FRAME, SourceError("gone", SourceReason.ENDED)]
    world = World()
    keeper = world.keeper(*[short] * 200, steady, short)
    with capture_logs() as logs:
        await fail(keeper, 200)
        assert [log["event"] for log in logs].count("camera_lost") == 5 + 5  # the 8th, 16th, 32nd, 64th, 128th
        assert len(logs) <= 2 * 11
        assert len(world.said) == 1 + 2 * 200
        await fail(keeper, 2)
    assert [log["event"] for log in logs[-3:]] == ["camera_lost", "camera_back", "camera_lost"]


async def test_camera_that_waits_for_its_publisher_says_so() -> None:
    """Nothing is wrong with it, also after a publisher has left; one that crashes all the time stays degraded."""
    world = World()
    waiting = SourceWaiting("lobby")
    keeper = world.keeper(
        failing(SourceReason.ENDED, waiting, OPENED, FRAME),
        failing(SourceReason.TIMEOUT, waiting),
        *[failing(SourceReason.CRASHED, waiting)] * 4,
    )
    await fail(keeper, 2)
    assert world.words == [
        *[("offline", "starting"), ("offline", "waiting"), ("online", None), ("offline", "ended")],
        *[("offline", "waiting"), ("offline", "timeout")],
    ]
    await fail(keeper, 4)
    assert world.words[-1] == ("degraded", "crash_loop")
    assert world.words.count(("offline", "waiting")) == 5
