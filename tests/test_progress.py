"""A bar on a terminal, plain lines elsewhere."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.progress import Bar

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys
from gateway.progress import Bar
with Bar("scoring", total=3) as bar:
    bar.restart("replaying")
    bar.result("a result [bold]")
    bar.remark("a remark")
    bar.show(2, 3)
    sys.stdin.readline()
    bar.show(5, 3)
"""


def on_terminal(program: str) -> str:
    """Run a program on a terminal of its own and return what it wrote."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, **ends) as child:
        os.close(theirs)
        written = b""
        deadline_s = time.monotonic() + 60  # a bar is drawn again and again, also where it never shows what is awaited
        while time.monotonic() < deadline_s and select.select([ours], [], [], 20)[0]:
            try:
                block = os.read(ours, 4096)
            except OSError:  # the child has closed the terminal
                break
            was_shown, written = b"2/3" in written, written + block
            if not was_shown and b"2/3" in written:
                os.write(ours, b"\n")  # seen: it may go on
        os.close(ours)  # a child that still waits to be told reads the end
        assert child.wait(20) == 0
    return written.decode()


def test_bar_moves_on_a_terminal() -> None:
    """Bar and lines share the terminal; brackets of file names are no markup."""
    written = on_terminal(PROGRAM)
    assert "replaying" in written
    assert "2/3" in written
    assert "a result [bold]" in written
    assert "a remark" in written


def test_lines_alone_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """No control characters in a log."""
    with Bar("scoring", total=3) as bar:
        bar.show(1, 3)
        bar.result("a result")
        bar.remark("a remark")
    assert capsys.readouterr() == ("a result\n", "a remark\n")
