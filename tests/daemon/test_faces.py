"""Where faces are in a picture now."""

import numpy as np
from fakes.boxes import alert
from fakes.passages import BOX, screening, tracked
from fakes.screening import make_bundle

from gateway.daemon.faces import FRESH_S, FacesInView
from gateway.screening import decide

NO_PIXELS = np.zeros((0, 1, 1, 3), np.uint8)


class Clock:
    """A clock that a test sets."""

    now_s = 10.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def verdict(track_id: int) -> decide.Verdict:
    """Return the verdict on a track of one face."""
    face = screening(0.0, track_id=track_id)
    state = decide.open_track(face, rule=make_bundle().calibration.rule, reference=None, alert_id="a")
    return decide.finish(decide.advance(state, face)[0])[0]


def test_face_is_marked_while_it_is_fresh_and_by_its_alert() -> None:
    """Red is the track whose alert is open, and no other; a face that went, or was not seen lately, has no box."""
    clock = Clock()
    faces = FacesInView(clock)
    faces.on_scored("hall", [tracked(1, track_id=1), tracked(1, track_id=2)], NO_PIXELS, [])
    raised = [alert(1, track_id=2), alert(2, track_id=1, camera="gate")]
    marks = faces.marks("lobby", raised)
    assert [mark.is_triggered for mark in marks] == [False, True]
    assert marks[0].corners == (BOX.x1, BOX.y1, BOX.x2, BOX.y2)
    assert faces.marks("gate", raised) == ()
    clock.now_s += FRESH_S + 0.1
    assert faces.marks("lobby", raised) == ()


def test_face_is_forgotten_when_its_track_ends() -> None:
    """Nothing grows with the people who walk past."""
    faces = FacesInView(Clock())
    faces.on_scored("hall", [tracked(1, track_id=1)], NO_PIXELS, [])
    faces.on_finished("lobby", "hall", verdict(track_id=1))
    faces.on_finished("lobby", "hall", verdict(track_id=7))
    assert faces.marks("lobby", []) == ()
    assert faces._seen == {}


def test_alert_of_a_track_that_ended_marks_nobody() -> None:
    """Numbers of tracks come again after a restart."""
    faces = FacesInView(Clock())
    faces.on_scored("hall", [tracked(1, track_id=2)], NO_PIXELS, [])
    ended = alert(1, track_id=2, type="end", end_time=1_769_860_900.0)
    assert [mark.is_triggered for mark in faces.marks("lobby", [ended])] == [False]
