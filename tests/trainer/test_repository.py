"""The writer of the repository: what is published is whole, newer, and seen only when all of it is there."""

import datetime as dt
import fcntl
from pathlib import Path
from typing import Any

import pytest
from fakes.channel import adapted, digest_of, write_files
from fakes.repositories import PASSPHRASE, Site, newest_of

from trainer import repository as repository_module
from trainer.keys import OnlineKeys
from trainer.repository import KEPT_VERSIONS, Repository, RepositoryError, RepositoryHeld


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return keys and an empty repository for one environment."""
    return Site.make(tmp_path / "site")


def test_publish_is_done_once_for_the_same_bundle(site: Site, tmp_path: Path) -> None:
    """A worker that is killed after publishing and begins again publishes nothing twice."""
    first = site.publish(1)
    assert (first.version, first.sha256, first.already) == (1, digest_of(adapted(1)), False)
    timestamp = newest_of(site.repository, "timestamp").read_bytes()
    assert site.publish(1).already
    assert newest_of(site.repository, "timestamp").read_bytes() == timestamp
    assert site.writer().next_version("indoor") == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 1, "created": "2026-02-02"}, "not above 1"),
        ({"version": 2, "parent_sha256": None}, "parent None"),
        ({"version": 2, "environment": "hall"}, "made for hall"),
        ({"version": 2, "profile": "unknown"}, "profile 'unknown'"),
    ],
)
def test_publish_refuses_what_gateways_would(site: Site, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    """What no gateway would install is not published, and what is published stays."""
    site.publish(1)
    bundle = write_files(tmp_path / "bundle", adapted(**{"version": 2, **changes}))
    with pytest.raises(RepositoryError, match=words):
        site.writer().publish(bundle, environment="indoor", now=site.now)
    assert site.writer().next_version("indoor") == 2


def test_publish_refuses_an_environment_without_a_key(site: Site) -> None:
    """The text names the command that makes the key."""
    with pytest.raises(RepositoryError, match="keys rotate environment-hall"):
        site.publish(1, environment="hall")


def test_repository_that_another_process_holds_is_waited_for_up_to_a_deadline(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hangs with a process that hangs: the text names the folder; what is free again is written."""
    monkeypatch.setattr(repository_module, "LOCK_S", 0.2)
    site.publish(1)
    with (site.repository / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RepositoryHeld, match=r"/repository: another process has been writing into it for 0\.2 s"):
            site.publish(2)
    assert site.publish(2).version == 2


def test_interrupted_publication_is_not_seen_and_is_done_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended before any of its writes, a publication leaves the one before; the next attempt succeeds."""
    site.publish(1)
    write = Repository._write
    for version, cut in enumerate(range(1, 9), start=2):
        written: list[Path] = []

        def failing(
            self: Repository, path: Path, content: bytes, written: list[Path] = written, cut: int = cut
        ) -> None:
            written.append(path)
            if len(written) == cut:
                raise KeyboardInterrupt
            write(self, path, content)

        monkeypatch.setattr(Repository, "_write", failing)
        with pytest.raises(KeyboardInterrupt):
            site.publish(version)
        monkeypatch.setattr(Repository, "_write", write)
        offer = site.exchange(tmp_path / f"gateway-{cut}").newest("indoor")
        assert offer is not None
        assert offer.version == version - 1
        assert not site.publish(version).already


def test_old_versions_leave_and_metadata_stays_small(site: Site) -> None:
    """A repository does not grow with the years: neither what gateways read nor the disk."""
    for version in range(1, 16):
        site.publish(version)
    folders = [
        path.name for path in (site.repository / "targets" / "environments" / "indoor").iterdir() if path.is_dir()
    ]
    assert sorted(map(int, folders)) == list(range(16 - KEPT_VERSIONS, 16))
    assert newest_of(site.repository, "environment-indoor").stat().st_size < 16 * 1024
    assert len(list((site.repository / "metadata").iterdir())) <= 4 * KEPT_VERSIONS + 5


def test_what_a_crash_left_of_old_versions_is_erased(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after it was seen and before the oldest went: the same publication, done again, erases it."""
    folder = site.repository / "targets" / "environments" / "indoor"
    for version in range(1, KEPT_VERSIONS + 1):
        site.publish(version)
    newest = KEPT_VERSIONS + 1
    with monkeypatch.context() as cut:
        cut.setattr(Repository, "_sweep", lambda *_: None)
        site.publish(newest)
    assert (folder / "1").is_dir()
    assert site.publish(newest).already
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {str(each) for each in range(2, newest + 1)}


def test_refresh_signs_again_in_time_and_not_before(site: Site, tmp_path: Path) -> None:
    """Signatures never run out while the trainer lives, for a year of hourly calls; idle calls write nothing."""
    site.publish(1)
    assert not site.writer().refresh(site.now)
    for _ in range(120):
        site.now += dt.timedelta(hours=11)
        site.writer().refresh(site.now)
        site.now += dt.timedelta(hours=2)
        site.writer().refresh(site.now)
    assert site.exchange(tmp_path / "gateway").newest("indoor") is not None


def test_repository_that_is_damaged_says_which_file(site: Site) -> None:
    """The operator of the trainer reads what is broken."""
    site.publish(1)
    newest_of(site.repository, "snapshot").write_bytes(b"{}")
    with pytest.raises(RepositoryError, match=r"snapshot\.json: cannot be read"):
        site.writer().next_version("indoor")
    with pytest.raises(RepositoryError, match="holds no repository"):
        Repository(site.folder / "nowhere", OnlineKeys.load(site.folder / "online", PASSPHRASE)).newest_root()
