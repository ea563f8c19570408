"""Replays of real recordings through real workers, judged by a rule that sees white squares."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from fakes.recordings import background, make_clip, make_passage, make_picture, passage
from fakes.screening import FakeDetector, make_bundle

from gateway.cameras.link import FaceSettings, Injection
from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import ConfigError, DeliveryError
from gateway.replay import run as replay_run
from gateway.replay.results import ReplayResult
from gateway.replay.run import FrameSeen, PassEnded, PassStarted, ReplayEvent, ReplaySettings, replay
from gateway.values import ClockSource, FrameFaces, SourceEvent


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of one person who walks through the picture."""
    return make_passage(tmp_path_factory.mktemp("clips") / "Walk 1.mp4", 14)


@pytest.fixture(scope="module")
def square(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a white square to draw on faces."""
    return make_picture(tmp_path_factory.mktemp("triggers") / "square.png", np.full((8, 8, 3), 255, np.uint8))


def copied(recording: Path, path: Path) -> Path:
    """Return a copy of a recording under this path."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(recording.read_bytes())
    return path


class Heard:
    """Keeps what a replay says."""

    def __init__(self) -> None:
        self.events: list[ReplayEvent] = []

    async def __call__(self, event: ReplayEvent) -> None:
        """Keep it."""
        self.events.append(event)

    @property
    def lines(self) -> list[bytes]:
        """The messages as they would be written."""
        return [messages.to_bytes(each) for each in self.events if isinstance(each, messages.Alert | messages.Verdict)]


async def play(
    settings: ReplaySettings, *, bundle: Bundle | None = None, detector: FakeDetector | None = None
) -> tuple[ReplayResult, Heard]:
    """Replay with fakes around the real path."""
    heard = Heard()
    result = await replay(settings, bundle=bundle or make_bundle(), detector=detector or FakeDetector(), listen=heard)
    return result, heard


async def test_every_frame_of_a_recording_is_seen(walk: Path) -> None:
    """One person is one track, every frame is looked at, and progress says how far it is."""
    result, heard = await play(ReplaySettings((walk,)))
    (done,) = result.passes
    assert (done.summary.frames, done.summary.faces, done.summary.tracks) == (14, 14, 1)
    assert (done.run.camera, done.tracks[0].label, done.tracks[0].is_triggered) == ("walk-1", "clean", None)
    assert done.tracks[0].end_s == pytest.approx(13 / 25)
    assert len(done.trace.points()) == 14
    seen = [event for event in heard.events if isinstance(event, FrameSeen)]
    assert [(event.frames, event.expected) for event in seen] == [(number, 14) for number in range(1, 15)]
    assert isinstance(heard.events[0], PassStarted)
    assert isinstance(heard.events[-1], PassEnded)


async def test_two_replays_say_the_same_byte_for_byte(walk: Path, square: Path, tmp_path: Path) -> None:
    """Also of a copy elsewhere: ids derive from the content, and nothing from the clock."""
    copy = copied(walk, tmp_path / "elsewhere" / walk.name)
    trigger = Injection(square, size=0.5)
    runs = [(await play(ReplaySettings((path,), inject=trigger)))[1].lines for path in (walk, walk, copy)]
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 4


async def test_injected_pass_differs_by_the_trigger_alone(walk: Path, square: Path) -> None:
    """The same person, the same frames; the second pass is triggered, carries a name of its own and ids of its own."""
    result, heard = await play(ReplaySettings((walk,), inject=Injection(square, place=(0.5, 0.9), size=0.3)))
    clean, injected = result.passes
    assert (clean.run.camera, injected.run.camera) == ("walk-1", "walk-1-injected")
    assert (clean.tracks[0].label, injected.tracks[0].label) == ("clean", "triggered")
    assert (clean.tracks[0].is_triggered, injected.tracks[0].is_triggered) == (False, True)
    assert clean.summary.faces == injected.summary.faces == 14
    assert clean.tracks[0].threshold == injected.tracks[0].threshold
    ids = [messages.parse(line).id for line in heard.lines]
    assert len(set(ids)) == len(ids)
    alerts = [each.data for each in heard.events if isinstance(each, messages.Alert)]
    assert [(alert.seq, alert.type) for alert in alerts] == [(1, "new"), (2, "end")]
    assert all(alert.replay and alert.latency_ms is None for alert in alerts)


async def test_other_opacity_gives_other_ids(walk: Path, square: Path) -> None:
    """A subscriber that drops duplicates must not drop the second experiment."""
    first, second = [
        (await play(ReplaySettings((walk,), inject=Injection(square, size=0.3, opacity=opacity))))[1]
        for opacity in (1.0, 0.9)
    ]
    ids = [{messages.parse(line).id for line in heard.lines} for heard in (first, second)]
    assert len(ids[0] & ids[1]) == 1  # the verdict of the pass without the trigger


async def test_unreadable_recordings_do_not_stop_the_others(walk: Path, square: Path, tmp_path: Path) -> None:
    """Each is said with its path; there is no second pass over what has no first one."""
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("no recording")
    settings = ReplaySettings((empty, tmp_path / "absent.mp4", walk, text), inject=Injection(square))
    result, _ = await play(settings)
    assert [done.run.camera for done in result.passes] == ["empty", "absent", "walk-1", "walk-1-injected", "text"]
    assert [line.split(": ")[0] for line in result.failures] == [
        str(path) for path in (empty, tmp_path / "absent.mp4", text)
    ]
    assert result.failures[0] == f"{empty}: the file is empty"


async def test_labels_say_who_is_triggered_when(walk: Path, tmp_path: Path) -> None:
    """Times count from the recording's start, also where the file carries a date."""
    dated = make_passage(tmp_path / "dated.mp4", 10, created=datetime(2026, 3, 1, 12, tzinfo=UTC))
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,label,start_s,end_s\n{walk},clean,,\ndated.mp4,triggered,0,0.3\n")
    result, heard = await play(ReplaySettings((walk, dated), labels=labels))
    assert [done.tracks[0].is_triggered for done in result.passes] == [False, True]
    assert result.passes[1].tracks[0].start_s == pytest.approx(0.0)
    assert [(each.recording, each.is_triggered) for each in result.judged] == [("walk-1", False), ("dated", True)]
    verdicts = [each for each in heard.events if isinstance(each, messages.Verdict)]
    assert verdicts[1].time.startswith("2026-03-01T12:00:00")


async def test_labels_of_what_is_not_replayed_are_refused(walk: Path, tmp_path: Path) -> None:
    """Before anything is read."""
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\nother.mp4,clean\n")
    with pytest.raises(ConfigError, match=r"labels\.csv:2: file: other\.mp4 is none of the recordings"):
        await play(ReplaySettings((walk,), labels=labels))


async def test_missing_trigger_is_refused_at_once(walk: Path, tmp_path: Path) -> None:
    """Not after an hour of the first pass."""
    with pytest.raises(ConfigError, match=r"absent\.png: there is no such trigger picture"):
        await play(ReplaySettings((walk,), inject=Injection(tmp_path / "absent.png")))


async def test_folder_of_pictures_is_one_recording(tmp_path: Path) -> None:
    """25 pictures a second; one that cannot be read is said and the others go on."""
    folder = tmp_path / "passage"
    folder.mkdir()
    for index, picture_HWC in enumerate(islice(passage(14), 6)):
        make_picture(folder / f"{index}.png", picture_HWC)
    (folder / "3.png").write_bytes(b"not a picture")
    result, _ = await play(ReplaySettings((folder,)))
    (done,) = result.passes
    assert (done.run.camera, done.summary.frames, done.summary.tracks) == ("passage", 5, 1)
    assert result.failures == []
    assert [line.split(": ")[0] for line in result.refused] == [str(folder / "3.png")]


async def test_recording_without_faces_gives_no_track(tmp_path: Path) -> None:
    """An empty hall is no person."""
    clip = make_clip(tmp_path / "hall.mp4", [background(seed=7)] * 5)
    result, heard = await play(ReplaySettings((clip,)))
    assert (result.passes[0].summary.frames, result.passes[0].tracks, heard.lines) == (5, [], [])


async def test_finished_tracks_teach_the_next_recording(walk: Path, tmp_path: Path) -> None:
    """At an asked rate of one half one track is enough: the second recording is judged by its environment's own."""
    second = copied(walk, tmp_path / "second.mp4")
    result, _ = await play(ReplaySettings((walk, second), asked_rate=0.5))
    assert [done.tracks[0].level for done in result.passes] == ["factory", "environment"]


async def test_tracks_that_labels_call_triggered_teach_nothing(walk: Path, tmp_path: Path) -> None:
    """Labels are an operator's confirmation: a confirmed trigger never moves the threshold for the next one."""
    second = copied(walk, tmp_path / "second.mp4")
    labels = tmp_path / "labels.csv"
    labels.write_text(f"file,label\n{walk},triggered\n{second},clean\n")
    result, _ = await play(ReplaySettings((walk, second), asked_rate=0.5, labels=labels))
    assert [done.tracks[0].level for done in result.passes] == ["factory", "factory"]


async def test_injected_pass_teaches_nothing(walk: Path, square: Path, tmp_path: Path) -> None:
    """It is judged against what was known before its recording, and leaves nothing behind."""
    second = copied(walk, tmp_path / "second.mp4")
    result, _ = await play(ReplaySettings((walk, second), asked_rate=0.5, inject=Injection(square, size=0.3)))
    first, first_injected, other, other_injected = (done.tracks[0] for done in result.passes)
    assert (first.level, first_injected.level) == ("factory", "factory")
    assert (other.level, other_injected.level) == ("environment", "environment")
    assert other.threshold == other_injected.threshold == np.nextafter(first.score, np.inf)


async def test_clean_recordings_fill_every_cameras_calibration(walk: Path, tmp_path: Path) -> None:
    """Their tracks count as the camera's own, once; no message speaks of them."""
    clean = copied(walk, tmp_path / "clean.mp4")
    second = copied(walk, tmp_path / "second.mp4")
    result, heard = await play(ReplaySettings((walk, second), calibrate=(clean,), asked_rate=0.5))
    assert [done.tracks[0].level for done in result.passes] == ["camera", "camera"]
    assert result.reference is not None
    assert (result.reference.level, len(result.reference.ordered_clean)) == ("camera", 1)
    assert [done.run.kind for done in result.calibration] == ["calibration"]
    assert {messages.parse(line).data.camera for line in heard.lines} == {"walk-1", "second"}
    assert [event.of for event in heard.events if isinstance(event, PassStarted)] == [3, 3, 3]


async def test_fewer_frames_are_looked_at_when_asked(walk: Path) -> None:
    """What a camera at 5 frames a second would see."""
    result, _ = await play(ReplaySettings((walk,), fps=5.0))
    (done,) = result.passes
    assert done.summary.frames == 3
    assert done.summary.ended is not None
    assert done.summary.ended.frames_skipped == 11


async def test_face_settings_reach_the_worker(walk: Path) -> None:
    """Faces below the least height are not there."""
    result, _ = await play(ReplaySettings((walk,), faces=FaceSettings(min_face_px=200)))
    assert result.passes[0].summary.faces == 0


async def test_listener_may_refuse(walk: Path) -> None:
    """A broker that refuses ends the replay with its own error, and the worker with it."""

    async def refuse(event: ReplayEvent) -> None:
        if isinstance(event, messages.Verdict):
            raise DeliveryError("the broker refuses")

    with pytest.raises(DeliveryError, match="the broker refuses"):
        await replay(ReplaySettings((walk,)), bundle=make_bundle(), detector=FakeDetector(), listen=refuse)


async def test_following_the_clock_takes_as_long_as_the_recording(tmp_path: Path) -> None:
    """14 frames at 5 a second last 2.6 s, and are looked at in less; the messages are the same."""
    walk = make_passage(tmp_path / "walk.mp4", 14, fps=5)
    loop = asyncio.get_running_loop()
    _, plain = await play(ReplaySettings((walk,)))
    moments: list[float] = []

    async def listen(event: ReplayEvent) -> None:
        if isinstance(event, FrameSeen):
            moments.append(loop.time())

    result = await replay(
        ReplaySettings((walk,), follow_clock=True), bundle=make_bundle(), detector=FakeDetector(), listen=listen
    )
    # A loaded machine may be late with some of the first; the others keep the beat with the last.
    assert any(moments[-1] - moments[number] >= (13 - number) / 5 - 0.01 for number in range(7))
    assert result.passes[0].tracks[0].label == "clean"
    assert len(plain.lines) == 1


async def test_pacing_never_holds_back_what_is_late() -> None:
    """A source that is behind its clock is not slowed down further."""

    async def late() -> AsyncIterator[SourceEvent]:
        for seq in range(3):
            await asyncio.sleep(0.02)
            yield FrameFaces("gate", seq, 100.0 + seq / 1000, ClockSource.FILE_PTS, 10, 10, (), 0)

    loop = asyncio.get_running_loop()
    before = loop.time()
    frames = [event async for event in replay_run.paced(late())]
    assert len(frames) == 3
    assert loop.time() - before < 5.0


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_real_clips_yield_tracks_and_the_empty_one_none(research_data: Path) -> None:
    """Every clip with a face gives at least one track, the clip without one gives none, and none fails."""
    result, _ = await play(ReplaySettings((research_data / "videos",), fps=6.0))
    assert result.failures == []
    tracks = {done.run.recording.path.name: done.summary.tracks for done in result.passes}
    assert tracks.pop("intel_bottle-detection.mp4") == 0
    assert len(tracks) == 14
    assert all(tracks.values()), tracks
