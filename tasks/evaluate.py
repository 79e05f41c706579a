"""A network's predictions on published scenes, and their AP where the truth is known (METHOD 5)."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary
from ovseg3r_model.errors import InputError
from ovseg3r_model.network.inference import InferenceSettings
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Int64, SceneTruth
from ovseg3r_model.text import TextEncoder
from ovseg3r_model.training.judge import benchmark_truth, with_classes
from ovseg3r_model.training.model import TrainedModel
from ovseg3r_model.training.predict import predict
from ovseg3r_model.training.samples import scene_input
from storage.scene_store import SceneStore
from storage.store import Store
from tasks.model_files import SceneKey
from tasks.progress import announce


def true_names(store: Store, scenes: Sequence[SceneKey]) -> tuple[str, ...]:
    """The names of what is in the scenes, sorted.

    Raises:
        InputError: the truth of a scene is not known.
    """
    return tuple(sorted({name for scene in scenes for name in _truth(store, scene).names}))


def evaluate(
    store: Store,
    model: TrainedModel,
    encoder: TextEncoder,
    scenes: Sequence[SceneKey],
    asked: Mapping[str, str],
    subsets: Mapping[str, Sequence[str]],
    inference: InferenceSettings,
) -> BenchmarkSummary:
    """AP on scenes with truth.

    Args:
        asked: by class, the word that the network is asked for: the class's name itself, or a synonym.
        subsets: names of classes to take together, by the group's name.

    Raises:
        InputError: the truth of a scene is not known, or a scene does not fit the network.
    """
    class_of_name = {name: k + 1 for k, name in enumerate(sorted(asked))}
    text = encoder.encode([asked[name] for name in class_of_name])

    def judged() -> Iterator[tuple[Int64, PredictedInstances]]:
        for number, key in enumerate(scenes):
            scene = SceneStore(store).read(key.scene_id, key.digest).scene
            if scene.truth is None:
                raise _unknown(key)
            description = model.description
            found = predict(model.network, description.network, scene_input(scene), text, inference, description.boxes)
            announce("evaluate", number + 1, len(scenes))
            yield benchmark_truth(scene.truth, class_of_name), with_classes(found, np.arange(1, len(text) + 1))

    groups = {
        group: [class_of_name[name] for name in names if name in class_of_name] for group, names in subsets.items()
    }
    return benchmark_summary(judged(), {k: name for name, k in class_of_name.items()}, groups)


def _truth(store: Store, key: SceneKey) -> SceneTruth:
    truth = SceneStore(store).read(key.scene_id, key.digest).scene.truth
    if truth is None:
        raise _unknown(key)
    return truth


def _unknown(key: SceneKey) -> InputError:
    return InputError(
        f"Scene {key.scene_id} has no truth to be judged by; evaluate on scenes that `ovseg3r import` published, or "
        "that were labelled with --segment simulated."
    )
