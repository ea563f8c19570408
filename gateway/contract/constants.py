"""The constant arrays of each profile's graph: declared in the template, given when a session opens, never trained."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gateway.contract import wide
from gateway.contract.network import Profile
from gateway.contract.spectrum import dct_matrix


def graph_constants(profile: Profile) -> Mapping[str, NDArray[np.float32]]:
    """Return the constant inputs of a profile's graph by name, float32, C-contiguous."""
    if profile.name == "wide":
        return wide.constants()
    dct_UY = dct_matrix(profile.side_px)
    return {"dct": dct_UY, "dct_transposed": np.ascontiguousarray(dct_UY.T)}
