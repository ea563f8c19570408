"""The `wide` detector in torch: uint8 pixels in, score out; statistics of spectra and residuals, and a small network.

The paper looks at one spectrum of 32 px. At a recogniser's size, triggers hide between the lines of such a spectrum, so
this network sees a face of 128 px in several ways (detection.md 3.4, 3.5, 3.9): the spectrum of the whole face, the
spectra of 8 × 8 blocks with order statistics over the blocks, high-pass residuals with theirs, the signed lowest
frequencies, the levels of the pixels; and a small convolutional network over statistics of its 16 × 16 places, for what
is unlike the rest of the same face. Everything is a constant linear map, a simple function or a statistic, so that one
graph takes pixels.

N faces, C colour plane, Y/X pixel row/column, P/Q row/column of places, U/V vertical/horizontal frequency, F feature,
R residual map.
"""

from typing import NamedTuple

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
    FINE,
    HIDDEN,
    JOINED,
    JUDGED,
    KERNELS,
    LARGEST_LOCAL,
    LOW,
    NTH,
    PLACE_FEATURES,
    PLACES,
    POOL,
    SIDE_PX,
    SIGNED_IN_PLACES,
    STRONGEST,
    TILE_POOL,
    TILE_PX,
    constants,
)  # fmt: skip
from trainer.network import Network

HALF_PRECISION: bool = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 - nothing public says so in torch 2.9
"""Whether the processor computes with bfloat16: twice as fast where it does, and where it does not, twelve times slower
(64 channels of 3 × 3 over 16 × 16 places, forward and back: 28 ms in float32, 371 ms in bfloat16 emulated by AVX2)."""


class Statistics(nn.Module):
    """The fixed part, of planes (N, 3, S, S) of R, G, B in grey levels."""

    def __init__(self) -> None:
        super().__init__()
        # Plain attributes: they belong to the definition of the profile and are never trained, saved or cast.
        self._constants = {name: torch.from_numpy(array.copy()) for name, array in constants().items()}

    def forward(self, rgb_NCYX: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the faces (N, F) and of their places (N, PLACE_FEATURES, P, Q), float32.

        Computed where the planes are, on a processor or a GPU.
        """
        if self._constants["dct"].device != rgb_NCYX.device:
            self._constants = {name: constant.to(rgb_NCYX.device) for name, constant in self._constants.items()}
        padded = functional.pad(rgb_NCYX, (2, 2, 2, 2), mode="replicate")
        residuals = _of_residuals(functional.conv2d(padded, self._constants["residuals"]))
        blocks_NUPQ = functional.conv2d(rgb_NCYX, self._constants["blocks"], stride=BLOCK_PX)
        strength_NUPQ = torch.log(1 + blocks_NUPQ.abs())
        ycc_NCYX = (self._constants["ycc"] @ rgb_NCYX.flatten(2)).reshape(rgb_NCYX.shape)
        parts = [
            *self._whole(ycc_NCYX),
            *_over_blocks(blocks_NUPQ.flatten(2), strength_NUPQ.flatten(2)),
            *self._tiled(ycc_NCYX),
            *_residual_statistics(residuals),
            *_edges(residuals),
            _channel_correlations(rgb_NCYX, self._constants["laplacian"]),
            *_levels(rgb_NCYX, self._constants["levels"]),
            *_grid_phase(ycc_NCYX),
        ]
        places_NFPQ = torch.cat([strength_NUPQ, *_in_places(blocks_NUPQ, residuals)], dim=1)
        return torch.cat([part.flatten(1) for part in parts], dim=1), places_NFPQ

    def _whole(self, ycc_NCYX: Tensor) -> list[Tensor]:
        spectrum_NCUV = self._constants["dct"] @ ycc_NCYX @ self._constants["dct_transposed"]
        strength = torch.log(1 + spectrum_NCUV.abs())
        low = spectrum_NCUV[:, :, :LOW, :LOW]
        signed = torch.sign(low) * torch.log(1 + low.abs())
        return [functional.avg_pool2d(strength, POOL), functional.max_pool2d(strength, POOL), signed]

    def _tiled(self, ycc_NCYX: Tensor) -> list[Tensor]:
        """Return what repeats from window to window: the spectrum of the mean window."""
        times = SIDE_PX // TILE_PX
        windows = ycc_NCYX.reshape(-1, 3, times, TILE_PX, times, TILE_PX).mean(dim=(2, 4))
        spectrum = self._constants["tile_dct"] @ windows @ self._constants["tile_dct_transposed"]
        return [functional.max_pool2d(torch.log(1 + spectrum.abs()), TILE_POOL)]


def _over_blocks(values: Tensor, strength: Tensor) -> list[Tensor]:
    mean = strength.mean(2)
    spread = ((strength * strength).mean(2) - mean * mean).clamp_min(0).sqrt()
    signed = values.mean(2)
    largest = strength.topk(NTH, dim=2).values[:, :, NTH - 1]
    return [mean, spread, largest, torch.sign(signed) * torch.log(1 + 4 * signed.abs())]


class _Residuals(NamedTuple):
    """What the statistics of the face and those of its places both need of the residual maps."""

    size: Tensor
    local: Tensor
    """Mean size over 8 × 8 px every 4 px."""
    peaks: Tensor
    """Largest size in 4 × 4 px."""
    flat: Tensor
    """How far sizes in 8 × 8 px fall short of 1."""
    across: Tensor
    down: Tensor
    """Signed means over pieces of 4 px, along the columns of differences across and the rows of those down."""


def _of_residuals(residuals_NRYX: Tensor) -> _Residuals:
    size = residuals_NRYX.abs()
    return _Residuals(
        size,
        # As means of four means: a fifth of the work of one overlapping pool.
        functional.avg_pool2d(functional.avg_pool2d(size, 4), 2, stride=1),
        functional.max_pool2d(size, 4),
        functional.avg_pool2d((1 - size).clamp_min(0), BLOCK_PX),
        _mean_piece(residuals_NRYX[:, ACROSS_MAPS], axis=2),
        _mean_piece(residuals_NRYX[:, DOWN_MAPS], axis=3),
    )


def _mean_piece(maps_NRYX: Tensor, *, axis: int) -> Tensor:
    """Return the mean over every piece of EDGE_STEP px along an axis: sums of shifted maps are faster than a pool."""
    length = maps_NRYX.shape[axis] - EDGE_STEP + 1
    total = maps_NRYX.narrow(axis, 0, length).clone()
    for first in range(1, EDGE_STEP):
        total += maps_NRYX.narrow(axis, first, length)
    return total / EDGE_STEP


def _in_places(blocks_NUPQ: Tensor, residuals: _Residuals) -> list[Tensor]:
    """Return what the places have beside the strength of their spectra: signs, residuals, straight pieces."""
    signed = blocks_NUPQ[:, list(SIGNED_IN_PLACES)]
    across, down = residuals.across[:, :, ::EDGE_STEP], residuals.down[:, :, :, ::EDGE_STEP]
    across = (across[:, :, :-1] + across[:, :, 1:]).abs() / 2
    down = (down[:, :, :, :-1] + down[:, :, :, 1:]).abs() / 2
    # The last piece has no neighbour; sizes are never below zero, so zeros change no maximum.
    across = functional.max_pool2d(functional.pad(across, (0, 0, 0, 1)), (2, BLOCK_PX))
    down = functional.max_pool2d(functional.pad(down, (0, 1, 0, 0)), (BLOCK_PX, 2))
    return [
        torch.sign(signed) * torch.log(1 + signed.abs()),
        torch.log(0.1 + residuals.local[:, :, ::2, ::2]),
        torch.log(1 + functional.max_pool2d(residuals.peaks, 2)),
        residuals.flat,
        torch.log(0.1 + across),
        torch.log(0.1 + down),
    ]


def _residual_statistics(residuals: _Residuals) -> list[Tensor]:
    size = residuals.size
    mean = size.mean(dim=(2, 3))
    power = (size * size).mean(dim=(2, 3))
    local = residuals.local.flatten(2)
    log_local = torch.log(0.1 + local)
    largest = local.topk(LARGEST_LOCAL, dim=2).values
    log_mean = log_local.mean(2)
    spread = ((log_local * log_local).mean(2) - log_mean * log_mean).clamp_min(0).sqrt()
    peaks = residuals.peaks.flatten(2).topk(NTH, dim=2).values
    return [
        torch.log(0.1 + mean),
        0.5 * torch.log(0.01 + power) - torch.log(0.1 + mean),
        residuals.flat.mean(dim=(2, 3)),
        torch.log(1 + peaks[:, :, 0]),
        torch.log(1 + peaks[:, :, NTH - 1]),
        log_local.amin(2),
        torch.log(0.1 + largest[:, :, 0]) - torch.log(0.1 + mean),
        torch.log(0.1 + largest.mean(2)) - torch.log(0.1 + mean),
        spread,
    ]


def _edges(residuals: _Residuals) -> list[Tensor]:
    """Return how straight the straightest edges along rows and columns are: patches have such, faces hardly."""
    found = []
    for axis, short in ((2, residuals.across), (3, residuals.down)):
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


def _levels(rgb_NCYX: Tensor, levels_VL: Tensor) -> list[Tensor]:
    """Return how far pixels lie from combs of levels, and how many are at the ends of the range.

    How far is read off the counts of the 256 values, which are few: every pixel beside every comb would be a third of
    the work of all statistics.
    """
    values_KI = rgb_NCYX[:, :, ::2, ::2].flatten(2).flatten(0, 1).long()
    offsets_K1 = 256 * torch.arange(len(values_KI), device=values_KI.device)[:, None]
    counts_KV = torch.bincount((values_KI + offsets_K1).flatten(), minlength=256 * len(values_KI)).reshape(-1, 256)
    shares_NCV = (counts_KV.float() / values_KI.shape[1]).reshape(len(rgb_NCYX), 3, 256)
    combs = (shares_NCV @ levels_VL).transpose(1, 2)
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
    """The network of the profile `wide`: a dense branch over the face's statistics, a local one over its places'."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.statistics = Statistics()
        self.features_mean = nn.Parameter(torch.zeros(FEATURES), requires_grad=False)
        self.features_scale = nn.Parameter(torch.ones(FEATURES), requires_grad=False)
        self.dense1 = nn.Linear(FEATURES, HIDDEN)
        self.places_mean = nn.Parameter(torch.zeros(PLACE_FEATURES), requires_grad=False)
        self.places_scale = nn.Parameter(torch.ones(PLACE_FEATURES), requires_grad=False)
        self.context = nn.Linear(2 * PLACE_FEATURES, CHANNELS[0], bias=False)
        # What is usual differs from place to place: hair is at the edge of a picture, skin in its middle.
        self.usual = nn.Parameter(torch.zeros(CHANNELS[0], PLACES, PLACES))
        incoming = PLACE_FEATURES
        for index, (outgoing, kernel) in enumerate(zip(CHANNELS, KERNELS, strict=True), start=1):
            self.add_module(f"conv{index}", nn.Conv2d(incoming, outgoing, kernel, padding=kernel // 2, bias=False))
            self.add_module(f"norm{index}", nn.BatchNorm2d(outgoing, eps=profile.norm_epsilon, momentum=0.02))
            incoming = outgoing
        self.dense2 = nn.Linear(HIDDEN + JUDGED, JOINED)
        self.dense3 = nn.Linear(JOINED, 2)
        self.dropout = nn.Dropout(0.3)

    def planes(self, pixels_NYXC: Tensor) -> Tensor:
        """Return float planes of R, G, B."""
        return pixels_NYXC.permute(0, 3, 1, 2).to(torch.float32)

    @torch.no_grad()
    def seen(self, pixels_NYXC: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics of uint8 pixels (N, S, S, 3), of the faces and of their places, as they are."""
        features_NF, places_NFPQ = self.statistics(self.planes(pixels_NYXC))
        return features_NF, places_NFPQ

    def standardised(self, features_NF: Tensor) -> Tensor:
        """Return features as the dense branch takes them."""
        return ((features_NF - self.features_mean) * self.features_scale).clamp(-CLIP, CLIP)

    def standardised_places(self, places_NFPQ: Tensor) -> Tensor:
        """Return the statistics of the places as the local branch takes them."""
        centred = (places_NFPQ - self.places_mean[:, None, None]) * self.places_scale[:, None, None]
        return centred.clamp(-CLIP, CLIP)

    def shapes(self, standard_NFPQ: Tensor) -> Tensor:
        """Return what the local branch makes of the places: each is seen beside the mean and spread of its face."""
        mean_NF = standard_NFPQ.mean(dim=(2, 3))
        spread_NF = ((standard_NFPQ * standard_NFPQ).mean(dim=(2, 3)) - mean_NF * mean_NF).clamp_min(0).sqrt()
        context_NC = self.context(torch.cat([mean_NF, spread_NF], dim=1))
        # Half precision in training alone, and dropout is coarser than its rounding.
        halves = self.training and HALF_PRECISION and not standard_NFPQ.is_cuda
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            first = self._convolved(1, standard_NFPQ, context_NC[:, :, None, None] + self.usual)
            second = self._convolved(2, first)
            third = self._convolved(3, second)
            coarse = functional.max_pool2d(third, 2)
            for index in range(FINE + 1, len(CHANNELS) + 1):
                coarse = self._convolved(index, coarse)
        second, third, coarse = second.float(), third.float().flatten(2), coarse.float()
        strongest = third.topk(STRONGEST, dim=2).values
        fine = [second.amax(dim=(2, 3)), third.mean(2), strongest[:, :, 0], strongest.mean(2)]
        return torch.cat([*fine, coarse.mean(dim=(2, 3)), coarse.amax(dim=(2, 3))], dim=1)

    def _convolved(self, index: int, x: Tensor, plus: Tensor | None = None) -> Tensor:
        convolved: Tensor = getattr(self, f"conv{index}")(x)
        return functional.relu(getattr(self, f"norm{index}")(convolved if plus is None else convolved + plus))

    def combine(self, standard_NF: Tensor, shapes_NK: Tensor) -> Tensor:
        """Return the logits of both branches."""
        return self.joined(self.hidden(standard_NF), shapes_NK)

    def hidden(self, standard_NF: Tensor) -> Tensor:
        """Return what the dense branch makes of standardised features."""
        hidden_NH: Tensor = self.dropout(functional.relu(self.dense1(standard_NF)))
        return hidden_NH

    def joined(self, hidden_NH: Tensor, shapes_NK: Tensor) -> Tensor:
        """Return the logits of what both branches made of the faces."""
        both = torch.cat([hidden_NH, shapes_NK], dim=1)
        logits: Tensor = self.dense3(self.dropout(functional.relu(self.dense2(both))))
        return logits

    def forward(self, pixels_NYXC: Tensor) -> Tensor:
        """Return the logits (clean, triggered), shape (N, 2), of uint8 pixels (N, S, S, 3)."""
        features_NF, places_NFPQ = self.seen(pixels_NYXC)
        return self.combine(self.standardised(features_NF), self.shapes(self.standardised_places(places_NFPQ)))
