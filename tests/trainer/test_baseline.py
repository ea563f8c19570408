"""The autoencoder baseline: it learns clean faces, scores what it cannot rebuild, and is chosen without a trigger."""

import dataclasses

import numpy as np
from fakes.drawn_faces import drawn_faces

from trainer.baseline import AutoencoderSettings, choose_autoencoder, reconstruction_error, train_autoencoder
from trainer.measures import auroc

SHORT = AutoencoderSettings(latent=32, epochs=12, batch=16)


def faces(count: int, seed: int = 1) -> np.ndarray:
    """Return drawn faces at 32 px, uint8 (N, 32, 32, 3)."""
    return np.stack(drawn_faces(count, side_px=32, seed=seed).pixels)


def with_block(pixels_NYXC: np.ndarray) -> np.ndarray:
    """Return the faces with a white block."""
    changed_NYXC = pixels_NYXC.copy()
    changed_NYXC[:, 4:14, 4:14] = 255
    return changed_NYXC


def test_what_was_not_learned_has_the_larger_error() -> None:
    """Trained on clean faces alone, it rebuilds a block worse than a face, by either way of summing."""
    model = train_autoencoder(faces(60), SHORT)
    for worst_patch in (False, True):
        clean_N = reconstruction_error(model, faces(30, seed=2), worst_patch=worst_patch)
        changed_N = reconstruction_error(model, with_block(faces(30, seed=2)), worst_patch=worst_patch)
        assert clean_N.shape == (30,)
        assert auroc(clean_N, changed_N) > 0.9


def test_training_repeats() -> None:
    """The same faces and settings give the same scores."""
    settings = dataclasses.replace(SHORT, epochs=1, noise=0.1)
    scores = [
        reconstruction_error(train_autoencoder(faces(20), settings), faces(5), worst_patch=False) for _ in range(2)
    ]
    np.testing.assert_array_equal(*scores)


def test_choice_is_what_ranks_perturbed_faces_best_and_tells_what_was_tried() -> None:
    """Every setting is tried with both ways of summing; the best of them is taken."""
    told: list[int] = []
    grid = [dataclasses.replace(SHORT, epochs=1), dataclasses.replace(SHORT, epochs=8)]
    held_NYXC = faces(20, seed=3)
    best, tried = choose_autoencoder(
        faces(40), held_NYXC, with_block(held_NYXC), grid=grid, progress=lambda done, total: told.append(done)
    )
    assert told == [1, 2]
    assert len(tried) == 4
    top = max(tried, key=lambda each: each["auroc"])
    assert (best.epochs, best.worst_patch) == (top["epochs"], top["worst_patch"])
