"""What engine imported makes of a given reconstruction, and whether it is the room."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ovseg3r_model.reconstruction.judge import align
from ovseg3r_model.reconstruction.protocol import build_reconstructor
from ovseg3r_model.records import Reconstruction, Recording, color_alone
from ovseg3r_model.settings import ReconstructSettings
from tests.given_reconstructions import camera_of, poses_of

VOXEL = 0.04


def reconstruct(path: Path, recording: Recording, **settings: Any) -> Reconstruction:
    """From the pictures alone and what is at ``path``."""
    given = ReconstructSettings(reconstruction=str(path), **{"voxel": VOXEL, **settings})
    return build_reconstructor(given, color_alone(recording), seed=0).reconstruct(color_alone(recording))


def assert_true(result: Reconstruction, truth: cKDTree, recording: Recording, within: float = VOXEL) -> None:
    """The points are the room's, and cover it; up to the similarity of the cameras."""
    chosen = np.searchsorted(recording.frame, result.views.frame)
    to_truth = align(result.views.world_from_camera[:, :3, 3], poses_of(recording)[chosen, :3, 3])
    off, _ = truth.query(to_truth.scale * result.points.xyz @ to_truth.rotation.T + to_truth.translation)
    assert len(result.points) > 800
    assert np.quantile(off, 0.99) < within
    focal = camera_of(recording)[0, 0]
    np.testing.assert_allclose(result.views.intrinsics[:, 0, 0], focal, rtol=1e-3)
