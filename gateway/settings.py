"""Settings that the configuration embeds and that lower parts take: one model per subject."""

import hashlib
import platform
import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic import ValidationInfo as Info

from gateway.contract.credentials import is_readable_by_everybody
from gateway.contract.topics import check_prefix

MACHINE_ID = Path("/etc/machine-id")

COMMANDS_PER_MINUTE = 60
"""So many commands are obeyed over MQTT, and as many over HTTP."""


def default_client_id(machine_id: Path = MACHINE_ID) -> str:
    """Return the product's name and a hash of the machine's id: 23 characters, what every MQTT 3.1.1 broker takes."""
    try:
        identity = machine_id.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        identity = platform.node()
    return "spectragate-" + hashlib.sha256(b"spectragate:" + identity.encode()).hexdigest()[:11]


def beside_config(path: Path, info: Info) -> Path:
    """Read a relative path from the folder of the configuration file, wherever the program was started.

    Raises:
        ValueError: It starts in the home of a user who does not exist, or holds what no path can.
    """
    if "\0" in str(path):
        raise ValueError("a path holds no NUL character")
    try:
        return Path((info.context or {}).get("folder", "."), path.expanduser())
    except RuntimeError:
        raise ValueError("there is no home folder of this name") from None


def file_beside_config(path: Path, info: Info) -> Path:
    """Read a path as `beside_config`, and refuse one that is no file where it comes from a configuration file.

    Raises:
        ValueError: There is no such file.
    """
    whole = beside_config(path, info)
    if "folder" in (info.context or {}) and not whole.is_file():
        raise ValueError(f"there is no file {whole}")
    return whole


def _key_file_beside_config(path: Path, info: Info) -> Path:
    whole = file_beside_config(path, info)
    if "folder" in (info.context or {}) and is_readable_by_everybody(whole):
        raise ValueError(f"every user of this machine can read this key: chmod o= {whole}")
    return whole


def _check_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]*", token.get_secret_value()):
        raise ValueError("a token is made of visible ASCII characters, without blanks and line breaks")
    return token


HeaderToken = Annotated[SecretStr, AfterValidator(_check_token)]
"""A secret that stands in an HTTP header as it is; one that cannot is refused here, not by whom it is shown to."""


def _check_host(host: str) -> str:
    if not host or re.search(r"[\s/@\[\]]", host):
        raise ValueError("a host is a name or an address alone, without mqtt://, user, brackets or port")
    return host


def _protocol_as_text(protocol: object) -> object:
    # YAML reads `protocol: 5` as a number.
    return "5" if protocol == 5 and not isinstance(protocol, bool) else protocol


class HomeAssistantSettings(BaseModel):
    """Whether Home Assistant is told what there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="Announce the cameras as devices by MQTT discovery.")
    discovery_prefix: Annotated[str, AfterValidator(check_prefix)] = Field(
        default="homeassistant", description="Where Home Assistant listens for announcements."
    )


class FloodSettings(BaseModel):
    """When a camera's alerts are too many to be sent one by one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    burst: int = Field(default=60, ge=1, le=100_000, description="New alerts of a camera that may come at once.")
    per_minute: float = Field(default=60, gt=0, le=100_000, description="New alerts of a camera a minute after that.")
    summary_s: float = Field(
        default=30, ge=1, le=3600, description="How long those beyond it gather until one message tells of them."
    )


class BrokerSettings(BaseModel):
    """How the MQTT broker is reached. TLS is on when `tls_ca_certs` is given."""

    # Errors must not repeat what was given: it may be the password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, AfterValidator(_check_host)] = "localhost"
    port: int = Field(default=1883, ge=1, le=65_535)
    protocol: Annotated[Literal["auto", "5", "3.1.1"], BeforeValidator(_protocol_as_text)] = "auto"
    topic_prefix: Annotated[str, AfterValidator(check_prefix)] = "spectragate"
    client_id: str = Field(default_factory=default_client_id, pattern=r"^[A-Za-z0-9_.-]+$", max_length=64)
    user: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    tls_ca_certs: Annotated[Path, AfterValidator(file_beside_config)] | None = None
    tls_certfile: Annotated[Path, AfterValidator(file_beside_config)] | None = None
    tls_keyfile: Annotated[Path, AfterValidator(_key_file_beside_config)] | None = None
    keepalive_s: int = Field(default=20, ge=1, le=3600)
    stats_interval: int = Field(default=60, ge=1, le=86_400)
    verdicts: bool = Field(default=False, description="Publish every finished track, clean ones too.")
    commands: bool = Field(default=False, description="Obey switches and feedback that come over MQTT.")
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    flood: FloodSettings = FloodSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.password is not None and self.user is None:
            raise ValueError("a password needs a user")
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile belong together: give both or none")
        if self.tls_certfile is not None and self.tls_ca_certs is None:
            raise ValueError("a client certificate needs tls_ca_certs: the certificate of the broker's authority")
        return self


class OutboxSettings(BaseModel):
    """How much of what was published, or still waits, is kept on the disk."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    max_bytes: int = Field(
        default=64 * 2**20, ge=2**16, le=2**40, description="Most that messages may take; the least important go first."
    )
    retention_hours: float = Field(
        default=168.0, ge=0, le=87_600, description="How long delivered alerts can still be asked for again."
    )
    reserve_bytes: int = Field(
        default=16 * 2**20, ge=0, le=2**30, description="Space kept free for the day the disk is full."
    )


LOOPBACK = ("127.0.0.1", "::1", "localhost")


class HttpSettings(BaseModel):
    """Where the page, the routes for scripts and the metrics are served, and to whom."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: Annotated[str, AfterValidator(_check_host)] = Field(
        default="127.0.0.1", description="Address that is listened on; another than this machine's own needs TLS."
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="Port; 0 takes a free one and says which.")
    token: HeaderToken = Field(
        min_length=16, max_length=256, description="What scripts show as bearer token, at least 16 characters."
    )
    password: SecretStr | None = Field(
        default=None, min_length=8, max_length=256, description="What people log in with; default: the token."
    )
    tls_certfile: Annotated[Path, AfterValidator(file_beside_config)] | None = Field(
        default=None, description="Certificate that is shown, with its chain; given, everything is encrypted."
    )
    tls_keyfile: Annotated[Path, AfterValidator(_key_file_beside_config)] | None = Field(
        default=None, description="The certificate's private key."
    )
    insecure: bool = Field(
        default=False, description="Serve other machines without TLS, where a proxy before the box encrypts."
    )

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls_certfile is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile belong together: give both or none")
        if self.host not in LOOPBACK and not self.is_encrypted and not self.insecure:
            raise ValueError(
                "other machines would send the token in the clear: give tls_certfile and tls_keyfile, "
                "or insecure: true where a proxy encrypts"
            )
        return self


def _check_trainer(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("faces leave the box encrypted alone: an address that begins with https://")
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("an address looks like https://trainer.example:8443, without user, ? and #")
    return url.rstrip("/")


def _check_repository(address: str, info: Info) -> str:
    if address.startswith("https://"):
        return address
    if "://" in address:
        raise ValueError("it begins with https://, or is a folder")
    return str(beside_config(Path(address), info))


class EvidenceSettings(BaseModel):
    """What is kept of an alert beside its numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    explanations: bool = Field(
        default=False, description="Keep an alert's most suspicious face, encrypted, until it is explained on demand."
    )
    keep_days: float = Field(default=7, gt=0, le=365, description="Faces and explanations older than this are erased.")


class AdaptationSettings(BaseModel):
    """What the box gives to have its detector adapted to a changed place, and how it takes what comes of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    upload: Literal["off", "crops"] = Field(
        default="off",
        description="crops keeps clean faces of a drifted place, encrypted, and sends them to the trainer.",
    )
    legal_basis: str | None = Field(
        default=None, min_length=3, max_length=200, description="On what ground faces may be sent; needed with crops."
    )
    trainer: Annotated[str, AfterValidator(_check_trainer)] | None = Field(
        default=None, description="Address of the trainer's service, https://."
    )
    token: HeaderToken | None = Field(
        default=None, min_length=16, description="What the trainer's service and repository ask for."
    )
    ca_file: Annotated[Path, AfterValidator(file_beside_config)] | None = Field(
        default=None, description="Authority that signed the trainer's certificate; default: the system's."
    )

    repository: Annotated[str, AfterValidator(_check_repository)] | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Signed repository of bundles: https:// address or a folder; null: bundles stay.",
    )
    root: Annotated[Path, AfterValidator(file_beside_config)] | None = Field(
        default=None,
        description="Root metadata that the site trusts (1.root.json); what it does not vouch for is never installed.",
    )
    poll_s: float = Field(default=300.0, ge=1.0, le=86_400.0, description="How often new bundles are looked for.")
    trial_faces: int = Field(
        default=2000,
        ge=32,
        le=1_000_000,
        description="Faces a new bundle is tried on, before it judges and again after.",
    )
    trial_s: float = Field(default=600.0, ge=1.0, le=86_400.0, description="Longest time of each of these trials.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.upload == "crops" and None in (self.legal_basis, self.trainer, self.token):
            raise ValueError("upload: crops needs legal_basis, trainer and token")
        if (self.repository is None) != (self.root is None):
            raise ValueError("repository and root go together: bundles are only taken where a root vouches for them")
        return self
