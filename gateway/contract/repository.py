"""How bundles lie in a signed repository (TUF): names of roles and targets, and the most that any file may hold.

A bundle of an environment is the target files `environments/<environment>/<version>/<file>`, signed by the online role
of that environment; `environments/<environment>/current.json` names the newest. A base release is
`bases/<manifest digest>/<file>`, signed by the offline targets key alone.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.contract.bundle import MANIFEST_NAME, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, Sha256

METADATA = "metadata"
TARGETS = "targets"
"""The two folders of a repository, on disk and in its address."""

MAX_ROOT_BYTES = 64 * 1024
MAX_TIMESTAMP_BYTES = 4 * 1024
MAX_SNAPSHOT_BYTES = 64 * 1024
MAX_TARGETS_BYTES = 64 * 1024
MAX_CURRENT_BYTES = 1024
MAX_ROOT_ROTATIONS = 64
MAX_DELEGATIONS = 3

OFFLINE_ROLES = ("root", "targets")
"""What no program signs by itself: people with the offline keys have to."""

EXPIRY_WARNING = dt.timedelta(days=30)
"""So long before their signatures end it is said."""

BUNDLE_FILES = (MANIFEST_NAME, *MAX_FILE_BYTES)
"""The files of a published bundle."""

_ENVIRONMENT = r"^[a-z0-9_-]{1,64}$"
EnvironmentName = Annotated[str, StringConstraints(pattern=_ENVIRONMENT)]


class CurrentBundle(BaseModel):
    """What an environment is to run now; the content of its `current.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    environment: EnvironmentName
    version: int = Field(ge=1, le=2**31)
    manifest_sha256: Sha256


def ending(expires: Mapping[str, dt.datetime], now: dt.datetime) -> str | None:
    """Return in words which signatures of offline roles end soon or have ended; None where none does."""
    near = {role: expires[role] for role in OFFLINE_ROLES if expires[role] - now < EXPIRY_WARNING}
    if not near:
        return None
    dates = " and ".join(f"{role} until {time:%Y-%m-%d}" for role, time in near.items())
    return (
        f"signatures hold no longer than: {dates}; `spectragate-trainer keys renew` renews them, with the offline keys"
    )


def role_of(environment: str) -> str:
    """Return the name of the online role that signs an environment's bundles.

    Raises:
        ValueError: It is not the name of an environment.
    """
    return f"environment-{_checked(environment)}"


def current_target(environment: str) -> str:
    """Return the target that names the newest bundle of an environment."""
    return f"environments/{_checked(environment)}/current.json"


def bundle_target(environment: str, version: int, name: str) -> str:
    """Return the target of one file of a bundle."""
    return f"environments/{_checked(environment)}/{version}/{name}"


def delegated_paths(environment: str) -> list[str]:
    """Return the patterns of all that an environment's role may sign."""
    return [f"environments/{_checked(environment)}/current.json", f"environments/{_checked(environment)}/*/*"]


def base_target(manifest_sha256: str) -> str:
    """Return the target that proves that a bundle is a signed base: its manifest, under its own digest."""
    return f"bases/{manifest_sha256}/{MANIFEST_NAME}"


def most_bytes(file_name: str) -> int:
    """Return the most that a target file of this name may hold; 0 where there is no such file."""
    sizes = {MANIFEST_NAME: MAX_MANIFEST_BYTES, "current.json": MAX_CURRENT_BYTES, **MAX_FILE_BYTES}
    return sizes.get(file_name, 0)


def _checked(environment: str) -> str:
    if not re.fullmatch(_ENVIRONMENT[1:-1], environment):
        raise ValueError(f"{environment!r} is no name of an environment: small letters, digits, - and _")
    return environment
