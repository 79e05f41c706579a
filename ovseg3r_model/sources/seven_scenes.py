"""The 7-Scenes layout: frame-NNNNNN.color.png, .depth.png, .pose.txt in one folder."""

import re
from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float64, Recording
from ovseg3r_model.sources.files import list_files, refuse_spares, require
from ovseg3r_model.sources.matrices import pinhole, read_intrinsics, read_pose, repeat
from ovseg3r_model.sources.pictures import Size, color_files, depth_files, require_same_size

_COLOR = re.compile(r"(frame-[0-9]+)\.color\.(png|jpg|jpeg)", re.IGNORECASE)
_DEPTH = re.compile(r"frame-[0-9]+\.depth\.png", re.IGNORECASE)
_CAMERA = "camera-intrinsics.txt"
_DEFAULT_SIZE = (640, 480)
_DEFAULT_CAMERA = (585.0, 585.0, 320.0, 240.0)


def recognises(folder: Path) -> bool:
    return bool(_colors(folder))


def files(folder: Path) -> list[Path]:
    """Every file that ``read`` uses."""
    colors = _colors(folder)
    parts = [path for color in colors for path in (color, _beside(color, "depth.png"), _beside(color, "pose.txt"))]
    return [path for path in [*parts, folder / _CAMERA] if path.is_file()]


def read(folder: Path) -> Recording:
    """Colour, depth (16-bit millimetres) and poses (4x4 world from camera) of every frame; no clock.

    The layout knows one camera: it is taken for colour and depth, which are taken as registered. Without
    camera-intrinsics.txt it is 7-Scenes' own 585, 585, 320, 240 for 640x480, and a note says so.
    Raises InputError: a missing file of a frame, a bad pose or camera, pictures of different sizes.
    """
    colors = _colors(folder)
    if not colors:
        raise InputError(
            f"{folder}: holds no frame-NNNNNN.color.png or .jpg; give the folder of one 7-Scenes sequence."
        )
    depths = [require(_beside(path, "depth.png"), path) for path in colors]
    poses = [read_pose(require(_beside(path, "pose.txt"), path), _base(path)) for path in colors]
    refuse_spares([p for p in list_files(folder, {".png"}) if _DEPTH.fullmatch(p.name)], depths, "colour picture")
    color, depth = color_files(colors), depth_files(depths, scale=0.001)
    require_same_size(depth, color)
    camera, notes = _camera(folder, color.size)
    return Recording(
        source_format="7scenes",
        names=tuple(path.stem for path in colors),
        frame=np.arange(len(colors), dtype=np.int64),
        time=np.full(len(colors), np.nan),
        color=color,
        size=color.size,
        intrinsics=repeat(camera, len(colors)),
        world_from_camera=np.stack(poses),
        depth=depth,
        depth_size=depth.size,
        depth_intrinsics=repeat(camera, len(colors)),
        color_from_depth=np.eye(4),
        notes=notes,
    )


def _colors(folder: Path) -> list[Path]:
    found = [path for path in list_files(folder, {".png", ".jpg", ".jpeg"}) if _COLOR.fullmatch(path.name)]
    bases = [_base(path) for path in found]
    for path, base, before in zip(found[1:], bases[1:], bases, strict=False):
        if base == before:
            raise InputError(f"{path}: {base} has two colour pictures; remove one of them.")
    return found


def _base(color: Path) -> str:
    return color.name.split(".", 1)[0]


def _beside(color: Path, ending: str) -> Path:
    return color.with_name(f"{_base(color)}.{ending}")


def _camera(folder: Path, size: Size) -> tuple[Float64, tuple[str, ...]]:
    one_camera = "Colour and depth are taken as registered: the 7-Scenes layout knows one camera for both."
    path = folder / _CAMERA
    if path.is_file():
        return read_intrinsics(path, 3, size), (one_camera,)
    if size != _DEFAULT_SIZE:
        raise InputError(f"{path}: is missing and the pictures are not 640x480; write the camera's 3x3 matrix into it.")
    default = f"There is no {_CAMERA}: 7-Scenes' 585, 585, 320, 240 is assumed."
    return pinhole(*_DEFAULT_CAMERA), (one_camera, default)
