"""Names put into templates, encoded, averaged, and kept on this disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ovseg3r_model.records import Float32, Float64
from ovseg3r_model.text.cache import EmbeddingCache
from ovseg3r_model.weights import content_digest

_RULES = 1
"""Of how texts become vectors here; another number for other rules, so that nothing old is taken from a cache."""


class Embedder(Protocol):
    """A text network in a folder, not loaded before it is asked.

    engine: as in the settings. size: channels, C. templates: its usual ones.
    """

    engine: str
    folder: Path
    size: int
    templates: tuple[str, ...]

    def embed(self, text: str) -> Float32:
        """(C,) float32, of any length."""
        ...


class PromptedText:
    """A text encoder: see :class:`.protocol.TextEncoder`."""

    def __init__(self, network: Embedder, templates: tuple[str, ...], cache: Path) -> None:
        """cache: the folder to keep embeddings in."""
        rules = hashlib.sha256(json.dumps([_RULES, templates]).encode()).hexdigest()
        self.name = f"{network.engine}-{content_digest(network.folder)[:16]}-{rules[:8]}"
        self.size = network.size
        self._network, self._templates = network, templates
        self._cache = EmbeddingCache(cache, self.name, self.size)

    def encode(self, names: Sequence[str]) -> Float32:
        """(T,C): see :class:`.protocol.TextEncoder`."""
        known = self._cache.read() if names else {}
        made = self._made([name for name in dict.fromkeys(names) if name not in known])
        self._cache.add(made)
        known |= made
        return np.array([known[name] for name in names], np.float32).reshape(len(names), self.size)

    def _made(self, names: Sequence[str]) -> dict[str, Float32]:
        if not names:
            return {}
        import torch

        from ovseg3r_model.reconstruction.torch_threads import one_thread

        with one_thread(), torch.inference_mode():
            return {name: self._one(name) for name in names}

    def _one(self, name: str) -> Float32:
        texts = (template.replace("{}", name) for template in self._templates)
        each = np.stack([_unit(self._network.embed(text).astype(np.float64)) for text in texts])
        return _unit(each.mean(axis=0)).astype(np.float32)


def _unit(vector: Float64) -> Float64:
    length = float(np.linalg.norm(vector))
    return vector / length
