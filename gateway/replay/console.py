"""The command `replay`: what the operator sees of it, on stdout, in a report and at the broker."""

from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway.choice import Choice, started_detector
from gateway.contract import messages
from gateway.contract.topics import Topics
from gateway.delivery.mqtt import Publisher
from gateway.errors import ConfigError
from gateway.progress import Bar
from gateway.replay.metrics import Metrics, measure
from gateway.replay.report import ReportFolder
from gateway.replay.results import PassResult, ReplayResult
from gateway.replay.run import FrameSeen, PassEnded, PassStarted, ReplayEvent, ReplaySettings, replay
from gateway.settings import BrokerSettings

_CLIENT_ID_LENGTH = 23  # what every MQTT 3.1.1 broker takes
_NO_DATE_S = 86_400.0 * 365
_KINDS = {"calibration": "calibration", "recorded": "", "injected": "with trigger"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the result goes."""

    as_json: bool = False
    report: Path | None = None
    publish: bool = False


async def replay_command(settings: ReplaySettings, choice: Choice, outputs: Outputs) -> int:
    """Replay, tell the operator, and return the exit code: 1 where a recording could not be read to its end.

    Raises:
        ConfigError: The bundle, the labels, the trigger, the report folder or the broker's settings cannot be used.
        DeliveryError: The broker refuses, or cannot be reached.
        RuntimeFault: The detector fails.
    """
    broker = _broker(choice) if outputs.publish else None
    with ExitStack() as files:
        report = files.enter_context(ReportFolder(outputs.report)) if outputs.report else None
        async with AsyncExitStack() as parts:
            bundle, inference = await parts.enter_async_context(started_detector(choice))
            publisher = await parts.enter_async_context(Publisher(broker, presence=False)) if broker else None
            bar = parts.enter_context(Bar("starting"))
            if not outputs.as_json:
                bar.remark(inference.report.in_words())
            teller = Teller(bar, outputs, report, publisher, broker)
            result = await replay(settings, bundle=bundle, detector=inference, listen=teller.hear)
        if report:
            report.finish(result, settings)
    teller.close(result)
    return 1 if result.failures else 0


def _broker(choice: Choice) -> BrokerSettings:
    """Return how the broker is reached, under a client id of its own: a daemon of this box keeps its connection.

    Raises:
        ConfigError: The configuration names no broker.
    """
    broker = choice.config.mqtt
    if broker is None:
        raise ConfigError("--publish: needs a configuration (-c FILE) with a section `mqtt`")
    return broker.model_copy(update={"client_id": f"{broker.client_id[: _CLIENT_ID_LENGTH - 7]}-replay"})


class Teller:
    """Hears what happens in a replay and passes it on: progress, messages, remarks, the closing table."""

    def __init__(
        self,
        bar: Bar,
        outputs: Outputs,
        report: ReportFolder | None,
        publisher: Publisher | None,
        broker: BrokerSettings | None,
    ) -> None:
        self._bar = bar
        self._outputs = outputs
        self._report = report
        self._publisher = publisher
        self._broker = broker
        self._published: Counter[str] = Counter()

    async def hear(self, event: ReplayEvent) -> None:
        """Take one event."""
        match event:
            case PassStarted():
                self._bar.restart(f"{event.number}/{event.of} {event.run.recording.path.name}")
            case FrameSeen():
                self._bar.show(event.frames, event.expected)
            case PassEnded():
                self._end(event)
            case messages.Alert() | messages.Verdict():
                await self._pass_on(event)

    async def _pass_on(self, message: messages.Alert | messages.Verdict) -> None:
        if self._outputs.as_json:
            self._bar.result(messages.to_bytes(message).decode())
        elif isinstance(message, messages.Alert) and message.data.type == "new":
            self._bar.result(_alert_in_words(message.data))
        if self._report:
            self._report.add(message)
        if self._publisher and self._broker:
            topics = Topics(self._broker.topic_prefix)
            topic = topics.alerts if isinstance(message, messages.Alert) else topics.verdicts
            payload = messages.to_bytes(message)
            await self._publisher.publish(topic, payload, content_type=messages.CLOUDEVENTS_TYPE)
            self._published[topic] += 1

    def _end(self, event: PassEnded) -> None:
        """Say what went wrong with a recording; each thing once, not for every pass."""
        if event.run.kind == "injected":
            return
        path, summary = event.run.recording.path, event.summary
        for refused in summary.refused:
            self._bar.remark(f"left out: {refused}")
        if summary.ended and summary.ended.frames_damaged > len(summary.refused):
            self._bar.remark(f"{path}: damaged frames left out: {summary.ended.frames_damaged}")
        if summary.failure:
            self._bar.remark(f"error: {summary.failure}")

    def close(self, result: ReplayResult) -> None:
        """Print the closing table, the metrics and where things went."""
        say = self._bar.remark if self._outputs.as_json else self._bar.result
        if not self._outputs.as_json:
            for line in table((*result.calibration, *result.passes)):
                say(line)
            for line in (*_promise_in_words(result), *_metrics_in_words(result)):
                say(line)
        if self._broker:
            counts = ", ".join(f"{count} on {topic}" for topic, count in sorted(self._published.items())) or "nothing"
            say(f"published to {self._broker.host}:{self._broker.port}: {counts}")
        if self._outputs.report:
            say(f"report: {self._outputs.report / 'index.html'}")


def table(passes: Sequence[PassResult]) -> list[str]:
    """Return the closing table: one line per pass, columns aligned."""
    heads = ("recording", "pass", "frames", "faces", "tracks", "clean", "triggered", "unsure", "alerts")
    rows = [heads, *(_row(done) for done in passes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(done: PassResult) -> tuple[str, ...]:
    summary = done.summary
    numbers = (
        summary.frames,
        summary.faces,
        summary.tracks,
        summary.verdicts["clean"],
        summary.verdicts["triggered"],
        summary.verdicts["unsure"],
        # An alert is raised for each triggered track; none is sent of a calibration.
        0 if done.run.kind == "calibration" else summary.verdicts["triggered"],
    )
    failed = " (failed)" if summary.failure else ""
    return done.run.recording.path.name + failed, _KINDS[done.run.kind], *(f"{number}" for number in numbers)


def _alert_in_words(data: messages.AlertData) -> str:
    rarity = "no p-value yet" if data.p_value is None else f"p = {data.p_value:.2g}"
    # Most recordings carry no date: their time counts from their beginning.
    moment = f"{data.frame_time:.2f} s" if data.frame_time < _NO_DATE_S else messages.rfc3339(data.frame_time)
    return (
        f"alert ({data.severity}): {data.camera}, track {data.track_id}, {moment},"
        f" score {data.score:.2f} ≥ {data.threshold:.2f}, {rarity}"
    )


def _promise_in_words(result: ReplayResult) -> list[str]:
    reference = result.reference
    if reference is None:
        return ["no calibration: every track is unsure; give clean recordings with --calibrate"]
    asked, attainable = f"{100 * reference.asked_rate:.3g} %", f"{100 * reference.false_alarm_rate:.3g} %"
    promise = f"asked for at most {asked} false alarms per clean track"
    if reference.false_alarm_rate > reference.asked_rate:
        promise += f"; {len(reference.ordered_clean)} clean tracks ({reference.level}) support {attainable}"
        promise += f", the camera needs {reference.tracks_missing} more of its own"
    else:
        promise += f"; {len(reference.ordered_clean)} clean tracks ({reference.level}) support it"
    return [promise]


def _metrics_in_words(result: ReplayResult) -> list[str]:
    judged = result.judged
    if not judged:
        return []
    metrics: Metrics = measure(judged)
    named = (
        ("BDR", metrics.bdr),
        ("FPR", metrics.fpr),
        ("ACC, balanced", metrics.acc_balanced),
        ("ACC, plain", metrics.acc_plain),
        ("AUROC", metrics.auroc),
    )
    lines = [f"{name:<14} {estimate.in_words()}, n = {estimate.n}" for name, estimate in named]
    return [*lines, f"unsure: {metrics.triggered_unsure} triggered (missed), {metrics.clean_unsure} clean (left out)"]
