"""Every layout in miniature, with known numbers."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (8, 6)  # width, height


CAMERA = np.array([[7.0, 0, 3.5], [0, 7.5, 2.5], [0, 0, 1]])


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
