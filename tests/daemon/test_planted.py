"""A dozen kinds of bad bundle, each offered to a running daemon: refused or undone by itself, and screening goes on.

They are what a careless or a stolen trainer would make: signed, whole, and consistent with themselves wherever they can
be, so that each is caught by what is meant to catch it. Only clocks are fake.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.bundles import TRAINING
from fakes.daemons import Box, running_daemon
from fakes.offers import (
    FACTORY,
    ONE,
    TOPIC,
    FakeSource,
    pass_by,
    phases,
    slots_of,
    store_of,
    updates,
    verdicts_of,
    word,
)
from fakes.repositories import Site
from numpy.typing import NDArray

from gateway.adaptation import updater
from gateway.adaptation.exchange import Offer
from gateway.adaptation.place import Pace
from gateway.adaptation.shadow import Limits
from gateway.contract.bundle import Bundle, SelfTest, open_bundle
from gateway.contract.calibration import TrackRule
from gateway.contract.network import PROFILES
from gateway.contract.repository import BUNDLE_FILES
from gateway.models.shipped import resolve_bundle
from gateway.screening.runtime import InferenceThread
from gateway.screening.sessions import Session, open_session, run_in_buckets
from trainer.export import write_bundle

Weights = dict[str, NDArray[np.float32]]
SHIPPED = resolve_bundle("paper")
VERSION = SHIPPED.manifest.version + 1


def planted(folder: Path, *, scores_N: NDArray[np.float32] | None = None, **changes: Any) -> FakeSource:
    """Offer a child of the shipped bundle with these changes, whose self-test says what its weights give."""
    facts = {"version": VERSION, "environment": "default", "parent_sha256": FACTORY, "created": "2026-01-01"}
    parts = {
        "profile": changes.pop("profile", SHIPPED.profile),
        "weights": changes.pop("weights", SHIPPED.weights),
        "calibration": SHIPPED.calibration.model_copy(update=changes.pop("calibration", {})),
        "facts": {**facts, "training": TRAINING, **changes},
    }
    pixels_NYXC = SHIPPED.self_test.pixels_NYXC
    if scores_N is None:
        write_bundle(folder, self_test=SHIPPED.self_test, **parts)
        scores_N = run_in_buckets(open_session(open_bundle(folder), "CPUExecutionProvider", 1), pixels_NYXC)
    sha256 = write_bundle(folder, self_test=SelfTest(pixels_NYXC, scores_N), **parts)
    files = {name: (folder / name).read_bytes() for name in BUNDLE_FILES}
    return FakeSource(files, Offer("default", VERSION, sha256))


def changed_weights(change: Callable[[Weights], object]) -> Weights:
    """Return the shipped weights, changed."""
    weights = {name: array.copy() for name, array in SHIPPED.weights.items()}
    change(weights)
    return weights


def last_layer(factor: float) -> Weights:
    """Return the shipped weights with scores that are a multiple of what they were."""

    def scale(weights: Weights) -> None:
        for name in list(weights)[-2:]:
            weights[name] *= np.float32(factor)

    return changed_weights(scale)


def moved(by: float) -> dict[str, object]:
    """Return the shipped calibration as if clean tracks had scored higher or lower."""
    return {"clean_tracks": tuple(each + by for each in SHIPPED.calibration.clean_tracks)}


def one_nan(weights: Weights) -> None:
    """Let one weight be no number."""
    next(iter(weights.values())).flat[7] = np.nan


def huge(weights: Weights) -> None:
    """Let every weight be a number beyond measure."""
    for name in weights:
        weights[name] *= np.float32(1e20)


def lost_tensor(weights: Weights) -> None:
    """Leave the last tensor out."""
    del weights[list(weights)[-1]]


NOTHING = np.zeros(len(SHIPPED.self_test.scores_N), np.float32)
NEVER = TrackRule(first_face=200, last_face=256)

# What is planted, how it is made, the white share of the faces that pass, and what is said of it.
KINDS: dict[str, tuple[Callable[[Path], FakeSource], float, str]] = {
    "weights that are no numbers": (
        partial(planted, weights=changed_weights(one_nan), scores_N=NOTHING),
        0.0,
        "not finite|finite",
    ),
    "weights of huge magnitude": (partial(planted, weights=changed_weights(huge), scores_N=NOTHING), 0.0, "self-test"),
    "weights of another network": (
        partial(planted, weights=changed_weights(lost_tensor), scores_N=NOTHING),
        0.0,
        "tensor",
    ),
    "another self-test": (partial(planted, scores_N=NOTHING + np.float32(0.5)), 0.0, "self-test"),
    "the same score for everybody": (partial(planted, weights=last_layer(0.0)), 0.0, "the same score"),
    "the other way round": (partial(planted, weights=last_layer(-1.0)), 0.9, "it sees|flags"),
    "flags everybody": (partial(planted, calibration=moved(-1000.0)), 0.0, "it flags"),
    "blind to what passes": (partial(planted, calibration=moved(1000.0)), 0.9, "it sees"),
    "blind to what nobody shows": (partial(planted, calibration=moved(1000.0)), 0.0, "planted triggers"),
    "a window that no passage fills": (partial(planted, calibration={"rule": NEVER}), 0.0, "can judge"),
    "another profile": (partial(planted, scores_N=NOTHING, profile=PROFILES["wide"]), 0.0, "weights|tensor"),
    "another environment": (partial(planted, environment="elsewhere"), 0.0, "elsewhere"),
    "a gateway to come": (partial(planted, scores_N=NOTHING, minimum_gateway="99.0.0"), 0.0, "needs gateway"),
}


async def refused(box: Box, *, white: float, words: str) -> None:
    """Let people pass until the bundle is known for what it is; the shipped one judged all along, and still does."""
    await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
    await pass_by(box, lambda: word(box).reason is not None, white=white)
    assert re.search(words, str(word(box).reason))
    assert "probation" not in phases(box)
    await goes_on(box)


async def goes_on(box: Box) -> None:
    """See that people are judged, by the shipped bundle."""
    verdicts = verdicts_of(box)
    await pass_by(box, lambda: verdicts_of(box) > verdicts)
    assert word(box).model.sha256 == FACTORY


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
async def test_planted_bundle_is_refused_and_screening_goes_on(tmp_path: Path, kind: str) -> None:
    """Before it judges anybody, for good, and with its reason."""
    make, white, words = KINDS[kind]
    source = make(tmp_path / "bad")
    limits = Limits(faces=1200, longest_s=3600.0)
    given = replace(updates(tmp_path, source), pace=Pace(60.0, limits, limits))
    async with running_daemon(tmp_path, ONE, updates=given) as box:
        await refused(box, white=white, words=words)
    assert source.offer is not None
    assert set(slots_of(tmp_path).denied) == {source.offer.sha256}
    assert slots_of(tmp_path).active is None


async def test_stale_bundle_is_refused(tmp_path: Path) -> None:
    """An older one than was in use here once, however it is signed."""
    source = planted(tmp_path / "old")
    store_of(tmp_path).change("default", lambda slots: replace(slots, floor_version=VERSION))
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await refused(box, white=0.0, words="was active here already")


async def test_bundle_that_descends_from_nothing_signed_is_refused(tmp_path: Path) -> None:
    """Through the real channel: the environment's role signed it, no base is its parent."""
    site = Site.make(tmp_path / "site", "default")
    site.publish(1, environment="default", parent_sha256="0" * 64)
    given = replace(updates(tmp_path, FakeSource()), source=site.exchange(tmp_path / "channel"))
    async with running_daemon(tmp_path, ONE, updates=given) as box:
        await refused(box, white=0.0, words="no signed base")


class Clock:
    """Stands still but for what sessions take."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


class PacedSession:
    """A session that takes so long by the clock of the test."""

    def __init__(self, real: Session, clock: Clock, takes_s: float) -> None:
        self._real, self._clock, self._takes_s = real, clock, takes_s

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[Any]:
        """Score, and let time pass."""
        self._clock.now_s += self._takes_s
        return self._real.run(output_names, input_feed)

    def get_providers(self) -> list[str]:
        """Return the real one's."""
        return self._real.get_providers()


async def test_bundle_that_takes_twice_as_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights can make a network slow: numbers near zero do."""
    monkeypatch.setattr(updater, "COMPARE_EVERY", 1)
    source, clock = planted(tmp_path / "slow"), Clock()

    def opener(bundle: Bundle, provider: str, threads: int) -> Session:
        is_shipped = bundle.identity.sha256 == FACTORY
        return PacedSession(open_session(bundle, provider, threads), clock, 0.01 if is_shipped else 0.025)

    inference = InferenceThread(device="cpu", threads=1, opener=opener, clock=clock)
    limits = Limits(faces=300, longest_s=3600.0)
    given = replace(updates(tmp_path, source), pace=Pace(60.0, limits, limits))
    async with running_daemon(tmp_path, ONE, updates=given, inference=inference) as box:
        await refused(box, white=0.9, words="it takes 25.0 ms")
