"""Masks to points: the view-wise 3D annotation (METHOD 1.3). Nothing is merged across views."""

from collections.abc import Iterable

import numba
import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Correspondence, Float32, Images, Instances, Int64, Points, UInt16, UInt32, ViewMasks


def observations_by_view(correspondence: Correspondence, views: int) -> tuple[Int64, Int64]:
    """(order (M,), start (V+1,)): view v's observations are the rows order[start[v]:start[v + 1]] of the
    correspondence.
    """
    order = np.argsort(correspondence.view, kind="stable")
    start = np.zeros(views + 1, np.int64)
    np.cumsum(np.bincount(correspondence.view, minlength=views), out=start[1:])
    return order, start


def lift(mask_ids: Images, correspondence: Correspondence) -> UInt32:
    """The instance id under the pixel of every observation, METHOD 1.3.

    Args:
        mask_ids: V maps (H,W) uint32 of scene-unique ids, 0 = none; one is held at a time.
        correspondence: M observations.

    Returns:
        (M,) uint32.

    Raises:
        InputError: a map is smaller than the pixels that the correspondence names.
    """
    out = np.zeros(len(correspondence), np.uint32)
    order, start = observations_by_view(correspondence, len(mask_ids))
    for v in range(len(mask_ids)):
        rows = order[start[v] : start[v + 1]]
        if not len(rows):
            continue
        ids = np.asarray(mask_ids[v])
        x, y = correspondence.pixel[rows].T
        if y.max() >= ids.shape[0] or x.max() >= ids.shape[1]:
            raise InputError(
                f"The mask of view {v} is {ids.shape[1]}x{ids.shape[0]} pixels, smaller than the frame it belongs to; "
                "give masks of the frames' size."
            )
        out[rows] = ids[y, x]
    return out


def locate(instances: Instances, observation: UInt32, correspondence: Correspondence, points: Points) -> Float32:
    """(O,3) float32: for each instance the mean of the points under its mask (METHOD 1.4), nan where there is none."""
    count = np.bincount(observation, minlength=len(instances) + 1)[1:]
    of_point = correspondence.point()
    total = np.stack(
        [np.bincount(observation, points.xyz[of_point, a], minlength=len(instances) + 1)[1:] for a in range(3)], axis=1
    )
    with np.errstate(invalid="ignore"):
        position: Float32 = (total / count[:, None]).astype(np.float32)
    return position


def gather_instances(view_masks: Iterable[ViewMasks]) -> Instances:
    """Puts the views' instances into one table (scene-unique id = row + 1) in the order of the views; positions are
    still nan.
    """
    names: dict[str, int] = {}
    view, label, score, box = [], [], [], []
    for v, masks in enumerate(view_masks):
        view += [v] * len(masks.labels)
        label += [names.setdefault(text, len(names)) for text in masks.labels]
        score.append(masks.scores)
        box.append(boxes(masks.ids, len(masks.labels)))
    return Instances(
        label_names=tuple(names),
        view=np.array(view, np.uint16),
        label=np.array(label, np.int32),
        score=np.concatenate(score).astype(np.float32) if score else np.empty(0, np.float32),
        box=np.concatenate(box) if box else np.empty((0, 4), np.uint16),
        position=np.full((len(view), 3), np.nan, np.float32),
    )


def boxes(ids: UInt32, count: int) -> UInt16:
    """(count,4) uint16: x0, y0, x1, y1 (all inside) of the ids 1..count in a map (H,W); 0, 0, 0, 0 where an id has no
    pixel.
    """
    low = np.full((count, 2), np.iinfo(np.int64).max)
    high = np.zeros((count, 2), np.int64)
    _extend(np.ascontiguousarray(ids), low, high)
    low[low > high] = 0
    return np.concatenate([low, high], axis=1).astype(np.uint16)


@numba.njit(cache=True)
def _extend(ids, low, high):  # type: ignore[no-untyped-def]
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            k = np.int64(ids[y, x]) - 1
            if k >= 0:
                low[k, 0], low[k, 1] = min(low[k, 0], x), min(low[k, 1], y)
                high[k, 0], high[k, 1] = max(high[k, 0], x), max(high[k, 1], y)
