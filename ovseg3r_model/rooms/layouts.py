"""The folder layouts of posed RGB-D recordings, written as their data sets have them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from ovseg3r_model.records import Float32, Float64, UInt8
from ovseg3r_model.rooms.render import RenderedView

Layout = Literal["7scenes", "scannet", "tum", "nerfstudio"]
RATE = 30.0  # frames a second, where a layout has a clock


@dataclass(frozen=True)
class Target:
    """Where and how a recording is written: its folder, picture size (width, height), intrinsics (3,3), JPEG or
    lossless colour.
    """

    folder: Path
    size: tuple[int, int]
    intrinsics: Float64
    jpeg: bool


class Writer(Protocol):
    def frame(self, index: int, view: RenderedView, pose: Float64) -> str:
        """Writes a frame; returns the file name of its colour picture, without folder."""
        ...

    def finish(self) -> None:
        """Writes what describes the whole."""
        ...


def _matrix(path: Path, matrix: Float64) -> None:
    path.write_text("\n".join(" ".join(f"{v:.18e}" for v in row) for row in matrix) + "\n")


def _colour(path: Path, rgb: UInt8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    option = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 2]
    if not cv2.imwrite(str(path), rgb[..., ::-1], option):
        raise OSError(f"could not write {path}")


def _depth(path: Path, depth: Float32, per_metre: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.clip(np.rint(depth.astype(np.float64) * per_metre), 0, 65535).astype(np.uint16)
    if not cv2.imwrite(str(path), steps, [cv2.IMWRITE_PNG_COMPRESSION, 2]):
        raise OSError(f"could not write {path}")


class SevenScenes:
    """frame-000000.color.png, .depth.png (mm), .pose.txt and camera-intrinsics.txt."""

    def __init__(self, target: Target) -> None:
        self.target = target
        _matrix(target.folder / "camera-intrinsics.txt", target.intrinsics)

    def frame(self, index: int, view: RenderedView, pose: Float64) -> str:
        stem = self.target.folder / f"frame-{index:06d}"
        name = f"{stem.name}.color.{'jpg' if self.target.jpeg else 'png'}"
        _colour(stem.with_name(name), view.rgb)
        _depth(stem.with_name(f"{stem.name}.depth.png"), view.depth, 1000.0)
        _matrix(stem.with_name(f"{stem.name}.pose.txt"), pose)
        return name

    def finish(self) -> None:
        pass


class ScanNet:
    """color/0.jpg, depth/0.png (mm), pose/0.txt and intrinsic/*.txt, all 4x4, as ScanNet's own reader exports them.
    Always JPEG.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        for name in ("color", "depth", "pose", "intrinsic"):
            (target.folder / name).mkdir()
        camera = np.eye(4)
        camera[:3, :3] = target.intrinsics
        for sensor in ("color", "depth"):
            _matrix(target.folder / "intrinsic" / f"intrinsic_{sensor}.txt", camera)
            _matrix(target.folder / "intrinsic" / f"extrinsic_{sensor}.txt", np.eye(4))

    def frame(self, index: int, view: RenderedView, pose: Float64) -> str:
        _colour(self.target.folder / "color" / f"{index}.jpg", view.rgb)
        _depth(self.target.folder / "depth" / f"{index}.png", view.depth, 1000.0)
        _matrix(self.target.folder / "pose" / f"{index}.txt", pose)
        return f"{index}.jpg"

    def finish(self) -> None:
        pass


class Tum:
    """rgb/<time>.png, depth/<time>.png (1/5000 m), rgb.txt, depth.txt, groundtruth.txt (time tx ty tz qx qy qz qw),
    intrinsics.txt.

    Depth stamps are 11 ms after colour's and poses are stamped 3 ms before it, as if from clocks of their own; the
    picture is of one moment.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.rows: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}

    def frame(self, index: int, view: RenderedView, pose: Float64) -> str:
        time = 1305031102.0 + index / RATE
        name = f"{time:.6f}.{'jpg' if self.target.jpeg else 'png'}"
        depth_name = f"{time + 0.011:.6f}.png"
        _colour(self.target.folder / "rgb" / name, view.rgb)
        _depth(self.target.folder / "depth" / depth_name, view.depth, 5000.0)
        self.rows["rgb"].append(f"{time:.6f} rgb/{name}")
        self.rows["depth"].append(f"{time + 0.011:.6f} depth/{depth_name}")
        numbers = [*pose[:3, 3], *Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True)]
        self.rows["groundtruth"].append(f"{time - 0.003:.4f} " + " ".join(f"{v:.9f}" for v in numbers))
        return name

    def finish(self) -> None:
        heads = {"rgb": ("color images", "timestamp filename"), "depth": ("depth maps", "timestamp filename")}
        heads["groundtruth"] = ("ground truth trajectory", "timestamp tx ty tz qx qy qz qw")
        for name, (title, columns) in heads.items():
            text = f"# {title}\n# file: 'room'\n# {columns}\n" + "\n".join(self.rows[name]) + "\n"
            (self.target.folder / f"{name}.txt").write_text(text)
        k = self.target.intrinsics
        (self.target.folder / "intrinsics.txt").write_text(f"{k[0, 0]:.9f} {k[1, 1]:.9f} {k[0, 2]:.9f} {k[1, 2]:.9f}\n")


class Nerfstudio:
    """transforms.json, images/, depth/ (mm). Its cameras are OpenGL's: x right, y up, z backwards."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.frames: list[dict[str, object]] = []

    def frame(self, index: int, view: RenderedView, pose: Float64) -> str:
        name = f"frame_{index + 1:05d}.{'jpg' if self.target.jpeg else 'png'}"
        depth_name = f"frame_{index + 1:05d}.png"
        _colour(self.target.folder / "images" / name, view.rgb)
        _depth(self.target.folder / "depth" / depth_name, view.depth, 1000.0)
        gl = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        self.frames.append(
            {"file_path": f"images/{name}", "depth_file_path": f"depth/{depth_name}", "transform_matrix": gl.tolist()}
        )
        return name

    def finish(self) -> None:
        k, (width, height) = self.target.intrinsics, self.target.size
        head = {
            "camera_model": "OPENCV",
            "fl_x": k[0, 0],
            "fl_y": k[1, 1],
            "cx": k[0, 2],
            "cy": k[1, 2],
            "w": width,
            "h": height,
        }
        head |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "depth_unit_scale_factor": 0.001}
        (self.target.folder / "transforms.json").write_text(
            json.dumps({**head, "frames": self.frames}, indent=1) + "\n"
        )


WRITERS: dict[Layout, type[SevenScenes] | type[ScanNet] | type[Tum] | type[Nerfstudio]] = {
    "7scenes": SevenScenes,
    "scannet": ScanNet,
    "tum": Tum,
    "nerfstudio": Nerfstudio,
}
