"""Scenes as the network takes them, and batches of them. All of it is made on the CPU, by the workers that load data,
so that a step on a GPU waits for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.decoder import superpoint_boxes
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.network.sparse import Pyramid
from ovseg3r_model.point_features import carried_back
from ovseg3r_model.records import Reduction

LEVELS = 5
"""Resolutions of the backbone: strides 1, 2, 4, 8, 16."""


@dataclass(frozen=True)
class SceneInput:
    """One scene of N points in S superpoints with O 2D objects; lengths in metres (see ``metres_per_unit``).

    xyz (N,3) float32, z up where the scene's frame is upright. rgb (N,3) float32 in [-1, 1]. superpoint (N,) int64
    from 0 without gaps. features (N,C) float16: the points' 2D features as they are stored, None where the scene has
    none; reduction: given where they were reduced, to C of the 2D model's own P channels. A batch takes them back to
    these, after a big scene was cropped. objects (O,D) float32 and object_position (O,3) float32, O = 0 where there are
    none.
    """

    xyz: Tensor
    rgb: Tensor
    superpoint: Tensor
    features: Tensor | None
    objects: Tensor
    object_position: Tensor
    reduction: Reduction | None = None

    @property
    def superpoints(self) -> int:
        """S."""
        return int(self.superpoint.max()) + 1


@dataclass(frozen=True)
class Batch:
    """B scenes put together: N points, M voxels, S superpoints and O objects over all.

    point (N,I) float32: the stem's input. voxel_of_point, superpoint_of_point (N,) int64. box (S,6) float32 of the
    superpoints. objects (O,D), object_position (O,3). origin (B,3): the middle of each scene's floor. pyramid: the M
    voxels. superpoints, objects_of: counts by scene.
    """

    point: Tensor
    voxel_of_point: Tensor
    superpoint_of_point: Tensor
    box: Tensor
    objects: Tensor
    object_position: Tensor
    origin: Tensor
    pyramid: Pyramid
    superpoints: tuple[int, ...]
    objects_of: tuple[int, ...]

    def to(self, device: torch.device) -> Self:
        """On that device."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if f.name not in ("superpoints", "objects_of")
        }
        return replace(self, **moved)


def input_channels(settings: NetworkSettings) -> int:
    """I: colour, position, and where the network takes 2D features these and whether the scene has them."""
    return 6 + (settings.point_channels + 1 if settings.point_channels else 0)


def make_batch(scenes: Sequence[SceneInput], settings: NetworkSettings) -> Batch:
    """Raises InputError: a scene's 2D features have other channels than the network's."""
    occupied, voxel_of_point = _voxels([scene.xyz for scene in scenes], settings.voxel)
    counts = tuple(scene.superpoints for scene in scenes)
    first = [sum(counts[:number]) for number in range(len(counts))]
    return Batch(
        point=torch.cat([_point_input(scene, settings) for scene in scenes]),
        voxel_of_point=voxel_of_point,
        superpoint_of_point=torch.cat([s.superpoint + start for s, start in zip(scenes, first, strict=True)]),
        box=torch.cat([superpoint_boxes(s.xyz, s.superpoint, n) for s, n in zip(scenes, counts, strict=True)]),
        objects=torch.cat([_objects(scene, settings) for scene in scenes]),
        object_position=torch.cat([scene.object_position for scene in scenes]),
        origin=torch.stack([_origin(scene) for scene in scenes]),
        pyramid=Pyramid.build(occupied[:, 1:].contiguous(), occupied[:, 0].contiguous(), LEVELS),
        superpoints=counts,
        objects_of=tuple(len(scene.objects) for scene in scenes),
    )


def _voxels(clouds: Sequence[Tensor], voxel: float) -> tuple[Tensor, Tensor]:
    """(M,4) int64: scene, x, y, z of the voxels that hold a point, in this order; (N,) int64: the voxel of each point.

    Raises:
        InputError: a scene spreads over more voxels than can be numbered.
    """
    cells = [torch.floor((xyz - xyz.amin(dim=0)).double() / voxel).long() for xyz in clouds]
    extent = torch.stack([cell.amax(dim=0) for cell in cells]).amax(dim=0) + 1
    if len(clouds) * float(extent.double().prod()) >= 2**63:
        raise InputError("The scene spreads over more voxels than can be numbered; remove points far from the rest.")
    x, y, z = extent.tolist()
    keys = [((number * x + cell[:, 0]) * y + cell[:, 1]) * z + cell[:, 2] for number, cell in enumerate(cells)]
    key, voxel_of_point = np.unique(torch.cat(keys).numpy(), return_inverse=True)  # twenty times torch's by rows
    places = np.stack(np.unravel_index(key, (len(clouds), x, y, z)), axis=1)
    return torch.from_numpy(places), torch.from_numpy(voxel_of_point)


def _point_input(scene: SceneInput, settings: NetworkSettings) -> Tensor:
    """(N,I): colour, position from the middle of the floor, 2D features."""
    parts = [scene.rgb, scene.xyz - _origin(scene)]
    if settings.point_channels:
        if scene.features is None:
            given = torch.zeros(len(scene.xyz), settings.point_channels)
        else:
            given = torch.from_numpy(carried_back(scene.features.numpy(), scene.reduction))
        if given.shape[1] != settings.point_channels:
            raise InputError(
                f"The scene's 2D features have {given.shape[1]} channels, the network takes {settings.point_channels}; "
                "label it with the same 2D model as the scenes that the network was trained on."
            )
        parts += [given, torch.full((len(scene.xyz), 1), float(scene.features is not None))]
    return torch.cat(parts, dim=1)


def _origin(scene: SceneInput) -> Tensor:
    """(3,) the middle of the floor."""
    low, high = scene.xyz.amin(dim=0), scene.xyz.amax(dim=0)
    return torch.cat([(low[:2] + high[:2]) / 2, low[2:]])


def _objects(scene: SceneInput, settings: NetworkSettings) -> Tensor:
    if not settings.object_channels or not len(scene.objects):
        return torch.zeros(len(scene.objects), max(settings.object_channels, 1))
    if scene.objects.shape[1] != settings.object_channels:
        raise InputError(
            f"The scene's 2D objects have features of {scene.objects.shape[1]} channels, the network takes "
            f"{settings.object_channels}; label it with the same 2D model as the scenes that it was trained on."
        )
    return scene.objects
