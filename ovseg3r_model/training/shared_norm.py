"""Batch normalisation over the voxels of a step's whole batch, when several processes hold a part of it each.

``torch.nn.SyncBatchNorm`` does this on CUDA alone, and so could not be tested on a CPU.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable

from ovseg3r_model.network.backbone import VoxelBatchNorm


class SharedBatchNorm(nn.Module):
    """``VoxelBatchNorm`` over all processes; all must call it, forward and backward, equally often. Parameters and
    statistics are ``bn``'s own, so that weights interchange. Every process has voxels, so there never is a single one.
    """

    def __init__(self, bn: nn.BatchNorm1d) -> None:
        super().__init__()
        self.bn = bn

    def forward(self, x: Tensor) -> Tensor:
        """(M,C) of this process's x (M,C)."""
        if not self.training:
            out: Tensor = self.bn(x)
            return out
        out, mean, variance, count = _Normalised.apply(x, self.bn.weight, self.bn.bias, self.bn.eps)  # type: ignore[no-untyped-call]
        self._follow(running_mean=mean, running_var=variance * count / (count - 1))
        return out

    @torch.no_grad()
    def _follow(self, **values: Tensor) -> None:
        """The running statistics, as ``bn`` itself keeps them."""
        for name, value in values.items():
            self.bn.get_buffer(name).lerp_(value, self.bn.momentum or 0.0)
        self.bn.get_buffer("num_batches_tracked").add_(1)


def share_norms(network: nn.Module) -> None:
    """Puts a ``SharedBatchNorm`` where the network has a ``VoxelBatchNorm``."""
    for module in list(network.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, VoxelBatchNorm):
                setattr(module, name, SharedBatchNorm(norm.bn))


class _Normalised(torch.autograd.Function):
    """out, and mean, variance (C,), count () over all processes, of this process's x (M,C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x.float()
        total = _over_all(torch.cat([values.sum(0), values.new_full((1,), len(values))]))
        mean, count = total[:-1] / total[-1], total[-1]
        variance = _over_all((values - mean).square().sum(0)) / count
        scale = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return ((values - mean) * (scale * weight) + bias).to(x.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        given, normal = gradient.float(), (x.float() - mean) * scale
        here = torch.stack([given.sum(0), (given * normal).sum(0)])  # of bias and weight, of this process's loss
        to_mean, to_variance = _over_all(here.clone()) / count
        to_x = scale * weight * (given - to_mean - normal * to_variance)
        return to_x.to(x.dtype), here[1], here[0], None


def _over_all(value: Tensor) -> Tensor:
    """The sum over the processes, in place."""
    distributed.all_reduce(value)
    return value
