"""What a confined process can still do: a real one behind every line."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cameras import landlock, syscalls
from gateway.cameras.sandbox import Needs, SandboxReport, confine, probe_sandbox

REPOSITORY = Path(__file__).parents[2]

PRELUDE = """
import ctypes, errno, mmap, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path
from gateway.cameras.sandbox import Needs, confine, offer_to_be_killed_first, tie_to_parent
allowed, secret, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
report = confine(Needs(readable=(allowed,), tcp_port=port or None, memory_bytes=256 << 20))
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a file that a worker may read, and one beside it that it may not."""
    for name in ("allowed", "secret"):
        (tmp_path / name).write_text(name, encoding="ascii")
    return tmp_path / "allowed", tmp_path / "secret"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Return a socket that listens on the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def confined(code: str, files: tuple[Path, Path], port: int = 0) -> subprocess.CompletedProcess[str]:
    """Run code in a confined process."""
    command = [sys.executable, "-c", PRELUDE + code, *map(str, files), str(port)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=50)


@pytest.mark.parametrize(
    "code",
    [
        "os.execv('/bin/true', ['true'])",
        "os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.kill(os.getppid(), 0)",
        "signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 0)",
        "ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)",
        "ctypes.CDLL(None).unshare(0x20000)",
        "ctypes.CDLL(None).tgkill(os.getppid(), os.getppid(), 0)",
    ],
)
def test_a_worker_is_ended_when_it_does_what_only_an_intruder_would(code: str, files: tuple[Path, Path]) -> None:
    """New processes, signals to others and powers over them end it by SIGSYS, which the parent can tell."""
    done = confined(code + "; print('still here')", files)
    assert (done.returncode, done.stdout) == (-signal.SIGSYS, "")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("allowed.open('w')", "PermissionError"),
        ("allowed.open('a')", "PermissionError"),
        ("allowed.with_name('new').open('x')", "PermissionError"),
        ("allowed.open('r+')", "PermissionError"),
        ("allowed.unlink()", "PermissionError"),
        ("allowed.rename(allowed.with_name('b'))", "PermissionError"),
        ("allowed.with_name('folder').mkdir()", "PermissionError"),
        ("secret.read_text()", "PermissionError"),
        ("Path('/etc/passwd').read_text()", "PermissionError"),
        ("Path('/proc/1/environ').read_bytes()", "PermissionError"),
        ("list(Path('/').iterdir())", "PermissionError"),
        ("socket.socket(socket.AF_UNIX)", "PermissionError|Function not implemented"),
        ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "PermissionError|Function not implemented"),
        ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "PermissionError"),
        ("socket.socket()", "PermissionError"),
        ("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)", "PermissionError"),
        ("os.memfd_create('x')", "PermissionError"),
        ("bytearray(300 << 20)", "MemoryError"),
        ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "OSError|ValueError|PermissionError"),
        ("[os.open('/dev/null', os.O_RDONLY) for _ in range(65)]", "Too many open files"),
        ("os.setuid(0)", ""),
        ("os.listxattr('/')", "Function not implemented"),
    ],
)
def test_a_worker_is_refused_when_it_reaches_for_more(code: str, error: str, files: tuple[Path, Path]) -> None:
    """Writing, other files, other sockets, more memory or descriptors: an error, or the end, but no success."""
    done = confined(code + "; print('done')", files)
    assert done.stdout == ""
    assert done.returncode == -signal.SIGSYS if not error else any(part in done.stderr for part in error.split("|"))


@pytest.mark.parametrize(
    "code",
    [
        "assert allowed.read_text() == 'allowed'",
        "thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()",
        "import decimal, json, encodings.idna, wave",
        "import zoneinfo; zoneinfo.ZoneInfo('UTC')",
        "mapped = bytearray(100 << 20)",
        "os.urandom(8); os.cpu_count(); os.sched_getaffinity(0)",
        "import ssl; ssl.create_default_context()",
    ],
)
def test_a_worker_goes_on_when_it_does_what_decoding_needs(code: str, files: tuple[Path, Path]) -> None:
    """Reading its source, threads, memory within bounds and the modules of its libraries."""
    done = confined(code + "\nprint('done')", files)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("done\n")


CONNECT = """
def attempt(port, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as client:
        try:
            client.connect(("127.0.0.1", port))
        except OSError as error:
            return error.errno
    return 0
"""


def test_a_worker_reaches_only_the_port_of_its_camera(files: tuple[Path, Path], listener: socket.socket) -> None:
    """TCP to the camera's port and UDP for its media; any other TCP port is refused before a packet leaves."""
    own = listener.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        code = f"print(attempt(port), attempt({other.getsockname()[1]}), attempt(9, socket.SOCK_DGRAM))"
        done = confined(CONNECT + code, files, port=own)
    assert (done.stdout, done.returncode) == ("0 13 0\n", 0)


def test_a_worker_cannot_listen(files: tuple[Path, Path]) -> None:
    """It calls a camera; nobody calls it."""
    done = confined("socket.create_server(('127.0.0.1', 0))", files, port=554)
    assert "PermissionError" in done.stderr


def test_abort_still_ends_a_worker_by_its_own_signal(files: tuple[Path, Path]) -> None:
    """A library that gives up is told apart from an intruder."""
    assert confined("os.abort()", files).returncode == -signal.SIGABRT


def test_the_report_is_complete_here_and_the_same_as_the_probe(files: tuple[Path, Path]) -> None:
    """What `doctor` says before is what a worker finds; this machine has everything."""
    done = confined("print(report)", files)
    probed = probe_sandbox()
    assert done.stdout.strip() == repr(probed)
    assert probed.missing == ()
    assert probed.in_words() == f"complete: limits, filter of system calls, Landlock {landlock.version()}"


def test_what_is_missing_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel or a missing library is no error, but the operator reads what it costs."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(syscalls, "why_not", lambda: "no filter of system calls: reason")
    report = probe_sandbox()
    assert report.in_words().startswith("limits only in part; no Landlock: files are guarded by their permissions")
    assert report.missing[-1] == "no filter of system calls: reason"
    monkeypatch.setattr(landlock, "version", lambda: 3)
    assert "without TCP ports" in probe_sandbox().in_words()


WITHOUT = """
import sys
from gateway.cameras import landlock, sandbox, syscalls
landlock.version = lambda: 0
syscalls.why_not = lambda: "no filter"
report = sandbox.confine(sandbox.Needs())
print(report.landlock_version, len(report.missing), open(sys.argv[1]).read())
"""


def test_a_worker_runs_when_the_kernel_offers_nothing(files: tuple[Path, Path]) -> None:
    """Limits hold everywhere; the rest is optional at run time."""
    command = [sys.executable, "-c", WITHOUT, str(files[0])]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=50)
    assert (done.stdout, done.stderr) == ("0 2 allowed\n", "")


def test_the_probe_confines_nobody(tmp_path: Path) -> None:
    """`doctor` goes on writing after it looked."""
    assert isinstance(probe_sandbox(), SandboxReport)
    (tmp_path / "file").write_text("fine", encoding="ascii")
    assert callable(confine)
    assert Needs().tcp_port is None


POWERS = "print([line for line in open('/proc/self/status') if line.startswith(('CapEff', 'NoNewPrivs'))])"


def test_a_worker_of_root_keeps_only_the_right_to_read(files: tuple[Path, Path]) -> None:
    """In a container the daemon may be root; its workers then are so in name only."""
    code = PRELUDE.replace("report = confine", "status = Path('/proc/self/status')\nreport = confine")
    code = code.replace("readable=(allowed,)", "readable=(allowed, Path('/proc'))") + POWERS
    command = [sys.executable, "-c", code, *map(str, files), "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=50)
    assert "NoNewPrivs:\\t1" in done.stdout
    assert "CapEff:\\t0000000000000004" in done.stdout or "CapEff:\\t0000000000000000" in done.stdout


PEER = PRELUDE.replace("tcp_port=port or None", "is_peer=True")


def test_a_peer_has_datagrams_and_a_loop_but_no_connections(files: tuple[Path, Path]) -> None:
    """WebRTC comes in datagrams: a worker that was taken over can call nobody over TCP."""
    code = (
        "import asyncio; asyncio.new_event_loop().close()\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp: udp.bind(('127.0.0.1', 0))\n"
        "try: socket.socket()\n"
        "except OSError as error: print(type(error).__name__, error.errno)\n"
    )
    command = [sys.executable, "-c", PEER + code, *map(str, files), "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=50)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout in {"PermissionError 13\n", "OSError 38\n"}
