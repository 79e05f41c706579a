"""Pictures of a reconstruction beside its reference: depth, trajectory, cloud."""

from dataclasses import replace

import cv2
import numpy as np

from ovseg3r_model import pictures
from ovseg3r_model.reconstruction.from_depth import METRIC_VOXEL
from ovseg3r_model.reconstruction.judge import Similarity, picture
from ovseg3r_model.reconstruction.lens import pictures_of_views
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.reconstruction.reference import Comparison, poses_of, reference_depth
from ovseg3r_model.records import Points, Reconstruction, Recording, UInt8, subset
from ovseg3r_model.settings import ReconstructSettings

SHOWN = 6
"""Depth maps that are drawn, evenly spread over the views."""


def cloud_picture(reconstruction: Reconstruction) -> UInt8:
    """The cloud in its colours, (h,w,3) uint8."""
    rec = reconstruction
    return pictures.cloud(rec.points, rec.points.rgb, rec.views, rec.voxel_size)


def fused_reference(reference: Recording, comparison: Comparison) -> Reconstruction | None:
    """The reference's own depth of the shared frames, fused; None where it has none. Its notes tell of a calibration
    that does not fit the pictures, which would spoil every comparison of depth.
    """
    if reference.depth is None or reference.intrinsics is None:
        return None
    frames = subset(reference, np.unique(comparison.frame))
    return PosedRgbd(ReconstructSettings(voxel=METRIC_VOXEL)).reconstruct(frames)


def judged_pictures(
    reconstruction: Reconstruction,
    keyframes: Recording,
    reference: Recording,
    comparison: Comparison,
    fused: Reconstruction | None,
) -> dict[str, UInt8]:
    """(h,w,3) uint8 by name: the trajectory from above; where depth was judged, ``depth-NNN`` of keyframe NNN
    (:func:`ovseg3r_model.reconstruction.judge.picture`); where the reference is ``fused``, both clouds in its frame,
    the estimate on the left.
    """
    alignment = comparison.trajectory.alignment
    poses = poses_of(reference)[comparison.frame]
    moved = alignment.poses(reconstruction.views.world_from_camera[comparison.view])
    up = -poses[:, :3, 1].mean(axis=0)
    up = up if np.linalg.norm(up) > 1e-3 else np.array([0.0, 0.0, 1.0])
    out = {"trajectory": pictures.trajectory(moved[:, :3, 3], poses[:, :3, 3], up, "m")}
    if comparison.depth is not None:
        color = pictures_of_views(keyframes.color, reconstruction)
        count = len(comparison.view)
        for m in np.unique(np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)).tolist():
            view, frame = int(comparison.view[m]), int(comparison.frame[m])
            number = view if reconstruction.keyframes is None else int(reconstruction.keyframes[view])
            out[f"depth-{number:03d}"] = _strip(reconstruction, view, color[view], reference, frame, comparison.scale)
    if fused is not None:
        both = (_carried(reconstruction.points, alignment), fused.points)
        spacings = (alignment.scale * reconstruction.voxel_size, fused.voxel_size)
        sides = [
            pictures.cloud(points, points.rgb, fused.views, spacing, (1000, 900))
            for points, spacing in zip(both, spacings, strict=True)
        ]
        out["clouds"] = np.concatenate(sides, axis=1)
    return out


def _strip(
    reconstruction: Reconstruction, view: int, color: UInt8, reference: Recording, frame: int, scale: float
) -> UInt8:
    assert reconstruction.depth is not None  # noqa: S101 - compare() has looked
    estimate = reconstruction.depth.z[view].astype(np.float32)
    small = cv2.resize(np.ascontiguousarray(color), estimate.shape[::-1], interpolation=cv2.INTER_AREA)
    return picture(
        np.asarray(small, np.uint8), reference_depth(reconstruction, view, reference, frame), estimate, scale
    )


def _carried(points: Points, alignment: Similarity) -> Points:
    """The points in the reference's frame."""
    xyz = alignment.points(points.xyz.astype(np.float64)).astype(np.float32)
    normal = (points.normal.astype(np.float64) @ alignment.rotation.T).astype(np.float16)
    return replace(points, xyz=xyz, normal=normal)
