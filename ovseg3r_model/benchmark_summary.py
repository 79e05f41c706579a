"""The table of a benchmark: AP over all classes, over named groups of them, of each class, and whatever the names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.evaluation import AveragePrecision, InstanceEvaluation
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Int64
from ovseg3r_model.vocabulary import scannet200_classes


@dataclass(frozen=True)
class Scores:
    """AP over the nine thresholds, AP50 and AP25, 0..1: the mean over the ``classes`` classes that have ground truth;
    nan where none has.
    """

    ap: float
    ap50: float
    ap25: float
    classes: int


@dataclass(frozen=True)
class BenchmarkSummary:
    """scenes: how many were judged. overall: over all classes. subsets: by name. per_class: by the class's name, in the
    order given. class_agnostic: masks whatever their names, as if all classes were one.
    """

    scenes: int
    overall: Scores
    subsets: Mapping[str, Scores]
    per_class: Mapping[str, Scores]
    class_agnostic: Scores


def benchmark_summary(
    scenes: Iterable[tuple[Int64, PredictedInstances]],
    names: Mapping[int, str],
    subsets: Mapping[str, Sequence[int]],
) -> BenchmarkSummary:
    """Judges scenes one by one: truth (N,), class id * 1000 + number, beside the predictions.

    ``names``: of the classes that count, by id. ``subsets``: ids of classes to take together, by the group's name.

    Raises:
        InputError: a class id is under 1, two classes have one name, a group has a class that does not count, or
            predictions are for another number of points.
    """
    _check(names, subsets)
    evaluation = InstanceEvaluation(tuple(names))
    count = 0
    for truth, predicted in scenes:
        evaluation.add(truth, predicted)
        count += 1
    found = evaluation.result()
    return BenchmarkSummary(
        count,
        _scores(found, names),
        {group: _scores(found, ids) for group, ids in subsets.items()},
        {name: _scores(found, [i]) for i, name in names.items()},
        _scores(evaluation.class_agnostic(), [0]),
    )


def scannet200_names() -> dict[int, str]:
    """The 198 classes of ScanNet200 that have instances, by id: all but wall and floor."""
    return {each.id: each.name for each in scannet200_classes() if each.split}


def scannet200_subsets() -> dict[str, tuple[int, ...]]:
    """Their ids: head, common and tail by how frequent they are, base and novel of the open-vocabulary setting."""
    counted = [each for each in scannet200_classes() if each.split]
    return {
        **{group: tuple(c.id for c in counted if c.frequency == group) for group in ("head", "common", "tail")},
        **{split: tuple(c.id for c in counted if c.split == split) for split in ("base", "novel")},
    }


def _scores(found: AveragePrecision, classes: Iterable[int]) -> Scores:
    chosen = np.array([*classes], np.int64)
    with_truth = np.isin(found.classes, chosen) & ~np.isnan(found.ap50)
    return Scores(*found.mean(chosen), int(with_truth.sum()))


def _check(names: Mapping[int, str], subsets: Mapping[str, Sequence[int]]) -> None:
    for name, times in Counter(names.values()).items():
        if times > 1:
            raise InputError(f"{times} classes are called {name!r}; give each a name of its own.")
    for group, ids in subsets.items():
        for i in ids:
            if i not in names:
                raise InputError(f"The group {group!r} has the class {i}, which is not among those that are judged.")
