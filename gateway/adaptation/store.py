"""Bundles on the disk, by the digest of their manifest, and the slots that name them; whole after any crash.

`objects/<digest>/` holds the files of a bundle and is renamed into place when all of them are on the disk;
`environments/<name>.json` and its copy `<name>.copy.json` hold the slots and are written last. Every load checks every
byte. Synchronous: for a thread, never for the event loop.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.adaptation.disk import DISK, Disk, replace_file
from gateway.adaptation.slots import MOST_DENIED, MOST_STARTS, Slots
from gateway.contract.bundle import MANIFEST_NAME, Bundle, BundleError, Sha256, open_bundle
from gateway.contract.file_lock import lock_within
from gateway.contract.repository import BUNDLE_FILES, EnvironmentName
from gateway.errors import StorageError

KEPT_VERSIONS = 4
"""Bundles of an environment that stay although no slot names them: what an operator may pin."""

MAX_SLOTS_BYTES = 128 * 1024
LOCK_S = 10.0
"""A process that was stopped while it changes the store holds others up no longer."""

Slot = Literal["active", "previous", "factory"]


class _Record(BaseModel):
    """The slots of an environment as a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    environment: EnvironmentName
    generation: int = Field(ge=1)
    active: Sha256 | None
    previous: Sha256 | None
    floor_version: int = Field(ge=0, le=2**31)
    denied: Annotated[dict[Sha256, str], Field(max_length=MOST_DENIED)]
    pinned: Sha256 | Literal["factory"] | None
    probation: bool
    starts_s: Annotated[tuple[float, ...], Field(max_length=MOST_STARTS)]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked bundle, the slot it came from, and what was wrong with the slots before it, in words."""

    bundle: Bundle
    slot: Slot
    faults: tuple[str, ...] = ()


class BundleStore:
    """The bundles of all environments in one folder; `factory` returns the one that an environment always has."""

    def __init__(self, folder: Path, *, factory: Callable[[str], Bundle], disk: Disk = DISK) -> None:
        self._folder = folder
        self._objects = folder / "objects"
        self._environments = folder / "environments"
        self._factory = factory
        self._disk = disk

    def slots(self, environment: str) -> Slots:
        """Return what the disk says of an environment now; where both copies are damaged, the factory's."""
        return self._read(environment)[0]

    def written(self, environment: str) -> Slots | None:
        """Return what the disk says of an environment now, or None where it says nothing that can be believed."""
        slots, generation = self._read(environment)
        return slots if generation else None

    def change(self, environment: str, step: Callable[[Slots], Slots]) -> Slots:
        """Apply a pure step to an environment's slots; when this returns, the result survives a power cut.

        Raises:
            StorageError: The disk takes nothing.
            BundleError: The step refuses.
        """
        with self._held():
            slots, generation = self._read(environment)
            after = step(slots)
            if after != slots:
                self._write(environment, after, generation + 1)
            return after

    def stage(self, environment: str, files: Mapping[str, bytes]) -> Bundle:
        """Put a bundle's files on the disk and return it, checked; it does not run before `activated` says so.

        Raises:
            BundleError: The files are not a whole bundle of this environment, or unfit for this gateway.
            StorageError: The disk takes nothing.
        """
        if set(files) != set(BUNDLE_FILES):
            raise BundleError(f"a bundle has the files {', '.join(BUNDLE_FILES)}, not {', '.join(sorted(files))}")
        sha256 = hashlib.sha256(files[MANIFEST_NAME]).hexdigest()
        with self._held():
            try:
                bundle = self.open(sha256)
            except BundleError:
                bundle = self._place(sha256, files)
        if bundle.manifest.environment != environment:
            raise BundleError(f"bundle {sha256[:12]}… is made for {bundle.manifest.environment}, not {environment}")
        self.check_profile(environment, bundle)
        return bundle

    def open(self, sha256: str) -> Bundle:
        """Return a bundle whose every byte has just been checked.

        Raises:
            BundleError: It is not here, or no longer what it was.
        """
        return open_bundle(self._objects / sha256, expected_sha256=sha256)

    def load(self, environment: str, slots: Slots | None = None) -> Loaded:
        """Return what the environment is to run: the active bundle, else the one before, else the factory's.

        A bundle of another profile than the factory's is passed over: which profile an environment runs is chosen in
        its configuration alone. `slots` are those on the disk unless others are given.

        Raises:
            BundleError: Even the factory's is damaged.
        """
        slots = self.slots(environment) if slots is None else slots
        faults = []
        wanted: tuple[tuple[Slot, str | None], ...] = (("active", slots.active), ("previous", slots.previous))
        for slot, sha256 in wanted:
            if sha256 is None:
                if slot == "active":
                    break
                continue
            if sha256 in slots.denied:
                faults.append(f"{slot}: bundle {sha256[:12]}… was denied: {slots.denied[sha256]}")
                continue
            try:
                bundle = self.open(sha256)
                self.check_profile(environment, bundle)
            except BundleError as error:
                faults.append(f"{slot}: {error}")
                continue
            return Loaded(bundle, slot, tuple(faults))
        return Loaded(self._factory(environment), "factory", tuple(faults))

    def check_profile(self, environment: str, bundle: Bundle) -> None:
        """Check that a bundle is of the profile that the environment's configuration chose.

        Raises:
            BundleError: It is of another.
        """
        try:
            wanted = self._factory(environment).identity.profile
        except BundleError:
            return  # a damaged factory's bundle is no reason to give up the one that works
        if bundle.identity.profile != wanted:
            raise BundleError(
                f"bundle {bundle.identity.sha256[:12]}… is of the profile {bundle.identity.profile!r} and the "
                f"configuration names a bundle of {wanted!r}: to change the profile, change environments.{environment}"
            )

    def held(self, environment: str) -> tuple[Bundle, ...]:
        """Return the whole bundles of an environment that lie here, oldest version first."""
        return tuple(bundle for bundle in self._whole() if bundle.manifest.environment == environment)

    def choose(self, environment: str, version: int | None, *, check: Callable[[Bundle], None]) -> Bundle | None:
        """Run a version that lies here and take no other, once `check` took it; None: take new ones again.

        Raises:
            BundleError: No such version lies here, it is of another profile, it was denied, or `check` refuses.
            StorageError: The disk takes nothing.
        """
        if version is None:
            self.change(environment, lambda slots: slots.with_pin(None))
            return None
        wanted = [bundle for bundle in self.held(environment) if bundle.manifest.version == version]
        if not wanted:
            raise BundleError(f"no version {version} of {environment} lies here; `model list` shows those that do")
        self.check_profile(environment, wanted[-1])
        check(wanted[-1])
        sha256 = wanted[-1].identity.sha256
        self.change(environment, lambda slots: slots.activated(sha256, version).with_pin(sha256))
        return wanted[-1]

    def factory(self, environment: str) -> Bundle:
        """Return the bundle that an environment always has.

        Raises:
            BundleError: It is damaged.
        """
        return self._factory(environment)

    @property
    def slots_folder(self) -> Path:
        """Where every change of any slots shows."""
        return self._environments

    def sweep(self) -> int:
        """Remove what was never finished, is damaged or is not needed any more; return how many folders went.

        What an environment may want stays, also where the configuration does not name it now: its slots are kept too.

        Raises:
            StorageError: The disk takes nothing.
        """
        needed: set[str] = set()
        with self._held():
            whole = self._whole()
            for environment in {bundle.manifest.environment for bundle in whole}:
                slots = self.slots(environment)
                fit = [bundle.identity.sha256 for bundle in whole if bundle.manifest.environment == environment]
                fit = [sha256 for sha256 in fit if sha256 not in slots.denied][-KEPT_VERSIONS:]
                needed |= {found for found in (slots.active, slots.previous, slots.pinned, *fit) if found}
            gone = [folder for folder in self._folders() if folder.name not in needed]
            try:
                for folder in gone:
                    self._discard(folder)
            except OSError as error:
                raise _cannot(self._objects, error) from error
        return len(gone)

    def _whole(self) -> list[Bundle]:
        """Return the whole bundles of all environments, oldest version first."""
        whole = []
        for folder in self._folders():
            with suppress(BundleError):
                whole.append(self.open(folder.name))
        return sorted(whole, key=lambda bundle: bundle.manifest.version)

    def _place(self, sha256: str, files: Mapping[str, bytes]) -> Bundle:
        fresh = self._objects / f"new-{secrets.token_hex(8)}"
        try:
            self._disk.make_folder(fresh)
            for name, content in files.items():
                self._disk.write(fresh / name, content)
            self._disk.sync_folder(fresh)
            try:
                open_bundle(fresh, expected_sha256=sha256)
            except BundleError:
                self._discard(fresh)
                raise
            target = self._objects / sha256
            if target.exists():  # damaged, or it would have opened
                self._discard(target)
            self._disk.rename(fresh, target)
            self._disk.sync_folder(self._objects)
        except OSError as error:
            raise _cannot(self._objects, error) from error
        return self.open(sha256)

    def _discard(self, folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            self._disk.remove(path)
        self._disk.remove(folder)

    def _folders(self) -> list[Path]:
        return sorted(path for path in self._objects.glob("*") if path.is_dir() and not path.is_symlink())

    def _paths(self, environment: str) -> tuple[Path, Path]:
        return self._environments / f"{environment}.json", self._environments / f"{environment}.copy.json"

    def _read(self, environment: str) -> tuple[Slots, int]:
        records = [record for path in self._paths(environment) if (record := _record(path, environment))]
        if not records:
            return Slots(), 0
        newest = max(records, key=lambda record: record.generation)
        return Slots(**newest.model_dump(exclude={"environment", "generation"})), newest.generation

    def _write(self, environment: str, slots: Slots, generation: int) -> None:
        record = _Record(environment=environment, generation=generation, **asdict(slots)).model_dump_json().encode()
        content = hashlib.sha256(record).hexdigest().encode() + b"\n" + record
        try:
            for path in self._paths(environment):
                replace_file(self._disk, path, content)
        except OSError as error:
            raise _cannot(self._environments, error) from error

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes, the command line beside the gateway, from changing the store meanwhile."""
        try:
            for folder in (self._folder, self._objects, self._environments):
                self._disk.make_folder(folder)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _cannot(self._folder, error) from error
        try:
            self._lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        if not lock_within(descriptor, LOCK_S):
            raise StorageError(
                f"{self._folder}: another process held it for {LOCK_S:g} s; see what `spectragate model` does"
            )


def _record(path: Path, environment: str) -> _Record | None:
    """Return the slots in a file, or None where there are none, or not one bit more can be believed."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, _, body = content.partition(b"\n")
    if len(content) > MAX_SLOTS_BYTES or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    try:
        record = _Record.model_validate_json(body)
    except ValidationError:
        return None
    return record if record.environment == environment else None


def _cannot(folder: Path, error: OSError) -> StorageError:
    return StorageError(f"{folder}: bundles cannot be stored: {error.strerror}. Check the disk and who owns the folder")
