"""Who is whose neighbour in a sparse grid: the tables that sparse convolutions gather by. Pure index arithmetic."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Self

import torch
from torch import Tensor

from ovseg3r_model.errors import InputError

MARGIN = 2
"""Cells left empty around a grid, so that no neighbour under a kernel of 5 has another cell's number."""


@dataclass(frozen=True)
class Keys:
    """Cells as sorted numbers: the cell (x, y, z) of scene b, counted from the grid's corner, has
    ((b X + x) Y + y) Z + z.

    values (M,) int64, strictly rising. size: (X, Y, Z) with margins. scenes: how many b are counted.
    """

    values: Tensor
    size: tuple[int, int, int]
    scenes: int

    @classmethod
    def of(cls, cells: Tensor, scene: Tensor) -> Self:
        """Of cells (M,3) int64 of scenes (M,) int64 from 0, all different and sorted by scene, x, y, z.

        Raises:
            InputError: the cells spread wider than 63 bits can number.
            ValueError: no cells, or not in that order.
        """
        if not len(cells):
            raise ValueError("a grid needs at least one cell")
        low, high = cells.amin(dim=0).tolist(), cells.amax(dim=0).tolist()
        x, y, z = (end - start + 1 + 2 * MARGIN for start, end in zip(low, high, strict=True))
        scenes = int(scene.max()) + 1
        if scenes * x * y * z >= 2**63:
            raise InputError(
                f"The scenes spread over {x} x {y} x {z} voxels, too many to number; remove points far from the rest "
                "or take larger voxels."
            )
        keys = cls(_numbers(cells - cells.new_tensor(low) + MARGIN, scene, (x, y, z)), (x, y, z), scenes)
        if int(scene[0]) < 0 or not bool((keys.values[1:] > keys.values[:-1]).all()):
            raise ValueError("cells must be all different and sorted by scene, x, y, z")
        return keys

    def to(self, device: torch.device) -> Self:
        """On that device."""
        return replace(self, values=self.values.to(device))

    def rows(self) -> Tensor:
        """(M,4) int32: scene, x, y, z of each cell, counted from the corner."""
        x, y, z = self.size
        columns = (self.values // (x * y * z), self.values // (y * z) % x, self.values // z % y, self.values % z)
        return torch.stack(columns, dim=1).to(torch.int32)

    def step(self, x: int, y: int, z: int) -> int:
        """What the number of the cell at (x, y, z) from a cell has more than that cell's."""
        return (x * self.size[1] + y) * self.size[2] + z


def kernel_offsets(kernel: int) -> list[tuple[int, int, int]]:
    """(x, y, z) of the kernel^3 weights, as MinkowskiEngine (``src/kernel_region.hpp``) numbers them: x fastest; an odd
    kernel is centred, an even one starts at 0."""
    steps = range(-(kernel // 2), kernel // 2 + 1) if kernel % 2 else range(kernel)
    return [(x, y, z) for z, y, x in product(steps, repeat=3)]


def neighbours(keys: Keys, kernel: int) -> Tensor:
    """(M,K) int32: the cell at each of the K = kernel^3 offsets from each cell, M where that is empty; kernel 3 or 5.

    Cells that differ in z alone have consecutive numbers: one binary search finds where a column of the kernel begins,
    the rest is read off the sorted numbers. A pair found in one half of the columns is known in the other half too.
    """
    count, half = len(keys.values), kernel // 2
    if kernel not in (3, 5):
        raise ValueError(f"a kernel of {kernel}: only 3 and 5 are built")
    table = keys.values.new_full((kernel**3, count + 1), count, dtype=torch.int32)
    own = torch.arange(count, dtype=torch.int32, device=table.device)
    table[kernel**3 // 2, :count] = own
    numbers = {offset: number for number, offset in enumerate(kernel_offsets(kernel))}
    for x, y in product(range(-half, half + 1), repeat=2):
        if (x, y) < (0, 0):
            continue
        for z, there in _column(keys, x, y, half):
            number = numbers[x, y, z]
            table[number, :count] = there
            # Where nothing is there, the last row, which is cut off, takes it.
            table[kernel**3 - 1 - number].index_put_((there,), own)
    return table[:, :count].T.contiguous()


def _column(keys: Keys, x: int, y: int, half: int) -> list[tuple[int, Tensor]]:
    """(z, (M,) int32 cells at (x, y, z) from each cell) for z from -half to half; of the middle column only z > 0."""
    values, count = keys.values, len(keys.values)
    padded = torch.cat([values, values.new_full((1,), -1)])
    first = 1 if (x, y) == (0, 0) else -half
    wanted = values + keys.step(x, y, first)
    place = torch.searchsorted(values, wanted)
    found = []
    for z in range(first, half + 1):
        hit = padded[place] == wanted
        found.append((z, torch.where(hit, place, count).to(torch.int32)))
        place, wanted = place + hit, wanted + 1
    return found


def _numbers(cells: Tensor, scene: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(M,) int64: ((b X + x) Y + y) Z + z."""
    x, y, z = cells.unbind(dim=1)
    return ((scene * size[0] + x) * size[1] + y) * size[2] + z


@dataclass(frozen=True)
class Link:
    """Which cells of a fine grid, M of them, lie in which cells of the grid twice as coarse, P of them.

    children (P,8) int32: the fine cells by their place in the coarse one, numbered with x fastest; M where there is
    none. place (M,) int32: 8 times the coarse cell a fine cell lies in, plus its place there.
    """

    children: Tensor
    place: Tensor

    def to(self, device: torch.device) -> Self:
        """On that device."""
        return replace(self, children=self.children.to(device), place=self.place.to(device))


def coarser(cells: Tensor, scene: Tensor) -> tuple[Tensor, Tensor, Link]:
    """Cells (P,3) and scenes (P,) of the grid twice as coarse, sorted as those given are, and the link to it."""
    halves = torch.div(cells, 2, rounding_mode="floor")
    low, high = halves.amin(dim=0), halves.amax(dim=0)
    x, y, z = (high - low + 1).tolist()
    unique, parent = torch.unique(_numbers(halves - low, scene, (x, y, z)), return_inverse=True)
    x, y, z = (cells - 2 * halves).unbind(dim=1)  # 0 or 1
    place = parent * 8 + x + 2 * y + 4 * z
    children = torch.full((len(unique) * 8,), len(cells), dtype=torch.int32, device=cells.device)
    children[place] = torch.arange(len(cells), dtype=torch.int32, device=cells.device)
    coarse, coarse_scene = halves.new_empty((len(unique), 3)), scene.new_empty(len(unique))
    coarse[parent], coarse_scene[parent] = halves, scene  # siblings write the same
    return coarse, coarse_scene, Link(children.view(-1, 8), place.to(torch.int32))
