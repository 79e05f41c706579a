"""Text networks of ``transformers`` from a folder: safetensors only, nothing from the network."""

from pathlib import Path
from typing import Any

from ovseg3r_model.segmentation.pretrained import load_part, read_network


class TextNetwork:
    """A network and its tokenizer, on the CPU."""

    def __init__(self, folder: Path, build: Any, tokenizer: Any) -> None:
        """build, tokenizer: classes of ``transformers``.

        Raises:
            InputError: the folder's files cannot be read, or are not complete.
        """
        self._tokenizer = load_part(tokenizer, folder)
        self._network = read_network(build, folder)

    def __call__(self, text: str) -> Any:
        """The network's output for one text: alone, without padding, so that no other text has a part in it. What is
        longer than the network reads is cut off.
        """
        most = self._network.config.max_position_embeddings
        return self._network(**self._tokenizer(text, truncation=True, max_length=most, return_tensors="pt"))
