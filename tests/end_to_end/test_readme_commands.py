"""The commands of the README, as their reader types them: in a checkout, with cameras and brokers on loopback."""

import datetime as dt
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import cv2
import imageio_ffmpeg
import pytest
from fakes import readme as handbook
from fakes.brokers import Mosquitto, free_port
from fakes.camera_clips import walker
from fakes.drawn_faces import drawn_faces, save_index
from fakes.readme import Reader, Running
from fakes.recordings import background, make_picture, with_face
from fakes.repositories import Site
from playwright.sync_api import sync_playwright

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(3600)]

INSTALL = """
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p .venv/bin && ln -sf ../../stand-ins/pip .venv/bin/pip && mv hidden/* .venv/bin/
"""
TOKEN = "only-for-a-first-try"
QUICK_TRAINING = "--epochs 1 --threads 1"


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkout of somebody who has typed the first command; nothing is downloaded."""
    readme = Reader(tmp_path_factory.mktemp("reader") / "checkout").install()
    (readme.folder / ".venv/bin").rename(readme.folder / "hidden")
    for program in ("apt-get", "pip"):
        readme.stand_in(program)
    readme.stand_in("sudo", 'exec "$@"\n')
    readme.stand_in("python3", INSTALL)
    said = readme.run("S=$(command -v sudo")
    assert re.search(r"caught \d of 8 triggered passages", said)
    assert readme.called()[1:] == [
        "apt-get update",
        "sudo apt-get install -y python3-venv libgl1 libglib2.0-0",
        "apt-get install -y python3-venv libgl1 libglib2.0-0",
        "python3 -m venv .venv",
        "pip install .[demo]",
    ]
    return readme.folder


@pytest.fixture
def readme(tmp_path: Path) -> Reader:
    """Return a reader with an installed program."""
    return Reader(tmp_path / "checkout").install()


@pytest.fixture
def after_demo(readme: Reader, demonstrated: Path) -> Reader:
    """Return a reader who has the demo's recordings."""
    (readme.folder / "runs").mkdir()
    (readme.folder / "runs/demo").symlink_to(demonstrated / "runs/demo")
    return readme


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return a broker that lets everybody in."""
    with Mosquitto(tmp_path, "allow_anonymous true") as broker:
        yield broker


def at(readme: Reader, broker: Mosquitto) -> int:
    """Move broker and page to free ports, in the configurations and in what is typed; return the page's port."""
    port = free_port()
    for name in ("gateway.recording.yaml", "gateway.minimal.yaml"):
        readme.change(f"configs/{name}", {"host: localhost": f"host: localhost\n  port: {broker.port}"})
    readme.change("configs/gateway.recording.yaml", {"http:\n": f"http:\n  port: {port}\n"})
    readme.replace = {
        "http://127.0.0.1:8080": f"http://127.0.0.1:{port}",
        "mosquitto_sub ": f"mosquitto_sub -p {broker.port} ",
        "--host localhost": f"--host localhost --port {broker.port}",
    }
    readme.environment["HTTP_TOKEN"] = TOKEN
    return port


def test_quick_start_live(after_demo: Reader, broker: Mosquitto) -> None:
    """The recording is watched as a camera: the page answers, alerts come, and what is stored can be asked for."""
    readme = after_demo
    port = at(readme, broker)
    assert "broker" in readme.run("spectragate doctor")
    with (
        readme.start("mosquitto_sub -v -t 'spectragate/#'") as heard,
        readme.start("spectragate watch") as watching,
        readme.start(".venv/bin/spectragate run") as running,
    ):
        running.until('"started"')
        with urlopen(f"http://127.0.0.1:{port}/login", timeout=60) as page:
            assert b'name="password"' in page.read()
        assert readme.run("curl -s http://127.0.0.1:8080/healthz").strip() == "alive"
        heard.until("spectragate/alerts {")
        assert json.loads(readme.run("curl -s http://127.0.0.1:8080/readyz")) == {"ready": True, "reasons": []}
        cameras = readme.run('curl -s -H "Authorization: Bearer $HTTP_TOKEN" http://127.0.0.1:8080/api/v1/cameras')
        assert [camera["camera"] for camera in json.loads(cameras)] == ["gate"]
        metrics = readme.run('curl -s -H "Authorization: Bearer $HTTP_TOKEN" http://127.0.0.1:8080/metrics')
        assert "\nspectragate_camera_up{" in metrics
        watching.until('"spectragate.alert.v1"')
        assert running.end() == 0, running.output[-2000:]
    assert "waiting" in readme.run("spectragate outbox status")
    exported = readme.run("spectragate outbox export").splitlines()
    assert any("spectragate.alert.v1" in line for line in exported)
    assert re.search(r"erased [1-9]\d* messages", readme.run("spectragate forget"))


def test_replay(after_demo: Reader, broker: Mosquitto) -> None:
    """A report, and alerts that a subscriber gets."""
    readme = after_demo
    at(readme, broker)
    assert "BDR" in readme.run(
        "spectragate replay runs/demo/gate.mkv --calibrate runs/demo/calibration.mkv --budget-per-day 25 --labels"
    )
    assert (readme.folder / "runs/report/index.html").is_file()
    with readme.start("mosquitto_sub -t spectragate/alerts -C 1") as heard:
        time.sleep(1)  # mosquitto_sub does not say when it listens
        readme.run("spectragate replay runs/demo/gate.mkv --calibrate runs/demo/calibration.mkv --budget-per-day 25 -c")
        assert heard.wait() == 0
        assert json.loads(heard.output)["data"]["camera"] == "gate"


def test_pictures(readme: Reader) -> None:
    """A folder of photographs gives a line for each face."""
    (readme.folder / "photos").mkdir()
    face = with_face(background(), centre=(320, 180))
    make_picture(readme.folder / "photos/visitor.png", face)
    (line,) = readme.run("spectragate score photos/").splitlines()
    assert json.loads(line)["file"] == "photos/visitor.png"


def clip_of(folder: Path, frames: int = 100, rounds: int = 10) -> None:
    """Write a person who walks by, as FFmpeg and as a browser's camera read it; long enough for a busy machine."""
    pictures = [walker(index, frames=frames)[:, :, ::-1] for index in range(frames)]
    (folder / "cam.mjpeg").write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (640, 360))
    for picture in rounds * pictures:
        writer.write(picture)
    writer.release()


def test_publishers_over_webrtc(readme: Reader) -> None:
    """FFmpeg and the README's page in a browser send to the camera `door` of the README's configuration."""
    token = readme.run("openssl rand").strip()
    port, page_port = free_port(), free_port()
    (block,) = (each for each in handbook.blocks("yaml") if "type: whip" in each)
    block = re.sub(r"  hall: .*\n", "", block).replace("port: 8080", f"port: {port}").replace(":8000", f":{page_port}")
    readme.write("gateway.yaml", block + "state_folder: state\nscreening: {device: cpu}\n")
    readme.environment |= {"DOOR_TOKEN": token, "HTTP_TOKEN": TOKEN}
    readme.replace = {
        "configs/gateway.recording.yaml": "gateway.yaml",
        "http://127.0.0.1:8080": f"http://127.0.0.1:{port}",
        "http.server 8000": f"http.server {page_port}",
        "ffmpeg -re": f"{imageio_ffmpeg.get_ffmpeg_exe()} -re",
    }
    clip_of(readme.folder)
    readme.write("publish.html", handbook.blocks("html")[0])
    with readme.start(".venv/bin/spectragate run") as running:
        running.until('"started"')
        with readme.start("ffmpeg -re -i clip.mp4"):
            running.until('"camera_online"')
        running.until('"camera_lost"')
        with (
            readme.start("python3 -m http.server") as serving,
            published_from_browser(readme, serving, token, port=port, page_port=page_port),
        ):
            running.until('"camera_back"')
        assert running.end() == 0, running.output[-2000:]


@contextmanager
def published_from_browser(
    readme: Reader, serving: Running, token: str, *, port: int, page_port: int
) -> Iterator[None]:
    """Open the page in a browser whose camera is the clip, and answer its questions; it sends until the block ends."""
    serving.until("Serving HTTP")
    flags = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        "--allow-loopback-in-peer-connection",
    ]
    answers = iter([f"http://127.0.0.1:{port}/whip/door", token])
    with sync_playwright() as playwright:
        clip = f"--use-file-for-fake-video-capture={readme.folder}/cam.mjpeg"
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*flags, clip])
        page = browser.new_page()
        page.on("dialog", lambda dialog: dialog.accept(next(answers)))
        page.goto(f"http://127.0.0.1:{page_port}/publish.html")
        page.click("button")
        page.wait_for_function("document.title === '201'", timeout=60_000)
        yield
        browser.close()


def test_broker_with_tls_and_rights(readme: Reader) -> None:
    """The certificates, passwords and rights of the README hold: the gateway publishes and the reader reads."""
    port = free_port()
    readme.environment |= {"MQTT_PASSWORD": "a password", "READER_PASSWORD": "another", "HTTP_TOKEN": TOKEN}
    readme.replace = {"broker.plant.example": "localhost", "8883": str(port)}
    readme.folder.chmod(0o755)
    readme.run("openssl req -x509")
    readme.run("openssl req -newkey")
    readme.run("openssl x509")
    readme.run("printf")
    for block in handbook.blocks("conf"):
        name = block.splitlines()[0].removeprefix("# ")
        extra = "user root\n" if name == "mosquitto.conf" else ""
        readme.write(name, block.replace("8883", str(port)) + extra, mode=0o644)
    (real,) = (each for each in handbook.blocks("yaml") if "mqtt: {host: broker.plant.example" in each)
    real = re.sub(r"cameras:\n.*\n.*\n", "", real).replace("/var/lib/spectragate", "state").replace("8080", "0")
    readme.write("gateway.yaml", real.replace("broker.plant.example", "localhost").replace("8883", str(port)))
    with readme.start("mosquitto -c") as serving:
        serving.until("running")
        found = readme.run("spectragate doctor -c gateway.yaml")
        assert re.search(r"^ok +broker", found, flags=re.MULTILINE), found
        with readme.start("mosquitto_sub -h broker.plant.example") as heard:
            readme.replace["configs/gateway.recording.yaml"] = "gateway.yaml"
            with readme.start(".venv/bin/spectragate run") as running:
                heard.until("spectragate/available online")
                assert running.end() == 0, running.output[-2000:]
            heard.until("spectragate/available stopped")


def test_bundles_by_hand(readme: Reader) -> None:
    """Listed, installed, verified, pinned, freed and taken back, from the repository's folder."""
    readme.write("gateway.yaml", "state_folder: state\nenvironments: {indoor: {bundle: paper}}\n")
    assert "factory" in readme.run("spectragate model list")
    site = Site.make(readme.folder / "keys")
    site.now = dt.datetime.now(dt.UTC)
    for version in (1, 2):
        site.publish(version)
        readme.run("spectragate model install")
    assert "is whole" in readme.run("spectragate model verify")
    assert "pinned to version 1" in readme.run("spectragate model pin -c gateway.yaml --environment indoor 1")
    readme.run("spectragate model pin -c gateway.yaml --environment indoor none")
    readme.run("spectragate model rollback")


def test_training(after_demo: Reader) -> None:
    """A base, an adapted bundle and a report, of drawn faces and in one epoch where the README takes the paper's."""
    readme = after_demo
    save_index(readme.folder / "faces", drawn_faces(300, per_person=2))
    (readme.folder / "triggers").mkdir()
    sticker = drawn_faces(1, side_px=8).pixels[0]
    assert cv2.imwrite(str(readme.folder / "triggers/sticker.png"), sticker)
    readme.write("triggers/index.csv", "file,family,how_applied\nsticker.png,badnets,replace\n")
    readme.write("perturb.yaml", "families: [white_block]\n")
    said = readme.run("spectragate-trainer pretrain", f"{QUICK_TRAINING} --faces-per-epoch 64")
    assert "manifest digest" in said
    assert "tracks" in readme.run("spectragate replay runs/demo/gate.mkv --bundle")
    assert "manifest digest" in readme.run("spectragate-trainer finetune", f"{QUICK_TRAINING} --draws 1")
    few = "--environments original --regimes authors --plans fc --draws 1 --threads 1 --perturbations perturb.yaml"
    readme.run("spectragate-trainer evaluate", few)
    assert "hard negatives" in readme.run("spectragate-trainer aims")
    assert "Table" in (readme.folder / "runs/report/index.html").read_text("utf-8")
