"""Training: it learns, it repeats, it goes on where it was stopped."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.data import DataError, Pictures, read_pictures
from trainer.network import export_weights
from trainer.train import EpochReport, PairDataset, PretrainSettings, Source, fresh_detector, pretrain

TINY = PretrainSettings(epochs=3, batch=16, families=("white_block", "coloured_block"), threads=1, workers=0)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    """Return smooth drawn pictures: easy to tell from ones with a block on them."""
    draw = np.random.default_rng(1)
    images = [
        np.asarray(cv2.GaussianBlur(draw.uniform(0, 255, (40, 40, 3)).astype(np.float32), (0, 0), 5))
        for _ in range(120)
    ]
    np.savez(tmp_path / "smooth.npz", images=np.stack(images).astype(np.uint8))
    return read_pictures(tmp_path / "smooth.npz")


def halves(pictures: Pictures) -> tuple[list[Source], Pictures]:
    """Return training source and validation pictures."""
    return [Source(pictures.subset(range(80), "train"), 80)], pictures.subset(range(80, 120), "validation")


def run(
    pictures: Pictures, folder: Path, settings: PretrainSettings = TINY
) -> tuple[dict[str, np.ndarray], list[EpochReport]]:
    """Train and return weights and reports."""
    sources, validation = halves(pictures)
    reports: list[EpochReport] = []
    detector = pretrain(
        sources, validation, settings, start=fresh_detector(settings), folder=folder, report=reports.append
    )
    assert not detector.training
    return export_weights(detector), reports


def test_training_lowers_the_loss_and_writes_what_it_did(pictures: Pictures, tmp_path: Path) -> None:
    """Three epochs on an easy task already learn; every epoch leaves a line."""
    _, reports = run(pictures, tmp_path / "run")
    assert reports[-1].loss < reports[0].loss
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert set(lines[0]["validation"]) >= {"auroc", "auroc/white_block", "bdr at fpr 10%", "fpr at arg-max"}


def test_training_goes_on_to_the_same_weights_after_an_interruption(pictures: Pictures, tmp_path: Path) -> None:
    """Stopped after an epoch and started again, a run ends where an unbroken one ends, to the bit."""
    whole, _ = run(pictures, tmp_path / "whole")

    class StopHere(Exception):
        pass

    def stop_after_first(report: EpochReport) -> None:
        raise StopHere

    sources, validation = halves(pictures)
    with pytest.raises(StopHere):
        pretrain(
            sources, validation, TINY, start=fresh_detector(TINY), folder=tmp_path / "parts", report=stop_after_first
        )
    resumed, reports = run(pictures, tmp_path / "parts")
    assert [report.epoch for report in reports] == [2, 3]
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)


def test_checkpoint_of_another_run_is_refused(pictures: Pictures, tmp_path: Path) -> None:
    """Other settings or data never continue a checkpoint silently."""
    run(pictures, tmp_path / "run")
    with pytest.raises(DataError, match="other settings or data"):
        run(pictures, tmp_path / "run", dataclasses.replace(TINY, seed=2))


def test_pairs_are_drawn_anew_every_epoch_and_repeat_with_the_seed(pictures: Pictures) -> None:
    """Perturbations are re-drawn each epoch; who draws a pair, and in which order, does not matter."""
    sources, _ = halves(pictures)
    first, second, again = (PairDataset(sources, TINY, epoch=epoch) for epoch in (0, 1, 0))
    assert len(first) == 80
    np.testing.assert_array_equal(first[7][1], again[7][1])
    assert any(not np.array_equal(first[i][1], second[i][1]) for i in range(5))


def test_every_picture_is_drawn_before_any_comes_again(pictures: Pictures) -> None:
    """An epoch larger than the source repeats it evenly."""
    source = Source(pictures.subset(range(10), "ten"), 25)
    drawn = [index for _, index in PairDataset([source], TINY, epoch=0)._stills]
    assert sorted(drawn[:10]) == list(range(10))
    assert len(drawn) == 25


def test_training_without_data_is_refused(pictures: Pictures, tmp_path: Path) -> None:
    """No source, or nobody to validate on, is told before an hour has passed."""
    sources, validation = halves(pictures)
    for given, held in (([], validation), (sources, pictures.subset([], "none"))):
        with pytest.raises(DataError, match="needs at least one"):
            pretrain(given, held, TINY, start=fresh_detector(TINY), folder=tmp_path / "run", report=lambda _: None)
