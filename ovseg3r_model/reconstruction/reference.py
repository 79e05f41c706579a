"""A reconstruction beside a reference recording of the same pictures: which frames are the same, what depth the
reference has at the estimate's pixels, and the judge's figures of both.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.dense.full_resolution import SAME_SURFACE
from ovseg3r_model.reconstruction.judge import DepthError, TrajectoryError, judge_depth, judge_trajectory
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.reconstruction.protocol import Progress, no_progress
from ovseg3r_model.reconstruction.registration import registered_depth
from ovseg3r_model.records import Float32, Float64, Int64, Reconstruction, Recording

SAME_SHAPE = 0.02
"""Pictures whose width : height differs by more, relative, are not the same picture at two sizes."""


@dataclass(frozen=True)
class Matches:
    """The same pictures in two recordings. keyframe (M,) int64, increasing: indices into the keyframes; frame (M,)
    int64: into the reference; by: what told that they are the same.
    """

    keyframe: Int64
    frame: Int64
    by: Literal["name", "index", "time"]

    def __len__(self) -> int:
        return len(self.keyframe)


@dataclass(frozen=True)
class Comparison:
    """matches: the keyframes that the reference has; view, frame (M,) int64: those of them that have a camera, as
    indices into the reconstruction's views and the reference's frames. scale_error: how far the reconstruction's metre
    is off, relative; None where it does not claim to know it. depth: None where one of both has none, which a note
    tells.
    """

    matches: Matches
    view: Int64
    frame: Int64
    trajectory: TrajectoryError
    scale_error: float | None
    depth: DepthError | None
    notes: tuple[str, ...]

    @property
    def scale(self) -> float:
        """Reference unit per unit of the estimate; 1 where both are metres, whose error is the estimate's own."""
        return self.trajectory.scale if self.scale_error is None else 1.0


def poses_of(reference: Recording) -> Float64:
    """(F,4,4) world_from_camera.

    Raises:
        InputError: the reference has none.
    """
    if reference.world_from_camera is None:
        raise InputError(
            f"The reference (read as {reference.source_format}) has no poses, so there is nothing to judge by; give a "
            "recording with poses (7-Scenes, ScanNet export, TUM, nerfstudio)."
        )
    return reference.world_from_camera


def match_frames(keyframes: Recording, reference: Recording) -> Matches:
    """The frames of the reference that are the keyframes' pictures: by name where any name is in both; else by index,
    where the reference numbers its frames without gaps, has as many as the keyframes' source needs, and no clock
    contradicts; else by time, to half of the reference's frame interval.

    Raises:
        InputError: nothing matches.
    """
    place = {name: i for i, name in enumerate(reference.names)}
    named = np.array([place.get(name, -1) for name in keyframes.names], np.int64)
    if (named >= 0).any():
        kept = np.flatnonzero(named >= 0)
        return Matches(kept, named[kept], "name")
    away, nearest, interval = _by_time(keyframes.time, reference.time)
    count = len(reference)
    if np.array_equal(reference.frame, np.arange(count)) and int(keyframes.frame.max()) < count:
        clocks = np.abs(keyframes.time - reference.time[keyframes.frame])
        if not (clocks > interval / 2).any():  # without a clock this compares nan
            return Matches(np.arange(len(keyframes)), keyframes.frame, "index")
    kept = np.flatnonzero(away <= interval / 2)
    if len(kept) == 0:
        raise InputError(
            f"None of the {len(keyframes)} keyframes is in the reference of {count} frames: no name is the same "
            f"({keyframes.names[0]} there, {reference.names[0]} here), the reference has no frame of each index and no "
            "time agrees; give a reference of the same pictures."
        )
    return Matches(kept, nearest[kept], "time")


def _by_time(wanted: Float64, known: Float64) -> tuple[Float64, Int64, float]:
    """For each wanted time (V,) the distance to the nearest known time and its index; and the known times' usual
    interval. All nan or 0 without clocks.
    """
    if not np.isfinite(known).all() or len(known) < 2:
        return np.full(len(wanted), np.nan), np.zeros(len(wanted), np.int64), float("nan")
    distance = np.abs(wanted[:, None] - known[None])
    nearest = np.argmin(np.where(np.isnan(distance), np.inf, distance), axis=1)
    return distance[np.arange(len(wanted)), nearest], nearest, float(np.median(np.diff(known)))


def compare(
    reconstruction: Reconstruction, keyframes: Recording, reference: Recording, progress: Progress = no_progress
) -> Comparison:
    """The reconstruction of ``keyframes`` judged by ``reference``, one depth map in memory at a time.

    Depth is compared after the trajectory's similarity where the scale is unknown, else as it is.

    Raises:
        InputError: the reference has no poses, or too few keyframes with a camera are in it (:func:`match_frames`,
            :func:`ovseg3r_model.reconstruction.judge.align`).
    """
    poses = poses_of(reference)
    matches = match_frames(keyframes, reference)
    registered = np.arange(len(keyframes)) if reconstruction.keyframes is None else reconstruction.keyframes
    _, view, match = np.intersect1d(registered, matches.keyframe, assume_unique=True, return_indices=True)
    frame = matches.frame[match]
    views = reconstruction.views
    trajectory = judge_trajectory(views.world_from_camera[view], poses[frame])
    scale_error = abs(trajectory.scale - 1) if reconstruction.scale_known else None
    found = Comparison(matches, view, frame, trajectory, scale_error, None, ())
    why_not = _no_depth(reconstruction, reference)
    if why_not is not None:
        return replace(found, notes=(why_not,))
    return replace(found, depth=judge_depth(_depths(reconstruction, reference, found, progress), found.scale))


def _no_depth(reconstruction: Reconstruction, reference: Recording) -> str | None:
    """Why depth cannot be judged."""
    if reconstruction.depth is None:
        return "Depth is not judged: this engine keeps no estimate of its own."
    if reference.depth is None or reference.intrinsics is None:
        return "Depth is not judged: the reference has none, or its cameras are unknown."
    width, height = (int(v) for v in reconstruction.views.size[0])
    if abs(width / height * reference.size[1] / reference.size[0] - 1) > SAME_SHAPE:
        return (
            f"Depth is not judged: the keyframes are {width}x{height} and the reference's pictures "
            f"{reference.size[0]}x{reference.size[1]}, which is no enlargement of them."
        )
    return None


def _depths(
    reconstruction: Reconstruction, reference: Recording, found: Comparison, progress: Progress
) -> Iterator[tuple[Float32, Float32, Float32 | None]]:
    assert reconstruction.depth is not None  # noqa: S101 - for the type checker; compare() has looked
    for done, (view, frame) in enumerate(zip(found.view.tolist(), found.frame.tolist(), strict=True)):
        z, confidence = (a[view].astype(np.float32) for a in (reconstruction.depth.z, reconstruction.depth.confidence))
        yield z, reference_depth(reconstruction, view, reference, frame), confidence
        progress(done + 1, len(found.view))


def reference_depth(reconstruction: Reconstruction, view: int, reference: Recording, frame: int) -> Float32:
    """The reference's z-depth (h,w), metres, 0 = none, where the estimate's depth map of ``view`` has its pixels.

    It is looked up at the same place of the same picture, whatever focal length was estimated: from the straightened
    view through the lens to the recorded picture, and from there to the reference's, which may be larger or smaller.
    """
    assert reconstruction.depth is not None  # noqa: S101
    height, width = reconstruction.depth.z.shape[1:]
    size = reconstruction.views.size[view].astype(np.float64)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    pixel = (grid + 0.5) * (size / (width, height)) - 0.5
    if reconstruction.distortion != 0:
        pixel = distort(pixel, reconstruction.views.intrinsics[view], reconstruction.distortion)
    pixel = (pixel + 0.5) * (np.array(reference.size) / size) - 0.5
    return sample_depth(registered_depth(reference, frame), pixel.reshape(height, width, 2))


def sample_depth(depth: Float32, pixel: Float64) -> Float32:
    """A depth map (H,W) at the places (h,w,2) (x, y): (h,w), 0 where the nearest pixel has none or is outside.

    Inverse depth is interpolated where the four nearest pixels are of one surface, else the nearest is taken.
    """
    x, y = pixel[..., 0].astype(np.float32), pixel[..., 1].astype(np.float32)

    def at(values: Float32, how: int) -> Float32:
        return np.asarray(cv2.remap(values, x, y, how, borderMode=cv2.BORDER_CONSTANT, borderValue=0), np.float32)

    nearest = at(depth, cv2.INTER_NEAREST)
    share = at((depth > 0).astype(np.float32), cv2.INTER_LINEAR)
    inverse = at(np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0), cv2.INTER_LINEAR)
    smooth = np.divide(share, inverse, out=np.zeros_like(nearest), where=inverse > 0)
    return np.where(np.abs(smooth - nearest) <= SAME_SURFACE * nearest, smooth, nearest)
