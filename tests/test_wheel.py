"""The wheel, which is what operators install: built, unpacked and asked."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=50,
    )
    (built,) = folder.glob("spectragate-*.whl")
    return built


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Models, templates, pages and schemas travel with the code."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = [path for package in ("gateway", "trainer") for path in (ROOT / package).rglob("*") if path.is_file()]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert wanted - inside == set()


def test_wheel_brings_the_unit_files(wheel: Path) -> None:
    """`install-service` finds them where only the wheel is installed."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"gateway/units/{path.name}" for path in (ROOT / "systemd").iterdir()} <= inside


def test_wheel_holds_nothing_but_the_packages(wheel: Path) -> None:
    """No test, no picture of a person and nothing large reaches an operator's machine."""
    entries = zipfile.ZipFile(wheel).infolist()
    roots = {entry.filename.partition("/")[0] for entry in entries}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"gateway", "trainer"}
    pictures = {".jpg", ".jpeg", ".png", ".gif", ".mp4", ".npz", ".npy", ".pkl", ".pt", ".csv"}
    assert [entry.filename for entry in entries if Path(entry.filename).suffix.lower() in pictures] == []
    assert sum(entry.file_size for entry in entries) < 20_000_000


def test_shipped_model_opens_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """The default bundle is found and verified where only the unpacked wheel is on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import gateway.models.shipped as shipped\n"
        "print(shipped.__file__)\n"
        "print(shipped.resolve_bundle('paper').identity.profile)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    place, profile = done.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert profile == "paper"
