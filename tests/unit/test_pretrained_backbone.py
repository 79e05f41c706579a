"""Published backbones' weights by name. The files are made here, in the names and shapes of Mask3D and SegDINO3D."""

import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.pretrained_backbone import load_backbone
from ovseg3r_model.network.settings import BackboneSettings

SHAPE = BackboneSettings(planes=(4, 6, 8, 10, 10, 8, 6, 6), blocks=(1, 2, 1, 1, 1, 1, 1, 1), stem=4)
NAMES = (
    "conv0p1s1.kernel", "bn0.bn.weight", "bn0.bn.running_var", "conv4p8s2.kernel", "bn4.bn.bias", "convtr7p2s2.kernel",
    "bntr7.bn.running_mean", "block2.0.conv1.kernel", "block2.0.norm1.bn.weight", "block2.0.downsample.0.kernel",
    "block2.0.downsample.1.bn.weight", "block2.1.conv2.kernel", "block8.0.norm2.bn.num_batches_tracked",
)  # fmt: skip
"""Some of those in Mask3D's models/res16unet.py and models/resnet.py, with MinkowskiBatchNorm's ``bn``."""


def _network(in_channels: int, seed: int, stem: int = 5) -> Res16UNet:
    torch.manual_seed(seed)
    network = Res16UNet(in_channels, SHAPE.model_copy(update={"stem_kernel": stem}))
    for index, buffer in enumerate(network.buffers()):
        buffer.fill_(seed + index + 1)
    return network


def _published(in_channels: int) -> dict[str, Tensor]:
    """A network's weights, and the classifier's."""
    return {
        **_network(in_channels, seed=1).state_dict(),
        "final.kernel": torch.randn(6, 20),
        "final.bias": torch.randn(1, 20),
    }


def test_the_names_are_the_published_ones() -> None:
    assert set(NAMES) <= _network(3, seed=0).state_dict().keys()


def test_mask3d_loads_from_its_lightning_checkpoint(tmp_path: Path) -> None:
    published = _published(3)
    others = {"criterion.empty_weight": torch.ones(3), "model.query_projection.layers.0.weight": torch.ones(2, 2)}
    state = {**{f"model.backbone.{name}": tensor for name, tensor in published.items()}, **others}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "mask3d.ckpt")
    network = _network(3, seed=2)
    report = load_backbone(network, tmp_path / "mask3d.ckpt")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, published[name]), name
    assert report.loaded == tuple(sorted(network.state_dict()))
    assert report.unexpected == ("final.bias", "final.kernel")
    assert (report.colours_only, report.missing, report.other_shape) == (False, (), ())


@pytest.mark.parametrize("prefix", ["backbone.", "module.backbone."])
def test_segdino3d_loads_with_its_colours_alone(tmp_path: Path, prefix: str) -> None:
    """Its stem takes 259 channels: colours and 2D features; this one's others keep their values."""
    published = _published(259)
    state = {prefix + name: tensor for name, tensor in published.items() if not name.startswith("final")}
    torch.save({"model": state, "epoch": 1}, tmp_path / "segdino3d.pth")
    network = _network(6, seed=2)
    before = network.conv0p1s1.kernel.detach().clone()
    report = load_backbone(network, tmp_path / "segdino3d.pth")
    assert report.colours_only
    assert "conv0p1s1.kernel" in report.loaded
    assert torch.equal(network.conv0p1s1.kernel[:, :3], published["conv0p1s1.kernel"][:, :3])
    assert torch.equal(network.conv0p1s1.kernel[:, 3:], before[:, 3:])
    assert torch.equal(network.block4[0].conv1.kernel, published["block4.0.conv1.kernel"])


def test_as_many_channels_are_not_the_same_channels(tmp_path: Path) -> None:
    """Mask3D with normals has 6 as well; only the colours mean the same."""
    published = _published(6)
    save_file(published, tmp_path / "mask3d.safetensors")
    network = _network(6, seed=2)
    before = network.conv0p1s1.kernel.detach().clone()
    assert load_backbone(network, tmp_path / "mask3d.safetensors").colours_only
    assert torch.equal(network.conv0p1s1.kernel[:, :3], published["conv0p1s1.kernel"][:, :3])
    assert torch.equal(network.conv0p1s1.kernel[:, 3:], before[:, 3:])


def test_what_is_missing_or_of_another_shape_is_said_and_left_alone(tmp_path: Path) -> None:
    published = _published(3)
    del published["bn2.bn.weight"]
    published["block5.0.conv1.kernel"] = torch.zeros(27, 5, 5)
    save_file(published, tmp_path / "part.safetensors")
    network = _network(3, seed=2, stem=3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = load_backbone(network, tmp_path / "part.safetensors")
    assert report.missing == ("bn2.bn.weight",)
    assert report.other_shape == ("block5.0.conv1.kernel", "conv0p1s1.kernel")
    assert not report.colours_only
    for name in (*report.missing, *report.other_shape):
        assert torch.equal(network.state_dict()[name], before[name])
    assert len(report.loaded) == len(before) - 3


def test_files_that_cannot_serve_are_refused_in_one_sentence(tmp_path: Path) -> None:
    state = _published(3)
    torch.save({"state_dict": state, "hyper_parameters": argparse.Namespace(a=1)}, tmp_path / "code.ckpt")
    torch.save({"weights": torch.ones(3)}, tmp_path / "other.pth")
    torch.save({**state, **{f"ema.{name}": tensor for name, tensor in state.items()}}, tmp_path / "two.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x00\x01")
    (tmp_path / "empty.pth").write_bytes(b"")
    save_file({"conv0p1s1.kernel": torch.ones(27, 3, 7)}, tmp_path / "small.safetensors")
    reasons = {
        "code.ckpt": "run code", "other.pth": "no backbone", "two.pth": "2 backbones", "list.pth": "by name",
        "cut.safetensors": "cannot be read", "empty.pth": "cannot be read", "small.safetensors": "shape",
        "none.pth": "no such file", "none.safetensors": "no such file",
    }  # fmt: skip
    network = _network(3, seed=2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as raised:
            load_backbone(network, tmp_path / name)
        assert name in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
