"""Masks to points against naive loops."""

import numpy as np
import pytest

from ovseg3r_model.errors import InputError
from ovseg3r_model.lifting import boxes, gather_instances, lift, locate, observations_by_view
from ovseg3r_model.records import Correspondence, Points, ViewMasks

WIDTH, HEIGHT = 13, 9


def random_correspondence(seed: int, points: int = 60, views: int = 5) -> Correspondence:
    rng = np.random.default_rng(seed)
    seen = [np.flatnonzero(rng.random(views) < 0.5) for _ in range(points)]  # some points in no view
    view = np.concatenate(seen).astype(np.uint16)
    pixel = np.stack([rng.integers(0, WIDTH, len(view)), rng.integers(0, HEIGHT, len(view))], axis=1).astype(np.uint16)
    return Correspondence(np.concatenate([[0], np.cumsum([len(s) for s in seen])]), view, pixel)


def random_points(seed: int, n: int = 60) -> Points:
    xyz = np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)
    return Points(xyz, np.zeros((n, 3), np.uint8), np.zeros((n, 3), np.float16), np.ones(n, np.float16))


def random_masks(seed: int, views: int = 5) -> list[ViewMasks]:
    """1-4 instances a view, none in view 2."""
    rng = np.random.default_rng(seed)
    out = []
    for v in range(views):
        count = 0 if v == 2 else int(rng.integers(1, 5))
        ids = rng.integers(0, count + 1, (HEIGHT, WIDTH)).astype(np.uint32)
        names = rng.choice(["chair", "table", "a rug"], count)
        out.append(ViewMasks(ids, tuple(map(str, names)), rng.random(count).astype(np.float32)))
    return out


def scene_unique(masks: list[ViewMasks]) -> list[np.ndarray]:
    before, out = 0, []
    for m in masks:
        out.append(np.where(m.ids > 0, m.ids + np.uint32(before), 0).astype(np.uint32))
        before += len(m.labels)
    return out


@pytest.mark.parametrize("seed", range(5))
def test_each_observation_takes_the_id_under_its_pixel(seed: int) -> None:
    correspondence, ids = random_correspondence(seed), scene_unique(random_masks(seed))
    got = lift(ids, correspondence)
    assert got.dtype == np.uint32
    for m in range(len(correspondence)):
        x, y = correspondence.pixel[m]
        assert got[m] == ids[correspondence.view[m]][y, x]


def test_instances_are_never_merged_across_views() -> None:
    """One chair seen in three views is three instances, and each observation knows its own."""
    ids = np.ones((HEIGHT, WIDTH), np.uint32)
    masks = [ViewMasks(ids, ("chair",), np.array([0.5 + 0.1 * v], np.float32)) for v in range(3)]
    instances = gather_instances(masks)
    assert len(instances) == 3
    assert instances.label_names == ("chair",)
    assert instances.view.tolist() == [0, 1, 2]
    correspondence = Correspondence(np.array([0, 3]), np.arange(3, dtype=np.uint16), np.zeros((3, 2), np.uint16))
    assert lift(scene_unique(masks), correspondence).tolist() == [1, 2, 3]


def test_a_mask_smaller_than_its_frame_is_refused() -> None:
    correspondence = Correspondence(np.array([0, 1]), np.zeros(1, np.uint16), np.array([[12, 3]], np.uint16))
    assert lift([np.ones((4, 13), np.uint32)], correspondence).tolist() == [1]
    for shape, told in (((4, 12), "12x4"), ((3, 13), "13x3"), ((13, 4), "4x13")):
        with pytest.raises(InputError, match=f"view 0 is {told} pixels"):
            lift([np.ones(shape, np.uint32)], correspondence)


def test_masks_that_differ_in_size_are_read_by_their_own_view() -> None:
    correspondence = Correspondence(
        np.array([0, 2]), np.array([0, 1], np.uint16), np.array([[1, 0], [5, 7]], np.uint16)
    )
    small, large = np.array([[3, 4]], np.uint32), np.zeros((8, 6), np.uint32)
    large[7, 5] = 9
    assert lift([small, large], correspondence).tolist() == [4, 9]


def test_a_view_that_saw_nothing_needs_no_pixel() -> None:
    correspondence = Correspondence(np.array([0, 1]), np.array([1], np.uint16), np.array([[0, 0]], np.uint16))
    assert lift([np.zeros((0, 0), np.uint32), np.ones((1, 1), np.uint32)], correspondence).tolist() == [1]


@pytest.mark.parametrize("seed", range(3))
def test_observations_by_view(seed: int) -> None:
    correspondence = random_correspondence(seed, views=4)
    order, start = observations_by_view(correspondence, 7)
    assert len(start) == 8
    for v in range(7):
        assert order[start[v] : start[v + 1]].tolist() == np.flatnonzero(correspondence.view == v).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_table_of_instances(seed: int) -> None:
    masks = random_masks(seed)
    instances = gather_instances(iter(masks))
    row = 0
    for v, m in enumerate(masks):
        for k, label in enumerate(m.labels):
            assert instances.view[row] == v
            assert instances.label_names[instances.label[row]] == label
            assert instances.score[row] == m.scores[k]
            y, x = np.nonzero(m.ids == k + 1)
            assert instances.box[row].tolist() == [x.min(), y.min(), x.max(), y.max()]
            row += 1
    assert len(instances) == row
    assert len(set(instances.label_names)) == len(instances.label_names)
    assert np.isnan(instances.position).all()


def test_no_view_has_an_instance() -> None:
    instances = gather_instances([ViewMasks(np.zeros((2, 2), np.uint32), (), np.empty(0, np.float32))] * 3)
    assert len(instances) == 0
    assert instances.box.shape == (0, 4)
    assert instances.position.shape == (0, 3)
    assert len(gather_instances([])) == 0


def test_boxes_are_inclusive_and_empty_ids_have_none() -> None:
    ids = np.zeros((HEIGHT, WIDTH), np.uint32)
    ids[2:5, 3:11] = 1
    ids[8, 12] = 3
    ids[0, 0] = 4
    got = boxes(ids, 4)
    assert got.dtype == np.uint16
    assert got.tolist() == [[3, 2, 10, 4], [0, 0, 0, 0], [12, 8, 12, 8], [0, 0, 0, 0]]
    assert boxes(ids.T, 4)[0].tolist() == [2, 3, 4, 10]  # not C-contiguous


@pytest.mark.parametrize("seed", range(5))
def test_an_instance_is_where_the_mean_of_its_points_is(seed: int) -> None:
    correspondence, points, masks = random_correspondence(seed), random_points(seed), random_masks(seed)
    instances, observation = gather_instances(masks), lift(scene_unique(masks), correspondence)
    got = locate(instances, observation, correspondence, points)
    assert got.dtype == np.float32
    assert got.shape == (len(instances), 3)
    of = correspondence.point()
    for row in range(len(instances)):
        under = points.xyz[of[observation == row + 1]]
        wanted = under.astype(float).mean(axis=0) if len(under) else np.full(3, np.nan)
        np.testing.assert_allclose(got[row], wanted, atol=1e-6)


def test_an_instance_that_no_point_fell_on_has_no_position() -> None:
    masks = [ViewMasks(np.ones((2, 2), np.uint32), ("chair", "unseen"), np.ones(2, np.float32))]
    correspondence = Correspondence(np.array([0, 1]), np.zeros(1, np.uint16), np.zeros((1, 2), np.uint16))
    points = random_points(0, 1)
    got = locate(gather_instances(masks), lift([masks[0].ids], correspondence), correspondence, points)
    np.testing.assert_array_equal(got[0], points.xyz[0])
    assert np.isnan(got[1]).all()
