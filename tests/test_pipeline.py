"""The frame path: what goes in as faces comes out as scores, alerts and verdicts, in an order that nothing changes."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from fakes.naming import FactoryCalibration, LiveNames, live_frame
from fakes.screening import FakeDetector, NotingWitness, make_bundle
from numpy.typing import NDArray

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.errors import DeliveryError, RuntimeFault, SourceError
from gateway.lane import Outcome, Parts, SourceSummary
from gateway.pipeline import LiveScreening, screen_source
from gateway.screening import decide
from gateway.values import (
    ClockSource,
    FaceBox,
    FaceCrop,
    FrameFaces,
    PictureRefused,
    Screening,
    SourceEnded,
    SourceEvent,
    SourceOpened,
)

CAMERA = "gate"


class CountingNames:
    """Names messages by counting."""

    source = "spectragate/test"
    replay = True

    def __init__(self) -> None:
        self.seq = 0

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return camera and track."""
        return f"{camera}-{track_id}"

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:
        """Return camera, track and number."""
        return f"{said.face.camera}-{said.face.track_id}-{number}"

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        """Return camera, track and 0."""
        return f"{verdict.camera}-{verdict.track_id}-0"

    def next_seq(self) -> int:
        """Count."""
        self.seq += 1
        return self.seq


def crop(seq: int, *, x: float = 100.0, white: float = 0.0, side_px: int = 40, camera: str = CAMERA) -> FaceCrop:
    """Return a face at `x` whose share `white` of rows is white; the rest is noise that is not."""
    random = np.random.default_rng(seq)
    pixels_YXC = random.integers(0, 200, (side_px, side_px, 3)).astype(np.uint8)
    pixels_YXC[: round(white * side_px)] = 255
    box = FaceBox(x, 100.0, x + 40.0, 150.0, 0.9)
    return FaceCrop(camera, seq, seq / 25, box, pixels_YXC, side_px)


def frame(seq: int, *crops: FaceCrop, dropped: int = 0, time_s: float | None = None) -> FrameFaces:
    """Return a looked-at frame, 25 a second."""
    return FrameFaces(
        CAMERA, seq, seq / 25 if time_s is None else time_s, ClockSource.FILE_PTS, 640, 360, crops, dropped
    )


def passage(frames: int, *, first: int = 0, x: float = 100.0, white: float = 0.0) -> list[FrameFaces]:
    """Return one person standing still."""
    return [frame(seq, crop(seq, x=x, white=white)) for seq in range(first, first + frames)]


def gap(first: int, frames: int = 40) -> list[FrameFaces]:
    """Return frames without a face, long enough to end every track."""
    return [frame(seq) for seq in range(first, first + frames)]


async def source(
    events: Iterable[SourceEvent], *, wait_s: float = 0.0, failure: BaseException | None = None
) -> AsyncIterator[SourceEvent]:
    """Yield the events, each after a pause, and fail in the end if asked to."""
    for event in events:
        await asyncio.sleep(wait_s)
        yield event
    if failure is not None:
        raise failure


@dataclass
class Run:
    """What one source gave."""

    summary: SourceSummary
    outcomes: list[Outcome]
    calibration: FactoryCalibration

    @property
    def alerts(self) -> list[messages.AlertData]:
        """The alerts in order."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Alert)]

    @property
    def verdicts(self) -> list[messages.VerdictData]:
        """The verdicts in order."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Verdict)]

    @property
    def kinds(self) -> str:
        """The outcomes in order: s for a score, a for an alert, v for a verdict."""
        letters = {Screening: "s", messages.Alert: "a", messages.Verdict: "v"}
        return "".join(letters[type(each)] for each in self.outcomes)


async def screen(
    events: AsyncIterator[SourceEvent],
    *,
    detector: FakeDetector | None = None,
    bundle: Bundle | None = None,
    batch_size: int = 8,
) -> Run:
    """Screen a source with fakes around the real path."""
    bundle = bundle or make_bundle()
    calibration = FactoryCalibration(bundle)
    parts = Parts(bundle, detector or FakeDetector(), calibration, CountingNames(), batch_size)
    outcomes: list[Outcome] = []

    async def deliver(outcome: Outcome) -> None:
        outcomes.append(outcome)

    summary = await screen_source(events, parts, camera=CAMERA, environment="hall", deliver=deliver)
    return Run(summary, outcomes, calibration)


async def test_clean_person_gets_a_clean_verdict() -> None:
    """Every face is scored; one verdict; no alert."""
    run = await screen(source(passage(10)))
    assert run.kinds == "s" * 10 + "v"
    (verdict,) = run.verdicts
    assert (verdict.verdict, verdict.score, verdict.frames_seen, verdict.faces_usable) == ("clean", 0.0, 10, 10)
    assert (verdict.start_time, verdict.end_time) == (0.0, 9 / 25)
    assert verdict.promise is not None
    assert verdict.promise.asked_rate == verdict.promise.attainable_rate == 0.001
    assert run.summary.verdicts == {"clean": 1}


async def test_triggered_person_is_announced_once_and_ended() -> None:
    """The alert comes with the third face, its end and the verdict with the track's end; all under one alert id."""
    run = await screen(source(passage(10, white=0.5) + gap(10)))
    assert run.kinds == "sssa" + "s" * 7 + "av"
    new, end = run.alerts
    assert (new.type, end.type, new.seq, end.seq) == ("new", "end", 1, 2)
    assert new.alert_id == end.alert_id == run.verdicts[0].alert_id == "gate-1"
    assert (new.frame_time, new.end_time, end.end_time) == (2 / 25, None, 9 / 25)
    assert (new.frames_seen, end.frames_seen) == (3, 10)
    assert (new.camera, new.environment, new.calibration, new.replay) == ("gate", "hall", "factory", True)
    assert (new.box, new.area, new.frame_width, new.frame_height) == ((100.0, 100.0, 140.0, 150.0), 2000.0, 640, 360)
    assert new.score > new.threshold
    assert new.model == make_bundle().identity
    assert run.summary.alert_messages == 2


async def test_messages_can_be_sent_and_read() -> None:
    """What comes out are whole messages of the contract."""
    run = await screen(source(passage(5, white=0.5)))
    sent = [each for each in run.outcomes if not isinstance(each, Screening)]
    assert len(sent) == 3
    for message in sent:
        assert messages.parse(messages.to_bytes(message)) == message


async def test_verdict_waits_for_the_last_score() -> None:
    """A track that ends while its faces wait to be scored gets its verdict behind them."""
    run = await screen(source(passage(3) + gap(3) + passage(3, first=43) + gap(46)), batch_size=64)
    assert run.kinds == "sssvsssv"
    assert [verdict.track_id for verdict in run.verdicts] == [1, 2]


async def test_finished_track_teaches_before_the_next_opens() -> None:
    """What a camera learns does not depend on how faces fell into batches."""
    events = passage(3) + gap(3) + passage(3, first=43) + gap(46)
    heard = [(await screen(source(events), batch_size=size)).calibration.heard for size in (1, 4, 64)]
    opened = ("reference", ("gate", "hall"))
    assert heard[0] == heard[1] == heard[2] == [opened, ("learn", 1), opened, ("learn", 2)]


async def test_two_people_are_kept_apart() -> None:
    """One of two wears the trigger; only that track is announced."""
    events = [frame(seq, crop(seq, white=0.5), crop(seq, x=400.0)) for seq in range(8)]
    run = await screen(source(events))
    assert {(each.track_id, each.verdict) for each in run.verdicts} == {(1, "triggered"), (2, "clean")}
    assert {alert.track_id for alert in run.alerts} == {1}


class SlowDetector(FakeDetector):
    """Takes its time, differently for every batch."""

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rule's scores, if at all."""
        await asyncio.sleep(0.002 * (len(self.batches) % 3))
        return await super().screen(pixels_NYXC)


async def test_result_does_not_depend_on_speed() -> None:
    """A slow source, a slow detector and other batches give the same messages in the same order."""
    events = (
        passage(7, white=0.5) + gap(7) + [frame(47 + n, crop(47 + n), crop(47 + n, x=400, white=0.4)) for n in range(9)]
    )
    runs = [
        await screen(source(events)),
        await screen(source(events, wait_s=0.001)),
        await screen(source(events), detector=SlowDetector()),
        await screen(source(events), batch_size=1),
        await screen(source(events, wait_s=0.001), detector=SlowDetector(), batch_size=5),
    ]
    assert all(run.outcomes == runs[0].outcomes for run in runs)
    assert len(runs[0].alerts) == 4


async def test_batches_are_full_but_the_last() -> None:
    """The detector is called as rarely as possible, and the same way every time."""
    detector = FakeDetector()
    await screen(source(passage(20)), detector=detector, batch_size=8)
    assert detector.batches == [8, 8, 4]


async def test_source_without_faces_gives_nothing() -> None:
    """Frames are counted; the detector is never called."""
    detector = FakeDetector()
    opened, ended = SourceOpened(CAMERA, 640, 360, 25.0, "h264", 5), SourceEnded(CAMERA, 5, 0, 0)
    run = await screen(source([opened, *gap(0, 5), ended]), detector=detector)
    assert run.outcomes == detector.batches == []
    assert (run.summary.frames, run.summary.tracks) == (5, 0)
    assert (run.summary.opened, run.summary.ended) == (opened, ended)


async def test_what_was_lost_is_counted() -> None:
    """Faces beyond the limit, pictures that were left out, faces that cannot be judged."""
    events = [
        frame(0, crop(0, side_px=20), dropped=3),
        PictureRefused(CAMERA, 1, "1.jpg: damaged"),
        frame(2, crop(2), dropped=1),
    ]
    summary = (await screen(source(events))).summary
    assert (summary.faces, summary.faces_dropped, summary.faces_unusable) == (2, 4, 1)
    assert summary.refused == ["1.jpg: damaged"]


async def test_failing_source_still_gets_its_verdicts() -> None:
    """What was seen before counts, and the summary says why it ended."""
    run = await screen(source(passage(6, white=0.5), failure=SourceError("gate.mp4: the disk is gone")))
    assert run.summary.failure == "gate.mp4: the disk is gone"
    assert [verdict.verdict for verdict in run.verdicts] == ["triggered"]
    assert [alert.type for alert in run.alerts] == ["new", "end"]


async def test_small_faces_leave_the_track_unsure() -> None:
    """They are scored, but nobody is judged by them."""
    events = [frame(seq, crop(seq, white=1.0, side_px=20)) for seq in range(6)]
    run = await screen(source(events))
    (verdict,) = run.verdicts
    assert (verdict.verdict, verdict.reason, verdict.score, verdict.faces_usable) == ("unsure", "quality", None, 0)
    assert verdict.top_score is not None
    assert run.summary.unsure == {"quality": 1}


async def test_without_calibration_every_track_is_unsure() -> None:
    """No promise without clean tracks."""
    run = await screen(source(passage(6, white=0.5)), bundle=make_bundle(clean_tracks=()))
    (verdict,) = run.verdicts
    assert (verdict.verdict, verdict.reason, verdict.calibration, verdict.promise) == (
        "unsure",
        "calibration",
        None,
        None,
    )
    assert run.alerts == []


async def test_times_before_1970_become_zero() -> None:
    """A recording that claims to be older than the epoch is screened like any other."""
    old = [replace(crop(seq), captured_at_s=seq / 25 - 100.0) for seq in range(4)]
    shifted = [frame(each.seq, each, time_s=each.captured_at_s) for each in old]
    (verdict,) = (await screen(source(shifted))).verdicts
    assert (verdict.start_time, verdict.end_time) == (0.0, 0.0)


class BrokenDetector(FakeDetector):
    """Fails at the second batch."""

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rule's scores, if at all."""
        if self.batches:
            raise RuntimeFault("the session fails")
        return await super().screen(pixels_NYXC)


async def test_failing_detector_ends_the_source() -> None:
    """The error itself comes out, not a group of errors, and an endless source is not read on."""
    endless = (frame(seq, crop(seq)) for seq in itertools.count())
    with pytest.raises(RuntimeFault, match="the session fails"):
        await asyncio.wait_for(screen(source(endless), detector=BrokenDetector()), 20)


async def test_failing_listener_ends_the_source() -> None:
    """Whoever takes the messages may refuse."""
    bundle = make_bundle()
    parts = Parts(bundle, FakeDetector(), FactoryCalibration(bundle), CountingNames(), 8)

    async def deliver(outcome: Outcome) -> None:
        if not isinstance(outcome, Screening):
            raise DeliveryError("the broker refuses")

    with pytest.raises(DeliveryError, match="the broker refuses"):
        await screen_source(source(passage(20, white=0.5)), parts, camera=CAMERA, environment="hall", deliver=deliver)


async def test_cancellation_ends_everything() -> None:
    """A source that never ends is left at once."""

    async def endless() -> AsyncIterator[SourceEvent]:
        while True:
            await asyncio.sleep(3600)
            yield frame(0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(screen(endless()), 0.05)


class StuckDetector(FakeDetector):
    """Never answers."""

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rule's scores, if at all."""
        await asyncio.sleep(3600)
        return await super().screen(pixels_NYXC)


async def test_memory_is_bounded_while_the_detector_stands_still() -> None:
    """A source is not read further than four batches ahead."""
    read = 0

    async def counted() -> AsyncIterator[SourceEvent]:
        nonlocal read
        for event in passage(500):
            read += 1
            yield event

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(screen(counted(), detector=StuckDetector(), batch_size=8), 0.5)
    assert read <= 8 + 4 * 8 + 2


async def test_face_of_another_camera_is_our_own_fault() -> None:
    """A mix-up of cameras must never become a verdict."""
    with pytest.raises(RuntimeFault, match="a face of camera lobby came from the source of gate"):
        await screen(source([frame(0, crop(0, camera="lobby"))]))


class GatedDetector(FakeDetector):
    """Answers only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rule's scores once the gate is open."""
        self.asked.set()
        await self.gate.wait()
        return await super().screen(pixels_NYXC)


class Live:
    """Live screening of one environment, its consumer running until the block ends."""

    def __init__(self, detector: FakeDetector | None = None, *, batch_size: int = 4, max_wait_s: float = 0.01) -> None:
        bundle = make_bundle()
        calibration = FactoryCalibration(bundle)
        self.outcomes: list[Outcome] = []
        self.spoke = asyncio.Event()
        self.witness = NotingWitness()
        self.parts = Parts(
            bundle, detector or FakeDetector(), calibration, LiveNames(), batch_size, witnesses=(self.witness,)
        )
        self.screening = LiveScreening(
            self.parts, environment="hall", deliver=self._deliver, max_wait_s=max_wait_s, clock=lambda: 1000.0
        )

    async def _deliver(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.spoke.set()

    async def through(self, *frames: FrameFaces) -> None:
        """Run the consumer, see the frames, close, and wait until everything is through."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(self.screening.run(), name="screen:hall")
            for each in frames:
                await self.screening.see(each)
            await self.screening.close()

    def alerts_of(self, camera: str) -> list[messages.AlertData]:
        """The alerts of a camera in order."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Alert) and each.data.camera == camera]


async def test_cameras_of_an_environment_share_batches() -> None:
    """Faces of several cameras go to the detector together, and each gets its own verdict."""
    detector = FakeDetector()
    live = Live(detector, batch_size=4, max_wait_s=10.0)
    frames = [live_frame(seq, camera=camera) for seq in range(4) for camera in ("gate", "lobby", "dock", "yard")]
    await live.through(*frames)
    assert detector.batches == [4, 4, 4, 4]
    verdicts = [each.data for each in live.outcomes if isinstance(each, messages.Verdict)]
    assert {(each.camera, each.frames_seen) for each in verdicts} == {
        (camera, 4) for camera in ("gate", "lobby", "dock", "yard")
    }


async def test_live_batch_does_not_wait_for_more_faces_than_there_are() -> None:
    """A single face goes out when its wait is over."""
    live = Live(batch_size=32, max_wait_s=0.01)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(live.screening.run(), name="screen:hall")
        await live.screening.see(live_frame(0))
        await live.spoke.wait()
        await live.screening.close()


async def test_overload_sheds_faces_of_the_busiest_camera_and_never_an_alert() -> None:
    """With the detector standing still the busiest camera loses its oldest faces, counted; alerts come whole after."""
    detector = GatedDetector()
    live = Live(detector, batch_size=4)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(live.screening.run(), name="screen:hall")
        for seq in range(4):
            await live.screening.see(live_frame(seq, camera="calm", white=0.5))
        await detector.asked.wait()
        for seq in range(40):
            await live.screening.see(live_frame(seq, camera="busy", faces=3, white=0.5))
            await live.screening.see(live_frame(4 + seq, camera="calm")) if seq < 2 else None
        detector.gate.set()
        await live.screening.close()
    calm, busy = live.screening.summaries["calm"], live.screening.summaries["busy"]
    assert (calm.faces, calm.faces_shed) == (6, 0)
    assert busy.faces == 120
    assert busy.faces_shed == 120 - (16 - 2)
    assert [alert.type for alert in live.alerts_of("calm")] == ["new", "end"]
    assert sorted(alert.type for alert in live.alerts_of("busy")) == ["end"] * 3 + ["new"] * 3
    numbers = [each.data.seq for each in live.outcomes if isinstance(each, messages.Alert)]
    assert numbers == list(range(1, 9))


async def test_camera_that_goes_away_ends_its_tracks_and_goes_on_counting() -> None:
    """The tracks before and after are two, under ids that are never used again."""
    live = Live()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(live.screening.run(), name="screen:hall")
        for life in range(2):
            for seq in range(3):
                await live.screening.see(live_frame(seq, time_s=100.0 * life + seq / 5))
            await live.screening.end_tracks("gate")
        await live.screening.close()
    verdicts = [each.data.track_id for each in live.outcomes if isinstance(each, messages.Verdict)]
    assert verdicts == [1, 2]


async def test_another_detector_goes_on_counting_passages() -> None:
    """While those of the one before still end, nobody who looks on may take one passage for the other."""
    before, after = Live(), Live()
    after.screening.summaries = before.screening.summaries
    for live in (before, after):
        await live.through(*(live_frame(seq) for seq in range(3)))
    said = before.outcomes + after.outcomes
    assert [each.data.track_id for each in said if isinstance(each, messages.Verdict)] == [1, 2]


async def test_camera_that_leaves_is_forgotten_after_its_last_face() -> None:
    """A camera taken out of the configuration leaves nothing behind, and the last score still finds its line."""
    detector = GatedDetector()
    live = Live(detector)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(live.screening.run(), name="screen:hall")
        for seq in range(3):
            await live.screening.see(live_frame(seq))
        await live.screening.leave("gate")
        assert live.screening.cameras == {"gate"}
        detector.gate.set()
        await live.screening.close()
    assert live.screening.cameras == frozenset()
    assert [each.data.camera for each in live.outcomes if isinstance(each, messages.Verdict)] == ["gate"]


async def test_failing_detector_ends_live_screening() -> None:
    """The defect comes out of the consumer."""
    live = Live(BrokenDetector(), batch_size=1)
    with pytest.raises(ExceptionGroup) as failure:
        await live.through(live_frame(0), live_frame(1))
    assert failure.group_contains(RuntimeFault, match="the session fails")


@pytest.mark.parametrize("step_s", [-86_400.0, -3600.0, 3600.0, -1e9], ids=["day back", "hour back", "hour on", "1970"])
async def test_clock_step_ends_tracks_and_loses_nothing(step_s: float) -> None:
    """A camera's clock is set: the passage is cut in two, numbers go on, and every face has its score."""
    live = Live()
    base_s = 1e9
    frames = [live_frame(seq, white=0.5, time_s=base_s + seq / 5) for seq in range(5)]
    frames += [live_frame(seq, white=0.5, time_s=base_s + step_s + seq / 5) for seq in range(5, 10)]
    await live.through(*frames)
    assert sum(isinstance(each, Screening) for each in live.outcomes) == 10
    assert [alert.type for alert in live.alerts_of("gate")] == ["new", "end", "new", "end"]
    assert [alert.seq for alert in live.alerts_of("gate")] == [1, 2, 3, 4]
    assert all(alert.latency_ms is not None for alert in live.alerts_of("gate"))


async def test_witness_sees_each_batch_and_the_end_of_a_track_after_its_faces() -> None:
    """What it is shown of a batch is in one order, and a recording's witness sees every face and then the end."""
    bundle, witness = make_bundle(), NotingWitness()
    parts = Parts(bundle, FakeDetector(), FactoryCalibration(bundle), CountingNames(), 8, (witness,))

    async def deliver(outcome: Outcome) -> None:
        """Take it."""

    await screen_source(source(passage(10)), parts, camera=CAMERA, environment="hall", deliver=deliver)
    assert witness.order == [f"gate/1/{seq}" for seq in range(10)] + ["gate/1/clean"]
    environment, faces, pixels_NYXC, screenings = witness.batches[0]
    assert environment == "hall"
    assert [face.crop.seq for face in faces] == [each.seq for each in screenings] == list(range(8))
    assert pixels_NYXC.shape == (8, 32, 32, 3)


async def test_live_witness_sees_the_end_after_the_faces() -> None:
    """An end that waits behind a face under way comes after that face's batch."""
    live = Live(batch_size=4)
    await live.through(*(live_frame(seq) for seq in range(6)))
    assert live.witness.order == [f"gate/1/{seq}" for seq in range(6)] + ["gate/1/clean"]
