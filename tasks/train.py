"""Stage ``train``: scenes to a network's weights (METHOD 2, 3). It can be killed at any moment; the next run goes on
from the last checkpoint and ends with the same weights."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ovseg3r_model.benchmark_summary import BenchmarkSummary
from ovseg3r_model.network.segmenter import parameters_of
from ovseg3r_model.network.settings import NetworkSettings
from ovseg3r_model.text import TextEncoder, build_text_encoder
from ovseg3r_model.training.labels import LabelPool
from ovseg3r_model.training.model import ModelDescription, load_model, model_files
from ovseg3r_model.training.model_settings import ModelSettings
from ovseg3r_model.training.schedule import ScheduleSettings
from ovseg3r_model.training.step import Prepare, Work
from ovseg3r_model.training.training import Diverged, Training
from storage.stages import Attempt, StageRef, Stages
from storage.store import Store
from tasks.evaluate import Classes, judged_scenes, summarise, true_names
from tasks.model_files import SceneKey, feature_channels
from tasks.progress import announce
from tasks.scene_dataset import SceneDataset, scene_batches
from tasks.stage import run_stage
from tasks.training_files import CURVES, HISTORY, METRICS
from tasks.training_history import History

logger = logging.getLogger("ovseg3r.train")

STAGE = "train"
VERSION = 1
"""Raised by hand whenever the same scenes and settings would give other weights."""

_CHECKPOINT = "checkpoint-{:08d}.safetensors"


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
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
        training = Training(network, settings.train)
        history = History(schedule)
        _go_on(stages, digest, training, history)
        description = ModelDescription(network, settings.text, encoder.name, boxes)
        judge = _Judge(stages.store, encoder, held_out, description)
        pool = LabelPool(dict(zip(vocabulary, encoder.encode(vocabulary), strict=True)))
        prepare = Prepare(network, settings.train, pool)
        dataset = SceneDataset(
            store_url, [(s.scene_id, s.digest) for s in scenes], settings.augment, settings.train.seed,
            schedule.data.cache,
        )  # fmt: skip
        try:
            for works in _works(dataset, prepare, schedule, training):
                history.add(training.run_step(works))
                last = training.step == settings.train.steps
                if held_out and (last or (schedule.evaluate_every and training.step % schedule.evaluate_every == 0)):
                    history.judged(training.step, judge(training, vocabulary))
                if training.step % schedule.checkpoint_every == 0:
                    _keep(stages, digest, training, history)
                announce(STAGE, training.step, settings.train.steps)
        except Diverged as error:
            name = f"diverged-{training.step + 1:08d}.safetensors"
            stages.put_part(STAGE, digest, name, error.batch)
            raise Diverged(f"{error} The batch is kept as {stages.part_uri(STAGE, digest, name)}.", b"") from error
        finally:
            history.close()
        history.flush()
        files = model_files(training.weights(), description, vocabulary)
        files |= {HISTORY: history.json(), CURVES: history.picture(), METRICS: _json(history.metrics())}
        for name, data in files.items():
            attempt.put(name, data)
        return {
            "parameters": parameters_of(training.network),
            "encoder": encoder.name,
            "metrics": history.metrics(),
            "files": sorted(files),
        }

    return run_stage(store_url, STAGE, digest, work)


def _network(
    store: Store, scenes: Sequence[SceneKey], settings: ModelSettings, encoder: TextEncoder
) -> NetworkSettings:
    """The network's settings with the channels that data and text have."""
    points, objects = feature_channels(store, scenes) if settings.features else (0, 0)
    given = {"point_channels": points, "object_channels": objects, "text_channels": encoder.size}
    return settings.network.model_copy(update=given)


def _works(
    dataset: SceneDataset, prepare: Prepare, schedule: ScheduleSettings, training: Training
) -> Iterator[list[Work]]:
    """The work of each step that is left."""
    chosen = training.settings
    together = chosen.optimiser.accumulate
    numbers = range(training.step * together, chosen.steps * together)
    held: list[Work] = []
    for work in scene_batches(dataset, schedule.data, chosen.batch, numbers, prepare):
        held.append(work)
        if len(held) == together:
            yield held
            held = []


def _go_on(stages: Stages, digest: str, training: Training, history: History) -> None:
    """From the last checkpoint, where there is one."""
    names = [name for name in stages.parts(STAGE, digest) if name.startswith("checkpoint-")]
    data = stages.part(STAGE, digest, names[-1]) if names else None
    if data is not None:
        history.restore(training.restore(data))
        logger.info("the training goes on at step %d", training.step)


def _keep(stages: Stages, digest: str, training: Training, history: History) -> None:
    """A checkpoint; those before it go once it is there."""
    before = [name for name in stages.parts(STAGE, digest) if name.startswith("checkpoint-")]
    name = _CHECKPOINT.format(training.step)
    stages.put_part(STAGE, digest, name, training.checkpoint(history.plain()))
    for old in before:
        if old != name:
            stages.drop_part(STAGE, digest, old)


class _Judge:
    """Evaluates a training's weights as they would be published."""

    def __init__(
        self, store: Store, encoder: TextEncoder, scenes: Sequence[SceneKey], description: ModelDescription
    ) -> None:
        self._store, self._encoder, self._scenes, self._description = store, encoder, scenes, description
        self._names = true_names(store, scenes) if scenes else ()

    def __call__(self, training: Training, vocabulary: Sequence[str]) -> BenchmarkSummary:
        model = load_model(model_files(training.weights(), self._description, vocabulary).__getitem__)
        model = replace(model, network=model.network.to(training.accelerator.device))
        classes = Classes.of(self._names)
        judged = judged_scenes(self._store, model, self._encoder, self._scenes, classes)
        return summarise((pair for _, pair in judged), classes, {})


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
