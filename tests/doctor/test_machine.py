"""Checks of this machine, good and bad, each with what to do."""

import resource
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from fakes.configs import load

from gateway.cameras.sandbox import SandboxReport
from gateway.config import Config
from gateway.doctor import machine
from gateway.doctor.findings import Finding
from gateway.settings import OutboxSettings


def installed(*names: str) -> object:
    """Return a stand-in for `importlib.metadata.version` that knows these distributions alone."""

    def version(name: str) -> str:
        if name not in names:
            raise PackageNotFoundError(name)
        return "1.2"

    return version


@pytest.mark.parametrize(
    ("names", "level", "found"),
    [
        (["onnxruntime"], "ok", "onnxruntime 1.2"),
        (["onnxruntime-gpu"], "ok", "onnxruntime-gpu 1.2"),
        (["onnxruntime", "onnxruntime-gpu"], "failed", "onnxruntime 1.2 and onnxruntime-gpu 1.2"),
        ([], "failed", "no onnxruntime is installed"),
    ],
)
def test_one_onnxruntime_is_installed(
    monkeypatch: pytest.MonkeyPatch, names: list[str], level: str, found: str
) -> None:
    """Two lie over each other, and the CPU build wins silently."""
    monkeypatch.setattr(machine, "version", installed(*names))
    finding = machine.packages()
    assert (finding.level, finding.found) == (level, found)
    assert bool(finding.advice) == (level == "failed")


def test_packages_of_this_machine_are_found() -> None:
    """The suite runs with exactly one."""
    assert machine.packages().level == "ok"


def test_telemetry_is_off() -> None:
    """Our own module switches it off; without that it is on."""
    assert machine.telemetry().level == "ok"
    assert machine.telemetry({}).level == "failed"


def test_missing_library_is_named_with_its_package() -> None:
    """Before OpenCV is imported, which would say less."""
    assert machine.picture_libraries().level == "ok"
    finding = machine.picture_libraries({"libGL.so.1": "libgl1", "libabsent.so.9": "libabsent9"})
    assert finding.level == "failed"
    assert "libabsent.so.9" in finding.found
    assert "libGL" not in finding.found
    assert finding.advice == "apt-get install libabsent9 (Debian's names)"


def test_decoder_names_versions_and_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV, FFmpeg, and what cameras send; a codec that is missing is named."""
    finding = machine.decoder()
    assert finding.level == "ok"
    assert "h264, hevc, mjpeg, rtsp" in finding.found
    monkeypatch.setattr(machine, "NEEDED_CODECS", ("h264", "h999"))
    assert machine.decoder().level == "failed"
    assert "without h999" in machine.decoder().found


def test_face_model_that_is_none_is_told(tmp_path: Path) -> None:
    """Those of single cameras as well."""
    assert machine.face_models(Config()) == Finding("face model", "ok", "CenterFace")
    (tmp_path / "not.onnx").write_bytes(b"not a model")
    text = "cameras: {a: {source: {type: file, path: x}, faces: {model: not.onnx}}}"
    finding = machine.face_models(load(tmp_path, text))
    assert finding.level == "failed"
    assert "not.onnx" in finding.found


def test_sandbox_tells_what_is_missing() -> None:
    """The gateway runs without it, so it is a warning."""
    assert machine.sandbox().check == "sandbox"
    finding = machine.sandbox(SandboxReport(0, ("this kernel has no Landlock",)))
    assert finding.level == "warning"
    assert "no Landlock" in finding.found


def test_open_files_grow_with_the_cameras(tmp_path: Path) -> None:
    """Each camera needs a few."""
    cameras = "".join(f"  c{index}: {{source: {{type: file, path: x}}}}\n" for index in range(64))
    many = load(tmp_path, f"cameras:\n{cameras}")
    assert machine.open_files(many, 1024).level == "ok"
    assert machine.open_files(many, 256) == Finding(
        "open files", "failed", "256 may be open, 640 are needed", "LimitNOFILE=1024 in the unit, or ulimit -n"
    )
    assert machine.open_files(Config(), 256).level == "ok"
    assert machine.open_files(many, resource.RLIM_INFINITY).level == "ok"


@pytest.mark.parametrize(
    ("now_s", "synchronised", "level"),
    [(0.0, True, "failed"), (2e9, False, "warning"), (2e9, True, "ok"), (machine.EARLIEST_S - 1, True, "failed")],
)
def test_clock_that_is_wrong_is_told(now_s: float, synchronised: bool, level: str) -> None:
    """A date of long ago is wrong for certain; one that nothing keeps right may be."""
    assert machine.clock(now_s, synchronised=synchronised).level == level


def test_clock_of_this_machine_is_looked_at() -> None:
    """The kernel is asked, and nothing is changed."""
    assert machine.clock().level in {"ok", "warning"}


def test_state_folder_is_tried(tmp_path: Path) -> None:
    """Written, not merely looked at; nothing is left behind; room for what the outbox may take."""
    config = Config(state_folder=tmp_path, outbox=OutboxSettings(max_bytes=2**16, reserve_bytes=0))
    assert machine.state_folder(config).level == "ok"
    assert list(tmp_path.iterdir()) == []
    large = Config(state_folder=tmp_path, outbox=OutboxSettings(max_bytes=2**40))
    assert machine.state_folder(large).level == "warning"
    to_be_made = tmp_path / "not yet" / "there"
    assert machine.state_folder(config.model_copy(update={"state_folder": to_be_made})).level == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    below_a_file = machine.state_folder(Config(state_folder=tmp_path / "file" / "state"))
    assert below_a_file.level == "failed"
    assert "Not a directory" in below_a_file.found
    assert machine.state_folder(Config(), {"STATE_DIRECTORY": str(tmp_path)}).found.startswith(str(tmp_path))
    assert machine.state_folder(Config(), {}).level == "warning"


def test_credentials_that_others_can_read_are_told(tmp_path: Path) -> None:
    """By name and never by content; a folder that nobody else enters protects its files."""
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    for name, mode in (("private", 0o600), ("shared", 0o644)):
        (tmp_path / name).write_text("hunter2")
        (tmp_path / name).chmod(mode)
    tmp_path.chmod(0o755)
    finding = machine.secret_files(environ)
    assert (finding.level, finding.found) == ("failed", "every user of this machine can read shared")
    tmp_path.chmod(0o700)
    assert machine.secret_files(environ).level == "ok"
    assert machine.secret_files({}).level == "ok"
    assert machine.secret_files({"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")}).level == "failed"


@pytest.mark.parametrize(
    ("password", "level"),
    [("camera", "warning"), ("Alerts", "warning"), ("a1b2", "warning"), ("lantern-42-moss", "ok")],
)
def test_password_that_is_a_word_is_told(password: str, level: str) -> None:
    """Hidden wherever it stands, it would be told by the words around; it is counted, not repeated."""
    config = Config.model_validate({"mqtt": {"user": "gw", "password": password}})
    finding = machine.guessable_secrets(config)
    assert finding.level == level
    assert password not in f"{finding.found} {finding.advice}"
