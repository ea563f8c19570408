"""A signed repository in a folder, with its keys, and gateways that read it under a clock of the test's own."""

import datetime as dt
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from types import MappingProxyType
from typing import Any

from fakes.channel import adapted, write_files
from tuf.api.metadata import Metadata

from gateway.adaptation.exchange import Channel, Exchange
from trainer.keys import OnlineKeys, init_keys
from trainer.repository import Published, Repository

PASSPHRASE = "a passphrase of tests"
START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)


@dataclass
class Site:
    """Keys and repository under `folder`, at a moment that the test moves."""

    folder: Path
    now: dt.datetime = START
    versions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *environments: str) -> "Site":
        """Make keys and an empty repository."""
        init_keys(folder, passphrase=PASSPHRASE, environments=environments or ("indoor",), now=START)
        return cls(folder)

    @property
    def repository(self) -> Path:
        """The folder that gateways read."""
        return self.folder / "repository"

    @property
    def root(self) -> bytes:
        """The root that gateways trust."""
        return (self.repository / "metadata" / "1.root.json").read_bytes()

    def writer(self) -> Repository:
        """Return the trainer's writer."""
        return Repository(self.repository, OnlineKeys.load(self.folder / "online", PASSPHRASE))

    def publish(self, version: int, *, environment: str = "indoor", **changes: Any) -> Published:
        """Publish a bundle of this version."""
        bundle = write_files(Path(mkdtemp(dir=self.folder)) / "b", adapted(version, environment=environment, **changes))
        return self.writer().publish(bundle, environment=environment, now=self.now)

    def exchange(self, folder: Path, **channel: Any) -> Exchange:
        """Return a gateway's end of the channel, which reads the repository's folder unless told otherwise."""
        facts = {"url": str(self.repository), "root": self.root, **channel}
        return Exchange(Channel(**facts), folder, now=lambda: self.now)

    def snapshot(self, folder: Path) -> Path:
        """Copy the repository as it is now: what an attacker kept."""
        return Path(shutil.copytree(self.repository, folder))

    def put_back(self, folder: Path) -> None:
        """Serve what an attacker kept."""
        shutil.rmtree(self.repository)
        shutil.copytree(folder, self.repository)


def newest_of(repository: Path, role: str) -> Path:
    """Return the file of a role's newest metadata."""
    if role == "timestamp":
        return repository / "metadata" / "timestamp.json"
    found = {int(path.name.split(".")[0]): path for path in (repository / "metadata").glob(f"*.{role}.json")}
    return found[max(found)]


def signed_anew(path: Path, signer: Any, changes: Mapping[str, object] = MappingProxyType({})) -> None:
    """Change fields of the signed part of metadata and sign it with any key, as a thief of that key would."""
    content = json.loads(path.read_bytes())
    content["signed"] |= changes
    metadata: Metadata[Any] = Metadata.from_bytes(json.dumps(content).encode())
    metadata.sign(signer)
    path.write_bytes(metadata.to_bytes())
