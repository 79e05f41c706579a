"""Overlapping boxes and masks of many phrases and passes become one id map.

1. boxes: of two that overlap by more than ``box_iou`` the surer one stays, whatever their names (a chair is found as
   "chair" and, in another pass, as "armchair"); then at most ``max_instances`` stay, the surest;
2. each mask loses holes and crumbs (sizes in :class:`.OverlapSettings`);
3. masks: as boxes, by ``mask_iou``;
4. they are painted over each other, small and sure over large and unsure: by score over the square root of the area, so
   a mask a quarter as large wins unless it is less than half as sure. The cup stays on the table, a doubtful patch of
   the sofa does not;
5. crumbs that painting left are dropped, and instances of fewer than ``min_area`` pixels.

What is dropped is counted by reason.
"""

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Bool, Float32, Float64, Int64, UInt32, ViewFeatures, ViewMasks
from ovseg3r_model.segmentation.detections import Detections, Features, Mask
from ovseg3r_model.segmentation.id_maps import settled_ids
from ovseg3r_model.settings import OverlapSettings

SAME_BOX, SAME_MASK = "same box as a surer one", "same mask as a surer one"
OVER_CAP, HIDDEN = "more than a frame may have", "hidden, empty or too small"
"""Why a detection was dropped."""


def thin_boxes(found: Detections, settings: OverlapSettings) -> tuple[Int64, Counter[str]]:
    """Step 1: which detections get a mask, the surest first; how many were dropped, by reason."""
    kept: list[int] = []
    for k in _ranked(found.score):
        if box_iou(found.box[k], found.box[kept]).max(initial=0.0) <= settings.box_iou:
            kept.append(k)
    chosen = kept[: settings.max_instances]
    return np.array(chosen, np.int64), Counter({SAME_BOX: len(found) - len(kept), OVER_CAP: len(kept) - len(chosen)})


def id_map(
    masks: Sequence[Mask], score: Float32, shape: tuple[int, int], settings: OverlapSettings, min_area: int
) -> tuple[UInt32, Int64, Counter[str]]:
    """Steps 2 to 5.

    Args:
        masks: K masks of a frame of ``shape`` (H,W).
        score: (K,) float32.

    Returns:
        ids (H,W) uint32, 1..L without gaps; (L,) which of the K masks each id is, increasing; how many were dropped, by
        reason.
    """
    clean = [_clean(mask, settings) for mask in masks]
    area = np.array([mask.area() for mask in clean], np.int64)
    present = [k for k in _ranked(score) if area[k]]
    kept: list[int] = []
    for k in present:
        if all(_iou(clean[k], clean[other], area[k], area[other]) <= settings.mask_iou for other in kept):
            kept.append(k)
    ids = np.zeros(shape, np.uint32)
    for k in sorted(kept, key=lambda k: (score[k] / np.sqrt(area[k]), -area[k], -k)):
        ids[clean[k].window][clean[k].inside] = k + 1
    for k in kept:
        ids[clean[k].window][_crumbs(ids[clean[k].window] == k + 1, settings.max_crumb)] = 0
    settled, chosen = settled_ids(ids, min_area)
    hidden = len(masks) - len(present) + len(kept) - len(chosen)
    return settled, chosen - 1, Counter({SAME_MASK: len(present) - len(kept), HIDDEN: hidden})


def view_masks(
    found: Detections,
    masks: Sequence[Mask],
    names: Sequence[str],
    shape: tuple[int, int],
    settings: OverlapSettings,
    min_area: int,
    dropped: Counter[str],
    image: Features | None,
) -> ViewMasks:
    """The record of a frame of ``shape`` (H,W) from its detections and their masks.

    names: the vocabulary. dropped: what was so before. image: the frame's feature map and its scale, for the record's
    features; None for a record without.
    """
    ids, chosen, more = id_map(masks, found.score, shape, settings, min_area)
    kept = found[chosen]
    features = None if image is None else ViewFeatures(*image, objects=kept.feature.astype(np.float16))
    labels = tuple(names[k] for k in kept.phrase)
    return ViewMasks(ids, labels, kept.score.astype(np.float32), dict(dropped + more), features)


def box_iou(box: Float32, others: Float32) -> Float64:
    """(K,) intersection over union of a box (4,) with others (K,4)."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.maximum(high - low, 0).astype(np.float64).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).astype(np.float64).prod(axis=1)
    total = areas + float(np.prod(box[2:] - box[:2], dtype=np.float64)) - shared
    iou: Float64 = np.divide(shared, total, out=np.zeros(len(others)), where=total > 0)
    return iou


def _iou(one: Mask, other: Mask, area: np.int64, other_area: np.int64) -> float:
    shared = one.shared(other)
    return shared / float(area + other_area - shared)


def _ranked(score: Float32) -> list[int]:
    """Indices, the highest score first; of equals the earlier."""
    return [int(k) for k in np.argsort(-score, kind="stable")]


def _clean(mask: Mask, settings: OverlapSettings) -> Mask:
    """The mask without its holes and its crumbs."""
    if not mask.inside.size:
        return mask
    inside = np.pad(mask.inside, 1)  # so that all that is outside is one piece, at the corner, and no hole
    piece, size = _pieces(~inside, 4)
    holes = (size < settings.max_hole) & (np.arange(len(size)) != piece[0, 0]) & (np.arange(len(size)) > 0)
    inside |= holes[piece]
    inside &= ~_crumbs(inside, settings.max_crumb)
    rows, columns = mask.window
    return Mask.of(inside[1:-1, 1:-1], rows.start, columns.start)


def _crumbs(mask: Bool, smallest: int) -> Bool:
    """(H,W) bool: the pieces of the mask with fewer pixels than ``smallest``, but never the largest one."""
    piece, size = _pieces(mask, 8)
    size[0] = 0
    crumb = size < smallest
    crumb[[0, int(size.argmax())]] = False
    found: Bool = crumb[piece]
    return found


def _pieces(mask: Bool, connectivity: int) -> tuple[NDArray[np.int32], Int64]:
    """(H,W) which connected piece each pixel is of, 0 outside of the mask; and the pieces' sizes, by number."""
    _, piece, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    return piece, stats[:, cv2.CC_STAT_AREA].astype(np.int64)
