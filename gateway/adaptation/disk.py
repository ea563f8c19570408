"""The few file operations that the store is made of, each of them a point at which the power may go.

Nothing else touches the store's files, so that tests can record and interrupt every operation.
"""

import os
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """What changes files; reading needs no protocol."""

    def make_folder(self, path: Path) -> None:
        """Make a folder, 0700, with its parents; one that is there is fine."""

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, 0600, and have it on the disk before returning."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder its final name, in place of a file of that name."""

    def sync_folder(self, path: Path) -> None:
        """Have the names in a folder on the disk."""

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder that is empty."""


class RealDisk:
    """The disk itself."""

    def make_folder(self, path: Path) -> None:
        """Make a folder."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file and fsync it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Rename."""
        source.replace(target)

    def sync_folder(self, path: Path) -> None:
        """Fsync a folder."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file or an empty folder."""
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


DISK: Disk = RealDisk()


def replace_file(disk: Disk, path: Path, content: bytes) -> None:
    """Put a whole new file in the place of another: after a crash it is the old or the new one, never a part."""
    fresh = path.with_name(f"{path.name}.new")
    disk.write(fresh, content)
    disk.rename(fresh, path)
    disk.sync_folder(path.parent)
