"""The settings that the configuration embeds: defaults, refusals, and that secrets stay secret."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.settings import AdaptationSettings, BrokerSettings, HttpSettings, default_client_id


def test_broker_settings_when_nothing_is_given() -> None:
    """The defaults reach a broker on this machine under the product's own prefix."""
    settings = BrokerSettings()

    assert (settings.host, settings.port, settings.protocol) == ("localhost", 1883, "auto")
    assert settings.topic_prefix == "spectragate"
    assert settings.client_id == default_client_id()


@pytest.mark.parametrize(("given", "read"), [(5, "5"), ("5", "5"), ("3.1.1", "3.1.1"), ("auto", "auto")])
def test_protocol_when_yaml_reads_a_number(given: object, read: str) -> None:
    """`protocol: 5` in YAML is a number, and means version 5."""
    assert BrokerSettings.model_validate({"protocol": given}).protocol == read


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "mqtt://broker"},
        {"host": "user@broker"},
        {"host": "broker plant"},
        {"port": 0},
        {"port": 65_536},
        {"protocol": "4"},
        {"protocol": True},
        {"protocol": 3.1},
        {"topic_prefix": "a/#"},
        {"client_id": "a b"},
        {"client_id": ""},
        {"keepalive_s": 0},
        {"user": ""},
        {"password": "without-a-user"},
        {"tls_certfile": "client.pem", "tls_ca_certs": "ca.pem"},
        {"tls_keyfile": "client.key", "tls_ca_certs": "ca.pem"},
        {"tls_certfile": "client.pem", "tls_keyfile": "client.key"},
        {"hots": "broker"},
    ],
    ids=str,
)
def test_broker_settings_when_one_is_wrong(wrong: dict[str, Any]) -> None:
    """Each is refused when the configuration is read, not when the broker is first needed."""
    with pytest.raises(ValidationError):
        BrokerSettings.model_validate(wrong)


def test_password_when_shown() -> None:
    """No representation and no error repeats it."""
    secret = "correct horse battery staple"
    settings = BrokerSettings(user="gw", password=secret)
    with pytest.raises(ValidationError) as refused:
        BrokerSettings.model_validate({"password": secret, "port": secret})

    assert settings.password is not None
    assert settings.password.get_secret_value() == secret
    assert secret not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert secret not in str(refused.value)


def test_client_id_when_made_from_the_machine(tmp_path: Path) -> None:
    """It is stable per machine, does not reveal the machine's id, and fits into 23 characters."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("8d0b3fd5c8e64d4e9a1a1a2f6d1c0f3b\n")
    second.write_text("00000000000000000000000000000000\n")

    assert default_client_id(first) == default_client_id(first)
    assert default_client_id(first) != default_client_id(second)
    assert default_client_id(first).startswith("spectragate-")
    assert len(default_client_id(first)) == 23
    assert "8d0b3fd5" not in default_client_id(first)


def test_client_id_when_the_machine_has_none(tmp_path: Path) -> None:
    """The machine's name stands in."""
    assert len(default_client_id(tmp_path / "missing")) == 23


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"token": "short"},
        {"token": "with a blank in the midst of it"},
        {"token": "0123456789abcdeé"},
        {"token": "0123456789abcdef", "host": "192.0.2.1"},
        {"token": "0123456789abcdef", "host": "box.plant"},
        {"token": "0123456789abcdef", "host": "http://127.0.0.1"},
        {"token": "0123456789abcdef", "tls_certfile": "box.pem"},
        {"token": "0123456789abcdef", "password": "short"},
        {"token": "0123456789abcdef", "port": 65536},
    ],
)
def test_http_settings_when_one_is_wrong(wrong: dict[str, Any]) -> None:
    """No token, a weak one, or one that would travel in the clear: refused, and never repeated."""
    with pytest.raises(ValidationError) as refused:
        HttpSettings.model_validate(wrong)
    assert "0123456789abcdef" not in str(refused.value)


def test_http_settings_when_other_machines_are_served() -> None:
    """By TLS, or where a proxy encrypts and the operator says so; this machine alone needs neither."""
    token = {"token": "0123456789abcdef"}
    assert not HttpSettings.model_validate(token).is_encrypted
    assert HttpSettings.model_validate({**token, "host": "::1"}).port == 8080
    assert HttpSettings.model_validate({**token, "host": "192.0.2.1", "insecure": True}).insecure
    encrypted = {**token, "host": "192.0.2.1", "tls_certfile": "box.pem", "tls_keyfile": "box.key"}
    assert HttpSettings.model_validate(encrypted).is_encrypted


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"upload": "crops"}, "needs legal_basis, trainer and token"),
        ({"trainer": "http://trainer.example"}, "https://"),
        ({"trainer": "https://user@trainer.example"}, "without user"),
        ({"trainer": "https:///"}, "looks like https://trainer.example"),
        ({"token": "short"}, "16"),
    ],
)
def test_adaptation_when_faces_would_leave_without_what_they_need(given: dict[str, str], says: str) -> None:
    """Nothing leaves the box without a ground, an encrypted address and a token."""
    with pytest.raises(ValidationError, match=says):
        AdaptationSettings.model_validate(given)


def test_adaptation_when_nothing_is_said() -> None:
    """Nothing leaves; a trainer on this machine may be without TLS."""
    assert AdaptationSettings().upload == "off"
    assert AdaptationSettings(trainer="http://127.0.0.1:8443/").trainer == "http://127.0.0.1:8443"
