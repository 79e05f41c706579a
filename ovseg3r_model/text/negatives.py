"""The labels that a scene is trained with: its own names, and others that are not in it (METHOD 2, text)."""

from collections.abc import Collection, Sequence

import numpy as np


def padded_labels(
    names: Sequence[str], pool: Sequence[str], size: int, rng: np.random.Generator, forbidden: Collection[str] = ()
) -> tuple[str, ...]:
    """``names`` as they are, then random negatives up to ``size``: names of the pool, each once, that differ, ignoring
    case, from all of ``names`` and all that are ``forbidden``.

    A scene with more names than ``size`` keeps them all and gets no negatives: a name left out would leave its
    instances without a label. Fewer than ``size`` come back where the pool holds no more.
    """
    taken = {name.casefold() for name in (*names, *forbidden)}
    others = list({name.casefold(): name for name in reversed(pool) if name.casefold() not in taken}.values())[::-1]
    wanted = min(max(size - len(names), 0), len(others))
    return (*names, *(others[k] for k in rng.choice(len(others), wanted, replace=False)))
