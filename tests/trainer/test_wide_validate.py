"""What training is watched by covers every kind."""

import cv2
import numpy as np
import torch
from fakes.bundles import drawn_wide

from trainer.optics import Picture
from trainer.wide_chain import WideChainSettings
from trainer.wide_validate import validate_wide, validation_pairs


def _still(seed: int) -> Picture:
    noise = np.random.default_rng(seed).uniform(20, 230, (20, 20, 3)).astype(np.float32)
    made = cv2.resize(noise, (140, 140), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(made, 0, 255), dtype=np.uint8)


def test_validation_covers_kinds_that_are_left_out() -> None:
    """Leave-one-out is judged on the kind that was left out; a detector that knows nothing finds half."""
    torch.set_num_threads(1)
    held = validation_pairs([_still(seed) for seed in range(128)], [], WideChainSettings(), draws=2)
    found = validate_wide(drawn_wide(), held)
    assert {"D auroc", "D bdr", "fpr/plain"} <= set(found)
    assert 0.2 < found["D auroc"] < 0.8
    assert any(key.startswith("D auroc/") for key in found)
