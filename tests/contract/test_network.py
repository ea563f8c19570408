"""The architectures as data."""

import pytest

from gateway.contract.network import PROFILES


def test_paper_profile_has_the_papers_number_of_parameters() -> None:
    """Table I with a BatchNorm after each ELU: 292,002 trainable parameters, 292,898 with running statistics."""
    profile = PROFILES["paper"]
    assert profile.trainable_parameters == 292_002
    assert sum(tensor.size for tensor in profile.tensors) == 292_898


def test_paper_profile_is_table_one_when_the_norms_are_left_out() -> None:
    """Six convolutions and a dense layer as printed hold 291,106 parameters."""
    plain = [tensor for tensor in PROFILES["paper"].tensors if not tensor.name.startswith("norm")]
    assert sum(tensor.size for tensor in plain) == 291_106


def test_tensor_names_are_unique_in_every_profile() -> None:
    """A bundle's tensors are looked up by name."""
    for profile in PROFILES.values():
        names = [tensor.name for tensor in profile.tensors]
        assert len(set(names)) == len(names)


def test_profiles_cannot_be_changed() -> None:
    """The table is shared by everyone who imports it."""
    with pytest.raises(TypeError):
        PROFILES["paper"] = PROFILES["paper"]  # type: ignore[index]
