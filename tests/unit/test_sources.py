"""Every layout is written here in miniature with known numbers; what comes out is compared with them, not with the
readers."""

import hashlib
import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import open_recording, scene_id_of, source_digest

SIZE = (8, 6)  # width, height
CAMERA = np.array([[7.0, 0, 3.5], [0, 7.5, 2.5], [0, 0, 1]])
RED_KITCHEN = Path(__file__).resolve().parents[3] / "shared" / "data" / "redkitchen"


def color(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    pixels = np.full((size[1], size[0], 3), 10 * number, np.uint8)
    pixels[0, 0] = (255, 128, 0)
    return pixels


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def raw_depth(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    stored = np.full((size[1], size[0]), 1000 + number, np.uint16)
    stored[0, :2] = (0, 65535)
    return stored


def pose(number: int) -> np.ndarray:
    angle = 0.1 * number
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    matrix[:3, 3] = (number, 0.5, -number)
    return matrix


def write_matrix(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix)


def seven_scenes(folder: Path, count: int = 3, size: tuple[int, int] = SIZE, camera: bool = True) -> Path:
    for i in range(count):
        save(folder / f"frame-{i:06d}.color.png", color(i, size))
        save(folder / f"frame-{i:06d}.depth.png", raw_depth(i, size))
        write_matrix(folder / f"frame-{i:06d}.pose.txt", pose(i))
    if camera:
        write_matrix(folder / "camera-intrinsics.txt", CAMERA)
    return folder


def scannet(folder: Path, lost: tuple[int, ...] = ()) -> Path:
    for i in range(0, 12, 4):
        save(folder / f"color/{i}.jpg", color(i, (16, 12)))
        save(folder / f"depth/{i}.png", raw_depth(i))
        write_matrix(folder / f"pose/{i}.txt", np.full((4, 4), -np.inf) if i in lost else pose(i))
    for name, scale in (("color", 2.0), ("depth", 1.0)):
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag([scale, scale, 1]) @ CAMERA
        write_matrix(folder / f"intrinsic/intrinsic_{name}.txt", matrix)
        write_matrix(folder / f"intrinsic/extrinsic_{name}.txt", np.eye(4))
    return folder


def tum(folder: Path, count: int = 4, size: tuple[int, int] = SIZE, intrinsics: bool = True) -> Path:
    rgb, depth, truth = ["# color images"], ["# depth maps"], ["# timestamp tx ty tz qx qy qz qw"]
    for i in range(count):
        time = 100 + i / 30
        save(folder / f"rgb/{i}.png", color(i, size))
        save(folder / f"depth/{i}.png", raw_depth(i, size))
        rgb.append(f"{time:.6f} rgb/{i}.png")
        depth.append(f"{time + 0.01:.6f} depth/{i}.png")
    for k in range(-2, 10 * count):  # a turn about z at 0.5 rad/s while moving along x at 1 m/s, sampled at 50 Hz
        at = k / 50
        truth.append(f"{100 + at:.6f} {at:.6f} 0 1 0 0 {math.sin(at / 4):.9f} {math.cos(at / 4):.9f}")
    for name, lines in (("rgb", rgb), ("depth", depth), ("groundtruth", truth)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    if intrinsics:
        (folder / "intrinsics.txt").write_text("7 7.5 3.5 2.5\n")
    return folder


def nerfstudio(folder: Path, change: Callable[[dict], object] = lambda index: None, depth: bool = True) -> Path:
    frames = []
    for i in (10, 2):  # out of order on purpose
        save(folder / f"images/{i}.png", color(i))
        save(folder / f"depths/{i}.png", raw_depth(i))
        frame = {"file_path": f"images/{i}.png", "transform_matrix": pose(i).tolist()}
        frames.append(frame | ({"depth_file_path": f"depths/{i}.png"} if depth else {}))
    index = {"fl_x": 7.0, "fl_y": 7.5, "cx": 4, "cy": 3, "w": 8, "h": 6, "camera_model": "OPENCV", "frames": frames}
    change(index)
    (folder / "transforms.json").write_text(json.dumps(index))
    return folder


def pictures(folder: Path, count: int = 3) -> Path:
    for i in range(count):
        save(folder / f"{i}.png", color(i))
    return folder


LAYOUTS = {"7scenes": seven_scenes, "scannet": scannet, "tum": tum, "nerfstudio": nerfstudio, "images": pictures}


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


# --- what is refused


def refused(folder: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_recording(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_nothing_there(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", r"nowhere: does not exist; check")
    refused(tmp_path, r"is empty; give a video file or a folder")
    (tmp_path / "readme.md").write_text("hello")
    refused(tmp_path, r"matches no layout .*it holds readme\.md")
    seven_scenes(tmp_path / "seq-01")
    refused(tmp_path, r"perhaps you meant .*seq-01")
    (tmp_path / "film.mp4").touch()
    refused(tmp_path, r"give the video itself: .*film\.mp4")
    refused(tmp_path / "seq-01" / "frame-000000.color.png", r"is one file of a recording; give its folder")


def test_a_wrong_format_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    for wanted, path in (("video", tmp_path), ("images", tmp_path / "0.png")):
        with pytest.raises(InputError, match=r"give the (file|folder) or another format"):
            open_recording(path, wanted)
    for wanted, message in (
        ("tum", r"rgb\.txt: the file is missing"),
        ("nerfstudio", r"transforms\.json: the file is missing"),
        ("scannet", r"color: holds no pictures"),
        ("7scenes", r"holds no frame-NNNNNN\.color"),
    ):
        with pytest.raises(InputError, match=message):
            open_recording(tmp_path, wanted)


def test_pictures_of_different_sizes(tmp_path: Path) -> None:
    pictures(tmp_path)
    save(tmp_path / "1.png", color(1, (9, 6)))
    refused(tmp_path, r"1\.png: is 9x6 while the others are 8x6")


def test_damaged_pictures(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("0.png", "1.jpg", "2.png"):
        save(tmp_path / name, noise)
    for name in ("1.jpg", "2.png"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    recording = open_recording(tmp_path)
    np.testing.assert_array_equal(recording.color[0], noise)
    for index, name in ((1, "1.jpg"), (2, "2.png")):
        with pytest.raises(InputError, match=rf"{name}: cannot be decoded"):
            recording.color[index]
        with pytest.raises(InputError, match=rf"{name}: cannot be decoded"):
            recording.color.grey(index, 64)
    (tmp_path / "2.png").write_bytes(b"")
    refused(tmp_path, r"2\.png: is empty \(0 bytes\)")
    (tmp_path / "2.png").write_text("no picture at all")
    refused(tmp_path, r"2\.png: is no JPEG, PNG")
    (tmp_path / "2.png").write_bytes((tmp_path / "0.png").read_bytes()[:12])
    refused(tmp_path, r"2\.png: the picture's header is damaged")


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    import zlib

    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    empty = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "a.png").write_bytes(data + empty)
    refused(tmp_path, r"a\.png: 20000x20000 pixels are more than 100 megapixels")


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "frame-000001.pose.txt").unlink(), r"frame-000001\.pose\.txt: is missing"),
        (lambda f: (f / "frame-000001.depth.png").unlink(), r"frame-000001\.depth\.png: is missing"),
        (lambda f: (f / "frame-000001.color.png").unlink(), r"frame-000001\.depth\.png: has no colour picture"),
        (lambda f: save(f / "frame-000001.color.jpg", color(1)), r"frame-000001 has two colour pictures"),
        (
            lambda f: write_matrix(f / "frame-000001.pose.txt", np.full((4, 4), np.nan)),
            r"frame-000001\.pose\.txt \(frame frame-000001\): the pose holds NaN",
        ),
        (lambda f: write_matrix(f / "frame-000001.pose.txt", np.eye(3)), r"does not hold a 4x4 matrix"),
        (lambda f: write_matrix(f / "frame-000001.pose.txt", np.diag([1.1, 1, 1, 1])), r"is not rigid"),
        (lambda f: write_matrix(f / "frame-000001.pose.txt", np.diag([1, 1, -1, 1])), r"mirrors the world"),
        (lambda f: write_matrix(f / "frame-000001.pose.txt", pose(2).T), r"last row is not 0 0 0 1"),
        (lambda f: (f / "frame-000001.pose.txt").write_text("1 2 3 x\n" * 4), r"pose\.txt: holds something that is no"),
        (lambda f: (f / "frame-000001.pose.txt").write_bytes(b"\xff\xfe\0"), r"pose\.txt: is no text file"),
        (lambda f: save(f / "frame-000001.depth.png", color(1)[:, :, 0]), r"depth\.png: is not 16-bit grey"),
        (lambda f: save(f / "frame-000001.depth.png", raw_depth(1, (4, 3))), r"depth\.png: is 4x3 while the others"),
        (
            lambda f: [save(f / f"frame-{i:06d}.depth.png", raw_depth(i, (4, 3))) for i in range(3)],
            r"the depth is 4x3 and the colour 8x6, but only one camera is known",
        ),
        (lambda f: write_matrix(f / "camera-intrinsics.txt", -CAMERA), r"intrinsics\.txt: the focal lengths must be"),
        (lambda f: write_matrix(f / "camera-intrinsics.txt", CAMERA.T), r"intrinsics\.txt: is no intrinsics matrix"),
        (lambda f: write_matrix(f / "camera-intrinsics.txt", CAMERA * np.nan), r"intrinsics hold NaN"),
        (lambda f: (f / "camera-intrinsics.txt").write_text("585 585 320 240"), r"does not hold a 3x3 matrix"),
    ],
)
def test_bad_seven_scenes(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = seven_scenes(tmp_path)
    spoil(folder)
    refused(folder, message)


def test_another_pictures_camera(tmp_path: Path) -> None:
    folder = seven_scenes(tmp_path)
    write_matrix(folder / "camera-intrinsics.txt", np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]]))
    refused(folder, r"principal point 320, 240 is far outside the 8x6 pictures")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "pose/4.txt").unlink(), r"pose/4\.txt: is missing although 4\.jpg is there"),
        (lambda f: (f / "depth/4.png").unlink(), r"depth/4\.png: is missing although 4\.jpg is there"),
        (lambda f: (f / "color/4.jpg").unlink(), r"depth/4\.png: has no colour picture"),
        (lambda f: write_matrix(f / "pose/4.txt", np.full((4, 4), np.nan)), r"pose/4\.txt \(frame 4\): .*NaN"),
        (lambda f: (f / "intrinsic/intrinsic_color.txt").unlink(), r"intrinsic_color\.txt: the file is missing"),
        (lambda f: write_matrix(f / "intrinsic/intrinsic_depth.txt", np.zeros((4, 4))), r"must be positive"),
        (lambda f: [write_matrix(p, np.full((4, 4), -np.inf)) for p in f.glob("pose/*")], r"lost in every frame"),
    ],
)
def test_bad_scannet(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = scannet(tmp_path)
    spoil(folder)
    refused(folder, message)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("rgb.txt", "100.5 ../elsewhere.png", r"rgb\.txt: the path '\.\./elsewhere\.png' leads out"),
        ("rgb.txt", "100.5", r'rgb\.txt: line 6 is not "timestamp path"'),
        ("rgb.txt", "100.1 rgb/missing.png", r"missing\.png: cannot be read"),
        ("depth.txt", "soon depth/0.png", r"depth\.txt: line 6: 'soon' is no finite number"),
        ("groundtruth.txt", "100.5 nan 0 0 0 0 0 1", r"groundtruth\.txt: line 44: 'nan' is no finite"),
        ("groundtruth.txt", "100.5 0 0 0 0 0 0 2", r"line 44: the quaternion is not of length 1"),
        ("groundtruth.txt", "100.5 0 0 0", r"line 44 is not"),
    ],
)
def test_bad_tum(tmp_path: Path, name: str, line: str, message: str) -> None:
    folder = tum(tmp_path)
    with (folder / name).open("a") as file:
        file.write(line + "\n")
    refused(folder, message)


def test_tum_clocks_that_do_not_meet(tmp_path: Path) -> None:
    folder = tum(tmp_path)
    (folder / "groundtruth.txt").write_text("5.0 0 0 0 0 0 0 1\n")
    refused(folder, r"none of the 4 colour pictures has depth .* and a pose")
    (folder / "groundtruth.txt").write_text("# nothing\n")
    refused(folder, r"groundtruth\.txt: holds no lines")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.update(k1=0.1), r"has lens distortion \(k1\).*image_undistorter"),
        (lambda i: i.update(camera_model="OPENCV_FISHEYE"), r"camera model OPENCV_FISHEYE"),
        (lambda i: i.pop("fl_x") and i.pop("fl_y"), r"neither fl_x nor camera_angle_x"),
        (lambda i: i.update(fl_x=-1), r"focal lengths must be positive"),
        (lambda i: i.update(fl_x="wide"), r"fl_x is 'wide', no finite number"),
        (lambda i: i.update(fl_x=10**400), r"fl_x is inf, no finite number"),
        (lambda i: i.update(w=100), r"says 100x6 while the picture is 8x6"),
        (lambda i: i.update(frames=[]), r'has no list "frames"'),
        (lambda i: i.update(depth_unit_scale_factor=0), r"depth_unit_scale_factor must be positive"),
        (lambda i: i["frames"][0].update(file_path="../x.png"), r"'\.\./x\.png' leads out"),
        (lambda i: i["frames"][0].update(file_path="/etc/x.png"), r"'/etc/x\.png' leads out"),
        (lambda i: i["frames"][0].update(file_path="images/none.png"), r"none\.png: cannot be read"),
        (lambda i: i["frames"][0].update(file_path=7), r"7\.0 is no file name"),
        (lambda i: i["frames"][0].pop("depth_file_path"), r"frame images/10\.png\): has no depth_file_path"),
        (lambda i: i["frames"][0].update(depth_file_path="d.exr"), r"d\.exr: EXR depth is not read; convert"),
        (lambda i: i["frames"][0].pop("transform_matrix"), r"frame images/10\.png\): the pose is no 4x4"),
        (lambda i: i["frames"][0].update(transform_matrix=[[1], "x"]), r"is no 4x4 matrix of numbers"),
        (lambda i: i["frames"][0]["transform_matrix"][0].__setitem__(0, math.nan), r"images/10\.png\): .*NaN"),
    ],
)
def test_bad_nerfstudio(tmp_path: Path, change: Callable[[dict], object], message: str) -> None:
    refused(nerfstudio(tmp_path, change), message)


def test_bad_json_and_pickled_depth(tmp_path: Path) -> None:
    folder = nerfstudio(tmp_path)
    text = (folder / "transforms.json").read_text()
    (folder / "transforms.json").write_text(text.replace("depths/2.png", "depths/2.npy"))
    np.save(folder / "depths/2.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(folder, r"2\.npy: is no readable \.npy of numbers")
    (folder / "transforms.json").write_text("{")
    refused(folder, r"transforms\.json: is no valid JSON")


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
