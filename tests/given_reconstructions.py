"""Reconstructions as other systems would leave them, written from a recording whose depth and poses are exact."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ovseg3r_model.records import Float32, Float64, Recording

OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def depth_of(recording: Recording, k: int) -> Float32:
    assert recording.depth is not None
    return recording.depth[k]


def poses_of(recording: Recording) -> Float64:
    assert recording.world_from_camera is not None
    return recording.world_from_camera


def camera_of(recording: Recording) -> Float64:
    assert recording.intrinsics is not None
    return recording.intrinsics[0]


def pointmap(depth: Float32, intrinsics: Float64, pose: Float64) -> Float32:
    """(h,w,3) float32 in the world; nan where there is no depth."""
    y, x = np.indices(depth.shape)
    ray = np.stack([x - intrinsics[0, 2], y - intrinsics[1, 2], np.full(x.shape, intrinsics[0, 0])], -1)
    local = ray / intrinsics[0, 0] * np.where(depth > 0, depth, np.nan)[..., None]
    return (local @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)


def view_of(recording: Recording, k: int) -> dict[str, Any]:
    """The arrays of one view, with all that is optional but the box."""
    depth, pose, camera = depth_of(recording, k), poses_of(recording)[k], camera_of(recording)
    return {
        "points": pointmap(depth, camera, pose),
        "confidence": np.ones_like(depth),
        "world_from_camera": pose,
        "intrinsics": camera,
    }


def write_index(folder: Path, **other: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    index = {"format": "ovseg3r-views", "version": 1, "metric": True, "gravity_aligned": True} | other
    (folder / "reconstruction.json").write_text(json.dumps(index))
    return folder


def write_views(folder: Path, recording: Recording, frames: Iterable[int] | None = None, **other: Any) -> Path:
    write_index(folder, **other)
    for k in range(len(recording)) if frames is None else frames:
        np.savez(folder / f"{recording.names[k]}.npz", **view_of(recording, k))
    return folder


def write_colmap(
    folder: Path, recording: Recording, text: bool = False, points: int = 0, model: str = "PINHOLE", k1: float = 0.0
) -> Path:
    """A model with ``points`` a view, each seen in every view that has it in its picture, unoccluded."""
    import pycolmap

    camera = camera_of(recording)
    f, cx, cy = camera[0, 0], camera[0, 2] + 0.5, camera[1, 2] + 0.5
    params = {"PINHOLE": [f, f, cx, cy], "SIMPLE_RADIAL": [f, cx, cy, k1], "OPENCV": [f, f, cx, cy, k1, 0, 0, 0]}
    out = pycolmap.Reconstruction()
    width, height = recording.size
    out.add_camera_with_trivial_rig(
        pycolmap.Camera(camera_id=1, model=model, width=width, height=height, params=params[model])
    )
    xyz = _points(recording, points)
    for k, name in enumerate(recording.names):
        inverse = np.linalg.inv(poses_of(recording)[k])
        pixel = _seen(xyz, inverse, camera, depth_of(recording, k))
        image = pycolmap.Image(
            name=f"{name}.jpg", camera_id=1, image_id=k + 1,
            points2D=pycolmap.Point2DList([pycolmap.Point2D(xy + 0.5) for _, xy in pixel]),
        )  # fmt: skip
        out.add_image_with_trivial_frame(image, pycolmap.Rigid3d(inverse[:3]))
    tracks: list[list[tuple[int, int]]] = [[] for _ in xyz]
    for k in range(len(recording)):
        for n, (p, _) in enumerate(_seen(xyz, np.linalg.inv(poses_of(recording)[k]), camera, depth_of(recording, k))):
            tracks[p].append((k + 1, n))
    for p, track in enumerate(tracks):
        if len(track) >= 2:
            elements = pycolmap.Track([pycolmap.TrackElement(i, n) for i, n in track])
            out.add_point3D(xyz[p], elements, np.zeros(3, np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    (out.write_text if text else out.write_binary)(str(folder))
    return folder


def _points(recording: Recording, count: int) -> Float64:
    found = [np.empty((0, 3))]
    for k in range(len(recording)):
        points = view_of(recording, k)["points"].reshape(-1, 3).astype(float)
        found.append(points[np.random.default_rng(k).permutation(len(points))[:count]])
    xyz = np.concatenate(found)
    return xyz[np.isfinite(xyz).all(axis=1)]


def _seen(xyz: Float64, camera_from_world: Float64, camera: Float64, depth: Float32) -> list[tuple[int, Float64]]:
    local = xyz @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    pixel = local[:, :2] / np.where(local[:, 2:] > 0, local[:, 2:], np.nan) * camera[0, 0] + camera[:2, 2]
    height, width = depth.shape
    inside = (np.nan_to_num(pixel, nan=-9) > 0).all(axis=1) & (
        np.nan_to_num(pixel, nan=1e9) < [width - 1, height - 1]
    ).all(axis=1)
    found = []
    for p in np.flatnonzero(inside):
        x, y = np.rint(pixel[p]).astype(int)
        if abs(depth[y, x] - local[p, 2]) < 0.05 * local[p, 2]:
            found.append((int(p), pixel[p]))
    return found


def write_colmap_depth(folder: Path, recording: Recording, kind: str, scale: float = 1.0) -> None:
    """kind: "geometric" or "photometric" (COLMAP's), "npy" or "png" (folder depth)."""
    for k, name in enumerate(recording.names):
        depth = depth_of(recording, k) * np.float32(scale)
        if kind in ("npy", "png"):
            (folder / "depth").mkdir(exist_ok=True)
            file = folder / "depth" / f"{name}.{kind}"
            if kind == "npy":
                np.save(file, depth)
            else:
                cv2.imwrite(str(file), np.rint(depth * 1000).astype(np.uint16))
        else:
            (folder / "stereo" / "depth_maps").mkdir(parents=True, exist_ok=True)
            height, width = depth.shape
            content = f"{width}&{height}&1&".encode() + depth.astype("<f4").tobytes()
            (folder / "stereo" / "depth_maps" / f"{name}.jpg.{kind}.bin").write_bytes(content)


def write_nerfstudio(folder: Path, recording: Recording, depth: bool = True) -> Path:
    (folder / "images").mkdir(parents=True)
    camera, frames = camera_of(recording), []
    for k, name in enumerate(recording.names):
        cv2.imwrite(str(folder / "images" / f"{name}.jpg"), recording.color[k])
        pose = poses_of(recording)[k] @ OPENGL_FROM_OPENCV
        frame = {"file_path": f"images/{name}.jpg", "transform_matrix": pose.tolist()}
        if depth:
            np.save(folder / f"{name}.npy", depth_of(recording, k) * 1000)
            frame["depth_file_path"] = f"{name}.npy"
        frames.append(frame)
    whole = {"fl_x": camera[0, 0], "fl_y": camera[1, 1], "cx": camera[0, 2] + 0.5, "cy": camera[1, 2] + 0.5}
    (folder / "transforms.json").write_text(json.dumps({**whole, "frames": frames}))
    return folder
