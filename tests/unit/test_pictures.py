"""Pictures: what is drawn where, checked on single points and on a room whose up is known."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ovseg3r_model.pictures import (
    BACKGROUND,
    cloud,
    id_colors,
    look_at,
    overlay,
    png,
    point_instances,
    shaded,
    splat,
    superpoint_colors,
)
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Correspondence, Points, Reconstruction
from ovseg3r_model.settings import ReconstructSettings
from tests.contracts.reconstructor_contract import room_recording

K = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
SIZE = (81, 61)
RED, BLUE = np.array([200, 10, 20], np.uint8), np.array([10, 20, 200], np.uint8)


def drawn(picture: np.ndarray, color: np.ndarray = RED) -> set[tuple[int, int]]:
    """Where (x, y) a colour is."""
    y, x = np.nonzero((picture == color).all(axis=-1))
    return set(zip(x.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize("at", [(0.0, 0.0, 2.0), (0.5, -0.25, 1.0), (-1.1, 0.8, 2.0), (0.31, 0.17, 50.0)])
def test_a_point_is_drawn_at_its_projection(at: tuple[float, float, float]) -> None:
    """From anywhere, at any distance: a far point does not slip between two pixels."""
    turn = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # x right, y down, z forward in a world whose z is up
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn, [3, -2, 1]
    x, y, z = at
    world = (turn @ at + pose[:3, 3]).astype(np.float32)
    got = drawn(splat(world[None], RED[None], K, pose, SIZE, 0.001))
    wanted = np.array([60 * x / z + 40, 60 * y / z + 30])
    assert got
    assert all(np.abs(np.array(p) - wanted).max() <= 0.5 + 1e-3 for p in got)


def test_a_point_is_as_large_as_the_spacing() -> None:
    picture = splat(np.array([[0, 0, 1]], np.float32), RED[None], K, np.eye(4), SIZE, 0.1)
    side = np.sqrt(len(drawn(picture)))
    assert 6 <= side <= 10  # 0.1 at distance 1 and focal length 60 is 6 px
    assert (picture[0, 0] == BACKGROUND).all()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_point_hides_the_farther(order: list[int]) -> None:
    xyz = np.array([[0, 0, 1], [0, 0, 2]], np.float32)[order]
    rgb = np.stack([RED, BLUE])[order]
    picture = splat(xyz, rgb, K, np.eye(4), SIZE, 0.05)
    assert drawn(picture, RED)
    assert not drawn(picture, BLUE)


def test_what_is_behind_or_beside_the_camera_is_not_drawn() -> None:
    xyz = np.array([[0, 0, -1], [0, 0, 0], [50, 0, 1], [0, -50, 1]], np.float32)
    picture = splat(xyz, np.tile(RED, (4, 1)), K, np.eye(4), SIZE, 0.05)
    assert (picture == BACKGROUND).all()


def test_look_at_gives_an_opencv_camera() -> None:
    pose = look_at(np.array([1.0, 2, 3]), np.array([4.0, 2, 3]), np.array([0.0, 0, 1]))
    np.testing.assert_allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    right, down, forward, at = pose[:3].T
    np.testing.assert_allclose(forward, [1, 0, 0], atol=1e-12)  # east
    np.testing.assert_allclose(down, [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(right, [0, -1, 0], atol=1e-12)  # who looks east has south to the right
    np.testing.assert_allclose(at, [1, 2, 3])


def test_up_in_the_world_is_up_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        eye, target = rng.standard_normal(3), rng.standard_normal(3)
        pose = look_at(eye, target, np.array([0.0, 0, 1]))
        low, high = (pose[:3, :3].T @ (target + np.array([0, 0, dz]) - eye) for dz in (-0.05, 0.05))
        assert low[1] / low[2] > high[1] / high[2]
        np.testing.assert_allclose(pose[2, 0], 0, atol=1e-12)  # the horizon is level


@pytest.fixture(scope="module")
def room() -> Reconstruction:
    return PosedRgbd(ReconstructSettings(voxel=0.05, min_views=1)).reconstruct(room_recording(2, 24, (120, 90)))


def test_a_room_stands_upright_in_its_picture(room: Reconstruction) -> None:
    """z is up in the rooms' world: a floor in red lies below what is at head height in blue."""
    height = room.points.xyz[:, 2]
    assert (height < 0.1).sum() > 300
    rgb = np.where((height < 0.1)[:, None], RED, np.where(((height > 1.2) & (height < 1.6))[:, None], BLUE, 90))
    picture = cloud(room.points, rgb.astype(np.uint8), room.views, 0.05, (320, 200))
    assert picture.shape == (200, 320, 3)
    floor, head = (np.array(sorted(drawn(picture, c))) for c in (RED, BLUE))
    assert min(len(floor), len(head)) > 200
    assert np.median(floor[:, 1]) > np.median(head[:, 1]) + 20
    for x in range(0, 320, 16):  # and in each strip of the picture, too
        low, high = (p[(p[:, 0] >= x) & (p[:, 0] < x + 16), 1] for p in (floor, head))
        assert min(len(low), len(high)) < 30 or np.median(low) > np.median(high)


def test_a_closed_room_is_open_to_the_onlooker(room: Reconstruction) -> None:
    """Walls, floor and ceiling of a box seen from inside: the ceiling and the near wall are not drawn."""
    side = np.stack(np.meshgrid(np.arange(0, 3, 0.05), np.arange(0, 3, 0.05)), axis=-1).reshape(-1, 2)
    xyz, normal, rgb = [], [], []
    for axis in range(3):
        for end, inwards in ((0.0, 1), (3.0, -1)):
            xyz.append(np.insert(side, axis, end, axis=1))
            normal.append(np.tile(inwards * np.eye(3)[axis], (len(side), 1)))
            rgb.append(np.tile((RED if end == 0 else BLUE) if axis == 2 else [90, 90, 90], (len(side), 1)))
    n = 6 * len(side)
    points = Points(
        np.concatenate(xyz).astype(np.float32),
        np.concatenate(rgb).astype(np.uint8),
        np.concatenate(normal).astype(np.float16),
        np.ones(n, np.float16),
    )
    pose = look_at(np.array([1.5, 1.5, 1.5]), np.array([3.0, 1.5, 1.4]), np.array([0.0, 0, 1]))
    views = replace(room.views, world_from_camera=np.tile(pose, (len(room.views), 1, 1)))
    picture = cloud(points, points.rgb, views, 0.05, (320, 200))
    assert len(drawn(picture, RED)) > 3000
    assert not drawn(picture, BLUE)


def test_a_room_fills_its_picture_and_stays_the_same(room: Reconstruction) -> None:
    picture = cloud(room.points, room.points.rgb, room.views, 0.05, (320, 200))
    assert np.mean((picture != BACKGROUND).any(axis=-1)) > 0.25
    again = cloud(room.points, room.points.rgb, room.views, 0.05, (320, 200))
    np.testing.assert_array_equal(picture, again)


def test_a_room_that_stands_on_its_side_is_drawn_upright(room: Reconstruction) -> None:
    """Up is the cameras' up, not an axis: a source may have any world frame."""
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y becomes up
    poses = room.views.world_from_camera.copy()
    poses[:, :3] = turn @ poses[:, :3]
    sides = replace(room.views, world_from_camera=poses)
    points = replace(
        room.points,
        xyz=(room.points.xyz @ turn.T).astype(np.float32),
        normal=(room.points.normal @ turn.T).astype(np.float16),
    )
    straight = cloud(room.points, room.points.rgb, room.views, 0.05, (320, 200)).astype(int)
    turned = cloud(points, room.points.rgb, sides, 0.05, (320, 200)).astype(int)
    assert np.mean(np.abs(straight - turned).max(axis=-1) > 8) < 0.1


def test_id_colours_are_steady_and_nothing_is_grey() -> None:
    ids = np.arange(2000).reshape(40, 50)
    colors = id_colors(ids)
    assert colors.shape == (40, 50, 3)
    assert colors.dtype == np.uint8
    assert len(set(colors[0, 0].tolist())) == 1  # grey
    assert colors[0, 0].max() < 100
    saturated = colors.reshape(-1, 3)[1:].astype(int)
    assert (saturated.max(axis=1) - saturated.min(axis=1)).min() > 40
    assert len(np.unique(saturated, axis=0)) > 1900
    for kind in (np.uint8, np.int32, np.uint32, np.int64):
        np.testing.assert_array_equal(id_colors(np.array([0, 7, 200], kind)), colors.reshape(-1, 3)[[0, 7, 200]])
    steps = np.abs(np.diff(saturated[:50], axis=0)).max(axis=1)
    assert np.median(steps) > 60  # neighbouring ids do not look alike


def test_no_ids_have_no_colours() -> None:
    assert id_colors(np.empty((0,), np.int64)).shape == (0, 3)
    assert superpoint_colors(np.empty(0, np.int32)).shape == (0, 3)


def test_no_superpoint_is_grey() -> None:
    got = superpoint_colors(np.array([0, 1, 0], np.int32))
    np.testing.assert_array_equal(got[0], got[2])
    assert len(set(got[0].tolist())) > 1
    assert (got[0] != got[1]).any()


def test_an_overlay_colours_the_masks_only() -> None:
    rgb = np.full((40, 60, 3), 100, np.uint8)
    ids = np.zeros((40, 60), np.uint32)
    ids[10:30, 10:40] = 5
    got = overlay(rgb, ids, {})
    wanted = (100 + id_colors(np.array([5]))[0].astype(int)) // 2
    assert np.abs(got[20, 25].astype(int) - wanted).max() <= 1
    assert (got[10, 12:38] == 255).all()  # the border
    assert (got[:9] == 100).all()
    assert (rgb == 100).all()
    named = overlay(rgb, ids, {5: "chair"})
    changed = np.argwhere((named != got).any(axis=-1))
    assert len(changed) > 20
    assert (ids[changed[:, 0], changed[:, 1]] == 5).all()  # written into the mask


def test_shading_keeps_the_hue_and_never_brightens() -> None:
    n = np.eye(3, dtype=np.float16)
    points = Points(np.zeros((3, 3), np.float32), np.zeros((3, 3), np.uint8), n, np.ones(3, np.float16))
    got = shaded(points, np.tile(RED, (3, 1))).astype(int)
    assert (got <= RED).all()
    assert len(np.unique(got[:, 0])) == 3
    assert (got[:, 0] >= 0.5 * RED[0]).all()


def test_a_point_takes_its_first_labelled_observation() -> None:
    correspondence = Correspondence(
        np.array([0, 3, 3, 5, 6]), np.array([0, 1, 2, 0, 1, 0], np.uint16), np.zeros((6, 2), np.uint16)
    )
    observation = np.array([0, 4, 9, 0, 0, 2], np.uint32)
    assert point_instances(correspondence, observation, 4).tolist() == [4, 0, 0, 2]


def test_png_keeps_every_pixel() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(rgb)))), rgb)
