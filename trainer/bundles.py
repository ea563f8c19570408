"""Finding the bundle that training goes on from: a folder, or one that ships with the gateway, by its name."""

import importlib.util
from pathlib import Path

from gateway.contract.bundle import Bundle, BundleError, open_bundle
from trainer.data import Pictures, split_faces
from trainer.network import Network, load_weights
from trainer.recipes import recipe_of

SPLIT_SEEDS = range(1, 11)
"""Where it is looked for which people a base has seen: the seeds that `pretrain --split-seed` is given."""


def find_bundle(name_or_folder: str) -> Bundle:
    """Return a bundle from a folder, or the shipped one of that name, read as data next to the installed gateway.

    Raises:
        BundleError: There is neither, or its bytes are not as they must be.
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return open_bundle(folder)
    spec = importlib.util.find_spec("gateway")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        shipped = Path(place) / "models" / name_or_folder
        if "/" not in name_or_folder and shipped.is_dir():
            return open_bundle(shipped)
    raise BundleError(f"{name_or_folder}: neither a bundle's folder nor the name of a shipped bundle")


def detector_of(bundle: Bundle) -> Network:
    """Return the bundle's detector, in evaluation mode."""
    detector = recipe_of(bundle.profile).build(bundle.profile)
    load_weights(detector, bundle.weights)
    return detector.eval()


def people_seen_by(bundle: Bundle, faces: Pictures) -> tuple[frozenset[str], frozenset[str]]:
    """Return (trained on, watched while training) among the people of `faces`, as the digests in the manifest prove.

    Both are empty where the bundle was made from other pictures.
    """
    digests = {data.sha256 for data in bundle.manifest.training.data if data.use == "train"}
    for seed in SPLIT_SEEDS:
        split = split_faces(faces, seed=seed)
        if split.train.sha256 in digests:
            return frozenset(split.train.groups), frozenset(split.validation.groups)
    return frozenset(), frozenset()
