"""Solid shapes: boxes and turned (lathe) pieces, put together in an object's own frame.

The frame of an object: origin on the floor under its middle, x to the right as one faces it, its back at +y, z up;
metres.
"""

from dataclasses import dataclass, field

import numpy as np

from ovseg3r_model.records import Float64, Int64
from ovseg3r_model.rooms.textures import Material

# Corners of a box as signs, and its 12 triangles seen from outside: two each of -x, +x, -y, +y, -z, +z.
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_BOX = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ],
    np.int64,
)
FACES = ("-x", "+x", "-y", "+y", "-z", "+z")


@dataclass(frozen=True)
class Piece:
    """One convex-looking part: vertices (n,3) in the object's frame, triangles (m,3), its axis-aligned extent there.

    frame: (3,3) rotation of the piece within the object; its rows are the piece's axes, for textures that follow its
    faces.
    """

    vertices: Float64
    triangles: Int64
    material: Material
    frame: Float64

    @property
    def low(self) -> Float64:
        return np.asarray(self.vertices.min(axis=0))

    @property
    def high(self) -> Float64:
        return np.asarray(self.vertices.max(axis=0))


@dataclass(frozen=True)
class Support:
    """A level rectangle that small things may stand on: x0, x1, y0, y1 and height z in the object's frame; clearance
    above, metres.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    z: float
    clearance: float
    soft: bool = False


@dataclass(frozen=True)
class HostFace:
    """A plane face that flat things may lie on: a piece's face ("-y", "+z", ...), and what it is ("top", "front")."""

    piece: int
    face: str
    role: str


@dataclass
class Shape:
    """An object being put together."""

    pieces: list[Piece] = field(default_factory=list)
    supports: list[Support] = field(default_factory=list)
    hosts: list[HostFace] = field(default_factory=list)

    def box(
        self, x: float, y: float, z: float, sx: float, sy: float, sz: float, material: Material, tilt: float = 0.0
    ) -> int:
        """A box of size (sx, sy, sz) whose bottom's middle is at (x, y, z), leaning back by ``tilt`` radians; its
        index.
        """
        half = np.array([sx, sy, sz]) / 2
        corners = _CORNERS * half + [0, 0, half[2]]
        cosine, sine = np.cos(tilt), np.sin(tilt)
        turn = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
        corners = corners @ turn.T
        corners[:, 2] -= corners[:, 2].min()
        self.pieces.append(Piece(corners + np.array([x, y, z]), _BOX, material, turn.T))
        return len(self.pieces) - 1

    def turned(
        self, x: float, y: float, profile: list[tuple[float, float]], material: Material, segments: int = 20
    ) -> int:
        """A lathe piece round the vertical through (x, y): profile as (radius, z), from the bottom outside to the end;
        its index.
        """
        angle = np.arange(segments) * (2 * np.pi / segments)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        vertices = np.concatenate(
            [np.column_stack([ring * max(r, 1e-4) + [x, y], np.full(segments, z)]) for r, z in profile]
        )
        a = np.arange(segments)
        b = (a + 1) % segments
        triangles = []
        for k in range(len(profile) - 1):
            low, high = k * segments, (k + 1) * segments
            triangles.append(np.stack([low + a, low + b, high + b], axis=1))
            triangles.append(np.stack([low + a, high + b, high + a], axis=1))
        self.pieces.append(Piece(vertices, np.concatenate(triangles).astype(np.int64), material, np.eye(3)))
        return len(self.pieces) - 1

    def cylinder(
        self, x: float, y: float, z: float, radius: float, height: float, material: Material, top: float | None = None
    ) -> int:
        """A closed cylinder, or a cone's frustum when ``top`` (the upper radius) is given."""
        upper = radius if top is None else top
        return self.turned(x, y, [(0, z), (radius, z), (upper, z + height), (0, z + height)], material)

    def vessel(
        self, x: float, y: float, z: float, bottom: float, top: float, height: float, wall: float, material: Material
    ) -> int:
        """An open cup of two radii, with a wall's thickness."""
        profile = [
            (0, z),
            (bottom, z),
            (top, z + height),
            (top - wall, z + height),
            (max(bottom - wall, 0.001), z + wall),
            (0, z + wall),
        ]
        return self.turned(x, y, profile, material)

    def ball(self, x: float, y: float, z: float, radius: float, height: float, material: Material) -> int:
        """An ellipsoid of a horizontal radius and a height, whose lowest point is at z."""
        angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
        profile = [(float(radius * np.cos(t)), float(z + height / 2 * (1 + np.sin(t)))) for t in angle]
        return self.turned(x, y, profile, material)

    def legs(
        self, width: float, depth: float, height: float, thickness: float, material: Material, z: float = 0.0
    ) -> None:
        """Four square legs under the corners of a width x depth rectangle."""
        dx, dy = (width - thickness) / 2, (depth - thickness) / 2
        for x in (-dx, dx):
            for y in (-dy, dy):
                self.box(x, y, z, thickness, thickness, height, material)

    def support(
        self, x0: float, x1: float, y0: float, y1: float, z: float, clearance: float, soft: bool = False
    ) -> None:
        self.supports.append(Support(x0, x1, y0, y1, z, clearance, soft))

    def host(self, piece: int, face: str, role: str) -> None:
        self.hosts.append(HostFace(piece, face, role))

    @property
    def low(self) -> Float64:
        """(3,) lower corner of the whole object in its own frame."""
        return np.asarray(np.min([p.low for p in self.pieces], axis=0))

    @property
    def high(self) -> Float64:
        """(3,) upper corner."""
        return np.asarray(np.max([p.high for p in self.pieces], axis=0))
