"""Bundles come, are tried, judge, and are undone, inside a daemon with a real detector and a real store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.bundles import write_drawn_bundle
from fakes.daemons import running_daemon
from fakes.offers import (
    FACTORY,
    ONE,
    TOPIC,
    FakeSource,
    Tamper,
    child,
    files_of,
    pass_by,
    phases,
    result,
    slots_of,
    source_of,
    store_of,
    updates,
    verdicts_of,
    word,
)

from gateway.adaptation.place import Pace
from gateway.adaptation.shadow import Limits
from gateway.adaptation.slots import NOTHING_BEFORE
from gateway.contract.bundle import MANIFEST_NAME, Bundle, SelfTest
from gateway.contract.requests import ModelOrder
from gateway.daemon.models import Updates
from gateway.errors import ExchangeError, ExchangeReason
from gateway.models.shipped import resolve_bundle

ROLL_BACK = ModelOrder("rollback")


async def test_good_bundle_is_tried_judges_and_is_confirmed(tmp_path: Path) -> None:
    """Its whole way is told, it is what the disk names, and its calibration was filled in the shadow."""
    bundle = child(tmp_path / "good")
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: "gate" in box.cameras.opened and word(box).state == "shadow")
        assert word(box).candidate == bundle.identity.sha256
        before = word(box)
        await pass_by(box, lambda: word(box).state == "probation")
        taken_over_at_s = word(box).since
        assert before.since <= before.time < taken_over_at_s <= word(box).time
        assert box.daemon.environments.bundles["default"].identity == bundle.identity
        assert box.daemon.environments.tracks_known("default") > 0
        await pass_by(box, lambda: word(box).state == "steady" and "probation" in phases(box))
        assert phases(box)[-4:] == ["shadow", "activating", "probation", "steady"]
        assert (word(box).model, word(box).since) == (bundle.identity, taken_over_at_s)
    kept = slots_of(tmp_path)
    assert (kept.active, kept.probation, kept.denied) == (bundle.identity.sha256, False, {})


async def test_bundle_of_another_profile_is_denied_and_says_where_a_profile_is_chosen(tmp_path: Path) -> None:
    """Whoever may publish for an environment does not thereby choose its detector."""
    folder = tmp_path / "wide"
    write_drawn_bundle(folder, profile="wide", version=9, environment="default", parent_sha256=FACTORY)
    source = source_of(resolve_bundle(str(folder)))
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).reason is not None)
        assert "to change the profile, change environments.default" in (word(box).reason or "")
        assert word(box).model.sha256 == FACTORY


def _flip(files: dict[str, bytes]) -> None:
    weights = bytearray(files["weights.safetensors"])
    weights[-100] ^= 1
    files["weights.safetensors"] = bytes(weights)


def _truncate(files: dict[str, bytes]) -> None:
    files["weights.safetensors"] = files["weights.safetensors"][:-1]


def _leave_out(files: dict[str, bytes]) -> None:
    del files["calibration.json"]


def _foreign(files: dict[str, bytes]) -> None:
    files[MANIFEST_NAME] = files[MANIFEST_NAME].replace(b'"default"', b'"elsewhere"')


def _old(files: dict[str, bytes]) -> None:
    files[MANIFEST_NAME] = files[MANIFEST_NAME].replace(b'"version": ', b'"version": 1')


def _garbage(files: dict[str, bytes]) -> None:
    files[MANIFEST_NAME] = b"{"


@pytest.mark.parametrize("tamper", [_flip, _truncate, _leave_out, _foreign, _old, _garbage])
async def test_bundle_that_is_not_what_was_signed_is_denied(tmp_path: Path, tamper: Tamper) -> None:
    """It never scores a face, the factory's bundle goes on, and the reason is told."""
    source = source_of(child(tmp_path / "bad"), tamper)
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).reason is not None)
        assert word(box).state == "steady"
        assert word(box).model.sha256 == FACTORY
    assert set(slots_of(tmp_path).denied) == {source.offer.sha256 if source.offer else ""}


def _shifted(folder: Path) -> Bundle:
    """Return a bundle whose self-test says other scores than its weights give."""
    test = resolve_bundle("paper").self_test
    return child(folder, self_test=SelfTest(test.pixels_NYXC, test.scores_N + np.float32(0.5)))


def _scaled(folder: Path, factor: float) -> Bundle:
    shipped = resolve_bundle("paper")
    weights = {name: (array * np.float32(factor)) for name, array in shipped.weights.items()}
    return child(folder, weights=weights)


def _overflowing(folder: Path) -> Bundle:
    """Return a bundle whose scores are no numbers."""
    return _scaled(folder, 1e20)


def _constant(folder: Path) -> Bundle:
    """Return a bundle to which every face looks the same, and whose self-test says so."""
    shipped = resolve_bundle("paper")
    weights = {name: np.zeros_like(array) if "var" not in name else array for name, array in shipped.weights.items()}
    test = SelfTest(shipped.self_test.pixels_NYXC, np.zeros_like(shipped.self_test.scores_N))
    return child(folder, weights=weights, self_test=test)


def _loud(folder: Path) -> Bundle:
    """Return a bundle that flags everybody."""
    shipped = resolve_bundle("paper")
    tracks = tuple(-1000.0 + index / 1000 for index in range(1000))
    return child(folder, calibration=shipped.calibration.model_copy(update={"clean_tracks": tracks}))


def _blind(folder: Path) -> Bundle:
    """Return a bundle that flags nobody."""
    shipped = resolve_bundle("paper")
    tracks = tuple(1000.0 + index / 1000 for index in range(1000))
    return child(folder, calibration=shipped.calibration.model_copy(update={"clean_tracks": tracks}))


@pytest.mark.parametrize(
    ("make", "white"),
    [(_shifted, 0.0), (_overflowing, 0.0), (_constant, 0.0), (_loud, 0.0), (_blind, 0.9)],
    ids=["other self-test", "no numbers", "constant", "flags everybody", "flags nobody"],
)
async def test_bad_bundle_is_denied_before_it_judges(
    tmp_path: Path, make: Callable[[Path], Bundle], white: float
) -> None:
    """What it does to live faces, unbelieved, is enough to know it; the denial is on the disk."""
    bundle = make(tmp_path / "bad")
    pace = Pace(60.0, Limits(faces=400), Limits(faces=400))
    given = replace(updates(tmp_path, source_of(bundle)), pace=pace)
    async with running_daemon(tmp_path, ONE, updates=given) as box:
        await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
        await pass_by(box, lambda: word(box).reason is not None, white=white)
        assert word(box).model.sha256 == FACTORY
        assert "probation" not in phases(box)
    assert set(slots_of(tmp_path).denied) == {bundle.identity.sha256}


async def test_bundle_that_turns_bad_in_use_is_undone_and_a_restart_does_not_bring_it_back(tmp_path: Path) -> None:
    """Probation ends with the bundle before, for good."""
    bundle = child(tmp_path / "turning")
    source = source_of(bundle)
    pace = Pace(60.0, Limits(faces=64), Limits(faces=400))
    given = replace(updates(tmp_path, source), pace=pace)
    async with running_daemon(tmp_path, ONE, updates=given) as box:
        await box.until(lambda: "gate" in box.cameras.opened and word(box).state == "shadow")
        await pass_by(box, lambda: word(box).state == "probation")
        await pass_by(box, lambda: word(box).reason is not None, white=0.9)
        await box.until(lambda: word(box).state == "steady")
        assert word(box).model.sha256 == FACTORY
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await box.until(lambda: TOPIC in box.shown.topics)
        assert word(box).model.sha256 == FACTORY


async def test_operator_rolls_back_and_stays_there(tmp_path: Path) -> None:
    """The factory's bundle judges again and nothing new is taken until the pin is taken back."""
    bundle = child(tmp_path / "good")
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: "gate" in box.cameras.opened and word(box).state == "shadow")
        await pass_by(box, lambda: word(box).state == "probation")
        assert box.daemon.choose("default", ROLL_BACK)
        assert not box.daemon.choose("nowhere", ROLL_BACK)
        await box.until(lambda: word(box).answer is not None)
        assert (word(box).state, word(box).model.sha256, word(box).pinned) == ("steady", FACTORY, True)
        assert result(box) == ("rollback", "done", None)
        assert box.daemon.choose("default", ROLL_BACK)
        await box.until(lambda: result(box) == ("rollback", "refused", NOTHING_BEFORE))
    assert slots_of(tmp_path).pinned == "factory"


async def test_operator_chooses_a_version_and_takes_that_back(tmp_path: Path) -> None:
    """A version that lies here judges, on probation; with `pin none` new bundles are taken again."""
    bundle = child(tmp_path / "good")
    store = store_of(tmp_path)
    store.stage("default", files_of(bundle))
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: "gate" in box.cameras.opened and word(box).state == "shadow")
        assert box.daemon.choose("default", ModelOrder("pin", 77))
        await box.until(lambda: word(box).answer is not None)
        assert "no version 77 of default" in str(result(box)[2])
        assert box.daemon.choose("default", ModelOrder("pin", bundle.manifest.version))
        await box.until(lambda: word(box).state == "probation")
        assert (word(box).model, word(box).pinned) == (bundle.identity, True)
        await pass_by(box, lambda: word(box).state == "steady")
        assert box.daemon.choose("default", ModelOrder("pin"))
        await box.until(lambda: not word(box).pinned)
    kept = slots_of(tmp_path)
    assert (kept.active, kept.pinned, kept.probation) == (bundle.identity.sha256, None, False)


async def test_what_the_command_line_writes_is_followed(tmp_path: Path) -> None:
    """Another process installs, goes back and pins while cameras are watched: the daemon does it without a restart."""
    first, second = child(tmp_path / "first"), child(tmp_path / "second", version=9)
    store = store_of(tmp_path)
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
        for bundle in (first, second):
            sha256, version = store.stage("default", files_of(bundle)).identity.sha256, bundle.manifest.version
            store.change("default", lambda slots, s=sha256, v=version: slots.activated(s, v))
            await box.until(lambda identity=bundle.identity: word(box).model == identity)
            await box.until(lambda: word(box).state == "probation")
        store.change("default", lambda slots: slots.rolled_back("by hand"))
        await box.until(lambda: word(box).model == first.identity and word(box).state == "steady")
        assert word(box).pinned
        store.change("default", lambda slots: slots.with_pin(None))
        await box.until(lambda: not word(box).pinned)
        box.cameras.passage("gate")
        await box.until(lambda: verdicts_of(box) > 0)
    kept = slots_of(tmp_path)
    assert (kept.active, kept.probation) == (first.identity.sha256, False)
    assert set(kept.denied) == {second.identity.sha256}


async def test_slots_that_cannot_be_read_change_nothing(tmp_path: Path) -> None:
    """What judges goes on while both copies are damaged; a whole copy that comes later is followed."""
    bundle = child(tmp_path / "good")
    store = store_of(tmp_path)
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
        store.stage("default", files_of(bundle))
        store.change("default", lambda slots: slots.activated(bundle.identity.sha256, 4))
        await box.until(lambda: word(box).state == "probation")
        paths = sorted(store.slots_folder.glob("default*.json"))
        whole = [path.read_bytes() for path in paths]
        for path in paths:
            path.write_bytes(b"damaged")
        assert box.daemon.models is not None
        box.daemon.models._look()
        assert box.daemon.choose("default", ModelOrder("pin", 77))  # answered after the look
        await box.until(lambda: word(box).answer is not None)
        assert word(box).model == bundle.identity
        for path, content in zip(paths, whole, strict=True):
            path.write_bytes(content)
        store.change("default", lambda slots: slots.rolled_back("by hand"))
        await box.until(lambda: word(box).model.sha256 == FACTORY)


async def test_bundle_that_the_command_line_names_and_that_cannot_judge_is_denied(tmp_path: Path) -> None:
    """Its self-test fails here: what judged before goes on, and the disk names that again."""
    bad = _shifted(tmp_path / "bad")
    store = store_of(tmp_path)
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
        store.stage("default", files_of(bad))
        store.change("default", lambda slots: slots.activated(bad.identity.sha256, 4))
        await box.until(lambda: word(box).reason is not None)
        await box.until(lambda: word(box).state == "steady")
        assert word(box).model.sha256 == FACTORY
    kept = slots_of(tmp_path)
    assert (kept.active, set(kept.denied)) == (None, {bad.identity.sha256})


async def test_bundle_is_undone_although_the_disk_takes_nothing(tmp_path: Path) -> None:
    """Screening goes on with the one before, the daemon ends in good order, and what it kept is not lost."""
    bundle = child(tmp_path / "good")
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: "gate" in box.cameras.opened and word(box).state == "shadow")
        await pass_by(box, lambda: word(box).state == "probation")
        folder = tmp_path / "state" / "bundles" / "environments"
        folder.rename(folder.with_name("away"))
        folder.write_text("no folder: nothing can be written here")
        assert box.daemon.choose("default", ROLL_BACK)
        await box.until(lambda: word(box).answer is not None)
        assert (word(box).state, word(box).model.sha256) == ("steady", FACTORY)
        verdicts = verdicts_of(box)
        await pass_by(box, lambda: verdicts_of(box) > verdicts)


@pytest.mark.parametrize(
    ("reason", "said"),
    [(ExchangeReason.EXPIRED, "update_stale"), (ExchangeReason.UNREACHABLE, "unreachable")],
)
async def test_channel_that_fails_is_told_and_stops_nothing(tmp_path: Path, reason: ExchangeReason, said: str) -> None:
    """Expiry stops installs, never screening."""
    source = FakeSource(error=ExchangeError("no", reason))
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await box.until(lambda: "gate" in box.cameras.opened and TOPIC in box.shown.topics)
        await box.until(lambda: word(box).update == said)
        box.cameras.passage("gate")
        await box.until(lambda: box.daemon.environments.summaries["gate"].tracks == 1)


async def test_bundle_with_which_the_gateway_does_not_stay_up_is_undone(tmp_path: Path) -> None:
    """The third start within a minute, none of which ended well, runs the bundle before."""
    bundle = child(tmp_path / "good")
    source = source_of(bundle)
    store = store_of(tmp_path)
    assert source.files is not None
    store.stage("default", source.files)
    store.change("default", lambda slots: slots.activated(bundle.identity.sha256, 4).with_start(95.0).with_start(97.0))
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source), clock=lambda: 100.0) as box:
        assert box.daemon.environments.bundles["default"].identity.sha256 == FACTORY
    assert bundle.identity.sha256 in slots_of(tmp_path).denied
