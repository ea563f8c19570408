"""A small demo for tests, and a detector that knows one trigger by sight."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gateway.contract import messages
from gateway.contract.calibration import threshold
from gateway.demo.passages import DemoSettings, Passage
from gateway.screening import decide

# Two passages at the gate, the second with a white sticker; three clean tracks are enough for one alarm in four.
SMALL = replace(
    DemoSettings(), calibration_passages=3, gate_passages=2, passage_frames=(5, 6), alert_budget_per_day=250.0
)
MODEL = messages.ModelIdentity(version=1, sha256="0" * 64, profile="paper")


class WhiteDetector:
    """Counts the pixels that are white and stand in the middle, where a face is."""

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one score per face."""
        side = pixels_NYXC.shape[1]
        middle_NYXC = pixels_NYXC[:, side // 4 : -side // 4, side // 4 : -side // 4].astype(np.int16)
        is_white_NYX = (middle_NYXC.min(axis=3) > 190) & (np.ptp(middle_NYXC, axis=3) < 40)
        return is_white_NYX.sum(axis=(1, 2)).astype(np.float32)


def reference(*statistics: float, rate: float = 0.25) -> decide.Reference:
    """Return a camera's reference of these clean statistics."""
    ordered = tuple(sorted(statistics))
    limit = threshold(ordered, rate)
    assert limit is not None
    return decide.Reference("camera", ordered, rate, rate, 0, limit)


def verdict_of(
    passage: Passage | None,
    label: decide.Label = "clean",
    *,
    score: float | None = 0.5,
    track_id: int = 1,
    times_s: tuple[float, float] = (0.0, 0.2),
) -> messages.VerdictData:
    """Return what the gateway might say of a passage; of None, of a track at `times_s`."""
    start_s, end_s = times_s if passage is None else (passage.start_s, passage.end_s)
    return messages.VerdictData(
        camera="gate",
        environment="demo",
        track_id=track_id,
        verdict=label,
        reason="quality" if label == "unsure" else None,
        score=score,
        top_score=score,
        p_value=None if score is None else 0.25,
        threshold=1.0,
        start_time=start_s,
        end_time=end_s,
        frame_time_source="file_pts",
        frames_seen=5,
        faces_usable=5,
        frame_width=640,
        frame_height=360,
        calibration="camera",
        promise=None,
        model=MODEL,
        replay=True,
    )


def alert_of(passage: Passage, *, track_id: int = 1, number: int = 1) -> messages.Alert:
    """Return the first alert message of a track that triggered in a passage's third frame."""
    data = messages.AlertData(
        alert_id="a" * 16,
        seq=number,
        type="new",
        severity="watch",
        camera="gate",
        environment="demo",
        track_id=track_id,
        frame_time=passage.start_s + 0.4,
        frame_time_source="file_pts",
        start_time=passage.start_s,
        end_time=None,
        score=2.0,
        top_score=3.0,
        p_value=0.25,
        threshold=1.0,
        box=(100.0, 100.0, 164.0, 184.0),
        frame_width=640,
        frame_height=360,
        area=5376.0,
        frames_seen=3,
        calibration="camera",
        model=MODEL,
        replay=True,
    )
    event_id = messages.replay_event_id("0" * 16, camera="gate", track_id=track_id, number=number)
    return messages.Alert.of(data, event_id=event_id, source="spectragate/demo")
