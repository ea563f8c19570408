"""What the shipped detector does with triggers it has never seen, on people it has never seen.

The authors' protocol: faces reduced to 32 px, the trigger file added and clipped there. Nothing here is used for
training or tuning; the figures are printed with `-s` and stand in the model card.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.contract.geometry import reduce_to
from gateway.models.shipped import resolve_bundle
from gateway.screening.sessions import open_session, run_in_buckets
from trainer.data import Pictures, read_pictures, split_faces
from trainer.measures import auroc, detection_rate, threshold_at

pytestmark = [pytest.mark.data, pytest.mark.timeout(300)]

Faces = NDArray[np.uint8]

AUTHORS_WEIGHTS = {"badnets": 0.935, "trojan_wm": 0.999, "trojan_sq": 0.996, "nature": 0.954, "blend": 0.813}
"""AUROC of the authors' released weights on faces, by trigger: the detector must rank at least as well."""

FILES = {"trojan_wm": "trojan_wm.png", "trojan_sq": "trojan_sq.png", "nature": "nature.png", "blend": "blend.png"}


def held_out_faces(research_data: Path) -> Pictures:
    """Return the faces of people that the shipped bundle used for nothing at all; its manifest proves it."""
    test = split_faces(read_pictures(research_data / "faces/index.csv"), seed=1).test
    (named,) = [data for data in resolve_bundle("paper").manifest.training.data if data.use == "test"]
    assert test.sha256 == named.sha256
    return test


def reduced(pictures: Pictures) -> Faces:
    """Return the faces at 32 px: LFW's central part, where the face is, and YouTube Faces as they are cut."""
    rows = []
    for picture_YXC in pictures.pixels:
        side = picture_YXC.shape[0]
        keep = round(0.68 * side) if side == 150 else side
        start = (side - keep) // 2
        rows.append(reduce_to(np.ascontiguousarray(picture_YXC[start : start + keep, start : start + keep]), 32))
    return np.stack(rows)


def triggers(research_data: Path) -> dict[str, Callable[[Faces], Faces]]:
    """Return the paper's triggers, as its authors apply them."""

    def white_square(clean_NYXC: Faces) -> Faces:
        result_NYXC = clean_NYXC.copy()
        result_NYXC[:, 27:31, 27:31] = 255
        return result_NYXC

    def adder(name: str) -> Callable[[Faces], Faces]:
        picture = cv2.imread(str(research_data / "triggers" / name), cv2.IMREAD_COLOR)
        assert picture is not None
        trigger_YXC = picture[..., ::-1].astype(np.int16)
        return lambda clean_NYXC: np.clip(clean_NYXC + trigger_YXC, 0, 255).astype(np.uint8)

    return {"badnets": white_square} | {name: adder(file) for name, file in FILES.items()}


def test_shipped_detector_ranks_the_papers_triggers_as_well_as_the_authors_weights(research_data: Path) -> None:
    """AUROC per trigger, without any fine-tuning, is at least what the authors' weights reach on faces."""
    session = open_session(resolve_bundle("paper"), "CPUExecutionProvider", 2)
    calibration_N = np.array(resolve_bundle("paper").calibration.clean_faces, np.float32)
    threshold = threshold_at(calibration_N, false_positive_rate=0.01)
    clean_NYXC = reduced(held_out_faces(research_data))
    clean_N = run_in_buckets(session, clean_NYXC)
    flagged = f"{(clean_N > 0).mean():.1%} at arg-max, {(clean_N > threshold).mean():.1%} at the bundle's 1 %"
    print(f"\n{len(clean_N)} clean faces, flagged {flagged}")
    reached = {}
    for name, apply in triggers(research_data).items():
        scores_N = run_in_buckets(session, apply(clean_NYXC))
        reached[name] = auroc(clean_N, scores_N)
        rates = [detection_rate(clean_N, scores_N, false_positive_rate=rate) for rate in (0.10, 0.05, 0.01)]
        print(
            f"{name:10} AUROC {reached[name]:.4f}  BDR at FPR 10/5/1 % " + " / ".join(f"{rate:.1%}" for rate in rates)
        )
    assert {name: value for name, value in reached.items() if value < AUTHORS_WEIGHTS[name]} == {}
