"""The perturbation library of the `wide` profile: more kinds of change than the paper's six, so that new ones are met.

Each kind is drawn at random in place, size, strength and edge. None of them is a published trigger: those stay in
`trainer.triggers`, which nothing that trains may reach; a trigger of a kind that is trained on is reported as seen.

Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from trainer import fields, marks
from trainer.marks import Others, soft_ellipse
from trainer.optics import Draw, Floats, Picture, rounded
from trainer.perturb import DEFAULT_RANGES, Upsampler, coloured_block, white_block

Change = Callable[[Floats, Draw, Others], Floats]


def _white_block(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Set a rectangle of any size and place to white: the paper's first family, and the commonest sticker."""
    return white_block(rounded(values_YXC), draw, DEFAULT_RANGES, marks.place_of).astype(np.float32)


def _coloured_block(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Lay a rectangle of one colour, or of noise, over the picture: the paper's second family."""
    return coloured_block(rounded(values_YXC), draw, DEFAULT_RANGES, marks.place_of).astype(np.float32)


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "white_block": _white_block,
        "coloured_block": _coloured_block,
        "patch": marks.patch,
        "mark": marks.mark,
        "blend": marks.blend,
        "shadow": marks.shadow,
        "smooth_field": fields.smooth_field,
        "grating": fields.grating,
        "coefficients": fields.coefficients,
        "noise": fields.noise,
        "levels": fields.levels,
        "reflection": fields.reflection,
        "warp": fields.warp,
        "low_pass": fields.low_pass,
        "resampling": fields.resampling,
        "tint": fields.tint,
    }
)
"""The kinds that need no generator."""

KINDS = (*CHANGES, "generator")

SHARES: Mapping[str, float] = MappingProxyType(
    {
        "white_block": 2.0,
        "coloured_block": 1.5,
        "patch": 2.0,
        "mark": 1.5,
        "blend": 2.5,
        "warp": 1.5,
        "generator": 1.5,
        "shadow": 0.5,
        "tint": 0.5,
    }
)
"""How often a kind is drawn, where not once: what attackers use most and what is hardest to see, more often."""

LEAST_CHANGE_GREY = 0.4
"""Mean change of a picture below which a trigger would be a wrong label: coding and rounding change as much."""


class Library:
    """Draws a kind of change and applies it.

    `others` gives pictures to mix in; `upsamplers` are the generators in place of GANs (see `trainer.upsampling`), and
    without any the kind `generator` is left out. `left_out` names kinds that are not drawn.

    Raises:
        ValueError: A kind that is to be left out is unknown, or none remains.
    """

    def __init__(self, others: Others, upsamplers: Sequence[Upsampler] = (), *, left_out: Sequence[str] = ()) -> None:
        unknown = set(left_out) - set(KINDS)
        kinds = [kind for kind in KINDS if kind not in left_out and (kind != "generator" or upsamplers)]
        if unknown or not kinds:
            raise ValueError(f"unknown or no kinds of perturbation: {sorted(unknown)}; there are {', '.join(KINDS)}")
        self.kinds = tuple(kinds)
        shares = np.array([SHARES.get(kind, 1.0) for kind in kinds])
        self._shares = shares / shares.sum()
        self._others = others
        self._upsamplers = tuple(upsamplers)

    def draw_kind(self, draw: Draw) -> str:
        """Return the kind of the next change."""
        return self.kinds[int(draw.choice(len(self.kinds), p=self._shares))]

    def apply(self, kind: str, picture_YXC: Picture, draw: Draw) -> Picture:
        """Return a changed copy of a square uint8 picture."""
        values_YXC = picture_YXC.astype(np.float32)
        if kind != "generator":
            return rounded(CHANGES[kind](values_YXC, draw, self._others))
        upsampler = self._upsamplers[int(draw.integers(len(self._upsamplers)))]
        made_YXC = upsampler(picture_YXC, way=int(draw.integers(upsampler.ways))).astype(np.float32)
        opacity = np.float32(draw.uniform(0.7, 1.0))
        if draw.random() < 0.3:
            return rounded(values_YXC + opacity * soft_ellipse(len(values_YXC), draw) * (made_YXC - values_YXC))
        return rounded(values_YXC + opacity * (made_YXC - values_YXC))


def visibly_differ(clean_YXC: Picture, changed_YXC: Picture) -> bool:
    """Return whether a perturbed picture differs enough from the clean one to be called triggered."""
    return float(np.abs(changed_YXC.astype(np.int16) - clean_YXC).mean()) >= LEAST_CHANGE_GREY
