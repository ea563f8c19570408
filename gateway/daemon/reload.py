"""When the configuration is to be read again: on SIGHUP, and when its file changes.

The folder is watched, not the file: editors and package managers replace a file, and a watch on it would follow the one
that is gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from watchfiles import Change, awatch

SETTLE_MS = 200
"""Changes so close together are one."""

_log = structlog.get_logger()


async def watch_file(folder: Path, name: str, on_change: Callable[[], None]) -> None:
    """Call back after every change of a folder's file, for ever; a folder that cannot be watched leaves SIGHUP."""

    def concerns(_change: Change, changed: str) -> bool:
        return Path(changed).name == name

    stop = asyncio.Event()
    try:
        changes = awatch(folder, watch_filter=concerns, stop_event=stop, recursive=False, step=50, debounce=SETTLE_MS)
        async for _ in changes:
            on_change()
    except OSError as error:
        _log.warning("config_not_watched", folder=str(folder), reason=error.strerror, instead="reload by SIGHUP")
    finally:
        stop.set()


class Reloads:
    """Reads the configuration again when asked to, one time after the other; what is asked meanwhile is one more."""

    def __init__(self, reload: Callable[[], Awaitable[None]]) -> None:
        self._reload = reload
        self._asked = asyncio.Event()
        self.count = 0

    def ask(self) -> None:
        """Ask for a reload."""
        self._asked.set()

    async def run(self) -> None:
        """Reload whenever asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()
            self.count += 1
