"""A bundle without weights and detectors that score by simple rules: the frame path without a trained model."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.contract.bundle import Bundle, Calibration, FileDigest, Manifest, SelfTest, Training
from gateway.contract.calibration import TrackRule
from gateway.contract.geometry import CONTEXT, RESIZE_FILTER
from gateway.contract.messages import ModelIdentity
from gateway.contract.network import PROFILES
from gateway.models import shipped
from gateway.screening import decide
from gateway.values import Screening, TrackedFace

# N faces, Y/X pixel row/column, C colour (R, G, B).
Rule = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def whiteness(pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the share of white pixels of each face, in percent: high for a white square, low for a face."""
    white_NYX = (pixels_NYXC >= 250).all(axis=-1)
    return np.asarray(100.0 * white_NYX.mean(axis=(1, 2)), dtype=np.float32)


class FakeDetector:
    """Scores faces by a rule and remembers the sizes of the batches it was given."""

    def __init__(self, rule: Rule = whiteness) -> None:
        self.rule = rule
        self.batches: list[int] = []

    async def screen(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the rule's scores."""
        self.batches.append(len(pixels_NYXC))
        return self.rule(pixels_NYXC)


class NotingWitness:
    """Notes what it is shown: batches with their scores, and the ends of tracks."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, Sequence[TrackedFace], NDArray[np.uint8], Sequence[Screening]]] = []
        self.order: list[str] = []

    def on_scored(
        self,
        environment: str,
        faces: Sequence[TrackedFace],
        pixels_NYXC: NDArray[np.uint8],
        screenings: Sequence[Screening],
    ) -> None:
        """Note a batch."""
        self.batches.append((environment, faces, pixels_NYXC, screenings))
        self.order += [f"{face.crop.camera}/{face.track_id}/{face.crop.seq}" for face in faces]

    def on_finished(self, camera: str, environment: str, verdict: decide.Verdict) -> None:
        """Note the end of a track."""
        self.order.append(f"{camera}/{verdict.track_id}/{verdict.label}")


def make_bundle(
    *,
    clean_tracks: Sequence[float] = tuple(index / 1000 for index in range(1000)),
    clean_faces: Sequence[float] = tuple(index / 500 for index in range(500)),
    rule: TrackRule | None = None,
) -> Bundle:
    """Return a bundle of the profile `paper` with this calibration and no weights."""
    side_px = PROFILES["paper"].side_px
    files = {"weights.safetensors": FileDigest(sha256="0" * 64, length_bytes=1)}
    training = Training(command="none", seed=0, epochs=0, perturbations=(), data=())
    manifest = Manifest(
        format=1,
        version=7,
        profile="paper",
        environment="test",
        parent_sha256=None,
        resize_filter=RESIZE_FILTER,
        context=CONTEXT,
        created="2026-01-01",
        files=files,
        training=training,
    )
    calibration = Calibration(
        rule=rule or TrackRule(),
        clean_faces=tuple(sorted(clean_faces)),
        clean_tracks=tuple(sorted(clean_tracks)),
        source="a rule",
    )
    return Bundle(
        folder=Path("test-bundle"),
        manifest=manifest,
        identity=ModelIdentity(version=7, sha256="7" * 64, profile="paper"),
        profile=PROFILES["paper"],
        weights={},
        calibration=calibration,
        self_test=SelfTest(np.zeros((1, side_px, side_px, 3), np.uint8), np.zeros(1, np.float32)),
    )


def alarming_bundle(folder: Path) -> Path:
    """Write the shipped bundle with a calibration that takes every face for triggered."""
    bundle = folder / "alarming"
    shutil.copytree(Path(shipped.__file__).parent / "paper", bundle)
    calibration = json.loads((bundle / "calibration.json").read_text())
    calibration["clean_tracks"] = [-1000.0 + index / 1000 for index in range(1000)]
    data = json.dumps(calibration).encode()
    (bundle / "calibration.json").write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["calibration.json"] = {"sha256": hashlib.sha256(data).hexdigest(), "length_bytes": len(data)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return bundle
