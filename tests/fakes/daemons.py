"""A daemon inside the test: the real parts around fake cameras, with a real state folder and a detector by rule."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fakes.live import Changes, FakeAlerts, FakeCameras, FakeLink, FakeShown
from fakes.outboxes import SMALL

from gateway.config_file import load_config
from gateway.contract.topics import Topics
from gateway.daemon.daemon import Daemon, Fittings
from gateway.daemon.plan import plan_of
from gateway.delivery.outbox import Outbox
from gateway.screening.runtime import InferenceThread
from gateway.storage.state import Storage
from gateway.storage.tables import CalibrationTable, SwitchTable

Until = Callable[[Callable[[], bool]], Awaitable[None]]


@dataclass
class Box:
    """A running daemon with what it hears and says."""

    daemon: Daemon
    cameras: FakeCameras
    shown: FakeShown
    alerts: FakeAlerts
    config: Path
    until: Until

    def configure(self, text: str) -> None:
        """Write another configuration."""
        self.config.write_text(text)


@asynccontextmanager
async def running_daemon(folder: Path, text: str) -> AsyncIterator[Box]:
    """Run a daemon with this configuration until the block ends; its state is in `folder`."""
    config = folder / "gateway.yaml"
    config.write_text(text)
    changes = Changes()
    cameras, shown, alerts = FakeCameras(changes=changes), FakeShown(changes=changes), FakeAlerts(changes=changes)
    inference = InferenceThread(device="cpu", threads=1)
    async with Storage.open(folder / "state", settings=SMALL) as storage:
        outbox = await Outbox.open(storage, client_id="box", settings=SMALL)
        switches = SwitchTable(storage)
        fittings = Fittings(
            inference=inference,
            open_source=cameras,
            outbox=outbox,
            topics=Topics("spectragate"),
            make_link=lambda _daemon, _settings: FakeLink(outbox, shown, alerts),
            calibration=CalibrationTable(storage),
            switches=switches,
            positions=await switches.all(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                daemon = Daemon(config, fittings, group)
                await daemon.start(plan_of(load_config(config)))
                yield Box(daemon, cameras, shown, alerts, config, changes.until)
                await daemon.stop()
        finally:
            await inference.close()
