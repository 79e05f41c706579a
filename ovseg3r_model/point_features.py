"""2D features on the points (METHOD 1.4), and their reduction to fewer channels."""

from collections.abc import Callable

import numba
import numpy as np

from ovseg3r_model.lifting import observations_by_view
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.records import (
    Float16,
    Float32,
    Float64,
    Images,
    Int64,
    Reconstruction,
    Reduction,
)

_HELD = 2**27  # sums held at a time, float32
_ROWS = 2**16  # of features in wider types at a time


def sample_features(
    images: Images,
    scale: tuple[float, float],
    reconstruction: Reconstruction,
    progress: Callable[[int, int], None] | None = None,
) -> Float16:
    """F2D: for each point the mean, over its observations, of the image features there, each interpolated between the
    four nearest cells (METHOD 1.4).

    Args:
        images: (h,w,C) float16 for each keyframe, of the picture as the lens took it; one is held at a time.
        scale: cells per pixel along x and y, see :class:`.ViewFeatures`.
        reconstruction: N points with their correspondences; its views are some of the keyframes.
        progress: called with (steps done, steps in all).

    Returns:
        (N,C) float16.
    """
    correspondence, views = reconstruction.correspondence, reconstruction.views
    count = len(correspondence.indptr) - 1
    channels = images[0].shape[2]
    together = max(1, min(channels, _HELD // max(count, 1)))
    order, start = observations_by_view(correspondence, len(views))
    of_point = correspondence.point()
    seen = np.diff(correspondence.indptr).astype(np.float32)
    keyframes = np.arange(len(views)) if reconstruction.keyframes is None else reconstruction.keyframes
    out = np.zeros((count, channels), np.float16)
    blocks = range(0, channels, together)
    for number, block in enumerate(blocks):
        total = np.zeros((count, min(together, channels - block)), np.float32)
        for v in range(len(views)):
            rows = order[start[v] : start[v + 1]]
            image = np.ascontiguousarray(images[int(keyframes[v])][..., block : block + together], np.float32)
            _add(total, of_point[rows], _cells(reconstruction, v, rows, scale), image)
            if progress is not None:
                progress(number * len(views) + v + 1, len(blocks) * len(views))
        out[:, block : block + together] = total / np.maximum(seen, 1)[:, None]
    return out


def reduced(features: Float16, size: int) -> tuple[Float16, Reduction | None]:
    """Features (N,C) in the ``size`` directions in which they differ most (PCA); as they are, and no reduction, where
    they have no more channels than that. Of each direction the largest entry is positive, so the same input gives the
    same reduction, but for the last bits where BLAS has another number of threads.
    """
    count, channels = features.shape
    if size >= channels:
        return features, None
    mean = np.zeros(channels)
    for rows in _blocks(count):
        mean += features[rows].sum(axis=0, dtype=np.float64)
    mean /= max(count, 1)
    scatter = np.zeros((channels, channels))
    for rows in _blocks(count):
        centred = features[rows].astype(np.float32) - mean.astype(np.float32)
        scatter += centred.T @ centred
    basis = np.linalg.eigh(scatter)[1][:, ::-1][:, :size]
    basis = basis * np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(size)])
    reduction = Reduction(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))
    out = np.empty((count, size), np.float16)
    for rows in _blocks(count):
        out[rows] = (features[rows].astype(np.float32) - reduction.mean) @ reduction.basis
    return out, reduction


def carried_back(features: Float16, reduction: Reduction | None) -> Float32:
    """(n,C) float32 of features (n,size) in the 2D model's own channels, so that scenes, each of which has a basis of
    its own, agree."""
    values: Float32 = features.astype(np.float32)
    return values if reduction is None else values @ reduction.basis.T + reduction.mean


def _blocks(count: int) -> list[slice]:
    return [slice(first, first + _ROWS) for first in range(0, count, _ROWS)]


def _cells(reconstruction: Reconstruction, view: int, rows: Int64, scale: tuple[float, float]) -> Float32:
    """(R,2) float32: where in the feature map of a view's keyframe some observations of that view are."""
    pixel: Float64 = reconstruction.correspondence.pixel[rows].astype(np.float64)
    if reconstruction.distortion != 0:
        pixel = distort(pixel, reconstruction.views.intrinsics[view], reconstruction.distortion)
    cells: Float32 = ((pixel + 0.5) * scale - 0.5).astype(np.float32)
    return cells


@numba.njit(cache=True, nogil=True)
def _add(total, point, cell, image):  # type: ignore[no-untyped-def]
    """Adds to total (N,C) at ``point`` (R,) the image (h,w,C) at ``cell`` (R,2) x, y."""
    height, width, channels = image.shape
    for r in range(len(point)):
        x = min(max(cell[r, 0], np.float32(0)), np.float32(width - 1))
        y = min(max(cell[r, 1], np.float32(0)), np.float32(height - 1))
        x0, y0 = int(x), int(y)
        x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
        right, down = x - np.float32(x0), y - np.float32(y0)
        left, up = np.float32(1) - right, np.float32(1) - down
        i = point[r]
        for c in range(channels):
            above = left * image[y0, x0, c] + right * image[y0, x1, c]
            below = left * image[y1, x0, c] + right * image[y1, x1, c]
            total[i, c] += up * above + down * below
