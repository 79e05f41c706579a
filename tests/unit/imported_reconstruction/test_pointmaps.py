"""Folders of pointmaps, written from a room whose depth and poses are exact."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.from_depth import UPRIGHT
from ovseg3r_model.reconstruction.imported.confidence import Ranks
from ovseg3r_model.reconstruction.imported.engine import Imported
from ovseg3r_model.reconstruction.imported.focal import fit_focal
from ovseg3r_model.reconstruction.imported.given import camera_of_picture, map_to_picture, picture_to_map
from ovseg3r_model.reconstruction.imported.grid import grid_size, resampled
from ovseg3r_model.reconstruction.judge import align
from ovseg3r_model.records import Recording
from ovseg3r_model.settings import ReconstructSettings
from tests.given_reconstructions import camera_of, depth_of, pointmap, poses_of, view_of, write_index, write_views
from tests.unit.imported_reconstruction.judged import VOXEL, assert_true, reconstruct


def test_pointmaps_give_the_room_in_its_own_world(room: Recording, truth: cKDTree, tmp_path: Path):
    result = reconstruct(write_views(tmp_path / "views", room), room)
    assert_true(result, truth, room)
    assert truth.query(result.points.xyz)[0].max() < VOXEL
    np.testing.assert_allclose(result.views.world_from_camera, poses_of(room), atol=1e-6)
    np.testing.assert_allclose(result.views.intrinsics, room.intrinsics)
    assert result.scale_known
    assert "z up" in result.world_frame
    assert result.depth is not None
    assert result.depth.z.shape == (8, 72, 96)
    has = result.depth.z[0] > 0
    np.testing.assert_allclose(result.depth.z[0][has], depth_of(room, 0)[has], rtol=1e-3)
    assert has.mean() > 0.7


def test_the_focal_length_is_fitted_where_none_is_given(room: Recording, truth: cKDTree, tmp_path: Path):
    write_index(tmp_path)
    for k in range(len(room)):
        view = {name: view_of(room, k)[name] for name in ("points", "world_from_camera")}
        view["points"][5:20, 30:60] += 0.5  # outliers
        np.savez(tmp_path / f"{room.names[k]}.npz", **view)
    result = reconstruct(tmp_path, room)
    np.testing.assert_allclose(result.views.intrinsics, np.asarray(room.intrinsics), rtol=2e-3)
    assert any("focal length" in note for note in result.notes)
    assert any("no confidence" in note for note in result.notes)


def test_a_fit_is_not_led_astray():
    rng = np.random.default_rng(0)
    points = rng.uniform([-1, -1, 1], [1, 1, 3], (500, 3))
    offset = points[:, :2] / points[:, 2:] * 77.0
    assert fit_focal(points, offset) == pytest.approx(77, rel=1e-9)
    offset[:100] *= 3
    assert fit_focal(points, offset) == pytest.approx(77, rel=1e-3)


@pytest.mark.parametrize(
    ("box", "size"),
    [((8, 6, 88, 66), (80, 60)), ((10.0, 0.0, 82.0, 72.0), (48, 48)), ((0, -12, 96, 84), (64, 64))],
    ids=["crop", "crop and reduced", "padded square"],
)
@pytest.mark.parametrize("with_camera", [True, False])
def test_a_pointmap_of_a_part_of_the_picture(
    room: Recording, truth: cKDTree, tmp_path: Path, box: tuple[float, ...], size: tuple[int, int], with_camera: bool
):
    x0, y0, x1, y1 = box
    write_index(tmp_path, box=list(box))
    camera = camera_of(room).copy()
    step = np.array([(x1 - x0) / size[0], (y1 - y0) / size[1]])
    camera[0, 0], camera[1, 1] = camera[0, 0] / step[0], camera[1, 1] / step[1]
    camera[:2, 2] = (camera[:2, 2] + 0.5 - [x0, y0]) / step - 0.5
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    at_x, at_y = x0 + (x + 0.5) * step[0] - 0.5, y0 + (y + 0.5) * step[1] - 0.5
    for k in range(len(room)):
        inverse = np.divide(1, depth_of(room, k), where=depth_of(room, k) > 0, out=np.zeros((72, 96), np.float32))
        there = cv2.remap(inverse, at_x.astype(np.float32), at_y.astype(np.float32), cv2.INTER_LINEAR)
        points = pointmap(np.divide(1, there, where=there > 0, out=np.zeros_like(there)), camera, poses_of(room)[k])
        view = {"points": points, "world_from_camera": poses_of(room)[k]}
        np.savez(tmp_path / f"{room.names[k]}.npz", **view, **({"intrinsics": camera} if with_camera else {}))
    result = reconstruct(tmp_path, room)
    assert_true(result, truth, room, within=1.5 * VOXEL)
    np.testing.assert_allclose(result.views.intrinsics, np.asarray(room.intrinsics), rtol=5e-3)
    seen = result.correspondence.pixel
    assert seen[:, 0].min() >= x0 - 1
    assert seen[:, 0].max() <= x1
    assert seen[:, 1].min() >= max(y0, 0) - 1


def test_a_box_of_one_view_stands_before_the_common_one(room: Recording, tmp_path: Path):
    write_views(tmp_path, room, box=[0, 0, 48, 36])
    for k in range(len(room)):
        np.savez(tmp_path / f"{room.names[k]}.npz", **view_of(room, k), box=np.array([0, 0, 96, 72]))
    assert reconstruct(tmp_path, room).depth.z.shape == (8, 72, 96)


def test_a_forgotten_box_is_noticed(room: Recording, tmp_path: Path):
    camera = camera_of(room).copy()
    camera[0, 2] -= 12
    for name, index in (("forgotten", {}), ("given", {"box": [12, 0, 84, 72]})):
        write_index(tmp_path / name, **index)
        for k in range(len(room)):
            view = view_of(room, k) | {"intrinsics": camera}
            view["points"], view["confidence"] = view["points"][:, 12:84], view["confidence"][:, 12:84]
            np.savez(tmp_path / name / f"{room.names[k]}.npz", **view)
    with pytest.raises(InputError, match=r"72x72 on the box \[0.0, 0.0, 96.0, 72.0\].*stretched.*give as box"):
        reconstruct(tmp_path / "forgotten", room)
    assert len(reconstruct(tmp_path / "given", room).points) > 500


def test_boxes_there_and_back():
    pixel = np.array([[0.0, 0], [7, 3.5], [-2, 40]])
    size, box = (32, 20), (10.0, -5.0, 90.0, 55.0)
    np.testing.assert_allclose(picture_to_map(map_to_picture(pixel, size, box), size, box), pixel)
    np.testing.assert_allclose(map_to_picture(np.array([-0.5, -0.5]), size, box), [9.5, -5.5])
    ray = np.array([0.2, -0.1, 1.0])
    camera = np.array([[30.0, 0.5, 15], [0, 25, 10], [0, 0, 1]])
    there = camera_of_picture(camera, size, box) @ ray
    np.testing.assert_allclose(there[:2], map_to_picture((camera @ ray)[:2], size, box))


def test_any_world_and_unit_will_do(room: Recording, truth: cKDTree, tmp_path: Path):
    turn, shift = Rotation.random(rng=np.random.default_rng(0)).as_matrix(), np.array([700.0, -300, 90])
    for name, scale in (("small", 0.3), ("huge", 2e4)):
        write_index(tmp_path / name, metric=False, gravity_aligned=False)
        for k in range(len(room)):
            view = view_of(room, k)
            view["points"] = (scale * view["points"].astype(float) @ turn.T + shift).astype(np.float32)
            pose = view["world_from_camera"].copy()
            pose[:3, :3], pose[:3, 3] = turn @ pose[:3, :3], scale * pose[:3, 3] @ turn.T + shift
            np.savez(tmp_path / name / f"{room.names[k]}.npz", **{**view, "world_from_camera": pose})
        result = reconstruct(tmp_path / name, room, voxel=None)
        assert_true(result, truth, room)
        assert not result.scale_known
        assert result.world_frame == UPRIGHT
        assert any("scale is unknown" in note for note in result.notes)
        up = align(result.views.world_from_camera[:, :3, 3], poses_of(room)[:, :3, 3]).rotation[2, 2]
        assert np.degrees(np.arccos(up)) < 6


def test_scale_from_works_as_for_pictures_alone(room: Recording, truth: cKDTree, tmp_path: Path):
    write_index(tmp_path / "views", metric=False, gravity_aligned=True)
    for k in range(len(room)):
        view = view_of(room, k)
        view["points"], pose = view["points"] * 3, view["world_from_camera"].copy()
        pose[:3, 3] *= 3
        np.savez(tmp_path / "views" / f"{room.names[k]}.npz", **{**view, "world_from_camera": pose})
    settings = ReconstructSettings(reconstruction=str(tmp_path / "views"), voxel=VOXEL)
    csv = tmp_path / "positions.csv"
    csv.write_text(
        "\n".join(f"{n},{x},{y},{z}" for n, (x, y, z) in zip(room.names, poses_of(room)[:, :3, 3], strict=True))
    )
    x = (10.0, 30.0, 80.0, 40.0)
    points = view_of(room, 2)["points"]
    apart = float(np.linalg.norm(points[30, 10] - points[40, 80]))
    for source in ("depth", f"positions:{csv}", f"length:{room.names[2]},{x[0]},{x[1]},{x[2]},{x[3]}={apart}"):
        engine = Imported(settings.model_copy(update={"scale_from": source}), tmp_path / "views")
        result = engine.reconstruct(replace(room, intrinsics=None, world_from_camera=None))
        assert result.scale_known
        at = align(result.views.world_from_camera[:, :3, 3], poses_of(room)[:, :3, 3])
        assert at.scale == pytest.approx(1, rel=0.05 if "length" in source else 0.01)
        assert_true(result, truth, room, within=1.5 * VOXEL)
    write_index(tmp_path / "views", metric=True)
    with pytest.raises(InputError, match="in metres"):
        Imported(settings.model_copy(update={"scale_from": "depth"}), tmp_path / "views").reconstruct(room)


def test_depth_of_the_sky_is_none(room: Recording, truth: cKDTree, tmp_path: Path):
    for metric in (True, False):
        write_index(tmp_path, metric=metric)
        for k in range(len(room)):
            depth = depth_of(room, k).copy()
            depth[:12] = 3e5
            points = pointmap(depth, camera_of(room), poses_of(room)[k])
            np.savez(tmp_path / f"{room.names[k]}.npz", **view_of(room, k) | {"points": points})
        result = reconstruct(tmp_path, room, voxel=None)
        assert result.depth is not None
        assert np.isfinite(result.depth.z).all()
        assert (result.depth.z[:, :11] == 0).all()
        assert (result.depth.confidence[result.depth.z == 0] == 0).all()
        assert result.voxel_size < 0.05
        assert_true(result, truth, room)


def test_depth_is_stored_in_16_bits_whatever_the_scale(room: Recording, tmp_path: Path):
    csv = tmp_path / "positions.csv"
    rows = zip(room.names, 2e4 * poses_of(room)[:, :3, 3], strict=True)  # by mistake in some small unit
    csv.write_text("\n".join(f"{name},{x},{y},{z}" for name, (x, y, z) in rows))
    write_views(tmp_path, room, metric=False)
    depth = reconstruct(tmp_path, room, voxel=500.0, scale_from=f"positions:{csv}").depth
    assert depth is not None
    assert np.isfinite(depth.z).all()


def test_only_some_frames_have_a_view(room: Recording, truth: cKDTree, tmp_path: Path):
    chosen = [1, 2, 4, 5, 7]
    result = reconstruct(write_views(tmp_path, room, chosen), room)
    assert result.keyframes is not None
    np.testing.assert_array_equal(result.keyframes, chosen)
    np.testing.assert_array_equal(result.views.frame, room.frame[chosen])
    assert_true(result, truth, room)
    assert any("3 of 8 keyframes" in note for note in result.notes)


def test_views_may_be_named_by_the_number_of_the_frame(room: Recording, tmp_path: Path):
    video = replace(room, names=tuple(f"frame-{7 * k:06d}" for k in range(len(room))))
    write_index(tmp_path)
    for k in range(0, len(room), 2):
        np.savez(tmp_path / f"{7 * k}.npz", **view_of(room, k))
    result = reconstruct(tmp_path, replace(video, source_format="images"))
    assert result.keyframes is not None
    np.testing.assert_array_equal(result.keyframes, [0, 2, 4, 6])


def test_the_least_sure_pixels_go_and_the_order_stays(room: Recording, tmp_path: Path):
    write_views(tmp_path / "even", room)
    write_index(tmp_path / "doubt")
    for k in range(len(room)):
        view = view_of(room, k)
        view["confidence"] = 1 + np.exp(np.tile(np.linspace(-3, 8, 96, dtype=np.float32), (72, 1)))
        np.savez(tmp_path / "doubt" / f"{room.names[k]}.npz", **view)
    even, doubt = reconstruct(tmp_path / "even", room), reconstruct(tmp_path / "doubt", room)
    assert even.depth is not None
    assert doubt.depth is not None
    assert (doubt.depth.z[..., :16] == 0).all()
    assert even.depth.z[..., :16].any()
    columns = doubt.depth.confidence.max(axis=(0, 1))
    assert (np.diff(columns[30:].astype(float)) > -0.01).all()
    assert ((doubt.depth.confidence > 0) == (doubt.depth.z > 0)).all()
    assert doubt.depth.confidence.max() <= 1
    assert any("not a chance" in note for note in doubt.notes)
    np.savez(tmp_path / "doubt" / f"{room.names[0]}.npz", **{**view_of(room, 0), "confidence": np.full((72, 96), 7.0)})
    view = view_of(room, 1)
    del view["confidence"]
    np.savez(tmp_path / "doubt" / f"{room.names[1]}.npz", **view)
    mixed = reconstruct(tmp_path / "doubt", room).depth
    assert mixed is not None
    assert set(np.unique(mixed.confidence)) == {0, 1}
    rank = Ranks.of([np.arange(10, dtype=np.float32)])
    np.testing.assert_allclose(rank(np.array([-5, 1.9, 2, 5, 50], np.float32)), [0, 0, 0.3, 0.6, 1], rtol=1e-6)


def test_smeared_edges_are_left_out(room: Recording, truth: cKDTree, tmp_path: Path):
    write_index(tmp_path)
    for k in range(len(room)):
        smeared = cv2.blur(depth_of(room, k), (3, 3))
        points = pointmap(smeared, camera_of(room), poses_of(room)[k])
        np.savez(tmp_path / f"{room.names[k]}.npz", points=points, world_from_camera=poses_of(room)[k])
    wrong = []
    for edge_ratio in (0.03, 100.0):
        result = reconstruct(tmp_path, room, min_views=1, edge_ratio=edge_ratio)
        wrong.append(np.mean(truth.query(result.points.xyz)[0] > 0.1))
    assert wrong[0] < 0.4 * wrong[1]


def test_depth_is_interpolated_on_a_surface_and_not_across():
    z = np.tile(np.repeat(np.array([2, 5], np.float32), 6), (8, 1))
    z[:, :6] = 1 / np.linspace(0.50, 0.49, 6, dtype=np.float32)  # a slanted plane: inverse depth is linear
    z[0] = 0
    y, x = np.meshgrid(np.linspace(0, 7, 29), np.linspace(0, 11, 45), indexing="ij")
    at = np.stack([x, y], axis=-1).astype(np.float32)
    got, confidence = resampled(z, np.ones_like(z), at)
    assert (got[y <= 0.4] == 0).all()
    assert (confidence[got == 0] == 0).all()
    far, near = (y > 0.6) & (x > 5.6), (y > 0.6) & (x < 5)
    np.testing.assert_allclose(got[far], 5, rtol=1e-6)
    np.testing.assert_allclose(got[near], 1 / (0.50 - 0.002 * x[near]), rtol=2e-4)
    np.testing.assert_allclose(got[(y > 0.6) & (x > 5) & (x < 5.4)], z[1, 5], rtol=1e-6)


def test_the_grid_is_no_finer_than_the_depth():
    assert grid_size((1920, 1080), 518 / 1920) == (518, 291)
    assert grid_size((1920, 1080), 1.0) == (853, 480)
    assert grid_size((96, 72), 2.0) == (96, 72)
