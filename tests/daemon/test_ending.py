"""The process ends in time, and signals that come before anybody listens are not lost."""

import subprocess
import sys
import threading

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
