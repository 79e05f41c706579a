"""The rooms against independent truth: geometry by distance, conventions by projection, rates by counting."""

import cv2
import numpy as np
import open3d as o3d
import pytest

from ovseg3r_model.rooms import (
    FLAT_KINDS,
    SOLID_KINDS,
    RenderedView,
    Room,
    corrupt,
    default_intrinsics,
    make_room,
    render,
    walk,
)
from ovseg3r_model.settings import MaskErrors
from tests.unit.room_views import SIZE, K, away_from_borders, to_world


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(4)


@pytest.fixture(scope="module")
def poses(room: Room) -> np.ndarray:
    return walk(room, 100, 0)


@pytest.fixture(scope="module")
def views(room: Room, poses: np.ndarray) -> list[RenderedView]:
    return [render(room, K, SIZE, pose) for pose in poses[::10]]


def test_the_catalogue_is_rich() -> None:
    assert len({k.name for k in SOLID_KINDS}) >= 30
    assert len({k.name for k in FLAT_KINDS}) >= 8
    names = [n for k in (*SOLID_KINDS, *FLAT_KINDS) for n in (k.name, *k.synonyms)]
    assert len(names) == len(set(names))  # no name means two kinds
    assert all(k.synonyms for k in (*SOLID_KINDS, *FLAT_KINDS))


@pytest.mark.parametrize("seed", range(4))
def test_a_room_holds_what_was_asked_for(seed: int) -> None:
    room = make_room(seed)
    assert [i.id for i in room.instances] == list(range(1, 37))
    assert sum(i.flat for i in room.instances) == 12
    assert (room.size >= [4, 3.5, 2.5]).all()
    assert (room.size <= [6, 5, 2.8]).all()


def test_every_kind_can_be_built_and_stands_on_its_origin() -> None:
    for kind in SOLID_KINDS:
        for seed in range(3):
            shape = kind.build(np.random.default_rng(seed))
            assert abs(shape.low[2]) < 1e-9, kind.name
            assert (shape.high - shape.low < 2.5).all(), kind.name
            assert np.abs(shape.low[:2] + shape.high[:2]).max() < 0.12, kind.name  # about its middle


def test_depth_lies_on_the_mesh(room: Room, views: list[RenderedView], poses: np.ndarray) -> None:
    vertices, triangles = room.mesh()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(triangles.astype(np.uint32)))
    for view, pose in list(zip(views, poses[::10], strict=True))[:3]:
        assert (view.depth > 0).all()  # the room is closed
        distance = scene.compute_distance(o3d.core.Tensor(to_world(view.depth, pose).astype(np.float32))).numpy()
        assert distance.max() < 1e-3


def test_ids_agree_with_the_labels_of_points(room: Room, views: list[RenderedView], poses: np.ndarray) -> None:
    for view, pose in zip(views, poses[::10], strict=True):
        inside = away_from_borders(view.ids).ravel()
        labels = room.label_points(to_world(view.depth, pose)[inside])
        assert (labels == view.ids.ravel()[inside]).mean() > 0.9995


def test_flat_things_are_seen_and_lie_in_their_host(room: Room, views: list[RenderedView], poses: np.ndarray) -> None:
    """The pixels of a flat thing are in one plane, and that plane goes on under its surroundings."""
    flat = [i.id for i in room.instances if i.flat]
    checked = 0
    for view, pose in zip(views, poses[::10], strict=True):
        world = to_world(view.depth, pose).reshape(*view.depth.shape, 3)
        for instance in flat:
            mask = view.ids == instance
            if mask.sum() < 400:
                continue
            points = world[mask]
            centre = points.mean(axis=0)
            normal = np.linalg.svd(points - centre, full_matrices=False)[2][2]
            assert np.abs((points - centre) @ normal).max() < 1e-4
            ring = (cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & ~mask
            near = np.abs((world[ring] - centre) @ normal)
            assert (near < 1e-4).mean() > 0.3
            checked += 1
    assert checked > 10


def test_flat_things_add_no_geometry() -> None:
    with_flat, without = make_room(5, n_objects=6, n_flat=6), make_room(5, n_objects=6, n_flat=0)
    shell_and_floor = 12  # triangles of walls, floor, ceiling come first
    assert np.array_equal(with_flat.mesh()[1][:shell_and_floor], without.mesh()[1][:shell_and_floor])
    assert with_flat.soup.id.max() == len(with_flat.placed)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_inside_anything_else(seed: int) -> None:
    """No surface point of one thing lies more than 1 mm inside the box of a piece of another, nor outside the room."""
    room = make_room(seed)
    xyz, _, _, ids = room.surface(0.03)
    assert (xyz > -1e-4).all()
    assert (xyz < room.size + 1e-4).all()
    solid = (ids > 0) & (ids <= len(room.placed))
    for index, thing in enumerate(room.placed):
        c, s = np.cos(thing.yaw), np.sin(thing.yaw)
        local = (xyz[solid & (ids != index + 1)] - thing.origin) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        for piece in thing.shape.pieces:
            inside = ((local > piece.low + 1e-3) & (local < piece.high - 1e-3)).all(axis=1)
            assert not inside.any(), thing.kind.name


def test_nothing_floats(room: Room) -> None:
    """Under every thing that is not hung on a wall there is, within 1 mm, another thing or the floor."""
    for index, thing in enumerate(room.placed):
        if thing.kind.place == "mounted":
            continue
        bottom = thing.origin
        if bottom[2] < 1e-6:
            continue
        triangles = room.soup.vertices[room.soup.triangles[room.soup.id == index + 1]].reshape(-1, 3)
        feet = triangles[triangles[:, 2] < triangles[:, 2].min() + 1e-4].mean(axis=0)
        others = np.setdiff1d(room.label_points((feet - np.array([0, 0, 0.0005]))[None]), [index + 1])
        below = [room.placed[o - 1] for o in others if 0 < o <= len(room.placed)]
        tops = [float(b.origin[2] + s.z) for p in (below or room.placed) for b, s in ((p, s) for s in p.shape.supports)]
        assert np.abs(np.array(tops) - bottom[2]).min() < 1e-3, thing.kind.name


def test_the_surface_is_labelled_like_its_points(room: Room) -> None:
    xyz, normal, rgb, ids = room.surface(0.05, seed=3)
    assert np.allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    assert rgb.std() > 20
    # Where two things touch, the nearest surface may be the other's.
    assert (room.label_points(xyz) == ids).mean() > 0.97
    with pytest.raises(ValueError, match="spacing"):
        room.surface(0)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_the_walk_is_a_persons(seed: int) -> None:
    room = make_room(seed)
    poses = walk(room, 100, 2)
    rotation, eye = poses[:, :3, :3], poses[:, :3, 3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-12)
    assert np.allclose(np.linalg.det(rotation), 1)
    assert np.abs(eye[:, 2] - 1.5).max() < 0.1
    assert min(eye[:, :2].min(), (room.size[:2] - eye[:, :2]).min()) > 0.25
    for thing in room.placed:  # never over furniture, not even low one
        local = (eye - thing.origin) @ np.array(
            [[np.cos(thing.yaw), -np.sin(thing.yaw), 0], [np.sin(thing.yaw), np.cos(thing.yaw), 0], [0, 0, 1]]
        )
        for piece in thing.shape.pieces:
            over = ((local[:, :2] > piece.low[:2] - 0.05) & (local[:, :2] < piece.high[:2] + 0.05)).all(axis=1)
            assert not over.any() or thing.origin[2] > 1.9, thing.kind.name
    assert np.linalg.norm(np.diff(eye, axis=0), axis=1).max() < 0.2
    turn = np.einsum("vi,vi->v", rotation[1:, :, 2], rotation[:-1, :, 2])
    assert np.rad2deg(np.arccos(np.clip(turn, -1, 1))).max() < 15
    heading = np.arctan2(rotation[:, 1, 2], rotation[:, 0, 2])
    assert len(np.unique(np.floor(heading / (np.pi / 4)))) == 8  # all sides of the room
    assert rotation[:, 2, 2].mean() < -0.1  # looks down a little
    assert rotation[:, 2, 1].max() < -0.7  # the picture's down is down


def test_neighbouring_views_overlap(room: Room, poses: np.ndarray) -> None:
    for k in (10, 50, 90):
        first, second = (render(room, K, SIZE, poses[i]) for i in (k, k + 1))
        seen = (to_world(first.depth, poses[k]) - poses[k + 1, :3, 3]) @ poses[k + 1, :3, :3]
        u = np.rint(seen[:, 0] / seen[:, 2] * K[0, 0] + K[0, 2])
        v = np.rint(seen[:, 1] / seen[:, 2] * K[1, 1] + K[1, 2])
        inside = (seen[:, 2] > 0) & (u >= 0) & (u < SIZE[0]) & (v >= 0) & (v < SIZE[1])
        again = second.depth[v[inside].astype(int), u[inside].astype(int)]
        assert (np.abs(again - seen[inside, 2]) < 0.05).sum() > 0.6 * inside.size


def test_features_can_be_matched(room: Room, poses: np.ndarray) -> None:
    k = default_intrinsics((640, 480))
    sift, found = cv2.SIFT_create(), []
    for pose in poses[[20, 21]]:
        grey = cv2.cvtColor(render(room, k, (640, 480), pose).rgb, cv2.COLOR_RGB2GRAY)
        found.append(sift.detectAndCompute(grey, None))
    pairs = cv2.BFMatcher().knnMatch(found[0][1], found[1][1], k=2)
    assert sum(a.distance < 0.8 * b.distance for a, b in pairs) > 500


def test_depth_noise_grows_with_distance(room: Room, poses: np.ndarray) -> None:
    exact, noisy = (render(room, K, SIZE, poses[0], noise, seed=1) for noise in (0.0, 0.002))
    assert np.array_equal(exact.rgb, noisy.rgb)
    assert np.array_equal(exact.ids, noisy.ids)
    kept = noisy.depth > 0
    assert 0.5 < kept.mean() < 1.0
    error = (noisy.depth - exact.depth)[kept] / exact.depth[kept] ** 2
    assert error.std() == pytest.approx(0.002, rel=0.03)
    assert abs(error.mean()) < 1e-4


def test_masks_without_errors_are_the_truth(room: Room, views: list[RenderedView]) -> None:
    for view in views:
        masks = corrupt(view.ids, room.instances, MaskErrors.none(), 3)
        present = np.unique(view.ids[view.ids > 0])
        assert masks.labels == tuple(room.instances[i - 1].name for i in present)
        assert np.array_equal(np.concatenate([[0], present])[masks.ids], view.ids)
        assert masks.scores.dtype == np.float32
        assert ((masks.scores > 0) & (masks.scores <= 1)).all()


def test_errors_come_at_their_rates(room: Room) -> None:
    """Twelve squares that do not touch, 200 times: every error is told from the truth and counted."""
    ids = np.zeros((120, 160), np.uint32)
    for k in range(12):
        ids[10 + 40 * (k // 4) : 30 + 40 * (k // 4), 10 + 40 * (k % 4) : 30 + 40 * (k % 4)] = k + 1
    count = dict.fromkeys(("miss", "split", "dilate", "erode", "wrong", "synonym"), 0)
    whole = 0
    errors = MaskErrors(
        dilate=0.2, dilate_px=3, erode=0.15, erode_px=2, miss=0.1, split=0.05, wrong_name=0.12, synonym=0.3
    )
    for seed in range(200):
        masks = corrupt(ids, room.instances, errors, seed)
        assert np.array_equal(np.unique(masks.ids), np.arange(len(masks.labels) + 1))
        for k in range(12):
            y, x = 10 + 40 * (k // 4), 10 + 40 * (k % 4)
            tile = masks.ids[y - 8 : y + 28, x - 8 : x + 28]
            found = np.unique(tile[tile > 0])
            count["miss"] += len(found) == 0
            count["split"] += len(found) == 2
            area = int((tile > 0).sum())
            count["dilate"] += area > 400
            count["erode"] += 0 < area < 400
            for part in found:
                thing = room.instances[k]
                whole += 1
                count["synonym"] += masks.labels[part - 1] in thing.synonyms
                count["wrong"] += masks.labels[part - 1] not in (thing.name, *thing.synonyms)
    total = 12 * 200
    kept = total - count["miss"]
    assert count["miss"] / total == pytest.approx(0.1, abs=0.02)
    assert count["split"] / kept == pytest.approx(0.05, abs=0.02)
    assert count["dilate"] / kept == pytest.approx(0.2, abs=0.03)
    assert count["erode"] / kept == pytest.approx(0.15, abs=0.03)
    assert count["wrong"] / whole == pytest.approx(0.12, abs=0.025)
    assert count["synonym"] / whole == pytest.approx(0.3 * 0.88, abs=0.03)


def test_touching_masks_merge_at_their_rate(room: Room) -> None:
    ids = np.zeros((40, 400), np.uint32)
    for k in range(10):  # ten pairs that touch
        ids[10:30, 40 * k + 5 : 40 * k + 20] = 2 * k + 1
        ids[10:30, 40 * k + 20 : 40 * k + 33] = 2 * k + 2
    merged = 0
    for seed in range(100):
        masks = corrupt(ids, room.instances, MaskErrors(merge=0.2, synonym=0.0), seed)
        for k in range(10):
            left, right = masks.ids[20, 40 * k + 10], masks.ids[20, 40 * k + 25]
            merged += left == right
            if left == right:
                assert masks.labels[left - 1] == room.instances[2 * k].name  # the larger one's
    assert merged / 1000 == pytest.approx(1 - 0.8**2, abs=0.04)  # either of the two may do it


def test_impossible_errors_are_refused() -> None:
    with pytest.raises(ValueError, match="less than or equal to 1"):
        MaskErrors(miss=1.5)
    with pytest.raises(ValueError, match="exclude"):
        MaskErrors(dilate=0.6, erode=0.6)
