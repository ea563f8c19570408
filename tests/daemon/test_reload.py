"""When the configuration is read again: as often as needed, one after the other, whatever replaces the file how."""

import asyncio
from pathlib import Path

import pytest
from fakes.live import Changes
from structlog.testing import capture_logs

from gateway.daemon.reload import Reloads, watch_file


async def test_reloads_run_one_after_the_other() -> None:
    """What is asked for during a reload is one more, however often it is asked."""
    running, runs = 0, 0
    changes = Changes()
    began, go_on = asyncio.Event(), asyncio.Event()

    async def reload() -> None:
        nonlocal running, runs
        running, runs = running + 1, runs + 1
        assert running == 1
        began.set()
        await go_on.wait()
        running -= 1
        changes.note()

    reloads = Reloads(reload)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(reloads.run(), name="reload")
        reloads.ask()
        await began.wait()
        for _ in range(100):
            reloads.ask()
        go_on.set()
        await changes.until(lambda: runs == 2 and not running)
        task.cancel()
    assert runs == 2


@pytest.mark.parametrize("how", ["write", "replace", "symlink"])
async def test_change_is_noticed_however_the_file_is_written(tmp_path: Path, how: str) -> None:
    """In place, by an atomic rename, and through a link that is turned to another file."""
    path, other = tmp_path / "gateway.yaml", tmp_path / "other.yaml"
    path.write_text("a: 1\n")
    changed = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watch_file(tmp_path, path.name, changed.set), name="config-file")
        while not changed.is_set():
            # The watch needs a moment before it sees anything: changed until it is noticed.
            other.write_text("a: 2\n")
            match how:
                case "write":
                    path.write_text("a: 2\n")
                case "replace":
                    other.replace(path)
                case _:
                    path.unlink()
                    path.symlink_to(other)
            await asyncio.sleep(0.3)
        task.cancel()


async def test_other_files_of_the_folder_are_none_of_ours(tmp_path: Path) -> None:
    """A folder may hold much that changes all the time."""
    (tmp_path / "gateway.yaml").write_text("a: 1\n")
    changed = asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(watch_file(tmp_path, "gateway.yaml", changed.set), name="config-file")
        for number in range(5):
            (tmp_path / f"{number}.log").write_text("noise")
            await asyncio.sleep(0.1)
        task.cancel()
    assert not changed.is_set()


async def test_folder_that_cannot_be_watched_leaves_the_signal(tmp_path: Path) -> None:
    """The daemon runs on and says what is left."""
    with capture_logs() as logs:
        await watch_file(tmp_path / "gone", "gateway.yaml", lambda: None)
    assert [log["event"] for log in logs] == ["config_not_watched"]
