"""What other seeds give. They are not the demo's own, and were chosen before any detector was trained.

The counts are reported, not judged, but for a floor: the demo shows plumbing and says nothing of the accuracy on real
people and real triggers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.choice import Choice, started_detector
from gateway.config import Config
from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.delivery.mqtt import Publisher
from gateway.demo.broker import LOOPBACK, AlertSubscriber, embedded_broker
from gateway.demo.passages import TRIGGERS, DemoSettings, plan
from gateway.demo.recording import drawing
from gateway.demo.stage import Publish, Stage
from gateway.demo.tally import Outcome, Tally, tally
from gateway.lane import Detector
from gateway.screening import decide
from gateway.settings import BrokerSettings

OTHER_SEEDS = range(101, 121)
LEAST_CAUGHT = 0.75
"""Below this something is broken. What is caught is reported, not promised: 131 of 160 with version 3 of the bundle,
all of the noise, grain and checker stickers and 11 of 40 white ones; 139 and 19 with version 2."""
PREFIX = "spectragate-demo"
LANES = 2


@dataclass(frozen=True, slots=True)
class Shared:
    """What all seeds have in common: detector, the camera's calibration, the way to the broker, a folder."""

    bundle: Bundle
    detector: Detector
    reference: decide.Reference | None
    publish: Publish
    folder: Path


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of one seed."""

    seed: int
    tally: Tally
    alert_ids: tuple[str, ...]


def stage_of(settings: DemoSettings, bundle: Bundle, detector: Detector) -> Stage:
    """Return a stage whose messages are told apart by the seed."""
    return Stage(settings, bundle, detector, run_id=f"{settings.seed:016d}", listen=lambda _: None)


async def calibrate(bundle: Bundle, detector: Detector, folder: Path) -> decide.Reference | None:
    """Calibrate the camera with the clean passages of the demo's own seed."""
    settings, path = DemoSettings(), folder / "calibration.mkv"
    async with drawing(path, settings, plan(settings, "calibration")) as complete:
        await complete()
    reference, _ = await stage_of(settings, bundle, detector).calibrate(path)
    path.unlink()
    return reference


async def watch(seed: int, shared: Shared) -> Watched:
    """Draw the gate of a seed and watch it."""
    settings = replace(DemoSettings(), seed=seed)
    path, passages = shared.folder / f"gate-{seed}.mkv", plan(settings, "gate")
    async with drawing(path, settings, passages) as complete:
        await complete()
    gate = await stage_of(settings, shared.bundle, shared.detector).watch(path, shared.reference, shared.publish)
    path.unlink()
    verdicts = [verdict.data for verdict in gate.verdicts]
    return Watched(seed, tally(passages, verdicts), tuple(alert.id for alert in gate.alerts))


async def watch_all(folder: Path, publish: Publish) -> list[Watched]:
    """Watch every seed, `LANES` at a time, so that one is drawn while another is searched for faces."""
    async with started_detector(Choice(Config(), device="cpu")) as (bundle, detector):
        shared = Shared(bundle, detector, await calibrate(bundle, detector, folder), publish, folder)
        waiting, watched = deque(OTHER_SEEDS), list[Watched]()

        async def lane() -> None:
            while waiting:
                watched.append(await watch(waiting.popleft(), shared))

        async with asyncio.TaskGroup() as group:
            for _ in range(LANES):
                group.create_task(lane())
        return sorted(watched, key=lambda each: each.seed)


@asynccontextmanager
async def broker() -> AsyncIterator[tuple[Publish, AlertSubscriber]]:
    """Run a broker; yield a way to publish alerts there, and who counts what arrives."""
    topic = f"{PREFIX}/alerts"
    async with embedded_broker() as port:
        box = BrokerSettings(host=LOOPBACK, port=port, protocol="3.1.1", topic_prefix=PREFIX)
        async with Publisher(box) as publisher, AlertSubscriber(LOOPBACK, port, topic) as subscriber:

            async def publish(alert: messages.Alert) -> None:
                await publisher.publish(topic, messages.to_bytes(alert))

            yield publish, subscriber


def count(results: Sequence[Watched], outcome: Outcome) -> int:
    """Return how many passages of all seeds ended like this."""
    return sum(each.tally.count(outcome) for each in results)


def in_words(results: Sequence[Watched]) -> list[str]:
    """Return the lines of the report: the totals, each kind of trigger, and the seeds where something went wrong."""
    caught, missed, clean = (count(results, outcome) for outcome in ("caught", "missed", "clean"))
    false_alarms = count(results, "false alarm")
    lines = [
        f"demo, {len(results)} other seeds: caught {caught}, missed {missed} of {caught + missed} triggered passages;"
        f" false alarms {false_alarms} of {clean + false_alarms} clean ones"
    ]
    for trigger in TRIGGERS:
        outcomes = [row.outcome for each in results for row in each.tally.rows if row.passage.trigger == trigger]
        lines.append(f"  {trigger.name}: caught {outcomes.count('caught')} of {len(outcomes)}")
    for each in results:
        rows = [row for row in each.tally.rows if row.outcome in {"missed", "false alarm"}]
        wrong = [f"{row.passage.number} ({row.passage.shows}: {row.outcome})" for row in rows]
        if wrong:
            lines.append(f"  seed {each.seed}: passage {', '.join(wrong)}")
    return lines


@pytest.mark.long
@pytest.mark.end_to_end
@pytest.mark.timeout(1800)
async def test_other_seeds_are_found_published_and_reported(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Twenty other seeds: every passage is one track, every alert arrives; caught and missed are reported.

    They share the calibration of the demo's own seed: it is the same camera, and 39 more passages for each would triple
    the time.
    """
    async with broker() as (publish, subscriber):
        results = await watch_all(tmp_path, publish)
        ids = [alert_id for each in results for alert_id in each.alert_ids]
        lost = await subscriber.missing(frozenset(ids), within_s=30.0)
    request.node.user_properties.extend(("report", line) for line in in_words(results))
    assert [each.seed for each in results] == list(OTHER_SEEDS)
    assert {row.tracks for each in results for row in each.tally.rows} == {1}
    assert [each.seed for each in results if each.tally.strays] == []
    assert len(set(ids)) == len(ids)
    assert lost == frozenset()
    assert count(results, "caught") >= LEAST_CAUGHT * (count(results, "caught") + count(results, "missed"))
