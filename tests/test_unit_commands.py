"""The unit files, as `install-service` would install them, and what systemd says of them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import unit_commands
from gateway.__main__ import cli
from gateway.errors import ConfigError
from gateway.unit_commands import _check_programs, files_to_install

MOST_EXPOSURE = 12
"""In tenths, as `systemd-analyze` wants it."""

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
UNITS = [(False, "spectragate"), (True, "spectragate-trainer")]


def install(root: Path, *options: str) -> str:
    """Install below a folder and return what was said."""
    done = CliRunner().invoke(cli, ["install-service", "--root", str(root), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def unit_in(folder: Path, *, trainer: bool) -> Path:
    """Write a unit whose program exists, for those who check that."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("spectragate", "spectragate-trainer"):
        (programs / name).symlink_to(sys.executable)
    texts = files_to_install(programs, folder, trainer=trainer, gpu=False)
    path, text = next((path, text) for path, text in texts.items() if path.suffix == ".service")
    unit = folder / path.name
    unit.write_text(text)
    return unit


def test_everything_is_shown_before_it_is_installed(tmp_path: Path) -> None:
    """With --show nothing is written; without a yes nothing either; afterwards what was shown lies there."""
    shown = install(tmp_path, "--show")
    assert "WatchdogSec=10s" in shown
    assert list(tmp_path.iterdir()) == []
    refused = CliRunner().invoke(cli, ["install-service", "--root", str(tmp_path)], input="n\n")
    assert refused.exit_code == 1
    assert list(tmp_path.iterdir()) == []
    installed = install(tmp_path, "--yes")
    assert installed.startswith(shown)
    unit = (tmp_path / "etc/systemd/system/spectragate.service").read_text()
    assert f"ExecStart={Path(sys.executable).parent}/spectragate run -c /etc/spectragate/gateway.yaml" in unit
    assert (tmp_path / "etc/sysusers.d/spectragate.conf").is_file()
    assert (tmp_path / "etc/tmpfiles.d/spectragate.conf").is_file()


def test_secrets_are_handed_over_by_the_names_of_their_files(tmp_path: Path) -> None:
    """One credential a file; what is no name of a variable is left alone, and no secret stands in the unit."""
    secrets = tmp_path / "etc/spectragate/secrets"
    secrets.mkdir(parents=True)
    (secrets / "MQTT_PASSWORD").write_text("correct horse")
    (secrets / "notes.txt~").write_text("staple")
    said = install(tmp_path, "--yes")
    drop_in = (tmp_path / "etc/systemd/system/spectragate.service.d/secrets.conf").read_text()
    assert "LoadCredential=MQTT_PASSWORD:/etc/spectragate/secrets/MQTT_PASSWORD" in drop_in.splitlines()
    assert "notes" not in drop_in
    assert "correct horse" not in said


def test_gpu_is_a_drop_in(tmp_path: Path) -> None:
    """Only who asks for it gets the devices and memory that can be written and run."""
    install(tmp_path, "--yes", "--gpu")
    drop_in = (tmp_path / "etc/systemd/system/spectragate.service.d/gpu.conf").read_text()
    assert "MemoryDenyWriteExecute=no" in drop_in
    assert "MemoryDenyWriteExecute=yes" in (tmp_path / "etc/systemd/system/spectragate.service").read_text()


def test_program_in_a_home_is_refused() -> None:
    """The service would not see it, nor a Python there; the words say where to install instead."""
    with pytest.raises(ConfigError, match="python3 -m venv /usr/lib/spectragate"):
        _check_programs(Path("/", "home", "someone", "venv", "bin"))
    with pytest.raises(ConfigError, match=r"this program needs /root/\.pyenv"):
        _check_programs(Path("/usr/lib/spectragate/bin"), Path("/", "root", ".pyenv", "versions", "3"))
    _check_programs(Path("/usr/lib/spectragate/bin"), Path("/usr"))


def test_program_behind_a_link_into_a_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service follows the link and finds nothing there."""
    (tmp_path / "home" / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "opt").symlink_to(tmp_path / "home" / "venv")
    monkeypatch.setattr(unit_commands, "_HIDDEN", ((*tmp_path.resolve().parts[1:], "home"),))
    with pytest.raises(ConfigError, match=r"this program needs .*/home/venv/bin"):
        _check_programs(tmp_path / "opt" / "bin")
    (tmp_path / "srv").mkdir()
    _check_programs(tmp_path / "srv")


def test_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """In one line, with what it takes."""
    (tmp_path / "etc").write_text("a file, where a folder should be")
    with pytest.raises(ConfigError, match="cannot be written"):
        CliRunner().invoke(cli, ["install-service", "--yes", "--root", str(tmp_path)], catch_exceptions=False)


@needs_systemd
@pytest.mark.parametrize(("trainer", "name"), UNITS, ids=[name for _, name in UNITS])
def test_systemd_finds_nothing_to_say_about_the_units(tmp_path: Path, trainer: bool, name: str) -> None:
    """`verify` ends with 0 and an empty stderr."""
    done = subprocess.run(
        [str(ANALYZE), "verify", str(unit_in(tmp_path, trainer=trainer))], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize(("trainer", "name"), UNITS, ids=[name for _, name in UNITS])
def test_services_expose_little(tmp_path: Path, trainer: bool, name: str) -> None:
    """`security` finds at most 1.2 of 10."""
    command = [str(ANALYZE), "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSURE}"]
    unit = unit_in(tmp_path, trainer=trainer)
    done = subprocess.run([*command, str(unit)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.parametrize("trainer", [False, True], ids=["gateway", "trainer"])
@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "WatchdogSec=10s",
        "Restart=always",
        "RestartSec=1",
        "RestartPreventExitStatus=78",
        "SuccessExitStatus=130",
        "StartLimitIntervalSec=0",
        "LimitCORE=0",
        "IPAddressDeny=any",
    ],
)
def test_unit_says(tmp_path: Path, line: str, trainer: bool) -> None:
    """What ends it, what starts it again, and what must never leave it."""
    assert line in unit_in(tmp_path, trainer=trainer).read_text().splitlines()
