"""What a decoder's layer says of one scene, and what supervision makes of it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LayerPredictions:
    """Of Q queries on S superpoints with T labels: mask (Q,S) logits, classes (Q,T+1) logits, the last being "no
    object", box (Q,6) centre and size in the unit of the points.
    """

    mask: Tensor
    classes: Tensor
    box: Tensor


@dataclass(frozen=True)
class Matches:
    """K matched pairs: instance (K,) increasing, query (K,)."""

    instance: Tensor
    query: Tensor


@dataclass(frozen=True)
class Losses:
    """Each part before its weight, scalars."""

    classes: Tensor
    mask: Tensor
    dice: Tensor
    centre: Tensor
    extent: Tensor
    semantic: Tensor
