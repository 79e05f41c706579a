"""The room: what is in it, exactly."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ovseg3r_model.records import Float32, Float64, Int32, UInt8, UInt32
from ovseg3r_model.rooms.decals import lay
from ovseg3r_model.rooms.geometry import Soup, build_soup, look, shell_shape
from ovseg3r_model.rooms.layout import Placed, fill, furnish
from ovseg3r_model.rooms.textures import Pattern, hue, of, shaded

if TYPE_CHECKING:
    import open3d as o3d


def tensor(values: Float32 | UInt32) -> "o3d.core.Tensor":
    """The same values for Open3D."""
    import open3d as o3d  # here, as it takes a second

    return o3d.core.Tensor.from_numpy(values)


@dataclass(frozen=True)
class RoomInstance:
    """One thing of the room: its id (1..K), its everyday name, other names for it, whether it is flat (in its host's
    plane).
    """

    id: int
    name: str
    synonyms: tuple[str, ...]
    flat: bool


@dataclass(frozen=True)
class Room:
    """A furnished room. World frame: z up, floor at z = 0, walls at x = 0, size[0] and y = 0, size[1]; metres.

    size (3,) float64; instances in order of id; placed: the solid things, instance k + 1 is placed[k]; soup: all
    triangles.
    """

    seed: int
    size: Float64
    instances: tuple[RoomInstance, ...]
    placed: tuple[Placed, ...] = field(repr=False)
    soup: Soup = field(repr=False)

    @cached_property
    def scene(self) -> "o3d.t.geometry.RaycastingScene":
        """For casting rays; triangle t of the scene is triangle t of ``soup``."""
        import open3d as o3d

        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(tensor(self.soup.vertices), tensor(self.soup.triangles))
        return scene

    @cached_property
    def blocks(self) -> Float64:
        """(P,7) the upright box of every piece of every thing: centre x, y, half width, half depth, yaw, bottom,
        top.
        """
        return np.concatenate([np.zeros((0, 7)), *(thing.blocks() for thing in self.placed)])

    def label_points(self, xyz: Float64 | Float32) -> Int32:
        """(N,) int32 instance id of the surface nearest to each point (N,3) of the world; 0 is wall, floor, ceiling.
        Flat things count.
        """
        if len(xyz) == 0:
            return np.zeros(0, np.int32)
        near = self.scene.compute_closest_points(tensor(np.ascontiguousarray(xyz, np.float32)))
        ids, _ = look(
            self.soup,
            near["points"].numpy().astype(np.float64),
            near["primitive_ids"].numpy().astype(np.int64),
            np.zeros(len(xyz)),
            colour=False,
        )
        return ids.astype(np.int32)

    def distance(self, xyz: Float64 | Float32) -> Float32:
        """(N,) float32 metres from each point (N,3) of the world to the nearest surface."""
        away: Float32 = self.scene.compute_distance(tensor(np.ascontiguousarray(xyz, np.float32))).numpy()
        return away

    def mesh(self) -> tuple[Float32, Int32]:
        """Vertices (V,3) float32 and triangles (T,3) int32 of everything; flat things have no triangles of their
        own.
        """
        return self.soup.vertices, self.soup.triangles.astype(np.int32)

    def surface(self, spacing: float, seed: int = 0) -> tuple[Float32, Float32, UInt8, Int32]:
        """The labelled surface, sampled evenly at about one point per ``spacing`` squared: xyz (N,3) float32, normal
        (N,3) float32, rgb (N,3) uint8, id (N,) int32. Surfaces nobody can see (undersides, backs) are in it."""
        if not spacing > 0:
            raise ValueError(f"spacing must be positive, not {spacing}")
        corners = self.soup.vertices.astype(np.float64)[self.soup.triangles]
        edges = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
        rng = np.random.default_rng([seed, self.seed, 7])
        edge = np.concatenate([[0.0], np.cumsum(area)])
        count = int(edge[-1] / spacing**2)
        # Stratified along the running area: no triangle gets more or fewer than its share by more than one.
        place = (np.arange(count) + rng.random(count)) * (edge[-1] / max(count, 1))
        primitive = np.clip(np.searchsorted(edge, place, side="right") - 1, 0, len(area) - 1)
        s, t = rng.random((2, count))
        s, t = np.where(s + t > 1, 1 - s, s), np.where(s + t > 1, 1 - t, t)
        xyz = corners[primitive, 0] + s[:, None] * edges[primitive, 0] + t[:, None] * edges[primitive, 1]
        ids, rgb = look(self.soup, xyz, primitive.astype(np.int64), np.full(count, min(spacing, 0.005)))
        return xyz.astype(np.float32), self.soup.normal[primitive].astype(np.float32), rgb, ids.astype(np.int32)


def make_room(seed: int, n_objects: int = 24, n_flat: int = 12) -> Room:
    """A room of the given seed: the same seed gives the same room. As many things as asked for, or as many as fit.

    Raises ValueError when fewer than 3 objects or a negative number of flat things is asked for.
    """
    if n_objects < 3 or n_flat < 0:
        raise ValueError(
            f"a room needs at least 3 objects and no negative number of flat things, not {n_objects} and {n_flat}"
        )
    rng = np.random.default_rng([seed, 1])
    size = np.round([rng.uniform(4.0, 6.0), rng.uniform(3.5, 5.0), rng.uniform(2.5, 2.8)], 2)
    furnishing = furnish(size, n_objects, rng)
    decals = lay(furnishing, n_flat, rng)
    fill(furnishing, n_objects)
    placed = furnishing.placed
    instances = [RoomInstance(k + 1, p.kind.name, p.kind.synonyms, False) for k, p in enumerate(placed)]
    instances += [RoomInstance(len(placed) + k + 1, d.kind.name, d.kind.synonyms, True) for k, d in enumerate(decals)]
    wall = hue(rng, 0.25, 0.85)
    walls = [of(rng, Pattern.WALLPAPER, wall, shaded(wall, 0.74), 0.08) for _ in range(4)]
    timber = shaded((0.72, 0.55, 0.38), rng.uniform(0.7, 1.15))
    floor = of(rng, Pattern.PLANKS, timber, shaded(timber, 0.62), 0.05)
    ceiling = of(rng, Pattern.WALLPAPER, (0.86, 0.86, 0.84), (0.66, 0.66, 0.65), 0.1)
    shell = shell_shape(size, walls, floor, ceiling)
    lights = np.array([[0.3, 0.3, 0.95, 0.55], [0.75, 0.6, 0.95, 0.5], [0.45, 0.85, 0.7, 0.3]]) * [*size, 1.0]
    return Room(seed, size, tuple(instances), tuple(placed), build_soup(size, shell, placed, decals, lights))
