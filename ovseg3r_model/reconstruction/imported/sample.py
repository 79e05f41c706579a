"""A look at all of the given depth, thin enough to keep: by it the scene's cameras, scale, up and extent are found."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.imported.confidence import Ranks
from ovseg3r_model.reconstruction.imported.given import GivenDepth, GivenViews, Size, map_to_picture
from ovseg3r_model.reconstruction.lens import undistort
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Float32, Float64, Recording, Views

ACROSS = 64
"""Pixels of a view that are looked at, along its longer side."""

FARTHEST = 1000.0
"""Times the recording's median depth: what is said to be farther is sky, or no depth at all."""

VARIED_FOCAL = 0.05
"""Fitted focal lengths that differ more between views, relative, are worth a word."""


@dataclass(frozen=True)
class _Thin:
    """Some pixels (n,2) float64 of the picture, their z-depth (n,) and confidence (n,), None where there is none."""

    pixel: Float64
    z: Float64
    confidence: Float32 | None
    focal: float | None


@dataclass(frozen=True)
class Sample:
    """model: the views, and some of their pixels as points, each seen once. ranks: None without confidence. median:
    depth in the given unit. notes: see :class:`GivenViews`."""

    model: SparseModel
    ranks: Ranks | None
    median: float
    notes: tuple[str, ...]


def sampled(given: GivenViews, recording: Recording, step: Callable[[], None]) -> Sample:
    """A sample of every view; step is called after each.

    Raises:
        InputError: a view's files are wrong; there is no depth at all; no camera is given and none can be fitted.
    """
    thin = []
    for v in range(len(given.keyframes)):
        thin.append(_thin(given.read(v)))
        step()
    if not any(len(t.z) for t in thin):
        raise InputError(
            f"{given.path}: holds no usable depth (all of it is zero, nan or behind its camera); check it."
        )
    intrinsics, notes = _cameras(given, thin, recording.size)
    confidences = [t.confidence for t in thin if t.confidence is not None]
    ranks = Ranks.of(confidences) if len(confidences) == len(thin) else None
    if ranks is not None:
        kept = [ranks(t.confidence) > 0 for t in thin if t.confidence is not None]
        thin = [_Thin(t.pixel[k], t.z[k], None, None) for t, k in zip(thin, kept, strict=True)]
    median = float(np.median(np.concatenate([t.z for t in thin])))
    near = [t.z <= FARTHEST * median for t in thin]
    thin = [_Thin(t.pixel[k], t.z[k], None, None) for t, k in zip(thin, near, strict=True)]
    views = Views(
        intrinsics=intrinsics,
        world_from_camera=given.world_from_camera,
        size=np.tile(np.array(recording.size, np.int64), (len(intrinsics), 1)),
        frame=recording.frame[given.keyframes],
        time=recording.time[given.keyframes],
    )
    focal = intrinsics[:, 0, 0]
    count = np.array([len(t.z) for t in thin])
    quality = {
        "registered_share": round(len(views) / len(recording), 4),
        "focal_px": round(float(np.median(focal)), 4),
    }
    model = SparseModel(
        views=views,
        registered=given.keyframes,
        xyz=np.concatenate([_points(t, views, v, given.distortion) for v, t in enumerate(thin)]),
        rgb=np.zeros((count.sum(), 3), np.uint8),
        error=np.zeros(count.sum(), np.float32),
        indptr=np.arange(count.sum() + 1, dtype=np.int64),
        view=np.repeat(np.arange(len(thin)), count).astype(np.int32),
        pixel=np.concatenate([t.pixel for t in thin]).astype(np.float32),
        distortion=given.distortion,
        quality=quality,
    )
    return Sample(model, ranks, median, notes)


def _thin(depth: GivenDepth) -> _Thin:
    height, width = depth.z.shape
    stride = max(1, max(height, width) // ACROSS)
    rows, columns = (np.arange(stride // 2, n, stride) for n in (height, width))
    y, x = (a.ravel() for a in np.meshgrid(rows, columns, indexing="ij"))
    has = depth.z[y, x] > 0
    y, x = y[has], x[has]
    pixel = map_to_picture(np.stack([x, y], axis=-1).astype(np.float64), (width, height), depth.box)
    confidence = None if depth.confidence is None else depth.confidence[y, x]
    return _Thin(pixel, depth.z[y, x].astype(np.float64), confidence, depth.focal)


def _cameras(given: GivenViews, thin: list[_Thin], size: Size) -> tuple[Float64, tuple[str, ...]]:
    """(V,3,3) float64, given or fitted, and notes. One lens took all frames: views without a camera share the median of
    the focal lengths that fit theirs, with the principal point in the picture's middle.
    """
    fitted = np.array([t.focal for t in thin if t.focal is not None])
    if all(k is not None for k in given.intrinsics):
        return np.stack([k for k in given.intrinsics if k is not None]), given.notes
    if len(fitted) == 0:
        raise InputError(f"{given.path}: holds too few points to fit a focal length to; add intrinsics to its views.")
    focal = float(np.median(fitted))
    middle = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    spread = float(np.percentile(np.abs(fitted / focal - 1), 90))
    note = (
        f"No camera is given for {sum(k is None for k in given.intrinsics)} views: a focal length of {focal:.1f} pixels"
    )
    note += " fits their points best."
    if spread > VARIED_FOCAL:
        note = f"{note[:-1]}, though single views differ by {spread:.0%}: add intrinsics if you have them."
    return np.stack([middle if k is None else k for k in given.intrinsics]), (*given.notes, note)


def _points(thin: _Thin, views: Views, view: int, distortion: float) -> Float64:
    """(n,3) float64 in the given world."""
    k, pose = views.intrinsics[view], views.world_from_camera[view]
    pixel = undistort(thin.pixel, k, distortion) if distortion else thin.pixel
    ray = np.stack([(pixel[:, 0] - k[0, 2]) / k[0, 0], (pixel[:, 1] - k[1, 2]) / k[1, 1], np.ones(len(pixel))], axis=-1)
    out: Float64 = (ray * thin.z[:, None]) @ pose[:3, :3].T + pose[:3, 3]
    return out
