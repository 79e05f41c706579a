"""One view's raw depth: a coarse sweep over the whole range, then a fine one round what it found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ovseg3r_model.reconstruction.dense.confidence import raw_confidence
from ovseg3r_model.reconstruction.dense.cost_volume import matching_cost
from ovseg3r_model.reconstruction.dense.pictures import COARSER, Level
from ovseg3r_model.reconstruction.dense.smoothing import semi_global
from ovseg3r_model.records import Float32, Float64

COARSE_STEP = 0.8
"""Pixels of the coarse picture that one depth plane moves the median source."""
FEWEST_PLANES = 8
FINE_STEPS = 8
"""Fine depths to either side of the coarse one..."""
FINE_STEP = 1 / 3
"""...this share of a coarse plane apart."""
SMALL_STEP, LARGE_STEP = 0.1, 0.8
"""What the smoothing charges for a step of one plane and for a jump, in units of the matching cost; a fine step is
worth less than a coarse one."""
EDGE_CONTRAST = 0.04
"""Grey difference (of 1) between neighbours that makes a jump half as dear."""


@dataclass(frozen=True)
class _Winner:
    """Per pixel (h,w): plane index with its fraction, matching cost there, and by how much the best other depth is
    dearer after smoothing.
    """

    index: torch.Tensor
    cost: torch.Tensor
    margin: torch.Tensor


def raw_depth(
    reference: tuple[Level, Level],
    sources: Sequence[tuple[tuple[Level, Level], Float64]],
    near: float,
    far: float,
    max_planes: int,
) -> tuple[Float32, Float32]:
    """Depth (h,w) float32 of one view at working resolution from its pictures alone, and confidence (h,w) float32.

    Args:
        reference: the view's picture, fine and coarse.
        sources: the others' with source_from_reference (4,4).
        near, far: the z-depths to search.
        max_planes: most planes of the coarse sweep.
    """
    fine, coarse = reference
    first, last = 1 / far, 1 / near
    wanted = _median_shift(coarse, sources, first, last) / COARSE_STEP
    planes = int(np.clip(np.ceil(wanted), FEWEST_PLANES, max_planes))
    step = (last - first) / (planes - 1)
    inverse = first + step * torch.arange(planes, dtype=torch.float32, device=fine.grey.device)
    cost = matching_cost(coarse, [(s[1], m) for s, m in sources], inverse[:, None, None])
    # planes closer than wanted are smaller steps
    scale = min(1.0, float(wanted) / planes)
    rough = _winner(cost, coarse.grey, scale)
    # the smoothed coarse depth in units of planes, on the fine pixels
    index = _upsampled(_median3(rough.index), fine.grey.shape)
    offsets = FINE_STEP * torch.arange(-FINE_STEPS, FINE_STEPS + 1, dtype=torch.float32, device=fine.grey.device)
    index = index.clamp(-0.5, planes - 0.5)
    around = (first + step * (index[None] + offsets[:, None, None])).clamp_min(0.25 * first)
    cost = matching_cost(fine, [(s[0], m) for s, m in sources], around)
    winner = _winner(cost, fine.grey, FINE_STEP * scale)
    index = index + FINE_STEP * (winner.index - FINE_STEPS)
    depth = 1 / (first + step * _median3(index)).clamp_min(0.25 * first)
    margin = _upsampled(rough.margin, fine.grey.shape)
    confidence = raw_confidence(winner.cost, margin)
    return depth.cpu().numpy(), confidence.cpu().numpy()


def _median_shift(
    coarse: Level, sources: Sequence[tuple[tuple[Level, Level], Float64]], first: float, last: float
) -> float:
    """Pixels that the point in the picture's middle moves in the median source between both ends of the range."""
    height, width = coarse.grey.shape
    ray = np.linalg.inv(coarse.intrinsics) @ [(width - 1) / 2, (height - 1) / 2, 1.0]
    shifts = []
    for (_, level), motion in sources:
        ends = [level.intrinsics @ (motion[:3, :3] @ ray + w * motion[:3, 3]) for w in (first, last)]
        a, b = (end[:2] / max(end[2], 1e-3) for end in ends)
        shifts.append(np.linalg.norm(a - b))
    return float(np.median(shifts))


def _winner(cost: torch.Tensor, grey: torch.Tensor, step: float) -> _Winner:
    """The best depth at each pixel of costs (D,h,w), refined below a plane by a parabola."""
    costs = cost.permute(1, 2, 0).contiguous()  # (h,w,D)
    large = LARGE_STEP / (1 + _contrast(grey) / EDGE_CONTRAST)
    small = SMALL_STEP * step
    total = semi_global(costs, small, large.clamp_min(small))
    depths = total.shape[-1]
    least, best = total.min(-1)
    inner = best.clamp(1, depths - 2)[..., None]
    left, middle, right = (total.gather(-1, inner + k)[..., 0] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    fraction = torch.where(bend > 1e-6, 0.5 * (left - right) / bend.clamp_min(1e-6), torch.zeros_like(bend))
    fraction = torch.where(best == inner[..., 0], fraction.clamp(-0.5, 0.5), torch.zeros_like(bend))
    places = torch.arange(depths, device=cost.device)
    others = total.masked_fill((places - best[..., None]).abs() <= 2, torch.inf).amin(-1)
    return _Winner(
        index=best + fraction, cost=costs.gather(-1, best[..., None])[..., 0], margin=(others - least).clamp_max(1)
    )


def _contrast(grey: torch.Tensor) -> torch.Tensor:
    """(h,w): the largest difference to a neighbour across or down."""
    padded = functional.pad(grey[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    across = torch.maximum((padded[1:-1, 2:] - grey).abs(), (padded[1:-1, :-2] - grey).abs())
    down = torch.maximum((padded[2:, 1:-1] - grey).abs(), (padded[:-2, 1:-1] - grey).abs())
    return torch.maximum(across, down)


def _median3(values: torch.Tensor) -> torch.Tensor:
    """(h,w): medians of 3 x 3 windows; by exchanges, which is exact and far faster than a sort."""
    padded = functional.pad(values[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    height, width = values.shape
    p = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    exchanges = (1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3), (5, 8), (4, 7), (3, 6)
    for a, b in (*exchanges, (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)):
        p[a], p[b] = torch.minimum(p[a], p[b]), torch.maximum(p[a], p[b])
    return p[4]


def _upsampled(values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """(h,w) of a coarse map on the fine pixels."""
    out = functional.interpolate(values[None, None], scale_factor=COARSER, mode="bilinear", align_corners=False)
    return out[0, 0, : shape[0], : shape[1]]
