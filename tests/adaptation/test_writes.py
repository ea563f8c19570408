"""What waits for a disk that takes nothing."""

from structlog.testing import capture_logs

from gateway.adaptation.writes import FIRST_PAUSE_S, MOST_PAUSE_S, Writes
from gateway.errors import StorageError


class Disk:
    """Takes what it is told, or nothing."""

    def __init__(self) -> None:
        self.is_full = True
        self.written: list[str] = []

    def write(self, what: str) -> "Disk.Write":
        """Return what writes this."""
        return Disk.Write(self, what)

    class Write:
        """One thing to be written."""

        def __init__(self, disk: "Disk", what: str) -> None:
            self._disk, self._what = disk, what

        async def __call__(self) -> None:
            """Write it."""
            if self._disk.is_full:
                raise StorageError("the disk is full")
            self._disk.written.append(self._what)


async def test_full_disk_is_told_once_and_tried_ever_more_seldom() -> None:
    """What is to be written stays in order, and is there when the disk takes it."""
    disk = Disk()
    writes = Writes("hall", lambda: 100.0)
    assert (bool(writes), writes.due_s) == (False, float("inf"))
    with capture_logs() as logs:
        assert not await writes.add(disk.write("one"))
        assert writes.due_s == 100.0 + FIRST_PAUSE_S
        assert not await writes.add(disk.write("two"))
        for _ in range(20):
            assert not await writes.go_on()
    assert writes.due_s == 100.0 + MOST_PAUSE_S
    assert [log["event"] for log in logs] == ["model_not_kept"]
    disk.is_full = False
    assert await writes.go_on()
    assert (disk.written, bool(writes), writes.due_s) == (["one", "two"], False, float("inf"))
    assert not await writes.go_on()
