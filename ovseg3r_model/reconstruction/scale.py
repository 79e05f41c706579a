"""The unit of a reconstruction from colour alone: from a known length, known depth, or known camera positions."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.judge import Similarity, align
from ovseg3r_model.reconstruction.lens import undistort
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Float64, Recording

_FORMS = (
    "depth (the source's own depth maps), positions:FILE.csv (name,x,y,z in metres), or "
    "length:FRAME,X1,Y1,X2,Y2=METRES (two pixels of a frame and how far apart they are)"
)

ON_A_LINE = 0.02
"""Positions that spread less than this share across their main direction leave a turn about it open."""

MISFIT = 0.2
"""Positions that are off by more than this share of their spread, root mean square, are not those of the cameras."""


@dataclass(frozen=True)
class KnownDepth:
    """The recording's depth maps, metres."""


@dataclass(frozen=True)
class KnownPositions:
    """A CSV of camera positions, metres."""

    path: Path


@dataclass(frozen=True)
class KnownLength:
    """Two pixels (x, y) of the frame named ``frame`` are ``metres`` apart."""

    frame: str
    first: tuple[float, float]
    second: tuple[float, float]
    metres: float


ScaleSource = KnownDepth | KnownPositions | KnownLength


def parse_scale_source(text: str) -> ScaleSource:
    """What ``--scale-from`` says: depth, positions:FILE, or length:FRAME,X1,Y1,X2,Y2=METRES.

    Raises:
        InputError: it says something else.
    """
    kind, _, rest = text.partition(":")
    if kind == "depth" and not rest:
        return KnownDepth()
    if kind == "positions" and rest:
        return KnownPositions(Path(rest))
    if kind == "length" and rest:
        at, _, length = rest.rpartition("=")
        frame, *numbers = at.rsplit(",", 4)
        try:
            x1, y1, x2, y2, metres = (float(n) for n in (*numbers, length))
        except ValueError:
            pass
        else:
            if frame and metres > 0 and all(map(math.isfinite, (x1, y1, x2, y2, metres))):
                return KnownLength(frame, (x1, y1), (x2, y2), metres)
    raise InputError(f"--scale-from {text} is not understood; give {_FORMS}.")


def check_scale_source(source: ScaleSource, recording: Recording) -> None:
    """Before any costly work: whether the keyframes have what ``source`` goes by.

    Raises:
        InputError: they lack depth, a position, or the frame.
    """
    if isinstance(source, KnownDepth) and recording.depth is None:
        raise InputError(
            f"--scale-from depth needs depth maps, and the source (read as {recording.source_format}) has none; give "
            f"{_FORMS}."
        )
    if isinstance(source, KnownPositions):
        read_positions(source.path, recording)
    if isinstance(source, KnownLength) and not any(
        _is_frame(source.frame, recording, i) for i in range(len(recording))
    ):
        raise InputError(
            f"--scale-from length names the frame {source.frame}, which is no keyframe; name another, such as "
            f"{recording.names[0]}."
        )


def find_scale(source: ScaleSource, recording: Recording, model: SparseModel) -> Similarity:
    """What makes metres of the model's units; for known positions it also moves the model into their frame.

    Raises:
        InputError: the source does not settle a scale; the sentence says why.
    """
    if isinstance(source, KnownPositions):
        return scale_from_positions(model, read_positions(source.path, recording))
    scale = scale_from_depth(recording, model) if isinstance(source, KnownDepth) else _by_length(
        source, recording, model
    )  # fmt: skip
    return Similarity(scale, np.eye(3), np.zeros(3))


def scale_from_positions(model: SparseModel, positions: Float64) -> Similarity:
    """The similarity that carries the cameras to known positions (F,3) float64 of all frames, nan where unknown.

    Raises:
        InputError: fewer than three registered keyframes have a position, they coincide or lie on a line, or they are
            not where the cameras are.
    """
    target = positions[model.registered]
    known = np.isfinite(target).all(axis=1)
    source, target = model.views.world_from_camera[known, :3, 3], target[known]
    found = align(source, target)
    spread = np.linalg.svd(target - target.mean(axis=0), compute_uv=False) / np.sqrt(len(target))
    if spread[1] < ON_A_LINE * spread[0]:
        raise InputError(
            "The camera positions of --scale-from lie on a line, which leaves the turn about it open; give a known "
            "length (length:FRAME,X1,Y1,X2,Y2=METRES) instead."
        )
    off = np.linalg.norm(found.points(source) - target, axis=1)
    if np.sqrt((off**2).mean()) > MISFIT * np.linalg.norm(spread):
        worst = int(model.registered[np.flatnonzero(known)[off.argmax()]])
        raise InputError(
            f"The camera positions of --scale-from do not fit the cameras that were found: keyframe {worst} is "
            f"{off.max():.2g} m off; give those of this recording, in metres."
        )
    return found


def read_positions(path: Path, recording: Recording) -> Float64:
    """(F,3) float64 of a CSV with the columns name,x,y,z (a heading is allowed), names as the recording's, with or
    without suffix; nan for frames it does not name.

    Raises:
        InputError: no such file, a line that is no position, or no name of the recording.
    """
    if not path.is_file():
        raise InputError(f"{path}: is missing; give a CSV of camera positions: name,x,y,z in metres.")
    index = {name: i for i, name in enumerate(recording.names)}
    out = np.full((len(recording), 3), np.nan)
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if not row or (number == 1 and [c.strip().lower() for c in row] == ["name", "x", "y", "z"]):
                continue
            try:
                name, xyz = row[0].strip(), [float(c) for c in row[1:]]
            except ValueError:
                xyz = []
            if len(xyz) != 3 or not all(map(math.isfinite, xyz)):
                raise InputError(f"{path}: line {number} is not name,x,y,z with three numbers; correct it.")
            i = index.get(name, index.get(Path(name).stem))
            if i is not None:
                out[i] = xyz
    if not np.isfinite(out).any():
        raise InputError(
            f"{path}: names none of the keyframes; the first column must hold their names, such as "
            f"{recording.names[0]}."
        )
    return out


def scale_from_depth(recording: Recording, model: SparseModel) -> float:
    """Metres per unit: the median over keyframes of the median ratio of measured to reconstructed depth at the points.

    The depth maps count as registered with the colour pictures up to their size: an offset of some pixels does not move
    a median.

    Raises:
        InputError: the recording has no depth, or it hardly covers any point.
    """
    check_scale_source(KnownDepth(), recording)
    assert recording.depth is not None  # noqa: S101 - for the type checker
    assert recording.depth_size is not None  # noqa: S101
    z = _depths(model)
    across = np.array(recording.depth_size) / np.array(recording.size)
    ratios = []
    for v in range(len(model.views)):
        here = model.view == v
        depth = np.asarray(recording.depth[int(model.registered[v])])
        at = np.rint((model.pixel[here].astype(np.float64) + 0.5) * across - 0.5).astype(np.int64)
        at = np.clip(at, 0, np.array(recording.depth_size) - 1)
        measured = depth[at[:, 1], at[:, 0]]
        usable = (measured > 0) & np.isfinite(measured) & (z[here] > 0)
        if usable.sum() >= 20:
            ratios.append(float(np.median(measured[usable] / z[here][usable])))
    if not ratios:
        raise InputError(
            "The depth maps cover hardly any reconstructed point, so they settle no scale; check them or give another "
            "--scale-from."
        )
    return float(np.median(ratios))


def scale_from_length(first: Float64, second: Float64, metres: float) -> float:
    """Metres per unit of two points (3,) that are ``metres`` apart. Raises InputError when they coincide."""
    distance = float(np.linalg.norm(first - second))
    if not distance > 0:
        raise InputError("The two pixels of --scale-from length see the same point; choose two that are far apart.")
    return metres / distance


def _by_length(source: KnownLength, recording: Recording, model: SparseModel) -> float:
    frames = [v for v, i in enumerate(model.registered.tolist()) if _is_frame(source.frame, recording, i)]
    if not frames:
        raise InputError(
            f"--scale-from length names the frame {source.frame}, which got no camera; name another, such as "
            f"{recording.names[int(model.registered[0])]}."
        )
    a, b = (_point_at(model, frames[0], np.array(p)) for p in (source.first, source.second))
    return scale_from_length(a, b, source.metres)


def _is_frame(name: str, recording: Recording, index: int) -> bool:
    """Whether ``name`` is the keyframe's name, or its number in the source."""
    return name == recording.names[index] or (name.isdecimal() and int(name) == int(recording.frame[index]))


def _point_at(model: SparseModel, view: int, pixel: Float64) -> Float64:
    """The world point (3,) under a pixel: on its ray, at the median depth of the three nearest sparse points."""
    here = np.flatnonzero(model.view == view)
    away = np.linalg.norm(model.pixel[here] - pixel, axis=1)
    near = np.argsort(away, kind="stable")[:3]
    width = float(model.views.size[view, 0])
    if len(near) == 0 or away[near[0]] > 0.03 * width:
        raise InputError(
            f"No reconstructed point lies near pixel {pixel[0]:g}, {pixel[1]:g}; --scale-from length needs pixels with "
            "texture, such as the corners of a picture or of a door."
        )
    k, pose = model.views.intrinsics[view], model.views.world_from_camera[view]
    if model.distortion:
        pixel = undistort(pixel[None], k, model.distortion)[0]
    ray = np.array([(pixel[0] - k[0, 2]) / k[0, 0], (pixel[1] - k[1, 2]) / k[1, 1], 1.0])
    point: Float64 = pose[:3, :3] @ (ray * np.median(_depths(model)[here[near]])) + pose[:3, 3]
    return point


def _depths(model: SparseModel) -> Float64:
    """(T,) z-depth of each observation's point in its view."""
    pose = model.views.world_from_camera[model.view]
    depth: Float64 = np.einsum("tk,tk->t", model.xyz[model.point()] - pose[:, :3, 3], pose[:, :3, 2])
    return depth
