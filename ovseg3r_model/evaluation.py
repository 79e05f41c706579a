"""Instance AP by the rules of the ScanNet benchmark's script (METHOD 5; ``evaluate_semantic_instance.py`` of
ScanNet/ScanNet, with the classes of ScanNet200).

What the script does is followed to the number, also where one would do it otherwise:

- a prediction may be matched with several instances at the lower thresholds; it goes to the first of them, in order of
  the instances' ids, that it overlaps by more than the threshold;
- of several predictions on one instance the surest counts and the others are false positives;
- predictions of fewer than 100 points are left out; so are, at a threshold, those without a match of which a larger
  share than the threshold lies on points without a valid class or in instances of fewer than 100 points;
- the curve is integrated by a trapezium around each of its points, from an artificial (recall 0, precision 1).

One case is ours: a class of which every prediction is left out has AP 0, where the script stops with an error.

A scene is one table of the points that predictions and instances share, of which only the pairs above the lowest
threshold are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numba
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.label_quality import AP_THRESHOLDS, MIN_INSTANCE_POINTS
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Bool, Float64, Int32, Int64

PER_LABEL = 1000
"""ScanNet's ids of the ground truth: the class's id times 1000, plus a number of the instance."""

THRESHOLDS = np.append(AP_THRESHOLDS, 0.25)
"""The nine that are averaged, then that of AP25."""

_LOWEST = THRESHOLDS.min()
_MAX_ID = 2**26  # up to here ids of instances are looked up in a table: 67,000 classes


@dataclass(frozen=True)
class AveragePrecision:
    """ap (C,): over the nine thresholds, ap50, ap25 (C,), in the order of ``classes`` (C,); nan for a class without
    ground truth.
    """

    classes: Int64
    ap: Float64
    ap50: Float64
    ap25: Float64

    def mean(self, classes: Int64 | None = None) -> tuple[float, float, float]:
        """(AP, AP50, AP25) over the classes that have ground truth, of ``classes`` alone where they are given; nan
        where none has."""
        chosen = np.ones(len(self.classes), np.bool_) if classes is None else np.isin(self.classes, classes)
        found = [values[chosen & ~np.isnan(values)] for values in (self.ap, self.ap50, self.ap25)]
        ap, ap50, ap25 = (float(values.mean()) if len(values) else float("nan") for values in found)
        return ap, ap50, ap25


class InstanceEvaluation:
    """Collects scenes one by one, holding only what matches; results may be asked for at any time."""

    def __init__(self, classes: Sequence[int]) -> None:
        """classes: ids of the classes that count; whatever else a point is labelled with is unannotated.

        Raises:
            InputError: an id is under 1.
        """
        if min(classes, default=1) < 1:
            raise InputError(f"A class has the id {min(classes)}: give ids from 1, as 0 is where nothing is annotated.")
        self._classes = np.unique(np.array(classes, np.int64))
        self._named: list[_Matches] = []
        self._unnamed: list[_Matches] = []

    def add(self, truth: Int64, predicted: PredictedInstances) -> None:
        """A scene: truth (N,) is the id of each point's instance, class * 1000 + number, 0 where there is none.

        Raises:
            InputError: the predictions are for a scene of another number of points.
        """
        if len(truth) != predicted.scene_points:
            raise InputError(
                f"The ground truth has {len(truth)} points and the predictions are for {predicted.scene_points}: give "
                "those of one scene."
            )
        overlap = _Overlap.of(np.asarray(truth, np.int64), predicted, self._classes)
        self._named.append(_Matches.of(overlap))
        self._unnamed.append(_Matches.of(overlap.without_names()))

    def result(self) -> AveragePrecision:
        """AP of each class over all scenes so far."""
        return _average_precision(self._classes, self._named)

    def class_agnostic(self) -> AveragePrecision:
        """The same as if all classes were one, here called 0: the AP of masks whatever their names."""
        return _average_precision(np.zeros(1, np.int64), self._unnamed)


@dataclass(frozen=True)
class _Overlap:
    """G instances and P predictions of a scene: those of classes that count, and predictions that are not too small.

    instance_class (G,), prediction_class (P,): positions among the classes. instance_size (G,), prediction_size (P,),
    common (P,G): points. void (P,): of their points, those without a valid class. score (P,).
    """

    instance_class: Int64
    instance_size: Int64
    prediction_class: Int64
    prediction_size: Int64
    score: Float64
    common: Int64
    void: Int64

    @classmethod
    def of(cls, truth: Int64, predicted: PredictedInstances, classes: Int64) -> Self:
        ids, size, instance = _instances(truth)
        common = _common_points(instance, predicted.point, predicted.sizes, len(ids))
        valid = np.isin(ids // PER_LABEL, classes)
        columns = np.flatnonzero(valid)
        columns = columns[np.argsort(ids[columns])]
        kept = np.flatnonzero(np.isin(predicted.label, classes) & (predicted.sizes >= MIN_INSTANCE_POINTS))
        return cls(
            np.searchsorted(classes, ids[columns] // PER_LABEL),
            size[columns],
            np.searchsorted(classes, predicted.label[kept]),
            predicted.sizes[kept],
            predicted.score[kept],
            common[np.ix_(kept, columns)],
            common[np.ix_(kept, ~valid)].sum(axis=1),
        )

    def without_names(self) -> "_Overlap":
        """As if all were of one class."""
        return replace(
            self,
            instance_class=np.zeros_like(self.instance_class),
            prediction_class=np.zeros_like(self.prediction_class),
        )


def _instances(truth: Int64) -> tuple[Int64, Int64, Int32]:
    """The ids that occur (G,), how many points have each (G,), and which of them each point has (N,)."""
    if truth.min(initial=0) < 0 or truth.max(initial=0) > _MAX_ID:  # no benchmark's ids: not for a table of them all
        ids, instance, size = np.unique(truth, return_inverse=True, return_counts=True)
        return ids, size, instance.astype(np.int32)
    ids, size, instance = _enumerated(truth, np.zeros(truth.max(initial=0) + 1, np.int32))
    return ids, size, instance


@numba.njit(cache=True)
def _enumerated(truth, number):  # type: ignore[no-untyped-def]
    """The same with ids in order of appearance; number: a 0 for each id that there may be."""
    ids, size, instance = [], [], np.empty(len(truth), np.int32)
    for k, i in enumerate(truth):
        if number[i] == 0:
            ids.append(i)
            size.append(0)
            number[i] = len(ids)
        instance[k] = number[i] - 1
        size[instance[k]] += 1
    return np.array(ids, np.int64), np.array(size, np.int64), instance


@numba.njit(cache=True)
def _common_points(instance, point, sizes, instances):  # type: ignore[no-untyped-def]
    """(P,G) int64: the points that each prediction has of each instance; instance (N,), point (K,), sizes (P,)."""
    out = np.zeros((len(sizes), instances), np.int64)
    end = 0
    for p in range(len(sizes)):
        start, end = end, end + sizes[p]
        for k in range(start, end):
            out[p, instance[point[k]]] += 1
    return out


@dataclass(frozen=True)
class _Matches:
    """What the rules ask of scenes: G instances that are not too small and P predictions, in the script's order.

    instance_class (G,), prediction_class (P,). score (P,). ignored_share (P,): of their points, those without a valid
    class or in too small instances of the class. best_iou (P,): with any instance of the class. instance, prediction,
    iou (K,): the pairs of a class that exceed the lowest threshold, by instance and then by prediction.
    """

    instance_class: Int64
    prediction_class: Int64
    score: Float64
    ignored_share: Float64
    best_iou: Float64
    instance: Int64
    prediction: Int64
    iou: Float64

    @classmethod
    def of(cls, overlap: _Overlap) -> Self:
        same = overlap.prediction_class[:, None] == overlap.instance_class  # (P,G)
        common = np.where(same, overlap.common, 0)
        iou = common / (overlap.instance_size + overlap.prediction_size[:, None] - common)
        counted = overlap.instance_size >= MIN_INSTANCE_POINTS
        ignored = overlap.void + common[:, ~counted].sum(axis=1)
        instance, prediction = np.nonzero((iou[:, counted] > _LOWEST).T)
        return cls(
            overlap.instance_class[counted],
            overlap.prediction_class,
            overlap.score,
            ignored / overlap.prediction_size,
            iou.max(axis=1, initial=0.0),
            instance,
            prediction,
            iou[:, counted][prediction, instance],
        )

    @classmethod
    def joined(cls, scenes: Sequence["_Matches"]) -> Self:
        """All scenes as one, in their order."""
        instances = np.cumsum([0, *(len(scene.instance_class) for scene in scenes)])
        predictions = np.cumsum([0, *(len(scene.prediction_class) for scene in scenes)])
        return cls(
            np.concatenate([scene.instance_class for scene in scenes]),
            np.concatenate([scene.prediction_class for scene in scenes]),
            np.concatenate([scene.score for scene in scenes]),
            np.concatenate([scene.ignored_share for scene in scenes]),
            np.concatenate([scene.best_iou for scene in scenes]),
            np.concatenate([scene.instance + first for scene, first in zip(scenes, instances, strict=False)]),
            np.concatenate([scene.prediction + first for scene, first in zip(scenes, predictions, strict=False)]),
            np.concatenate([scene.iou for scene in scenes]),
        )


def _average_precision(classes: Int64, scenes: Sequence[_Matches]) -> AveragePrecision:
    table = np.full((len(classes), len(THRESHOLDS)), np.nan)  # (C,T)
    if scenes:
        matches = _Matches.joined(scenes)
        for t, threshold in enumerate(THRESHOLDS):
            table[:, t] = _at_threshold(matches, float(threshold), len(classes))
    nine = len(AP_THRESHOLDS)
    return AveragePrecision(classes, table[:, :nine].mean(axis=1), table[:, 0], table[:, nine])


def _at_threshold(matches: _Matches, threshold: float, classes: int) -> Float64:
    """(C,) AP of each class at one threshold; nan without ground truth."""
    instances = np.bincount(matches.instance_class, minlength=classes)
    areas = _areas(*_judged(matches, threshold), instances)
    return np.where(instances > 0, areas, np.nan)


def _judged(matches: _Matches, threshold: float) -> tuple[Int64, Bool, Float64]:
    """Of the D detections: their classes (D,), which are right (D,), their scores (D,)."""
    above = matches.iou > threshold
    instance, prediction = matches.instance[above], matches.prediction[above]
    surest, beaten = _assigned(instance, prediction, matches.score, len(matches.instance_class))
    found, lost = ~np.isnan(surest), ~np.isnan(beaten)
    wrong = (matches.best_iou <= threshold) & (matches.ignored_share <= threshold)
    of_class = np.concatenate(
        [matches.instance_class[found], matches.instance_class[instance[lost]], matches.prediction_class[wrong]]
    )
    score = np.concatenate([surest[found], beaten[lost], matches.score[wrong]])
    return of_class, np.arange(len(of_class)) < found.sum(), score


@numba.njit(cache=True)
def _assigned(instance, prediction, score, instances):  # type: ignore[no-untyped-def]
    """(G,) the score of each instance's surest prediction; (K,) at each pair that meets an instance already found, the
    lower score, which is a false positive's. nan elsewhere. instance, prediction (K,), score (P,).
    """
    surest, beaten = np.full(instances, np.nan), np.full(len(instance), np.nan)
    taken = np.zeros(len(score), np.bool_)
    for k in range(len(instance)):
        g, p = instance[k], prediction[k]
        if taken[p]:
            continue
        if np.isnan(surest[g]):
            surest[g], taken[p] = score[p], True
        else:
            surest[g], beaten[k] = max(surest[g], score[p]), min(surest[g], score[p])
    return surest, beaten


def _areas(of_class: Int64, right: Bool, score: Float64, instances: Int64) -> Float64:
    """(C,) the area under each class's precision-recall curve, by the script's own rule; 0 without detections."""
    every = np.arange(len(instances))
    order = np.lexsort((score, of_class))
    of_class, right, score = of_class[order], right[order], score[order]
    end = np.searchsorted(of_class, every, side="right")
    behind = np.concatenate([[0], np.cumsum(right)])  # right ones among the first k
    first = np.flatnonzero((np.diff(of_class, prepend=-1) != 0) | (np.diff(score, prepend=np.nan) != 0))
    c = of_class[first]  # at each score of a class: the least sure detection with it, and all after it in the class
    found = behind[end[c]] - behind[first]
    # each class's curve ends in an artificial point
    precision = np.append(found / (end[c] - first), np.ones(len(every)))
    recall = np.append(found / np.maximum(instances[c], 1), np.zeros(len(every)))
    order = np.argsort(np.append(c, every), kind="stable")
    precision, recall = precision[order], recall[order]
    bounds = np.cumsum(np.bincount(c, minlength=len(every)) + 1)
    before, after = np.roll(recall, 1), np.roll(recall, -1)
    before[[0, *bounds[:-1]]] = recall[[0, *bounds[:-1]]]
    after[bounds - 1] = 0.0
    width = (before - after) / 2
    return np.array([np.dot(precision[lo:hi], width[lo:hi]) for lo, hi in pairwise([0, *bounds.tolist()])])
