"""The check of the calibration on rooms rendered with cameras that are known and claimed wrongly or rightly."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ovseg3r_model.reconstruction.calibration import check_alignment
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Recording
from ovseg3r_model.rooms import make_room, render, walk
from ovseg3r_model.settings import ReconstructSettings

SIZE = (320, 240)
COLOR_FOCAL, DEPTH_FOCAL = 525 / 2, 585 / 2  # a Kinect's, at half its size


def camera(focal: float, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    return np.array([[focal, 0, (SIZE[0] - 1) / 2 + shift[0]], [0, focal, (SIZE[1] - 1) / 2 + shift[1]], [0, 0, 1]])


def recorded(seed: int, color: np.ndarray, depth: np.ndarray, claimed: np.ndarray, views: int = 8) -> Recording:
    """A walk whose colour and depth are of the cameras ``color`` and ``depth``, both said to be of ``claimed``."""
    room = make_room(seed)
    poses = walk(room, 96, seed)[:: 96 // views]
    shots = [
        (render(room, color, SIZE, p).rgb, render(room, depth, SIZE, p, 0.002, k).depth) for k, p in enumerate(poses)
    ]
    return recording_of([rgb for rgb, _ in shots], [z for _, z in shots], claimed, poses)


def recording_of(color: list[np.ndarray], depth: list[np.ndarray], k: np.ndarray, poses: np.ndarray) -> Recording:
    n = len(color)
    return Recording(
        source_format="test",
        names=tuple(f"frame-{v}" for v in range(n)),
        frame=np.arange(n),
        time=np.arange(n) / 30,
        color=color,
        size=SIZE,
        intrinsics=np.tile(k, (n, 1, 1)),
        world_from_camera=poses,
        depth=depth,
        depth_size=SIZE,
        depth_intrinsics=np.tile(k, (n, 1, 1)),
        color_from_depth=np.eye(4),
    )


def advised(note: str) -> np.ndarray:
    found = re.search(r"--color-intrinsics ([0-9.,-]+[0-9])", note)
    assert found, note
    return np.array([float(v) for v in found.group(1).split(",")])


@pytest.fixture(scope="module")
def two_lenses() -> Recording:
    return recorded(1, camera(COLOR_FOCAL), camera(DEPTH_FOCAL), camera(DEPTH_FOCAL))


def corner_offset(true: np.ndarray, claimed: np.ndarray) -> float:
    """How far apart the two cameras put what lies in the depth map's corners."""
    corner = np.array([[x, y, 1] for x in (0, SIZE[0] - 1) for y in (0, SIZE[1] - 1)]) @ np.linalg.inv(claimed).T
    return float(np.linalg.norm((corner @ (true - claimed).T)[:, :2], axis=1).max())


def test_two_lenses_taken_for_one_are_reported_with_the_right_camera(two_lenses: Recording) -> None:
    got = check_alignment(two_lenses)
    assert got.offset_px == pytest.approx(corner_offset(camera(COLOR_FOCAL), camera(DEPTH_FOCAL)), rel=0.2)
    (note,) = got.notes
    true = camera(COLOR_FOCAL)
    np.testing.assert_allclose(advised(note), [true[0, 0], true[1, 1], true[0, 2], true[1, 2]], rtol=0.015)


def test_the_advice_mends_it(two_lenses: Recording) -> None:
    (note,) = check_alignment(two_lenses).notes
    fx, fy, cx, cy = advised(note)
    mended = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    assert check_alignment(replace(two_lenses, intrinsics=np.tile(mended, (len(two_lenses), 1, 1)))).notes == ()


def test_the_engine_passes_the_warning_on(two_lenses: Recording) -> None:
    got = PosedRgbd(ReconstructSettings(voxel=0.05)).reconstruct(two_lenses)
    assert got.notes == check_alignment(two_lenses).notes
    assert got.quality["color_depth_offset_px"] == pytest.approx(check_alignment(two_lenses).offset_px, abs=0.01)


def test_a_shifted_picture_is_reported() -> None:
    true, claimed = camera(COLOR_FOCAL, (9, -5)), camera(COLOR_FOCAL)
    got = check_alignment(recorded(2, true, claimed, claimed))
    assert got.offset_px == pytest.approx(corner_offset(true, claimed), rel=0.2)
    np.testing.assert_allclose(
        advised(got.notes[0]), [true[0, 0], true[1, 1], true[0, 2], true[1, 2]], rtol=0.015, atol=1.5
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_right_calibration_is_not_reported(seed: int) -> None:
    right = camera(COLOR_FOCAL)
    got = check_alignment(recorded(seed, right, right, right))
    assert got.notes == ()
    assert got.offset_px == 0


def test_two_lenses_told_as_two_are_not_reported(two_lenses: Recording) -> None:
    told = replace(two_lenses, intrinsics=np.tile(camera(COLOR_FOCAL), (len(two_lenses), 1, 1)))
    assert check_alignment(told).notes == ()


def test_a_bare_wall_is_not_reported() -> None:
    """A loud wallpaper and no depth edge: there is nothing to compare."""
    rng = np.random.default_rng(0)
    color = [np.kron(rng.integers(0, 256, (30, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(8)]
    wall = [np.full((240, 320), 2.0, np.float32)] * 8
    assert check_alignment(recording_of(color, wall, camera(COLOR_FOCAL), np.tile(np.eye(4), (8, 1, 1)))).notes == ()


def test_pictures_without_contrast_are_not_reported(two_lenses: Recording) -> None:
    gray = [np.full((240, 320, 3), 128, np.uint8)] * len(two_lenses)
    assert check_alignment(replace(two_lenses, color=gray)).notes == ()


def test_colours_that_have_nothing_to_do_with_the_depth_are_not_reported(two_lenses: Recording) -> None:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(len(two_lenses))]
    assert check_alignment(replace(two_lenses, color=noise)).notes == ()


def test_too_few_views_say_nothing(two_lenses: Recording) -> None:
    few = recording_of(
        [two_lenses.color[v] for v in range(3)],
        [two_lenses.depth[v] for v in range(3)],  # type: ignore[index]
        camera(DEPTH_FOCAL),
        np.tile(np.eye(4), (3, 1, 1)),
    )
    assert check_alignment(few).offset_px == 0
    assert check_alignment(few).notes == ()
