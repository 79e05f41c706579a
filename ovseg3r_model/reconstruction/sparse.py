"""What structure from motion gives: the cameras it found and the points it found them by."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Float32, Float64, Images, Int32, Int64, Recording, UInt8, Views, subset


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
    color = chosen.color if model.distortion == 0 else _Rectified(chosen.color, model)
    return replace(
        chosen,
        color=color,
        intrinsics=model.views.intrinsics,
        world_from_camera=model.views.world_from_camera,
    )


def distort(pixel: Float64, intrinsics: Float64, k: float) -> Float64:
    """Where pixels (N,2) (x, y) of a rectified picture are in the recording's own; intrinsics (3,3)."""
    center, focal = intrinsics[:2, 2], np.array([intrinsics[0, 0], intrinsics[1, 1]])
    plane = (pixel - center) / focal
    out: Float64 = plane * (1 + k * (plane**2).sum(axis=-1, keepdims=True)) * focal + center
    return out


def undistort(pixel: Float64, intrinsics: Float64, k: float) -> Float64:
    """The inverse of :func:`distort`."""
    center, focal = intrinsics[:2, 2], np.array([intrinsics[0, 0], intrinsics[1, 1]])
    seen = (pixel - center) / focal
    plane = seen.copy()
    for _ in range(20):  # a contraction for every lens that a room is filmed with
        plane = seen / (1 + k * (plane**2).sum(axis=-1, keepdims=True))
    out: Float64 = plane * focal + center
    return out


class _Rectified:
    """Pictures without their radial distortion, remapped when asked for."""

    def __init__(self, color: Images, model: SparseModel) -> None:
        self._color, self._model = color, model
        self._key: bytes = b""
        self._maps: tuple[Float32, Float32] | None = None

    def __len__(self) -> int:
        return len(self._color)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        map_x, map_y = self._map(index)
        # beyond the picture its border is repeated: black there would be an edge to every matcher
        out: NDArray[Any] = cv2.remap(
            np.ascontiguousarray(self._color[index]), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return out

    def _map(self, index: int) -> tuple[Float32, Float32]:
        views = self._model.views
        k = views.intrinsics[index]
        if self._maps is None or self._key != k.tobytes():
            width, height = (int(v) for v in views.size[index])
            grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
            at = distort(grid.astype(np.float64), k, self._model.distortion).reshape(height, width, 2)
            self._key = k.tobytes()
            self._maps = (at[..., 0].astype(np.float32), at[..., 1].astype(np.float32))
        return self._maps
