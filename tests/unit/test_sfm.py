"""Structure from motion on a small synthetic room, and the reasons it gives when there is nothing to reconstruct."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.judge import judge_trajectory
from ovseg3r_model.reconstruction.lens import distort, undistort
from ovseg3r_model.reconstruction.sfm import structure_from_motion
from ovseg3r_model.reconstruction.sfm_checks import MatchGraph, check_matches
from ovseg3r_model.reconstruction.sfm_pairs import choose_pairs
from ovseg3r_model.reconstruction.sparse import SparseModel, rectified
from ovseg3r_model.reconstruction.upright import stand_upright
from ovseg3r_model.records import Float64, Recording
from ovseg3r_model.rooms import default_intrinsics, make_room, render, walk
from ovseg3r_model.rooms.room import Room
from ovseg3r_model.settings import SfmSettings

SIZE = (320, 240)
K = default_intrinsics(SIZE)
SETTINGS = SfmSettings()
FEWER = SfmSettings(max_features=800)
"""For what does not depend on how exact the cameras are: half the time."""


def recording_of(pictures: list[np.ndarray], fps: float = 2.0) -> Recording:
    n = len(pictures)
    height, width = pictures[0].shape[:2]
    return Recording(
        source_format="video",
        names=tuple(f"frame-{i:06d}" for i in range(n)),
        frame=np.arange(n, dtype=np.int64),
        time=np.arange(n) / fps,
        color=pictures,
        size=(width, height),
    )


def pictures_of(room: Room, poses: Float64) -> list[np.ndarray]:
    return [render(room, K, SIZE, pose).rgb for pose in poses]


@pytest.fixture(scope="module")
def room() -> Room:
    return make_room(0)


@pytest.fixture(scope="module")
def poses(room: Room) -> Float64:
    """Every second step: with as many pictures of a shorter way there is hardly any parallax."""
    return walk(room, 24, seed=0)[::2]


@pytest.fixture(scope="module")
def recording(room: Room, poses: Float64) -> Recording:
    return recording_of(pictures_of(room, poses))


@pytest.fixture(scope="module")
def few(recording: Recording) -> Recording:
    """No more keyframes than are needed at all."""
    return recording_of([recording.color[i] for i in range(8)])


@pytest.fixture(scope="module")
def model(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> SparseModel:
    return structure_from_motion(recording, SETTINGS, 0, 2, tmp_path_factory.mktemp("sfm"))


def test_the_walk_is_found(model: SparseModel, poses: Float64):
    assert len(model.registered) == len(poses)
    error = judge_trajectory(model.views.world_from_camera, poses[model.registered])
    assert error.ate_rmse < 0.03
    assert error.rotation_median < 1.0
    assert model.quality["registered_share"] == 1
    assert model.views.intrinsics[0, 0, 0] == pytest.approx(K[0, 0], rel=0.04)
    np.testing.assert_allclose(model.views.intrinsics[:, :2, 2], np.tile(K[:2, 2], (len(poses), 1)))


def test_points_are_seen_where_the_observations_say(model: SparseModel):
    assert model.indptr[-1] == len(model.view) == len(model.pixel)
    assert len(model.indptr) == len(model.xyz) + 1 == len(model.rgb) + 1 == len(model.error) + 1
    point = model.point()
    assert (np.diff(model.view)[np.diff(point) == 0] > 0).all()
    pose = model.views.world_from_camera[model.view]
    local = np.einsum("tji,tj->ti", pose[:, :3, :3], model.xyz[point] - pose[:, :3, 3])
    k = model.views.intrinsics[0]
    straight = local[:, :2] / local[:, 2:] * k[0, 0] + k[:2, 2]
    off = np.linalg.norm(distort(straight, k, model.distortion) - model.pixel, axis=1)
    assert np.median(off) < 0.5
    assert off.max() < 6


def test_points_have_the_colour_of_their_pixels(model: SparseModel, recording: Recording):
    first = model.indptr[:-1]
    at = np.rint(model.pixel[first]).astype(int)
    seen = np.array([recording.color[model.view[t]][y, x] for t, (x, y) in zip(first, at, strict=True)], float)
    assert np.median(np.abs(seen - model.rgb)) < 12


def test_upright(model: SparseModel, poses: Float64):
    motion, up = stand_upright(model.views.world_from_camera, model.xyz)
    upright = model.transformed(motion.scale, motion.rotation, motion.translation)
    error = judge_trajectory(upright.views.world_from_camera, poses[model.registered])
    tilt = np.degrees(np.arccos(error.alignment.rotation[2, 2]))
    assert tilt < 2
    assert up.surfaces > 0.3
    eyes = upright.views.world_from_camera[:, :3, 3]
    np.testing.assert_allclose(eyes[0, :2], 0, atol=1e-9)
    assert error.scale * eyes[0, 2] == pytest.approx(poses[0, 2, 3], abs=0.15)
    assert upright.views.world_from_camera[0, 0, 2] == pytest.approx(0, abs=1e-9)


def test_same_bits_again_whatever_the_threads(few: Recording, tmp_path: Path):
    found = []
    for run, threads in enumerate((1, 2)):
        (tmp_path / str(run)).mkdir()
        found.append(structure_from_motion(few, FEWER, 0, threads, tmp_path / str(run)))
    for name in ("xyz", "rgb", "error", "indptr", "view", "pixel", "registered"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    np.testing.assert_array_equal(found[0].views.world_from_camera, found[1].views.world_from_camera)
    np.testing.assert_array_equal(found[0].views.intrinsics, found[1].views.intrinsics)


def test_known_intrinsics_are_kept(few: Recording, tmp_path: Path):
    known = replace(few, intrinsics=np.tile(K, (len(few), 1, 1)))
    steps: list[tuple[int, int]] = []
    model = structure_from_motion(known, FEWER, 0, 2, tmp_path, lambda done, total: steps.append((done, total)))
    np.testing.assert_allclose(model.views.intrinsics, np.tile(K, (len(model.views), 1, 1)), atol=1e-9)
    assert model.distortion == 0
    assert rectified(known, model).color[0] is known.color[int(model.registered[0])]
    assert all(a[0] <= b[0] for a, b in pairwise(steps))
    assert steps[-1][0] <= steps[-1][1] == 4 * len(few)


def test_a_stated_focal_length_is_where_the_search_starts(few: Recording, tmp_path: Path):
    model = structure_from_motion(replace(few, focal_guess=1.05 * K[0, 0]), FEWER, 0, 2, tmp_path)
    assert model.quality["registered_share"] == 1
    assert model.views.intrinsics[0, 0, 0] == pytest.approx(K[0, 0], rel=0.03)


def test_three_keyframes(recording: Recording, tmp_path: Path):
    with pytest.raises(InputError, match=r"3 keyframes.*at least 8.*film longer"):
        structure_from_motion(recording_of([recording.color[i] for i in range(3)]), SETTINGS, 0, 2, tmp_path)


def test_textureless_wall(tmp_path: Path):
    rng = np.random.default_rng(0)
    ramp = np.linspace(150, 190, SIZE[0])[None, :, None]
    walls = [np.clip(ramp + i + rng.normal(0, 1.0, (SIZE[1], SIZE[0], 3)), 0, 255).astype(np.uint8) for i in range(10)]
    with pytest.raises(InputError, match=r"10 of 10 keyframes show hardly any texture.*bare wall"):
        structure_from_motion(recording_of(walls), SETTINGS, 0, 2, tmp_path)


def test_pure_rotation(room: Room, poses: Float64, tmp_path: Path):
    turning = np.tile(poses[0], (8, 1, 1))
    for i, pose in enumerate(turning):
        angle = np.deg2rad(9.0 * i)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        pose[:3, :3] = turn @ pose[:3, :3]
    with pytest.raises(InputError, match=r"only turns.*no parallax.*walk while filming"):
        structure_from_motion(recording_of(pictures_of(room, turning)), FEWER, 0, 2, tmp_path)


def test_a_cut_between_two_rooms(recording: Recording, tmp_path: Path):
    other = make_room(3)
    rest = pictures_of(other, walk(other, 5, seed=1))
    both = recording_of([recording.color[i] for i in range(6)] + rest)
    with pytest.raises(InputError, match=r"falls into 2 parts.*6 keyframes in 0\.0-2\.5 s; 5 keyframes in 3\.0"):
        structure_from_motion(both, FEWER, 0, 2, tmp_path)


def test_too_few_matching_keyframes(recording: Recording):
    graph = MatchGraph(24, np.array([[i, i + 1] for i in range(8)]), np.full(8, 200), 0.1)
    with pytest.raises(InputError, match=r"Only 9 of 24 keyframes match.*film slower"):
        check_matches(recording, graph, 0.5)
    check_matches(recording, graph, 0.3)


def test_pairs_are_neighbours_and_places_seen_again():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 255, (30, 40, 128)).astype(np.uint8)
    descriptors = [places[i % 30] for i in range(60)]  # each place is seen twice, 30 pictures apart
    pairs = choose_pairs(descriptors, overlap=3, loop_neighbours=1, seed=0)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    found = {tuple(p) for p in pairs.tolist()}
    assert {(i, i + d) for i in range(57) for d in (1, 2, 3)} <= found
    assert {(i, i + 30) for i in range(30)} <= found
    np.testing.assert_array_equal(pairs, choose_pairs(descriptors, 3, 1, 0))


def test_distortion_and_back():
    pixel = np.stack(np.meshgrid([0.0, 100, 319], [0.0, 120, 239]), axis=-1).reshape(-1, 2)
    for k in (-0.15, 0.1):
        bent = distort(pixel, K, k)
        assert np.abs(bent - pixel).max() > 1
        np.testing.assert_allclose(undistort(bent, K, k), pixel, atol=1e-3)


def test_rectified_pictures_are_straight(recording: Recording, model: SparseModel):
    bent = replace(model, distortion=-0.1)
    picture = rectified(recording, bent).color[0]
    width, height = SIZE
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    ramp = [np.repeat(np.rint(grid[..., :1] * 0.5), 3, axis=2).astype(np.uint8)] * len(recording)
    straight = rectified(replace(recording, color=ramp), bent).color[0]
    expected = 0.5 * distort(grid.reshape(-1, 2).astype(float), model.views.intrinsics[0], -0.1)[:, 0]
    inside = (expected > 1) & (expected < width / 2 - 1)
    assert np.abs(straight[..., 0].ravel() - expected)[inside].max() < 1.1
    assert picture.shape == recording.color[0].shape
