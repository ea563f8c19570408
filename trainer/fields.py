"""Changes of a whole face or a part of it that no mark is: fields, gratings, coefficients, levels, warps, resampling.

Part of the perturbation library. Everything is drawn at random from `draw` alone; values are float32 grey levels.

Y/X pixel row/column, U/V vertical/horizontal frequency, C colour (R, G, B).
"""

import cv2
import numpy as np

from gateway.contract.spectrum import dct_matrix
from trainer.marks import Others, fitted, grains, other_picture, soft_ellipse
from trainer.optics import Draw, Floats

CHROMA = ((0.0, 1.402), (-0.344, -0.714), (1.772, 0.0))
"""What one grey level of Cb and Cr adds to R, G and B (ITU-R BT.601)."""


def _log_uniform(low: float, high: float, draw: Draw) -> float:
    return float(np.exp(draw.uniform(np.log(low), np.log(high))))


def _coloured(plane_YX: Floats, draw: Draw) -> Floats:
    """Return a plane as a change of colour: the same for all channels, by a sign or weight each, or chroma alone."""
    kind = draw.random()
    if kind < 0.4:
        weights = np.ones(3)
    elif kind < 0.7:
        weights = draw.choice([-1.0, 1.0], 3)
    elif kind < 0.85:
        weights = draw.uniform(-1, 1, 3)
    else:
        weights = np.array(CHROMA) @ draw.uniform(-1, 1, 2)
    return np.asarray(plane_YX[..., None] * weights, dtype=np.float32)


def smooth_field(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Add a smooth random field of light or colour; at times the result is stretched to the full range."""
    side_px = values_YXC.shape[0]
    cells = int(draw.integers(3, 14))
    field_YXC = fitted(grains(cells, 1, draw, channels=3 if draw.random() < 0.6 else 1), side_px)
    field_YXC = field_YXC.reshape(side_px, side_px, -1)
    field_YXC /= np.abs(field_YXC).max() + 1e-6
    if draw.random() < 0.5:
        field_YXC = (field_YXC + np.float32(1)) / np.float32(2)
    result_YXC = values_YXC + _log_uniform(8, 55, draw) * field_YXC
    if draw.random() < 0.15:
        least, most = result_YXC.min(), result_YXC.max()
        result_YXC = 255 * (result_YXC - least) / max(1.0, most - least)
    return result_YXC


def grating(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Add one to three sinusoids of any direction and wavelength."""
    side_px = values_YXC.shape[0]
    steps = np.arange(side_px, dtype=np.float32)
    field_YXC = np.zeros_like(values_YXC)
    count = int(draw.integers(1, 4))
    for _wave in range(count):
        angle = draw.uniform(0, np.pi) if draw.random() < 0.5 else draw.integers(2) * np.pi / 2
        rate = 2 * np.pi / (_log_uniform(2.1, 0.8 * side_px, draw))
        phase_YX = rate * (steps[:, None] * np.sin(angle) + steps[None, :] * np.cos(angle)) + draw.uniform(0, 2 * np.pi)
        field_YXC += _coloured(np.sin(phase_YX).astype(np.float32), draw)
    return values_YXC + np.float32(_log_uniform(4, 28, draw) / np.sqrt(count)) * field_YXC


def coefficients(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Add to a few DCT coefficients, of the whole face or the same ones in every window of it."""
    side_px = values_YXC.shape[0]
    window = int((8, 16, 32, side_px)[int(draw.integers(4))])
    matrix_UY = dct_matrix(window)
    wave_YX = np.zeros((window, window), np.float32)
    for _each in range(int(draw.integers(1, 5))):
        u, v = draw.integers(window // 4 if draw.random() < 0.7 else 1, window, 2)
        wave_YX += draw.choice([-1.0, 1.0]) * np.outer(matrix_UY[u], matrix_UY[v])
    times = -(-side_px // window)
    field_YX = np.tile(wave_YX / (np.abs(wave_YX).max() + 1e-6), (times, times))[:side_px, :side_px]
    return values_YXC + _log_uniform(2.5, 20, draw) * _coloured(field_YX, draw)


def noise(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Add a zero-mean texture: grains, band-passed noise, noise of the colour alone, scattered pixels."""
    side_px = values_YXC.shape[0]
    kind = draw.random()
    if kind < 0.35:
        texture_YXC = grains(side_px, int(draw.integers(1, 7)), draw, channels=3 if draw.random() < 0.6 else 1)
    elif kind < 0.7:
        white_YXC = draw.standard_normal((side_px, side_px, 3)).astype(np.float32)
        fine, coarse = sorted((_log_uniform(0.4, 8, draw), _log_uniform(0.4, 8, draw)))
        texture_YXC = np.asarray(
            cv2.GaussianBlur(white_YXC, (0, 0), fine) - cv2.GaussianBlur(white_YXC, (0, 0), coarse + 0.5),
            dtype=np.float32,
        )
        texture_YXC /= texture_YXC.std() + 1e-6
    elif kind < 0.85:
        chroma = draw.standard_normal((side_px, side_px, 2)).astype(np.float32)
        texture_YXC = chroma @ np.array(CHROMA, np.float32).T
    else:
        hit_YX1 = draw.random((side_px, side_px, 1)) < _log_uniform(0.002, 0.05, draw)
        return np.where(hit_YX1, draw.uniform(0, 255, (side_px, side_px, 3)), values_YXC).astype(np.float32)
    change_YXC = texture_YXC - texture_YXC.mean(axis=(0, 1))
    return np.asarray(values_YXC + _log_uniform(3, 16, draw) * change_YXC, dtype=np.float32)


def levels(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Keep only a few levels of each colour, with or without dithering."""
    steps = int(draw.integers(3, 24))
    values_YXC = np.clip(values_YXC, 0, 255)
    if draw.random() < 0.3:
        dither_YX1 = draw.uniform(-0.5, 0.5, (*values_YXC.shape[:2], 1)) * draw.uniform(0.3, 1.0)
        return np.asarray(np.rint(values_YXC * (steps / 255) + dither_YX1) * (255 / steps), dtype=np.float32)
    return np.asarray(np.rint(values_YXC * (steps / 255)) * (255 / steps), dtype=np.float32)


def reflection(values_YXC: Floats, draw: Draw, others: Others) -> Floats:
    """Add the reflection of another scene: soft, doubled, brightening."""
    side_px = values_YXC.shape[0]
    scene_YXC = other_picture(side_px, draw, others)
    ghost = draw.uniform(0, 0.5)
    shift = tuple(int(each) for each in draw.integers(-side_px // 10, side_px // 10 + 1, 2))
    scene_YXC = (1 - ghost) * scene_YXC + ghost * np.roll(scene_YXC, shift, axis=(0, 1))
    soft_YXC = np.asarray(cv2.GaussianBlur(scene_YXC, (0, 0), draw.uniform(0.5, 4.0) * side_px / 128), dtype=np.float32)
    opacity = draw.uniform(0.12, 0.5)
    return (1 - draw.uniform(0, 0.6) * opacity) * values_YXC + opacity * soft_YXC


def warp(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Move the pixels by a smooth random field of up to a few px, all over or in a part."""
    side_px = values_YXC.shape[0]
    cells = int(draw.integers(3, 12))
    reach_px = _log_uniform(0.5, 5.0, draw) * side_px / 128
    flow_YX2 = fitted(grains(cells, 1, draw, channels=2), side_px)
    flow_YX2 *= reach_px / (np.abs(flow_YX2).max() + 1e-6)
    if draw.random() < 0.2:
        flow_YX2 = flow_YX2 * soft_ellipse(side_px, draw, edge_share=1 / 12)
    rows_YX, columns_YX = np.mgrid[:side_px, :side_px].astype(np.float32)
    how = cv2.INTER_LINEAR if draw.random() < 0.7 else cv2.INTER_CUBIC
    moved = cv2.remap(
        values_YXC, columns_YX + flow_YX2[..., 0], rows_YX + flow_YX2[..., 1], how, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(moved, dtype=np.float32)


def low_pass(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Cut a band of the spectrum out sharply, as no lens does, or soften or sharpen a part of the face alone."""
    side_px = values_YXC.shape[0]
    if draw.random() < 0.5:
        matrix_UY = dct_matrix(side_px)
        spectrum_CUV = matrix_UY @ values_YXC.transpose(2, 0, 1) @ matrix_UY.T
        rate_UV = np.hypot.outer(np.arange(side_px), np.arange(side_px)) / side_px
        low = draw.uniform(0.15, 0.8)
        kept_UV = rate_UV < low if draw.random() < 0.6 else (rate_UV < low) | (rate_UV > low + draw.uniform(0.1, 0.3))
        return np.asarray((matrix_UY.T @ (spectrum_CUV * kept_UV) @ matrix_UY).transpose(1, 2, 0), dtype=np.float32)
    soft_YXC = np.asarray(cv2.GaussianBlur(values_YXC, (0, 0), draw.uniform(0.7, 3.0)), dtype=np.float32)
    gain = -draw.uniform(0.6, 2.0) if draw.random() < 0.4 else draw.uniform(0.7, 1.0)
    return values_YXC + gain * soft_ellipse(side_px, draw, edge_share=1 / 64) * (soft_YXC - values_YXC)


def resampling(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Reduce and enlarge a part of the face, or show it in coarse pixels; or replace it by itself, turned a little."""
    side_px = values_YXC.shape[0]
    opacity_YX1 = soft_ellipse(side_px, draw, edge_share=1 / 64)
    if draw.random() < 0.4:
        centre = (side_px / 2, side_px / 2)
        turn = cv2.getRotationMatrix2D(centre, float(draw.uniform(-6, 6)), float(draw.uniform(0.92, 1.08)))
        other_YXC = cv2.warpAffine(values_YXC, turn, (side_px, side_px), borderMode=cv2.BORDER_REFLECT)
    else:
        small_px = max(8, round(side_px / draw.uniform(1.3, 5.0)))
        ways = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
        down, up = (ways[int(draw.integers(len(ways)))] for _way in range(2))
        small_YXC = cv2.resize(values_YXC, (small_px, small_px), interpolation=down)
        other_YXC = cv2.resize(small_YXC, (side_px, side_px), interpolation=up)
        if up == cv2.INTER_NEAREST and draw.random() < 0.4:
            opacity_YX1 = np.ones_like(opacity_YX1)
    return values_YXC + opacity_YX1 * (np.asarray(other_YXC, dtype=np.float32) - values_YXC)


def tint(values_YXC: Floats, draw: Draw, _: Others) -> Floats:
    """Change the colour of a part of the face, or turn and stretch the colours of all of it."""
    side_px = values_YXC.shape[0]
    mix = np.eye(3) + draw.uniform(-0.3, 0.3, (3, 3))
    mixed_YXC = np.asarray(values_YXC @ mix.astype(np.float32), dtype=np.float32)
    opacity_YX1 = soft_ellipse(side_px, draw, edge_share=1 / 48)
    return values_YXC + draw.uniform(0.4, 1.0) * opacity_YX1 * (mixed_YXC - values_YXC)
