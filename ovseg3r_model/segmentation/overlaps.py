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
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Bool, Float32, Int64, UInt32, ViewFeatures, ViewMasks
from ovseg3r_model.segmentation.detections import Detections, Features, PackedMasks
from ovseg3r_model.segmentation.id_maps import settled_ids
from ovseg3r_model.settings import OverlapSettings

SAME_BOX, SAME_MASK = "same box as a surer one", "same mask as a surer one"
OVER_CAP, HIDDEN = "more than a frame may have", "hidden, empty or too small"
"""Why a detection was dropped."""

Window = tuple[slice, slice]
_NOWHERE = (slice(0, 0), slice(0, 0))


def thin_boxes(found: Detections, settings: OverlapSettings) -> tuple[Int64, Counter[str]]:
    """Step 1: which detections get a mask, the surest first; how many were dropped, by reason."""
    order = _ranked(found.score)
    kept = _surest(order, lambda i, j: box_iou(found.box[i], found.box[j]) > settings.box_iou)
    chosen = kept[: settings.max_instances]
    return np.array(chosen, np.int64), Counter({SAME_BOX: len(order) - len(kept), OVER_CAP: len(kept) - len(chosen)})


def id_map(
    masks: PackedMasks, score: Float32, settings: OverlapSettings, min_area: int
) -> tuple[UInt32, Int64, Counter[str]]:
    """Steps 2 to 5.

    Args:
        masks: K masks (H,W), which are cleaned in place.
        score: (K,) float32.

    Returns:
        ids (H,W) uint32, 1..L without gaps; (L,) which of the K masks each id is, increasing; how many were dropped, by
        reason.
    """
    windows = [_clean(masks, k, settings) for k in range(len(masks))]
    present = [k for k in _ranked(score) if windows[k] != _NOWHERE]
    area = np.array([masks.area(k) for k in range(len(masks))], np.int64)
    kept = _surest(present, lambda i, j: _mask_iou(masks, area, windows, i, j) > settings.mask_iou)
    ids = np.zeros(masks.shape, np.uint32)
    for k in sorted(kept, key=lambda k: (score[k] / np.sqrt(area[k]), -area[k], -k)):
        ids[windows[k]][masks[k][windows[k]]] = k + 1
    for k in kept:
        ids[windows[k]][_crumbs(ids[windows[k]] == k + 1, settings.max_crumb)] = 0
    settled, chosen = settled_ids(ids, min_area)
    hidden = len(masks) - len(present) + len(kept) - len(chosen)
    return settled, chosen - 1, Counter({SAME_MASK: len(present) - len(kept), HIDDEN: hidden})


def box_iou(one: Float32, other: Float32) -> float:
    """Intersection over union of two boxes (4,)."""
    shared = float(np.prod(np.maximum(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0)))
    total = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / total if total > 0 else 0.0


def _mask_iou(masks: PackedMasks, area: Int64, windows: Sequence[Window], one: int, other: int) -> float:
    if _apart(windows[one], windows[other]):
        return 0.0
    shared = masks.intersection(one, other)
    return shared / float(area[one] + area[other] - shared)


def _apart(one: Window, other: Window) -> bool:
    return any(a.stop <= b.start or b.stop <= a.start for a, b in zip(one, other, strict=True))


def _ranked(score: Float32) -> list[int]:
    """Indices, the highest score first; of equals the earlier."""
    return [int(k) for k in np.argsort(-score, kind="stable")]


def _surest(order: Sequence[int], same: Callable[[int, int], bool]) -> list[int]:
    """Of ``order`` those that are not the same as an earlier one that stays."""
    kept: list[int] = []
    for k in order:
        if not any(same(k, other) for other in kept):
            kept.append(k)
    return kept


def _clean(masks: PackedMasks, k: int, settings: OverlapSettings) -> Window:
    """Fills the holes of mask k and drops its crumbs; the window that it then lies in."""
    whole = masks[k]
    window = _window(whole)
    if window == _NOWHERE:
        return window
    mask = np.pad(whole[window], 1)  # so that all that is outside is one piece, at the corner, and no hole
    piece, size = _pieces(~mask, 4)
    holes = (size < settings.max_hole) & (np.arange(len(size)) != piece[0, 0]) & (np.arange(len(size)) > 0)
    mask |= holes[piece]
    mask &= ~_crumbs(mask, settings.max_crumb)
    whole[window] = mask[1:-1, 1:-1]
    masks.replace(k, whole)
    return _window(whole)


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


def _window(mask: Bool) -> Window:
    """The smallest window that holds all of the mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _NOWHERE
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def view_masks(
    found: Detections,
    masks: PackedMasks,
    names: Sequence[str],
    settings: OverlapSettings,
    min_area: int,
    dropped: Counter[str],
    image: Features | None,
) -> ViewMasks:
    """The record of a frame from its detections and their masks, which are cleaned in place.

    names: the vocabulary. dropped: what was so before. image: the frame's feature map and its scale, for the record's
    features; None for a record without.
    """
    ids, chosen, more = id_map(masks, found.score, settings, min_area)
    kept = found[chosen]
    features = None if image is None else ViewFeatures(*image, objects=kept.feature.astype(np.float16))
    labels = tuple(names[k] for k in kept.phrase)
    return ViewMasks(ids, labels, kept.score.astype(np.float32), dict(dropped + more), features)
