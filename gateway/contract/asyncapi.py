"""The contract as documents for other programs: a JSON Schema per message and one AsyncAPI 3.0 description.

Written to `configs/` and checked in; a test regenerates them and compares the bytes. The schemas keep to words that
JSON Schema draft 07 and 2020-12 share, because AsyncAPI speaks draft 07.
"""

import json
from typing import Any, Literal, NamedTuple

from pydantic.json_schema import models_json_schema

from gateway.contract import topics
from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import (
    CLOUDEVENTS_TYPE,
    JSON_TYPE,
    Alert,
    CameraStatus,
    Message,
    Stats,
    Verdict,
    to_bytes,
)

CONTRACT_VERSION = "1.0.0"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


class _Channel(NamedTuple):
    """One topic: what goes there and how it is delivered; plain words where it is not a message of ours."""

    address: str
    content: type[Message] | tuple[str, ...]
    summary: str
    qos: Literal[0, 1] = 1
    retain: bool = False


_TOPICS = topics.Topics("{prefix}")
_CHANNELS = {
    "available": _Channel(
        _TOPICS.available,
        (topics.ONLINE, topics.STOPPED, topics.OFFLINE),
        summary="Whether the box is there: online on every connect, stopped on a clean exit, offline as its last will.",
        retain=True,
    ),
    "alerts": _Channel(_TOPICS.alerts, Alert, summary="Every change of a triggered track."),
    "verdicts": _Channel(_TOPICS.verdicts, Verdict, summary="Every finished track; off unless asked for."),
    "stats": _Channel(_TOPICS.stats, Stats, summary="What was counted since the start, once a minute.", qos=0),
    "cameraStatus": _Channel(
        _TOPICS.status("camera"), CameraStatus, summary="Whether a camera is watched.", retain=True
    ),
    "cameraAlert": _Channel(
        _TOPICS.alert("camera"),
        (topics.ON, topics.OFF),
        summary="Whether a triggered face is in front of the camera.",
        retain=True,
    ),
}
_SCHEMA_FILES: dict[type[Message], str] = {
    Alert: "alert",
    Verdict: "verdict",
    CameraStatus: "camera_status",
    Stats: "stats",
}
_PARAMETERS: Json = {
    "prefix": {
        "description": "`mqtt.topic_prefix` of the box, unique per box; it may have several segments.",
        "default": "spectragate",
    },
    "camera": {"description": "The camera's name in the configuration.", "examples": ["lobby"]},
}


def documents() -> dict[str, str]:
    """Return the text of every document by its path below `configs/`; the same on every machine."""
    schemas = {f"schemas/{stem}.schema.json": _text(_schema(model)) for model, stem in _SCHEMA_FILES.items()}
    return {**schemas, "asyncapi.json": _text(_asyncapi())}


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[Message]) -> Json:
    schema = _without_titles(model.model_json_schema(mode="serialization"))
    address = f"urn:spectragate:schema:{_SCHEMA_FILES[model]}:v1"
    return {"$schema": _DIALECT, "$id": address, "title": model.__name__, **schema}


def _without_titles(node: Any) -> Any:
    """Leave out the titles that only repeat the names of the fields."""
    if isinstance(node, dict):
        return {key: _without_titles(value) for key, value in node.items() if key != "title"}
    return [_without_titles(item) for item in node] if isinstance(node, list) else node


def _asyncapi() -> Json:
    _, generated = models_json_schema(
        [(model, "serialization") for model in _SCHEMA_FILES], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Spectragate over MQTT",
            "version": CONTRACT_VERSION,
            "description": "What a Spectragate box publishes. QoS 1 delivers at least once: drop duplicates by `id`.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": JSON_TYPE,
        "servers": {"broker": _server()},
        "channels": {name: _channel(name, channel) for name, channel in _CHANNELS.items()},
        "operations": {f"publish{name[0].upper()}{name[1:]}": _operation(name) for name in _CHANNELS},
        "components": {
            "parameters": _PARAMETERS,
            "messages": {name: _message(channel) for name, channel in _CHANNELS.items()},
            "schemas": _without_titles(generated["$defs"]),
        },
    }


def _server() -> Json:
    return {
        "host": "{host}:{port}",
        "protocol": "mqtt",
        "description": "The site's broker, MQTT 5 or 3.1.1; with TLS (port 8883) where it is configured.",
        "variables": {
            "host": {"default": "localhost", "description": "`mqtt.host`"},
            "port": {"default": "1883", "description": "`mqtt.port`"},
        },
    }


def _channel(name: str, channel: _Channel) -> Json:
    address = channel.address.replace("/camera/", "/{camera}/")
    return {
        "address": address,
        "summary": channel.summary,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if f"{{{name}}}" in address
        },
    }


def _operation(name: str) -> Json:
    channel = _CHANNELS[name]
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": channel.summary,
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _message(channel: _Channel) -> Json:
    if isinstance(channel.content, tuple):
        return {"contentType": "text/plain", "payload": {"type": "string", "enum": list(channel.content)}}
    model = channel.content
    return {
        "title": model.__name__,
        "contentType": CLOUDEVENTS_TYPE if model in (Alert, Verdict) else JSON_TYPE,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [
            {"name": name, "payload": json.loads(to_bytes(example))}
            for name, example in EXAMPLES.items()
            if isinstance(example, model)
        ],
    }
