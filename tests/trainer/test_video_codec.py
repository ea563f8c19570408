"""The H.264 round trip: real coding, every picture back at its place."""

import cv2
import numpy as np

from trainer.video_codec import clip_round_trip, frame_coded


def picture(seed: int, side_px: int) -> np.ndarray:
    """Return a soft coloured picture."""
    noise = np.random.default_rng(seed).uniform(0, 255, (side_px, side_px, 3)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 6) * 2 - 127).clip(0, 255).astype(np.uint8)


def test_lower_quality_loses_more() -> None:
    """A higher CRF is a poorer picture."""
    clip = [picture(1, 96)] * 3
    errors = [np.abs(clip_round_trip(clip, crf=crf)[-1].astype(int) - clip[0]).mean() for crf in (18, 26, 35)]
    assert errors == sorted(errors)
    assert 0 < errors[0] < 6


def test_pictures_of_any_size_come_back_in_order() -> None:
    """More pictures than one frame holds, of mixed sizes, each come back coded and recognisable."""
    pictures = [picture(index, side) for index, side in enumerate([160, 96, 41] * 12)]
    back = frame_coded(pictures, np.random.default_rng(1))
    assert [each.shape for each in back] == [each.shape for each in pictures]
    for before, after in zip(pictures, back, strict=True):
        assert 0 < np.abs(before.astype(int) - after).mean() < 15
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9


def test_coding_repeats_with_its_seed() -> None:
    """The same pictures and seed give the same coded ones."""
    pictures = [picture(index, 64) for index in range(3)]
    first, second = (frame_coded(pictures, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(np.stack(first), np.stack(second))
