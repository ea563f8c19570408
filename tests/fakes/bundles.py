"""Bundles with drawn weights, written as the trainer writes them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gateway.contract.bundle import Calibration, SelfTest, Training
from gateway.contract.calibration import TrackRule
from gateway.contract.network import PROFILES
from trainer.export import make_self_test, write_bundle
from trainer.model import Detector
from trainer.network import Network, export_weights, load_weights, score_pixels
from trainer.wide_model import WideDetector

TRAINING = Training(command="drawn", seed=0, epochs=0, perturbations=(), data=())


def draw_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Return weights of the `paper` profile of a plausible size, variances positive."""
    draw = np.random.default_rng(seed)
    weights = {}
    for tensor in PROFILES["paper"].tensors:
        fan_in = max(1, tensor.size // tensor.shape[0])
        values = draw.standard_normal(tensor.shape) / np.sqrt(fan_in)
        if tensor.name == "conv1.weight":
            values *= 0.02
        if tensor.name.endswith("running_var"):
            values = np.abs(values) + 0.5
        weights[tensor.name] = values.astype(np.float32)
    return weights


def drawn_detector(seed: int) -> Detector:
    """Return the torch network with drawn weights, in evaluation mode."""
    detector = Detector(PROFILES["paper"])
    load_weights(detector, draw_weights(seed))
    return detector.eval()


def write_drawn_bundle(
    folder: Path,
    *,
    seed: int = 1,
    version: int = 1,
    profile: str = "paper",
    environment: str = "factory",
    parent_sha256: str | None = None,
) -> str:
    """Write a whole, consistent bundle with drawn weights and return its digest."""
    detector: Network = drawn_wide(seed) if profile == "wide" else drawn_detector(seed)
    pixels_NYXC = make_self_test(detector.profile)
    ladder = tuple(index / 100 for index in range(200))
    return write_bundle(
        folder,
        profile=detector.profile,
        weights=export_weights(detector),
        calibration=Calibration(rule=TrackRule(), clean_faces=ladder, clean_tracks=ladder, source="drawn"),
        self_test=SelfTest(pixels_NYXC, score_pixels(detector, pixels_NYXC)),
        facts={
            "version": version,
            "environment": environment,
            "parent_sha256": parent_sha256,
            "created": "2026-01-01",
            "training": TRAINING,
        },
    )


def drawn_wide(seed: int = 3) -> WideDetector:
    """Return a `wide` detector with drawn weights and statistics, in evaluation mode."""
    torch.manual_seed(seed)
    detector = WideDetector(PROFILES["wide"])
    with torch.no_grad():
        detector.features_mean.normal_()
        detector.features_scale.uniform_(0.1, 0.5)
        detector.places_mean.normal_()
        detector.places_scale.uniform_(0.1, 0.5)
        for module in detector.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()  # type: ignore[operator, union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
    return detector.eval()
