"""The quality figures against brute force and cases worked out by hand."""

from itertools import combinations

import numpy as np
import pytest

from ovseg3r_model.label_quality import (
    AP_THRESHOLDS,
    LiftQuality,
    best_group_iou,
    lift_quality,
    oracle_ap,
    superpoint_quality,
)
from ovseg3r_model.records import Correspondence


def brute_force(superpoint: np.ndarray, truth: np.ndarray) -> list[float]:
    """The best IoU of each true id over all unions of superpoints."""
    numbers = np.unique(superpoint)
    groups = [g for r in range(1, len(numbers) + 1) for g in combinations(numbers.tolist(), r)]
    chosen = [np.isin(superpoint, g) for g in groups]
    return [max(float((c & (truth == t)).sum() / (c | (truth == t)).sum()) for c in chosen) for t in np.unique(truth)]


@pytest.mark.parametrize("seed", range(15))
def test_the_best_group_is_that_of_all_subsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    superpoint = rng.choice(rng.choice(1000, 8, replace=False), 120).astype(np.int32)
    truth = ((superpoint // 250 + (rng.random(120) < 0.4) * rng.integers(1, 4, 120)) % 4 * 7).astype(np.int32)
    np.testing.assert_allclose(best_group_iou(superpoint, truth), brute_force(superpoint, truth), rtol=1e-12)


def test_the_best_group_is_not_found_by_adding_majorities_only() -> None:
    """A superpoint that is less than half inside can still raise the IoU: 1 of 10 points against 3 of 12."""
    truth = np.array([1] * 10 + [0] * 2, np.int32)
    superpoint = np.array([0] * 1 + [1] * 2 + [2] * 7 + [1] * 0 + [2] * 2, np.int32)
    got = best_group_iou(superpoint, truth)
    np.testing.assert_allclose(got[1], 10 / 12)
    minority = np.array([0] * 2 + [1] * 2 + [1] * 3, np.int32)  # superpoint 1: 2 in, 3 out
    inside = np.array([1] * 4 + [0] * 3, np.int32)
    np.testing.assert_allclose(best_group_iou(minority, inside)[1], max(2 / 4, 4 / 7))


def test_perfect_superpoints_group_perfectly() -> None:
    truth = np.repeat(np.array([0, 3, 9], np.int32), [5, 6, 7])
    np.testing.assert_array_equal(best_group_iou(np.arange(18, dtype=np.int32), truth), [1, 1, 1])
    np.testing.assert_allclose(best_group_iou(np.zeros(18, np.int32), truth), [5 / 18, 6 / 18, 7 / 18])


def test_the_thresholds_are_scannets() -> None:
    np.testing.assert_allclose(AP_THRESHOLDS, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9])


@pytest.mark.parametrize(
    ("iou", "ap"),
    [
        ([1.0], 1),
        ([0.2], 0),
        ([0.5], 0),  # strictly above
        ([0.5001], 1 / 9),
        ([0.72], 5 / 9),
        ([1.0, 0.0], 1 / 2),
        ([1.0, 0.72, 0.0], (1 + 5 / 9) / 3),
        ([0.95] * 4, 1),
    ],
)
def test_oracle_ap_in_closed_form(iou: list[float], ap: float) -> None:
    assert oracle_ap(np.array(iou)) == pytest.approx(ap)


def test_oracle_ap_of_nothing_is_nan() -> None:
    assert np.isnan(oracle_ap(np.empty(0)))


def test_purity_and_boundary_recall_by_hand() -> None:
    truth = np.array([1, 1, 1, 2, 2, 2, 0, 0], np.int32)
    superpoint = np.array([0, 0, 0, 0, 1, 1, 1, 2], np.int32)
    edges = np.array([[k, k + 1] for k in range(7)], np.int32)
    got = superpoint_quality(superpoint, truth, edges, [2])
    assert got.superpoints == 3
    assert got.purity == pytest.approx((3 + 2 + 1) / 8)
    assert got.boundary_recall == 0  # true borders are 2|3 and 5|6, the superpoints' 3|4 and 6|7
    moved = np.array([0, 0, 0, 1, 1, 1, 1, 2], np.int32)
    assert superpoint_quality(moved, truth, edges, [2]).boundary_recall == pytest.approx(1 / 2)
    assert superpoint_quality(truth, truth, edges, [2]).boundary_recall == 1
    assert superpoint_quality(truth, truth, edges, [2]).purity == 1


def test_small_instances_and_background_do_not_count() -> None:
    truth = np.repeat(np.array([0, 1, 2, 3], np.int32), [500, 100, 99, 200])
    superpoint = truth.copy()
    superpoint[truth == 3] = 0  # lost in the background: its best group is 200 of 700
    edges = np.array([[0, 1]], np.int32)
    got = superpoint_quality(superpoint, truth, edges, [2, 3])
    assert got.oracle_ap == pytest.approx(1 / 2)  # of 1 and 3: 2 has a point too few
    assert got.oracle_ap_flat == 0
    assert np.isnan(superpoint_quality(superpoint, truth, edges, []).oracle_ap_flat)
    assert superpoint_quality(superpoint, truth, edges, [1]).oracle_ap_flat == 1


def test_lift_quality_by_hand() -> None:
    """Four points, each seen by one pixel of view 0, and the last two once more by view 1."""
    truth = np.array([5, 5, 7, 0], np.int32)
    correspondence = Correspondence(
        np.array([0, 1, 2, 4, 6]), np.array([0, 0, 0, 1, 0, 1], np.uint16), np.zeros((6, 2), np.uint16)
    )
    # truth of the observations:  5  5  7  7  0  0
    observation = np.array([1, 1, 1, 2, 0, 0], np.uint32)
    got = lift_quality(correspondence, observation, truth, ["chair", "sofa"], {5: ("chair",), 7: ("couch",)})
    # instance 1 mostly covers 5 (two of three right), instance 2 covers 7 (right, but a wrong name)
    assert got == LiftQuality(accuracy=3 / 4, recall=3 / 4, name_accuracy=2 / 4)
    named = lift_quality(correspondence, observation, truth, ["chair", "sofa"], {5: ("chair",), 7: ("couch", "sofa")})
    assert named.name_accuracy == 3 / 4


def test_an_instance_on_the_background_is_wrong() -> None:
    truth = np.array([0, 0, 4], np.int32)
    correspondence = Correspondence(np.arange(4), np.zeros(3, np.uint16), np.zeros((3, 2), np.uint16))
    got = lift_quality(correspondence, np.array([1, 1, 0], np.uint32), truth, ["chair"], {4: ("chair",)})
    assert got == LiftQuality(accuracy=0, recall=0, name_accuracy=0)


def test_lift_quality_without_any_label() -> None:
    truth = np.array([4], np.int32)
    correspondence = Correspondence(np.arange(2), np.zeros(1, np.uint16), np.zeros((1, 2), np.uint16))
    got = lift_quality(correspondence, np.zeros(1, np.uint32), truth, [], {4: ("chair",)})
    assert got == LiftQuality(accuracy=0, recall=0, name_accuracy=0)
