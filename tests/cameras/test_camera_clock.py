"""The camera's clock: believed where it is believable, at the moment it is used."""

import struct
from itertools import pairwise

import pytest

from gateway.cameras.camera_clock import MOST_AHEAD_S, MOST_BEHIND_S, CameraClock, reference_time_s
from gateway.values import ClockSource

NOW_S = 1_795_000_000.0


def test_arrival_counts_before_the_first_report() -> None:
    """A camera that says nothing, or not yet, has the gateway's time."""
    assert CameraClock().read(12.0, arrived_utc_s=NOW_S) == (NOW_S, ClockSource.ARRIVAL)


def test_the_cameras_time_counts_after_a_report() -> None:
    """Stamps are as far from the report's stamp as their times are from its time."""
    clock = CameraClock()
    clock.report(10.0, NOW_S)
    assert clock.read(12.5, arrived_utc_s=NOW_S + 2.6) == (NOW_S + 2.5, ClockSource.RTCP_NTP)


def test_arrival_counts_when_a_frame_has_no_stamp() -> None:
    """The first frame of every stream has none."""
    clock = CameraClock()
    clock.report(10.0, NOW_S)
    assert clock.read(None, arrived_utc_s=NOW_S) == (NOW_S, ClockSource.ARRIVAL)


@pytest.mark.parametrize("off_s", [-NOW_S, -3600.0, -MOST_BEHIND_S - 0.1, MOST_AHEAD_S + 0.1, 7200.0, 1e12])
def test_arrival_counts_when_a_report_is_absurd(off_s: float) -> None:
    """1970, another time zone, the future: such a clock is not the camera's to be believed."""
    clock = CameraClock()
    clock.report(10.0, NOW_S + off_s)
    assert clock.read(10.0, arrived_utc_s=NOW_S) == (NOW_S, ClockSource.ARRIVAL)


def test_the_newest_report_counts_when_the_camera_sets_its_clock() -> None:
    """A jump to a believable time is followed, one away from it is not."""
    clock = CameraClock()
    clock.report(10.0, 0.0)
    clock.report(11.0, NOW_S)
    assert clock.read(11.0, arrived_utc_s=NOW_S)[1] is ClockSource.RTCP_NTP
    clock.report(12.0, NOW_S + 86_400)
    assert clock.read(12.0, arrived_utc_s=NOW_S + 1) == (NOW_S + 1, ClockSource.ARRIVAL)


def test_a_camera_is_doubted_and_believed_again_when_our_own_clock_is_set() -> None:
    """Which of two clocks is wrong is asked with every frame."""
    clock = CameraClock()
    clock.report(10.0, NOW_S)
    assert clock.read(11.0, arrived_utc_s=NOW_S - 86_400)[1] is ClockSource.ARRIVAL
    assert clock.read(12.0, arrived_utc_s=NOW_S + 2)[1] is ClockSource.RTCP_NTP


@pytest.mark.parametrize("limit_s", [-MOST_BEHIND_S, MOST_AHEAD_S])
def test_the_clock_does_not_change_back_and_forth_when_it_lies_at_a_limit(limit_s: float) -> None:
    """Frames arrive now early, now late; each change would be a step in time. A clock that is set right is believed."""
    clock = CameraClock()
    clock.report(0.0, NOW_S + limit_s)
    read = [clock.read(index / 25, arrived_utc_s=NOW_S + index / 25 + 0.02 * (-1) ** index)[1] for index in range(50)]
    assert sum(earlier is not later for earlier, later in pairwise(read)) <= 1
    assert read[-1] is ClockSource.ARRIVAL
    clock.report(3.0, NOW_S + 3.0)
    assert clock.read(3.0, arrived_utc_s=NOW_S + 3.1)[1] is ClockSource.RTCP_NTP


def test_a_stamp_that_wraps_is_not_believed() -> None:
    """A stream whose stamps begin again needs a new report."""
    clock = CameraClock()
    clock.report(95_000.0, NOW_S)
    assert clock.read(0.5, arrived_utc_s=NOW_S + 1) == (NOW_S + 1, ClockSource.ARRIVAL)


def test_ffmpegs_reference_time_is_read_in_seconds() -> None:
    """Microseconds since 1970, then flags; anything shorter is none."""
    assert reference_time_s(struct.pack("=qi4x", int(NOW_S * 1e6) + 250_000, 24)) == NOW_S + 0.25
    assert reference_time_s(b"short") is None
