"""COLMAP models, written from a room whose depth and poses are exact."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.from_depth import UPRIGHT
from ovseg3r_model.reconstruction.imported.colmap_files import check_binaries
from ovseg3r_model.reconstruction.imported.detect import content_digest, read_reconstruction
from ovseg3r_model.reconstruction.imported.given import GivenViews
from ovseg3r_model.reconstruction.imported.sample import sampled
from ovseg3r_model.reconstruction.lens import distort
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Recording, subset
from ovseg3r_model.settings import DenseSettings
from tests.contracts.reconstructor_contract import room_recording
from tests.given_reconstructions import camera_of, depth_of, poses_of, write_colmap, write_colmap_depth
from tests.unit.imported_reconstruction.judged import VOXEL, assert_true, reconstruct


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
