"""The `wide` detector in torch: uint8 pixels in, score out; statistics of spectra and residuals, and a small network.

The paper looks at one spectrum of 32 px. At a recogniser's size, triggers hide between the lines of such a spectrum, so
this network sees a face of 128 px in several ways (detection.md 3.4, 3.5, 3.9): the spectrum of the whole face, the
spectra of 8 × 8 blocks with order statistics over the blocks, high-pass residuals with theirs, the signed lowest
frequencies, the levels of the pixels; and a small convolutional network for what has a shape. Everything is a constant
linear map, a simple function or a statistic, so that one graph takes pixels.

N faces, C colour plane, Y/X pixel row/column, U/V vertical/horizontal frequency, F feature.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gateway.contract.network import Profile
from gateway.contract.wide import (
    ACROSS_MAPS,
    BLOCK_PX,
    CHANNELS,
    CLIP,
    DOWN_MAPS,
    EDGE_PX,
    EDGE_STEP,
    FEATURES,
    HIDDEN,
    JOINED,
    KERNELS,
    LAPLACE_MAPS,
    LARGEST_LOCAL,
    LOW,
    NTH,
    POOL,
    SIDE_PX,
    STRIDES,
    TILE_POOL,
    TILE_PX,
    constants,
)  # fmt: skip
from trainer.network import Network


class Statistics(nn.Module):
    """The fixed part: features (N, F), float32, of planes (N, 3, S, S) of R, G, B in grey levels."""

    def __init__(self) -> None:
        super().__init__()
        # Plain attributes: they belong to the definition of the profile and are never trained, saved or cast.
        self._constants = {name: torch.from_numpy(array.copy()) for name, array in constants().items()}

    def residuals(self, rgb_NCYX: Tensor) -> Tensor:
        """Return the residual maps, shape (N, MAPS, S, S)."""
        return functional.conv2d(functional.pad(rgb_NCYX, (2, 2, 2, 2), mode="replicate"), self._constants["residuals"])

    def forward(self, rgb_NCYX: Tensor, residuals_NRYX: Tensor) -> Tensor:
        """Return the features."""
        ycc_NCYX = (self._constants["ycc"] @ rgb_NCYX.flatten(2)).reshape(rgb_NCYX.shape)
        parts = [
            *self._whole(ycc_NCYX),
            *self._in_blocks(rgb_NCYX),
            *self._tiled(ycc_NCYX),
            *_residual_statistics(residuals_NRYX),
            *_edges(residuals_NRYX),
            _channel_correlations(rgb_NCYX, self._constants["laplacian"]),
            *_levels(rgb_NCYX, self._constants["levels"]),
            *_grid_phase(ycc_NCYX),
        ]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _whole(self, ycc_NCYX: Tensor) -> list[Tensor]:
        spectrum_NCUV = self._constants["dct"] @ ycc_NCYX @ self._constants["dct_transposed"]
        strength = torch.log(1 + spectrum_NCUV.abs())
        low = spectrum_NCUV[:, :, :LOW, :LOW]
        signed = torch.sign(low) * torch.log(1 + low.abs())
        return [functional.avg_pool2d(strength, POOL), functional.max_pool2d(strength, POOL), signed]

    def _in_blocks(self, rgb_NCYX: Tensor) -> list[Tensor]:
        values = functional.conv2d(rgb_NCYX, self._constants["blocks"], stride=BLOCK_PX).flatten(2)
        strength = torch.log(1 + values.abs())
        mean = strength.mean(2)
        spread = ((strength * strength).mean(2) - mean * mean).clamp_min(0).sqrt()
        signed = values.mean(2)
        largest = strength.topk(NTH, dim=2).values[:, :, NTH - 1]
        return [mean, spread, largest, torch.sign(signed) * torch.log(1 + 4 * signed.abs())]

    def _tiled(self, ycc_NCYX: Tensor) -> list[Tensor]:
        """Return what repeats from window to window: the spectrum of the mean window."""
        times = SIDE_PX // TILE_PX
        windows = ycc_NCYX.reshape(-1, 3, times, TILE_PX, times, TILE_PX).mean(dim=(2, 4))
        spectrum = self._constants["tile_dct"] @ windows @ self._constants["tile_dct_transposed"]
        return [functional.max_pool2d(torch.log(1 + spectrum.abs()), TILE_POOL)]


def _residual_statistics(residuals_NRYX: Tensor) -> list[Tensor]:
    size = residuals_NRYX.abs()
    mean = size.mean(dim=(2, 3))
    power = (size * size).mean(dim=(2, 3))
    none = (1 - size).clamp_min(0).mean(dim=(2, 3))
    # Means over 8 × 8 px every 4 px, as means of four means: a fifth of the work of one overlapping pool.
    local = functional.avg_pool2d(functional.avg_pool2d(size, 4), 2, stride=1).flatten(2)
    log_local = torch.log(0.1 + local)
    largest = local.topk(LARGEST_LOCAL, dim=2).values
    log_mean = log_local.mean(2)
    spread = ((log_local * log_local).mean(2) - log_mean * log_mean).clamp_min(0).sqrt()
    peaks = functional.max_pool2d(size, 4).flatten(2).topk(NTH, dim=2).values
    return [
        torch.log(0.1 + mean),
        0.5 * torch.log(0.01 + power) - torch.log(0.1 + mean),
        none,
        torch.log(1 + peaks[:, :, 0]),
        torch.log(1 + peaks[:, :, NTH - 1]),
        log_local.amin(2),
        torch.log(0.1 + largest[:, :, 0]) - torch.log(0.1 + mean),
        torch.log(0.1 + largest.mean(2)) - torch.log(0.1 + mean),
        spread,
    ]


def _edges(residuals_NRYX: Tensor) -> list[Tensor]:
    """Return how straight the straightest edges along rows and columns are: patches have such, faces hardly."""
    across = functional.avg_pool2d(residuals_NRYX[:, ACROSS_MAPS], (EDGE_STEP, 1), stride=1)
    down = functional.avg_pool2d(residuals_NRYX[:, DOWN_MAPS], (1, EDGE_STEP), stride=1)
    found = []
    for axis, short in ((2, across), (3, down)):
        length = short.shape[axis] - EDGE_PX + EDGE_STEP
        pieces = [short.narrow(axis, first, length) for first in range(0, EDGE_PX, EDGE_STEP)]
        peaks = functional.max_pool2d(torch.stack(pieces).mean(0).abs(), 4).flatten(2).topk(NTH, dim=2).values
        found += [torch.log(1 + peaks[:, :, 0]), torch.log(1 + peaks[:, :, NTH - 1])]
    return found


def _channel_correlations(rgb_NCYX: Tensor, kernel: Tensor) -> Tensor:
    """Return how alike the residuals of R, G and B are: mosaics and lenses tie them together, edits untie them."""
    fine = functional.conv2d(rgb_NCYX, kernel, groups=3, stride=2)
    next_fine = torch.cat([fine[:, 1:], fine[:, :1]], dim=1)
    common = (fine * next_fine).mean(dim=(2, 3))
    power = (fine * fine).mean(dim=(2, 3))
    next_power = torch.cat([power[:, 1:], power[:, :1]], dim=1)
    return common / (0.05 + (power * next_power).sqrt())


def _levels(rgb_NCYX: Tensor, levels_L111: Tensor) -> list[Tensor]:
    """Return how far pixels lie from combs of levels, and how many are at the ends of the range."""
    place = rgb_NCYX[:, None, :, ::2, ::2] * levels_L111
    combs = (place - torch.round(place)).abs().mean(dim=(3, 4))
    dark = (1 - rgb_NCYX).clamp_min(0).mean(dim=(2, 3))
    bright = (rgb_NCYX - 254).clamp_min(0).mean(dim=(2, 3))
    return [combs, dark, bright]


def _grid_phase(ycc_NCYX: Tensor) -> list[Tensor]:
    """Return how differences vary with the place in a grid of 8: the trace of block coding, and where it is broken."""
    luma = ycc_NCYX[:, 0]
    rows, columns = luma.shape[1:]
    across = (luma - torch.cat([luma[:, :, 1:], luma[:, :, -1:]], dim=2)).abs()
    down = (luma - torch.cat([luma[:, 1:], luma[:, -1:]], dim=1)).abs()
    across_8 = across.mean(1).reshape(-1, columns // BLOCK_PX, BLOCK_PX).mean(1)
    down_8 = down.mean(2).reshape(-1, rows // BLOCK_PX, BLOCK_PX).mean(1)
    return [torch.log(0.2 + each) - torch.log(0.2 + each).mean(1, keepdim=True) for each in (across_8, down_8)]


class WideDetector(Network):
    """The network of the profile `wide`: a dense branch over the statistics, a convolutional one over the pixels."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.statistics = Statistics()
        self.features_mean = nn.Parameter(torch.zeros(FEATURES), requires_grad=False)
        self.features_scale = nn.Parameter(torch.ones(FEATURES), requires_grad=False)
        self.dense1 = nn.Linear(FEATURES, HIDDEN)
        incoming = 6
        for index, (outgoing, kernel) in enumerate(zip(CHANNELS, KERNELS, strict=True), start=1):
            self.add_module(f"conv{index}", nn.Conv2d(incoming, outgoing, kernel, bias=False))
            self.add_module(f"norm{index}", nn.BatchNorm2d(outgoing, eps=profile.norm_epsilon, momentum=0.01))
            incoming = outgoing
        self.dense2 = nn.Linear(HIDDEN + 2 * incoming, JOINED)
        self.dense3 = nn.Linear(JOINED, 2)
        self.dropout = nn.Dropout(0.3)

    def planes(self, pixels_NYXC: Tensor) -> Tensor:
        """Return float planes of R, G, B."""
        return pixels_NYXC.permute(0, 3, 1, 2).to(torch.float32)

    def standardised(self, features_NF: Tensor) -> Tensor:
        """Return features as the dense branch takes them."""
        return ((features_NF - self.features_mean) * self.features_scale).clamp(-CLIP, CLIP)

    def shapes(self, rgb_NCYX: Tensor, residuals_NRYX: Tensor) -> Tensor:
        """Return what the convolutional branch makes of the pixels and their Laplacians."""
        fine = (residuals_NRYX[:, LAPLACE_MAPS] / 4).clamp(-8, 8)
        x = torch.cat([rgb_NCYX / 64 - 2, fine], dim=1)
        for index, (kernel, stride) in enumerate(zip(KERNELS, STRIDES, strict=True), start=1):
            x = functional.conv2d(x, getattr(self, f"conv{index}").weight, stride=stride, padding=kernel // 2)
            x = functional.relu(getattr(self, f"norm{index}")(x))
        return torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)

    def combine(self, standard_NF: Tensor, shapes_NK: Tensor) -> Tensor:
        """Return the logits of both branches."""
        hidden = self.dropout(functional.relu(self.dense1(standard_NF)))
        both = torch.cat([hidden, shapes_NK], dim=1)
        logits: Tensor = self.dense3(self.dropout(functional.relu(self.dense2(both))))
        return logits

    def forward(self, pixels_NYXC: Tensor) -> Tensor:
        """Return the logits (clean, triggered), shape (N, 2), of uint8 pixels (N, S, S, 3)."""
        rgb_NCYX = self.planes(pixels_NYXC)
        with torch.no_grad():
            residuals_NRYX = self.statistics.residuals(rgb_NCYX)
            standard_NF = self.standardised(self.statistics(rgb_NCYX, residuals_NRYX))
        return self.combine(standard_NF, self.shapes(rgb_NCYX, residuals_NRYX))
