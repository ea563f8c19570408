"""A store's disk that is killed or loses its power at a chosen operation, and every state that it may leave.

A name (of a new file, a rename, a removal) is safe once its folder was synced; before that, any of the names may be
lost. A write that is under way leaves a part.
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

from gateway.adaptation.disk import DISK


class PowerCut(BaseException):
    """The end of the process, in the middle of whatever it did."""


@dataclass
class CutDisk:
    """The real disk under `root`, with a record of what is safe; at operation number `cut_at` everything ends."""

    root: Path
    cut_at: int = 1 << 30
    done: int = 0
    safe: dict[str, bytes] = field(default_factory=dict)
    pending: list[tuple[str, str, bytes | str]] = field(default_factory=list)

    def make_folder(self, path: Path) -> None:
        """Make a folder; the files in it are what counts."""
        self._count()
        DISK.make_folder(path)

    def write(self, path: Path, content: bytes) -> None:
        """Write, or leave a part."""
        self.done += 1
        if self.done >= self.cut_at:
            part = content[: len(content) // 2]
            path.write_bytes(part)
            self.pending.append(("put", self._name(path), part))
            raise PowerCut
        DISK.write(path, content)
        self.pending.append(("put", self._name(path), content))

    def rename(self, source: Path, target: Path) -> None:
        """Rename, which is not safe yet."""
        self._count()
        DISK.rename(source, target)
        self.pending.append(("rename", self._name(source), self._name(target)))

    def sync_folder(self, path: Path) -> None:
        """Have all names of this folder safe."""
        self._count()
        DISK.sync_folder(path)
        folder = self._name(path)
        settled = [operation for operation in self.pending if str(Path(operation[1]).parent) == folder]
        self.pending = [operation for operation in self.pending if str(Path(operation[1]).parent) != folder]
        apply(self.safe, settled)

    def remove(self, path: Path) -> None:
        """Remove, which is not safe yet."""
        self._count()
        DISK.remove(path)
        self.pending.append(("remove", self._name(path), ""))

    def after_power_cut(self, draw: random.Random) -> dict[str, bytes]:
        """Return one of the states that the disk may be in: what is safe, and any of the rest."""
        left = dict(self.safe)
        apply(left, [operation for operation in self.pending if draw.random() < 0.5])
        return left

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def _count(self) -> None:
        self.done += 1
        if self.done >= self.cut_at:
            raise PowerCut


def apply(files: dict[str, bytes], operations: list[tuple[str, str, bytes | str]]) -> None:
    """Do the operations that are possible; a name that was lost can be neither renamed nor removed."""
    for kind, name, other in operations:
        if kind == "put" and isinstance(other, bytes):
            files[name] = other
        elif kind == "rename" and isinstance(other, str):
            moved = [key for key in files if key == name or key.startswith(f"{name}/")]
            for key in moved:
                files[other + key[len(name) :]] = files.pop(key)
        else:
            files.pop(name, None)


def materialise(files: dict[str, bytes], root: Path) -> Path:
    """Write a state as a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root
