"""Means over groups of rows: voxels of points, superpoints of points."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def pool_mean(features: Tensor, index: Tensor, count: int) -> Tensor:
    """(S,C): mean of the rows of features (N,C) in each of ``count`` groups, 0 in an empty one; index (N,) int64.

    Sums are taken in float32 at least. On a CPU the same input gives the same bytes; on a GPU it does under
    ``torch.use_deterministic_algorithms``. Nothing is read on the host.
    """
    out: Tensor = _PoolMean.apply(features, index, count)  # type: ignore[no-untyped-call]
    return out


class _PoolMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, index: Tensor, count: int) -> Tensor:
        dtype = torch.promote_types(features.dtype, torch.float32)
        size = torch.zeros(count, dtype=dtype, device=features.device)
        size.index_add_(0, index, size.new_ones(1).expand(len(index)))
        share = size.clamp(min=1).reciprocal()[:, None]
        ctx.save_for_backward(index, share)
        total = torch.zeros(count, features.shape[1], dtype=dtype, device=features.device)
        return (total.index_add_(0, index, features.to(dtype)) * share).to(features.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        index, share = ctx.saved_tensors
        return (gradient * share).to(gradient.dtype).index_select(0, index), None, None
