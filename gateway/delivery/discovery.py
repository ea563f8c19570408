"""Home Assistant's MQTT discovery: what entities there are, as retained announcements."""

import json
import re
from collections.abc import Iterable

from gateway.contract.topics import OFF, ON, Topics
from gateway.settings import BrokerSettings

# `stopped` and the will `offline` are both "not available"; Home Assistant takes only two words.
_AVAILABLE = "{{ 'online' if value == 'online' else 'offline' }}"


def birth_topic(settings: BrokerSettings) -> str:
    """Return where Home Assistant says that it has started."""
    return f"{settings.home_assistant.discovery_prefix}/status"


def announcements(settings: BrokerSettings, cameras: Iterable[str]) -> dict[str, bytes]:
    """Return the configuration of every entity by its topic: for each camera its alert, its status and its switch."""
    topics = Topics(settings.topic_prefix)
    box = re.sub(r"[^A-Za-z0-9_-]", "_", settings.client_id)
    found: dict[str, bytes] = {}
    for camera in cameras:
        for kind, entity, fields in _entities(camera, topics, with_switch=settings.commands):
            unique = f"{box}_{camera}_{entity}"
            config = {
                "unique_id": unique,
                "availability": [{"topic": topics.available, "value_template": _AVAILABLE}],
                "device": {
                    "identifiers": [f"{box}_{camera}"],
                    "name": camera,
                    "manufacturer": "Spectragate",
                    "model": "Backdoor trigger detector",
                },
                **fields,
            }
            topic = f"{settings.home_assistant.discovery_prefix}/{kind}/{box}/{camera}_{entity}/config"
            found[topic] = json.dumps(config, separators=(",", ":")).encode()
    return found


def _entities(camera: str, topics: Topics, *, with_switch: bool) -> list[tuple[str, str, dict[str, object]]]:
    words = {"payload_on": ON, "payload_off": OFF}
    alert: dict[str, object] = {
        "name": "Trigger",
        "state_topic": topics.alert(camera),
        "device_class": "safety",
        **words,
    }
    status: dict[str, object] = {
        "name": "Status",
        "state_topic": topics.status(camera),
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topics.status(camera),
        "entity_category": "diagnostic",
    }
    switch: dict[str, object] = {
        "name": "Watched",
        "state_topic": topics.enabled_state(camera),
        "command_topic": topics.enabled_set(camera),
        "qos": 1,
        **words,
    }
    entities = [("binary_sensor", "alert", alert), ("sensor", "status", status)]
    return [*entities, ("switch", "enabled", switch)] if with_switch else entities
