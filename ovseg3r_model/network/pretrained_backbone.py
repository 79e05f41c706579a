"""Weights of published backbones for ``Res16UNet``: those of Mask3D and of SegDINO3D, by name."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ovseg3r_model.errors import InputError
from ovseg3r_model.network.backbone import Res16UNet

STEM = "conv0p1s1.kernel"
COLOURS = 3
"""The first channels of the stem's input, red, green, blue, there and here. What the others are differs."""


@dataclass(frozen=True)
class BackboneReport:
    """What became of the weights; names without the file's prefix, sorted.

    loaded: taken from the file. colours_only: of ``conv0p1s1.kernel`` only the colours' channels were taken, the rest
    kept its values. missing: not in the file. other_shape: there in another shape, so left alone. unexpected: in the
    file alone (the classifier ``final``).
    """

    loaded: tuple[str, ...]
    colours_only: bool
    missing: tuple[str, ...]
    other_shape: tuple[str, ...]
    unexpected: tuple[str, ...]


def load_backbone(network: Res16UNet, path: Path) -> BackboneReport:
    """Copies into the network what a file holds for it: safetensors, or a checkpoint of torch, which runs no code.

    Both name weights as MinkowskiEngine's MinkUNet does. Where in the file they lie is found by the name of the stem:
    Mask3D's (Lightning) lie in ``state_dict`` under ``model.backbone.``, SegDINO3D's in ``model`` under ``backbone.``,
    maybe with ``module.`` before it. Of the stem only the colours' channels are taken: Mask3D's other channels, if any,
    are normals or positions, SegDINO3D's are features of DINO-X. Mask3D scales colours by the mean and spread of its
    data set; the first steps of training make up for that.

    Raises:
        InputError: the file is not there, cannot be read so, or holds no weight that fits.
    """
    given = _backbone_of(_read(path), path)
    own = network.state_dict()
    common = sorted(own.keys() & given.keys())
    fitting = [name for name in common if own[name].shape == given[name].shape and name != STEM]
    colours = _colours(own[STEM], given[STEM])
    if not fitting:
        raise InputError(
            f"{path}: no weight of its backbone has the shape of this network's; take the size of network that the "
            "weights are of (base)."
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(given[name])
        if colours:
            own[STEM][:, :colours].copy_(given[STEM][:, :colours])
    loaded = sorted([*fitting, STEM] if colours else fitting)
    return BackboneReport(
        loaded=tuple(loaded),
        colours_only=0 < colours < own[STEM].shape[1],
        missing=tuple(sorted(own.keys() - given.keys())),
        other_shape=tuple(name for name in common if name not in loaded),
        unexpected=tuple(sorted(given.keys() - own.keys())),
    )


def _colours(own: Tensor, given: Tensor) -> int:
    """How many input channels of the stem (K,in,out) are taken; 0 where the kernels differ."""
    same_kernel = own.dim() == given.dim() and own.shape[::2] == given.shape[::2]
    return min(COLOURS, own.shape[1], given.shape[1]) if same_kernel else 0


def _backbone_of(file: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """The backbone's tensors by their names without prefix."""
    weights = next((v for key in ("state_dict", "model") if isinstance(v := file.get(key), Mapping)), file)
    prefixes = {name.removesuffix(STEM) for name in weights if name.endswith(STEM)}
    if len(prefixes) != 1:
        found = "no backbone" if not prefixes else f"{len(prefixes)} backbones"
        raise InputError(
            f"{path}: it holds {found} of the MinkUNet family (a tensor named ...{STEM}); give one with one."
        )
    prefix = prefixes.pop()
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix) and isinstance(tensor, Tensor)
    }


def _read(path: Path) -> Mapping[str, object]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        file = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except pickle.UnpicklingError:
        raise InputError(
            f"{path}: it holds more than tensors, or is no checkpoint of torch; what it holds may run code, so it is "
            "not opened. Where you trust it, save its state_dict alone, as safetensors."
        ) from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise InputError(f"{path}: it cannot be read as weights ({error}); fetch it again.") from None
    if not isinstance(file, Mapping):
        raise InputError(f"{path}: it holds no weights by name; save a network's state_dict.")
    return file
