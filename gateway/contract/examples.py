"""One example of every message, as the documents show them."""

from gateway.contract.messages import (
    Alert,
    AlertData,
    Band,
    BrokerStats,
    CameraDrift,
    CameraStats,
    CameraStatus,
    CleanSetProgress,
    Command,
    Degraded,
    DriftChange,
    DriftState,
    EnvironmentStats,
    Evidence,
    Feedback,
    Flood,
    Gap,
    LatencyMs,
    Message,
    ModelAnswer,
    ModelIdentity,
    ModelState,
    Notice,
    NoticeData,
    OutboxStats,
    Promise,
    RealisedRate,
    Recovered,
    ReplayEnd,
    ReplayRequest,
    SeverityCounts,
    Stats,
    TrainerJob,
    TrainerState,
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


def _notice(data: NoticeData) -> Notice:
    return Notice.of(data, event_id=live_event_id(_CLIENT, data.seq), source=f"spectragate/{_CLIENT}")


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
    "messages that are gone": _notice(
        Gap(seq=43, time=1_769_860_950.0, from_seq=38, to_seq=41, count=3, reason="evicted")
    ),
    "too many alerts of one camera": _notice(
        Flood(
            seq=44,
            time=1_769_860_960.0,
            camera="gate",
            from_seq=21,
            to_seq=37,
            count=16,
            held=((21, 30), (32, 37)),
            severities=SeverityCounts(watch=14, alert=2, critical=0),
        )
    ),
    "a command was obeyed": _notice(
        Command(seq=45, time=1_769_860_970.0, command="enabled", value="OFF", camera="lobby", alert_id=None)
    ),
    "a bundle was chosen": _notice(
        Command(
            seq=48,
            time=1_769_864_800.0,
            command="model",
            value="pin 3",
            camera=None,
            alert_id=None,
            environment="indoor",
        )
    ),
    "the disk is full": _notice(Degraded(seq=46, time=1_769_860_980.0, part="outbox", reason="disk_full")),
    "the disk has room again": _notice(
        Recovered(seq=47, time=1_769_860_990.0, part="outbox", reason="disk_full", since=1_769_860_980.0)
    ),
    "a camera without a picture": CameraStatus(
        camera="lobby",
        state="offline",
        reason="stalled",
        since=1_769_860_900.0,
        calibration="factory",
        promise=_PROMISE,
        realised=RealisedRate(tracks=1200, promised_alerts=3.1, alerts=2, exceeds=False, last_day_tracks=400),
    ),
    "an hour of one camera": Stats(
        time=1_769_864_400.0,
        uptime_s=3600.0,
        product_version="0.1.0",
        device="cpu",
        environments=(EnvironmentStats(environment="indoor", model=_MODEL),),
        outbox=OutboxStats(depth=3, oldest_s=0.75, bytes=1_310_720, last_seq=45, evicted=0, degraded=None),
        broker=BrokerStats(
            state="online",
            reason=None,
            protocol="5",
            connects=2,
            taken_over=0,
            published=42,
            refused=0,
            requests_dropped=0,
            commands_ignored=1,
        ),
        cameras=(
            CameraStats(
                camera="lobby",
                frames_received=90_010,
                frames_looked_at=18_000,
                frames_skipped=72_000,
                frames_replaced=7,
                frames_damaged=3,
                faces_found=2_450,
                faces_dropped=0,
                faces_shed=0,
                frame_age_ms=41.5,
                tracks_clean=118,
                tracks_triggered=1,
                tracks_unsure=6,
                alerts_held=0,
            ),
        ),
    ),
    "a hall grew dark": DriftState(
        environment="indoor",
        time=1_769_864_400.0,
        state="drifted",
        model=_MODEL,
        cameras=(
            CameraDrift(
                camera="lobby",
                state="drifted",
                since=1_769_863_500.0,
                tracks=740,
                reference_tracks=500,
                statistic=0.125,
                threshold=0.03125,
                causes=(
                    DriftChange(scalar="brightness", change="darker", before=108.5, now=41.25, since=1_769_863_200.0),
                ),
                words="darker (brightness 108 before, 41 now)",
            ),
        ),
    ),
    "a bundle is on trial": ModelState(
        environment="indoor",
        time=1_769_864_700.0,
        state="shadow",
        model=_MODEL,
        since=1_769_860_000.0,
        candidate="b" * 64,
        pinned=False,
        update=None,
        reason=None,
    ),
    "a trainer refused a clean set": TrainerState(
        time=1_769_864_700.0,
        state="online",
        reason=None,
        jobs=(
            TrainerJob(
                environment="indoor",
                job="c" * 32,
                state="refused",
                reason="false alarms on clean faces: 0.14; at most 0.1 are allowed",
                version=None,
            ),
        ),
        clean_sets=(
            CleanSetProgress(
                environment="indoor",
                state="held",
                kept=520,
                old_enough=340,
                wanted=500,
                lacks="340 of 500 faces are a day old (520 are kept)",
            ),
        ),
    ),
    "an operator went back": ModelState(
        environment="indoor",
        time=1_769_864_800.0,
        state="steady",
        model=_MODEL,
        since=1_769_864_800.0,
        candidate=None,
        pinned=True,
        update=None,
        reason="the operator rolled it back",
        answer=ModelAnswer(order="rollback", time=1_769_864_800.0, result="done", reason=None),
    ),
    "a replay is over": ReplayEnd(
        source=f"spectragate/{_CLIENT}",
        requester="desk-1",
        from_seq=40,
        to_seq=45,
        answered_to_seq=45,
        sent=5,
        missing=((43, 43),),
        last_seq=45,
    ),
}

REQUESTS: dict[str, ReplayRequest | Feedback] = {
    "numbers are missing": ReplayRequest(from_seq=40, to_seq=45, requester="desk-1"),
    "it was nothing": Feedback(feedback="false_positive", note="sun on the glass"),
}
