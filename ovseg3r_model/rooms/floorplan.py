"""What is taken and what is free: upright boxes on the plan, and the floor a person can walk on."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ovseg3r_model.records import Bool, Float64

CELL = 0.05  # of the walkable grid, metres


def rotation(yaw: float) -> Float64:
    """(3,3) rotation about the vertical by ``yaw`` radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    if abs(c) < 1e-12 or abs(s) < 1e-12:  # quarter turns exactly, so that furniture stays axis-aligned
        c, s = np.round(c), np.round(s)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def block(low: Float64, high: Float64, origin: Float64, yaw: float) -> Float64:
    """One row (7,): centre x, y, half width, half depth, yaw, bottom, top of a box given in an object's frame (3,),
    (3,).
    """
    centre = rotation(yaw) @ ((low + high) / 2) + origin
    half = (high - low) / 2
    return np.array([centre[0], centre[1], half[0], half[1], yaw, origin[2] + low[2], origin[2] + high[2]])


def overlaps(one: Float64, others: Float64, margin: float = 0.0) -> Bool:
    """(N,) bool: which of the boxes ``others`` (N,7) come nearer than ``margin`` to the box ``one`` (7,). Touching is
    free.

    Separating axes on the plan, intervals in height; the margin counts on the plan only.
    """
    if len(others) == 0:
        return np.zeros(0, np.bool_)
    delta = others[:, :2] - one[:2]
    result = (others[:, 5] < one[6] - 1e-6) & (others[:, 6] > one[5] + 1e-6)
    turn = others[:, 4] - one[4]
    c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    for base, near, far in (
        (np.full(len(others), one[4]), one[None, 2:4], others[:, 2:4]),
        (others[:, 4], others[:, 2:4], one[None, 2:4]),
    ):
        x = np.abs(delta[:, 0] * np.cos(base) + delta[:, 1] * np.sin(base))
        y = np.abs(-delta[:, 0] * np.sin(base) + delta[:, 1] * np.cos(base))
        result &= x < near[:, 0] + far[:, 0] * c + far[:, 1] * s + margin - 1e-6
        result &= y < near[:, 1] + far[:, 0] * s + far[:, 1] * c + margin - 1e-6
    return np.asarray(result)


def covers(blocks: Float64, points: Float64, margin: float = 0.0) -> Bool:
    """(P,) bool: which points (P,2) of the plan lie in one of the boxes (N,7), grown by ``margin``."""
    inside = np.zeros(len(points), np.bool_)
    for x, y, hx, hy, yaw, *_ in blocks:
        delta = points - [x, y]
        along = np.abs(delta @ [np.cos(yaw), np.sin(yaw)])
        across = np.abs(delta @ [-np.sin(yaw), np.cos(yaw)])
        inside |= (along <= hx + margin) & (across <= hy + margin)
    return inside


@dataclass(frozen=True)
class WalkableFloor:
    """free: (NX, NY) bool, cells of CELL metres in which a person's middle can be; clearance: (NX, NY) metres to the
    nearest obstacle.
    """

    free: Bool
    clearance: Float64

    @property
    def area(self) -> float:
        """Of the walkable part, m2."""
        return float(self.free.sum()) * CELL**2

    def centre(self, cell: Float64) -> Float64:
        """(..., 2) metres from cell indices."""
        return (np.asarray(cell, np.float64) + 0.5) * CELL


def walkable(size: Float64, blocks: Float64, person: float = 0.3, wall: float = 0.4) -> WalkableFloor:
    """The largest connected part of the floor that is ``person`` metres from every box below 1.9 m and ``wall`` metres
    from the walls.
    """
    shape = np.floor(np.asarray(size[:2]) / CELL).astype(int)
    grid = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), axis=-1)
    low = blocks[blocks[:, 5] < 1.9] if len(blocks) else blocks
    taken = covers(low, ((grid + 0.5) * CELL).reshape(-1, 2)).reshape(shape[0], shape[1])
    clearance = ndimage.distance_transform_edt(~taken) * CELL
    border = np.minimum(np.minimum(grid, shape - 1 - grid).min(axis=-1) * CELL + CELL / 2, 9.0)
    free = (clearance > person) & (border > wall)
    labels, count = ndimage.label(free)
    if count:
        free = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return WalkableFloor(free, np.minimum(clearance, border - wall + person))
