"""What survives a restart beside the messages."""

from pathlib import Path

from fakes.outboxes import SMALL

from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, MarkerTable, RetainedTable, StoredTrack, SwitchTable


async def test_tracks_come_back_in_their_order_after_a_restart(tmp_path: Path) -> None:
    """A camera's calibration goes on with what it had; what an operator confirmed is gone."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        table = CalibrationTable(storage)
        await table.add(1.5, camera="lobby", environment="indoor")
        await table.add(9.0, camera="lobby", environment="indoor", alert_id="a")
        await table.add(-2, camera="gate", environment="outdoor", alert_id="b")
        await table.remove("a")
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        assert await CalibrationTable(storage).load() == [
            StoredTrack("lobby", "indoor", 1.5, None),
            StoredTrack("gate", "outdoor", -2.0, "b"),
        ]


async def test_tracks_are_bounded_per_camera(tmp_path: Path) -> None:
    """A busy camera takes no more than its share of the disk, and costs no other camera its tracks."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        table = CalibrationTable(storage, max_tracks=50)
        await table.add(0.5, camera="quiet", environment="e")
        for number in range(350):
            await table.add(float(number), camera="busy", environment="e")
        tracks = await table.load()
        assert [track.statistic for track in tracks] == [0.5, *map(float, range(300, 350))]
        stored = await storage.read(
            lambda connection: connection.execute("SELECT count(*) FROM calibration").fetchone()
        )
        assert stored[0] <= 1 + 50 + 100


async def test_switches_topics_and_markers_come_back_after_a_restart(tmp_path: Path) -> None:
    """What an operator switched, what Home Assistant was told and what ended the last run are still known."""
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        await SwitchTable(storage).set("lobby", enabled=False)
        await SwitchTable(storage).set("gate", enabled=False)
        await SwitchTable(storage).set("gate", enabled=True)
        await SwitchTable(storage).set("yard", enabled=True)
        await SwitchTable(storage).clear("yard")
        retained = RetainedTable(storage)
        await retained.set("ha/a", b"1", kind="discovery", camera="lobby")
        await retained.set("ha/b", b"2", kind="discovery")
        await retained.set("ha/b", None, kind="discovery")
        await retained.set("p/lobby/alert", b"ON", kind="state")
        await MarkerTable(storage).set("end", "hang")
        await MarkerTable(storage).set("gone", "x")
        await MarkerTable(storage).set("gone", None)
    async with Storage.open(tmp_path, settings=SMALL) as storage:
        assert await SwitchTable(storage).all() == {"lobby": False, "gate": True}
        assert await RetainedTable(storage).all("discovery") == {"ha/a": b"1"}
        assert await RetainedTable(storage).all("state") == {"p/lobby/alert": b"ON"}
        assert await MarkerTable(storage).all() == {"end": "hang"}
