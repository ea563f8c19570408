"""The demo from end to end: draw, calibrate, screen, publish, receive, compare with what was drawn."""

import secrets
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from gateway.choice import Choice, started_detector
from gateway.config import Config
from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.delivery.mqtt import Publisher
from gateway.demo.broker import LOOPBACK, AlertSubscriber, embedded_broker
from gateway.demo.events import BrokerAddress, DemoResult, Listen, Progress, Started
from gateway.demo.passages import DemoSettings, frame_count, plan
from gateway.demo.recording import drawing
from gateway.demo.report import CALIBRATION_FILE, GATE_FILE, Run, write_report, write_state
from gateway.demo.stage import Publish, Stage
from gateway.demo.tally import tally
from gateway.errors import ConfigError
from gateway.settings import BrokerSettings

TOPIC_PREFIX = "spectragate-demo"
ARRIVAL_TIMEOUT_S = 10.0

BUNDLE = "paper"
"""The demo's people are drawn, which the default takes for editing: the shipped bundle that does not."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the operator chooses: `broker` None runs one inside this process; `keep` None throws the recordings away."""

    settings: DemoSettings = field(default_factory=DemoSettings)
    broker: BrokerAddress | None = None
    keep: Path | None = None


async def run_demo(options: DemoOptions, *, listen: Listen) -> DemoResult:
    """Run the demo; `listen` hears of everything while it happens.

    Raises:
        ConfigError: A package of the extra `demo` is missing, `keep` cannot be used, or the shipped bundle is damaged.
        DeliveryError: The broker cannot be reached, or refuses an alert.
        RuntimeFault: The detector fails, or the recordings can be neither written nor read.
    """
    run_id = secrets.token_hex(8)
    settings, topic = options.settings, Topics(TOPIC_PREFIX).alerts
    async with AsyncExitStack() as stack:
        folder = _folder(options.keep, stack)
        address = options.broker or BrokerAddress(LOOPBACK, await stack.enter_async_context(embedded_broker()))
        publisher = await stack.enter_async_context(Publisher(_publisher_settings(options, address, run_id)))
        subscriber = await stack.enter_async_context(AlertSubscriber(address.host, address.port, topic))
        # The same on every machine: what a GPU would save here is less than its libraries take to load.
        bundle, detector = await stack.enter_async_context(
            started_detector(Choice(Config(), bundle=BUNDLE, device="cpu"))
        )
        listen(Started(address, options.broker is None, topic, bundle.identity, settings.seed))
        stage = Stage(settings, bundle, detector, run_id=run_id, listen=listen)
        run = await _screen_both(stage, settings, folder, partial(_publish, publisher, topic), listen)
        published = frozenset(alert.id for alert in run.gate.alerts)
        lost = await subscriber.missing(published, within_s=ARRIVAL_TIMEOUT_S)
        if options.keep is not None:
            write_report(options.keep, settings, run, bundle.identity)
            await write_state(options.keep, run, bundle.identity)
        verdicts = [verdict.data for verdict in run.gate.verdicts]
        return DemoResult(tally(plan(settings, "gate"), verdicts), run.reference, published, lost)


async def _screen_both(stage: Stage, settings: DemoSettings, folder: Path, publish: Publish, listen: Listen) -> Run:
    """Draw the clean passages, screen them while those of the gate are drawn, then screen these."""
    clean, mixed = plan(settings, "calibration"), plan(settings, "gate")
    frames = frame_count(settings, clean)

    def drawn(count: int) -> None:
        listen(Progress("drawing", count, frames))

    async with drawing(folder / CALIBRATION_FILE, settings, clean, drawn=drawn) as complete:
        await complete()
    async with drawing(folder / GATE_FILE, settings, mixed) as complete:
        reference, calibration = await stage.calibrate(folder / CALIBRATION_FILE)
        await complete()
    return Run(reference, calibration, await stage.watch(folder / GATE_FILE, reference, publish))


async def _publish(publisher: Publisher, topic: str, alert: messages.Alert) -> None:
    await publisher.publish(topic, messages.to_bytes(alert), content_type=messages.CLOUDEVENTS_TYPE)


def _folder(keep: Path | None, stack: AsyncExitStack) -> Path:
    """Return the folder for the recordings: a private one that is removed with the stack, or the one to keep."""
    if keep is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spectragate-demo-")))
    try:
        keep.mkdir(parents=True, exist_ok=True)
        occupied = any(keep.iterdir())
    except OSError as error:
        raise ConfigError(f"--keep {keep}: {error.strerror}; name a folder that can be written") from None
    if occupied:
        raise ConfigError(f"--keep {keep}: the folder is not empty; name a new one")
    return keep


def _publisher_settings(options: DemoOptions, address: BrokerAddress, run_id: str) -> BrokerSettings:
    try:
        return BrokerSettings(
            host=address.host,
            port=address.port,
            # The embedded broker speaks 3.1.1 alone, and leaves a version 5 CONNECT with a will unanswered.
            protocol="3.1.1" if options.broker is None else "auto",
            topic_prefix=TOPIC_PREFIX,
            client_id=f"spectragate-{run_id[:11]}",
        )
    except ValidationError as error:
        raise ConfigError(f"--broker {address.host}:{address.port}: {error.errors()[0]['msg']}") from None
