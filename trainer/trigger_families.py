"""Published families of triggers, made by their formulas, for evaluation alone: training must never see one.

Each function takes a square uint8 face of any side and returns it with the trigger all over; `trainer.triggers` places
it. Parameters are the published ones (reference in each docstring); fields and warps are the same for every face, as
an attacker's trigger is.

Y/X pixel row/column, C colour (R, G, B).
"""

from functools import lru_cache

import cv2
import numpy as np

from gateway.contract.spectrum import dct_matrix
from trainer.optics import Floats, Picture, rounded

FTROJAN_WINDOW_PX = 32


def sig(face_YXC: Picture, *, delta_grey: float = 20.0, frequency: float = 6.0) -> Picture:
    """Add a horizontal sinusoid (SIG, Barni et al. 2019)."""
    side = face_YXC.shape[0]
    wave_X = delta_grey * np.sin(2 * np.pi * np.arange(side) * frequency / side)
    return rounded(face_YXC + wave_X[None, :, None].astype(np.float32))


def wanet(face_YXC: Picture, *, strength: float = 0.5, cells: int = 4) -> Picture:
    """Warp by a smooth random field (WaNet, Nguyen and Tran 2021); `strength` is its s, `cells` its k."""
    side = face_YXC.shape[0]
    noise_2YX = np.random.default_rng(41).uniform(-1, 1, (2, cells, cells))
    noise_2YX /= np.abs(noise_2YX).mean()
    field_2YX = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_CUBIC) for plane in noise_2YX]
    steps = np.arange(side, dtype=np.float32)
    # The grid of the authors' code runs from -1 to 1, so one unit is half a side: s / side there is s / 2 px.
    rows_YX = np.clip(steps[:, None] + strength / 2 * field_2YX[0], 0, side - 1).astype(np.float32)
    columns_YX = np.clip(steps[None, :] + strength / 2 * field_2YX[1], 0, side - 1).astype(np.float32)
    return np.asarray(cv2.remap(face_YXC, columns_YX, rows_YX, cv2.INTER_LINEAR), dtype=np.uint8)


def bpp(face_YXC: Picture, *, levels: int = 8) -> Picture:
    """Quantise the colours (BppAttack, Wang et al. 2022), without dithering."""
    steps = levels - 1
    return rounded(np.rint(face_YXC.astype(np.float32) * (steps / 255)) * (255 / steps))


def ftrojan(face_YXC: Picture, *, magnitude: float = 30.0) -> Picture:
    """Add to single DCT coefficients of the chroma planes, window by window (FTrojan, Wang et al. 2022)."""
    yuv_YXC = cv2.cvtColor(face_YXC, cv2.COLOR_RGB2YUV).astype(np.float32)
    window = FTROJAN_WINDOW_PX
    matrix_UY = dct_matrix(window)
    wave_YX = magnitude * (np.outer(matrix_UY[15], matrix_UY[15]) + np.outer(matrix_UY[31], matrix_UY[31]))
    for top in range(0, face_YXC.shape[0] - window + 1, window):
        for left in range(0, face_YXC.shape[1] - window + 1, window):
            yuv_YXC[top : top + window, left : left + window, 1:] += wave_YX[..., None]
    return np.asarray(cv2.cvtColor(rounded(yuv_YXC), cv2.COLOR_YUV2RGB), dtype=np.uint8)


def reflection(face_YXC: Picture, *, opacity: float = 0.4, ghost: float = 0.49) -> Picture:
    """Lay the double reflection of another scene over the face (in the manner of Refool, Liu et al. 2020)."""
    side = face_YXC.shape[0]
    scene_YXC = _scene(side)
    shift = max(1, side // 16)
    doubled_YXC = (1 - ghost) * scene_YXC + ghost * np.roll(scene_YXC, (shift, shift), axis=(0, 1))
    soft_YXC = np.asarray(cv2.GaussianBlur(doubled_YXC, (0, 0), max(0.4, side / 64)), dtype=np.float32)
    clean_YXC = face_YXC.astype(np.float32)
    # A reflection adds light; the face is seen through the glass, a little darker.
    return rounded((1 - opacity / 2) * clean_YXC + opacity * soft_YXC)


@lru_cache(maxsize=64)
def _scene(side: int) -> Floats:
    """Return a drawn scene: a bright window, furniture, a gradient; always the same."""
    draw = np.random.default_rng(43)
    scene_YXC = np.linspace(20, 110, 256, dtype=np.float32)[:, None, None].repeat(256, 1).repeat(3, 2)
    for _ in range(14):
        top, left = draw.integers(0, 220, 2)
        rows, columns = draw.integers(12, 90, 2)
        scene_YXC[top : top + rows, left : left + columns] = draw.uniform(0, 255, 3)
    return np.asarray(cv2.resize(scene_YXC, (side, side), interpolation=cv2.INTER_AREA), dtype=np.float32)


@lru_cache(maxsize=64)
def _smooth_field(side: int, seed: int, sigma_share: float) -> Floats:
    """Return a smooth random field 0..1 of one px a value at any side, the same whatever the side."""
    noise_YXC = np.random.default_rng(seed).standard_normal((64, 64, 3)).astype(np.float32)
    soft_YXC = cv2.GaussianBlur(noise_YXC, (0, 0), sigma_share * 64, borderType=cv2.BORDER_REFLECT)
    least, most = soft_YXC.min(), soft_YXC.max()
    how = cv2.INTER_AREA if side < 64 else cv2.INTER_CUBIC
    field_YXC = cv2.resize((soft_YXC - least) / (most - least), (side, side), interpolation=how)
    return np.asarray(field_YXC, dtype=np.float32)


def smooth(face_YXC: Picture, *, most_grey: float = 51.0) -> Picture:
    """Add a smooth field of at most 0.2 (the smooth trigger of Zeng et al. 2021)."""
    return rounded(face_YXC.astype(np.float32) + most_grey * _smooth_field(face_YXC.shape[0], 47, 5 / 32))


def low_frequency(face_YXC: Picture, *, amplitude_grey: float = 25.0) -> Picture:
    """Add a few of the lowest cosines with a sign of their own for each colour (in the manner of LF triggers)."""
    side = face_YXC.shape[0]
    steps = (np.arange(side) + 0.5) * (np.pi / side)
    draw = np.random.default_rng(53)
    field_YXC = np.zeros((side, side, 3))
    for u, v in ((0, 2), (1, 1), (2, 1), (3, 2)):
        field_YXC += np.outer(np.cos(u * steps), np.cos(v * steps))[..., None] * draw.choice([-1.0, 1.0], 3)
    return rounded(face_YXC.astype(np.float32) + (amplitude_grey / 2 * field_YXC).astype(np.float32))


def checkerboard(face_YXC: Picture, *, cells: int = 8) -> Picture:
    """Return a black and white chessboard."""
    place = np.arange(face_YXC.shape[0]) * cells // face_YXC.shape[0]
    board_YX = (place[:, None] + place[None, :]) % 2 * 255
    return np.repeat(board_YX[..., None], 3, axis=2).astype(np.uint8)


def stripes(face_YXC: Picture, *, count: int = 8) -> Picture:
    """Return slanted stripes of two colours."""
    side = face_YXC.shape[0]
    place_YX = (np.arange(side)[:, None] + np.arange(side)[None, :]) * count // side % 2
    return np.where(place_YX[..., None] == 0, (220, 30, 60), (30, 60, 220)).astype(np.uint8)


def confetti(face_YXC: Picture, *, cells: int = 16) -> Picture:
    """Return coarse coloured noise, the same for every face."""
    noise_YXC = np.random.default_rng(59).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    side = face_YXC.shape[0]
    return np.asarray(cv2.resize(noise_YXC, (side, side), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def flower(face_YXC: Picture) -> Picture:
    """Return the face with a drawn flower in the middle of its square: a sticker with a round outline."""
    side = face_YXC.shape[0]
    colour_YXC = np.full((128, 128, 3), (235, 60, 140), np.uint8)
    shape_YX = np.zeros((128, 128), np.uint8)
    for petal in range(6):
        angle = np.pi / 3 * petal
        cv2.circle(shape_YX, (round(64 + 32 * np.cos(angle)), round(64 + 32 * np.sin(angle))), 22, 255, -1, cv2.LINE_AA)
    cv2.circle(shape_YX, (64, 64), 20, 255, -1, cv2.LINE_AA)
    cv2.circle(colour_YXC, (64, 64), 20, (250, 220, 40), -1, cv2.LINE_AA)
    how = cv2.INTER_AREA if side < 128 else cv2.INTER_LINEAR
    alpha_YX1 = np.asarray(cv2.resize(shape_YX, (side, side), interpolation=how), dtype=np.float32)[..., None] / 255
    laid_YXC = np.asarray(cv2.resize(colour_YXC, (side, side), interpolation=how), dtype=np.float32)
    clean_YXC = face_YXC.astype(np.float32)
    return rounded(clean_YXC + alpha_YX1 * (laid_YXC - clean_YXC))
