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
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.label_quality import AP_THRESHOLDS, MIN_INSTANCE_POINTS
from ovseg3r_model.records import Bool, Float32, Float64, Int64

PER_LABEL = 1000
"""ScanNet's ids of the ground truth: the class's id times 1000, plus a number of the instance."""

THRESHOLDS = np.append(AP_THRESHOLDS, 0.25)
"""The nine that are averaged, then that of AP25."""


@dataclass(frozen=True)
class PredictedInstances:
    """P predictions for a scene of N points. points: P arrays of increasing indices of points; label (P,) int64 class
    ids; score (P,) float32.
    """

    points: tuple[Int64, ...]
    label: Int64
    score: Float32

    def __len__(self) -> int:
        return len(self.points)


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
    """Collects scenes one by one, holding only what overlaps; ``result`` may be asked for at any time."""

    def __init__(self, classes: Sequence[int]) -> None:
        """classes: ids of the classes that count; whatever else a point is labelled with is unannotated."""
        self._classes = np.array(sorted(classes), np.int64)
        self._scenes: list[dict[int, _ClassInScene]] = []

    def add(self, truth: Int64, predicted: PredictedInstances) -> None:
        """A scene: truth (N,) is the id of each point's instance, class * 1000 + number, 0 where there is none.

        Raises:
            InputError: a prediction has points that the scene has not.
        """
        for points in predicted.points:
            if len(points) and not 0 <= points[0] <= points[-1] < len(truth):
                raise InputError(f"A prediction has point {points[-1]} of a scene of {len(truth)} points.")
        self._scenes.append(_overlaps(np.asarray(truth, np.int64), predicted, self._classes))

    def result(self) -> AveragePrecision:
        """AP of each class over all scenes so far."""
        table = np.full((len(self._classes), len(THRESHOLDS)), np.nan)
        for c, label in enumerate(self._classes):
            scenes = [scene[int(label)] for scene in self._scenes if int(label) in scene]
            for t, threshold in enumerate(THRESHOLDS):
                table[c, t] = _average_precision(scenes, float(threshold))
        nine = len(AP_THRESHOLDS)
        return AveragePrecision(self._classes, table[:, :nine].mean(axis=1), table[:, 0], table[:, nine])


def class_agnostic(
    truth: Int64, predicted: PredictedInstances, classes: Sequence[int]
) -> tuple[Int64, PredictedInstances]:
    """The scene as if all ``classes`` were one, of id 1: for the AP of masks whatever their names."""
    valid = np.isin(truth // PER_LABEL, np.array(classes))
    _, number = np.unique(truth[valid], return_inverse=True)
    out = np.zeros_like(truth)
    out[valid] = PER_LABEL + 1 + number
    kept = [k for k in range(len(predicted)) if predicted.label[k] in classes]
    points = tuple(predicted.points[k] for k in kept)
    return out, PredictedInstances(points, np.ones(len(kept), np.int64), predicted.score[kept])


@dataclass(frozen=True)
class _ClassInScene:
    """One class in one scene: G instances and P predictions of it, in the script's order.

    counted (G,): not too small. score (P,). ignored_share (P,): of their points, those without a valid class or in too
    small instances of the class. candidates: by instance, the predictions that overlap it, with the IoU. best_iou (P,):
    with any instance of the class.
    """

    counted: Bool
    score: Float32
    ignored_share: Float64
    candidates: tuple[tuple[tuple[int, float], ...], ...]
    best_iou: Float64


def _overlaps(truth: Int64, predicted: PredictedInstances, classes: Int64) -> dict[int, _ClassInScene]:
    """By class: what of it is in the scene, where anything is."""
    ids, instance = np.unique(truth, return_inverse=True)
    size = np.bincount(instance, minlength=len(ids))
    label = ids // PER_LABEL
    valid = np.isin(label, classes) & (ids != 0)
    large = [k for k in range(len(predicted)) if len(predicted.points[k]) >= MIN_INSTANCE_POINTS]
    table = np.zeros((len(large), len(ids)), np.int64)
    for row, k in enumerate(large):
        table[row] = np.bincount(instance[predicted.points[k]], minlength=len(ids))
    predicted_size, void = table.sum(axis=1), table[:, ~valid].sum(axis=1)
    of_label = predicted.label[large] if large else np.zeros(0, np.int64)
    score = predicted.score[large] if large else np.zeros(0, np.float32)
    found = {}
    for c in classes:
        columns, rows = np.flatnonzero(valid & (label == c)), np.flatnonzero(of_label == c)
        if len(columns) or len(rows):
            common = table[np.ix_(rows, columns)]
            iou = common / (size[columns] + predicted_size[rows, None] - common)
            counted = size[columns] >= MIN_INSTANCE_POINTS
            ignored = void[rows] + common[:, ~counted].sum(axis=1)
            found[int(c)] = _ClassInScene(
                counted,
                score[rows],
                ignored / np.maximum(predicted_size[rows], 1),
                tuple(
                    tuple((int(p), float(iou[p, g])) for p in np.flatnonzero(iou[:, g] > 0))
                    for g in range(len(columns))
                ),
                iou.max(axis=1, initial=0.0),
            )
    return found


def _average_precision(scenes: Sequence[_ClassInScene], threshold: float) -> float:
    """AP of one class at one threshold; nan without ground truth."""
    if not any(scene.counted.any() for scene in scenes):
        return float("nan")
    parts = [_judged(scene, threshold) for scene in scenes]
    right = np.concatenate([part[0] for part in parts])
    score = np.concatenate([part[1] for part in parts])
    missed = sum(part[2] for part in parts)
    if not len(score):
        return 0.0
    return _area(right, score, missed)


def _judged(scene: _ClassInScene, threshold: float) -> tuple[Bool, Float64, int]:
    """Which detections are right (D,), their scores (D,), and how many instances none was found for."""
    right, score, missed = [], [], 0
    taken: set[int] = set()
    for g in np.flatnonzero(scene.counted):
        surest: float | None = None
        for p, iou in scene.candidates[g]:
            if p in taken or not iou > threshold:
                continue
            confidence = float(scene.score[p])
            if surest is None:
                surest = confidence
                taken.add(p)
            else:
                right.append(False)
                score.append(min(surest, confidence))
                surest = max(surest, confidence)
        if surest is None:
            missed += 1
        else:
            right.append(True)
            score.append(surest)
    wrong = (scene.best_iou <= threshold) & (scene.ignored_share <= threshold)
    right += [False] * int(wrong.sum())
    score += scene.score[wrong].tolist()
    return np.array(right, np.bool_), np.array(score, np.float64), missed


def _area(right: Bool, score: Float64, missed: int) -> float:
    """The area under the precision-recall curve, by the script's own rule."""
    order = np.argsort(score)
    behind = np.concatenate([[0], np.cumsum(right[order])])  # right ones among the k least sure
    first = np.unique(score[order], return_index=True)[1]  # of each score, the least sure detection with it
    found = behind[-1] - behind[first]
    precision = np.append(found / (len(score) - first), 1.0)
    recall = np.append(found / (behind[-1] + missed), 0.0)
    around = np.concatenate([recall[:1], recall, [0.0]])
    return float(np.dot(precision, (around[:-2] - around[2:]) / 2))
