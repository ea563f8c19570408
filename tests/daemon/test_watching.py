"""Folders are looked into when something in them changes, and now and then in any case."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.daemon.watching import look_for_ever


class Looks:
    """Counts looks, and wakes whoever waits for one."""

    def __init__(self) -> None:
        self.count = 0
        self._looked = asyncio.Event()

    def look(self) -> None:
        """Look."""
        self.count += 1
        self._looked.set()

    async def until(self, count: int) -> None:
        """Return after so many looks."""
        while self.count < count:
            self._looked.clear()
            await self._looked.wait()


@asynccontextmanager
async def looking(folders: Callable[[], tuple[Path, ...]], *, look_ms: int) -> AsyncIterator[Looks]:
    """Watch until the block ends."""
    looks = Looks()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(look_for_ever(folders, looks.look, look_ms=look_ms), name="watch")
        yield looks
        task.cancel()


async def test_change_is_seen_at_once(tmp_path: Path) -> None:
    """Long before the next look that would come anyway."""
    async with looking(lambda: (tmp_path,), look_ms=3_600_000) as looks:
        await looks.until(1)
        for number in range(100):  # a watch sees what happens after it stands, which nobody is told
            (tmp_path / f"{number}").touch()
            try:
                async with asyncio.timeout(0.5):
                    await looks.until(2)
                break
            except TimeoutError:
                continue
        assert looks.count >= 2


async def test_another_folder_is_watched_as_soon_as_it_is_named(tmp_path: Path) -> None:
    """What is watched may move."""
    folders = [tmp_path]
    async with looking(lambda: tuple(folders), look_ms=100) as looks:
        await looks.until(1)
        (tmp_path / "other").mkdir()
        folders[0] = tmp_path / "other"
        await looks.until(looks.count + 3)


@pytest.mark.parametrize("look_ms", [50])
async def test_folder_that_cannot_be_watched_is_looked_into_all_the_same(tmp_path: Path, look_ms: int) -> None:
    """Said once, and then by the clock."""
    with capture_logs() as logs:
        async with looking(lambda: (tmp_path / "not there",), look_ms=look_ms) as looks:
            await looks.until(3)
    assert [entry["event"] for entry in logs] == ["folder_not_watched"]
