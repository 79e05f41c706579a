"""The TUM RGB-D layout: rgb.txt, depth.txt and groundtruth.txt, each with its own clock ticks, matched by time."""

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Bool, Float64, Int64, Recording
from ovseg3r_model.sources.files import frame_names, inside, read_text
from ovseg3r_model.sources.matrices import check_intrinsics, pinhole, repeat
from ovseg3r_model.sources.pictures import Size, color_files, depth_files, require_same_size

DEPTH_TOLERANCE = 0.02  # seconds between a colour picture and its depth
POSE_TOLERANCE = 0.05  # seconds between a colour picture and each of the two poses it is interpolated from
_NEAREST_POSE_TOLERANCE = 0.02  # seconds to a single pose, where there is none on the other side
_METRES_PER_UNIT = 1 / 5000
_CAMERAS = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
_DEFAULT_CAMERA = (525.0, 525.0, 319.5, 239.5)
_DEFAULT_SIZE = (640, 480)


def recognises(folder: Path) -> bool:
    return (folder / "rgb.txt").is_file()


def files(folder: Path) -> list[Path]:
    """Every file that ``read`` uses."""
    lists = [folder / name for name in ("rgb.txt", "depth.txt", "groundtruth.txt", "intrinsics.txt")]
    pictures = [path for index in lists[:2] for path in _pictures(index)[1]]
    return [path for path in [*lists, *dict.fromkeys(pictures)] if path.is_file()]


def camera_by_name(folder: Path) -> str:
    """The camera that is taken for the folder's name ("freiburg1"), "" for none: the name is then part of what is
    read."""
    if (folder / "intrinsics.txt").is_file():
        return ""
    name = folder.resolve().name.lower()
    return next((camera for camera in _CAMERAS if camera in name), "")


def read(folder: Path) -> Recording:
    """Every colour picture that has depth within DEPTH_TOLERANCE and a pose at its time; times from rgb.txt.

    groundtruth.txt holds "timestamp tx ty tz qx qy qz qw", world from colour camera. A pose is interpolated
    (slerp) between two poses at most POSE_TOLERANCE away; where one side has none, the nearest within 0.02 s is
    taken as it is. Other frames are left out and a note counts them. Depth is 16-bit, 5000 a metre, registered to
    the colour.
    Camera: intrinsics.txt ("fx fy cx cy"), else TUM's for freiburg1/2/3 by the folder's name, else TUM's default
    with a note.
    Raises InputError: a missing list or picture, lines that cannot be read, no frame with both depth and pose.
    """
    time, colors = _pictures(folder / "rgb.txt")
    depth_time, depths = _pictures(folder / "depth.txt")
    nearest = _nearest(depth_time, time)
    has_depth = np.abs(depth_time[nearest] - time) <= DEPTH_TOLERANCE
    poses, has_pose = _poses_at(time, *_trajectory(folder / "groundtruth.txt"))
    kept = np.flatnonzero(has_depth & has_pose)
    if not len(kept):
        raise InputError(
            f"{folder}: none of the {len(time)} colour pictures has depth within {DEPTH_TOLERANCE} s and a pose "
            f"within {POSE_TOLERANCE} s; "
            "check that rgb.txt, depth.txt and groundtruth.txt share one clock."
        )
    color = color_files([colors[i] for i in kept])
    depth = depth_files([depths[nearest[i]] for i in kept], scale=_METRES_PER_UNIT)
    require_same_size(depth, color)
    camera, notes = _camera(folder, color.size)
    return Recording(
        source_format="tum",
        names=frame_names(color.paths, folder),
        frame=kept.astype(np.int64),
        time=time[kept] - time[0],
        color=color,
        size=color.size,
        intrinsics=repeat(camera, len(kept)),
        world_from_camera=poses[kept],
        depth=depth,
        depth_size=depth.size,
        depth_intrinsics=repeat(camera, len(kept)),
        color_from_depth=np.eye(4),
        notes=(*notes, *_left_out(has_depth, has_pose)),
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and fields of the lines that are no comments; at least one."""
    lines = enumerate(read_text(path).splitlines(), start=1)
    rows = [(number, line.split()) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not rows:
        raise InputError(f"{path}: holds no lines; export the recording again.")
    return rows


def _number(text: str, path: Path, line: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"{path}: line {line}: {text!r} is no finite number; correct or remove the line.")
    return number


def _pictures(path: Path) -> tuple[Float64, list[Path]]:
    """Times (F,) seconds, increasing, and pictures of a list of "timestamp path" lines."""
    times, pictures = [], []
    for line, fields in _rows(path):
        if len(fields) != 2:
            raise InputError(f'{path}: line {line} is not "timestamp path"; correct or remove it.')
        times.append(_number(fields[0], path, line))
        pictures.append(inside(path.parent, fields[1], path))
    order = np.argsort(times, kind="stable")
    return np.array(times)[order], [pictures[i] for i in order]


def _trajectory(path: Path) -> tuple[Float64, Float64, Rotation]:
    """Times (P,) increasing, positions (P,3), rotations (P) of groundtruth.txt."""
    rows = []
    for line, fields in _rows(path):
        if len(fields) != 8:
            raise InputError(f'{path}: line {line} is not "timestamp tx ty tz qx qy qz qw"; correct or remove it.')
        values = [_number(field, path, line) for field in fields]
        if abs(np.linalg.norm(values[4:]) - 1) > 1e-2:
            raise InputError(f"{path}: line {line}: the quaternion is not of length 1; correct or remove the line.")
        rows.append(values)
    table = np.array(sorted(rows, key=lambda row: row[0]))
    return table[:, 0], table[:, 1:4], Rotation.from_quat(table[:, 4:])


def _nearest(times: Float64, at: Float64) -> Int64:
    """The index of the element of the increasing ``times`` nearest to each of ``at``, the earlier on a tie."""
    after = np.searchsorted(times, at).clip(0, len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(np.abs(times[before] - at) <= np.abs(times[after] - at), before, after).astype(np.int64)


def _poses_at(at: Float64, times: Float64, position: Float64, rotation: Rotation) -> tuple[Float64, Bool]:
    """World-from-camera (F,4,4) at the times ``at``, and which of them are known; the others are the nearest pose."""
    after = np.searchsorted(times, at).clip(0, len(times) - 1)
    before = np.where(times[after] <= at, after, after - 1).clip(0)
    between = (np.abs(times[before] - at) <= POSE_TOLERANCE) & (np.abs(times[after] - at) <= POSE_TOLERANCE)
    between &= (times[before] <= at) & (at <= times[after])
    nearest = _nearest(times, at)
    before, after = np.where(between, before, nearest), np.where(between, after, nearest)
    span = times[after] - times[before]
    share = np.divide(at - times[before], span, out=np.zeros_like(at), where=span > 0)
    first, turn = rotation[before], rotation[before].inv() * rotation[after]
    poses = np.tile(np.eye(4), (len(at), 1, 1))
    poses[:, :3, :3] = (first * Rotation.from_rotvec(share[:, None] * turn.as_rotvec())).as_matrix()
    poses[:, :3, 3] = position[before] + share[:, None] * (position[after] - position[before])
    return poses, between | (np.abs(times[nearest] - at) <= _NEAREST_POSE_TOLERANCE)


def _camera(folder: Path, size: Size) -> tuple[Float64, tuple[str, ...]]:
    path = folder / "intrinsics.txt"
    if path.is_file():
        line, fields = _rows(path)[0]
        if len(fields) != 4:
            raise InputError(f'{path}: does not hold one line "fx fy cx cy"; correct it.')
        return check_intrinsics(pinhole(*(_number(field, path, line) for field in fields)), size, str(path)), ()
    if size != _DEFAULT_SIZE:
        raise InputError(f'{path}: is missing and the pictures are not 640x480; write "fx fy cx cy" into it.')
    name = camera_by_name(folder)
    if name:
        return pinhole(*_CAMERAS[name]), (
            f"The camera is TUM's for {name}, by the folder's name; lens distortion is not corrected.",
        )
    return pinhole(*_DEFAULT_CAMERA), ("There is no intrinsics.txt: TUM's default 525, 525, 319.5, 239.5 is assumed.",)


def _left_out(has_depth: Bool, has_pose: Bool) -> tuple[str, ...]:
    total = len(has_depth)
    notes = []
    if not has_depth.all():
        notes.append(f"{np.sum(~has_depth)} of {total} frames were left out: no depth within {DEPTH_TOLERANCE} s.")
    if not has_pose[has_depth].all():
        notes.append(
            f"{np.sum(has_depth & ~has_pose)} of {total} frames were left out: no pose within {POSE_TOLERANCE} s."
        )
    return tuple(notes)
