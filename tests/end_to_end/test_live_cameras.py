"""Live cameras through a real worker: a real RTSP server, every codec and transport, everything that goes wrong."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes.brokers import free_port, make_authority
from fakes.camera_clips import Codec, decoded
from fakes.rtsp_camera import Mount, MuteListener, RtspCamera
from numpy.typing import NDArray

from gateway.cameras.jobs import CameraJob, RtspSource
from gateway.cameras.link import Deadlines, open_source
from gateway.cameras.starting import ExecWorkers, StartedWorker
from gateway.contract.geometry import square_around
from gateway.errors import SourceError, SourceReason
from gateway.values import ClockSource, FaceCrop, FrameFaces, SourceEvent, SourceOpened, SourceProgress

pytestmark = pytest.mark.end_to_end

PRINTABLE = bytes(range(32, 127)).decode()
ENOUGH_CROPS = 10
TENFOLD_S = 15.0  # ten times the stall time
MOUNTS = (
    Mount("/h264", "h264"),
    Mount("/h265", "h265"),
    Mount("/mjpeg", "mjpeg"),
    Mount("/fast", fps=100, gop=50),
    Mount("/only-tcp", transports=("tcp",)),
    Mount("/only-udp", transports=("udp",)),
)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspCamera]:
    """Yield a server of all codecs."""
    with RtspCamera(tmp_path_factory.mktemp("camera"), *MOUNTS) as server:
        yield server


@pytest.fixture
def own_camera(tmp_path: Path) -> Iterator[RtspCamera]:
    """Yield a server of one mount that a test may break."""
    with RtspCamera(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CA and a server's certificate for localhost."""
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    return folder


def at(url: str, **source: object) -> CameraJob:
    """Return the job of a camera at an address."""
    return CameraJob("door", RtspSource(url, **source))


async def watch(job: CameraJob, *, until: Callable[[list[SourceEvent]], bool]) -> list[SourceEvent]:
    """Return the events of a camera up to the one that makes `until` true."""
    events: list[SourceEvent] = []
    async with asyncio.timeout(45), open_source(job) as source:
        async for event in source:
            events.append(event)
            if until(events):
                break
    return events


async def failure(job: CameraJob, *, after: Callable[[], None] | None = None) -> tuple[SourceError, float]:
    """Return how a camera fails, and how long that took since `after`, which is done once it was seen."""
    since_s = time.monotonic()
    with pytest.raises(SourceError) as caught:  # noqa: PT012
        async with asyncio.timeout(45), open_source(job) as source:
            async for event in source:
                if after is not None and isinstance(event, FrameFaces):
                    after()
                    after, since_s = None, time.monotonic()
    return caught.value, time.monotonic() - since_s


def frames(events: list[SourceEvent]) -> list[FrameFaces]:
    """Return only the frames of events."""
    return [event for event in events if isinstance(event, FrameFaces)]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(("codec", "name"), [("h264", "h264"), ("h265", "hevc"), ("mjpeg", "mjpeg")])
async def test_a_camera_is_seen_when_it_sends(camera: RtspCamera, codec: Codec, name: str, transport: str) -> None:
    """Opened, faces found, times and numbers right: with every codec over every transport."""
    job = at(camera.url(f"/{codec}"), transport=transport)
    events = await watch(job, until=lambda events: isinstance(events[-1], SourceProgress) and len(events) > 7)
    assert events[0] == SourceOpened("door", 640, 360, 25.0, name, None)
    seen = frames(events)
    assert all(len(frame.crops) == 1 for frame in seen)
    assert all(earlier.seq < later.seq for earlier, later in pairwise(seen))
    for frame in seen:
        assert frame.arrived_at_s is not None
        assert frame.found_at_s is not None
        assert frame.arrived_at_s <= frame.found_at_s <= time.monotonic()
        assert abs(frame.captured_at_s - time.time()) < 60
    progress = events[-1]
    assert isinstance(progress, SourceProgress)
    assert progress.frames_damaged == 0
    assert progress.frames_received >= progress.frames_looked_at + progress.frames_skipped


@pytest.mark.parametrize(
    ("mount", "transport", "reason"),
    [
        ("/nowhere", "tcp", SourceReason.NOT_FOUND),
        ("/only-tcp", "udp", SourceReason.TRANSPORT),
        ("/only-udp", "tcp", SourceReason.TRANSPORT),
    ],
)
async def test_a_camera_is_refused_with_its_reason_when_it_says_no(
    camera: RtspCamera, mount: str, transport: str, reason: SourceReason
) -> None:
    """What the camera answers becomes a word and a sentence."""
    error, _ = await failure(at(camera.url(mount), transport=transport))
    assert error.reason is reason
    assert str(error).startswith("door: ")


async def test_a_camera_is_refused_when_its_pictures_are_too_large(camera: RtspCamera) -> None:
    """The limit is the operator's."""
    error, _ = await failure(replace(at(camera.url("/h264")), max_pixels=100_000))
    assert error.reason is SourceReason.TOO_LARGE


async def test_a_camera_is_unreachable_in_words_when_nobody_listens() -> None:
    """A closed port is told from a silent one, and at once."""
    error, _ = await failure(at(f"rtsp://127.0.0.1:{free_port()}/cam"))
    assert error.reason is SourceReason.REFUSED


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", SourceReason.TIMEOUT),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", SourceReason.TIMEOUT),
        (b"RTSP/1.0 503 Service Unavailable\r\nCSeq: 1\r\n\r\n", SourceReason.UNREADABLE),
    ],
)
async def test_a_camera_is_given_up_when_it_answers_nonsense(answer: bytes, reason: SourceReason) -> None:
    """Silence and chatter end with the connect time, an error at once."""
    with MuteListener(answer) as listener:
        job = replace(at(f"rtsp://127.0.0.1:{listener.port}/cam"), connect_s=1.0)
        error, took_s = await failure(job)
    assert error.reason is reason
    assert took_s < 10 * job.connect_s


async def test_a_camera_is_not_followed_when_it_sends_us_to_another_host() -> None:
    """FFmpeg would take the name and the password there."""
    answer = b"RTSP/1.0 302 Moved\r\nCSeq: 1\r\nLocation: rtsp://127.0.0.2/x\r\n\r\n"
    with MuteListener(answer) as listener:
        error, _ = await failure(at(f"rtsp://127.0.0.1:{listener.port}/cam", username="me", password="secret"))
    assert error.reason is SourceReason.NOT_FOUND
    assert f"the camera at 127.0.0.1:{listener.port} sends us to another host" in str(error)


@pytest.mark.parametrize("auth", ["digest", "basic"])
async def test_every_printable_character_may_stand_in_a_password(tmp_path: Path, auth: str) -> None:
    """Right ones are let in; wrong ones and none are refused, and no text names them."""
    with RtspCamera(tmp_path, users={"admin": PRINTABLE}, auth=auth) as camera:
        job = at(camera.url(), username="admin", password=PRINTABLE)
        assert len(await watch(job, until=lambda events: bool(frames(events)))) >= 2
        for username, password in (("admin", PRINTABLE[:-1] + "x"), ("other", PRINTABLE), (None, None)):
            error, _ = await failure(at(camera.url(), username=username, password=password))
            assert error.reason is SourceReason.AUTH
            assert PRINTABLE[20:40] not in str(error)


async def test_a_camera_over_tls_is_seen_only_when_its_certificate_is_right(
    tmp_path: Path, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The name of the address counts, also where the parent found its number."""
    stranger = tmp_path_factory.mktemp("stranger")
    make_authority(stranger)
    with RtspCamera(tmp_path, users={"me": "secret"}, tls=authority) as camera:

        def job(host: str, ca_file: Path | None) -> CameraJob:
            url = camera.url(host=host)
            return at(url, username="me", password="secret", ca_file=ca_file, address="127.0.0.1")

        for host in ("localhost", "127.0.0.1"):
            events = await watch(job(host, authority / "ca.pem"), until=lambda events: bool(frames(events)))
            assert frames(events)
        for wrong in (
            job("elsewhere", authority / "ca.pem"),
            job("localhost", stranger / "ca.pem"),
            job("localhost", None),
        ):
            error, _ = await failure(wrong)
            assert error.reason is SourceReason.TLS


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("kill", SourceReason.ENDED),
        ("kick", SourceReason.ENDED),
        ("stall", SourceReason.STALLED),
        ("freeze", SourceReason.STALLED),
    ],
)
async def test_a_camera_that_goes_is_noticed(
    own_camera: RtspCamera, harm: str, reason: SourceReason, transport: str
) -> None:
    """Killed and kicked at once, hanging after the stall time."""
    error, took_s = await failure(at(own_camera.url(), transport=transport), after=getattr(own_camera, harm))
    assert error.reason is reason
    assert took_s < TENFOLD_S
    if reason is SourceReason.STALLED:
        assert took_s > 1.0


async def test_a_camera_is_seen_again_when_it_is_back(own_camera: RtspCamera) -> None:
    """On the same port, by a new worker."""
    await failure(at(own_camera.url()), after=own_camera.kill)
    own_camera.start()
    assert frames(await watch(at(own_camera.url()), until=lambda events: bool(frames(events))))


class Held(ExecWorkers):
    """Starts a worker and lets it stand still."""

    async def __call__(self, channel: socket.socket, stderr: int) -> StartedWorker:
        """Start it."""
        self._worker = await super().__call__(channel, stderr)
        return self._worker

    async def stand_still(self, for_s: float) -> None:
        """Let the worker stand still, as on a machine that is paused."""
        os.kill(self._worker.pid, signal.SIGSTOP)
        await asyncio.sleep(for_s)
        os.kill(self._worker.pid, signal.SIGCONT)


async def test_a_camera_is_kept_when_the_machine_stood_still(camera: RtspCamera) -> None:
    """Its pictures are read a moment later; a camera that stalls would have been given up after 1.5 s."""
    start = Held()
    job = CameraJob("door", RtspSource(camera.url("/h264")))
    async with open_source(job, start=start, deadlines=Deadlines(silence_s=60.0)) as events:
        frames = 0
        async for event in events:
            frames += isinstance(event, FrameFaces)
            if frames == 3 and isinstance(event, FrameFaces):
                await start.stand_still(2.5)
            if frames == 15:
                return


async def test_the_cameras_clock_counts_when_it_tells_the_time(camera: RtspCamera) -> None:
    """Reports come after a second or three; from then on it is the time of capture."""

    def is_told(events: list[SourceEvent]) -> bool:
        return isinstance(events[-1], FrameFaces) and events[-1].clock_source is ClockSource.RTCP_NTP

    events = await watch(at(camera.url("/h264")), until=is_told)
    seen = frames(events)
    assert seen[0].clock_source is ClockSource.ARRIVAL
    assert abs(seen[-1].captured_at_s - time.time()) < 10


async def test_the_newest_frame_wins_when_looking_is_slow(camera: RtspCamera) -> None:
    """A hundred frames a second are more than can be looked at: the rest is counted, and no frame grows old."""
    job = replace(at(camera.url("/fast")), fps=None)
    events = await watch(job, until=lambda events: isinstance(events[-1], SourceProgress) and len(events) > 40)
    progress = events[-1]
    assert isinstance(progress, SourceProgress)
    assert progress.frames_replaced > 0
    assert progress.frames_skipped == progress.frames_damaged == 0
    assert 0 <= progress.frames_received - progress.frames_looked_at - progress.frames_replaced <= 2
    for frame in frames(events):
        assert frame.arrived_at_s is not None
        assert frame.found_at_s is not None
        assert frame.found_at_s - frame.arrived_at_s < 2.0


@pytest.mark.long
@pytest.mark.parametrize(
    ("codec", "transport", "harm"),
    [
        ("h264", "udp", "lose"),
        ("h265", "udp", "lose"),
        ("h264", "tcp", "lose"),
        ("h265", "tcp", "lose"),
        ("h264", "tcp", "skip"),
        ("h265", "tcp", "skip"),
    ],
)
async def test_no_damaged_picture_is_looked_at_when_packets_or_pictures_are_lost(
    tmp_path: Path, codec: Codec, transport: str, harm: str
) -> None:
    """Every crop is cut from a picture that the camera really sent: none from what its decoder made up."""
    with RtspCamera(tmp_path, Mount(codec=codec)) as lossy:
        job = replace(at(lossy.url(), transport=transport), fps=None)

        def has_lost(events: list[SourceEvent]) -> bool:
            seen = len(frames(events))
            if isinstance(events[-1], FrameFaces) and harm == "lose" and seen == 10:
                lossy.lose(0.02)
            if isinstance(events[-1], FrameFaces) and harm == "skip" and seen % 20 == 19:
                lossy.skip(1)
            if not isinstance(events[-1], SourceProgress) or events[-1].frames_received <= 150:
                return False
            return sum(len(frame.crops) for frame in frames(events)) > ENOUGH_CROPS

        events = await watch(job, until=has_lost)
    progress = events[-1]
    assert isinstance(progress, SourceProgress)
    assert progress.frames_damaged > 0 or codec == "h265"  # whose decoder holds most of them back by itself
    assert_sent([crop for frame in frames(events) for crop in frame.crops], decoded(codec))


def assert_sent(crops: list[FaceCrop], sent_NHWC: NDArray[np.uint8]) -> None:
    """Hold each crop against its place in every picture that was sent: one of them is the same."""
    assert len(crops) > ENOUGH_CROPS
    for crop in crops:
        corners = (crop.box.x1, crop.box.y1, crop.box.x2, crop.box.y2)
        left, top, side = square_around(corners, frame_width_px=640, frame_height_px=360)
        here_NYXC = sent_NHWC[:, top : top + side, left : left + side].astype(np.int16)
        nearest = float(np.abs(here_NYXC - crop.pixels_YXC).mean(axis=(1, 2, 3)).min())
        assert nearest < 0.5, f"frame {crop.seq}"


async def test_a_worker_takes_leave_of_its_camera_when_its_source_is_left(own_camera: RtspCamera) -> None:
    """The camera sees its client go; nothing of it stays on this side either."""
    before = own_camera.clients()
    async with asyncio.timeout(30), open_source(at(own_camera.url())) as source:
        async for event in source:
            if isinstance(event, FrameFaces):
                break
        assert own_camera.clients() == before + 1
    deadline_s = time.monotonic() + TENFOLD_S
    while own_camera.clients() != before:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)


async def test_nothing_secret_is_said_when_a_camera_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the error nor any output of the worker holds what opens the camera."""
    with RtspCamera(tmp_path, users={"admin": "other"}) as camera:
        error, _ = await failure(at(camera.url(), username="admin", password="v3ry-s3cret"))
    captured = capfd.readouterr()
    for text in (str(error), repr(error), captured.out, captured.err, caplog.text):
        assert "v3ry-s3cret" not in text
