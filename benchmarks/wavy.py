"""A scene of any size in no time: a wavy floor of objects under a grid of cameras that look down, seeded."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.filming import scene_unique
from ovseg3r_model.lifting import lift, locate
from ovseg3r_model.records import (
    Bool,
    Correspondence,
    Float32,
    Float64,
    Instances,
    Int64,
    LabelledScene,
    Points,
    Reconstruction,
    UInt32,
    ViewMasks,
    Views,
)

SPACING = 0.02  # metres between points: the default voxel
SIZE = (640, 480)
FOOTPRINT = 3.3  # cells of the cameras' grid that one picture spans along either axis: about 9 views a point
PITCH, EXTENT = 0.8, 0.55  # of the objects on the floor, metres
TILE = 0.64  # points are ordered by tiles, as neighbours lie near in a real scene's order
LABELS = ("chair", "table", "picture", "rug", "lamp")


@cache
def wavy_scene(points: int, views: int, seed: int = 0) -> LabelledScene:
    """About ``points`` points seen by about 9 of ``views`` (a square number) views each; every superpoint is 0.

    Mask borders are off by up to two pixels, and one mask in ten is missing, independently in each view.
    """
    rng = np.random.default_rng(seed)
    side = round(views**0.5)
    columns, rows = round((points * 4 / 3) ** 0.5), round((points * 3 / 4) ** 0.5)
    extent = np.array([columns, rows]) * SPACING
    surface = _surface(columns, rows, rng)
    cameras = _cameras(extent, side)
    masks, instances = scene_unique(_mask(cameras, v, extent, rng) for v in range(len(cameras)))
    correspondence = _correspondence(surface.xyz, cameras)
    observation = lift(masks, correspondence)
    return LabelledScene(
        Reconstruction(surface, correspondence, cameras, True, "a wavy floor", SPACING, {}),
        masks,
        _placed(instances, observation, correspondence, surface),
        observation,
        np.zeros(len(surface), np.int32),
    )


def _surface(columns: int, rows: int, rng: np.random.Generator) -> Points:
    y, x = np.divmod(np.arange(columns * rows), columns)
    plan = np.stack([x, y], axis=1) * SPACING + SPACING / 2
    tile = (plan // TILE).astype(np.int64)
    plan = plan[np.lexsort((tile[:, 0], tile[:, 1]))]
    z = 0.05 * np.sin(2 * plan[:, 0]) * np.cos(3 * plan[:, 1])
    xyz = np.column_stack([plan, z]) + rng.normal(scale=0.002, size=(len(plan), 3))
    slope_x = 0.1 * np.cos(2 * plan[:, 0]) * np.cos(3 * plan[:, 1])
    slope_y = -0.15 * np.sin(2 * plan[:, 0]) * np.sin(3 * plan[:, 1])
    normal = np.column_stack([-slope_x, -slope_y, np.ones(len(plan))]) + rng.normal(scale=0.03, size=xyz.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    rgb = 128 + 60 * np.sin(plan[:, :1] * [1, 2, 3]) + rng.normal(scale=4, size=xyz.shape)
    return Points(
        xyz.astype(np.float32),
        rgb.clip(0, 255).astype(np.uint8),
        normal.astype(np.float16),
        rng.uniform(0.3, 1, len(xyz)).astype(np.float16),
    )


def _cameras(extent: Float64, side: int) -> Views:
    """side x side cameras three metres up, x to the right, looking down."""
    count = side * side
    cell = extent / side
    focal = 3.0 * SIZE[0] / (FOOTPRINT * cell[0])
    k = np.array([[focal, 0, (SIZE[0] - 1) / 2], [0, focal, (SIZE[1] - 1) / 2], [0, 0, 1]])
    pose = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (count, 1, 1))
    row, column = np.divmod(np.arange(count), side)
    pose[:, :2, 3] = (np.stack([column, row], axis=1) + 0.5) * cell
    pose[:, 2, 3] = 3.0
    return Views(
        np.tile(k, (count, 1, 1)),
        pose,
        np.tile(np.array(SIZE, np.int64), (count, 1)),
        np.arange(count, dtype=np.int64),
        np.arange(count) / 3,
    )


def _mask(cameras: Views, view: int, extent: Float64, rng: np.random.Generator) -> ViewMasks:
    """The objects on the floor under one camera: squares with gaps between them, as this view's segmenter sees them."""
    k, pose = cameras.intrinsics[view], cameras.world_from_camera[view]
    error = rng.uniform(-2, 2, 2)
    plan_x = pose[0, 3] + (np.arange(SIZE[0]) + error[0] - k[0, 2]) / k[0, 0] * pose[2, 3]
    plan_y = pose[1, 3] - (np.arange(SIZE[1]) + error[1] - k[1, 2]) / k[1, 1] * pose[2, 3]
    objects = np.ceil(extent / PITCH).astype(np.int64)
    (column, on_x), (row, on_y) = _objects(plan_x, int(objects[0])), _objects(plan_y, int(objects[1]))
    thing = np.where(on_y[:, None] & on_x, row[:, None] * objects[0] + column + 1, 0)
    count = int(objects.prod()) + 1
    thing = np.where(rng.random(count) < 0.1, 0, np.arange(count))[thing]
    seen = np.flatnonzero(np.bincount(thing.ravel(), minlength=count)[1:]) + 1
    number = np.zeros(count, np.uint32)
    number[seen] = np.arange(1, len(seen) + 1)
    ids: UInt32 = number[thing]
    kinds = seen % len(LABELS)
    return ViewMasks(ids, tuple(LABELS[int(n)] for n in kinds), rng.uniform(0.5, 1, len(kinds)).astype(np.float32))


def _objects(plan: Float64, count: int) -> tuple[Int64, Bool]:
    """Along one axis: which of ``count`` objects a place belongs to (clipped), and whether it is on it."""
    index = (plan // PITCH).astype(np.int64)
    return index.clip(0, count - 1), (plan % PITCH < EXTENT) & (index >= 0) & (index < count)


def _correspondence(xyz: Float32, cameras: Views) -> Correspondence:
    found = [_seen(xyz, cameras, v) for v in range(len(cameras))]
    point = np.concatenate([rows for rows, _ in found])
    view = np.repeat(np.arange(len(cameras), dtype=np.uint16), [len(rows) for rows, _ in found])
    order = np.argsort(point, kind="stable")  # views stay increasing
    indptr = np.zeros(len(xyz) + 1, np.int64)
    np.cumsum(np.bincount(point, minlength=len(xyz)), out=indptr[1:])
    return Correspondence(indptr, view[order], np.concatenate([pixel for _, pixel in found])[order])


def _seen(xyz: Float32, cameras: Views, view: int) -> tuple[Int64, NDArray[np.uint16]]:
    """The points in one picture, and their pixels."""
    k, pose = cameras.intrinsics[view], cameras.world_from_camera[view]
    local = (xyz - pose[:3, 3].astype(np.float32)) @ pose[:3, :3].astype(np.float32)
    pixel = np.rint(local[:, :2] * k[[0, 1], [0, 1]] / local[:, 2:] + k[:2, 2])
    rows = np.flatnonzero((pixel >= 0).all(axis=1) & (pixel < SIZE).all(axis=1))
    return rows, pixel[rows].astype(np.uint16)


def _placed(instances: Instances, observation: UInt32, correspondence: Correspondence, points: Points) -> Instances:
    position = locate(instances, observation, correspondence, points)
    columns = (instances.view, instances.label, instances.score, instances.box)
    return Instances(instances.label_names, *columns, position)
