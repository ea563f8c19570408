"""Whitening: features turned and scaled so that all directions vary alike among clean faces.

What sets faces apart (light, sharpness, codec) fills a few directions of the statistics; what a trigger changes often
lies in others that hardly vary. Trained on whitened features, a dense layer finds those in a fraction of the steps.
Afterwards the whitening is folded into the layer, so the graph knows nothing of it (decision 0035).

N faces, F feature, H hidden.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FLOOR = 1e-2
"""Variance that is added to every direction: what hardly varies in a sample would be blown up by any other face."""


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """A symmetric linear map about a mean: `turn_FF` and its inverse, `mean_F`."""

    mean_F: Tensor
    turn_FF: Tensor
    back_FF: Tensor

    def apply(self, standard_NF: Tensor) -> Tensor:
        """Return whitened features."""
        return (standard_NF - self.mean_F) @ self.turn_FF

    @torch.no_grad()
    def fold(self, layer: nn.Linear) -> None:
        """Turn a layer over whitened features into the same one over features as they are."""
        layer.weight.copy_(layer.weight @ self.turn_FF)
        layer.bias.sub_(layer.weight @ self.mean_F)

    @torch.no_grad()
    def unfold(self, layer: nn.Linear) -> None:
        """Turn a layer over features as they are into the same one over whitened features."""
        layer.bias.add_(layer.weight @ self.mean_F)
        layer.weight.copy_(layer.weight @ self.back_FF)


@torch.no_grad()
def whitening_of(standard_NF: Tensor, *, floor: float = FLOOR) -> Whitening:
    """Return the whitening of a sample of features, computed in float64."""
    values = standard_NF.double()
    mean_F = values.mean(0)
    centred_NF = values - mean_F
    variance_R, directions_FR = _principal(centred_NF)
    rest = floor**-0.5
    # Along its principal directions the sample is scaled to 1, in all others, where it does not vary, by the floor.
    scale_R = (variance_R + floor).rsqrt()
    identity_FF = torch.eye(len(mean_F), dtype=torch.float64, device=values.device)
    turn_FF = rest * identity_FF + (directions_FR * (scale_R - rest)) @ directions_FR.T
    back_FF = identity_FF / rest + (directions_FR * (1 / scale_R - 1 / rest)) @ directions_FR.T
    return Whitening(mean_F.float(), turn_FF.float(), back_FF.float())


def _principal(centred_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Return variances and directions of a sample, by whichever of its two Gram matrices is smaller."""
    count, features = centred_NF.shape
    if count >= features:
        variance_F, directions_FF = torch.linalg.eigh(centred_NF.T @ centred_NF / count)
        return variance_F.clamp_min(0), directions_FF
    variance_N, mixes_NN = torch.linalg.eigh(centred_NF @ centred_NF.T / count)
    kept_N = variance_N > 1e-9 * variance_N.max()
    variance_R = variance_N[kept_N]
    return variance_R, centred_NF.T @ mixes_NN[:, kept_N] / (count * variance_R).sqrt()
