"""When the configuration is read again: as often as needed, one after the other, whatever replaces the file how."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from fakes.live import Changes
from structlog.testing import capture_logs

from gateway.daemon.reload import ConfigFile, Reloads


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


@asynccontextmanager
async def watched(path: Path, *, look_ms: int = 60_000) -> AsyncIterator[asyncio.Event]:
    """Watch a file until the block ends; the event is set by every change."""
    changed = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        file = ConfigFile(path, look_ms=look_ms)
        task = group.create_task(file.watch(changed.set), name="config-file")
        await asyncio.sleep(0.3)  # the watch needs a moment before it sees anything
        yield changed
        task.cancel()


@contextmanager
def no_more_watches() -> Iterator[None]:
    """Let this process open no more descriptors than it has, which is how a machine without watches answers."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]  # fills what is free below
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(kept) + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for each in kept:
            os.close(each)


@pytest.mark.parametrize("how", ["write", "replace", "symlink"])
async def test_change_is_noticed_however_the_file_is_written(tmp_path: Path, how: str) -> None:
    """In place, by an atomic rename, and by a link to another file."""
    path, other = tmp_path / "gateway.yaml", tmp_path / "other.yaml"
    path.write_text("a: 1\n")
    async with watched(path) as changed:
        other.write_text("a: 2\n")
        match how:
            case "write":
                path.write_text("a: 2\n")
            case "replace":
                other.replace(path)
            case _:
                path.unlink()
                path.symlink_to(other)
        await changed.wait()


async def test_change_is_noticed_when_a_link_of_its_folder_is_turned(tmp_path: Path) -> None:
    """As Kubernetes does it, again and again: the file is a link through `..data`, which is turned in one step."""
    path = tmp_path / "gateway.yaml"
    for number in range(4):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / path.name).write_text(f"a: {number}\n")
    (tmp_path / "..data").symlink_to("..0")
    path.symlink_to(Path("..data") / path.name)
    async with watched(path) as changed:
        for number in (1, 2, 3):
            (tmp_path / "..data_tmp").symlink_to(f"..{number}")
            (tmp_path / "..data_tmp").rename(tmp_path / "..data")
            await changed.wait()
            changed.clear()
            assert path.read_text() == f"a: {number}\n"


async def test_change_is_noticed_when_the_file_lies_elsewhere(tmp_path: Path) -> None:
    """A link to a file of another folder: whoever edits that one edits the configuration."""
    (tmp_path / "site").mkdir()
    (tmp_path / "etc").mkdir()
    path, real = tmp_path / "etc" / "gateway.yaml", tmp_path / "site" / "box.yaml"
    real.write_text("a: 1\n")
    path.symlink_to(real)
    async with watched(path) as changed:
        real.write_text("a: 22\n")
        await changed.wait()


async def test_change_is_noticed_when_nothing_tells_of_it(tmp_path: Path) -> None:
    """The folder itself was replaced: the watch follows the one that is gone, the look does not."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "gateway.yaml").write_text("a: 1\n")
    async with watched(folder / "gateway.yaml", look_ms=100) as changed:
        folder.rename(tmp_path / "old")
        await changed.wait()
        changed.clear()
        folder.mkdir()
        (folder / "gateway.yaml").write_text("a: 2\n")
        await changed.wait()


async def test_change_is_noticed_when_it_came_before_the_watch(tmp_path: Path) -> None:
    """Between the reading of the file and the watch the whole daemon starts."""
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1\n")
    file, changed = ConfigFile(path), asyncio.Event()
    path.write_text("a: 22\n")
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(file.watch(changed.set), name="config-file")
        await changed.wait()
        task.cancel()


async def test_other_files_of_the_folder_are_none_of_ours(tmp_path: Path) -> None:
    """A folder may hold much that changes all the time."""
    (tmp_path / "gateway.yaml").write_text("a: 1\n")
    async with watched(tmp_path / "gateway.yaml", look_ms=100) as changed:
        for number in range(5):
            (tmp_path / f"{number}.log").write_text("noise")
            await asyncio.sleep(0.1)
    assert not changed.is_set()


async def test_folder_that_cannot_be_watched_is_looked_at(tmp_path: Path) -> None:
    """It is not there yet: that is said, and the file is found when it comes."""
    path = tmp_path / "late" / "gateway.yaml"
    with capture_logs() as logs:
        async with watched(path, look_ms=50) as changed:
            path.parent.mkdir()
            path.write_text("a: 1\n")
            await changed.wait()
    assert [log["event"] for log in logs] == ["folder_not_watched"]


async def test_file_is_looked_at_when_the_machine_has_no_more_watches(tmp_path: Path) -> None:
    """A system gives each user few of them; the daemon does not end because others took them all."""
    path = tmp_path / "gateway.yaml"
    path.write_text("a: 1\n")
    with capture_logs() as logs, path.open("a") as file, no_more_watches():
        async with watched(path, look_ms=50) as changed:
            file.write("b: 2\n")
            file.flush()
            await changed.wait()
    assert [log["event"] for log in logs] == ["folder_not_watched"]
