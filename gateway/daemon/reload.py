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

import structlog
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

SETTLE_MS = 200
"""Changes so close together are one."""

LOOK_MS = 5000
"""The file is looked at so often in any case: not every file system tells of changes, and a folder may be replaced."""

_log = structlog.get_logger()

Stamp = tuple[int, ...]


class ConfigFile:
    """A file whose changes are noticed, from the making of this object on: make it before the file is read."""

    def __init__(self, path: Path, *, look_ms: int = LOOK_MS) -> None:
        self._path = path
        self._look_ms = look_ms
        self._stamp = _stamp_of(path)

    async def watch(self, on_change: Callable[[], None]) -> NoReturn:
        """Call back after every change, for ever; where the system cannot watch, the file is still looked at."""
        try:
            while True:
                await self._watch_folders(on_change)
        except (OSError, WatchfilesRustInternalError) as error:  # no such folder, or no more watches on this machine
            look_s = self._look_ms / 1000.0
            folder, instead = (
                str(self._path.parent),
                f"the file is looked at every {look_s:g} s; SIGHUP reloads at once",
            )
            _log.warning("config_not_watched", folder=folder, reason=str(error), instead=instead)
        while True:
            await asyncio.sleep(look_s)
            self._look(on_change)

    async def _watch_folders(self, on_change: Callable[[], None]) -> None:
        """Watch the file until it lies in another folder."""
        folders = self._folders()
        changes = awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            step=50,
            debounce=SETTLE_MS,
            rust_timeout=self._look_ms,
            yield_on_timeout=True,
        )
        try:
            self._look(on_change)
            async for _ in changes:
                self._look(on_change)
                now = self._folders()
                if now != folders and all(folder.is_dir() for folder in now):
                    return
        finally:
            await changes.aclose()

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
