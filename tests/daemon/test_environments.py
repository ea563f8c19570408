"""Environments: opened before anything is touched, replaced while cameras go on, ended with what waits."""

import asyncio
import gc
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.houses import PLAN, SHIFT, House, house, shifted
from fakes.naming import live_frame
from fakes.processes import written_bytes
from fakes.screening import FakeDetector
from numpy.typing import NDArray
from structlog.testing import capture_logs

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.daemon.environments import Guarded
from gateway.daemon.plan import EnvironmentPlan
from gateway.errors import ConfigError, ScoreFault
from gateway.models.shipped import resolve_bundle
from gateway.screening.screen import prepare
from gateway.screening.sessions import CPU, open_session, run_in_buckets
from gateway.values import FrameFaces


async def test_bundle_that_cannot_be_used_leaves_none_open() -> None:
    """The good one of two is given back, and the message names the key."""
    async with house() as here:
        plans = {"hall": PLAN, "yard": EnvironmentPlan("nonsense", 8, 0.01)}
        with pytest.raises(ConfigError, match=r"environments\.yard\.bundle: nonsense"):
            await here.environments.open(plans)
        assert here.environments.bundles == {}


async def test_detector_is_replaced_under_running_cameras() -> None:
    """What the old one was given it still judges; what comes after goes to the new one; counts go on."""
    async with house() as here:
        for size in (8, 4):
            plan = EnvironmentPlan("paper", size, 0.01)
            opened = await here.environments.open({"hall": plan})
            await here.environments.replace("hall", plan, opened["hall"])
            for seq in range(3):
                await here.environments.screening("hall").see(live_frame(seq, time_s=100.0 * size + seq / 5))
        await here.environments.end("hall")
        assert [verdict.frames_seen for verdict in here.verdicts] == [3, 3]
        assert here.environments.summaries["gate"].faces == 6
        assert here.environments.reference_of("gate", "hall") is None


async def test_frame_that_comes_after_the_end_is_no_fault() -> None:
    """A camera may still hold the screening that was just replaced."""
    async with house() as here:
        opened = await here.environments.open({"hall": PLAN})
        here.environments.begin("hall", PLAN, opened["hall"])
        old = here.environments.screening("hall")
        await here.environments.end("hall")
        await old.see(live_frame(0))
        assert here.verdicts == []


async def test_batches_are_counted_for_whoever_watches() -> None:
    """Work that moves can be told from a task that is merely there."""
    async with house() as here:
        opened = await here.environments.open({"hall": PLAN})
        here.environments.begin("hall", PLAN, opened["hall"])
        screening = here.environments.screening("hall")
        await screening.see(live_frame(0))
        assert here.environments.batches == {"hall": 0}
        await screening.end_tracks("gate")
        await here.changes.until(lambda: bool(here.verdicts))
        assert here.environments.batches["hall"] <= 1


async def test_profiles_run_side_by_side_each_with_its_own_input_and_calibration(tmp_path: Path) -> None:
    """The same passage before a camera of each: every detector gets the crop at its own size, and learns alone."""
    write_drawn_bundle(tmp_path / "large", profile="wide")
    plans = {"hall": PLAN, "yard": EnvironmentPlan(str(tmp_path / "large"), 8, 0.01)}
    frames = [_large_frame(seq) for seq in range(4)]
    async with house() as here:
        for count, (name, opened) in enumerate((await here.environments.open(plans)).items(), start=1):
            here.environments.begin(name, plans[name], opened)
            for frame in frames:
                await here.environments.screening(name).see(frame)
            await here.environments.screening(name).end_tracks("gate")
            await here.changes.until(lambda count=count: len(here.verdicts) == count)  # type: ignore[misc]
        assert [verdict.model.profile for verdict in here.verdicts] == ["paper", "wide"]
        assert [verdict.faces_usable for verdict in here.verdicts] == [4, 4]
        assert here.environments.reference_of("gate", "hall") != here.environments.reference_of("gate", "yard")
        for verdict, bundle in zip(here.verdicts, here.environments.bundles.values(), strict=True):
            crops = [crop for frame in frames for crop in frame.crops]
            scores_N = run_in_buckets(open_session(bundle, CPU, 1), prepare(crops, bundle.profile)[0])
            assert verdict.top_score == pytest.approx(float(scores_N.max()), abs=1e-3)


async def test_small_faces_are_unsure_where_the_profile_is_wide_and_judged_where_it_is_not(tmp_path: Path) -> None:
    """What is too small depends on the detector: never enlarged, never believed."""
    write_drawn_bundle(tmp_path / "large", profile="wide")
    plans = {"hall": PLAN, "yard": EnvironmentPlan(str(tmp_path / "large"), 8, 0.01)}
    async with house() as here:
        for name, opened in (await here.environments.open(plans)).items():
            here.environments.begin(name, plans[name], opened)
            for seq in range(4):
                await here.environments.screening(name).see(live_frame(seq))
            await here.environments.end(name)
        said = [(verdict.model.profile, verdict.verdict, verdict.reason) for verdict in here.verdicts]
        assert said[0][0] == "paper"
        assert said[0][1] in {"clean", "triggered"}
        assert said[1] == ("wide", "unsure", "quality")


def _large_frame(seq: int) -> FrameFaces:
    """Return a frame with one face of 200 px."""
    frame = live_frame(seq)
    pixels_YXC = np.random.default_rng(seq).integers(0, 200, (200, 200, 3)).astype(np.uint8)
    crops = tuple(replace(crop, pixels_YXC=pixels_YXC, square_px=200) for crop in frame.crops)
    return replace(frame, crops=crops)


async def swap_under_load(here: House, bundles: tuple[Bundle, Bundle], swaps: int, *, first: int = 0) -> int:
    """Swap back and forth while faces come, from the frame of this number on; return the number of the next one."""
    seq = first
    for turn in range(swaps):
        detector = await here.environments.open_bundle(bundles[turn % 2])
        async with asyncio.TaskGroup() as group:
            swap = here.environments.activate("hall", bundles[turn % 2], detector, is_guarded=turn % 3 == 0)
            activated = group.create_task(swap, name="swap")
            while not activated.done():
                screening = here.environments.screening("hall")
                if screening.waiting < PLAN.batch_size:
                    await screening.see(live_frame(seq, time_s=seq / 5))
                    seq += 1
                await asyncio.sleep(0)
        screening = here.environments.screening("hall")
        await here.changes.until(lambda: screening.waiting == 0)  # noqa: B023  (awaited here)
        for _ in range(4):  # a track that the rule of the bundle can judge
            await here.environments.screening("hall").see(live_frame(seq, time_s=seq / 5))
            seq += 1
    return seq


async def test_swaps_under_load_drop_no_face_and_no_message_names_the_wrong_bundle(tmp_path: Path) -> None:
    """Every face is judged, and what is said names who judged it; SPECTRAGATE_SWAPS=1000 is the long run."""
    quiet, loud = resolve_bundle("paper"), shifted(tmp_path / "shifted")
    swaps = int(os.environ.get("SPECTRAGATE_SWAPS", "12"))
    async with house() as here:
        opened = await here.environments.open({"hall": PLAN})
        await here.environments.replace("hall", PLAN, opened["hall"])
        seq = await swap_under_load(here, (loud, quiet), swaps)
        await here.environments.end("hall")
        summary = here.environments.summaries["gate"]
        assert (summary.faces, summary.faces_shed) == (seq, 0)
        assert sum(verdict.frames_seen for verdict in here.verdicts) == seq
        digests = {False: quiet.identity.sha256, True: loud.identity.sha256}
        judged = [verdict for verdict in here.verdicts if verdict.score is not None]
        alerts = [each.data for each in here.outcomes if isinstance(each, messages.Alert)]
        assert {verdict.model.sha256 for verdict in judged} == set(digests.values())
        assert alerts
        for said in (*judged, *alerts):
            assert said.model.sha256 == digests[said.score > SHIFT / 2]


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_thousand_swaps_leave_no_memory_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process holds after two hundred swaps it holds after a thousand, give or take the allocator."""
    monkeypatch.setenv("SPECTRAGATE_SWAPS", "1000")  # as long as the house may take
    bundles = shifted(tmp_path / "shifted"), resolve_bundle("paper")
    async with house() as here:
        here.keeps = False
        opened = await here.environments.open({"hall": PLAN})
        await here.environments.replace("hall", PLAN, opened["hall"])
        with capture_logs() as logs:
            seq = await swap_under_load(here, bundles, 200)
            logs.clear()
            gc.collect()
            before_bytes = written_bytes(os.getpid())
            for _ in range(8):
                seq = await swap_under_load(here, bundles, 100, first=seq)
                logs.clear()
        gc.collect()
        assert written_bytes(os.getpid()) - before_bytes < 32 << 20


async def test_batch_that_a_bundle_on_probation_cannot_score_stops_nothing() -> None:
    """Its faces have no scores, which the pipeline calls unscored; without probation it stays a fault."""

    class Broken(FakeDetector):
        async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise ScoreFault(f"no numbers for {len(pixels_NYXC)} faces")

    assert np.isnan(await Guarded(Broken()).screen(np.zeros((3, 32, 32, 3), np.uint8))).all()
