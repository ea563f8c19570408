"""One gateway a folder."""

import shutil
import socket
from pathlib import Path

import pytest

from gateway.errors import StorageError
from gateway.storage.lock import _name_of, hold


def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    """The lock is the kernel's: it ends with the process, however that ends."""
    with hold(tmp_path / "a" / "b"), pytest.raises(StorageError, match="another gateway"), hold(tmp_path / "a" / "b"):
        pass
    with hold(tmp_path / "a" / "b"):
        pass


def test_folder_that_was_deleted_is_still_its_gateways(tmp_path: Path) -> None:
    """Who runs on without its folder keeps the place, by whatever way it is called; a neighbour's is another."""
    folder = tmp_path / "state"
    (tmp_path / "link").symlink_to(folder)
    with hold(folder):
        shutil.rmtree(folder)
        for way in (folder, tmp_path / "link"):
            with pytest.raises(StorageError, match="still runs whose state folder"), hold(way):
                pass
            folder.mkdir(exist_ok=True)
        with hold(tmp_path / "other"):
            pass
    with hold(folder):
        pass


def test_who_cannot_answer_keeps_nobody_out(tmp_path: Path) -> None:
    """A name that somebody took without a gateway behind it, as any user of the machine can."""
    folder = tmp_path / "state"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as squatter:
        squatter.bind(_name_of(folder))
        with hold(folder):
            pass


def test_full_line_of_those_who_ask_is_no_way_in(tmp_path: Path) -> None:
    """A gateway that is started again and again beside another is refused each time."""
    folder = tmp_path / "state"
    with hold(folder):
        shutil.rmtree(folder)
        for _ in range(300):
            with pytest.raises(StorageError, match="still runs"), hold(folder):
                pass
