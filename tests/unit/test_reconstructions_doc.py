"""The code in docs/reconstructions.md, run as it stands on what those systems would give of an exact room."""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from ovseg3r_model.reconstruction.imported.engine import Imported
from ovseg3r_model.records import Recording, color_alone
from ovseg3r_model.settings import ReconstructSettings
from tests.contracts.reconstructor_contract import room_recording
from tests.given_reconstructions import camera_of, depth_of, poses_of, view_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "reconstructions.md"
VOXEL = 0.04


@pytest.fixture(scope="module")
def room() -> Recording:
    return room_recording(seed=3)


def code_of(system: str) -> str:
    section = DOCUMENT.read_text().split(f"### From {system}\n")[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


def run(code: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, **modules: dict[str, Any]) -> None:
    for name, content in modules.items():
        parts = name.split("__")
        for n in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:n]), ModuleType(".".join(parts[:n])))
        vars(sys.modules[".".join(parts)]).update(content)
    exec(compile(code, str(DOCUMENT), "exec"), given)  # noqa: S102


def assert_the_room(folder: Path, room: Recording) -> None:
    settings = ReconstructSettings(reconstruction=str(folder), voxel=VOXEL)
    result = Imported(settings, folder).reconstruct(color_alone(room))
    truth = np.concatenate([view_of(room, k)["points"].reshape(-1, 3) for k in range(len(room))])
    eyes, first = result.views.world_from_camera[:, :3, 3], poses_of(room)[0]
    local = (result.points.xyz - eyes[0]) @ result.views.world_from_camera[0, :3, :3]
    off, _ = cKDTree(truth[np.isfinite(truth).all(axis=1)]).query(local @ first[:3, :3].T + first[:3, 3])
    assert len(result.views) == len(room)
    assert len(result.points) > 800
    assert np.quantile(off, 0.99) < VOXEL
    np.testing.assert_allclose(result.views.intrinsics, np.asarray(room.intrinsics), rtol=2e-3)


def test_vggt(room: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    count, camera = len(room), camera_of(room)
    extrinsic = torch.from_numpy(np.linalg.inv(poses_of(room))[None, :, :3])
    intrinsic = torch.from_numpy(np.tile(camera, (1, count, 1, 1)))
    depth = torch.from_numpy(np.stack([depth_of(room, k) for k in range(count)])[None, ..., None])

    def unproject(depth: torch.Tensor, extrinsic: torch.Tensor, intrinsic: torch.Tensor) -> np.ndarray:
        assert depth.shape == (count, 72, 96, 1)
        assert extrinsic.shape == (count, 3, 4)
        assert intrinsic.shape == (count, 3, 3)
        return np.stack([view_of(room, k)["points"] for k in range(count)]).astype(np.float64)

    given = {
        "image_names": [f"pictures/{name}.png" for name in room.names],
        "images": torch.zeros(count, 3, 72, 96),
        "predictions": {
            "pose_enc": torch.zeros(1, count, 9),
            "depth": depth,
            "depth_conf": torch.ones(1, count, 72, 96),
        },
    }
    run(
        code_of("VGGT"), given, monkeypatch,
        vggt__utils__geometry={"unproject_depth_map_to_point_map": unproject},
        vggt__utils__pose_enc={"pose_encoding_to_extri_intri": lambda encoding, size: (extrinsic, intrinsic)},
    )  # fmt: skip
    assert_the_room(tmp_path / "vggt_views", room)


class Similarity:
    """As lietorch's Sim3 and SE3 where the snippet uses them."""

    def __init__(self, pose: np.ndarray, scale: float) -> None:
        self.pose, self.scale = pose, scale

    def act(self, points: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.scale * points.numpy() @ self.pose[:3, :3].T + self.pose[:3, 3])

    def matrix(self) -> torch.Tensor:
        out = self.pose.copy()
        out[:3, :3] *= self.scale
        return torch.from_numpy(out[None])


def test_mast3r_slam(room: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    h, w = 56, 80  # it would crop the middle of a picture
    x0, y0 = (96 - w) // 2, (72 - h) // 2
    keyframes = []
    for k in range(len(room)):
        pose = poses_of(room)[k]
        local = (view_of(room, k)["points"].astype(float) - pose[:3, 3]) @ pose[:3, :3]
        scale = 1 + 0.1 * k
        keyframes.append(
            SimpleNamespace(
                img_shape=torch.tensor([[h, w]]),
                T_WC=Similarity(pose, scale),
                X_canon=torch.from_numpy(local[y0 : y0 + h, x0 : x0 + w].reshape(-1, 3) / scale),
                frame_id=torch.tensor(10 * k),
                get_average_conf=lambda: torch.ones(h * w, 1),
            )
        )
    # pictures of 96 x 72 that are not resized, instead of 1920 x 1080 made 512 wide
    code = (
        code_of("MASt3R-SLAM").replace("width, height = 1920, 1080", "width, height = 96, 72").replace("/ 512", "/ 96")
    )
    se3 = {"as_SE3": lambda pose: Similarity(pose.pose, 1.0)}
    run(code, {"keyframes": keyframes}, monkeypatch, mast3r_slam__lietorch_utils=se3)
    video = Recording(
        source_format="video",
        names=tuple(f"frame-{i:06d}" for i in room.frame),
        frame=room.frame,
        time=room.time,
        color=room.color,
        size=room.size,
        intrinsics=room.intrinsics,
        world_from_camera=room.world_from_camera,
        depth=room.depth,
    )
    assert_the_room(tmp_path / "slam_views", video)


def test_depth_anything_3(room: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    prediction = SimpleNamespace(
        is_metric=1,
        depth=np.stack([depth_of(room, k) for k in range(len(room))]),
        conf=np.ones((len(room), 72, 96), np.float32),
        extrinsics=np.linalg.inv(poses_of(room))[:, :3],
        intrinsics=np.asarray(room.intrinsics),
    )
    names = [f"{name}.jpg" for name in room.names]
    run(code_of("Depth Anything 3"), {"prediction": prediction, "image_names": names}, monkeypatch)
    assert_the_room(tmp_path / "da3_views", room)
