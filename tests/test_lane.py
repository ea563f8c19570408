"""A camera's line: scores meet their faces, ends wait behind them, and a face that was shed leaves without a trace."""

import pytest
from fakes.naming import FactoryCalibration, LiveNames, live_frame
from fakes.screening import FakeDetector, make_bundle

from gateway.contract import messages
from gateway.errors import RuntimeFault
from gateway.lane import Lane, Outcome, Parts, Scored
from gateway.values import FrameFaces, Quality, Screening, TrackedFace


class Bench:
    """A lane on a clock that stands still until it is moved."""

    def __init__(self) -> None:
        bundle = make_bundle()
        self.now_s = 100.0
        self.outcomes: list[Outcome] = []
        self.calibration = FactoryCalibration(bundle)
        parts = Parts(bundle, FakeDetector(), self.calibration, LiveNames(), 8)
        self.lane = Lane(parts, camera="gate", environment="hall", deliver=self._deliver, clock=lambda: self.now_s)

    async def _deliver(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    async def see(self, frame: FrameFaces) -> tuple[TrackedFace, ...]:
        """Let a frame's faces stand in line."""
        faces, ended = self.lane.see(frame)
        await self.lane.end(ended)
        for face in faces:
            self.lane.wait_for(face, frame)
        return faces

    async def score(
        self, face: TrackedFace, score: float, scored: Scored | None = None, *, quality: Quality = Quality.USABLE
    ) -> None:
        """Let a score come back."""
        crop = face.crop
        screening = Screening(crop.camera, face.track_id, crop.seq, crop.captured_at_s, crop.box, score, quality)
        await self.lane.take(screening, scored)

    @property
    def alerts(self) -> list[messages.AlertData]:
        """The alerts in order."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Alert)]

    @property
    def verdicts(self) -> list[messages.VerdictData]:
        """The verdicts in order."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Verdict)]


async def test_live_alert_says_where_the_time_went() -> None:
    """Decode and queue come from the worker's times, infer from the batch's, publish is the rest."""
    bench = Bench()
    for seq in range(3):
        (face,) = await bench.see(live_frame(seq, time_s=90.0 + seq / 5))
        bench.now_s = 90.5
        await bench.score(face, 50.0, Scored(90.46, 90.48))
    (alert,) = bench.alerts
    assert alert.latency_ms is not None
    latency = alert.latency_ms.model_dump()
    assert latency == pytest.approx({"decode": 30.0, "queue": 30.0, "infer": 20.0, "publish": 20.0})


async def test_end_of_a_track_does_not_count_as_time() -> None:
    """The end is said when the track was missed for a while; that wait is no latency."""
    bench = Bench()
    for seq in range(3):
        (face,) = await bench.see(live_frame(seq, time_s=90.0 + seq / 5))
        await bench.score(face, 50.0, Scored(90.46, 90.48))
    bench.now_s = 200.0
    await bench.lane.end_all()
    end = bench.alerts[-1]
    assert end.type == "end"
    assert end.latency_ms is not None
    assert end.latency_ms.publish == 0.0


async def test_shed_face_leaves_the_line_while_others_are_scored() -> None:
    """The first face is with the detector, the second is shed, the third gets the next score."""
    bench = Bench()
    faces = [face for seq in range(3) for face in await bench.see(live_frame(seq))]
    await bench.lane.shed(faces[1])
    await bench.score(faces[0], 1.0)
    await bench.score(faces[2], 3.0)
    assert [each.score for each in bench.outcomes if isinstance(each, Screening)] == [1.0, 3.0]
    assert (bench.lane.summary.faces, bench.lane.summary.faces_shed) == (3, 1)


async def test_shed_face_frees_the_end_behind_it() -> None:
    """A track whose last face is shed gets its verdict from the faces before."""
    bench = Bench()
    faces = [face for seq in range(4) for face in await bench.see(live_frame(seq))]
    await bench.lane.end_all()
    for face in faces[:3]:
        await bench.score(face, 0.5)
    assert bench.verdicts == []
    await bench.lane.shed(faces[3])
    assert [verdict.frames_seen for verdict in bench.verdicts] == [3]
    assert bench.lane.is_idle


async def test_track_without_a_scored_face_is_counted_and_not_judged() -> None:
    """Nothing is said of a person of whom no face was scored, and nothing is learnt."""
    bench = Bench()
    faces = [face for seq in range(2) for face in await bench.see(live_frame(seq))]
    await bench.lane.end_all()
    for face in faces:
        await bench.lane.shed(face)
    assert (bench.outcomes, bench.calibration.heard, bench.lane.summary.tracks_shed) == ([], [], 1)
    assert bench.lane.is_idle


async def test_track_ids_go_on_after_all_tracks_ended() -> None:
    """A camera that comes back never uses an id again."""
    bench = Bench()
    ids = []
    for seq in range(3):
        (face,) = await bench.see(live_frame(0, time_s=float(seq)))
        ids.append(face.track_id)
        await bench.lane.end_all()
        await bench.score(face, 0.0)
    assert ids == [1, 2, 3]


async def test_track_stands_as_it_would_be_judged_now() -> None:
    """Judging before as many faces as a verdict needs, then clean until it crosses; unknown ones are being judged."""
    bench = Bench()
    seen = []
    for seq, score in enumerate((0.0, 0.0, 0.0, 99.0, 99.0, 99.0, 99.0)):
        (face,) = await bench.see(live_frame(seq))
        seen.append(bench.lane.standing(face.track_id))
        await bench.score(face, score)
    assert seen[:4] == ["judging", "judging", "judging", "clean"]
    assert bench.lane.standing(face.track_id) == "triggered"
    assert bench.lane.standing(99) == "judging"
    await bench.lane.end_all()
    assert bench.lane.standing(face.track_id) == "judging"


async def test_track_of_faces_that_cannot_be_judged_stands_as_unsure() -> None:
    """As many faces as a verdict needs, and none of them usable."""
    bench = Bench()
    for seq in range(3):
        (face,) = await bench.see(live_frame(seq))
        await bench.score(face, 0.0, quality=Quality.TOO_SMALL)
    assert bench.lane.standing(face.track_id) == "unsure"


async def test_score_out_of_turn_is_our_own_fault() -> None:
    """A score never counts for another face than its own."""
    bench = Bench()
    faces = await bench.see(live_frame(0, faces=2))
    with pytest.raises(RuntimeFault, match="out of turn"):
        await bench.score(faces[1], 0.0)
