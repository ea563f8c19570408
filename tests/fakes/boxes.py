"""A box without cameras, outbox and broker: numbered alerts, and answers to requests for a replay."""

import json
from dataclasses import dataclass, field
from typing import Self

from fakes.brokers import START_S
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, Notice, ReplayEnd, live_event_id, to_bytes
from gateway.contract.notices import Flood, Gap, SeverityCounts
from gateway.contract.topics import OFFLINE, ONLINE, Topics

TOPICS = Topics("plant")
_EXAMPLE = EXAMPLES["a track is triggered"]
assert isinstance(_EXAMPLE, Alert)


def alert(
    seq: int, *, client: str = "box", time_s: float | None = None, camera: str = "lobby", **fields: object
) -> Alert:
    """Return the alert with this number; by default its time follows from its number."""
    happened_s = 1_769_860_801.0 + seq / 100 if time_s is None else time_s
    changes = {"seq": seq, "camera": camera, "frame_time": happened_s, **fields}
    data = _EXAMPLE.data.model_copy(update=changes)  # type: ignore[union-attr]
    return Alert.of(data, event_id=live_event_id(client, seq), source=f"spectragate/{client}")


def gap_notice(seq: int, first: int, last: int, *, client: str = "box") -> Notice:
    """Return the notice that says that messages are gone."""
    count = last - first + 1
    data = Gap(seq=seq, time=1_769_860_801.0, from_seq=first, to_seq=last, count=count, reason="evicted")
    return Notice.of(data, event_id=live_event_id(client, seq), source=f"spectragate/{client}")


def flood_notice(seq: int, first: int, last: int, *, client: str = "box") -> Notice:
    """Return the notice that says that messages were held back."""
    count = last - first + 1
    data = Flood(
        seq=seq,
        time=1_769_860_801.0,
        from_seq=first,
        to_seq=last,
        count=count,
        camera="lobby",
        held=((first, last),),
        severities=SeverityCounts(watch=0, alert=count, critical=0),
    )
    return Notice.of(data, event_id=live_event_id(client, seq), source=f"spectragate/{client}")


@dataclass
class FakeBox:
    """What a box keeps, and how it answers: at most `most` messages at a time, none of those that are `gone`."""

    client: str = "box"
    most: int = 200
    kept: dict[int, bytes] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    last_seq: int = -1

    @property
    def source(self) -> str:
        """How its messages name it."""
        return f"spectragate/{self.client}"

    def accept(self, seq: int, **fields: object) -> bytes:
        """Keep one more alert and return its bytes."""
        self.kept[seq] = to_bytes(alert(seq, client=self.client, **fields))  # type: ignore[arg-type]
        self.last_seq = max(self.last_seq, seq)
        return self.kept[seq]

    def answer(self, request: bytes) -> list[bytes]:
        """Return what the box publishes on `alerts/replayed` for a request."""
        asked = json.loads(request)
        wanted = [seq for seq in sorted(self.kept) if asked["from_seq"] <= seq <= asked["to_seq"]]
        sent = [seq for seq in wanted[: self.most] if seq not in self.gone]
        answered_to = asked["to_seq"] if len(wanted) <= self.most else wanted[self.most - 1]
        end = ReplayEnd(
            source=self.source,
            requester=asked["requester"],
            from_seq=asked["from_seq"],
            to_seq=asked["to_seq"],
            answered_to_seq=answered_to,
            sent=len(sent),
            missing=tuple((seq, seq) for seq in wanted[: self.most] if seq in self.gone),
            last_seq=max(self.last_seq, 0),
        )
        return [*(self.kept[seq] for seq in sent), to_bytes(end)]


class LiveBox:
    """A box at a real broker: publishes what it is told to, and answers requests until it ends. A context manager."""

    def __init__(self, port: int, box: FakeBox) -> None:
        self.box = box
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=box.client)
        self._client.reconnect_delay_set(1, 1)
        self._client.will_set(TOPICS.available, OFFLINE, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda client, *_: client.publish(TOPICS.available, ONLINE, qos=1, retain=True)
        self._port = port
        self.requests: list[bytes] = []

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe(TOPICS.replay, qos=1)

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.requests.append(message.payload)
        for payload in self.box.answer(message.payload):
            client.publish(TOPICS.replayed, payload, qos=1)

    def __enter__(self) -> Self:
        """Connect."""
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        """End without a word."""
        self._client.loop_stop()

    def publish(self, *payloads: bytes) -> None:
        """Publish on the topic of alerts and wait for the PUBACKs."""
        for sent in [self._client.publish(TOPICS.alerts, payload, qos=1) for payload in payloads]:
            sent.wait_for_publish(START_S)
