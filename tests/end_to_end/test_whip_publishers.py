"""Publishers send a clip to the real daemon over HTTP: a browser, FFmpeg, GStreamer and aiortc.

Faces are found, and alerts come to a subscriber of a real broker. The detector calls every face triggered: what is
tested is the way from the publisher's picture to the alert.
"""

import asyncio
import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import httpx2
import imageio_ffmpeg
import pytest
from fakes.brokers import Mosquitto, Subscriber
from fakes.camera_clips import walker
from fakes.daemon_process import DaemonProcess
from fakes.screening import alarming_bundle
from fakes.webrtc import accept, offer_of, on_loopback, publisher
from playwright.async_api import async_playwright

from gateway.contract import messages

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(900)]

TOKEN, CAMERA_TOKEN = "a-token-for-scripts", "a-token-of-the-gate"
FRAMES = 100
WAIT_S = 60.0

SIZES = {(640, 360), (480, 270), (320, 180)}  # a browser begins with what its encoder takes to be enough

FLAGS = [
    "--disable-quic",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--allow-loopback-in-peer-connection",
]

PUBLISH = """async ([token, codec]) => {
  const media = await navigator.mediaDevices.getUserMedia({video: true});
  const peer = window.peer = new RTCPeerConnection();
  const transceiver = peer.addTransceiver(media.getVideoTracks()[0], {direction: 'sendonly'});
  const codecs = RTCRtpSender.getCapabilities('video').codecs;
  transceiver.setCodecPreferences(codecs.filter(each => each.mimeType === codec));
  await peer.setLocalDescription();
  if (peer.iceGatheringState !== 'complete') await new Promise(done => {
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done();
  });
  const answer = await fetch('/whip/gate', {method: 'POST', body: peer.localDescription.sdp,
    headers: {'Content-Type': 'application/sdp', 'Authorization': 'Bearer ' + token}});
  if (answer.status !== 201) throw new Error(answer.status + ' ' + await answer.text());
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
  return answer.headers.get('Location');
}"""

LEAVE = """async ([place, token]) =>
  (await fetch(place, {method: 'DELETE', headers: {'Authorization': 'Bearer ' + token}})).status"""


@pytest.fixture(scope="module")
def frames() -> list[Any]:
    """Return the pictures of a person walking by; RGB, H W C."""
    return [walker(index, frames=FRAMES) for index in range(FRAMES)]


@pytest.fixture
def alerts(tmp_path: Path) -> Iterator[Subscriber]:
    """Yield who hears the alerts of a broker that anybody may use."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, "allow_anonymous true") as broker, Subscriber(broker.port, "spectragate/alerts") as heard:
        yield heard


@pytest.fixture
def daemon(tmp_path: Path, alerts: Subscriber) -> Iterator[tuple[DaemonProcess, str]]:
    """Yield a daemon with one camera that waits for its publisher, and its address."""
    alarming_bundle(tmp_path)
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"mqtt: {{host: 127.0.0.1, port: {alerts._port}, client_id: box}}\n"
        f"state_folder: state\nhttp: {{port: 0, token: {TOKEN}}}\n"
        "screening: {device: cpu, alert_budget_per_day: 100000, tracks_per_day: 1}\n"
        "environments: {default: {bundle: ./alarming}}\n"
        f"webrtc: {{allow: [127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16]}}\n"
        f"cameras:\n  gate:\n    source: {{type: whip, token: {CAMERA_TOKEN}}}\n"
    )
    path.chmod(0o600)
    with DaemonProcess(path) as process:
        address = f"http://127.0.0.1:{process.until('http_listening')['port']}"
        yield process, address
        assert process.end()[0] == 0


def gate(address: str) -> dict[str, Any]:
    """Return what the daemon tells of the camera."""
    told = httpx2.get(f"{address}/api/v1/cameras", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).json()
    (camera,) = told["cameras"] if isinstance(told, dict) else told
    assert isinstance(camera, dict)
    return camera


async def until_alert(alerts: Subscriber) -> messages.Alert:
    """Return the first alert that a subscriber of the broker gets."""
    alert = messages.parse((await alerts.next(within_s=WAIT_S)).payload)
    assert isinstance(alert, messages.Alert)
    assert (alert.data.camera, alert.data.type, alert.data.label) == ("gate", "new", "face")
    return alert


def until_faces(address: str) -> dict[str, Any]:
    """Return the camera once it has shown faces."""
    pause = threading.Event()
    for _ in range(int(WAIT_S * 4)):
        camera = gate(address)
        if camera["stats"]["faces_found"] > 0 and camera["state"] == "online":
            return camera
        pause.wait(0.25)
    raise AssertionError(f"no face was seen: {camera}")


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[Callable[[], bytes]]:
    """Run a program for as long as the block lasts; yield what it said to stderr, once it has ended."""
    said = b""
    program = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        yield lambda: said
    finally:
        program.kill()
        said = program.communicate()[1]


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_a_browser_publishes(
    codec: str, tmp_path: Path, frames: list[Any], daemon: tuple[DaemonProcess, str], alerts: Subscriber
) -> None:
    """Chromium sends its camera over WHIP; it takes leave by DELETE."""
    clip = tmp_path / "cam.mjpeg"
    clip.write_bytes(b"".join(cv2.imencode(".jpg", frame[:, :, ::-1])[1].tobytes() for frame in frames))
    process, address = daemon
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={clip}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = await browser.new_page()
        await page.route("**/blank", lambda route: route.fulfill(body="<p>", content_type="text/html"))
        await page.goto(f"{address}/blank")
        place = await page.evaluate(PUBLISH, [CAMERA_TOKEN, codec])
        alert = await until_alert(alerts)
        assert (alert.data.frame_width, alert.data.frame_height) in SIZES
        until_faces(address)
        assert await page.evaluate(LEAVE, [place, CAMERA_TOKEN]) == 200
        process.until("camera_lost", camera="gate", reason="ended")
        await browser.close()


async def test_ffmpeg_publishes(
    tmp_path: Path, frames: list[Any], daemon: tuple[DaemonProcess, str], alerts: Subscriber
) -> None:
    """FFmpeg 9 encodes H.264 and sends it over WHIP."""
    clip = tmp_path / "walk.mp4"
    with av.open(str(clip), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    _, address = daemon
    reading = ["-nostdin", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip), "-an"]
    coding = ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-bf", "0", "-g", "50"]
    sending = ["-pix_fmt", "yuv420p", "-f", "whip", "-authorization", CAMERA_TOKEN, f"{address}/whip/gate"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *reading, *coding, *sending]
    with running(command) as said:
        alert = await until_alert(alerts)
        until_faces(address)
    assert (alert.data.frame_width, alert.data.frame_height) == (640, 360)
    assert b"rror" not in said(), said()


@pytest.mark.usefixtures("on_loopback")
async def test_aiortc_publishes(daemon: tuple[DaemonProcess, str], alerts: Subscriber) -> None:
    """A program that passes its packets through; an alert comes, and the camera waits again when it has left."""
    process, address = daemon
    headers = {"Authorization": f"Bearer {CAMERA_TOKEN}", "Content-Type": "application/sdp"}
    async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=WAIT_S) as client:
        async with publisher() as connection:
            answer = await client.post("/whip/gate", content=offer_of(connection))
            assert answer.status_code == 201, answer.text
            await accept(connection, answer.content)
            alert = await until_alert(alerts)
            assert (alert.data.frame_width, alert.data.frame_height) == (640, 360)
            assert (await client.delete(answer.headers["location"])).status_code == 200
            await asyncio.to_thread(process.until, "camera_lost", camera="gate", reason="ended")
        async with asyncio.timeout(WAIT_S):
            while (state := gate(address))["reason"] != "waiting":
                await asyncio.to_thread(threading.Event().wait, 0.25)
    assert state["state"] == "offline"


def gstreamer_sink() -> str | None:
    """Return the element of GStreamer that publishes over WHIP, where it is installed."""
    program = shutil.which("gst-inspect-1.0")
    for element in ("whipclientsink", "whipsink"):
        if program and subprocess.run([program, element], capture_output=True).returncode == 0:
            return element
    return None


async def test_gstreamer_publishes(
    tmp_path: Path, frames: list[Any], daemon: tuple[DaemonProcess, str], alerts: Subscriber
) -> None:
    """Where it has the element for it: gst-plugins-rs, which Debian 12 does not ship."""
    sink = gstreamer_sink()
    if sink is None:
        pytest.skip(
            "GStreamer has neither whipclientsink nor whipsink here: install gst-plugins-rs (webrtc, webrtchttp)"
        )
    clip = tmp_path / "walk.y4m"
    with av.open(str(clip), "w", format="yuv4mpegpipe") as container:
        stream: Any = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for frame in frames * 20:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    _, address = daemon
    server = "signaller::" if sink == "whipclientsink" else ""
    names = (f"{server}whip-endpoint={address}/whip/gate", f"{server}auth-token={CAMERA_TOKEN}")
    reading = ["filesrc", f"location={clip}", "!", "y4mdec", "!", "clocksync", "!", "videoconvert", "!"]
    with running(["gst-launch-1.0", *reading, sink, *names]):
        await until_alert(alerts)
