"""Recipes: every profile can be built and tuned, by settings that it has, and nobody else needs to know which it is."""

import dataclasses

import numpy as np
import pytest
from fakes.bundles import drawn_detector, drawn_wide
from fakes.drawn_faces import drawn_faces

from gateway.contract.network import PROFILES
from trainer.__main__ import PLAN_NAMES, PROFILE_NAMES
from trainer.data import DataError
from trainer.environments import REGIMES
from trainer.finetune import PLANS, TuneSettings
from trainer.network import Network, export_weights
from trainer.perturb import PerturbSettings
from trainer.recipes import RECIPES, Material, recipe_of

QUICK = {"epochs": 2, "draws": 1, "batch": 8}


def base_of(profile: str) -> Network:
    """Return a detector with drawn weights."""
    return drawn_wide() if profile == "wide" else drawn_detector(1)


def material_for(profile: str, count: int = 8) -> Material:
    """Return drawn faces that are just large enough, and as many that somebody vouches for."""
    side_px = PROFILES[profile].side_px
    own, vouched = (drawn_faces(count, side_px=side_px + 4, seed=seed).pixels for seed in (1, 2))
    return Material(own, REGIMES["native"].passage(side_px=side_px, seed=1), vouched)


def test_every_profile_has_a_recipe_and_a_name_on_the_command_line() -> None:
    """Who adds one is told by this test what else it needs."""
    assert set(RECIPES) == set(PROFILES) == set(PROFILE_NAMES)
    assert set(PLAN_NAMES) == set(PLANS)
    for recipe in RECIPES.values():
        assert recipe.defaults.plan in recipe.plans
    with pytest.raises(DataError, match="no recipe; there are paper, wide"):
        recipe_of(dataclasses.replace(PROFILES["paper"], name="other"))


@pytest.mark.parametrize("profile", RECIPES)
def test_a_base_is_tuned_by_the_recipe_of_its_profile(profile: str) -> None:
    """The weights move, fit the profile, and are the same again; the base stays as it was."""
    recipe, base, material = RECIPES[profile], base_of(profile), material_for(profile)
    before = export_weights(base)
    settings = dataclasses.replace(recipe.defaults, perturb=PerturbSettings(families=("white_block",)), **QUICK)
    heard: list[int] = []
    tuned = recipe.tune(base, material, settings, progress=lambda epoch, _loss: heard.append(epoch))
    again = recipe.tune(base, material, settings)
    assert heard == [1, 2]
    assert isinstance(tuned, type(base))
    after, once_more = export_weights(tuned), export_weights(again)
    assert any((after[name] != before[name]).any() for name in before)
    for name, values in export_weights(base).items():
        np.testing.assert_array_equal(values, before[name])
        np.testing.assert_array_equal(after[name], once_more[name])
    assert recipe.perturbations(material, settings)


def test_a_recipe_refuses_what_its_profile_does_not_have() -> None:
    """Settings of the other profile are not passed over in silence."""
    wide, material = RECIPES["wide"], material_for("wide", 2)
    with pytest.raises(DataError, match="plan last2: the profile 'wide' tunes its dense layers alone"):
        wide.tune(drawn_wide(), material, TuneSettings())
    with pytest.raises(DataError, match="'paper' is not tuned by the recipe of `wide`"):
        wide.tune(drawn_detector(1), material, wide.defaults)
    with pytest.raises(DataError, match="'wide' is not tuned by the recipe of `paper`"):
        RECIPES["paper"].tune(drawn_wide(), material, TuneSettings())
