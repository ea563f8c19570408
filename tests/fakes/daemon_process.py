"""The daemon as a real process, read line by line."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

START_S = 60.0

PATIENCE = """
from gateway.daemon.ending import Ending

begin = Ending.begin
Ending.begin = lambda self, _within_s: begin(self, 30.0)
"""
"""Put before a program of ours: its good end is not cut off where a loaded machine's disk takes longer than it may."""

PATIENT = f"""
import sys
{PATIENCE}
sys.argv = ["spectragate", "run", "-c", sys.argv[1]]
from gateway.__main__ import main

main()
"""
"""`spectragate run -c FILE`, with that."""


class DaemonProcess:
    """`spectragate run -c FILE` as a child; ended by its owner. `log` is every line it wrote, as a dictionary."""

    def __init__(self, config: Path, *, environment: dict[str, str] | None = None, code: str | None = None) -> None:
        """Name the configuration; `code` is run instead of the command line, with it as argument."""
        self._command = [sys.executable, "-c", PATIENT if code is None else code, str(config)]
        self._environment = {**os.environ, **(environment or {})}
        self._child: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.log: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._reader = threading.Thread(target=self._read, name="daemon-log", daemon=True)

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._child is not None
        return self._child.pid

    def __enter__(self) -> Self:
        """Start it."""
        self._child = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it if it still runs."""
        assert self._child is not None
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait(10)

    def send(self, how: signal.Signals) -> None:
        """Send a signal."""
        assert self._child is not None
        self._child.send_signal(how)

    def end(self, how: signal.Signals = signal.SIGTERM, *, within_s: float = START_S) -> tuple[int, float]:
        """End it by a signal, read its log to the end; return its exit code and the seconds that took."""
        assert self._child is not None
        began_s = time.monotonic()
        self._child.send_signal(how)
        code = self._child.wait(within_s)
        took_s = time.monotonic() - began_s
        self._reader.join(START_S)
        return code, took_s

    def wait(self, *, within_s: float = START_S) -> int:
        """Return its exit code once it has ended by itself and its log was read to the end."""
        assert self._child is not None
        code = self._child.wait(within_s)
        self._reader.join(START_S)
        return code

    def until(self, event: str, *, within_s: float = START_S, **facts: object) -> dict[str, Any]:
        """Return the next line of this event with these facts."""
        return self.until_true(lambda line: line["event"] == event and facts.items() <= line.items(), within_s=within_s)

    def until_true(self, condition: Callable[[dict[str, Any]], bool], *, within_s: float = START_S) -> dict[str, Any]:
        """Return the next line for which the condition holds."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError("not said in time; the last lines:\n" + "\n".join(self.raw[-30:])) from None
            assert line is not None, "the daemon ended:\n" + "\n".join(self.raw[-30:])
            if condition(line):
                return line

    def children(self) -> set[int]:
        """Return the process ids of all its descendants."""
        return descendants(self.pid)

    def _read(self) -> None:
        assert self._child is not None
        assert self._child.stderr is not None
        with self._child.stderr as lines:
            for raw in lines:
                text = raw.decode(errors="replace").rstrip()
                self.raw.append(text)
                try:
                    line = json.loads(text.partition(">")[2])
                except ValueError:
                    continue
                self.log.append(line)
                self._lines.put(line)
        self._lines.put(None)


def descendants(pid: int) -> set[int]:
    """Return the processes that a process and its children started and that still live."""
    parents: dict[int, set[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), set()).add(int(stat.parent.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), set()) - found
        found |= children
        waiting += children
    return found


def footprint(pid: int) -> tuple[int, int, int]:
    """Return a process's threads, open descriptors, and resident memory in bytes."""
    folder = Path(f"/proc/{pid}")
    threads = len(list((folder / "task").iterdir()))
    descriptors = len(list((folder / "fd").iterdir()))
    resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return threads, descriptors, resident


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
