"""The backbone against its published definition, and against a dense U-Net on a grid without a gap."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.settings import BackboneSettings, Norm
from ovseg3r_model.network.sparse import Pyramid

RES16UNET34C = {
    # level: (its strided convolution, its blocks' (in, out) channels); INIT_DIM 32,
    # PLANES 32, 64, 128, 256, 256, 128, 96, 96, LAYERS 2, 3, 4, 6, 2, 2, 2, 2 (Mask3D, models/res16unet.py)
    "block1": (("conv1p1s2", 32, 32), [(32, 32), (32, 32)]),
    "block2": (("conv2p2s2", 32, 32), [(32, 64), (64, 64), (64, 64)]),
    "block3": (("conv3p4s2", 64, 64), [(64, 128), (128, 128), (128, 128), (128, 128)]),
    "block4": (("conv4p8s2", 128, 128), [(128, 256), *[(256, 256)] * 5]),
    "block5": (("convtr4p16s2", 256, 256), [(256 + 128, 256), (256, 256)]),
    "block6": (("convtr5p8s2", 256, 128), [(128 + 64, 128), (128, 128)]),
    "block7": (("convtr6p4s2", 128, 96), [(96 + 32, 96), (96, 96)]),
    "block8": (("convtr7p2s2", 96, 96), [(96 + 32, 96), (96, 96)]),
}
NORM_OF = {"conv": "bn", "convtr": "bntr"}
TINY = BackboneSettings(planes=(4, 5, 6, 7, 7, 6, 5, 4), blocks=(1, 2, 1, 1, 1, 1, 1, 2), stem=4)


def _published_shapes(in_channels: int) -> dict[str, tuple[int, ...]]:
    """Every weight of Mask3D's Res16UNet34C but the classifier's, by MinkowskiEngine's layout."""
    shapes: dict[str, tuple[int, ...]] = {"conv0p1s1.kernel": (125, in_channels, 32)}
    norms = {"bn0": 32}
    for level, ((name, before, after), blocks) in RES16UNET34C.items():
        shapes[f"{name}.kernel"] = (8, before, after)
        kind = name.rstrip("0123456789ps")
        norms[f"{NORM_OF[kind]}{name[len(kind)]}"] = after
        for number, (channels, out) in enumerate(blocks):
            block = f"{level}.{number}"
            shapes[f"{block}.conv1.kernel"], shapes[f"{block}.conv2.kernel"] = (27, channels, out), (27, out, out)
            norms[f"{block}.norm1"] = norms[f"{block}.norm2"] = out
            if channels != out:
                shapes[f"{block}.downsample.0.kernel"] = (channels, out)
                norms[f"{block}.downsample.1"] = out
    for name, channels in norms.items():
        shapes[f"{name}.bn.weight"] = shapes[f"{name}.bn.bias"] = (channels,)
    return shapes


def _rows(size: int, share: float, seed: int, scenes: int = 1) -> tuple[Tensor, Tensor]:
    occupied = torch.rand(scenes, size, size, size, generator=torch.Generator().manual_seed(seed)) < share
    rows = occupied.nonzero()
    return rows[:, 1:], rows[:, 0]


def _network(seed: int = 0, norm: Norm = "batch", in_channels: int = 2) -> Res16UNet:
    """A small network whose statistics, weights and biases are all random."""
    torch.manual_seed(seed)
    network = Res16UNet(in_channels, TINY.model_copy(update={"stem_kernel": 3, "norm": norm}))
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, *((-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.5, 1.5)))
    return network


def test_every_weight_of_the_published_network_is_there_in_its_shape() -> None:
    found = {name: tuple(weight.shape) for name, weight in Res16UNet(3).named_parameters()}
    assert found == _published_shapes(3)


def test_parameter_counts_are_the_published_ones() -> None:
    """MinkUNet14B with 1 input channel and 20 classes has 8,953,588 (NVIDIA/MinkowskiEngine issue 29); the weights of
    OpenMask3D's released network hold 46 kernels of 27 offsets, 8 of 8 and 1 of 125. Res16UNet34C's
    own count was added up from its definition."""
    planes = (32, 64, 128, 256, 128, 128, 128, 128)
    assert _count(Res16UNet(1, BackboneSettings(planes=planes, blocks=(1,) * 8))) + 128 * 20 + 20 == 8_953_588
    network = Res16UNet(3)
    volumes = [len(w) for name, w in network.named_parameters() if name.endswith("kernel") and w.dim() == 3]
    assert [volumes.count(k) for k in (27, 8, 125)] == [46, 8, 1]
    assert _count(network) == 37_854_112
    assert _count(network) + 96 * 20 + 20 == 37_856_052


def test_statistics_move_as_fast_as_in_mask3d() -> None:
    """0.02 by its configuration; its residual blocks are built without it and keep the default 0.1."""
    for name, module in Res16UNet(3, TINY).named_modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.momentum == (0.1 if ".norm" in name else 0.02), name


def test_on_a_full_grid_it_is_a_dense_u_net() -> None:
    network = _network().double().eval()
    cells, scene = _rows(16, 2.0, seed=0)
    features = torch.randn(len(cells), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    grid = features.view(1, 16, 16, 16, 2).permute(0, 4, 1, 2, 3)
    expected = _dense_u_net(network, grid).permute(0, 2, 3, 4, 1).reshape(len(cells), -1)
    with torch.no_grad():
        found = network(features, Pyramid.build(cells, scene, 5))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def _dense_u_net(network: Res16UNet, grid: Tensor) -> Tensor:
    """The published wiring in torch's dense convolutions, weights by name."""
    weights = network.state_dict()

    def cube(name: str) -> Tensor:  # (in,out,x,y,z)
        kernel = weights[f"{name}.kernel"]
        size = round(len(kernel) ** (1 / 3))
        return kernel.view(size, size, size, *kernel.shape[1:]).permute(3, 4, 2, 1, 0)

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var, weight, bias = (weights[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    def block(name: str, x: Tensor) -> Tensor:
        out = F.relu(norm(f"{name}.norm1", F.conv3d(x, cube(f"{name}.conv1").transpose(0, 1), padding=1)))
        out = norm(f"{name}.norm2", F.conv3d(out, cube(f"{name}.conv2").transpose(0, 1), padding=1))
        if f"{name}.downsample.0.kernel" in weights:
            x = norm(f"{name}.downsample.1", torch.einsum("bcxyz,cd->bdxyz", x, weights[f"{name}.downsample.0.kernel"]))
        return F.relu(out + x)

    def blocks(level: int, x: Tensor) -> Tensor:
        for number in range(TINY.blocks[level - 1]):
            x = block(f"block{level}.{number}", x)
        return x

    x = F.relu(norm("bn0", F.conv3d(grid, cube("conv0p1s1").transpose(0, 1), padding=1)))
    kept = []
    for level, name in enumerate(("conv1p1s2", "conv2p2s2", "conv3p4s2", "conv4p8s2"), start=1):
        kept.append(x)
        x = blocks(level, F.relu(norm(f"bn{level}", F.conv3d(x, cube(name).transpose(0, 1), stride=2))))
    for level, name in enumerate(("convtr4p16s2", "convtr5p8s2", "convtr6p4s2", "convtr7p2s2"), start=4):
        x = F.relu(norm(f"bntr{level}", F.conv_transpose3d(x, cube(name), stride=2)))
        x = blocks(level + 1, torch.cat([x, kept.pop()], dim=1))
    return x


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_scenes_of_a_batch_do_not_see_each_other_in_evaluation(norm: Norm) -> None:
    network = _network(norm=norm).double().eval()
    cells, scene = _rows(12, 0.1, seed=2, scenes=2)
    features = torch.randn(len(cells), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    together = network(features, Pyramid.build(cells, scene, 5))
    for number in range(2):
        own = scene == number
        alone = network(features[own], Pyramid.build(cells[own], torch.zeros_like(scene[own]), 5))
        torch.testing.assert_close(together[own], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_no_value_is_read_on_the_host(norm: Norm) -> None:
    """On the meta device there are no values to read. Forward, neighbours' tables included, and backward."""
    pyramid = Pyramid.build(*_rows(12, 0.1, seed=4), 5).to(torch.device("meta"))
    network = _network(norm=norm).to("meta")
    out = network(torch.empty(pyramid.voxels, 2, device="meta"), pyramid)
    assert out.shape == (pyramid.voxels, 4)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_one_voxel_trains(norm: Norm) -> None:
    network = _network(norm=norm).train()
    pyramid = Pyramid.build(torch.tensor([[5, -3, 7]]), torch.zeros(1, dtype=torch.long), 5)
    out = network(torch.ones(1, 2), pyramid)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_same_training_step_same_bytes() -> None:
    cells, scene = _rows(16, 0.1, seed=5, scenes=2)
    features = torch.randn(len(cells), 2, generator=torch.Generator().manual_seed(6))
    steps = []
    for _ in range(2):
        network = _network().train()
        network(features, Pyramid.build(cells, scene, 5)).square().mean().backward()
        steps.append([*(p.grad for p in network.parameters()), *network.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))


def test_other_than_eight_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"planes\n.*at least 8 items"):
        BackboneSettings(planes=(8, 8))


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
