"""Decoding of a live stream: damage, first keyframe, times, limits."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fakes.recordings import background, cut_clip, make_clip, passage

from gateway.cameras.stream import FFmpegLog, LiveFrame, Stream, video_stream
from gateway.errors import SourceError, SourceReason
from gateway.values import ClockSource

CODECS = frozenset({"h264"})


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a transport stream of 40 frames with a keyframe every 10."""
    pictures = list(passage(40, width=320, height=180, portrait_px=100))
    return make_clip(tmp_path_factory.mktemp("clips") / "wall.ts", pictures, options={"g": "10"})


def stream_of(path: Path, log: FFmpegLog, *, max_pixels: int = 1_000_000) -> Stream:
    """Open a file as if it were a camera."""
    container: Any = av.open(str(path))
    return Stream(container, video_stream(container, CODECS, max_pixels=max_pixels), max_pixels=max_pixels, log=log)


def frames_of(stream: Stream) -> Iterator[LiveFrame]:
    """Yield the frames until the file's end, which for a camera is a lost connection."""
    with pytest.raises(SourceError, match="closed the connection") as caught:
        yield from (frame for frame in stream.frames() if frame is not None)
    assert caught.value.reason is SourceReason.ENDED
    stream.close()


def test_every_frame_is_a_picture_when_nothing_is_lost(wall: Path) -> None:
    """With its size, its stamp, and the time of its arrival."""
    with FFmpegLog() as log:
        stream = stream_of(wall, log)
        assert (stream.header.width_px, stream.header.height_px, stream.header.codec) == (320, 180, "h264")
        before_s, frames = time.monotonic(), list(frames_of(stream))
    assert len(frames) == 40
    assert stream.frame_time_s == pytest.approx(0.04)
    for index, frame in enumerate(frames):
        assert frame.frame_clock_s - frames[0].frame_clock_s == pytest.approx(index / 25)
        assert before_s <= frame.arrived_at_s <= time.monotonic()
        assert frame.clock_source is ClockSource.ARRIVAL
        assert abs(frame.captured_at_s - time.time()) < 60
        assert frame.picture is not None
    picture = frames[7].picture
    assert picture is not None
    assert picture().shape == (180, 320, 3)
    assert np.abs(picture().astype(int) - list(passage(40, width=320, height=180, portrait_px=100))[7]).mean() < 12


def damaged(frames: Iterator[LiveFrame]) -> list[int]:
    """Return the numbers of the frames that must not be looked at."""
    return [index for index, frame in enumerate(frames) if frame.picture is None]


def test_nothing_is_looked_at_from_damage_to_the_next_keyframe(wall: Path, tmp_path: Path) -> None:
    """Half a picture spoils the rest of its group, and no other."""
    with FFmpegLog() as log:
        cut = cut_clip(wall, tmp_path / "cut.mkv", packets=[13])
        assert damaged(frames_of(stream_of(cut, log))) == list(range(13, 20))


def without(source: Path, path: Path, packets: set[int]) -> Path:
    """Copy a clip and leave out whole pictures. Return the path."""
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size and number not in packets:
                packet.stream = stream
                container.mux(packet)
    return path


def test_nothing_is_looked_at_when_a_whole_picture_is_missing(wall: Path, tmp_path: Path) -> None:
    """Its decoder goes on with the wrong reference and marks nothing; the hole in the stamps tells."""
    with FFmpegLog() as log:
        holed = without(wall, tmp_path / "holed.mkv", {13, 33})
        assert damaged(frames_of(stream_of(holed, log))) == [*range(13, 19), *range(32, 38)]


def test_every_frame_is_a_picture_when_frames_are_sent_out_of_order(tmp_path: Path) -> None:
    """B-frames come after what they are predicted from; they are shown, and seen, in their order."""
    pictures = list(passage(40, width=320, height=180, portrait_px=100))
    clip = make_clip(tmp_path / "b.ts", pictures, options={"g": "10", "bf": "2"})
    with FFmpegLog() as log:
        frames = list(frames_of(stream_of(clip, log)))
    assert damaged(iter(frames)) == []
    assert len(frames) >= 37  # what its decoder still holds at the end is lost with the connection
    assert all(earlier.frame_clock_s < later.frame_clock_s for earlier, later in pairwise(frames))
    assert all(earlier.arrived_at_s <= later.arrived_at_s for earlier, later in pairwise(frames))


def test_a_stream_goes_on_when_its_stamps_begin_again(wall: Path, tmp_path: Path) -> None:
    """A camera that sets its clock back after a loss is blind until its next keyframe, not for ever."""
    twice = tmp_path / "twice.ts"
    twice.write_bytes(cut_clip(wall, tmp_path / "cut.ts", packets=[33]).read_bytes() + wall.read_bytes())
    with FFmpegLog() as log:
        frames = list(frames_of(stream_of(twice, log)))
    assert len(frames) == 80
    assert damaged(iter(frames)) == list(range(33, 40))


def test_nothing_is_looked_at_before_the_first_keyframe(wall: Path, tmp_path: Path) -> None:
    """A camera is joined in the middle of a group; what its decoder makes of that is no picture."""
    with FFmpegLog() as log:
        late = without(wall, tmp_path / "late.ts", set(range(3)))
        frames = list(frames_of(stream_of(late, log)))
    pictures = [frame for frame in frames if frame.picture is not None]
    assert len(pictures) == 30
    assert all(frame.picture is None for frame in frames[: len(frames) - 30])


def test_a_stream_is_refused_when_it_is_too_large(wall: Path) -> None:
    """By its header, before anything is decoded."""
    with FFmpegLog() as log, pytest.raises(SourceError, match="320×180 px are larger than the limit") as caught:
        stream_of(wall, log, max_pixels=1000)
    assert caught.value.reason is SourceReason.TOO_LARGE


def test_a_stream_goes_on_when_the_size_of_its_pictures_changes(wall: Path, tmp_path: Path) -> None:
    """Cameras are set to another size while they are watched; one beyond the limit ends it with its reason."""
    large = make_clip(tmp_path / "large.ts", passage(10), options={"g": "10"})
    both = tmp_path / "both.ts"
    both.write_bytes(wall.read_bytes() + large.read_bytes())
    with FFmpegLog() as log:
        pictures = [frame.picture() for frame in frames_of(stream_of(both, log)) if frame.picture is not None]
        assert [picture_HWC.shape[1] for picture_HWC in pictures[-10:]] == [640] * 10
        assert {picture_HWC.shape[1] for picture_HWC in pictures[:-10]} == {320}
        stream = stream_of(both, log, max_pixels=100_000)
        with pytest.raises(SourceError, match="640×360 px are larger than the limit") as caught:
            list(stream.frames())
        stream.close()
    assert caught.value.reason is SourceReason.TOO_LARGE


def test_a_stream_is_refused_when_its_codec_is_not_allowed(tmp_path: Path) -> None:
    """Only codecs that cameras use are decoded."""
    clip = make_clip(tmp_path / "old.mkv", [background(64, 36)], codec="mpeg4")
    with FFmpegLog() as log, pytest.raises(SourceError, match="codec mpeg4 is not read here") as caught:
        stream_of(clip, log)
    assert caught.value.reason is SourceReason.CODEC


def test_the_log_tells_of_missed_packets_once() -> None:
    """FFmpeg says it nowhere else; repeated words count each time, and other words do not."""
    with FFmpegLog() as log:
        assert not log.tells_of_loss()
        for _ in range(2):
            av.logging.log(av.logging.WARNING, "rtsp", "RTP: missed 3 packets\n")
            assert log.tells_of_loss()
            assert not log.tells_of_loss()
        av.logging.log(av.logging.ERROR, "h264", "error while decoding MB 3 4")
        assert not log.tells_of_loss()


def test_the_log_tells_where_a_camera_sends_its_client() -> None:
    """In the words of FFmpeg, before it goes there."""
    heard: list[str] = []
    with FFmpegLog(heard.append):
        av.logging.log(av.logging.INFO, "rtsp", "Status 302: Redirecting to rtsp://other/1\n")
        av.logging.log(av.logging.INFO, "rtsp", "Opening 'rtsp://other/1'\n")
    assert heard == ["rtsp://other/1"]


def test_nothing_of_the_log_reaches_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """It names addresses with their passwords."""
    with FFmpegLog():
        av.logging.log(av.logging.ERROR, "rtsp", "rtsp://me:secret@camera")
    av.logging.log(av.logging.ERROR, "rtsp", "rtsp://me:secret@camera")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
