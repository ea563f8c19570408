"""One example of every message, as the documents show them."""

from gateway.contract.messages import (
    Alert,
    AlertData,
    Band,
    CameraStats,
    CameraStatus,
    Evidence,
    LatencyMs,
    Message,
    ModelIdentity,
    Promise,
    Stats,
    Verdict,
    VerdictData,
    alert_id,
    live_event_id,
    replay_event_id,
)

_CLIENT = "spectragate-3f2a9c01b7d"
_RECORDING = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_MANIFEST = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_MODEL = ModelIdentity(version=3, sha256=_MANIFEST, profile="paper")
_PROMISE = Promise(asked_rate=0.001, attainable_rate=0.005, tracks_missing=800)

_NEW_ALERT = AlertData(
    alert_id=alert_id(_CLIENT, camera="lobby", track_id=17, start_time=1_769_860_800.0),
    seq=42,
    type="new",
    severity="alert",
    camera="lobby",
    environment="indoor",
    track_id=17,
    frame_time=1_769_860_801.25,
    frame_time_source="rtcp_ntp",
    start_time=1_769_860_800.0,
    end_time=None,
    score=4.75,
    top_score=6.5,
    p_value=0.0005,
    threshold=4.25,
    box=(612.0, 208.5, 708.0, 330.0),
    frame_width=1920,
    frame_height=1080,
    area=11_664.0,
    frames_seen=7,
    calibration="camera",
    model=_MODEL,
    latency_ms=LatencyMs(decode=11.5, queue=8.25, infer=6.0, publish=0.75),
    evidence=Evidence(top_bands=(Band(u=15, v=15, excess=9.5), Band(u=0, v=31, excess=7.25))),
    replay=False,
)
_ENDED_ALERT = AlertData(
    alert_id=alert_id(_RECORDING, camera="gate", track_id=2, start_time=0.0),
    seq=3,
    type="end",
    severity="watch",
    camera="gate",
    environment="outdoor",
    track_id=2,
    frame_time=3.0,
    frame_time_source="file_pts",
    start_time=0.0,
    end_time=3.0,
    score=4.5,
    top_score=5.0,
    p_value=None,
    threshold=4.25,
    box=(100.0, 100.0, 164.0, 164.0),
    frame_width=640,
    frame_height=360,
    area=4096.0,
    frames_seen=16,
    calibration="factory",
    model=_MODEL,
    replay=True,
)
_UNSURE = VerdictData(
    camera="gate",
    environment="outdoor",
    track_id=3,
    verdict="unsure",
    reason="quality",
    score=None,
    top_score=None,
    p_value=None,
    threshold=4.25,
    start_time=4.0,
    end_time=5.5,
    frame_time_source="file_pts",
    frames_seen=5,
    faces_usable=1,
    box=None,
    frame_width=640,
    frame_height=360,
    calibration="factory",
    promise=_PROMISE,
    model=_MODEL,
    replay=True,
)

EXAMPLES: dict[str, Message] = {
    "a track is triggered": Alert.of(
        _NEW_ALERT, event_id=live_event_id(_CLIENT, _NEW_ALERT.seq), source=f"spectragate/{_CLIENT}"
    ),
    "the track of a replay ends": Alert.of(
        _ENDED_ALERT,
        event_id=replay_event_id(_RECORDING, camera="gate", track_id=2, number=2),
        source="spectragate/replay",
    ),
    "a track with too few usable faces": Verdict.of(
        _UNSURE, event_id=replay_event_id(_RECORDING, camera="gate", track_id=3, number=0), source="spectragate/replay"
    ),
    "a camera without a picture": CameraStatus(
        camera="lobby",
        state="offline",
        reason="no_keyframe",
        since=1_769_860_900.0,
        calibration="factory",
        promise=_PROMISE,
    ),
    "an hour of one camera": Stats(
        time=1_769_864_400.0,
        uptime_s=3600.0,
        product_version="0.1.0",
        model=_MODEL,
        device="cpu",
        messages_published=12,
        messages_waiting=0,
        cameras=(
            CameraStats(
                camera="lobby",
                frames_looked_at=18_000,
                frames_skipped=72_000,
                frames_damaged=3,
                faces_found=2_450,
                faces_dropped=0,
                tracks_clean=118,
                tracks_triggered=1,
                tracks_unsure=6,
            ),
        ),
    ),
}
