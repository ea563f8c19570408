"""The baseline of the paper: an autoencoder that knows clean faces and takes what it cannot rebuild for triggered.

After Du, Jia and Song, reference [29] of the paper: trained on clean faces alone, in the image domain; the score is the
error of reconstruction. They add noise while training so that no single sample is learned by heart; here the noise is
in the pictures. Latent width, noise and the way errors are summed are chosen as ours were chosen: by perturbed faces of
people that were not trained on, never by a trigger.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainer.measures import Scores, auroc
from trainer.optics import Picture


@dataclass(frozen=True, slots=True)
class AutoencoderSettings:
    """One choice of the autoencoder."""

    latent: int = 64
    noise: float = 0.0
    worst_patch: bool = False
    epochs: int = 60
    batch: int = 32
    learning_rate: float = 2e-3
    seed: int = 1


AUTOENCODER_PX = 32
"""Side of the faces that it takes."""

GRID = tuple(AutoencoderSettings(latent=latent, noise=noise) for latent, noise in product((32, 128, 512), (0.0, 0.1)))
"""What is tried; each is judged by the mean error and by the worst 4 × 4 patch."""


class Autoencoder(nn.Module):
    """Three halvings, a narrow middle, three doublings; for 32-px faces."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 4, 2, 1), nn.ELU(), nn.Conv2d(24, 48, 4, 2, 1), nn.ELU(),
            nn.Conv2d(48, 64, 4, 2, 1), nn.ELU(), nn.Flatten(), nn.Linear(1024, latent),
            nn.Linear(latent, 1024), nn.ELU(), nn.Unflatten(1, (64, 4, 4)), nn.ConvTranspose2d(64, 48, 4, 2, 1),
            nn.ELU(), nn.ConvTranspose2d(48, 24, 4, 2, 1), nn.ELU(), nn.ConvTranspose2d(24, 3, 4, 2, 1),
        )  # fmt: skip

    def forward(self, planes_NCYX: Tensor) -> Tensor:
        """Return the reconstruction."""
        rebuilt_NCYX: Tensor = self.layers(planes_NCYX)
        return rebuilt_NCYX


def _planes(pixels_NYXC: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels_NYXC)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_autoencoder(clean_NYXC: Picture, settings: AutoencoderSettings) -> Autoencoder:
    """Return the autoencoder trained on clean faces; the same faces and settings give the same weights."""
    torch.manual_seed(settings.seed)
    model = Autoencoder(settings.latent)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    planes_NCYX = _planes(clean_NYXC)
    steps = settings.epochs * -(-len(planes_NCYX) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps)
    for _ in range(settings.epochs):
        order = torch.randperm(len(planes_NCYX))
        for start in range(0, len(order), settings.batch):
            wanted_NCYX = planes_NCYX[order[start : start + settings.batch]]
            given_NCYX = wanted_NCYX + settings.noise * torch.randn_like(wanted_NCYX)
            loss = nn.functional.mse_loss(model(given_NCYX), wanted_NCYX)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def reconstruction_error(model: Autoencoder, pixels_NYXC: Picture, *, worst_patch: bool) -> Scores:
    """Return the squared error of each face: its mean, or that of its worst 4 × 4 patch."""
    parts: list[Scores] = []
    for start in range(0, len(pixels_NYXC), 512):
        planes_NCYX = _planes(pixels_NYXC[start : start + 512])
        error_NYX = (model(planes_NCYX) - planes_NCYX).square().mean(dim=1)
        if worst_patch:
            error_NYX = nn.functional.avg_pool2d(error_NYX[:, None], 4, stride=2)[:, 0]
            parts.append(error_NYX.flatten(1).amax(dim=1).numpy())
        else:
            parts.append(error_NYX.flatten(1).mean(dim=1).numpy())
    return np.concatenate(parts).astype(np.float32)


def choose_autoencoder(
    clean_NYXC: Picture,
    held_clean_NYXC: Picture,
    held_changed_NYXC: Picture,
    *,
    grid: Sequence[AutoencoderSettings] = GRID,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[AutoencoderSettings, list[dict[str, Any]]]:
    """Return the settings that rank perturbed faces of other people best, and what each reached."""
    tried: list[tuple[float, AutoencoderSettings]] = []
    for number, settings in enumerate(grid):
        model = train_autoencoder(clean_NYXC, settings)
        for worst_patch in (False, True):
            clean_N, changed_N = (
                reconstruction_error(model, pixels, worst_patch=worst_patch)
                for pixels in (held_clean_NYXC, held_changed_NYXC)
            )
            choice = AutoencoderSettings(**(asdict(settings) | {"worst_patch": worst_patch}))
            tried.append((auroc(clean_N, changed_N), choice))
        if progress is not None:
            progress(number + 1, len(grid))
    best = max(tried, key=lambda each: each[0])[1]
    return best, [asdict(settings) | {"auroc": round(value, 4)} for value, settings in tried]
