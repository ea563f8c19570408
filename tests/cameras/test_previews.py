"""Pictures for people: only while somebody watches, few and small."""

import cv2
import numpy as np

from gateway.cameras.previews import Previews
from gateway.cameras.wire import MAX_PREVIEW_BYTES


def test_no_picture_is_made_while_nobody_watches() -> None:
    """It would cost time, and pictures leave a worker for people alone."""
    assert Previews().of(np.zeros((90, 160, 3), np.uint8), 1, now_s=10.0) is None


def test_pictures_are_small_and_at_most_five_a_second_when_somebody_watches() -> None:
    """The colours are right: JPEG files keep them the other way round."""
    previews = Previews()
    previews.is_on = True
    red_HWC = np.zeros((720, 1280, 3), np.uint8)
    red_HWC[..., 0] = 255
    made = [previews.of(red_HWC, seq, now_s=10.0 + seq / 25) for seq in range(25)]
    assert [preview.seq for preview in made if preview] == [0, 5, 10, 15, 20]
    assert made[0] is not None
    seen_HWC = cv2.imdecode(np.frombuffer(made[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert seen_HWC.shape == (360, 640, 3)
    assert seen_HWC[100, 100, 2] > 200 > 50 > seen_HWC[100, 100, 0]


def test_a_picture_of_noise_stays_within_the_bound() -> None:
    """Whatever a camera sends, the parent refuses no preview of it."""
    previews = Previews()
    previews.is_on = True
    noise_HWC = np.random.default_rng(1).integers(0, 256, (640, 640, 3), np.uint8)
    preview = previews.of(noise_HWC, 1, now_s=1.0)
    assert preview is None or len(preview.jpeg) <= MAX_PREVIEW_BYTES
