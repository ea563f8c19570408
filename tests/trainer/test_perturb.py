"""The perturbations: bounded, repeatable, and what their names say."""

from collections import Counter

import cv2
import numpy as np
import pytest

from trainer.perturb import (
    ALL_FAMILIES,
    DEFAULT_RANGES,
    FAMILIES,
    PLAIN_FAMILIES,
    PerturbationError,
    Perturber,
    blend,
    coloured_block,
    upsampling,
    white_block,
)


def smooth_picture(side_px: int, seed: int = 1) -> np.ndarray:
    """Return a soft picture without white, uint8 (Y, X, 3)."""
    noise = np.random.default_rng(seed).uniform(40, 200, (side_px, side_px, 3)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), side_px / 10)).astype(np.uint8)


class Mirror:
    """An upsampler that is easy to check: it turns pictures upside down, or left for right."""

    ways = 2

    def __call__(self, picture_YXC: np.ndarray, *, way: int) -> np.ndarray:
        """Return the picture turned."""
        return picture_YXC[::-1] if way else picture_YXC[:, ::-1]


@pytest.mark.parametrize("side_px", [32, 64, 160])
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_family_changes_a_copy_at_any_resolution(family: str, side_px: int) -> None:
    """The picture itself stays; the copy has its shape, its type and a visible difference."""
    picture_YXC = smooth_picture(side_px)
    kept_YXC = picture_YXC.copy()
    perturber = Perturber(lambda: smooth_picture(50, seed=9), families=(family,), upsampler=Mirror())
    for seed in range(20):
        changed_YXC, name = perturber.perturb(picture_YXC, np.random.default_rng(seed))
        assert (changed_YXC.shape, changed_YXC.dtype, name) == (picture_YXC.shape, np.uint8, family)
        assert np.abs(changed_YXC.astype(int) - picture_YXC).max() >= 4
    np.testing.assert_array_equal(picture_YXC, kept_YXC)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_family_repeats_with_its_seed(family: str) -> None:
    """A run can be repeated to the bit."""
    perturber = Perturber(lambda: smooth_picture(40, seed=9), families=(family,), upsampler=Mirror())
    first, second = (perturber.perturb(smooth_picture(48), np.random.default_rng(7))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_families_are_drawn_alike_often() -> None:
    """Each of the five is as likely as the others (paper, section IV-B)."""
    perturber = Perturber(lambda: smooth_picture(32, seed=9))
    draw = np.random.default_rng(1)
    counts = Counter(perturber.perturb(smooth_picture(32), draw)[1] for _ in range(1000))
    assert set(counts) == set(FAMILIES)
    assert min(counts.values()) > 150


def test_white_block_is_white_of_any_size_and_place() -> None:
    """Corners, middle, small and large all occur; nothing but white is drawn."""
    picture_YXC = smooth_picture(32)
    touched_YX = np.zeros((32, 32), bool)
    areas = set()
    for seed in range(600):
        changed_YXC = white_block(picture_YXC, np.random.default_rng(seed), DEFAULT_RANGES)
        different_YX = (changed_YXC != picture_YXC).any(axis=-1)
        assert (changed_YXC[different_YX] == 255).all()
        touched_YX |= different_YX
        areas.add(int(different_YX.sum()))
    assert touched_YX.mean() > 0.97
    assert all(edge.any() for edge in (touched_YX[0], touched_YX[-1], touched_YX[:, 0], touched_YX[:, -1]))
    assert min(areas) <= 8
    assert max(areas) >= 49


def test_coloured_block_is_flat_or_noisy() -> None:
    """Both kinds of block occur: the authors' noise, and one flat colour."""
    grey_YXC = np.full((64, 64, 3), 128, np.uint8)
    spreads = []
    for seed in range(60):
        changed_YXC = coloured_block(grey_YXC, np.random.default_rng(seed), DEFAULT_RANGES)
        inside = changed_YXC[(changed_YXC != grey_YXC).any(axis=-1)]
        spreads.append(inside.std(axis=0).max())
    assert min(spreads) < 2
    assert max(spreads) > 40


def test_noise_has_no_mean_and_shadow_only_darkens() -> None:
    """A mean would be a shortcut on the DC coefficient; a shadow never brightens."""
    grey_YXC = np.full((64, 64, 3), 128, np.uint8)
    shifts = []
    for seed in range(100):
        noisy_YXC = PLAIN_FAMILIES["gaussian_noise"](grey_YXC, np.random.default_rng(seed), DEFAULT_RANGES)
        shifts.append(noisy_YXC.mean() - 128)
        shaded_YXC = PLAIN_FAMILIES["shadow"](grey_YXC, np.random.default_rng(seed), DEFAULT_RANGES)
        assert shaded_YXC.max() <= 128
    assert abs(np.mean(shifts)) < 0.15


def test_blend_stays_between_or_adds() -> None:
    """By opacity the result lies between the two pictures; by addition it is never darker than the first."""
    dark_YXC, light_YXC = np.full((32, 32, 3), 60, np.uint8), np.full((32, 32, 3), 200, np.uint8)
    levels = {int(blend(dark_YXC, light_YXC, np.random.default_rng(seed), DEFAULT_RANGES).mean()) for seed in range(60)}
    assert min(levels) >= 60
    assert max(levels) <= 60 + round(0.35 * 200)
    assert len(levels) > 10


def test_white_block_on_white_is_drawn_again_as_something_visible() -> None:
    """A perturbed picture that equals the clean one would be a wrong label."""
    white_YXC = np.full((32, 32, 3), 255, np.uint8)
    perturber = Perturber(lambda: white_YXC, families=("white_block", "shadow"))
    names = {perturber.perturb(white_YXC, np.random.default_rng(seed))[1] for seed in range(20)}
    assert names == {"shadow"}


@pytest.mark.parametrize("families", [(), ("cyclegan",)])
def test_unknown_families_are_refused(families: tuple[str, ...]) -> None:
    """A typing mistake in a list of families must not leave one out silently."""
    with pytest.raises(ValueError, match="there are white_block"):
        Perturber(lambda: smooth_picture(32), families=families)


def test_upsampling_without_a_generator_is_refused() -> None:
    """The sixth family needs its stand-in; it never falls away silently."""
    with pytest.raises(ValueError, match="upsampling"):
        Perturber(lambda: smooth_picture(32), families=ALL_FAMILIES)


def test_upsampling_takes_the_whole_picture_or_a_part() -> None:
    """Half of the time everything is made anew, else a soft ellipse of the face."""
    picture_YXC = smooth_picture(64)
    shares = []
    for seed in range(60):
        made_YXC = upsampling(picture_YXC, Mirror(), np.random.default_rng(seed), DEFAULT_RANGES)
        shares.append((made_YXC != picture_YXC).any(axis=-1).mean())
    assert min(shares) < 0.5
    assert max(shares) > 0.9
    assert 15 < sum(share > 0.9 for share in shares) < 45


def test_own_family_takes_part_like_the_built_in_ones() -> None:
    """What an operator adds is drawn as often as the others, under its name."""

    def stripes(picture_YXC: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        changed_YXC = picture_YXC.copy()
        changed_YXC[:: int(draw.integers(2, 5))] ^= 0x40
        return changed_YXC

    perturber = Perturber(lambda: smooth_picture(32), families=("shadow", "stripes"), own={"stripes": stripes})
    names = Counter(perturber.perturb(smooth_picture(32), np.random.default_rng(seed))[1] for seed in range(100))
    assert names.keys() == {"shadow", "stripes"}
    assert min(names.values()) > 25


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), r"odd: returned float32 \(32, 32, 3\)"),
        (np.zeros((16, 16, 3), np.uint8), r"odd: returned uint8 \(16, 16, 3\)"),
        (None, "odd: returned NoneType"),
    ],
)
def test_own_family_that_returns_no_picture_is_named(result: object, message: str) -> None:
    """A mistake in an operator's file is told by the family's name, before it trains anything."""
    perturber = Perturber(lambda: smooth_picture(32), families=("odd",), own={"odd": lambda picture, draw: result})
    with pytest.raises(PerturbationError, match=message):
        perturber.perturb(smooth_picture(32), np.random.default_rng(1))


def test_family_that_changes_nothing_ends_in_an_error() -> None:
    """A perturbation without effect does not hang a run."""
    perturber = Perturber(lambda: smooth_picture(32), families=("none",), own={"none": lambda picture, draw: picture})
    with pytest.raises(PerturbationError, match="none: 1000 draws"):
        perturber.perturb(smooth_picture(32), np.random.default_rng(1))
