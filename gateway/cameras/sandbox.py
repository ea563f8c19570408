"""What a camera worker can still do once its libraries are loaded: read its source, decode, answer its parent.

Three layers, each of which holds without the others: limits (memory, descriptors, no core), Landlock (which files and
which TCP port) and a filter of system calls. The last two need the kernel's and the system's help; where that is
missing the worker runs without, and `probe_sandbox` says so in words for `doctor` and the log.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.cameras import landlock, syscalls

LIVE_MEMORY_BYTES = 512 * 1024 * 1024
"""What a camera's worker may map beyond what it had after its start."""

FILE_MEMORY_BYTES = 3 * 1024 * 1024 * 1024
"""The same of one that reads files: pictures of 64 megapixels, which are more than any camera's."""

_DESCRIPTORS = 64
_KILLED_FIRST = "500"
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CAPABILITY_VERSION, _READ_ANY_FILE = 0x20080522, 1 << 2

# What libraries read on their own, at any time: themselves, the system's authorities, the time zone, the processors.
_LIBRARIES_READ = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo", "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ld.so.cache",
    "/etc/localtime", "/etc/gnutls", "/etc/crypto-policies", "/dev/null", "/dev/urandom", "/dev/random",
    "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", "/proc/sys/crypto/fips_enabled",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needs:
    """What one worker needs beyond its libraries; `tcp_port` is the camera's; a peer has datagrams."""

    readable: tuple[Path, ...] = ()
    device: Path | None = None
    tcp_port: int | None = None
    is_peer: bool = False
    memory_bytes: int = LIVE_MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What confines workers here; `missing` holds a sentence for each thing that does not."""

    landlock_version: int
    missing: tuple[str, ...]

    def in_words(self) -> str:
        """Return one line for the operator."""
        if not self.missing:
            return f"complete: limits, filter of system calls, Landlock {self.landlock_version}"
        return "; ".join(("limits only in part", *self.missing))


def probe_sandbox() -> SandboxReport:
    """Return what this machine offers to confine workers with, confining nothing."""
    return _report(landlock.version(), syscalls.why_not())


def tie_to_parent(parent_pid: int) -> None:
    """Let the kernel end this process with its parent, and keep its memory out of core files and debuggers.

    Raises:
        SystemExit: The parent has gone already.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit(0)  # the parent died before the line above


def offer_to_be_killed_first() -> None:
    """Where memory runs out, a camera goes before the daemon does. Must come before the process hides its memory."""
    try:
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST, encoding="ascii")
    except OSError:
        return  # a container may forbid it; the memory limit holds all the same


def confine(needs: Needs) -> SandboxReport:
    """Give up, for ever, whatever this worker does not need. Libraries must be loaded, threads not yet started."""
    no_filter = syscalls.why_not()  # before files are out of reach: it also loads the library that makes the filter
    sys.dont_write_bytecode = True
    _limit(needs)
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    try:
        version = landlock.restrict(readable=_readable(needs), device=needs.device, tcp_port=needs.tcp_port)
    except OSError:
        version = 0
    if no_filter is None:
        try:
            syscalls.restrict(
                connections=needs.tcp_port is not None,
                device=needs.device is not None,
                peer=needs.is_peer,
            )
        except OSError as error:
            no_filter = f"no filter of system calls: {error.strerror}"
    return _report(version, no_filter)


def _report(version: int, no_filter: str | None) -> SandboxReport:
    return SandboxReport(version, (*_missing_of_landlock(version), *filter(None, [no_filter])))


def _missing_of_landlock(offered: int) -> Iterator[str]:
    if offered == 0:
        yield "no Landlock: files are guarded by their permissions alone (needs Linux 5.13 with lsm=landlock)"
    elif offered < landlock.PORTS_SINCE:
        yield "Landlock without TCP ports: a worker taken over could reach other hosts (needs Linux 6.7)"


def _limit(needs: Needs) -> None:
    mapped_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = mapped_pages * resource.getpagesize() + needs.memory_bytes
    for kind, limit in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hardest = resource.getrlimit(kind)
        bounded = limit if hardest == resource.RLIM_INFINITY else min(limit, hardest)
        resource.setrlimit(kind, (bounded, bounded))


def _drop_capabilities() -> None:
    """Keep of root's powers only to read any file, of which Landlock leaves few: recordings may belong to others."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Sets(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))

    libc = ctypes.CDLL(None)
    header, sets = Header(_CAPABILITY_VERSION, 0), (Sets * 2)()
    if libc.capget(ctypes.byref(header), sets) == 0:
        kept = sets[0].effective & _READ_ANY_FILE
        libc.capset(ctypes.byref(header), (Sets * 2)(Sets(kept, kept, 0), Sets(0, 0, 0)))


def _readable(needs: Needs) -> Iterator[Path]:
    yield from map(Path, _LIBRARIES_READ)
    yield from {Path(sys.prefix), Path(sys.base_prefix) / "lib"}
    here = Path(__file__).resolve().parents[1]
    yield here
    # The folder that holds our package may hold anything else, so it is not opened as a whole.
    yield from (Path(entry) for entry in sys.path if entry and Path(entry).resolve() != here.parent)
    yield from needs.readable


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
