"""This project's own format: a folder with ``reconstruction.json`` and one pointmap per view (docs/reconstructions.md).

Every array is checked by its header before it is read, and pointmaps are read one at a time.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.imported.focal import fit_focal, spread_out
from ovseg3r_model.reconstruction.imported.given import (
    Box,
    GivenDepth,
    GivenViews,
    Size,
    camera_of_picture,
    density_of,
    map_to_picture,
    match_views,
    whole,
)
from ovseg3r_model.reconstruction.imported.npz import NpzFile
from ovseg3r_model.records import Bool, Float64, Recording
from ovseg3r_model.segmentation.json_files import read_json
from ovseg3r_model.sources.files import natural_key
from ovseg3r_model.sources.matrices import check_intrinsics, check_pose

INDEX = "reconstruction.json"
FORMAT, VERSION = "ovseg3r-views", 1
MAX_MAP_PIXELS = 16_000_000
"""Larger pointmaps are refused: 200 MB each as float32."""

MOST_OFF = 0.05
"""Points that, in the median, project farther than this share of the picture's longer side from their pixels belong to
another camera."""


UNEVEN = 0.05
"""Networks round the sides of a picture to multiples of their own; a pointmap that is stretched more than this,
relative, does not cover its box."""


@dataclass(frozen=True)
class Index:
    """What ``reconstruction.json`` says; box None: all of the picture."""

    metric: bool
    gravity_aligned: bool
    box: Box | None


@dataclass(frozen=True)
class _View:
    """size: (width, height) of the pointmap; intrinsics: (3,3) of the picture, None where it is to be fitted."""

    file: NpzFile
    size: Size
    box: Box
    world_from_camera: Float64
    intrinsics: Float64 | None


def files(folder: Path) -> list[Path]:
    """Every file that :func:`read` may use. Raises InputError for a link that leads out of the folder."""
    found = sorted(folder.rglob("*.npz"), key=lambda path: natural_key(path.relative_to(folder).as_posix()))
    root = folder.resolve()
    for path in found:
        if not path.resolve().is_relative_to(root):
            raise InputError(
                f"{path}: is a link that leads out of the reconstruction's folder; put the file itself in."
            )
    return [folder / INDEX, *found]


def read(folder: Path, recording: Recording) -> GivenViews:
    """The views of the recording's frames.

    Raises:
        InputError: the files do not hold to the format, or none is named like a frame.
    """
    index, (_, *found) = read_index(folder / INDEX), files(folder)
    if not found:
        raise InputError(f"{folder}: holds no NAME.npz beside {INDEX}; write one for each view, named like its frame.")
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in found]
    match = match_views(recording, names, str(folder), what="views")
    keyframes = [k for k, entry in enumerate(match.entry) if entry is not None]
    chosen = [entry for entry in match.entry if entry is not None]
    views = [_open(found[entry], index, recording.size) for entry in chosen]
    return GivenViews(
        path=str(folder),
        keyframes=np.array(keyframes, np.int64),
        world_from_camera=np.stack([view.world_from_camera for view in views]),
        intrinsics=tuple(view.intrinsics for view in views),
        read=lambda v: _depth(views[v], recording.size),
        density=max(density_of(view.size, view.box) for view in views),
        metric=index.metric,
        gravity_aligned=index.gravity_aligned,
        notes=match.notes,
    )


def read_index(path: Path) -> Index:
    """The checked ``reconstruction.json``. Raises InputError."""
    said = read_json(path)
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise InputError(f'{path}: does not say "format": "{FORMAT}"; write it as docs/reconstructions.md says.')
    if said.get("version") != VERSION:
        raise InputError(
            f"{path}: is of version {said.get('version')!r}, and only version {VERSION} is read; write it as that."
        )
    unknown = sorted(said.keys() - {"format", "version", "metric", "gravity_aligned", "box"})
    if unknown:
        raise InputError(f"{path}: {unknown[0]!r} is no field of version {VERSION}; remove it or correct its name.")
    for name in ("metric", "gravity_aligned"):
        if not isinstance(said.get(name), bool):
            raise InputError(f"{path}: {name} must be true or false, not {said.get(name)!r}; write one of them.")
    box = said.get("box")
    return Index(said["metric"], said["gravity_aligned"], None if box is None else _box(box, str(path)))


def _box(values: Any, where: str) -> Box:
    numbers = [v for v in values if isinstance(v, int | float) and math.isfinite(v)] if isinstance(values, list) else []
    if len(numbers) != 4 or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise InputError(f"{where}: the box {values!r} is not x0, y0, x1, y1 with x0 < x1 and y0 < y1; correct it.")
    x0, y0, x1, y1 = (float(n) for n in numbers)
    return (x0, y0, x1, y1)


def _open(path: Path, index: Index, picture: Size) -> _View:
    file = NpzFile(path)
    shape = file.shape("points")
    if shape is None:
        raise InputError(f"{path}: has no array points; add it, of shape (height, width, 3), in the world.")
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 2:
        raise InputError(f"{path}: the array points has the shape {shape}, not (height, width, 3); save it like that.")
    if shape[0] * shape[1] > MAX_MAP_PIXELS:
        raise InputError(
            f"{path}: a pointmap of {shape[1]}x{shape[0]} is larger than {MAX_MAP_PIXELS // 1_000_000} million points; "
            "reduce it first."
        )
    if file.shape("confidence") is not None:
        file.require("confidence", shape[:2])
    size, box = (shape[1], shape[0]), index.box or whole(picture)
    if file.shape("box") is not None:
        file.require("box", (4,))
        box = _box(file.read("box").tolist(), str(path))
    if box[0] >= picture[0] or box[1] >= picture[1] or box[2] <= 0 or box[3] <= 0:
        raise InputError(
            f"{path}: the box {list(box)} lies outside the picture of {picture[0]}x{picture[1]}; give it in the "
            "recording's pixels."
        )
    across, down = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    if abs(across / down - 1) > UNEVEN:
        raise InputError(
            f"{path}: a pointmap of {size[0]}x{size[1]} on the box {list(box)} of the picture would be stretched "
            f"({across:.3g} by {down:.3g} pixels for each of its own); give as box the part of the picture that it "
            "covers."
        )
    file.require("world_from_camera", (4, 4))
    pose = check_pose(file.read("world_from_camera").astype(np.float64), str(path))
    return _View(file, size, box, pose, _intrinsics(file, size, box))


def _intrinsics(file: NpzFile, size: Size, box: Box) -> Float64 | None:
    if file.shape("intrinsics") is None:
        return None
    file.require("intrinsics", (3, 3))
    given = check_intrinsics(file.read("intrinsics").astype(np.float64), size, str(file.path))
    return camera_of_picture(given, size, box)


def _depth(view: _View, picture: Size) -> GivenDepth:
    """The view's z-depth: the points' z in the camera; nan and infinite points are none."""
    pose, path = view.world_from_camera, view.file.path
    points = view.file.read("points").astype(np.float64)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    finite = np.isfinite(local).all(axis=-1)
    usable = finite & (np.where(finite, local[..., 2], 0) > 0)
    if finite.any() and usable.sum() < 0.5 * finite.sum():
        raise InputError(
            f"{path}: most of its points lie behind its camera; points must be in the world, and world_from_camera in "
            "OpenCV's axes (x right, y down, z forward)."
        )
    confidence = None
    if view.file.shape("confidence") is not None:
        confidence = view.file.read("confidence").astype(np.float32)
        usable &= np.isfinite(confidence) & (confidence > 0)
        confidence = np.where(usable, confidence, 0).astype(np.float32)
    z = np.where(usable, local[..., 2], 0).astype(np.float32)
    return GivenDepth(z, confidence, view.box, _focal(view, local, usable, picture))


def _focal(view: _View, local: Float64, usable: Bool, picture: Size) -> float | None:
    """The focal length that fits best, where no camera is given; None for a view without points.

    Raises:
        InputError: the points are not seen where the pointmap has them.
    """
    y, x = np.nonzero(usable)
    some = spread_out(len(x))
    if len(x[some]) < 10:
        return None
    points = local[y[some], x[some]]
    pixel = map_to_picture(np.stack([x[some], y[some]], axis=-1).astype(np.float64), view.size, view.box)
    fitted = None
    if view.intrinsics is None:
        middle = (np.array(picture) - 1) / 2
        fitted = fit_focal(points, pixel - middle)
        seen = points[:, :2] / points[:, 2:] * fitted + middle
    else:
        seen = (points / points[:, 2:]) @ view.intrinsics[:2].T
    off = float(np.median(np.linalg.norm(seen - pixel, axis=1)))
    if off > MOST_OFF * max(picture) or (fitted is not None and fitted <= 0):
        raise InputError(
            f"{view.file.path}: its points are not seen where the pointmap has them ({off:.0f} pixels off in the "
            "median); check that points are in the world, that world_from_camera is no camera_from_world, and the box."
        )
    return fitted
