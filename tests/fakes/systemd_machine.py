"""A real systemd as the first process of namespaces of its own: its own /etc, /run, /var and /usr/lib, gone afterwards.

What it starts is what an operator's systemd starts, sandbox included. It takes root, namespaces and cgroups; where a
machine lacks them, `lacking` says what.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from fakes.daemon_process import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
PROGRAM = Path("/usr/lib/spectragate")
START_S = 60.0
COMMAND_S = 300.0

# Where an interpreter that is no Debian package finds its own libraries.
LIBRARIES = "LD_LIBRARY_PATH=/opt/python/lib"

# What units of ours need of the units of a whole system; there is nothing for them to do here.
TARGETS = ("sysinit", "basic", "shutdown", "network-online", "multi-user", "only")

PREPARE = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir /opt/checkout /opt/packages /opt/python /opt/shared /opt/upper /opt/work /opt/etc
mount --bind "$CHECKOUT" /opt/checkout
mount --bind "$PACKAGES" /opt/packages
mount --bind "$PYTHON" /opt/python
mount --bind "$SHARED" /opt/shared
cp -a /etc/. /opt/etc
mount --bind /opt/etc /etc
mount -t overlay overlay -o lowerdir=/usr/lib,upperdir=/opt/upper,workdir=/opt/work /usr/lib
for each in /run /tmp /var; do mount -t tmpfs -o mode=755 tmpfs $each; done
chmod 1777 /tmp
mkdir -p /run/systemd/system /run/lock /run/units /var/lib /var/tmp /var/cache /var/log
for each in $TARGETS; do printf '[Unit]\\nDescription=%s\\n' $each > /run/units/$each.target; done
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /  # as at boot: credentials are mounted by a child and must be seen by all
exec env -i container=spectragate-tests PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units SYSTEMD_LOG_TARGET=console \
    /lib/systemd/systemd --system --unit=only.target --log-target=console --show-status=no
"""


def cgroup_folder() -> Path | None:
    """Return where the second version of cgroups is mounted, if anywhere."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def lacking() -> str | None:
    """Return what this machine lacks to run a systemd of its own, or None."""
    if os.geteuid() != 0:
        return "not root: a systemd of its own takes namespaces and mounts"
    for program in ("unshare", "nsenter", "mount", "systemctl"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if not SYSTEMD.is_file():
        return f"there is no {SYSTEMD}"
    folder = cgroup_folder()
    if folder is None or not os.access(folder, os.W_OK):
        return "cgroup2 is not mounted, or cannot be written to"
    probe = "mount -t tmpfs tmpfs /opt && mkdir /opt/u /opt/w && mount -t cgroup2 cgroup2 /mnt && umount /mnt && " + (
        "mount -t overlay overlay -o lowerdir=/usr/lib,upperdir=/opt/u,workdir=/opt/w /usr/lib"
    )
    command = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--mount-proc", "sh", "-c", probe]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return None if done.returncode == 0 else f"namespaces and mounts are not allowed: {done.stderr.strip()[-200:]}"


class SystemdMachine:
    """A machine under systemd; `shared` is seen in it as /opt/shared, the checkout as /opt/checkout."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0
        folder = cgroup_folder()
        assert folder is not None
        self._cgroup = folder / f"spectragate-tests-{os.getpid()}"

    def __enter__(self) -> Self:
        """Start it and wait until it takes orders."""
        self._cgroup.mkdir()
        self._shared.chmod(0o755)  # the services, which are others, read it
        (self._shared / "prepare.sh").write_text(PREPARE, encoding="utf-8")
        environment = {
            "CHECKOUT": str(ROOT),
            "PACKAGES": str(next(Path(each) for each in sys.path if each.endswith("site-packages"))),
            "PYTHON": sys.base_prefix,
            "SHARED": str(self._shared),
            "TARGETS": " ".join(TARGETS),
        }
        namespaces = "unshare --mount --pid --fork --uts --ipc --cgroup --mount-proc --kill-child"
        command = f'echo $$ > "{self._cgroup}/cgroup.procs" && exec {namespaces} sh "{self._shared}/prepare.sh"'
        with (self._shared / "systemd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", command], env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait()
            self._install_program()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it with all it started, and take its cgroups away."""
        assert self._process is not None
        if self._first:
            os.kill(self._first, signal.SIGKILL)  # the first process of a namespace takes all others along
        self._process.kill()
        self._process.wait(30)
        deadline_s = time.monotonic() + 30
        while self._cgroup.exists() and time.monotonic() < deadline_s:
            for folder in [*sorted(self._cgroup.rglob("*/"), reverse=True), self._cgroup]:
                try:
                    folder.rmdir()
                except OSError:
                    time.sleep(0.02)

    def run(self, *command: str, within_s: float = COMMAND_S) -> subprocess.CompletedProcess[str]:
        """Run a command in it, in the checkout."""
        enter = ["nsenter", "-t", str(self._first), "-m", "-p", "-u", "-i", "-C", "env", "-i", "--chdir=/opt/checkout"]
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*enter, path, LIBRARIES, "SYSTEMD_PAGER=", *command],
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def do(self, *command: str, within_s: float = COMMAND_S) -> str:
        """Run a command in it that must succeed; return what it printed."""
        done = self.run(*command, within_s=within_s)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}\n{self.log}"
        return done.stdout

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Write a file in it."""
        (self._shared / "file").write_text(text, encoding="utf-8")
        self.do("install", "-D", "-m", mode, "/opt/shared/file", path)

    def shown(self, unit: str, *names: str) -> dict[str, str]:
        """Return properties of a unit."""
        text = self.do("systemctl", "show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in text.splitlines())

    def until(self, unit: str, *, within_s: float = 120.0, **wanted: str) -> dict[str, str]:
        """Return properties of a unit once they have these values."""
        deadline_s = time.monotonic() + within_s
        while (found := self.shown(unit, *wanted)) != wanted:
            assert time.monotonic() < deadline_s, f"{unit}: {found}, not {wanted}\n{self.log}"
            time.sleep(0.1)
        return found

    def until_said(self, text: str, *, within_s: float = 120.0) -> None:
        """Wait until systemd or one of its services has said this."""
        deadline_s = time.monotonic() + within_s
        while not any(text in path.read_text(errors="replace") for path in self._shared.glob("*.log")):
            assert time.monotonic() < deadline_s, f"not said: {text}\n{self.log}"
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """The end of what systemd and its services said."""
        texts = [path.read_text(errors="replace")[-6000:] for path in sorted(self._shared.glob("*.log"))]
        return "\n".join(texts)

    def _wait(self) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + START_S
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        while time.monotonic() < deadline_s:
            assert self._process.poll() is None, self.log
            found = children.read_text().split()
            if found:
                self._first = int(found[0])
                if Path(f"/proc/{self._first}/root/run/systemd/private").exists():
                    return
            time.sleep(0.05)
        raise AssertionError(f"systemd did not start\n{self.log}")

    def _install_program(self) -> None:
        """Put the checkout where the README installs it, with the packages that the tests themselves run with."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.do("mkdir", "-p", f"{PROGRAM}/bin", f"{PROGRAM}/lib/{version}/site-packages")
        self.do("ln", "-s", f"/opt/python/bin/{version}", f"{PROGRAM}/bin/python")
        self.write(f"{PROGRAM}/pyvenv.cfg", "home = /opt/python/bin\ninclude-system-site-packages = false\n")
        self.write(f"{PROGRAM}/lib/{version}/site-packages/all.pth", "/opt/checkout\n/opt/packages\n")
        for name, module in (("spectragate", "gateway"), ("spectragate-trainer", "trainer")):
            text = f"#!{PROGRAM}/bin/python{PATIENCE}from {module}.__main__ import main\nmain()\n"
            self.write(f"{PROGRAM}/bin/{name}", text, mode="755")
