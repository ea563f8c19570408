"""The messages: what they refuse, their bytes, and what reading hostile bytes does."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import (
    MAX_MESSAGE_BYTES,
    Alert,
    AlertData,
    Message,
    MessageError,
    Verdict,
    alert_id,
    live_event_id,
    parse,
    replay_event_id,
    to_bytes,
)
from gateway.values import ClockSource

LIVE, REPLAYED = (message for message in EXAMPLES.values() if isinstance(message, Alert))
(UNSURE,) = (message for message in EXAMPLES.values() if isinstance(message, Verdict))
EVERY = list(EXAMPLES.values())
ALERT_FIELDS = (
    *("alert_id", "seq", "type", "severity", "camera", "environment", "track_id", "frame_time", "frame_time_source"),
    *("start_time", "end_time", "label", "score", "top_score", "p_value", "threshold", "box", "frame_width"),
    *("frame_height", "area", "frames_seen", "calibration", "model", "latency_ms", "evidence", "replay"),
)
finite = st.floats(allow_nan=False, allow_infinity=False)


def alert_with(**changes: Any) -> AlertData:
    """Return the live example's data with some fields changed, checked as at first."""
    return AlertData(**{**dict(LIVE.data), **changes})


def altered(message: Message, path: str, value: object) -> bytes:
    """Return the message's JSON with one field replaced, as a hostile or broken sender would write it."""
    fields: dict[str, Any] = json.loads(to_bytes(message))
    *parents, last = path.split(".")
    place = fields
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(fields).encode()


def test_alert_bytes_when_live_hold_exactly_the_documented_fields() -> None:
    """Subscribers get the CloudEvents attributes and every documented field, in this order."""
    event = json.loads(to_bytes(LIVE))

    assert set(event) == {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"}
    assert (event["specversion"], event["type"]) == ("1.0", "spectragate.alert.v1")
    assert event["subject"] == event["data"]["camera"]
    assert event["time"] == "2026-01-31T12:00:01.250000Z"
    assert tuple(event["data"]) == ALERT_FIELDS
    assert set(event["data"]["latency_ms"]) == {"decode", "queue", "infer", "publish"}
    assert set(event["data"]["evidence"]) == {"snapshot", "heatmap", "top_bands"}
    assert set(event["data"]["model"]) == {"version", "sha256", "profile"}


def test_alert_bytes_when_replayed_leave_the_latency_out() -> None:
    """A replay's output does not depend on the machine's speed: the key is absent, not null."""
    data = json.loads(to_bytes(REPLAYED))["data"]

    assert list(data) == [field for field in ALERT_FIELDS if field != "latency_ms"]
    assert data["p_value"] is None


@pytest.mark.parametrize("message", EVERY, ids=list(EXAMPLES))
def test_bytes_when_read_back(message: Message) -> None:
    """Reading and writing again changes neither the message nor a byte."""
    payload = to_bytes(message)

    assert parse(payload) == message
    assert to_bytes(parse(payload)) == payload
    assert payload == payload.strip()
    assert b"NaN" not in payload


@given(score=finite, top_score=finite, threshold=finite, start_time=st.floats(0, 4e9))
def test_floats_when_read_back_are_the_same(
    score: float, top_score: float, threshold: float, start_time: float
) -> None:
    """Every finite float survives the wire exactly."""
    data = alert_with(score=score, top_score=top_score, threshold=threshold, start_time=start_time)
    message = Alert.of(data, event_id="box-1", source="spectragate/box")

    again = parse(to_bytes(message))

    assert isinstance(again, Alert)
    assert np.array_equal(
        [again.data.score, again.data.top_score, again.data.threshold, again.data.start_time],
        [score, top_score, threshold, start_time],
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_when_not_finite(value: float) -> None:
    """NaN and infinity are refused at construction, at writing and at reading."""
    with pytest.raises(ValidationError, match="finite"):
        alert_with(score=value)
    smuggled = LIVE.model_copy(update={"data": LIVE.data.model_copy(update={"score": value})})
    with pytest.raises(MessageError, match="cannot be written"):
        to_bytes(smuggled)
    with pytest.raises(MessageError, match=r"data\.score"):
        parse(altered(LIVE, "data.score", value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("specversion", "0.3"),
        ("subject", "gate"),
        ("time", "2026-01-31T12:00:01Z"),
        ("id", ""),
        ("id", "two words"),
        ("source", "s" * 257),
        ("data.camera", "alerts"),
        ("data.camera", "Lobby"),
        ("data.seq", -1),
        ("data.seq", 2**53),
        ("data.seq", True),
        ("data.track_id", 0),
        ("data.score", "3.5"),
        ("data.p_value", 0.0),
        ("data.p_value", 1.5),
        ("data.type", "gone"),
        ("data.end_time", 1.0),
        ("data.label", "cat"),
        ("data.box", [2.0, 0.0, 1.0, 1.0]),
        ("data.box", [0.0, 0.0, 1.0]),
        ("data.frame_time", -1.0),
        ("data.frame_time", 1e300),
        ("data.model.sha256", "E3B0"),
        ("data.surprise", 1),
        ("surprise", 1),
        ("type", "spectragate.alert.v2"),
    ],
)
def test_parse_when_one_field_is_wrong(path: str, value: object) -> None:
    """Each wrong field alone makes the message refused."""
    with pytest.raises(MessageError):
        parse(altered(LIVE, path, value))


def test_parse_when_an_attribute_is_missing() -> None:
    """An event without its specversion is no CloudEvent."""
    fields = json.loads(to_bytes(LIVE))
    del fields["specversion"]
    with pytest.raises(MessageError, match="specversion"):
        parse(json.dumps(fields).encode())


@given(st.binary(max_size=200))
def test_parse_when_bytes_are_random(payload: bytes) -> None:
    """Random bytes raise the documented error and nothing else."""
    with pytest.raises(MessageError):
        parse(payload)


@given(message=st.sampled_from(EVERY), data=st.data())
def test_parse_when_bytes_are_truncated(message: Message, data: st.DataObject) -> None:
    """No beginning of a message is a message."""
    payload = to_bytes(message)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(MessageError):
        parse(payload[:cut])


@given(message=st.sampled_from(EVERY), data=st.data())
def test_parse_when_bytes_are_flipped(message: Message, data: st.DataObject) -> None:
    """A damaged message is refused, or is still a whole valid message."""
    payload = bytearray(to_bytes(message))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = parse(bytes(payload))
    except MessageError:
        return
    assert parse(to_bytes(read)) == read


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(field=st.sampled_from(ALERT_FIELDS), value=nested)
def test_parse_when_a_field_holds_any_json(field: str, value: object) -> None:
    """Any JSON in any field is refused or fits; the answer is never another exception."""
    try:
        read = parse(altered(LIVE, f"data.{field}", value))
    except MessageError:
        return
    assert to_bytes(read)


@pytest.mark.parametrize("payload", [b"[" * 20_000, b'{"a":' * 5_000, b" " * (MAX_MESSAGE_BYTES + 1), b"\xff\xfe{}"])
def test_parse_when_bytes_are_made_to_hurt(payload: bytes) -> None:
    """Deep nesting, size and foreign encodings end in the documented error."""
    with pytest.raises(MessageError):
        parse(payload)


def test_parse_error_when_shown_names_the_place() -> None:
    """The text says which field of which message is wrong."""
    with pytest.raises(MessageError, match=r"spectragate\.alert\.v1\.data\.box"):
        parse(altered(LIVE, "data.box", [1, 2]))


def test_to_bytes_when_the_message_is_too_large() -> None:
    """What a broker or a subscriber might refuse is refused here, with both sizes."""
    huge = LIVE.model_copy(update={"id": "x" * MAX_MESSAGE_BYTES})
    with pytest.raises(MessageError, match=f"at most {MAX_MESSAGE_BYTES}"):
        to_bytes(huge)


@pytest.mark.parametrize("score", [np.float64(1.5), np.float32(1.5), 1.5])
def test_fields_when_given_as_our_own_values(score: float) -> None:
    """The enums and numbers of the frame path fit and become plain JSON."""
    message = Alert.of(alert_with(score=score, frame_time_source=ClockSource.ARRIVAL), event_id="b-1", source="s")
    data = json.loads(to_bytes(message))["data"]

    assert (data["score"], data["frame_time_source"]) == (1.5, "arrival")


def test_ids_when_made_for_a_replay() -> None:
    """The same recording, camera, track and number give the same id, and any difference another one."""
    digest = "ab" * 32
    ids = {
        replay_event_id(origin, camera=camera, track_id=track, number=number)
        for origin in (digest, "cd" * 32)
        for camera in ("lobby", "lobby-1")
        for track in (1, 11)
        for number in (0, 1, 11)
    }

    assert len(ids) == 24
    assert replay_event_id(digest, camera="lobby", track_id=2, number=1) == f"{'ab' * 8}-lobby-2-1"
    assert live_event_id("box", 7) == "box-7"


def test_alert_id_when_anything_differs() -> None:
    """It is 16 hex digits that fit into a topic, and changes with each of its four parts."""
    first = alert_id("box", camera="lobby", track_id=1, start_time=5.0)

    assert first == alert_id("box", camera="lobby", track_id=1, start_time=5.0)
    assert len(first) == 16
    assert first not in {
        alert_id("box2", camera="lobby", track_id=1, start_time=5.0),
        alert_id("box", camera="lobb", track_id=1, start_time=5.0),
        alert_id("box", camera="lobby", track_id=2, start_time=5.0),
        alert_id("box", camera="lobby", track_id=1, start_time=6.0),
    }
