"""The detector of the profile `paper` in torch: pixels in, score out, the DCT inside.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gateway.contract.network import Profile
from gateway.contract.spectrum import dct_matrix
from trainer.network import Network


class Detector(Network):
    """The network of a profile over the spectrum of each colour plane (paper, sections IV-A and IV-C, Table I).

    Dropout after each pool (0.2, 0.3, 0.4) is the authors' code's, not the paper's; it does nothing outside training.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        # A plain attribute: it belongs to the definition of the spectrum and is never trained, saved or cast.
        self.dct_UY = torch.from_numpy(dct_matrix(profile.side_px).copy())
        incoming = 3
        for index, outgoing in enumerate(profile.conv_channels, start=1):
            self.add_module(f"conv{index}", nn.Conv2d(incoming, outgoing, 3, padding=1))
            # Keras' momentum .99 is 0.01 in torch's convention.
            self.add_module(f"norm{index}", nn.BatchNorm2d(outgoing, eps=profile.norm_epsilon, momentum=0.01))
            incoming = outgoing
        pools = len(profile.conv_channels) // 2
        self.dense = nn.Linear(incoming * (profile.side_px >> pools) ** 2, 2)
        self.dropouts = nn.ModuleList(nn.Dropout(0.2 + 0.1 * pool) for pool in range(pools))

    @property
    def convolutions(self) -> int:
        """Number of convolutions before the dense layer."""
        return len(self.profile.conv_channels)

    def forward(self, pixels_NYXC: Tensor) -> Tensor:
        """Return the logits (clean, triggered), shape (N, 2), of uint8 pixels (N, S, S, 3)."""
        return self.classify(self.convolve(self.spectrum(pixels_NYXC), range(1, self.convolutions + 1)))

    def spectrum(self, pixels_NYXC: Tensor) -> Tensor:
        """Return the DCT of each colour plane, shape (N, C, S, S), of uint8 pixels (N, S, S, 3)."""
        planes_NCYX = pixels_NYXC.permute(0, 3, 1, 2).to(torch.float32)
        with torch.autocast(pixels_NYXC.device.type, enabled=False):
            dct_UY = self.dct_UY.to(pixels_NYXC.device)
            x: Tensor = dct_UY @ planes_NCYX @ dct_UY.T
        return x.contiguous(memory_format=torch.channels_last)

    def convolve(self, x: Tensor, layers: Iterable[int]) -> Tensor:
        """Pass through these convolutions (from 1), each with its norm and, after every second, a pool and dropout."""
        for index in layers:
            x = nn.functional.elu(getattr(self, f"conv{index}")(x))
            x = getattr(self, f"norm{index}")(x)
            if index % 2 == 0:
                x = self.dropouts[index // 2 - 1](nn.functional.max_pool2d(x, 2))
        return x

    def classify(self, x: Tensor) -> Tensor:
        """Return the logits of what the last convolution gave."""
        logits: Tensor = self.dense(x.permute(0, 2, 3, 1).flatten(1))
        return logits
