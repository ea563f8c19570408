"""What an environment's updater works with: one source for all, what operators chose, and what is gone back to."""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.daemons import running_daemon
from fakes.offers import (
    FACTORY,
    ONE,
    TOPIC,
    FakeSource,
    child,
    files_of,
    pass_by,
    phases,
    result,
    slots_of,
    source_of,
    store_of,
    updates,
    word,
)

from gateway.adaptation.exchange import Offer
from gateway.adaptation.place import Pace
from gateway.adaptation.shadow import Limits
from gateway.contract.bundle import SelfTest
from gateway.contract.requests import ModelOrder
from gateway.daemon.adapting import Adapting
from gateway.daemon.model_place import SharedSource
from gateway.daemon.models import Updates
from gateway.models.shipped import resolve_bundle

OFTEN = Pace(0.05, Limits(faces=64), Limits(faces=64))


class SlowSource(FakeSource):
    """Notes how many ask at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def newest(self, environment: str) -> Offer | None:
        """Take a while."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self._lock:
            self.now -= 1
        return None


async def test_environments_ask_the_source_one_after_the_other() -> None:
    """Its cache on the disk is for one, and a slow one holds one thread of those that all share."""
    slow = SlowSource()
    shared = SharedSource(slow)
    await asyncio.gather(*(shared.newest(name) for name in ("yard", "hall", "gate")))
    assert slow.most == 1


async def test_a_trial_knows_whether_its_place_has_drifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the word of what watches the cameras of this very environment."""
    drifted: set[str] = set()
    monkeypatch.setattr(Adapting, "has_drifted", lambda _self, environment: environment in drifted)
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, FakeSource())) as box:
        assert box.daemon.models is not None
        place = box.daemon.models._places["default"]
        assert not place.has_drifted()
        drifted.add("elsewhere")
        assert not place.has_drifted()
        drifted.add("default")
        assert place.has_drifted()


async def test_a_bundle_that_an_operator_left_for_an_older_one_is_not_denied(tmp_path: Path) -> None:
    """New ones are taken again, but that one is no new one; it lies here and may be chosen again."""
    first, second = child(tmp_path / "first"), child(tmp_path / "second", version=9)
    store = store_of(tmp_path)
    for bundle in (first, second):
        sha256, version = store.stage("default", files_of(bundle)).identity.sha256, bundle.manifest.version
        store.change("default", lambda slots, s=sha256, v=version: slots.activated(s, v).confirmed())
    asked = 0

    class Counted(FakeSource):
        def newest(self, environment: str) -> Offer | None:
            nonlocal asked
            asked += 1
            return super().newest(environment)

    given = source_of(second)
    source = Counted(given.files, given.offer)
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state", source, OFTEN)) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).model == second.identity)
        assert box.daemon.choose("default", ModelOrder("pin", first.manifest.version))
        await pass_by(box, lambda: word(box).model == first.identity and word(box).state == "steady")
        assert box.daemon.choose("default", ModelOrder("pin"))
        await box.until(lambda: not word(box).pinned and result(box)[0] == "pin none")
        since = asked
        await pass_by(box, lambda: asked >= since + 3)
        assert word(box).model == first.identity
    kept = slots_of(tmp_path)
    assert (kept.denied, kept.active) == ({}, first.identity.sha256)


async def test_a_bundle_is_let_go_and_not_denied_when_an_operator_pins_another_while_it_comes(tmp_path: Path) -> None:
    """A download takes its time; what was wanted when it began says nothing of the bundle."""
    bundle = child(tmp_path / "good")
    store = store_of(tmp_path)

    class Interrupted(FakeSource):
        def fetch(self, offer: Offer) -> dict[str, bytes]:
            store.change("default", lambda slots: slots.with_pin("factory"))
            return super().fetch(offer)

    given = source_of(bundle)
    source = Interrupted(given.files, given.offer)
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source)) as box:
        await box.until(lambda: "staging" in phases(box) and word(box).state == "steady")
        await box.until(lambda: word(box).pinned)
        assert word(box).update is None
    assert slots_of(tmp_path).denied == {}


async def test_the_bundle_that_came_along_judges_when_the_one_before_cannot(tmp_path: Path) -> None:
    """It fails its self-test on this machine now: a rollback goes one further and is not stuck."""
    test = resolve_bundle("paper").self_test
    bad = child(tmp_path / "bad", self_test=SelfTest(test.pixels_NYXC, test.scores_N + np.float32(0.5)))
    good = child(tmp_path / "good", version=9)
    store = store_of(tmp_path)
    for bundle in (bad, good):
        sha256, version = store.stage("default", files_of(bundle)).identity.sha256, bundle.manifest.version
        store.change("default", lambda slots, s=sha256, v=version: slots.activated(s, v).confirmed())
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).model == good.identity)
        assert box.daemon.choose("default", ModelOrder("rollback"))
        await box.until(lambda: word(box).answer is not None)
        assert result(box) == ("rollback", "done", None)
        assert (word(box).state, word(box).model.sha256) == ("steady", FACTORY)
        await box.until(lambda: bad.identity.sha256 in slots_of(tmp_path).denied)
    assert slots_of(tmp_path).active is None


async def test_bundles_that_nobody_wants_any_more_make_room_for_the_next(tmp_path: Path) -> None:
    """The disk holds a few of each environment, however many came."""
    store = store_of(tmp_path)
    for version in range(10, 20):
        store.stage("default", files_of(child(tmp_path / f"{version}", version=version)))
    bundle = child(tmp_path / "next", version=20)
    async with running_daemon(tmp_path, ONE, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).state == "shadow")
        assert [each.manifest.version for each in store.held("default")] == [16, 17, 18, 19, 20]


async def test_a_bundle_on_trial_is_let_go_when_the_configuration_names_another_base(tmp_path: Path) -> None:
    """What the cameras' faces are cut for changes with the profile: that is no fault of the bundle, so no denial."""
    bundle = child(tmp_path / "good")
    given = replace(updates(tmp_path, source_of(bundle)), pace=Pace(3600.0, Limits(), Limits()))
    async with running_daemon(tmp_path, ONE, updates=given) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).state == "shadow")
        box.configure(f"environments: {{default: {{bundle: wide}}}}\n{ONE}")
        await box.daemon.reload()
        await box.until(lambda: word(box).model.profile == "wide")
        assert len(box.daemon._fittings.inference._served) == 1
    assert slots_of(tmp_path).denied == {}


async def test_a_bundle_on_trial_is_let_go_with_its_environment(tmp_path: Path) -> None:
    """The daemon goes on without it, and no session stays open."""
    bundle = child(tmp_path / "good")
    two = "environments: {default: {bundle: paper}, yard: {bundle: paper}}\n" + ONE
    async with running_daemon(tmp_path, two, updates=updates(tmp_path, source_of(bundle))) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).state == "shadow")
        box.configure(
            "environments: {yard: {bundle: paper}}\n"
            "cameras:\n  gate: {environment: yard, source: {type: file, path: gate.mp4, loop: true}}\n"
        )
        await box.daemon.reload()
        assert list(box.daemon.environments.bundles) == ["yard"]
        assert TOPIC not in box.shown.topics
        assert len(box.daemon._fittings.inference._served) == 1


async def test_a_refused_configuration_changes_nothing_of_what_is_gone_back_to(tmp_path: Path) -> None:
    """It names a bundle that is not one: a rollback still finds the one that runs by the old one."""
    bundle = child(tmp_path / "good")
    store = store_of(tmp_path)
    store.stage("default", files_of(bundle))
    store.change("default", lambda slots: slots.activated(bundle.identity.sha256, 9).confirmed())
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: TOPIC in box.shown.topics and word(box).model == bundle.identity)
        (tmp_path / "broken").mkdir()
        broken = f"{{bundle: {tmp_path / 'broken'}}}"
        box.configure(f"environments: {{default: {broken}, yard: {broken}}}\n{ONE}")
        await box.daemon.reload()
        assert box.daemon.choose("default", ModelOrder("rollback"))
        await box.until(lambda: word(box).answer is not None)
        assert result(box) == ("rollback", "done", None)
        assert word(box).model.sha256 == FACTORY


async def test_cameras_are_watched_when_nothing_can_be_written_down_at_the_start(tmp_path: Path) -> None:
    """A full disk, or a folder of somebody else: what judges is what comes along."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "bundles").write_text("no folder: nothing can be written here")
    async with running_daemon(tmp_path, ONE, updates=Updates(tmp_path / "state")) as box:
        await box.until(lambda: TOPIC in box.shown.topics)
        assert word(box).model.sha256 == FACTORY
