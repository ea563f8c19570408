"""The signed repository (TUF) that gateways get their bundles from: what is published is whole, or it is not seen.

Every file is on the disk before the file that names it; `timestamp.json`, renamed last, is what makes the rest visible.
A crash before that leaves files that nothing names, which the next attempt writes anew. Synchronous.
"""

import datetime as dt
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError as TufError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from gateway.contract.bundle import BundleError, open_bundle
from gateway.contract.file_lock import lock_within
from gateway.contract.repository import (
    BUNDLE_FILES,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    METADATA,
    OFFLINE_ROLES,
    TARGETS,
    CurrentBundle,
    base_target,
    bundle_target,
    current_target,
    ending,
    role_of,
)

if TYPE_CHECKING:
    from trainer.keys import OnlineKeys

_Signed = TypeVar("_Signed", Root, Timestamp, Snapshot, Targets)

KEPT_VERSIONS = 5
"""Bundles of an environment that stay published, and versions of metadata that stay on the disk."""

LIFETIME = {
    "root": dt.timedelta(days=365),
    "targets": dt.timedelta(days=365),
    "environment": dt.timedelta(days=90),
    "snapshot": dt.timedelta(days=7),
    "timestamp": dt.timedelta(days=1),
}
"""How long signatures of each role hold; half of it before the end they are renewed, where the key is online."""


LOCK_S = 2.0
"""So long another process may write; a publication takes less, and the watchdog waits seven seconds for all of it."""


class RepositoryError(Exception):
    """The repository cannot be read or written, or must not hold what was to be published."""


class RepositoryHeld(RepositoryError):
    """Another process writes into the repository and does not come to an end; later it may be free."""


@dataclass(frozen=True, slots=True)
class Published:
    """What an environment is to run now; `already` where it was published before."""

    version: int
    sha256: str
    already: bool


class Repository:
    """The repository in one folder, of which one process at a time is the writer."""

    def __init__(self, folder: Path, keys: "OnlineKeys") -> None:
        self._folder = folder
        self._signers: Mapping[str, CryptoSigner] = keys.signers

    def publish(self, bundle_folder: Path, *, environment: str, now: dt.datetime) -> Published:
        """Publish a bundle as the newest of its environment; the one that is the newest already is left as it is.

        Raises:
            RepositoryError: The bundle is damaged, of another environment, without a parent or not newer; there is no
                key for the environment, or the disk takes nothing.
        """
        try:
            bundle = open_bundle(bundle_folder)
            role = role_of(environment)
        except (BundleError, ValueError) as error:
            raise RepositoryError(f"cannot be published: {error}") from None
        manifest, sha256 = bundle.manifest, bundle.identity.sha256
        if manifest.environment != environment or manifest.parent_sha256 is None:
            raise RepositoryError(
                f"{bundle_folder}: is made for {manifest.environment}, parent {manifest.parent_sha256}; "
                f"needed is a child of a signed base for {environment}"
            )
        current = CurrentBundle(environment=environment, version=manifest.version, manifest_sha256=sha256)
        with self._written():
            known = self.current(environment)
            if known == current:
                self._sweep(environment)
                return Published(known.version, sha256, already=True)
            if known is not None and known.version >= manifest.version:
                raise RepositoryError(f"version {manifest.version} is not above {known.version} of {environment}")
            files = {bundle_target(environment, manifest.version, name): bundle_folder / name for name in BUNDLE_FILES}
            contents = {target: path.read_bytes() for target, path in files.items()}
            contents[current_target(environment)] = current.model_dump_json().encode()
            targets = self._targets(role)
            self._add(targets, contents)
            self._commit({role: targets}, now)
            self._sweep(environment)
        return Published(manifest.version, sha256, already=False)

    def release_base(self, bundle_folder: Path, *, signer: CryptoSigner, now: dt.datetime) -> str:
        """Publish the manifest of a base, signed with the offline targets key; return its digest.

        Raises:
            RepositoryError: It is no whole bundle, or the disk takes nothing.
        """
        try:
            sha256 = open_bundle(bundle_folder).identity.sha256
        except BundleError as error:
            raise RepositoryError(str(error)) from None
        with self._written():
            targets = self._targets(Targets.type)
            self._add(targets, {base_target(sha256): (bundle_folder / BUNDLE_FILES[0]).read_bytes()})
            self._commit({Targets.type: targets}, now, {Targets.type: signer})
        return sha256

    def current(self, environment: str) -> CurrentBundle | None:
        """Return the newest bundle of an environment, or None where there is none yet.

        Raises:
            RepositoryError: The repository cannot be read.
        """
        target = self._targets(role_of(environment)).targets.get(current_target(environment))
        if target is None:
            return None
        try:
            return CurrentBundle.model_validate_json(self._target_path(target).read_bytes())
        except (OSError, ValidationError) as error:
            raise RepositoryError(f"{target.path}: cannot be read: {error}") from None

    def next_version(self, environment: str) -> int:
        """Return the version that the next bundle of an environment is to have."""
        known = self.current(environment)
        return 1 if known is None else known.version + 1

    def refresh(self, now: dt.datetime) -> bool:
        """Sign again what has used up half of its time; return whether anything had to be.

        Raises:
            RepositoryError: The repository cannot be read or written.
        """
        with self._written():
            roles = [role for role in self._signers if role.startswith("environment-")]
            old = {role: targets for role in roles if _is_old(targets := self._targets(role), role, now)}
            if not old and not _is_old(self._timestamp(), "timestamp", now):
                return False
            self._commit(old, now)
            return True

    def ending(self, now: dt.datetime) -> str | None:
        """Return in words which signatures of offline roles end soon; None where none does.

        Raises:
            RepositoryError: The repository cannot be read.
        """
        return ending({role: self.expires(role) for role in OFFLINE_ROLES}, now)

    def expires(self, role: str) -> dt.datetime:
        """Return until when the newest signature of a role holds.

        Raises:
            RepositoryError: There is none.
        """
        match role:
            case Root.type:
                return self.newest_root().signed.expires
            case Timestamp.type:
                return self._timestamp().expires
            case Snapshot.type:
                return self._snapshot().expires
        return self._targets(role).expires

    def commit_root(self, root: Metadata[Root], changed: Mapping[str, Targets], now: dt.datetime, **extra: Any) -> None:
        """Write a new root, already signed, and everything below it anew; `extra` names signers by role.

        Raises:
            RepositoryError: The disk takes nothing.
        """
        with self._written():
            self._write(self._folder / METADATA / f"{root.signed.version}.root.json", root.to_bytes())
            self._commit(changed, now, extra)

    def targets_of(self, role: str) -> Targets:
        """Return what a role signed, as it is visible now."""
        return self._targets(role)

    def newest_root(self) -> Metadata[Root]:
        """Return the newest root.

        Raises:
            RepositoryError: There is none.
        """
        roots = {int(path.name.split(".")[0]): path for path in (self._folder / METADATA).glob("*.root.json")}
        if not roots:
            raise RepositoryError(f"{self._folder}: holds no repository; `spectragate-trainer keys init` makes one")
        return self._read(roots[max(roots)], Root)

    def _add(self, targets: Targets, contents: Mapping[str, bytes]) -> None:
        """Write target files and name them; versions that are too old are named no longer."""
        for name, content in contents.items():
            target = TargetFile.from_data(name, content, ["sha256"])
            self._write(self._target_path(target), content)
            targets.targets[name] = target
        gone = sorted(_versions(targets), key=int)[:-KEPT_VERSIONS]
        for name in [name for name in targets.targets if name.count("/") == 3 and name.split("/")[2] in gone]:
            del targets.targets[name]

    def _sweep(self, environment: str) -> None:
        """Erase the versions that are named no longer, also what a crash left of earlier times."""
        named = _versions(self._targets(role_of(environment)))
        for path in sorted((self._folder / TARGETS / "environments" / environment).iterdir()):
            if path.is_dir() and path.name not in named:
                shutil.rmtree(path, ignore_errors=True)

    def _commit(
        self, changed: Mapping[str, Targets], now: dt.datetime, extra: Mapping[str, CryptoSigner] | None = None
    ) -> None:
        signers = {**self._signers, **(extra or {})}
        timestamp, snapshot = self._timestamp(), self._snapshot()
        for role, targets in changed.items():
            targets.version += 1
            content = self._signed(targets, role, now, signers)
            _bounded(role, content, MAX_TARGETS_BYTES)
            snapshot.meta[f"{role}.json"] = MetaFile.from_data(targets.version, content, ["sha256"])
        snapshot.version += 1
        content = self._signed(snapshot, Snapshot.type, now, signers)
        _bounded(Snapshot.type, content, MAX_SNAPSHOT_BYTES)
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, content, ["sha256"])
        self._signed(timestamp, Timestamp.type, now, signers)
        for role in (*changed, Snapshot.type):
            self._prune(role)

    def _signed(
        self, signed: Targets | Snapshot | Timestamp, role: str, now: dt.datetime, signers: Mapping[str, CryptoSigner]
    ) -> bytes:
        """Sign, write and return a role's metadata."""
        signer = signers.get(role)
        if signer is None:
            raise RepositoryError(f"there is no key for {role}; `spectragate-trainer keys rotate {role}` makes one")
        signed.expires = (now + LIFETIME[role.split("-", maxsplit=1)[0]]).replace(microsecond=0)
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        content = metadata.to_bytes()
        name = "timestamp.json" if role == Timestamp.type else f"{signed.version}.{role}.json"
        self._write(self._folder / METADATA / name, content)
        return content

    def _prune(self, role: str) -> None:
        found = {int(path.name.split(".")[0]): path for path in (self._folder / METADATA).glob(f"*.{role}.json")}
        for version in sorted(found)[: -2 * KEPT_VERSIONS]:
            found[version].unlink()

    def _timestamp(self) -> Timestamp:
        path = self._folder / METADATA / "timestamp.json"
        return self._read(path, Timestamp).signed if path.exists() else _unwritten(Timestamp())

    def _snapshot(self) -> Snapshot:
        timestamp = self._timestamp()
        if timestamp.version == 0:
            return _unwritten(Snapshot(meta={}))
        return self._read(self._folder / METADATA / f"{timestamp.snapshot_meta.version}.snapshot.json", Snapshot).signed

    def _targets(self, role: str) -> Targets:
        named = self._snapshot().meta.get(f"{role}.json")
        if named is None:
            return empty_targets()
        return self._read(self._folder / METADATA / f"{named.version}.{role}.json", Targets).signed

    def _target_path(self, target: TargetFile) -> Path:
        folder, _, name = target.path.rpartition("/")
        return self._folder / TARGETS / folder / f"{target.hashes['sha256']}.{name}"

    def _read(self, path: Path, kind: type[_Signed]) -> Metadata[_Signed]:
        try:
            metadata = Metadata.from_bytes(path.read_bytes())
        except (OSError, TufError) as error:
            raise RepositoryError(f"{path}: cannot be read: {error}") from None
        if not isinstance(metadata.signed, kind):
            raise RepositoryError(f"{path}: is no {kind.__name__.lower()}")
        return metadata

    def _write(self, path: Path, content: bytes) -> None:
        fresh = path.with_name(f"{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            fresh.replace(path)
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise RepositoryError(f"{path}: cannot be written: {error.strerror}") from None

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RepositoryError(f"{self._folder}: cannot be written: {error.strerror}") from None
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if not lock_within(descriptor, LOCK_S):
            raise RepositoryHeld(
                f"{self._folder}: another process has been writing into it for {LOCK_S:g} s; see whether a "
                "`spectragate-trainer keys` or a second `serve` hangs, then try again"
            )


def empty_targets() -> Targets:
    """Return what a role signs before it has signed anything."""
    return _unwritten(Targets())


def _versions(targets: Targets) -> frozenset[str]:
    """Return the versions that are named, of environments/<environment>/<version>/<file>."""
    return frozenset(name.split("/")[2] for name in targets.targets if name.count("/") == 3)


def _unwritten(signed: _Signed) -> _Signed:
    signed.version = 0  # the first that is written is 1
    return signed


def _is_old(signed: Targets | Timestamp, role: str, now: dt.datetime) -> bool:
    return signed.version > 0 and signed.expires - now < LIFETIME[role.split("-", maxsplit=1)[0]] / 2


def _bounded(role: str, content: bytes, most_bytes: int) -> None:
    if len(content) > most_bytes:
        raise RepositoryError(f"the metadata of {role} would have {len(content)} bytes; gateways take {most_bytes}")
