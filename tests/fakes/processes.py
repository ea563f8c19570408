"""Look at processes from outside, through /proc."""

import asyncio
from collections.abc import Callable
from pathlib import Path


def children_of(parent: int, command: bytes = b"") -> list[int]:
    """Return the process ids of a process's children whose command line holds `command`, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            matches = command in (stat.parent / "cmdline").read_bytes() or fields[0] == "Z"
        except OSError:
            continue
        if int(fields[1]) == parent and matches:
            found.append(int(stat.parent.name))
    return found


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def private_bytes(pid: int) -> tuple[int, int]:
    """Return the memory that only this process has, and that with its share of what it has with others."""
    fields = _memory_of(pid)
    return fields["Private_Clean"] + fields["Private_Dirty"], fields["Pss"]


def written_bytes(pid: int) -> int:
    """Return the memory that only this process has and that it wrote: what grows by its own doing alone.

    Pages of a library are this process's alone, too, once the last other one that has it open has ended.
    """
    return _memory_of(pid)["Private_Dirty"]


def _memory_of(pid: int) -> dict[str, int]:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024
    return fields


async def wait_until(holds: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Wait for something outside that nobody announces.

    Raises:
        TimeoutError: It did not come.
    """
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
