"""Offers that somebody tampered with, over HTTP to the real daemon: refused one by one, and nothing is left of them.

SPECTRAGATE_MUTATED_OFFERS=100000 pytest tests/end_to_end/test_mutated_offers.py
"""

import asyncio
import contextlib
import http.client
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from fakes.daemon_process import DaemonProcess, footprint
from fakes.sdp_offers import CHROMIUM, FFMPEG, mutated
from fakes.webrtc import accept, offer_of, on_loopback, publisher

__all__ = ["on_loopback"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(4 * 3600)]

COUNT = int(os.environ.get("SPECTRAGATE_MUTATED_OFFERS", "2000"))
SEED = int(os.environ.get("SPECTRAGATE_MUTATED_OFFERS_SEED", "1"))
TOKEN, CAMERA_TOKEN = "a-token-for-scripts", "a-token-of-the-gate"
HEADERS = {"Authorization": f"Bearer {CAMERA_TOKEN}", "Content-Type": "application/sdp"}


def configuration(folder: Path) -> Path:
    """Write a configuration of one camera that waits for its publisher."""
    path = folder / "gateway.yaml"
    path.write_text(
        f"state_folder: state\nscreening: {{device: cpu}}\nhttp: {{port: 0, token: {TOKEN}}}\n"
        f"webrtc: {{allow: [127.0.0.0/8]}}\n"
        f"cameras:\n  gate:\n    source: {{type: whip, token: {CAMERA_TOKEN}}}\n"
    )
    path.chmod(0o600)
    return path


def family(daemon: DaemonProcess) -> dict[int, tuple[int, int, int]]:
    """Return threads, descriptors and resident bytes of the daemon and of all its children."""
    return {pid: footprint(pid) for pid in sorted({daemon.pid, *daemon.children()})}


def status_of(client: httpx2.Client) -> tuple[str, str | None]:
    """Return the camera's state and reason."""
    (camera,) = client.get("/api/v1/cameras", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    return camera["state"], camera["reason"]


@contextlib.contextmanager
def offering(address: str) -> Iterator[Callable[[bytes], int]]:
    """Yield what posts an offer and returns the status: the plainest client there is, for there are many."""
    with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)) as connection:

        def offer(sdp: bytes) -> int:
            connection.request("POST", "/whip/gate", sdp, HEADERS)
            answer = connection.getresponse()
            answer.read()
            return answer.status

        yield offer


@pytest.mark.usefixtures("on_loopback")
async def test_mutated_offers_are_only_refused_and_leave_nothing_behind(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """4xx alone, the same processes, no more memory; a good offer is taken afterwards."""
    chance, statuses, slowest_s = random.Random(SEED), Counter[int](), 0.0
    with DaemonProcess(configuration(tmp_path)) as daemon:
        address = f"http://127.0.0.1:{daemon.until('http_listening')['port']}"
        with httpx2.Client(base_url=address, headers=HEADERS, timeout=60) as client, offering(address) as offer:
            while (status := offer(b"v=0")) == 429:  # its worker is still starting, for which every offer waits a while
                pass
            assert status == 422
            before = family(daemon)
            for number in range(COUNT):
                began_s = time.monotonic()
                statuses[offer(mutated(chance.choice((CHROMIUM, FFMPEG)), chance))] += 1
                slowest_s = max(slowest_s, time.monotonic() - began_s)
                if number == COUNT // 4:
                    early = family(daemon)
            late = family(daemon)
            assert status_of(client) == ("offline", "waiting")
            async with publisher() as connection:
                answer = client.post("/whip/gate", content=offer_of(connection))
                assert answer.status_code == 201
                await accept(connection, answer.content)
                await asyncio.to_thread(daemon.until, "camera_online")
            code, _ = daemon.end()
        assert code == 0
    record_property(
        "report",
        f"{COUNT} mutated offers: {dict(sorted(statuses.items()))}, slowest {slowest_s * 1000:.0f} ms; "
        f"threads, descriptors, bytes by process at 1/4 {list(early.values())}, at the end {list(late.values())}",
    )
    assert set(statuses) <= {400, 413, 415, 422}
    assert set(before) == set(early) == set(late)
    for pid, (threads, descriptors, resident) in late.items():
        assert (threads, descriptors) <= (early[pid][0], early[pid][1] + 2)
        assert resident < early[pid][2] + (24 << 20), pid
