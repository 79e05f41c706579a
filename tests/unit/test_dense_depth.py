"""Dense depth: closed forms, a room, and what must not happen."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.dense import consistency, smoothing
from ovseg3r_model.reconstruction.dense.depth_maps import dense_depth, working_size
from ovseg3r_model.reconstruction.dense.full_resolution import full_resolution
from ovseg3r_model.reconstruction.dense.maps import MapsOnDisk, SparsePoints
from ovseg3r_model.reconstruction.dense.source_views import plan
from ovseg3r_model.records import Views
from ovseg3r_model.rooms import default_intrinsics, make_room, render, walk
from ovseg3r_model.settings import DenseSettings

SIZE = (160, 120)
SETTINGS = DenseSettings(short_side=120, device="cpu", planes=64)


def _views(count, step=0.06):
    """Cameras in a row along x, looking along z."""
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, 0, 3] = step * (np.arange(count) - (count - 1) / 2)
    return Views(
        np.tile(default_intrinsics(SIZE), (count, 1, 1)),
        pose,
        np.tile(np.array(SIZE), (count, 1)),
        np.arange(count),
        np.arange(count) * 1.0,
    )


def _texture():
    noise = np.random.default_rng(0).normal(size=(1200, 1200))
    field = ndimage.gaussian_filter(noise, 4) * 8 + ndimage.gaussian_filter(noise, 2)
    return np.clip(128 + 90 * field / field.std() / 2, 0, 255).astype(np.float32)


def _plane(views, slope, blank=False, at=2.0):
    """Pictures and depths of the plane z = ``at`` + slope * x, textured or not, and sparse points on it."""
    texture, color, depth, points = _texture(), [], [], []
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    for k, pose in zip(views.intrinsics, views.world_from_camera, strict=True):
        ray = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1]])
        z = (at + slope * pose[0, 3]) / (1 - slope * ray[0])
        world = ray * z + pose[:2, 3, None, None]
        where = (world * 70 + 600).astype(np.float32)
        grey = np.full(z.shape, 128.0) if blank else cv2.remap(texture, where[0], where[1], cv2.INTER_LINEAR)
        color.append(np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2))
        depth.append(z)
        points.append(np.stack([*world, z], axis=-1)[5::20, 5::20].reshape(-1, 3))
    xyz = np.concatenate(points)
    count = len(views)
    everyone = np.tile(np.arange(len(xyz)), count)
    return color, depth, SparsePoints(xyz, np.arange(count + 1) * len(xyz), everyone)


class Kept:
    """A :class:`DepthMaps` that keeps the arrays as they are."""

    def __init__(self):
        self.maps = {}

    def save(self, view, depth, confidence):
        self.maps[view] = depth, confidence

    def load(self, view):
        return self.maps[view]


def _run(color, views, points, settings=SETTINGS, raw=None):
    raw, final = raw or Kept(), Kept()
    dense_depth(color, views, points, settings, 2, raw, final)
    return raw, final


def _figures(estimate, truth):
    """Share of the pixels with depth, and their median relative error."""
    has = estimate > 0
    return has.mean(), np.median(np.abs(estimate - truth)[has] / truth[has])


@pytest.mark.parametrize(("slope", "limit"), [(0.0, 0.015), (0.6, 0.015), (-0.6, 0.015)])
def test_a_textured_plane(slope, limit):
    views = _views(7, step=0.1)
    color, depth, points = _plane(views, slope)
    _, final = _run(color, views, points)
    coverage, error = _figures(final.maps[3][0], depth[3])
    assert coverage > 0.8
    assert error < limit


def test_a_blank_wall_is_not_believed():
    views = _views(5)
    textured = _run(*_swap(_plane(views, 0.0), views))[0]
    blank = _run(*_swap(_plane(views, 0.0, blank=True), views))[0]
    assert blank.maps[2][1].mean() < 0.3 < 0.6 < textured.maps[2][1].mean()


def _swap(made, views):
    return made[0], views, made[2]


@pytest.fixture(scope="module")
def room():
    place = make_room(3)
    poses = walk(place, 14, 3)
    k = default_intrinsics(SIZE)
    shots = [render(place, k, SIZE, pose) for pose in poses]
    views = Views(np.tile(k, (14, 1, 1)), poses, np.tile(np.array(SIZE), (14, 1)), np.arange(14), np.arange(14) * 1.0)
    xyz, seen = [], []
    for shot, pose in list(zip(shots, poses, strict=True))[::3]:
        y, x = np.mgrid[6 : SIZE[1] : 12, 6 : SIZE[0] : 12].reshape(2, -1)
        ray = np.stack([x, y, np.ones_like(x)]).T @ np.linalg.inv(k).T
        xyz.append((ray * shot.depth[y, x][:, None]) @ pose[:3, :3].T + pose[:3, 3])
    points = np.concatenate(xyz)
    for shot, pose in zip(shots, poses, strict=True):
        camera = (points - pose[:3, 3]) @ pose[:3, :3]
        pixel = np.rint((camera @ k.T)[:, :2] / np.maximum(camera[:, 2:], 1e-6)).astype(int)
        inside = np.flatnonzero((camera[:, 2] > 0.1) & (pixel >= 0).all(1) & (pixel < SIZE).all(1))
        there = shot.depth[pixel[inside, 1], pixel[inside, 0]]
        seen.append(inside[np.abs(there - camera[inside, 2]) < 0.03 * there])
    sparse = SparsePoints(points, np.concatenate([[0], np.cumsum([len(s) for s in seen])]), np.concatenate(seen))
    color = [shot.rgb for shot in shots]
    return color, views, sparse, [shot.depth for shot in shots], _run(color, views, sparse)


def test_a_room(room):
    _, _, _, depth, (_, final) = room
    figures = np.array([_figures(final.maps[v][0], depth[v]) for v in range(3, 11)])
    assert figures[:, 0].mean() > 0.55
    assert figures[:, 1].mean() < 0.015


def test_confidence_predicts_the_error(room):
    _, _, _, depth, (_, final) = room
    confidence = np.concatenate([final.maps[v][1].ravel() for v in range(14)])
    estimate = np.concatenate([final.maps[v][0].ravel() for v in range(14)])
    truth = np.concatenate([d.ravel() for d in depth])
    right = np.abs(estimate - truth) < 0.02 * truth
    assert ((confidence > 0) == (estimate > 0)).all()
    assert confidence.max() <= 1
    sure, unsure = confidence > 0.9, (confidence > 0) & (confidence < 0.6)
    assert right[sure].mean() > 0.85
    assert right[sure].mean() > right[unsure].mean() + 0.1


def test_the_same_bytes_again(room):
    color, views, points, _, (_, final) = room
    _, again = _run(color, views, points)
    for v in range(len(views)):
        for a, b in zip(final.maps[v], again.maps[v], strict=True):
            assert a.tobytes() == b.tobytes()


def test_scale_does_not_matter(room):
    color, views, points, _, (_, final) = room
    poses = views.world_from_camera.copy()
    poses[:, :3, 3] *= 8  # a power of two: exact
    bigger = replace(views, world_from_camera=poses)
    _, scaled = _run(color, bigger, replace(points, xyz=points.xyz * 8))
    a, b = final.maps[7][0], scaled.maps[7][0] / 8
    both = (a > 0) & (b > 0)
    assert both.sum() > 0.97 * (a > 0).sum()
    assert np.median(np.abs(a - b)[both] / a[both]) < 1e-4


def _map(depth, confidence=0.9, shift=0.0):
    pose = np.eye(4)
    pose[0, 3] = shift
    values = torch.as_tensor(np.asarray(depth, np.float32))
    return consistency.DepthMap(values, torch.full_like(values, confidence), default_intrinsics(SIZE), pose)


def test_neighbours_outvote_a_wrong_map():
    flat = np.full(SIZE[::-1], 2.0)
    wrong = flat.copy()
    wrong[40:80, 60:100] = 1.2
    found = consistency.agree(_map(wrong), [_map(flat, shift=s) for s in (-0.1, 0.1, 0.2)], 0.02)
    patch = found.depth[45:75, 65:95]
    assert (patch - 2.0).abs().max() < 0.01
    assert (found.count[45:75, 65:95] == 3).all()
    assert (found.own[45:75, 65:95] == 0).all()


def test_a_hole_is_filled_by_neighbours():
    flat = np.full(SIZE[::-1], 2.0)
    holed = flat.copy()
    holed[40:80, 60:100] = 0
    found = consistency.agree(_map(holed), [_map(flat, shift=s) for s in (-0.1, 0.1, 0.2)], 0.02)
    assert ((found.depth - 2.0).abs() < 0.01)[:, 15:-15].all()


def test_a_depth_that_others_look_through_is_contradicted():
    flat = np.full(SIZE[::-1], 2.0)
    floating = np.full(SIZE[::-1], 1.5)
    found = consistency.agree(_map(floating), [_map(flat, confidence=0.04, shift=0.1)] * 2, 0.02)
    clear = consistency.agree(_map(flat), [_map(flat, confidence=0.04, shift=0.1)] * 2, 0.02)
    assert found.against[:, 20:-20].min() > clear.against[:, 20:-20].max()


def test_the_smoothing_prefers_one_surface():
    cost = torch.full((9, 9, 8), 0.5)
    cost[..., 3] = 0.2
    cost[4, 4] = 0.5
    cost[4, 4, 6] = 0.4  # one pixel's fancy
    total = smoothing.semi_global(cost, 0.05, torch.full((9, 9), 0.3))
    assert (total.argmin(-1) == 3).all()


def test_sources_see_the_same_from_elsewhere():
    views = _views(9, step=0.1)
    _, _, points = _plane(views, 0.0)
    plans = plan(views, points, 3, 5)
    assert all(p is not None for p in plans)
    for v, p in enumerate(plans):
        assert v not in p.neighbours
        assert len(set(p.neighbours)) == 5
        assert p.neighbours[:3] == p.sources
        assert p.near < 2.0 < p.far


def test_views_without_common_points():
    views = _views(3)
    color, _, _ = _plane(views, 0.0)
    lonely = SparsePoints(np.zeros((0, 3)), np.zeros(4, np.int64), np.zeros(0, np.int64))
    with pytest.raises(InputError, match="enough points in common"):
        _run(color, views, lonely)


def test_maps_on_disk_and_progress(tmp_path):
    views = _views(5)
    color, _, points = _plane(views, 0.0)
    size = working_size(SIZE, SETTINGS.short_side)
    raw, final = (MapsOnDisk(tmp_path / name, 5, size) for name in ("raw", "final"))
    told = []
    dense_depth(color, views, points, SETTINGS, 1, raw, final, lambda done, total: told.append((done, total)))
    assert told == [(k, 10) for k in range(1, 11)]
    _, memory = _run(color, views, points)
    for v in range(5):
        for a, b in zip(final.load(v), memory.load(v), strict=True):
            np.testing.assert_array_equal(a, b)


def test_full_resolution_keeps_planes_and_edges():
    k = default_intrinsics((320, 240))
    x = (np.arange(320) - k[0, 2]) / k[0, 0]
    slanted = np.tile(2 / (1 - 0.5 * x), (240, 1))
    small = np.tile(2 / (1 - 0.5 * ((np.arange(160) * 2 + 0.5) - k[0, 2]) / k[0, 0]), (120, 1)).astype(np.float32)
    depth, confidence = full_resolution(small, np.ones_like(small), (320, 240))
    assert np.abs(depth - slanted)[:, 2:-2].max() < 1e-3
    assert confidence.shape == depth.shape == (240, 320)
    step = np.full((120, 160), 1.0, np.float32)
    step[:, 80:] = 3.0
    step[50:60] = 0
    depth, _ = full_resolution(step, np.ones_like(step), (320, 240))
    assert set(np.unique(depth)) == {0.0, 1.0, 3.0}
