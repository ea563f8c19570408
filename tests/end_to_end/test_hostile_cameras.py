"""Bytes of hostile cameras against real workers: the daemon's side sees a source that ends, and nothing else.

Quick runs feed 2,000 changed messages, the long one 100,000; each is counted when it was read, not when it was sent.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from fakes.hostile_rtsp import HostileCamera
from fakes.processes import children_of, wait_until

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.jobs import CameraJob, Job, RtspSource
from gateway.cameras.link import open_source
from gateway.errors import SourceError

pytestmark = pytest.mark.end_to_end

_TALKERS, _LIARS = 3, 5


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    """Return a fork server that nothing a worker was sent may end."""
    async with ForkServer() as server:
        yield server
        await wait_until(lambda: children_of(server.pid or 0) == [])
        assert server.restarts == 0


class Lag:
    """Measures how late the loop is: what the daemon notices of all this."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def measure(self) -> None:
        """Look fifty times a second, for ever."""
        while True:
            due_s = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.worst_s = max(self.worst_s, time.monotonic() - due_s)


async def fate_of(job: Job, server: ForkServer) -> str:
    """Follow a source to its end; return how it ended. Any other error than a source's own fails the test."""
    try:
        async with open_source(job, start=server) as events:
            async for _ in events:
                pass
    except SourceError as error:
        signalled = re.search(r"ended by (\w+)", str(error))
        return signalled[1] if signalled else error.reason
    return "ended"


async def hammer(
    server: ForkServer, *, media: int, handshakes: int, seed: int
) -> tuple[Counter[str], Counter[str], float]:
    """Let workers look at hostile cameras until they have read so many inputs; return inputs, fates and lag."""
    fates: Counter[str] = Counter()
    lag = Lag()

    async def look(camera: HostileCamera, inputs: int) -> None:
        while camera.inputs.total() < inputs:
            source = RtspSource(f"rtsp://127.0.0.1:{camera.port}/cam")
            job = CameraJob("lobby", source, fps=1.0, connect_s=0.5, stall_s=0.5)
            fates[await fate_of(job, server)] += 1

    async with (
        HostileCamera(seed=seed, media=1000, foul=False) as talker,
        HostileCamera(seed=seed, media=10, foul=True) as liar,
        asyncio.TaskGroup() as group,
    ):
        clock = group.create_task(lag.measure(), name="lag")
        targets = [(talker, media)] * _TALKERS + [(liar, handshakes)] * _LIARS
        looks = [group.create_task(look(*target), name=f"look-{index}") for index, target in enumerate(targets)]
        await asyncio.wait(looks)
        clock.cancel()
    return talker.inputs + liar.inputs, fates, lag.worst_s


def told(inputs: Counter[str], fates: Counter[str], lag_s: float) -> str:
    """Return the line for the report."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(inputs.items()))
    ends = ", ".join(f"{count} {end}" for end, count in fates.most_common())
    late = f"loop late by {lag_s * 1000:.0f} ms"
    return f"{inputs.total()} hostile inputs ({kinds}) to {fates.total()} workers: {ends}; {late}"


async def test_two_thousand_changed_messages_end_sources_and_nothing_else(
    server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """RTSP, SDP, RTP and RTCP: no error but a source's, no lag that a watchdog would see, no process left."""
    inputs, fates, lag_s = await hammer(server, media=1_800, handshakes=200, seed=1)
    record_property("report", told(inputs, fates, lag_s))
    assert inputs.total() >= 2_000
    assert min(inputs[kind] for kind in ("rtsp", "sdp", "rtp", "rtcp")) > 0
    assert lag_s < 5.0


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_hundred_thousand_changed_messages_end_sources_and_nothing_else(
    server: ForkServer, record_property: Callable[[str, str], None]
) -> None:
    """The same for as long as it takes."""
    inputs, fates, lag_s = await hammer(server, media=90_000, handshakes=10_000, seed=2)
    record_property("report", told(inputs, fates, lag_s))
    assert inputs.total() >= 100_000
    assert lag_s < 5.0
