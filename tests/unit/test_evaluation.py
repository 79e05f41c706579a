"""Instance AP against closed forms, against a slow reading of the benchmark's rules, and on its edge cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.errors import InputError
from ovseg3r_model.evaluation import THRESHOLDS, InstanceEvaluation
from ovseg3r_model.predicted_instances import PredictedInstances

CHAIR, TABLE, WALL = 3, 7, 1
CLASSES = (CHAIR, TABLE)
SIZE = 200


def truth(*instances: tuple[int, int], points: int = 4000) -> np.ndarray:
    """(N,) ids of instances (class, points), one after the other; the rest is unannotated."""
    ids, at = np.zeros(points, np.int64), 0
    for number, (label, size) in enumerate(instances):
        ids[at : at + size] = label * 1000 + number + 1
        at += size
    return ids


def predicted(*parts: tuple[int, int, int, float], points: int = 4000) -> PredictedInstances:
    """From (class, first point, points, score)."""
    return PredictedInstances.from_points(
        [np.arange(first, first + count) for _, first, count, _ in parts],
        points,
        np.array([part[0] for part in parts], np.int64),
        np.array([part[3] for part in parts], np.float64),
    )


def result(
    ids: np.ndarray, found: PredictedInstances, classes: tuple[int, ...] = CLASSES
) -> dict[int, tuple[float, ...]]:
    evaluation = InstanceEvaluation(classes)
    evaluation.add(ids, found)
    ap = evaluation.result()
    return {
        int(c): tuple(map(float, row))
        for c, row in zip(ap.classes, np.stack([ap.ap, ap.ap50, ap.ap25], 1), strict=True)
    }


def test_everything_right_is_1_and_nothing_is_0() -> None:
    ids = truth((CHAIR, SIZE), (CHAIR, SIZE), (TABLE, SIZE))
    right = predicted((CHAIR, 0, SIZE, 0.9), (CHAIR, SIZE, SIZE, 0.8))
    assert result(ids, right) == {CHAIR: (1.0, 1.0, 1.0), TABLE: (0.0, 0.0, 0.0)}
    assert result(ids, predicted()) == {CHAIR: (0.0,) * 3, TABLE: (0.0,) * 3}


def test_a_class_without_ground_truth_is_not_in_the_mean() -> None:
    evaluation = InstanceEvaluation(CLASSES)
    evaluation.add(truth((CHAIR, SIZE)), predicted((CHAIR, 0, SIZE, 0.9), (TABLE, 1000, SIZE, 0.9)))
    ap = evaluation.result()
    assert math.isnan(ap.ap[list(ap.classes).index(TABLE)])
    assert ap.mean() == (1.0, 1.0, 1.0)
    assert ap.mean(np.array([CHAIR])) == (1.0, 1.0, 1.0)
    assert all(math.isnan(value) for value in ap.mean(np.array([TABLE])))


@pytest.mark.parametrize(("cover", "ap", "ap50", "ap25"), [
    (100, 0.0, 0.0, 1.0),  # IoU of exactly 0.5 is no match at 0.5
    (101, 1 / 9, 1.0, 1.0),
    (110, 1 / 9, 1.0, 1.0),  # 0.55, which is under the sum 0.5 + 0.05 of floating point
    (111, 2 / 9, 1.0, 1.0),
    (181, 1.0, 1.0, 1.0),
])  # fmt: skip
def test_a_match_needs_more_than_the_threshold(cover: int, ap: float, ap50: float, ap25: float) -> None:
    found = result(truth((CHAIR, SIZE)), predicted((CHAIR, 0, cover, 0.5)))
    assert found[CHAIR] == pytest.approx((ap, ap50, ap25))


def test_a_false_positive_that_is_surer_costs_by_the_script_s_trapezium() -> None:
    """Curve: (recall 1, precision 1/2), (0, 0), (0, 1 by definition): the step at each is half of what lies around."""
    ids = truth((CHAIR, SIZE), (WALL, 1000), points=4000)
    wrong_in_class = predicted((CHAIR, 0, SIZE, 0.5), (CHAIR, 2000, SIZE, 0.9))
    lonely = np.where(np.arange(4000) >= 2000, TABLE * 1000 + 9, ids)  # not ignored: there is a table under it
    found = result(lonely, wrong_in_class)
    assert found[CHAIR][1] == pytest.approx(0.5 * 0.5)


def test_the_surest_of_several_on_one_instance_counts() -> None:
    ids = np.concatenate([truth((CHAIR, SIZE), points=SIZE), np.full(10, TABLE * 1000 + 2)])
    twice = predicted((CHAIR, 0, SIZE, 0.4), (CHAIR, 0, SIZE, 0.9), points=len(ids))
    found = result(ids, twice)[CHAIR][1]
    # (recall 1, precision 1/2) at 0.4, (1, 1) at 0.9, (0, 1): widths 0, 1/2, 1/2
    assert found == pytest.approx(1.0)
    swapped = predicted((CHAIR, 0, SIZE, 0.9), (CHAIR, 0, SIZE, 0.4), points=len(ids))
    assert result(ids, swapped)[CHAIR][1] == pytest.approx(found)


def test_small_predictions_and_small_instances_are_none() -> None:
    ids = truth((CHAIR, SIZE), (CHAIR, 99), (TABLE, SIZE))
    small = predicted((CHAIR, 0, SIZE, 0.5), (CHAIR, SIZE + 99, 99, 0.9))
    assert result(ids, small)[CHAIR] == (1.0, 1.0, 1.0)  # 99 points, on a table at that: left out
    on_small = predicted((CHAIR, 0, SIZE, 0.5), (CHAIR, SIZE, 100, 0.9))  # covers the small chair: no false positive
    assert result(ids, on_small)[CHAIR][1] == 1.0


@pytest.mark.parametrize(("void", "ap50"), [(151, 1.0), (150, 1.0), (100, 0.25), (50, 0.25)])
def test_a_prediction_mostly_on_unannotated_points_is_dropped(void: int, ap50: float) -> None:
    """The share must exceed the threshold: at 0.5 half is not enough. Points of other classes count against it."""
    ids = np.concatenate(
        [truth((CHAIR, SIZE), points=SIZE), np.full(1000, TABLE * 1000 + 2), np.full(1000, WALL * 1000 + 3)]
    )
    at = SIZE + 1000 - (SIZE - void)
    found = result(ids, predicted((CHAIR, 0, SIZE, 0.5), (CHAIR, at, SIZE, 0.9), points=len(ids)))
    assert found[CHAIR][1] == pytest.approx(ap50)


def test_a_class_of_which_every_prediction_is_dropped_is_0() -> None:
    ids = truth((CHAIR, SIZE))
    assert result(ids, predicted((CHAIR, 1000, SIZE, 0.9)))[CHAIR] == (0.0, 0.0, 0.0)


def test_over_scenes_one_curve_is_drawn() -> None:
    one, two = InstanceEvaluation(CLASSES), InstanceEvaluation(CLASSES)
    ids, found = truth((CHAIR, SIZE), (TABLE, SIZE)), predicted((CHAIR, 0, SIZE, 0.9), (TABLE, SIZE, 150, 0.3))
    missed = truth((CHAIR, SIZE), (TABLE, SIZE))
    one.add(ids, found)
    two.add(ids, found)
    two.add(missed, predicted())
    assert one.result().mean()[1] == 1.0
    assert two.result().mean()[1] == pytest.approx(0.5 * 1.0)  # precision 1 up to recall 1/2, as its trapezia have it


def test_class_agnostic_takes_masks_whatever_their_names() -> None:
    ids = truth((CHAIR, SIZE), (TABLE, SIZE), (WALL, SIZE))
    misnamed = predicted((TABLE, 0, SIZE, 0.9), (CHAIR, SIZE, SIZE, 0.8), (WALL, 2 * SIZE, SIZE, 0.7))
    assert result(ids, misnamed)[CHAIR][1] == 0.0
    evaluation = InstanceEvaluation(CLASSES)
    evaluation.add(ids, misnamed)
    assert evaluation.class_agnostic().mean() == (1.0, 1.0, 1.0)


def test_class_agnostic_holds_more_instances_than_a_class_has_numbers() -> None:
    """2,000 instances, every other one found: AP50 is that of one class, whose precision is 1 up to recall 1/2."""
    count, size = 2000, 100
    instance = np.repeat(np.arange(count), size)
    ids = np.where(instance % 2 == 0, CHAIR, TABLE) * 1000 + instance // 2
    found = predicted(*((CHAIR, k * size, size, 0.5) for k in range(0, count, 2)), points=len(ids))
    evaluation = InstanceEvaluation(CLASSES)
    evaluation.add(ids, found)
    assert evaluation.class_agnostic().mean()[1] == pytest.approx(0.5 * 1.0)
    assert evaluation.result().mean()[1] == pytest.approx(0.5 * (1.0 + 0.0))


def test_ids_that_no_benchmark_has_are_unannotated_or_instances_as_others_are() -> None:
    plain = truth((CHAIR, SIZE), (TABLE, SIZE))
    found = predicted((CHAIR, 0, SIZE, 0.5), (CHAIR, 1000, SIZE, 0.9), (TABLE, SIZE, 150, 0.7))
    negative = np.where(plain == 0, -1, plain)
    assert result(negative, found) == result(plain, found)
    far = 10**9
    moved = np.where(plain // 1000 == TABLE, far * 1000 + 5, plain)
    renamed = PredictedInstances(
        4000, found.point, found.sizes, np.where(found.label == TABLE, far, found.label), found.score
    )
    of_far = result(moved, renamed, (CHAIR, far))
    assert [of_far[CHAIR], of_far[far]] == list(result(plain, found).values())


def test_the_order_of_points_does_not_matter() -> None:
    ids = truth((CHAIR, SIZE), (TABLE, SIZE), (CHAIR, 300), (WALL, 500))
    found = predicted((CHAIR, 20, SIZE, 0.9), (TABLE, 150, 260, 0.3), (CHAIR, 390, 400, 0.6))
    order = np.random.default_rng(0).permutation(len(ids))
    masks = np.zeros((len(found), len(ids)), np.bool_)
    for k, points in enumerate(found.points):
        masks[k, points] = True
    moved = PredictedInstances.from_masks(masks[:, order], found.label, found.score)
    assert result(ids[order], moved) == result(ids, found)


def test_predictions_of_another_scene_are_refused() -> None:
    with pytest.raises(InputError, match="has 4000 points and the predictions are for 3000"):
        InstanceEvaluation(CLASSES).add(truth((CHAIR, SIZE)), predicted(points=3000))


def slowly(scenes: list[tuple[np.ndarray, PredictedInstances]], label: int, threshold: float) -> float:
    """One class at one threshold, told the long way: sets of points, and the curve point by point."""
    right: list[tuple[float, bool]] = []
    misses, any_truth = 0, False
    for ids, found in scenes:
        instances = {i: set(np.flatnonzero(ids == i)) for i in sorted(set(ids.tolist())) if i // 1000 == label}
        unannotated = {p for p, i in enumerate(ids) if i // 1000 not in CLASSES}
        mine = [k for k in range(len(found)) if found.label[k] == label and len(found.points[k]) >= 100]
        masks = {k: set(found.points[k].tolist()) for k in mine}
        used: set[int] = set()
        for points in instances.values():
            if len(points) < 100:
                continue
            any_truth, best = True, None
            for k in mine:
                if k in used or len(points & masks[k]) / len(points | masks[k]) <= threshold:
                    continue
                if best is None:
                    best = float(found.score[k])
                    used.add(k)
                else:
                    right.append((min(best, float(found.score[k])), False))
                    best = max(best, float(found.score[k]))
            misses += best is None
            if best is not None:
                right.append((best, True))
        for k in mine:
            if any(len(points & masks[k]) / len(points | masks[k]) > threshold for points in instances.values()):
                continue
            ignored = len(masks[k] & unannotated)
            ignored += sum(len(points & masks[k]) for points in instances.values() if len(points) < 100)
            if ignored / len(masks[k]) <= threshold:
                right.append((float(found.score[k]), False))
    if not any_truth:
        return math.nan
    if not right:
        return 0.0
    total = sum(hit for _, hit in right) + misses
    curve = []
    for level in sorted({score for score, _ in right}):
        above = [hit for score, hit in right if score >= level]
        curve.append((sum(above) / total, sum(above) / len(above)))
    curve.append((0.0, 1.0))
    recall = [curve[0][0], *(r for r, _ in curve), 0.0]
    return sum(p * (recall[i] - recall[i + 2]) / 2 for i, (_, p) in enumerate(curve))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_it_agrees_with_a_slow_reading_of_the_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(2):
        sizes = rng.integers(60, 300, 9)
        labels = rng.choice([CHAIR, CHAIR, TABLE, WALL, 0], 9)
        ids = np.concatenate(
            [
                np.full(size, label * 1000 + n + 1 if label else 0)
                for n, (size, label) in enumerate(zip(sizes, labels, strict=True))
            ]
        )
        starts = np.concatenate([[0], np.cumsum(sizes)])
        parts = []
        for _ in range(rng.integers(0, 14)):
            over = int(rng.integers(0, 9))
            first = max(0, int(starts[over] + rng.integers(-60, 60)))
            count = max(1, min(int(sizes[over] * rng.uniform(0.4, 1.6)), len(ids) - first))
            parts.append((int(rng.choice([CHAIR, TABLE, WALL])), first, count, float(rng.integers(1, 6)) / 5))
        scenes.append((ids, predicted(*parts, points=len(ids))))
    evaluation = InstanceEvaluation(CLASSES)
    for ids, found in scenes:
        evaluation.add(ids, found)
    ap = evaluation.result()
    for c, label in enumerate(ap.classes):
        wanted = [slowly(scenes, int(label), float(threshold)) for threshold in THRESHOLDS]
        np.testing.assert_allclose(
            [ap.ap[c], ap.ap50[c], ap.ap25[c]], [np.mean(wanted[:9]), wanted[0], wanted[9]], atol=1e-12
        )
