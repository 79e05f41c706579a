"""Nerfstudio's layout: transforms.json beside the pictures it names (also Instant-NGP's and Blender's, which are
older forms of it)."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float64, Recording
from ovseg3r_model.sources.files import PICTURE_SUFFIXES, frame_names, inside, natural_key, read_text
from ovseg3r_model.sources.matrices import check_intrinsics, check_pose, pinhole
from ovseg3r_model.sources.pictures import ColorFiles, DepthFiles, Size, color_files, depth_files, require_same_size

_INDEX = "transforms.json"
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_NO_DISTORTION = 1e-4  # under a tenth of a pixel at the corner of any ordinary lens
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
_DEFAULT_DEPTH_SCALE = 0.001
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def recognises(folder: Path) -> bool:
    return (folder / _INDEX).is_file()


def files(folder: Path) -> list[Path]:
    """Every file that ``read`` uses."""
    index = folder / _INDEX
    _, frames = _load(index)
    colors = [_color_path(index, frame) for frame in frames]
    depths = [inside(folder, frame["depth_file_path"], index) for frame in frames if frame.get("depth_file_path")]
    return [path for path in [index, *dict.fromkeys(colors + depths)] if path.is_file()]


def names_depth(folder: Path) -> bool:
    """Whether a frame has depth beside its pose."""
    _, frames = _load(folder / _INDEX)
    return any(frame.get("depth_file_path") for frame in frames)


def read(folder: Path) -> Recording:
    """Colour, cameras and, where every frame names it, depth; frames in natural order of their paths; no clock.

    transform_matrix is world from camera in OpenGL axes (x right, y up, z backwards) and is turned to OpenCV's;
    the world stays the file's. Nerfstudio counts pixels from the picture's corner (a pixel's centre is at .5; the
    middle of the picture is w/2), this project from the first pixel's centre: cx and cy lose 0.5. fl_x, fl_y, cx,
    cy stand per frame or for all; camera_angle_x stands in for fl_x, and the middle of the picture for cx, cy.
    Depth is 16-bit PNG or .npy in units of depth_unit_scale_factor metres (default 0.001), registered to the
    colour.
    Raises InputError: bad JSON, a path out of the folder, missing pictures, a bad pose or camera, lens distortion,
    sizes that differ.
    """
    index = folder / _INDEX
    whole, frames = _load(index)
    color = color_files([_color_path(index, frame) for frame in frames])
    depth = _depth(index, whole, frames, color)
    intrinsics = np.stack([_camera({**whole, **frame}, color.size, _where(index, frame)) for frame in frames])
    return Recording(
        source_format="nerfstudio",
        names=frame_names(color.paths, folder),
        frame=np.arange(len(frames), dtype=np.int64),
        time=np.full(len(frames), np.nan),
        color=color,
        size=color.size,
        intrinsics=intrinsics,
        world_from_camera=np.stack([_pose(frame, _where(index, frame)) for frame in frames]),
        depth=depth,
        depth_size=None if depth is None else depth.size,
        depth_intrinsics=None if depth is None else intrinsics,
        color_from_depth=None if depth is None else np.eye(4),
    )


def _load(index: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole file and its frames, at least one, in natural order of their paths."""
    try:
        # Integers as floats: no number is then too large to check.
        whole = json.loads(read_text(index), parse_int=float)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{index}: is no valid JSON ({error}); export it again.") from error
    frames = whole.get("frames") if isinstance(whole, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{index}: has no list "frames" with frames in it; export it again with ns-process-data.')
    return whole, sorted(frames, key=lambda frame: natural_key(str(frame.get("file_path"))))


def _where(index: Path, frame: Mapping[str, Any]) -> str:
    return f"{index} (frame {frame.get('file_path')})"


def _color_path(index: Path, frame: Mapping[str, Any]) -> Path:
    """Blender's files name pictures without a suffix: then the first that exists."""
    path = inside(index.parent, frame.get("file_path"), index)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in sorted(PICTURE_SUFFIXES)]
    return next((candidate for candidate in candidates if candidate.is_file()), path)


def _depth(index: Path, whole: Mapping[str, Any], frames: list[dict[str, Any]], color: ColorFiles) -> DepthFiles | None:
    named = [frame.get("depth_file_path") for frame in frames]
    if not any(named):
        return None
    if not all(named):
        missing = _where(index, frames[named.index(next(name for name in named if not name))])
        raise InputError(
            f"{missing}: has no depth_file_path while other frames do; give depth for every frame or for none."
        )
    scale = _number(whole, "depth_unit_scale_factor", str(index), _DEFAULT_DEPTH_SCALE)
    if scale <= 0:
        raise InputError(f"{index}: depth_unit_scale_factor must be positive, not {scale:g}; correct it.")
    depth = depth_files([inside(index.parent, name, index) for name in named], scale)
    require_same_size(depth, color)
    return depth


def _pose(frame: Mapping[str, Any], where: str) -> Float64:
    try:
        pose = np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: transform_matrix is no 4x4 matrix of numbers; export the poses again.") from error
    return check_pose(pose, where) @ _OPENGL_FROM_OPENCV


def _camera(values: Mapping[str, Any], size: Size, where: str) -> Float64:
    _refuse_distortion(values, where)
    width, height = size
    if (_number(values, "w", where, width), _number(values, "h", where, height)) != (width, height):
        raise InputError(
            f"{where}: says {values.get('w', width):g}x{values.get('h', height):g} while the picture is "
            f"{width}x{height}; give the pictures that it was made for."
        )
    fx = _focal(values, "x", width, where)
    fy = _focal(values, "y", height, where) or fx
    if fx is None or fy is None:
        raise InputError(f"{where}: has neither fl_x nor camera_angle_x; write the focal length into it.")
    cx, cy = _number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2)
    return check_intrinsics(pinhole(fx, fy, cx - 0.5, cy - 0.5), size, where)


def _focal(values: Mapping[str, Any], axis: str, length: int, where: str) -> float | None:
    if values.get(f"fl_{axis}") is not None:
        return _number(values, f"fl_{axis}", where, math.nan)
    if values.get(f"camera_angle_{axis}") is None:
        return None
    angle = _number(values, f"camera_angle_{axis}", where, math.nan)
    if not 0 < angle < math.pi:
        raise InputError(f"{where}: camera_angle_{axis} must be between 0 and pi radians, not {angle:g}; correct it.")
    return 0.5 * length / math.tan(0.5 * angle)


def _refuse_distortion(values: Mapping[str, Any], where: str) -> None:
    model = values.get("camera_model", _PINHOLES[0])
    bent = [key for key in _DISTORTION if abs(_number(values, key, where, 0.0)) > _NO_DISTORTION]
    if model in _PINHOLES and not bent and not values.get("is_fisheye"):
        return
    what = (
        f"lens distortion ({', '.join(bent)})"
        if bent
        else f"the camera model {model if not values.get('is_fisheye') else 'fisheye'}"
    )
    raise InputError(
        f"{where}: has {what}, and only undistorted pinhole pictures are read; undistort first, e.g. with `colmap "
        "image_undistorter`, "
        "and run `ns-process-data` on its result."
    )


def _number(values: Mapping[str, Any], key: str, where: str, default: float) -> float:
    value = values.get(key)
    if value is None:
        return float(default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {key} is {value!r}, no finite number; correct it.")
    return float(value)
