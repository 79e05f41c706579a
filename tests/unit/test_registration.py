"""Depth carried to the colour camera, against depth rendered from the colour camera; depth edges against drawn ones."""

from dataclasses import replace

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.registration import drop_depth_edges, register, registered_depth, with_intrinsics
from ovseg3r_model.records import Recording
from ovseg3r_model.rooms import Room, default_intrinsics, make_room, render, walk
from tests.contracts.reconstructor_contract import room_recording, without


def camera(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


COLOR, COLOR_SIZE = camera(150, 150, 81.5, 58), (160, 120)
DEPTH_CAMERAS = {  # intrinsics, size
    "same lens": (COLOR, COLOR_SIZE),
    "wider and coarser": (camera(90, 90, 63.5, 47.5), (128, 96)),
    "narrower and finer": (camera(260, 255, 119, 92), (240, 180)),
}
BASELINE = np.eye(4)
BASELINE[:3, 3] = [0.06, -0.01, 0.005]
TURNED = BASELINE.copy()
TURNED[:3, :3] = [[np.cos(0.02), 0, np.sin(0.02)], [0, 1, 0], [-np.sin(0.02), 0, np.cos(0.02)]]


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(3)


@pytest.fixture(scope="module")
def poses(room: Room) -> np.ndarray:
    return walk(room, 100, 0)[[10, 60]]


def nearby(depth: np.ndarray, pick: np.ufunc, radius: int = 2) -> np.ndarray:
    """The least or greatest depth within ``radius`` pixels."""
    padded = np.pad(depth, radius, mode="edge")
    return pick.reduce(np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2), axis=(2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("color_from_depth", [BASELINE, TURNED], ids=["baseline", "baseline and turn"])
@pytest.mark.parametrize("lens", DEPTH_CAMERAS)
def test_registered_depth_is_what_the_colour_camera_would_measure(
    room: Room, poses: np.ndarray, lens: str, color_from_depth: np.ndarray
) -> None:
    k_depth, size = DEPTH_CAMERAS[lens]
    for pose in poses:
        truth = render(room, COLOR, COLOR_SIZE, pose).depth
        measured = render(room, k_depth, size, pose @ color_from_depth).depth
        got = register(measured, k_depth, COLOR, color_from_depth, COLOR_SIZE)
        assert got.shape == truth.shape
        assert got.dtype == np.float32
        low, high = nearby(truth, np.minimum), nearby(truth, np.maximum)
        smooth = (high - low < 0.1 * truth) & (got > 0)
        assert smooth.mean() > 0.4
        off = np.abs(got - truth)[smooth] / truth[smooth]
        assert np.median(off) < 0.01
        assert np.mean(off < 0.05) > 0.985
        # beside a silhouette either surface may be met, but nothing between or beyond both
        there = got > 0
        assert np.mean((got >= 0.97 * low)[there] & (got <= 1.03 * high)[there]) > 0.985


@pytest.mark.parametrize("lens", DEPTH_CAMERAS)
def test_a_wall_behind_a_board_does_not_show_through(lens: str) -> None:
    k_depth, (width, height) = DEPTH_CAMERAS[lens]
    y, x = np.indices((height, width))
    ray_x, ray_y = (x - k_depth[0, 2]) / k_depth[0, 0], (y - k_depth[1, 2]) / k_depth[1, 1]
    board = (np.abs(ray_x) < 0.2) & (np.abs(ray_y) < 0.2)
    depth = np.where(board, 1.0, 3.0).astype(np.float32)
    got = register(depth, k_depth, COLOR, BASELINE, COLOR_SIZE)
    cy, cx = np.indices(COLOR_SIZE[::-1])
    z = 1.0 + BASELINE[2, 3]
    at_x = (cx - COLOR[0, 2]) / COLOR[0, 0] * z - BASELINE[0, 3]  # where the board's plane is met, depth camera's x, y
    at_y = (cy - COLOR[1, 2]) / COLOR[1, 1] * z - BASELINE[1, 3]
    inside = (np.abs(at_x) < 0.18) & (np.abs(at_y) < 0.18)
    assert inside.sum() > 1000
    np.testing.assert_allclose(got[inside], z, atol=1e-5)
    wall = (np.abs(at_x) > 0.3) | (np.abs(at_y) > 0.3)
    seen = wall & (got > 0)
    np.testing.assert_allclose(got[seen], 3.0 + BASELINE[2, 3], atol=1e-5)


def test_what_the_colour_camera_alone_sees_is_unknown() -> None:
    """A board at 1 m before a wall at 3 m: the depth camera's shadow of it is a gap of baseline * (1 - 1/3) at 1 m."""
    far = np.eye(4)
    far[0, 3] = 0.3
    depth = np.full((120, 160), 3.0, np.float32)
    depth[:, 60:90] = 1.0
    got = register(depth, COLOR, COLOR, far, (160, 120))
    row = got[60]
    assert (row[60 + 45 : 90 + 45] == 1).all()  # 0.3 m at 1 m is 45 px
    assert (row[60 + 15 : 60 + 45] == 0).sum() == 30  # the wall moved by 15 px only: what stood behind is unknown
    assert (row[:15] == 0).all()  # out of the depth camera's picture
    assert (row[15:75] == 3).all()


def test_with_identical_cameras_the_map_stays_as_it_is() -> None:
    depth = np.random.default_rng(0).random((120, 160), np.float32)
    depth[depth < 0.1] = 0
    for transform in (None, np.eye(4)):
        np.testing.assert_array_equal(register(depth, COLOR.copy(), COLOR, transform, COLOR_SIZE), depth)


def test_what_is_no_measurement_is_not_carried_over() -> None:
    depth = np.full((96, 128), 2.0, np.float32)
    depth[:24], depth[24:48], depth[48:72] = np.nan, -1, np.inf
    k_depth, _ = DEPTH_CAMERAS["wider and coarser"]
    got = register(depth, k_depth, COLOR, BASELINE, COLOR_SIZE)
    assert set(np.unique(got[np.isfinite(got)]).round(3)) <= {0.0, np.float32(2.005)}
    assert np.isfinite(got).all()


def test_a_point_behind_the_colour_camera_is_not_seen() -> None:
    behind = np.eye(4)
    behind[2, 3] = -2.5
    depth = np.full((120, 160), 2.0, np.float32)
    assert not register(depth, COLOR, COLOR, behind, COLOR_SIZE).any()


def test_registered_depth_of_a_recording() -> None:
    recording = room_recording(views=2, size=(16, 12))
    assert recording.depth is not None
    np.testing.assert_array_equal(registered_depth(recording, 1), recording.depth[1])
    with pytest.raises(InputError, match="lacks depth"):
        registered_depth(without(recording, "depth", "depth_intrinsics"), 0)


def test_with_intrinsics_replaces_the_cameras_that_are_given() -> None:
    recording = room_recording(views=2, size=(16, 12))
    assert with_intrinsics(recording, None, None) == recording
    both = with_intrinsics(recording, (525, 526, 320, 240), (585, 586, 321, 241))
    for k in both.intrinsics, both.depth_intrinsics:
        assert k is not None
        assert k.shape == (2, 3, 3)
    assert both.intrinsics is not None
    assert both.depth_intrinsics is not None
    np.testing.assert_array_equal(both.intrinsics[1], camera(525, 526, 320, 240))
    np.testing.assert_array_equal(both.depth_intrinsics[1], camera(585, 586, 321, 241))
    color_only = with_intrinsics(recording, (525, 526, 320, 240), None)
    assert color_only.depth_intrinsics is recording.depth_intrinsics
    assert recording.intrinsics is not None
    np.testing.assert_array_equal(recording.intrinsics[0], default_intrinsics(recording.size))  # untouched


@pytest.mark.parametrize("bad", [(0, 525, 320, 240), (525, -1, 320, 240), (float("nan"), 525, 320, 240)])
def test_a_camera_without_focal_length_is_refused(bad: tuple[float, float, float, float]) -> None:
    recording = room_recording(views=1, size=(16, 12))
    for color, depth in ((bad, None), (None, bad)):
        with pytest.raises(InputError, match="fx and fy must be positive"):
            with_intrinsics(recording, color, depth)


def test_a_depth_camera_without_depth_is_refused() -> None:
    plain: Recording = replace(room_recording(views=2, size=(16, 12)), depth=None, depth_intrinsics=None)
    with pytest.raises(InputError, match="no depth"):
        with_intrinsics(plain, None, (525, 525, 320, 240))


@pytest.mark.parametrize("turned", [False, True])
def test_both_sides_of_a_step_vanish_and_nothing_else(turned: bool) -> None:
    depth = np.full((30, 40), 1.0, np.float32)
    depth[:, 20:] = 1.2
    wanted = depth.copy()
    wanted[:, 19:21] = 0
    if turned:
        depth, wanted = np.ascontiguousarray(depth.T), wanted.T
    np.testing.assert_array_equal(drop_depth_edges(depth, 0.03), wanted)


def test_a_step_below_the_ratio_stays() -> None:
    depth = np.full((30, 40), 1.0, np.float32)
    depth[:, 20:] = 1.029
    np.testing.assert_array_equal(drop_depth_edges(depth, 0.03), depth)


@pytest.mark.parametrize("slope", [0.5, 2.0, 6.0])
def test_a_slanted_plane_stays(slope: float) -> None:
    """z = 2 + slope * X, seen by a camera: the depth grows faster and faster from pixel to pixel."""
    ray = (np.arange(160) - 79.5) / 150
    with np.errstate(divide="ignore"):
        z = 2 / (1 - slope * ray)
    z = np.where((z > 0.1) & (z < 6), z, 0)
    depth = np.tile(z.astype(np.float32), (20, 1))
    assert slope < 3 or (np.diff(z)[(z[1:] > 0) & (z[:-1] > 0)] > 0.03 * 2).any()  # steep enough to look like edges
    np.testing.assert_array_equal(drop_depth_edges(depth, 0.03), depth)


def test_the_border_of_a_hole_stays() -> None:
    depth = np.full((30, 40), 2.0, np.float32)
    depth[10:20, 10:20] = 0
    np.testing.assert_array_equal(drop_depth_edges(depth, 0.03), depth)


def test_a_lone_wrong_pixel_vanishes_with_its_neighbours() -> None:
    depth = np.full((9, 9), 2.0, np.float32)
    depth[4, 4] = 3
    got = drop_depth_edges(depth, 0.03)
    gone = np.argwhere(got == 0).tolist()
    assert gone == [[3, 4], [4, 3], [4, 4], [4, 5], [5, 4]]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_pixel_between_two_surfaces_vanishes(share: float) -> None:
    """A sensor mixes both sides of a silhouette in one pixel."""
    depth = np.full((9, 40), 1.0, np.float32)
    depth[:, 20] = 1 + share
    depth[:, 21:] = 2.0
    assert not drop_depth_edges(depth, 0.03)[:, 20].any()


def test_the_given_map_is_left_alone() -> None:
    depth = np.full((9, 9), 1.0, np.float32)
    depth[:, 5:] = 2
    kept = depth.copy()
    drop_depth_edges(depth, 0.03)
    np.testing.assert_array_equal(depth, kept)
