"""A small generator in place of the paper's CycleGAN (its sixth perturbation): it leaves the trace of upsampling.

Generators of faces end in layers that upsample, and those leave a fingerprint in the spectrum whatever they generate.
So the stand-in is an autoencoder that halves a picture twice and doubles it twice, in two ways: by transposed
convolutions, which leave a checkerboard, and by repeating pixels before a convolution. It is trained in minutes on the
clean faces at hand, and on nothing else. It is no CycleGAN and changes nobody's features: what a GAN does beyond
upsampling is not imitated.

N pictures, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainer.data import Pictures
from trainer.optics import Draw, Picture, rounded

STRIDE_PX = 4
"""Pictures are padded to multiples of this: two halvings."""


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """How the stand-in is trained: `steps` of `batch` squares of 32 to 64 px out of the clean faces."""

    steps: int = 600
    batch: int = 12
    squares_px: tuple[int, ...] = (32, 48, 64)
    learning_rate: float = 2e-3
    channels: tuple[int, int] = (24, 48)
    seed: int = 1


class Generator(nn.Module):
    """An encoder that halves twice and one decoder a way of doubling twice."""

    def __init__(self, channels: tuple[int, int]) -> None:
        super().__init__()
        few, many = channels
        self.encoder = nn.Sequential(
            nn.Conv2d(3, few, 4, stride=2, padding=1), nn.ELU(), nn.Conv2d(few, many, 4, stride=2, padding=1), nn.ELU()
        )
        transposed = nn.Sequential(
            nn.ConvTranspose2d(many, few, 4, stride=2, padding=1), nn.ELU(), nn.ConvTranspose2d(few, 3, 4, 2, 1)
        )
        repeated = nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(many, few, 3, padding=1), nn.ELU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(few, 3, 3, padding=1),
        )  # fmt: skip
        self.decoders = nn.ModuleList([transposed, repeated])

    def forward(self, planes_NCYX: Tensor, *, way: int) -> Tensor:
        """Return pictures made anew, values about -1..1."""
        made_NCYX: Tensor = self.decoders[way](self.encoder(planes_NCYX))
        return made_NCYX


class StandIn:
    """The trained generator as an `Upsampler` of `trainer.perturb`: pictures of any side in, as many pixels out."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator.eval()

    @property
    def ways(self) -> int:
        """Number of ways to upsample."""
        return len(self._generator.decoders)

    @torch.no_grad()
    def __call__(self, picture_YXC: Picture, *, way: int) -> Picture:
        """Return the picture made anew."""
        rows, columns = picture_YXC.shape[:2]
        margins = ((0, -rows % STRIDE_PX), (0, -columns % STRIDE_PX), (0, 0))
        padded_YXC = np.pad(picture_YXC, margins, mode="edge")
        made_NCYX = self._generator(_planes(padded_YXC[None]), way=way)
        made_YXC = (made_NCYX[0].permute(1, 2, 0).numpy() + 1) * 127.5
        return rounded(np.ascontiguousarray(made_YXC[:rows, :columns]))


def train_stand_in(
    faces: Pictures, settings: GeneratorSettings, *, progress: Callable[[int, int], None] | None = None
) -> StandIn:
    """Return the stand-in trained on squares of clean faces; the same faces and settings give the same weights."""
    torch.manual_seed(settings.seed)
    draw = np.random.default_rng(settings.seed)
    generator = Generator(settings.channels)
    optimiser = torch.optim.Adam(generator.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=settings.steps)
    for step in range(settings.steps):
        planes_NCYX = _planes(_squares(faces, settings, draw))
        losses = [
            nn.functional.l1_loss(generator(planes_NCYX, way=way), planes_NCYX)
            for way in range(len(generator.decoders))
        ]
        optimiser.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, settings.steps)
    return StandIn(generator)


def _planes(pixels_NYXC: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels_NYXC)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _squares(faces: Pictures, settings: GeneratorSettings, draw: Draw) -> Picture:
    """Return a batch of squares of one size, cut at random from faces that are large enough."""
    side = settings.squares_px[int(draw.integers(len(settings.squares_px)))]
    chosen: list[Picture] = []
    while len(chosen) < settings.batch:
        face_YXC = faces.pixels[int(draw.integers(len(faces)))]
        slack = face_YXC.shape[0] - side
        if slack < 0:
            side, chosen = face_YXC.shape[0] // STRIDE_PX * STRIDE_PX, []
            continue
        top, left = (int(draw.integers(slack + 1)) for _ in range(2))
        chosen.append(face_YXC[top : top + side, left : left + side])
    return np.stack(chosen)
