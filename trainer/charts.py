"""The pictures of the report as text: ROC curves and bars as SVG, spectra and examples as embedded PNG.

Every word in an SVG is escaped here, so that the page may take it as it is.

Coordinates are rounded to a tenth of a px, so that the same results give the same bytes.
"""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from trainer.optics import Picture

COLOURS = ("#0b6fb8", "#c8480b", "#1c7c4a", "#8a4fbf", "#b58900", "#5b6775", "#d33682", "#2aa198")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 460.0, 300.0, 46.0, 12.0, 12.0, 40.0

SPECTRUM_RANGE = 4.0
"""Figure 1 clips log |DCT| of pictures of 0..1 to -4..4; so do we."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One ROC curve: (FPR, BDR) as shares."""

    name: str
    points: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with its interval, in %."""

    value: float
    low: float
    high: float
    title: str


def _svg(body: Sequence[str], *, title: str, height: float = HEIGHT) -> str:
    head = f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{html.escape(title)}">'
    return head + "".join(body) + "</svg>"


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<path class="{style}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _down(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def roc_chart(curves: Sequence[Curve], *, title: str) -> str:
    """Return ROC curves over a logarithmic FPR from 0.1 to 100 %: a screening lives at the left end."""
    decades = 3

    def across(rate: float) -> float:
        share = 1 + math.log10(max(rate, 10.0**-decades)) / decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += [_line(LEFT, _down(share), WIDTH - RIGHT, _down(share), "grid")]
        body += [_text(LEFT - 6, _down(share) + 4, f"{100 * share:g}", "end")]
    for rate in (0.001, 0.01, 0.1, 1):
        body += [_line(across(rate), TOP, across(rate), HEIGHT - BOTTOM, "grid")]
        body += [_text(across(rate), HEIGHT - BOTTOM + 16, f"{100 * rate:g}")]
    body.append(_text(WIDTH / 2, HEIGHT - 6, "FPR, %"))
    for index, curve in enumerate(curves):
        path = " ".join(f"{across(x):.1f},{_down(y):.1f}" for x, y in curve.points)
        colour = COLOURS[index % len(COLOURS)]
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _svg(body, title=title)


def bar_chart(groups: Mapping[str, Sequence[Bar]], *, title: str) -> str:
    """Return bars side by side, one group a trigger, with the interval of each as a line."""
    body = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += [_line(LEFT, _down(share), WIDTH - RIGHT, _down(share), "grid")]
        body += [_text(LEFT - 6, _down(share) + 4, f"{100 * share:g}", "end")]
    room = (WIDTH - LEFT - RIGHT) / max(1, len(groups))
    for place, (name, bars) in enumerate(groups.items()):
        width = 0.8 * room / max(1, len(bars))
        start = LEFT + (place + 0.1) * room
        body.append(_text(start + 0.4 * room, HEIGHT - BOTTOM + 16, name))
        for index, bar in enumerate(bars):
            x, top = start + index * width, _down(bar.value / 100)
            colour = COLOURS[index % len(COLOURS)]
            body.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" height="{HEIGHT - BOTTOM - top:.1f}" '
                f'fill="{colour}" fill-opacity=".75"><title>{html.escape(bar.title)}</title></rect>'
            )
            middle = x + 0.46 * width
            body.append(_line(middle, _down(bar.low / 100), middle, _down(bar.high / 100), "whisker"))
    return _svg(body, title=title)


def legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (colour, name) in the order in which the charts use their colours."""
    return [(COLOURS[index % len(COLOURS)], name) for index, name in enumerate(names)]


def png_uri(picture_YXC: Picture) -> str:
    """Return a picture as a data URI."""
    _, data = cv2.imencode(".png", picture_YXC[..., ::-1])
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()


def spectrum_uri(mean_log: Sequence[Sequence[float]], *, enlarge: int = 4) -> str:
    """Return a mean spectrum as a heat map; `mean_log` is of grey levels 0..255."""
    of_unit_UV = np.array(mean_log, np.float32) - np.float32(math.log(255))
    share_UV = np.clip((of_unit_UV + SPECTRUM_RANGE) / (2 * SPECTRUM_RANGE), 0, 1)
    colours_UVC = cv2.applyColorMap(np.rint(share_UV * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    large = np.repeat(np.repeat(colours_UVC, enlarge, axis=0), enlarge, axis=1)
    return png_uri(np.asarray(large, dtype=np.uint8))
