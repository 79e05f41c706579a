"""A reconstruction beside a reference: the right frames, the right pixels, the right figures."""

from dataclasses import replace

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.judge_pictures import fused_reference, judged_pictures
from ovseg3r_model.reconstruction.reference import compare, match_frames, reference_depth, sample_depth
from ovseg3r_model.records import Correspondence, DenseDepth, Points, Reconstruction, Recording, Views, subset
from ovseg3r_model.rooms import make_room
from ovseg3r_model.rooms.render import default_intrinsics, render
from ovseg3r_model.rooms.walk import walk

SIZE = (160, 120)
HALF = (80, 60)
Scene = tuple[Reconstruction, Recording, Recording]


def frames(count: int, names: str = "frame-{:03d}", interval: float = np.nan) -> Recording:
    """A recording of black pictures."""
    index = np.arange(count)
    return Recording(
        source_format="images",
        names=tuple(names.format(i) for i in index),
        frame=index,
        time=index * interval,
        color=np.zeros((count, 6, 8, 3), np.uint8),
        size=(8, 6),
    )


def test_frames_are_matched_by_name_wherever_they_are() -> None:
    found = match_frames(subset(frames(20), [3, 8, 15]), subset(frames(30), [8, 9, 15, 20]))
    assert found.by == "name"
    assert found.keyframe.tolist() == [1, 2]
    assert found.frame.tolist() == [0, 2]


def test_frames_of_other_names_are_matched_by_index() -> None:
    found = match_frames(subset(frames(20), [3, 8]), frames(9, "{:06d}.color"))
    assert (found.by, found.keyframe.tolist(), found.frame.tolist()) == ("index", [0, 1], [3, 8])
    with pytest.raises(InputError, match="None of the 2 keyframes"):
        match_frames(subset(frames(20), [3, 8]), frames(8, "{:06d}.color"))


def test_where_the_clocks_contradict_the_index_time_matches() -> None:
    keyframes = subset(frames(20, interval=1 / 10), [3, 8, 15])
    found = match_frames(keyframes, frames(30, "{}", interval=1 / 30))
    assert (found.by, found.keyframe.tolist(), found.frame.tolist()) == ("time", [0, 1], [9, 24])
    assert match_frames(keyframes, frames(30, "{}", interval=1 / 10)).by == "index"


def test_a_reference_without_poses_is_refused(scene: Scene) -> None:
    reconstruction, keyframes, _ = scene
    with pytest.raises(InputError, match="no poses"):
        compare(reconstruction, keyframes, replace(keyframes, world_from_camera=None))


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A room's exact reconstruction with depth at half the resolution, its pictures, and the posed RGB-D reference.

    The keyframes are every other frame of the reference; the second has no camera.
    """
    room, poses, k = make_room(3), walk(make_room(3), 12, 3), default_intrinsics(SIZE)
    views = [render(room, k, SIZE, pose) for pose in poses]
    reference = Recording(
        source_format="7scenes",
        names=tuple(f"frame-{i:06d}.color" for i in range(12)),
        frame=np.arange(12),
        time=np.full(12, np.nan),
        color=[view.rgb for view in views],
        size=SIZE,
        intrinsics=np.tile(k, (12, 1, 1)),
        world_from_camera=poses,
        depth=[view.depth for view in views],
        depth_size=SIZE,
        depth_intrinsics=np.tile(k, (12, 1, 1)),
    )
    every_other = subset(reference, np.arange(0, 12, 2))
    keyframes = replace(every_other, names=tuple("abcdef"), intrinsics=None, world_from_camera=None, depth=None)
    registered = np.array([0, 2, 3, 4, 5])
    half = k.copy()
    half[:2, :2] /= 2
    half[:2, 2] = (k[:2, 2] + 0.5) / 2 - 0.5
    z = np.stack([render(room, half, HALF, poses[2 * v]).depth for v in registered]).astype(np.float16)
    camera = Views(
        intrinsics=np.tile(k, (5, 1, 1)),
        world_from_camera=poses[2 * registered],
        size=np.tile(np.array(SIZE), (5, 1)),
        frame=keyframes.frame[registered],
        time=keyframes.time[registered],
    )
    reconstruction = Reconstruction(
        points=Points(
            np.float32(poses[:3, :3, 3]), np.zeros((3, 3), np.uint8), np.float16(np.eye(3)), np.ones(3, np.float16)
        ),
        correspondence=Correspondence(np.zeros(4, np.int64), np.zeros(0, np.uint16), np.zeros((0, 2), np.uint16)),
        views=camera,
        scale_known=True,
        world_frame="the room's",
        voxel_size=0.05,
        quality={},
        keyframes=registered,
        depth=DenseDepth(z, np.full(z.shape, 0.95, np.float16)),
    )
    return reconstruction, keyframes, reference


def test_an_exact_reconstruction_has_no_error(scene: Scene) -> None:
    reconstruction, keyframes, reference = scene
    found = compare(reconstruction, keyframes, reference)
    assert (found.matches.by, len(found.matches), len(found.view)) == ("index", 6, 5)
    assert found.frame.tolist() == [0, 4, 6, 8, 10]
    assert found.trajectory.ate_rmse < 1e-9
    assert found.trajectory.rotation_median < 1e-6
    assert found.scale_error == pytest.approx(0, abs=1e-9)
    assert found.depth is not None
    assert found.depth.coverage > 0.999
    assert found.depth.median_relative < 5e-4  # what float16 leaves
    assert found.depth.accurate > 0.95  # all but the silhouettes
    assert found.depth.calibration[9, 3] > 20_000


def test_depth_of_another_size_is_an_error_only_where_the_scale_is_known(scene: Scene) -> None:
    exact, keyframes, reference = scene
    assert exact.depth is not None
    larger = replace(exact, depth=replace(exact.depth, z=(1.1 * exact.depth.z).astype(np.float16)))
    found = compare(larger, keyframes, reference)
    assert found.depth is not None
    assert found.depth.median_relative == pytest.approx(0.1, abs=1e-3)
    assert found.depth.bias == pytest.approx(0.1, abs=1e-3)
    assert found.depth.close < 0.03

    poses = exact.views.world_from_camera.copy()
    poses[:, :3, 3] *= 1.1
    unknown = replace(larger, scale_known=False, views=replace(exact.views, world_from_camera=poses))
    found = compare(unknown, keyframes, reference)
    assert found.scale_error is None
    assert found.trajectory.scale == pytest.approx(1 / 1.1)
    assert found.depth is not None
    assert found.depth.median_relative < 5e-4


def test_depth_is_looked_up_through_the_lens_in_the_same_picture(scene: Scene) -> None:
    # Inverse depth is linear in the reference's picture, which is twice as large as the keyframes'.
    reconstruction, _, reference = scene
    x, y = np.meshgrid(np.arange(320.0), np.arange(240.0))
    plane = (1 / (0.3 + 0.0005 * x + 0.001 * y)).astype(np.float32)
    large = replace(
        reference,
        size=(320, 240),
        intrinsics=np.tile(default_intrinsics((320, 240)), (12, 1, 1)),
        depth=[plane] * 12,
        depth_size=(320, 240),
        depth_intrinsics=np.tile(default_intrinsics((320, 240)), (12, 1, 1)),
    )
    k, distortion = np.array([[150, 0, 83], [0, 140, 55], [0, 0, 1.0]]), -0.08
    bent = replace(
        reconstruction,
        distortion=distortion,
        views=replace(reconstruction.views, intrinsics=np.tile(k, (5, 1, 1))),
    )
    seen = reference_depth(bent, 1, large, 4)
    column, row = np.meshgrid(np.arange(80), np.arange(60))
    u, v = (2 * column + 0.5 - 83) / 150, (2 * row + 0.5 - 55) / 140
    stretch = 1 + distortion * (u**2 + v**2)
    px, py = 150 * u * stretch + 83, 140 * v * stretch + 55
    expected = 1 / (0.3 + 0.0005 * (2 * px + 0.5) + 0.001 * (2 * py + 0.5))
    assert np.abs(2 * px + 0.5 - (4 * column + 1.5)).max() > 6  # the lens matters
    np.testing.assert_allclose(seen, expected, rtol=2e-4)


def test_sampled_depth_never_mixes_two_surfaces() -> None:
    depth = np.full((4, 6), 1, np.float32)
    depth[:, 3:] = 3
    depth[0] = 0
    pixel = np.stack(np.meshgrid([1.5, 2.4, 2.6, 7.0], [0.4, 0.6, 2.0]), axis=-1)
    np.testing.assert_allclose(sample_depth(depth, pixel), [[0, 0, 0, 0], [1, 1, 3, 0], [1, 1, 3, 0]])


def test_without_depth_on_either_side_the_cameras_are_judged_alone(scene: Scene) -> None:
    exact, keyframes, reference = scene
    for reconstruction, other in (
        (replace(exact, depth=None), reference),
        (exact, replace(reference, depth=None)),
        (exact, replace(reference, size=(160, 160))),
    ):
        found = compare(reconstruction, keyframes, other)
        assert found.trajectory.ate_rmse < 1e-9
        assert found.depth is None
        assert "not judged" in found.notes[0]


def test_pictures_show_depth_trajectory_and_both_clouds(scene: Scene) -> None:
    reconstruction, keyframes, reference = scene
    found = compare(reconstruction, keyframes, reference)
    fused = fused_reference(reference, found)
    assert fused is not None
    assert len(fused.views) == 5
    drawn = judged_pictures(reconstruction, keyframes, reference, found, fused)
    assert drawn.keys() == {"trajectory", "clouds", *(f"depth-{k:03d}" for k in (0, 2, 3, 4, 5))}
    strip = drawn["depth-002"]
    assert strip.shape == (60, 320, 3)
    assert np.median(strip[:, 240:]) < 10  # no error is black
    assert np.ptp(drawn["trajectory"].reshape(-1, 3), axis=0).min() > 100
    assert judged_pictures(reconstruction, keyframes, reference, replace(found, depth=None), None).keys() == {
        "trajectory"
    }
