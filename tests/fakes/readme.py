"""The README as its reader uses it: its commands, found by how they begin, in a checkout of the reader's own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from fakes.daemon_process import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"spectragate": "gateway", "spectragate-trainer": "trainer"}
COMMAND_S = 1500.0


def text() -> str:
    """Return the text of the README."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the commands of the README, continued lines joined."""
    shell = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    typed = [line.removeprefix("$ ") for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "]
    return shell + typed


def command(beginning: str) -> str:
    """Return the one command that begins so."""
    found = list(dict.fromkeys(each for each in commands() if each.startswith(beginning)))
    if beginning in found:
        return beginning
    assert len(found) == 1, f"{len(found)} commands of the README begin with {beginning!r}"
    return found[0]


class Reader:
    """Somebody who types the README's commands in a checkout; `replace` is what differs from their machine."""

    def __init__(self, folder: Path) -> None:
        """Make the checkout: its files, and an installed program that runs this one."""
        self.folder, self.replace = folder, dict[str, str]()
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.environment["PATH"] = f"{folder}/stand-ins:{folder}/.venv/bin:{os.environ['PATH']}:/usr/sbin"
        (folder / "stand-ins").mkdir(parents=True)
        shutil.copytree(ROOT / "configs", folder / "configs")
        for name in ("gateway", "trainer", "systemd", "pyproject.toml", "README.md"):
            (folder / name).symlink_to(ROOT / name)

    def install(self) -> Self:
        """Install the programs, as `pip install .` does; the gateway's good end may take as long as it needs."""
        for program, module in PROGRAMS.items():
            code = f'import sys{PATIENCE}from {module}.__main__ import main\nsys.argv[0] = "{program}"\nmain()'
            self.write(f".venv/bin/{program}", f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n", mode=0o755)
        return self

    def stand_in(self, program: str, script: str = "") -> None:
        """Put a script in the place of a program that must not run here; it notes how it was called."""
        note = f'#!/bin/sh\necho "{program} $@" >> "{self.folder}/called"\n'
        self.write(f"stand-ins/{program}", note + script, mode=0o755)

    def called(self) -> list[str]:
        """Return how stand-ins were called."""
        return (self.folder / "called").read_text(encoding="utf-8").splitlines()

    def write(self, path: str, content: str, *, mode: int = 0o600) -> Path:
        """Write a file of the checkout."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
        return file

    def change(self, path: str, changes: Mapping[str, str]) -> None:
        """Replace parts of a file, each of which must be there."""
        content = (self.folder / path).read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in content, f"{path} holds no {old!r}"
            content = content.replace(old, new)
        self.write(path, content)

    def typed(self, beginning: str) -> str:
        """Return a command as it is typed here."""
        line = command(beginning).rstrip("& ")
        for old, new in self.replace.items():
            line = line.replace(old, new)
        return line

    def run(self, beginning: str, more: str = "", *, code: int = 0) -> str:
        """Run the command that begins so, with `more` behind it, and return what it printed."""
        line = f"{self.typed(beginning)} {more}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, beginning: str, more: str = "") -> "Running":
        """Start the command that begins so, which runs until it is ended."""
        return Running(f"{self.typed(beginning)} {more}", self)


class Running:
    """A command that runs; ended by its owner."""

    def __init__(self, line: str, reader: Reader) -> None:
        """Start it."""
        self._output = reader.folder / f"output-{time.monotonic_ns()}"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {line}" if "|" not in line else line],
                cwd=reader.folder,
                env=reader.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """It runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it and what it started, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def until(self, words: str, *, within_s: float = 300.0) -> str:
        """Return its output once it holds these words."""
        deadline_s = time.monotonic() + within_s
        while words not in self.output:
            assert self._process.poll() is None, f"it ended:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline_s, f"not said in time:\n{self.output[-4000:]}"
            time.sleep(0.1)
        return self.output

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it in good order and return its exit code."""
        self._process.send_signal(how)
        return self._process.wait(60)

    def wait(self) -> int:
        """Return its exit code once it has ended by itself."""
        return self._process.wait(COMMAND_S)
