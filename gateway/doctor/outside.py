"""Checks of what is outside: the broker, and each camera through a worker of its own."""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from gateway.cameras.jobs import CameraJob, RtspSource
from gateway.cameras.link import open_source
from gateway.delivery.tls import tls_context
from gateway.doctor.findings import Finding, failed, fine, warning
from gateway.errors import ConfigError, SourceError, SourceReason
from gateway.settings import BrokerSettings
from gateway.values import ClockSource, FrameFaces, SourceEnded, SourceOpened

BROKER_S = 5.0
CLOCK_S = 6.0
"""Cameras that tell their clock do so about every five seconds."""

ADVICE = {
    SourceReason.AUTH: "check username and password of this camera",
    SourceReason.CODEC: "let the camera send H.264, H.265 or MJPEG",
    SourceReason.NO_VIDEO: "the address leads to a stream without pictures: check its path",
    SourceReason.NOT_FOUND: "check the path of the address, or of the file",
    SourceReason.REFUSED: "check host and port of the address, and that the camera is on",
    SourceReason.TIMEOUT: "check host and port of the address, and that the camera is on",
    SourceReason.UNREACHABLE: "check the host of the address and the network",
    SourceReason.TLS: "check ca_file, and that the host is a name in the camera's certificate",
    SourceReason.TOO_LARGE: "choose a smaller stream of this camera, or raise detect.max_pixels",
    SourceReason.TRANSPORT: "set transport to the other of tcp and udp",
}
_ADVICE_ELSE = "look at the picture with another player; if that works, report it"


@dataclass(slots=True)
class _Heard:
    """What the broker answered so far."""

    connected: ReasonCode | None = None
    subscribed: list[ReasonCode] = field(default_factory=list)
    published: ReasonCode | None = None


def broker(settings: BrokerSettings) -> Finding:
    """Connect as the gateway does, but under a name of its own, and see whether its topics are allowed."""
    where = f"{settings.host}:{settings.port}"
    versions = {"auto": ("5", "3.1.1")}.get(settings.protocol, (settings.protocol,))
    problem = ""
    for version in versions:
        try:
            heard = _Conversation(settings, version).hold()
        except (OSError, ValueError) as error:
            text = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else _plain(error)
            advice = "check mqtt.host, mqtt.port, the mqtt.tls_ keys, and that the broker runs"
            return failed("broker", f"{where} cannot be reached: {text}", advice)
        if heard.connected is not None and not heard.connected.is_failure:
            return _of_topics(heard, settings, f"{where} speaks MQTT {version}{_and_tls(settings)}")
        problem = f"it refuses: {heard.connected}" if heard.connected else "it takes connections but does not answer"
    return failed("broker", f"{where}: {problem}", "check mqtt.user, mqtt.password, mqtt.protocol and the tls_ keys")


def _plain(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _and_tls(settings: BrokerSettings) -> str:
    return " over TLS" if settings.tls_ca_certs is not None else ""


def _of_topics(heard: _Heard, settings: BrokerSettings, found: str) -> Finding:
    prefix = settings.topic_prefix
    if heard.published is None or heard.published.is_failure:
        advice = f"let this user write {prefix}/#"
        return failed("broker", f"{found}, but takes no message below {prefix}/: {heard.published}", advice)
    if not heard.subscribed or any(code.is_failure for code in heard.subscribed):
        advice = f"let this user read {prefix}/#, or replays cannot be asked for"
        return warning("broker", f"{found}, but does not let us read {prefix}/alerts/replay", advice)
    return fine("broker", f"{found}; topics below {prefix}/ are allowed")


class _Conversation:
    """CONNECT, one SUBSCRIBE, one PUBLISH of nothing on a topic that nobody uses, DISCONNECT."""

    def __init__(self, settings: BrokerSettings, version: str) -> None:
        protocol = MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311
        name = f"{settings.client_id[:56]}-doctor"
        self._settings = settings
        self._heard = _Heard()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, reconnect_on_failure=False
        )
        self._client.connect_timeout = BROKER_S
        if settings.user is not None:
            secret = settings.password.get_secret_value() if settings.password is not None else None
            self._client.username_pw_set(settings.user, secret)
        if settings.tls_ca_certs is not None:
            self._client.tls_set_context(tls_context(settings))
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish

    def hold(self) -> _Heard:
        """Return what was answered, each answer waited for `BROKER_S`.

        Raises:
            OSError: The broker cannot be reached, or TLS fails.
            ValueError: The address is none.
        """
        heard, client, prefix = self._heard, self._client, self._settings.topic_prefix
        client.connect(self._settings.host, self._settings.port, keepalive=20)
        self._wait(lambda: heard.connected is not None)
        if heard.connected is not None and not heard.connected.is_failure:
            client.subscribe(f"{prefix}/alerts/replay", qos=1)
            self._wait(lambda: bool(heard.subscribed))
            client.publish(f"{prefix}/doctor", b"", qos=1)
            self._wait(lambda: heard.published is not None)
        client.disconnect()
        client.loop_misc()
        return heard

    def _wait(self, answered: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + BROKER_S
        while not answered() and time.monotonic() < deadline_s:
            if self._client.loop(timeout=0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return

    def _on_connect(self, _client: object, _data: object, _flags: object, code: ReasonCode, _details: object) -> None:
        self._heard.connected = code

    def _on_subscribe(
        self, _client: object, _data: object, _mid: int, codes: list[ReasonCode], _details: object
    ) -> None:
        self._heard.subscribed = codes

    def _on_publish(self, _client: object, _data: object, _mid: int, code: ReasonCode, _details: object) -> None:
        self._heard.published = code


async def camera(job: CameraJob) -> Finding:
    """Open a camera as the gateway does, look at its first pictures, and see what clock it has."""
    name = f"camera {job.camera}"
    clock_within_s = CLOCK_S if isinstance(job.source, RtspSource) else 0.0
    try:
        async with open_source(job) as events:
            opened, clock, until_s = None, None, float("inf")
            async for event in events:
                match event:
                    case SourceOpened():
                        opened, until_s = event, time.monotonic() + clock_within_s
                    case FrameFaces():
                        clock = event.clock_source
                    case SourceEnded():
                        break
                if clock is not None and (clock is not ClockSource.ARRIVAL or time.monotonic() > until_s):
                    break
    except SourceError as error:
        return failed(name, f"{error.reason}: {error}", ADVICE.get(error.reason, _ADVICE_ELSE))
    except ConfigError as error:
        return failed(name, str(error), "correct the configuration")
    if opened is None or clock is None:
        return failed(name, "it opens but shows no picture", _ADVICE_ELSE)
    size = f"{opened.width_px}x{opened.height_px}"
    return fine(name, f"{opened.codec} {size} at {opened.fps:g} fps, clock: {_CLOCKS[clock]}")


_CLOCKS = {
    ClockSource.RTCP_NTP: "the camera's own",
    ClockSource.ARRIVAL: "this machine's, for the camera tells none",
    ClockSource.FILE_PTS: "the recording's",
}


async def in_turn(job: CameraJob, turn: asyncio.Semaphore) -> Finding:
    """Do `camera` when fewer others are looked at than the processor can start at a time."""
    async with turn:
        return await camera(job)
