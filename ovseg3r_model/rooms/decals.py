"""Flat things: rectangles and ellipses painted onto a face of the room or of a piece of furniture, without any
geometry of their own.
"""

from dataclasses import dataclass

import numpy as np

from ovseg3r_model.records import Float64
from ovseg3r_model.rooms.catalogue import FLAT_KINDS, FlatKind
from ovseg3r_model.rooms.floorplan import covers, overlaps, rotation
from ovseg3r_model.rooms.layout import WALL_NORMALS, Furnishing
from ovseg3r_model.rooms.shapes import FACES
from ovseg3r_model.rooms.textures import Material, hue

TRIES = 60
SHELL = -1  # the host "object" of walls and floor


@dataclass(frozen=True)
class Face:
    """A plane rectangle in the world: centre (3,), axes u, v (3,) with normal u x v, half sizes (2,).

    owner: index into Furnishing.placed, or SHELL; part: piece of that object, or of the room's shell; side: index into
    FACES.
    """

    centre: Float64
    u: Float64
    v: Float64
    half: Float64
    role: str
    owner: int
    part: int
    side: int


@dataclass(frozen=True)
class Decal:
    """A flat thing in the plane of its host face: centre (3,), axes u, v (3,), half sizes (2,), metres in the world."""

    kind: FlatKind
    face: Face
    centre: Float64
    u: Float64
    v: Float64
    half: Float64
    material: Material


def host_faces(room: Furnishing) -> list[Face]:
    """Every face a flat thing may lie on: the walls (shell parts 0-3), the floor (part 4), table tops and fronts."""
    sx, sy, sz = room.size
    faces = []
    for k, normal2 in enumerate(WALL_NORMALS):
        normal = np.array([*normal2, 0.0])
        up = np.array([0.0, 0.0, 1.0])
        width = sx if k % 2 == 0 else sy
        middle = np.array([sx / 2, sy / 2, sz / 2]) - normal * [sx / 2, sy / 2, 0.0]
        faces.append(Face(middle, np.cross(up, normal), up, np.array([width / 2, sz / 2]), "wall", SHELL, k, 0))
    x, y = np.eye(3)[0], np.eye(3)[1]
    faces.append(Face(np.array([sx / 2, sy / 2, 0.0]), x, y, np.array([sx / 2, sy / 2]), "floor", SHELL, 4, 0))
    for owner, thing in enumerate(room.placed):
        turn = rotation(thing.yaw)
        for host in thing.shape.hosts:
            piece = thing.shape.pieces[host.piece]
            side = FACES.index(host.face)
            axis = side // 2
            low, high = piece.low, piece.high
            middle = (low + high) / 2
            middle[axis] = high[axis] if side % 2 else low[axis]
            u, v, half = (
                (turn[:, 0], turn[:, 2], (high - low)[[0, 2]] / 2)
                if axis == 1
                else (turn[:, 0], turn[:, 1], (high - low)[:2] / 2)
            )
            faces.append(Face(turn @ middle + thing.origin, u, v, half, host.role, owner, host.piece, side))
    return faces


def lay(room: Furnishing, n_flat: int, rng: np.random.Generator) -> list[Decal]:
    """Lays up to ``n_flat`` flat things on free spots, no two on top of each other; those on tables take their place
    in ``room``.
    """
    faces = host_faces(room)
    laid: list[Decal] = []
    left = {k.name: k.limit for k in FLAT_KINDS}
    while len(laid) < n_flat:
        kinds = [k for k in FLAT_KINDS if left[k.name] > 0]
        if not kinds:
            break
        weights = np.array([k.weight for k in kinds])
        # The rug goes first: later there would be no room for one.
        pick = int(rng.choice(len(kinds), p=weights / weights.sum()))
        kind = next((k for k in kinds if k.name == "rug"), kinds[pick])
        decal = _find_spot(room, faces, laid, kind, rng)
        if decal is None:
            left[kind.name] = 0
            continue
        left[kind.name] -= 1
        laid.append(decal)
        if decal.face.role == "top":
            room.add_blocks(_in_front(decal, 0.001)[None])
    return laid


def _find_spot(
    room: Furnishing, faces: list[Face], laid: list[Decal], kind: FlatKind, rng: np.random.Generator
) -> Decal | None:
    hosts = [f for f in faces if f.role in kind.host]
    weights = np.array([1.0 if f.owner == SHELL else 2.0 for f in hosts])
    w0, w1, h0, h1 = kind.size
    half = np.array([rng.uniform(w0, w1), rng.uniform(h0, h1)]) / 2
    if kind.ellipse:
        half[1] = half[0]
    first, second = (hue(rng, 0.6, 0.65), hue(rng, 0.6, 0.8))
    material = Material(kind.pattern, first, second, 0.05, int(rng.integers(1, 2**31)))
    for _ in range(TRIES if hosts else 0):
        face = hosts[int(rng.choice(len(hosts), p=weights / weights.sum()))]
        angle = float(rng.uniform(-0.5, 0.5)) if kind.turned and face.role in ("top", "floor") else 0.0
        if face.role == "floor" and rng.random() < 0.5:
            angle += np.pi / 2
        u = np.cos(angle) * face.u + np.sin(angle) * face.v
        v = np.cos(angle) * face.v - np.sin(angle) * face.u
        reach = np.array(
            [
                abs(np.cos(angle)) * half[0] + abs(np.sin(angle)) * half[1],
                abs(np.sin(angle)) * half[0] + abs(np.cos(angle)) * half[1],
            ]
        )
        room_left = face.half - reach - 0.015
        if (room_left < 0).any():
            continue
        a, b = rng.uniform(-room_left, room_left)
        if face.role == "wall":
            b = float(rng.uniform(*kind.height)) - face.centre[2]
            if abs(b) > room_left[1]:
                continue
        # On a door people hang things where they can see them; a sticker goes anywhere.
        if face.role == "front" and kind.name != "sticker" and face.centre[2] + b < 1.1:
            continue
        decal = Decal(kind, face, face.centre + a * face.u + b * face.v, u, v, half.copy(), material)
        if _is_clear(room, laid, decal):
            return decal
    return None


def _is_clear(room: Furnishing, laid: list[Decal], decal: Decal) -> bool:
    """Clear of other flat things on the face, and of furniture before it (a rug may run a little under furniture)."""
    beside = np.array([_on_face(d) for d in laid if d.face is decal.face]).reshape(-1, 7)
    if overlaps(_on_face(decal), beside, 0.04).any():
        return False
    if decal.face.role == "floor":
        ticks = np.linspace(-1, 1, 15)
        grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2) * decal.half
        spots = decal.centre[:2] + grid[:, :1] * decal.u[:2] + grid[:, 1:] * decal.v[:2]
        low = room.taken[room.taken[:, 5] < 0.5]
        return float(covers(low, spots, 0.02).mean()) <= (0.2 if decal.kind.name == "rug" else 0.0)
    depth = {"wall": 0.3, "front": 0.3, "top": 0.15}[decal.face.role]
    return not overlaps(_in_front(decal, depth), room.taken).any()


def _in_front(decal: Decal, depth: float) -> Float64:
    """(7,): the upright box over a decal, ``depth`` metres deep, starting a hair off its face."""
    normal = np.cross(decal.face.u, decal.face.v)
    if abs(normal[2]) > 0.5:
        yaw = float(np.arctan2(decal.u[1], decal.u[0]))
        return np.array(
            [
                decal.centre[0],
                decal.centre[1],
                decal.half[0],
                decal.half[1],
                yaw,
                decal.centre[2],
                decal.centre[2] + depth,
            ]
        )
    middle = decal.centre + normal * (0.002 + depth / 2)
    yaw = float(np.arctan2(decal.face.u[1], decal.face.u[0]))
    low, high = decal.centre[2] - decal.half[1], decal.centre[2] + decal.half[1]
    return np.array([middle[0], middle[1], decal.half[0], depth / 2, yaw, low, high])


def _on_face(decal: Decal) -> Float64:
    """(7,): the decal as a box on the plan of its face's own axes."""
    offset = decal.centre - decal.face.centre
    angle = float(np.arctan2(decal.u @ decal.face.v, decal.u @ decal.face.u))
    return np.array([offset @ decal.face.u, offset @ decal.face.v, decal.half[0], decal.half[1], angle, 0.0, 1.0])
