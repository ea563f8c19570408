"""What goes over a connection and how a connection ends, in words of ours."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Version = Literal["5", "3.1.1"]

CHECK_ADDRESS = "mqtt.host, mqtt.port, and that the broker runs"
CHECK_LOGIN = "mqtt.user and mqtt.password, and what the broker allows this user"
CHECK_TLS = "mqtt.tls_ca_certs, and that mqtt.host is a name in the broker's certificate"
CHECK_LISTENER = "mqtt.port, mqtt.protocol, and whether this port speaks TLS (mqtt.tls_ca_certs, mqtt.tls_certfile)"
CHECK_BROKER = "the broker's log"
CHECK_TWIN = "whether another program uses the same mqtt.client_id"


class LinkReason(StrEnum):
    """Why there is no connection, as a word for rules."""

    ACL = "acl"
    AUTH = "auth"
    CLIENT_ID = "client_id"
    LOST = "lost"
    NAME = "name"
    PROTOCOL = "protocol"
    REFUSED = "refused"
    SILENT = "silent"
    TAKEN_OVER = "taken_over"
    TIMEOUT = "timeout"
    TLS = "tls"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish; `number` is how its acknowledgement names it. QoS 0 is never acknowledged."""

    number: int
    topic: str
    payload: bytes
    retain: bool = False
    content_type: str = ""
    qos: Literal[0, 1] = 1


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that came in for one of our subscriptions."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """Why there is no connection, what the operator should look at, and whether the other version may do better."""

    reason: str
    check: str
    try_other_version: bool = False
    code: LinkReason = LinkReason.LOST


@dataclass(frozen=True, slots=True)
class Terms:
    """What a connection is opened with. A `will_topic` gets the retained will `offline`."""

    version: Version
    connect_timeout_s: float
    will_topic: str | None = None
    subscriptions: tuple[str, ...] = ()


_BY_CODE = {
    0x84: ("mqtt.protocol", LinkReason.PROTOCOL),
    0x85: ("mqtt.client_id", LinkReason.CLIENT_ID),
    0x86: (CHECK_LOGIN, LinkReason.AUTH),
    0x87: (CHECK_LOGIN, LinkReason.AUTH),
    0x8C: (CHECK_LOGIN, LinkReason.AUTH),
    0x8E: (CHECK_TWIN, LinkReason.TAKEN_OVER),
}


def explain_code(value: int, *, otherwise: LinkReason) -> tuple[str, LinkReason]:
    """Return what to look at for a reason code of MQTT 5, and its word."""
    return _BY_CODE.get(value, (CHECK_BROKER, otherwise))
