"""Jobs: their ranges, and their way over the wire."""

import os
from pathlib import Path

import pytest

from gateway.cameras.jobs import (
    CameraJob,
    DeviceSource,
    FaceSettings,
    FileSource,
    Injection,
    Job,
    PeerSource,
    PicturesJob,
    RecordingJob,
    RtspSource,
    from_json,
    to_json,
)

INJECTION = Injection(Path("trigger.png"), place=(0.2, 1.0), size=0.3, opacity=0.5, mode="add")
PRINTABLE = bytes(range(32, 127)).decode()
FACES = FaceSettings(model=Path("yunet.onnx"), min_confidence=0.7, min_face_px=40, max_faces=3)


@pytest.mark.parametrize(
    "job",
    [
        RecordingJob("lobby", Path("clip.mp4")),
        RecordingJob("lobby", Path("clip.mp4"), faces=FACES, fps=5.0, inject=INJECTION),
        RecordingJob("lobby", Path(os.fsdecode(b"caf\xe9.mp4"))),
        PicturesJob("gate", (Path("ä b.png"), Path("c.jpg")), each_is_a_face=True, inject=INJECTION),
        PicturesJob("gate", ()),
        CameraJob("door", RtspSource("rtsp://camera/1"), fps=None),
        CameraJob("door", RtspSource("rtsps://camera", "me", PRINTABLE, "udp", Path("ca.pem"), "::1"), faces=FACES),
        CameraJob("door", DeviceSource(Path("/dev/video0"), 640, 480, 15.0), max_pixels=1000, stall_s=9.0),
        CameraJob("door", FileSource(Path(os.fsdecode(b"caf\xe9.mp4")), loop=True), connect_s=1.0),
        CameraJob("door", PeerSource(("10.0.0.0/8", "fc00::/7"))),
    ],
)
def test_a_job_comes_back_as_it_was_sent(job: Job) -> None:
    """What the worker reads equals what the parent wrote, also for names that are no UTF-8."""
    assert from_json(to_json(job)) == job


@pytest.mark.parametrize(
    "change", [{"size": 0.0}, {"size": 5.0}, {"opacity": 0.0}, {"opacity": 1.1}, {"place": (0, 9)}]
)
def test_an_injection_is_refused_when_out_of_range(change: dict[str, object]) -> None:
    """A trigger that could not be seen, or would lie far from the face, is a mistake."""
    with pytest.raises(ValueError, match="a trigger's"):
        Injection(Path("trigger.png"), **change)


@pytest.mark.parametrize(
    "change", [{"min_confidence": 0.0}, {"min_confidence": 1.0}, {"min_face_px": 0}, {"max_faces": 0}]
)
def test_face_settings_are_refused_when_out_of_range(change: dict[str, float]) -> None:
    """Each limit names itself and what was given."""
    with pytest.raises(ValueError, match=next(iter(change))):
        FaceSettings(**change)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 2000.0])
def test_a_recording_job_is_refused_when_its_rate_is_none(fps: float) -> None:
    """A rate of zero frames would never end."""
    with pytest.raises(ValueError, match="fps"):
        RecordingJob("lobby", Path("clip.mp4"), fps=fps)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": 0.0},
        {"fps": float("nan")},
        {"max_pixels": 0},
        {"max_pixels": 1 << 40},
        {"connect_s": 0.0},
        {"stall_s": -1.0},
    ],
)
def test_a_camera_job_is_refused_when_out_of_range(change: dict[str, float]) -> None:
    """A limit that would never end, or never begin, names itself."""
    with pytest.raises(ValueError, match=next(iter(change))):
        CameraJob("door", FileSource(Path("clip.mp4")), **change)


def test_a_password_is_not_shown_when_a_job_is() -> None:
    """Tracebacks and logs show values; a password is none of their business."""
    job = CameraJob("door", RtspSource("rtsp://camera", "me", "s3cret"))
    assert "s3cret" not in f"{job!r} {job}"


def test_a_worker_is_told_neither_address_nor_token_of_a_server_that_the_parent_calls() -> None:
    """It is the parent that calls; only that it does is told."""
    sent = to_json(CameraJob("door", PeerSource(("10.0.0.0/8",), "https://media/secret", "s3cret")))
    assert b"secret" not in sent
    assert b"s3cret" not in sent
    read = from_json(sent)
    assert isinstance(read, CameraJob)
    assert read.source == PeerSource(("10.0.0.0/8",), "")
