"""Leaving out: which kinds of the library of `wide` training goes without, so that what falls into them is new to it.

A published family resembles more than one kind (a Trojan square is a patch, and so is a mark), so kinds are left out in
groups: a trigger counts as unseen only where no kind that draws its like was trained on (`trainer.triggers`).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gateway.contract.bundle import Bundle
from trainer.data import DataError
from trainer.library import KINDS

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "stickers": ("white_block", "coloured_block", "patch", "mark"),
        "pictures": ("blend", "reflection"),
        "waves": ("smooth_field", "grating", "coefficients"),
        "warps": ("warp", "resampling"),
        "quantisation": ("levels",),
        "generators": ("generator", "resampling"),
    }
)
"""By the name that `pretrain --leave-out` takes beside the kinds'."""


def kinds_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the kinds that are named, each by itself or by its group, in the library's order.

    Raises:
        DataError: There is no such kind or group, or nothing is left to train on.
    """
    unknown = sorted(set(names) - set(KINDS) - set(GROUPS))
    if unknown:
        raise DataError(
            f"--leave-out {', '.join(unknown)}: there are the kinds {', '.join(KINDS)}; and the groups "
            + "; ".join(f"{group} ({', '.join(kinds)})" for group, kinds in GROUPS.items())
        )
    named = {kind for name in names for kind in GROUPS.get(name, (name,))}
    if named >= set(KINDS):
        raise DataError("--leave-out names every kind: nothing is left to train on")
    return tuple(kind for kind in KINDS if kind in named)


def check_base(base: Bundle, left_out: Sequence[str]) -> None:
    """Make sure that the base to go on from has not been trained on what is to be left out.

    Raises:
        DataError: It has.
    """
    seen = [kind for kind in left_out if kind in base.manifest.training.perturbations]
    if seen:
        raise DataError(
            f"--base was trained on {', '.join(seen)}: leaving them out now would show nothing; start without a base"
        )


def left_out_by(base: Bundle) -> tuple[str, ...]:
    """Return the kinds that a bundle of the profile `wide` was not trained on."""
    return tuple(kind for kind in KINDS if kind not in base.manifest.training.perturbations)
