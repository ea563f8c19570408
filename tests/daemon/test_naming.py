"""Names of live messages: unique over restarts, and the ones of the conventions."""

from fakes.live import FakeAlerts
from fakes.passages import screening
from fakes.screening import make_bundle

from gateway.daemon.naming import LiveNaming
from gateway.screening import decide


def verdict(camera: str = "lobby") -> decide.Verdict:
    """Return the verdict on a track of one face."""
    face = screening(0.0, camera=camera)
    state = decide.open_track(face, rule=make_bundle().calibration.rule, reference=None, alert_id="a")
    return decide.finish(decide.advance(state, face)[0])[0]


def test_alert_ids_are_the_boxes_numbers() -> None:
    """`<client_id>-<seq>`, with the numbers of whoever keeps the alerts."""
    naming = LiveNaming("box", FakeAlerts(seq=6))
    assert (naming.source, naming.replay, naming.next_seq()) == ("spectragate/box", False, 7)


def test_track_ids_that_begin_anew_give_other_alerts() -> None:
    """After a restart a camera's first track is number 1 again, at another time."""
    naming = LiveNaming("box", FakeAlerts())
    assert naming.alert_id("gate", 1, 1000.0) != naming.alert_id("gate", 1, 2000.0)
    assert naming.alert_id("gate", 1, 1000.0) == naming.alert_id("gate", 1, 1000.0)


def test_verdicts_of_different_tracks_have_different_names() -> None:
    """A verdict has no number; its track names it."""
    naming = LiveNaming("box", FakeAlerts())
    assert naming.verdict_event_id(verdict()) != naming.verdict_event_id(verdict("gate"))
    assert naming.verdict_event_id(verdict()).startswith("box-")
