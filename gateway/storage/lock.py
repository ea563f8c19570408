"""The state folder belongs to one gateway at a time: two would give the same number to two alerts."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.errors import StorageError

FILE_NAME = "state.lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make the folder (0700) where it is missing, and keep it for this process.

    Raises:
        StorageError: It cannot be made or used, or another gateway uses it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageError(
            f"the state folder {folder} cannot be used: {error.strerror}. Alerts wait for their delivery there: check "
            "the disk and who owns the folder, or set state_folder to another"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StorageError(f"another gateway uses the state folder {folder}. Give each its own state_folder") from None
    except OSError as error:
        os.close(descriptor)
        raise StorageError(
            f"the state folder {folder} cannot be locked: {error.strerror}. Set state_folder to a disk of this machine"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
