"""Recordings: good ones frame by frame, bad ones with a reason, damaged ones without a made-up pixel."""

import random
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
from fakes.recordings import (
    Picture,
    background,
    cut_clip,
    make_clip,
    make_passage,
    make_picture,
    passage,
    rotate_mp4,
)

from gateway.cameras.recording import RecordedFrame, Thinning, open_recording
from gateway.errors import SourceError

SMALL = {"width": 192, "height": 108, "portrait_px": 90}


def small(frames: int) -> list[Picture]:
    """Return a short passage in 192 × 108."""
    return list(passage(frames, **SMALL))


def read(path: Path) -> list[RecordedFrame]:
    """Return all frames of a recording."""
    return list(open_recording(path).frames())


def marks(frames: list[RecordedFrame]) -> str:
    """Return . for every good frame and x for every damaged one."""
    return "".join("x" if frame.picture is None else "." for frame in frames)


def pictures(frames: list[RecordedFrame]) -> list[Picture]:
    """Return the pictures of the good frames."""
    return [frame.picture() for frame in frames if frame.picture is not None]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same 60 frames in several containers."""
    folder = tmp_path_factory.mktemp("clips")
    for suffix in ("mp4", "mkv", "ts"):
        make_clip(folder / f"plain.{suffix}", small(60))
    for suffix in ("mp4", "ts"):
        # Fine quantisation makes packets of thousands of bytes: half of a small one may pass for a whole.
        make_clip(folder / f"reordered.{suffix}", small(60), options={"bf": "3", "crf": "12"})
    return folder


def test_every_frame_comes_in_order_when_the_recording_is_sound(tmp_path: Path) -> None:
    """Pictures, times and header are those of the clip."""
    sent = small(10)
    recording = open_recording(make_clip(tmp_path / "a.mp4", sent, options={"crf": "10"}))
    frames = list(recording.frames())
    assert marks(frames) == "." * 10
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(10)])
    for ours, theirs in zip(pictures(frames), sent, strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 4
    header = recording.header
    assert (header.width_px, header.height_px, header.fps, header.codec) == (192, 108, 25.0, "h264")
    assert header.frames_expected == 10


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.mkv", "ffv1", "gray16le"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mp4", "libx265", "yuv420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.mpg", "mpeg2video", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.h264", "libx264", "yuv420p"),
        ("a.nut", "rawvideo", "rgb24"),
    ],
)
def test_a_recording_is_read_when_its_kind_is_common(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    """Deep, grey, palette and lossless pictures all become 8-bit RGB of the right brightness."""
    options = {"x265-params": "log-level=none"} if codec == "libx265" else None
    sent = small(3)
    frames = read(make_clip(tmp_path / name, sent, codec=codec, pixel_format=pixel_format, options=options))
    assert marks(frames) == "..."
    for ours, theirs in zip(pictures(frames), sent, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.uint8)
        assert abs(ours.mean() - theirs.mean()) < 6


def test_a_picture_keeps_its_size_when_that_is_odd(tmp_path: Path) -> None:
    """No row or column is added or lost."""
    odd = [np.ascontiguousarray(picture_HWC[:107, :191]) for picture_HWC in small(2)]
    for codec, pixel_format in (("ffv1", "yuv420p"), ("libx264", "yuv444p")):
        frames = read(make_clip(tmp_path / f"{codec}.mkv", odd, codec=codec, pixel_format=pixel_format))
        assert [picture_HWC.shape for picture_HWC in pictures(frames)] == [(107, 191, 3)] * 2


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_picture_stands_upright_when_the_file_says_so(tmp_path: Path, degrees: int, turns: int) -> None:
    """The rotation of a phone's recording is applied, and the header tells the upright size."""
    path = make_clip(tmp_path / "a.mp4", small(2))
    plain = pictures(read(path))
    recording = open_recording(rotate_mp4(path, degrees))
    turned = pictures(list(recording.frames()))
    np.testing.assert_array_equal(turned[0], np.rot90(plain[0], turns))
    assert (recording.header.height_px, recording.header.width_px) == turned[0].shape[:2]


def test_times_start_at_the_creation_time_when_the_file_has_one(tmp_path: Path) -> None:
    """The clock of a recording is that of the camera that made it."""
    created = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    frames = read(make_passage(tmp_path / "a.mp4", 3, created=created))
    assert [frame.time_s for frame in frames] == pytest.approx([created.timestamp() + index / 25 for index in range(3)])


def test_times_start_at_zero_when_the_creation_time_is_beyond_belief(tmp_path: Path) -> None:
    """No message could tell times after the year 9999, and what a file claims must not end the program."""
    frames = read(make_passage(tmp_path / "a.nut", 3, created=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(3)])


def test_times_start_at_zero_when_the_time_stamps_do_not(clips: Path) -> None:
    """A transport stream counts from anywhere."""
    times = [frame.time_s for frame in read(clips / "plain.ts")]
    assert times == pytest.approx([index / 25 for index in range(60)])


@pytest.mark.parametrize(("fps", "expected"), [(None, 50), (25.0, 50), (10.0, 20), (5.0, 10), (100.0, 50), (0.5, 1)])
def test_frames_are_thinned_by_their_own_clock(fps: float | None, expected: int) -> None:
    """Two seconds of 25 frames give twice the rate asked for, wherever the clock starts."""
    for origin_s in (0.0, 1_700_000_000.25):
        thinning = Thinning(fps)
        taken = sum(thinning.takes(origin_s + index / 25) for index in range(50))
        assert abs(taken - expected) <= (0 if origin_s == 0 else 1)


def test_frames_of_other_moments_are_looked_at_when_the_phase_differs() -> None:
    """Cameras that run in step are looked at one after the other, each as often as asked."""
    taken = {}
    for phase in (0.0, 0.4, 0.7):
        thinning = Thinning(5.0, phase=phase)
        taken[phase] = {index for index in range(3, 63) if thinning.takes(index / 15)}
    assert not (taken[0.0] & taken[0.4] | taken[0.4] & taken[0.7] | taken[0.7] & taken[0.0]) - {3}
    assert {len(indices) for indices in taken.values()} <= {20, 21}


@pytest.mark.parametrize("name", ["plain.mp4", "plain.mkv", "plain.ts", "reordered.mp4"])
def test_a_recording_is_read_to_the_cut_when_it_is_truncated(clips: Path, tmp_path: Path, name: str) -> None:
    """What is there is handed out; the frame that was cut in two is damaged. Then a header that knows is held to it."""
    data = (clips / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    frames: list[RecordedFrame] = []
    with (
        nullcontext() if name.endswith(".ts") else pytest.raises(SourceError, match=r"cut short: only 1\.. s of 2\.4 s")
    ):
        for frame in open_recording(path).frames():
            frames.append(frame)  # noqa: PERF402  (an error must not lose those before it)
    assert 10 < len(pictures(frames)) < 50
    assert marks(frames).rstrip("x") == "." * len(pictures(frames))


def _hurt(data: bytes, generator: random.Random) -> bytes:
    """Return the data with a few bytes changed, zeroed or taken out, behind the header."""
    hurt = bytearray(data)
    start, length = generator.randrange(len(data) // 4, len(data) - 500), generator.choice([40, 200, 400])
    kind = generator.choice(["flip", "zero", "cut"])
    if kind == "flip":
        hurt[start : start + length] = bytes(byte ^ 0x5A for byte in hurt[start : start + length])
    elif kind == "zero":
        hurt[start : start + length] = bytes(length)
    else:
        del hurt[start : start + length]
    return bytes(hurt)


@pytest.mark.parametrize("name", ["plain.mp4", "plain.mkv", "plain.ts", "reordered.mp4"])
@pytest.mark.parametrize("seed", range(4))
def test_reading_goes_on_when_bytes_are_damaged(clips: Path, tmp_path: Path, name: str, seed: int) -> None:
    """Whatever happens behind the header, frames of the right size come, and no more than there were."""
    path = tmp_path / name
    path.write_bytes(_hurt((clips / name).read_bytes(), random.Random(f"{name}{seed}")))
    frames = read(path)
    assert 0 < len(frames) <= 60
    assert {picture_HWC.shape for picture_HWC in pictures(frames)} == {(108, 192, 3)}


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.ts"])
@pytest.mark.parametrize("packet", [0, 10, 24, 25, 31, 59])
def test_damage_lasts_to_the_next_keyframe(clips: Path, tmp_path: Path, name: str, packet: int) -> None:
    """Keyframes come every 25 frames: a cut packet spoils the rest of its second, nothing else, and all are counted."""
    frames = read(cut_clip(clips / "plain.ts", tmp_path / name, packets=[packet]))
    assert len(frames) == 60
    good = [round(frame.time_s * 25) for frame in frames if frame.picture is not None]
    assert good == [index for index in range(60) if not packet <= index < (packet // 25 + 1) * 25]
    truth = pictures(read(clips / "plain.ts"))
    for index, picture_HWC in zip(good, pictures(frames), strict=True):
        np.testing.assert_array_equal(picture_HWC, truth[index])


@pytest.mark.parametrize("packet", range(26, 36))
def test_no_picture_is_made_up_when_frames_are_predicted_from_later_ones(
    clips: Path, tmp_path: Path, packet: int
) -> None:
    """B-frames come out before the damaged frame they were made from; every picture handed out is the true one."""
    frames = read(cut_clip(clips / "reordered.ts", tmp_path / "cut.mp4", packets=[packet]))
    truth = pictures(read(clips / "reordered.ts"))
    assert len(frames) == 60
    assert 20 <= len(pictures(frames)) < 60
    for frame in frames:
        if frame.picture is not None:
            np.testing.assert_array_equal(frame.picture(), truth[round(frame.time_s * 25)])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mp4", b"hello " * 500, "not a recording"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
            "not a container",
        ),
        ("list.txt", b"ffconcat version 1.0\nfile a.mp4\n", "not a container"),
        ("stream.sdp", b"v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n", "not a "),
    ],
)
def test_a_file_is_refused_when_it_is_no_recording(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    """Play lists are refused too: they would make the worker open what they name."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"{name}: {reason}"):
        read(path)


def test_a_path_is_refused_when_nothing_or_no_file_is_there(tmp_path: Path) -> None:
    """A missing path and a device are told apart, and neither is waited for."""
    with pytest.raises(SourceError, match="no such file or folder"):
        open_recording(tmp_path / "none.mp4")
    with pytest.raises(SourceError, match="not a file or folder"):
        open_recording(Path("/dev/zero"))


def test_a_recording_is_refused_when_it_has_sound_alone(tmp_path: Path) -> None:
    """The message says what is in the file."""
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 44_100
        container.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(SourceError, match="no video in this file, only audio"):
        open_recording(path)


def test_a_recording_is_refused_when_its_pictures_are_too_large(tmp_path: Path) -> None:
    """The limit is checked before the first picture is decoded."""
    path = make_clip(tmp_path / "a.mp4", small(1))
    with pytest.raises(SourceError, match="192×108 px is more than the limit of 20000 px"):
        open_recording(path, max_pixels=20_000)


def test_a_recording_is_refused_when_its_pictures_grow_too_large(tmp_path: Path) -> None:
    """A stream may change its size on the way; the limit holds for every picture."""
    first, second = make_clip(tmp_path / "a.h264", small(2)), make_clip(tmp_path / "b.h264", [background(640, 360)])
    path = tmp_path / "grows.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert [picture_HWC.shape[1] for picture_HWC in pictures(read(path))] == [192, 192, 640]
    with pytest.raises(SourceError, match="640×360 px is more than the limit"):
        list(open_recording(path, max_pixels=30_000).frames())


def test_a_name_is_no_pattern_or_protocol(tmp_path: Path) -> None:
    """FFmpeg's own meaning of colons and percent signs in names is switched off."""
    for name in ("concat:a.mp4", "frame-%03d.mp4", "a b'c.mp4"):
        assert len(read(make_clip(tmp_path / "a.mp4", small(2)).rename(tmp_path / name))) == 2


def test_a_folder_of_pictures_is_a_recording(tmp_path: Path) -> None:
    """Natural order, 25 a second, sizes as they are, other files and hidden ones left alone."""
    for number, width in ((10, 60), (2, 50), (1, 40)):
        make_picture(tmp_path / f"frame-{number}.png", background(width, 30))
    (tmp_path / "labels.csv").write_text("file,label\n", encoding="utf-8")
    (tmp_path / ".hidden.png").write_bytes(b"x")
    recording = open_recording(tmp_path)
    frames = list(recording.frames())
    assert [picture_HWC.shape[1] for picture_HWC in pictures(frames)] == [40, 50, 60]
    assert [frame.time_s for frame in frames] == [0.0, 0.04, 0.08]
    assert (recording.header.width_px, recording.header.codec, recording.header.frames_expected) == (40, "pictures", 3)


def test_an_unreadable_picture_of_a_folder_is_damaged_and_says_why(tmp_path: Path) -> None:
    """The others go on, and keep their times."""
    make_picture(tmp_path / "1.png", background(40, 30))
    (tmp_path / "2.png").write_bytes(b"")
    make_picture(tmp_path / "3.png", background(40, 30))
    frames = read(tmp_path)
    assert marks(frames) == ".x."
    assert frames[1].reason == f"{tmp_path / '2.png'}: the file is empty"


def test_a_folder_is_refused_when_it_holds_no_pictures(tmp_path: Path) -> None:
    """The message says what would have been read."""
    with pytest.raises(SourceError, match="no pictures in this folder; give a folder of JPEG"):
        open_recording(tmp_path)
