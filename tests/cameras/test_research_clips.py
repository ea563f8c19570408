"""Real clips: people are found in every one that shows any, and nobody in the one that does not."""

import csv
from pathlib import Path

import pytest

from gateway.cameras.link import FaceSettings, RecordingJob, open_source
from gateway.values import FaceBox, FrameFaces, SourceEnded, SourceEvent

FACE_FREE = "intel_bottle-detection.mp4"
LINKED_FACES = 3
"""So many faces in a row at nearly one place are a track."""


def _index(research_data: Path) -> dict[str, dict[str, str]]:
    with (research_data / "videos" / "index.csv").open(encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


async def _events(path: Path, *, fps: float | None) -> list[SourceEvent]:
    async with open_source(RecordingJob("lobby", path, FaceSettings(), fps)) as events:
        return [event async for event in events]


def _share_with_face(events: list[SourceEvent]) -> float:
    frames = [event for event in events if isinstance(event, FrameFaces)]
    return sum(bool(frame.crops) for frame in frames) / len(frames)


def _overlap(a: FaceBox, b: FaceBox) -> float:
    width, height = min(a.x2, b.x2) - max(a.x1, b.x1), min(a.y2, b.y2) - max(a.y1, b.y1)
    both = max(0.0, width) * max(0.0, height)
    return both / (a.area_px + b.area_px - both)


def _longest_run(events: list[SourceEvent]) -> int:
    """Return the most faces that follow one another in neighbouring frames, each overlapping the one before."""
    longest, before = 0, []
    for event in events:
        if isinstance(event, FrameFaces):
            runs = [
                (1 + max((run for box, run in before if _overlap(box, crop.box) > 0.3), default=0), crop.box)
                for crop in event.crops
            ]
            before = [(box, run) for run, box in runs]
            longest = max([longest, *(run for run, _ in runs)])
    return longest


@pytest.mark.data
async def test_people_are_found_in_samples_of_every_clip_that_shows_any(research_data: Path) -> None:
    """Three frames a second of each: all frames are accounted for, none is damaged, and faces come."""
    for name, row in _index(research_data).items():
        if name == FACE_FREE:
            continue
        events = await _events(research_data / "videos" / name, fps=3.0)
        assert _share_with_face(events) >= min(0.6, float(row["share_of_sampled_frames_with_face"])) - 0.1, name
        ended = events[-1]
        assert isinstance(ended, SourceEnded)
        assert ended.frames_looked_at + ended.frames_skipped == int(row["frames"]), name
        assert ended.frames_damaged == 0, name


@pytest.mark.data
async def test_nobody_is_found_in_samples_of_the_clip_without_people(research_data: Path) -> None:
    """One frame a second of forty seconds of bottles."""
    events = await _events(research_data / "videos" / FACE_FREE, fps=1.0)
    assert _share_with_face(events) == 0.0


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_clip_without_people_holds_no_track(research_data: Path) -> None:
    """Every frame of it: single false faces are forgiven, a track is not."""
    events = await _events(research_data / "videos" / FACE_FREE, fps=None)
    assert events[-1] == SourceEnded("lobby", 1189, 0, 0)
    assert _longest_run(events) < LINKED_FACES


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(900)
async def test_every_clip_with_people_holds_a_track(research_data: Path) -> None:
    """Every frame of every clip: faces follow one another from frame to frame."""
    for name in _index(research_data):
        if name != FACE_FREE:
            events = await _events(research_data / "videos" / name, fps=None)
            assert _longest_run(events) >= LINKED_FACES, name
