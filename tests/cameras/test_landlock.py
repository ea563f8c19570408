"""The kernel's file and port rules, each in a process of its own; what they do to a worker is in test_sandbox."""

import subprocess
import sys
from pathlib import Path

from gateway.cameras import landlock

REPOSITORY = Path(__file__).parents[2]

RESTRICT = """
import ctypes, os, sys
from pathlib import Path
from gateway.cameras import landlock
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
folder, offered = Path(sys.argv[1]), int(sys.argv[2])
landlock.version = lambda: offered
print(landlock.restrict(readable=(folder / "in", folder / "link", folder / "none"), device=folder / "device"))
for name in ("in/a", "link", "out"):
    try:
        print((folder / name).read_text())
    except PermissionError:
        print("refused")
with (folder / "device").open("r+") as device:
    print(device.read())
try:
    (folder / "in" / "new").write_text("")
except PermissionError:
    print("refused")
"""


def run(folder: Path, offered: int) -> list[str]:
    """Return what a restricted process could do."""
    (folder / "in").mkdir()
    for name in ("in/a", "elsewhere", "out", "device"):
        (folder / name).write_text(name, encoding="ascii")
    (folder / "link").symlink_to(folder / "elsewhere")
    command = [sys.executable, "-c", RESTRICT, str(folder), str(offered)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout.splitlines()


def test_only_named_paths_are_left_when_restricted(tmp_path: Path) -> None:
    """Folders with all beneath, links as what they point to, a device also for writing; missing paths are no error."""
    offered = landlock.version()
    assert run(tmp_path, offered) == [str(offered), "in/a", "elsewhere", "refused", "device", "refused"]


def test_older_versions_restrict_as_far_as_they_go(tmp_path: Path) -> None:
    """What an older kernel does not know is left out of the request; files are guarded by all of them."""
    for offered in (1, 3, 4, 5):
        folder = tmp_path / str(offered)
        folder.mkdir()
        assert run(folder, offered) == [str(offered), "in/a", "elsewhere", "refused", "device", "refused"]


def test_nothing_happens_when_the_kernel_has_none(tmp_path: Path) -> None:
    """Version 0 restricts nothing and says so."""
    assert run(tmp_path, 0)[:4] == ["0", "in/a", "elsewhere", "out"]
