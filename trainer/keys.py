"""The keys of a repository: made, kept encrypted in two folders, and replaced.

`offline/` holds three root keys, of which two must sign, and the targets key that signs base releases and says who may
sign for an environment; it belongs on a medium in a safe. `online/` holds what the trainer needs every day.
"""

import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from gateway.contract.repository import delegated_paths, role_of
from trainer.repository import LIFETIME, Repository, RepositoryError, empty_targets

ROOT_KEYS = ("root-1", "root-2", "root-3")
ROOT_THRESHOLD = 2
ONLINE_ROLES = ("snapshot", "timestamp")
LEAST_PASSPHRASE = 12


@dataclass(frozen=True, slots=True)
class OnlineKeys:
    """The signers of the roles that the trainer signs for by itself, by role."""

    signers: Mapping[str, CryptoSigner]

    @classmethod
    def load(cls, folder: Path, passphrase: str) -> Self:
        """Decrypt the keys in a folder.

        Raises:
            RepositoryError: There are none, or the passphrase is not theirs.
        """
        return cls(_load_all(folder, passphrase))


def init_keys(folder: Path, *, passphrase: str, environments: Iterable[str], now: dt.datetime) -> Path:
    """Make all keys and the first, empty repository; return the root's file, which every gateway is to get.

    Raises:
        RepositoryError: There are keys already, the passphrase is too short, or a name is no environment's.
    """
    if len(passphrase) < LEAST_PASSPHRASE:
        raise RepositoryError(f"the passphrase needs at least {LEAST_PASSPHRASE} characters")
    if (folder / "offline").exists() or (folder / "online").exists():
        raise RepositoryError(f"{folder}: holds keys already; `keys rotate` replaces one")
    try:
        roles = [role_of(environment) for environment in environments]
    except ValueError as error:
        raise RepositoryError(str(error)) from None
    offline = {name: _make(folder / "offline" / f"{name}.pem", passphrase) for name in (*ROOT_KEYS, "targets")}
    online = {name: _make(folder / "online" / f"{name}.pem", passphrase) for name in (*ONLINE_ROLES, *roles)}
    root = Root(consistent_snapshot=True)
    for name in ROOT_KEYS:
        root.add_key(offline[name].public_key, "root")
    root.roles["root"].threshold = ROOT_THRESHOLD
    for role in ("targets", *ONLINE_ROLES):
        root.add_key((offline | online)[role].public_key, role)
    targets = empty_targets()
    for role in roles:
        _delegate(targets, role, online[role])
    repository = Repository(folder / "repository", OnlineKeys(MappingProxyType(online)))
    changed = {"targets": targets, **{role: empty_targets() for role in roles}}
    signed = _signed_root(root, [offline[name] for name in ROOT_KEYS], now)
    repository.commit_root(signed, changed, now, targets=offline["targets"])
    return folder / "repository" / "metadata" / "1.root.json"


def rotate_key(folder: Path, role: str, *, passphrase: str, now: dt.datetime) -> None:
    """Replace the key of a role, a root key (`root-1`…) or an environment's, and sign everything it concerns anew.

    An environment (`environment-<name>`) that has no key yet gets its first. Gateways follow by themselves: a new root
    carries the signatures of two keys of the old one.

    Raises:
        RepositoryError: There is no such role, a key is missing, or the passphrase is not theirs.
    """
    offline, online = _load_all(folder / "offline", passphrase), _load_all(folder / "online", passphrase)
    repository = Repository(folder / "repository", OnlineKeys(MappingProxyType(online)))
    root = repository.newest_root().signed
    signers = [offline[name] for name in ROOT_KEYS if name in offline]
    if role not in {*ROOT_KEYS, "targets", *ONLINE_ROLES} and not role.startswith("environment-"):
        raise RepositoryError(f"there is no role {role}: root-1 to root-3, targets, snapshot, timestamp, environment-…")
    place = folder / ("offline" if role in {*ROOT_KEYS, "targets"} else "online") / f"{role}.pem"
    old = (offline | online).get(role)
    fresh = Ed25519PrivateKey.generate()
    signer = CryptoSigner(fresh)
    targets = repository.targets_of("targets")
    changed = {"targets": targets}
    if role.startswith("environment-"):
        _delegate(targets, role, signer)
        changed[role] = repository.targets_of(role)
    else:
        name = "root" if role in ROOT_KEYS else role
        # By what the root names, not by what lies here: a crash may have left a key here that no root names yet.
        for keyid in list(root.roles[name].keyids):
            if name != "root" or (old is not None and keyid == old.public_key.keyid):
                root.revoke_key(keyid, name)
        root.add_key(signer.public_key, name)
        signers += [signer] if name == "root" else []
    _check_offline(folder, offline, signers)
    root.version += 1
    _save(place, fresh, passphrase)
    extra = {"targets": offline["targets"], **({} if role in ROOT_KEYS else {role: signer})}
    repository.commit_root(_signed_root(root, signers, now), changed, now, **extra)


def renew_signatures(folder: Path, *, passphrase: str, now: dt.datetime) -> None:
    """Sign the root and the targets anew with the keys that they have: for another year.

    Raises:
        RepositoryError: A key is missing, or the passphrase is not theirs.
    """
    offline = _load_all(folder / "offline", passphrase)
    repository = Repository(folder / "repository", OnlineKeys.load(folder / "online", passphrase))
    root = repository.newest_root().signed
    _check_offline(folder, offline, [offline[name] for name in ROOT_KEYS if name in offline])
    root.version += 1
    signed = _signed_root(root, [offline[name] for name in ROOT_KEYS if name in offline], now)
    changed = {"targets": repository.targets_of("targets")}
    repository.commit_root(signed, changed, now, targets=offline["targets"])


def release_base(folder: Path, bundle_folder: Path, *, passphrase: str, now: dt.datetime) -> str:
    """Sign a bundle as a base that adapted bundles may descend from; return its digest.

    Raises:
        RepositoryError: It is no whole bundle, a key is missing, or the passphrase is not theirs.
    """
    offline = _load_all(folder / "offline", passphrase)
    if "targets" not in offline:
        raise RepositoryError(f"{folder / 'offline'}: holds no targets key")
    repository = Repository(folder / "repository", OnlineKeys.load(folder / "online", passphrase))
    return repository.release_base(bundle_folder, signer=offline["targets"], now=now)


def _check_offline(folder: Path, offline: Mapping[str, CryptoSigner], signers: Sized) -> None:
    if len(signers) < ROOT_THRESHOLD or "targets" not in offline:
        raise RepositoryError(
            f"{folder / 'offline'}: needs targets and {ROOT_THRESHOLD} of the keys {', '.join(ROOT_KEYS)}"
        )


def _delegate(targets: Targets, role: str, signer: CryptoSigner) -> None:
    """Let one key, and no other, sign for an environment."""
    delegations = targets.delegations or Delegations(keys={}, roles={})
    roles = dict(delegations.roles or {})
    roles[role] = DelegatedRole(
        name=role,
        keyids=[signer.public_key.keyid],
        threshold=1,
        terminating=True,
        paths=delegated_paths(role.removeprefix("environment-")),
    )
    named = {keyid for found in roles.values() for keyid in found.keyids}
    keys = {**delegations.keys, signer.public_key.keyid: signer.public_key}
    targets.delegations = Delegations({keyid: key for keyid, key in keys.items() if keyid in named}, roles)


def _signed_root(root: Root, signers: Iterable[CryptoSigner], now: dt.datetime) -> Metadata[Root]:
    root.expires = (now + LIFETIME["root"]).replace(microsecond=0)
    signed = Metadata(root)
    for signer in signers:
        signed.sign(signer, append=True)
    return signed


def _make(path: Path, passphrase: str) -> CryptoSigner:
    key = Ed25519PrivateKey.generate()
    _save(path, key, passphrase)
    return CryptoSigner(key)


def _save(path: Path, key: Ed25519PrivateKey, passphrase: str) -> None:
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)  # of a crash, with whatever rights it had
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        fresh.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # before anything is signed that names this key
        finally:
            os.close(folder)
    except OSError as error:
        raise RepositoryError(f"{path}: cannot be written: {error.strerror}") from None


def expiries(folder: Path) -> tuple[Mapping[str, dt.datetime], Repository]:
    """Return until when each role's signature holds, and the repository; needs no key.

    Raises:
        RepositoryError: There is no repository.
    """
    repository = Repository(folder / "repository", OnlineKeys(MappingProxyType({})))
    delegations = repository.targets_of("targets").delegations
    environments = sorted((delegations.roles or {}) if delegations else {})
    return {role: repository.expires(role) for role in ("root", "targets", *ONLINE_ROLES, *environments)}, repository


def _load_all(folder: Path, passphrase: str) -> dict[str, CryptoSigner]:
    signers = {}
    for path in sorted(folder.glob("*.pem")):
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), passphrase.encode())
        except (OSError, ValueError, TypeError):
            raise RepositoryError(f"{path}: cannot be read with this passphrase") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise RepositoryError(f"{path}: is no Ed25519 key")
        signers[path.stem] = CryptoSigner(key)
    if not signers:
        raise RepositoryError(f"{folder}: holds no keys; `spectragate-trainer keys init` makes them")
    return signers
