"""What the delivery tests share: a real broker, and certificates of an authority of our own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes.brokers import MISSING, Mosquitto, make_authority, mosquitto_program


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Return a function that starts mosquitto with some configuration lines; every broker ends with the test."""
    if mosquitto_program() is None:
        pytest.fail(MISSING)
    with ExitStack() as brokers:

        def start(*lines: str) -> Mosquitto:
            return brokers.enter_context(Mosquitto(tmp_path, *lines))

        yield start


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with ca.pem, and srv.pem/srv.key and client.pem/client.key for localhost."""
    folder = tmp_path_factory.mktemp("authority")
    make_authority(folder)
    return folder
