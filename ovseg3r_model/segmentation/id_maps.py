"""Id maps (H,W): one instance per pixel, 0 = none. How masks become one, and how one becomes a ViewMasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Bool, Int64, UInt32, ViewMasks

MAX_PIXELS = 100 * 10**6  # of a picture with masks that somebody gives


@dataclass(frozen=True)
class Name:
    """What an instance is called, and how sure its maker is, in [0, 1]."""

    label: str
    score: float = 1.0


def paint(shape: tuple[int, int], scores: Sequence[float], areas: Sequence[int], mask: Callable[[int], Bool]) -> UInt32:
    """(H,W) uint32: mask k (``mask(k)``, (H,W) bool) written as id k + 1, one mask in memory at a time.

    Where masks overlap the higher score wins; at equal scores the smaller mask, which lies on top (the book on the
    table); at equal areas the earlier one.
    """
    ids = np.zeros(shape, np.uint32)
    for k in sorted(range(len(scores)), key=lambda k: (scores[k], -areas[k], -k)):
        ids[mask(k)] = k + 1
    return ids


def settle(ids: NDArray[Any], names: Mapping[int, Name], min_area: int) -> ViewMasks:
    """Turns an id map (H,W) of any integer type into the record: ids 1..K without gaps, in the order of the ids given.

    Ids with fewer than ``min_area`` pixels are dropped; their pixels become 0. Every id in the map but 0 must be in
    ``names``.
    """
    settled, present = settled_ids(ids, min_area)
    kept = [names[int(i)] for i in present]
    return ViewMasks(
        ids=settled,
        labels=tuple(name.label for name in kept),
        scores=np.array([name.score for name in kept], np.float32),
    )


def settled_ids(ids: NDArray[Any], min_area: int) -> tuple[UInt32, Int64]:
    """The id map of :func:`settle`, and (K,) int64 which of the ids given each of its ids is."""
    largest = int(ids.max())
    if largest < ids.size:  # the common case: counting is ten times as fast as sorting
        present, index = np.arange(largest + 1), ids
    else:
        present, index = np.unique(ids, return_inverse=True)
    keep = (present != 0) & (np.bincount(index.ravel(), minlength=len(present)) >= min_area)
    renumber = np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
    return renumber[index].reshape(ids.shape), present[keep].astype(np.int64)


def nothing(size: tuple[int, int]) -> ViewMasks:
    """A view without instances; size is (width, height)."""
    return ViewMasks(ids=np.zeros(size[::-1], np.uint32), labels=(), scores=np.zeros(0, np.float32))
