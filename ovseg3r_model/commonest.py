"""The commonest value of each group, for what is labelled by a majority."""

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Int64


def commonest(group: NDArray[np.integer], value: NDArray[np.integer], groups: int) -> Int64:
    """(groups,) the commonest of the values (M,), 0 and up, in each group (M,); the smaller of two as common; -1 for an
    empty group."""
    span = int(value.max(initial=0)) + 1
    pair, count = np.unique(group.astype(np.int64) * span + value, return_counts=True)
    of_group, number = np.divmod(pair, span)
    order = np.lexsort((-number, count))  # the largest count comes last, and among equals the smaller value
    out = np.full(groups, -1, np.int64)
    out[of_group[order]] = number[order]
    return out
