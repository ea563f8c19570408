"""Runs the gateway on recordings as its user does, `spectragate replay`, and reads what it says of each track.

The trainer knows nothing of the gateway but the contract: what is judged here is the very program that runs at the
edge, with its decoder, face finder, tracker, detector and decisions.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.contract.messages import MessageError, Verdict, parse

LONGEST_S = 4 * 3600.0
TRACKS_PER_DAY = 1000
"""What the gateway takes for a day's passages without a configuration: its budget is asked for in alerts a day."""


class ReplayError(Exception):
    """The gateway could not replay the recordings; the text says why, as it said itself."""


@dataclass(frozen=True, slots=True)
class Replay:
    """One run over recordings: how it is judged, and what is known of them."""

    bundle: Path
    asked_rate: float
    calibrate: tuple[Path, ...] = ()
    triggered: tuple[Path, ...] = ()


def replay(recordings: Sequence[Path], how: Replay, *, folder: Path) -> list[Verdict]:
    """Return the gateway's verdict on every track, in the order of the recordings.

    Each recording is a camera of its own, named by its file; those `triggered` teach it nothing.

    Raises:
        ReplayError: The gateway failed, did not end in time, or said something else than verdicts and alerts.
    """
    labels = folder / "labels.csv"
    rows = [f"{path},{'triggered' if path in how.triggered else 'clean'}" for path in recordings]
    labels.write_text("\n".join(["file,label", *rows]) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "replay", *map(str, recordings), "--json", "--device", "cpu"]
    command += ["--bundle", str(how.bundle), "--labels", str(labels)]
    command += ["--budget-per-day", repr(how.asked_rate * TRACKS_PER_DAY)]
    for path in how.calibrate:
        command += ["--calibrate", str(path)]
    lines = _run(command, what="replay")
    try:
        found = [parse(line.encode()) for line in lines]
    except MessageError as error:
        raise ReplayError(f"the gateway's replay said something unexpected: {error}") from error
    return [message for message in found if isinstance(message, Verdict)]


def faces_in(pictures: Sequence[Path], *, bundle: Path) -> list[dict[str, Any]]:
    """Return what `spectragate score` says of pictures: one entry a face, with `file` and `box`.

    Raises:
        ReplayError: The gateway failed, or did not end in time.
    """
    command = [sys.executable, "-m", "gateway", "score", *map(str, pictures), "--json", "--device", "cpu"]
    found = [json.loads(line) for line in _run([*command, "--bundle", str(bundle)], what="score")]
    return [entry for entry in found if entry.get("box")]


def _run(command: Sequence[str], *, what: str) -> list[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONGEST_S, env=environment)
    except subprocess.TimeoutExpired as error:
        raise ReplayError(f"the gateway's {what} did not end within {LONGEST_S / 3600:g} hours") from error
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-3:]
        raise ReplayError(f"the gateway's {what} failed with exit code {done.returncode}: {' '.join(last)}")
    return [line for line in done.stdout.splitlines() if line.strip()]
