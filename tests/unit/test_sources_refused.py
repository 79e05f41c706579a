"""What is wrong in a recording is refused in one sentence."""

import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import open_recording
from tests.unit.small_recordings import (
    CAMERA,
    color,
    nerfstudio,
    pictures,
    pose,
    raw_depth,
    save,
    scannet,
    seven_scenes,
    tum,
    write_matrix,
)


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
