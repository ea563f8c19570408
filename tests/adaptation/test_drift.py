"""Drift: learnt from the first tracks, quiet on clean ones however they hang together, seen soon and said in words."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from adaptation.dependent_streams import KINDS, read_faces, told_of
from fakes.adaptation import tracks
from numpy.typing import NDArray

from gateway.adaptation.drift import (
    MOST_REFERENCE,
    REFERENCE,
    WINDOW,
    Finding,
    Sample,
    Watch,
    dependence,
    discrepancy,
    make_reference,
    reference_wanted,
)
from gateway.adaptation.features import frequency_features
from gateway.adaptation.memory import from_text, to_text
from gateway.contract.geometry import reduce_to
from trainer.environments import ENVIRONMENTS

SIDE_PX = 32
FACES_READ = 1500
DEPENDENT = (
    "runs of 5",
    "30 people who come back, runs of 3",
    "light 5 %, memory 10",
    "light 10 %, memory 50, runs of 3",
    "days of 400, 20 % and 3 %, runs of 3",
)


def through(watch: Watch, samples: list[Sample]) -> list[Finding]:
    """Return what is known after each sample."""
    return [watch.add(sample) for sample in samples]


def learnt(seed: int = 1) -> Watch:
    """Return a watch that knows its camera."""
    watch = Watch()
    through(watch, tracks(REFERENCE, seed=seed))
    return watch


def test_watch_when_it_learns() -> None:
    """The first tracks are the reference; until they are there nothing is judged."""
    watch = Watch()
    before, after = through(watch, tracks(REFERENCE, seed=1))[-2:]
    assert (before.state, before.threshold, before.tracks) == ("learning", None, REFERENCE - 1)
    assert (after.state, after.statistic) == ("steady", None)
    assert after.threshold is not None


@pytest.mark.parametrize(
    ("light", "blurred", "word"), [(0.6, False, "darker"), (1.4, False, "brighter"), (1.0, True, "blurred")]
)
def test_watch_when_the_place_changes(light: float, blurred: bool, word: str) -> None:
    """It is seen within a window of tracks, said in a word with the means before and now, and since when."""
    watch = learnt()
    through(watch, tracks(WINDOW, seed=2, first_s=30_000.0))
    found = through(watch, tracks(200, seed=3, light=light, blurred=blurred, first_s=36_000.0))
    first = [each.state for each in found].index("drifted")
    assert first < WINDOW
    assert word in [change.word for change in found[-1].changes]
    change = next(each for each in found[-1].changes if each.word == word)
    assert change.before != change.now
    assert change.since_s is not None
    assert change.since_s >= 36_000.0
    assert found[-1].statistic is not None
    assert found[-1].threshold is not None
    assert found[-1].statistic > found[-1].threshold


def test_watch_when_the_place_is_as_it_was_again() -> None:
    """A window of tracks as at first, and some more, end the drift; nothing is said to be different then."""
    watch = learnt()
    through(watch, tracks(200, seed=3, light=0.6))
    assert watch.finding.state == "drifted"
    found = through(watch, tracks(300, seed=4))
    assert (found[-1].state, found[-1].changes) == ("steady", ())


def test_watch_when_only_the_scores_move() -> None:
    """The spectrum decides; scores alone are no drift of a place."""
    watch = learnt()
    found = through(watch, tracks(400, seed=5, score=8.0))
    assert {each.state for each in found} == {"steady"}


def test_discrepancy_when_both_are_alike() -> None:
    """It is far below the threshold for tracks of one kind and far above for others."""
    reference = make_reference(tracks(REFERENCE, seed=1))
    alike, dark = (np.stack([each.features_F for each in tracks(WINDOW, seed=6, light=light)]) for light in (1.0, 0.5))
    assert discrepancy(reference, alike) < reference.threshold < discrepancy(reference, dark) / 10


def test_reference_when_made_twice() -> None:
    """The threshold depends on the tracks alone."""
    samples = tracks(REFERENCE, seed=1)
    assert make_reference(samples).threshold == make_reference(samples).threshold


def wandering(count: int, *, seed: int, memory: float, size: float) -> NDArray[np.float64]:
    """Return factors of a light that wanders: each is `memory` times the last deviation and a new one."""
    draw, deviation, factors = np.random.default_rng(seed), 0.0, []
    for _ in range(count):
        deviation = memory * deviation + draw.normal() * np.sqrt(1 - memory**2)
        factors.append(size * deviation)
    return np.array(factors)


def relit(samples: list[Sample], logs: NDArray[np.float64]) -> list[Sample]:
    """Return tracks under another light: factors of the grey level, and twice their logarithms for the energies."""
    return [
        Sample(each.time_s, np.concatenate([each.features_F[:1] * np.exp(log), each.features_F[1:] + 2 * log]), 0.0)
        for each, log in zip(samples, logs, strict=True)
    ]


def test_reference_when_neighbours_resemble_each_other() -> None:
    """The more they do the longer it is learnt, up to a limit."""
    count = REFERENCE
    apart, close = tracks(count, seed=1), relit(tracks(count, seed=1), wandering(count, seed=2, memory=0.99, size=0.3))
    apart_RF, close_RF = (np.stack([each.features_F for each in samples]) for samples in (apart, close))
    assert dependence(apart_RF) < 4.0 < dependence(close_RF)
    assert reference_wanted(apart_RF) == count
    assert count < reference_wanted(close_RF) <= MOST_REFERENCE
    assert reference_wanted(close_RF[:100]) == REFERENCE


def test_watch_when_clean_tracks_hang_together_for_long() -> None:
    """People in groups of five under a light that wanders by 3 %: 6,000 tracks and not one word."""
    people = tracks(1200, seed=7)
    samples = [each for person in people for each in [person] * 5]
    watch = Watch()
    found = through(watch, relit(samples, wandering(6000, seed=8, memory=0.9, size=0.03)))
    assert "drifted" not in {each.state for each in found}
    assert found[-1].state == "steady"


def pictures(folder: Path) -> list[NDArray[np.uint8]]:
    """Return real faces in an order by chance."""
    index = folder / "faces" / "index.csv"
    with index.open() as lines:
        names = [row["file"] for row in csv.DictReader(lines) if row["file"].startswith("lfw/")]
    chosen = np.random.default_rng(1).permutation(len(names))[:FACES_READ]
    found = [cv2.imread(str(index.parent / names[place])) for place in chosen]
    return [np.ascontiguousarray(each[24:126, 24:126, ::-1]) for each in found if each is not None]


def samples_in(name: str, pictures: list[NDArray[np.uint8]], *, seed: int) -> list[Sample]:
    """Return real faces in an environment of the evaluation, a track each."""
    altered = ENVIRONMENTS[name].of(pictures, seed=seed)
    features_NF = frequency_features(np.stack([reduce_to(each, SIDE_PX) for each in altered]))
    return [Sample.of(features_F[None], [0.0], time_s=60.0 * index) for index, features_F in enumerate(features_NF)]


@pytest.mark.data
def test_watch_when_real_faces_come_under_the_papers_shifts(research_data: Path) -> None:
    """800 clean faces say nothing; the paper's brightness and motion blur are each seen within 100 tracks."""
    real = pictures(research_data)
    watch = Watch()
    before = through(watch, samples_in("original", real[:1300], seed=1))
    assert {each.state for each in before} == {"learning", "steady"}
    kept = to_text(watch)
    for name in ("brightness", "bright", "motion"):
        after = through(from_text(kept), samples_in(name, real[1300:1400], seed=2))
        assert "drifted" in {each.state for each in after}, name


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(900)
def test_watch_when_real_faces_hang_together(research_data: Path) -> None:
    """20 streams of 2,000 clean tracks (groups, people who come back, light that wanders, days): nearly all quiet."""
    faces = read_faces(research_data)
    told = {
        name: [told_of(faces, KINDS[name], seed=seed, shifts=("motion",)) for seed in range(1, 5)] for name in DEPENDENT
    }
    loud = {name: [each.drifted for each in some if each.drifted] for name, some in told.items()}
    assert sum(map(len, loud.values())) <= 1, loud
    slow = [each.seen["motion"] for some in told.values() for each in some]
    assert sum(after is not None for after in slow) >= 16, told


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(900)
def test_watch_when_real_faces_are_independent(research_data: Path) -> None:
    """Ten streams of 2,000 tracks: not one word, and both shifts of the paper are seen within 100 tracks in each."""
    faces = read_faces(research_data)
    told = [told_of(faces, KINDS["independent"], seed=seed, shifts=("brightness", "motion")) for seed in range(1, 11)]
    assert [each.drifted for each in told] == [0.0] * 10
    assert all((each.seen[shift] or 200) <= 100 for each in told for shift in ("brightness", "motion")), told
