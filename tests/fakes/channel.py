"""Bundles for environments, made from one drawn bundle by changing its manifest alone, as cheap as a file copy."""

import hashlib
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from fakes.bundles import write_drawn_bundle

from gateway.contract.bundle import MANIFEST_NAME, Bundle
from gateway.contract.repository import BUNDLE_FILES
from gateway.models.shipped import SHIPPED_SHA256, resolve_bundle

BASE_SHA256 = SHIPPED_SHA256["paper"]


@cache
def _drawn() -> MappingProxyType[str, bytes]:
    with TemporaryDirectory() as folder:
        write_drawn_bundle(Path(folder) / "drawn")
        return MappingProxyType({name: (Path(folder) / "drawn" / name).read_bytes() for name in BUNDLE_FILES})


def adapted(version: int, *, environment: str = "indoor", **changes: object) -> dict[str, bytes]:
    """Return the files of a whole bundle for an environment, a child of the shipped one."""
    files = dict(_drawn())
    facts = {"version": version, "environment": environment, "parent_sha256": BASE_SHA256, **changes}
    files[MANIFEST_NAME] = json.dumps(json.loads(files[MANIFEST_NAME]) | facts).encode()
    return files


def digest_of(files: dict[str, bytes]) -> str:
    """Return the identity of a bundle."""
    return hashlib.sha256(files[MANIFEST_NAME]).hexdigest()


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a bundle's folder and return it."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def factory_bundle(_environment: str) -> Bundle:
    """Return the shipped bundle."""
    return resolve_bundle("paper")
