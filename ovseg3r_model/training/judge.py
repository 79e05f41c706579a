"""How good a model is on scenes whose truth is known (METHOD 5)."""

from collections.abc import Mapping

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.evaluation import PER_LABEL
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Int64, SceneTruth


def benchmark_truth(truth: SceneTruth, class_of_name: Mapping[str, int]) -> Int64:
    """(N,) class * 1000 + number of each point's instance, 0 where there is none or its name has no class.

    Raises:
        InputError: the scene has more instances of a name than the benchmark's ids can tell apart.
    """
    of_instance = np.zeros(len(truth.names) + 1, np.int64)
    seen: dict[int, int] = {}
    for k, name in enumerate(truth.names):
        label = class_of_name.get(name, 0)
        seen[label] = seen.get(label, 0) + 1
        if label and seen[label] >= PER_LABEL:
            raise InputError(f"The scene holds {PER_LABEL} or more instances named {name!r}: the benchmark has no ids.")
        of_instance[k + 1] = label * PER_LABEL + seen[label] if label else 0
    codes: Int64 = of_instance[truth.instance]
    return codes


def with_classes(predicted: PredictedInstances, class_of_row: Int64) -> PredictedInstances:
    """The predictions with class ids in place of rows of the text (T,)."""
    return PredictedInstances(
        predicted.scene_points, predicted.point, predicted.sizes, class_of_row[predicted.label], predicted.score
    )
