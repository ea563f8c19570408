"""The state folder belongs to one gateway at a time: two would give the same number to two alerts.

A lock on a file in the folder is gone with the folder, while who held it runs on; so its place is held as well, by a
name that the kernel keeps as long as the process lives.
"""

import fcntl
import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.errors import StorageError

FILE_NAME = "state.lock"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make the folder (0700) where it is missing, and keep it, and its place, for this process.

    Raises:
        StorageError: It cannot be made or used, or another gateway uses it, or did before it was deleted.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            name = _name_of(folder)
        except OSError as error:
            raise StorageError(
                f"the state folder {folder} cannot be used: {error.strerror}. Alerts wait for their delivery there: "
                "check the disk and who owns the folder, or set state_folder to another"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(
                f"another gateway uses the state folder {folder}. Give each its own state_folder"
            ) from None
        except OSError as error:
            raise StorageError(
                f"the state folder {folder} cannot be locked: {error.strerror}. "
                "Set state_folder to a disk of this machine"
            ) from None
        place = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        if not _take(place, name):
            raise StorageError(
                f"another gateway still runs whose state folder {folder} was deleted. End it, or give each its own "
                "state_folder"
            )
        yield


def _name_of(folder: Path) -> bytes:
    """Return a name in the kernel's own space for the place of a folder: it stays the same for a folder made anew."""
    real = folder.resolve()
    above = real.parent.stat()
    digest = hashlib.sha256(os.fsencode(f"{above.st_dev}:{above.st_ino}:") + os.fsencode(real.name))
    return b"\0spectragate-state-" + digest.hexdigest()[:32].encode()


def _take(place: socket.socket, name: bytes) -> bool:
    """Take the place; return False where another process of this user holds it.

    One of another user cannot hold a folder of ours, so whoever takes such a name keeps no gateway from starting.
    """
    try:
        place.bind(name)
        place.listen()
    except OSError:
        return not _is_ours(name)
    return True


def _is_ours(name: bytes) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0.0)
        try:
            asking.connect(name)
            _, uid, _ = _CREDENTIALS.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        except BlockingIOError:  # so many have asked already that no more can
            return True
        except OSError:  # it ended meanwhile, or listens to nobody
            return False
    return bool(uid == os.geteuid())
