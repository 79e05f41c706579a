"""Depth maps of neighbours against each other: what several views agree on stays, is averaged, and fills holes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ovseg3r_model.records import Float64

FAINT = 0.05
"""Raw confidence under which a pixel says nothing to other views."""
OWN_WEIGHT = 2.0
"""The view's own depth counts this much in the mean: carried over from elsewhere, depth is a pixel off."""
_NONE = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class DepthMap:
    """depth (h,w) float32 z-depth, 0 = none; confidence (h,w) float32; intrinsics (3,3) at this resolution;
    world_from_camera (4,4).
    """

    depth: torch.Tensor
    confidence: torch.Tensor
    intrinsics: Float64
    world_from_camera: Float64


@dataclass(frozen=True)
class Agreed:
    """Per pixel (h,w) float32. depth: the mean of the maps that agree, 0 = none; count: how many do; support: the sum
    of their raw confidences; against: the sum over maps that look through the depth or carry another in front of it;
    spread: the relative deviation of those that agree; own: 1 where the view's own map is among them.
    """

    depth: torch.Tensor
    count: torch.Tensor
    support: torch.Tensor
    against: torch.Tensor
    spread: torch.Tensor
    own: torch.Tensor


def agree(reference: DepthMap, others: Sequence[DepthMap], tolerance: float) -> Agreed:
    """Merges a view's depth with that of its neighbours.

    Every pixel has its own depth and those that the neighbours' surfaces, carried into this view, have there. The depth
    that the most (by raw confidence) agree with wins.
    """
    carried = [carry(other, reference) for other in others]
    depth = torch.stack([reference.depth, *(d for d, _ in carried)])  # (n,h,w)
    weight = torch.stack([reference.confidence, *(w for _, w in carried)])
    weight = torch.where(depth > 0, weight.clamp_min(0.01), torch.zeros_like(weight))
    best = torch.zeros_like(depth[0])
    chosen = torch.zeros_like(depth[0])
    for candidate in depth:
        near = (depth - candidate).abs() <= tolerance * candidate
        score = (weight * near).sum(0)
        better = (score > best) & (candidate > 0)
        best = torch.where(better, score, best)
        chosen = torch.where(better, candidate, chosen)
    with_it = ((depth - chosen).abs() <= tolerance * chosen) & (depth > 0)
    pull = weight * with_it
    pull[0] *= OWN_WEIGHT
    total = pull.sum(0).clamp_min(1e-9)
    mean = (pull * depth).sum(0) / total
    spread = ((pull * (depth - mean) ** 2).sum(0) / total).sqrt() / mean.clamp_min(1e-9)
    in_front = (depth > 0) & (depth < (1 - 2 * tolerance) * mean)
    against = (weight * in_front).sum(0)
    for other in others:
        against += _looks_through(mean, reference, other, tolerance)
    return Agreed(
        depth=mean * (chosen > 0),
        count=with_it.sum(0).to(depth.dtype),
        support=(weight * with_it).sum(0),
        against=against,
        spread=spread,
        own=with_it[0].to(depth.dtype),
    )


def carry(source: DepthMap, target: DepthMap) -> tuple[torch.Tensor, torch.Tensor]:
    """The source's surface as the target sees it: depth (h,w) and confidence (h,w), 0 where it does not reach. Each
    pixel covers the four nearest to where it falls; the nearest surface wins.
    """
    height, width = target.depth.shape
    u, v, z = _project(source, target, source.depth)
    usable = (source.depth > 0) & (source.confidence > FAINT) & (z > 0)
    usable &= (u > -1) & (u < width) & (v > -1) & (v < height)
    u, v, z, weight = u[usable], v[usable], z[usable], source.confidence[usable]
    # the bits of positive floats are in their order: one minimum finds the nearest, its confidence riding along
    key = z.view(torch.int32).to(torch.int64) << 32 | weight.view(torch.int32).to(torch.int64)
    left, top = u.floor().to(torch.int64), v.floor().to(torch.int64)
    nearest = torch.full((height * width,), _NONE, dtype=torch.int64, device=z.device)
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = left + dx, top + dy
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            nearest.scatter_reduce_(0, (y * width + x)[inside], key[inside], "amin")
    hit = (nearest != _NONE).view(height, width)
    bits = torch.where(nearest != _NONE, nearest, torch.zeros_like(nearest))
    depth = (bits >> 32).to(torch.int32).view(torch.float32).view(height, width)
    confidence = (bits & 0xFFFFFFFF).to(torch.int32).view(torch.float32).view(height, width)
    return depth * hit, confidence * hit


def _project(
    source: DepthMap, target: DepthMap, depth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where depths (h,w) of the source's pixels lie in the target: column, row and z-depth, each (h,w)."""
    motion = np.linalg.inv(target.world_from_camera) @ source.world_from_camera
    turn = target.intrinsics @ motion[:3, :3] @ np.linalg.inv(source.intrinsics)
    shift = target.intrinsics @ motion[:3, 3]
    height, width = depth.shape
    x = torch.arange(width, device=depth.device, dtype=torch.float32)
    y = torch.arange(height, device=depth.device, dtype=torch.float32)[:, None]
    out = [
        depth * (x * float(r[0]) + y * float(r[1]) + float(r[2])) + float(t) for r, t in zip(turn, shift, strict=True)
    ]
    z = out[2]
    safe = torch.where(z > 0, z, torch.ones_like(z))
    return out[0] / safe, out[1] / safe, z


def _looks_through(depth: torch.Tensor, reference: DepthMap, other: DepthMap, tolerance: float) -> torch.Tensor:
    """(h,w): the other's confidence in a surface behind the point, where it should have seen the point itself."""
    height, width = other.depth.shape
    u, v, z = _project(reference, other, depth)
    x, y = (u + 0.5).floor().to(torch.int64), (v + 0.5).floor().to(torch.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (z > 0) & (depth > 0)
    index = torch.where(inside, y * width + x, torch.zeros_like(x))
    behind = other.depth.reshape(-1)[index] > (1 + 2 * tolerance) * z
    return other.confidence.reshape(-1)[index] * (behind & inside)
