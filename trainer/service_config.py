"""The configuration of the trainer's service: one YAML file, checked whole before anything starts."""

import ipaddress
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from gateway.contract.credentials import find_value

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")
"""As in the gateway's configuration; `$${` stands for `${` itself."""

MAX_CONFIG_BYTES = 64 * 1024


class ServiceConfigError(Exception):
    """The configuration cannot be used; the text names the key and what to do."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpConfig(_Model):
    """Where gateways reach the service."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; others than loopback need TLS.")
    port: int = Field(default=8443, ge=0, le=65535, description="Port; 0 takes a free one and logs it.")
    token: SecretStr = Field(min_length=16, description="Bearer token of the gateways; write ${VARIABLE}.")
    tls_certfile: Path | None = Field(default=None, description="Certificate chain, PEM.")
    tls_keyfile: Path | None = Field(default=None, description="Private key, PEM.")

    @model_validator(mode="after")
    def _encrypted_abroad(self) -> "HttpConfig":
        if (self.tls_certfile is None) != (self.tls_keyfile is None):
            raise ValueError("tls_certfile and tls_keyfile belong together")
        try:
            is_loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            is_loopback = self.host == "localhost"
        if self.tls_certfile is None and not is_loopback:
            raise ValueError("faces travel encrypted: give tls_certfile and tls_keyfile, or listen on 127.0.0.1")
        return self


class JobConfig(_Model):
    """How jobs are run, and what they may take."""

    executor: Literal["local", "ray"] = Field(default="local", description="A child process each, or Ray.")
    ray_address: str | None = Field(default=None, description="Address of a Ray cluster; without it Ray runs here.")
    threads: int = Field(default=2, ge=1, le=64, description="Threads of a job.")
    epochs: int = Field(default=20, ge=1, le=200, description="Epochs of fine-tuning; 20 are the paper's.")
    faces: int = Field(default=500, ge=60, le=5000, description="At most so many faces tune; 500 are the paper's.")
    regime: Literal["authors", "native", "jpeg", "h264"] = Field(
        default="native", description="How faces reach the detector; see `finetune --help`."
    )
    timeout_s: float = Field(default=1800, gt=0, description="A job that takes longer is stopped and tried again.")
    lease_s: float = Field(default=30, gt=0, description="A job whose worker is silent for so long is taken over.")
    attempts: int = Field(default=5, ge=1, le=100, description="A job that failed so often is refused.")


class QuotaConfig(_Model):
    """What one gateway may leave here before its jobs are done."""

    open_sets: int = Field(default=8, ge=1, le=1000, description="Clean sets of a gateway whose job has not ended.")
    set_bytes: int = Field(default=128 << 20, ge=1 << 20, description="Bytes of one clean set.")


class ServiceConfig(_Model):
    """The whole file."""

    folder: Path = Field(description="Folder of jobs, of the database and of the clean sets, unless named below.")
    database: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL, such as postgresql+asyncpg://…; default: SQLite in the folder."
    )
    store: str | None = Field(default=None, description="Where clean sets lie: s3://…, gs://…; default: the folder.")
    faces_key: Path | None = Field(
        default=None,
        description="Keys that faces are sealed with, one a line, newest first; default: `faces.key` in `keys`.",
    )
    base: str = Field(default="wide", description="The signed base: a bundle's folder, or a shipped bundle's name.")
    bases: dict[str, str] = Field(
        default_factory=dict, description="Another base for an environment, by its name; of the profile that it runs."
    )
    reference: Path | None = Field(
        default=None, description="The site's own reference faces; without them every job is refused, and says so."
    )
    keys: Path = Field(description="Folder that `spectragate-trainer keys init` made: online keys and repository.")
    passphrase: SecretStr = Field(description="Passphrase of the online keys; write ${VARIABLE}.")
    environments: tuple[str, ...] = Field(min_length=1, description="Environments that clean sets are taken for.")
    http: HttpConfig
    jobs: JobConfig = JobConfig()
    quota: QuotaConfig = QuotaConfig()

    @model_validator(mode="after")
    def _bases_are_of_environments(self) -> "ServiceConfig":
        unknown = sorted(set(self.bases) - set(self.environments))
        if unknown:
            raise ValueError(f"bases names {', '.join(unknown)}; the environments are {', '.join(self.environments)}")
        return self

    def base_of(self, environment: str) -> str:
        """Return what the bundles of an environment are adapted from."""
        return self.bases.get(environment, self.base)

    @property
    def faces_key_file(self) -> Path:
        """Where the keys of the faces are."""
        return self.faces_key or self.keys / "faces.key"

    @property
    def database_url(self) -> str:
        """Where jobs are kept."""
        return self.database.get_secret_value() if self.database else f"sqlite+aiosqlite:///{self.folder}/jobs.sqlite"


def read_config(path: Path) -> ServiceConfig:
    """Read the file; `${VARIABLE}` or `${VARIABLE:default}` in a text is replaced as in the gateway.

    By a credential, a file in /run/secrets or a variable of the environment.

    Raises:
        ServiceConfigError: The file cannot be read, or keys are wrong, unknown or missing: a line for each.
    """
    try:
        content = path.read_bytes()[: MAX_CONFIG_BYTES + 1]
        if len(content) > MAX_CONFIG_BYTES:
            raise ServiceConfigError(f"{path}: is longer than {MAX_CONFIG_BYTES} bytes")
        value = yaml.safe_load(content)
    except OSError as error:
        raise ServiceConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ServiceConfigError(f"{path}: is not YAML; check the indentation and the quotes") from None
    try:
        return ServiceConfig.model_validate(_filled(value, path))
    except ValidationError as error:
        places = [(".".join(map(str, each["loc"])) or "the file", each["msg"]) for each in error.errors()]
        raise ServiceConfigError("\n".join(f"{path}: {where}: {what}" for where, what in places)) from None


def _filled(value: Any, path: Path) -> Any:
    match value:
        case dict():
            return {key: _filled(each, path) for key, each in value.items()}
        case list():
            return [_filled(each, path) for each in value]
        case str():
            return _VARIABLE.sub(lambda found: _variable(found, path), value)
    return value


def _variable(found: re.Match[str], path: Path) -> str:
    name = found["name"]
    if name is None:
        return "${"
    try:
        value = find_value(name)
    except PermissionError as error:
        raise ServiceConfigError(f"{path}: {error}") from None
    if not value and found["default"] is not None:
        return found["default"]
    if not value:
        where = "$CREDENTIALS_DIRECTORY, /run/secrets and the environment"
        raise ServiceConfigError(f"{path}: ${{{name}}} is not set: there is no value under this name in {where}")
    return value
