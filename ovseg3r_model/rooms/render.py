"""One picture of a room: colour, depth and instance ids, exact."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ovseg3r_model.records import Float32, Float64, Int64, UInt8, UInt32
from ovseg3r_model.rooms.geometry import look
from ovseg3r_model.rooms.room import Room, tensor

DEFAULT_SIZE = (640, 480)


def default_intrinsics(size: tuple[int, int] = DEFAULT_SIZE) -> Float64:
    """(3,3) float64: a camera of 60 degrees across, principal point in the middle of the picture (width, height)."""
    width, height = size
    focal = width / 2 / np.tan(np.deg2rad(30.0))
    return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])


DEFAULT_INTRINSICS: Float64 = default_intrinsics()


@dataclass(frozen=True)
class RenderedView:
    """rgb (H,W,3) uint8; depth (H,W) float32 z-depth in metres, 0 where there is none; ids (H,W) uint32 true instance
    ids, 0 = none.
    """

    rgb: UInt8
    depth: Float32
    ids: UInt32


def render(
    room: Room,
    intrinsics: Float64,
    size: tuple[int, int],
    world_from_camera: Float64,
    depth_noise: float = 0.0,
    seed: int = 0,
) -> RenderedView:
    """Renders one view: intrinsics (3,3) pixels, size (width, height), world_from_camera (4,4), OpenCV axes.

    depth_noise: like a Kinect, sigma = depth_noise * z^2 metres, and no depth at grazing angles and along depth edges;
    0 gives exact depth. Colour and ids have no noise. Raises ValueError for a size that is not positive.
    """
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"size must be positive, not {size}")
    shot = _shoot(room, intrinsics, world_from_camera, _pixels(width, height))
    rgb = shot.rgb.reshape(height, width, 3)
    _smooth_edges(room, intrinsics, world_from_camera, shot, rgb)
    depth = shot.depth.reshape(height, width)
    if depth_noise > 0:
        facing = shot.facing.reshape(height, width)
        depth = _sense(depth, facing, depth_noise, np.random.default_rng([seed, 3]))
    return RenderedView(rgb, depth, shot.ids.reshape(height, width))


def _pixels(width: int, height: int) -> Float64:
    """(H*W,2) float64: the centres (x, y), row by row."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float64)


@dataclass(frozen=True)
class _Shot:
    """What N rays met: depth (N,) float32, triangle (N,) int64 or -1, cosine to its normal (N,), ids (N,), rgb
    (N,3).
    """

    depth: Float32
    primitive: Int64
    facing: Float64
    ids: UInt32
    rgb: UInt8


def _shoot(room: Room, intrinsics: Float64, world_from_camera: Float64, pixel: Float64) -> _Shot:
    """Rays through the points ``pixel`` (N,2) of the picture."""
    n = len(pixel)
    turn, origin = world_from_camera[:3, :3], world_from_camera[:3, 3].astype(np.float32)
    # Directions have z = 1 in the camera, so that the ray parameter is z-depth.
    x = (pixel[:, :1] - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (pixel[:, 1:] - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.empty((n, 6), np.float32)
    rays[:, :3], rays[:, 3:] = origin, x * turn[:, 0] + y * turn[:, 1] + turn[:, 2]
    hit = room.scene.cast_rays(tensor(rays))
    depth = hit["t_hit"].numpy()
    seen = np.isfinite(depth)
    primitive = np.where(seen, hit["primitive_ids"].numpy().astype(np.int64), -1)
    depth = np.where(seen, depth, np.float32(0))
    facing, ids, rgb = np.empty(n), np.empty(n, np.uint32), np.empty((n, 3), np.uint8)

    def band(rows: slice) -> None:
        way = rays[rows, 3:].astype(np.float64)
        normal = room.soup.normal[np.maximum(primitive[rows], 0)]
        facing[rows] = np.abs(np.einsum("nc,nc->n", normal, way)) / np.sqrt(np.einsum("nc,nc->n", way, way))
        z = depth[rows].astype(np.float64)
        foot = z / intrinsics[0, 0] / np.sqrt(np.maximum(facing[rows], 0.1))
        ids[rows], rgb[rows] = look(room.soup, origin + way * z[:, None], primitive[rows], foot)

    # On threads: each ray is computed alone, so their number changes nothing.
    edges = np.linspace(0, n, min(os.cpu_count() or 1, 8) + 1).astype(int)
    with ThreadPoolExecutor(len(edges) - 1) as pool:
        list(pool.map(band, [slice(a, b) for a, b in pairwise(edges)]))
    return _Shot(depth, primitive, facing, ids, rgb)


def _smooth_edges(room: Room, intrinsics: Float64, world_from_camera: Float64, shot: _Shot, rgb: UInt8) -> None:
    """Where two surfaces meet in a pixel of ``rgb`` (H,W,3), mixes their colours there: the mean of four rays. In
    place.
    """
    height, width = rgb.shape[:2]
    part = np.where(shot.primitive < 0, -1, room.soup.part[shot.primitive]) * 65536 + shot.ids
    surface = part.reshape(height, width)
    edge = np.zeros((height, width), np.bool_)
    across, down = surface[:, 1:] != surface[:, :-1], surface[1:] != surface[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    y, x = np.nonzero(edge)
    if len(y) == 0:
        return
    inside = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
    pixel = np.stack([x, y], axis=1)[:, None] + inside
    colours = _shoot(room, intrinsics, world_from_camera, pixel.reshape(-1, 2)).rgb.reshape(-1, 4, 3)
    rgb[y, x] = (colours.astype(np.uint16).sum(axis=1) + 2) // 4


def _sense(depth: Float32, facing: Float64, noise: float, rng: np.random.Generator) -> Float32:
    """The depth as a sensor would see it; facing (H,W): cosine between ray and normal."""
    jump = np.zeros(depth.shape, np.bool_)
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis)) > 0.05 * np.minimum(
            *(np.take(depth, range(k, depth.shape[axis] - 1 + k), axis=axis) for k in (0, 1))
        )
        near, far = (slice(None, -1), slice(1, None))
        jump[(near, slice(None)) if axis == 0 else (slice(None), near)] |= step
        jump[(far, slice(None)) if axis == 0 else (slice(None), far)] |= step
    lost = rng.random(depth.shape)
    # Half of the edge pixels; below 14 degrees of incidence nearly all, none above 20.
    keep = (lost > 0.5 * jump) & (lost > np.clip((0.34 - facing) / 0.1, 0.0, 0.95))
    measured = depth + noise * depth.astype(np.float64) ** 2 * rng.standard_normal(depth.shape)
    return np.where(keep & (depth > 0), np.maximum(measured, 0.001), 0.0).astype(np.float32)
