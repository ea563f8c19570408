"""Folders that are watched: who looks into them is called whenever something in them may have changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog
from watchfiles import awatch
from watchfiles._rust_notify import WatchfilesRustInternalError

SETTLE_MS = 200
"""Changes so close together are one."""

LOOK_MS = 5000
"""Folders are looked into so often in any case: not every file system tells of changes, and one may be replaced."""

_log = structlog.get_logger()


async def look_for_ever(
    folders: Callable[[], tuple[Path, ...]], look: Callable[[], None], *, look_ms: int = LOOK_MS
) -> NoReturn:
    """Look now, after every change in a folder and every `look_ms`; others are watched as soon as `folders` says so.

    Where the system cannot watch, the folders are still looked into.
    """
    try:
        while True:
            await _watch(folders, look, look_ms)
    except (OSError, WatchfilesRustInternalError) as error:  # no such folder, or no more watches on this machine
        look_s = look_ms / 1000.0
        names = ", ".join(str(folder) for folder in folders())
        _log.warning("folder_not_watched", folder=names, reason=str(error), instead=f"looked into every {look_s:g} s")
    while True:
        await asyncio.sleep(look_s)
        look()


async def _watch(folders: Callable[[], tuple[Path, ...]], look: Callable[[], None], look_ms: int) -> None:
    """Watch until it is others."""
    watched = folders()
    changes = awatch(
        *watched,
        watch_filter=None,
        recursive=False,
        step=50,
        debounce=SETTLE_MS,
        rust_timeout=look_ms,
        yield_on_timeout=True,
    )
    try:
        look()
        async for _ in changes:
            look()
            now = folders()
            if now != watched and all(folder.is_dir() for folder in now):
                return
    finally:
        await changes.aclose()
