"""Boxes and masks that overlap, on cases made by hand."""

import numpy as np
import pytest

from ovseg3r_model.segmentation.detections import Detections, Mask
from ovseg3r_model.segmentation.overlaps import (
    HIDDEN,
    OVER_CAP,
    SAME_BOX,
    SAME_MASK,
    box_iou,
    id_map,
    thin_boxes,
    view_masks,
)
from ovseg3r_model.settings import OverlapSettings

SHAPE = HEIGHT, WIDTH = 40, 60
DEFAULT = OverlapSettings(max_hole=10, max_crumb=10)


def found(*boxes: tuple[float, float, float, float, float], phrase: list[int] | None = None) -> Detections:
    """Detections from (x0, y0, x1, y1, score)."""
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    names = np.arange(len(rows)) if phrase is None else np.array(phrase)
    return Detections(rows[:, :4], rows[:, 4], names.astype(np.int64), np.zeros((len(rows), 0), np.float32))


def window(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def cut(*masks: np.ndarray) -> list[Mask]:
    return [Mask.of(mask) for mask in masks]


def test_iou_of_boxes() -> None:
    others = np.array([[0, 0, 4, 2], [2, 0, 6, 2], [4, 0, 8, 2], [1, 1, 1, 1], [-1, -1, 9, 9]], np.float32)
    wanted = [1, 4 / 12, 0, 0, 8 / 100]  # itself, half of it, one that touches, one without area, one around it
    np.testing.assert_allclose(box_iou(others[0], others), wanted)
    assert box_iou(others[3], others[3:4]) == 0


def test_of_equal_boxes_the_surest_stays_under_its_name() -> None:
    things = found((0, 0, 10, 10, 0.4), (0, 0, 10, 9.5, 0.8), (30, 0, 40, 10, 0.6), (0, 0, 10, 5, 0.5))
    chosen, dropped = thin_boxes(things, OverlapSettings(box_iou=0.7))
    assert chosen.tolist() == [1, 2, 3]  # the last is half of it: another thing
    assert dropped[SAME_BOX] == 1


def test_suppression_is_by_those_that_stay() -> None:
    """b goes because of a; c overlaps b alone, and stays."""
    a, b, c = (0, 0, 10, 10, 0.9), (2, 0, 12, 10, 0.8), (4, 0, 14, 10, 0.7)
    of_a = box_iou(np.float32(a[:4]), np.float32([b[:4], c[:4]]))
    assert of_a[0] > 0.6 > of_a[1]
    chosen, _ = thin_boxes(found(a, b, c), OverlapSettings(box_iou=0.6))
    assert chosen.tolist() == [0, 2]


def test_at_most_so_many_a_frame_and_the_rest_is_counted() -> None:
    things = found(*((5 * k, 0, 5 * k + 4, 4, 0.3 + 0.05 * k) for k in range(8)))
    chosen, dropped = thin_boxes(things, OverlapSettings(max_instances=3))
    assert chosen.tolist() == [7, 6, 5]
    assert dropped[OVER_CAP] == 5


def test_nothing_found() -> None:
    chosen, dropped = thin_boxes(found(), DEFAULT)
    assert len(chosen) == dropped.total() == 0
    ids, kept, _ = id_map(cut(), np.zeros(0, np.float32), SHAPE, DEFAULT, 1)
    assert ids.shape == (HEIGHT, WIDTH)
    assert not ids.any()
    assert len(kept) == 0


@pytest.mark.parametrize(("table", "cup", "on_top"), [(0.9, 0.5, "cup"), (0.9, 0.2, "table"), (0.5, 0.9, "cup")])
def test_small_and_sure_lies_over_large(table: float, cup: float, on_top: str) -> None:
    """The cup has a ninth of the table's area: it wins down to a third of the table's score."""
    masks = cut(window(0, 0, 30, 30), window(10, 10, 20, 20))
    ids, kept, dropped = id_map(masks, np.array([table, cup], np.float32), SHAPE, DEFAULT, 1)
    assert kept.tolist() == ([0, 1] if on_top == "cup" else [0])
    assert (ids == 1).sum() == (800 if on_top == "cup" else 900)
    assert ids[15, 15] == (2 if on_top == "cup" else 1)
    assert dropped[HIDDEN] == (0 if on_top == "cup" else 1)


def test_of_equal_masks_the_surest_stays() -> None:
    masks = cut(window(0, 0, 20, 20), window(0, 0, 20, 19), window(0, 0, 20, 10))
    ids, kept, dropped = id_map(masks, np.array([0.5, 0.9, 0.8], np.float32), SHAPE, DEFAULT, 1)
    assert kept.tolist() == [1, 2]
    assert dropped == {SAME_MASK: 1, HIDDEN: 0}
    assert np.unique(ids).tolist() == [0, 1, 2]


def test_holes_are_filled_and_crumbs_dropped_by_their_stated_sizes() -> None:
    mask = window(10, 10, 40, 30)
    mask[14:17, 14:17] = False  # 9 pixels: a hole
    mask[20:22, 20:25] = False  # 10 pixels: as large as the bound, so it stays
    mask[10:12, 10:13] = False  # a notch in the corner is no hole
    mask[35:38, 50:53] = True  # 9 pixels: a crumb
    mask[2:4, 50:55] = True  # 10 pixels: a piece of its own
    ids, _, _ = id_map(cut(mask), np.ones(1, np.float32), SHAPE, DEFAULT, 1)
    wanted = mask.copy()
    wanted[14:17, 14:17] = True
    wanted[35:38, 50:53] = False
    np.testing.assert_array_equal(ids > 0, wanted)


def test_a_hole_at_the_picture_s_edge_is_filled_only_if_it_is_closed() -> None:
    mask = window(0, 0, 20, 20)
    mask[0, 5:8] = False  # open to the outside of the picture
    ids, _, _ = id_map(cut(mask), np.ones(1, np.float32), SHAPE, DEFAULT, 1)
    np.testing.assert_array_equal(ids > 0, mask)


def test_a_mask_of_crumbs_alone_keeps_its_largest() -> None:
    mask = window(0, 0, 2, 2) | window(10, 10, 13, 13)
    ids, kept, _ = id_map(cut(mask), np.ones(1, np.float32), SHAPE, DEFAULT, 1)
    assert kept.tolist() == [0]
    np.testing.assert_array_equal(ids > 0, window(10, 10, 13, 13))


def test_what_painting_leaves_of_a_mask_has_no_crumbs() -> None:
    below = window(0, 0, 30, 10)
    above = window(10, 0, 29, 10)  # leaves 100 pixels on the left and 10 on the right
    ids, kept, _ = id_map(cut(below, above), np.array([0.5, 0.9], np.float32), SHAPE, OverlapSettings(max_crumb=11), 1)
    assert kept.tolist() == [0, 1]
    assert (ids[:, 29] == 0).all()
    assert (ids == 1).sum() == 100


def test_empty_hidden_and_small_masks_are_counted() -> None:
    masks = cut(window(0, 0, 0, 0), window(0, 0, 3, 3), window(30, 0, 50, 20), window(30, 0, 50, 21))
    settings = OverlapSettings(mask_iou=1.0, max_crumb=0)
    ids, kept, dropped = id_map(masks, np.array([0.9, 0.9, 0.3, 0.9], np.float32), SHAPE, settings, min_area=10)
    assert kept.tolist() == [3]
    assert dropped == {SAME_MASK: 0, HIDDEN: 3}
    assert np.unique(ids).tolist() == [0, 1]


def test_names_scores_and_features_follow_their_masks() -> None:
    things = found((0, 0, 9, 9, 0.9), (20, 0, 22, 2, 0.8), (40, 0, 49, 9, 0.7), phrase=[2, 0, 1])
    things = Detections(things.box, things.score, things.phrase, np.arange(6, dtype=np.float32).reshape(3, 2))
    masks = cut(window(0, 0, 9, 9), window(20, 0, 22, 2), window(40, 0, 49, 9))
    image = (np.zeros((2, 3, 4), np.float16), (0.1, 0.2))
    _, dropped = thin_boxes(things, DEFAULT)
    record = view_masks(things, masks, ("chair", "mug", "desk"), SHAPE, DEFAULT, 10, dropped, image)
    assert record.labels == ("desk", "mug")  # the chair has four pixels
    np.testing.assert_array_equal(record.scores, np.float32([0.9, 0.7]))
    assert record.features is not None
    np.testing.assert_array_equal(record.features.objects, [[0, 1], [4, 5]])
    assert record.features.scale == (0.1, 0.2)
    assert record.dropped[HIDDEN] == 1


def test_masks_are_cut_and_counted_as_whole_ones() -> None:
    rng = np.random.default_rng(0)
    wholes = [rng.random((7, 13)) < share for share in (0.5, 0.05, 0.02, 0.0)]
    masks = [Mask.of(whole) for whole in wholes]
    for whole, mask in zip(wholes, masks, strict=True):
        back = np.zeros_like(whole)
        back[mask.window] = mask.inside
        np.testing.assert_array_equal(back, whole)
        assert mask.area() == whole.sum()
        for other, cut_other in zip(wholes, masks, strict=True):
            assert mask.shared(cut_other) == (whole & other).sum()
    assert masks[3].inside.size == 0
    assert all(edge.any() for edge in (masks[1].inside[0], masks[1].inside[-1], masks[1].inside[:, 0]))
