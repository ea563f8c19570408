"""The beat of a stream: frame times and holes."""

import pytest

from gateway.cameras.cadence import Cadence, Pace, Step


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


def taken(stamps_s: list[float], *, arrived_s: list[float] | None = None, fps: float | None = 5.0) -> list[int]:
    """Return the numbers of the frames that are looked at; 25 arrive in a second unless told otherwise."""
    pace = Pace(fps)
    arrived_s = arrived_s or [1000.0 + number / 25 for number in range(len(stamps_s))]
    pairs = zip(stamps_s, arrived_s, strict=True)
    return [number for number, (stamp_s, at_s) in enumerate(pairs) if pace.takes(stamp_s, arrived_at_s=at_s)]


def test_frames_are_looked_at_by_their_own_clock() -> None:
    """Evenly, also where they arrive in bursts; all where no rate is asked."""
    stamps_s = [number / 25 for number in range(100)]
    bursts = [1000.0 + number // 25 for number in range(100)]
    assert taken(stamps_s) == taken(stamps_s, arrived_s=bursts) == list(range(0, 100, 5))
    assert taken(stamps_s, fps=None) == list(range(100))


@pytest.mark.parametrize("step_s", [0.0, 0.0001])
def test_frames_are_looked_at_when_their_clock_stands_still(step_s: float) -> None:
    """A camera with such a clock would never be looked at, and nobody told."""
    assert 30 <= len(taken([7.0 + number * step_s for number in range(500)])) <= 100


def test_no_more_frames_are_looked_at_when_their_clock_races() -> None:
    """Each is due by its stamp; twice as many as asked may take this camera's processor time from the others."""
    assert len(taken([float(number) for number in range(500)])) <= 2 * 5 * 20 + 10
    assert len(taken([float(number) for number in range(500)], fps=0.5)) <= 2 * 0.5 * 20 + 1
