"""What every detector is in torch: pixels in, score out; used for training and export, never at the edge.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gateway.contract.network import Profile

PIXELS_AT_ONCE = 512 * 32 * 32
"""Of a batch that is scored: 512 faces of 32 px, 32 of 128 px."""


class Network(nn.Module):
    """A detector of some profile: `forward` returns the logits (clean, triggered), shape (N, 2), of uint8 pixels."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self.profile = profile

    def score(self, pixels_NYXC: Tensor) -> Tensor:
        """Return the logit margin, shape (N,): above 0 the network itself would say triggered."""
        logits_N2: Tensor = self.forward(pixels_NYXC)
        return logits_N2[:, 1] - logits_N2[:, 0]


def export_weights(detector: Network) -> dict[str, NDArray[np.float32]]:
    """Return the profile's tensors by name, in its order, float32, C-contiguous."""
    state = detector.state_dict()
    return {
        tensor.name: np.ascontiguousarray(state[tensor.name].detach().cpu().numpy(), dtype=np.float32)
        for tensor in detector.profile.tensors
    }


def load_weights(detector: Network, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Put a bundle's tensors into the network.

    Raises:
        KeyError: A tensor of the profile is missing.
    """
    state = {tensor.name: torch.from_numpy(weights[tensor.name].copy()) for tensor in detector.profile.tensors}
    detector.load_state_dict(state, strict=False)


@torch.no_grad()
def score_pixels(detector: Network, pixels_NYXC: NDArray[np.uint8], *, batch: int | None = None) -> NDArray[np.float32]:
    """Return the scores of many faces, shape (N,), float32, with the network in evaluation mode.

    Without `batch`, as many at once as stay in the processor's cache.
    """
    batch = batch or max(1, PIXELS_AT_ONCE // detector.profile.side_px**2)
    was_training = detector.training
    detector.eval()
    device = next(detector.parameters()).device
    parts = [
        detector.score(torch.from_numpy(np.ascontiguousarray(pixels_NYXC[start : start + batch])).to(device)).cpu()
        for start in range(0, len(pixels_NYXC), batch)
    ]
    detector.train(was_training)
    return torch.cat(parts).numpy().astype(np.float32) if parts else np.empty(0, np.float32)
