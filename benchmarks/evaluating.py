"""Instance AP of many scenes beside the way of the benchmark's script, and its text files beside numpy's reader."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, timed
from ovseg3r_model.benchmark_files import read_predictions, write_predictions
from ovseg3r_model.evaluation import PER_LABEL, THRESHOLDS, AveragePrecision, InstanceEvaluation
from ovseg3r_model.label_quality import MIN_INSTANCE_POINTS
from ovseg3r_model.predicted_instances import PredictedInstances
from ovseg3r_model.records import Bool, Float64, Int64
from ovseg3r_model.vocabulary import scannet200_classes

CLASSES = tuple(c.id for c in scannet200_classes() if c.split)
WANTED = 20
"""Times the speed of the script's way."""


def evaluation_rows(quick: bool) -> list[Row]:
    count, points, instances, predictions, runs = (2, 5_000, 8, 12, 1) if quick else (50, 150_000, 80, 150, 5)
    scenes = [_scene(points, instances, predictions, seed) for seed in range(count)]
    of_each = f"{points / 1e3:.0f}k points, {instances} instances, {predictions} predictions"
    size = f"{count} scenes of {of_each}, {len(CLASSES)} classes"
    from_masks, slow = _beside_script(scenes)
    seconds = timed(lambda: _evaluated(scenes), runs)
    script = "the script's way in numpy and Python, masks in memory"
    return [
        Row("evaluation", "instance AP, named and class-agnostic", size, seconds, runs, count / seconds, "scenes/s",
            script, count / slow, slow / WANTED),
        Row("evaluation", "the same from dense masks", size, seconds + from_masks, 1, count / (seconds + from_masks),
            "scenes/s", script, count / slow),
        _reading(scenes[0], f"1 scene of {of_each}", runs),
    ]  # fmt: skip


def _evaluated(scenes: Sequence["_Scene"]) -> AveragePrecision:
    evaluation = InstanceEvaluation(CLASSES)
    for scene in scenes:
        evaluation.add(scene.truth, scene.predicted)
    evaluation.class_agnostic()
    return evaluation.result()


def _beside_script(scenes: Sequence["_Scene"]) -> tuple[float, float]:
    """Seconds to make predictions from dense masks, and seconds of the script's way; one scene's masks at a time, as
    those of all would take a GB.
    """
    held: list[tuple[_Things, _Things]] = []
    from_masks = slow = 0.0
    for scene in scenes:
        masks, predicted = scene.masks(), scene.predicted
        make = partial(PredictedInstances.from_masks, masks, predicted.label, predicted.score)
        from_masks += timed(make, 1, warm=False)
        slow += timed(lambda: held.append(_associate(scene.truth, masks, predicted)), 1, warm=False)  # noqa: B023
    table: list[Float64] = []
    slow += timed(lambda: table.append(_baseline_ap(held)), 1, warm=False)
    if not np.allclose(table[0][:, 0], _evaluated(scenes).ap50, atol=1e-9, equal_nan=True):
        raise AssertionError("the baseline has another AP50: the two do not do the same")
    return from_masks, slow


def _reading(scene: "_Scene", size: str, runs: int) -> Row:
    """A scene's masks as text; the script splits a file into lines and has numpy make numbers of them."""
    with tempfile.TemporaryDirectory() as folder:
        write_predictions(Path(folder, "made"), [("scene", scene.predicted)])
        listed = Path(folder, "made", "scene.txt")
        files = [Path(folder, "made", line.split()[0]) for line in listed.read_text().splitlines()]
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        fast = timed(lambda: read_predictions(listed, len(scene.truth), CLASSES), runs)
        some = files[:10]
        slow = timed(lambda: [np.array(f.read_text().splitlines(), np.int64) != 0 for f in some], 1)
    return Row(
        "evaluation", "read the text files", f"{size}: {megabytes:.1f} MB", fast, runs, megabytes / fast, "MB/s",
        f"splitlines and np.array, {len(some)} of the masks", megabytes * len(some) / len(files) / slow,
    )  # fmt: skip


@dataclass(frozen=True)
class _Scene:
    truth: Int64
    predicted: PredictedInstances

    def masks(self) -> Bool:
        """(P,N), as the script has them once it has read its files."""
        out = np.zeros((len(self.predicted), len(self.truth)), np.bool_)
        out[np.repeat(np.arange(len(out)), self.predicted.sizes), self.predicted.point] = True
        return out


def _scene(points: int, instances: int, predictions: int, seed: int) -> _Scene:
    """Two thirds of the predictions are an instance with points added and left out, the others stretches of anything.
    Classes are as uneven as in rooms; the points are in no order, which is the hardest on the caches.
    """
    rng = np.random.default_rng(seed)
    classes, rarity = rng.permutation(CLASSES), np.arange(1.0, len(CLASSES) + 1)
    label = rng.choice(classes, instances, p=(1 / rarity) / (1 / rarity).sum())
    bounds = np.sort(rng.integers(0, points * 6 // 10, instances + 1))  # the rest is walls, floors, unannotated
    place = rng.permutation(points)
    truth = np.zeros(points, np.int64)
    for k, (lo, hi) in enumerate(pairwise(bounds)):
        truth[place[lo:hi]] = label[k] * PER_LABEL + k + 1
    named, found = rng.choice(classes, predictions), []
    for p in range(predictions):
        k = int(rng.integers(instances))
        lo, hi = bounds[k : k + 2] if p % 3 else np.cumsum(rng.integers(0, points // 20, 2))
        shift = rng.integers(-(hi - lo) // 4, (hi - lo) // 4 + 1, 2)
        covered = place[max(lo + shift[0], 0) : hi + shift[1]]
        found.append(np.sort(covered[rng.random(len(covered)) < 0.95]))
        if rng.random() < 0.8 and p % 3:
            named[p] = label[k]
    return _Scene(truth, PredictedInstances.from_points(found, points, named, rng.random(predictions)))


@dataclass
class _Thing:
    """An instance or a prediction as the baseline holds it; matched: the others of its class, with common points."""

    label: int
    size: int
    score: float = 0.0
    void: int = 0
    used: bool = False
    matched: list[tuple["_Thing", int]] = field(default_factory=list)


_Things = dict[int, list[_Thing]]
"""By class."""


def _associate(truth: Int64, masks: Bool, predicted: PredictedInstances) -> tuple[_Things, _Things]:
    """A scene's instances and predictions: one comparison of all N points for each pair of a class."""
    instances: _Things = {c: [] for c in CLASSES}
    predictions: _Things = {c: [] for c in CLASSES}
    number: dict[int, list[int]] = {c: [] for c in CLASSES}
    for i in np.unique(truth).tolist():
        if i // PER_LABEL in instances:
            instances[i // PER_LABEL].append(_Thing(i // PER_LABEL, int((truth == i).sum())))
            number[i // PER_LABEL].append(i)
    void = np.logical_not(np.isin(truth // PER_LABEL, CLASSES))
    for mask, label, score in zip(masks, predicted.label.tolist(), predicted.score.tolist(), strict=True):
        size = int(np.count_nonzero(mask))
        if size < MIN_INSTANCE_POINTS:
            continue
        thing = _Thing(label, size, score, int(np.count_nonzero(np.logical_and(void, mask))))
        for i, instance in zip(number[label], instances[label], strict=True):
            common = int(np.count_nonzero(np.logical_and(truth == i, mask)))
            if common > 0:
                instance.matched.append((thing, common))
                thing.matched.append((instance, common))
        predictions[label].append(thing)
    return instances, predictions


def _baseline_ap(scenes: list[tuple[_Things, _Things]]) -> Float64:
    """(C,T): threshold by threshold, class by class, scene by scene."""
    table = np.full((len(CLASSES), len(THRESHOLDS)), np.nan)
    for t, threshold in enumerate(THRESHOLDS.tolist()):
        for _, predictions in scenes:
            for thing in (thing for things in predictions.values() for thing in things):
                thing.used = False
        for c, label in enumerate(CLASSES):
            right, score, missed, any_truth = np.empty(0), np.empty(0), 0, False
            for instances, predictions in scenes:
                counted = [thing for thing in instances[label] if thing.size >= MIN_INSTANCE_POINTS]
                any_truth |= bool(counted)
                hits, scores = _judge(counted, predictions[label], threshold)
                missed += len(counted) - int(hits.sum())
                right, score = np.append(right, hits), np.append(score, scores)
            if any_truth:
                table[c, t] = _integral(right, score, missed) if len(score) else 0.0
    return table


def _overlap(one: _Thing, other: _Thing, common: int) -> float:
    return common / (one.size + other.size - common)


def _judge(instances: list[_Thing], predictions: list[_Thing], threshold: float) -> tuple[Float64, Float64]:
    """Which detections are right, and their scores: arrays that grow by one, as the script's do."""
    hits, scores = np.empty(0), np.empty(0)
    for instance in instances:
        surest: float | None = None
        for thing, common in instance.matched:
            if thing.used or _overlap(instance, thing, common) <= threshold:
                continue
            if surest is None:
                surest, thing.used = thing.score, True
            else:
                hits, scores = np.append(hits, 0), np.append(scores, min(surest, thing.score))
                surest = max(surest, thing.score)
        if surest is not None:
            hits, scores = np.append(hits, 1), np.append(scores, surest)
    for thing in predictions:
        if any(_overlap(instance, thing, common) > threshold for instance, common in thing.matched):
            continue
        small = sum(common for instance, common in thing.matched if instance.size < MIN_INSTANCE_POINTS)
        if (thing.void + small) / thing.size <= threshold:
            hits, scores = np.append(hits, 0), np.append(scores, thing.score)
    return hits, scores


def _integral(right: Float64, score: Float64, missed: int) -> float:
    order = np.argsort(score)
    passed = np.cumsum(right[order])
    precision, recall = [], []
    for first in np.unique(score[order], return_index=True)[1].tolist():
        found = passed[-1] - (passed[first - 1] if first else 0)
        precision.append(found / (len(score) - first))
        recall.append(found / (passed[-1] + missed))
    widths = np.convolve([recall[0], *recall, 0.0, 0.0], [-0.5, 0, 0.5], "valid")
    return float(np.dot([*precision, 1.0], widths))
