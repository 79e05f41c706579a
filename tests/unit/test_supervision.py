"""VIP against loops over views, closed forms, and annotations small enough to be read off."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ovseg3r_model.records import Correspondence, Instances, SceneTruth
from ovseg3r_model.supervision.pairs import make_pairs
from ovseg3r_model.supervision.predictions import LayerPredictions, Losses
from ovseg3r_model.supervision.settings import LossWeights
from ovseg3r_model.supervision.targets import ViewTargets, all_at_once, restricted, scene_targets, view_targets
from ovseg3r_model.supervision.vip import vip_losses
from ovseg3r_model.supervision.vip_reference import vip_losses_reference

WEIGHTS = LossWeights()
PARTS = ("classes", "mask", "dice", "centre", "extent", "semantic")


def random_targets(rng: np.random.Generator, views: int, superpoints: int, boxes: bool) -> ViewTargets:
    """Views that see about half of the superpoints and split what they see among a few instances and nothing."""
    visible, members, view_of, label_of = [], [], [], []
    for view in range(views):
        seen = np.flatnonzero(rng.random(superpoints) < 0.5)
        owner = rng.integers(-2, 3, len(seen))
        visible += [(view, int(s)) for s in seen]
        for k in np.unique(owner[owner >= 0]):
            members += [(len(view_of), int(s)) for s in seen[owner == k]]
            view_of.append(view)
            label_of.append(int(rng.integers(4)))
    box = rng.random((len(view_of), 6)).astype(np.float32)
    if not boxes:
        box[rng.random(len(box)) < 0.5] = np.nan
    seen_pairs, member_pairs = np.array(visible).reshape(-1, 2), np.array(members).reshape(-1, 2)
    return ViewTargets(
        superpoints, views,
        *torch.from_numpy(seen_pairs.T.astype(np.int64).copy()),
        torch.tensor(view_of, dtype=torch.int64), torch.tensor(label_of, dtype=torch.int64),
        *torch.from_numpy(member_pairs.T.astype(np.int64).copy()),
        torch.from_numpy(box), ("chair", "sofa", "rug", "map"),
        torch.full((superpoints,), -1), torch.full((len(view_of),), -1),
    )  # fmt: skip


def random_predictions(rng: np.random.Generator, queries: int, superpoints: int, labels: int) -> list[Tensor]:
    shapes = ((queries, superpoints), (queries, labels + 1), (queries, 6), (superpoints, labels))
    return [torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_() for shape in shapes]


def total(losses: Losses) -> Tensor:
    """A sum in which every part counts differently."""
    return sum((k + 1) * getattr(losses, name) for k, name in enumerate(PARTS))  # type: ignore[return-value]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(3, 14), st.booleans(), st.booleans())
def test_vip_equals_the_loops_in_value_match_and_gradient(
    seed: int, views: int, superpoints: int, boxes: bool, vip: bool
) -> None:
    rng = np.random.default_rng(seed)
    targets = random_targets(rng, views, superpoints, boxes)
    if not vip:
        targets = all_at_once(targets)
    chosen = torch.from_numpy(np.sort(rng.choice(superpoints, int(rng.integers(1, superpoints + 1)), replace=False)))
    labels = 7
    label_of_name = torch.from_numpy(rng.permutation(labels)[:4])
    tensors = random_predictions(rng, len(chosen), superpoints, labels)
    predicted, semantic = LayerPredictions(*tensors[:3]), tensors[3]
    slow, slow_matches = vip_losses_reference(predicted, semantic, targets, chosen, label_of_name, WEIGHTS, 0.1)
    slow_gradients = torch.autograd.grad(total(slow) + 0 * sum(t.sum() for t in tensors), tensors)
    fast, matches = vip_losses(predicted, semantic, make_pairs(targets, chosen, label_of_name), WEIGHTS, 0.1)
    fast_gradients = torch.autograd.grad(total(fast) + 0 * sum(t.sum() for t in tensors), tensors)
    assert matches.instance.tolist() == slow_matches.instance.tolist()
    assert matches.query.tolist() == slow_matches.query.tolist()
    for name in PARTS:
        assert getattr(fast, name).item() == pytest.approx(getattr(slow, name).item(), abs=2e-5), name
    for one, other in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def scene() -> tuple[Correspondence, np.ndarray, Instances, np.ndarray]:
    """Six points in superpoints 0 (two points), 1 (three), 2 (one); view 0 sees the first five, view 1 the last
    four."""
    seen = [[0], [0], [0, 1], [0, 1], [0, 1], [1]]
    view = np.concatenate(seen).astype(np.uint16)
    indptr = np.cumsum([0, *map(len, seen)]).astype(np.int64)
    correspondence = Correspondence(indptr, view, np.zeros((len(view), 2), np.uint16))
    #            points: 0  1  2  2  3  3  4  4  5; views 0 0 0 1 0 1 0 1 1
    observation = np.array([1, 1, 2, 3, 0, 3, 2, 0, 0], np.uint32)
    instances = Instances(
        ("sofa", "cat", "rug"),
        np.array([0, 0, 1], np.uint16),
        np.array([2, 0, 0], np.int32),
        np.ones(3, np.float32),
        np.zeros((3, 4), np.uint16),
        np.zeros((3, 3), np.float32),
    )
    return correspondence, observation, instances, np.array([0, 0, 1, 1, 1, 2], np.int32)


def test_a_views_annotation_takes_superpoints_by_the_points_that_the_view_sees() -> None:
    targets = view_targets(*scene())
    pairs = list(zip(targets.visible_view.tolist(), targets.visible_superpoint.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 1), (1, 1), (1, 2)]
    # instance 1 has both points of superpoint 0, 2 has two of three in view 0, 3 two of three in view 1
    members = list(zip(targets.member_instance.tolist(), targets.member_superpoint.tolist(), strict=True))
    assert members == [(0, 0), (1, 1), (2, 1)]
    assert targets.instance_view.tolist() == [0, 0, 1]
    assert [targets.names[k] for k in targets.instance_label] == ["rug", "sofa", "sofa"]
    assert "cat" not in targets.names
    assert torch.isnan(targets.box).all()


def test_the_truth_goes_along_for_statistics() -> None:
    correspondence, observation, instances, superpoint = scene()
    truth = SceneTruth(np.array([2, 2, 1, 1, 0, 0], np.int32), ("sofa", "rug"))
    targets = view_targets(correspondence, observation, instances, superpoint, truth)
    assert targets.true_of_superpoint.tolist() == [2, 1, 0]
    assert targets.true_of_instance.tolist() == [2, 0, 1]  # of the second, one point is the sofa's and one nobody's
    assert restricted(targets, torch.tensor([1]), torch.tensor([1])).true_of_instance.tolist() == [1]


def test_half_of_the_points_seen_is_not_enough() -> None:
    correspondence, observation, instances, superpoint = scene()
    observation = observation.copy()
    observation[0] = 0  # superpoint 0: one of its two points
    targets = view_targets(correspondence, observation, instances, superpoint)
    assert 0 not in targets.member_superpoint.tolist()
    assert targets.instances == 2


def test_a_scene_level_annotation_is_one_view_that_sees_all_with_boxes() -> None:
    xyz = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 3], [9, 9, 9]], np.float32)
    truth = SceneTruth(np.array([1, 1, 1, 1, 0], np.int32), ("table", "chair"))
    targets = scene_targets(xyz, np.array([0, 0, 1, 1, 2], np.int32), truth)
    assert targets.views == 1
    assert targets.visible_superpoint.tolist() == [0, 1, 2]
    assert targets.member_superpoint.tolist() == [0, 1]
    assert targets.names == ("table",)
    np.testing.assert_allclose(targets.box.numpy(), [[1, 0.5, 1.5, 2, 1, 3]])


def test_restricting_is_the_annotation_of_what_is_left() -> None:
    targets = view_targets(*scene())
    left = restricted(targets, torch.tensor([1, 2]), torch.tensor([1]))
    assert (left.superpoints, left.views) == (2, 1)
    assert left.visible_superpoint.tolist() == [0, 1]
    assert left.member_superpoint.tolist() == [0]
    assert left.names == ("sofa",)
    whole = replace(targets, box=torch.ones(3, 6))
    cut = restricted(whole, torch.tensor([0, 2]), torch.arange(2))
    assert not torch.isnan(cut.box).any()  # instance 1 lost all it had and went, the other kept all


def test_an_instance_that_lost_a_part_has_no_box() -> None:
    xyz = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    truth = SceneTruth(np.array([1, 1, 2, 2], np.int32), ("a", "b"))
    targets = scene_targets(xyz, np.array([0, 1, 2, 3], np.int32), truth)
    left = restricted(targets, torch.tensor([0, 2, 3]), torch.tensor([0]))
    assert torch.isnan(left.box).all(dim=1).tolist() == [True, False]


def test_perfect_predictions_cost_nothing() -> None:
    targets = view_targets(*scene())
    label_of_name = torch.arange(len(targets.names))
    mask = torch.full((3, 3), -30.0).fill_diagonal_(30.0)
    classes = torch.full((3, 3), -30.0)
    sofa, rug = targets.names.index("sofa"), targets.names.index("rug")
    classes[0, rug], classes[1, sofa], classes[2, -1] = 30.0, 30.0, 30.0
    semantic = classes[:, :2]
    predicted = LayerPredictions(mask, classes, torch.zeros(3, 6))
    losses, matches = vip_losses(predicted, semantic, make_pairs(targets, torch.arange(3), label_of_name), WEIGHTS, 0.1)
    assert matches.query.tolist() == [0, 1, 1]
    assert all(float(getattr(losses, name)) == pytest.approx(0, abs=1e-6) for name in PARTS)


def test_what_lies_outside_of_the_view_is_not_punished() -> None:
    """A mask that goes on where the annotating view does not look costs nothing with VIP, and much without."""
    targets = view_targets(*scene())
    targets = restricted(targets, torch.arange(3), torch.tensor([0]))  # superpoint 2 is not seen any more
    label_of_name = torch.arange(len(targets.names))
    mask = torch.full((3, 3), -30.0).fill_diagonal_(30.0)
    mask[1, 2] = 30.0  # the sofa goes on
    predicted = LayerPredictions(mask, torch.zeros(3, 3), torch.zeros(3, 6))
    with_vip, without = (
        vip_losses(predicted, torch.zeros(3, 2), make_pairs(t, torch.arange(3), label_of_name), WEIGHTS, 0.1)[0]
        for t in (targets, all_at_once(targets))
    )
    assert float(with_vip.mask) == pytest.approx(0, abs=1e-6)
    assert float(without.mask) > 3


def test_no_object_is_taught_only_inside_the_views_of_a_query() -> None:
    targets = restricted(view_targets(*scene()), torch.arange(3), torch.tensor([0]))
    classes = torch.zeros(3, 3, requires_grad=True)
    predicted = LayerPredictions(torch.zeros(3, 3), classes, torch.zeros(3, 6))
    losses, _ = vip_losses(
        predicted, torch.zeros(3, 2), make_pairs(targets, torch.arange(3), torch.arange(2)), WEIGHTS, 0.1
    )
    losses.classes.backward()
    assert classes.grad is not None
    assert classes.grad.abs().sum(dim=1).gt(0).tolist() == [True, True, False]
