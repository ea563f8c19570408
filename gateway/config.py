"""The configuration: its keys, their defaults and their ranges. `config_file` reads it."""

import ipaddress
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic import ValidationInfo as Info

from gateway.contract.messages import CameraName
from gateway.redaction import SECRET_WORD
from gateway.settings import (
    AdaptationSettings,
    BrokerSettings,
    EvidenceSettings,
    HeaderToken,
    HttpSettings,
    OutboxSettings,
    beside_config,
    file_beside_config,
)

MOST_CAMERAS = 64
_NAME = r"^[a-z0-9_-]{1,64}$"
_Kind = TypeVar("_Kind", bound=BaseModel)


def _bundle_beside_config(bundle: str, info: Info) -> str:
    """Read a bundle's folder like any other path; a name without a slash is a shipped bundle."""
    if "/" in bundle:
        return str(beside_config(Path(bundle), info))
    if not re.fullmatch(_NAME[1:-1], bundle):
        raise ValueError("it is the name of a bundle that comes along, or a folder with a slash")
    return bundle


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class FaceFinderConfig(_Section):
    """How faces are found."""

    model: Annotated[Path, AfterValidator(file_beside_config)] | None = Field(
        default=None, description="ONNX file of the face finder; without it the CenterFace model that comes along."
    )
    min_confidence: float = Field(default=0.5, gt=0, lt=1, description="Least confidence of a face that is looked at.")
    max_per_frame: int = Field(default=16, ge=1, le=256, description="Faces looked at per frame, largest first.")


class DetectConfig(_Section):
    """Which pictures and faces are looked at."""

    fps: float | None = Field(
        default=None,
        gt=0,
        le=240,
        description="Frames looked at per second; without it 5 of a camera and every one of a recording in replay.",
    )
    min_face_px: int = Field(default=24, ge=8, le=4096, description="Least height of a face box, in px of the picture.")
    max_pixels: int = Field(
        default=3840 * 2160,
        ge=64 * 64,
        le=64_000_000,
        description="Largest picture of a camera, width × height; one that sends larger ones is refused.",
    )


class OperatingPoint(_Section):
    """How many false alerts are accepted, of how many passages."""

    alert_budget_per_day: float = Field(
        default=1.0, gt=0, le=100_000, description="False alerts per camera and day that you accept."
    )
    tracks_per_day: float = Field(
        default=1000, gt=0, le=10_000_000, description="Passages a camera sees per day; with the budget it is the rate."
    )


class ScreeningConfig(OperatingPoint):
    """How suspicious a face must be, and where the detector runs."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes the GPU where one works and says what it got."
    )
    batch_size: int = Field(default=32, ge=1, le=512, description="Faces screened in one call of the detector.")
    max_wait_ms: float = Field(default=10, gt=0, le=10_000, description="Longest wait of a face for its batch.")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads of the detector.")


def _split(url: str, example: str) -> SplitResult:
    """Return the parts of a camera's address, whose port is a number that exists.

    Raises:
        ValueError: They cannot be told apart.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"not an address: it looks like {example}") from None
    if port == 0:
        raise ValueError("there is no port 0")
    return parts


def _check_url(url: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError("an address holds no blanks and no backslashes")
    parts = _split(url, "rtsp://host:554/path")
    if parts.scheme not in {"rtsp", "rtsps"}:
        raise ValueError("an address begins with rtsp:// or, encrypted, rtsps://")
    if "@" in parts.netloc:
        raise ValueError("leave user name and password out of it: they have keys of their own, username and password")
    if not parts.hostname:
        raise ValueError("the host is missing: it looks like rtsp://host:554/path")
    if parts.fragment:
        raise ValueError("everything after # would never reach the camera; write %23 for a # of the path")
    return url


def _is_encrypted(info: Info) -> bool | None:
    """Return whether the address beside this key is rtsps:// or https://, or None where it is wrong itself."""
    url = info.data.get("url")
    return None if url is None else url.startswith(("rtsps:", "https:"))


def _check_transport(transport: str, info: Info) -> str:
    if transport == "udp" and _is_encrypted(info):
        raise ValueError("rtsps is encrypted over tcp alone; use rtsp:// for udp")
    return transport


def _check_ca_file(path: Path | None, info: Info) -> Path | None:
    if path is not None and _is_encrypted(info) is False:
        raise ValueError("only rtsps:// and https:// are encrypted; this file would never be used")
    return path


def _check_password(password: SecretStr | None, info: Info) -> SecretStr | None:
    if password is not None and "username" in info.data and info.data["username"] is None:
        raise ValueError("a password needs a username")
    return password


class RtspConfig(_Section):
    """A camera on the network."""

    type: Literal["rtsp"]
    url: Annotated[str, AfterValidator(_check_url)] = Field(
        max_length=2000, description="rtsp:// or rtsps://, without user name and password."
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=256, description="User name, where the camera asks for one."
    )
    password: Annotated[SecretStr | None, AfterValidator(_check_password)] = Field(
        default=None, description="Password of that user."
    )
    transport: Annotated[Literal["tcp", "udp"], AfterValidator(_check_transport)] = Field(
        default="tcp", description="How pictures travel; rtsps is always tcp."
    )
    ca_file: Annotated[Annotated[Path, AfterValidator(file_beside_config)] | None, AfterValidator(_check_ca_file)] = (
        Field(default=None, description="Authority that signed the camera's certificate; default: the system's.")
    )


class FileConfig(_Section):
    """A recording, a folder of pictures, or a v4l2 device (/dev/video0), as a camera."""

    type: Literal["file"]
    path: Annotated[Path, AfterValidator(beside_config)] = Field(description="File, folder or device.")
    loop: bool = Field(default=False, description="Begin again at the end.")


class WhipConfig(_Section):
    """A camera, browser or program that sends to us over WebRTC (WHIP): POST /whip/<camera>."""

    type: Literal["whip"]
    token: HeaderToken = Field(
        min_length=16, max_length=512, description="What the publisher shows as its bearer token."
    )


def _check_whep_url(url: str) -> str:
    parts = _split(url, "https://host:port/path")
    is_plain = not re.search(r"[\s\x00-\x1f\x7f]", url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or not is_plain:
        raise ValueError("it looks like https://host:port/path, without user name and password")
    return url


class WhepConfig(_Section):
    """A camera behind a server from which we pull over WebRTC (WHEP)."""

    type: Literal["whep"]
    url: Annotated[str, AfterValidator(_check_whep_url)] = Field(
        max_length=2000, description="https:// address of the stream; http:// only where nobody can listen."
    )
    token: HeaderToken | None = Field(default=None, max_length=512, description="Bearer token, where it asks for one.")
    ca_file: Annotated[Annotated[Path, AfterValidator(file_beside_config)] | None, AfterValidator(_check_ca_file)] = (
        Field(default=None, description="Authority that signed the server's certificate; default: the system's.")
    )


SourceConfig = Annotated[RtspConfig | WhipConfig | WhepConfig | FileConfig, Field(discriminator="type")]


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ValueError(f"{error}: a network looks like 192.168.7.0/24") from None
    return networks


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    port = r"(:[1-9][0-9]{0,4})?"
    for origin in origins:
        if not re.fullmatch(rf"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\]){port}", origin):
            raise ValueError(f"{origin}: an origin looks as browsers say it, https://studio.example, without a path")
        if re.fullmatch(r"(http:.*:80|https:.*:443)", origin):
            raise ValueError(f"{origin}: as browsers say it, an origin lacks its scheme's own port, :80 or :443")
    return origins


class WebrtcConfig(_Section):
    """WebRTC, for every camera that uses it."""

    allow: Annotated[tuple[str, ...], AfterValidator(_check_networks)] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        min_length=1,
        max_length=64,
        description="Networks that media may come from and go to; others get no packet, whatever an offer names.",
    )
    allow_origins: Annotated[tuple[str, ...], AfterValidator(_check_origins)] = Field(
        default=(),
        max_length=64,
        description="Other sites (https://studio.example) whose pages may publish, with the token.",
    )
    viewers: int = Field(
        default=0, ge=0, le=8, description="How many may watch each camera's live picture over WebRTC at once (WHEP)."
    )


class CameraConfig(_Section):
    """One camera; what it does not say of faces, detect and screening, the sections of these names say."""

    source: SourceConfig
    environment: str = Field(default="default", description="Its group of cameras, a name under environments.")
    enabled: bool = Field(default=True, description="Whether it is watched from the start.")
    faces: FaceFinderConfig = Field(default=FaceFinderConfig(), description="What differs from faces above.")
    detect: DetectConfig = Field(default=DetectConfig(), description="What differs from detect above.")
    screening: OperatingPoint = Field(default=OperatingPoint(), description="What differs from screening above.")


class EnvironmentConfig(_Section):
    """One environment: cameras with the same optical conditions share a detector."""

    bundle: Annotated[str, AfterValidator(_bundle_beside_config)] = Field(
        default="default",
        min_length=1,
        description="A bundle that comes along (wide, the default; paper), or another's folder.",
    )


def _default_environments() -> dict[str, EnvironmentConfig]:
    return {"default": EnvironmentConfig()}


class Config(_Section):
    """Everything an operator can set; without a file all of it has a default."""

    faces: FaceFinderConfig = FaceFinderConfig()
    detect: DetectConfig = DetectConfig()
    screening: ScreeningConfig = ScreeningConfig()
    environments: dict[Annotated[str, StringConstraints(pattern=_NAME)], EnvironmentConfig] = Field(
        default_factory=_default_environments, min_length=1, description="Environments by name."
    )
    cameras: dict[CameraName, CameraConfig] = Field(
        default_factory=dict, max_length=MOST_CAMERAS, description="Cameras by name."
    )
    state_folder: Annotated[Path, AfterValidator(beside_config)] | None = Field(
        default=None,
        description="Where alerts wait for delivery; default: systemd's $STATE_DIRECTORY.",
    )
    outbox: OutboxSettings = OutboxSettings()
    webrtc: WebrtcConfig = WebrtcConfig()
    mqtt: BrokerSettings | None = Field(default=None, description="The MQTT broker that alerts go to.")
    adaptation: AdaptationSettings = AdaptationSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    http: HttpSettings | None = Field(default=None, description="Page, routes for scripts, metrics; off without it.")

    def faces_of(self, camera: str) -> FaceFinderConfig:
        """Return how faces of this camera are found."""
        return _overridden(self.faces, self.cameras[camera].faces)

    def detect_of(self, camera: str) -> DetectConfig:
        """Return which of this camera's pictures and faces are looked at."""
        return _overridden(self.detect, self.cameras[camera].detect)

    def operating_point_of(self, camera: str) -> OperatingPoint:
        """Return how many false alerts are accepted of this camera."""
        return _overridden(self.screening, self.cameras[camera].screening)


def _overridden(general: _Kind, own: BaseModel) -> _Kind:
    """Return the general section with what a camera says itself; a value that equals the default counts as well."""
    return general.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def secrets_of(config: Config) -> frozenset[str]:
    """Return every value of a configuration that must never be shown."""
    return frozenset(secret for secret in _secrets(config) if secret)


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case RtspConfig():
            # Many cameras take a user name and a password in the query.
            yield from (found for key, found in parse_qsl(urlsplit(value.url).query) if SECRET_WORD.search(key))
            yield from _secrets(value.password)
        case BaseModel():
            for key in type(value).model_fields:
                yield from _secrets(getattr(value, key))
        case dict():
            for item in value.values():
                yield from _secrets(item)


def config_schema() -> str:
    """Return the JSON Schema of the configuration file, for editors: the text of `configs/gateway.schema.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps({**schema, "title": "Spectragate gateway"}, indent=2) + "\n"
