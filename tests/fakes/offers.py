"""Bundles that are offered to a daemon inside the test, and what it says of them."""

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fakes.bundles import TRAINING
from fakes.daemons import Box
from numpy.typing import NDArray

from gateway.adaptation.exchange import Offer
from gateway.adaptation.place import Pace
from gateway.adaptation.shadow import Limits
from gateway.adaptation.slots import Slots
from gateway.adaptation.store import BundleStore
from gateway.contract import messages
from gateway.contract.bundle import Bundle
from gateway.contract.repository import BUNDLE_FILES
from gateway.daemon.models import Updates
from gateway.errors import ExchangeError
from gateway.models.shipped import SHIPPED_SHA256, resolve_bundle
from trainer.export import write_bundle

ONE = "cameras:\n  gate: {source: {type: file, path: gate.mp4}}\n"
FACTORY = SHIPPED_SHA256["paper"]
TOPIC = "spectragate/environments/default/model/state"

Weights = Mapping[str, NDArray[np.float32]]
Tamper = Callable[[dict[str, bytes]], None]


@dataclass
class FakeSource:
    """Offers one bundle, or fails as told."""

    files: dict[str, bytes] | None = None
    offer: Offer | None = None
    error: ExchangeError | None = None
    ending: str | None = None

    def newest(self, environment: str) -> Offer | None:
        """Return the offer."""
        if self.error is not None:
            raise self.error
        return self.offer

    def fetch(self, offer: Offer) -> dict[str, bytes]:
        """Return its files."""
        assert self.files is not None
        return self.files


def child(folder: Path, **changes: object) -> Bundle:
    """Write a bundle of the shipped weights for the environment `default`, with these changes, and return it."""
    shipped = resolve_bundle("paper")
    facts = {
        "version": shipped.manifest.version + 1,
        "environment": "default",
        "parent_sha256": FACTORY,
        "created": "2026-01-01",
        "training": TRAINING,
    }
    write_bundle(
        folder,
        profile=shipped.profile,
        weights=changes.pop("weights", shipped.weights),  # type: ignore[arg-type]
        calibration=changes.pop("calibration", shipped.calibration),  # type: ignore[arg-type]
        self_test=changes.pop("self_test", shipped.self_test),  # type: ignore[arg-type]
        facts=facts | changes,
    )
    return resolve_bundle(str(folder))


def files_of(bundle: Bundle) -> dict[str, bytes]:
    """Return the files of a bundle."""
    return {name: (bundle.folder / name).read_bytes() for name in BUNDLE_FILES}


def source_of(bundle: Bundle, tamper: Tamper | None = None) -> FakeSource:
    """Return a source that offers a bundle, with files that were tampered with."""
    files = files_of(bundle)
    if tamper is not None:
        tamper(files)
    return FakeSource(files, Offer("default", bundle.manifest.version, bundle.identity.sha256))


def updates(folder: Path, source: FakeSource) -> Updates:
    """Return updates that need few faces."""
    limits = Limits(faces=64, longest_s=600.0)
    return Updates(folder / "state", source, Pace(60.0, limits, limits))


def word(box: Box) -> messages.ModelState:
    """Return what is said of the environment's model."""
    said = messages.parse(box.shown.topics[TOPIC])
    assert isinstance(said, messages.ModelState)
    return said


def result(box: Box) -> tuple[str, str, str | None]:
    """Return what came of the last order."""
    answer = word(box).answer
    assert answer is not None
    return answer.order, answer.result, answer.reason


def store_of(folder: Path) -> BundleStore:
    """Return the store as another process sees it."""
    return BundleStore(folder / "state" / "bundles", factory=lambda _name: resolve_bundle("paper"))


def slots_of(folder: Path) -> Slots:
    """Return what the disk says."""
    return store_of(folder).slots("default")


def phases(box: Box) -> list[str]:
    """Return the phases that were said, each once in a row."""
    said: list[str] = []
    for topic, payload in box.shown.history:
        if topic == TOPIC and payload is not None:
            state = messages.parse(payload)
            assert isinstance(state, messages.ModelState)
            said += [state.state] if said[-1:] != [state.state] else []
    return said


async def pass_by(box: Box, done: Callable[[], bool], *, white: float = 0.0) -> None:
    """Let people pass until something is so."""
    ends_s = time.monotonic() + 40.0  # and not so many: they go on while a disk takes its time
    for turn in itertools.count(1):
        if time.monotonic() > ends_s:
            break
        before = verdicts_of(box)
        box.cameras.passage("gate", white=white, frames=6, time_s=100.0 * turn)
        await box.until(lambda before=before: done() or verdicts_of(box) > before)  # type: ignore[misc]
        if done():
            return
    raise AssertionError(f"still {word(box)}")


def verdicts_of(box: Box) -> int:
    """Return how many passages were judged."""
    summary = box.daemon.environments.summaries.get("gate")
    return 0 if summary is None else summary.verdicts.total()
