"""The process ends in time, and signals that come before anybody listens are not lost."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

from structlog.testing import capture_logs

from gateway.daemon.ending import Ending


def test_process_is_left_when_its_time_is_over() -> None:
    """Once, with the exit code of that moment, however often it was asked."""
    left, codes = threading.Event(), []

    def leave(code: int) -> None:
        codes.append(code)
        left.set()

    ending = Ending(leave)
    with capture_logs() as logs:
        ending.begin(0.05)
        ending.begin(0.01)
        ending.exit_code = 0
        assert left.wait(10)
    assert codes == [0]
    assert [log["event"] for log in logs] == ["end_cut_off"]


def test_process_that_ends_by_itself_does_not_wait_for_it() -> None:
    """The thread that waits is no reason to go on."""
    ending = Ending(lambda _: None)
    ending.begin(60.0)
    (waiting,) = (each for each in threading.enumerate() if isinstance(each, threading.Timer) and each.name == "ending")
    assert waiting.daemon
    waiting.cancel()
    assert ending.exit_code == 1


ABORTED = "import atexit, os, sys; atexit.register(os.abort)\n"


def test_nothing_comes_after_the_end() -> None:
    """What was printed is there; what the interpreter or a library would do at its exit is not done."""
    code = f"{ABORTED}from gateway.daemon.ending import leave\nprint('the last word')\nleave(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "the last word\n", "")


def test_daemon_ends_so_and_other_commands_as_programs_do(tmp_path: Path) -> None:
    """With its exit code and the reason on stderr."""
    for command, expected in (("run -c", 2), ("check-config", -signal.SIGABRT)):
        words = ["spectragate", *command.split(), str(tmp_path)]
        code = f"{ABORTED}sys.argv = {words!r}\nfrom gateway.__main__ import main\nmain()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == expected, done.stderr
        assert "error" in done.stderr.lower()


def test_signals_that_were_held_arrive() -> None:
    """Whoever ends or reloads a daemon that is being loaded is heard when it listens."""
    code = """
import os, signal
from gateway.daemon.ending import SIGNALS, hold_signals, take_signals
hold_signals()
heard = []
for number in SIGNALS:
    os.kill(os.getpid(), number)
for number in SIGNALS:
    signal.signal(number, lambda number, _: heard.append(number))
assert heard == []
take_signals()
assert sorted(heard) == sorted(SIGNALS), heard
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
