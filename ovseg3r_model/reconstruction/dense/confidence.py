"""From what matching knows to the chance that a depth is right."""

import torch

from ovseg3r_model.reconstruction.dense.consistency import Agreed

RAW = (2.0, -8.0, 6.0)


def raw_confidence(cost: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    bias, on_cost, on_margin = RAW
    return torch.sigmoid(bias + on_cost * cost + on_margin * margin)


def confidence_of(found: Agreed) -> torch.Tensor:
    return torch.sigmoid(-1.5 + 0.8 * found.support - 0.8 * found.against)
