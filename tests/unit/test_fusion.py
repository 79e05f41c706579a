"""Fusion against a reference in dicts, closed forms, and a rendered room."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.fusion import DepthView, _Grid, depth_normals, fuse
from ovseg3r_model.records import Correspondence, Points, Views

K = np.array([[40.0, 0, 15.5], [0, 42.0, 11.5], [0, 0, 1]])


def rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turn


def pose(turn: np.ndarray, at: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turn, at
    return out


def cameras(poses: list[np.ndarray], sizes: list[tuple[int, int]], intrinsics: np.ndarray = K) -> Views:
    v = len(poses)
    return Views(
        np.tile(intrinsics, (v, 1, 1)), np.stack(poses), np.array(sizes, np.int64), np.arange(v), np.arange(v) / 30
    )


def rays(size: tuple[int, int], intrinsics: np.ndarray = K) -> np.ndarray:
    """(H,W,3) directions with z = 1 in the camera."""
    y, x = np.indices((size[1], size[0]))
    return np.stack(
        [
            (x - intrinsics[0, 2]) / intrinsics[0, 0],
            (y - intrinsics[1, 2]) / intrinsics[1, 1],
            np.ones(x.shape),
        ],
        axis=-1,
    )


def view_of(depth: np.ndarray, seed: int = 0) -> DepthView:
    rng = np.random.default_rng(seed)
    return DepthView(
        rng.integers(0, 256, (*depth.shape, 3), dtype=np.uint8),
        depth.astype(np.float32),
        rng.uniform(0.1, 1, depth.shape).astype(np.float32),
    )


@dataclass
class Voxel:
    """All pixels of one voxel."""

    weight: list[float] = field(default_factory=list)
    world: list[np.ndarray] = field(default_factory=list)
    rgb: list[np.ndarray] = field(default_factory=list)
    at: list[tuple[int, int, int]] = field(default_factory=list)  # view, x, y


def reference(views: Views, pixels: list[DepthView], voxel: float, min_views: int) -> list[Voxel]:
    """The voxels of at least ``min_views`` views in Morton order, the slow way."""
    grid: dict[tuple[int, ...], Voxel] = defaultdict(Voxel)
    for v, p in enumerate(pixels):
        k, t = views.intrinsics[v], views.world_from_camera[v]
        for y, x in np.argwhere(p.depth > 0):
            z = float(p.depth[y, x])
            local = np.array([(x - k[0, 2]) / k[0, 0] * z, (y - k[1, 2]) / k[1, 1] * z, z, 1])
            world = (t @ local)[:3]
            cell = grid[tuple(int(c) for c in np.floor(world / voxel))]
            cell.weight.append(float(p.confidence[y, x]))
            cell.world.append(world)
            cell.rgb.append(p.rgb[y, x].astype(float))
            cell.at.append((v, int(x), int(y)))
    low = np.min(list(grid), axis=0)

    def morton(cell: tuple[int, ...]) -> int:
        offset = [int(c - least) for c, least in zip(cell, low, strict=True)]
        return sum(((offset[axis] >> bit) & 1) << (3 * bit + axis) for axis in range(3) for bit in range(21))

    return [grid[c] for c in sorted(grid, key=morton) if len({v for v, _, _ in grid[c].at}) >= min_views]


def assert_equals_reference(points: Points, correspondence: Correspondence, wanted: list[Voxel]) -> None:
    assert len(points) == len(wanted)
    xyz = np.array([np.average(w.world, axis=0, weights=w.weight) for w in wanted])
    rgb = np.array([np.average(w.rgb, axis=0, weights=w.weight) for w in wanted])
    np.testing.assert_allclose(points.xyz, xyz, atol=1e-5)
    assert np.abs(points.rgb - rgb).max() < 0.5 + 1e-6
    n_views = np.array([len({v for v, _, _ in w.at}) for w in wanted])
    confidence = np.array([np.mean(w.weight) for w in wanted]) * n_views / (n_views + 1)
    np.testing.assert_allclose(points.confidence, confidence, atol=1e-3)
    np.testing.assert_array_equal(np.diff(correspondence.indptr), n_views)
    for i, w in enumerate(wanted):
        rows = slice(correspondence.indptr[i], correspondence.indptr[i + 1])
        assert correspondence.view[rows].tolist() == sorted({v for v, _, _ in w.at})
        for v, pixel in zip(correspondence.view[rows], correspondence.pixel[rows].tolist(), strict=True):
            away = np.linalg.norm(np.array(w.world) - points.xyz[i], axis=1)
            distance = {(x, y): d for d, (u, x, y) in zip(away, w.at, strict=True) if u == v}
            assert distance[tuple(pixel)] <= min(distance.values()) + 1e-7


def bumpy_views(
    seed: int, sizes: list[tuple[int, int]], holes: float = 0.2
) -> tuple[Views, list[DepthView], Callable[[int], DepthView]]:
    """Random surfaces about a metre away with holes, from random poses; on both sides of the world's origin."""
    rng = np.random.default_rng(seed)
    pixels, poses = [], []
    for v, (width, height) in enumerate(sizes):
        depth = 1 + 0.1 * rng.random((height, width))
        depth[rng.random(depth.shape) < holes] = 0
        pixels.append(view_of(depth, seed=100 * seed + v))
        poses.append(pose(rotation(rng.standard_normal(3), 0.1), np.array([0, 0, -1]) + 0.05 * rng.standard_normal(3)))
    return cameras(poses, sizes), pixels, lambda v: pixels[v]


@pytest.mark.parametrize("min_views", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_reference(seed: int, min_views: int) -> None:
    views, pixels, read = bumpy_views(seed, [(32, 24)] * 5)
    points, correspondence = fuse(views, read, 0.06, min_views)
    wanted = reference(views, pixels, 0.06, min_views)
    assert len(wanted) > 10
    assert_equals_reference(points, correspondence, wanted)


def test_equals_the_reference_for_views_of_different_sizes() -> None:
    views, pixels, read = bumpy_views(7, [(20, 24), (32, 18), (11, 40)])
    points, correspondence = fuse(views, read, 0.06)
    assert_equals_reference(points, correspondence, reference(views, pixels, 0.06, 1))


def test_a_voxel_of_one_pixel_is_that_pixel() -> None:
    depth = np.zeros((24, 32), np.float32)
    depth[5, 20] = 2.0
    view = view_of(depth)
    points, correspondence = fuse(cameras([np.eye(4)], [(32, 24)]), lambda v: view, 0.02)
    np.testing.assert_allclose(points.xyz, [[(20 - 15.5) / 40 * 2, (5 - 11.5) / 42 * 2, 2]], atol=1e-6)
    np.testing.assert_array_equal(points.rgb[0], view.rgb[5, 20])
    np.testing.assert_array_equal(correspondence.pixel, [[20, 5]])
    direction = -points.xyz[0] / np.linalg.norm(points.xyz[0])
    np.testing.assert_allclose(points.normal[0], direction, atol=2e-3)  # without a surface: towards the camera


def plane_depth(normal: np.ndarray, offset: float, t: np.ndarray, size: tuple[int, int], k: np.ndarray) -> np.ndarray:
    """Depth of the plane normal . x = offset, as far as 6."""
    ray = rays(size, k) @ t[:3, :3].T
    depth = (offset - normal @ t[:3, 3]) / (ray @ normal)
    return np.where((depth > 0) & (depth < 6), depth, 0)


PLANE_CAMERA = np.array([[120.0, 0, 79.5], [0, 120.0, 59.5], [0, 0, 1]])


@pytest.mark.parametrize("tilt", [0.0, 0.5, 0.9])
def test_a_plane_has_its_normal_and_lies_in_itself(tilt: float) -> None:
    normal = np.array([np.sin(tilt), 0.2, -np.cos(tilt)])
    normal /= np.linalg.norm(normal)
    offset = float(normal @ [0, 0, 2])
    poses = [pose(rotation(np.array([1.0, 2, 3]), a), np.array([a, 0.1 * a, 0])) for a in (-0.1, 0, 0.1)]
    pixels = [view_of(plane_depth(normal, offset, t, (160, 120), PLANE_CAMERA)) for t in poses]
    points, _ = fuse(cameras(poses, [(160, 120)] * 3, PLANE_CAMERA), lambda v: pixels[v], 0.03)
    assert np.abs(points.xyz @ normal - offset).max() < 1e-5
    cosine = points.normal.astype(float) @ normal
    inside = np.linalg.norm(points.xyz - [0, 0, 2], axis=1) < 0.7
    assert inside.sum() > 300
    assert cosine[inside].min() > np.cos(np.deg2rad(1))
    assert np.mean(cosine > np.cos(np.deg2rad(1))) > 0.95
    assert cosine.min() > 0  # at the very border nothing tells the slope: but towards the cameras it is


def test_a_sphere_has_its_normals_towards_the_cameras() -> None:
    centre, radius = np.array([0.0, 0, 2]), 0.5
    poses, pixels = [], []
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        turn = rotation(np.array([0.0, 1, 0]), angle)
        t = pose(turn, centre - turn @ np.array([0.0, 0, 2]))
        ray = rays((160, 120), PLANE_CAMERA) @ turn.T
        b, c = ray @ (t[:3, 3] - centre), 4.0 - radius**2
        a = (ray**2).sum(axis=-1)
        root = b**2 - a * c
        poses.append(t)
        pixels.append(view_of(np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, 0)))
    points, correspondence = fuse(cameras(poses, [(160, 120)] * 12, PLANE_CAMERA), lambda v: pixels[v], 0.03, 2)
    outwards = points.xyz - centre
    distance = np.linalg.norm(outwards, axis=1)
    assert np.abs(distance - radius).max() < 0.01  # the mean of a cap of one voxel lies below it
    cosine = (points.normal.astype(float) * outwards).sum(axis=1) / distance
    assert np.median(cosine) > np.cos(np.deg2rad(2))
    assert np.mean(cosine > np.cos(np.deg2rad(8))) > 0.98
    eye = np.stack(poses)[correspondence.view, :3, 3]
    of = correspondence.point()
    assert ((eye - points.xyz[of]) * points.normal[of].astype(float)).sum(axis=1).min() > -0.3


def test_depth_normals_of_a_plane_point_to_the_camera_exactly() -> None:
    normal = np.array([0.3, -0.4, -1])
    normal /= np.linalg.norm(normal)
    depth = plane_depth(normal, float(normal @ [0, 0, 2]), np.eye(4), (64, 48), K).astype(np.float32)
    depth[20:24, 30:34] = 0
    got = depth_normals(depth, K)
    known = np.linalg.norm(got, axis=-1) > 0
    assert not known[20:24, 30:34].any()
    assert known[1:-1, 1:-1].sum() > 0.9 * 46 * 62
    assert (got[known] @ normal).min() > np.cos(np.deg2rad(1))


def test_depth_normals_do_not_bridge_a_step() -> None:
    depth = np.full((40, 40), 1.0, np.float32)
    depth[:, 20:] = 1.5
    got = depth_normals(depth, K)
    known = np.linalg.norm(got, axis=-1) > 0
    np.testing.assert_allclose(got[known] @ [0, 0, -1], 1, atol=1e-6)
    assert known[10:30, 10:30].sum() >= 18 * 20


@pytest.mark.parametrize("bad", [0.0, np.nan, -2.0])
def test_pixels_without_depth_are_no_points(bad: float) -> None:
    views, pixels, _ = bumpy_views(3, [(32, 24)] * 3, holes=0)
    for p in pixels:
        p.depth[:, 10:] = bad
    points, correspondence = fuse(views, lambda v: pixels[v], 0.05)
    assert correspondence.pixel[:, 0].max() == 9
    assert np.isfinite(points.xyz).all()
    assert np.isfinite(points.normal.astype(float)).all()
    assert_equals_reference(points, correspondence, reference(views, pixels, 0.05, 1))


@pytest.mark.parametrize("far", [np.inf, 1e7, 1e30])
def test_a_point_beyond_the_grid_is_the_inputs_fault(far: float) -> None:
    depth = np.full((24, 32), 1.0, np.float32)
    depth[12, 16] = far
    with pytest.raises(InputError, match="too far"):
        fuse(cameras([np.eye(4)], [(32, 24)]), lambda v: view_of(depth), 0.02)


def test_a_scene_in_millimetres_by_mistake_is_the_inputs_fault() -> None:
    at = pose(np.eye(3), np.array([1.2e6, 0, 0]))
    with pytest.raises(InputError, match="voxel"):
        fuse(cameras([at], [(32, 24)]), lambda v: view_of(np.ones((24, 32))), 0.02)


def test_without_any_depth_there_is_nothing_to_fuse() -> None:
    with pytest.raises(InputError, match="depth"):
        fuse(cameras([np.eye(4)], [(32, 24)]), lambda v: view_of(np.zeros((24, 32))), 0.02)


def test_a_view_seen_again_and_again_costs_no_memory() -> None:
    views, pixels, _ = bumpy_views(5, [(64, 48)])
    grid = _Grid(0.01)
    sizes = []
    for v in range(50):
        grid.add(v, pixels[0], views.intrinsics[0], views.world_from_camera[0])
        sizes.append((grid.count, len(grid.keys), len(grid.table), grid.sums.nbytes))
    assert set(sizes) == {sizes[0]}
    assert grid.count > 1000
    once, _ = fuse(views, lambda v: pixels[0], 0.01)
    many, seen = fuse(cameras([views.world_from_camera[0]] * 50, [(64, 48)] * 50), lambda v: pixels[0], 0.01, 50)
    np.testing.assert_allclose(many.xyz, once.xyz, atol=1e-6)
    np.testing.assert_array_equal(many.rgb, once.rgb)
    assert len(seen) == 50 * len(once)


def test_fused_twice_it_is_the_same_to_the_bit() -> None:
    views, _, read = bumpy_views(6, [(64, 48)] * 4)
    first, second = (fuse(views, read, 0.02, 2) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_a_row_wider_than_the_first_table_fits() -> None:
    width = 40_000
    k = np.array([[1000.0, 0, 0], [0, 1000, 0], [0, 0, 1]])
    depth = np.ones((2, width), np.float32)
    points, correspondence = fuse(cameras([np.eye(4)], [(width, 2)], k), lambda v: view_of(depth), 0.0005)
    assert len(points) == 2 * width  # a millimetre apart
    assert len(np.unique(correspondence.pixel, axis=0)) == 2 * width
    np.testing.assert_allclose(points.xyz[:, :2] * 1000, correspondence.pixel, atol=0.01)


def test_the_table_grows_in_the_middle_of_a_view() -> None:
    views, pixels, read = bumpy_views(8, [(128, 132)], holes=0)
    points, correspondence = fuse(views, read, 0.002)
    assert len(points) > 1 << 14
    assert_equals_reference(points, correspondence, reference(views, pixels, 0.002, 1))


def test_neighbours_lie_near_in_memory() -> None:
    views, _, read = bumpy_views(9, [(64, 48)])
    points, _ = fuse(views, read, 0.02)
    step = np.linalg.norm(np.diff(points.xyz, axis=0), axis=1)
    shuffled = np.linalg.norm(np.diff(np.random.default_rng(0).permutation(points.xyz), axis=0), axis=1)
    assert np.median(step) < np.median(shuffled) / 5
