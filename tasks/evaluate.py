"""A network's predictions on published scenes beside their truth, and the AP (METHOD 5)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary
from ovseg3r_model.errors import InputError
from ovseg3r_model.network.inference import InferenceSettings
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Int64, LabelledScene, SceneTruth
from ovseg3r_model.text import TextEncoder
from ovseg3r_model.training.judge import benchmark_truth, with_classes
from ovseg3r_model.training.model import TrainedModel
from ovseg3r_model.training.predict import predict
from ovseg3r_model.training.samples import scene_input
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.model_files import SceneKey
from tasks.progress import announce

JUDGED = InferenceSettings(min_score=0)
"""The benchmark ranks by score and cuts nowhere."""

Judged = tuple[Int64, PredictedInstances]
"""Truth (N,) as the benchmark codes it, and predictions."""


@dataclass(frozen=True)
class Classes:
    """ids: of each class, by name. asked: by name, the word that the network is asked for: the name itself, or a
    synonym."""

    ids: Mapping[str, int]
    asked: Mapping[str, str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "Classes":
        """Numbered from 1, each asked for by its name."""
        listed = list(names)
        return cls({name: k + 1 for k, name in enumerate(listed)}, {name: name for name in listed})


def true_names(store: Store, scenes: Sequence[SceneKey]) -> tuple[str, ...]:
    """The names of what is in the scenes, sorted.

    Raises:
        InputError: the truth of a scene is not known.
    """
    return tuple(sorted({name for key in scenes for name in _truth(key, _read(store, key)).names}))


def judged_scenes(
    store: Store,
    model: TrainedModel,
    encoder: TextEncoder,
    scenes: Sequence[SceneKey],
    classes: Classes,
) -> Iterator[tuple[str, Judged]]:
    """Scene by scene, truth and predictions. A class that no scene holds is asked for all the same.

    Raises:
        InputError: the truth of a scene is not known, or a scene does not fit the network.
    """
    text = encoder.encode([classes.asked[name] for name in classes.ids])
    ids = np.array(list(classes.ids.values()), np.int64)
    about = model.description
    for number, key in enumerate(scenes):
        scene = _read(store, key)
        truth = benchmark_truth(_truth(key, scene), classes.ids)
        found = predict(model.network, about.network, scene_input(scene), text, JUDGED, about.boxes)
        announce("evaluate", number + 1, len(scenes))
        yield key.scene_id, (truth, with_classes(found, ids))


def summarise(judged: Iterable[Judged], classes: Classes, subsets: Mapping[str, Sequence[str]]) -> BenchmarkSummary:
    """AP; ``subsets``: names of classes to take together, by the group's name."""
    groups = {group: [classes.ids[name] for name in names] for group, names in subsets.items()}
    return benchmark_summary(judged, {k: name for name, k in classes.ids.items()}, groups)


def _read(store: Store, key: SceneKey) -> LabelledScene:
    return SceneStore(store).read(key.scene_id, key.digest).scene


def _truth(key: SceneKey, scene: LabelledScene) -> SceneTruth:
    if scene.truth is None:
        raise InputError(
            f"Scene {key.scene_id} has no truth to be judged by; evaluate on scenes that `ovseg3r import` published, "
            "or that were labelled with --segment simulated."
        )
    return scene.truth
