"""The features of a face: they follow light and blur, and do not depend on the detector's size of a face."""

import numpy as np
from fakes.adaptation import faces
from scipy.fft import dctn

from gateway.adaptation.features import BANDS, FEATURES, SCALARS, frequency_features, scalars


def test_features_when_compared_with_scipy() -> None:
    """The first is the mean grey level, the last the logarithm of the mean energy of the highest frequencies."""
    pixels_NYXC = faces(3, seed=1)
    found_NF = frequency_features(pixels_NYXC)
    assert found_NF.shape == (3, FEATURES)
    luma_YX = pixels_NYXC[1].astype(float) @ [0.299, 0.587, 0.114]
    energy_UV = dctn(luma_YX, norm="ortho") ** 2
    larger_UV = np.maximum.outer(np.arange(32), np.arange(32))
    assert np.isclose(found_NF[1, 0], luma_YX.mean(), atol=1e-3)
    assert np.isclose(found_NF[1, BANDS], np.log(energy_UV[larger_UV >= 28].mean() + 1e-2), atol=1e-3)


def test_scalars_when_the_light_falls_and_the_picture_is_blurred() -> None:
    """Half the light is half the brightness; blur takes from the high frequencies more than from the middle ones."""
    sharp, dark, blurred = (
        dict(zip(SCALARS, scalars(frequency_features(each)[0], 1.5), strict=True))
        for each in (faces(1, seed=2), faces(1, seed=2, light=0.5), faces(1, seed=2, blurred=True))
    )
    assert np.isclose(dark["brightness"], sharp["brightness"] / 2, rtol=0.02)
    assert blurred["blur"] > sharp["blur"] + 0.5
    assert blurred["high_band"] < sharp["high_band"] - 0.5
    assert sharp["score"] == 1.5


def test_features_when_faces_are_larger() -> None:
    """A detector of another size has the same number of features, and none of them is lost in rounding."""
    assert np.isfinite(frequency_features(np.zeros((2, 128, 128, 3), np.uint8))).all()
    assert frequency_features(faces(2, seed=3, side_px=64)).shape == (2, FEATURES)
