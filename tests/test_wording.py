"""From decisions to messages: every fact arrives, and names come from whoever names."""

from fakes.passages import BOX, screening
from fakes.screening import make_bundle

from gateway.contract import messages
from gateway.screening import decide
from gateway.values import ClockSource
from gateway.wording import FrameFacts, Speaker, alert_message, promise_of, verdict_message

FACTS = FrameFacts(640, 360, ClockSource.RTCP_NTP)


class Names:
    """Names messages by what it is given."""

    source = "spectragate/box"
    replay = False

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return camera and track."""
        return f"{camera}-{track_id}"

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:
        """Return the box's number."""
        return messages.live_event_id("box", seq)

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        """Return the track."""
        return f"box-verdict-{verdict.track_id}"

    def next_seq(self) -> int:
        """Return a number."""
        return 41


def announced(score: float = 50.0) -> tuple[decide.TrackState, decide.Announcement]:
    """Return a track that was announced at its third face, and what was said."""
    bundle = make_bundle()
    factory = bundle.calibration.clean_tracks
    reference = decide.choose_reference(asked_rate=0.001, camera=(), environment=(), factory=factory)
    state = decide.open_track(screening(score), rule=bundle.calibration.rule, reference=reference, alert_id="lobby-1")
    for seq in range(3):
        state, said = decide.advance(state, screening(score, seq=seq))
    return state, said[0]


def speaker() -> Speaker:
    """Return who speaks."""
    return Speaker("hall", make_bundle().identity, Names())


def test_alert_says_where_the_time_went() -> None:
    """A live alert carries its latency and the box's number in its id, and can be sent."""
    latency = messages.LatencyMs(decode=1.0, queue=2.0, infer=3.0, publish=4.0)
    message = alert_message(announced()[1], FACTS, speaker(), number=1, latency=latency)
    assert (message.id, message.source, message.data.seq) == ("box-41", "spectragate/box", 41)
    assert message.data.latency_ms == latency
    assert (message.data.frame_time_source, message.data.environment) == ("rtcp_ntp", "hall")
    assert message.data.box == (BOX.x1, BOX.y1, BOX.x2, BOX.y2)
    assert messages.parse(messages.to_bytes(message)) == message


def test_verdict_says_what_was_promised() -> None:
    """The rate asked for and the one that is held, with the verdict's own name."""
    verdict, _ = decide.finish(announced()[0])
    message = verdict_message(verdict, FACTS, speaker())
    assert (message.id, message.data.verdict, message.data.alert_id) == ("box-verdict-1", "triggered", "lobby-1")
    assert verdict.reference is not None
    assert message.data.promise == promise_of(verdict.reference)
    assert messages.parse(messages.to_bytes(message)) == message
