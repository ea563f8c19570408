"""Pre-training of `wide`: it learns, repeats, and goes on where it was interrupted."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from trainer import wide_train
from trainer.data import DataError, Pictures
from trainer.network import export_weights
from trainer.upsampling import GeneratorSettings, train_stand_in
from trainer.wide_pool import CLASSES, Pool
from trainer.wide_train import (
    Shown,
    WideReport,
    WideSettings,
    fresh_wide,
    pretrain_wide,
    usable_stills,
)

SETTINGS = WideSettings(
    pairs=64, epochs=2, batch=16, parts=2, standardise_pairs=16, whiten_faces=32, validation_draws=2, workers=0
)


def _pictures(count: int, first: int, side_px: int = 140) -> Pictures:
    pixels = []
    for seed in range(first, first + count):
        noise = np.random.default_rng(seed).uniform(20, 230, (20, 20, 3)).astype(np.float32)
        made = cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        pixels.append(np.asarray(np.clip(made, 0, 255), dtype=np.uint8))
    names = tuple(f"person {seed}" for seed in range(first, first + count))
    return Pictures(name="drawn", pixels=tuple(pixels), groups=names, sha256=f"{first:064d}")


FACES, OTHERS = _pictures(16, 0), _pictures(128, 100)
SHOWN = Shown(FACES, OTHERS, [train_stand_in(FACES, GeneratorSettings(steps=4, channels=(4, 8)))])
"""A few steps do for the generator here."""


def _train(folder: Path, settings: WideSettings = SETTINGS) -> tuple[list[WideReport], dict[str, np.ndarray]]:
    reports: list[WideReport] = []
    detector = pretrain_wide(SHOWN, settings, start=fresh_wide(settings), folder=folder, report=reports.append)
    return reports, export_weights(detector)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_run_repeats_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    """An interrupted run ends with the weights of an uninterrupted one, and every report is kept once."""
    reports, whole = _train(tmp_path / "whole")
    assert [report.epoch for report in reports] == [0, 1, 2]
    assert all("D auroc" in report.validation for report in reports[1:])

    class _Stop(Exception):
        pass

    def stop(report: WideReport) -> None:
        if report.epoch:
            raise _Stop

    with pytest.raises(_Stop):
        pretrain_wide(SHOWN, SETTINGS, start=fresh_wide(SETTINGS), folder=tmp_path / "again", report=stop)
    again, resumed = _train(tmp_path / "again")
    assert [report.epoch for report in again] == [2], "neither the pool nor the first pass is made again"
    for name, values in whole.items():
        np.testing.assert_allclose(resumed[name], values, atol=1e-5, err_msg=name)
    assert len((tmp_path / "again" / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DataError, match="belongs to other settings"):
        _train(tmp_path / "again", replace(SETTINGS, learning_rate=1e-4))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_features_are_standardised_by_the_pairs(tmp_path: Path) -> None:
    """After the first pairs, features of faces are of the order of one."""
    _, weights = _train(tmp_path)
    assert np.ptp(weights["features_mean"]) > 1
    assert (weights["features_scale"] > 0).all()
    assert np.ptp(weights["places_mean"]) > 1
    assert (weights["places_scale"] > 0).all()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_is_left_out_is_not_learnt_from(tmp_path: Path) -> None:
    """The pool stays whole; only pairs of the other kinds are gone through."""
    kinds = ("white_block", "coloured_block", "blend", "patch")
    reports, _ = _train(tmp_path, replace(SETTINGS, epochs=1, left_out=kinds))
    pool = json.loads((tmp_path / "pool" / "pool.json").read_text(encoding="utf-8"))
    kept = [kind for half in pool["kinds"] for kind in half if kind not in kinds]
    assert reports[-1].pairs == len(kept) < SETTINGS.pairs


def test_small_faces_are_left_out() -> None:
    """Only faces that can be judged are learnt from; a source with none is refused in words."""
    mixed = _pictures(2, 0).pixels + _pictures(2, 0, side_px=60).pixels
    pictures = Pictures(name="mixed", pixels=mixed, groups=("a", "b", "c", "d"), sha256="0" * 64)
    assert len(usable_stills(pictures)) == 2
    with pytest.raises(DataError, match="at least 96 px"):
        usable_stills(_pictures(2, 0, side_px=60))


def test_pool_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that differ in seed or kinds alone go through one pool; where it lies is no part of a run."""
    asked: list[Path] = []

    def spy(folder: Path, *_: object, **__: object) -> None:
        asked.append(folder)
        raise DataError("seen enough")

    monkeypatch.setattr(wide_train, "open_pool", spy)
    for settings in (SETTINGS, replace(SETTINGS, pool=tmp_path / "shared")):
        with pytest.raises(DataError, match="seen enough"):
            _train(tmp_path / "run", settings)
    assert asked == [tmp_path / "run" / "pool", tmp_path / "shared"]


def test_kinds_left_out_do_not_standardise_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean and scale of the statistics are those of the pairs that are learnt from."""
    rows_PF = np.repeat(np.arange(64, dtype=np.float32)[:, None], 4, axis=1)
    halves = {name: [rows_PF[:32], rows_PF[32:]] for name in CLASSES}
    kinds = np.array(["warp", "noise"] * 32)
    nothing = np.zeros(1, np.float32)
    seen: list[np.ndarray] = []

    def prepare(_: object, clean_PF: torch.Tensor, *__: object) -> None:
        seen.append(clean_PF[:, 0].numpy())
        raise DataError("seen enough")

    monkeypatch.setattr(wide_train, "open_pool", lambda *_, **__: Pool(halves, {}, kinds, nothing, nothing))
    monkeypatch.setattr(wide_train._Run, "prepare", prepare)
    with pytest.raises(DataError, match="seen enough"):
        _train(tmp_path, replace(SETTINGS, left_out=("warp",)))
    np.testing.assert_array_equal(seen[0], np.arange(1, 64, 2))


def test_one_thread_computes_while_processes_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait beside busy processes spin: two of them drew an eighth of what one draws."""
    threads: list[int] = []

    def spy(*_: object, **__: object) -> None:
        threads.append(torch.get_num_threads())
        raise DataError("seen enough")

    monkeypatch.setattr(wide_train, "open_pool", spy)
    before = torch.get_num_threads()
    try:
        with pytest.raises(DataError, match="seen enough"):
            _train(tmp_path, replace(SETTINGS, threads=2))
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_absent_gpu_is_said_before_anything_is_drawn(tmp_path: Path) -> None:
    """Asked for a GPU where there is none, training says so at once and in words."""
    with pytest.raises(DataError, match="--device cpu"):
        _train(tmp_path / "run", replace(SETTINGS, device="cuda"))
    assert not (tmp_path / "run").exists()
