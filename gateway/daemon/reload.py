"""When the configuration is to be read again: on SIGHUP, and when its file changes.

Folders are watched, not the file: editors and package managers replace a file, and a watch on it would follow the one
that is gone. Where the file is a link (Kubernetes turns one of a folder), the folder of what it leads to is watched as
well. Whatever happens there, the file's stamp decides whether it has changed.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

from gateway.daemon.watching import LOOK_MS, look_for_ever

Stamp = tuple[int, ...]


class ConfigFile:
    """A file whose changes are noticed, from the making of this object on: make it before the file is read."""

    def __init__(self, path: Path, *, look_ms: int = LOOK_MS) -> None:
        self._path = path
        self._look_ms = look_ms
        self._stamp = _stamp_of(path)

    async def watch(self, on_change: Callable[[], None]) -> NoReturn:
        """Call back after every change, for ever."""
        await look_for_ever(self._folders, lambda: self._look(on_change), look_ms=self._look_ms)

    def _folders(self) -> tuple[Path, ...]:
        behind_links = Path(os.path.realpath(self._path)).parent
        return (self._path.parent, behind_links) if behind_links.is_dir() else (self._path.parent,)

    def _look(self, on_change: Callable[[], None]) -> None:
        stamp = _stamp_of(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            on_change()


def _stamp_of(path: Path) -> Stamp | None:
    """Return what is different after any change of the file that a link may lead to, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class Reloads:
    """Reads the configuration again when `asked` is set, one after the other; what is asked meanwhile is one more."""

    def __init__(self, reload: Callable[[], Awaitable[None]], asked: asyncio.Event | None = None) -> None:
        self._reload = reload
        self._asked = asked or asyncio.Event()

    def ask(self) -> None:
        """Ask for a reload."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()
