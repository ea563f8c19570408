"""What an environment's `updater` works with: where the environment runs, how fast it goes, and what is said of it.

N faces, S side in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.adaptation import swap
from gateway.adaptation.shadow import LIMITS, Compared, Limits
from gateway.contract.bundle import Bundle
from gateway.contract.requests import ModelOrder
from gateway.values import Screening


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the channel is asked, and how long a bundle is tried before it judges and after."""

    poll_s: float = 300.0
    shadow: Limits = LIMITS
    probation: Limits = LIMITS


PACE = Pace()


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A batch that was scored by the bundle in use; pixels are the detector's input, uint8 (N, S, S, 3)."""

    pixels_NYXC: NDArray[np.uint8]
    screenings: Sequence[Screening]


@dataclass(frozen=True, slots=True)
class Finished:
    """A track that is over; `alert_id` where the bundle in use flagged it, `statistic` where it could judge it."""

    camera: str
    track_id: int
    faces_seen: int
    alert_id: str | None
    statistic: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order; `refusal` says why nothing did, in words."""

    order: ModelOrder
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Said:
    """How things stand: `update` is what is wrong with the channel, `reason` why a bundle was undone or refused."""

    state: swap.Swap
    update: str | None
    reason: str | None
    answer: Answer | None


class Place(Protocol):
    """Where the environment runs: its channel, its store, its detector. Methods raise what the updater names."""

    async def newest(self) -> str | None:
        """Return the digest of a bundle that is offered, fits and is not in use, or None."""

    @property
    def ending(self) -> str | None:
        """What will soon keep new bundles away unless somebody signs, in words, as `newest` last saw it."""

    async def stage(self, sha256: str) -> Bundle | None:
        """Fetch, verify, store, load and self-test a bundle; None where an operator chose otherwise meanwhile."""

    async def score(self, pixels_NYXC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the scores of the bundle that was staged."""

    async def compare(self, pixels_NYXC: NDArray[np.uint8]) -> Compared | None:
        """Let the bundle that was staged and the one in use score the same faces; None where that one cannot now."""

    def in_use(self) -> Bundle:
        """Return the bundle in use."""

    def has_drifted(self) -> bool:
        """Return whether the environment's pictures have changed under the bundle in use."""

    def learn(self, camera: str, statistic: float, alert_id: str | None) -> None:
        """Keep a track for the calibration of the bundle that was staged."""

    async def activate(self) -> bool:
        """Let the bundle that was staged judge; False where the disk does not want it any more."""

    async def commit(self, sha256: str) -> None:
        """Write down that it is in use."""

    async def confirm(self) -> None:
        """Write down that it is good."""

    async def deny(self, sha256: str, reason: str) -> None:
        """Write down that it is never to run."""

    def discard(self) -> None:
        """Give the session of the bundle that was staged back."""

    async def check_before(self) -> None:
        """Refuse where there is no bundle to go back to."""

    async def restore(self) -> str | None:
        """Let the bundle before the one in use judge; return which was undone, None where it was the factory's.

        Raises:
            BundleError: Neither that one nor the factory's can judge; the one in use goes on.
        """

    async def keep_restored(self, undone: str | None, reason: str, *, is_pinned: bool) -> None:
        """Write down which bundle was undone, and whether what judges now is to stay."""

    async def choose(self, version: int | None) -> None:
        """Write down that a version that lies here is to run and to stay; None: that new ones are taken again."""

    async def named(self) -> swap.Named | None:
        """Return what the disk names, or None where it says nothing that can be believed."""

    async def follow(self, sha256: str) -> Bundle:
        """Let the bundle that the disk names judge, and return it."""

    def show(self, said: Said) -> None:
        """Say how things stand."""
