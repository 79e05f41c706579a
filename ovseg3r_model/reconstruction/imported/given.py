"""What every format of a given reconstruction is read into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32, Float64, Int64, Recording
from ovseg3r_model.segmentation.matching import Match, first_few, match_exact_names, match_names

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 of a part of the picture, from its first column and row to past its last: all of a picture of W x H
pixels is (0, 0, W, H). May reach beyond the picture, where a system has padded it."""

Size = tuple[int, int]


@dataclass(frozen=True)
class GivenDepth:
    """One view's depth as given: z (h,w) float32, z-depth in the given unit, 0 = none; confidence (h,w) float32 of any
    positive unit, larger = surer, None where the system has none; box: what part of the recording's picture it covers.
    focal: the focal length, in the picture's pixels, that fits the view's points best; None where the camera is given.
    """

    z: Float32
    confidence: Float32 | None
    box: Box
    focal: float | None = None


@dataclass(frozen=True)
class GivenViews:
    """V cameras with depth, in the given world and unit.

    path: where they were read, for messages. keyframes (V,) int64, increasing: the recording's frames that they are.
    world_from_camera (V,4,4). intrinsics: V of (3,3) float64 in the recording's pixels, None where the focal length is
    to be fitted. read: a view's depth, read anew each time. density: the most depth pixels per pixel of the picture,
    along a side. metric: lengths are metres; metric_assumed: only because the format says so, which not every writer
    holds to. gravity_aligned: the world's z is up. distortion: as in
    :class:`ovseg3r_model.records.Reconstruction`; depth then lies on the distorted pictures.
    """

    path: str
    keyframes: Int64
    world_from_camera: Float64
    intrinsics: tuple[Float64 | None, ...]
    read: Callable[[int], GivenDepth]
    density: float
    metric: bool
    gravity_aligned: bool
    metric_assumed: bool = False
    distortion: float = 0.0
    notes: tuple[str, ...] = ()


def whole(size: Size) -> Box:
    """The box of all of a picture of ``size`` (width, height)."""
    return (0.0, 0.0, float(size[0]), float(size[1]))


def density_of(size: Size, box: Box) -> float:
    """Pixels of a map of ``size`` (width, height) per pixel of the picture, along the denser side."""
    return max(size[0] / (box[2] - box[0]), size[1] / (box[3] - box[1]))


def map_to_picture(pixel: Float64, size: Size, box: Box) -> Float64:
    """Where pixels (...,2) (x, y) of a map of ``size`` (width, height) that covers ``box`` lie in the picture."""
    step = np.array([box[2] - box[0], box[3] - box[1]]) / size
    out: Float64 = np.array(box[:2]) + (pixel + 0.5) * step - 0.5
    return out


def picture_to_map(pixel: Float64, size: Size, box: Box) -> Float64:
    """The inverse of :func:`map_to_picture`."""
    step = np.array([box[2] - box[0], box[3] - box[1]]) / size
    out: Float64 = (pixel + 0.5 - np.array(box[:2])) / step - 0.5
    return out


def camera_of_picture(intrinsics: Float64, size: Size, box: Box) -> Float64:
    """A camera (3,3) in the picture's pixels, from those of a map of ``size`` that covers ``box``."""
    out = intrinsics.copy()
    out[0, :2] *= (box[2] - box[0]) / size[0]
    out[1, 1] *= (box[3] - box[1]) / size[1]
    out[:2, 2] = map_to_picture(intrinsics[:2, 2], size, box)
    return out


def match_views(recording: Recording, names: Sequence[str], source: str, what: str) -> Match:
    """Pairs the recording's frames with the ``names`` of a reconstruction's views, as
    :func:`ovseg3r_model.segmentation.matching.match_names`, but for videos by the exact name alone: tools that export
    frames count from 1, or count only those they export.

    Raises:
        InputError: no frame has a view; two fit as well.
    """
    if recording.source_format != "video":
        return match_names(recording.names, names, source, what)
    entry = match_exact_names(recording.names, names, source)
    if all(e is None for e in entry):
        raise InputError(
            f"The {what} in {source} are named {first_few(names)}, which does not say which frames of the video they "
            f"are (those are {first_few(recording.names)}); give the folder of the exported pictures as SOURCE "
            "instead of the video."
        )
    return Match(entry, ())


def require_same_shape(size: Size, picture: Size, where: str, advice: str) -> None:
    """Raises InputError unless ``size`` is that of the recording's ``picture`` (width, height), but for a scale."""
    (w, h), (width, height) = size, picture
    if abs(w * height - h * width) > max(width, height, w, h):  # a pixel's rounding of either
        raise InputError(f"{where}: is for pictures of {w}x{h}, and the recording's are {width}x{height}; {advice}.")
