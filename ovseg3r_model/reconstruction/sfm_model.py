"""COLMAP's reconstruction in the project's conventions."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ovseg3r_model.reconstruction.lens import undistort
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Float32, Float64, Int32, Int64, Recording, UInt8, Views

VISIBLE_DISTORTION = 0.5
"""A lens that moves no pixel farther than this is a pinhole, pixels."""


def to_sparse_model(
    model: Any, recording: Recording, size: tuple[int, int], models: int, frame_of: Mapping[str, int] | None = None
) -> SparseModel:
    """model: a ``pycolmap.Reconstruction`` of pictures of ``size`` (width, height); models: how many there were to
    choose from; frame_of: which frame of the recording each picture is, by file name, others are left out; without it
    all of them are named by :func:`index_of`.
    """
    named = [model.images[i] for i in model.reg_image_ids()]
    if frame_of is None:
        frame_of = {image.name: index_of(image.name) for image in named}
    images = sorted(
        ((frame_of[image.name], image) for image in named if image.name in frame_of), key=lambda pair: pair[0]
    )
    registered = np.array([i for i, _ in images], np.int64)
    back = np.array(recording.size, np.float64) / np.array(size)
    intrinsics = np.stack([_intrinsics(image.camera, back) for _, image in images])
    pose = np.tile(np.eye(4), (len(images), 1, 1))
    for v, (_, image) in enumerate(images):
        pose[v, :3] = image.cam_from_world().inverse().matrix()
    camera = images[0][1].camera
    k = float(camera.params[3]) if camera.model_name == "SIMPLE_RADIAL" else 0.0
    bend = _bend(k, intrinsics[0], recording.size)
    k = 0.0 if bend < VISIBLE_DISTORTION else k
    points = _Tracks.of(model, {image.image_id: v for v, (_, image) in enumerate(images)}, back)
    notes = []
    if k:
        notes.append(
            f"The lens bends the picture by up to {bend:.1f} pixels (radial distortion {k:+.4f}, estimated); depth is "
            "computed on straightened pictures."
        )
    quality = {
        "registered_share": len(registered) / len(recording),
        "models": float(models),
        "reprojection_error_px": float(points.error.mean()) if len(points.error) else 0.0,
        "sparse_points": float(len(points.xyz)),
        "track_length": len(points.view) / max(1, len(points.xyz)),
        "focal_px": float(intrinsics[0, 0, 0]),
        "distortion_px": bend,
    }
    return SparseModel(
        views=Views(
            intrinsics=intrinsics,
            world_from_camera=pose,
            size=np.tile(np.array(recording.size, np.int64), (len(images), 1)),
            frame=recording.frame[registered],
            time=recording.time[registered],
        ),
        registered=registered,
        xyz=points.xyz,
        rgb=_colors(points, recording, registered),
        error=points.error,
        indptr=points.indptr,
        view=points.view,
        pixel=points.pixel,
        distortion=k,
        quality={name: round(value, 4) for name, value in quality.items()},
        notes=tuple(notes),
    )


def registered_in(model: Any) -> Int64:
    """(R,) int64, increasing: the frames that a ``pycolmap.Reconstruction`` has a camera for."""
    return np.array(sorted(index_of(model.images[i].name) for i in model.reg_image_ids()), np.int64)


def index_of(name: str) -> int:
    """The frame whose picture has this file name."""
    return int(os.path.splitext(name)[0])


def _intrinsics(camera: Any, back: Float64) -> Float64:
    # COLMAP's (0, 0) is the corner of the first pixel, ours its centre.
    k: Float64 = np.eye(3)
    k[0, 0], k[1, 1] = camera.focal_length_x * back[0], camera.focal_length_y * back[1]
    k[0, 2] = camera.principal_point_x * back[0] - 0.5
    k[1, 2] = camera.principal_point_y * back[1] - 0.5
    return k


def _colors(points: "_Tracks", recording: Recording, registered: Int64) -> UInt8:
    """(P,3) uint8: the mean over each point's pixels."""
    total = np.zeros((len(points.xyz), 3))
    point = np.repeat(np.arange(len(points.xyz)), np.diff(points.indptr))
    width, height = recording.size
    for v, index in enumerate(registered.tolist()):
        here = points.view == v
        x, y = np.rint(points.pixel[here]).astype(np.int64).T
        picture = recording.color[index]
        np.add.at(total, point[here], picture[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)])
    return np.rint(total / np.maximum(np.diff(points.indptr), 1)[:, None]).astype(np.uint8)


@dataclass(frozen=True)
class _Tracks:
    xyz: Float64
    error: Float32
    indptr: Int64
    view: Int32
    pixel: Float32

    @staticmethod
    def of(model: Any, view_of: dict[int, int], back: Float64) -> "_Tracks":
        xyz, error, indptr, view, pixel = [], [], [0], [], []
        at = {v: model.images[i].points2D for i, v in view_of.items()}
        for key in sorted(model.points3D):
            point = model.points3D[key]
            seen: dict[int, int] = {}
            for element in point.track.elements:  # rarely a point has two observations in one picture: the first
                if element.image_id not in view_of:
                    continue
                seen.setdefault(view_of[element.image_id], element.point2D_idx)
            if len(seen) < 2:
                continue
            xyz.append(point.xyz)
            error.append(point.error)
            for v in sorted(seen):
                view.append(v)
                pixel.append(at[v][seen[v]].xy)
            indptr.append(len(view))
        return _Tracks(
            np.array(xyz, np.float64).reshape(-1, 3),
            (np.array(error, np.float64) * back.mean()).astype(np.float32),
            np.array(indptr, np.int64),
            np.array(view, np.int32),
            (np.array(pixel, np.float64).reshape(-1, 2) * back - 0.5).astype(np.float32),
        )


def _bend(k: float, intrinsics: Float64, size: tuple[int, int]) -> float:
    """The farthest that the distortion moves a pixel of the picture, pixels."""
    edge = np.array([[-0.5, -0.5], [size[0] - 0.5, -0.5], [-0.5, size[1] - 0.5], [size[0] - 0.5, size[1] - 0.5]])
    straight = undistort(edge, intrinsics, k)
    bend = float(np.linalg.norm(straight - edge, axis=1).max())
    return bend if math.isfinite(bend) else float("inf")
