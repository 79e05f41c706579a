"""The arithmetic of sparse convolutions: rows are gathered by a table and multiplied, block by block.

Everything is a gather and a dense product: nothing is scattered, so nothing needs atomic operations, every sum has one
fixed order and the same input gives the same bytes, in the backward pass too. A row of the table holds all neighbours
of one cell, and a block's gathered rows stay in the processor's cache. On a CPU, on surfaces with 14 of 27 neighbours,
this takes half to two thirds of the time of adding up each offset's pairs of cells at 16 and 32 channels and as long at
96, although it multiplies the zeros of empty neighbours; ``benchmarks.convolving`` compares the whole network.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = {"cpu": 2**20}
LARGE_BLOCK = 2**26
"""Numbers gathered at once: on a CPU what its cache holds, elsewhere few and large products."""


def gathered(source: Tensor, table: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """(start, stop, (stop - start, K C)) blocks of the rows (M,C) that each row of the table (R,K) names, one after
    another; row M is 0. A block is only valid until the next one."""
    padded = torch.cat([source, source.new_zeros(1, source.shape[1])])
    width = table.shape[1] * source.shape[1]
    rows = max(512, BLOCK.get(source.device.type, LARGE_BLOCK) // width)
    flat = table.view(-1)
    buffer = source.new_empty(min(rows, len(table)) * table.shape[1], source.shape[1])
    for start in range(0, len(table), rows):
        stop = min(start + rows, len(table))
        block = buffer[: (stop - start) * table.shape[1]]
        torch.index_select(padded, 0, flat[start * table.shape[1] : stop * table.shape[1]], out=block)
        yield start, stop, block.view(stop - start, width)


def collect(source: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """(R,D): for each row of the table (R,K) the sum over k of source[table[:, k]] @ weight[k], weight (K,C,D)."""
    flat = weight.reshape(-1, weight.shape[2])
    out = source.new_empty(len(table), weight.shape[2])
    for start, stop, block in gathered(source, table):
        torch.mm(block, flat, out=out[start:stop])
    return out


def spread(source: Tensor, place: Tensor, weight: Tensor) -> Tensor:
    """(R,D): source[place // K] @ weight[place % K] for place (R,) int32, weight (K,C,D)."""
    count, channels, out_channels = weight.shape
    every = source @ weight.permute(1, 0, 2).reshape(channels, count * out_channels)
    return every.view(-1, out_channels).index_select(0, place)


def outer(table: Tensor, source: Tensor, other: Tensor) -> Tensor:
    """(K,C,D): over the rows r of the table (R,K), the sum of source[table[r, k]] x other[r]; other (R,D)."""
    total = _total(source, table.shape[1] * source.shape[1], other.shape[1])
    for start, stop, block in gathered(source, table):
        _add(total, block.T, other[start:stop])
    return total.view(table.shape[1], source.shape[1], other.shape[1])


def collect_and_outer(source: Tensor, table: Tensor, weight: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """``collect`` and ``outer``, the latter as (D,K,C), with one gathering."""
    flat = weight.reshape(-1, weight.shape[2])
    out = source.new_empty(len(table), weight.shape[2])
    total = _total(source, other.shape[1], len(flat))
    for start, stop, block in gathered(source, table):
        torch.mm(block, flat, out=out[start:stop])
        _add(total, other[start:stop].T, block)
    return out, total.view(other.shape[1], table.shape[1], source.shape[1])


def _total(like: Tensor, rows: int, columns: int) -> Tensor:
    """Zeros, in float32 at least: a sum over many blocks would lose too much in half precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.zeros(rows, columns, dtype=dtype, device=like.device)


def _add(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


class Convolve(torch.autograd.Function):
    """x (M,C), weight (K,C,D), table (M,K) of neighbours under a centred kernel -> (M,D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, table)
        return collect(x, table, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, table = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        if not needs_x:
            return None, outer(table, x, gradient).to(weight.dtype) if needs_weight else None, None
        # Who is my neighbour at an offset has me at the opposite one, which has the opposite number.
        mirrored = weight.flip(0).transpose(1, 2)
        if not needs_weight:
            return collect(gradient, table, mirrored), None, None
        of_x, of_weight = collect_and_outer(gradient, table, mirrored, x)
        return of_x, of_weight.flip(1).transpose(0, 1).to(weight.dtype), None


class Gather(torch.autograd.Function):
    """Down: x (M,C) of the fine cells, weight (8,C,D), children (P,8) and place (M,) of a link -> (P,D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, children: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, children, place)
        return collect(x, children, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, children, place = ctx.saved_tensors
        needs_x, needs_weight, *_ = ctx.needs_input_grad
        of_x = spread(gradient, place, weight.transpose(1, 2)) if needs_x else None
        of_weight = outer(children, x, gradient).to(weight.dtype) if needs_weight else None
        return of_x, of_weight, None, None


class Scatter(torch.autograd.Function):
    """Up: x (P,C) of the coarse cells, weight (8,C,D), children (P,8) and place (M,) of a link -> (M,D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, children: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, children)
        return spread(x, place, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, children = ctx.saved_tensors
        of_x, of_weight = collect_and_outer(gradient, children, weight.transpose(1, 2), x)
        return of_x, of_weight.transpose(0, 1).to(weight.dtype), None, None
