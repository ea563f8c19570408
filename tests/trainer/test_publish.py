"""The repository in the words of the worker."""

import datetime as dt
import fcntl
from pathlib import Path

import pytest

from trainer import repository as repository_module
from trainer.keys import OnlineKeys, init_keys
from trainer.publish import RepositoryPublisher
from trainer.repository import Repository
from trainer.worker import PublishError, PublishLater

NOON = dt.datetime(2026, 11, 25, 12, tzinfo=dt.UTC)


def test_what_the_repository_refuses_is_a_failure_of_the_job(tmp_path: Path) -> None:
    """A folder that is no bundle is not published; the next version stays the first."""
    init_keys(tmp_path, passphrase="a long passphrase", environments=["hall"], now=NOON)
    keys = OnlineKeys.load(tmp_path / "online", "a long passphrase")
    publisher = RepositoryPublisher(Repository(tmp_path / "repository", keys))
    with pytest.raises(PublishError, match="cannot be published"):
        publisher.publish(tmp_path, environment="hall", now=NOON)
    publisher.refresh(NOON)
    assert publisher.next_version("hall") == 1


def test_repository_that_another_process_holds_is_no_failure_of_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and the bundle is not thrown away."""
    monkeypatch.setattr(repository_module, "LOCK_S", 0.2)
    init_keys(tmp_path, passphrase="a long passphrase", environments=["hall"], now=NOON)
    keys = OnlineKeys.load(tmp_path / "online", "a long passphrase")
    publisher = RepositoryPublisher(Repository(tmp_path / "repository", keys))
    with (tmp_path / "repository" / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PublishLater, match="another process"):
            publisher.refresh(NOON)
    publisher.refresh(NOON)
