"""Which way is up in a reconstruction from colour alone, and the scene stood on its floor.

People hold cameras level: a camera's x axis is nearly horizontal whatever it looks at, so up is the direction to which
all x axes are most perpendicular. Rooms are made of level and of upright surfaces: from there, up is turned until the
points' normals are along it or at right angles to it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ovseg3r_model.reconstruction.judge import Similarity
from ovseg3r_model.records import Float64

REACH = (15.0, 8.0, 4.0, 4.0)
"""Degrees from up, or from level, within which a normal counts as a floor's or a wall's: one pass each."""

MOST_TURN = 15.0
"""A farther turn, degrees, is a mistake of the normals, not of the cameras."""

MOST_POINTS = 20_000

FLOOR = 0.1
"""A level that holds at least this share of the fullest level's points may be the floor: often hardly seen."""

_NEIGHBOURS = 40  # the depth of a sparse point is noisy: fewer make no plane on hand-held film
_FLAT = 0.2  # thickness over width of a neighbourhood that has a normal
_CAMERAS = 0.02  # weight of the cameras' say beside the normals'
_LEVELS = 120  # bins of the heights below the cameras


@dataclass(frozen=True)
class Up:
    """direction (3,) float64 unit vector in the world; turned: degrees between it and what the cameras alone say;
    surfaces: the share of the points whose normals speak for it (0 where there was too little to go by).
    """

    direction: Float64
    turned: float
    surfaces: float


def stand_upright(world_from_camera: Float64, xyz: Float64) -> tuple[Similarity, Up]:
    """The rigid motion (scale 1) that stands the scene upright: z up, the floor at z = 0, the origin under the first
    camera, which looks along +y.

    world_from_camera (V,4,4) float64 and xyz (P,3) float64, sparse or dense, in any unit.
    """
    up = find_up(world_from_camera, xyz)
    z = up.direction
    forward = world_from_camera[0, :3, 2]
    if abs(forward @ z) > 0.98:  # it looks straight down or up: then the picture's top is ahead
        forward = -world_from_camera[0, :3, 1]
    y = forward - (forward @ z) * z
    y /= np.linalg.norm(y)
    rotation = np.stack([np.cross(y, z), y, z])
    eyes = world_from_camera[:, :3, 3] @ rotation.T
    ground = floor_height(xyz @ z, eyes[:, 2]) if len(xyz) else float(eyes[:, 2].min())
    return Similarity(1.0, rotation, -np.array([eyes[0, 0], eyes[0, 1], ground])), up


def find_up(world_from_camera: Float64, xyz: Float64) -> Up:
    """Up by the cameras (V,4,4), refined by the points (P,3)."""
    start = up_of_cameras(world_from_camera)
    normal = _normals(xyz[:: max(1, len(xyz) // MOST_POINTS)])  # every k-th: repeatable, from all over the scene
    x = world_from_camera[:, :3, 0]
    cameras = _CAMERAS * len(normal) * (x.T @ x / len(x) - np.outer(start, start))
    up, used = start, np.zeros(len(normal), np.bool_)
    for reach in REACH:
        along = np.abs(normal @ up)
        floors, walls = along > np.cos(np.deg2rad(reach)), along < np.sin(np.deg2rad(reach))
        used = floors | walls
        if used.sum() < 100:
            return Up(start, 0.0, 0.0)
        level, upright = normal[floors], normal[walls]
        up = np.linalg.eigh(upright.T @ upright - level.T @ level + cameras)[1][:, 0]
        up = up if up @ start >= 0 else -up
    turned = float(np.degrees(np.arccos(np.clip(up @ start, -1, 1))))
    return Up(up, turned, float(used.mean())) if turned <= MOST_TURN else Up(start, 0.0, 0.0)


def _normals(xyz: Float64) -> Float64:
    """(n,3) unit normals, of either sign, of those of the points (P,3) whose neighbourhood is flat."""
    if len(xyz) <= _NEIGHBOURS:
        return np.empty((0, 3))
    _, near = cKDTree(xyz).query(xyz, _NEIGHBOURS)
    local = xyz[near] - xyz[near].mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.einsum("pki,pkj->pij", local, local))
    # Thin across, and no line: a line has no normal.
    flat = (values[:, 0] < _FLAT**2 * values[:, 2]) & (values[:, 1] > 0.1 * values[:, 2])
    out: Float64 = vectors[flat, :, 0]
    return out


def up_of_cameras(world_from_camera: Float64) -> Float64:
    """(3,) unit vector: most perpendicular to the cameras' x axes, and on the side of their mean up."""
    mean = -world_from_camera[:, :3, 1].mean(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-12)
    x = world_from_camera[:, :3, 0]
    # While all cameras look one way their x axes leave a turn about themselves open; the mean up settles it.
    values, vectors = np.linalg.eigh(x.T @ x / len(x) - 0.05 * np.outer(mean, mean))
    del values
    up: Float64 = vectors[:, 0]
    return up if up @ mean >= 0 else -up


def floor_height(height: Float64, eyes: Float64) -> float:
    """Where the floor is among points' heights (P,) float64: the lowest level below the cameras ``eyes`` (V,) that
    holds a fair share of the points; the lowest hundredth where there is no such level.
    """
    low, high = np.percentile(height, [0.5, 99.5])
    lowest = float(np.percentile(height, 1))
    below = height[(height >= low) & (height < min(np.median(eyes), high))]
    if len(below) < 50 or not high > low:
        return lowest
    count, edges = np.histogram(below, _LEVELS, (low, float(min(np.median(eyes), high))))
    smooth = np.convolve(count, [0.25, 0.5, 0.25], mode="same")
    strong = np.flatnonzero(smooth >= FLOOR * smooth.max())
    first = int(strong[0])
    while first + 1 < len(smooth) and smooth[first + 1] > smooth[first]:
        first += 1
    return float((edges[first] + edges[first + 1]) / 2)
