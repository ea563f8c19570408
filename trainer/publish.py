"""From a judged bundle to the signed repository, in the words of the worker."""

import datetime as dt
from pathlib import Path

from trainer.repository import Repository, RepositoryError, RepositoryHeld
from trainer.worker import PublishError, PublishLater


class RepositoryPublisher:
    """Publishes into the repository that the gateways poll."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def next_version(self, environment: str) -> int:
        """Return the version that the next bundle must have.

        Raises:
            PublishError: The repository cannot be read.
        """
        try:
            return self._repository.next_version(environment)
        except RepositoryError as error:
            raise _told(error) from None

    def publish(self, bundle: Path, *, environment: str, now: dt.datetime) -> str:
        """Sign and publish a bundle, once however often it is called, and return its digest.

        Raises:
            PublishError: The bundle is not taken.
            PublishLater: Another process holds the repository.
        """
        try:
            return self._repository.publish(bundle, environment=environment, now=now).sha256
        except RepositoryError as error:
            raise _told(error) from None

    def refresh(self, now: dt.datetime) -> None:
        """Sign anew what is about to expire.

        Raises:
            PublishError: It cannot be signed or written.
            PublishLater: Another process holds the repository.
        """
        try:
            self._repository.refresh(now)
        except RepositoryError as error:
            raise _told(error) from None

    def ending(self, now: dt.datetime) -> str | None:
        """Return in words which signatures will soon have to be renewed by hand; None where none has.

        Raises:
            PublishError: The repository cannot be read.
        """
        try:
            return self._repository.ending(now)
        except RepositoryError as error:
            raise _told(error) from None


def _told(error: RepositoryError) -> PublishError | PublishLater:
    return PublishLater(str(error)) if isinstance(error, RepositoryHeld) else PublishError(str(error))
