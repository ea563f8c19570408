"""What the released base says of a face, also where an adaptation of it judges.

What an adaptation was brought to overlook the base still sees: it judges by what nobody before a camera has had a hand
in. Faces that may teach are judged by it too, whatever judges their environment.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.adaptation.collect import CleanFace
from gateway.adaptation.patience import Patience
from gateway.contract.bundle import Bundle, BundleError
from gateway.daemon.environments import Environments
from gateway.errors import LateFault, RuntimeFault
from gateway.models.shipped import is_release
from gateway.screening.runtime import BundleDetector
from gateway.screening.screen import prepare
from gateway.values import FaceBox, FaceCrop

_log = structlog.get_logger()


class Bases:
    """The bases of adapted environments, opened when they are first asked; one beside each environment at most.

    `base_of` returns the release that a bundle was adapted from, for a thread; None where it is not here. One that does
    not open in time leaves a thread behind, so it is tried again after a growing pause and not for each face.
    """

    def __init__(
        self,
        environments: Callable[[], Environments],
        base_of: Callable[[Bundle], Bundle | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environments = environments
        self._base_of = base_of
        self._clock = clock
        self._patience: dict[str, Patience] = {}
        self._open: dict[str, tuple[str, Bundle, BundleDetector]] = {}

    async def score(self, environment: str, face: CleanFace) -> float | None:
        """Return the base's score of a face; None where no base is at hand: then the face must not teach."""
        for name in set(self._open) - set(self._environments().bundles):
            self._close(name)
        running = self._environments().bundles.get(environment)
        if running is None:
            return None
        patience, sha256 = self._patience.setdefault(environment, Patience()), running.identity.sha256
        if not patience.allows(sha256, self._clock()):
            return None
        try:
            base, detector = await self._detector(environment, running)
            pixels_NYXC, _ = prepare([_crop(face)], base.profile)
            scores_N = await detector.screen(pixels_NYXC)
        except LateFault as error:
            retry_s = patience.note(sha256, self._clock())
            _log.warning("base_not_asked", environment=environment, reason=str(error), retry_s=retry_s)
            return None
        except (BundleError, RuntimeFault) as error:
            _log.warning("base_not_asked", environment=environment, reason=str(error))
            return None
        patience.forget()
        return float(scores_N[0])

    async def _detector(self, environment: str, running: Bundle) -> tuple[Bundle, BundleDetector]:
        """Return the base with what judges by it: what is in use, where that is a release itself."""
        if is_release(running):
            self._close(environment)
            return running, self._environments().detector(environment)
        sha256 = running.identity.sha256
        if environment in self._open and self._open[environment][0] == sha256:
            return self._open[environment][1:]
        self._close(environment)
        base = await asyncio.to_thread(self._base_of, running)
        if base is None or not is_release(base):
            raise BundleError(f"the release from which version {running.identity.version} was adapted is not here")
        self._open[environment] = sha256, base, await self._environments().open_bundle(base)
        return self._open[environment][1:]

    def _close(self, environment: str) -> None:
        if environment in self._open:
            self._open.pop(environment)[2].release()


def _crop(face: CleanFace) -> FaceCrop:
    side_px = face.pixels_YXC.shape[0]
    box = FaceBox(0.0, 0.0, side_px, side_px, 1.0)
    return FaceCrop(face.camera, 0, face.time_s, box, face.pixels_YXC, side_px)
