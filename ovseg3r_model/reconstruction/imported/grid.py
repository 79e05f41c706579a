"""Given depth of any size and crop, on one working grid that covers the whole picture."""

import cv2
import numpy as np

from ovseg3r_model.reconstruction.dense.full_resolution import SAME_SURFACE
from ovseg3r_model.reconstruction.imported.given import Box, Size, picture_to_map
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.records import Float32, Float64

MOST_SHORT_SIDE = 480
"""The working grid's shorter side at most: 2.5 MB a view at 640 x 480."""


def grid_size(picture: Size, density: float) -> Size:
    """(width, height) of the working grid for pictures of size ``picture``: no finer than the depth or the picture."""
    scale = min(1.0, density, MOST_SHORT_SIDE / min(picture))
    return max(2, round(picture[0] * scale)), max(2, round(picture[1] * scale))


def map_pixels(grid: Size, picture: Size, size: Size, box: Box, intrinsics: Float64, distortion: float) -> Float32:
    """(h,w,2) float32: where the pixels of a ``grid`` over the straightened picture lie in a map of ``size`` that
    covers ``box`` of the picture as taken; all sizes are (width, height), intrinsics (3,3) the picture's.
    """
    x, y = np.meshgrid(np.arange(grid[0]), np.arange(grid[1]))
    at = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * (np.array(picture) / grid) - 0.5
    if distortion:
        at = distort(at, intrinsics, distortion)
    return picture_to_map(at, size, box).reshape(grid[1], grid[0], 2).astype(np.float32)


def resampled(z: Float32, confidence: Float32, at: Float32) -> tuple[Float32, Float32]:
    """The depth map z (H,W), 0 = none, and its confidence at the places ``at`` (h,w,2) (x, y).

    Inverse depth, which is linear in the picture on every plane, is interpolated where the four nearest pixels lie on
    one surface; else the nearest pixel's depth is taken. Where the nearest has none there is none.
    """
    height, width = z.shape
    nearest_at = np.rint(at).astype(np.int64)
    x, y = nearest_at[..., 0], nearest_at[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    nearest = z[y, x] * inside
    inverse = np.divide(1, z, out=np.zeros_like(z), where=z > 0)
    share = cv2.remap((z > 0).astype(np.float32), at, None, cv2.INTER_LINEAR)
    blend = cv2.remap(inverse, at, None, cv2.INTER_LINEAR)
    smooth = np.divide(share, blend, out=np.zeros_like(nearest), where=blend > 0)
    out = np.where(np.abs(smooth - nearest) <= SAME_SURFACE * nearest, smooth, nearest) * (nearest > 0)
    return out.astype(np.float32), (confidence[y, x] * (nearest > 0)).astype(np.float32)
