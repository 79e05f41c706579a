"""A furnished room as one triangle soup, and the kernel that says what is seen at a point of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Float32, Float64, Int32, Int64, UInt8, UInt32
from ovseg3r_model.rooms.decals import SHELL, Decal
from ovseg3r_model.rooms.floorplan import rotation
from ovseg3r_model.rooms.layout import Placed
from ovseg3r_model.rooms.shading import flat_colour, kernel, solid_colour
from ovseg3r_model.rooms.shapes import Piece, Shape
from ovseg3r_model.rooms.textures import Material, material_table


@dataclass(frozen=True)
class Soup:
    """T triangles, P pieces, M materials, D decals.

    vertices (V,3) float32; triangles (T,3) uint32; id (T,) int32 instance of the solid; normal (T,3) float64, unit;
    part (T,) int64: the piece of each triangle; axis (T,) int64: the piece's axis most along the normal.
    Pieces: to_object (P,3,4): object frame from world; frame (P,3,4): piece axes from world, origin at the piece's
    middle; half (P,3); material (P,) row of the material tables. Materials: kinds (M,2) int64, values (M,7) float64.
    Decals: first (T+1,) int64, CSR from triangles to rows of decal_of; decals (D,11): centre, u, v, half sizes;
    ellipse, id and material in decal_kind (D,3) int64. lights (L,4): position and strength.
    """

    vertices: Float32
    triangles: NDArray[np.uint32]
    id: Int32
    normal: Float64
    part: Int64
    axis: Int64
    to_object: Float64
    frame: Float64
    half: Float64
    material: Int64
    kinds: Int64
    values: Float64
    first: Int64
    decal_of: Int64
    decals: Float64
    decal_kind: Int64
    lights: Float64


def build_soup(size: Float64, shell: Shape, placed: list[Placed], decals: list[Decal], lights: Float64) -> Soup:
    """Puts everything in the world. Instance k + 1 is placed[k], the decals follow; the shell (walls 0-3, floor 4,
    ceiling 5) is 0.
    """
    vertices, triangles, ids, parts = [], [], [], []
    to_object, frames, halves = [], [], []
    materials: list[Material] = []
    firsts: dict[tuple[int, int], int] = {}  # (owner, piece) -> its first triangle
    count_v = count_t = 0
    things: list[tuple[int, Shape, Float64, float]] = [(SHELL, shell, np.zeros(3), 0.0)]
    things += [(k, t.shape, t.origin, t.yaw) for k, t in enumerate(placed)]
    for owner, shape, origin, yaw in things:
        turn = rotation(yaw)
        for index, piece in enumerate(shape.pieces):
            firsts[owner, index] = count_t
            vertices.append(piece.vertices @ turn.T + origin)
            triangles.append(piece.triangles + count_v)
            ids.append(np.full(len(piece.triangles), owner + 1))
            parts.append(np.full(len(piece.triangles), len(materials)))
            to_object.append(np.column_stack([turn.T, -turn.T @ origin]))
            axes, middle, half = _piece_frame(piece)
            frames.append(np.column_stack([axes @ turn.T, -axes @ (turn.T @ origin + middle)]))
            halves.append(half)
            materials.append(piece.material)
            count_v += len(piece.vertices)
            count_t += len(piece.triangles)
    xyz, faces, part = np.concatenate(vertices), np.concatenate(triangles), np.concatenate(parts)
    normal = np.cross(xyz[faces[:, 1]] - xyz[faces[:, 0]], xyz[faces[:, 2]] - xyz[faces[:, 0]])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
    frame = np.array(frames)
    axis = np.abs(np.einsum("tij,tj->ti", frame[part, :, :3], normal)).argmax(axis=1)
    hosted: list[list[int]] = [[] for _ in range(count_t)]
    for row, decal in enumerate(decals):
        start = firsts[decal.face.owner, decal.face.part] + 2 * decal.face.side
        for t in (start, start + 1):
            hosted[t].append(row)
    first = np.concatenate([[0], np.cumsum([len(h) for h in hosted])]).astype(np.int64)
    kinds, values = material_table([*materials, *(d.material for d in decals)])
    flat_rows = [np.concatenate([d.centre, d.u, d.v, d.half]) for d in decals]
    flat_kinds = [[int(d.kind.ellipse), len(placed) + 1 + k, len(materials) + k] for k, d in enumerate(decals)]
    return Soup(
        vertices=xyz.astype(np.float32),
        triangles=faces.astype(np.uint32),
        id=np.concatenate(ids).astype(np.int32),
        normal=normal,
        part=part.astype(np.int64),
        axis=axis.astype(np.int64),
        to_object=np.array(to_object),
        frame=frame,
        half=np.array(halves),
        material=np.arange(len(materials), dtype=np.int64),
        kinds=kinds,
        values=values,
        first=first,
        decal_of=np.array([row for h in hosted for row in h], np.int64),
        decals=np.array(flat_rows, np.float64).reshape(-1, 11),
        decal_kind=np.array(flat_kinds, np.int64).reshape(-1, 3),
        lights=lights,
    )


def shell_shape(size: Float64, walls: list[Material], floor: Material, ceiling: Material) -> Shape:
    """Walls 0-3 in the order of layout.WALL_NORMALS, floor, ceiling: quads of two triangles each that face the room."""
    sx, sy, sz = size
    corners = [
        ((sx, sy, 0), (0, sy, 0), (0, sy, sz), (sx, sy, sz)),
        ((sx, 0, 0), (sx, sy, 0), (sx, sy, sz), (sx, 0, sz)),
        ((0, 0, 0), (sx, 0, 0), (sx, 0, sz), (0, 0, sz)),
        ((0, sy, 0), (0, 0, 0), (0, 0, sz), (0, sy, sz)),
        ((0, 0, 0), (sx, 0, 0), (sx, sy, 0), (0, sy, 0)),
        ((0, 0, sz), (0, sy, sz), (sx, sy, sz), (sx, 0, sz)),
    ]
    shape = Shape()
    middle = np.array([sx, sy, sz]) / 2
    for quad, material in zip(corners, [*walls, floor, ceiling], strict=True):
        points = np.array(quad, np.float64)
        triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int64)
        inward = np.cross(points[1] - points[0], points[2] - points[0]) @ (middle - points[0]) > 0
        shape.pieces.append(Piece(points, triangles if inward else triangles[:, ::-1].copy(), material, np.eye(3)))
    return shape


def _piece_frame(piece: Piece) -> tuple[Float64, Float64, Float64]:
    """The piece's axes (rows), its middle in the object's frame and its half extents along the axes."""
    local = piece.vertices @ piece.frame.T
    low, high = local.min(axis=0), local.max(axis=0)
    return piece.frame, piece.frame.T @ ((low + high) / 2), (high - low) / 2


@kernel
def _look(
    xyz: Any,
    primitive: Any,
    foot: Any,
    ids: Any,
    rgb: Any,
    tri: Any,
    part_table: Any,
    materials: Any,
    flats: Any,
    lights: Any,
    colour: bool,
) -> None:
    """Fills ids (N,) and rgb (N,3) for points (N,3) on the triangles ``primitive`` (N,); a negative primitive is
    nothing.
    """
    tri_id, normal, tri_part, tri_axis, first, decal_of = tri
    to_object, frame, half = part_table
    kinds, values = materials
    decals, decal_kind = flats
    for i in range(len(primitive)):
        t = primitive[i]
        if t < 0:
            ids[i] = 0
            continue
        x, y, z = xyz[i, 0], xyz[i, 1], xyz[i, 2]
        found, a, b = -1, 0.0, 0.0
        for k in range(first[t], first[t + 1]):
            d = decals[decal_of[k]]
            dx, dy, dz = x - d[0], y - d[1], z - d[2]
            u, v = dx * d[3] + dy * d[4] + dz * d[5], dx * d[6] + dy * d[7] + dz * d[8]
            if decal_kind[decal_of[k], 0]:
                inside = (u / d[9]) ** 2 + (v / d[10]) ** 2 <= 1.0
            else:
                inside = abs(u) <= d[9] and abs(v) <= d[10]
            if inside:
                found, a, b = decal_of[k], u, v
        ids[i] = tri_id[t] if found < 0 else decal_kind[found, 1]
        if not colour:
            continue
        p = tri_part[t]
        m = p if found < 0 else decal_kind[found, 2]
        c0 = (values[m, 0], values[m, 1], values[m, 2])
        c1 = (values[m, 3], values[m, 4], values[m, 5])
        if found >= 0:
            c = flat_colour(kinds[m, 0], a, b, decals[found, 9], decals[found, 10], c0, c1, kinds[m, 1], foot[i])
        else:
            o = to_object[p]
            ox = o[0, 0] * x + o[0, 1] * y + o[0, 2] * z + o[0, 3]
            oy = o[1, 0] * x + o[1, 1] * y + o[1, 2] * z + o[1, 3]
            oz = o[2, 0] * x + o[2, 1] * y + o[2, 2] * z + o[2, 3]
            ka = 1 if tri_axis[t] == 0 else 0
            kb = 1 if tri_axis[t] == 2 else 2
            f = frame[p]
            a = f[ka, 0] * x + f[ka, 1] * y + f[ka, 2] * z + f[ka, 3]
            b = f[kb, 0] * x + f[kb, 1] * y + f[kb, 2] * z + f[kb, 3]
            c = solid_colour(
                kinds[m, 0], ox, oy, oz, a, b, half[p, ka], half[p, kb], c0, c1, values[m, 6], kinds[m, 1], foot[i]
            )
        light = 0.52
        for k in range(len(lights)):
            lx, ly, lz = lights[k, 0] - x, lights[k, 1] - y, lights[k, 2] - z
            d2 = lx * lx + ly * ly + lz * lz
            # Turned towards either side: a thin shell such as a lampshade has no dark face.
            facing = abs(lx * normal[t, 0] + ly * normal[t, 1] + lz * normal[t, 2]) / np.sqrt(d2)
            light += lights[k, 3] * facing / (1.0 + 0.15 * d2)
        for k in range(3):
            rgb[i, k] = np.uint8(min(255.0, max(0.0, 255.0 * c[k] * light + 0.5)))


def look(soup: Soup, xyz: Float64, primitive: Int64, foot: Float64, colour: bool = True) -> tuple[UInt32, UInt8]:
    """What is seen at points (N,3) lying on triangles (N,), -1 for none: ids (N,) uint32, rgb (N,3) uint8 (zeros
    without ``colour``).

    foot (N,): size of a pixel there, metres.
    """
    ids = np.zeros(len(primitive), np.uint32)
    rgb = np.zeros((len(primitive), 3), np.uint8)
    tri = (soup.id, soup.normal, soup.part, soup.axis, soup.first, soup.decal_of)
    parts, materials = (soup.to_object, soup.frame, soup.half), (soup.kinds, soup.values)
    _look(xyz, primitive, foot, ids, rgb, tri, parts, materials, (soup.decals, soup.decal_kind), soup.lights, colour)
    return ids, rgb
