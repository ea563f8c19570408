"""The constant inputs of each graph."""

import numpy as np

from gateway.contract.constants import graph_constants
from gateway.contract.network import PROFILES


def test_constants_are_none_of_the_tensors() -> None:
    """A bundle cannot replace a constant: no name is both."""
    for profile in PROFILES.values():
        arrays = graph_constants(profile)
        assert not set(arrays) & {tensor.name for tensor in profile.tensors}
        assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays.values())
        np.testing.assert_allclose(arrays["dct"] @ arrays["dct_transposed"], np.eye(profile.side_px), atol=1e-5)
