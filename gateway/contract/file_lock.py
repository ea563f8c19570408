"""A lock that processes share by a file, waited for up to a deadline."""

import fcntl
import time


def lock_within(descriptor: int, wait_s: float) -> bool:
    """Take the exclusive lock of an open file; return False where others held it for `wait_s`.

    Blocks for so long. The system has no wait for it that ends, so it is asked again and again.
    """
    ends_at_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends_at_s:
                return False
            time.sleep(wait_s / 200)
        else:
            return True
