"""spconv 2.x beneath the same modules: its kernels for the submanifold convolutions, on a CUDA device.

The modules keep their weights, so a network's state is the same with and without. Convolutions of stride 2, which are
a small share of the work, stay as they are: spconv would number the coarser cells in an order of its own. On a CPU
spconv computes the forward pass only.
"""

from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.sparse import Level, SparseConv3d


def use_spconv(network: nn.Module) -> None:
    """From now on spconv computes the submanifold convolutions in the network.

    Raises:
        InputError: spconv is not installed.
    """
    tensors = _Tensors()
    for module in network.modules():
        if isinstance(module, SparseConv3d):
            module.product = _Product(tensors, module.kernel.shape[1], module.kernel.shape[2], module.size)


class _Tensors:
    """spconv's tensors of levels. One is kept for each level, as it carries the pairs of cells found for it."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Level, Any] = WeakKeyDictionary()

    def of(self, level: Level, x: Tensor) -> Any:
        """With features x (M,C)."""
        if level not in self._known:
            keys = level.keys
            # spconv reads the rows' memory as it lies.
            return _spconv().SparseConvTensor(x, keys.rows().contiguous(), list(keys.size), keys.scenes)
        return self._known[level].replace_feature(x)

    def keep(self, level: Level, tensor: Any) -> None:
        """The tensor without its features, which nobody needs any more."""
        self._known[level] = tensor.replace_feature(tensor.features.new_empty(len(tensor.features), 0))


class _Product:
    def __init__(self, tensors: _Tensors, in_channels: int, out_channels: int, size: int) -> None:
        self._tensors = tensors
        layer = _spconv().SubMConv3d(in_channels, out_channels, size, bias=False, indice_key=f"kernel {size}")
        del layer.weight
        self._layer = layer

    def __call__(self, x: Tensor, kernel: Tensor, level: Level, size: int) -> Tensor:
        # Its weight is (out,x,y,z,in) for cells given as (scene,x,y,z); ours (K,in,out) with x fastest.
        self._layer.weight = kernel.view(size, size, size, *kernel.shape[1:]).permute(4, 2, 1, 0, 3).contiguous()
        out = self._layer(self._tensors.of(level, x))
        self._tensors.keep(level, out)
        features: Tensor = out.features
        return features


def _spconv() -> Any:
    try:
        return import_module("spconv.pytorch")
    except ImportError:
        raise InputError(
            "spconv is not installed; install the build for your CUDA, pip install spconv-cu126 say, or do without."
        ) from None
