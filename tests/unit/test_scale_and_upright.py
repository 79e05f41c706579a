"""Scale and gravity of a sparse model, on made-up geometry."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.reconstruction.scale import (
    KnownDepth,
    KnownLength,
    KnownPositions,
    check_scale_source,
    find_scale,
    parse_scale_source,
    scale_from_positions,
)
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.reconstruction.upright import find_up, stand_upright, up_of_cameras
from ovseg3r_model.records import Recording, Views

K = np.array([[100.0, 0, 79.5], [0, 100, 59.5], [0, 0, 1]])
METRES = 0.4  # of the model's unit


def box_scene(n: int = 6000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Level cameras (10,4,4) in a room of 4 x 5 x 2.5 m, z up, and points on its floor and walls."""
    rng = np.random.default_rng(seed)
    u, v, side = rng.uniform(0, 1, n), rng.uniform(0, 1, n), rng.integers(0, 4, n)
    choices = np.stack(
        [
            np.stack([4 * u, 5 * v, 0 * u], 1),
            np.stack([4 * u, 0 * u, 2.5 * v], 1),
            np.stack([4 * u, 0 * u + 5, 2.5 * v], 1),
            np.stack([0 * u, 5 * u, 2.5 * v], 1),
        ]
    )
    xyz = choices[side, np.arange(n)] + rng.normal(0, 0.004, (n, 3))
    poses = np.tile(np.eye(4), (10, 1, 1))
    for i, pose in enumerate(poses):
        a, pitch = 0.15 * i, np.deg2rad(-20)
        z = np.array([np.cos(pitch) * np.cos(a), np.cos(pitch) * np.sin(a), np.sin(pitch)])
        x = np.array([np.sin(a), -np.cos(a), 0])
        pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1) @ Rotation.from_rotvec([0, 0, 0.03]).as_matrix()
        pose[:3, 3] = [1 + 0.2 * i, 1 + 0.1 * i, 1.5]
    return poses, xyz


def test_up_is_found_in_any_frame():
    poses, xyz = box_scene()
    turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    shift = np.array([3.0, -1, 2])
    turned = poses.copy()
    turned[:, :3, :3], turned[:, :3, 3] = turn @ poses[:, :3, :3], poses[:, :3, 3] @ turn.T + shift
    moved = xyz @ turn.T + shift
    truth = turn[:, 2]
    assert np.degrees(np.arccos(up_of_cameras(turned) @ truth)) < 8
    up = find_up(turned, moved)
    assert np.degrees(np.arccos(up.direction @ truth)) < 0.5
    assert up.surfaces > 0.7
    motion, _ = stand_upright(turned, moved)
    eyes = motion.poses(turned)[:, :3, 3]
    np.testing.assert_allclose(eyes[:, 2], 1.5, atol=0.06)
    np.testing.assert_allclose(eyes[0, :2], 0, atol=1e-9)
    ahead = motion.poses(turned)[0, :3, 2]
    assert ahead[0] == pytest.approx(0, abs=1e-9)
    assert ahead[1] > 0


def test_up_without_points_is_the_cameras():
    poses, _ = box_scene()
    up = find_up(poses, np.empty((0, 3)))
    np.testing.assert_array_equal(up.direction, up_of_cameras(poses))
    assert up.surfaces == 0
    motion, _ = stand_upright(poses, np.empty((0, 3)))
    assert motion.poses(poses)[:, 2, 3].min() == pytest.approx(0, abs=1e-9)


@pytest.fixture
def model() -> SparseModel:
    """Five views along x of a wall at z = 2 units, every third frame left out of eight."""
    registered = np.array([0, 1, 3, 4, 6])
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = 0.1 * registered
    poses[:, 1, 3] = 0.05 * registered**2
    wall = np.stack(np.meshgrid(np.linspace(-1, 1, 12), np.linspace(-0.5, 0.5, 8)), axis=-1).reshape(-1, 2)
    xyz = np.concatenate([wall, np.full((len(wall), 1), 2.0)], axis=1)
    local = xyz[:, None] - poses[:, :3, 3]
    pixel = local[..., :2] / local[..., 2:] * 100 + K[:2, 2]
    inside = ((pixel > 0) & (pixel < [159, 119])).all(axis=-1)
    point, view = np.nonzero(inside)
    return SparseModel(
        views=Views(np.tile(K, (5, 1, 1)), poses, np.tile(np.array([160, 120]), (5, 1)), registered, registered / 2.0),
        registered=registered,
        xyz=xyz,
        rgb=np.zeros((len(xyz), 3), np.uint8),
        error=np.zeros(len(xyz), np.float32),
        indptr=np.concatenate([[0], np.cumsum(np.bincount(point, minlength=len(xyz)))]),
        view=view.astype(np.int32),
        pixel=pixel[inside].astype(np.float32),
        distortion=0.0,
        quality={},
    )


@pytest.fixture
def recording() -> Recording:
    return Recording(
        source_format="video",
        names=tuple(f"frame-{i:06d}" for i in range(8)),
        frame=np.arange(8),
        time=np.arange(8) / 2,
        color=[np.zeros((120, 160, 3), np.uint8)] * 8,
        size=(160, 120),
    )


def test_scale_from_depth(model: SparseModel, recording: Recording):
    depth = [np.where(np.arange(80) % 3 > 0, np.float32(2 * METRES), np.float32(0))[None].repeat(60, 0)] * 8
    with_depth = replace(recording, depth=depth, depth_size=(80, 60), depth_intrinsics=np.tile(K, (8, 1, 1)))
    found = find_scale(KnownDepth(), with_depth, model)
    assert found.scale == pytest.approx(METRES)
    np.testing.assert_array_equal(found.rotation, np.eye(3))
    with pytest.raises(InputError, match="has none"):
        find_scale(KnownDepth(), recording, model)
    empty = replace(with_depth, depth=[np.zeros((60, 80), np.float32)] * 8)
    with pytest.raises(InputError, match="hardly any"):
        find_scale(KnownDepth(), empty, model)


def test_scale_from_length(model: SparseModel, recording: Recording):
    # pixels 50 apart at depth 2 and focal length 100: one unit
    found = find_scale(KnownLength("frame-000003", (40, 60), (90, 60), METRES), recording, model)
    assert found.scale == pytest.approx(METRES)
    with pytest.raises(InputError, match="got no camera"):
        find_scale(KnownLength("frame-000002", (40, 60), (90, 60), METRES), recording, model)
    with pytest.raises(InputError, match="same point"):
        find_scale(KnownLength("3", (40, 60), (40, 60), METRES), recording, model)


def test_a_length_is_measured_through_the_lens(model: SparseModel, recording: Recording):
    bent = replace(model, distortion=-0.2, pixel=distort(model.pixel.astype(float), K, -0.2).astype(np.float32))
    seen = np.flatnonzero(model.view == 2)
    left, right = seen[model.pixel[seen, 0].argmin()], seen[model.pixel[seen, 0].argmax()]
    apart = float(np.linalg.norm(model.xyz[model.point()[left]] - model.xyz[model.point()[right]]))
    ends = [(float(x), float(y)) for x, y in bent.pixel[[left, right]]]
    assert np.abs(bent.pixel[left] - model.pixel[left]).max() > 2
    found = find_scale(KnownLength("3", ends[0], ends[1], apart * METRES), recording, bent)
    assert found.scale == pytest.approx(METRES, rel=1e-4)


def test_a_number_is_the_frame_in_the_source(model: SparseModel, recording: Recording):
    tenths = replace(recording, frame=np.arange(8) * 10)
    ends = (40.0, 60.0), (90.0, 60.0)
    check_scale_source(KnownLength("30", *ends, METRES), tenths)
    assert find_scale(KnownLength("30", *ends, METRES), tenths, model).scale == pytest.approx(METRES)
    with pytest.raises(InputError, match="names the frame 3, which is no keyframe"):
        check_scale_source(KnownLength("3", *ends, METRES), tenths)


def test_positions_that_settle_nothing_are_refused(model: SparseModel, recording: Recording):
    positions = np.full((8, 3), np.nan)
    positions[model.registered] = model.views.world_from_camera[:, :3, 3] * METRES
    assert scale_from_positions(model, positions).scale == pytest.approx(METRES)
    with pytest.raises(InputError, match="lie on a line"):
        scale_from_positions(model, positions * [1, 0.01, 1])
    with pytest.raises(InputError, match="do not fit the cameras"):
        scale_from_positions(model, positions[[1, 6, 2, 0, 4, 5, 3, 7]])


def test_scale_from_positions(model: SparseModel, recording: Recording, tmp_path: Path):
    turn = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    lines = ["name,x,y,z"]
    for v, i in enumerate(model.registered):
        x, y, z = METRES * turn @ model.views.world_from_camera[v, :3, 3] + [1, 2, 3]
        lines.append(f"frame-{i:06d}.png,{x},{y},{z}")
    path = tmp_path / "positions.csv"
    path.write_text("\n".join(lines) + "\n")
    found = find_scale(KnownPositions(path), recording, model)
    assert found.scale == pytest.approx(METRES)
    moved = model.transformed(found.scale, found.rotation, found.translation)
    np.testing.assert_allclose(moved.views.world_from_camera[0, :3, 3], [1, 2, 3], atol=1e-9)
    path.write_text("frame-000000,1,2\n")
    with pytest.raises(InputError, match=r"positions\.csv: line 1"):
        find_scale(KnownPositions(path), recording, model)
    path.write_text("other,1,2,3\n")
    with pytest.raises(InputError, match="names none"):
        find_scale(KnownPositions(path), recording, model)
    with pytest.raises(InputError, match="is missing"):
        find_scale(KnownPositions(tmp_path / "no.csv"), recording, model)


def test_scale_from_in_words():
    assert parse_scale_source("depth") == KnownDepth()
    assert parse_scale_source("positions:a:b.csv") == KnownPositions(Path("a:b.csv"))
    assert parse_scale_source("length:a,b,1,2,3.5,4=0.9") == KnownLength("a,b", (1, 2), (3.5, 4), 0.9)
    for wrong in ("", "depth:3", "positions:", "length:a,1,2,3=1", "length:a,1,2,3,4=-1", "length:a,1,2,3,4=x", "2.5"):
        with pytest.raises(InputError, match="--scale-from"):
            parse_scale_source(wrong)
