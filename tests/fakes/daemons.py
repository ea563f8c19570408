"""A daemon inside the test: the real parts around fake cameras, with a real state folder and a detector by rule."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from fakes.live import Changes, FakeAlerts, FakeCameras, FakeLink, FakeShown
from fakes.outboxes import SMALL

from gateway.cameras.keeper import Open
from gateway.config_file import load_config
from gateway.contract.topics import Topics
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.daemon import Daemon, Fittings
from gateway.daemon.environments import Environments
from gateway.daemon.explaining import Explaining, ModelOf
from gateway.daemon.models import Updates
from gateway.daemon.plan import plan_of
from gateway.delivery.outbox import Outbox
from gateway.lane import Outcome
from gateway.screening.runtime import InferenceThread
from gateway.settings import BrokerSettings
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, MarkerTable, SwitchTable
from gateway.values import Screening


def judged_by_paper(text: str) -> str:
    """Return a configuration that names its bundle: fake cameras show faces that `paper` takes."""
    if "environments:" in text or "cameras:" not in text:
        return text
    return f"environments: {{default: {{bundle: paper}}}}\n{text}"


class Until(Protocol):
    """Waits for a change after which a condition holds."""

    async def __call__(self, condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
        """Return once it holds."""


@dataclass
class Box:
    """A running daemon with what it hears and says."""

    daemon: Daemon
    cameras: FakeCameras
    shown: FakeShown
    alerts: FakeAlerts
    config: Path
    until: Until
    made: list[str | None]
    """The names under which links to a broker were made."""

    def configure(self, text: str) -> None:
        """Write another configuration."""
        self.config.write_text(judged_by_paper(text))


@dataclass
class Ages:
    """How old each camera's faces were when their scores were there, in ms, in order."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def percentile(self, share: float, *cameras: str) -> float:
        """Return the age that this share of the faces of these cameras (of all, when none is named) did not exceed."""
        ages = [age for name, those in self.of.items() if not cameras or name in cameras for age in those]
        return float(np.quantile(ages, share))


class AgingDaemon(Daemon):
    """A daemon that notes the age of every face it screens."""

    ages: Ages
    changes: Changes

    async def _deliver(self, outcome: Outcome) -> None:
        if isinstance(outcome, Screening):
            age_ms = self.environments.summaries[outcome.camera].newest_age_ms
            assert age_ms is not None
            self.ages.of.setdefault(outcome.camera, []).append(age_ms)
        await super()._deliver(outcome)
        self.changes.note()


@asynccontextmanager
async def running_daemon(
    folder: Path,
    text: str,
    *,
    open_source: Open | None = None,
    ages: Ages | None = None,
    clock: Callable[[], float] = time.time,
    make_collecting: Callable[[Place], Collecting] | None = None,
    updates: Updates | None = None,
    inference: InferenceThread | None = None,
    make_explaining: Callable[[Callable[[], Environments], ModelOf], Explaining] | None = None,
) -> AsyncIterator[Box]:
    """Run a daemon with this configuration until the block ends; its state is in `folder`.

    Its cameras are fake unless `open_source` opens others.
    """
    config = folder / "gateway.yaml"
    config.write_text(judged_by_paper(text))
    changes = Changes()
    cameras, shown, alerts = FakeCameras(changes=changes), FakeShown(changes=changes), FakeAlerts(changes=changes)
    made: list[str | None] = []

    def make_link(_daemon: Daemon, settings: BrokerSettings | None) -> FakeLink:
        if settings is not None:
            made.append(settings.client_id)
        return FakeLink(outbox, shown, alerts)

    inference = inference or InferenceThread(device="cpu", threads=1)
    async with Storage.open(folder / "state", settings=SMALL) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
        switches = SwitchTable(storage)
        fittings = Fittings(
            inference=inference,
            open_source=open_source or cameras,
            outbox=outbox,
            topics=Topics("spectragate"),
            make_link=make_link,
            calibration=CalibrationTable(storage),
            switches=switches,
            positions=await switches.all(),
            updates=updates,
            markers=MarkerTable(storage),
            make_collecting=make_collecting,
            make_explaining=make_explaining,
        )
        try:
            async with asyncio.TaskGroup() as group:
                daemon = AgingDaemon(config, fittings, group, clock=clock)
                daemon.ages = ages or Ages()
                daemon.changes = changes
                await daemon.start(plan_of(load_config(config)))
                parts = [group.create_task(daemon.adapting.run(), name="drift")]
                if daemon.models is not None:
                    parts.append(group.create_task(daemon.models.run(), name="bundles"))
                yield Box(daemon, cameras, shown, alerts, config, changes.until, made)
                for part in parts:
                    part.cancel()
                await daemon.stop()
        finally:
            await inference.close()
