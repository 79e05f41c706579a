"""Embeddings on this disk: one file for each encoder, replaced whole, so that any number of processes may use it.

Two that write at the same moment lose nothing but one's additions, which are made again when they are asked for.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ovseg3r_model.records import Float32
from ovseg3r_model.weights.local import cache_home

logger = logging.getLogger("ovseg3r.text")

MOST = 20_000
"""Texts in a file (31 MB at 384 channels); one that would grow larger is begun anew."""


def cache_folder() -> Path:
    """Where embeddings lie: ovseg3r/text in the user's cache."""
    return cache_home() / "text"


class EmbeddingCache:
    """Embeddings of one encoder by text. What is damaged, or another's, counts as absent."""

    def __init__(self, folder: Path, encoder: str, size: int) -> None:
        """encoder: its name, which is the file's too. size: channels, C."""
        self._path = folder / f"{encoder}.safetensors"
        self._encoder, self._size = encoder, size

    def read(self) -> dict[str, Float32]:
        """(C,) float32 by text."""
        try:
            with safe_open(self._path, framework="numpy") as file:
                said = file.metadata() or {}
                texts, table = file.get_tensor("texts"), file.get_tensor("embeddings")
            names = json.loads(texts.tobytes())
            good = said == self._described(texts, table) and table.shape == (len(names), self._size)
        except FileNotFoundError:
            return {}
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            logger.debug("%s is not used: %s", self._path, error)
            return {}
        return dict(zip(names, table, strict=True)) if good else {}

    def add(self, embeddings: Mapping[str, Float32]) -> None:
        """Adds (C,) float32 by text, to what others may have added meanwhile. Where the disk cannot be written, nothing
        is kept.
        """
        if not embeddings:
            return
        everything = {**self.read(), **embeddings}
        if len(everything) > MOST:
            everything = dict(embeddings)
        texts = np.frombuffer(json.dumps(list(everything)).encode(), np.uint8)
        table = np.stack(list(everything.values()))
        try:
            self._replace(save({"texts": texts, "embeddings": table}, self._described(texts, table)))
        except OSError as error:
            logger.warning("%s: embeddings are not kept (%s)", self._path, error.strerror or error)

    def _described(self, texts: np.ndarray, table: np.ndarray) -> dict[str, str]:
        digest = hashlib.sha256(texts.tobytes() + table.tobytes()).hexdigest()
        return {"encoder": self._encoder, "sha256": digest}

    def _replace(self, content: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(name, self._path)
        except OSError:
            os.unlink(name)
            raise
