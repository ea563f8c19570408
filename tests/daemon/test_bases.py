"""The base's word on faces: the same detector where a release judges, another where an adaptation does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.adaptation import faces
from fakes.collecting import SETTINGS
from fakes.daemons import Box, running_daemon
from fakes.offers import ONE, child, files_of, store_of
from structlog.testing import capture_logs

from gateway.adaptation.clean_sets import CleanSets
from gateway.adaptation.collect import CleanFace
from gateway.adaptation.patience import FIRST_PAUSE_S, LAST_PAUSE_S
from gateway.contract.bundle import Bundle, SelfTest
from gateway.contract.geometry import reduce_to
from gateway.daemon.bases import Bases
from gateway.daemon.collecting import Collecting, Place
from gateway.daemon.models import Updates
from gateway.daemon.sending import Sending
from gateway.errors import LateFault
from gateway.models.shipped import resolve_bundle

LOWER = 5.0
FACE = CleanFace("gate", 0.0, 0.0, faces(1, seed=3, side_px=40)[0])


def lulled(folder: Path, **facts: object) -> Bundle:
    """Write an adaptation that scores every face lower by `LOWER`: it overlooks what its base sees."""
    shipped = resolve_bundle("paper")
    last = list(shipped.weights)[-1]
    weights = {**shipped.weights, last: shipped.weights[last] - np.array([0.0, LOWER], np.float32)}
    test = SelfTest(shipped.self_test.pixels_NYXC, shipped.self_test.scores_N - np.float32(LOWER))
    return child(folder, weights=weights, self_test=test, **facts)


def put_into_use(folder: Path, bundle: Bundle) -> None:
    """Let the next daemon run it."""
    store = store_of(folder)
    store.stage("default", files_of(bundle))
    store.change("default", lambda slots: slots.activated(bundle.identity.sha256, bundle.manifest.version))


async def asked(box: Box, face: CleanFace = FACE) -> tuple[float | None, float]:
    """Return what the base and what the detector in use say of a face."""
    daemon = box.daemon
    assert daemon.models is not None
    bases = Bases(lambda: daemon.environments, daemon.models.base_of)
    base = await bases.score("default", face)
    assert await bases.score("default", face) == base
    assert await bases.score("nowhere", face) is None
    pixels_NYXC = reduce_to(face.pixels_YXC, daemon.environments.bundles["default"].profile.side_px)[None]
    return base, float((await daemon.environments.score("default", pixels_NYXC))[0])


@pytest.mark.parametrize("is_adapted", [False, True])
async def test_base_is_asked_whatever_judges(tmp_path: Path, is_adapted: bool) -> None:
    """An adaptation that overlooks everything does not change what its base says."""
    if is_adapted:
        put_into_use(tmp_path, lulled(tmp_path / "lulled"))
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        base, in_use = await asked(box)
    assert base == pytest.approx(in_use + (LOWER if is_adapted else 0.0), abs=1e-3)


async def test_adaptation_of_another_base_has_none(tmp_path: Path) -> None:
    """A base that is not here cannot be asked, and no other stands in for it."""
    put_into_use(tmp_path, lulled(tmp_path / "lulled", parent_sha256="9" * 64))
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        daemon = box.daemon
        assert daemon.models is not None
        bases = Bases(lambda: daemon.environments, daemon.models.base_of)
        assert await bases.score("default", FACE) is None


async def test_base_that_does_not_open_in_time_is_tried_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try may leave a thread behind, so faces in between do not try; they teach nothing."""
    put_into_use(tmp_path, lulled(tmp_path / "lulled"))
    now_s, tries = [0.0], []

    async def late(bundle: Bundle) -> None:
        tries.append(bundle)
        raise LateFault("the inference session on the CPU gave no answer within 30 s")

    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        daemon = box.daemon
        assert daemon.models is not None
        bases = Bases(lambda: daemon.environments, daemon.models.base_of, clock=lambda: now_s[0])
        with monkeypatch.context() as patched:
            patched.setattr(daemon.environments, "open_bundle", late)
            with capture_logs() as logs:
                assert [await bases.score("default", FACE) for _ in range(5)] == [None] * 5
            assert len(tries) == 1
            assert [(log["event"], log["retry_s"]) for log in logs] == [("base_not_asked", FIRST_PAUSE_S)]
            now_s[0] += FIRST_PAUSE_S
            assert await bases.score("default", FACE) is None
            assert len(tries) == 2
        assert await bases.score("default", FACE) is None
        now_s[0] += LAST_PAUSE_S
        assert await bases.score("default", FACE) is not None


async def test_second_drift_is_collected_for_under_adapted_weights(tmp_path: Path) -> None:
    """Faces are kept as before, by the higher of both scores: here the base's, which sees more."""
    adapted = lulled(tmp_path / "lulled")
    put_into_use(tmp_path, adapted)
    sets = CleanSets(tmp_path)

    def make(place: Place) -> Collecting:
        here = replace(place, road=replace(place.road, has_drifted=lambda _: True))
        return Collecting(sets, here, Sending(sets, SETTINGS, here.road, client_id="box", clock=lambda: 0.0))

    updates = Updates(tmp_path / "state")
    async with running_daemon(tmp_path, ONE, updates=updates, make_collecting=make) as box:
        await box.until(lambda: "gate" in box.cameras.opened)
        assert box.daemon.environments.bundles["default"].identity == adapted.identity
        box.cameras.passage("gate")
        await box.until(lambda: "spectragate/environments/default/drift/state" in box.shown.topics)
        assert box.daemon.collecting is not None
        await box.daemon.collecting.settle()
        (face,) = sets.faces(sets.sightings(frozenset({"gate"})))
        base, in_use = await asked(box, face)
    assert face.score == pytest.approx(base, abs=1e-3)
    assert face.score == pytest.approx(in_use + LOWER, abs=1e-3)
