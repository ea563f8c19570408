"""The word that stands for a camera: made of what its source, the box and the operator say."""

import pytest
from fakes.live import FakeShown
from fakes.screening import make_bundle
from structlog.testing import capture_logs

from gateway.cameras.keeper import CameraState, State
from gateway.contract import messages
from gateway.contract.examples import EXAMPLES
from gateway.contract.topics import Topics
from gateway.daemon.board import Board
from gateway.screening import decide

(ALERT, *_) = [each for each in EXAMPLES.values() if isinstance(each, messages.Alert)]


def reference_of(_camera: str) -> decide.Reference | None:
    """Return the factory's reference."""
    factory = make_bundle().calibration.clean_tracks
    return decide.choose_reference(asked_rate=0.001, camera=(), environment=(), factory=factory)


class Room:
    """A board, what it shows, and a clock."""

    def __init__(self) -> None:
        self.now_s = 500.0
        self.shown = FakeShown()
        self.board = Board(self.shown, Topics("spectragate"), reference_of=reference_of, clock=lambda: self.now_s)

    def says(self, state: State, reason: str | None = None, *, camera: str = "gate", since_s: float = 100.0) -> None:
        """Let a camera's keeper say something."""
        self.board.on_state(CameraState(camera, state, reason, since_s))

    def status(self, camera: str = "gate") -> messages.CameraStatus:
        """Return the status that stands."""
        status = messages.parse(self.shown.topics[f"spectragate/{camera}/status"])
        assert isinstance(status, messages.CameraStatus)
        return status


def test_status_tells_the_promise() -> None:
    """What the camera's next track would be judged against, and what that can hold."""
    room = Room()
    room.says("online")
    status = room.status()
    assert (status.state, status.reason, status.since, status.calibration) == ("online", None, 100.0, "factory")
    assert status.promise is not None
    assert status.promise.asked_rate == 0.001


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("online", None, ("degraded", "overloaded")),
        ("degraded", "crash_loop", ("degraded", "crash_loop")),
        ("disabled", "by_command", ("disabled", "by_command")),
        ("offline", "auth", ("offline", "auth")),
    ],
)
def test_away_comes_before_badly_watched(state: State, reason: str | None, expected: tuple[str, str]) -> None:
    """A camera's own state hides its overload and the box's troubles."""
    room = Room()
    room.says("online")
    room.board.on_trouble("gpu", "cpu_fallback")
    room.board.on_overload("gate", is_on=True)
    room.says(state, reason)
    assert room.shown.status("gate") == expected


def test_trouble_of_the_box_is_said_of_every_camera() -> None:
    """And taken back when it is over."""
    room = Room()
    room.says("online")
    room.says("online", camera="lobby")
    room.board.on_trouble("gpu", "cpu_fallback")
    room.board.on_trouble("disk", "disk_full")
    assert room.shown.status("gate") == room.shown.status("lobby") == ("degraded", "cpu_fallback")
    room.board.on_trouble("gpu", None)
    assert room.shown.status("gate") == ("degraded", "disk_full")
    room.board.on_trouble("disk", None)
    room.board.on_trouble("disk", None)
    assert room.shown.status("gate") == ("online", None)


def test_since_is_when_the_word_changed() -> None:
    """From the keeper where it changed its word, from the clock where the board did."""
    room = Room()
    room.says("online", since_s=100.0)
    room.now_s = 600.0
    room.board.on_overload("gate", is_on=True)
    assert room.status().since == 600.0
    room.now_s = 700.0
    room.board.on_overload("gate", is_on=False)
    assert room.status().since == 700.0
    room.says("offline", "stalled", since_s=800.0)
    assert room.status().since == 800.0


def test_same_word_is_not_said_again() -> None:
    """Subscribers hear of changes; `refresh` alone repeats."""
    room = Room()
    room.says("online")
    count = len(room.shown.history)
    room.says("online")
    room.board.on_overload("gate", is_on=False)
    assert len(room.shown.history) == count
    room.board.refresh()
    assert len(room.shown.history) == count + 1


def test_log_is_left_alone_by_a_camera_that_comes_and_goes() -> None:
    """Its keeper logs that, ever more rarely; what the box or the operator makes of a camera is logged here."""
    room = Room()
    with capture_logs() as lines:
        for _ in range(100):
            room.says("online")
            room.says("offline", "ended")
        room.says("online")
        assert lines == []
        room.board.on_overload("gate", is_on=True)
        room.board.on_overload("gate", is_on=False)
        room.says("disabled", "by_command")
    assert [(line["state"], line["reason"]) for line in lines] == [
        ("degraded", "overloaded"),
        ("online", None),
        ("disabled", "by_command"),
    ]


def test_lamp_is_on_while_any_track_is_under_alarm() -> None:
    """Two tracks, one lamp; an alert of a camera that is no more lights nothing."""
    room = Room()
    camera = ALERT.data.camera
    room.says("online", camera=camera)

    def alert(alert_id: str, kind: str) -> messages.Alert:
        end_time = ALERT.data.frame_time if kind == "end" else None
        data = ALERT.data.model_copy(update={"alert_id": alert_id, "type": kind, "end_time": end_time})
        return messages.Alert.of(data, event_id="box-1", source="spectragate/box")

    for alert_id, kind in (("a", "new"), ("b", "new"), ("a", "update"), ("a", "end"), ("b", "end")):
        room.board.on_alert(alert(alert_id, kind))
    assert room.shown.lamp(camera) == [b"OFF", b"ON", b"OFF"]
    room.board.forget(camera)
    room.board.on_alert(alert("c", "new"))
    assert room.shown.lamp(camera)[-1] is None


def test_camera_that_is_gone_leaves_no_word() -> None:
    """Everything retained about it is taken back."""
    room = Room()
    room.says("online")
    room.board.show_enabled("gate", is_on=True)
    assert room.shown.topics["spectragate/gate/enabled/state"] == b"ON"
    room.board.forget("gate")
    assert room.shown.topics == {}
    assert room.board.state_of("gate") is None
