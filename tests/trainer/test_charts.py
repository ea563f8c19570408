"""Charts as text: well-formed, escaped, and at the right place."""

import base64
from xml.etree import ElementTree as ET

import cv2
import numpy as np

from trainer.charts import Bar, Curve, bar_chart, legend, png_uri, roc_chart, spectrum_uri


def decoded(uri: str) -> np.ndarray:
    """Return the picture of a data URI, RGB."""
    data = np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def test_charts_are_well_formed_and_escape_names() -> None:
    """A trigger's file name may hold anything."""
    odd = '<b>"a"&</b>'
    curves = roc_chart([Curve(odd, [(0.0, 0.2), (0.01, 0.5), (1.0, 1.0)])], title=odd)
    bars = bar_chart({odd: [Bar(50, 40, 60, odd)]}, title=odd)
    for svg in (curves, bars):
        root = ET.fromstring(svg)  # noqa: S314 - our own text
        assert root.attrib["aria-label"] == odd


def test_curve_rises_to_the_right() -> None:
    """A higher BDR is further up, a higher FPR further right."""
    root = ET.fromstring(roc_chart([Curve("x", [(0.001, 0.1), (1.0, 1.0)])], title="t"))  # noqa: S314
    (line,) = root.iter("polyline")
    (x1, y1), (x2, y2) = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
    assert x2 > x1
    assert y2 < y1


def test_pictures_survive_embedding() -> None:
    """PNG is lossless; colours keep their order."""
    picture_YXC = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(png_uri(picture_YXC)), picture_YXC)


def test_spectrum_is_a_map_with_a_bright_corner() -> None:
    """Large coefficients are light, small ones dark; each is enlarged to whole pixels."""
    mean_log = [[0.0] * 4 for _ in range(4)]
    mean_log[0][0] = 9.0
    picture_YXC = decoded(spectrum_uri(mean_log, enlarge=2))
    assert picture_YXC.shape == (8, 8, 3)
    assert picture_YXC[0, 0].sum() > picture_YXC[5, 5].sum()


def test_legend_uses_the_colours_in_order() -> None:
    """Names get the colours that the charts give them."""
    assert [name for _, name in legend(["a", "b"])] == ["a", "b"]
    assert len({colour for colour, _ in legend(list("abcdef"))}) == 6
