"""Sparse 3D U-Nets of the MinkUNet family; the settings' defaults are Res16UNet34C, as Mask3D and SegDINO3D take it
(METHOD 2).

Parameters are named as theirs are (``conv0p1s1``: convolution 0 at pixel distance 1, stride 1), so that their weights
load, see ``pretrained_backbone``. Without the classifier ``final`` Res16UNet34C has 37,854,112 parameters for three
input channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg3r_model.network.settings import BackboneSettings, Norm
from ovseg3r_model.network.sparse import Level, Pointwise, Pyramid, SparseConv3d, SparseDown, SparseUp

RES16UNET34C = BackboneSettings()

MOMENTUM, BLOCK_MOMENTUM = 0.02, 0.1
"""Of the running statistics, outside and inside of residual blocks: Mask3D's setting does not reach its blocks."""


class VoxelBatchNorm(nn.Module):
    """Batch normalisation over all voxels of the batch. A single voxel has no variance: it takes the running statistics
    in training too."""

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """(M,C) of x (M,C)."""
        if len(x) > 1:
            out: Tensor = self.bn(x)
            return out
        return F.batch_norm(
            x, self.bn.running_mean, self.bn.running_var, self.bn.weight, self.bn.bias, False, 0.0, self.bn.eps
        )


class BasicBlock(nn.Module):
    """Two convolutions of kernel 3 beside a shortcut, which is a 1 x 1 x 1 convolution where the channels change."""

    def __init__(self, in_channels: int, channels: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = SparseConv3d(in_channels, channels)
        self.norm1 = _norm(norm, channels, BLOCK_MOMENTUM)
        self.conv2 = SparseConv3d(channels, channels)
        self.norm2 = _norm(norm, channels, BLOCK_MOMENTUM)
        self.downsample = (
            nn.Sequential(Pointwise(in_channels, channels), _norm(norm, channels, MOMENTUM))
            if in_channels != channels
            else nn.Identity()
        )

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(M,channels) of x (M,in)."""
        out = F.relu(self.norm1(self.conv1(x, level)))
        out = self.norm2(self.conv2(out, level))
        return F.relu(out + self.downsample(x))


class Res16UNet(nn.Module):
    """Stem; four times halve and residual blocks; four times double, join the encoder's features and residual blocks.

    Args:
        in_channels: of the voxels' features.
        settings: by default Res16UNet34C's. Its ``norm`` "batch" is the published one: statistics over the batch's
            voxels in training, running ones in evaluation. "layer" normalises every voxel by itself: the same in
            training and evaluation, and it does not mind batches of one little scene, whose coarsest level has a
            handful of voxels.
    """

    def __init__(self, in_channels: int, settings: BackboneSettings = RES16UNET34C) -> None:
        super().__init__()
        planes, blocks, stem, norm = settings.planes, settings.blocks, settings.stem, settings.norm
        self.conv0p1s1 = SparseConv3d(in_channels, stem, settings.stem_kernel)
        self.bn0 = _norm(norm, stem, MOMENTUM)
        down = [stem, *planes[:4]]  # channels after the stem and each level
        self.conv1p1s2, self.bn1, self.block1 = _down(down[0], down[1], blocks[0], norm)
        self.conv2p2s2, self.bn2, self.block2 = _down(down[1], down[2], blocks[1], norm)
        self.conv3p4s2, self.bn3, self.block3 = _down(down[2], down[3], blocks[2], norm)
        self.conv4p8s2, self.bn4, self.block4 = _down(down[3], down[4], blocks[3], norm)
        up = [planes[3], *planes[4:]]
        self.convtr4p16s2, self.bntr4, self.block5 = _up(up[0], down[3], up[1], blocks[4], norm)
        self.convtr5p8s2, self.bntr5, self.block6 = _up(up[1], down[2], up[2], blocks[5], norm)
        self.convtr6p4s2, self.bntr6, self.block7 = _up(up[2], down[1], up[3], blocks[6], norm)
        self.convtr7p2s2, self.bntr7, self.block8 = _up(up[3], down[0], up[4], blocks[7], norm)
        self.out_channels = planes[7]

    def forward(self, features: Tensor, pyramid: Pyramid) -> Tensor:
        """(M,planes[7]) of features (M,in) of the pyramid's M voxels; the pyramid has five levels."""
        levels, links = pyramid.levels, pyramid.links
        p1 = F.relu(self.bn0(self.conv0p1s1(features, levels[0])))
        p2 = _run(self.block1, F.relu(self.bn1(self.conv1p1s2(p1, links[0]))), levels[1])
        p4 = _run(self.block2, F.relu(self.bn2(self.conv2p2s2(p2, links[1]))), levels[2])
        p8 = _run(self.block3, F.relu(self.bn3(self.conv3p4s2(p4, links[2]))), levels[3])
        p16 = _run(self.block4, F.relu(self.bn4(self.conv4p8s2(p8, links[3]))), levels[4])
        out = _run(self.block5, _joined(self.bntr4(self.convtr4p16s2(p16, links[3])), p8), levels[3])
        out = _run(self.block6, _joined(self.bntr5(self.convtr5p8s2(out, links[2])), p4), levels[2])
        out = _run(self.block7, _joined(self.bntr6(self.convtr6p4s2(out, links[1])), p2), levels[1])
        return _run(self.block8, _joined(self.bntr7(self.convtr7p2s2(out, links[0])), p1), levels[0])


def _norm(norm: Norm, channels: int, momentum: float) -> nn.Module:
    return VoxelBatchNorm(channels, momentum) if norm == "batch" else nn.LayerNorm(channels)


def _down(in_channels: int, channels: int, blocks: int, norm: Norm) -> tuple[SparseDown, nn.Module, nn.ModuleList]:
    return (
        SparseDown(in_channels, in_channels),
        _norm(norm, in_channels, MOMENTUM),
        _blocks(in_channels, channels, blocks, norm),
    )


def _up(
    in_channels: int, beside: int, channels: int, blocks: int, norm: Norm
) -> tuple[SparseUp, nn.Module, nn.ModuleList]:
    return (
        SparseUp(in_channels, channels),
        _norm(norm, channels, MOMENTUM),
        _blocks(channels + beside, channels, blocks, norm),
    )


def _blocks(in_channels: int, channels: int, blocks: int, norm: Norm) -> nn.ModuleList:
    widths = [in_channels] + [channels] * (blocks - 1)
    return nn.ModuleList(BasicBlock(width, channels, norm) for width in widths)


def _run(blocks: nn.ModuleList, x: Tensor, level: Level) -> Tensor:
    for block in blocks:
        x = block(x, level)
    return x


def _joined(decoded: Tensor, encoded: Tensor) -> Tensor:
    return torch.cat([F.relu(decoded), encoded], dim=1)
