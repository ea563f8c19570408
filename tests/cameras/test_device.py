"""Cameras at this machine: what can be told without one, and a real one where there is one."""

import threading
from pathlib import Path

import pytest

from gateway.cameras.device import open_device
from gateway.cameras.jobs import DeviceSource
from gateway.cameras.stream import FFmpegLog
from gateway.errors import SourceError, SourceReason

DEVICE = Path("/dev/video0")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none", SourceReason.NOT_FOUND), ("file", SourceReason.NO_VIDEO), ("/dev/null", SourceReason.NO_VIDEO)],
)
def test_a_device_is_refused_by_name_when_it_is_no_camera(tmp_path: Path, path: str, reason: SourceReason) -> None:
    """The path and what to do are in the text."""
    (tmp_path / "file").write_bytes(b"hello")
    before = threading.active_count()
    with FFmpegLog() as log, pytest.raises(SourceError, match=Path(path).name) as caught:
        open_device(DeviceSource(tmp_path / path), max_pixels=10_000_000, open_s=1.0, log=log)
    assert caught.value.reason is reason
    assert threading.active_count() <= before


@pytest.mark.skipif(not DEVICE.exists(), reason=f"needs a camera at {DEVICE}: this machine has none")
def test_a_device_yields_frames_when_there_is_one() -> None:
    """Its first frames come as pictures."""
    with FFmpegLog() as log:
        stream = open_device(DeviceSource(DEVICE), max_pixels=10_000_000, open_s=5.0, log=log)
        frame = next(frame for frame in stream.frames() if frame is not None and frame.picture is not None)
        assert frame.picture is not None
        assert frame.picture().shape == (frame.height_px, frame.width_px, 3)
        stream.close()
