"""One camera that is killed and hung again and again: the others do not notice, and nothing is left behind."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes.daemon_process import descendants, footprint
from fakes.daemons import Ages, Box, running_daemon
from fakes.rtsp_camera import Mount, RtspCamera

from gateway.cameras.forkserver import ForkServer
from gateway.cameras.link import open_source
from gateway.daemon.run import THREADS

pytestmark = [pytest.mark.end_to_end, pytest.mark.long, pytest.mark.timeout(900)]

CYCLES = int(os.environ.get("SPECTRAGATE_TEST_CYCLES", "50"))
AIM = 1.1
LEFT_BYTES = 32 * 2**20


async def break_and_mend(box: Box, gate: RtspCamera, how: str) -> None:
    """Let the camera go away and wait until the daemon has said so, and that it is back."""
    await asyncio.to_thread(getattr(gate, how))
    await box.until(lambda: box.shown.status("gate")[0] == "offline", within_s=60.0)
    await asyncio.to_thread({"kill": gate.start, "freeze": gate.thaw}[how])
    await box.until(lambda: box.shown.status("gate")[0] != "offline", within_s=60.0)


async def fill_pool() -> None:
    """Let the pool for what would block the loop have all the threads that the daemon's has sooner or later."""
    pool = ThreadPoolExecutor(THREADS)
    asyncio.get_running_loop().set_default_executor(pool)
    together = threading.Barrier(THREADS)
    await asyncio.gather(*(asyncio.to_thread(together.wait, 10.0) for _ in range(THREADS)))


async def settled(before: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return threads, descriptors and memory once nothing more than before is open, or after a minute.

    A worker that is just being replaced has its descriptors twice, or not at all.
    """
    for _ in range(600):
        now = footprint(os.getpid())
        if now[0] <= before[0] and now[1] <= before[1]:
            break
        await asyncio.sleep(0.1)
    return now


async def test_bad_camera_leaves_the_others_alone(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Ages of the other camera's faces before and meanwhile; threads, descriptors, processes and memory after."""
    mount = Mount(fps=15, gop=15, frames=30)
    ages = Ages()
    async with AsyncExitStack() as stack:
        fork = await stack.enter_async_context(ForkServer())
        gate, lobby = (stack.enter_context(RtspCamera(_folder(tmp_path, name), mount)) for name in ("gate", "lobby"))
        cameras = "".join(
            f'  {name}: {{source: {{type: rtsp, url: "{server.url()}"}}}}\n'
            for name, server in (("gate", gate), ("lobby", lobby))
        )
        text = f"screening: {{device: cpu}}\ncameras:\n{cameras}"
        daemon = running_daemon(tmp_path, text, open_source=partial(open_source, start=fork), ages=ages)
        box = await stack.enter_async_context(daemon)
        for name in ("gate", "lobby"):
            await box.until(lambda name=name: (box.shown.status(name) or "?")[0] != "offline", within_s=60.0)
        await break_and_mend(box, gate, "kill")  # everything has been loaded once
        await fill_pool()
        ages.of.clear()
        await asyncio.sleep(max(5.0, CYCLES / 2))
        calm, before = ages.of.pop("lobby"), footprint(os.getpid())
        workers = len(descendants(os.getpid()))
        for cycle in range(CYCLES):
            await break_and_mend(box, gate, ("kill", "freeze")[cycle % 2])
        meanwhile, after = ages.of["lobby"], await settled(before)
        left = len(descendants(os.getpid())) - workers
        lobby_changes = [payload for topic, payload in box.shown.history if topic == "spectragate/lobby/status"]
    quiet_ms, busy_ms = (float(np.quantile(each, 0.99)) for each in (calm, meanwhile))
    grown = after[2] - before[2]
    record_property(
        "report",
        f"a camera killed and hung {CYCLES} times: another's face age p99 {busy_ms:.0f} ms against {quiet_ms:.0f} ms"
        f" before, ratio {busy_ms / quiet_ms:.2f} (aim {AIM}); left behind: {left} processes,"
        f" {after[0] - before[0]} threads, {after[1] - before[1]} descriptors, {grown / 2**20:.1f} MiB",
    )
    assert not [payload for payload in lobby_changes if payload and b"offline" in payload][1:]
    assert max(left, after[0] - before[0], after[1] - before[1]) <= 0
    assert grown < LEFT_BYTES
    assert busy_ms < 10 * AIM * quiet_ms


def _folder(above: Path, name: str) -> Path:
    folder = above / name
    folder.mkdir()
    return folder
