"""The configuration: its keys, and a loader that names every mistake at once with file, line and key."""

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError
from pydantic import ValidationInfo as Info

from gateway.contract.messages import CameraName
from gateway.errors import ConfigError
from gateway.settings import BrokerSettings
from gateway.strict_yaml import Document, KeyPath, Problem, Value, parse, plain_value

RUN_SECRETS = Path("/run/secrets")
MAX_SECRET_BYTES = 65_536
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")
_SECRET_KEY = re.compile(r"password|token|secret|key$", re.IGNORECASE)
_NAME = r"^[a-z0-9_-]+$"

Lookup = Callable[[str], str | None]
"""Finds the value of a `${NAME}`, or None."""


def _beside_config(path: Path, info: Info) -> Path:
    """Read a relative path from the folder of the configuration file, wherever the program was started."""
    return Path((info.context or {}).get("folder", "."), path.expanduser())


def _file_beside_config(path: Path, info: Info) -> Path:
    whole = _beside_config(path, info)
    if not whole.is_file():
        raise ValueError(f"there is no file {whole}")
    return whole


def _bundle_beside_config(bundle: str, info: Info) -> str:
    """Read a bundle's folder like any other path; a name without a slash is a shipped bundle."""
    return str(_beside_config(Path(bundle), info)) if "/" in bundle else bundle


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class FaceFinderConfig(_Section):
    """How faces are found."""

    model: Annotated[Path, AfterValidator(_file_beside_config)] | None = Field(
        default=None, description="ONNX file of the face finder; without it the CenterFace model that comes along."
    )
    min_confidence: float = Field(default=0.5, gt=0, lt=1, description="Least confidence of a face that is looked at.")
    max_per_frame: int = Field(default=16, ge=1, le=256, description="Faces looked at per frame, largest first.")


class DetectConfig(_Section):
    """Which pictures and faces are looked at."""

    fps: float | None = Field(
        default=None, gt=0, le=240, description="Frames looked at per second; without it every frame of a recording."
    )
    min_face_px: int = Field(default=24, ge=8, le=4096, description="Least height of a face box, in px of the picture.")


class ScreeningConfig(_Section):
    """How suspicious a face must be, and where the detector runs."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes the GPU where one works and says what it got."
    )
    alert_budget_per_day: float = Field(
        default=1.0, gt=0, le=100_000, description="False alerts per camera and day that you accept."
    )
    tracks_per_day: float = Field(
        default=1000, gt=0, le=10_000_000, description="Passages a camera sees per day; with the budget it is the rate."
    )
    batch_size: int = Field(default=32, ge=1, le=512, description="Faces screened in one call of the detector.")
    max_wait_ms: float = Field(default=40, gt=0, le=10_000, description="Longest wait of a face for its batch.")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads of the detector.")


class RtspConfig(_Section):
    """A camera on the network."""

    type: Literal["rtsp"]
    url: str = Field(description="rtsp:// or rtsps://, without user name and password.")
    username: str | None = Field(default=None, min_length=1, description="User name, where the camera asks for one.")
    password: SecretStr | None = Field(default=None, description="Password of that user.")
    transport: Literal["tcp", "udp"] = Field(default="tcp", description="How pictures travel; rtsps is always tcp.")
    ca_file: Annotated[Path, AfterValidator(_file_beside_config)] | None = Field(
        default=None, description="Authority that signed the camera's certificate (rtsps); default: the system's."
    )


class FileConfig(_Section):
    """A recording, a folder of pictures, or a v4l2 device (/dev/video0), as a camera."""

    type: Literal["file"]
    path: Annotated[Path, AfterValidator(_beside_config)] = Field(description="File, folder or device.")
    loop: bool = Field(default=False, description="Begin again at the end.")


SourceConfig = Annotated[RtspConfig | FileConfig, Field(discriminator="type")]


class CameraConfig(_Section):
    """One camera; what it does not say of faces, detect and screening, the sections of these names say."""

    source: SourceConfig
    environment: str = Field(default="default", description="Its group of cameras, a name under environments.")
    enabled: bool = Field(default=True, description="Whether it is watched from the start.")


class EnvironmentConfig(_Section):
    """One environment: cameras with the same optical conditions share a detector."""

    bundle: Annotated[str, AfterValidator(_bundle_beside_config)] = Field(
        default="paper", min_length=1, description="Name of a bundle that comes along, or the folder of another."
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
    cameras: dict[CameraName, CameraConfig] = Field(default_factory=dict, description="Cameras by name.")
    state_folder: Annotated[Path, AfterValidator(_beside_config)] | None = Field(
        default=None,
        description="Where alerts wait for delivery; default: systemd's $STATE_DIRECTORY.",
    )
    mqtt: BrokerSettings | None = Field(default=None, description="The MQTT broker that alerts go to.")


def find_value(name: str, *, environ: Mapping[str, str] = os.environ, run_secrets: Path = RUN_SECRETS) -> str | None:
    """Return the value of a `${NAME}`: a file in `$CREDENTIALS_DIRECTORY`, then in /run/secrets, then the environment.

    A newline at the end of a file is not part of the value.
    """
    folders = [Path(environ["CREDENTIALS_DIRECTORY"])] if environ.get("CREDENTIALS_DIRECTORY") else []
    for folder in (*folders, run_secrets):
        try:
            with (folder / name).open("rb") as file:
                return file.read(MAX_SECRET_BYTES).decode("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError):
            continue
    return environ.get(name)


def load_config(path: Path, *, lookup: Lookup = find_value) -> Config:
    """Return the configuration of a file.

    Raises:
        ConfigError: The file cannot be read or anything in it is wrong; one line per mistake.
    """
    return read_config(path, lookup=lookup)[0]


def read_config(path: Path, *, lookup: Lookup = find_value) -> tuple[Config, Document]:
    """Return the configuration of a file with its document, which knows the lines.

    Raises:
        ConfigError: As `load_config`.
    """
    try:
        document = parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    problems = list(document.problems)
    expansion = _Expansion(document, lookup, problems)
    value = expansion.expand(document.value, ())
    try:
        config = _validate(value, expansion.whole, folder=path.parent)
    except ValidationError as error:
        problems += _problems_of(error, document, expansion, reported={problem.path for problem in problems})
        config = Config()
    if problems:
        raise ConfigError("\n".join(describe(path, problem) for problem in sorted(problems, key=lambda p: p.line)))
    return config, document


def describe(path: Path, problem: Problem) -> str:
    """Return one line for the operator: `file:line: key.path: reason`."""
    key = ".".join(str(part) for part in problem.path)
    return f"{path}:{problem.line}: {key + ': ' if key else ''}{problem.reason}"


class _Expansion:
    """Replaces `${NAME}` in a document: `touched` are the paths that held one, `whole` those that are one, unquoted."""

    def __init__(self, document: Document, lookup: Lookup, problems: list[Problem]) -> None:
        self._document, self._lookup, self._problems = document, lookup, problems
        self.touched: set[KeyPath] = set()
        self.whole: set[KeyPath] = set()

    def expand(self, value: Value, path: KeyPath) -> Value:
        match value:
            case dict():
                return {key: self.expand(item, (*path, key)) for key, item in value.items()}
            case list():
                return [self.expand(item, (*path, index)) for index, item in enumerate(value)]
            case str() if "${" in value:
                self.touched.add(path)
                if path in self._document.unquoted and _VARIABLE.fullmatch(value):
                    self.whole.add(path)
                return _VARIABLE.sub(lambda match: self._replace(match, path), value)
        return value

    def _replace(self, match: re.Match[str], path: KeyPath) -> str:
        if match["name"] is None:
            return "${"
        found = self._lookup(match["name"])
        if found is None:
            found = match["default"]
        if found is None:
            where = "$CREDENTIALS_DIRECTORY, /run/secrets and the environment"
            reason = f"${{{match['name']}}}: no value under this name in {where}"
            self._problems.append(Problem(self._document.line_of(path), path, reason))
            return ""
        return found


def _validate(value: Value, whole: set[KeyPath], *, folder: Path) -> Config:
    """Validate strictly: text is never read as a number, but where an unquoted `${NAME}` stands for one."""
    context = {"folder": folder}
    try:
        return Config.model_validate_json(json.dumps(value), strict=True, context=context)
    except ValidationError as error:
        numbers = {e["loc"] for e in error.errors() if e["type"] in {"int_type", "float_type", "bool_type"}} & whole
        if not numbers:
            raise
        return Config.model_validate_json(json.dumps(_as_plain(value, numbers)), strict=True, context=context)


def _as_plain(value: Value, paths: set[KeyPath], path: KeyPath = ()) -> Value:
    match value:
        case dict():
            return {key: _as_plain(item, paths, (*path, key)) for key, item in value.items()}
        case list():
            return [_as_plain(item, paths, (*path, index)) for index, item in enumerate(value)]
        case str() if path in paths:
            return plain_value(value)
    return value


def _problems_of(
    error: ValidationError, document: Document, expansion: _Expansion, *, reported: set[KeyPath]
) -> Iterator[Problem]:
    """Turn pydantic's errors into lines an operator can act on; those of keys already reported are left out."""
    for item in error.errors(include_url=False):
        path: KeyPath = tuple(part for part in item["loc"] if part != "[key]")
        if path in reported:
            continue
        yield Problem(document.line_of(path), path, _reason(item, path, document, expansion))


def _reason(item: Any, path: KeyPath, document: Document, expansion: _Expansion) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "unknown key" + _suggest(str(path[-1]), _keys_at(Config, path[:-1]))
        case "missing":
            return "this key is needed"
        case "string_pattern_mismatch" if "[key]" in item["loc"]:
            return "a name is made of a-z, 0-9, _ and -"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if item["type"] in {"model_type", "dict_type"}:
        message = "must be a section with keys of its own"
    return f"{_shown(_value_at(document.value, path), path, expansion)}: {message}"


def _shown(value: Value, path: KeyPath, expansion: _Expansion) -> str:
    """Return a value as it may be printed: short, and never a secret."""
    if path in expansion.touched or any(_SECRET_KEY.search(str(part)) for part in path):
        return "***"
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


def _suggest(given: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys that the section at a path knows."""
    kinds: tuple[Any, ...] = (model,)
    for part in path:
        kinds = tuple(kind for above in kinds for kind in _below(above, part))
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [key for section in sections for key in section.model_fields]


def _below(kind: Any, part: str | int) -> tuple[Any, ...]:
    """Return the types that may stand at one step below a type: a field's, or those of a mapping's values."""
    if get_origin(kind) is dict:
        return (get_args(kind)[1],)
    field = kind.model_fields.get(str(part)) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    annotation = field.annotation if field else None
    return (annotation,) if get_origin(annotation) is dict else get_args(annotation) or (annotation,)


def _value_at(value: Value, path: KeyPath) -> Value:
    for part in path:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def config_schema() -> str:
    """Return the JSON Schema of the configuration file, for editors: the text of `configs/gateway.schema.json`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
    return json.dumps({**schema, "title": "Spectragate gateway"}, indent=2) + "\n"
