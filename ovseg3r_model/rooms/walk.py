"""A person with a camera walks round the room and looks about."""

import numpy as np
from scipy import ndimage
from skimage.graph import route_through_array

from ovseg3r_model.records import Float64
from ovseg3r_model.rooms.floorplan import CELL, WalkableFloor, walkable
from ovseg3r_model.rooms.room import Room

EYE_HEIGHT = 1.5
# A step of STEP metres or a turn of TURN radians is one unit of movement; a view is at most one unit from the one
# before.
STEP = 0.12
TURN = np.deg2rad(8.5)
TURNS = 2.0  # times round the room in a full walk
ONCE_ROUND = 95.0  # units in which a walk has looked to all sides

LOOK_ROUND = 6.0  # metres on which one looks to all sides where furniture bars the way round


def walk(room: Room, n_views: int, seed: int = 0) -> Float64:
    """(V,4,4) float64 world_from_camera (OpenCV axes) of V views along a walk round the room at eye height.

    From about a hundred views the walk sees every side of the room; fewer views make a shorter walk, not a
    faster one, so that neighbours overlap; more views make a slower one. Raises ValueError for fewer than one view or
    a room without floor to stand on.
    """
    if n_views < 1:
        raise ValueError(f"a walk needs at least one view, not {n_views}")
    rng = np.random.default_rng([seed, room.seed, 11])
    floor = _floor(room)
    start, way = float(rng.uniform(0, 2 * np.pi)), float(rng.choice([-1.0, 1.0]))
    phase = rng.uniform(0, 6, 2)
    # The widest way round on which a hundred views look to all sides.
    for radius in (0.32, 0.25, 0.18, 0.12):
        path, angle = _path(room, floor, radius, start, way)
        travelled = _travelled(path, angle)
        if np.interp(2.3 * np.pi, way * (angle - angle[0]), travelled) < ONCE_ROUND:
            break
    else:
        # Too many ways round furniture: look round evenly on the first metres of the way instead.
        gone = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
        angle = angle[0] + way * 2 * np.pi * gone / max(LOOK_ROUND, gone[-1] / TURNS / 2)
        travelled = _travelled(path, angle)
    ticks = np.abs(angle - angle[0])
    yaw = angle + np.pi + np.deg2rad(10.0) * np.sin(3 * ticks + phase[0])  # across the room
    pitch = np.deg2rad(-15.0 + 8.0 * np.sin(2.5 * ticks + phase[1]))
    at = np.linspace(0.0, min(travelled[-1], float(n_views - 1)), n_views)
    x, y, yaw, pitch = (np.interp(at, travelled, values) for values in (path[:, 0], path[:, 1], yaw, pitch))
    shake = _shake(n_views, rng)
    height = EYE_HEIGHT + 0.02 * np.sin(at * 1.3) + 0.004 * shake[:, 2]
    eye = np.stack([x + 0.004 * shake[:, 0], y + 0.004 * shake[:, 1], height], axis=1)
    wobble = np.deg2rad([0.5, 0.5, 0.8]) * shake[:, 3:]
    return _poses(eye, yaw + wobble[:, 0], pitch + wobble[:, 1], wobble[:, 2])


def _travelled(path: Float64, angle: Float64) -> Float64:
    """(S,) units of movement up to each point of a path (S,2) on which one turns by ``angle`` (S,)."""
    moved = np.hypot(np.linalg.norm(np.diff(path, axis=0), axis=1) / STEP, np.diff(angle) / TURN)
    return np.concatenate([[0.0], np.cumsum(moved)])


def _floor(room: Room) -> WalkableFloor:
    for person, wall in ((0.3, 0.4), (0.2, 0.35), (0.12, 0.3)):
        floor = walkable(room.size, room.blocks, person, wall)
        if floor.area > 0.08 * room.size[0] * room.size[1]:
            return floor
    if not floor.free.any():
        raise ValueError(f"room {room.seed} has no free floor to walk on")
    return floor


def _path(room: Room, floor: WalkableFloor, radius: float, start: float, way: float) -> tuple[Float64, Float64]:
    """Positions (S,2) and the angle (S,) about the room's middle each one stands for, densely along the walk;
    radius: how far from the middle it goes, as a share of the room."""
    free = np.argwhere(floor.free).astype(np.float64)
    spots = floor.centre(free)
    clearance = floor.clearance[floor.free]
    count = int(10 * TURNS)
    angles = start + way * np.arange(count + 1) * (2 * np.pi * TURNS / count)
    stops = []
    for angle in angles:
        wanted = room.size[:2] / 2 + radius * room.size[:2] * [np.cos(angle), np.sin(angle)]
        score = np.linalg.norm(spots - wanted, axis=1) - 0.5 * np.minimum(clearance, 0.6)
        stops.append(tuple(int(c) for c in free[int(np.argmin(score))]))
    cost = np.where(floor.free, 1.0 + 0.3 / np.maximum(floor.clearance, 0.05), -1.0)
    cells, along = [np.array(stops[0], np.float64)], [angles[0]]
    for a, b, angle_a, angle_b in zip(stops[:-1], stops[1:], angles[:-1], angles[1:], strict=True):
        route, _ = route_through_array(cost, a, b, fully_connected=True, geometric=True)
        steps = max(len(route) - 1, 8)
        index = np.linspace(0, len(route) - 1, steps + 1)[1:]
        line = np.array(route, np.float64)
        cells += [np.array([np.interp(t, np.arange(len(route)), line[:, k]) for k in (0, 1)]) for t in index]
        along += list(np.linspace(angle_a, angle_b, steps + 1)[1:])
    raw = floor.centre(np.array(cells))
    # Rounded corners; where rounding would cut through furniture, less of it.
    path = raw
    for sigma in (10.0, 5.0, 2.5, 1.0):
        smooth = ndimage.gaussian_filter1d(raw, sigma, axis=0, mode="nearest")
        if _is_free(floor, smooth):
            path = smooth
            break
    return path, ndimage.gaussian_filter1d(np.array(along), 6.0, mode="nearest")


def _is_free(floor: WalkableFloor, spots: Float64) -> bool:
    cell = np.clip(np.floor(spots / CELL).astype(int), 0, np.array(floor.free.shape) - 1)
    # Between the cells of a route, a hand's breadth into the margin is still clear of the furniture.
    near = ndimage.binary_dilation(floor.free, iterations=1)
    return bool(near[cell[:, 0], cell[:, 1]].all())


def _shake(count: int, rng: np.random.Generator) -> Float64:
    """(count, 6) of a hand's tremor: smooth over a few views, about unit size."""
    noise = rng.standard_normal((count + 12, 6))
    return np.asarray(ndimage.gaussian_filter1d(noise, 1.5, axis=0)[6 : count + 6] * 2.2)


def _poses(eye: Float64, yaw: Float64, pitch: Float64, roll: Float64) -> Float64:
    """(V,4,4) world_from_camera from positions (V,3) and angles (V,): yaw from +x, pitch up, roll about the view axis;
    radians.
    """
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], axis=1)
    right = np.stack([np.sin(yaw), -np.cos(yaw), np.zeros_like(yaw)], axis=1)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    poses = np.tile(np.eye(4), (len(eye), 1, 1))
    poses[:, :3, 0], poses[:, :3, 1] = c * right + s * down, c * down - s * right
    poses[:, :3, 2], poses[:, :3, 3] = forward, eye
    return poses
