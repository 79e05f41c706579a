"""IBSp against its reference, and against what it promises about flat things."""

from dataclasses import dataclass, replace
from typing import get_args

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.label_quality import superpoint_quality
from ovseg3r_model.lifting import lift
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Correspondence, Int32, Points, UInt32, Views
from ovseg3r_model.rooms import default_intrinsics, make_room, render, walk
from ovseg3r_model.settings import EdgeCut, ReconstructSettings, SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints, instance_superpoints, knn_edges
from ovseg3r_model.superpoints_reference import instance_superpoints_reference
from tests.contracts.reconstructor_contract import room_recording

CUTS: tuple[EdgeCut, ...] = get_args(EdgeCut)
WIDTH, HEIGHT = 32, 24


@dataclass(frozen=True)
class Seen:
    """A cloud, its cameras and their masks: what the superpoints are made of."""

    points: Points
    correspondence: Correspondence
    views: Views
    masks: list[UInt32]

    def superpoints(self, asked: SuperpointSettings) -> Int32:
        return instance_superpoints(self.points, self.correspondence, self.observation, self.views, self.masks, asked)

    def reference(self, asked: SuperpointSettings) -> Int32:
        return instance_superpoints_reference(
            self.points, self.correspondence, self.observation, self.views, self.masks, asked
        )

    @property
    def observation(self) -> UInt32:
        return lift(self.masks, self.correspondence)


def points_of(xyz: np.ndarray, normal: np.ndarray) -> Points:
    normal = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    n = len(xyz)
    return Points(xyz.astype(np.float32), np.zeros((n, 3), np.uint8), normal.astype(np.float16), np.ones(n, np.float16))


def random_scene(seed: int) -> Seen:
    """A bumpy sheet or a ball of 60-150 points with 1-5 cameras round it and blocky random masks; points are seen or
    overlooked at random.
    """
    rng = np.random.default_rng(seed)
    n, v = int(rng.integers(60, 151)), int(rng.integers(1, 6))
    xyz = rng.standard_normal((n, 3)) * [1, 1, rng.choice([0.05, 1.0])]
    normal = rng.choice([0.05, 0.15, 0.5]) * rng.standard_normal((n, 3)) + [0, 0, 1]
    poses, masks = [], []
    for _ in range(v):
        eye = rng.standard_normal(3)
        eye *= rng.uniform(3, 5) / np.linalg.norm(eye)
        z = -eye / np.linalg.norm(eye) + 0.1 * rng.standard_normal(3)
        axes, _ = np.linalg.qr(np.stack([z, rng.standard_normal(3), rng.standard_normal(3)], axis=1))
        pose = np.eye(4)
        z = axes[:, 0] * np.sign(axes[:, 0] @ z)
        pose[:3, :4] = np.stack([axes[:, 1], np.cross(z, axes[:, 1]), z, eye], axis=1)
        poses.append(pose)
        block = int(rng.choice([4, 8]))
        ids = rng.choice([0, 0, 1, 2, 3], (HEIGHT // block, WIDTH // block)) + 3 * len(masks) * (rng.random() < 0.8)
        masks.append(np.kron(ids, np.ones((block, block))).astype(np.uint32))
    intrinsics = np.array([[25.0, 0, 15.5], [0, 25, 11.5], [0, 0, 1]])
    rows: list[tuple[int, int, int, int]] = []
    for view, pose in enumerate(poses):
        local = (xyz.astype(np.float32) - pose[:3, 3]) @ pose[:3, :3]
        pixel = np.rint((local / local[:, 2:]) @ intrinsics.T)[:, :2] + rng.integers(-1, 2, (n, 2))
        inside = (pixel >= 0).all(axis=1) & (pixel < [WIDTH, HEIGHT]).all(axis=1) & (local[:, 2] > 0)
        rows += [(int(i), view, *map(int, pixel[i])) for i in np.flatnonzero(inside & (rng.random(n) < 0.7))]
    table = np.array(sorted(rows), np.int64).reshape(-1, 4)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(table[:, 0], minlength=n))])
    correspondence = Correspondence(indptr, table[:, 1].astype(np.uint16), table[:, 2:].astype(np.uint16))
    size = np.tile([WIDTH, HEIGHT], (v, 1))
    views = Views(np.tile(intrinsics, (v, 1, 1)), np.stack(poses), size, np.arange(v), np.zeros(v))
    return Seen(points_of(xyz, normal), correspondence, views, masks)


def random_settings(seed: int, cut: EdgeCut) -> SuperpointSettings:
    rng = np.random.default_rng(seed)
    return SuperpointSettings(
        neighbours=int(rng.integers(2, 10)),
        cut=cut,
        k_threshold=float(rng.choice([0.001, 0.01, 0.1, 1.0])),
        min_points=int(rng.choice([1, 3, 10, 20])),
    )


@pytest.mark.parametrize("cut", CUTS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_equals_the_reference(cut: EdgeCut, seed: int) -> None:
    scene, asked = random_scene(seed), random_settings(seed, cut)
    np.testing.assert_array_equal(scene.superpoints(asked), scene.reference(asked))


def test_the_random_scenes_tell_the_rules_apart() -> None:
    """Else the comparison above would prove little."""
    results = []
    for cut in CUTS:
        asked = SuperpointSettings(cut=cut, k_threshold=0.1, min_points=3)
        results.append(np.concatenate([random_scene(seed).superpoints(asked) for seed in range(10)]))
    for a in range(len(CUTS)):
        for b in range(a):
            assert (results[a] != results[b]).any(), (CUTS[a], CUTS[b])


@pytest.mark.parametrize("cut", CUTS)
def test_without_masks_it_is_geometry_alone(cut: EdgeCut) -> None:
    for seed in range(5):
        scene, asked = random_scene(seed), random_settings(seed, cut)
        empty = replace(scene, masks=[np.zeros_like(m) for m in scene.masks])
        np.testing.assert_array_equal(empty.superpoints(asked), geometry_superpoints(scene.points, asked))


@pytest.mark.parametrize("cut", CUTS)
def test_numbers_have_no_gaps_and_follow_the_first_points(cut: EdgeCut) -> None:
    for seed in range(5):
        got = random_scene(seed).superpoints(random_settings(seed, cut))
        assert got.dtype == np.int32
        numbers, first = np.unique(got, return_index=True)
        np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
        assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("cut", CUTS)
def test_run_twice_it_is_the_same(cut: EdgeCut) -> None:
    scene, asked = random_scene(11), random_settings(11, cut)
    np.testing.assert_array_equal(scene.superpoints(asked), scene.superpoints(asked))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("cut", CUTS)
def test_few_points_and_more_neighbours_than_points(cut: EdgeCut, n: int) -> None:
    xyz = np.arange(3 * n, dtype=float).reshape(n, 3) * [0.01, 0.02, 0] + [0, 0, 2]
    whole = points_of(xyz, np.tile([0.0, 0, -1], (n, 1)))
    views = Views(
        np.array([[[25.0, 0, 15.5], [0, 25, 11.5], [0, 0, 1]]]),
        np.eye(4)[None],
        np.array([[32, 24]]),
        np.arange(1),
        np.zeros(1),
    )
    correspondence = Correspondence(
        np.arange(n + 1), np.zeros(n, np.uint16), np.tile(np.array([[16, 12]], np.uint16), (n, 1))
    )
    scene = Seen(whole, correspondence, views, [np.ones((24, 32), np.uint32)])
    asked = SuperpointSettings(cut=cut, neighbours=8)
    assert scene.superpoints(asked).tolist() == [0] * n
    assert geometry_superpoints(whole, asked).tolist() == [0] * n


def test_knn_edges_are_those_of_brute_force() -> None:
    for seed in range(5):
        xyz = np.random.default_rng(seed).random((100, 3)).astype(np.float32)
        distance = np.linalg.norm(xyz[:, None].astype(float) - xyz[None], axis=2)
        wanted = {(min(i, j), max(i, j)) for i in range(100) for j in np.argsort(distance[i])[1:7].tolist()}
        edges = knn_edges(xyz, 6).tolist()
        assert len(edges) == len(wanted)
        assert {tuple(e) for e in edges} == wanted


def two_cliques(normals: tuple[list[float], list[float]]) -> Points:
    """Two groups of 30 points, a gap between them that the graph still spans."""
    rng = np.random.default_rng(0)
    left = np.column_stack([rng.uniform(0, 0.5, 30), rng.uniform(0, 0.3, 30), np.zeros(30)])
    xyz = np.concatenate([left, left + np.array([0.55, 0, 0])])
    return points_of(xyz, np.repeat(np.array(normals), 30, axis=0))


def test_a_fold_separates_and_a_plane_does_not() -> None:
    asked = SuperpointSettings(min_points=1)
    flat = geometry_superpoints(two_cliques(([0, 0, 1], [0, 0, 1])), asked)
    assert len(np.unique(flat)) == 1
    folded = geometry_superpoints(two_cliques(([0, 0, 1], [1, 0, 0.2])), asked)
    assert folded.tolist() == [0] * 30 + [1] * 30


def test_a_convex_fold_is_crossed_more_easily_than_a_concave_one() -> None:
    """A fold of 10 degrees weighs 0.015: more than k / 30 = 0.01 in a nook, and squared far less at an outer edge."""
    tilt = float(np.tan(np.deg2rad(10)))
    asked = SuperpointSettings(min_points=1, k_threshold=0.3)
    outer = geometry_superpoints(two_cliques(([0, 0, 1], [tilt, 0, 1])), asked)
    nook = geometry_superpoints(two_cliques(([0, 0, 1], [-tilt, 0, 1])), asked)
    assert len(np.unique(outer)) == 1
    assert len(np.unique(nook)) == 2


PICTURE = np.array([-0.3, 0.3])  # of a square picture in x and y, metres
VOXEL = 0.03


def wall_with_a_picture() -> Seen:
    """The wall z = 2 with a square of its own id, seen from six sides with exact masks."""
    k, (width, height) = default_intrinsics((160, 120)), (160, 120)
    y, x = np.indices((height, width))
    ray = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones(x.shape)], axis=-1)
    poses, masks, pixels = [], [], []
    for v, (angle, at) in enumerate(((-0.35, 0.5), (-0.2, 0.35), (0.0, 0.1), (0.1, -0.2), (0.25, -0.3), (0.4, -0.8))):
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        pose[:3, 3] = [at, 0.03 * v, 0.05 * v]
        world = ray @ pose[:3, :3].T
        z = (2 - pose[2, 3]) / world[..., 2]
        at_wall = world * z[..., None] + pose[:3, 3]
        inside = (at_wall[..., :2] > PICTURE[0]).all(axis=-1) & (at_wall[..., :2] < PICTURE[1]).all(axis=-1)
        poses.append(pose)
        masks.append(np.where(inside, v + 1, 0).astype(np.uint32))  # each view names the picture anew
        pixels.append(
            DepthView(np.zeros((height, width, 3), np.uint8), z.astype(np.float32), np.ones(z.shape, np.float32))
        )
    views = Views(np.tile(k, (6, 1, 1)), np.stack(poses), np.tile([width, height], (6, 1)), np.arange(6), np.zeros(6))
    points, correspondence = fuse(views, lambda v: pixels[v], VOXEL, 2)
    return Seen(points, correspondence, views, masks)


def test_a_flat_picture_in_a_flat_wall_does_not_leak() -> None:
    scene = wall_with_a_picture()
    from_border = np.abs(scene.points.xyz[:, :2]).max(axis=1) - PICTURE[1]
    surely_in, surely_out = from_border < -VOXEL, from_border > VOXEL
    assert surely_in.sum() > 200
    assert surely_out.sum() > 1000
    assert len(np.unique(geometry_superpoints(scene.points, SuperpointSettings()))) == 1  # geometry cannot see it
    got = scene.superpoints(SuperpointSettings())
    assert not set(got[surely_in].tolist()) & set(got[surely_out].tolist())
    # and it is one piece, not crumbs
    assert np.bincount(got[surely_in]).max() == surely_in.sum()
    assert np.bincount(got[surely_out]).max() > 0.95 * surely_out.sum()


def test_flat_things_of_a_room_are_saved() -> None:
    """Exact depth and true masks: IBSp keeps the pictures and rugs that geometry cannot see."""
    room, size, seed, count = make_room(1), (320, 240), 1, 30
    recording = room_recording(seed, count, size)
    result = PosedRgbd(ReconstructSettings()).reconstruct(recording)
    masks = [render(room, default_intrinsics(size), size, pose).ids for pose in walk(room, count, seed)]
    scene = Seen(result.points, result.correspondence, result.views, masks)
    truth = room.label_points(result.points.xyz)
    flat = [i.id for i in room.instances if i.flat]
    edges = knn_edges(result.points.xyz, 8)
    geometry, ibsp = (
        superpoint_quality(superpoint, truth, edges, flat)
        for superpoint in (
            geometry_superpoints(scene.points, SuperpointSettings()),
            scene.superpoints(SuperpointSettings()),
        )
    )
    assert ibsp.oracle_ap_flat > 0.5
    assert ibsp.oracle_ap_flat > 3 * geometry.oracle_ap_flat
    assert ibsp.oracle_ap > geometry.oracle_ap
    assert ibsp.boundary_recall > geometry.boundary_recall
    assert ibsp.purity > geometry.purity


def test_scenes_may_be_worked_on_at_once_whatever_else_is_set_of_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_COLOR_SCHEME", "no_color")
    numba.config.reload_config()  # as the compiler does
    assert numba.config.THREADING_LAYER == "omp"
