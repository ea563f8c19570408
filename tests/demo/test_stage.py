"""The recordings through the frame path: the clean ones calibrate, those at the gate are judged and published."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.demo import SMALL, WhiteDetector, reference

from gateway.contract import messages
from gateway.demo.events import AlertPublished, Calibrated, DemoEvent, Progress, TrackJudged
from gateway.demo.passages import DemoSettings, frame_count, plan
from gateway.demo.recording import write_recording
from gateway.demo.stage import CAMERA, Screened, Stage
from gateway.demo.tally import tally
from gateway.errors import DeliveryError, RuntimeFault
from gateway.models.shipped import resolve_bundle


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return both recordings of the small demo."""
    folder = tmp_path_factory.mktemp("recordings")
    paths = {name: folder / f"{name}.mkv" for name in ("calibration", "gate")}
    for name, path in paths.items():
        write_recording(path, SMALL, plan(SMALL, name), stop=threading.Event(), drawn=lambda _: None)
    return paths


def children() -> str:
    """Return the process ids of this thread's children, with a space after each."""
    return Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii")


def stage(events: list[DemoEvent], *, settings: DemoSettings = SMALL) -> Stage:
    """Return a stage whose detector knows white stickers."""
    return Stage(settings, resolve_bundle("paper"), WhiteDetector(), run_id="0123456789abcdef", listen=events.append)


async def watch(recordings: dict[str, Path], events: list[DemoEvent], published: list[messages.Alert]) -> Screened:
    """Watch the gate against clean passages that showed next to nothing white."""

    async def publish(alert: messages.Alert) -> None:
        published.append(alert)

    return await stage(events).watch(recordings["gate"], reference(1.0, 2.0, 3.0), publish)


async def test_calibration_learns_one_track_of_every_passage(recordings: dict[str, Path]) -> None:
    """Tracks and passages are the same things: the finder sees every person, the tracker never joins or cuts them."""
    events: list[DemoEvent] = []
    decided, clean = await stage(events).calibrate(recordings["calibration"])
    passages = plan(SMALL, "calibration")
    assert [verdict.data.frames_seen for verdict in clean.verdicts] == [passage.frames for passage in passages]
    assert {verdict.data.reason for verdict in clean.verdicts} == {"calibration"}
    assert clean.alerts == []
    assert decided is not None
    assert (decided.level, decided.false_alarm_rate) == ("camera", 0.25)
    assert decided.ordered_clean == tuple(sorted(verdict.data.score for verdict in clean.verdicts))
    assert events[-1] == Calibrated(3, 3, decided)
    frames = frame_count(SMALL, passages)
    assert events[:-1] == [Progress("calibrating", count, frames) for count in range(1, frames + 1)]


async def test_gate_publishes_the_trigger_and_judges_every_passage(recordings: dict[str, Path]) -> None:
    """The white sticker is announced while the person walks, and the end of the track when they are gone."""
    events: list[DemoEvent] = []
    published: list[messages.Alert] = []
    gate = await watch(recordings, events, published)
    passages = plan(SMALL, "gate")
    outcomes = tally(passages, [verdict.data for verdict in gate.verdicts])
    assert [(row.tracks, row.outcome) for row in outcomes.rows] == [(1, "clean"), (1, "caught")]
    assert gate.alerts == published
    assert [alert.data.type for alert in published] == ["new", "end"]
    assert [alert.data.seq for alert in published] == [1, 2]
    assert {alert.data.camera for alert in published} == {CAMERA}
    assert all(alert.data.replay and alert.data.latency_ms is None for alert in published)
    assert len(gate.scores) == sum(passage.frames for passage in passages)
    told = [event for event in events if not isinstance(event, Progress)]
    assert told == [
        TrackJudged(gate.verdicts[0].data, passages[0]),
        *(AlertPublished(alert, passages[1]) for alert in published),
        TrackJudged(gate.verdicts[1].data, passages[1]),
    ]


async def test_gate_teaches_nothing(recordings: dict[str, Path]) -> None:
    """The triggered half of the demo's gate never becomes part of what is normal: every track has one reference."""
    gate = await watch(recordings, [], [])
    assert {verdict.data.threshold for verdict in gate.verdicts} == {reference(1.0, 2.0, 3.0).threshold}


async def test_gate_without_reference_is_unsure(recordings: dict[str, Path]) -> None:
    """Nothing to compare with is said, not guessed over."""

    async def publish(_alert: messages.Alert) -> None:
        raise AssertionError("nothing must be announced")

    gate = await stage([]).watch(recordings["gate"], None, publish)
    assert [(verdict.data.verdict, verdict.data.reason) for verdict in gate.verdicts] == [("unsure", "calibration")] * 2


async def test_alert_that_cannot_be_published_ends_the_demo(recordings: dict[str, Path]) -> None:
    """The broker's refusal comes out as it is."""

    async def publish(_alert: messages.Alert) -> None:
        raise DeliveryError("the broker refuses")

    with pytest.raises(DeliveryError, match="the broker refuses"):
        await stage([]).watch(recordings["gate"], reference(1.0, 2.0, 3.0), publish)


async def test_recording_that_is_not_what_was_drawn_is_a_fault(recordings: dict[str, Path], tmp_path: Path) -> None:
    """A missing or wrong file is our own fault and is named."""
    with pytest.raises(RuntimeFault, match="cannot read what it has drawn"):
        await stage([]).calibrate(tmp_path / "absent.mkv")
    longer = replace(SMALL, calibration_passages=4)
    with pytest.raises(RuntimeFault, match=r"\d+ frames were read, \d+ were drawn"):
        await stage([], settings=longer).calibrate(recordings["calibration"])


async def test_cancelled_stage_leaves_no_process(recordings: dict[str, Path]) -> None:
    """Ctrl-C while watching ends the decoder's process before the command ends."""
    seen = asyncio.Event()
    watching = Stage(SMALL, resolve_bundle("paper"), WhiteDetector(), run_id="0" * 16, listen=lambda _: seen.set())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watching.calibrate(recordings["calibration"]))
        await asyncio.wait_for(seen.wait(), 30)
        assert children() != ""
        task.cancel()
    assert task.cancelled()
    assert children() == ""
