"""The demo from end to end in one process, small: what is told, published, kept, and that nothing is left behind."""

import asyncio
import json
import stat
import tempfile
from pathlib import Path

import pytest
from fakes.brokers import Mosquitto, free_port
from fakes.demo import SMALL

from gateway.demo.events import AlertPublished, BrokerAddress, Calibrated, DemoEvent, Progress, Started, TrackJudged
from gateway.demo.run import TOPIC_PREFIX, DemoOptions, run_demo
from gateway.errors import ConfigError, DeliveryError
from gateway.models.shipped import SHIPPED_SHA256
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, kept_as


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def entries(folder: Path) -> list[str]:
    """Return the names of what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def kinds(events: list[DemoEvent]) -> list[type]:
    """Return what was told, without the progress."""
    return [type(event) for event in events if not isinstance(event, Progress)]


async def test_demo_tells_publishes_and_counts(temporary: Path) -> None:
    """Every alert that went out came in; every passage has its row; the recordings are gone."""
    events: list[DemoEvent] = []
    modes: set[int] = set()

    def listen(event: DemoEvent) -> None:
        events.append(event)
        modes.update(stat.S_IMODE(folder.stat().st_mode) for folder in temporary.iterdir())

    before = asyncio.all_tasks()
    result = await run_demo(DemoOptions(SMALL), listen=listen)
    assert kinds(events)[:2] == [Started, Calibrated]
    assert set(kinds(events)[2:]) <= {AlertPublished, TrackJudged}
    assert kinds(events).count(TrackJudged) == len(result.tally.rows) == 2
    assert kinds(events).count(AlertPublished) == len(result.published)
    assert result.lost == frozenset()
    assert [row.tracks for row in result.tally.rows] == [1, 1]
    assert result.tally.strays == ()
    assert [event.doing for event in events if isinstance(event, Progress) and event.done == event.of] == [
        "drawing",
        "calibrating",
        "screening",
    ]
    assert modes == {0o700}
    assert entries(temporary) == []
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_demo_keeps_its_recordings_where_told(temporary: Path, tmp_path: Path) -> None:
    """`--keep` leaves recordings, labels and a report that says what the demo said."""
    keep = tmp_path / "new" / "kept"
    result = await run_demo(DemoOptions(SMALL, keep=keep), listen=lambda _: None)
    assert entries(keep) == ["calibration.mkv", "gate.mkv", "labels.csv", "report", "state"]
    async with Storage.open(keep / "state") as storage:
        learnt = await CalibrationTable(storage).load()
    name = kept_as("demo", SHIPPED_SHA256["paper"])
    assert [(each.camera, each.environment) for each in learnt] == [("gate", name)] * SMALL.calibration_passages
    alerts = (keep / "report" / "alerts.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in alerts} == result.published
    assert entries(temporary) == []


async def test_demo_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    """Nothing of the operator's is overwritten; a file is no folder."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty; name a new one"):
        await run_demo(DemoOptions(SMALL, keep=tmp_path), listen=lambda _: None)
    with pytest.raises(ConfigError, match=r"mine\.txt: File exists; name a folder"):
        await run_demo(DemoOptions(SMALL, keep=tmp_path / "mine.txt"), listen=lambda _: None)


async def test_demo_publishes_to_the_operators_broker(temporary: Path, tmp_path: Path) -> None:
    """With `--broker` nothing of our own listens, and the alerts arrive there."""
    events: list[DemoEvent] = []
    with Mosquitto(tmp_path, "allow_anonymous true") as mosquitto:
        options = DemoOptions(SMALL, broker=BrokerAddress("127.0.0.1", mosquitto.port))
        result = await run_demo(options, listen=events.append)
        log = mosquitto.log
    assert events[0] == Started(options.broker, False, f"{TOPIC_PREFIX}/alerts", events[0].model, SMALL.seed)
    assert result.lost == frozenset()
    assert log.count(f"'{TOPIC_PREFIX}/alerts'") >= 2 * len(result.published)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (BrokerAddress("127.0.0.1", free_port()), DeliveryError),
        (BrokerAddress("two words", 1883), ConfigError),
    ],
    ids=["nobody", "no-host"],
)
async def test_demo_names_a_broker_that_cannot_be_used(
    address: BrokerAddress, error: type[Exception], temporary: Path
) -> None:
    """A wrong address is told before anything is drawn, and leaves nothing."""
    with pytest.raises(error, match=address.host):
        await run_demo(DemoOptions(SMALL, broker=address), listen=lambda _: None)
    assert entries(temporary) == []


@pytest.mark.parametrize("moment", ["drawing", "calibrating", "screening"])
async def test_cancelled_demo_leaves_nothing(moment: str, temporary: Path) -> None:
    """Ctrl-C at any moment: no recording, no task, no thread that still writes."""
    reached = asyncio.Event()

    def listen(event: DemoEvent) -> None:
        if isinstance(event, Progress) and event.doing == moment:
            reached.set()

    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_demo(DemoOptions(SMALL), listen=listen))
        await asyncio.wait_for(reached.wait(), 50)
        task.cancel()
    assert task.cancelled()
    assert entries(temporary) == []
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
