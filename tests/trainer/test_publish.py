"""The repository in the words of the worker."""

import datetime as dt
from pathlib import Path

import pytest

from trainer.keys import OnlineKeys, init_keys
from trainer.publish import RepositoryPublisher
from trainer.repository import Repository
from trainer.worker import PublishError

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
