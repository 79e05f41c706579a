"""Every layout is written in miniature with known numbers; what comes out is compared with them, not with the
readers."""

import hashlib
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import open_recording, scene_id_of, source_digest
from tests.unit.small_recordings import (
    CAMERA,
    LAYOUTS,
    SIZE,
    color,
    nerfstudio,
    pose,
    save,
    scannet,
    seven_scenes,
    tum,
    write_matrix,
)

RED_KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "redkitchen"


# --- what comes out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_recognised_and_complete(tmp_path: Path, layout: str) -> None:
    folder = LAYOUTS[layout](tmp_path / "scan")
    recording = open_recording(folder)
    assert recording.source_format == layout
    count = len(recording)
    assert len(recording.color) == len(recording.frame) == len(recording.time) == count
    assert recording.color[0].shape == (recording.size[1], recording.size[0], 3)
    assert recording.color[0].dtype == np.uint8
    if layout != "images":
        assert recording.world_from_camera is not None
        assert recording.world_from_camera.shape == (count, 4, 4)
        assert recording.intrinsics is not None
        assert recording.intrinsics.shape == (count, 3, 3)
        assert recording.depth is not None
        assert len(recording.depth) == count
        assert recording.depth_size is not None
        assert recording.depth[0].shape == recording.depth_size[::-1]
        assert recording.depth[0].dtype == np.float32
    assert open_recording(folder, layout).names == recording.names


def test_seven_scenes_values(tmp_path: Path) -> None:
    recording = open_recording(seven_scenes(tmp_path))
    assert recording.names == ("frame-000000.color", "frame-000001.color", "frame-000002.color")
    np.testing.assert_array_equal(recording.color[2], color(2))
    depth = recording.depth[2]
    np.testing.assert_array_equal(depth[0, :2], [0, 0])
    np.testing.assert_allclose(depth[1:], 1.002)
    np.testing.assert_allclose(recording.world_from_camera[2], pose(2))
    np.testing.assert_array_equal(recording.intrinsics[1], CAMERA)
    np.testing.assert_array_equal(recording.depth_intrinsics[1], CAMERA)
    np.testing.assert_array_equal(recording.color_from_depth, np.eye(4))
    assert np.isnan(recording.time).all()


def test_seven_scenes_without_a_camera_takes_the_default_and_says_so(tmp_path: Path) -> None:
    recording = open_recording(seven_scenes(tmp_path / "a", 1, (640, 480), camera=False))
    np.testing.assert_array_equal(recording.intrinsics[0], [[585, 0, 320], [0, 585, 240], [0, 0, 1]])
    assert any("585" in note for note in recording.notes)
    with pytest.raises(InputError, match=r"camera-intrinsics\.txt: is missing and the pictures are not 640x480"):
        open_recording(seven_scenes(tmp_path / "b", 1, camera=False))


def test_scannet_values(tmp_path: Path) -> None:
    recording = open_recording(scannet(tmp_path, lost=(4,)))
    assert recording.names == ("0", "8")
    assert recording.frame.tolist() == [0, 2]
    assert (recording.size, recording.depth_size) == ((16, 12), (8, 6))
    assert recording.intrinsics[0, 0].tolist() == [14, 0, 7]
    assert recording.depth_intrinsics[0, 0].tolist() == [7, 0, 3.5]
    np.testing.assert_allclose(recording.world_from_camera[1], pose(8))
    np.testing.assert_allclose(recording.depth[1][1:], 1.008)
    np.testing.assert_array_equal(recording.color_from_depth, np.eye(4))
    assert recording.notes == ("1 of 3 frames were left out: tracking was lost in them (-inf poses).",)


def test_scannet_extrinsics_take_depth_points_to_the_colour_camera(tmp_path: Path) -> None:
    device_from_color, device_from_depth = pose(1), pose(3)
    folder = scannet(tmp_path)
    write_matrix(folder / "intrinsic/extrinsic_color.txt", device_from_color)
    write_matrix(folder / "intrinsic/extrinsic_depth.txt", device_from_depth)
    recording = open_recording(folder)
    point = np.array([0.1, 0.2, 2.0, 1.0])  # in the depth camera
    through_color = recording.world_from_camera[2] @ recording.color_from_depth @ point
    np.testing.assert_allclose(through_color, pose(8) @ device_from_depth @ point)
    assert "extrinsics" in recording.notes[0]


def test_tum_values_are_interpolated_in_time(tmp_path: Path) -> None:
    recording = open_recording(tum(tmp_path))
    assert len(recording) == 4
    np.testing.assert_allclose(recording.time, np.arange(4) / 30, atol=1e-6)
    for i, matrix in enumerate(recording.world_from_camera):
        at = i / 30
        assert matrix[:3, 3] == pytest.approx([at, 0, 1], abs=2e-6)
        assert math.atan2(matrix[1, 0], matrix[0, 0]) == pytest.approx(at / 2, abs=2e-6)
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(recording.depth[3][1:], 1003 / 5000)
    np.testing.assert_array_equal(recording.intrinsics[0], CAMERA)
    assert recording.notes == ()


def test_tum_leaves_out_what_has_no_partner(tmp_path: Path) -> None:
    folder = tum(tmp_path)
    lines = (folder / "depth.txt").read_text().splitlines()
    (folder / "depth.txt").write_text("\n".join(lines[:2] + lines[3:]))  # the depth of frame 1 is gone
    truth = [line for line in (folder / "groundtruth.txt").read_text().splitlines() if line < "100.04"]
    (folder / "groundtruth.txt").write_text("\n".join(truth))  # no poses for frames 2 and 3, at 100.067 and 100.1
    recording = open_recording(folder)
    assert recording.frame.tolist() == [0]
    assert recording.notes == (
        "1 of 4 frames were left out: no depth within 0.02 s.",
        "2 of 4 frames were left out: no pose within 0.05 s.",
    )


@pytest.mark.parametrize(
    ("name", "fx", "noted"), [("rgbd_freiburg1_desk", 517.3, "freiburg1"), ("freiburg3", 535.4, "3"), ("x", 525, "525")]
)
def test_tum_cameras_by_name(tmp_path: Path, name: str, fx: float, noted: str) -> None:
    recording = open_recording(tum(tmp_path / name, 1, (640, 480), intrinsics=False))
    assert recording.intrinsics[0, 0, 0] == fx
    assert noted in recording.notes[0]


def test_nerfstudio_values(tmp_path: Path) -> None:
    recording = open_recording(nerfstudio(tmp_path))
    assert recording.names == ("2", "10")
    np.testing.assert_array_equal(recording.color[1], color(10))
    # The middle of an 8x6 picture lies between pixels 3 and 4, 2 and 3.
    np.testing.assert_allclose(recording.intrinsics[0], [[7, 0, 3.5], [0, 7.5, 2.5], [0, 0, 1]])
    # What OpenGL sees one metre ahead (0, 0, -1) and above (0, 1, 0), OpenCV sees at (0, 0, 1) and (0, -1, 0).
    for opengl, opencv in (([0, 0, -1, 1], [0, 0, 1, 1]), ([0, 1, 0, 1], [0, -1, 0, 1]), ([1, 0, 0, 1], [1, 0, 0, 1])):
        np.testing.assert_allclose(recording.world_from_camera[1] @ opencv, pose(10) @ opengl)
    np.testing.assert_allclose(recording.depth[0][1:], 1.002)
    assert recording.depth[0][0, 1] == 0


def test_nerfstudio_variants(tmp_path: Path) -> None:
    def older(index: dict) -> None:
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model"):
            del index[key]
        index["camera_angle_x"] = 2 * math.atan(4 / 7.0)  # 8 pixels wide, focal length 7
        for frame in index["frames"]:
            frame["file_path"] = frame["file_path"].removesuffix(".png")

    recording = open_recording(nerfstudio(tmp_path / "older", older, depth=False))
    np.testing.assert_allclose(recording.intrinsics[0], [[7, 0, 3.5], [0, 7, 2.5], [0, 0, 1]])
    assert (recording.depth, recording.depth_intrinsics, recording.color_from_depth) == (None, None, None)

    stored = np.full(SIZE[::-1], 2.0, np.float32)
    stored[0, :4] = (np.nan, -1, np.inf, 0)

    def arrays(index: dict) -> None:
        index["depth_unit_scale_factor"] = 0.5
        index["frames"][1]["fl_x"] = 9.0
        for frame in index["frames"]:
            frame["depth_file_path"] = "d.npy"
        np.save(tmp_path / "arrays" / "d.npy", stored)

    recording = open_recording(nerfstudio(tmp_path / "arrays", arrays))
    assert recording.intrinsics[:, 0, 0].tolist() == [9, 7]
    assert recording.depth[0][0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_pictures_of_every_kind_become_rgb8(tmp_path: Path) -> None:
    plain = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    grey = plain[:, :, 0]
    save(tmp_path / "1.png", plain)
    save(tmp_path / "2.bmp", plain)
    save(tmp_path / "3.tif", plain)
    save(tmp_path / "10.webp", plain, lossless=True)
    save(tmp_path / "11.png", np.dstack([plain, np.full((6, 8), 99, np.uint8)]))
    save(tmp_path / "12.PNG", grey)
    save(tmp_path / "13.png", grey.astype(np.uint16) * 257)
    palette = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).convert("P")
    palette.save(tmp_path / "14.png", transparency=bytes(range(48)))
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "._1.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("hello")
    save(tmp_path / "sub" / "0.png", plain[:2])
    recording = open_recording(tmp_path)
    assert recording.names == ("1", "2", "3", "10", "11", "12", "13", "14")
    for index in range(5):
        np.testing.assert_array_equal(recording.color[index], plain, err_msg=recording.names[index])
    for index in (5, 6):
        np.testing.assert_array_equal(recording.color[index], np.repeat(grey[:, :, None], 3, 2))
    assert recording.color[7][1, 0].tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    ("stated", "expected"), [((26, 26), 26 * 500 / np.hypot(36, 24)), ((26, 52), None), ((0, 0), None)]
)
def test_exif_focal_length(tmp_path: Path, stated: tuple[int, int], expected: float | None) -> None:
    for name, millimetres in zip("ab", stated, strict=True):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0xA405] = millimetres
        save(tmp_path / f"{name}.jpg", np.full((300, 400, 3), 90, np.uint8), exif=exif)
    assert open_recording(tmp_path).focal_guess == (None if expected is None else pytest.approx(expected))


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter clockwise, as from a phone held upright
    save(tmp_path / "a.png", color(3), exif=exif)
    recording = open_recording(tmp_path)
    assert recording.size == (6, 8)
    np.testing.assert_array_equal(recording.color[0], np.rot90(color(3), -1))


def test_equal_stems_keep_their_suffix(tmp_path: Path) -> None:
    save(tmp_path / "a.png", color(1))
    save(tmp_path / "a.jpg", color(1))
    assert sorted(open_recording(tmp_path).names) == ["a.jpg", "a.png"]


@pytest.mark.skipif(not RED_KITCHEN.is_dir(), reason="the real recording is not here")
def test_red_kitchen() -> None:
    recording = open_recording(RED_KITCHEN)
    assert (len(recording), recording.size, recording.source_format) == (200, (640, 480), "7scenes")
    depth = recording.depth[100]
    assert 0.5 < np.median(depth[depth > 0]) < 4
    assert recording.color[199].shape == (480, 640, 3)
    np.testing.assert_allclose(np.linalg.det(recording.world_from_camera[:, :3, :3]), 1, atol=1e-3)


# --- digests and ids


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_digest_is_of_the_content_alone(tmp_path: Path, layout: str) -> None:
    here = LAYOUTS[layout](tmp_path / "here")
    digest = source_digest(here)
    assert len(digest) == 64
    there = tmp_path / "deep" / "there"
    shutil.copytree(here, there)
    (there / "readme.md").write_text("not read")
    (there / ".DS_Store").write_text("not read")
    assert source_digest(there) == digest
    recording = open_recording(there)
    last = recording.color.paths[-1]
    pixels = recording.color[len(recording) - 1].copy()
    pixels[1, 1] ^= 255
    save(last, pixels)
    assert source_digest(there) != digest


def test_the_digest_knows_names_and_poses(tmp_path: Path) -> None:
    folder = seven_scenes(tmp_path / "a")
    digest = source_digest(folder)
    write_matrix(folder / "frame-000001.pose.txt", pose(2))
    changed = source_digest(folder)
    assert changed != digest
    assert source_digest(folder, "images") != changed
    for path in folder.glob("frame-000002.*"):
        path.rename(path.with_name(path.name.replace("2", "3")))
    assert source_digest(folder) not in (digest, changed)


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one piece
    (tmp_path / "a.mp4").write_bytes(data)
    assert source_digest(tmp_path / "a.mp4") == hashlib.sha256(data).hexdigest()
    with pytest.raises(InputError, match="does not exist"):
        source_digest(tmp_path / "b.mp4")


def test_a_tum_camera_taken_by_name_is_in_the_digest(tmp_path: Path) -> None:
    digests = [source_digest(tum(tmp_path / name, 1, intrinsics=False)) for name in ("freiburg1", "freiburg2", "other")]
    assert len(set(digests)) == 3
    digests = [source_digest(tum(tmp_path / "with" / name, 1)) for name in ("freiburg1", "freiburg2")]
    assert len(set(digests)) == 1


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("scene0000_00", "scene0000_00"),
        ("IMG_1234.MOV", "img_1234"),
        ("My Küche (2).mp4", "my-kuche-2"),
        ("..weird--.mp4", "weird"),
    ],
)
def test_scene_ids(tmp_path: Path, name: str, scene: str) -> None:
    (tmp_path / name).touch()
    assert scene_id_of(tmp_path / name) == scene


def test_scene_ids_are_never_empty_or_long_and_differ(tmp_path: Path) -> None:
    names = ["厨房", "客厅", "a" * 100 + "1", "a" * 100 + "2", "---"]
    ids = [scene_id_of(tmp_path / name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(0 < len(i) <= 64 and set(i) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for i in ids)
    (tmp_path / "scan.v2").mkdir()
    assert scene_id_of(tmp_path / "scan.v2") == "scan-v2"
