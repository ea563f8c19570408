"""The lock of a file: one at a time, and no wait without an end."""

import os
from pathlib import Path

from gateway.contract.file_lock import lock_within


def test_lock_is_for_one_and_is_given_back_with_the_file(tmp_path: Path) -> None:
    """Who comes second is told so after the wait, and has it when the first has closed."""
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert lock_within(first, 0.1)
        assert not lock_within(second, 0.1)
    finally:
        os.close(first)
    try:
        assert lock_within(second, 0.1)
    finally:
        os.close(second)
