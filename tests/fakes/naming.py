"""Names, calibration and frames for tests of the frame path."""

from dataclasses import dataclass, field

import numpy as np

from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.screening import decide
from gateway.values import ClockSource, FaceBox, FaceCrop, FrameFaces


@dataclass
class FactoryCalibration:
    """Judges against the bundle's tracks alone and remembers what it was asked and taught, in order."""

    bundle: Bundle
    heard: list[tuple[str, object]] = field(default_factory=list)

    def reference(self, camera: str, environment: str) -> decide.Reference | None:
        """Return the factory reference."""
        self.heard.append(("reference", (camera, environment)))
        factory = self.bundle.calibration.clean_tracks
        return decide.choose_reference(asked_rate=0.001, camera=(), environment=(), factory=factory)

    def learn(self, verdict: decide.Verdict, environment: str) -> None:
        """Remember the track."""
        self.heard.append(("learn", verdict.track_id))


class LiveNames:
    """Names messages as the box `box` does live."""

    source = "spectragate/box"
    replay = False

    def __init__(self) -> None:
        self.seq = 0

    def alert_id(self, camera: str, track_id: int, start_time_s: float) -> str:
        """Return camera and track."""
        return f"{camera}-{track_id}"

    def alert_event_id(self, said: decide.Announcement, *, number: int, seq: int) -> str:
        """Return the box's number."""
        return messages.live_event_id("box", seq)

    def verdict_event_id(self, verdict: decide.Verdict) -> str:
        """Return camera and track."""
        return f"box-{verdict.camera}-{verdict.track_id}-verdict"

    def next_seq(self) -> int:
        """Count."""
        self.seq += 1
        return self.seq


def live_frame(
    seq: int, *, camera: str = "gate", faces: int = 1, white: float = 0.0, time_s: float | None = None
) -> FrameFaces:
    """Return a frame with people side by side, five a second; `white` is the white share of every face."""
    time_s = seq / 5 if time_s is None else time_s
    pixels_YXC = np.random.default_rng(seq).integers(0, 200, (40, 40, 3)).astype(np.uint8)
    pixels_YXC[: round(white * 40)] = 255
    boxes = [FaceBox(100.0 + 150 * place, 100.0, 140.0 + 150 * place, 150.0, 0.9) for place in range(faces)]
    crops = tuple(FaceCrop(camera, seq, time_s, box, pixels_YXC, 40) for box in boxes)
    return FrameFaces(camera, seq, time_s, ClockSource.ARRIVAL, 1920, 1080, crops, 0, time_s, time_s + 0.03)
