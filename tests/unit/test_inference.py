"""Queries to instances: matrix NMS against its formula in loops, scores and points by hand."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovseg3r_model.network.inference import (
    Found,
    InferenceSettings,
    instances,
    matrix_nms,
    neighbours,
    own_pieces,
)
from ovseg3r_model.network.inputs import SceneInput
from ovseg3r_model.network.segmenter import ScenePredictions
from ovseg3r_model.supervision.predictions import LayerPredictions

SURE = 20.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_matrix_nms_is_the_formula(seed: int, count: int) -> None:
    """decay_j = min over i surer than j of (1 - iou_ij) / (1 - max over k surer than i of iou_ki), same name only."""
    rng = np.random.default_rng(seed)
    mask, label, size = rng.random((count, 9)) < 0.5, rng.integers(0, 2, count), rng.integers(1, 50, 9)
    score = np.sort(rng.random(count))[::-1].copy()

    def iou(i: int, j: int) -> float:
        union = size[mask[i] | mask[j]].sum()
        return float(size[mask[i] & mask[j]].sum() / union) if union and label[i] == label[j] else 0.0

    expected = []
    for j in range(count):
        ratios = [
            (1 - iou(i, j)) / max(1 - max((iou(k, i) for k in range(i)), default=0.0), 1e-6)
            for i in range(j)
            if label[i] == label[j]
        ]
        expected.append(score[j] * min([1.0, *ratios]))
    made = matrix_nms(
        torch.from_numpy(mask), torch.from_numpy(label), torch.from_numpy(score), torch.from_numpy(size).float()
    )
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)


def found_of(mask: torch.Tensor, classes: torch.Tensor, box: torch.Tensor, boxes: bool, min_points: int = 1) -> Found:
    """Six points a metre apart on a line, two to a superpoint."""
    xyz = torch.stack([torch.arange(6.0), torch.zeros(6), torch.zeros(6)], dim=1)
    superpoint = torch.arange(6) // 2
    scene = SceneInput(xyz, torch.zeros(6, 3), superpoint, None, torch.zeros(0, 0), torch.zeros(0, 3))
    predicted = ScenePredictions([LayerPredictions(mask, classes, box)], torch.zeros(3, 2))
    return instances(predicted, scene, InferenceSettings(min_points=min_points, gap=None), boxes)


def test_an_instance_is_the_points_of_its_superpoints_with_name_and_score() -> None:
    mask = torch.tensor([[SURE, SURE, -SURE], [SURE, SURE, -SURE], [-SURE, -SURE, 0.5]])
    classes = torch.tensor([[SURE, 0, 0], [SURE / 2, -SURE, 0], [0.0, SURE, 0]])
    found = found_of(mask, classes, torch.zeros(3, 6), boxes=False)
    # the second query found the first one's thing again: an IoU of 1 takes all of its score
    assert found.mask.int().tolist() == [[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert found.label.tolist() == [0, 1]
    np.testing.assert_allclose(found.score.numpy(), [1.0, torch.tensor(0.5).sigmoid()], atol=1e-3)


def test_no_object_is_no_instance() -> None:
    classes = torch.tensor([[0.0, 0, SURE]]).repeat(3, 1)
    assert len(found_of(torch.full((3, 3), SURE), classes, torch.zeros(3, 6), boxes=False).score) == 0


def test_points_far_from_the_box_are_dropped() -> None:
    mask = torch.tensor([[SURE, SURE, SURE]] * 3)
    classes = torch.tensor([[SURE, 0, 0], [0, 0, SURE], [0, 0, SURE]])
    box = torch.tensor([[0.5, 0, 0, 1.0, 1, 1]]).repeat(3, 1)  # to 0.5 + 2.5 * 0.5 = 1.75 once grown
    assert found_of(mask, classes, box, boxes=True).mask.int().tolist() == [[1, 1, 0, 0, 0, 0]]
    assert found_of(mask, classes, box, boxes=False).mask.all()
    assert len(found_of(mask, classes, box, boxes=True, min_points=3).score) == 0


def test_of_a_mask_in_pieces_the_querys_own_is_kept() -> None:
    pairs = np.array([[0, 1], [1, 2], [3, 4]])
    taken = np.zeros((6, 6), np.bool_)
    taken[0, [0, 1, 2, 3, 4, 5]] = True  # 0 - 1 - 2 hang together, 3 - 4 do, 5 is alone
    taken[1, [0, 2]] = True  # its own superpoint is no part of it
    taken[2, [0, 2]] = True  # 1, that joins them, is not in it
    kept = own_pieces(taken, np.arange(6), pairs)
    assert np.flatnonzero(kept[0]).tolist() == [0, 1, 2]
    assert np.flatnonzero(kept[1]).tolist() == [0, 2]
    assert np.flatnonzero(kept[2]).tolist() == [2]


def test_neighbours_are_superpoints_with_points_near_each_other() -> None:
    x = torch.tensor([0.0, 0.1, 0.3, 0.9, 1.0, 2.0])
    scene = SceneInput(
        torch.stack([x, torch.zeros(6), torch.zeros(6)], dim=1), torch.zeros(6, 3), torch.tensor([0, 0, 1, 1, 2, 3]),
        None, torch.zeros(0, 0), torch.zeros(0, 3),
    )  # fmt: skip
    assert neighbours(scene, 0.25).tolist() == [[0, 1], [1, 2]]
    assert neighbours(scene, 1.1).tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]


def test_what_looks_alike_elsewhere_is_no_part_of_an_instance() -> None:
    mask = torch.tensor([[SURE, SURE, -SURE], [-SURE, SURE, -SURE], [-SURE, -SURE, SURE]])
    classes = torch.tensor([[SURE, -SURE, 0], [-SURE, -SURE, SURE], [-SURE, -SURE, SURE]])
    xyz = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [3, 0, 0], [3.1, 0, 0], [6, 0, 0], [6.1, 0, 0]])
    scene = SceneInput(xyz, torch.zeros(6, 3), torch.arange(6) // 2, None, torch.zeros(0, 0), torch.zeros(0, 3))
    predicted = ScenePredictions([LayerPredictions(mask, classes, torch.zeros(3, 6))], torch.zeros(3, 2))
    made = [instances(predicted, scene, InferenceSettings(min_points=1, gap=gap), False).mask for gap in (0.25, None)]
    assert made[0].int().tolist() == [[1, 1, 0, 0, 0, 0]]
    assert made[1].int().tolist() == [[1, 1, 1, 1, 0, 0]]
