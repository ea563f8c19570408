"""Publishers that are not ours send a clip to the real daemon over HTTP: a browser and FFmpeg; faces are found."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import httpx2
import imageio_ffmpeg
import pytest
from fakes.camera_clips import walker
from fakes.daemon_process import DaemonProcess
from playwright.sync_api import sync_playwright

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(180)]

TOKEN, CAMERA_TOKEN = "a-token-for-scripts", "a-token-of-the-gate"
FRAMES = 100
WAIT_S = 25.0

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
def daemon(tmp_path: Path) -> Iterator[tuple[DaemonProcess, str]]:
    """Yield a daemon with one camera that waits for its publisher, and its address."""
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"state_folder: state\nscreening: {{device: cpu}}\nhttp: {{port: 0, token: {TOKEN}}}\n"
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
    told = httpx2.get(f"{address}/api/v1/cameras", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    (camera,) = told["cameras"] if isinstance(told, dict) else told
    assert isinstance(camera, dict)
    return camera


def until_faces(address: str) -> dict[str, Any]:
    """Return the camera once it has shown faces."""
    pause = threading.Event()
    for _ in range(int(WAIT_S * 4)):
        camera = gate(address)
        if camera["stats"]["faces_found"] > 0 and camera["state"] == "online":
            return camera
        pause.wait(0.25)
    raise AssertionError(f"no face was seen: {camera}")


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_a_browser_publishes(codec: str, tmp_path: Path, frames: list[Any], daemon: tuple[DaemonProcess, str]) -> None:
    """Chromium sends its camera over WHIP; it takes leave by DELETE."""
    clip = tmp_path / "cam.mjpeg"
    clip.write_bytes(b"".join(cv2.imencode(".jpg", frame[:, :, ::-1])[1].tobytes() for frame in frames))
    process, address = daemon
    flags = [*FLAGS, f"--use-file-for-fake-video-capture={clip}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page()
        page.route("**/blank", lambda route: route.fulfill(body="<p>", content_type="text/html"))
        page.goto(f"{address}/blank")
        place = page.evaluate(PUBLISH, [CAMERA_TOKEN, codec])
        until_faces(address)
        assert page.evaluate(LEAVE, [place, CAMERA_TOKEN]) == 200
        process.until("camera_lost", camera="gate", reason="ended")
        browser.close()


def test_ffmpeg_publishes(tmp_path: Path, frames: list[Any], daemon: tuple[DaemonProcess, str]) -> None:
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
    publisher = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        until_faces(address)
    finally:
        publisher.kill()
        said = publisher.communicate()[1]
    assert b"rror" not in said, said
