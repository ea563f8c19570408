"""Status and statistics: what they refuse, and that the largest of them can go out."""

import pytest
from pydantic import ValidationError

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import MAX_CAMERAS, CameraStatus, Stats, to_bytes
from gateway.contract.states import DISK_REASONS, SOURCE_REASONS, STATUS_REASONS
from gateway.errors import SourceReason
from gateway.storage.database import Degraded

(STATS,) = (message for message in EXAMPLES.values() if isinstance(message, Stats))


def test_camera_status_when_online_with_a_reason() -> None:
    """A reason belongs to what is wrong."""
    with pytest.raises(ValidationError, match="reason"):
        CameraStatus(camera="lobby", state="online", reason="cpu_fallback", since=0.0)


def test_status_reasons_when_compared_with_the_sources() -> None:
    """Whatever ends a source or ails the disk can be said in a status, in the same word."""
    assert set(SOURCE_REASONS) == {reason.value for reason in SourceReason}
    assert set(DISK_REASONS) == {fault.value for fault in Degraded}
    for reason in STATUS_REASONS:
        assert CameraStatus(camera="lobby", state="degraded", reason=reason, since=0.0).reason == reason


def test_stats_when_a_box_is_full() -> None:
    """The statistics of as many cameras as a box may have, with long names and large numbers, fit into a message."""
    (camera,) = STATS.cameras
    counts = {name: 10**12 for name, value in dict(camera).items() if isinstance(value, int)}
    cameras = tuple(
        camera.model_copy(update={**counts, "camera": f"{number:0>48}", "frame_age_ms": 1234.567890123})
        for number in range(MAX_CAMERAS)
    )
    environments = tuple(
        STATS.environments[0].model_copy(update={"environment": f"{number:0>48}"}) for number in range(MAX_CAMERAS)
    )

    assert to_bytes(STATS.model_copy(update={"cameras": cameras, "environments": environments}))
