"""The detector architectures as data: what the trainer builds, the graph template declares and a bundle must hold."""

import math
from dataclasses import dataclass
from types import MappingProxyType

from gateway.contract import wide


@dataclass(frozen=True, slots=True)
class Tensor:
    """One float32 tensor of a profile's weights."""

    name: str
    shape: tuple[int, ...]
    trainable: bool

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Profile:
    """A detector architecture.

    `side_px` is the side of the square uint8 RGB input; `min_crop_px` the smallest crop that may be judged, measured in
    the camera's own pixels. `tensors` is in the order of the forward pass.
    """

    name: str
    side_px: int
    min_crop_px: int
    norm_epsilon: float
    conv_channels: tuple[int, ...]
    tensors: tuple[Tensor, ...]

    @property
    def trainable_parameters(self) -> int:
        """Parameters that training moves; running statistics of the norms are not among them."""
        return sum(tensor.size for tensor in self.tensors if tensor.trainable)


def _norm(name: str, channels: int) -> tuple[Tensor, ...]:
    learned = (
        Tensor(f"{name}.weight", (channels,), trainable=True),
        Tensor(f"{name}.bias", (channels,), trainable=True),
    )
    running = (
        Tensor(f"{name}.running_mean", (channels,), trainable=False),
        Tensor(f"{name}.running_var", (channels,), trainable=False),
    )
    return learned + running


def _paper_profile() -> Profile:
    """Return the paper's network (Table I) with a BatchNorm after each ELU: 292,002 trainable parameters.

    Six 3 × 3 convolutions (32, 32, 64, 64, 128, 128) in pairs, each pair followed by a 2 × 2 max-pool, then one dense
    layer of two classes over the flattened 4 × 4 × 128 map, rows and columns before channels.
    """
    side_px, channels = 32, (32, 32, 64, 64, 128, 128)
    tensors: list[Tensor] = []
    incoming = 3
    for index, outgoing in enumerate(channels, start=1):
        tensors.append(Tensor(f"conv{index}.weight", (outgoing, incoming, 3, 3), trainable=True))
        tensors.append(Tensor(f"conv{index}.bias", (outgoing,), trainable=True))
        tensors.extend(_norm(f"norm{index}", outgoing))
        incoming = outgoing
    flattened = incoming * (side_px // 8) ** 2
    tensors.append(Tensor("dense.weight", (2, flattened), trainable=True))
    tensors.append(Tensor("dense.bias", (2,), trainable=True))
    return Profile(
        name="paper",
        side_px=side_px,
        min_crop_px=side_px,
        norm_epsilon=1e-3,
        conv_channels=channels,
        tensors=tuple(tensors),
    )


def _wide_profile() -> Profile:
    """Return the network of `wide`: a dense branch, a local branch, and two dense layers on both.

    The dense branch sees 3,142 statistics of the face, the five convolutions of the local one 262 of each place. Means
    and scales standardise the statistics; no optimiser moves them.
    """
    tensors = [
        Tensor("features_mean", (wide.FEATURES,), trainable=False),
        Tensor("features_scale", (wide.FEATURES,), trainable=False),
        Tensor("dense1.weight", (wide.HIDDEN, wide.FEATURES), trainable=True),
        Tensor("dense1.bias", (wide.HIDDEN,), trainable=True),
        Tensor("places_mean", (wide.PLACE_FEATURES,), trainable=False),
        Tensor("places_scale", (wide.PLACE_FEATURES,), trainable=False),
        Tensor("context.weight", (wide.CHANNELS[0], 2 * wide.PLACE_FEATURES), trainable=True),
        Tensor("usual", (wide.CHANNELS[0], wide.PLACES, wide.PLACES), trainable=True),
    ]
    incoming = wide.PLACE_FEATURES
    for index, (outgoing, kernel) in enumerate(zip(wide.CHANNELS, wide.KERNELS, strict=True), start=1):
        tensors.append(Tensor(f"conv{index}.weight", (outgoing, incoming, kernel, kernel), trainable=True))
        tensors.extend(_norm(f"norm{index}", outgoing))
        incoming = outgoing
    joined = wide.HIDDEN + wide.JUDGED
    for index, (outgoing, width) in enumerate(((wide.JOINED, joined), (2, wide.JOINED)), start=2):
        tensors.append(Tensor(f"dense{index}.weight", (outgoing, width), trainable=True))
        tensors.append(Tensor(f"dense{index}.bias", (outgoing,), trainable=True))
    return Profile(
        name="wide",
        side_px=wide.SIDE_PX,
        min_crop_px=wide.SIDE_PX,
        norm_epsilon=1e-3,
        conv_channels=wide.CHANNELS,
        tensors=tuple(tensors),
    )


PROFILES = MappingProxyType({"paper": _paper_profile(), "wide": _wide_profile()})
"""Every architecture this version knows, by name."""
