"""An exported ScanNet scan: color/N.jpg, depth/N.png, pose/N.txt, intrinsic/*.txt, as ScanNet's SensReader writes
it."""

from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float64, Recording
from ovseg3r_model.sources.files import list_files, refuse_spares, require
from ovseg3r_model.sources.matrices import check_pose, read_intrinsics, read_matrix, repeat
from ovseg3r_model.sources.pictures import color_files, depth_files

_COLOR_SUFFIXES = {".jpg", ".jpeg", ".png"}


def recognises(folder: Path) -> bool:
    parts = [(folder / part).is_dir() for part in ("depth", "pose", "intrinsic")]
    return (folder / "color").is_dir() and any(parts)


def files(folder: Path) -> list[Path]:
    """Every file that ``read`` uses."""
    colors = _colors(folder)
    parts = [path for color in colors for path in (color, _depth_of(color), _pose_of(color))]
    return [path for path in [*parts, *list_files(folder / "intrinsic", {".txt"})] if path.is_file()]


def read(folder: Path) -> Recording:
    """Colour, depth (16-bit millimetres) and poses of every tracked frame; no clock. Colour and depth have cameras
    of their own.

    Frames: a pose file is world from device. An extrinsic file is device from that camera; released scans have the
    identity in both (ScanNet aligned colour and depth before publishing), so the pose holds for both cameras.
    Where an extrinsic is not the identity, world_from_camera is pose @ extrinsic_color, color_from_depth is
    inverse(extrinsic_color) @ extrinsic_depth, and a note says so. Poses of -inf mean lost tracking: those frames
    are left out and a note counts them.
    Raises InputError: a missing depth or pose, a bad pose or camera, pictures of different sizes, no tracked frame
    at all.
    """
    colors = _colors(folder)
    if not colors:
        raise InputError(f"{folder / 'color'}: holds no pictures; export the .sens file with ScanNet's SensReader.")
    depths = [require(_depth_of(path), path) for path in colors]
    refuse_spares(list_files(folder / "depth", {".png"}), depths, "colour picture")
    poses = [_pose(require(_pose_of(path), path), path.stem) for path in colors]
    tracked = [i for i, pose in enumerate(poses) if pose is not None]
    if not tracked:
        raise InputError(f"{folder / 'pose'}: tracking was lost in every frame (-inf); record the scan again.")
    color = color_files([colors[i] for i in tracked])
    depth = depth_files([depths[i] for i in tracked], scale=0.001)
    intrinsic = folder / "intrinsic"
    world_from_device = np.stack([pose for pose in poses if pose is not None])
    device_from_color, device_from_depth = (
        _extrinsic(intrinsic / f"extrinsic_{name}.txt") for name in ("color", "depth")
    )
    return Recording(
        source_format="scannet",
        names=tuple(path.stem for path in color.paths),
        frame=np.array(tracked, dtype=np.int64),
        time=np.full(len(tracked), np.nan),
        color=color,
        size=color.size,
        intrinsics=repeat(read_intrinsics(intrinsic / "intrinsic_color.txt", 4, color.size), len(tracked)),
        world_from_camera=world_from_device @ device_from_color,
        depth=depth,
        depth_size=depth.size,
        depth_intrinsics=repeat(read_intrinsics(intrinsic / "intrinsic_depth.txt", 4, depth.size), len(tracked)),
        color_from_depth=np.linalg.inv(device_from_color) @ device_from_depth,
        notes=_notes(len(colors) - len(tracked), len(colors), device_from_color, device_from_depth),
    )


def _colors(folder: Path) -> list[Path]:
    found = list_files(folder / "color", _COLOR_SUFFIXES)
    seen: set[str] = set()
    for path in found:
        if path.stem in seen:
            raise InputError(f"{path}: frame {path.stem} has two colour pictures; remove one of them.")
        seen.add(path.stem)
    return found


def _depth_of(color: Path) -> Path:
    return color.parent.parent / "depth" / f"{color.stem}.png"


def _pose_of(color: Path) -> Path:
    return color.parent.parent / "pose" / f"{color.stem}.txt"


def _pose(path: Path, frame: str) -> Float64 | None:
    """None for a frame that lost tracking."""
    pose = read_matrix(path, 4, 4)
    return None if np.isneginf(pose).any() else check_pose(pose, f"{path} (frame {frame})")


def _extrinsic(path: Path) -> Float64:
    return check_pose(read_matrix(path, 4, 4), str(path)) if path.is_file() else np.eye(4)


def _notes(lost: int, total: int, color: Float64, depth: Float64) -> tuple[str, ...]:
    notes = []
    if lost:
        notes.append(f"{lost} of {total} frames were left out: tracking was lost in them (-inf poses).")
    if not (np.allclose(color, np.eye(4)) and np.allclose(depth, np.eye(4))):
        notes.append(
            "The extrinsics are not the identity: they were read as device from camera, the poses as world from device."
        )
    return tuple(notes)
