"""Cameras before which most cannot be judged: said once, taken back with more than a little, in status and notices."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from fakes.daemons import running_daemon

from gateway.daemon.board import PassageReason
from gateway.daemon.sight import LEAST_FACES, LEAST_PASSAGES, PASSAGES, Sight
from gateway.screening import decide
from gateway.values import FaceBox, Quality, Screening

SEEN = Screening("gate", 1, 0, 0.0, FaceBox(0, 0, 9, 9, 0.9), 1.0, Quality.TOO_SMALL)
CLEAN = decide.Verdict("gate", 1, "clean", None, None, 0.0, 1.0, SEEN, 9, 9, 1.0, 0.5, 99.5, None)
UNFIT = replace(CLEAN, label="unsure", reason="quality", faces_usable=0, statistic=None)


@dataclass
class Desk:
    """Hears words."""

    told: list[tuple[str, str, bool]] = field(default_factory=list)

    def on_passages(self, camera: str, reason: PassageReason, *, is_on: bool) -> None:
        """Remember the word."""
        self.told.append((camera, reason, is_on))


def pass_by(sight: Sight, verdict: decide.Verdict, count: int, *, environment: str = "hall") -> None:
    """Let people pass the gate."""
    for _ in range(count):
        sight.on_finished("gate", environment, verdict)


def test_most_faces_are_too_small_and_then_no_more() -> None:
    """Said when over half of enough passages are unfit; over when fewer than three in ten of the newest are."""
    desk = Desk()
    sight = Sight(desk)
    pass_by(sight, UNFIT, LEAST_PASSAGES - 1)
    assert desk.told == []
    pass_by(sight, UNFIT, 30)
    assert desk.told == [("gate", "quality", True)]
    pass_by(sight, CLEAN, 30)
    assert len(desk.told) == 1, "four in ten are unfit"
    pass_by(sight, CLEAN, PASSAGES)
    assert desk.told[1:] == [("gate", "quality", False)]
    pass_by(sight, UNFIT, 25)
    assert len(desk.told) == 2, "half are no majority"


def test_who_was_hardly_there_and_who_could_not_be_compared_do_not_count_as_unfit() -> None:
    """A face that was seen for a moment says nothing of the picture, nor does a want of clean passages."""
    desk = Desk()
    sight = Sight(desk)
    pass_by(sight, replace(UNFIT, faces_seen=LEAST_FACES - 1), PASSAGES)
    pass_by(sight, replace(CLEAN, label="unsure", reason="calibration"), PASSAGES)
    assert desk.told == []


def test_another_environment_begins_anew_and_a_camera_that_is_gone_is_forgotten() -> None:
    """Another detector may look at smaller faces; what ends late under the one before does not count for it."""
    desk = Desk()
    sight = Sight(desk)
    sight.know({"gate": "hall"})
    pass_by(sight, UNFIT, LEAST_PASSAGES)
    sight.know({"gate": "yard"})
    assert desk.told == [("gate", "quality", True), ("gate", "quality", False)]
    pass_by(sight, UNFIT, PASSAGES, environment="hall")
    assert len(desk.told) == 2
    pass_by(sight, UNFIT, LEAST_PASSAGES, environment="yard")
    sight.know({})
    assert [is_on for *_, is_on in desk.told] == [True, False, True, False]


def test_camera_that_is_watched_anew_is_counted_anew() -> None:
    """With other pictures, or by a detector that takes smaller faces: what was asked for has been done."""
    desk = Desk()
    sight = Sight(desk)
    sight.know({"gate": "hall", "dock": "yard"})
    pass_by(sight, UNFIT, PASSAGES)
    sight.know({"gate": "hall", "dock": "yard"}, anew={"dock"})
    assert desk.told == [("gate", "quality", True)]
    sight.know({"gate": "hall", "dock": "yard"}, anew={"gate"})
    assert desk.told[1:] == [("gate", "quality", False)]
    pass_by(sight, UNFIT, LEAST_PASSAGES - 1)
    assert len(desk.told) == 2, "what was counted before is forgotten"


async def test_status_and_notices_say_that_faces_cannot_be_judged(tmp_path: Path) -> None:
    """The camera is degraded with the word `quality`, and online again when faces can be judged."""
    text = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"
    async with running_daemon(tmp_path, text) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        box.cameras.passage("gate")
        await box.until(lambda: box.shown.status("gate") == ("online", None))
        pass_by(box.daemon.sight, UNFIT, LEAST_PASSAGES + 1, environment="default")
        assert box.shown.status("gate") == ("degraded", "quality")
        assert ("quality", "quality") in box.shown.told
        box.daemon.on_passages("dock", "quality", is_on=True)
        pass_by(box.daemon.sight, CLEAN, PASSAGES, environment="default")
        assert box.shown.status("gate") == ("online", None)
        assert box.shown.told[-1] == ("quality", "quality"), "another camera's still cannot be judged"
        box.daemon.on_passages("dock", "quality", is_on=False)
        assert box.shown.told[-1] == ("quality", None)
