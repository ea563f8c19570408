"""Environments in one process with a real detector, and a bundle whose scores tell that they are its own."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from fakes.bundles import TRAINING
from fakes.live import Changes, FakeAlerts

from gateway.contract import messages
from gateway.contract.bundle import Bundle, SelfTest, open_bundle
from gateway.daemon.calibration import Memory
from gateway.daemon.environments import Environments, Shared
from gateway.daemon.naming import LiveNaming
from gateway.daemon.plan import EnvironmentPlan
from gateway.lane import Outcome
from gateway.models.shipped import resolve_bundle
from gateway.screening.runtime import InferenceThread
from gateway.storage.tables import StoredTrack
from trainer.export import write_bundle

PLAN = EnvironmentPlan("paper", 8, 0.01)

SHIFT = 1000.0


class House:
    """Environments with a real detector, and what they say."""

    def __init__(self, group: asyncio.TaskGroup, inference: InferenceThread) -> None:
        self.outcomes: list[Outcome] = []
        self.keeps = True
        self.changes = Changes()
        shared = Shared(
            inference, LiveNaming("box", FakeAlerts()), self._deliver, Memory(self), self._load, {"gate": 0.001}
        )
        self.environments = Environments(shared, group)

    async def _deliver(self, outcome: Outcome) -> None:
        if self.keeps:
            self.outcomes.append(outcome)
        self.changes.note()

    async def add(self, statistic: float, *, camera: str, environment: str, alert_id: str | None = None) -> None:
        """Keep nothing."""

    async def remove(self, alert_id: str) -> None:
        """Forget nothing."""

    async def _load(self) -> list[StoredTrack]:
        return []

    @property
    def verdicts(self) -> list[messages.VerdictData]:
        """The verdicts so far."""
        return [each.data for each in self.outcomes if isinstance(each, messages.Verdict)]


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """Run environments until the block ends."""
    inference = InferenceThread(device="cpu", threads=1)
    try:
        async with asyncio.timeout(30 if "SPECTRAGATE_SWAPS" not in os.environ else 900), asyncio.TaskGroup() as group:
            here = House(group, inference)
            yield here
            await here.environments.end_all()
    finally:
        await inference.close()


def shifted(folder: Path) -> Bundle:
    """Write a bundle whose weights score every face higher by `SHIFT`, so that a score tells whose it is."""
    shipped = resolve_bundle("paper")
    last = list(shipped.weights)[-1]
    bias = shipped.weights[last] + np.array([0.0, SHIFT], np.float32)
    facts = {
        "version": 4,
        "environment": "hall",
        "parent_sha256": shipped.identity.sha256,
        "created": "2026-01-01",
        "training": TRAINING,
    }
    write_bundle(
        folder,
        profile=shipped.profile,
        weights={**shipped.weights, last: bias},
        calibration=shipped.calibration,
        self_test=SelfTest(shipped.self_test.pixels_NYXC, shipped.self_test.scores_N + np.float32(SHIFT)),
        facts=facts,
    )
    return open_bundle(folder)
