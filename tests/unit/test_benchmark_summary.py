"""The benchmark's table on scenes whose figures are known, with ScanNet200's groups and with a caller's own."""

import math
from dataclasses import astuple

import numpy as np
import pytest

from ovseg3r_model.benchmark_summary import BenchmarkSummary, benchmark_summary, scannet200_names, scannet200_subsets
from ovseg3r_model.errors import InputError
from ovseg3r_model.predicted_instances import PredictedInstances

NAMES = {4: "mug", 9: "shelf", 2: "lamp", 7: "rug"}
SUBSETS = {"small": [4, 2], "flat": [7], "mixed": [9, 7], "none": []}
SIZE = 200


def summary() -> BenchmarkSummary:
    """Two scenes: mugs all found, of two shelves one, the only lamp under another name, no rug anywhere."""
    ids = np.repeat([4001, 9001, 2001, 0], SIZE)
    masks = np.arange(4 * SIZE) // SIZE == np.arange(3)[:, None]
    right = PredictedInstances.from_masks(masks, np.array([4, 9, 4]), np.array([0.9, 0.8, 0.1]))
    shelf = np.repeat([9001, 0], SIZE)
    nothing = PredictedInstances.from_points([], 2 * SIZE, np.zeros(0, np.int64), np.zeros(0))
    return benchmark_summary(iter([(ids, right), (shelf, nothing)]), NAMES, SUBSETS)


def test_the_figures_of_each_class_and_group() -> None:
    found = summary()
    assert found.scenes == 2
    assert list(found.per_class) == ["mug", "shelf", "lamp", "rug"]
    # the third mask is a wrong mug, less sure than the right one: (1, 1/2), (1, 1), (0, 1): widths 0, 1/2, 1/2
    mug, shelf, lamp = 1.0, 0.5, 0.0
    assert found.per_class["mug"].ap == pytest.approx(mug)
    assert found.per_class["shelf"].ap50 == pytest.approx(shelf)
    assert found.per_class["lamp"].ap25 == lamp
    assert astuple(found.overall) == pytest.approx((0.5, 0.5, 0.5, 3))
    assert astuple(found.subsets["small"]) == pytest.approx((0.5, 0.5, 0.5, 2))
    assert astuple(found.subsets["mixed"]) == pytest.approx((0.5, 0.5, 0.5, 1))


def test_a_group_without_ground_truth_is_nan() -> None:
    found = summary()
    for scores in (found.subsets["flat"], found.subsets["none"], found.per_class["rug"]):
        assert [math.isnan(value) for value in (scores.ap, scores.ap50, scores.ap25)] == [True] * 3
        assert scores.classes == 0


def test_class_agnostic_counts_the_misnamed_lamp() -> None:
    """Of four instances three are found, without a false positive: precision 1 up to recall 3/4."""
    scores = summary().class_agnostic
    assert (scores.ap50, scores.classes) == (pytest.approx(0.75), 1)


def test_no_scene_at_all_is_nan_everywhere() -> None:
    found = benchmark_summary([], NAMES, SUBSETS)
    assert found.scenes == 0
    assert math.isnan(found.overall.ap)
    assert math.isnan(found.class_agnostic.ap)


def test_scannet200_has_198_classes_and_its_groups_share_them_out() -> None:
    names, subsets = scannet200_names(), scannet200_subsets()
    assert len(names) == len(set(names.values())) == 198
    assert not {"wall", "floor"} & set(names.values())
    assert {group: len(ids) for group, ids in subsets.items() if group in ("head", "common", "tail")} == {
        "head": 64, "common": 68, "tail": 66,
    }  # fmt: skip
    for groups in (("head", "common", "tail"), ("base", "novel")):
        assert sorted(i for group in groups for i in subsets[group]) == sorted(names)
    chair = next(i for i, name in names.items() if name == "chair")
    assert chair in subsets["head"]
    found = benchmark_summary([], names, subsets)
    assert (len(found.per_class), len(found.subsets)) == (198, 5)


@pytest.mark.parametrize(("names", "subsets", "message"), [
    ({0: "mug"}, {}, "class has the id 0: give ids from 1"),
    ({1: "mug", 2: "mug"}, {}, "2 classes are called 'mug'"),
    ({1: "mug"}, {"odd": [1, 5]}, "group 'odd' has the class 5"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(names: dict[int, str], subsets: dict[str, list[int]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        benchmark_summary([], names, subsets)
