"""What a swap of bundles adds to the time that faces wait for their scores: at most one batch."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.houses import PLAN, House, house, shifted
from fakes.naming import live_frame
from structlog.testing import capture_logs

from gateway.models.shipped import resolve_bundle

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

SWAPS = 60
BATCH = 32
"""As the configuration has it by default."""


async def drained(here: House, first: int) -> float:
    """Return how many seconds a full batch of faces waits until all are judged by whom they were given to."""
    screening = here.environments.screening("hall")
    began_s = time.perf_counter()
    for seq in range(first, first + BATCH):
        await screening.see(live_frame(seq, time_s=seq / 5))
    while screening.waiting or screening.is_busy:  # noqa: ASYNC110  (nobody announces it)
        await asyncio.sleep(0.0002)
    return time.perf_counter() - began_s


async def test_a_swap_adds_at_most_a_batch(
    tmp_path: Path, tell: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faces given while bundles change places, and the first ones after, beside those of quiet moments between."""
    monkeypatch.setenv("SPECTRAGATE_SWAPS", str(SWAPS))  # as long as the house may take
    bundles = shifted(tmp_path / "shifted"), resolve_bundle("paper")
    plan = replace(PLAN, batch_size=BATCH)
    quiet_s, during_s, after_s, seq = list[float](), list[float](), list[float](), 0
    with capture_logs():
        async with house() as here:
            here.keeps = False
            opened = await here.environments.open({"hall": plan})
            await here.environments.replace("hall", plan, opened["hall"])
            for turn in range(SWAPS):
                detector = await here.environments.open_bundle(bundles[turn % 2])
                quiet_s.append(await drained(here, seq))
                async with asyncio.TaskGroup() as group:
                    group.create_task(here.environments.activate("hall", bundles[turn % 2], detector, is_guarded=False))
                    during_s.append(await drained(here, seq + BATCH))
                after_s.append(await drained(here, seq + 2 * BATCH))
                seq += 3 * BATCH
            assert here.environments.summaries["gate"].faces_shed == 0
            assert here.environments.summaries["gate"].faces == seq
    batch_s = float(np.median(quiet_s))
    for name, times_s in (("during", during_s), ("first after", after_s)):
        middle, worst = (float(np.quantile(times_s, share)) / batch_s for share in (0.5, 0.95))
        tell(f"a batch of {BATCH} faces {name} a swap: {middle:.2f} batches, p95 {worst:.2f} (aim at most 2)")
