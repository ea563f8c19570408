"""Where the broker's address comes from."""

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.watch.options import broker_settings

PLAIN = {"host": None, "port": 1883, "prefix": "spectragate", "user": None, "ca": None}


def test_configuration_gives_the_broker_but_not_the_client_id(tmp_path: Path) -> None:
    """A subscriber must not take over the daemon's session."""
    path = tmp_path / "g.yaml"
    path.write_text("mqtt: {host: broker.plant, port: 8883, client_id: box, topic_prefix: plant/hall}\n")
    settings = broker_settings(path, **PLAIN)
    assert (settings.host, settings.port, settings.topic_prefix) == ("broker.plant", 8883, "plant/hall")
    other = broker_settings(path, **PLAIN)
    assert len({settings.client_id, other.client_id, "box"}) == 3
    assert len(settings.client_id) <= 23


def test_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never from the command line, which every user of the machine can read."""
    monkeypatch.setenv("MQTT_PASSWORD", "hunter2")
    settings = broker_settings(None, **{**PLAIN, "host": "broker.plant", "user": "desk"})
    assert settings.password is not None
    assert settings.password.get_secret_value() == "hunter2"
    assert broker_settings(None, **{**PLAIN, "host": "broker.plant"}).password is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "which broker?"),
        ({"host": "mqtt://broker"}, "watch: host: a host is a name"),
        ({"host": "broker", "prefix": "a/#"}, "watch: topic_prefix: the topic prefix"),
    ],
)
def test_mistakes_are_said(changes: dict[str, str], said: str) -> None:
    """What is wrong, and where."""
    with pytest.raises(ConfigError, match=said):
        broker_settings(None, **{**PLAIN, **changes})


def test_configuration_without_broker_is_said(tmp_path: Path) -> None:
    """The default of a broker on this machine would watch nothing."""
    path = tmp_path / "g.yaml"
    path.write_text("screening: {device: cpu}\n")
    with pytest.raises(ConfigError, match="no section `mqtt`"):
        broker_settings(path, **PLAIN)
