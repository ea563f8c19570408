"""Where the runs' figures go: `runs/reliability.json`, one section a run, which git ignores."""

import fcntl
import json
import os
import time
from pathlib import Path

RELIABILITY = Path(__file__).resolve().parents[2] / "runs" / "reliability.json"
SEED = int(os.environ.get("SPECTRAGATE_CHAOS_SEED", str(time.time_ns() % 2**31)))
"""Of this session's random choices; every report line names it."""


def record(name: str, figures: dict[str, object], *, path: Path = RELIABILITY) -> None:
    """Put the figures of one run into the file, beside those of the others."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        sections = {**(json.loads(text) if text else {}), name: figures}
        file.truncate(0)
        file.write(json.dumps(sections, indent=2, sort_keys=True) + "\n")
