"""The rooms' files: the same seed gives the same bytes, every layout reads back, nothing is overwritten."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import open3d as o3d
import pytest
from pycocotools import mask as coco_mask

from ovseg3r_model.rooms import (
    make_room,
    write_room,
)
from ovseg3r_model.settings import MaskErrors
from tests.unit.room_views import SIZE, K, away_from_borders, to_world


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


WRITE = """
import sys; from pathlib import Path; from ovseg3r_model.rooms import *; from ovseg3r_model.settings import MaskErrors
e = MaskErrors(dilate=.3, split=.1, merge=.2, wrong_name=.1)
write_room(make_room(2), Path(sys.argv[1]), "tum", 3, 1, e, 0.0015, (161, 121), video=True)
"""


def test_same_seed_same_bytes_in_another_process(tmp_path: Path) -> None:
    errors = MaskErrors(dilate=0.3, split=0.1, merge=0.2, wrong_name=0.1)
    write_room(make_room(2), tmp_path / "a", "tum", 3, 1, errors, 0.0015, (161, 121), video=True)
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "b")], check=True, cwd=Path(__file__).parents[2])
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    write_room(make_room(2), tmp_path / "c", "tum", 3, 2, errors, 0.0015, (161, 121), video=True)
    assert digests(tmp_path / "a")["masks.json"] != digests(tmp_path / "c")["masks.json"]


def read_7scenes(folder: Path, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stem = folder / f"frame-{k:06d}"
    depth = cv2.imread(f"{stem}.depth.png", cv2.IMREAD_UNCHANGED) / 1000.0
    return np.loadtxt(f"{stem}.pose.txt"), depth, np.loadtxt(folder / "camera-intrinsics.txt")


def read_scannet(folder: Path, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    depth = cv2.imread(str(folder / "depth" / f"{k}.png"), cv2.IMREAD_UNCHANGED) / 1000.0
    intrinsics = np.loadtxt(folder / "intrinsic" / "intrinsic_depth.txt")
    return np.loadtxt(folder / "pose" / f"{k}.txt"), depth, intrinsics[:3, :3]


def read_tum(folder: Path, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z, w = (np.loadtxt(folder / "groundtruth.txt")[k])[4:]
    pose = np.eye(4)
    pose[:3, 3] = np.loadtxt(folder / "groundtruth.txt")[k, 1:4]
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    name = (folder / "depth.txt").read_text().splitlines()[3 + k].split()[1]
    fx, fy, cx, cy = np.loadtxt(folder / "intrinsics.txt")
    depth = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED) / 5000.0
    return pose, depth, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def read_nerfstudio(folder: Path, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    document = json.loads((folder / "transforms.json").read_text())
    pose = np.array(document["frames"][k]["transform_matrix"])
    pose[:3, 1:3] *= -1  # OpenGL's y up and z back to OpenCV's
    depth = cv2.imread(str(folder / document["frames"][k]["depth_file_path"]), cv2.IMREAD_UNCHANGED) / 1000.0
    d = document
    return pose, depth, np.array([[d["fl_x"], 0, d["cx"]], [0, d["fl_y"], d["cy"]], [0, 0, 1]])


READERS = {"7scenes": read_7scenes, "scannet": read_scannet, "tum": read_tum, "nerfstudio": read_nerfstudio}


@pytest.mark.parametrize("layout", list(READERS))
def test_layouts_read_back(layout: str, tmp_path: Path) -> None:
    """Depth, pose and intrinsics as read by other code put every pixel back on the room's surface."""
    room = make_room(3, n_objects=8, n_flat=5)
    calls: list[tuple[int, int]] = []
    files = write_room(room, tmp_path / "r", layout, 3, size=SIZE, progress=lambda k, n: calls.append((k, n)))  # type: ignore[arg-type]
    assert calls == [(1, 3), (2, 3), (3, 3)]
    vertices, triangles = room.mesh()
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices), o3d.core.Tensor(triangles.astype(np.uint32)))
    true_ids = np.load(files.truth_ids)["ids"]
    for k in range(3):
        pose, depth, intrinsics = READERS[layout](files.recording, k)
        assert np.allclose(intrinsics, K, atol=1e-6)
        world = to_world(depth, pose)
        assert scene.compute_distance(o3d.core.Tensor(world.astype(np.float32))).numpy().max() < 2e-3
        inside = away_from_borders(true_ids[k]).ravel()
        assert (room.label_points(world)[inside] == true_ids[k].ravel()[inside]).mean() > 0.99
    truth = json.loads(files.truth.read_text())
    assert [i["name"] for i in truth["instances"]] == [i.name for i in room.instances]
    masks = json.loads(files.masks.read_text())
    names = {c["id"]: c["name"] for c in masks["categories"]}
    pictures = {
        p.name
        for p in files.recording.rglob("*")
        if p.suffix in (".png", ".jpg") and "depth" not in str(p.relative_to(files.recording))
    }
    for k, image in enumerate(masks["images"]):
        assert image["file_name"] in pictures
        again = np.zeros(SIZE[::-1], np.uint32)
        for note in (a for a in masks["annotations"] if a["image_id"] == image["id"]):
            mask = coco_mask.decode(note["segmentation"]).astype(bool)
            assert mask.sum() == note["area"]
            ys, xs = np.nonzero(mask)
            assert note["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            instance = int(np.unique(true_ids[k][mask]).item())
            assert names[note["category_id"]] == room.instances[instance - 1].name
            again[mask] = instance
        assert np.array_equal(again, true_ids[k])


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    room = make_room(3, n_objects=3, n_flat=0)
    write_room(room, tmp_path, n_views=1, size=(32, 24))
    with pytest.raises(FileExistsError):
        write_room(room, tmp_path, n_views=1, size=(32, 24))
    with pytest.raises(ValueError, match="layout"):
        write_room(room, tmp_path / "b", "kitti")  # type: ignore[arg-type]
