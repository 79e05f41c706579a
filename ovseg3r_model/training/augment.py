"""Random changes of a training scene (METHOD 2 leaves them open; the choice follows Mask3D).

Boxes: after a change of the geometry the box of every fully observed instance is taken anew from the points of its
superpoints, as no turned box is one along the axes. So it may also hold points of its superpoints that are not the
instance's (fewer than half of each). What a crop cuts is not fully observed any more and has no box.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.records import Bool, Float32, Float64
from ovseg3r_model.supervision.targets import ViewTargets, restricted
from ovseg3r_model.training.data_settings import AugmentSettings, Grid
from ovseg3r_model.training.samples import TrainingScene

MOST_NODES = 128
"""An elastic grid has no more nodes along an axis: in a scene too wide for that they stand farther apart."""


def augmented(scene: TrainingScene, settings: AugmentSettings, rng: np.random.Generator) -> TrainingScene:
    """The scene cropped, moved, thinned and recoloured at random; what ``rng`` gives alone decides how.

    Nothing of ``scene`` is written to, though the result may share tensors with it. 2D features stay with their points;
    2D objects move with the scene. A scene with views keeps at least one, with an instance where there is any.
    """
    scene = _cropped(scene, settings.max_points, rng)
    scene = _moved(scene, settings, rng)
    scene = _with_fewer_views(scene, settings.view_dropout, rng)
    given = _thinned(scene.input, settings.point_dropout, rng)
    return replace(scene, input=_recoloured(given, settings, rng))


def _cropped(scene: TrainingScene, most: int | None, rng: np.random.Generator) -> TrainingScene:
    """At most that many points: a square column about a point of a labelled superpoint, where there is one.

    A superpoint that is cut goes on with the points that are left of it, and is still seen by the views that saw it. 2D
    objects outside of the column go.
    """
    given, targets = scene.input, scene.targets
    if most is None or len(given.xyz) <= most:
        return scene
    xyz, superpoint = given.xyz.numpy(), given.superpoint.numpy()
    labelled = np.zeros(targets.superpoints, np.bool_)
    labelled[targets.member_superpoint.numpy()] = True
    allowed = np.flatnonzero(labelled[superpoint]) if labelled.any() else np.arange(len(xyz))
    centre = int(allowed[rng.integers(len(allowed))])
    distance = np.abs(xyz[:, :2] - xyz[centre, :2]).max(axis=1)
    distance[centre] = -1  # stays, however many points are right above or below it
    nearest = np.argpartition(distance, most - 1)[:most]
    stays = np.zeros(len(xyz), np.bool_)
    stays[nearest] = True
    position = given.object_position
    near = (position[:, :2] - given.xyz[centre, :2]).abs().amax(dim=1) <= float(distance[nearest].max())
    kept = replace(_of_points(given, stays), objects=given.objects[near], object_position=position[near])
    return _renumbered(replace(scene, input=kept, targets=_without_cut_boxes(targets, superpoint, stays)))


def _of_points(given: SceneInput, stays: Bool) -> SceneInput:
    """The points (N,) that stay; superpoints keep their numbers."""
    kept = torch.from_numpy(np.flatnonzero(stays))
    return replace(
        given,
        xyz=given.xyz[kept],
        rgb=given.rgb[kept],
        superpoint=given.superpoint[kept],
        features=None if given.features is None else given.features[kept],
    )


def _without_cut_boxes(targets: ViewTargets, superpoint: NDArray[np.int64], stays: Bool) -> ViewTargets:
    """Instances with a superpoint (N,) of which points go have no box any more."""
    cut = torch.zeros(targets.superpoints, dtype=torch.bool)
    cut[torch.from_numpy(superpoint[~stays])] = True
    box = targets.box.clone()
    box[targets.member_instance[cut[targets.member_superpoint]]] = torch.nan
    return replace(targets, box=box)


def _renumbered(scene: TrainingScene) -> TrainingScene:
    """Without the superpoints that have no point any more."""
    left, superpoint = torch.unique(scene.input.superpoint, return_inverse=True)
    targets = restricted(scene.targets, left, torch.arange(scene.targets.views))
    return replace(scene, input=replace(scene.input, superpoint=superpoint), targets=targets)


def _moved(scene: TrainingScene, settings: AugmentSettings, rng: np.random.Generator) -> TrainingScene:
    """Bent, then turned, mirrored and scaled about the middle of its points."""
    given = scene.input
    points = len(given.xyz)
    before = np.concatenate([given.xyz.numpy(), given.object_position.numpy()])
    low, high = before[:points].min(axis=0), before[:points].max(axis=0)
    place = before
    if rng.random() < settings.elastic:
        for grid in settings.elastic_grids:
            place = place + _bend(place, low, high, grid, rng)
    linear = _linear(settings, rng)
    if not np.array_equal(linear, np.eye(3)):
        middle = (low + high) / 2
        # not by BLAS, whose sums depend on the number of its threads
        place = np.einsum("nj,ij->ni", place - middle, linear.astype(np.float32)) + middle
    if place is before:
        return scene
    moved = torch.from_numpy(place)
    given = replace(given, xyz=moved[:points].contiguous(), object_position=moved[points:].contiguous())
    return replace(scene, input=given, targets=_with_boxes(scene.targets, given.xyz, given.superpoint))


def _linear(settings: AugmentSettings, rng: np.random.Generator) -> Float64:
    """(3,3): mirrored along x and y, turned about z, tilted, scaled."""
    turn = math.radians(rng.uniform(-settings.rotation, settings.rotation))
    about_x, about_y = np.radians(rng.uniform(-settings.tilt, settings.tilt, 2))
    mirror = np.diag([*np.where(rng.random(2) < settings.flip, -1.0, 1.0), 1.0])
    scale = rng.uniform(*settings.scale)
    linear: Float64 = scale * _rotation(0, about_x) @ _rotation(1, about_y) @ _rotation(2, turn) @ mirror
    return linear


def _rotation(axis: int, angle: float) -> Float64:
    """(3,3): counter-clockwise about x, y or z, radians."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -matrix[second, first]
    return matrix


def _bend(place: Float32, low: Float32, high: Float32, grid: Grid, rng: np.random.Generator) -> Float32:
    """(n,3) how far each place moves: normal noise on a grid over low..high, blurred twice by a mean over 3 nodes along
    each axis, between nodes linear; the elastic distortion of Mask3D."""
    spacing = max(grid[0], float((high - low).max()) / (MOST_NODES - 3))
    nodes = np.floor((high - low) / spacing).astype(int) + 3
    noise = torch.from_numpy(rng.standard_normal((1, 3, *nodes[::-1]), np.float32))
    for _ in range(2):
        noise = torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1, count_include_pad=False)
    at = 2 * (place - low) / (spacing * (nodes - 1)).astype(np.float32) - 1  # (n,3) x, y, z in [-1, 1]
    moved = torch.nn.functional.grid_sample(
        noise, torch.from_numpy(at)[None, None, None], padding_mode="border", align_corners=True
    )
    bend: Float32 = moved[0, :, 0, 0].T.numpy() * np.float32(grid[1])
    return bend


def _with_boxes(targets: ViewTargets, xyz: Tensor, superpoint: Tensor) -> ViewTargets:
    """The boxes that there are, about the points (N,3) of the instances' superpoints (N,)."""
    known = ~torch.isnan(targets.box).any(dim=1)
    if not known.any():
        return targets
    of_superpoint = _corners(torch.cat([xyz, -xyz], dim=1), superpoint, targets.superpoints)
    corners = _corners(of_superpoint[targets.member_superpoint], targets.member_instance, targets.instances)
    low, high = corners[:, :3], -corners[:, 3:]
    box = torch.cat([(low + high) / 2, high - low], dim=1)
    return replace(targets, box=torch.where(known[:, None], box, torch.nan))


def _corners(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """(groups,6) the smallest of the values (n,6) in each group (n,)."""
    start = torch.full((groups, 6), torch.inf)
    return start.scatter_reduce(0, group[:, None].expand(-1, 6), values, "amin")


def _with_fewer_views(scene: TrainingScene, share: float, rng: np.random.Generator) -> TrainingScene:
    """Without the annotation of some views; the points that they saw stay. One view, at random of those that hold an
    instance, always stays."""
    targets = scene.targets
    if share == 0 or targets.views < 2:
        return scene
    holding = torch.unique(targets.instance_view).numpy()
    allowed = holding if len(holding) else np.arange(targets.views)
    stays = rng.random(targets.views) >= share
    stays[allowed[rng.integers(len(allowed))]] = True
    views = torch.from_numpy(np.flatnonzero(stays))
    return replace(scene, targets=restricted(targets, torch.arange(targets.superpoints), views))


def _thinned(given: SceneInput, largest: float, rng: np.random.Generator) -> SceneInput:
    """Without a random share of the points, at most ``largest``; a superpoint that would lose all keeps all, so that
    the annotation, which is of superpoints, stays as it is."""
    if largest == 0:
        return given
    superpoint = given.superpoint.numpy()
    stays = rng.random(len(superpoint), np.float32) >= rng.uniform(0, largest)
    emptied = np.bincount(superpoint[stays], minlength=given.superpoints) == 0
    return _of_points(given, stays | emptied[superpoint])


def _recoloured(given: SceneInput, settings: AugmentSettings, rng: np.random.Generator) -> SceneInput:
    """Contrast about the mean colour, a shift of each channel, noise; the colours stay in [-1, 1]."""
    if settings.contrast == settings.brightness == settings.jitter == 0:
        return given
    rgb = given.rgb.numpy()
    mean = rgb.mean(axis=0)
    contrast = np.float32(1 + rng.uniform(-settings.contrast, settings.contrast))
    shift = rng.uniform(-settings.brightness, settings.brightness, 3).astype(np.float32)
    noise = rng.standard_normal(rgb.shape, np.float32) * np.float32(settings.jitter)
    changed = np.clip((rgb - mean) * contrast + (mean + shift) + noise, -1, 1)
    return replace(given, rgb=torch.from_numpy(changed))
