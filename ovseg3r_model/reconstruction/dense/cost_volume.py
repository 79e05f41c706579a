"""How badly each depth of each pixel explains the source pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ovseg3r_model.reconstruction.dense.pictures import Level
from ovseg3r_model.records import Float64

CHUNK = 1 << 17
"""Samples worked on at once: what fits into a core's cache. Whole volumes would be several times slower."""
DOUBT = 0.25
"""How many sources' worth of "no correlation" is mixed in: a depth that one source alone sees is not believed as one
that three see. Where none does, the cost is 0.5.
"""
NOISE = 5.0 / 255
"""Grey deviation that counts as noise: an area with less contrast matches nothing, rather than the noise."""
WINDOW = 5
_HIDDEN = 2.0  # marks the cost of a source that does not see the point


@dataclass(frozen=True)
class _Window:
    """The reference's windows, (h,w) each: their means, and one over their deviations with the noise."""

    mean: torch.Tensor
    scale: torch.Tensor


def matching_cost(
    reference: Level, sources: Sequence[tuple[Level, Float64]], inverse_depth: torch.Tensor, chunk: int = CHUNK
) -> torch.Tensor:
    """(D,h,w) float32 in [0, 1]: half of one minus the normalised cross-correlation with the sources, as the mean of
    the better half of them, since a point hidden in some is seen in others.

    Args:
        reference: the view's own picture, (h,w).
        sources: other pictures, each with source_from_reference (4,4).
        inverse_depth: (D,1,1) for planes, or (D,h,w) for depths of each pixel's own; 1 / z-depth of the reference.
    """
    height, width = reference.grey.shape
    count = len(inverse_depth)
    out = reference.grey.new_empty((count, height, width))
    mean = _box(reference.grey[None])[0]
    variance = (_box(reference.grey.square()[None])[0] - mean.square()).clamp_min(0)
    own = _Window(mean, (variance + NOISE**2).rsqrt())
    rays = [_rays(reference, level, motion) for level, motion in sources]
    planes = max(1, chunk // (height * width))
    device = reference.grey.device
    if device.type != "cpu":
        planes *= 16
    for start in range(0, count, planes):
        depths = inverse_depth[start : start + planes]
        costs = [
            _cost(reference, own, level, at_infinity, parallax, depths)
            for (level, _), (at_infinity, parallax) in zip(sources, rays, strict=True)
        ]
        out[start : start + planes] = _best_half(costs)
    return out


def _rays(reference: Level, source: Level, motion: Float64) -> tuple[torch.Tensor, Float64]:
    """Where each reference pixel lies in the source, as homogeneous grid_sample coordinates: (3,h,w) at infinity, and
    (3,) to add per unit of inverse depth.
    """
    height, width = reference.grey.shape
    source_height, source_width = source.grey.shape
    # from pixels to [-1, 1], the middles of the border pixels
    to_grid = np.array([[2 / (source_width - 1), 0, -1], [0, 2 / (source_height - 1), -1], [0, 0, 1]])
    camera = to_grid @ source.intrinsics
    turn = camera @ motion[:3, :3] @ np.linalg.inv(reference.intrinsics)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixel = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    rays = (turn @ pixel).reshape(3, height, width).astype(np.float32)
    return torch.from_numpy(rays).to(reference.grey.device), camera @ motion[:3, 3]


def _cost(
    reference: Level,
    own: _Window,
    source: Level,
    at_infinity: torch.Tensor,
    parallax: Float64,
    inverse_depth: torch.Tensor,
) -> torch.Tensor:
    """(d,h,w) float32 cost of one source at depths (d,1,1) or (d,h,w); ``_HIDDEN`` outside its picture."""
    height, width = reference.grey.shape
    count = len(inverse_depth)
    z = (at_infinity[2] + inverse_depth * float(parallax[2])).clamp_min_(1e-6)
    over_z = z.reciprocal_()
    grid = over_z.new_empty((count, height, width, 2))
    torch.mul(at_infinity[0] + inverse_depth * float(parallax[0]), over_z, out=grid[..., 0])
    torch.mul(at_infinity[1] + inverse_depth * float(parallax[1]), over_z, out=grid[..., 1])
    sampled = functional.grid_sample(
        source.grey[None, None], grid.view(1, count * height, width, 2), mode="bilinear", align_corners=True
    ).view(count, height, width)
    mean = _box(sampled)
    product = _box(sampled * reference.grey).addcmul_(own.mean, mean, value=-1)
    variance = _box(sampled.square_()).addcmul_(mean, mean, value=-1).clamp_min_(0)
    correlation = product.mul_(variance.add_(NOISE**2).rsqrt_()).mul_(own.scale)
    cost = correlation.mul_(-0.5).add_(0.5).clamp_(0, 1)
    outside = (grid[..., 0].abs() > 1) | (grid[..., 1].abs() > 1)
    return cost.masked_fill_(outside, _HIDDEN)


def _box(values: torch.Tensor) -> torch.Tensor:
    """(d,h,w): means over windows, beyond the border zero. Shifted adds, which for small windows beat every
    pooling in torch on a CPU.
    """
    height, width = values.shape[1:]
    half = WINDOW // 2
    padded = functional.pad(values, (half, half, half, half))
    rows = padded[:, :, :width] + padded[:, :, 1 : width + 1]
    for k in range(2, WINDOW):
        rows += padded[:, :, k : width + k]
    out = rows[:, :height] + rows[:, 1 : height + 1]
    for k in range(2, WINDOW):
        out += rows[:, k : height + k]
    return out.mul_(1 / WINDOW**2)


def _best_half(costs: list[torch.Tensor]) -> torch.Tensor:
    """Mean of the smaller half (rounded up) at each place, of those that see it; by selection, as torch sorts slowly
    across few tensors.
    """
    wanted = (len(costs) + 1) // 2
    pool = list(costs)
    total = torch.full_like(pool[0], 0.5 * DOUBT)
    count = torch.full_like(pool[0], DOUBT)
    for _ in range(wanted):
        for i in range(len(pool) - 1, 0, -1):  # one bubble pass: the least arrives in front
            low, high = torch.minimum(pool[i - 1], pool[i]), torch.maximum(pool[i - 1], pool[i])
            pool[i - 1], pool[i] = low, high
        least = pool.pop(0)
        seen = (least < _HIDDEN).to(least.dtype)
        total.addcmul_(least, seen)
        count += seen
    return total / count
