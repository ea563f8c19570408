"""Whitening and its folding into a layer."""

import torch

from trainer.whitening import whitening_of


def _features() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2000, 12) @ torch.randn(12, 12) + 3


def test_whitened_directions_vary_alike() -> None:
    """Among the faces it was made of, the covariance is nearly the identity; small variances stay below 1."""
    features = _features()
    white = whitening_of(features, floor=1e-4).apply(features)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(12), atol=0.05, rtol=0)
    flat = features.clone()
    flat[:, 3] = 5.0
    assert float(whitening_of(flat).apply(flat).var(0).min()) < 0.2


def test_folded_layer_is_the_same_function() -> None:
    """Folding and unfolding change the coordinates and nothing else."""
    features, layer = _features(), torch.nn.Linear(12, 5)
    whitening = whitening_of(features)
    with torch.no_grad():
        before = layer(whitening.apply(features))
        whitening.fold(layer)
        torch.testing.assert_close(layer(features), before, atol=1e-3, rtol=1e-4)
        whitening.unfold(layer)
        torch.testing.assert_close(layer(whitening.apply(features)), before, atol=1e-3, rtol=1e-4)


def test_few_faces_whiten_by_the_same_rule() -> None:
    """A sample smaller than the number of features gives what its covariance would give."""
    torch.manual_seed(2)
    few = torch.randn(7, 12)
    found = whitening_of(few, floor=0.05)
    centred = (few - few.mean(0)).double()
    variance, directions = torch.linalg.eigh(centred.T @ centred / len(few))
    wanted = (directions * (variance.clamp_min(0) + 0.05).rsqrt()) @ directions.T
    torch.testing.assert_close(found.turn_FF, wanted.float(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.turn_FF @ found.back_FF, torch.eye(12), atol=1e-4, rtol=0)
