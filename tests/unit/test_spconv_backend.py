"""spconv against plain torch. Where it is not installed, only that this is said; gradients need a CUDA device."""

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.backbone import Res16UNet
from ovseg3r_model.network.kernel_maps import Keys
from ovseg3r_model.network.settings import BackboneSettings
from ovseg3r_model.network.sparse import Pyramid
from ovseg3r_model.network.spconv_backend import use_spconv

installed = pytest.mark.skipif(find_spec("spconv") is None, reason="spconv is not installed")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _case() -> tuple[Pyramid, Tensor, Res16UNet]:
    generator = torch.Generator().manual_seed(0)
    rows = (torch.rand(2, 20, 16, 24, generator=generator) < 0.2).nonzero() - torch.tensor([0, 7, -3, 9])
    torch.manual_seed(1)
    network = Res16UNet(4, BackboneSettings(planes=(8, 8, 8, 16, 16, 8, 8, 8), blocks=(1,) * 8, stem=8)).to(DEVICE)
    pyramid = Pyramid.build(rows[:, 1:], rows[:, 0], 5).to(DEVICE)
    return pyramid, torch.randn(len(rows), 4, generator=generator).to(DEVICE), network


def test_rows_of_a_grid_are_its_cells_from_their_corner() -> None:
    cells, scene = torch.tensor([[-5, 4, 0], [-5, 4, 2], [0, 0, 0]]), torch.tensor([0, 0, 1])
    rows = Keys.of(cells, scene).rows()
    assert torch.equal(rows[:, 0], scene.int())
    assert torch.equal(rows[:, 1:] - rows[:1, 1:], (cells - cells[:1]).int())
    assert int(rows.min()) >= 0


@pytest.mark.skipif(find_spec("spconv") is not None, reason="spconv is installed")
def test_that_it_is_not_installed_is_said() -> None:
    with pytest.raises(InputError, match="spconv is not installed"):
        use_spconv(_case()[2])


@installed
def test_values_and_weights_are_those_of_plain_torch() -> None:
    pyramid, features, network = _case()
    weights = {name: weight.clone() for name, weight in network.named_parameters()}
    with torch.no_grad():
        expected = network.train()(features, pyramid)
        use_spconv(network)
        found = [network(features, pyramid) for _ in range(2)]  # the second time with the pairs of the first
    assert expected.std() > 0.1
    for out in found:
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert dict(network.named_parameters()).keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in network.named_parameters())


@installed
@pytest.mark.skipif(DEVICE.type != "cuda", reason="spconv trains on CUDA only")
def test_gradients_are_those_of_plain_torch() -> None:
    pyramid, features, network = _case()
    found = []
    for _ in range(2):
        network.zero_grad()
        network.train()(features, pyramid).square().mean().backward()
        found.append([parameter.grad.clone() for parameter in network.parameters()])
        use_spconv(network)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
