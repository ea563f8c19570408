"""What the parent takes from a worker, and in which order."""

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cameras.jobs import CameraJob, Job, PeerSource, PicturesJob, RecordingJob, RtspSource
from gateway.cameras.order import SAVED_S, Order
from gateway.cameras.wire import WireError
from gateway.values import (
    ClockSource,
    FrameFaces,
    PictureRefused,
    SourceEnded,
    SourceEvent,
    SourceOpened,
    SourceProgress,
    SourceWaiting,
)


def _frame(seq: int, time_s: float = 0.0) -> FrameFaces:
    return FrameFaces("lobby", seq, time_s, ClockSource.FILE_PTS, 64, 36, (), 0)


def _live(seq: int, time_s: float = 0.0, *, arrived_at_s: float = 8.0, found_at_s: float = 8.5) -> FrameFaces:
    return replace(_frame(seq, time_s), arrived_at_s=arrived_at_s, found_at_s=found_at_s)


def _progress(*counts: int) -> SourceProgress:
    return SourceProgress("lobby", *counts)


OPENED = SourceOpened("lobby", 64, 36, 25.0, "h264", None)
RECORDING, TWO_PICTURES = RecordingJob("lobby", Path("a.mp4")), PicturesJob("gate", (Path("a.png"), Path("b.png")))
CAMERA = CameraJob("lobby", RtspSource("rtsp://camera/stream?token=secret"))
CALLED = CameraJob("lobby", PeerSource(("10.0.0.0/8",), token="secret"))
WAITING = SourceWaiting("lobby")


@pytest.mark.parametrize(
    ("job", "events"),
    [
        (RECORDING, [_frame(0)]),
        (RECORDING, [OPENED, OPENED]),
        (RECORDING, [OPENED, _frame(3), _frame(3)]),
        (RECORDING, [OPENED, _frame(0, 1.0), _frame(1, 0.9)]),
        (RECORDING, [OPENED, _frame(0), SourceEnded("lobby", 2, 0, 0)]),
        (RECORDING, [OPENED, _progress(1, 1, 0, 0, 0)]),
        (TWO_PICTURES, [OPENED]),
        (TWO_PICTURES, [_frame(1)]),
        (TWO_PICTURES, [_frame(0), SourceEnded("gate", 1, 0, 0)]),
        (TWO_PICTURES, [_frame(0), _frame(1), PictureRefused("gate", 2, "")]),
        (CAMERA, [_live(0)]),
        (CAMERA, [_progress(1, 0, 1, 0, 0), _progress(0, 0, 0, 0, 0)]),
        (CAMERA, [OPENED, _live(3), _live(2)]),
        (CAMERA, [OPENED, _frame(0)]),
        (CAMERA, [OPENED, _live(0, found_at_s=9.1)]),
        (CAMERA, [OPENED, _live(0, arrived_at_s=8.6)]),
        (CAMERA, [OPENED, _progress(3, 1, 1, 1, 0), _progress(4, 1, 1, 0, 0)]),
        (CAMERA, [OPENED, _progress(3, 1, 1, 1, 1)]),
        (CAMERA, [OPENED, _live(0), SourceEnded("lobby", 2, 0, 0)]),
        (CAMERA, [WAITING]),
        (RECORDING, [WAITING]),
        (CALLED, [WAITING, OPENED, WAITING]),
    ],
)
def test_events_are_refused_when_their_order_or_sum_is_wrong(job: Job, events: list[SourceEvent]) -> None:
    """The last event of each list is one that must not come there."""
    order = Order(job)
    for event in events[:-1]:
        order.check(event, now_s=9.0)
    with pytest.raises(WireError):
        order.check(events[-1], now_s=9.0)


def test_a_cameras_clock_may_step_when_its_numbers_go_on() -> None:
    """A camera that sets its clock back is no liar; frames between looked-at ones are not told one by one."""
    order = Order(CAMERA)
    for event in (OPENED, _live(0, 1e9), _progress(5, 1, 3, 0, 0), _live(7, 1.0), _progress(9, 2, 5, 1, 1)):
        order.check(event, now_s=9.0)
    order.check(SourceEnded("lobby", 2, 5, 1), now_s=9.0)


def test_a_camera_may_count_before_it_knows_its_size() -> None:
    """A stream that tells its size only with its first keyframe is alive before it is open."""
    order = Order(CAMERA)
    order.check(_progress(5, 0, 0, 0, 5), now_s=9.0)
    assert not order.is_opened
    order.check(OPENED, now_s=9.0)
    assert order.is_opened


def test_a_cameras_address_is_not_told_when_it_is_named() -> None:
    """Addresses may hold keys; the name is enough for the operator."""
    assert Order(CAMERA).where() == "lobby"
    assert Order(RECORDING).where() == "a.mp4"
    pictures = Order(TWO_PICTURES)
    pictures.check(_frame(0), now_s=9.0)
    assert pictures.where() == "b.png"


def _said(job: Job, *, per_s: float, for_s: float) -> int:
    """Return how many messages at this rate are taken within a time."""
    order = Order(job)
    for number in range(int(per_s * for_s)):
        try:
            order.hear(1000.0 + number / per_s)
        except WireError:
            return number
    return int(per_s * for_s)


def test_a_camera_that_says_too_much_is_not_listened_to() -> None:
    """Its worker could keep the loop from every other camera; what an honest one says is never too much."""
    for fps in (0.1, 5.0, 25.0, None):
        assert _said(replace(CAMERA, fps=fps), per_s=2 * (fps or 100.0) + 2, for_s=600.0) > 600
        assert _said(replace(CAMERA, fps=fps), per_s=20_000, for_s=60.0) < SAVED_S * (3.3 * (fps or 250.0) + 11)


def test_what_a_camera_said_while_nobody_listened_is_taken() -> None:
    """It comes all at once."""
    order = Order(CAMERA)
    for now_s in (*range(1000, 1060), *[1120.0] * 1200):
        order.hear(now_s)


def test_a_recording_may_say_as_much_as_it_can() -> None:
    """Its worker blocks while the parent is slow."""
    assert _said(RECORDING, per_s=20_000, for_s=5.0) == 100_000


def test_a_camera_that_calls_us_may_wait_for_it_before_it_opens() -> None:
    """And goes on as any other."""
    order = Order(CALLED)
    for event in (WAITING, _progress(1, 0, 1, 0, 0), OPENED, _live(0)):
        order.check(event, now_s=9.0)
    assert order.is_opened
