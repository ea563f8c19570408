"""The command as its users run it: its exit code, what it listens on, and that nothing of it stays."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `spectragate demo` with warnings as errors and its temporary files below `tmp_path`."""
    command = [sys.executable, "-W", "error", "-m", "gateway", "demo", *arguments]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def listeners_of(pid: int) -> list[str]:
    """Return ADDRESS:PORT, as /proc writes them, of every TCP socket on which a process listens."""
    sockets = {str(handle.readlink()) for handle in Path(f"/proc/{pid}/fd").iterdir() if handle.is_symlink()}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text(encoding="ascii").splitlines()[1:]
    ]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(600)
def test_demo_ends_as_its_own_table_says(tmp_path: Path) -> None:
    """One command: both recordings, every passage found, every alert received, and the exit code of the table."""
    with running(tmp_path, "--json") as process:
        started = json.loads(process.stdout.readline())
        port = f"{started['broker']['port']:04X}"
        assert listeners_of(process.pid) == [f"0100007F:{port}"]
        out, err = process.communicate(timeout=500)
    events = [json.loads(line) for line in out.splitlines()]
    passages, result = [event for event in events if event["event"] == "passage"], events[-1]
    assert err == ""
    calibrated = events[0]
    assert (calibrated["event"], calibrated["tracks"], calibrated["passages"]) == ("calibrated", 39, 39)
    assert calibrated["reference"]["false_alarm_rate"] == 0.025
    assert [passage["tracks"] for passage in passages] == [1] * 16
    assert result["alerts_published"] == result["alerts_received"] == sum(event["event"] == "alert" for event in events)
    missed = sum(passage["outcome"] == "missed" for passage in passages)
    assert result["caught"] + missed == result["triggered"] == 8
    assert process.returncode == (1 if missed else 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.end_to_end
@pytest.mark.usefixtures("interrupts_arrive")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_removes_its_recordings(how: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and a supervisor's TERM end it at once with exit code 130; no recording and no process stays."""
    with running(tmp_path, "--json") as process:
        process.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(how)
        _, err = process.communicate(timeout=40)
    assert process.returncode == 130
    assert err.strip() == "interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--broker", "nowhere:port"), 78, "error: --broker nowhere:port: not HOST:PORT"),
        (("--broker", "127.0.0.1:1"), 1, "error: the MQTT broker 127.0.0.1:1 cannot be used"),
        (("--seed", "-1"), 2, "--seed"),
    ],
)
def test_wrong_options_are_told(arguments: Sequence[str], code: int, said: str, tmp_path: Path) -> None:
    """Each mistake has its exit code and one line on stderr, and nothing is left."""
    with running(tmp_path, *arguments) as process:
        out, err = process.communicate(timeout=40)
    assert (process.returncode, out) == (code, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []
