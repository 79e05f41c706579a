"""Unnamed regions without any model: for trying things out, not for labels.

Felzenszwalb's graph segmentation of the picture (Lab colour; normals and the distance of planes too where the
recording has depth) gives regions of like colour and shape. They are no objects: a chair falls into several, two
books may be one. Every one is called "object" with score 1.
"""

import warnings
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from ovseg3r_model.reconstruction.registration import registered_depth
from ovseg3r_model.records import Float32, Float64, Int64, Recording, UInt8, ViewMasks
from ovseg3r_model.segmentation.id_maps import Name, settle

LABEL = "object"
# Chosen by eye on hand-held Kinect frames (45-70 regions a view) for this working size: the scale counts in its pixels.
_LONG_SIDE = 320
_SCALE = 400.0
_MIN_SHARE, _MAX_SHARE = 0.0025, 0.4  # of the picture; smaller regions join a neighbour, larger ones are background
# What a step is worth: black to white, 100 of Lab's a or b, a plane e times as far, a normal turned by 60 degrees.
_LIGHTNESS, _CHROMA, _DISTANCE, _NORMAL = 0.5, 2.0, 0.6, 0.2
_REACH = 2  # pixels between the ends of a slope
_NEAREST = 0.05  # metres; keeps the logarithm of depth finite


class Regions:
    """The engine "regions"; see the module. Regions under ``min_area`` pixels are dropped."""

    name = "regions"
    open_vocabulary = False
    batch = 1

    def __init__(self, min_area: int) -> None:
        self._min_area = min_area

    def prepare(self, recording: Recording) -> tuple[str, ...]:
        """See :meth:`.Segmenter.prepare`; nothing can be wrong with the frames here."""
        source = "colour and depth" if _has_depth(recording) else "colour alone"
        note = (
            f'The 2D regions are unnamed ("{LABEL}"), made from {source} without any model: for trying things out only.'
        )
        return (note,)

    def segment(self, recording: Recording, views: Sequence[int]) -> Iterator[ViewMasks]:
        """See :meth:`.Segmenter.segment`.

        Raises:
            InputError: a depth map does not fit its frame.
        """
        for view in views:
            color = np.asarray(recording.color[view])
            ids = _without_background(_upsampled(_regions(_features(color, *_depth(recording, view))), color.shape[:2]))
            yield settle(ids, dict.fromkeys(range(1, int(ids.max()) + 1), Name(LABEL)), self._min_area)


def _has_depth(recording: Recording) -> bool:
    return recording.depth is not None and recording.depth_intrinsics is not None and recording.intrinsics is not None


def _depth(recording: Recording, view: int) -> tuple[Float32 | None, Float64 | None]:
    """Depth (H,W) in metres in the colour camera, and that camera's intrinsics (3,3); None where there is no depth."""
    if recording.intrinsics is None or not _has_depth(recording):
        return None, None
    return registered_depth(recording, view), recording.intrinsics[view]


def _features(color: UInt8, depth: Float32 | None, intrinsics: Float64 | None) -> Float32:
    """(h,w,3 or 7) float32 at working size: what two pixels are compared by."""
    height, width = color.shape[:2]
    shrink = min(1.0, _LONG_SIDE / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = cv2.resize(color, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    lab = cv2.bilateralFilter(cv2.cvtColor(small, cv2.COLOR_RGB2Lab), d=7, sigmaColor=12, sigmaSpace=3)
    channels = [lab * np.array([_LIGHTNESS, _CHROMA, _CHROMA], np.float32) / 100]
    if depth is not None and intrinsics is not None and (depth > 0).any():
        log_depth = _smooth_log_depth(depth[_nearest(height, size[1])][:, _nearest(width, size[0])])
        normal, distance = _surface(log_depth, _scaled(intrinsics, (width, height), size))
        channels += [distance[..., None] * _DISTANCE, normal * _NORMAL]
    return np.concatenate(channels, axis=2)


def _smooth_log_depth(depth: Float32) -> Float32:
    """Log depth (h,w) without noise; holes take the depth of the nearest measurement."""
    measured = depth > 0
    if not measured.all():
        _, cell = cv2.distanceTransformWithLabels(
            (~measured).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3, labelType=cv2.DIST_LABEL_PIXEL
        )
        of_cell = np.zeros(int(cell.max()) + 1, np.float32)
        of_cell[cell[measured]] = depth[measured]
        depth = of_cell[cell]
    log_depth = np.log(np.maximum(depth, _NEAREST)).astype(np.float32)
    smooth: Float32 = cv2.bilateralFilter(cv2.medianBlur(log_depth, 5), d=7, sigmaColor=0.03, sigmaSpace=3)
    return smooth


def _surface(log_depth: Float32, intrinsics: Float64) -> tuple[Float32, Float32]:
    """Unit normals (h,w,3) in the camera, and log depth (h,w) less the part that the surface's own slope explains.

    The second is the log distance of the tangent plane: constant on a plane however slanted, with a step where
    depth has one.
    """
    height, width = log_depth.shape
    z = np.exp(log_depth)
    x = (np.arange(width, dtype=np.float32) - np.float32(intrinsics[0, 2])) / np.float32(intrinsics[0, 0])
    y = (np.arange(height, dtype=np.float32) - np.float32(intrinsics[1, 2])) / np.float32(intrinsics[1, 1])
    point = np.dstack([x * z, y[:, None] * z, z])
    normal = np.cross(_slope(point, 1), _slope(point, 0))
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + np.float32(1e-12)
    normal = cv2.bilateralFilter(normal, d=7, sigmaColor=0.4, sigmaSpace=2)
    distance = np.maximum(np.abs((normal * point).sum(axis=2)), _NEAREST)
    return normal, np.log(distance)


def _slope(point: Float32, axis: int) -> Float32:
    """Differences (h,w,3) along an axis, to the side where depth changes less: across no silhouette."""
    index = np.arange(point.shape[axis])
    after = np.take(point, np.minimum(index + _REACH, index[-1]), axis) - point
    before = point - np.take(point, np.maximum(index - _REACH, 0), axis)
    outside = np.expand_dims(index < _REACH, 1 - axis), np.expand_dims(index > index[-1] - _REACH, 1 - axis)
    use_after = outside[0] | ((np.abs(after[..., 2]) < np.abs(before[..., 2])) & ~outside[1])
    return np.where(use_after[..., None], after, before)


def _scaled(intrinsics: Float64, size: tuple[int, int], to: tuple[int, int]) -> Float64:
    """The camera of a picture resized from ``size`` to ``to``; the half pixels because integers are pixel centres."""
    sx, sy = to[0] / size[0], to[1] / size[1]
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
    scaled: Float64 = np.linalg.inv(shift) @ np.diag([sx, sy, 1.0]) @ shift @ intrinsics
    return scaled


def _regions(features: Float32) -> Int64:
    """(h,w) int64, ids from 1: Felzenszwalb's segments, none under the smallest share."""
    min_size = max(1, round(_MIN_SHARE * features.shape[0] * features.shape[1]))
    # More than three channels are on purpose. A lasting filter, for catch_warnings is not safe with threads.
    warnings.filterwarnings("ignore", message="Got image with third dimension of", category=RuntimeWarning)
    segments: Int64 = felzenszwalb(
        features.astype(np.float64), scale=_SCALE, sigma=0, min_size=min_size, channel_axis=-1
    )
    return segments.astype(np.int64) + 1


def _upsampled(ids: Int64, shape: tuple[int, int]) -> Int64:
    return ids[_nearest(ids.shape[0], shape[0])][:, _nearest(ids.shape[1], shape[1])]


def _nearest(count: int, wanted: int) -> NDArray[np.intp]:
    """(wanted,): which of ``count`` rows lies nearest to each of ``wanted`` rows over the same extent."""
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.intp)


def _without_background(ids: Int64) -> Int64:
    """0 where a region covers more than the largest share of the picture."""
    large = np.bincount(ids.ravel()) > _MAX_SHARE * ids.size
    return np.where(large[ids], 0, ids)
