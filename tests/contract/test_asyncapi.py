"""The documents for other programs: up to date, sound, and true of the examples."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from gateway.contract import topics
from gateway.contract.asyncapi import documents
from gateway.contract.examples import EXAMPLES
from gateway.contract.messages import Alert, Message, parse, to_bytes
from gateway.contract.requests import Judgement

CONFIGS = Path(__file__).parents[2] / "configs"
DOCUMENTS = {name: json.loads(text) for name, text in documents().items()}
ASYNCAPI = DOCUMENTS["asyncapi.json"]
SCHEMAS = {name: schema for name, schema in DOCUMENTS.items() if name.startswith("schemas/")}


def schema_of(message: Message) -> dict[str, Any]:
    """Return the schema that is named after the message's type."""
    name = message.type.removeprefix("spectragate.").removesuffix(".v1")
    return SCHEMAS[f"schemas/{name}.schema.json"]  # type: ignore[no-any-return]


def resolve(reference: str) -> Any:
    """Return what a `#/...` reference inside the AsyncAPI document points at."""
    node: Any = ASYNCAPI
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: Any) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in references(value)]
    return [found for item in node for found in references(item)] if isinstance(node, list) else []


@pytest.mark.parametrize("name", list(DOCUMENTS))
def test_documents_when_generated_again(name: str) -> None:
    """What is checked in is what the models say; regenerate with `spectragate schema` when this fails."""
    assert (CONFIGS / name).read_text(encoding="utf-8") == documents()[name]


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_schemas_when_checked_against_both_dialects(name: str) -> None:
    """They are sound in JSON Schema 2020-12, and as AsyncAPI reads them in draft 07."""
    Draft202012Validator.check_schema(SCHEMAS[name])
    Draft7Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"].startswith("urn:spectragate:schema:")
    assert "prefixItems" not in json.dumps(SCHEMAS[name])


@pytest.mark.parametrize("message", list(EXAMPLES.values()), ids=list(EXAMPLES))
def test_examples_when_validated(message: Message) -> None:
    """Every example's bytes satisfy its schema and read back as the same message."""
    payload = to_bytes(message)

    jsonschema.validate(json.loads(payload), schema_of(message), cls=Draft202012Validator)
    assert parse(payload) == message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "spectragate.alert.v2"),
        ("extra", 1),
        ("data.camera", "alerts"),
        ("data.score", None),
        ("data.box", [1, 2, 3]),
        ("data.p_value", 0),
        ("data.label", "cat"),
        ("data.model.sha256", "zz"),
    ],
)
def test_schema_when_an_example_is_damaged(path: str, value: object) -> None:
    """The schema refuses what the models refuse."""
    event = json.loads(to_bytes(next(message for message in EXAMPLES.values() if isinstance(message, Alert))))
    *parents, last = path.split(".")
    place = event
    for parent in parents:
        place = place[parent]
    place[last] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(event, SCHEMAS["schemas/alert.schema.json"], cls=Draft202012Validator)


def test_schema_when_a_field_is_left_out() -> None:
    """Every field of the data is promised, but the latency, which a replay leaves out."""
    data = SCHEMAS["schemas/alert.schema.json"]["$defs"]["AlertData"]

    assert set(data["properties"]) - set(data["required"]) == {"latency_ms"}


def test_asyncapi_when_read_by_a_tool() -> None:
    """It has the parts AsyncAPI 3.0 asks for, and every reference leads somewhere."""
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(ASYNCAPI["info"])
    assert all({"host", "protocol"} <= set(server) for server in ASYNCAPI["servers"].values())
    found = references(ASYNCAPI)
    assert found
    assert all(resolve(reference) is not None for reference in found)


def test_asyncapi_channels_when_compared_with_the_topics() -> None:
    """Every topic the product builds is described, with the parameters its address names."""
    built = topics.Topics("{prefix}")
    addresses = {channel["address"] for channel in ASYNCAPI["channels"].values()}

    assert addresses == {
        built.available,
        built.alerts,
        built.verdicts,
        built.stats,
        built.replay,
        built.replayed,
        "{prefix}/{camera}/status",
        "{prefix}/{camera}/alert",
        "{prefix}/{camera}/enabled/set",
        "{prefix}/{camera}/enabled/state",
        "{prefix}/alerts/{alert_id}/feedback",
        "{prefix}/environments/{environment}/drift/state",
        "{prefix}/environments/{environment}/model/state",
        "{prefix}/environments/{environment}/model/set",
        built.trainer_state,
    }
    for channel in ASYNCAPI["channels"].values():
        assert set(channel["parameters"]) == set(re.findall(r"{(\w+)}", channel["address"]))
        fixed = [part for part in channel["address"].split("/") if not part.startswith("{")]
        assert set(fixed) <= topics.RESERVED_WORDS


def test_asyncapi_operations_when_compared_with_the_delivery_promises() -> None:
    """Each channel has one operation, with who sends, the documented QoS and the retain flag."""
    delivered = {
        operation["channel"]["$ref"].rsplit("/", 1)[1]: (
            operation["action"],
            operation["bindings"]["mqtt"]["qos"],
            operation["bindings"]["mqtt"]["retain"],
        )
        for operation in ASYNCAPI["operations"].values()
    }

    assert delivered == {
        "available": ("send", 1, True),
        "alerts": ("send", 1, False),
        "verdicts": ("send", 1, False),
        "stats": ("send", 0, False),
        "cameraStatus": ("send", 1, True),
        "cameraAlert": ("send", 1, True),
        "cameraEnabledState": ("send", 1, True),
        "cameraEnabledSet": ("receive", 1, False),
        "replay": ("receive", 1, False),
        "replayed": ("send", 1, False),
        "feedback": ("receive", 1, False),
        "driftState": ("send", 1, True),
        "modelState": ("send", 1, True),
        "modelSet": ("receive", 1, False),
        "trainerState": ("send", 1, True),
    }


def test_asyncapi_examples_when_validated_inside_the_document() -> None:
    """Every message of ours has examples, and they satisfy its schema with the document's own references."""
    messages = ASYNCAPI["components"]["messages"]
    ours = [message for message in messages.values() if message["contentType"] != "text/plain"]

    assert len(ours) == len(SCHEMAS)
    for message in ours:
        validator = Draft7Validator({"components": ASYNCAPI["components"], "allOf": [message["payload"]]})
        assert message["examples"]
        for example in message["examples"]:
            validator.validate(example["payload"])


def test_asyncapi_plain_words_when_compared_with_the_topics_module() -> None:
    """What `available` and `<camera>/alert` say is what the code publishes."""
    messages = ASYNCAPI["components"]["messages"]

    assert messages["available"]["payload"]["enum"] == [topics.ONLINE, topics.STOPPED, topics.OFFLINE]
    assert messages["cameraAlert"]["payload"]["enum"] == [topics.ON, topics.OFF]
    assert messages["cameraEnabledSet"]["payload"]["enum"] == [topics.ON, topics.OFF]
    assert set(messages["feedback"]["payload"]["enum"]) == set(get_args(Judgement))
