"""The store of bundles: whole after any crash, and believed only after every byte was checked."""

import contextlib
import fcntl
import os
import random
from pathlib import Path

import pytest
from fakes.bundles import write_drawn_bundle
from fakes.channel import BASE_SHA256, adapted, digest_of, factory_bundle
from fakes.cut_disk import CutDisk, PowerCut, materialise

from gateway.adaptation import store as store_module
from gateway.adaptation.slots import Slots
from gateway.adaptation.store import KEPT_VERSIONS, BundleStore
from gateway.contract.bundle import BundleError, open_bundle
from gateway.contract.repository import BUNDLE_FILES
from gateway.errors import StorageError

FIRST, SECOND = adapted(1), adapted(2)
A, B = digest_of(FIRST), digest_of(SECOND)


def make_store(folder: Path) -> BundleStore:
    """Return a store with the shipped bundle as factory's."""
    return BundleStore(folder, factory=factory_bundle)


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    """Return a store in which the second bundle runs and the first did before."""
    found = make_store(tmp_path)
    for files, version in ((FIRST, 1), (SECOND, 2)):
        sha256 = found.stage("indoor", files).identity.sha256
        found.change("indoor", lambda slots, sha256=sha256, version=version: slots.activated(sha256, version))
    return found


def test_load_returns_the_factory_bundle_when_nothing_was_installed(tmp_path: Path) -> None:
    """A gateway screens from the first minute, with an empty disk."""
    loaded = make_store(tmp_path / "not yet").load("indoor")
    assert (loaded.bundle.identity.sha256, loaded.slot, loaded.faults) == (BASE_SHA256, "factory", ())


def test_load_returns_what_was_activated_after_a_restart(store: BundleStore, tmp_path: Path) -> None:
    """The disk is the truth: another process reads the same slots; other environments have their own."""
    again = make_store(tmp_path)
    assert again.load("indoor").bundle.identity.sha256 == B
    assert again.load("hall").slot == "factory"


def test_stage_alone_activates_nothing(tmp_path: Path) -> None:
    """What lies on the disk does not run before it was decided; staging twice is one bundle."""
    store = make_store(tmp_path)
    assert store.stage("indoor", FIRST).identity.sha256 == store.stage("indoor", FIRST).identity.sha256
    assert store.load("indoor").slot == "factory"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (adapted(1, environment="hall"), "made for hall"),
        ({"manifest.json": FIRST["manifest.json"]}, "has the files"),
        (FIRST | {"../evil": b""}, "has the files"),
        (FIRST | {"weights.safetensors": FIRST["weights.safetensors"][:-1]}, "not the file"),
        (adapted(1, minimum_gateway="99.0.0"), "needs gateway 99.0.0"),
        (FIRST | {"manifest.json": b"{}"}, "format"),
    ],
)
def test_stage_refuses_what_is_no_bundle_of_the_environment(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    """A refused bundle leaves nothing half behind and changes nothing."""
    store = make_store(tmp_path)
    with pytest.raises(BundleError, match=words):
        store.stage("indoor", files)
    assert not list(tmp_path.glob("objects/new-*"))
    assert store.load("indoor").slot == "factory"


def test_load_falls_to_the_previous_then_to_the_factory_when_files_are_damaged(
    store: BundleStore, tmp_path: Path
) -> None:
    """Damage at rest costs at most new weights, never screening, and is told in words."""
    for sha256, slot in ((B, "previous"), (A, "factory")):
        weights = tmp_path / "objects" / sha256 / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[1000] ^= 1
        weights.write_bytes(content)
        loaded = store.load("indoor")
        assert loaded.slot == slot
    assert len(loaded.faults) == 2
    assert "not the file" in loaded.faults[0]


def test_bundle_of_another_profile_is_passed_over_and_comes_back_with_the_configuration(tmp_path: Path) -> None:
    """The configuration alone chooses a profile; what was adapted under the other one is kept."""
    write_drawn_bundle(tmp_path / "wide", profile="wide")
    wide = open_bundle(tmp_path / "wide")
    adapted_to_paper = make_store(tmp_path / "state")
    adapted_to_paper.stage("indoor", FIRST)
    adapted_to_paper.change("indoor", lambda slots: slots.activated(A, 1))
    now_wide = BundleStore(tmp_path / "state", factory=lambda _environment: wide)
    loaded = now_wide.load("indoor")
    assert (loaded.bundle.identity, loaded.slot) == (wide.identity, "factory")
    assert "is of the profile 'paper'" in loaded.faults[0]
    assert "change environments.indoor" in loaded.faults[0]
    with pytest.raises(BundleError, match="is of the profile 'paper'"):
        now_wide.stage("indoor", SECOND)
    assert adapted_to_paper.load("indoor").slot == "active"


def test_staging_again_repairs_a_damaged_bundle(store: BundleStore, tmp_path: Path) -> None:
    """The channel can bring back what the disk lost."""
    (tmp_path / "objects" / B / "calibration.json").unlink()
    store.stage("indoor", SECOND)
    assert store.load("indoor").slot == "active"


def test_slots_survive_damage_of_either_copy_and_any_bit(store: BundleStore, tmp_path: Path) -> None:
    """A flipped bit in the slots never makes another bundle run: the other copy, else the factory's."""
    paths = sorted((tmp_path / "environments").glob("*.json"))
    whole = [path.read_bytes() for path in paths]
    for bit in range(0, len(whole[0]) * 8, 5):
        damaged = bytearray(whole[0])
        damaged[bit // 8] ^= 1 << bit % 8
        paths[0].write_bytes(damaged)
        assert store.slots("indoor").active == B
    assert store.written("indoor") == store.slots("indoor")
    paths[1].write_bytes(b"")
    assert store.load("indoor").slot == "factory"
    assert store.written("indoor") is None


def test_denied_bundle_is_not_loaded(store: BundleStore) -> None:
    """Whatever the slots say, a denied bundle stays out."""
    loaded = store.load("indoor", Slots(active=B, previous=A, denied={B: "blind"}))
    assert (loaded.bundle.identity.sha256, loaded.slot) == (A, "previous")
    assert "blind" in loaded.faults[0]


def test_held_and_sweep_keep_what_may_be_wanted(store: BundleStore, tmp_path: Path) -> None:
    """The slots and the newest few stay; leftovers of a crash and old versions go."""
    for version in range(3, 9):
        store.stage("indoor", adapted(version))
    (tmp_path / "objects" / "new-1234").mkdir()
    assert [bundle.manifest.version for bundle in store.held("indoor")] == list(range(1, 9))
    assert store.sweep() == 3
    kept = [bundle.manifest.version for bundle in store.held("indoor")]
    assert kept == [1, 2, *range(9 - KEPT_VERSIONS, 9)]


def test_change_says_what_to_do_when_the_disk_takes_nothing(tmp_path: Path) -> None:
    """An operator reads which folder and what to check."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="who owns the folder"):
        make_store(tmp_path / "file" / "store").change("indoor", lambda slots: slots.with_pin("factory"))


def test_change_is_given_up_when_another_process_keeps_the_store(
    store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped in the middle: threads that others need do not wait for it for ever, and later all is well."""
    monkeypatch.setattr(store_module, "LOCK_S", 0.2)
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"another process held it for 0\.2 s"):
            store.change("indoor", lambda slots: slots.with_pin("factory"))
    assert store.change("indoor", lambda slots: slots.with_pin("factory")).pinned == "factory"


def story(store: BundleStore, told: list[str | None]) -> None:
    """Install, confirm, install again, undo, tidy up; `told` gets the active bundle after each step that returned."""
    store.stage("indoor", FIRST)
    told.append(store.change("indoor", lambda slots: slots.activated(A, 1)).active)
    told.append(store.change("indoor", lambda slots: slots.confirmed()).active)
    store.stage("indoor", SECOND)
    told.append(store.change("indoor", lambda slots: slots.activated(B, 2)).active)
    told.append(store.change("indoor", lambda slots: slots.restored("blind")).active)
    store.sweep()


def check_after_crash(folder: Path, told: list[str | None]) -> None:
    """A verified bundle loads: the one that was told last, or the one of the step under way; and work goes on."""
    steps = [None, A, A, B, A]
    loaded = make_store(folder).load("indoor")
    active = None if loaded.slot == "factory" else loaded.bundle.identity.sha256
    assert loaded.faults == ()
    assert active in steps[len(told) : len(told) + 2]


def operations_of_story(folder: Path) -> int:
    """Return how many file operations the whole story takes."""
    disk = CutDisk(folder)
    story(BundleStore(folder, factory=factory_bundle, disk=disk), [])
    return disk.done


def crash_everywhere(tmp_path: Path, *, cuts: int, stride: int = 1) -> int:
    """Kill and cut the power at every operation, or every few; return how many states were checked."""
    draw = random.Random(7)
    states = 0
    for number in range(1, operations_of_story(tmp_path / "whole") + 2, stride):
        root, told = tmp_path / f"{number}", list[str | None]()
        disk = CutDisk(root, cut_at=number)
        with contextlib.suppress(PowerCut):
            story(BundleStore(root, factory=factory_bundle, disk=disk), told)
        for cut in range(cuts):
            check_after_crash(materialise(disk.after_power_cut(draw), tmp_path / f"{number}-{cut}"), told)
        check_after_crash(root, told)
        third = make_store(root).stage("indoor", adapted(3)).identity.sha256
        assert make_store(root).change("indoor", lambda slots, third=third: slots.activated(third, 3)).active == third
        states += cuts + 1
    return states


def test_crash_at_a_file_operation_leaves_a_verified_bundle(tmp_path: Path) -> None:
    """Killed at every third operation, and the power cut there: what was acknowledged stays, and the store works."""
    assert crash_everywhere(tmp_path, cuts=1, stride=3) > 25


@pytest.mark.long
@pytest.mark.timeout(600)
def test_power_cut_at_any_file_operation_leaves_a_verified_bundle(tmp_path: Path) -> None:
    """The same with many ways in which names may get lost."""
    assert crash_everywhere(tmp_path, cuts=30) > 1200


WEIGHTS = "weights.safetensors"


def flipped_weights_never_load(store: BundleStore, folder: Path, count: int) -> None:
    """Flip one bit of the weights at a time, in place, and load as a gateway does."""
    path = folder / "objects" / B / WEIGHTS
    draw = random.Random(11)
    with path.open("r+b", buffering=0) as handle:
        for _ in range(count):
            place, bit = draw.randrange(path.stat().st_size), 1 << draw.randrange(8)
            whole = os.pread(handle.fileno(), 1, place)
            os.pwrite(handle.fileno(), bytes([whole[0] ^ bit]), place)
            with pytest.raises(BundleError, match="not the file"):
                store.open(B)
            os.pwrite(handle.fileno(), whole, place)
    assert store.load("indoor").slot == "active"


def test_flipped_bits_of_weights_never_load(store: BundleStore, tmp_path: Path) -> None:
    """Every load checks every byte: no bit of the weights may change at rest."""
    flipped_weights_never_load(store, tmp_path, 100)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_thousand_flipped_bits_of_weights_never_load(store: BundleStore, tmp_path: Path) -> None:
    """The same, ten thousand times."""
    flipped_weights_never_load(store, tmp_path, 10_000)


@pytest.mark.parametrize("name", BUNDLE_FILES)
def test_cut_files_never_load_and_the_bundle_before_does(store: BundleStore, tmp_path: Path, name: str) -> None:
    """Truncation at rest: at both ends, around the header and its numbers, and at a few hundred lengths between."""
    path = tmp_path / "objects" / B / name
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little") if name == WEIGHTS else 64
    edges = {0, 1, 7, 8, 9, header - 1, header, header + 1, header + 4, len(whole) - 4, len(whole) - 1}
    lengths = edges | set(random.Random(5).sample(range(len(whole)), min(200, len(whole))))
    for length in sorted(each for each in lengths if 0 <= each < len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError):
            store.open(B)
    assert store.load("indoor").slot == "previous"
    path.write_bytes(whole + b"\0")
    with pytest.raises(BundleError):
        store.open(B)
