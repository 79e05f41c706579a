"""Means over superpoints."""

import torch
from torch import Tensor

from ovseg3r_model.network.pooling import pool_mean


def _points(count: int, channels: int, groups: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, generator=generator), torch.randint(0, groups, (count,), generator=generator)


def test_means_are_those_of_a_loop_and_of_empty_groups_zero() -> None:
    features, index = _points(50, 3, 6)
    features = features.double()
    index[index == 4] = 5
    found = pool_mean(features, index, 7)
    for group in range(7):
        rows = features[index == group]
        expected = rows.mean(dim=0) if len(rows) else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(found[group], expected, rtol=0, atol=1e-12)
    assert {4, 6}.isdisjoint(index.tolist())


def test_gradients_agree_with_finite_differences() -> None:
    features, index = _points(20, 2, 4)
    assert torch.autograd.gradcheck(lambda x: pool_mean(x, index, 5), (features.double().requires_grad_(),))


def test_sums_of_half_precision_are_taken_in_full() -> None:
    """In bfloat16 a sum of ones stops growing at 256."""
    ones = torch.ones(10_000, 1, dtype=torch.bfloat16)
    pooled = pool_mean(ones, torch.zeros(10_000, dtype=torch.long), 1)
    assert pooled.dtype == torch.bfloat16
    assert pooled.item() == 1


def test_same_input_same_bytes() -> None:
    features, index = _points(100_000, 8, 300)
    assert torch.equal(pool_mean(features, index, 300), pool_mean(features, index, 300))
