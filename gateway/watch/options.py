"""Which broker to subscribe at: from the gateway's configuration, or from the command line."""

import os
from pathlib import Path

from pydantic import SecretStr, ValidationError

from gateway.config_file import load_config
from gateway.errors import ConfigError
from gateway.redaction import hide
from gateway.settings import BrokerSettings
from gateway.watch.subscriber import new_client_id

PASSWORD_VARIABLE = "MQTT_PASSWORD"  # noqa: S105 (its name, not its value)


def broker_settings(
    config: Path | None, *, host: str | None, port: int, prefix: str, user: str | None, ca: Path | None
) -> BrokerSettings:
    """Return how the broker is reached, under a client id of this subscriber's own.

    Raises:
        ConfigError: Neither or both are given, or something in them is wrong.
    """
    if (config is None) == (host is None):
        raise ConfigError(
            "watch: which broker? Give --host BROKER, or the gateway's configuration with its section mqtt (-c FILE)"
            if config is None
            else "watch: -c FILE already names the broker: leave --host out, or -c"
        )
    if config is not None:
        broker = load_config(config).mqtt
        if broker is None:
            raise ConfigError(f"{config}: has no section `mqtt` that names a broker")
        return broker.model_copy(update={"client_id": new_client_id()})
    password = os.environ.get(PASSWORD_VARIABLE) if user is not None else None
    hide([password or ""])
    try:
        return BrokerSettings(
            host=host or "",
            port=port,
            topic_prefix=prefix,
            client_id=new_client_id(),
            user=user,
            password=SecretStr(password) if password else None,
            tls_ca_certs=ca,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"watch: {first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}") from None
