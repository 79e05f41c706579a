"""Semi-global smoothing: each pixel's costs plus those of the cheapest paths that lead to it from eight sides."""

import torch


def semi_global(cost: torch.Tensor, small: float, large: torch.Tensor) -> torch.Tensor:
    """(h,w,D) float32: the mean over eight directions of the cost of the best path that ends there.

    Args:
        cost: (h,w,D), contiguous.
        small: what a step to the next depth costs.
        large: (h,w) what any longer step costs at a pixel, at least ``small``.
    """
    out = torch.zeros_like(cost)
    _scan(cost, small, large, out, diagonal=True)
    turned = torch.zeros_like(cost).transpose(0, 1).contiguous()
    _scan(cost.transpose(0, 1).contiguous(), small, large.T.contiguous(), turned, diagonal=False)
    out += turned.transpose(0, 1)
    return out / 8


def _scan(cost: torch.Tensor, small: float, large: torch.Tensor, out: torch.Tensor, diagonal: bool) -> None:
    """Adds the paths that run down and up the rows: straight and, if wanted, both diagonals at once."""
    height, width, depths = cost.shape
    shifts = (0, 1, -1) if diagonal else (0,)
    for rows in (range(height), range(height - 1, -1, -1)):
        # one column and one depth of padding on either side: beyond the picture a path starts anew
        before = cost.new_zeros((len(shifts), width, depths))
        for y in rows:
            least = before.amin(-1, keepdim=True)  # (k,w,1)
            best = torch.minimum(before, least + large[y][:, None])
            torch.minimum(best[..., 1:], before[..., :-1] + small, out=best[..., 1:])
            torch.minimum(best[..., :-1], before[..., 1:] + small, out=best[..., :-1])
            best -= least
            best += cost[y]
            out[y] += best.sum(0)
            before = best
            if diagonal:
                before = torch.zeros_like(best)
                before[0] = best[0]
                before[1, 1:] = best[1, :-1]
                before[2, :-1] = best[2, 1:]
