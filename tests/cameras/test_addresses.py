"""Names of cameras become numbers before their workers start."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes.processes import wait_until

from gateway.cameras.addresses import with_address
from gateway.cameras.jobs import CameraJob, FileSource, RtspSource
from gateway.errors import SourceError, SourceReason


def _job(url: str, connect_s: float = 5.0) -> CameraJob:
    return CameraJob("lobby", RtspSource(url, password="secret"), connect_s=connect_s)


def _address(job: CameraJob) -> str | None:
    assert isinstance(job.source, RtspSource)
    return job.source.address


async def test_a_number_stays_when_it_is_one_already() -> None:
    """No name server is asked for an address that is a number, of either kind."""
    assert _address(await with_address(_job("rtsp://127.0.0.1:8554/a"))) == "127.0.0.1"
    assert _address(await with_address(_job("rtsps://[::1]/a"))) == "::1"


async def test_a_name_is_looked_up_when_a_camera_has_one() -> None:
    """The machine's own name needs no network."""
    job = await with_address(_job("rtsp://localhost/a"))
    assert _address(job) == "127.0.0.1"
    assert await with_address(job) is job


@pytest.mark.parametrize(
    ("answers", "taken"), [(["::1", "192.0.2.7"], "192.0.2.7"), (["2001:db8::7", "::1"], "2001:db8::7")]
)
async def test_the_older_kind_of_address_is_taken_when_there_are_both(
    monkeypatch: pytest.MonkeyPatch, answers: list[str], taken: str
) -> None:
    """A resolver puts the newer kind first, and hardly a camera listens there."""

    def answer(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 0)) for one in answers]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert _address(await with_address(_job("rtsp://camera/a"))) == taken


async def test_a_file_is_left_alone() -> None:
    """Only cameras on the network have a host."""
    job = CameraJob("lobby", FileSource(Path("a.mp4")))
    assert await with_address(job) is job


async def test_an_unknown_name_is_said_to_be_one() -> None:
    """`invalid` is a domain that never exists."""
    with pytest.raises(SourceError, match=r"lobby: the host name camera\.invalid is not known") as caught:
        await with_address(_job("rtsp://camera.invalid/a", connect_s=30.0))
    assert caught.value.reason is SourceReason.UNREACHABLE
    assert "secret" not in str(caught.value)


async def test_a_name_that_no_host_can_have_is_said_to_be_one() -> None:
    """The resolver refuses it before it asks anybody."""
    with pytest.raises(SourceError, match="lobby: no host can have the name") as caught:
        await with_address(_job(f"rtsp://{'a' * 70}.example/a"))
    assert caught.value.reason is SourceReason.UNREACHABLE


class SilentNameServer:
    """A resolver that answers when the test lets it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def __call__(self, host: str, *_: Any, **__: Any) -> list[Any]:
        """Wait, and find nothing else than the first address there is."""
        self.asked.append(host)
        self.answers.wait(60)
        return [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 0))]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[SilentNameServer]:
    """Put a resolver that does not answer in the place of the system's."""
    server = SilentNameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server)
    yield server
    server.answers.set()


async def test_a_silent_name_server_is_given_up(silent: SilentNameServer) -> None:
    """The deadline is the camera's own; who tries again waits for the answer to the first question."""
    for _ in range(2):
        with pytest.raises(SourceError, match=r"no name server told the address of camera within 0\.05 s"):
            await with_address(_job("rtsp://camera/a", connect_s=0.05))
        await wait_until(lambda: bool(silent.asked))
    assert silent.asked == ["camera"]
    silent.answers.set()
    assert _address(await with_address(_job("rtsp://camera/a"))) == "192.0.2.1"


def test_a_silent_name_server_holds_up_neither_the_end_nor_other_work(silent: SilentNameServer) -> None:
    """A gateway is to end within two seconds; and its few threads are for disks."""

    async def give_up() -> int:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with pytest.raises(SourceError):
            await with_address(_job("rtsp://camera/a", connect_s=0.05))
        return await asyncio.to_thread(lambda: 5)

    began_s = time.monotonic()
    assert asyncio.run(give_up()) == 5
    assert time.monotonic() - began_s < 20
