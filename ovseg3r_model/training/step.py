"""One step's work: a batch of scenes to a loss, and what is worth telling of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ovseg3r_model.network.inputs import Batch, make_batch
from ovseg3r_model.network.segmenter import ScenePredictions
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.supervision.pairs import Pairs, make_pairs
from ovseg3r_model.supervision.predictions import Losses, Matches
from ovseg3r_model.supervision.settings import LossWeights, SupervisionSettings
from ovseg3r_model.supervision.statistics import MatchStatistics, match_statistics
from ovseg3r_model.supervision.targets import ViewTargets, all_at_once
from ovseg3r_model.supervision.vip import vip_losses
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.samples import TrainingScene
from ovseg3r_model.training.settings import TrainSettings


@dataclass(frozen=True)
class Work:
    """A batch ready for the network; lists have an entry a scene."""

    scene_ids: tuple[str, ...]
    batch: Batch
    targets: list[ViewTargets]
    queries: list[Tensor]
    objects: list[Tensor]
    texts: list[Tensor]
    pairs: list[Pairs]

    def to(self, device: torch.device) -> "Work":
        """On that device; the targets stay, as only statistics look at them."""

        def moved(tensors: list[Tensor]) -> list[Tensor]:
            return [each.to(device) for each in tensors]

        return replace(
            self,
            batch=self.batch.to(device),
            queries=moved(self.queries),
            objects=moved(self.objects),
            texts=moved(self.texts),
            pairs=[pairs.to(device) for pairs in self.pairs],
        )


@dataclass(frozen=True)
class Prepare:
    """Makes work of batches by number, in the process that loads them: queries, 2D objects and labels are drawn by the
    seed, the number and the scene's place in the batch. first: the place of the first scene that it is given."""

    network: NetworkSettings
    settings: TrainSettings
    pool: LabelPool
    first: int = 0

    def __call__(self, number: int, scenes: Sequence[TrainingScene]) -> Work:
        """Raises InputError: a scene does not fit the network."""
        chosen = self.settings
        targets, queries, objects, texts, pairs = [], [], [], [], []
        for place, scene in enumerate(scenes, self.first):
            rng = np.random.default_rng([chosen.seed, number, place, 7])
            wanted = scene.targets if chosen.supervision.vip else all_at_once(scene.targets)
            query = _some(wanted.superpoints, rng.uniform(chosen.queries.least, 1), rng)
            texts.append(self.pool.draw(wanted.names, chosen.labels, rng))
            targets.append(wanted)
            queries.append(query)
            objects.append(_some(len(scene.input.objects), chosen.queries.objects, rng))
            pairs.append(make_pairs(wanted, query, torch.arange(len(wanted.names))))
        batch = make_batch([scene.input for scene in scenes], self.network)
        return Work(tuple(scene.scene_id for scene in scenes), batch, targets, queries, objects, texts, pairs)


@dataclass(frozen=True)
class StepLosses:
    """total: what is differentiated. parts: by name, of the last layer, detached. statistics: see there, one a
    scene."""

    total: Tensor
    parts: dict[str, Tensor]
    statistics: list[MatchStatistics]


def step_losses(predictions: Sequence[ScenePredictions], work: Work, supervision: SupervisionSettings) -> StepLosses:
    """Of the predictions for the scenes: sum over the decoder's layers, mean over the scenes (METHOD 3)."""
    weights, total, parts, statistics = supervision.weights, [], [], []
    for number, scene in enumerate(predictions):
        pairs = work.pairs[number]
        each: list[tuple[Losses, Matches]] = [
            vip_losses(layer, scene.semantic, pairs, weights, supervision.no_object) for layer in scene.layers
        ]
        total.append(torch.stack([weighted(losses, weights) for losses, _ in each]).sum())
        losses, matches = each[-1]
        parts.append({f.name: getattr(losses, f.name).detach() for f in fields(losses)})
        statistics.append(match_statistics(matches, pairs, work.targets[number], work.queries[number]))
    mean = {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}
    return StepLosses(torch.stack(total).mean(), mean, statistics)


def weighted(losses: Losses, weights: LossWeights) -> Tensor:
    """The loss of one layer."""
    parts = [getattr(weights, f.name) * getattr(losses, f.name) for f in fields(losses)]
    return torch.stack(parts).sum()


def _some(count: int, share: float, rng: np.random.Generator) -> Tensor:
    """A random share of 0..count-1, increasing; at least one where there is one and the share is not 0."""
    chosen = min(count, int(np.ceil(share * count)))
    return torch.from_numpy(np.sort(rng.permutation(count)[:chosen]).astype(np.int64))
