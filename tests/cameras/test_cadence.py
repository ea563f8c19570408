"""The beat of a stream: frame times and holes."""

import pytest

from gateway.cameras.cadence import Cadence, Step


def beaten(*stamps_s: float | None) -> tuple[Cadence, list[Step]]:
    """Return a cadence after these stamps, and what it said to each."""
    cadence = Cadence()
    return cadence, [cadence.take(stamp_s) for stamp_s in stamps_s]


REGULAR = [index / 25 for index in range(20)]


def test_the_frame_time_is_known_after_three_frames() -> None:
    """Two stamps make one step, which may be any."""
    assert beaten(0.0, 0.04)[0].frame_time_s is None
    assert beaten(0.0, 0.04, 0.08)[0].frame_time_s == pytest.approx(0.04)


def test_nothing_is_missing_when_the_beat_is_regular() -> None:
    """Also with a little jitter."""
    jittered = [stamp + 0.005 * (index % 2) for index, stamp in enumerate(REGULAR)]
    assert set(beaten(*REGULAR)[1]) == set(beaten(*jittered)[1]) == {Step.NEXT}


@pytest.mark.parametrize("missing", [1, 2, 50])
def test_a_hole_is_noticed_when_frames_are_missing(missing: int) -> None:
    """One missing frame is enough, and the next one is no hole."""
    after_s = REGULAR[-1] + (missing + 1) / 25
    assert beaten(*REGULAR, after_s, after_s + 0.04)[1][-2:] == [Step.HOLE, Step.NEXT]


def test_every_hole_is_noticed_when_a_network_loses_much() -> None:
    """Holes do not make a beat irregular as long as most steps are."""
    kept = [index / 25 for index in range(64) if index % 9 != 5 or index < 16]
    assert beaten(*kept)[1].count(Step.HOLE) == 64 - len(kept) == 5


def test_no_hole_is_claimed_when_a_camera_has_no_beat() -> None:
    """A camera that sends when something moves must not be blind until each keyframe."""
    stamps = [sum([0.02, 0.05, 0.09, 0.03, 0.12][: index % 5]) + 0.31 * (index // 5) for index in range(40)]
    assert Step.HOLE not in beaten(*stamps)[1][8:]


def test_equal_and_absent_stamps_are_no_step() -> None:
    """Cameras send a picture in two parts, and the first frame has no stamp."""
    assert beaten(None, 0.0, 0.0, 0.04, 0.08)[1] == [Step.NEXT] * 5


def test_a_jump_back_is_told_apart() -> None:
    """The camera began anew, or its stamps wrapped."""
    assert beaten(*REGULAR, 0.0)[1][-1] is Step.BACK


def test_a_slow_camera_has_its_own_frame_time() -> None:
    """A stall is judged by it; a pause of an hour is no frame time."""
    assert beaten(0.0, 2.0, 4.0, 3604.0)[0].frame_time_s == pytest.approx(2.0)
