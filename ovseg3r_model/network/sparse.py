"""Sparse convolution in plain torch, on any device (METHOD 2): grids of occupied voxels and the layers on them.

A voxel's features are a row; the rows of a batch's scenes stand one after another. Nothing in a forward or backward
pass reads a tensor's value on the host; building a ``Pyramid`` does. Weights are laid out as MinkowskiEngine's: one
(in, out) matrix per offset of the kernel, see ``kernel_offsets``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from ovseg3r_model.network.kernel_maps import Keys, Link, coarser, neighbours
from ovseg3r_model.network.sparse_products import Convolve, Gather, Scatter


@dataclass(frozen=True, eq=False)
class Level:
    """The occupied cells of one resolution. tables: their neighbours by kernel, made when first asked for."""

    keys: Keys
    tables: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def neighbours(self, kernel: int) -> Tensor:
        """(M,K) int32, see ``kernel_maps.neighbours``."""
        if kernel not in self.tables:
            self.tables[kernel] = neighbours(self.keys, kernel)
        return self.tables[kernel]

    def to(self, device: torch.device) -> Self:
        """On that device."""
        return replace(self, keys=self.keys.to(device), tables={k: t.to(device) for k, t in self.tables.items()})


@dataclass(frozen=True)
class Pyramid:
    """The occupied voxels of a batch of scenes at strides 1, 2, 4, ...: levels, and the links between each two.

    The cell of a voxel at stride s is its coordinates divided by s, rounded down. At every level rows are sorted by
    (scene, x, y, z).
    """

    levels: tuple[Level, ...]
    links: tuple[Link, ...]

    @classmethod
    def build(cls, coordinates: Tensor, batch: Tensor, levels: int) -> Self:
        """Of voxels (M,3) int of scenes (M,) int from 0, all different and sorted by scene, x, y, z.

        Raises:
            InputError: the voxels spread wider than 63 bits can number.
            ValueError: no voxels, or not in that order.
        """
        cells, scene = coordinates.long(), batch.long()
        made, links = [Level(Keys.of(cells, scene))], []
        for _ in range(levels - 1):
            cells, scene, link = coarser(cells, scene)
            made.append(Level(Keys.of(cells, scene)))
            links.append(link)
        return cls(tuple(made), tuple(links))

    @property
    def voxels(self) -> int:
        """M, at stride 1."""
        return len(self.levels[0].keys.values)

    @property
    def device(self) -> torch.device:
        return self.levels[0].keys.values.device

    def to(self, device: torch.device) -> Self:
        """On that device."""
        if torch.device(device) == self.device:
            return self
        return replace(
            self,
            levels=tuple(level.to(device) for level in self.levels),
            links=tuple(link.to(device) for link in self.links),
        )


class _Kernel(nn.Module):
    """A weight (K, in, out); ``fan``: how many products one output sums at most."""

    def __init__(self, volume: int, in_channels: int, out_channels: int, fan: int) -> None:
        super().__init__()
        bound = fan**-0.5  # MinkowskiEngine's
        self.kernel = nn.Parameter(torch.empty(volume, in_channels, out_channels).uniform_(-bound, bound))

    def operands(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x and the weight in the precision that autocast asks for."""
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            return x.to(dtype), self.kernel.to(dtype)
        return x, self.kernel


def convolve(x: Tensor, kernel: Tensor, level: Level, size: int) -> Tensor:
    """(M,out) of x (M,in) and a kernel (size^3,in,out)."""
    out: Tensor = Convolve.apply(x, kernel, level.neighbours(size))  # type: ignore[no-untyped-call]
    return out


class SparseConv3d(_Kernel):
    """A submanifold convolution: the output's cells are the input's. No bias. ``product``: what computes it, see
    ``spconv_backend`` for another."""

    def __init__(self, in_channels: int, out_channels: int, kernel: Literal[3, 5] = 3) -> None:
        super().__init__(kernel**3, in_channels, out_channels, in_channels * kernel**3)
        self.size = kernel
        self.product: Callable[[Tensor, Tensor, Level, int], Tensor] = convolve

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(M,out) of x (M,in)."""
        return self.product(*self.operands(x), level, self.size)


class SparseDown(_Kernel):
    """Kernel 2, stride 2: from a level to the next coarser one. No bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(8, in_channels, out_channels, in_channels * 8)

    def forward(self, x: Tensor, link: Link) -> Tensor:
        """(P,out) of x (M,in)."""
        out: Tensor = Gather.apply(*self.operands(x), link.children, link.place)  # type: ignore[no-untyped-call]
        return out


class SparseUp(_Kernel):
    """Kernel 2, stride 2, transposed: from a level back to the finer one's cells. No bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(8, in_channels, out_channels, out_channels * 8)

    def forward(self, x: Tensor, link: Link) -> Tensor:
        """(M,out) of x (P,in)."""
        out: Tensor = Scatter.apply(*self.operands(x), link.children, link.place)  # type: ignore[no-untyped-call]
        return out


class Pointwise(nn.Module):
    """A 1 x 1 x 1 convolution; its weight is (in, out), as MinkowskiEngine's. No bias."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = in_channels**-0.5
        self.kernel = nn.Parameter(torch.empty(in_channels, out_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(M,out) of x (M,in)."""
        return x @ self.kernel
