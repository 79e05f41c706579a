"""Reconstructions of other systems, written from a room whose depth and poses are exact."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.from_depth import UPRIGHT
from ovseg3r_model.reconstruction.imported.colmap_files import check_binaries
from ovseg3r_model.reconstruction.imported.confidence import Ranks
from ovseg3r_model.reconstruction.imported.detect import content_digest, read_reconstruction
from ovseg3r_model.reconstruction.imported.engine import Imported
from ovseg3r_model.reconstruction.imported.focal import fit_focal
from ovseg3r_model.reconstruction.imported.given import (
    GivenViews,
    camera_of_picture,
    map_to_picture,
    picture_to_map,
)
from ovseg3r_model.reconstruction.imported.grid import grid_size, resampled
from ovseg3r_model.reconstruction.imported.sample import sampled
from ovseg3r_model.reconstruction.judge import align
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.reconstruction.protocol import build_reconstructor, check_settings, engine_for, inputs_digest
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Reconstruction, Recording, color_alone, subset
from ovseg3r_model.settings import DenseSettings, IngestSettings, ReconstructSettings
from tasks.ingest import ingest, load_recording
from tests.contracts.reconstructor_contract import room_recording
from tests.given_reconstructions import (
    camera_of,
    depth_of,
    pointmap,
    poses_of,
    view_of,
    write_colmap,
    write_colmap_depth,
    write_index,
    write_nerfstudio,
    write_views,
)

VOXEL = 0.04


@pytest.fixture(scope="module")
def room() -> Recording:
    return room_recording(seed=3)


@pytest.fixture(scope="module")
def truth(room: Recording) -> cKDTree:
    """Every pixel's point of every view."""
    points = np.concatenate([view_of(room, k)["points"].reshape(-1, 3) for k in range(len(room))])
    return cKDTree(points[np.isfinite(points).all(axis=1)])


def reconstruct(path: Path, recording: Recording, **settings: Any) -> Reconstruction:
    """From the pictures alone and what is at ``path``."""
    given = ReconstructSettings(reconstruction=str(path), **{"voxel": VOXEL, **settings})
    return build_reconstructor(given, color_alone(recording), seed=0).reconstruct(color_alone(recording))


def assert_true(result: Reconstruction, truth: cKDTree, recording: Recording, within: float = VOXEL) -> None:
    """The points are the room's, and cover it; up to the similarity of the cameras."""
    chosen = np.searchsorted(recording.frame, result.views.frame)
    to_truth = align(result.views.world_from_camera[:, :3, 3], poses_of(recording)[chosen, :3, 3])
    off, _ = truth.query(to_truth.scale * result.points.xyz @ to_truth.rotation.T + to_truth.translation)
    assert len(result.points) > 800
    assert np.quantile(off, 0.99) < within
    focal = camera_of(recording)[0, 0]
    np.testing.assert_allclose(result.views.intrinsics[:, 0, 0], focal, rtol=1e-3)


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


@pytest.mark.parametrize("kind", ["views", "colmap", "nerfstudio"])
def test_views_of_a_video_are_named_exactly_like_its_frames(room: Recording, tmp_path: Path, kind: str):
    write = {"views": write_views, "colmap": write_colmap, "nerfstudio": write_nerfstudio}[kind]
    depth = {"points": 100} if kind == "colmap" else {}
    video = replace(color_alone(room), source_format="video", names=tuple(f"frame-{k:06d}" for k in range(len(room))))

    def named(form: str) -> Recording:
        return replace(room, names=tuple(form.format(k + 1) for k in range(len(room))))

    for n, form in enumerate(("{:04d}", "frame_{:05d}", "out{}", "frame-{:04d}")):  # as ffmpeg and others count, from 1
        folder = write(tmp_path / str(n), named(form), **depth)
        with pytest.raises(InputError, match=r"give the folder of the exported pictures as SOURCE instead of the vid"):
            read_reconstruction(folder, video)
        pictures = replace(color_alone(named(form)), source_format="images")
        given = read_reconstruction(folder, pictures)
        found = given.registered if isinstance(given, SparseModel) else given.keyframes
        np.testing.assert_array_equal(found, range(len(room)))
    folder = write(tmp_path / "same", replace(room, names=video.names), **depth)
    given = read_reconstruction(folder, subset(video, [1, 4, 6]))
    poses = given.views.world_from_camera if isinstance(given, SparseModel) else given.world_from_camera
    np.testing.assert_allclose(poses, poses_of(room)[[1, 4, 6]], atol=1e-6)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_pictures_that_exif_turns_are_refused(room: Recording, tmp_path: Path, orientation: int):
    (tmp_path / "pictures").mkdir()
    for k, name in enumerate(room.names):
        exif = Image.Exif()
        exif[0x0112] = orientation if k == 5 else 1
        pixels = np.asarray(room.color[k])
        stored = np.rot90(pixels) if orientation == 6 and k == 5 else pixels
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "pictures" / f"{name}.jpg", exif=exif)
    source = str(tmp_path / "pictures")
    recording = load_recording(
        ingest.fn(str(tmp_path / "store"), "0" * 64, source, IngestSettings(source_format="images"))
    )
    views = write_views(tmp_path / "views", room)
    if orientation == 1:
        assert len(reconstruct(views, recording).points) > 500
        return
    with pytest.raises(InputError, match=r"turn the pictures' pixels first, e.g. `mogrify -auto-orient \*.jpg`"):
        reconstruct(views, subset(recording, [0, 1, 2]))


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


@pytest.mark.parametrize("kind", ["geometric", "photometric", "npy", "png"])
def test_colmap_with_depth_maps(room: Recording, truth: cKDTree, tmp_path: Path, kind: str):
    write_colmap(tmp_path / ("sparse/0" if kind == "npy" else "sparse"), room, text=kind == "png")
    write_colmap_depth(tmp_path, room, kind)
    result = reconstruct(tmp_path, room)
    assert_true(result, truth, room)
    assert not result.scale_known
    np.testing.assert_allclose(result.views.intrinsics, np.asarray(room.intrinsics), rtol=1e-9)
    assert result.world_frame == UPRIGHT


def test_colmap_pictures_without_depth_are_left_out(room: Recording, tmp_path: Path):
    write_colmap(tmp_path, room)
    write_colmap_depth(tmp_path, room, "geometric")
    (tmp_path / "stereo/depth_maps" / f"{room.names[3]}.jpg.geometric.bin").unlink()
    result = reconstruct(tmp_path, room)
    assert result.keyframes is not None
    np.testing.assert_array_equal(result.keyframes, [0, 1, 2, 4, 5, 6, 7])
    assert any("1 images" in note for note in result.notes)


def test_a_colmap_model_of_more_pictures_than_the_recording_has(room: Recording, tmp_path: Path):
    some = subset(room, [1, 3, 4, 6])
    model = read_reconstruction(write_colmap(tmp_path, room, points=100), some)
    assert isinstance(model, SparseModel)
    np.testing.assert_array_equal(model.registered, [0, 1, 2, 3])
    assert model.view.max() == 3
    assert len(model.xyz) > 100
    pose = poses_of(some)[model.view]
    local = np.einsum("tji,tj->ti", pose[:, :3, :3], model.xyz[model.point()] - pose[:, :3, 3])
    seen = (local / local[:, 2:]) @ camera_of(room)[:2].T
    np.testing.assert_allclose(seen, model.pixel, atol=1e-3)


def test_colmap_without_depth_maps_gets_our_own(tmp_path: Path):
    room = room_recording(seed=3, views=6, size=(160, 120))
    write_colmap(tmp_path, room, points=150)
    dense = DenseSettings(short_side=120, device="cpu", planes=32, neighbours=4, sources=3)
    result = reconstruct(tmp_path, room, dense=dense)
    assert result.depth is not None
    has = result.depth.z[2] > 0
    assert has.mean() > 0.2
    error = np.abs(result.depth.z[2][has] / depth_of(room, 2)[has] - 1)
    assert np.median(error) < 0.03


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_colmap_without_depth_maps_in_any_unit(tmp_path: Path, scale: float):
    import pycolmap

    room = room_recording(seed=3, views=6, size=(160, 120))
    write_colmap(tmp_path, room, points=150)
    model = pycolmap.Reconstruction(str(tmp_path))
    model.transform(pycolmap.Sim3d(scale, pycolmap.Rotation3d(), np.zeros(3)))
    model.write_binary(str(tmp_path))
    dense = DenseSettings(short_side=120, device="cpu", planes=32, neighbours=4, sources=3)
    result = reconstruct(tmp_path, room, dense=dense, voxel=None)
    assert any("the median depth" in note for note in result.notes)
    assert result.depth is not None
    assert np.isfinite(result.depth.z).all()
    has = result.depth.z[2] > 0
    assert has.mean() > 0.2
    ratio = result.depth.z[2][has].astype(float) / depth_of(room, 2)[has]
    assert np.median(np.abs(ratio / np.median(ratio) - 1)) < 0.03


def test_colmap_with_one_bent_lens(room: Recording, truth: cKDTree, tmp_path: Path):
    k1 = -0.08
    y, x = np.indices((72, 96))
    # where each pixel of the bent picture is in the straight one, by search along the ray
    straight = np.stack([x, y], -1).reshape(-1, 2).astype(float)
    target = straight.copy()
    for _ in range(50):
        straight += target - distort(straight, camera_of(room), k1)
    at = straight.reshape(72, 96, 2).astype(np.float32)
    bent = replace(
        room,
        color=[cv2.remap(np.asarray(room.color[k]), at, None, cv2.INTER_LINEAR) for k in range(8)],
        depth=[cv2.remap(depth_of(room, k), at, None, cv2.INTER_NEAREST) for k in range(8)],
    )
    write_colmap(tmp_path, room, model="SIMPLE_RADIAL", k1=k1)
    write_colmap_depth(tmp_path, bent, "npy")
    result = reconstruct(tmp_path, bent)
    assert result.distortion == k1
    assert_true(result, truth, room, within=1.5 * VOXEL)
    assert result.depth is not None
    for k in range(len(room)):
        z, true = result.depth.z[k].astype(float), depth_of(room, k)
        both = (z > 0) & (true > 0)
        assert both.mean() > 0.6
        assert np.quantile(np.abs(z[both] / true[both] - 1), 0.9) < 0.015
    given = read_reconstruction(tmp_path, bent)
    assert isinstance(given, GivenViews)
    model = sampled(given, bent, lambda: None).model
    pose = poses_of(room)[model.view]
    local = np.einsum("tji,tj->ti", pose[:, :3, :3], model.xyz - pose[:, :3, 3])
    straight = (local / local[:, 2:]) @ camera_of(room)[:2].T
    np.testing.assert_allclose(distort(straight, camera_of(room), k1), model.pixel, atol=0.01)


def test_nerfstudio(room: Recording, truth: cKDTree, tmp_path: Path):
    folder = write_nerfstudio(tmp_path / "ns", room)
    for path in (folder, folder / "transforms.json"):
        result = reconstruct(path, room)
        assert_true(result, truth, room)
        assert result.scale_known
        assert result.world_frame == UPRIGHT
    some = replace(color_alone(room), names=tuple("else-" + n if k == 0 else n for k, n in enumerate(room.names)))
    assert len(reconstruct(folder, some).views) == 7
    shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"no depth; add depth_file_path"):
        reconstruct(write_nerfstudio(folder, room, depth=False), room)


def test_nerfstudio_in_another_unit(room: Recording, truth: cKDTree, tmp_path: Path):
    """As ns-process-data --use-sfm-depth leaves it; what is too large for a room is refused without --scale-from."""
    for scale in (3.0, 1000.0):
        poses = poses_of(room).copy()
        poses[:, :3, 3] *= scale
        other = replace(room, world_from_camera=poses, depth=[scale * depth_of(room, k) for k in range(len(room))])
        folder = write_nerfstudio(tmp_path / f"{scale:g}", other)
        csv = tmp_path / "positions.csv"
        rows = zip(room.names, poses_of(room)[:, :3, 3], strict=True)
        csv.write_text("\n".join(f"{name},{x},{y},{z}" for name, (x, y, z) in rows))
        result = reconstruct(folder, room, scale_from=f"positions:{csv}")
        assert result.scale_known
        np.testing.assert_allclose(result.views.world_from_camera, poses_of(room), atol=1e-3)
        assert truth.query(result.points.xyz)[0].max() < 1.5 * VOXEL
        assert not any("--use-sfm-depth" in note for note in result.notes)
        if scale > 100:
            with pytest.raises(InputError, match="for nerfstudio by --scale-from"):
                reconstruct(folder, room)
        else:
            assert any("--use-sfm-depth" in note for note in reconstruct(folder, room, voxel=None).notes)


def spoilt(change: Any) -> Any:
    """A test's case: the first view with ``change`` made to its arrays."""

    def spoil(folder: Path, room: Recording) -> None:
        view = view_of(room, 0)
        change(view)
        np.savez(folder / f"{room.names[0]}.npz", **view)

    return spoil


def renamed(folder: Path, room: Recording) -> None:
    for k, name in enumerate(room.names):
        (folder / f"{name}.npz").rename(folder / f"view{'abcdefgh'[k]}.npz")


def linked_out(folder: Path, room: Recording) -> None:
    file = folder / f"{room.names[0]}.npz"
    file.rename(folder.parent / "elsewhere.npz")
    file.symlink_to(folder.parent / "elsewhere.npz")


BAD = {
    "no points": (spoilt(lambda v: v.pop("points")), "has no array points"),
    "no pose": (spoilt(lambda v: v.pop("world_from_camera")), "has no array world_from_camera"),
    "flat points": (spoilt(lambda v: v.update(points=v["points"].reshape(-1, 3))), r"has the shape \(6912, 3\)"),
    "other confidence": (spoilt(lambda v: v.update(confidence=np.ones((3, 4)))), r"confidence has the shape \(3, 4\)"),
    "3x4 pose": (spoilt(lambda v: v.update(world_from_camera=np.eye(4)[:3])), r"shape \(3, 4\), not \(4, 4\)"),
    "pickle": (spoilt(lambda v: v.update(confidence=np.full((72, 96), None))), "holds no plain numbers"),
    "scaled pose": (spoilt(lambda v: v.update(world_from_camera=2 * v["world_from_camera"])), "last row|not rigid"),
    "sheared": (spoilt(lambda v: v.update(world_from_camera=np.diag([1.5, 1, 1, 1]))), "not rigid"),
    "nan pose": (spoilt(lambda v: v.update(world_from_camera=np.full((4, 4), np.nan))), "NaN"),
    "camera_from_world": (
        spoilt(lambda v: v.update(world_from_camera=np.linalg.inv(v["world_from_camera"]))),
        "behind its camera|not seen where",
    ),
    "in the camera": (
        spoilt(lambda v: v.update(points=v["points"] @ v["world_from_camera"][:3, :3])),
        "behind its camera|not seen where",
    ),
    "bad camera": (spoilt(lambda v: v.update(intrinsics=np.diag([-5.0, 5, 1]))), "focal lengths must be positive"),
    "box elsewhere": (spoilt(lambda v: v.update(box=np.array([200, 0, 300, 90]))), "lies outside the picture"),
    "box turned": (spoilt(lambda v: v.update(box=np.array([90, 0, 3, 90]))), "x0 < x1"),
    "no zip": (lambda f, r: (f / f"{r.names[0]}.npz").write_bytes(b"nonsense"), "no readable .npz"),
    "cut off": (
        lambda f, r: (f / f"{r.names[0]}.npz").write_bytes((f / f"{r.names[0]}.npz").read_bytes()[:-300]),
        "no readable .npz",
    ),
    "version": (lambda f, r: write_index(f, version=2), "only version 1 is read"),
    "format": (lambda f, r: write_index(f, format="other"), '"format": "ovseg3r-views"'),
    "metric": (lambda f, r: write_index(f, metric="yes"), "metric must be true or false"),
    "unknown field": (lambda f, r: write_index(f, gravity=True), "'gravity' is no field"),
    "box text": (lambda f, r: write_index(f, box=[0, 0, "w", 1]), "x0 < x1"),
    "no json": (lambda f, r: (f / "reconstruction.json").write_text("{"), "not valid JSON"),
    "other names": (renamed, "views in .* are for other frames"),
    "outside": (linked_out, "leads out of"),
    "nothing": (lambda f, r: [p.unlink() for p in f.glob("*.npz")], "holds no NAME.npz"),
    "empty": (spoilt(lambda v: v.update(points=np.full((72, 96, 3), np.nan))), None),
    "wrong unit": (lambda f, r: [np.savez(p, **_thousandfold(p)) for p in f.glob("*.npz")], "median depth would be"),
}


def _thousandfold(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        view = dict(arrays)
    view["points"] *= 1000
    view["world_from_camera"][:3, 3] *= 1000
    return view


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_sentence(room: Recording, tmp_path: Path, what: str):
    spoil, sentence = BAD[what]
    folder = write_views(tmp_path / "views", room)
    spoil(folder, room)
    if sentence is None:  # one view without a point is no reason to stop
        assert len(reconstruct(folder, room).points) > 500
        return
    with pytest.raises(InputError, match=sentence) as error:
        reconstruct(folder, room)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


def test_colmap_models_that_cannot_be_used(room: Recording, tmp_path: Path):
    with pytest.raises(InputError, match=r"OPENCV.*image_undistorter"):
        reconstruct(write_colmap(tmp_path / "opencv", room, model="OPENCV", k1=0.1), room)
    with pytest.raises(InputError, match="neither depth maps nor points"):
        reconstruct(write_colmap(tmp_path / "bare", room), room)
    half = replace(room, size=(96, 60), color=[room.color[k][:60] for k in range(8)])
    with pytest.raises(InputError, match="96x72, and the recording's are 96x60"):
        reconstruct(tmp_path / "bare", half)
    write_colmap_depth(tmp_path / "bare", room, "geometric")
    file = tmp_path / "bare/stereo/depth_maps" / f"{room.names[1]}.jpg.geometric.bin"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match="shorter than its header"):
        reconstruct(tmp_path / "bare", room)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no depth map of COLMAP"):
        reconstruct(tmp_path / "bare", room)
    outside = replace(room, names=tuple(f"../{name}" for name in room.names))
    write_colmap(tmp_path / "out", outside)
    with pytest.raises(InputError, match="leads out of"):
        reconstruct(tmp_path / "out", room)
    (tmp_path / "out" / "images.bin").write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match="damaged"):
        reconstruct(tmp_path / "out", room)


LENSES = {
    "SIMPLE_PINHOLE": True,
    "RADIAL": True,
    "FULL_OPENCV": True,
    "SIMPLE_RADIAL_FISHEYE": False,
    "RADIAL_FISHEYE": False,
    "OPENCV_FISHEYE": False,
    "FOV": False,
    "SIMPLE_FISHEYE": False,
    "FISHEYE": False,
    "EQUIRECTANGULAR": False,
}


@pytest.mark.parametrize("lens", LENSES)
def test_only_lenses_that_can_be_straight_are_pinholes(room: Recording, tmp_path: Path, lens: str):
    import pycolmap

    if not hasattr(pycolmap.CameraModelId, lens):
        pytest.skip(f"this COLMAP has no {lens}")
    model = pycolmap.Reconstruction(str(write_colmap(tmp_path, room, points=100)))
    kind = getattr(pycolmap.CameraModelId, lens)
    model.cameras[1] = pycolmap.Camera.create_from_model_id(1, kind, float(camera_of(room)[0, 0]), *room.size)
    extras = list(model.cameras[1].extra_params_idxs())
    params = np.array(model.cameras[1].params)
    params[extras] = 0
    model.cameras[1].params = params
    model.write_binary(str(tmp_path))
    if LENSES[lens]:
        assert isinstance(read_reconstruction(tmp_path, room), SparseModel)
        return
    with pytest.raises(InputError, match=rf"\({lens}\) is not supported.*image_undistorter"):
        read_reconstruction(tmp_path, room)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin", "frames.bin", "rigs.bin"])
def test_a_cut_off_colmap_file_is_refused_before_it_is_read(
    room: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    import pycolmap

    file = write_colmap(tmp_path, room, points=3) / name
    content = file.read_bytes()
    assert isinstance(read_reconstruction(tmp_path, room), SparseModel)

    def trusting(path: str) -> None:
        pytest.fail("a damaged file was given to COLMAP's reader")

    monkeypatch.setattr(pycolmap, "Reconstruction", trusting)
    step = max(1, len(content) // 300)
    for length in {0, 5, 7, 8, len(content) - 1, *range(0, len(content), step)}:
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match=f"{name}: is damaged or was cut off"):
            read_reconstruction(tmp_path, room)
    file.write_bytes(b"\xff" * 8 + content[8:])  # a count that nothing can hold
    with pytest.raises(InputError, match="records that it counts"):
        read_reconstruction(tmp_path, room)


def test_colmap_files_with_several_sensors_are_walked_to_their_end(tmp_path: Path):
    import pycolmap

    model = pycolmap.synthesize_dataset(pycolmap.SyntheticDatasetOptions(num_rigs=2, num_cameras_per_rig=3))
    model.write_binary(str(tmp_path))
    check_binaries(tmp_path)
    for file in tmp_path.glob("*.bin"):
        content = file.read_bytes()
        file.write_bytes(content[:-1])
        with pytest.raises(InputError, match=file.name):
            check_binaries(tmp_path)
        file.write_bytes(content)


def test_nothing_known(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        content_digest(tmp_path / "none")
    with pytest.raises(InputError, match="no reconstruction that is known"):
        content_digest(tmp_path)


def test_engine_and_path_belong_together(room: Recording, tmp_path: Path):
    given = ReconstructSettings(reconstruction=str(write_views(tmp_path, room)))
    for posed in (True, False):
        assert engine_for(given, posed) == "imported"
    assert build_reconstructor(given, room, seed=0).name == "imported"
    for engine in ("posed-rgbd", "colmap"):
        with pytest.raises(InputError, match="would not use it"):
            check_settings(given.model_copy(update={"engine": engine}), engine)
    with pytest.raises(InputError, match="needs --reconstruction PATH"):
        build_reconstructor(ReconstructSettings(engine="imported"), room, seed=0)


def test_the_digest_is_the_contents(room: Recording, tmp_path: Path):
    write_views(tmp_path / "views", room, [0, 1])
    write_colmap_depth(write_colmap(tmp_path / "colmap", room), room, "npy")
    write_nerfstudio(tmp_path / "nerfstudio", room)
    seen = set()
    for folder in ("views", "colmap", "nerfstudio"):
        first = inputs_digest(ReconstructSettings(reconstruction=str(tmp_path / folder)), "imported")
        shutil.copytree(tmp_path / folder, tmp_path / "copy" / folder)
        (tmp_path / "copy" / folder / "notes.txt").write_text("nobody reads this")
        copied = ReconstructSettings(reconstruction=str(tmp_path / "copy" / folder))
        assert inputs_digest(copied, "imported") == first
        changed = max(p for p in (tmp_path / "copy" / folder).rglob("*") if p.suffix in (".npz", ".npy"))
        changed.write_bytes(changed.read_bytes()[:-1] + b"!")
        assert inputs_digest(copied, "imported") != first
        seen |= {first, inputs_digest(copied, "imported")}
    csv = tmp_path / "positions.csv"
    csv.write_text("a,1,2,3\n")
    for reconstruction in (None, str(tmp_path / "views")):
        settings = ReconstructSettings(reconstruction=reconstruction, scale_from=f"positions:{csv}")
        seen.add(inputs_digest(settings, "imported"))
    assert len(seen) == 8
    assert all(digest and len(digest) == 64 for digest in seen)


@pytest.mark.parametrize(("kind", "place"), [("npy", "depth"), ("geometric", "stereo/depth_maps")])
def test_linked_folders_of_depth_maps_are_refused(room: Recording, tmp_path: Path, kind: str, place: str):
    """What is read must be in the digest."""
    inner = replace(room, names=tuple(f"cam/{name}" for name in room.names))
    folder = write_colmap(tmp_path / "model", inner)
    write_colmap_depth(tmp_path / "model", room, kind)
    (folder / place).rename(tmp_path / "raw")
    (folder / place).mkdir()
    (folder / place / "cam").symlink_to(tmp_path / "raw", target_is_directory=True)
    for use in (content_digest, lambda path: read_reconstruction(path, room)):
        with pytest.raises(InputError, match=r"cam: is a link to a folder.*put the folder itself there"):
            use(folder)
    (folder / place / "cam").unlink()
    (tmp_path / "raw").rename(folder / place / "cam")
    before = content_digest(folder)
    assert isinstance(read_reconstruction(folder, room), GivenViews)
    # the whole folder may be a link: a search begins behind it
    (folder / place).rename(tmp_path / "whole")
    (folder / place).symlink_to(tmp_path / "whole", target_is_directory=True)
    assert content_digest(folder) == before
    assert isinstance(read_reconstruction(folder, room), GivenViews)


def test_the_grid_is_no_finer_than_the_depth():
    assert grid_size((1920, 1080), 518 / 1920) == (518, 291)
    assert grid_size((1920, 1080), 1.0) == (853, 480)
    assert grid_size((96, 72), 2.0) == (96, 72)
