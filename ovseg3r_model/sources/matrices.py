"""Cameras and poses as numbers: read from text, checked before anything is computed from them."""

from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float64
from ovseg3r_model.sources.files import read_text

# Poses are often written with few digits; more than this is no rounding.
_ROTATION_TOLERANCE = 1e-2


def read_matrix(path: Path, rows: int, columns: int) -> Float64:
    """The (rows, columns) float64 matrix in a text file, one row a line; may hold nan and inf. Raises InputError."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if len(lines) != rows or any(len(line) != columns for line in lines):
        raise InputError(f"{path}: does not hold a {rows}x{columns} matrix, one row a line; export it again.")
    try:
        return np.array(lines, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: holds something that is no number; export it again.") from error


def check_pose(pose: Float64, where: str) -> Float64:
    """``pose`` if it is a rigid transform (4,4). ``where`` names file and frame in the InputError."""
    if pose.shape != (4, 4):
        raise InputError(f"{where}: the pose is no 4x4 matrix; export the poses again.")
    if not np.isfinite(pose).all():
        raise InputError(
            f"{where}: the pose holds NaN or infinite numbers; remove this frame or export its pose again."
        )
    rotation = pose[:3, :3]
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise InputError(
            f"{where}: the pose's last row is not 0 0 0 1; write 4x4 world-from-camera matrices, one row a line."
        )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
        raise InputError(
            f"{where}: the pose is not rigid (its 3x3 part is no rotation); remove scale and shear from it."
        )
    if np.linalg.det(rotation) < 0:
        raise InputError(f"{where}: the pose mirrors the world (determinant -1); write it in right-handed axes.")
    return pose


def read_pose(path: Path, frame: str) -> Float64:
    """The rigid (4,4) float64 transform in a text file. Raises InputError naming the file and ``frame``."""
    return check_pose(read_matrix(path, 4, 4), f"{path} (frame {frame})")


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float64:
    """The (3,3) float64 intrinsics."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def check_intrinsics(matrix: Float64, size: tuple[int, int], where: str) -> Float64:
    """The (3,3) intrinsics in a (3,3) or (4,4) ``matrix`` if they can be those of pictures of ``size`` (width,
    height)."""
    camera = np.array(matrix[:3, :3])
    if not np.isfinite(matrix).all():
        raise InputError(f"{where}: the intrinsics hold NaN or infinite numbers; write the camera's fx, fy, cx, cy.")
    if camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise InputError(
            f"{where}: the focal lengths must be positive, not {camera[0, 0]:g} and {camera[1, 1]:g}; correct them."
        )
    rest = [camera[1, 0], camera[2, 0], camera[2, 1], camera[2, 2] - 1]
    if matrix.shape == (4, 4):
        rest += [*matrix[:3, 3], *matrix[3, :3], matrix[3, 3] - 1]
    if np.abs(rest).max() > 1e-6:
        raise InputError(
            f"{where}: is no intrinsics matrix (rows fx s cx, 0 fy cy, 0 0 1); export the calibration again."
        )
    # Crops may push the principal point out of the picture; this far is another picture's calibration or garbage.
    for centre, length in ((camera[0, 2], size[0]), (camera[1, 2], size[1])):
        if not -length <= centre <= 2 * length:
            raise InputError(
                f"{where}: the principal point {camera[0, 2]:g}, {camera[1, 2]:g} is far outside the "
                f"{size[0]}x{size[1]} pictures; "
                "give the calibration of these pictures."
            )
    return camera


def read_intrinsics(path: Path, side: int, size: tuple[int, int]) -> Float64:
    """The (3,3) intrinsics in a text file of a ``side`` x ``side`` matrix, for pictures of ``size``. Raises
    InputError."""
    return check_intrinsics(read_matrix(path, side, side), size, str(path))


def repeat(matrix: Float64, count: int) -> Float64:
    """(count, rows, columns): one camera for all frames."""
    return np.tile(matrix, (count, 1, 1))
