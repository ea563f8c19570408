"""The commands about what is stored, as an operator types them, also beside an open outbox."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes.outboxes import Clock, accept, alert, open_outbox, telemetry

from gateway.__main__ import cli
from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import CleanFace
from gateway.delivery.outbox import OutboxEntry, Rank
from gateway.errors import StorageError
from gateway.storage.tables import CalibrationTable, SwitchTable

SECRET = b"of-the-gate-alone"


def run(folder: Path, *arguments: str) -> Result:
    """Run a command whose configuration names the folder."""
    path = folder.parent / "gateway.yaml"
    path.write_text(f"state_folder: {folder}\n")
    command, *rest = arguments
    words = (
        [command, *rest[:1], "-c", str(path), *rest[1:]] if command == "outbox" else [command, "-c", str(path), *rest]
    )
    return CliRunner().invoke(cli, words)


async def test_status_and_export_tell_what_is_stored_beside_an_open_outbox(tmp_path: Path) -> None:
    """Both work while the gateway runs and change nothing."""
    folder = tmp_path / "state"
    async with open_outbox(folder) as outbox:
        await accept(outbox, 3)
        await outbox.accept(telemetry())
        await outbox.delivered((await outbox.pending(10))[:1])
        await outbox.accept(OutboxEntry("notice", "t", b"\xff", seq=outbox.next_seq(), rank=Rank.NOTICE))
        status = json.loads((await asyncio.to_thread(run, folder, "outbox", "status", "--json")).output)
        assert (status["waiting"], status["stored"], status["last_seq"], status["gaps"]) == (4, 5, 4, [])
        words = (await asyncio.to_thread(run, folder, "outbox", "status")).output
        assert words.startswith("4 waiting (0 held back), since 1970-01-12")
        lines = (await asyncio.to_thread(run, folder, "outbox", "export", "--from-seq", "2")).output.splitlines()
        assert [json.loads(line)["seq"] for line in lines] == [2, 3, 4]
        assert json.loads(lines[0])["payload"] == {"seq": 2}
        assert json.loads(lines[2])["payload_base64"] == "/w=="
        assert outbox.status().depth == 4


async def test_a_forgotten_camera_is_in_no_file_and_its_waiting_alerts_are_a_gap(tmp_path: Path) -> None:
    """Erased means that the bytes are gone from the disk, and that nobody waits for a number in vain."""
    folder = tmp_path / "state"
    async with open_outbox(folder) as outbox:
        storage = outbox._storage
        await accept(outbox, 2)
        await outbox.accept(alert(outbox.next_seq(), camera="gate", payload=SECRET))
        await outbox.accept(alert(outbox.next_seq(), camera="gate", payload=SECRET))
        await outbox.delivered((await outbox.pending(10))[2:3])
        await CalibrationTable(storage).add(1.0, camera="gate", environment="e")
        await SwitchTable(storage).set("gate", enabled=False)
        assert any(SECRET in path.read_bytes() for path in folder.iterdir())
        result = await asyncio.to_thread(run, folder, "forget", "--camera", "gate", "--yes")
        assert "erased 2 messages, 1 calibration tracks and 1 others" in result.output
        assert not any(SECRET in path.read_bytes() for path in folder.iterdir())
        (gap,) = await outbox.gaps()
        assert (gap.from_seq, gap.to_seq, gap.count, gap.reason) == (4, 4, 1, "forgotten")
        assert [row.seq for row in await outbox.between(1, 9, 9)] == [1, 2]
        assert await accept(outbox, 1) == [5]
        assert outbox.status().depth == 3


async def test_a_time_is_forgotten_and_the_rest_stays(tmp_path: Path) -> None:
    """Only what was accepted in the time given is erased."""
    folder, clock = tmp_path / "state", Clock(1_000_000.0)
    async with open_outbox(folder, clock=clock) as outbox:
        await accept(outbox, 1)
        clock.now_s += 100
        await accept(outbox, 1)
        clock.now_s += 100
        await accept(outbox, 1)
    result = run(folder, "forget", "--since", "1970-01-12T13:47:30", "--until", "1970-01-12T13:49:00+00:00", "--yes")
    assert "erased 1 messages" in result.output, result.output
    async with open_outbox(folder) as outbox:
        assert [row.seq for row in await outbox.between(1, 9, 9)] == [1, 3]


def test_forget_asks_and_needs_to_know_what(tmp_path: Path) -> None:
    """Nothing is erased by accident."""
    asyncio.run(_make(tmp_path / "state"))
    assert run(tmp_path / "state", "forget").exit_code == 2
    refused = run(tmp_path / "state", "forget", "--camera", "lobby")
    assert "Erase everything stored of camera lobby" in refused.output
    assert refused.exit_code == 1
    assert json.loads(run(tmp_path / "state", "outbox", "status", "--json").output)["stored"] == 2
    assert "is no time such as" in run(tmp_path / "state", "forget", "--since", "yesterday").output


def test_camera_that_nobody_knows_is_said(tmp_path: Path) -> None:
    """A typing mistake must not look like a camera that has been forgotten."""
    asyncio.run(_make(tmp_path / "state"))
    mistyped = run(tmp_path / "state", "forget", "--camera", "loby", "--yes")
    assert mistyped.exit_code == 1
    assert "nothing is stored of a camera 'loby', and none of this name is configured" in mistyped.output


def test_clean_faces_are_forgotten_with_their_camera(tmp_path: Path) -> None:
    """They go with everything else, and it is said what that does not reach."""
    asyncio.run(_make(tmp_path / "state"))
    sets = CleanSets(tmp_path / "state")
    sets.add(CleanFace("yard", 1.0, 0.5, np.zeros((32, 32, 3), np.uint8)))
    gone = run(tmp_path / "state", "forget", "--camera", "yard", "--yes")
    assert "erased the clean faces of 1 hours; what the trainer was sent is not reached" in gone.output
    assert sets.sightings(frozenset({"yard"})) == []


async def _make(folder: Path) -> None:
    async with open_outbox(folder) as outbox:
        await accept(outbox, 2)


def test_a_folder_without_an_outbox_is_told_in_words(tmp_path: Path) -> None:
    """The error names the folder and what to do."""
    (tmp_path / "state").mkdir()
    result = run(tmp_path / "state", "outbox", "status")
    assert isinstance(result.exception, StorageError)
    with pytest.raises(StorageError, match="there is no outbox in"):
        raise result.exception
