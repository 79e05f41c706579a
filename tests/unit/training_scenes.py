"""A made-up scene as a training takes it, whose points can be told apart whatever becomes of them."""

import numpy as np
import torch
from torch import Tensor

from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.records import Correspondence, Instances, SceneTruth
from ovseg3r_model.supervision.targets import ViewTargets, scene_targets, view_targets
from ovseg3r_model.training.samples import TrainingScene

POINTS, SUPERPOINTS, VIEWS = 600, 24, 5
NAMES = ("chair", "sofa", "chair", "rug")


def made_up(seed: int = 0, views: bool = False) -> TrainingScene:
    """Superpoints are blobs in a room of 6 x 4 x 3 m. Instances are 1: superpoints 0-3, 2: 4-7, ... 4: 12-15; the
    others are nobody's. Red tells a point apart, its number over all points; 2D features tell it too."""
    rng = np.random.default_rng(seed)
    superpoint = np.concatenate([np.arange(SUPERPOINTS), rng.integers(0, SUPERPOINTS, POINTS - SUPERPOINTS)])
    centre = rng.uniform(0, 1, (SUPERPOINTS, 3)) * (6, 4, 3)
    xyz = (centre[superpoint] + rng.uniform(-0.2, 0.2, (POINTS, 3))).astype(np.float32)
    superpoint = superpoint.astype(np.int32)
    instance = np.where(superpoint < 16, superpoint // 4 + 1, 0).astype(np.int32)
    number = np.linspace(-1, 1, POINTS, dtype=np.float32)
    objects = rng.normal(size=(9, 2)).astype(np.float32)
    input_ = SceneInput(
        xyz=torch.from_numpy(xyz),
        rgb=torch.from_numpy(np.stack([number, np.zeros(POINTS, np.float32), -number], axis=1)),
        superpoint=torch.from_numpy(superpoint.astype(np.int64)),
        features=torch.from_numpy(np.repeat(number[:, None], 3, axis=1)),
        objects=torch.from_numpy(objects),
        object_position=torch.from_numpy(xyz[rng.integers(0, POINTS, 9)]),
    )
    targets = seen_from(rng, superpoint, instance) if views else scene_targets(xyz, superpoint, truth_of(instance))
    return TrainingScene("made-up", input_, targets)


def truth_of(instance: np.ndarray) -> SceneTruth:
    return SceneTruth(instance, NAMES)


def seen_from(rng: np.random.Generator, superpoint: np.ndarray, instance: np.ndarray) -> ViewTargets:
    """Every view sees about half of the superpoints; its instance k is the k-th thing, as far as it sees it. The last
    view sees no instance."""
    seen = (rng.random((VIEWS, SUPERPOINTS)) < 0.5)[:, superpoint].T
    seen[instance > 0, VIEWS - 1] = False
    seen[:, 0] |= ~seen.any(axis=1)
    point, view = np.nonzero(seen)
    indptr = np.concatenate([[0], np.cumsum(seen.sum(axis=1))]).astype(np.int64)
    correspondence = Correspondence(indptr, view.astype(np.uint16), np.zeros((len(view), 2), np.uint16))
    observation = np.where(instance[point] > 0, view * 4 + instance[point], 0).astype(np.uint32)
    instances = Instances(
        ("chair", "sofa", "rug"),
        np.repeat(np.arange(VIEWS), 4).astype(np.uint16),
        np.tile(np.array([0, 1, 0, 2], np.int32), VIEWS),
        np.ones(VIEWS * 4, np.float32),
        np.zeros((VIEWS * 4, 4), np.uint16),
        np.zeros((VIEWS * 4, 3), np.float32),
    )
    return view_targets(correspondence, observation, instances, superpoint, truth_of(instance))


def tensors(scene: TrainingScene) -> dict[str, Tensor]:
    both = vars(scene.input) | vars(scene.targets)
    return {name: value for name, value in both.items() if isinstance(value, Tensor)}


def plain_list(number: int, scenes: list[TrainingScene]) -> list[TrainingScene]:
    """A ``collate`` of batches that leaves the scenes as they are."""
    return scenes
