"""Leaving kinds out: what may be named, and that what is left out is met neither in training nor in tuning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.drawn_faces import drawn_faces

from gateway.contract.bundle import Bundle
from trainer.bundles import find_bundle
from trainer.data import DataError
from trainer.evaluation_run import Request, makers_of
from trainer.finetune import TuneSettings
from trainer.left_out import GROUPS, check_base, kinds_of, left_out_by
from trainer.library import KINDS, Library
from trainer.optics import Passage
from trainer.recipes import Material, WideRecipe
from trainer.triggers import KINDS_OF_WIDE, PROCEDURAL, SEEN_AS, TriggerSet, seen_by_wide


def trained_on(*kinds: str) -> Bundle:
    """Return the shipped bundle as if it had been trained on these."""
    bundle = find_bundle("wide")
    training = bundle.manifest.training.model_copy(update={"perturbations": kinds})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"training": training}))


@pytest.mark.parametrize("name", [*KINDS, *GROUPS])
def test_every_kind_and_group_can_be_left_out(name: str) -> None:
    """The library then draws all others and none of these."""
    left_out = kinds_of([name])
    assert set(left_out) == set(GROUPS.get(name, (name,)))
    library = Library(lambda draw: np.zeros((32, 32, 3), np.uint8), [_Turned()], left_out=left_out)
    draw = np.random.default_rng(1)
    assert {library.draw_kind(draw) for _ in range(600)} == set(KINDS) - set(left_out)


class _Turned:
    """Stands for a generator."""

    ways = 1

    def __call__(self, picture_YXC: np.ndarray, *, way: int) -> np.ndarray:
        """Turn the picture over."""
        return picture_YXC[::-1]


def test_groups_and_kinds_go_together_and_mistakes_are_told() -> None:
    """Unknown names are refused with what there is; nothing left is refused too."""
    assert kinds_of(["warp", "pictures"]) == ("blend", "reflection", "warp")
    assert kinds_of([]) == ()
    with pytest.raises(DataError, match=r"--leave-out glitter: there are the kinds white_block, .*stickers \(white"):
        kinds_of(["glitter"])
    with pytest.raises(DataError, match="nothing is left"):
        kinds_of(KINDS)


def test_base_that_saw_them_is_refused() -> None:
    """Going on from it would show nothing of kinds that training never saw."""
    with pytest.raises(DataError, match="was trained on warp"):
        check_base(trained_on("warp", "blend"), ("warp", "levels"))
    check_base(trained_on("blend"), ("warp", "levels"))


def test_tuning_leaves_out_what_training_did() -> None:
    """An evaluation tunes the base first: with the left-out kinds it would have seen them after all."""
    base = trained_on(*(kind for kind in KINDS if kind not in GROUPS["stickers"]))
    assert left_out_by(base) == GROUPS["stickers"]
    stills = drawn_faces(4, side_px=128).pixels
    material = Material(stills, Passage(None, 128, at_native_size=True))
    settings = TuneSettings(plan="fc", left_out=left_out_by(base))
    assert set(WideRecipe().perturbations(material, settings)) == set(KINDS) - {*GROUPS["stickers"], "generator"}


def test_every_group_makes_families_unseen_and_only_its_own() -> None:
    """Each family of the tables is unseen under one leave-out at least, and seen by the whole library."""
    families = {*(trigger.family for trigger in PROCEDURAL), *SEEN_AS, "trojan_sq", "trojan_wm"}
    found: dict[str, set[str]] = {}
    for names in (*([group] for group in GROUPS), ["pictures", "waves"]):
        rest = [kind for kind in KINDS if kind not in kinds_of(names)]
        found["+".join(names)] = {each.name for each in _all(rest) if each.seen_as is None}
    assert found["stickers"] == {"badnets", "trojan_sq", "trojan_wm", "checkerboard", "flower"}
    assert found["waves"] == {"sig", "smooth", "low_frequency", "ftrojan"}
    assert found["pictures"] == {"blend", "nature", "reflection", "confetti"}
    assert found["pictures+waves"] == found["pictures"] | found["waves"] | {"stripes"}
    assert found["warps"] == {"wanet_0.5", "wanet_2"}
    assert found["quantisation"] == {"bpp"}
    unseen = set().union(*found.values())
    assert {each.family for each in _all(KINDS) if each.name in unseen} == families
    assert not [each.name for each in _all(KINDS) if each.seen_as is None]
    assert {kind for kinds in KINDS_OF_WIDE.values() for kind in kinds} <= set(KINDS)


def _all(rest: Any) -> tuple[Any, ...]:
    named = [replace(PROCEDURAL[0], name=family, family=family) for family in (*SEEN_AS, "trojan_sq", "trojan_wm")]
    return seen_by_wide(TriggerSet((*named, *PROCEDURAL), None, ""), trained_on=rest).triggers


def test_evaluation_tunes_as_the_bundle_was_trained(tmp_path: Path) -> None:
    """Scores of a bundle tuned otherwise are not taken for these either."""
    request = Request(
        clean=tmp_path, triggers=tmp_path, out=tmp_path, base="wide", central=(), environments=(), regimes=(), plans=(),
        draws=None, perturbations=None, seed=1, threads=1, command="",
    )  # fmt: skip
    makers, made_by = makers_of(request, trained_on(*(kind for kind in KINDS if kind != "warp")))
    assert makers.settings.left_out == ("warp",)
    assert "without warp" in made_by
    makers, made_by = makers_of(request, trained_on(*KINDS))
    assert makers.settings.left_out == ()
    assert "without" not in made_by
