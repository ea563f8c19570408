"""The broker and the cameras, good and bad, as `doctor` tells them."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto, free_port, make_authority
from fakes.recordings import background, make_clip
from fakes.rtsp_camera import Mount, RtspCamera

from gateway.cameras.jobs import CameraJob, FileSource, RtspSource
from gateway.doctor import outside
from gateway.doctor.findings import Finding
from gateway.settings import BrokerSettings

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def guarded(tmp_path: Path) -> Mosquitto:
    """Return a broker that knows three users: one may do all, one only read, one only write."""
    users = tmp_path / "users"
    for index, name in enumerate(("gw", "reader", "writer")):
        create = ["-c"] if index == 0 else []
        command = ["mosquitto_passwd", *create, "-b", str(users), name, "hunter2"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    users.chmod(0o644)
    acl = tmp_path / "acl"
    acl.write_text(
        "user gw\ntopic readwrite spectragate/#\nuser reader\ntopic read spectragate/#\n"
        "user writer\ntopic write spectragate/#\n"
    )
    acl.chmod(0o644)
    return Mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}", f"acl_file {acl}")


def settings(port: int, **more: object) -> BrokerSettings:
    """Return how the broker at this port is reached."""
    return BrokerSettings.model_validate({"host": "127.0.0.1", "port": port, "client_id": "box", **more})


@pytest.mark.parametrize(("protocol", "version"), [("auto", "5"), ("5", "5"), ("3.1.1", "3.1.1")])
def test_broker_that_works_is_told_with_its_version(tmp_path: Path, protocol: str, version: str) -> None:
    """Under a name of its own: the daemon, which may be running, keeps its session."""
    with Mosquitto(tmp_path, "allow_anonymous true") as mosquitto:
        finding = outside.broker(settings(mosquitto.port, protocol=protocol))
        assert finding == Finding(
            "broker",
            "ok",
            f"127.0.0.1:{mosquitto.port} speaks MQTT {version}; topics below spectragate/ are allowed",
        )
        assert "as box-doctor" in mosquitto.log
        assert "as box " not in mosquitto.log


@pytest.mark.parametrize(
    ("user", "password", "level", "part"),
    [
        ("gw", "hunter2", "ok", "topics below spectragate/ are allowed"),
        ("gw", "wrong", "failed", "it refuses: Not authorized"),
        ("reader", "hunter2", "failed", "takes no message below spectragate/"),
    ],
)
def test_rights_at_the_broker_are_told(guarded: Mosquitto, user: str, password: str, level: str, part: str) -> None:
    """Wrong password and missing rights differ, each with what to do, and the password is never repeated."""
    with guarded:
        finding = outside.broker(settings(guarded.port, user=user, password=password))
    assert (finding.level, part in finding.found) == (level, True), finding
    assert password not in finding.found + finding.advice


def test_broker_that_is_away_is_told() -> None:
    """At once."""
    finding = outside.broker(settings(free_port()))
    assert finding.level == "failed"
    assert "cannot be reached: Connection refused" in finding.found


def test_certificate_that_is_not_trusted_is_told(tmp_path: Path) -> None:
    """The right authority is fine; another one is named as the cause, and nothing is sent."""
    make_authority(tmp_path)
    (tmp_path / "other").mkdir()
    make_authority(tmp_path / "other")
    tls = [f"cafile {tmp_path / 'ca.pem'}", f"certfile {tmp_path / 'srv.pem'}", f"keyfile {tmp_path / 'srv.key'}"]
    for path in tmp_path.glob("*.*"):
        path.chmod(0o644)
    tmp_path.chmod(0o755)
    with Mosquitto(tmp_path, "allow_anonymous true", *tls) as mosquitto:
        right = outside.broker(settings(mosquitto.port, tls_ca_certs=tmp_path / "ca.pem"))
        wrong = outside.broker(settings(mosquitto.port, tls_ca_certs=tmp_path / "other" / "ca.pem"))
    assert right.level == "ok"
    assert "over TLS" in right.found
    assert wrong.level == "failed"
    assert "self-signed certificate" in wrong.found


async def test_broker_that_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens, but it is no broker."""
    monkeypatch.setattr(outside, "BROKER_S", 0.5)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        finding = await asyncio.to_thread(outside.broker, settings(port))
    assert finding.level == "failed"
    assert "takes connections but does not answer" in finding.found


async def test_camera_that_is_away_is_told_with_its_reason() -> None:
    """In a word, in words, and with what to do; the password is never repeated."""
    source = RtspSource(f"rtsp://127.0.0.1:{free_port()}/x", "view", "hunter2")
    finding = await outside.camera(CameraJob("gate", source))
    assert finding.level == "failed"
    assert finding.found.startswith("refused: gate: ")
    assert finding.advice == "check host and port of the address, and that the camera is on"
    assert "hunter2" not in str(finding)


async def test_recording_that_is_away_is_told(tmp_path: Path) -> None:
    """A path that leads nowhere."""
    finding = await outside.camera(CameraJob("yard", FileSource(tmp_path / "absent.mp4")))
    assert finding.level == "failed"
    assert "absent.mp4" in finding.found


async def test_camera_that_works_is_told_with_codec_size_and_clock(tmp_path: Path) -> None:
    """What it sends, how large, how often, and whose clock; a wrong password and a wrong path differ."""
    with RtspCamera(tmp_path, Mount(size=(320, 240)), users={"view": "right"}) as server:
        sources = {
            "good": RtspSource(server.url(), "view", "right"),
            "wrong": RtspSource(server.url(), "view", "hunter2"),
            "lost": RtspSource(server.url("/absent"), "view", "right"),
        }
        jobs = [CameraJob(name, source) for name, source in sources.items()]
        good, wrong, lost = await asyncio.gather(*(outside.camera(job) for job in jobs))
    assert good.level == "ok"
    assert good.found.startswith("h264 320x240 at 25 fps, clock: ")
    assert wrong.found.startswith("auth: ")
    assert wrong.advice == "check username and password of this camera"
    assert lost.found.startswith("not_found: ")
    assert "hunter2" not in str(wrong)


async def test_recording_as_a_camera_is_told(tmp_path: Path) -> None:
    """A file that is played, with its own clock or that of its arrival."""
    clip = make_clip(tmp_path / "yard.mp4", [background(320, 240)] * 30)
    finding = await outside.camera(CameraJob("yard", FileSource(clip, loop=True)))
    assert finding.level == "ok", finding
    assert "320x240 at 25 fps" in finding.found
