"""A real broker for the tests of the subscriber."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.brokers import MISSING, Mosquitto, mosquitto_program


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """Return a running broker without persistence, which ends with the test."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder, "allow_anonymous true") as broker:
        yield broker
