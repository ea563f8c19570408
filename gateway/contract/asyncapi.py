"""The contract as documents for other programs: a JSON Schema per message and one AsyncAPI 3.0 description.

Written to `configs/` and checked in; a test regenerates them and compares the bytes. The schemas keep to words that
JSON Schema draft 07 and 2020-12 share, because AsyncAPI speaks draft 07.
"""

import json
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.contract import messages, topics
from gateway.contract.examples import EXAMPLES, REQUESTS

CONTRACT_VERSION = "1.0.0"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]


class _Channel(NamedTuple):
    """One topic: what goes there and how it is delivered; plain words where it is not a message of ours."""

    address: str
    content: tuple[type[BaseModel] | str, ...]
    summary: str
    qos: Literal[0, 1] = 1
    retain: bool = False
    asked: bool = False  # others send it, the box receives


_TOPICS = topics.Topics("{prefix}")
_CHANNELS = {
    "available": _Channel(
        _TOPICS.available,
        (topics.ONLINE, topics.STOPPED, topics.OFFLINE),
        summary="Whether the box is there: online on every connect, stopped on a clean exit, offline as its last will.",
        retain=True,
    ),
    "alerts": _Channel(
        _TOPICS.alerts,
        (messages.Alert, messages.Notice),
        summary="Every change of a triggered track, and what became of such messages; numbered by `seq`.",
    ),
    "verdicts": _Channel(
        _TOPICS.verdicts, (messages.Verdict,), summary="Every finished track; off unless `mqtt.verdicts` asks for it."
    ),
    "stats": _Channel(
        _TOPICS.stats, (messages.Stats,), summary="What was counted since the start, once a minute.", qos=0
    ),
    "cameraStatus": _Channel(
        _TOPICS.status("camera"), (messages.CameraStatus,), summary="Whether a camera is watched.", retain=True
    ),
    "cameraAlert": _Channel(
        _TOPICS.alert("camera"),
        (topics.ON, topics.OFF),
        summary="Whether a triggered face is in front of the camera.",
        retain=True,
    ),
    "cameraEnabledState": _Channel(
        _TOPICS.enabled_state("camera"),
        (topics.ON, topics.OFF),
        summary="Whether a camera is switched on.",
        retain=True,
    ),
    "cameraEnabledSet": _Channel(
        _TOPICS.enabled_set("camera"),
        (topics.ON, topics.OFF),
        summary="Switches a camera for good; obeyed with `mqtt.commands: true` only, and told as a notice.",
        asked=True,
    ),
    "driftState": _Channel(
        _TOPICS.drift_state("environment"),
        (messages.DriftState,),
        summary="Whether the pictures of an environment's cameras have changed, and what is different.",
        retain=True,
    ),
    "modelState": _Channel(
        _TOPICS.model_state("environment"),
        (messages.ModelState,),
        summary="Which bundle judges an environment, and how the next one is doing.",
        retain=True,
    ),
    "trainerState": _Channel(
        _TOPICS.trainer_state,
        (messages.TrainerState,),
        summary="How the trainer was last reached, and what becomes of the clean sets that it was sent.",
        retain=True,
    ),
    "modelSet": _Channel(
        _TOPICS.model_set("environment"),
        ("rollback", "pin none", "pin <version>"),
        summary="Chooses an environment's bundle: the one before, a version that lies here, or new ones again; obeyed "
        "with `mqtt.commands: true` only, told as a notice, and answered in `modelState`.",
        asked=True,
    ),
    "replay": _Channel(
        _TOPICS.replay,
        (messages.ReplayRequest,),
        summary="Asks for alerts and notices again, by their numbers.",
        asked=True,
    ),
    "replayed": _Channel(
        _TOPICS.replayed,
        (messages.Alert, messages.Notice, messages.ReplayEnd),
        summary="What was asked for: the bytes first published, in the order of their numbers, then an end.",
    ),
    "feedback": _Channel(
        _TOPICS.feedback("alert_id"),
        ("false_positive", "confirmed", messages.Feedback),
        summary="What people say of an alert; obeyed with `mqtt.commands: true` only, and told as a notice.",
        asked=True,
    ),
}
_SCHEMA_FILES: dict[type[BaseModel], str] = {
    messages.Alert: "alert",
    messages.Notice: "notice",
    messages.Verdict: "verdict",
    messages.CameraStatus: "camera_status",
    messages.Stats: "stats",
    messages.DriftState: "drift_state",
    messages.ModelState: "model_state",
    messages.TrainerState: "trainer_state",
    messages.ReplayRequest: "replay_request",
    messages.ReplayEnd: "replay_end",
    messages.Feedback: "feedback",
}
_CLOUD_EVENTS = (messages.Alert, messages.Notice, messages.Verdict)
_PARAMETERS: Json = {
    "prefix": {
        "description": "`mqtt.topic_prefix` of the box, unique per box; it may have several segments.",
        "default": "spectragate",
    },
    "camera": {"description": "The camera's name in the configuration.", "examples": ["lobby"]},
    "environment": {"description": "A name under `environments` in the configuration.", "examples": ["default"]},
    "alert_id": {"description": "The `alert_id` of an alert.", "examples": ["3f0c7c1d2b9a4e58"]},
}


def documents() -> dict[str, str]:
    """Return the text of every document by its path below `configs/`; the same on every machine."""
    schemas = {f"schemas/{stem}.schema.json": _text(_schema(model)) for model, stem in _SCHEMA_FILES.items()}
    return {**schemas, "asyncapi.json": _text(_asyncapi())}


def _text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schema(model: type[BaseModel]) -> Json:
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
            "description": "What a box publishes and listens to. QoS 1 delivers at least once: drop doubles by `id`.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": messages.JSON_TYPE,
        "servers": {"broker": _server()},
        "channels": {name: _channel(name, channel) for name, channel in _CHANNELS.items()},
        "operations": {
            _operation_name(name, channel): _operation(name, channel) for name, channel in _CHANNELS.items()
        },
        "components": {
            "parameters": _PARAMETERS,
            "messages": {
                key: message for name, channel in _CHANNELS.items() for key, message in _messages(name, channel).items()
            },
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
    address = channel.address.replace("/camera/", "/{camera}/").replace("/alert_id/", "/{alert_id}/")
    address = address.replace("/environment/", "/{environment}/")
    return {
        "address": address,
        "summary": channel.summary,
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in _messages(name, channel)},
        "parameters": {
            name: {"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS if f"{{{name}}}" in address
        },
    }


def _operation_name(name: str, channel: _Channel) -> str:
    return f"{'take' if channel.asked else 'publish'}{name[0].upper()}{name[1:]}"


def _operation(name: str, channel: _Channel) -> Json:
    return {
        "action": "receive" if channel.asked else "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": channel.summary,
        "messages": [{"$ref": f"#/channels/{name}/messages/{key}"} for key in _messages(name, channel)],
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }


def _messages(name: str, channel: _Channel) -> dict[str, Json]:
    """Return what goes over a channel by name: each model under its own, plain words under the channel's."""
    words = [item for item in channel.content if isinstance(item, str)]
    known: Json = {"enum": words} if all("<" not in word for word in words) else {"pattern": topics.MODEL_ORDER}
    plain = {name: {"contentType": "text/plain", "payload": {"type": "string", **known}}} if words else {}
    return plain | {item.__name__: _message(item) for item in channel.content if not isinstance(item, str)}


def _message(model: type[BaseModel]) -> Json:
    sent = {name: json.loads(messages.to_bytes(each)) for name, each in EXAMPLES.items() if type(each) is model}
    asked = {name: each.model_dump(mode="json") for name, each in REQUESTS.items() if type(each) is model}
    return {
        "title": model.__name__,
        "contentType": messages.CLOUDEVENTS_TYPE if model in _CLOUD_EVENTS else messages.JSON_TYPE,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"name": name, "payload": payload} for name, payload in (sent | asked).items()],
    }
