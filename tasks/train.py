"""Stage ``train``: scenes to a network's weights (METHOD 2, 3). It can be killed at any moment; the next run goes on
from the last checkpoint and ends with the same weights."""

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from prefect import task
from safetensors.torch import load as load_tensors

from ovseg3r_model.benchmark_summary import BenchmarkSummary
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.text import TextEncoder, build_text_encoder
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.model import ModelDescription, load_model, model_files
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.processes import Alone, Together, team
from ovseg3r_model.training.schedule import ScheduleSettings
from ovseg3r_model.training.training import Diverged, StepReport, agreed
from storage.stages import Attempt, StageRef, Stages
from storage.store import Store
from tasks.evaluate import Classes, judged_scenes, summarise, true_names
from tasks.model_files import SceneKey, feature_channels
from tasks.progress import announce
from tasks.retrying import STAGE_OPTIONS
from tasks.scene_dataset import SceneDataset, check_readable_elsewhere
from tasks.stage import run_stage
from tasks.trainer import Trainer
from tasks.training_files import CURVES, HISTORY, METRICS
from tasks.training_history import History

logger = logging.getLogger("ovseg3r.train")

STAGE = "train"
VERSION = 1
"""Raised by hand whenever the same scenes and settings would give other weights."""

Trainers = Alone[Trainer] | Together[Trainer]

_CHECKPOINT = "checkpoint-{:08d}.safetensors"


@task(name="train", **STAGE_OPTIONS)
def train(
    store_url: str,
    digest: str,
    scenes: Sequence[SceneKey],
    held_out: Sequence[SceneKey],
    vocabulary: Sequence[str],
    boxes: bool,
    settings: ModelSettings,
    schedule: ScheduleSettings,
) -> StageRef:
    """Trains a network and keeps its files.

    Args:
        held_out: scenes with truth to evaluate on.
        vocabulary: all names of ``scenes``.
        boxes: whether a scene is annotated as a whole, which trains the boxes.

    Raises:
        Diverged: the loss is no number; the batch is kept with the stage's parts, and the message says where.
        InputError: a scene cannot be read or does not fit the network.
    """

    def work(stages: Stages, attempt: Attempt) -> dict[str, Any]:
        encoder = build_text_encoder(settings.text)
        network = _network(stages.store, scenes, settings, encoder)
        a_step = settings.train.batch * settings.train.optimiser.accumulate  # scenes
        history = History(schedule, len(scenes) // a_step)
        description = ModelDescription(network, settings.text, encoder.name, boxes)
        device = torch.device(torch_device(settings.train.device))
        judge = _Judge(stages.store, encoder, held_out, description, device)
        pool = LabelPool(dict(zip(vocabulary, encoder.encode(vocabulary), strict=True)))
        dataset = SceneDataset(
            store_url, [(s.scene_id, s.digest) for s in scenes], settings.augment, settings.train.seed,
            schedule.data.cache,
        )  # fmt: skip
        if settings.train.processes > 1:
            check_readable_elsewhere(store_url)
        make = partial(Trainer, network, settings.train, pool, dataset, schedule.data)
        with team(make, settings.train.processes, settings.train.device) as trainers, closing(history):
            for step in range(_go_on(stages, digest, trainers, history) + 1, settings.train.steps + 1):
                history.add(_stepped(stages, digest, trainers, step))
                last = step == settings.train.steps
                if held_out and (last or (schedule.evaluate_every and step % schedule.evaluate_every == 0)):
                    history.judged(step, judge(trainers.first(Trainer.weights), vocabulary))
                if step % schedule.checkpoint_every == 0:
                    _keep(stages, digest, trainers, history, step)
                announce(STAGE, step, settings.train.steps)
            history.flush()
            weights, parameters = trainers.first(Trainer.weights), trainers.first(Trainer.parameters)
        files = model_files(load_tensors(weights), description, vocabulary)
        files |= {HISTORY: history.json(), CURVES: history.picture(), METRICS: _json(history.metrics())}
        for name, data in files.items():
            attempt.put(name, data)
        return {
            "parameters": parameters,
            "encoder": encoder.name,
            "metrics": history.metrics(),
            "files": sorted(files),
        }

    return run_stage(store_url, STAGE, digest, work, lambda: torch_device(settings.train.device))


def _network(
    store: Store, scenes: Sequence[SceneKey], settings: ModelSettings, encoder: TextEncoder
) -> NetworkSettings:
    """The network's settings with the channels that data and text have."""
    points, objects = feature_channels(store, scenes) if settings.features else (0, 0)
    given = {"point_channels": points, "object_channels": objects, "text_channels": encoder.size}
    return settings.network.model_copy(update=given)


def _stepped(stages: Stages, digest: str, trainers: Trainers, step: int) -> StepReport:
    """Takes the step. Raises Diverged once the batch is kept."""
    try:
        return agreed(trainers.all(Trainer.run_step))
    except Diverged as error:
        name = f"diverged-{step:08d}.safetensors"
        stages.put_part(STAGE, digest, name, error.batch)
        raise Diverged(f"{error} The batch is kept as {stages.part_uri(STAGE, digest, name)}.", b"") from error


def _go_on(stages: Stages, digest: str, trainers: Trainers, history: History) -> int:
    """From the last checkpoint, where there is one; the step that it was taken at, else 0."""
    names = [name for name in stages.parts(STAGE, digest) if name.startswith("checkpoint-")]
    data = stages.part(STAGE, digest, names[-1]) if names else None
    if data is None:
        return 0
    step, notes = trainers.all(Trainer.restore, data)[0]
    history.restore(notes)
    logger.info("the training goes on at step %d", step)
    return step


def _keep(stages: Stages, digest: str, trainers: Trainers, history: History, step: int) -> None:
    """A checkpoint; those before it go once it is there."""
    before = [name for name in stages.parts(STAGE, digest) if name.startswith("checkpoint-")]
    name = _CHECKPOINT.format(step)
    stages.put_part(STAGE, digest, name, trainers.first(Trainer.checkpoint, history.plain()))
    for old in before:
        if old != name:
            stages.drop_part(STAGE, digest, old)


class _Judge:
    """Evaluates a training's weights as they would be published."""

    def __init__(
        self,
        store: Store,
        encoder: TextEncoder,
        scenes: Sequence[SceneKey],
        description: ModelDescription,
        device: torch.device,
    ) -> None:
        self._store, self._encoder, self._scenes, self._description = store, encoder, scenes, description
        self._device = device
        self._names = true_names(store, scenes) if scenes else ()

    def __call__(self, weights: bytes, vocabulary: Sequence[str]) -> BenchmarkSummary:
        model = load_model(model_files(load_tensors(weights), self._description, vocabulary).__getitem__)
        model = replace(model, network=model.network.to(self._device))
        classes = Classes.of(self._names)
        judged = judged_scenes(self._store, model, self._encoder, self._scenes, classes)
        return summarise((pair for _, pair in judged), classes, {})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
