"""The judge on closed forms."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.judge import (
    Similarity,
    align,
    calibration,
    calibration_error,
    judge_depth,
    judge_trajectory,
    picture,
    rotation_angle,
)


def some_poses(n: int = 12, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.random(n, rng=rng).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(n, 3))
    return poses


def some_similarity() -> Similarity:
    return Similarity(2.5, Rotation.from_euler("xyz", [20, -70, 130], degrees=True).as_matrix(), np.array([1.0, 2, -3]))


def test_align_finds_the_similarity():
    truth, poses = some_similarity(), some_poses()
    found = align(poses[:, :3, 3], truth.points(poses[:, :3, 3]))
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, truth.rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, truth.translation, atol=1e-12)


def test_align_never_mirrors():
    points = some_poses()[:, :3, 3]
    assert np.linalg.det(align(points, points * [1, 1, -1]).rotation) == pytest.approx(1)


def test_align_of_a_plane_of_points():
    truth, points = some_similarity(), some_poses()[:, :3, 3] * [1, 1, 0]
    np.testing.assert_allclose(align(points, truth.points(points)).rotation, truth.rotation, atol=1e-9)


def test_align_refuses_what_cannot_be_aligned():
    with pytest.raises(InputError, match="at least 3"):
        align(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(InputError, match="coincide"):
        align(np.ones((5, 3)), np.ones((5, 3)))


def test_trajectory_error_is_zero_after_the_similarity():
    poses = some_poses()
    error = judge_trajectory(poses, some_similarity().poses(poses))
    assert error.ate_rmse < 1e-12
    assert error.rotation_median < 1e-6
    assert error.scale == pytest.approx(2.5)


def test_trajectory_error_of_a_known_displacement():
    # Longer along x and shorter along y by as much: no similarity can take any of it away.
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    estimate = np.tile(np.eye(4), (6, 1, 1))
    estimate[:, :3, 3] = axes
    reference = estimate.copy()
    reference[:, :3, 3] = axes * [1.2, 0.8, 1.0]
    error = judge_trajectory(estimate, reference)
    assert error.scale == pytest.approx(1)
    assert error.ate_rmse == pytest.approx(np.sqrt(4 * 0.2**2 / 6))
    assert error.ate_max == pytest.approx(0.2)


def test_trajectory_on_a_line_is_turned_by_the_rotations():
    poses = some_poses()
    poses[:, :3, 3] = np.linspace(0, 1, len(poses))[:, None] * [0.0, 1, 0]
    error = judge_trajectory(poses, some_similarity().poses(poses))
    assert error.ate_rmse < 1e-9
    assert error.rotation_median < 1e-6


def test_rotation_angle():
    turns = Rotation.from_rotvec(np.outer(np.deg2rad([0, 1e-7, 30, 180]), [0, 1, 0])).as_matrix()
    np.testing.assert_allclose(rotation_angle(np.tile(np.eye(3), (4, 1, 1)), turns), [0, 1e-7, 30, 180], atol=1e-9)


def test_depth_error_in_closed_form():
    reference = np.full((10, 10), 2.0, np.float32)
    reference[0] = 0  # 90 pixels are known
    estimate = np.full((10, 10), 2.0, np.float32)
    estimate[1, :9] = 0  # 81 of them covered
    estimate[2:5] = 2.2  # 30 of them 10 % off
    estimate[5] = 2.06  # 10 of them 3 % off
    confidence = np.where(estimate == np.float32(2.2), 0.25, 0.95).astype(np.float32)
    error = judge_depth([(estimate / 4, reference, confidence)], scale=4.0)
    assert error.coverage == pytest.approx(81 / 90)
    assert error.median_relative == pytest.approx(0, abs=1e-6)
    assert error.close == pytest.approx(51 / 81)
    assert error.accurate == pytest.approx(41 / 81)
    np.testing.assert_allclose(error.calibration[2], [0.25, 0, 0.1, 30], rtol=1e-5)
    np.testing.assert_allclose(error.calibration[9], [0.95, 41 / 51, 0, 51], rtol=1e-5, atol=1e-6)
    assert error.calibration[:, 3].sum() == 81
    assert calibration_error(error.calibration) == pytest.approx((30 * 0.25 + 51 * (0.95 - 41 / 51)) / 81)


def test_depth_without_overlap_or_confidence():
    nothing, depth = np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)
    error = judge_depth([(nothing, depth, None)])
    assert error.coverage == 0
    assert np.isnan(error.median_relative)
    assert np.isnan(calibration_error(judge_depth([(depth, depth, None)]).calibration))
    with pytest.raises(InputError, match="no depth"):
        judge_depth([(depth, nothing, None)])
    with pytest.raises(InputError, match="one size"):
        judge_depth([(depth, depth[:2], None)])


def test_calibration_puts_full_confidence_into_the_last_row():
    table = calibration(np.array([0.0, 0.2], np.float32), np.array([1.0, 1e-4], np.float32))
    assert table[[0, 9], 3].tolist() == [1, 1]
    assert table[9, 1] == 1
    assert table[0, 1] == 0


def test_picture():
    rgb = np.full((6, 8, 3), 7, np.uint8)
    reference = np.linspace(1, 3, 48, dtype=np.float32).reshape(6, 8)
    estimate = reference / 2
    estimate[0, 0] = 0
    drawn = picture(rgb, reference, estimate, scale=2.0)
    assert drawn.shape == (6, 32, 3)
    np.testing.assert_array_equal(drawn[:, :8], rgb)
    np.testing.assert_array_equal(drawn[1:, 8:16], drawn[1:, 16:24])
    assert (drawn[0, 16] == 90).all()
    assert (drawn[0, 24] == 90).all()
    assert (drawn[1:, 24:] < 10).all()
