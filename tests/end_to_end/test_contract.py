"""Every topic of the conventions against the running daemon: what is said there, how, and that it fits its schema."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.brokers import Mosquitto, Received, Subscriber
from fakes.daemon_process import PATIENT
from jsonschema import Draft7Validator
from paho.mqtt import publish as once

from gateway.contract.asyncapi import documents
from gateway.demo.passages import DemoSettings, plan
from gateway.demo.recording import write_recording

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(240)]

PREFIX, CAMERA = "plant/hall-3", "gate"
# As the conventions list them: topic below the prefix, what says it in words (None: JSON), QoS, retained.
TOPICS: dict[str, tuple[set[str] | None, int, bool]] = {
    "available": ({"online", "stopped", "offline"}, 1, True),
    "alerts": (None, 1, False),
    "verdicts": (None, 1, False),
    "stats": (None, 0, False),
    "gate/status": (None, 1, True),
    "gate/alert": ({"ON", "OFF"}, 1, True),
    "gate/enabled/state": ({"ON", "OFF"}, 1, True),
    "alerts/replayed": (None, 1, False),
    "environments/default/drift/state": (None, 1, True),
    "environments/default/model/state": (None, 1, True),
}
ALERT_FIELDS = {
    *("alert_id", "seq", "type", "severity", "camera", "environment", "track_id", "frame_time", "frame_time_source"),
    *("start_time", "end_time", "label", "score", "top_score", "p_value", "threshold", "box", "frame_width"),
    *("frame_height", "area", "frames_seen", "calibration", "model", "latency_ms", "evidence", "replay"),
}
CONFIG = """\
mqtt:
  {{host: 127.0.0.1, port: {port}, client_id: box, topic_prefix: {prefix}, stats_interval: 1, verdicts: true,
   commands: true, home_assistant: {{enabled: true}}}}
screening: {{device: cpu, alert_budget_per_day: 500, tracks_per_day: 1000}}
state_folder: {folder}/state
cameras:
  gate: {{source: {{type: file, path: {folder}/gate.mkv, loop: true}}}}
"""
ASYNCAPI = json.loads(documents()["asyncapi.json"])


def validator_of(topic: str) -> Draft7Validator:
    """Return what any payload of ours on a topic has to satisfy: one of the messages of its channel."""
    by_address = {channel["address"]: channel for channel in ASYNCAPI["channels"].values()}
    channel = by_address["{prefix}/" + topic.replace(f"{CAMERA}/", "{camera}/").replace("/default/", "/{environment}/")]
    schemas = [ASYNCAPI["components"]["messages"][name]["payload"] for name in channel["messages"]]
    return Draft7Validator({"components": ASYNCAPI["components"], "anyOf": schemas})


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of a few people, some with triggers, that a camera shows again and again."""
    path = tmp_path_factory.mktemp("recording") / "gate.mkv"
    settings = DemoSettings(gate_passages=5)
    write_recording(path, settings, plan(settings, "gate"), stop=threading.Event(), drawn=lambda _: None)
    return path


@pytest.fixture
def daemon(recording: Path, tmp_path: Path) -> Iterator[tuple[Mosquitto, subprocess.Popen[bytes]]]:
    """Run `spectragate run` beside a broker, and end both with the test."""
    (tmp_path / "gate.mkv").symlink_to(recording)
    (tmp_path / "state").mkdir()
    config = tmp_path / "gateway.yaml"
    with Mosquitto(tmp_path, "allow_anonymous true") as broker, (tmp_path / "log").open("wb") as log:
        config.write_text(CONFIG.format(port=broker.port, prefix=PREFIX, folder=tmp_path))
        command = [sys.executable, "-c", PATIENT, str(config)]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                yield broker, process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


async def gather(subscriber: Subscriber, seen: list[Received], enough: Callable[[], object]) -> None:
    """Listen until there is enough."""
    async with asyncio.timeout(120.0):
        while not enough():
            seen.append(await subscriber.next(within_s=60.0))


def payloads(seen: list[Received], topic: str) -> list[Any]:
    """Return what was said on a topic below the prefix, parsed where it is JSON."""
    words = TOPICS[topic][0]
    said = [message.payload for message in seen if message.topic == f"{PREFIX}/{topic}" and message.payload]
    return [payload.decode() if words else json.loads(payload) for payload in said]


def obeyed(seen: list[Received]) -> set[tuple[Any, Any]]:
    """Return which commands were told among the alerts, with their values."""
    notices = [event["data"] for event in payloads(seen, "alerts") if event["type"] == "spectragate.notice.v1"]
    return {(data.get("command"), data.get("value")) for data in notices}


async def test_contract_when_compared_with_the_running_daemon(
    daemon: tuple[Mosquitto, subprocess.Popen[bytes]],
) -> None:
    """Each documented topic is used as documented, nothing else is, and every field of an alert is there."""
    broker, process = daemon
    seen: list[Received] = []

    def say(topic: str, payload: str) -> None:
        once.single(f"{PREFIX}/{topic}", payload, qos=1, hostname="127.0.0.1", port=broker.port)

    with Subscriber(broker.port) as subscriber:
        drift = "environments/default/drift/state"
        needed = ("alerts", "verdicts", "stats", "gate/status", "gate/alert", "gate/enabled/state", drift)
        await gather(subscriber, seen, lambda: all(payloads(seen, topic) for topic in needed))
        alert = payloads(seen, "alerts")[0]
        await asyncio.to_thread(say, "alerts/replay", json.dumps({"from_seq": 1, "to_seq": alert["data"]["seq"]}))
        await gather(subscriber, seen, lambda: len(payloads(seen, "alerts/replayed")) > 1)
        await asyncio.to_thread(say, f"alerts/{alert['data']['alert_id']}/feedback", "false_positive")
        await asyncio.to_thread(say, "environments/default/model/set", "rollback")
        models = "environments/default/model/state"
        await gather(subscriber, seen, lambda: any(state["answer"] for state in payloads(seen, models)))
        await asyncio.to_thread(say, "gate/enabled/set", "OFF")
        await gather(subscriber, seen, lambda: "OFF" in payloads(seen, "gate/enabled/state"))
        await gather(subscriber, seen, lambda: any(s["state"] == "disabled" for s in payloads(seen, "gate/status")))
        told = {("enabled", "OFF"), ("model", "rollback")}
        await gather(subscriber, seen, lambda: told <= obeyed(seen))
        process.send_signal(signal.SIGTERM)
        await gather(subscriber, seen, lambda: payloads(seen, "available")[-1:] == ["stopped"])
    asked = {f"{PREFIX}/{topic}" for topic in ("alerts/replay", "gate/enabled/set", "environments/default/model/set")}
    used = {m.topic for m in seen if not m.topic.startswith("homeassistant/") and not m.topic.endswith("/feedback")}
    assert used - asked == {f"{PREFIX}/{topic}" for topic in TOPICS}
    assert set(alert["data"]) == ALERT_FIELDS
    assert alert["id"] == f"box-{alert['data']['seq']}"
    for topic, (words, _, _) in TOPICS.items():
        for payload in payloads(seen, topic):
            if words:
                assert payload in words
            else:
                validator_of(topic).validate(payload)
    assert payloads(seen, models)[-1]["answer"]["result"] == "refused"  # nothing was installed
    numbers = [event["data"]["seq"] for event in payloads(seen, "alerts")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(message.topic.startswith("homeassistant/") for message in seen) >= 3
    assert process.wait(20) == 0
    retained = {f"{PREFIX}/{topic}" for topic, (_, _, is_retained) in TOPICS.items() if is_retained}
    retained |= {message.topic for message in seen if message.topic.startswith("homeassistant/")}
    with Subscriber(broker.port) as late:
        assert {(await late.next()).topic for _ in retained} == retained
