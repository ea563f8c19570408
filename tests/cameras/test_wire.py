"""Messages of a worker: they come back whole, and nothing hostile gets past the parent."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cameras import wire
from gateway.errors import ConfigError, SourceError, SourceReason, SpectragateError
from gateway.values import (
    ClockSource,
    FaceBox,
    FaceCrop,
    FrameFaces,
    PictureRefused,
    SourceEnded,
    SourceOpened,
    SourceProgress,
    SourceWaiting,
)


def crop(side: int = 20, square: int = 20) -> FaceCrop:
    """Return a crop of noise at (10, 20) in a picture of 640 × 360."""
    pixels_YXC = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return FaceCrop("lobby", 7, 1.5, FaceBox(10.0, 20.0, 30.5, 45.25, 0.9), pixels_YXC, square)


def frame(*crops: FaceCrop) -> FrameFaces:
    """Return frame 7 with these crops."""
    return FrameFaces("lobby", 7, 1.5, ClockSource.FILE_PTS, 640, 360, crops, 2)


def read(data: bytes, *, max_faces: int = 4) -> wire.Message:
    """Read one message as the parent does."""
    header_bytes, payload_bytes = wire.sizes(data[: wire.PREFIX.size], max_faces=max_faces)
    header = data[wire.PREFIX.size :][:header_bytes]
    payload = data[wire.PREFIX.size + header_bytes :]
    assert len(payload) == payload_bytes
    return wire.unpack(header, payload, camera="lobby", max_faces=max_faces)


def unpack(fields: object, payload: bytes = b"") -> wire.Message:
    """Check a header given as a value."""
    return wire.unpack(json.dumps(fields).encode(), payload, camera="lobby", max_faces=4)


HEADER = json.loads(wire.pack(frame(crop()))[wire.PREFIX.size :].split(b"}")[0] + b"}")
PIXELS = bytes(20 * 20 * 3)


@pytest.mark.parametrize(
    "message",
    [
        SourceOpened("lobby", 640, 360, 25.0, "h264", 100),
        SourceOpened("lobby", 640, 360, 25.0, "h264", None),
        PictureRefused("lobby", 3, "a.png: the file is empty"),
        SourceWaiting("lobby"),
        SourceEnded("lobby", 10, 2, 1),
        wire.Alive(),
        SourceProgress("lobby", 10, 4, 3, 2, 1),
        wire.Failed("config", "no such model"),
        wire.Failed("source", "the camera wants another password", SourceReason.AUTH),
    ],
)
def test_a_message_comes_back_as_it_was_sent(message: wire.Message) -> None:
    """Every kind survives the way over the wire."""
    assert read(wire.pack(message)) == message


def test_a_frame_comes_back_with_its_crops_when_it_has_several() -> None:
    """Each crop gets its own bytes back, and boxes keep their precision."""
    sent = frame(crop(20, 20), crop(256, 300), crop(1, 1))
    received = read(wire.pack(sent))
    assert isinstance(received, FrameFaces)
    assert (received.seq, received.captured_at_s, received.faces_dropped) == (7, 1.5, 2)
    for ours, theirs in zip(received.crops, sent.crops, strict=True):
        assert (ours.box, ours.square_px, ours.seq) == (theirs.box, theirs.square_px, theirs.seq)
        np.testing.assert_array_equal(ours.pixels_YXC, theirs.pixels_YXC)
        assert not ours.pixels_YXC.flags.writeable


def test_the_camera_is_the_parents_word_when_a_message_is_read() -> None:
    """A worker cannot speak for another camera."""
    data = wire.pack(PictureRefused("other", 3, "reason"))
    assert read(data) == PictureRefused("lobby", 3, "reason")


def test_a_text_is_cleaned_when_it_holds_control_characters() -> None:
    """A reason cannot write to the operator's terminal or start a new log line."""
    assert read(wire.pack(PictureRefused("lobby", 3, "a\x1b[2Jb\nc"))) == PictureRefused("lobby", 3, "a [2Jb c")


@pytest.mark.parametrize(
    "prefix",
    [
        wire.PREFIX.pack(b"nope", 10, 0),
        wire.PREFIX.pack(wire.MAGIC, 0, 0),
        wire.PREFIX.pack(wire.MAGIC, wire.MAX_HEADER_BYTES + 1, 0),
        wire.PREFIX.pack(wire.MAGIC, 10, 4 * wire.MAX_CROP_BYTES + 1),
    ],
)
def test_a_prefix_is_refused_when_it_announces_nonsense(prefix: bytes) -> None:
    """Sizes are checked before a byte of them is read."""
    with pytest.raises(wire.WireError):
        wire.sizes(prefix, max_faces=4)


@pytest.mark.parametrize(
    "fields",
    [
        None,
        [],
        {"kind": "other"},
        {"kind": ["opened"]},
        {"kind": "opened", "size": [640, 0], "fps": 25.0, "codec": "h264", "expected": None},
        {"kind": "opened", "size": [640, 1 << 30], "fps": 25.0, "codec": "h264", "expected": None},
        {"kind": "opened", "size": [640, 360.0], "fps": 25.0, "codec": "h264", "expected": None},
        {"kind": "opened", "size": [640, 360], "fps": float("nan"), "codec": "h264", "expected": None},
        {"kind": "opened", "size": [640, 360], "fps": True, "codec": "h264", "expected": None},
        {"kind": "opened", "size": [640, 360], "fps": 25.0, "codec": 1, "expected": None},
        {"kind": "opened", "size": [640, 360], "fps": 25.0, "codec": "h264", "expected": -1},
        {"kind": "refused", "seq": True, "reason": ""},
        {"kind": "refused", "seq": 1, "reason": "x" * 5000},
        {"kind": "ended", "frames": [1, 2]},
        {"kind": "ended", "frames": [1, 2, 10**400]},
        {"kind": "failed", "blame": "us", "reason": "", "code": "auth"},
        {"kind": "failed", "blame": "source", "reason": "", "code": "mood"},
        {"kind": "failed", "blame": "source", "reason": "", "code": None},
        {"kind": "failed", "blame": "source", "reason": ""},
        {"kind": "progress", "frames": [1, 2, 3, 4]},
        {"kind": "progress", "frames": [1, 2, 3, 4, -1]},
    ],
)
def test_a_header_is_refused_when_it_breaks_a_rule(fields: object) -> None:
    """Types, counts and ranges are checked before a value is made."""
    with pytest.raises(wire.WireError):
        unpack(fields)


@pytest.mark.parametrize(
    "change",
    [
        {"time": float("inf")},
        {"time": 1e300},
        {"clock": "sundial"},
        {"clock": None},
        {"size": [25, 20]},
        {"dropped": -1},
        {"faces": []},
        {"faces": HEADER["faces"] * 2},
        {"faces": HEADER["faces"] * 5},
        {"faces": [[[10, 20, 30, 700, 0.9], 20, 20]]},
        {"faces": [[[30, 20, 10, 45, 0.9], 20, 20]]},
        {"faces": [[[10, 20, 30, 45, 1.5], 20, 20]]},
        {"faces": [[[10, 20, 30, 45, 0.9], 20, 19]]},
        {"faces": [[[10, 20, 30, 45, 0.9], 257, 300]]},
        {"faces": [[[10, 20, 30, 45, 0.9], 0, 20]]},
        {"faces": [[[10, 20, 30, 45], 20, 20]]},
        {"faces": ["face"]},
        {"seen": [2.0, 1.0]},
        {"seen": [-1.0, 1.0]},
        {"seen": [1.0, None]},
        {"seen": [1.0]},
    ],
)
def test_a_frame_is_refused_when_it_breaks_a_rule(change: dict[str, object]) -> None:
    """A box outside the picture, a crop larger than its square or pixels that do not add up never become a crop."""
    assert isinstance(unpack(HEADER, PIXELS), FrameFaces)
    with pytest.raises(wire.WireError):
        unpack({**HEADER, **change}, PIXELS)


def test_a_live_frame_keeps_when_it_was_seen() -> None:
    """Arrival and finding travel; a recording's frame has neither."""
    sent = FrameFaces("lobby", 7, 1.5, ClockSource.RTCP_NTP, 640, 360, (), 0, 100.25, 100.5)
    received = read(wire.pack(sent))
    assert isinstance(received, FrameFaces)
    assert (received.arrived_at_s, received.found_at_s) == (100.25, 100.5)
    assert received.clock_source is ClockSource.RTCP_NTP
    recorded = read(wire.pack(frame()))
    assert isinstance(recorded, FrameFaces)
    assert recorded.arrived_at_s is recorded.found_at_s is None


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (ConfigError("no model"), wire.Failed("config", "no model")),
        (SourceError("a.mp4: empty"), wire.Failed("source", "a.mp4: empty")),
        (SourceError("no", SourceReason.TLS), wire.Failed("source", "no", SourceReason.TLS)),
    ],
)
def test_an_error_says_who_must_act_when_it_travels(error: SpectragateError, failed: wire.Failed) -> None:
    """The operator's errors stay the operator's, and a source's keep their word."""
    assert wire.failure(error) == failed


@pytest.mark.parametrize("payload", [b"", PIXELS[:-1], PIXELS + b"x"])
def test_a_frame_is_refused_when_its_pixels_do_not_add_up(payload: bytes) -> None:
    """Neither too few nor too many bytes are taken."""
    with pytest.raises(wire.WireError):
        unpack(HEADER, payload)


def test_pixels_are_refused_when_no_frame_carries_them() -> None:
    """A message of another kind brings no payload."""
    with pytest.raises(wire.WireError):
        unpack({"kind": "alive"}, b"x")


def test_a_header_is_refused_when_it_nests_without_end() -> None:
    """Depth is no way to bring the parent down."""
    with pytest.raises(wire.WireError):
        wire.unpack(b"[" * 100_000, b"", camera="lobby", max_faces=4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(HEADER)), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_parent_never_crashes_when_bytes_are_random(header: bytes, payload: bytes) -> None:
    """Random bytes are a message or a WireError, nothing else."""
    with contextlib.suppress(wire.WireError):
        wire.unpack(header, payload, camera="lobby", max_faces=4)


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a busy machine drawing such JSON takes its time
@given(st.sampled_from(["opened", "frame", "refused", "progress", "ended", "failed", "alive"]), st.data())
def test_the_parent_never_crashes_when_a_field_is_hostile(kind: str, data: st.DataObject) -> None:
    """Whatever JSON stands in a field, the answer is a checked message or a WireError."""
    names = [
        "size",
        "fps",
        "codec",
        "expected",
        "seq",
        "reason",
        "frames",
        "blame",
        "code",
        "seen",
        "time",
        "clock",
        "dropped",
        "faces",
    ]
    changed = data.draw(st.dictionaries(st.sampled_from(names), JSON, max_size=3))
    fields = {
        **HEADER,
        "fps": 25.0,
        "codec": "h264",
        "expected": 1,
        "reason": "",
        "frames": [1, 1, 1],
        "blame": "source",
        "code": "auth",
        "seen": [1.0, 2.0],
    }
    try:
        message = unpack({**fields, **changed, "kind": kind}, PIXELS if kind == "frame" else b"")
    except wire.WireError:
        return
    if isinstance(message, FrameFaces):
        assert all(item.pixels_YXC.shape == (20, 20, 3) for item in message.crops)


@given(st.lists(st.integers(1, 256), max_size=4), st.floats(-1e9, 2.5e11), st.integers(0, 1 << 39))
def test_any_honest_frame_comes_back(sides: list[int], time_s: float, seq: int) -> None:
    """The rules of the parent never refuse what a worker may rightly say."""
    crops = tuple(crop(side, side) for side in sides)
    sent = FrameFaces("lobby", seq, time_s, ClockSource.FILE_PTS, 640, 360, crops, 0)
    received = read(wire.pack(sent))
    assert isinstance(received, FrameFaces)
    assert (received.captured_at_s, received.seq, len(received.crops)) == (time_s, seq, len(sides))


ASIDES = [
    wire.Answered(3, b"v=0\r\n"),
    wire.Declined(4, 422, "no video is offered"),
    wire.Calling(b"v=0\r\n"),
    wire.Preview(7, b"\xff\xd8\xff picture"),
]


@pytest.mark.parametrize("message", ASIDES)
def test_what_is_said_aside_comes_back_as_it_was_sent(message: wire.Aside) -> None:
    """Answers and pictures are opaque bytes behind a checked header."""
    data = wire.pack(message)
    header_bytes, _ = wire.sizes(data[: wire.PREFIX.size], max_faces=4)
    end = wire.PREFIX.size + header_bytes
    assert wire.unpack(data[wire.PREFIX.size : end], data[end:], camera="door", max_faces=4) == message


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b'{"kind":"answered","number":1}', b""),
        (b'{"kind":"answered","number":1}', b"x" * (wire.MAX_SDP_BYTES + 1)),
        (b'{"kind":"answered","number":-1}', b"v=0"),
        (b'{"kind":"calling"}', b""),
        (b'{"kind":"declined","number":1,"status":200,"reason":""}', b""),
        (b'{"kind":"declined","number":1,"status":422,"reason":""}', b"x"),
        (b'{"kind":"preview","seq":1}', b"GIF89a"),
        (b'{"kind":"preview","seq":1}', b"\xff\xd8\xff" + b"x" * wire.MAX_PREVIEW_BYTES),
    ],
)
def test_what_is_said_aside_is_refused_when_it_breaks_a_bound(header: bytes, payload: bytes) -> None:
    """A worker that was taken over can neither flood the browser nor answer with success what it declined."""
    with pytest.raises(wire.WireError):
        wire.unpack(header, payload, camera="door", max_faces=4)
