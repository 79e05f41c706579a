"""Fusion: pixels a second, against Open3D's TSDF on the same frames; and how memory grows with the recording."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open3d as o3d

from benchmarks.filming import Film, film
from benchmarks.measure import Row, timed_in_turn
from ovseg3r_model.fusion import DepthView, fuse
from ovseg3r_model.reconstruction.from_depth import METRIC_VOXEL
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Recording, Views
from ovseg3r_model.settings import ReconstructSettings

TSDF = "Open3D VoxelBlockGrid, integrate and extract; no correspondences"


def fusion_rows(quick: bool, depth_noise: float) -> list[Row]:
    views, size, runs = (6, (320, 240), 1) if quick else (30, (640, 480), 3)
    taken = film(0, 8 if quick else 60, size, depth_noise)
    recording = _first(taken, views)
    settings = ReconstructSettings()
    engine = PosedRgbd(settings)
    cameras = _cameras(recording)
    whole, fused, tsdf = timed_in_turn(
        [
            lambda: engine.reconstruct(recording),
            lambda: fuse(cameras, lambda v: _pixels(recording, v), METRIC_VOXEL, settings.min_views),
            lambda: integrate_tsdf(recording, METRIC_VOXEL, settings.max_depth),
        ],
        runs,
    )
    pixels = views * size[0] * size[1] / 1e6
    label = f"{views} views {size[0]}x{size[1]}"
    speeds = [("posed-rgbd: edges, fuse, calibration check", whole), ("fuse alone, both passes", fused)]
    rows = [Row("fusion", n, label, s, runs, pixels / s, "Mpx/s", TSDF, pixels / tsdf) for n, s in speeds]
    return [*rows, _memory_row(recording, label, settings)]


def integrate_tsdf(recording: Recording, voxel: float, max_depth: float) -> o3d.t.geometry.PointCloud:
    """Open3D's own fusion of the same frames: a coloured TSDF of the same voxel size, on the CPU."""
    core = o3d.core
    grid = o3d.t.geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"),
        (core.float32, core.float32, core.float32),
        tuple(core.SizeVector([n]) for n in (1, 1, 3)),
        voxel,
        16,
        10_000,
    )
    assert recording.depth is not None  # noqa: S101 - films have all three
    assert recording.intrinsics is not None  # noqa: S101
    assert recording.world_from_camera is not None  # noqa: S101
    for v in range(len(recording)):
        depth = o3d.t.geometry.Image(core.Tensor.from_numpy(recording.depth[v]))
        color = o3d.t.geometry.Image(core.Tensor.from_numpy(recording.color[v].astype(np.float32) / 255))
        intrinsic = core.Tensor.from_numpy(recording.intrinsics[v])
        extrinsic = core.Tensor.from_numpy(np.linalg.inv(recording.world_from_camera[v]))
        blocks = grid.compute_unique_block_coordinates(depth, intrinsic, extrinsic, 1.0, max_depth)
        grid.integrate(blocks, depth, color, intrinsic, intrinsic, extrinsic, 1.0, max_depth)
    return grid.extract_point_cloud()


def _first(taken: Film, views: int) -> Recording:
    return Film(
        taken.room, taken.size, taken.world_from_camera[:views], taken.color[:views], taken.exact_depth[:views],
        taken.noisy_depth[:views], taken.ids[:views],
    ).recording(noisy=True)  # fmt: skip


def _cameras(recording: Recording) -> Views:
    assert recording.intrinsics is not None  # noqa: S101 - films have both
    assert recording.world_from_camera is not None  # noqa: S101
    size = np.tile(np.array(recording.size, np.int64), (len(recording), 1))
    return Views(recording.intrinsics, recording.world_from_camera, size, recording.frame, recording.time)


def _pixels(recording: Recording, view: int) -> DepthView:
    assert recording.depth is not None  # noqa: S101 - films have it
    depth = recording.depth[view]
    return DepthView(recording.color[view], depth, np.ones(depth.shape, np.float32))


def _memory_row(recording: Recording, label: str, settings: ReconstructSettings) -> Row:
    """Each in a process of its own, else the one's freed memory serves the other."""
    cameras = _cameras(recording)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.npz"
        pixels = [_pixels(recording, v) for v in range(len(recording))]
        np.savez(
            path,
            rgb=np.stack([p.rgb for p in pixels]), depth=np.stack([p.depth for p in pixels]),
            intrinsics=cameras.intrinsics, world_from_camera=cameras.world_from_camera,
            voxel=METRIC_VOXEL, min_views=settings.min_views,
        )  # fmt: skip
        once, four = (_growth(path, repeats) for repeats in (1, 4))
    return Row(
        "fusion", "peak memory of fuse, frames four times", label, None, 1, four, "MB", "the same frames once", once
    )


def _growth(frames: Path, repeats: int) -> float:
    command = [sys.executable, "-m", "benchmarks.fusion_memory", str(frames), str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own module
    return float(json.loads(done.stdout)["peak_growth_mb"])
