"""The filter of system calls on its own; what it does to a worker is in test_sandbox."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cameras import syscalls

REPOSITORY = Path(__file__).parents[2]

FILTER = """
import ctypes, os, sys, fcntl
from gateway.cameras import syscalls
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
null = os.open("/dev/null", os.O_RDONLY)
syscalls.restrict(connections=False, device=sys.argv[1] == "device")
def attempt(function, *arguments):
    try:
        return function(*arguments) is not None
    except OSError as error:
        return error.errno
print(attempt(os.open, "/dev/null", os.O_RDWR), attempt(os.open, "/dev/null", os.O_WRONLY))
print(attempt(os.open, "/dev/null", os.O_RDWR | os.O_CREAT), attempt(fcntl.ioctl, null, 0x80685600, bytes(104)))
print(attempt(fcntl.ioctl, null, 0x5412, b"x"), os.isatty(null))
"""


def run(kind: str) -> list[str]:
    """Return what a filtered process could do."""
    command = [sys.executable, "-c", FILTER, kind]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout.split()


def test_a_device_can_be_steered_when_the_source_is_one() -> None:
    """A camera at this machine is opened for both ways and answers to video requests; terminals stay shut."""
    assert run("device") == ["True", "13", "13", "25", "38", "False"]


def test_nothing_is_opened_for_writing_when_the_source_is_a_file() -> None:
    """Reading is all it takes."""
    assert run("file") == ["13", "13", "13", "38", "38", "False"]


def test_a_missing_library_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pyseccomp raises where libseccomp is not installed."""
    assert syscalls.why_not() is None
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    assert syscalls.why_not() == (
        "no filter of system calls: install the system's libseccomp (Debian: libseccomp2) and pyseccomp"
    )


SOCKETS = """
import ctypes, socket, sys
from gateway.cameras import syscalls
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
syscalls.restrict(connections="tcp" in sys.argv[1], device=False, peer="peer" in sys.argv[1])
def attempt(*kind, make=socket.socket):
    try:
        return make(*kind) is not None
    except OSError as error:
        return error.errno
print(attempt(socket.AF_INET, socket.SOCK_STREAM), attempt(socket.AF_INET, socket.SOCK_DGRAM))
print(attempt(socket.AF_INET6, socket.SOCK_DGRAM), attempt(socket.AF_INET, socket.SOCK_RAW))
print(attempt(make=socket.socketpair), attempt(socket.AF_UNIX, socket.SOCK_STREAM))
"""


@pytest.mark.parametrize(
    ("kind", "can"),
    [
        ("file", ["13", "13", "13", "13", "38", "13"]),
        ("tcp", ["True", "True", "True", "13", "38", "38"]),
        ("peer", ["38", "True", "True", "13", "True", "38"]),
        ("tcp and peer", ["True", "True", "True", "13", "True", "38"]),
    ],
)
def test_sockets_are_those_that_the_source_and_its_viewers_need(kind: str, can: list[str]) -> None:
    """A camera on the network that is watched over WebRTC has both; none has raw ones or names in the file system."""
    command = [sys.executable, "-c", SOCKETS, kind]
    said = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True).stdout.split()
    assert said == can
