"""A labelled scene as a training or a prediction takes it."""

from dataclasses import dataclass

import numpy as np
import torch

from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.point_features import carried_back
from ovseg3r_model.records import LabelledScene, Reconstruction
from ovseg3r_model.supervision.targets import ViewTargets, scene_targets, view_targets

NOMINAL_EXTENT = 6.0
"""A scene without a known scale is taken as if its longest side were so long, metres: a room's size."""


@dataclass(frozen=True)
class TrainingScene:
    """One scene: what the network sees, and what supervises it."""

    scene_id: str
    input: SceneInput
    targets: ViewTargets


def training_scene(scene_id: str, scene: LabelledScene) -> TrainingScene:
    """Supervised by its truth where that is an annotation, else by its views (METHOD 3)."""
    given = scene_input(scene)
    if scene.annotation == "scene" and scene.truth is not None:
        targets = scene_targets(given.xyz.numpy(), scene.superpoint, scene.truth)
    else:
        targets = view_targets(
            scene.reconstruction.correspondence, scene.observation, scene.instances, scene.superpoint, scene.truth
        )
    return TrainingScene(scene_id, given, targets)


def scene_input(scene: LabelledScene) -> SceneInput:
    """What the network sees of a scene, in metres; 2D features as they are stored, objects' in the 2D model's own
    channels."""
    points, scale = scene.reconstruction.points, metres_per_unit(scene.reconstruction)
    features, reduction = None, None
    objects, position = np.zeros((0, 0), np.float32), np.zeros((0, 3), np.float32)
    if scene.features is not None:
        features, reduction = torch.from_numpy(scene.features.points), scene.features.point_reduction
        placed = np.isfinite(scene.instances.position).all(axis=1)
        objects = carried_back(scene.features.objects, scene.features.object_reduction)[placed]
        position = scene.instances.position[placed] * np.float32(scale)
    return SceneInput(
        xyz=torch.from_numpy(points.xyz * np.float32(scale)),
        rgb=torch.from_numpy(points.rgb.astype(np.float32) / 127.5 - 1),
        superpoint=torch.from_numpy(scene.superpoint.astype(np.int64)),
        features=features,
        objects=torch.from_numpy(objects),
        object_position=torch.from_numpy(position),
        reduction=reduction,
    )


def metres_per_unit(reconstruction: Reconstruction) -> float:
    """What a length of the scene is multiplied by; see :data:`NOMINAL_EXTENT` for scenes without a scale."""
    if reconstruction.scale_known:
        return 1.0
    low, high = np.percentile(reconstruction.points.xyz, (1, 99), axis=0)  # a few points far out say nothing
    return NOMINAL_EXTENT / max(float((high - low).max()), 1e-9)
