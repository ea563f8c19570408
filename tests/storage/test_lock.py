"""One gateway a folder."""

from pathlib import Path

import pytest

from gateway.errors import StorageError
from gateway.storage.lock import hold


def test_a_folder_is_held_by_one_and_free_again_afterwards(tmp_path: Path) -> None:
    """The lock is the kernel's: it ends with the process, however that ends."""
    with hold(tmp_path / "a" / "b"), pytest.raises(StorageError, match="another gateway"), hold(tmp_path / "a" / "b"):
        pass
    with hold(tmp_path / "a" / "b"):
        pass
