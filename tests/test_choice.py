"""A configuration and what the command line says otherwise."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.configs import load

from gateway.cameras.jobs import CameraJob, DeviceSource, FaceSettings, FileSource, RtspSource, Viewing
from gateway.choice import Choice, camera_jobs, camera_rates, check_config, choose, operating_points, started_detector
from gateway.config import Config, EnvironmentConfig
from gateway.errors import ConfigError
from gateway.models import shipped

SHIPPED = Path(shipped.__file__).parent / "paper"
TWO = Config(environments={"hall": EnvironmentConfig(), "yard": EnvironmentConfig(bundle="other")})


def test_without_a_file_everything_has_a_default() -> None:
    """Commands need no configuration."""
    choice = choose(None)
    assert (choice.environment_name, choice.bundle_name) == ("default", "default")
    assert (choice.faces.min_face_px, choice.faces.max_faces) == (24, 16)


def test_command_line_overrules_the_file(tmp_path: Path) -> None:
    """The bundle that is named is the bundle that is used; face settings come from the file."""
    (tmp_path / "g.yaml").write_text("detect: {min_face_px: 48}\nfaces: {max_per_frame: 3}\n")
    choice = choose(tmp_path / "g.yaml", bundle="mine", device="cpu")
    assert (choice.bundle_name, choice.device) == ("mine", "cpu")
    assert (choice.faces.min_face_px, choice.faces.max_faces) == (48, 3)


def test_environment_must_be_named_where_there_are_several() -> None:
    """No guess."""
    assert Choice(TWO, environment="yard").bundle_name == "other"
    with pytest.raises(ConfigError, match="name one of hall, yard"):
        Choice(TWO).environment_name  # noqa: B018
    with pytest.raises(ConfigError, match="cellar is not in the configuration, hall, yard is"):
        Choice(TWO, environment="cellar").environment_name  # noqa: B018


async def test_detector_is_started_and_ended() -> None:
    """The shipped bundle scores faces on the CPU."""
    async with started_detector(Choice(Config(), device="cpu")) as (bundle, inference):
        scores_N = await inference.screen(bundle.self_test.pixels_NYXC)
        assert inference.report.got == "cpu"
    assert np.allclose(scores_N, bundle.self_test.scores_N, atol=1e-3)


async def test_bundle_that_does_not_exist_is_the_operators() -> None:
    """With its name and what was wrong."""
    with pytest.raises(ConfigError, match=r"bundle \./absent: .*manifest\.json: cannot be opened"):
        async with started_detector(Choice(Config(), bundle="./absent", device="cpu")):
            pass


async def test_damaged_bundle_is_refused(tmp_path: Path) -> None:
    """A changed byte of the weights is noticed before anything is screened."""
    folder = tmp_path / "bundle"
    shutil.copytree(SHIPPED, folder)
    weights = bytearray((folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ConfigError, match="is not the file that the manifest names"):
        async with started_detector(Choice(Config(), bundle=str(folder), device="cpu")):
            pass


def test_check_opens_what_the_file_names(tmp_path: Path) -> None:
    """A bundle that is not there is found by the check, with its line; all of them at once."""
    path = tmp_path / "g.yaml"
    path.write_text("environments:\n  hall: {bundle: paper}\n  yard: {bundle: ./absent}\n  gate: {bundle: missing}\n")
    with pytest.raises(ConfigError) as refused:
        check_config(path)
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        [f"{path}:3", "environments.yard.bundle"],
        [f"{path}:4", "environments.gate.bundle"],
    ]
    path.write_text("environments: {hall: {bundle: paper}}\n")
    check_config(path)


def test_a_camera_that_awaits_its_publisher_is_a_mistake_without_http(tmp_path: Path) -> None:
    """It would wait for ever."""
    path = tmp_path / "gateway.yaml"
    path.write_text("cameras:\n  gate: {source: {type: whip, token: a-token-of-the-gate}}\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"gate\.source: nobody can send to it"):
        check_config(path)
    with path.open("a") as file:
        file.write("http: {token: a-token-for-scripts}\n")
    check_config(path)


CAMERAS = """\
detect: {min_face_px: 40}
cameras:
  lobby:
    source: {type: rtsp, url: "rtsp://cam/x", username: u, password: p, transport: udp}
    detect: {fps: 2, max_pixels: 500000}
    faces: {max_per_frame: 2}
    screening: {tracks_per_day: 50}
  desk: {source: {type: file, path: /dev/video0}, enabled: false}
  yard: {source: {type: file, path: yard.mp4, loop: true}}
"""


def test_cameras_become_jobs(tmp_path: Path) -> None:
    """Each with its own source and settings; what it leaves out is the sections', and 5 frames a second."""
    config = load(tmp_path, CAMERAS)
    jobs = camera_jobs(config)
    assert jobs["lobby"] == CameraJob(
        "lobby", RtspSource("rtsp://cam/x", "u", "p", "udp"), FaceSettings(None, 0.5, 40, 2), 2.0, 500_000
    )
    assert jobs["desk"] == CameraJob("desk", DeviceSource(Path("/dev/video0")), FaceSettings(min_face_px=40))
    assert jobs["yard"].source == FileSource(tmp_path / "yard.mp4", loop=True)
    assert camera_rates(config) == {"lobby": 1 / 50, "desk": 1 / 1000, "yard": 1 / 1000}


def test_a_job_differs_only_where_its_camera_does(tmp_path: Path) -> None:
    """So that a reload restarts the cameras that changed and no other."""
    before = camera_jobs(load(tmp_path, CAMERAS))
    after = camera_jobs(load(tmp_path, CAMERAS.replace("password: p", "password: q").replace("batch", "")))
    assert {name for name in before if before[name] != after[name]} == {"lobby"}
    assert camera_jobs(load(tmp_path, CAMERAS + "screening: {batch_size: 8}\n")) == before


TARGET = """\
screening: {tracks_per_day: 2000}
cameras:
  hall: {source: {type: file, path: /srv/hall.mp4}}
  gate: {source: {type: file, path: /srv/gate.mp4}, screening: {alert_budget_per_day: 0.01}}
"""


def test_target_that_no_store_can_support_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    """At the check and at the start alike: the key, the passages that are missing, and the budget that would do."""
    path = tmp_path / "gateway.yaml"
    path.write_text(TARGET)
    with pytest.raises(ConfigError, match=r"cameras\.gate\.screening: .* 149999 are missing; allow 0\.04 a day"):
        check_config(path)
    with pytest.raises(ConfigError, match=r"cameras\.gate\.screening: .* 149999 are missing"):
        camera_rates(choose(path).config)
    path.write_text(TARGET.replace("0.01", "0.04"))
    config = check_config(path)
    assert camera_rates(config) == {"hall": 1 / 2000, "gate": 0.04 / 2000}
    hall, gate = operating_points(config)
    assert "camera hall: 1 false alert in 2,000 passages; it needs 1,999 clean ones, " in hall
    assert "camera gate: 1 false alert in 50,000 passages; it needs 49,999 clean ones, until then 1 in" in gate


def test_cameras_are_shown_over_webrtc_where_the_file_says_how_many_may_watch(tmp_path: Path) -> None:
    """Every camera, to the same networks that may publish."""
    jobs = camera_jobs(load(tmp_path, CAMERAS + "webrtc: {viewers: 2, allow: [10.0.0.0/8]}\n"))
    assert {job.viewing for job in jobs.values()} == {Viewing(("10.0.0.0/8",), 2)}
    assert {job.viewing for job in camera_jobs(load(tmp_path, CAMERAS)).values()} == {None}
