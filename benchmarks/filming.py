"""Rooms filmed into memory: exact and noisy depth, true and imperfect masks of the same walk."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import open3d as o3d

from ovseg3r_model.lifting import gather_instances
from ovseg3r_model.records import Float32, Float64, Instances, Recording, UInt8, UInt32, ViewMasks
from ovseg3r_model.rooms import Room, default_intrinsics, make_room, render, walk


@dataclass(frozen=True)
class Film:
    """A walk of V views through a room: colour (H,W,3) uint8, exact and noisy depth (H,W) float32 metres, true ids
    (H,W) uint32."""

    room: Room
    size: tuple[int, int]
    world_from_camera: Float64
    color: list[UInt8]
    exact_depth: list[Float32]
    noisy_depth: list[Float32]
    ids: list[UInt32]

    def recording(self, noisy: bool) -> Recording:
        count = len(self.color)
        intrinsics = np.tile(default_intrinsics(self.size), (count, 1, 1))
        return Recording(
            source_format="7scenes",
            names=tuple(f"frame-{v:06d}" for v in range(count)),
            frame=np.arange(count, dtype=np.int64),
            time=np.full(count, np.nan),
            color=self.color,
            size=self.size,
            intrinsics=intrinsics,
            world_from_camera=self.world_from_camera,
            depth=self.noisy_depth if noisy else self.exact_depth,
            depth_size=self.size,
            depth_intrinsics=intrinsics,
        )


@cache
def film(seed: int, views: int, size: tuple[int, int], depth_noise: float) -> Film:
    """Room ``seed``, filmed. The noise is as in ``render``, its seed as in ``write_room``."""
    room = make_room(seed)
    poses = walk(room, views, seed)
    intrinsics = default_intrinsics(size)
    shots = [
        render(room, intrinsics, size, pose, depth_noise, seed * 1_000_003 + index) for index, pose in enumerate(poses)
    ]
    return Film(
        room, size, poses,
        color=[shot.rgb for shot in shots],
        exact_depth=[_depth(room, intrinsics, size, pose) for pose in poses],
        noisy_depth=[shot.depth for shot in shots],
        ids=[shot.ids for shot in shots],
    )  # fmt: skip


def scene_unique(view_masks: Iterable[ViewMasks]) -> tuple[list[UInt32], Instances]:
    """The views' id maps with ids that are unique over the scene, as the segment stage makes them, and their table."""
    masks = list(view_masks)
    before = np.cumsum([0, *(len(m.labels) for m in masks)])
    maps = [np.where(m.ids > 0, m.ids + np.uint32(b), np.uint32(0)) for m, b in zip(masks, before, strict=False)]
    return maps, gather_instances(masks)


def _depth(room: Room, intrinsics: Float64, size: tuple[int, int], pose: Float64) -> Float32:
    """(H,W) exact z-depth: as ``render`` gives without noise, but without its colours' cost."""
    y, x = np.indices((size[1], size[0]))
    way = np.stack(
        [(x - intrinsics[0, 2]) / intrinsics[0, 0], (y - intrinsics[1, 2]) / intrinsics[1, 1], np.ones(x.shape)], -1
    )
    rays = np.empty((*x.shape, 6), np.float32)
    rays[..., :3], rays[..., 3:] = pose[:3, 3], way @ pose[:3, :3].T  # z = 1: the ray's parameter is z-depth
    depth: Float32 = room.scene.cast_rays(o3d.core.Tensor.from_numpy(rays))["t_hit"].numpy()
    return np.where(np.isfinite(depth), depth, np.float32(0))
