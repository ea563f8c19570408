"""The `wide` network: its size and its statistics."""

import numpy as np
import pytest
import torch
from fakes.bundles import drawn_wide
from numpy.typing import NDArray

from gateway.contract.constants import graph_constants
from gateway.contract.network import PROFILES
from gateway.contract.spectrum import spectrum
from gateway.contract.wide import CHANNELS, FEATURES, FINE, LOW, PLACE_FEATURES, PLACES, POOL
from trainer.export import make_self_test
from trainer.network import export_weights
from trainer.wide_model import WideDetector

WIDE = PROFILES["wide"]


def _statistics(pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(WideDetector(WIDE).seen(torch.from_numpy(pixels_NYXC))[0])


def test_network_is_light() -> None:
    """At most a million parameters and 4 MB, counted by torch itself."""
    detector = WideDetector(WIDE)
    trainable = sum(each.numel() for each in detector.parameters() if each.requires_grad)
    assert trainable == WIDE.trainable_parameters <= 1_000_000
    assert sum(array.nbytes for array in export_weights(detector).values()) <= 4_000_000


def test_first_statistics_are_the_contracts_spectrum() -> None:
    """The pooled whole-face spectrum is that of the written definition, of luma and chroma."""
    pixels_NYXC = make_self_test(WIDE)[:3]
    ycc_NYXC = pixels_NYXC.astype(np.float32) @ graph_constants(WIDE)["ycc"].T
    planes_NCUV = np.log1p(np.abs(spectrum(ycc_NYXC.astype(np.float32)))).transpose(0, 3, 1, 2)  # type: ignore[arg-type]
    pooled = planes_NCUV.reshape(3, 3, 128 // POOL, POOL, 128 // POOL, POOL).mean(axis=(3, 5)).reshape(3, -1)
    found_NF = _statistics(pixels_NYXC)
    assert found_NF.shape == (3, FEATURES)
    np.testing.assert_allclose(found_NF[:, : pooled.shape[1]], pooled, atol=2e-3)


def test_signed_lowest_frequencies_keep_their_sign() -> None:
    """A gradient and its mirror image differ in sign alone: log magnitude would lose that."""
    slope_YX = np.linspace(60, 190, 128)[None, :].repeat(128, 0)
    both_NYXC = np.stack([slope_YX, slope_YX[:, ::-1]])[..., None].repeat(3, 3).astype(np.uint8)
    first = 3 * 2 * (128 // POOL) ** 2
    low_NV = _statistics(both_NYXC)[:, first : first + LOW]
    assert low_NV[0, 1] < -1
    assert low_NV[1, 1] > 1
    np.testing.assert_allclose(low_NV[:, 0], low_NV[:, 0].mean(), atol=1e-2)


def test_a_patch_is_seen_in_its_place_alone() -> None:
    """The statistics of the places are those of their pixels: nothing else changes where something is laid."""
    face_YXC = make_self_test(WIDE)[3]
    patched_YXC = face_YXC.copy()
    patched_YXC[40:56, 72:96] = 255
    clean_FPQ, patched_FPQ = (
        WideDetector(WIDE).seen(torch.from_numpy(each[None]))[1][0].numpy() for each in (face_YXC, patched_YXC)
    )
    assert clean_FPQ.shape == (PLACE_FEATURES, PLACES, PLACES)
    changed_PQ = np.abs(clean_FPQ - patched_FPQ).max(axis=0) > 1e-3
    assert changed_PQ[5:7, 9:12].all()
    # Filters of 5 px and pieces of 8 px reach into the neighbours.
    changed_PQ[4:8, 8:13] = False
    assert not changed_PQ.any()


def test_statistics_learn_nothing() -> None:
    """Training moves the dense and convolutional layers alone."""
    detector = drawn_wide()
    detector.train()
    detector(torch.from_numpy(make_self_test(WIDE)[:4])).sum().backward()
    assert detector.features_mean.grad is None
    assert detector.places_mean.grad is None
    assert detector.dense1.weight.grad is not None
    assert detector.context.weight.grad is not None
    assert detector.get_parameter("conv1.weight").grad is not None


@pytest.mark.parametrize(("has", "training", "expected"), [
    (True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32),
])  # fmt: skip
def test_half_precision_is_for_training_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, has: bool, training: bool, expected: torch.dtype
) -> None:
    """Emulated it is twelve times slower, and what judges never rounds."""
    monkeypatch.setattr("trainer.wide_model.HALF_PRECISION", has)
    detector, seen = drawn_wide().train(training), []
    detector.get_submodule("conv2").register_forward_hook(lambda _, __, made: seen.append(made.dtype))
    detector(torch.from_numpy(make_self_test(WIDE)[:2]))
    assert seen == [expected]


def test_what_is_usual_differs_from_place_to_place() -> None:
    """The same thing counts otherwise at another place of the picture, and a thing's shape over most of the face."""
    detector = drawn_wide().eval()
    standard_NFPQ = torch.zeros(2, PLACE_FEATURES, PLACES, PLACES)
    standard_NFPQ[0, :, 2:4, 2:4] = standard_NFPQ[1, :, 10:12, 10:12] = 3
    with torch.no_grad():
        detector.usual.zero_()
        before = detector.shapes(standard_NFPQ)
        detector.usual[:, 2:4, 2:4] = -5
        after = detector.shapes(standard_NFPQ)
    inner = slice(0, CHANNELS[FINE - 2])
    torch.testing.assert_close(before[0, inner], before[1, inner])
    assert not torch.allclose(after[0, inner], after[1, inner], atol=0.1)
