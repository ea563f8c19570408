"""Home Assistant's announcements: every entity's topics exist and its words are ours."""

import json

from gateway.contract.topics import OFF, ON, Topics
from gateway.delivery.discovery import announcements, birth_topic
from gateway.settings import BrokerSettings, HomeAssistantSettings

HOME = HomeAssistantSettings(enabled=True)


def test_announcements_when_commands_are_off() -> None:
    """A camera has its alert and its status, and nothing that could switch it."""
    settings = BrokerSettings(client_id="box.1", topic_prefix="plant/hall", home_assistant=HOME)
    found = announcements(settings, ["lobby"])

    assert list(found) == [
        "homeassistant/binary_sensor/box_1/lobby_alert/config",
        "homeassistant/sensor/box_1/lobby_status/config",
    ]
    alert, status = (json.loads(payload) for payload in found.values())
    topics = Topics("plant/hall")
    assert (alert["state_topic"], alert["payload_on"], alert["payload_off"]) == (topics.alert("lobby"), ON, OFF)
    assert status["state_topic"] == topics.status("lobby")
    assert alert["availability"][0]["topic"] == topics.available
    assert {alert["unique_id"], status["unique_id"]} == {"box_1_lobby_alert", "box_1_lobby_status"}


def test_announcements_when_commands_are_on() -> None:
    """There is a switch too, for the topic that is obeyed."""
    settings = BrokerSettings(client_id="box", commands=True, home_assistant=HOME)
    found = announcements(settings, ["lobby", "gate"])

    switches = [json.loads(payload) for topic, payload in found.items() if "/switch/" in topic]
    topics = Topics("spectragate")
    assert [each["command_topic"] for each in switches] == [topics.enabled_set("lobby"), topics.enabled_set("gate")]
    assert [each["state_topic"] for each in switches] == [topics.enabled_state("lobby"), topics.enabled_state("gate")]
    assert len({json.loads(payload)["unique_id"] for payload in found.values()}) == len(found) == 6


def test_birth_topic_when_the_prefix_is_another() -> None:
    """Home Assistant speaks where its announcements are read."""
    home = HomeAssistantSettings(enabled=True, discovery_prefix="ha")
    assert birth_topic(BrokerSettings(home_assistant=home)) == "ha/status"
