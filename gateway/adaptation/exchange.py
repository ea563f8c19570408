"""The gateway's end of the signed channel (TUF): which bundle an environment is to run, and its files, once believed.

python-tuf verifies; here are the bounds, the clock, what survives a torn cache, and what a bundle must be beyond its
signature. An expired or withheld repository stops installs and nothing else. Synchronous: for a thread.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
)
from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from gateway.adaptation.disk import DISK, Disk, replace_file
from gateway.adaptation.fetcher import FILE_S, FolderFetcher, HttpsFetcher
from gateway.adaptation.slots import Slots
from gateway.contract.bundle import MANIFEST_NAME, BundleError, Manifest, Sha256
from gateway.contract.repository import (
    BUNDLE_FILES,
    MAX_DELEGATIONS,
    MAX_ROOT_BYTES,
    MAX_ROOT_ROTATIONS,
    MAX_SNAPSHOT_BYTES,
    MAX_TARGETS_BYTES,
    MAX_TIMESTAMP_BYTES,
    METADATA,
    TARGETS,
    CurrentBundle,
    base_target,
    bundle_target,
    current_target,
    ending,
    most_bytes,
    role_of,
)
from gateway.errors import ExchangeError, ExchangeReason, StorageError
from gateway.models.shipped import SHIPPED_SHA256

REFUSALS = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Channel:
    """Where bundles come from: an https:// address or a folder, and the root that the site trusts.

    A file may take `file_s` seconds.
    """

    url: str
    root: bytes
    ca_file: Path | None = None
    token: SecretStr | None = None
    file_s: float = FILE_S


@dataclass(frozen=True, slots=True)
class Offer:
    """A bundle that the repository names as the newest of an environment."""

    environment: str
    version: int
    sha256: Sha256


class _Floor(BaseModel):
    """The latest time and the highest versions that were ever believed, under which keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time_s: float = 0.0
    keys: str = ""
    versions: dict[str, int] = Field(default_factory=dict, max_length=256)


class _ClockedUpdater(Updater):
    """python-tuf's client, with a clock that is given to it and a look at what it believes."""

    def __init__(self, *args: Any, at: dt.datetime, **options: Any) -> None:
        super().__init__(*args, **options)
        self._trusted_set.reference_time = at

    def ending(self, now: dt.datetime) -> str | None:
        """Return in words which signatures will soon have to be renewed by hand; None where none has."""
        trusted = self._trusted_set
        return ending({Root.type: trusted.root.expires, Targets.type: trusted.targets.expires}, now)

    def believed(self, roles: Iterable[str]) -> tuple[Root, dict[str, int]]:
        """Return the root, and the versions of timestamp, snapshot and these roles that are trusted now."""
        trusted = self._trusted_set
        named = {role: trusted.snapshot.meta.get(f"{role}.json") for role in roles}
        return trusted.root, {
            Timestamp.type: trusted.timestamp.version,
            Snapshot.type: trusted.snapshot.version,
            **{role: found.version for role, found in named.items() if found is not None},
        }


class Exchange:
    """The channel of one gateway; `folder` keeps metadata and floors, `now` is the clock (UTC)."""

    def __init__(self, channel: Channel, folder: Path, *, now: Callable[[], dt.datetime], disk: Disk = DISK) -> None:
        self._channel = channel
        self._folder = folder
        self._now = now
        self._disk = disk
        self.ending: str | None = None
        """Which signatures will soon have to be renewed by hand, in words, as of the last look."""

    def newest(self, environment: str) -> Offer | None:
        """Ask the repository which bundle an environment is to run; None where it has none.

        Raises:
            ExchangeError: It cannot be reached, or cannot be believed.
            StorageError: The disk takes nothing.
        """
        updater = self._refreshed(environment)
        target = _target(updater, current_target(environment))
        if target is None:
            return None
        content = self._download(updater, target)
        try:
            current = CurrentBundle.model_validate_json(content)
        except ValidationError:
            raise _invalid(f"{target.path} does not say what a gateway understands") from None
        if current.environment != environment:
            raise _invalid(f"{target.path} speaks of {current.environment}")
        return Offer(environment, current.version, current.manifest_sha256)

    def fetch(self, offer: Offer) -> dict[str, bytes]:
        """Return the files of an offered bundle, each as it was signed, once its parent was found to be a signed base.

        Raises:
            ExchangeError: They cannot be had, or cannot be believed.
            BundleError: They are no child of a signed base.
        """
        updater = self._refreshed(offer.environment)
        files = {}
        for name in BUNDLE_FILES:
            path = bundle_target(offer.environment, offer.version, name)
            target = _target(updater, path)
            if target is None:
                raise _invalid(f"the repository names version {offer.version} but does not hold its {name}")
            files[name] = self._download(updater, target)
        parent = _manifest(files).parent_sha256
        if parent not in SHIPPED_SHA256.values() and not _is_base(updater, parent):
            raise BundleError(f"bundle {offer.sha256[:12]}…: its parent is no signed base")
        return files

    def _refreshed(self, environment: str) -> _ClockedUpdater:
        """Return a client whose every piece of metadata is fresh, signed, and not older than what was believed."""
        floor = self._floor()
        at = max(self._now(), dt.datetime.fromtimestamp(floor.time_s, dt.UTC))
        metadata = self._folder / METADATA
        try:
            self._disk.make_folder(metadata)
        except OSError as error:
            raise StorageError(f"{metadata}: cannot be made: {error.strerror}. Check the disk") from None
        fetcher, url = self._fetcher()
        updater: _ClockedUpdater = _asked(
            lambda: _ClockedUpdater(
                str(metadata),
                f"{url}/{METADATA}/",
                target_base_url=f"{url}/{TARGETS}/",
                fetcher=fetcher,
                config=_config(),
                bootstrap=self._channel.root,
                at=at,
            )
        )
        _asked(updater.refresh)
        _target(updater, current_target(environment))
        self._believe(updater, (Targets.type, role_of(environment)), floor, at)
        self.ending = updater.ending(at)
        return updater

    def _believe(self, updater: _ClockedUpdater, roles: Iterable[str], floor: _Floor, at: dt.datetime) -> None:
        """Compare versions with the floors and raise them; keys that the root replaced begin anew.

        Raises:
            ExchangeError: Something is older than what was believed once.
        """
        root, versions = updater.believed(roles)
        keys = " ".join(sorted(keyid for role in (Timestamp.type, Snapshot.type) for keyid in root.roles[role].keyids))
        known = {} if keys != floor.keys else floor.versions
        older = sorted(role for role, version in versions.items() if version < known.get(role, 0))
        if older or root.version < floor.versions.get(Root.type, 0):
            raise _invalid(f"the repository goes back: {', '.join(older) or Root.type} is older than it was")
        raised = _Floor(time_s=at.timestamp(), keys=keys, versions=known | versions | {Root.type: root.version})
        if raised.versions == floor.versions and keys == floor.keys and raised.time_s - floor.time_s < 60:
            return
        try:
            replace_file(self._disk, self._folder / "floor.json", raised.model_dump_json().encode())
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written: {error.strerror}. Check the disk") from None

    def _floor(self) -> _Floor:
        try:
            return _Floor.model_validate_json((self._folder / "floor.json").read_bytes())
        except (OSError, ValidationError):
            return _Floor()

    def _fetcher(self) -> tuple[FetcherInterface, str]:
        channel = self._channel
        url = channel.url.rstrip("/")
        if url.startswith("https://"):
            try:
                return HttpsFetcher(ca_file=channel.ca_file, token=channel.token, file_s=channel.file_s), url
            except OSError as error:  # no such file, or nothing that is a certificate
                text = f"adaptation.ca_file: {channel.ca_file} cannot be used: {error.strerror}"
                raise ExchangeError(text, ExchangeReason.REFUSED) from None
        if "://" in url:
            raise ExchangeError("the repository is an https:// address or a folder", ExchangeReason.REFUSED)
        return FolderFetcher(), Path(url).absolute().as_uri()

    def _download(self, updater: _ClockedUpdater, target: TargetFile) -> bytes:
        """Return a target's bytes, bounded before it is asked for."""
        most = most_bytes(target.path.rpartition("/")[2])
        if target.length > most:
            raise ExchangeError(f"{target.path}: {target.length} bytes; at most {most}", ExchangeReason.TOO_LARGE)
        try:
            with TemporaryDirectory(dir=self._folder) as folder:
                path = Path(folder) / "target"
                _asked(lambda: updater.download_target(target, str(path)))
                return path.read_bytes()
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be written: {error.strerror}. Check the disk") from None


def admit(files: Mapping[str, bytes], offer: Offer, slots: Slots) -> Manifest:
    """Check what a bundle must be before its weights are looked at: the one offered, of its environment, newer, wanted.

    Raises:
        BundleError: It is not; the text says why.
    """
    manifest = _manifest(files)
    short = f"bundle {offer.sha256[:12]}…"
    if offer.sha256 in slots.denied:
        raise BundleError(f"{short} was denied here: {slots.denied[offer.sha256]}")
    if slots.pinned is not None and slots.pinned != offer.sha256:
        raise BundleError(f"{short} is not the one that the operator pinned, {slots.pinned[:12]}")
    if manifest.environment != offer.environment or manifest.version != offer.version:
        raise BundleError(f"{short} is version {manifest.version} for {manifest.environment}, not the one offered")
    if manifest.version <= slots.floor_version and offer.sha256 != slots.active:
        raise BundleError(f"{short} has version {manifest.version}; {slots.floor_version} was active here already")
    return manifest


def _manifest(files: Mapping[str, bytes]) -> Manifest:
    try:
        return Manifest.model_validate_json(files[MANIFEST_NAME])
    except (KeyError, ValidationError) as error:
        raise BundleError(f"its manifest cannot be read: {error}") from None


def _target(updater: _ClockedUpdater, path: str) -> TargetFile | None:
    target: TargetFile | None = _asked(lambda: updater.get_targetinfo(path))
    return target


def _is_base(updater: _ClockedUpdater, sha256: str | None) -> bool:
    """Return whether the offline targets key signed this manifest; no online role may sign under that name."""
    if sha256 is None:
        return False
    target = _target(updater, base_target(sha256))
    return target is not None and target.hashes.get("sha256") == sha256


def _config() -> UpdaterConfig:
    return UpdaterConfig(
        max_root_rotations=MAX_ROOT_ROTATIONS,
        max_delegations=MAX_DELEGATIONS,
        root_max_length=MAX_ROOT_BYTES,
        timestamp_max_length=MAX_TIMESTAMP_BYTES,
        snapshot_max_length=MAX_SNAPSHOT_BYTES,
        targets_max_length=MAX_TARGETS_BYTES,
    )


def _invalid(text: str) -> ExchangeError:
    return ExchangeError(text, ExchangeReason.INVALID)


def _asked(ask: Callable[[], Any]) -> Any:
    """Return what python-tuf answers, its errors as ours."""
    try:
        return ask()
    except ExpiredMetadataError as error:
        raise ExchangeError(f"the repository's signatures have expired: {error}", ExchangeReason.EXPIRED) from None
    except DownloadLengthMismatchError as error:
        raise ExchangeError(f"a file is longer than it may be: {error}", ExchangeReason.TOO_LARGE) from None
    except DownloadHTTPError as error:
        reason = ExchangeReason.REFUSED if error.status_code in REFUSALS else ExchangeReason.UNREACHABLE
        raise ExchangeError(f"the repository answers {error.status_code}: {error}", reason) from None
    except DownloadError as error:
        raise ExchangeError(f"the repository cannot be reached: {error}", ExchangeReason.UNREACHABLE) from None
    except RepositoryError as error:
        raise _invalid(f"the repository cannot be believed: {error}") from None
    except OSError as error:
        raise StorageError(f"metadata cannot be stored: {error.strerror}. Check the disk") from None
