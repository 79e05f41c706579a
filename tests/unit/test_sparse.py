"""Sparse convolution against torch's dense one, and the tables against a search by dictionary."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.kernel_maps import Keys, coarser, kernel_offsets, neighbours
from ovseg3r_model.network.sparse import Pointwise, Pyramid, SparseConv3d, SparseDown, SparseUp

SIZE = 8
CORNER = torch.tensor([-4, 2, -12])
"""Even, so that the cells of stride 2 begin here too; partly negative, as rounding down must differ from cutting."""


def _scenes(share: float = 0.3, seed: int = 0, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Voxels (M,3) and scenes (M,) of two random grids, sorted as asked for; every corner of the first is taken."""
    occupied = torch.rand(2, size, size, size, generator=torch.Generator().manual_seed(seed)) < share
    occupied[0, :: size - 1, :: size - 1, :: size - 1] = True
    rows = occupied.nonzero()
    return rows[:, 1:] + CORNER, rows[:, 0]


def _dense(features: Tensor, cells: Tensor, scene: Tensor, corner: Tensor, size: int) -> Tensor:
    """(2,C,size,size,size) with the features at the cells, else 0."""
    grid = features.new_zeros(2, size, size, size, features.shape[1])
    x, y, z = (cells - corner).unbind(dim=1)
    return grid.index_put((scene, x, y, z), features).permute(0, 4, 1, 2, 3)


def _read(grid: Tensor, cells: Tensor, scene: Tensor, corner: Tensor) -> Tensor:
    x, y, z = (cells - corner).unbind(dim=1)
    return grid.permute(0, 2, 3, 4, 1)[scene, x, y, z]


def _torch_weight(kernel: Tensor, size: int) -> Tensor:
    """(in,out,x,y,z) of a weight (K,in,out) whose x is fastest."""
    return kernel.view(size, size, size, *kernel.shape[1:]).permute(3, 4, 2, 1, 0)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _same_with_gradients(
    ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], layer: nn.Module
) -> None:
    """Values and the gradients of input and weight agree to 1e-10 for a random loss."""
    kernel = layer.get_parameter("kernel")
    found = []
    for function in (ours, theirs):
        x = _random(len(_scenes()[0]), kernel.shape[-2], seed=1).requires_grad_()
        kernel.grad = None
        out = function(x)
        (out * _random(*out.shape, seed=2)).sum().backward()
        assert x.grad is not None
        assert kernel.grad is not None
        found.append((out.detach(), x.grad, kernel.grad))
    for a, b in zip(*found, strict=True):
        assert a.abs().max() > 0.1
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_submanifold_convolution_is_the_dense_one_at_the_occupied_voxels(kernel: int) -> None:
    cells, scene = _scenes()
    level = Pyramid.build(cells, scene, 1).levels[0]
    layer = SparseConv3d(3, 4, kernel).double()

    def dense(x: Tensor) -> Tensor:
        weight = _torch_weight(layer.kernel, kernel).transpose(0, 1)
        grid = F.conv3d(_dense(x, cells, scene, CORNER, SIZE), weight, padding=kernel // 2)
        return _read(grid, cells, scene, CORNER)

    _same_with_gradients(lambda x: layer(x, level), dense, layer)


def test_down_is_the_dense_strided_convolution() -> None:
    cells, scene = _scenes()
    link = Pyramid.build(cells, scene, 2).links[0]
    coarse, coarse_scene, _ = coarser(cells, scene)
    layer = SparseDown(3, 4).double()

    def dense(x: Tensor) -> Tensor:
        weight = _torch_weight(layer.kernel, 2).transpose(0, 1)
        grid = F.conv3d(_dense(x, cells, scene, CORNER, SIZE), weight, stride=2)
        return _read(grid, coarse, coarse_scene, CORNER // 2)

    _same_with_gradients(lambda x: layer(x, link), dense, layer)


def test_up_is_the_dense_transposed_convolution_at_the_occupied_voxels() -> None:
    cells, scene = _scenes()
    link = Pyramid.build(cells, scene, 2).links[0]
    coarse, coarse_scene, _ = coarser(cells, scene)
    layer = SparseUp(3, 4).double()

    def dense(x: Tensor) -> Tensor:
        grid = _dense(x[: len(coarse)], coarse, coarse_scene, CORNER // 2, SIZE // 2)
        return _read(F.conv_transpose3d(grid, _torch_weight(layer.kernel, 2), stride=2), cells, scene, CORNER)

    _same_with_gradients(lambda x: layer(x[: len(coarse)], link), dense, layer)


def test_gradients_agree_with_finite_differences_whichever_input_needs_one() -> None:
    cells, scene = _scenes(share=0.02)
    pyramid = Pyramid.build(cells, scene, 2)
    coarse = len(pyramid.levels[1].keys.values)
    layers = [
        (SparseConv3d(2, 3, 5).double(), pyramid.levels[0], len(cells)),
        (SparseDown(2, 3).double(), pyramid.links[0], len(cells)),
        (SparseUp(2, 3).double(), pyramid.links[0], coarse),
    ]
    for layer, place, rows in layers:
        x = _random(rows, 2, seed=3)
        assert torch.autograd.gradcheck(lambda x, layer=layer, place=place: layer(x, place), (x.requires_grad_(),))
        layer.zero_grad()
        (layer(x, place) * 2).sum().backward()
        both = layer.kernel.grad.clone()
        layer.zero_grad()
        (layer(x.detach(), place) * 2).sum().backward()  # as of the first layer: the input needs none
        torch.testing.assert_close(layer.kernel.grad, both, rtol=0, atol=1e-10)
        layer.kernel.requires_grad_(False)
        assert torch.autograd.gradcheck(lambda x, layer=layer, place=place: layer(x, place), (x,))


def test_many_blocks_are_one_sum() -> None:
    """17 channels by 125 offsets are gathered 512 rows at a time; the grid has some 1,800."""
    cells, scene = _scenes(share=0.9, size=10)
    level = Pyramid.build(cells, scene, 1).levels[0]
    layer = SparseConv3d(17, 2, 5).double()
    x = _random(len(cells), 17, seed=4)
    table = level.neighbours(5)
    padded = torch.cat([x, torch.zeros(1, 17, dtype=torch.float64)])
    expected = torch.einsum("mkc,kcd->md", padded[table.long()], layer.kernel)
    assert len(cells) > 3 * 512
    torch.testing.assert_close(layer(x, level), expected, rtol=0, atol=1e-10)
    gradient = _random(len(cells), 2, seed=5)
    of_weight = torch.autograd.grad(layer(x.requires_grad_(), level), layer.kernel, gradient)[0]
    torch.testing.assert_close(
        of_weight, torch.einsum("mkc,md->kcd", padded[table.long()], gradient), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("kernel", [3, 5])
def test_neighbours_are_those_a_search_finds(kernel: int) -> None:
    cells, scene = _scenes()
    rows = {(b, *cell): n for n, (b, cell) in enumerate(zip(scene.tolist(), cells.tolist(), strict=True))}
    expected = [
        [
            rows.get((b, *(c + o for c, o in zip(cell, offset, strict=True))), len(rows))
            for offset in kernel_offsets(kernel)
        ]
        for b, *cell in rows
    ]
    assert neighbours(Keys.of(cells, scene), kernel).tolist() == expected


def test_offsets_are_numbered_as_minkowski_engine_does() -> None:
    """Its ``kernel_region.hpp``: the first axis is counted up first; odd kernels are centred, even ones start at 0."""
    assert kernel_offsets(3)[:4] == [(-1, -1, -1), (0, -1, -1), (1, -1, -1), (-1, 0, -1)]
    assert kernel_offsets(3)[13] == (0, 0, 0)
    assert kernel_offsets(5)[62] == (0, 0, 0)
    assert kernel_offsets(2) == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]


def test_levels_are_the_voxels_divided_and_sorted() -> None:
    cells, scene = _scenes(share=0.1)
    pyramid = Pyramid.build(cells, scene, 4)
    rows = torch.cat([scene[:, None], cells], dim=1)
    for number, link in enumerate(pyramid.links):
        coarse = rows.clone()
        coarse[:, 1:] = torch.div(rows[:, 1:], 2, rounding_mode="floor")
        coarse, parent = torch.unique(coarse, dim=0, return_inverse=True)
        assert len(pyramid.levels[number + 1].keys.values) == len(coarse)
        assert torch.equal(link.place // 8, parent.int())
        child = rows[:, 1:] - 2 * coarse[parent, 1:]
        assert torch.equal(link.place % 8, (child @ torch.tensor([1, 2, 4])).int())
        assert torch.equal(link.children.view(-1)[link.place], torch.arange(len(rows), dtype=torch.int32))
        assert int((link.children < len(rows)).sum()) == len(rows)
        rows = coarse


def test_voxels_out_of_order_or_twice_or_none_are_refused() -> None:
    cells, scene = _scenes()
    for bad, of in [(cells.flip(0), scene), (cells[[0, 0, 1]], scene[:3]), (cells[:0], scene[:0]), (cells, scene - 1)]:
        with pytest.raises(ValueError, match="cell"):
            Pyramid.build(bad, of, 1)


def test_voxels_too_far_apart_to_number_are_the_users_to_mend() -> None:
    far = torch.tensor([[0, 0, 0], [2**22, 2**21, 2**20]])
    with pytest.raises(InputError, match="larger voxels"):
        Pyramid.build(far, torch.zeros(2, dtype=torch.long), 5)
    near = torch.tensor([[-(2**20), 0, 0], [2**20, 2**20, 2**19]])
    assert Pyramid.build(near, torch.zeros(2, dtype=torch.long), 5).voxels == 2


def test_a_kernel_that_is_not_built_is_refused() -> None:
    with pytest.raises(ValueError, match="only 3 and 5"):
        neighbours(Keys.of(*_scenes()), 7)


def test_same_input_same_bytes() -> None:
    cells, scene = _scenes()
    layer = SparseConv3d(8, 8)
    x = _random(len(cells), 8, seed=6).float().requires_grad_()
    runs = []
    for _ in range(2):
        out = layer(x, Pyramid.build(cells, scene, 1).levels[0])
        runs.append([out, *torch.autograd.grad(out.square().sum(), [x, layer.kernel])])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_mixed_precision_is_near_full_precision_and_its_gradients_are_full() -> None:
    cells, scene = _scenes()
    pyramid = Pyramid.build(cells, scene, 2)
    for layer, place in [(SparseConv3d(8, 8), pyramid.levels[0]), (SparseDown(8, 8), pyramid.links[0])]:
        x = _random(len(cells), 8, seed=6).float().requires_grad_()
        full = torch.autograd.grad(layer(x, place).square().mean(), [x, layer.kernel])
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(x, place)
        assert out.dtype == torch.bfloat16
        for a, b in zip(torch.autograd.grad(out.float().square().mean(), [x, layer.kernel]), full, strict=True):
            assert a.dtype == torch.float32
            assert (a - b).norm() < 0.02 * b.norm()


def test_a_pointwise_convolution_is_a_product() -> None:
    layer = Pointwise(3, 4)
    x = _random(5, 3, seed=7).float()
    assert torch.equal(layer(x), F.linear(x, layer.kernel.T))


def test_moved_to_a_device_or_left_where_it_is() -> None:
    pyramid = Pyramid.build(*_scenes(), 3)
    pyramid.levels[0].neighbours(3)
    assert pyramid.to(torch.device("cpu")) is pyramid
    moved = pyramid.to(torch.device("meta"))
    tensors = [level.keys.values for level in moved.levels] + [link.children for link in moved.links]
    assert {t.device.type for t in [*tensors, moved.links[0].place, moved.levels[0].neighbours(3)]} == {"meta"}
    assert moved.voxels == pyramid.voxels
