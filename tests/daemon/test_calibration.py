"""Calibration: judged in memory, kept on disk, and never mixed with that of other weights."""

import asyncio
from dataclasses import dataclass, field, replace

from fakes.live import Changes
from fakes.passages import screening
from fakes.screening import make_bundle
from structlog.testing import capture_logs

from gateway.daemon import calibration as module
from gateway.daemon.calibration import LiveCalibration, Memory
from gateway.errors import StorageError
from gateway.screening import decide
from gateway.storage.tables import StoredTrack, kept_as


@dataclass
class Disk:
    """Keeps tracks, unless it is broken."""

    kept: list[StoredTrack] = field(default_factory=list)
    is_broken: bool = False
    changes: Changes = field(default_factory=Changes)

    async def add(self, statistic: float, *, camera: str, environment: str, alert_id: str | None = None) -> None:
        """Keep a track."""
        if self.is_broken:
            raise StorageError("the disk is full")
        self.changes.note()
        self.kept.append(StoredTrack(camera, environment, statistic, alert_id))

    async def remove(self, alert_id: str) -> None:
        """Forget a track."""
        self.kept = [track for track in self.kept if track.alert_id != alert_id]


def verdict(score: float) -> decide.Verdict:
    """Return the verdict on a track of three faces."""
    state = decide.open_track(screening(score), rule=make_bundle().calibration.rule, reference=None, alert_id="a")
    for seq in range(3):
        state, _ = decide.advance(state, screening(score, seq=seq))
    return decide.finish(state)[0]


def calibration(memory: Memory, environment: str = "hall") -> LiveCalibration:
    """Return an environment's calibration, one false alert in two tracks."""
    return LiveCalibration(make_bundle(), environment, {"lobby": 0.5}, memory)


async def test_finished_track_is_learnt_and_kept() -> None:
    """The next track is judged against it, and after a restart too."""
    disk = Disk()
    memory = Memory(disk)
    learning = calibration(memory)
    for score in (1.0, 2.0, 3.0):
        learning.learn(verdict(score), "hall")
    await memory.flush()
    again = calibration(memory)
    again.take_up(disk.kept)
    assert again.tracks == 3
    for each in (learning, again):
        reference = each.reference("lobby", "hall")
        assert reference is not None
        assert (reference.level, reference.ordered_clean) == ("camera", (1.0, 2.0, 3.0))


async def test_tracks_of_other_weights_are_not_taken_up() -> None:
    """A statistic says something under the weights that gave it alone."""
    disk = Disk()
    learning = calibration(Memory(disk), "hall")
    stored = [StoredTrack("lobby", "hall@0000000000000000", 1.0, None), StoredTrack("lobby", "yard", 1.0, None)]
    learning.take_up(stored)
    assert learning.tracks == 0


async def test_camera_that_teaches_nothing_is_judged_all_the_same() -> None:
    """Its tracks are neither learnt nor kept; what is known of it stays its reference."""
    disk = Disk()
    memory = Memory(disk)
    held = LiveCalibration(make_bundle(), "hall", {"lobby": 0.5}, memory, teaches=lambda camera: camera != "lobby")
    held.take_up([StoredTrack("lobby", kept_as("hall", make_bundle().identity.sha256), 1.0, None)])
    held.learn(verdict(9.0), "hall")
    await memory.flush()
    assert (held.tracks_of("lobby"), disk.kept) == (1, [])
    reference = held.reference("lobby", "hall")
    assert reference is not None
    assert (reference.level, reference.ordered_clean) == ("camera", (1.0,))


async def test_track_without_a_statistic_teaches_nothing() -> None:
    """A passage with too few usable faces is neither learnt nor kept."""
    disk = Disk()
    memory = Memory(disk)
    face = screening(0.0)
    state = decide.open_track(face, rule=make_bundle().calibration.rule, reference=None, alert_id="a")
    calibration(memory).learn(decide.finish(decide.advance(state, face)[0])[0], "hall")
    await memory.flush()
    assert disk.kept == []


async def test_track_confirmed_while_it_is_under_way_teaches_nothing() -> None:
    """The operator was faster than the person before the camera; the next track teaches."""
    disk = Disk()
    memory = Memory(disk)
    learning = calibration(memory)
    told = replace(verdict(1.0), alert_id="a")
    learning.confirm("a")
    learning.learn(told, "hall")
    learning.learn(replace(told, alert_id="b"), "hall")
    for number in range(module.MOST_CONFIRMED):
        learning.confirm(str(number))
    await memory.flush()
    assert [track.alert_id for track in disk.kept] == ["b"]
    learning.learn(told, "hall")  # so many later it is forgotten again
    assert learning.tracks == 2


async def test_log_tells_when_a_camera_is_judged_by_its_own_tracks() -> None:
    """From then on its promise is its own; the operator reads since when."""
    disk = Disk()
    memory = Memory(disk)
    learning = calibration(memory)
    with capture_logs() as logs:
        for score in range(10):
            learning.learn(verdict(float(score)), "hall")
    assert [(log["event"], log["was"], log["now"]) for log in logs] == [("calibration_changed", "factory", "camera")]
    await memory.flush()
    again = calibration(memory)
    again.take_up(disk.kept)
    with capture_logs() as logs:
        again.learn(verdict(1.0), "hall")
    assert logs == []  # a restart changes nothing


async def test_broken_disk_costs_calibration_alone() -> None:
    """What cannot be kept is counted and said; judging goes on."""
    disk = Disk(is_broken=True)
    memory = Memory(disk)
    calibration(memory).learn(verdict(1.0), "hall")
    with capture_logs() as logs:
        await memory.flush()
    assert memory.dropped == 1
    assert [log["event"] for log in logs] == ["calibration_not_kept"]


async def test_what_waits_for_the_disk_is_bounded() -> None:
    """The oldest go first, and are counted."""
    disk = Disk()
    memory = Memory(disk)
    track = StoredTrack("lobby", "hall@7", 1.0, None)
    for _ in range(module.MAX_UNKEPT + 5):
        memory.add(track)
    assert memory.dropped == 5


async def test_memory_keeps_what_comes_while_it_runs() -> None:
    """Its task wakes with every track."""
    disk = Disk()
    memory = Memory(disk)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(memory.run(), name="calibration")
        memory.add(StoredTrack("lobby", "hall@7", 1.0, None))
        await disk.changes.until(lambda: bool(disk.kept))
        running.cancel()


async def test_track_is_forgotten_after_it_was_kept() -> None:
    """A judgement may come before the disk has what it judges: the order holds."""
    disk = Disk()
    memory = Memory(disk)
    memory.add(StoredTrack("lobby", "hall@7", 1.0, "a"))
    memory.remove("a")
    memory.add(StoredTrack("lobby", "hall@7", 2.0, "b"))
    await memory.flush()
    assert [track.alert_id for track in disk.kept] == ["b"]
