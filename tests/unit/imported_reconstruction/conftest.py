"""The room that the given reconstructions are of; its depth and poses are exact."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ovseg3r_model.records import Recording
from tests.contracts.reconstructor_contract import room_recording
from tests.given_reconstructions import view_of


@pytest.fixture(scope="module")
def room() -> Recording:
    return room_recording(seed=3)


@pytest.fixture(scope="module")
def truth(room: Recording) -> cKDTree:
    """Every pixel's point of every view."""
    points = np.concatenate([view_of(room, k)["points"].reshape(-1, 3) for k in range(len(room))])
    return cKDTree(points[np.isfinite(points).all(axis=1)])
