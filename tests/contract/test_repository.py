"""The names in a signed repository."""

import pytest
from pydantic import ValidationError

from gateway.contract.repository import (
    BUNDLE_FILES,
    CurrentBundle,
    base_target,
    bundle_target,
    current_target,
    delegated_paths,
    most_bytes,
    role_of,
)


def test_names_of_an_environment_are_its_own() -> None:
    """A role may sign what is named after its environment and nothing else."""
    assert role_of("hall-2") == "environment-hall-2"
    assert current_target("hall-2") == "environments/hall-2/current.json"
    assert bundle_target("hall-2", 7, "manifest.json") == "environments/hall-2/7/manifest.json"
    assert all(path.startswith("environments/hall-2/") for path in delegated_paths("hall-2"))
    assert base_target("ab").startswith("bases/ab/")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "*", "a" * 65, "a\n"])
def test_name_that_is_no_environment_is_refused(name: str) -> None:
    """A name never becomes a path out of its folder, or a pattern."""
    for make in (role_of, current_target, delegated_paths):
        with pytest.raises(ValueError, match="no name of an environment"):
            make(name)
    with pytest.raises(ValidationError):
        CurrentBundle(environment=name, version=1, manifest_sha256="0" * 64)


def test_every_file_has_a_bound() -> None:
    """What is unknown may hold nothing."""
    assert all(most_bytes(name) > 0 for name in (*BUNDLE_FILES, "current.json"))
    assert most_bytes("model.onnx") == 0
