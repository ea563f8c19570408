"""The network in torch: the paper's size, the contract's spectrum, weights in and out."""

import numpy as np
import torch
from fakes.bundles import draw_weights, drawn_detector

from gateway.contract.network import PROFILES
from gateway.contract.spectrum import spectrum
from trainer.model import Detector
from trainer.network import export_weights, load_weights, score_pixels

PIXELS_NYXC = np.random.default_rng(3).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def test_detector_has_the_papers_number_of_trainable_parameters() -> None:
    """292,002, counted by torch itself."""
    assert sum(p.numel() for p in Detector(PROFILES["paper"]).parameters() if p.requires_grad) == 292_002


def test_first_convolution_sees_the_contracts_spectrum() -> None:
    """The transform inside the network is the written definition, not a second one."""
    detector = drawn_detector(1)
    seen: list[torch.Tensor] = []
    detector.get_submodule("conv1").register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    score_pixels(detector, PIXELS_NYXC)
    np.testing.assert_allclose(seen[0].permute(0, 2, 3, 1).numpy(), spectrum(PIXELS_NYXC), atol=1e-2)


def test_weights_survive_the_way_out_and_in() -> None:
    """What is exported is what was loaded, in the profile's order."""
    weights = draw_weights(4)
    detector = Detector(PROFILES["paper"])
    load_weights(detector, weights)
    exported = export_weights(detector)
    assert list(exported) == [tensor.name for tensor in PROFILES["paper"].tensors]
    for name, values in weights.items():
        np.testing.assert_array_equal(exported[name], values)


def test_score_is_the_logit_margin_in_evaluation_mode() -> None:
    """Scoring in the middle of training neither drops out nor moves the running statistics."""
    detector = drawn_detector(1)
    before = score_pixels(detector, PIXELS_NYXC)
    detector.train()
    np.testing.assert_array_equal(score_pixels(detector, PIXELS_NYXC), before)
    assert detector.training
    detector.eval()
    with torch.no_grad():
        logits_N2 = detector(torch.from_numpy(PIXELS_NYXC)).numpy()
    np.testing.assert_allclose(before, logits_N2[:, 1] - logits_N2[:, 0], atol=1e-6)


def test_score_pixels_in_parts_is_the_same() -> None:
    """The size of a batch changes nothing but rounding; no faces give no scores."""
    detector = drawn_detector(2)
    whole = score_pixels(detector, PIXELS_NYXC)
    np.testing.assert_allclose(score_pixels(detector, PIXELS_NYXC, batch=4), whole, atol=1e-4)
    assert score_pixels(detector, PIXELS_NYXC[:0]).shape == (0,)
