"""The network that sees two pictures at a time: what it has to do, and the pretrained DUSt3R that does it."""

import io
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.protocol import torch_device
from ovseg3r_model.records import Float32, UInt8
from ovseg3r_model.settings import Dust3rSettings

LICENCE = "DUSt3R's code and weights are CC BY-NC-SA 4.0: for non-commercial use only"

PACKAGES = ("mini_dust3r", "dust3r")
"""Either has the network: the package on PyPI without what surrounds it, and the original."""

# Not as a dependency: of what mini-dust3r asks for, the network needs only what the extra names, and a torchvision that
# does not fit torch breaks other engines.
INSTALL = "pip install 'ovseg3r[dust3r]' && pip install --no-deps mini-dust3r"

FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class PairPrediction:
    """Of B directed pairs. first and second (B,h,w,3) float32: the points that the pixels of the first and of the
    second picture see, both in the first picture's camera frame (x right, y down, z forward), in a unit of each pair's
    own. first_confidence and second_confidence (B,h,w) float32, at least 1 (DUSt3R, section 3.2).
    """

    first: Float32
    second: Float32
    first_confidence: Float32
    second_confidence: Float32


class PairModel(Protocol):
    def predict(self, first: Sequence[UInt8], second: Sequence[UInt8]) -> PairPrediction:
        """Of B pairs of pictures (h,w,3) uint8 RGB, all of one size. The engine gives every pair both ways, one after
        the other.
        """
        ...


def installed() -> str | None:
    """The name of the installed package that has the network, or None."""
    return next((name for name in PACKAGES if find_spec(name) is not None), None)


def load_pair_model(settings: Dust3rSettings) -> PairModel:
    """The network of ``settings``, its weights read from safetensors, which run no code.

    Raises:
        InputError: no package, no weights, or weights of something else.
    """
    build = _architecture()
    config, weights = _files(settings.weights)
    return _PretrainedPairs(_read(build, config, weights, settings.weights), settings.device)


def _architecture() -> Any:
    package = installed()
    if package is None:
        raise InputError(f"The engine dust3r needs the package mini-dust3r, which is not installed; {INSTALL}.")
    try:
        with _quiet():
            for needed in ("safetensors.torch", "huggingface_hub"):
                import_module(needed)
            return import_module(f"{package}.model").AsymmetricCroCo3DStereo
    except Exception as error:  # whatever an installation that does not fit together throws
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"The package {package} cannot be imported ({reason[0]}); {INSTALL}.") from error


def local_files(weights: str) -> tuple[Path, ...]:
    """The two files of a folder with weights; none where ``weights`` is a hub id.

    Raises:
        InputError: one is missing, or ``weights`` is neither.
    """
    folder = Path(weights).expanduser()
    if folder.is_dir():
        absent = [name for name in FILES if not (folder / name).is_file()]
        if absent:
            raise InputError(f"{weights}: {' and '.join(absent)} is missing; give a folder with {' and '.join(FILES)}.")
        return tuple(folder / name for name in FILES)
    if folder.exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1:
        raise InputError(
            f"{weights}: is no folder with weights of DUSt3R; give one with {' and '.join(FILES)}, or a hub id such as "
            f"{Dust3rSettings().weights}."
        )
    return ()


def _files(weights: str) -> tuple[Path, ...]:
    files = local_files(weights)
    if files:
        return files
    hub = import_module("huggingface_hub")
    try:
        return tuple(Path(hub.hf_hub_download(weights, name)) for name in FILES)
    except Exception as error:  # no network, no such repository, no access: a dozen kinds of exception
        raise InputError(
            f"The weights {weights} cannot be had from the hub ({type(error).__name__}); download "
            f"{' and '.join(FILES)} elsewhere and give their folder as the engine's weights."
        ) from error


def _read(build: Any, config: Path, weights: Path, name: str) -> Any:
    safetensors = import_module("safetensors.torch")
    try:
        arguments = json.loads(config.read_text(encoding="utf-8"))
        # pictures come as they are, upright ones too: nothing is to be turned on its side
        arguments |= {"landscape_only": False, "patch_embed_cls": "PatchEmbedDust3R"}
        with _quiet():
            network = build(**arguments)
            missing, _ = safetensors.load_model(network, str(weights), strict=False)
    except Exception as error:  # each part of a wrong pair of files fails in its own way
        raise InputError(
            f"{name}: holds no weights of DUSt3R that can be read ({type(error).__name__}); give those of "
            f"{Dust3rSettings().weights} or the like."
        ) from error
    if missing:
        raise InputError(
            f"{name}: {len(missing)} of the network's weights are missing, such as {min(missing)}; give a complete "
            f"{FILES[1]}."
        )
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's prints and warnings, which are no concern of our users; the precision it sets for the whole
    process on import is put back.
    """
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class _PretrainedPairs:
    """DUSt3R's network as a :class:`PairModel`."""

    def __init__(self, network: Any, device: str) -> None:
        import torch

        self._device = torch.device(torch_device(device))
        self._network = network.eval().requires_grad_(False).to(self._device)

    def predict(self, first: Sequence[UInt8], second: Sequence[UInt8]) -> PairPrediction:
        import torch

        with _quiet(), torch.inference_mode():
            one, two = self._network(self._view(first), self._view(second))
        points = (one["pts3d"], two["pts3d_in_other_view"], one["conf"], two["conf"])
        return PairPrediction(*(p.float().cpu().numpy() for p in points))

    def _view(self, pictures: Sequence[UInt8]) -> dict[str, Any]:
        import torch

        stack = torch.from_numpy(np.stack(pictures)).to(self._device)
        shape = torch.tensor(stack.shape[1:3]).repeat(len(pictures), 1)
        # by "instance" the network sees that pairs come both ways, and encodes each picture once
        return {
            "img": stack.permute(0, 3, 1, 2).float() / 127.5 - 1,
            "true_shape": shape,
            "instance": [str(id(picture)) for picture in pictures],
        }
