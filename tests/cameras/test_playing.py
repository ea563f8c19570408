"""Recordings that are played as cameras: their pace, their loop, their end."""

import threading
import time
from itertools import islice, pairwise
from pathlib import Path

import pytest
from fakes.recordings import background, make_clip

from gateway.cameras.jobs import FileSource
from gateway.cameras.playing import Playing
from gateway.errors import SourceError
from gateway.values import ClockSource


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return a clip of 0.2 s."""
    return make_clip(tmp_path / "wall.mp4", [background(160, 90, seed=index) for index in range(5)], fps=25)


def play(path: Path, *, loop: bool = False, is_over: threading.Event | None = None) -> Playing:
    """Return the playing of a clip."""
    return Playing(FileSource(path, loop=loop), max_pixels=1_000_000, is_over=is_over or threading.Event())


def test_frames_come_at_their_own_pace_when_a_clip_is_played(clip: Path) -> None:
    """Never before their time; captured when they come."""
    begun_s = time.monotonic()
    frames = list(play(clip).frames())
    assert len(frames) == 5
    for index, frame in enumerate(frames):
        assert frame.arrived_at_s - begun_s >= index / 25
        assert frame.frame_clock_s == pytest.approx(index / 25)
        assert frame.clock_source is ClockSource.ARRIVAL
        assert abs(frame.captured_at_s - time.time()) < 30
    assert frames[0].picture is not None
    assert frames[0].picture().shape == (90, 160, 3)


def test_a_clip_begins_again_when_it_is_looped(clip: Path) -> None:
    """The beat goes on over the seam."""
    frames = list(islice(play(clip, loop=True).frames(), 12))
    assert [round(frame.frame_clock_s * 25) for frame in frames] == list(range(12))
    assert all(later.arrived_at_s > earlier.arrived_at_s for earlier, later in pairwise(frames))
    came_s = [frame.arrived_at_s for frame in frames]
    # A loaded machine may be late with some before the seam; the others keep the beat with what follows it.
    assert any(came_s[10] - came_s[number] >= (10 - number) / 25 - 0.02 for number in range(5))


def test_the_wait_for_a_frame_ends_when_it_is_over(clip: Path) -> None:
    """Nobody waits for the rest of a recording that is not needed."""
    is_over = threading.Event()
    frames = play(clip, loop=True, is_over=is_over).frames()
    next(frames)
    is_over.set()
    assert list(frames) == []


def test_a_recording_is_refused_by_name_when_there_is_none(tmp_path: Path) -> None:
    """The text names the file."""
    with pytest.raises(SourceError, match=r"none\.mp4: no such file"):
        play(tmp_path / "none.mp4")


@pytest.mark.parametrize("loop", [False, True])
def test_a_folder_without_a_readable_picture_is_an_error(tmp_path: Path, loop: bool) -> None:
    """It has no size to tell, and playing it for ever would show nothing."""
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    frames = play(tmp_path, loop=loop).frames()
    assert next(frames).picture is None
    with pytest.raises(SourceError, match="no frame could be decoded"):
        next(frames)
