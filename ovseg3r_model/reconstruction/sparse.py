"""What structure from motion gives: the cameras it found and the points it found them by."""

from dataclasses import dataclass, replace

import numpy as np

from ovseg3r_model.reconstruction.lens import RectifiedImages
from ovseg3r_model.records import Float32, Float64, Int32, Int64, Recording, UInt8, Views, subset


@dataclass(frozen=True)
class SparseModel:
    """R registered cameras and P points with T observations, in scene units.

    views: the registered keyframes, pinhole. registered (R,) int64, increasing: which frames of the recording they are.
    xyz (P,3) float64; rgb (P,3) uint8; error (P,) float32: mean reprojection error, pixels.
    indptr (P+1,) int64: the observations of point p are rows indptr[p]:indptr[p+1] of view (T,) int32, index into
    ``views``, increasing within a point, and pixel (T,2) float32 as (x, y) in the recording's own pictures.
    distortion: k of the pictures' radial distortion: a point that a pinhole sees at (u, v) from the principal point,
    in focal lengths, is at (u, v) * (1 + k (u^2 + v^2)) in the picture; 0 where that is under half a pixel everywhere.
    quality: figures by name. notes: what a user should know, one sentence each.
    """

    views: Views
    registered: Int64
    xyz: Float64
    rgb: UInt8
    error: Float32
    indptr: Int64
    view: Int32
    pixel: Float32
    distortion: float
    quality: dict[str, float]
    notes: tuple[str, ...] = ()

    def point(self) -> Int64:
        """(T,) int64: the point of each observation."""
        return np.repeat(np.arange(len(self.xyz), dtype=np.int64), np.diff(self.indptr))

    def transformed(self, scale: float, rotation: Float64, translation: Float64) -> "SparseModel":
        """The model in another world: x' = scale * rotation (3,3) @ x + translation (3,)."""
        pose = self.views.world_from_camera.copy()
        pose[:, :3, :3] = rotation @ pose[:, :3, :3]
        pose[:, :3, 3] = scale * pose[:, :3, 3] @ rotation.T + translation
        return replace(
            self,
            views=replace(self.views, world_from_camera=pose),
            xyz=scale * self.xyz @ rotation.T + translation,
        )


def rectified(recording: Recording, model: SparseModel) -> Recording:
    """The registered frames as the pinholes of ``model.views`` would have taken them: same size, same intrinsics.

    Without distortion the pictures are the recording's own. Poses and intrinsics become the model's.
    """
    chosen = subset(recording, model.registered)
    color = chosen.color if model.distortion == 0 else RectifiedImages(chosen.color, model.views, model.distortion)
    return replace(
        chosen,
        color=color,
        intrinsics=model.views.intrinsics,
        world_from_camera=model.views.world_from_camera,
    )
