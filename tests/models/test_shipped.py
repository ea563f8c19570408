"""What ships: trusted by a digest in the code, and what the trainer's own code makes."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.bundles import write_drawn_bundle

from gateway.contract.bundle import BundleError, open_bundle
from gateway.contract.network import PROFILES
from gateway.models.shipped import SHIPPED_SHA256, _models_folder, graph_template, is_release, resolve_bundle
from gateway.screening.sessions import check_self_test, open_session
from trainer.export import graph_template as exported_template


@pytest.mark.parametrize("name", sorted(SHIPPED_SHA256))
def test_shipped_bundle_opens_and_passes_its_self_test(name: str) -> None:
    """The bundle in the package is the one the code trusts, and its weights do here what they did in training."""
    bundle = resolve_bundle(name)
    assert bundle.identity.sha256 == SHIPPED_SHA256[name]
    check_self_test(open_session(bundle, "CPUExecutionProvider", 1), bundle)


def test_default_is_a_shipped_bundle() -> None:
    """A command without --bundle finds one."""
    assert resolve_bundle("default").identity.sha256 in SHIPPED_SHA256.values()


@pytest.mark.parametrize("name", sorted(SHIPPED_SHA256))
def test_shipped_calibration_supports_one_percent(name: str) -> None:
    """Until a camera has its own tracks, the factory's must at least carry a rate of one in a hundred."""
    calibration = resolve_bundle(name).calibration
    assert len(calibration.clean_faces) >= 99
    assert len(calibration.clean_tracks) >= 99


def test_shipped_bundle_that_was_replaced_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole, valid bundle in the place of the shipped one is not trusted: the digest is in the code."""
    write_drawn_bundle(tmp_path / "paper")
    monkeypatch.setattr("gateway.models.shipped._models_folder", lambda: tmp_path)
    with pytest.raises(BundleError, match="expected"):
        resolve_bundle("paper")


def test_resolve_bundle_takes_a_folder(tmp_path: Path) -> None:
    """An operator's own bundle is named by its path."""
    sha256 = write_drawn_bundle(tmp_path / "mine")
    assert resolve_bundle(str(tmp_path / "mine")).identity.sha256 == sha256
    with pytest.raises(BundleError, match="nowhere"):
        resolve_bundle(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_graph_template_is_what_the_trainer_exports(profile: str) -> None:
    """The committed graph is generated; regenerate it with `spectragate-trainer export PROFILE --out FILE`."""
    assert graph_template(profile) == exported_template(PROFILES[profile])


def test_shipped_files_are_small_and_hold_nothing_else(tmp_path: Path) -> None:
    """Light is a promise: graph and bundle together stay under 2 MB."""
    copy = shutil.copytree(_models_folder() / "paper", tmp_path / "copy")
    assert sum(file.stat().st_size for file in copy.iterdir()) < 2_000_000
    assert open_bundle(copy).profile.name == "paper"
    assert len(graph_template("paper")) < 16_000


def test_release_when_compared_with_an_adapted_bundle() -> None:
    """The shipped bundle is one although it has a parent; another bundle that has one is not."""
    shipped_bundle = resolve_bundle("paper")
    assert is_release(shipped_bundle)
    adapted = replace(shipped_bundle, identity=shipped_bundle.identity.model_copy(update={"sha256": "0" * 64}))
    assert not is_release(adapted)
