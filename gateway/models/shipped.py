"""The bundles that ship with the gateway, trusted by a digest in the package."""

from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from gateway.contract.bundle import Bundle, open_bundle
from gateway.contract.evaluation import EVALUATION_NAME, Evaluation

SHIPPED_SHA256 = MappingProxyType(
    {
        "paper": "0c9649a80c523a272dbd15d08034557a5414d9f0d4d3ce03c819bbf631f7fc6e",
        "wide": "e98969938b4ac3ead6e865e97c59f7bfcb398620e1c3d0bb8b067ffe8623cb2d",
    }
)
"""Digest of the manifest of every shipped bundle, by name."""

DEFAULT_BUNDLE = "wide"


def resolve_bundle(name_or_folder: str) -> Bundle:
    """Open a shipped bundle by its name (`default` is one), or a bundle folder by its path.

    Raises:
        BundleError: There is no such bundle, or it is not what it says it is.
    """
    name = DEFAULT_BUNDLE if name_or_folder == "default" else name_or_folder
    if name in SHIPPED_SHA256:
        return open_bundle(_models_folder() / name, expected_sha256=SHIPPED_SHA256[name])
    return open_bundle(Path(name_or_folder))


def is_release(bundle: Bundle) -> bool:
    """Return whether a bundle is what somebody released and no adaptation to a site's own faces.

    The shipped one was tuned on faces before it was released, so it has a parent as well.
    """
    return bundle.manifest.parent_sha256 is None or is_shipped(bundle.identity.sha256)


def is_shipped(sha256: str) -> bool:
    """Return whether this is the manifest's digest of a shipped bundle."""
    return sha256 in SHIPPED_SHA256.values()


def evaluation_of(sha256: str) -> Evaluation | None:
    """Return what a shipped bundle was judged on; None where that does not ship, or for any other bundle."""
    for name, digest in SHIPPED_SHA256.items():
        path = _models_folder() / name / EVALUATION_NAME
        if digest == sha256 and path.exists():
            return Evaluation.model_validate_json(path.read_bytes())
    return None


def graph_template(profile_name: str) -> bytes:
    """Return the ONNX graph of a profile, which holds no weights: every initializer is declared external."""
    return (_models_folder() / f"{profile_name}.onnx").read_bytes()


def _models_folder() -> Path:
    return Path(str(files("gateway.models")))
