"""The pool of pairs: it repeats, goes on where it was interrupted, and keeps what the graph would see."""

import fcntl
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gateway.contract.wide import CLIP, PLACE_FEATURES
from trainer import wide_pool
from trainer.data import DataError
from trainer.optics import Picture
from trainer.wide_model import Statistics
from trainer.wide_pool import CLASSES, STEPS_OF_PLACES, Drawing, Pool, PoolSettings, in_steps, open_pool

SETTINGS = PoolSettings("0" * 64, pairs=24)


def _still(seed: int) -> Picture:
    coarse = np.random.default_rng(seed).uniform(20, 230, (20, 20, 3)).astype(np.float32)
    made = cv2.resize(coarse, (140, 140), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(made, 0, 255), dtype=np.uint8)


STILLS = [_still(seed) for seed in range(8)]


def _open(folder: Path, settings: PoolSettings = SETTINGS, *, workers: int = 0) -> tuple[Pool, list[int]]:
    told: list[int] = []
    return open_pool(folder, settings, Drawing(STILLS, [], workers, told.append)), told


def test_pool_repeats_and_is_drawn_once(tmp_path: Path) -> None:
    """The same faces and settings give the same pool; what is there is not drawn again."""
    one, told = _open(tmp_path / "one")
    assert told[-1] == len(one.kinds) == SETTINGS.pairs
    again, nothing = _open(tmp_path / "one")
    assert nothing == []
    other, _ = _open(tmp_path / "two")
    for name in CLASSES:
        for half in range(2):
            for same in (again, other):
                np.testing.assert_array_equal(one.features[name][half], same.features[name][half])
                np.testing.assert_array_equal(one.places[name][half], same.places[name][half])
    assert one.kinds.tolist() == other.kinds.tolist()
    assert (np.concatenate(one.places["clean"]) != np.concatenate(one.places["changed"])).any(axis=(1, 2, 3)).all()


@pytest.mark.timeout(300)
def test_processes_draw_the_same_after_torch_has_used_threads(tmp_path: Path) -> None:
    """Forked processes never wait for threads that they do not have, and draw what one process draws."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.randn(800, 800) @ torch.randn(800, 800)
        by_two, _ = _open(tmp_path / "two", workers=2)
    finally:
        torch.set_num_threads(before)
    alone, _ = _open(tmp_path / "one")
    assert by_two.kinds.tolist() == alone.kinds.tolist()
    for half in range(2):
        np.testing.assert_allclose(by_two.features["changed"][half], alone.features["changed"][half], atol=1e-4)


def test_pool_of_other_faces_is_refused(tmp_path: Path) -> None:
    """A folder's pool serves the faces it was drawn of."""
    _open(tmp_path)
    with pytest.raises(DataError, match="other settings, data or base"):
        _open(tmp_path, PoolSettings("1" * 64, pairs=24))


def test_pool_of_another_base_is_refused(tmp_path: Path) -> None:
    """The statistics of its places are in steps of the base that it was drawn for."""
    drawing = Drawing(STILLS, [], 0, lambda _: None)
    ones = np.ones(PLACE_FEATURES, np.float32)
    open_pool(tmp_path, SETTINGS, drawing, scale=(ones, ones))
    open_pool(tmp_path, SETTINGS, drawing, scale=(ones, ones))
    for scale in ((ones, 2 * ones), None):
        with pytest.raises(DataError, match="other settings, data or base"):
            open_pool(tmp_path, SETTINGS, drawing, scale=scale)


def test_pool_is_drawn_by_one_run_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that write the same files would make one that is neither's."""
    monkeypatch.setattr(wide_pool, "OPENED_WITHIN_S", 0.2)
    with (tmp_path / "pool.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run is drawing this pool"):
            _open(tmp_path)
    _open(tmp_path)


def test_runs_that_open_a_drawn_pool_at_once_wait_for_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several runs that start together share a pool; none is sent away because another is just opening it."""
    _open(tmp_path)
    with (tmp_path / "pool.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(wide_pool.time, "sleep", lambda _: fcntl.flock(other, fcntl.LOCK_UN))
        _open(tmp_path)


def test_pool_of_an_earlier_chain_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draws would give other pairs now: half a pool of each would be neither."""
    _open(tmp_path)
    monkeypatch.setattr(wide_pool, "POOL_FORMAT", wide_pool.POOL_FORMAT + 1)
    with pytest.raises(DataError, match="a pool of other settings"):
        _open(tmp_path)


def test_places_are_kept_to_a_step() -> None:
    """What comes back from the steps is what the local branch takes, to half a step."""
    _, places_NFPQ = Statistics()(torch.from_numpy(np.stack(STILLS)[:2, :128, :128]).permute(0, 3, 1, 2).float())
    mean, scale = places_NFPQ.mean((0, 2, 3)), 1 / (places_NFPQ.std((0, 2, 3)) + 1e-3)
    steps = in_steps(places_NFPQ, (mean.numpy(), scale.numpy()))
    standard = ((places_NFPQ - mean[:, None, None]) * scale[:, None, None]).clamp(-CLIP, CLIP).numpy()
    np.testing.assert_allclose(steps * (CLIP / STEPS_OF_PLACES), standard, atol=0.51 * CLIP / STEPS_OF_PLACES)
