"""The end that all engines but posed-rgbd share: cameras and estimated depth -> points and correspondences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.reconstruction.dense.full_resolution import full_resolution
from ovseg3r_model.records import DenseDepth, Float64, Images, Int64, Reconstruction, Views
from ovseg3r_model.settings import ReconstructSettings

METRIC_VOXEL = 0.02
"""Default fusion grid, metres (METHOD 1.1)."""

VOXELS_ACROSS = 300
"""Default fusion grid of a scene of unknown scale: its extent in so many parts."""

UPRIGHT = "z up, floor at z = 0, the origin under the first camera"
"""The world frame of a scene that :func:`ovseg3r_model.reconstruction.upright.stand_upright` has stood up."""


@dataclass(frozen=True)
class EstimatedViews:
    """What an engine has found. views: V pinhole cameras. keyframes (V,) int64, increasing: which of the recording's
    frames they are. color: their V pictures, without lens distortion. depth: see there. distortion: as in
    :class:`ovseg3r_model.records.Reconstruction`. scale_known: whether lengths are metres; world_frame: in words.
    """

    views: Views
    keyframes: Int64
    color: Images
    depth: DenseDepth
    scale_known: bool
    world_frame: str
    distortion: float = 0.0


def fuse_estimated(
    found: EstimatedViews,
    settings: ReconstructSettings,
    extent: float,
    quality: dict[str, float],
    notes: Sequence[str],
    step: Callable[[], None] = lambda: None,
) -> Reconstruction:
    """Fuses the views; extent: the scene's, in its own unit (:func:`extent_of`); step is called 2 V times.

    Raises:
        InputError: see :func:`ovseg3r_model.fusion.fuse`.
    """
    views = found.views
    voxel = settings.voxel or (METRIC_VOXEL if found.scale_known else extent / VOXELS_ACROSS)

    def read(v: int) -> DepthView:
        width, height = views.size[v].tolist()
        z, confidence = (a[v].astype(np.float32) for a in (found.depth.z, found.depth.confidence))
        return DepthView(np.ascontiguousarray(found.color[v]), *full_resolution(z, confidence, (width, height)))

    points, correspondence = fuse(views, read, voxel, settings.min_views, step)
    return Reconstruction(
        points=points,
        correspondence=correspondence,
        views=views,
        scale_known=found.scale_known,
        world_frame=found.world_frame,
        voxel_size=voxel,
        quality=quality,
        notes=tuple(notes),
        keyframes=found.keyframes,
        distortion=found.distortion,
        depth=found.depth,
    )


def extent_of(xyz: Float64) -> float:
    """The diagonal of the box that holds nine tenths of the points (P,3) along each axis."""
    low, high = np.percentile(xyz, 5, axis=0), np.percentile(xyz, 95, axis=0)
    return float(np.linalg.norm(high - low))
