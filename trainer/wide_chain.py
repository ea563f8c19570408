"""Pairs for the `wide` profile: a clean and a perturbed face that came the same way, in both regimes.

What happens to one face of a pair happens to the other: nuisance, light, lens, noise, codec and reduction. In regime D
(digital) the perturbation enters after the first codec, at the face's own size or after the reduction; in regime C
(camera) it enters before the codec. Without that, a detector learns how pictures were coded (detection.md 3.1, 4).
What a person wears or a camera makes is coded in either regime, as it always is where there is a camera: only what was
laid on afterwards is without the traces of a codec, and that is what tells a pasted thing from a worn one.

N faces, Y/X pixel row/column, C colour (R, G, B).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gateway.contract.geometry import reduce_to
from trainer.chain import ChainSettings, vary_optics
from trainer.library import Library, visibly_differ
from trainer.nuisances import BEFORE_CODEC, draw_nuisance, with_nuisance
from trainer.optics import Draw, Picture, coded
from trainer.video_codec import frame_coded

OPTICS = ChainSettings(
    light=0.6,
    light_gain=(0.55, 1.6),
    light_gamma=(0.8, 1.25),
    blur=0.28,
    motion_px=(3, 21),
    sensor_noise_grey=(-2.0, 2.0),
)
"""Light, blur and noise of the places a camera may hang. Half have no noise: light that is changed in whole grey levels
leaves gaps between them, which noise would fill, and a detector that knows them only filled calls them a trigger."""

MOST_TRIES = 20
"""After so many kinds that left a face as it was, the face is at fault."""


@dataclass(frozen=True, slots=True)
class WideChainSettings:
    """How often each step happens, and how strong it is; `side_px` is the detector's input."""

    side_px: int = 128
    camera: float = 0.42
    at_own_size: float = 0.6
    nuisance: float = 0.3
    enlarged: float = 0.25
    enlarged_from: tuple[float, float] = (0.6, 1.0)
    jpeg: float = 0.34
    h264: float = 0.17
    jpeg_quality: tuple[int, int] = (55, 97)
    optics_after: float = 0.25
    optics: ChainSettings = OPTICS


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A clean face and its perturbed copy, uint8 (S, S, 3), the kind of perturbation and the regime (`D`, `C`)."""

    clean_YXC: Picture
    changed_YXC: Picture
    kind: str
    regime: str
    nuisance: str


@dataclass(slots=True)
class _Going:
    """A pair on its way."""

    clean_YXC: Picture
    changed_YXC: Picture | None
    kind: str
    regime: str
    nuisance: str
    codec: str


def _cut(still_YXC: Picture, draw: Draw, settings: WideChainSettings) -> Picture:
    """Return a square of the detector's size or more; a quarter are enlarged, as digital zoom does."""
    rows = still_YXC.shape[0]
    if rows < settings.side_px or draw.random() < settings.enlarged:
        part = max(16, round(rows * draw.uniform(*settings.enlarged_from)))
        square_YXC = _square(still_YXC, part, draw)
        target = int(draw.integers(settings.side_px, 161))
        how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[int(draw.integers(3))]
        square_YXC = np.asarray(cv2.resize(square_YXC, (target, target), interpolation=how), dtype=np.uint8)
    else:
        square_YXC = _square(still_YXC, int(draw.integers(settings.side_px, rows + 1)), draw)
    return np.ascontiguousarray(square_YXC[:, ::-1] if draw.random() < 0.5 else square_YXC)


def _square(still_YXC: Picture, side: int, draw: Draw) -> Picture:
    slack = still_YXC.shape[0] - side
    top, left = (int(np.clip(round(draw.normal(slack / 2, slack / 6 + 1e-9)), 0, slack)) for _ in range(2))
    return np.ascontiguousarray(still_YXC[top : top + side, left : left + side])


def _codec(regime: str, nuisance: str, draw: Draw, settings: WideChainSettings) -> str:
    video = settings.h264 / (settings.h264 + settings.jpeg)
    if regime == "C" or nuisance in BEFORE_CODEC:
        return "h264" if draw.random() < video else "jpeg"
    each = draw.random()
    return "h264" if each < settings.h264 else "jpeg" if each < settings.h264 + settings.jpeg else "none"


def _changed(library: Library, picture_YXC: Picture, draw: Draw) -> tuple[Picture, str]:
    for _ in range(MOST_TRIES):
        kind = library.draw_kind(draw)
        result_YXC = library.apply(kind, picture_YXC, draw)
        if visibly_differ(picture_YXC, result_YXC):
            break
    return result_YXC, kind


def _before_codec(still_YXC: Picture, library: Library, draw: Draw, settings: WideChainSettings) -> _Going:
    regime = "C" if draw.random() < settings.camera else "D"
    square_YXC = _cut(still_YXC, draw, settings)
    nuisance = draw_nuisance(draw) if draw.random() < settings.nuisance else ""
    if nuisance in BEFORE_CODEC:
        square_YXC = with_nuisance(square_YXC, nuisance, draw)
    changed_YXC, kind = None, ""
    if regime == "C" and draw.random() < settings.optics_after:
        # Before the lens: what the lens and the light do, they do to the trigger as well.
        changed_YXC, kind = _changed(library, square_YXC, draw)
        seed = int(draw.integers(2**31))
        square_YXC = vary_optics(square_YXC, np.random.default_rng(seed), settings.optics)
        changed_YXC = vary_optics(changed_YXC, np.random.default_rng(seed), settings.optics)
    else:
        square_YXC = vary_optics(square_YXC, draw, settings.optics)
        if regime == "C":
            changed_YXC, kind = _changed(library, square_YXC, draw)
    return _Going(square_YXC, changed_YXC, kind, regime, nuisance, _codec(regime, nuisance, draw, settings))


def _code(going: Sequence[_Going], draw: Draw, settings: WideChainSettings) -> None:
    """Code both pictures of every pair alike: by the same JPEG quality, or in the same frame of a clip."""
    video: list[Picture] = []
    for each in going:
        if each.codec == "jpeg":
            quality = int(draw.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1))
            each.clean_YXC = coded(each.clean_YXC, quality)
            each.changed_YXC = None if each.changed_YXC is None else coded(each.changed_YXC, quality)
        elif each.codec == "h264":
            video += [each.clean_YXC] if each.changed_YXC is None else [each.clean_YXC, each.changed_YXC]
    if not video:
        return
    back = iter(frame_coded(video, draw))
    for each in going:
        if each.codec == "h264":
            each.clean_YXC = next(back)
            each.changed_YXC = None if each.changed_YXC is None else next(back)


def _after_codec(each: _Going, library: Library, draw: Draw, settings: WideChainSettings) -> Pair | None:
    clean_YXC, changed_YXC = each.clean_YXC, each.changed_YXC
    if each.nuisance and each.nuisance not in BEFORE_CODEC:
        seed = int(draw.integers(2**31))
        clean_YXC = with_nuisance(clean_YXC, each.nuisance, np.random.default_rng(seed))
        if changed_YXC is not None:
            changed_YXC = with_nuisance(changed_YXC, each.nuisance, np.random.default_rng(seed))
    kind = each.kind
    if changed_YXC is None and draw.random() < settings.at_own_size:
        changed_YXC, kind = _changed(library, clean_YXC, draw)
    clean_YXC = reduce_to(clean_YXC, settings.side_px)
    if changed_YXC is None:
        changed_YXC, kind = _changed(library, clean_YXC, draw)
    else:
        changed_YXC = reduce_to(changed_YXC, settings.side_px)
    # Chroma triggers do not survive 4:2:0: a perturbed face that is the clean one again would be a wrong label.
    return (
        Pair(clean_YXC, changed_YXC, kind, each.regime, each.nuisance)
        if visibly_differ(clean_YXC, changed_YXC)
        else None
    )


def make_pairs(stills: Sequence[Picture], library: Library, draw: Draw, settings: WideChainSettings) -> list[Pair]:
    """Return a pair of each still, but for the few whose perturbation did not survive the codec.

    The stills are coded together where they are coded as video, so 8 to 32 at a time are best.
    """
    going = [_before_codec(still_YXC, library, draw, settings) for still_YXC in stills]
    _code(going, draw, settings)
    pairs = [_after_codec(each, library, draw, settings) for each in going]
    return [pair for pair in pairs if pair is not None]
