"""From what matching knows to the chance that a depth is right, which here is: within 2 % of the truth.

Both formulas are logistic regressions. The first was fitted on 24 views of synthetic room 1 (48 views, exact poses),
the second on that room and on 12 views of 7-Scenes redkitchen (hand-held, poses from structure from motion, each
view's depth judged up to one factor, since the poses' drift is not the matching's fault), with equal weights. On these
same views the second's predictions were within 8 points of the true share in the room and 13 in the kitchen (there too
sure above 0.7); it has not been checked on others.
"""

import torch

from ovseg3r_model.reconstruction.dense.consistency import Agreed

RAW = (1.2, -6.2, 11.9, -1.5)
"""Constant, and weights of: matching cost, margin to the next best depth, its root."""

AGREED = (0.93, 0.29, -1.38, -2.20, 1.59, 0.36)
"""Constant, and weights of: log(1 + support), log(1 + against), spread in per cent up to 2, mean raw confidence of
those that agree, own map among them.
"""


def raw_confidence(cost: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """(h,w) in (0, 1) of one view: matching cost (h,w) of the winner, margin (h,w) of smoothed cost to the next."""
    bias, on_cost, on_margin, on_root = RAW
    return torch.sigmoid(bias + on_cost * cost + on_margin * margin + on_root * margin.clamp_min(0).sqrt())


def confidence_of(found: Agreed) -> torch.Tensor:
    """(h,w) in (0, 1) of a depth that several maps agree on."""
    bias, on_support, on_against, on_spread, on_mean, on_own = AGREED
    return torch.sigmoid(
        bias
        + on_support * found.support.clamp_min(0).log1p()
        + on_against * found.against.log1p()
        + on_spread * (100 * found.spread).clamp_max(2)
        + on_mean * found.support / found.count.clamp_min(1)
        + on_own * found.own
    )
